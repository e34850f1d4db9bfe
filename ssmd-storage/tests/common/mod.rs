//! What the tests share: recordings, a decoder, and a store that fails.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use ssmd_core::entry::{PAYLOAD_BYTES_MAX, note};
use ssmd_core::*;
use ssmd_storage::archive::Options;
use ssmd_storage::{Archive, Archiver, MakeDecoder, Selection};
use tokio_util::sync::CancellationToken;

pub const START: i64 = 1_785_553_200_000_000_000; // 2026-08-01T03:00:00Z

pub fn feed() -> FeedName {
    FeedName::new("test").unwrap()
}

/// Makes the entries that a log would hold.
pub struct Recording {
    pub origin: Origin,
    pub entries: Vec<Entry>,
    pub at: Timestamp,
    session: u64,
    heard: note::Heard,
    sha256: Sha256,
}

impl Recording {
    pub fn new(origin: u8) -> Self {
        let mut recording = Self {
            origin: Origin::from_bytes([origin; 16]),
            entries: Vec::new(),
            at: Timestamp::from_nanos(START),
            session: 0,
            heard: note::Heard::default(),
            sha256: Sha256::new(),
        };
        let (version, feed) = ("1".to_owned(), "test".to_owned());
        recording.note(EntryKind::Epoch, &note::Epoch { epoch: 1, version, feed, clean: true, cut_bytes: 0 });
        recording
    }

    pub fn advance(&mut self, by: Duration) {
        self.at = self.at.saturating_add(by);
    }

    pub fn open(&mut self) {
        self.session += 1;
        (self.heard, self.sha256) = (note::Heard::default(), Sha256::new());
        self.note(
            EntryKind::Open,
            &note::Open { url: "test:".to_owned(), wanted: vec![], shard: None, twin: None, category: None },
        );
    }

    pub fn frame(&mut self, payload: impl Into<Bytes>) {
        let payload = payload.into();
        let index = self.heard.frames;
        self.heard.frames += 1;
        self.heard.bytes += payload.len() as u64;
        self.sha256.update((payload.len() as u32).to_le_bytes());
        self.sha256.update(&payload);
        let mut rest = payload;
        loop {
            let part = rest.split_to(rest.len().min(PAYLOAD_BYTES_MAX));
            let more = !rest.is_empty();
            let entry = self.entry(EntryKind::Frame(FrameKind::Data), part);
            self.entries.push(Entry { index, more, ..entry });
            if !more {
                return;
            }
        }
    }

    pub fn tick(&mut self) {
        let sessions = [(self.session, self.heard)].into();
        let session = std::mem::take(&mut self.session);
        self.note(EntryKind::Tick, &note::Tick { sessions, last: None });
        self.session = session;
    }

    pub fn gap(&mut self, gap: &Gap) {
        self.note(EntryKind::Gap, gap);
    }

    pub fn close(&mut self) {
        let sha256 = ssmd_storage::layout::hex(&self.sha256.clone().finalize());
        let (cause, detail) = ("planned".to_owned(), String::new());
        self.note(
            EntryKind::Close,
            &note::Close { cause, detail, covered_by: None, heard: self.heard, sha256 },
        );
    }

    pub fn note(&mut self, kind: EntryKind, document: &impl serde::Serialize) {
        let entry = self.entry(kind, note::encode(document));
        self.entries.push(entry);
    }

    fn entry(&self, kind: EntryKind, payload: Bytes) -> Entry {
        Entry {
            id: EntryId { origin: self.origin, n: self.entries.len() as u64 + 1 },
            day: self.at.day(),
            at: self.at,
            elapsed: self.at.since(Timestamp::from_nanos(START)),
            session: SessionId(self.session),
            index: 0,
            kind,
            binary: false,
            more: false,
            payload,
        }
    }
}

/// A session of so many seconds with four frames in each.
pub fn recording(origin: u8, seconds: u64) -> Recording {
    let mut recording = Recording::new(origin);
    recording.open();
    for second in 0..seconds {
        recording.frame(format!("{{\"book\":{second}}}"));
        recording.frame(format!("{{\"trade\":{second},\"price\":1.50}}\n"));
        recording.frame(format!("not json {second}"));
        recording.frame(vec![0xff, second as u8]);
        recording.tick();
        recording.advance(Duration::from_secs(1));
    }
    recording.close();
    recording
}

/// Knows `{"book":…}` (verified), `{"bad":…}` (failed, a gap) and `{"trade":…}`.
#[derive(Default)]
struct TestDecoder(DecodeCounts);

