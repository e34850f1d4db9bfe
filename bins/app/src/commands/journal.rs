//! `ssmd journal`: what a journal holds, and its entries, as they are.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use ssmd_core::environment::{Environment, JournalSpec};
use ssmd_core::{
    Bounds, Clock, Entries, Entry, Error, ErrorKind, FeedName, Journal, Metrics, Origin, Result, Start,
    SystemClock, Timestamp,
};
use ssmd_transport::log::LogReader;

use crate::cli::{JournalArgs, JournalCommand, JournalInspect, JournalLs};
use crate::environment;
use crate::exit::Exit;
use crate::folder::Folder;
use crate::output::{Out, Outcome, Stopped};
use crate::shared::Shared;
use crate::status::{bytes, grouped, plural};

/// Entries that are read at once.
const ENTRIES_PER_BATCH: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");
/// How long what is durable may take to be read; behind damage up to the end nothing comes any more.
const COMES_WITHIN: Duration = Duration::from_secs(10);

/// Does what was typed.
pub(super) async fn run(command: &JournalCommand) -> Outcome {
    match command {
        JournalCommand::Ls(args) => list(args).await,
        JournalCommand::Inspect(args) => inspect(args).await,
    }
}

/// One feed's journal.
struct Opened {
    feed: FeedName,
    /// What people call it.
    place: String,
    journal: Arc<dyn Journal>,
}

/// One log in a journal.
#[derive(Serialize)]
struct Held {
    feed: FeedName,
    journal: String,
    incarnation: String,
    origin: Origin,
    first: u64,
    last: u64,
    entries: u64,
    payload_bytes: u64,
    earliest: Option<Timestamp>,
    latest: Option<Timestamp>,
    holes: Vec<Hole>,
}

/// Numbers that are missing, both ends included.
#[derive(Clone, Copy, Serialize)]
struct Hole {
    from: u64,
    to: u64,
}

async fn list(args: &JournalLs) -> Outcome {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (mut out, mut all, mut damaged) = (Out::new(), Vec::new(), false);
    for opened in open(&args.journal, &clock).await? {
        let (held, damage) = held(&opened, clock.as_ref()).await?;
        for error in damage {
            eprintln!("damaged: {}", error.report());
            damaged = true;
        }
        if !args.json {
            held.iter().try_for_each(|held| out.line(line(held)))?;
        }
        all.extend(held);
    }
    if args.json {
        out.json(&all)?;
    } else if all.is_empty() {
        out.line("the journal is empty")?;
    }
    out.flush()?;
    Ok(if damaged { Exit::Found } else { Exit::Ok })
}

fn line(held: &Held) -> String {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "?".to_owned(), |at| at.to_string());
    let mut line = format!(
        "{}  {}  {} to {}  {}, {}  {} to {}  {}",
        held.feed,
        held.origin,
        held.first,
        held.last,
        entries(held.entries),
        bytes(held.payload_bytes),
        time(held.earliest),
        time(held.latest),
        plural(held.holes.len() as u64, "hole"),
    );
    let holes = held.holes.iter().map(|hole| format!("\n  missing: {} to {}", hole.from, hole.to));
    line.extend(holes);
    line
}

fn entries(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "entry" } else { "entries" })
}

/// Reads everything that is durable now, and says what it is; and what of it is damaged.
async fn held(opened: &Opened, clock: &dyn Clock) -> Result<(Vec<Held>, Vec<Error>)> {
    let bounds = opened.journal.bounds().await?;
    let mut held: BTreeMap<Origin, Held> = rows(opened, &bounds);
    let mut missing: BTreeMap<Origin, u64> =
        bounds.origins.iter().map(|(o, (_, last))| (*o, *last)).collect();
    let (mut reader, mut damage) = (opened.journal.read(Start::Oldest).await?, Vec::new());
    while !missing.is_empty() {
        let reached = match next(reader.as_mut(), clock).await {
            Ok(Some(batch)) => {
                batch.iter().for_each(|entry| take(&mut held, entry));
                batch.iter().map(|entry| (entry.id.origin, entry.id.n)).collect()
            }
            Ok(None) => {
                damage.push(Error::new(ErrorKind::Corrupt, "read journal").detail("the end cannot be read"));
                break;
            }
            Err(error) if error.kind() == ErrorKind::Hole => hole(&mut held, &error)?,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                damage.push(error);
                Vec::new()
            }
            Err(error) if error.kind() == ErrorKind::Closed => break,
            Err(error) => return Err(error),
        };
        for (origin, n) in reached {
            if missing.get(&origin).is_some_and(|last| n >= *last) {
                missing.remove(&origin);
            }
        }
    }
    Ok((held.into_values().collect(), damage))
}

