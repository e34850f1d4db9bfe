//! What documents may say and what is said about them: `ssmd explain` and `ssmd env schema`.

use ssmd_core::environment::{CODES, Code, Explanation, json_schema, nearest};
use ssmd_core::{Error, ErrorKind};

use crate::cli::Explain;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

/// Prints one page, or the list of all.
pub(super) fn run(args: &Explain) -> Outcome {
    let mut out = Out::new();
    match &args.code {
        Some(text) => {
            let code = Code::from_number(text).ok_or_else(|| unknown(text))?;
            if args.json {
                out.json(&object(code.explanation()))?;
            } else {
                page(code.explanation(), &mut out)?;
            }
        }
        None if args.json => out.json(&CODES.iter().map(object).collect::<Vec<_>>())?,
        None => CODES.iter().try_for_each(|row| out.line(format_args!("{}  {}", row.code, row.title)))?,
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// Prints the JSON Schema of documents over the feeds that there are.
pub(super) fn schema() -> Outcome {
    let mut out = Out::new();
    out.line(format_args!("{:#}", json_schema(&ssmd_feeds::vocabulary())))?;
    out.flush()?;
    Ok(Exit::Ok)
}

fn page(row: &Explanation, out: &mut Out) -> Result<(), Stopped> {
    out.line(format_args!("{}: {}\n\n{}\n\n✗", row.code, row.title, row.text))?;
    row.bad.lines().try_for_each(|line| out.line(format_args!("  {line}")))?;
    out.line("✓")?;
    row.good.lines().try_for_each(|line| out.line(format_args!("  {line}")))
}

fn object(row: &Explanation) -> serde_json::Value {
    serde_json::json!({
        "code": row.code,
        "title": row.title,
        "text": row.text,
        "bad": row.bad,
        "good": row.good,
    })
}

fn unknown(text: &str) -> Error {
    let upper = text.to_ascii_uppercase();
    let near = nearest(&upper, CODES.iter().map(|row| row.code.as_str()));
    let hint = match near {
        Some(near) => format!("did you mean {near}? `ssmd explain` lists them all"),
        None => "`ssmd explain` lists them all".to_owned(),
    };
    Error::new(ErrorKind::NotFound, "explain").with("code", text).hint(hint)
}
