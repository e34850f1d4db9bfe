//! The local log from outside: positions, epochs, retention, caps, and one writer at a time.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::entry::note;
use ssmd_core::{Clock, EntryKind, ErrorKind, FrameKind, Journal, ManualClock, SessionId, Start, Timestamp};
use ssmd_transport::log::{LastEntry, Log, Options, cover, covered, inspect};
use support::*;

fn small() -> Options {
    Options { segment_bytes: 1, retain: Duration::from_secs(100), ..Options::default() }
}

#[tokio::test]
async fn a_new_log_begins_with_a_clean_epoch() {
    let dir = tempdir();
    let dir = dir.path().join("made/on/the/way");
    let log = open(&dir, Options::default()).await.unwrap();
    let position = log.position();
    assert_eq!((position.next, position.next_session, position.last, position.clean), (2, 1, None, true));
    assert_eq!(log.durable(), 1);
    let (entries, errors) = drain(&log).await;
    assert!(errors.is_empty());
    assert_eq!(entries[0].kind, EntryKind::Epoch);
    let note: note::Epoch = note::decode(&entries[0].payload).unwrap();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(note, note::Epoch { epoch: 1, version, feed: "kraken".into(), clean: true, cut_bytes: 0 });
    let found = inspect(&dir).unwrap();
    assert_eq!((found.origin, found.epoch, found.durable, found.covered), (log.origin(), 1, 1, 0));
    assert_eq!((found.bytes, found.clean, found.segments.len()), (log.bytes(), false, 1));
}

