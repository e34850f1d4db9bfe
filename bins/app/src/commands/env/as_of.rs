//! `ssmd env show --as-of`: the environment that was in force on a UTC day, as jobs for that day use it.

use std::collections::BTreeSet;
use std::path::Path;

use ssmd_core::environment::{Document, Resolved, document_name};
use ssmd_core::{Clock, Day, EnvironmentName, Error, ErrorKind, Result, SystemClock};
use ssmd_storage::environments::{History, Recorded};

use super::show::table;
use crate::cli::Show;
use crate::commands::declared;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

const OPERATION: &str = "find environment";

/// Shows the last version that was in force on a day; as JSON all of them.
pub(super) async fn run(args: &Show, day: Day) -> Outcome {
    if day > SystemClock::new().now().day() {
        let error = Error::new(ErrorKind::Invalid, OPERATION).detail("this day has not begun");
        return Err(error.with("day", day).into());
    }
    let history = History::load(&*declared::versions(&args.versions)?).await?;
    let word = args.environment.as_deref().or(args.which.config.as_deref());
    let history = match word {
        Some(word) => history.of(&name(word)?),
        None => history,
    };
    let held = history.on(day);
    let Some(last) = held.last() else { return Err(none(day, &history).into()) };
    let names: BTreeSet<_> = held.iter().map(|recorded| recorded.version.environment.as_str()).collect();
    if names.len() > 1 {
        return Err(Error::new(ErrorKind::Invalid, OPERATION)
            .detail("environments of several names were in force on this day")
            .with("day", day)
            .with("names", names.into_iter().collect::<Vec<_>>().join(", "))
            .hint("name one: `ssmd env show NAME --as-of DAY`")
            .into());
    }
    let mut out = Out::new();
    if args.json {
        let rows = held.iter().map(|recorded| {
            let mut row = declared::row(recorded, &history);
            row["document"] = declared::document(recorded)?;
            Ok(row)
        });
        let versions = rows.collect::<Result<Vec<_>>>()?;
        out.json(&serde_json::json!({
            "day": day.to_string(),
            "environment": last.version.environment,
            "versions": versions,
        }))?;
    } else {
        print(day, &held, last, &history, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// The name that is meant: that of a document, or the name itself, of which there need not be a document any more.
fn name(word: &Path) -> Result<EnvironmentName> {
    match word.to_str().map(EnvironmentName::new) {
        Some(Ok(name)) => Ok(name),
        _ => {
            let text = std::fs::read_to_string(word)
                .map_err(|cause| Error::io("read environment", cause).with("file", word.display()))?;
            let name = document_name(&text).ok_or_else(|| {
                Error::new(ErrorKind::Invalid, OPERATION)
                    .detail("this document has no name")
                    .with("file", word.display())
            })?;
            EnvironmentName::new(&name)
        }
    }
}

fn none(day: Day, history: &History) -> Error {
    let first = history.versions().next().map(|first| first.version.valid_from);
    Error::new(ErrorKind::NotFound, OPERATION)
        .detail("none was in force on this day")
        .with("day", day)
        .hint(first.map_or_else(|| "none was ever applied".to_owned(), |at| format!("the first is of {at}")))
}

fn print(
    day: Day,
    held: &[&Recorded],
    last: &Recorded,
    history: &History,
    out: &mut Out,
) -> Result<(), Stopped> {
    if held.len() > 1 {
        out.line(format_args!("# {} versions were in force on {day}; shown is the last", held.len()))?;
    }
    for recorded in held {
        let version = &recorded.version;
        let short = version.sha256.get(..12).unwrap_or_default();
        let to = history.valid_to(recorded).map_or_else(|| "now".to_owned(), |to| to.to_string());
        out.line(format_args!(
            "# {short}  {}  {} to {to}  {} ({})",
            version.environment, version.valid_from, version.who, version.how
        ))?;
    }
    let document = Document::new(last.path.as_str(), last.version.document.clone());
    let alone = &mut |_: &str, _: &Document| {
        Err(Error::new(ErrorKind::Bug, OPERATION).detail("a version extends no document"))
    };
    let resolved = Resolved::read(document, &ssmd_feeds::vocabulary(), alone)?;
    let from = |declared: bool| if declared { "declared" } else { "default" }.to_owned();
    table(&resolved.declared.settings(), |setting| from(setting.place.is_some()), out)
}