impl Decode for TestDecoder {
    fn decode(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        self.0.frames += 1;
        if frame.payload.starts_with(b"{\"book\"") {
            self.0.books_verified += 1;
        } else if frame.payload.starts_with(b"{\"bad\"") {
            self.0.books_failed += 1;
            let shown = Some("bad".to_owned());
            let to = Evidence { at: frame.received, session: frame.session, index: frame.index, shown };
            let gap = Gap { cause: GapCause::Checksum, to: Some(to), ..gap(GapCause::Checksum) };
            let header = Header {
                symbol: None,
                venue_time: None,
                received: frame.received,
                sequence: None,
                session: frame.session,
                index: frame.index,
                source: frame.source,
            };
            out.push(Output::Record(Record { header, body: Body::Gap(gap) }));
        } else if frame.payload.starts_with(b"{") {
            self.0.unknown += 1;
            return Err(DecodeError::Unknown("trade".to_owned()));
        } else {
            self.0.malformed += 1;
            return Err(DecodeError::Malformed("not json".to_owned()));
        }
        Ok(())
    }

    fn counts(&self) -> DecodeCounts {
        self.0
    }
}

pub fn gap(cause: GapCause) -> Gap {
    Gap { cause, channel: None, symbol: None, from: None, to: None, missing: None, detail: String::new() }
}

pub fn decoder() -> MakeDecoder {
    Arc::new(|| Box::<TestDecoder>::default())
}

pub async fn journal_of(batches: &[&[Entry]]) -> Arc<ssmd_transport::memory::MemoryJournal> {
    let journal = Arc::new(ssmd_transport::memory::MemoryJournal::new());
    for batch in batches {
        journal.append(batch.to_vec()).await.unwrap().await.unwrap();
    }
    journal
}

pub fn archiver(journal: Arc<dyn Journal>, store: Arc<dyn Store>, lock_dir: &std::path::Path) -> Archiver {
    Archiver {
        feed: feed(),
        journal,
        store,
        clock: Arc::new(SystemClock::new()),
        metrics: Metrics::new(),
        options: Options::new(lock_dir),
        covered: Arc::new(|_, _| Ok(())),
    }
}

/// Archives what a journal holds.
pub async fn archive_all(journal: Arc<dyn Journal>, store: Arc<dyn Store>) -> Result<ssmd_storage::Summary> {
    let lock = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    within(archiver(journal, store, lock.path()).run(stop)).await
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("it ends in time")
}

pub async fn read_all(store: Arc<dyn Store>) -> Vec<Entry> {
    let archive = Archive::open(store).await.unwrap();
    let mut reader = archive.entries(&feed(), Selection::all());
    let mut entries = Vec::new();
    while let Some(batch) = reader.next_batch().await.unwrap() {
        entries.extend(batch);
    }
    entries
}

/// A store that cannot refuse what exists, and says so.
pub struct Unconditional(pub ssmd_storage::MemoryStore);

#[async_trait]
impl Store for Unconditional {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        match mode {
            PutMode::Create => Err(Error::new(ErrorKind::Unsupported, "test")),
            PutMode::Overwrite => self.0.put(path, body, mode).await,
        }
    }

    async fn get(&self, path: &ObjectPath, range: Option<std::ops::Range<u64>>) -> Result<Bytes> {
        self.0.get(path, range).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.0.delete(path).await
    }
}

/// A store that breaks at one operation, before or after it has taken effect, and stays broken or not.
pub struct Faulty {
    pub inner: Arc<dyn Store>,
    pub operations: AtomicUsize,
    pub breaks_at: usize,
    pub after: bool,
    pub for_good: bool,
}

impl Faulty {
    fn fails(&self) -> bool {
        let at = self.operations.fetch_add(1, Ordering::SeqCst);
        at == self.breaks_at || (self.for_good && at > self.breaks_at)
    }
}

#[async_trait]
impl Store for Faulty {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        let fails = self.fails();
        if fails && !self.after {
            return Err(Error::new(ErrorKind::Unavailable, "test"));
        }
        let put = self.inner.put(path, body, mode).await;
        if fails { Err(Error::new(ErrorKind::Timeout, "test")) } else { put }
    }

    async fn get(&self, path: &ObjectPath, range: Option<std::ops::Range<u64>>) -> Result<Bytes> {
        if self.fails() {
            return Err(Error::new(ErrorKind::Unavailable, "test"));
        }
        self.inner.get(path, range).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        if self.fails() {
            let failed = async { Err(Error::new(ErrorKind::Unavailable, "test")) };
            return Box::pin(futures_util::stream::once(failed));
        }
        self.inner.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.inner.delete(path).await
    }
}
