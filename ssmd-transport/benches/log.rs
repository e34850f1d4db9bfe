//! How fast the local log takes entries and gives them back, on a real directory (`SSMD_BENCH_DIR`, default the
//! target directory), beside what the disk itself takes.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use ssmd_core::{
    Day, Entry, EntryId, EntryKind, FeedName, FrameKind, Journal, Origin, SessionId, Start, SystemClock,
    Timestamp,
};
use ssmd_transport::log::format::ENTRY_BYTES;
use ssmd_transport::log::{Log, LogReader, Options};

/// Entries a round, and bytes of payload in each: a Kraken book frame is about as long.
const ENTRIES: u64 = 500_000;
const PAYLOAD_BYTES: usize = 300;
/// How many batches may be on their way before the bench waits for the oldest: what capture does, too.
const PENDING_MAX: usize = 1024;
const LOG_BYTES: u64 = ENTRIES * (PAYLOAD_BYTES + ENTRY_BYTES) as u64;

fn main() {
    divan::main();
}

fn tempdir() -> tempfile::TempDir {
    let root = std::env::var_os("SSMD_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    tempfile::tempdir_in(root).expect("a directory to bench in")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn entry(origin: Origin, n: u64, payload: &bytes::Bytes) -> Entry {
    Entry {
        id: EntryId { origin, n },
        day: Day::from_days(20_000),
        at: Timestamp::from_nanos(n as i64),
        elapsed: Duration::from_nanos(n),
        session: SessionId(1),
        index: n,
        kind: EntryKind::Frame(FrameKind::Data),
        binary: false,
        more: false,
        payload: payload.clone(),
    }
}

async fn open(dir: &tempfile::TempDir) -> Log {
    let feed = FeedName::new("bench").expect("a name");
    Log::open(dir.path(), &feed, Options::default(), Arc::new(SystemClock::new())).await.expect("a log")
}

async fn fill(log: &Log, batch: u64) {
    let payload = bytes::Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let mut pendings = std::collections::VecDeque::new();
    let mut n = log.position().next;
    while n <= ENTRIES {
        let entries = (n..n + batch).map(|n| entry(log.origin(), n, &payload)).collect();
        pendings.push_back(log.append(entries).await.expect("room"));
        if pendings.len() > PENDING_MAX {
            let oldest = pendings.pop_front().expect("there is one");
            oldest.await.expect("a working disk");
        }
        n += batch;
    }
    for pending in pendings {
        pending.await.expect("a working disk");
    }
}

#[divan::bench(args = [1, 64, 256], sample_count = 5)]
fn append(bencher: Bencher<'_, '_>, batch: u64) {
    let runtime = runtime();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .counter(BytesCount::new(LOG_BYTES))
        .with_inputs(|| {
            let dir = tempdir();
            let log = runtime.block_on(open(&dir));
            (dir, log)
        })
        .bench_refs(|(_, log)| runtime.block_on(fill(log, batch)));
}

/// The limit: the same bytes, written and synced by nobody but the disk.
#[divan::bench(args = [64 * 1024, 1024 * 1024, 4 * 1024 * 1024], sample_count = 5)]
fn disk(bencher: Bencher<'_, '_>, write_bytes: usize) {
    let dir = tempdir();
    bencher.counter(BytesCount::new(LOG_BYTES)).bench(|| {
        use std::io::Write;
        let mut file = std::fs::File::create(dir.path().join("file")).expect("a file");
        let bytes = vec![b'x'; write_bytes];
        for _ in 0..LOG_BYTES / write_bytes as u64 {
            file.write_all(&bytes).and_then(|()| file.sync_data()).expect("a working disk");
        }
    });
}

/// From the call to the answer for what comes in a millisecond at 20,000 frames a second, the pause included.
#[divan::bench(sample_count = 500, sample_size = 1)]
fn durable(bencher: Bencher<'_, '_>) {
    let (dir, runtime) = (tempdir(), runtime());
    let log = runtime.block_on(open(&dir));
    let payload = bytes::Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let mut n = log.position().next;
    bencher.bench_local(|| {
        runtime.block_on(async {
            let entries = (n..n + 20).map(|n| entry(log.origin(), n, &payload)).collect();
            log.append(entries).await.expect("room").await.expect("a working disk");
        });
        n += 20;
    });
}

/// The limit for that: the same bytes at the end of a file, and the disk's own sync.
#[divan::bench(sample_count = 500, sample_size = 1)]
fn sync(bencher: Bencher<'_, '_>) {
    use std::io::Write;
    let dir = tempdir();
    let mut file = std::fs::File::create(dir.path().join("file")).expect("a file");
    let bytes = vec![b'x'; 20 * (PAYLOAD_BYTES + ENTRY_BYTES)];
    bencher.bench_local(|| file.write_all(&bytes).and_then(|()| file.sync_data()).expect("a working disk"));
}

#[divan::bench(sample_count = 10)]
fn read(bencher: Bencher<'_, '_>) {
    let (dir, runtime) = (tempdir(), runtime());
    runtime.block_on(async {
        let log = open(&dir).await;
        fill(&log, 256).await;
        log.close().await.expect("a working disk");
    });
    let log = LogReader::open(dir.path(), Arc::new(SystemClock::new())).expect("a log");
    bencher.counter(ItemsCount::new(ENTRIES)).counter(BytesCount::new(LOG_BYTES)).bench(|| {
        runtime.block_on(async {
            let mut entries = log.read(Start::Oldest).await.expect("a log");
            let mut count = 0;
            while count < ENTRIES {
                count += entries.next(NonZeroUsize::MAX).await.expect("no damage").len() as u64;
            }
        });
    });
}
