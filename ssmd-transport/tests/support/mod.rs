//! What the tests of the log share.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{
    Clock, Day, Entries, Entry, EntryId, EntryKind, FeedName, FrameKind, Journal, Origin, Result, SessionId,
    Start, SystemClock, Timestamp,
};
use ssmd_transport::log::{Log, LogReader, Options};

/// A directory that is gone at the end; in memory where the system has that, since these tests sync a lot.
pub(crate) fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn feed() -> FeedName {
    FeedName::new("kraken").unwrap()
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

pub(crate) async fn open(dir: &Path, options: Options) -> Result<Log> {
    Log::open(dir, &feed(), options, clock()).await
}

/// The entry that has this number in every test.
pub(crate) fn entry(origin: Origin, n: u64) -> Entry {
    Entry {
        id: EntryId { origin, n },
        day: Day::from_days(20_000),
        at: Timestamp::from_nanos(1_700_000_000_000_000_000 + n as i64),
        elapsed: Duration::from_nanos(n),
        session: SessionId(n / 10 + 1),
        index: n,
        kind: EntryKind::Frame(FrameKind::Data),
        binary: n.is_multiple_of(3),
        more: false,
        payload: format!("payload {n} {}", "x".repeat((n % 23) as usize)).into(),
    }
}

pub(crate) async fn append(log: &Log, ns: impl IntoIterator<Item = u64>) {
    let batch = ns.into_iter().map(|n| entry(log.origin(), n)).collect();
    log.append(batch).await.unwrap().await.unwrap();
}

pub(crate) fn reader(dir: &Path) -> LogReader {
    LogReader::open(dir, clock()).unwrap()
}

/// Everything that is durable, and every error on the way.
pub(crate) async fn drain(journal: &dyn Journal) -> (Vec<Entry>, Vec<ssmd_core::Error>) {
    let last = journal.bounds().await.unwrap().origins.values().map(|(_, last)| *last).sum::<u64>();
    let mut entries: Vec<Entry> = Vec::new();
    let mut errors = Vec::new();
    let mut reader = journal.read(Start::Oldest).await.unwrap();
    while entries.last().is_none_or(|entry| entry.id.n < last) {
        match in_time(reader.next(NonZeroUsize::MAX)).await {
            Ok(some) => entries.extend(some),
            Err(error) => {
                // Damage up to the end of the only segment: nothing comes after.
                let at_end = error.context("after") == Some("unknown")
                    && error.context("path").is_some_and(|path| is_last(Path::new(path)));
                errors.push(error);
                if at_end {
                    break;
                }
            }
        }
    }
    (entries, errors)
}

fn is_last(path: &Path) -> bool {
    files(path.parent().unwrap(), ".log").last().is_some_and(|last| last == path)
}

/// Reads exactly up to number `last`.
pub(crate) async fn read_to(reader: &mut dyn Entries, last: u64) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    while entries.last().is_none_or(|entry| entry.id.n < last) {
        entries.extend(reader.next(NonZeroUsize::MAX).await?);
    }
    Ok(entries)
}

/// The result, within a time in which it surely comes.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = future => done,
        () = SystemClock::new().sleep(Duration::from_secs(30)) => panic!("nothing came within 30 s"),
    }
}

pub(crate) fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.n).collect()
}

/// The files that end so, in the order of their names.
pub(crate) fn files(dir: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    found.sort();
    found
}