fn rows(opened: &Opened, bounds: &Bounds) -> BTreeMap<Origin, Held> {
    let row = |(origin, (first, last)): (&Origin, &(u64, u64))| {
        let held = Held {
            feed: opened.feed.clone(),
            journal: opened.place.clone(),
            incarnation: bounds.incarnation.clone(),
            origin: *origin,
            first: *first,
            last: *last,
            entries: 0,
            payload_bytes: 0,
            earliest: None,
            latest: None,
            holes: Vec::new(),
        };
        (*origin, held)
    };
    bounds.origins.iter().map(row).collect()
}

fn take(held: &mut BTreeMap<Origin, Held>, entry: &Entry) {
    let Some(held) = held.get_mut(&entry.id.origin).filter(|held| entry.id.n <= held.last) else { return };
    held.entries += 1;
    held.payload_bytes += entry.payload.len() as u64;
    held.earliest.get_or_insert(entry.at);
    held.latest = Some(entry.at);
}

/// Notes a hole, and says how far it reaches.
fn hole(held: &mut BTreeMap<Origin, Held>, error: &Error) -> Result<Vec<(Origin, u64)>> {
    let number = |name| error.context(name).and_then(|text| text.parse::<u64>().ok());
    let origin = error.context("origin").and_then(|text| text.parse().ok());
    let (Some(origin), Some(from), Some(to)) = (origin, number("from"), number("to")) else {
        return Err(Error::new(ErrorKind::Bug, "read journal").detail("a hole without its bounds"));
    };
    if let Some(held) = held.get_mut(&origin) {
        held.holes.push(Hole { from, to });
    }
    Ok(vec![(origin, to)])
}

/// The next entries; `None` if none come in time.
async fn next(reader: &mut dyn Entries, clock: &dyn Clock) -> Result<Option<Vec<Entry>>> {
    tokio::select! {
        biased;
        batch = reader.next(ENTRIES_PER_BATCH) => batch.map(Some),
        () = clock.sleep(COMES_WITHIN) => Ok(None),
    }
}

/// One entry, for people and programs.
#[derive(Serialize)]
struct Shown {
    feed: FeedName,
    origin: Origin,
    n: u64,
    at: Timestamp,
    day: String,
    session: u64,
    index: u64,
    kind: &'static str,
    binary: bool,
    more: bool,
    bytes: usize,
    /// The payload, or its beginning; hexadecimal digits if it is no text.
    payload: String,
    text: bool,
    cut: bool,
}

async fn inspect(args: &JournalInspect) -> Outcome {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (mut out, mut found) = (Out::new(), false);
    for opened in open(&args.journal, &clock).await? {
        let bounds = opened.journal.bounds().await?;
        let wanted = args.origin.as_deref().unwrap_or_default().replace('-', "").to_lowercase();
        for (origin, (first, last)) in &bounds.origins {
            if !origin.to_string().starts_with(&wanted) {
                continue;
            }
            found = true;
            let newest = last.saturating_sub(args.limit - 1);
            let from = args.from.unwrap_or(newest).max(*first);
            let to = from.saturating_add(args.limit - 1).min(*last);
            entries_of(&opened, &bounds, (*origin, from, to), args, clock.as_ref(), &mut out).await?;
        }
    }
    if !found {
        return Err(Stopped::Failed(
            Error::new(ErrorKind::NotFound, "find log")
                .with("origin", args.origin.as_deref().unwrap_or("any"))
                .hint("`ssmd journal ls` lists what there is"),
        ));
    }
    out.flush()?;
    Ok(Exit::Ok)
}