#[tokio::test]
async fn the_position_survives_closing_crashing_and_retention() {
    let dir = tempdir();
    let log = open(dir.path(), Options { retain: Duration::ZERO, ..small() }).await.unwrap();
    let (origin, day) = (log.origin(), log.position().day);
    append(&log, 2..=25).await;
    let last = LastEntry { at: entry(origin, 25).at, session: SessionId(3), index: 25 };
    // What we sent, and the first part of a large frame, are no evidence of a frame that was received.
    let mut sent = entry(origin, 26);
    sent.kind = EntryKind::Frame(FrameKind::Sent);
    let mut part = entry(origin, 27);
    part.more = true;
    log.append(vec![sent, part]).await.unwrap().await.unwrap();
    log.close().await.unwrap();
    assert_eq!(log.append(vec![entry(origin, 28)]).await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(inspect(dir.path()).unwrap().clean);
    drop(log);

    let log = open(dir.path(), small()).await.unwrap();
    assert_eq!(log.origin(), origin);
    let position = log.position();
    assert_eq!((position.next, position.next_session, position.clean), (29, 4, true));
    assert_eq!((position.last, position.day), (Some(last), day), "the day never goes back");
    // The last handle goes without closing: nothing is lost, and it is said.
    drop(log);
    cover(dir.path(), origin, 28).unwrap();
    let options = Options { max_bytes: 2000, retain: Duration::ZERO, ..small() };
    let log = open(dir.path(), options).await.unwrap();
    let position = log.position();
    assert_eq!((position.next, position.next_session, position.clean), (30, 4, false));
    assert_eq!(position.last, Some(last));
    let refused = log.append((30..80).map(|n| entry(origin, n)).collect()).await;
    assert_eq!(
        refused.map(drop).unwrap_err().kind(),
        ErrorKind::Full,
        "and all that is covered is deleted now"
    );
    assert_eq!(log.bounds().await.unwrap().origins, BTreeMap::from([(origin, (29, 29))]));
    drop(log);
    assert_eq!(open(dir.path(), small()).await.unwrap().position().last, Some(last));
}

#[tokio::test]
async fn a_second_writer_is_refused_and_told_who_is_first() {
    let dir = tempdir();
    let log = open(dir.path(), Options::default()).await.unwrap();
    let error = open(dir.path(), Options::default()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let holder = error.context("holder").unwrap();
    assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
    let other = log.clone();
    other.close().await.unwrap();
    log.close().await.unwrap();
    open(dir.path(), Options::default()).await.unwrap();
}

#[tokio::test]
async fn entries_of_another_origin_are_refused() {
    let dir = tempdir();
    let log = open(dir.path(), Options::default()).await.unwrap();
    let error = log.append(vec![entry(ssmd_core::Origin::new_random(), 2)]).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn retention_deletes_only_what_is_covered_and_old() {
    let dir = tempdir();
    let clock = ManualClock::new(Timestamp::from_nanos(1_700_000_000_000_000_000));
    let options = small();
    let log = Log::open(dir.path(), &feed(), options, Arc::new(clock.clone())).await.unwrap();
    let origin = log.origin();
    let first = async || log.bounds().await.unwrap().origins[&origin].0;
    let mut next = 2;
    // One batch after the other: the writer looks for what may go after each, and is done before the next.
    let mut step = async |seconds| {
        clock.advance(Duration::from_secs(seconds));
        for _ in 0..2 {
            append(&log, [next]).await;
            next += 1;
        }
    };
    step(1000).await;
    step(1000).await;
    assert_eq!(first().await, 1, "age alone deletes nothing");
    cover(dir.path(), origin, 2).unwrap();
    assert_eq!(covered(dir.path()).unwrap(), Some((origin, 2)));
    step(1).await;
    assert_eq!(first().await, 3, "what is covered and old goes");
    cover(dir.path(), origin, 6).unwrap();
    cover(dir.path(), origin, 1).unwrap();
    assert_eq!(covered(dir.path()).unwrap(), Some((origin, 6)), "the watermark never goes back");
    step(1).await;
    assert_eq!(first().await, 3, "what is covered and young stays");
    let gone = log.read(Start::After([(origin, 1)].into())).await.map(drop).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(gone.context("n"), Some("2"));
    let total: u64 = files(dir.path(), ".log").iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(log.bytes(), total);
    step(1000).await;
    assert_eq!(first().await, 7);
    for n in [1000, u64::MAX] {
        assert_eq!(cover(dir.path(), origin, n).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let foreign = ssmd_core::Origin::new_random();
    assert_eq!(cover(dir.path(), foreign, 1).unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_full_log_takes_entries_again_when_what_it_holds_is_covered() {
    let dir = tempdir();
    let options = Options { segment_bytes: 4000, max_bytes: 12_000, ..Options::default() };
    let log = open(dir.path(), options.clone()).await.unwrap();
    let origin = log.origin();
    let mut next = 2;
    let mut fill = async || {
        loop {
            let batch = vec![entry(origin, next), entry(origin, next + 1)];
            match log.append(batch).await {
                Ok(pending) => pending.await.unwrap(),
                Err(error) => break assert_eq!(error.kind(), ErrorKind::Full),
            }
            next += 2;
            assert!(log.bytes() <= options.max_bytes);
        }
        next - 1
    };
    for _ in 0..5 {
        let last = fill().await;
        assert_eq!(log.durable(), last, "nothing of a refused batch is queued");
        cover(dir.path(), origin, last).unwrap();
        assert!(fill().await > last + 20, "room was made of what is covered, however young");
    }
    let (entries, errors) = drain(&log).await;
    assert!(errors.is_empty(), "{errors:?}");
    let first = entries[0].id.n;
    assert_eq!(numbers(&entries), (first..=log.durable()).collect::<Vec<_>>());
    assert!(entries.iter().all(|got| *got == entry(origin, got.id.n)));
}

#[tokio::test]
async fn a_small_disk_that_fills_up_loses_nothing_acknowledged() {
    let Some(disk) = SmallDisk::mount() else {
        println!("not run: a tmpfs cannot be mounted here (this needs root)");
        return;
    };
    let dir = disk.0.path().join("log");
    let log = open(&dir, Options::default()).await.unwrap();
    let origin = log.origin();
    let mut last = 1;
    let batch = |from: u64| -> Vec<_> {
        let payload = bytes::Bytes::from(vec![b'x'; 10_000]);
        (from..from + 20).map(|n| ssmd_core::Entry { payload: payload.clone(), ..entry(origin, n) }).collect()
    };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 3 * 1024 * 1024]).unwrap();
    let waiting = loop {
        let mut pending = log.append(batch(last + 1)).await.unwrap();
        match tokio::time::timeout(FULL_AFTER, &mut pending).await {
            Ok(done) => done.unwrap(),
            Err(_) => break pending,
        }
        last += 20;
    };
    assert_eq!(log.durable(), last);
    std::fs::remove_file(&ballast).unwrap();
    waiting.await.unwrap();
    last += 20;
    log.append(batch(last + 1)).await.unwrap().await.unwrap();
    let (entries, errors) = drain(&reader(&dir)).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(numbers(&entries), (1..=last + 20).collect::<Vec<_>>());
    log.close().await.unwrap();
}

/// A batch that is not durable after this long found the file system, which is in memory, full.
const FULL_AFTER: Duration = Duration::from_secs(2);

/// A file system of 8 MiB, until it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempdir();
        let mount = ["-t", "tmpfs", "-o", "size=8m", "none"];
        let status = std::process::Command::new("mount").args(mount).arg(dir.path()).output();
        status.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn readers_in_this_process_are_woken_without_a_clock() {
    let dir = tempdir();
    let clock = ManualClock::new(Timestamp::from_nanos(0));
    let log = Log::open(dir.path(), &feed(), small(), Arc::new(clock.clone())).await.unwrap();
    let mut newest = log.read(Start::Newest).await.unwrap();
    for n in 2..20 {
        let (read, ()) = tokio::join!(in_time(read_to(&mut *newest, n)), append(&log, [n]));
        assert_eq!(numbers(&read.unwrap()), [n]);
    }
    assert_eq!(clock.elapsed(), Duration::ZERO);
}
