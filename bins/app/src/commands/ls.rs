//! `ssmd ls`: feeds, days, segments.

use ssmd_core::FeedName;
use ssmd_storage::{Archive, Object, Selection};

use super::archive;
use crate::cli::Ls;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::status::{bytes, grouped, plural};

/// Lists what an archive holds.
pub(super) async fn run(args: &Ls) -> Outcome {
    let archive = archive::open(&args.store).await?;
    let mut out = Out::new();
    match (&args.feed, args.day) {
        (Some(feed), Some(day)) => {
            let feed = archive::feed(&archive, feed)?;
            archive::day(&archive, &feed, day)?;
            segments(&archive, &feed, &Selection::day(day), args.json, &mut out)?;
        }
        (Some(feed), None) => days(&archive, &[archive::feed(&archive, feed)?], args.json, &mut out)?,
        (None, _) => days(&archive, &archive.feeds(), args.json, &mut out)?,
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn days(archive: &Archive, feeds: &[FeedName], json: bool, out: &mut Out) -> Result<(), Stopped> {
    let mut rows = Vec::new();
    for feed in feeds {
        for day in archive.days(feed) {
            let objects = archive.segments(feed, &Selection::day(day));
            let sum =
                |figure: fn(&Object) -> u64| objects.iter().map(|(_, object)| figure(object)).sum::<u64>();
            let (frames, size) = (sum(|object| object.frames), sum(|object| object.bytes));
            if !json {
                out.line(format_args!(
                    "{feed}  {day}  {:>15} frames  {:>10}  {}",
                    grouped(frames),
                    bytes(size),
                    plural(objects.len() as u64, "object")
                ))?;
            }
            rows.push(serde_json::json!({
                "feed": feed, "day": day, "frames": frames, "bytes": size, "objects": objects.len(),
                "entries": sum(|object| object.entries),
            }));
        }
    }
    if json {
        return out.json(&rows);
    }
    if rows.is_empty() { out.line("the archive is empty") } else { Ok(()) }
}

fn segments(
    archive: &Archive,
    feed: &FeedName,
    selection: &Selection,
    json: bool,
    out: &mut Out,
) -> Result<(), Stopped> {
    let objects: Vec<Object> =
        archive.segments(feed, selection).into_iter().map(|(_, object)| object).collect();
    if json {
        return out.json(&objects);
    }
    for object in &objects {
        out.line(format_args!(
            "{:>12} frames  {:>10}  {}",
            grouped(object.frames),
            bytes(object.bytes),
            object.path
        ))?;
    }
    Ok(())
}