async fn entries_of(
    opened: &Opened,
    bounds: &Bounds,
    (origin, from, to): (Origin, u64, u64),
    args: &JournalInspect,
    clock: &dyn Clock,
    out: &mut Out,
) -> Result<(), Stopped> {
    if from > to {
        return Ok(());
    }
    // The others are not read.
    let after = bounds.origins.iter().map(|(other, (_, last))| (*other, *last));
    let mut after: BTreeMap<_, _> = after.collect();
    after.insert(origin, from - 1);
    // Behind what is removed already it begins at the oldest.
    let (mut reader, _) = ssmd_core::journal::read_after(opened.journal.as_ref(), after).await?;
    let mut reached = from - 1;
    while reached < to {
        match next(reader.as_mut(), clock).await {
            Ok(Some(batch)) => {
                for entry in batch.iter().filter(|entry| entry.id.origin == origin && entry.id.n <= to) {
                    print(&opened.feed, entry, args, out)?;
                }
                let last =
                    batch.iter().filter(|entry| entry.id.origin == origin).map(|entry| entry.id.n).max();
                reached = last.unwrap_or(reached);
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Hole => {
                out.flush()?;
                eprintln!("{}", error.report());
                let end = error.context("to").and_then(|text| text.parse().ok());
                reached = end.unwrap_or(to);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn print(feed: &FeedName, entry: &Entry, args: &JournalInspect, out: &mut Out) -> Result<(), Stopped> {
    let (payload, text, cut) = readable(&entry.payload, args.bytes);
    if args.json {
        return out.json(&Shown {
            feed: feed.clone(),
            origin: entry.id.origin,
            n: entry.id.n,
            at: entry.at,
            day: entry.day.to_string(),
            session: entry.session.0,
            index: entry.index,
            kind: entry.kind.word(),
            binary: entry.binary,
            more: entry.more,
            bytes: entry.payload.len(),
            payload,
            text,
            cut,
        });
    }
    let size = entry.payload.len();
    let about =
        format!("{} {} session {} index {}", entry.at, entry.kind.word(), entry.session.0, entry.index);
    let marks = [(entry.more, " (goes on)"), (!text, " (hexadecimal)")];
    let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
    let end = if cut { format!("… {} in all", bytes(size as u64)) } else { String::new() };
    // Foreign text must not move the cursor.
    let plain: String = payload.chars().flat_map(shown).collect();
    out.line(format_args!("{} {about}{marks}\n  {plain}{end}", entry.id))
}

fn shown(letter: char) -> Vec<char> {
    if letter.is_control() { letter.escape_default().collect() } else { vec![letter] }
}

/// The first `most` bytes of a payload, whether they are text, and whether there are more.
fn readable(payload: &[u8], most: usize) -> (String, bool, bool) {
    let cut = payload.len() > most;
    if let Ok(text) = std::str::from_utf8(payload) {
        let end = text.floor_char_boundary(most);
        return (text[..end].to_owned(), true, cut);
    }
    let digits = payload.iter().take(most).map(|byte| format!("{byte:02x}"));
    (digits.collect(), false, cut)
}

/// The journals that were named.
async fn open(args: &JournalArgs, clock: &Arc<dyn Clock>) -> Result<Vec<Opened>, Stopped> {
    let environment = match environment::find(args.config.as_deref())? {
        Some(_) => Some(environment::load(args.config.as_deref())?),
        None => None,
    };
    let shared = environment
        .as_ref()
        .filter(|environment| !args.local && matches!(environment.journal, JournalSpec::JetStream(_)));
    match shared {
        Some(environment) => stream(environment, args, clock).await,
        None => Ok(logs(args, clock)?),
    }
}

/// The journal that all machines of an environment share.
async fn stream(
    environment: &Environment,
    args: &JournalArgs,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Opened>, Stopped> {
    let Some(shared) = Shared::of(environment, "ssmd", (clock, &Metrics::new()))? else {
        return Ok(Vec::new());
    };
    shared.check().await?;
    let feeds = environment.feeds.iter().map(|feed| feed.name.clone());
    let feeds: Vec<_> = feeds.filter(|feed| is_meant(args, feed)).collect();
    if feeds.is_empty() {
        return Err(Stopped::Failed(no_feed(args)));
    }
    let place = format!("stream {}", shared.stream());
    let opened = |feed: FeedName| Opened { journal: shared.journal(&feed), place: place.clone(), feed };
    Ok(feeds.into_iter().map(opened).collect())
}

/// The logs in a data folder.
fn logs(args: &JournalArgs, clock: &Arc<dyn Clock>) -> Result<Vec<Opened>> {
    let folder = Folder::at(&args.data);
    let place = folder.path().join("log");
    let nothing = || {
        Error::new(ErrorKind::NotFound, "find journal")
            .with("folder", place.display())
            .hint("name the data folder with --data DIR, or an environment with -c")
    };
    let mut feeds: Vec<FeedName> = Vec::new();
    let items = std::fs::read_dir(&place).map_err(|cause| nothing().because(cause))?;
    for item in items {
        let name = item.map_err(|cause| Error::io("list journals", cause))?.file_name();
        feeds.extend(name.to_str().and_then(|name| name.parse::<FeedName>().ok()));
    }
    feeds.retain(|feed| is_meant(args, feed));
    feeds.sort();
    if feeds.is_empty() {
        return Err(if args.feed.is_some() { no_feed(args) } else { nothing() });
    }
    let opened = |feed: FeedName| {
        let directory = folder.log(&feed);
        let journal = Arc::new(LogReader::open(Path::new(&directory), Arc::clone(clock))?);
        Ok(Opened { journal, place: directory.display().to_string(), feed })
    };
    feeds.into_iter().map(opened).collect()
}

fn is_meant(args: &JournalArgs, feed: &FeedName) -> bool {
    args.feed.as_deref().is_none_or(|name| name == feed.as_str())
}

fn no_feed(args: &JournalArgs) -> Error {
    Error::new(ErrorKind::NotFound, "find feed")
        .with("feed", args.feed.as_deref().unwrap_or_default())
        .hint("`ssmd journal ls` without --feed lists what there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_readable_and_bounded() {
        assert_eq!(readable(b"{\"a\":1}", 512), ("{\"a\":1}".to_owned(), true, false));
        assert_eq!(readable("aé".as_bytes(), 2), ("a".to_owned(), true, true));
        assert_eq!(readable(&[0xff, 0x00, 0x01], 2), ("ff00".to_owned(), false, true));
        assert_eq!("\u{1b}[2J".chars().flat_map(shown).collect::<String>(), "\\u{1b}[2J");
    }
}
