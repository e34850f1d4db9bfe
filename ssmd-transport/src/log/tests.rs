//! The log against the promises of a journal, and on disks that fail.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use ssmd_core::{SystemClock, Timestamp};

use super::*;

/// What the test disk does.
#[derive(Debug, Default)]
struct Failing {
    held: Mutex<bool>,
    released: Condvar,
    fails_to_sync: AtomicBool,
    is_full: AtomicBool,
    fails_to_cut: AtomicBool,
    /// Cuts and syncs of segments, in order.
    steps: Mutex<Vec<&'static str>>,
    /// The offsets of writes to segments.
    written: Mutex<Vec<u64>>,
}

impl Failing {
    fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.released.notify_all();
    }
}

impl Disk for Failing {
    fn create(&self, path: &Path) -> io::Result<File> {
        System.create(path)
    }

    fn write_all_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        if is_segment(path) && self.is_full.load(Ordering::SeqCst) {
            // As a real disk does: the first part fits.
            System.write_all_at(file, path, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if is_segment(path) {
            self.written.lock().unwrap().push(offset);
        }
        System.write_all_at(file, path, bytes, offset)
    }

    fn set_len(&self, file: &File, path: &Path, bytes: u64) -> io::Result<()> {
        if self.fails_to_cut.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.steps.lock().unwrap().push("cut");
        System.set_len(file, path, bytes)
    }

    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        let held = self.held.lock().unwrap();
        drop(self.released.wait_while(held, |held| *held).unwrap());
        if self.fails_to_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.steps.lock().unwrap().push("sync");
        System.sync_data(file, path)
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        System.sync_all(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        System.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        System.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        System.free_bytes(dir)
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Above what the largest case appends, and small enough to be filled at once.
const LOG_BYTES: u64 = 8 * 1024 * 1024;

struct OnTemporary {
    root: tempfile::TempDir,
    made: u32,
    disk: Arc<Failing>,
    log: Option<Log>,
    origin: Origin,
    segment_bytes: u64,
}

fn feed() -> FeedName {
    FeedName::new("test").unwrap()
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

impl OnTemporary {
    async fn new(segment_bytes: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let origin = Origin::from_bytes([0; 16]);
        let mut made = Self { root, made: 0, disk: Arc::default(), log: None, origin, segment_bytes };
        made.fresh().await.unwrap();
        made
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join(self.made.to_string())
    }

    async fn open_log(&mut self) -> Result<Log> {
        let options = Options {
            segment_bytes: self.segment_bytes,
            max_bytes: LOG_BYTES,
            retain: Duration::ZERO,
            queue_bytes: 64 * 1024,
            sync_pause: Duration::from_micros(100),
        };
        let log = Log::open_on(&self.dir(), &feed(), options, clock(), self.disk.clone()).await?;
        self.origin = log.origin();
        self.log = Some(log.clone());
        Ok(log)
    }

    async fn fresh(&mut self) -> Result<Log> {
        self.log = None;
        self.made += 1;
        self.open_log().await
    }
}

#[async_trait]
impl ssmd_core::conformance::journal::Harness for OnTemporary {
    async fn open(&mut self) -> Result<Arc<dyn Journal>> {
        let log = self.log.clone().ok_or_else(|| Error::new(ErrorKind::Bug, "test"))?;
        Ok(Arc::new(log))
    }

    fn only_origin(&self) -> Option<Origin> {
        Some(self.origin)
    }

    async fn restart(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        self.log = None;
        Ok(Some(Arc::new(self.open_log().await?)))
    }

    async fn recreate(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        Ok(Some(Arc::new(self.fresh().await?)))
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        Ok(Some(Arc::new(LogReader::open(&self.dir(), clock())?)))
    }

    async fn hold(&mut self, held: bool) -> Result<bool> {
        self.disk.hold(held);
        Ok(true)
    }

    async fn trim(&mut self, below: EntryId) -> Result<bool> {
        let Some(log) = self.log.as_ref().filter(|_| self.segment_bytes == 1) else { return Ok(false) };
        cover(&self.dir(), below.origin, below.n - 1)?;
        log.0.shared.ask_for_room(LOG_BYTES).await?;
        Ok(true)
    }

    async fn close(&mut self) -> Result<bool> {
        let Some(log) = &self.log else { return Ok(false) };
        log.close().await.map(|()| true)
    }

    fn overflow_bytes(&self) -> Option<u64> {
        Some(2 * LOG_BYTES)
    }
}

#[path = "../../tests/support/promises.rs"]
mod promises;

ssmd_core::journal_conformance!(
    in_many_segments,
    async { OnTemporary::new(1).await },
    promises::of("journal", ssmd_core::conformance::journal::PROMISES, "local log")
);
ssmd_core::journal_conformance!(in_one_segment, async { OnTemporary::new(LOG_BYTES).await });

fn entry(origin: Origin, n: u64) -> Entry {
    Entry {
        id: EntryId { origin, n },
        day: Day::from_days(20_000),
        at: Timestamp::from_nanos(n as i64),
        elapsed: Duration::from_nanos(n),
        session: SessionId(7),
        index: n,
        kind: EntryKind::Frame(ssmd_core::FrameKind::Data),
        binary: false,
        more: false,
        payload: vec![b'x'; 100].into(),
    }
}

async fn read_all(journal: &dyn Journal) -> Vec<u64> {
    let last = journal.bounds().await.unwrap().origins.values().map(|(_, last)| *last).sum::<u64>();
    let mut reader = journal.read(Start::Oldest).await.unwrap();
    let mut read: Vec<u64> = Vec::new();
    while read.last().is_none_or(|n| *n < last) {
        read.extend(reader.next(NonZeroUsize::MAX).await.unwrap().iter().map(|entry| entry.id.n));
    }
    read
}

#[tokio::test]
async fn a_failing_sync_ends_the_log_and_nothing_unacknowledged_is_found_later() {
    let mut harness = OnTemporary::new(LOG_BYTES).await;
    let log = harness.log.clone().unwrap();
    log.append(vec![entry(log.origin(), 2)]).await.unwrap().await.unwrap();
    harness.disk.fails_to_sync.store(true, Ordering::SeqCst);
    let error = log.append(vec![entry(log.origin(), 3)]).await.unwrap().await.unwrap_err();
    assert!(error.report().contains("the disk is gone"), "{error:?}");
    harness.disk.fails_to_sync.store(false, Ordering::SeqCst);
    let error = log.append(vec![entry(log.origin(), 4)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.report().contains("the disk is gone"), "{error:?}");
    assert_eq!(log.close().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(read_all(&log).await, [1, 2]);
    drop(log);
    let log = harness.open_log().await.unwrap();
    assert_eq!(log.position().next, 4, "the number of an entry that was never acknowledged is free again");
    assert!(!log.position().clean);
    assert_eq!(read_all(&log).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_a_failed_sync_left_is_written_again_before_it_is_synced_again() {
    let mut harness = OnTemporary::new(LOG_BYTES).await;
    let log = harness.log.take().unwrap();
    log.append(vec![entry(log.origin(), 2)]).await.unwrap().await.unwrap();
    let (path, disk) = (files::segment_path(&harness.dir(), 1), harness.disk.clone());
    let durable = std::fs::metadata(&path).unwrap().len();
    disk.fails_to_sync.store(true, Ordering::SeqCst);
    disk.fails_to_cut.store(true, Ordering::SeqCst);
    log.append(vec![entry(log.origin(), 3)]).await.unwrap().await.unwrap_err();
    drop(log);
    assert!(std::fs::metadata(&path).unwrap().len() > durable);
    disk.fails_to_sync.store(false, Ordering::SeqCst);
    disk.written.lock().unwrap().clear();
    let log = harness.open_log().await.unwrap();
    assert_eq!(disk.written.lock().unwrap().first(), Some(&durable));
    assert_eq!(read_all(&log).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_was_taken_waits_for_room_on_a_full_disk() {
    for segment_bytes in [1, LOG_BYTES] {
        let mut harness = OnTemporary::new(segment_bytes).await;
        let log = harness.log.clone().unwrap();
        harness.disk.is_full.store(true, Ordering::SeqCst);
        let mut waiting = Box::pin(log.append(vec![entry(log.origin(), 2)]).await.unwrap());
        let behind = log.append(vec![entry(log.origin(), 3)]).await.unwrap();
        // Longer than the writer waits before it tries again.
        assert!(tokio::time::timeout(LONGER_THAN_A_LOOK, &mut waiting).await.is_err());
        assert_eq!(log.durable(), 1);
        harness.disk.is_full.store(false, Ordering::SeqCst);
        waiting.await.unwrap();
        behind.await.unwrap();
        assert_eq!(read_all(&log).await, [1, 2, 3]);
        log.close().await.unwrap();
        drop(log);
        let log = harness.open_log().await.unwrap();
        assert!(log.position().clean);
        assert_eq!(read_all(&log).await, [1, 2, 3, 4]);
    }
}

/// More than one look of the writer for room.
const LONGER_THAN_A_LOOK: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_log_that_is_closed_on_a_full_disk_refuses_what_waits() {
    for segment_bytes in [1, LOG_BYTES] {
        let mut harness = OnTemporary::new(segment_bytes).await;
        let log = harness.log.clone().unwrap();
        harness.disk.is_full.store(true, Ordering::SeqCst);
        let pending = log.append(vec![entry(log.origin(), 2)]).await.unwrap();
        log.close().await.unwrap();
        assert_eq!(pending.await.unwrap_err().kind(), ErrorKind::Full);
        drop(log);
        harness.disk.is_full.store(false, Ordering::SeqCst);
        let log = harness.open_log().await.unwrap();
        assert!(log.position().clean);
        assert_eq!(read_all(&log).await, [1, 2]);
    }
}

#[tokio::test]
async fn what_a_full_disk_left_is_durably_cut_off() {
    let harness = OnTemporary::new(LOG_BYTES).await;
    let log = harness.log.clone().unwrap();
    log.append(vec![entry(log.origin(), 2)]).await.unwrap().await.unwrap();
    harness.disk.steps.lock().unwrap().clear();
    harness.disk.is_full.store(true, Ordering::SeqCst);
    let pending = log.append(vec![entry(log.origin(), 3)]).await.unwrap();
    // Closing does not wait for room, so that the writer has tried at least once.
    log.close().await.unwrap();
    assert_eq!(pending.await.unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(harness.disk.steps.lock().unwrap()[..2], ["cut", "sync"]);
}

#[test]
fn memory_is_read_into_again_once_no_entry_shares_it() {
    let room = reader::reused(Bytes::new(), 1000).freeze();
    let entry = room.slice(10..20);
    assert_eq!(reader::reused(room.clone(), 10).len(), 16);
    drop(entry);
    assert_eq!(reader::reused(room, 10).len(), 1024);
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes() {
    let harness = OnTemporary::new(LOG_BYTES).await;
    let log = harness.log.clone().unwrap();
    harness.disk.hold(true);
    let (origin, before) = (log.origin(), log.bytes());
    let filler = log.clone();
    let filling = async move {
        let mut pendings = Vec::new();
        for n in 2..2000 {
            pendings.push(filler.append(vec![entry(origin, n)]).await.unwrap());
        }
        for pending in pendings {
            pending.await.unwrap();
        }
    };
    tokio::pin!(filling);
    for _ in 0..64 {
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(filling.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        tokio::task::yield_now().await;
    }
    assert!(log.bytes() - before <= 64 * 1024, "{}", log.bytes() - before);
    harness.disk.hold(false);
    filling.await;
    assert_eq!(log.durable(), 1999);
}
