//! `ssmd gaps`: every known hole of a day.

use ssmd_core::{Evidence, Symbol};
use ssmd_storage::gaps::{self, LedgerGap};

use super::archive;
use crate::cli::Selection;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

/// Prints the gap ledger.
pub(super) async fn run(args: &Selection) -> Outcome {
    let archive = archive::open(&args.store).await?;
    let feed = archive::feed(&archive, &args.feed)?;
    archive::day(&archive, &feed, args.day)?;
    let decoder = ssmd_feeds::decoder(&feed)?;
    let ledger = gaps::ledger(&archive, &feed, (args.day, args.day), Some(decoder)).await?;
    let mut out = Out::new();
    if args.json {
        out.json(&ledger)?;
    } else {
        for gap in &ledger {
            print(gap, &mut out)?;
        }
        if ledger.is_empty() {
            out.line(format_args!("no gaps on {}", args.day))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn print(found: &LedgerGap, out: &mut Out) -> Result<(), Stopped> {
    let gap = &found.gap;
    let end = |evidence: &Option<Evidence>| match evidence {
        Some(at) => format!("{} (connection {} frame {})", at.at, at.session, at.index),
        None => "…".to_owned(),
    };
    let symbol = gap.symbol.as_ref().map_or("all symbols", Symbol::as_str);
    let channel = gap.channel.as_deref().unwrap_or("all channels");
    let missing = gap.missing.map_or(String::new(), |missing| format!(", {missing} missing"));
    let detail = if gap.detail.is_empty() { String::new() } else { format!(": {}", gap.detail) };
    out.line(format_args!(
        "{:<10} {} to {}, {symbol}, {channel}{missing}{detail}",
        gap.cause.word(),
        end(&gap.from),
        end(&gap.to),
    ))
}
