//! `ssmd gaps`: every known hole.

use ssmd_core::{Evidence, SessionId, Symbol};
use ssmd_storage::gaps::{self, LedgerGap};

use super::archive::{self, Chosen};
use crate::cli;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

/// Prints the gap ledger.
pub(super) async fn run(args: &cli::Gaps) -> Outcome {
    let Chosen { archive, feed, selection, damage } = archive::choose(&args.part).await?;
    let decoder = ssmd_feeds::decoder(&feed)?;
    let days: Vec<_> = archive.segments(&feed, &selection).iter().map(|(_, object)| object.day).collect();
    let mut ledger = match (days.iter().min(), days.iter().max()) {
        (Some(first), Some(last)) if args.merged => {
            let rules = ssmd_feeds::merge_rules(&feed);
            gaps::merged_ledger(&archive, &feed, (*first, *last), (decoder, rules)).await?
        }
        (Some(first), Some(last)) => gaps::ledger(&archive, &feed, (*first, *last), Some(decoder)).await?,
        _ => Vec::new(),
    };
    ledger.retain(|gap| selection.contains_time(gap.at));
    let mut out = Out::new();
    if args.json {
        out.json(&ledger)?;
    } else {
        for gap in &ledger {
            print(gap, &mut out)?;
        }
        if ledger.is_empty() {
            out.line("no gaps")?;
        }
    }
    out.flush()?;
    Ok(damage.exit(Exit::Ok))
}

fn print(found: &LedgerGap, out: &mut Out) -> Result<(), Stopped> {
    let gap = &found.gap;
    let end = |evidence: &Option<Evidence>| match evidence {
        // What lies in no connection is a number of the log.
        Some(Evidence { at, session: SessionId(0), shown: Some(shown), .. }) => format!("{at} ({shown})"),
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
