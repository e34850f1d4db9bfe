//! A log that the rig writes itself, with stamps that run fast: every few entries are a minute, so that an archiver
//! has a segment to seal and to commit every few milliseconds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};
use ssmd_core::entry::note;
use ssmd_core::{
    Clock, Day, Entry, EntryId, EntryKind, FeedName, FrameKind, Journal, Result, SessionId, Timestamp,
};
use ssmd_transport::log::{Log, Options};

/// Time between two entries: thirty of them are a minute, and so a segment.
const STEP: Duration = Duration::from_secs(2);

/// The log, and everything that was written into it.
pub(crate) struct Tape {
    log: Log,
    /// Every entry but the epoch's, in order.
    pub(crate) fed: Vec<Entry>,
    at: Timestamp,
    day: Day,
    session: SessionId,
    heard: note::Heard,
    sha256: Sha256,
    random: StdRng,
}

impl Tape {
    /// Begins a log of Kraken's in this folder, with one session.
    pub(crate) async fn begin(directory: &Path, clock: Arc<dyn Clock>, seed: u64) -> Result<Self> {
        let at = clock.now();
        let log = Log::open(directory, &feed(), Options::default(), clock).await?;
        let position = log.position();
        let mut tape = Self {
            log,
            fed: Vec::new(),
            at,
            day: position.day,
            session: SessionId(position.next_session),
            heard: note::Heard::default(),
            sha256: Sha256::new(),
            random: StdRng::seed_from_u64(seed),
        };
        let open = note::Open {
            shard: None,
            twin: None,
            category: None,
            url: "ws://127.0.0.1".to_owned(),
            wanted: vec![],
        };
        let open = tape.entry(EntryKind::Open, tape.session, 0, note::encode(&open));
        tape.append(vec![open]).await?;
        Ok(tape)
    }

    /// Adds so many frames and waits until they are durable.
    pub(crate) async fn frames(&mut self, count: usize) -> Result<()> {
        let mut batch = Vec::with_capacity(count);
        for _ in 0..count {
            self.at = self.at.saturating_add(STEP);
            if self.at.day() > self.day {
                self.day = self.at.day();
                let roll = note::encode(&note::Roll { day: self.day });
                batch.push(self.entry(EntryKind::Roll, SessionId(0), 0, roll));
            }
            let length = self.random.random_range(0..400);
            let text: String = (0..length).map(|_| self.random.random_range(' '..='~')).collect();
            let payload = serde_json::json!({ "channel": "chaos", "data": text }).to_string();
            self.sha256.update((payload.len() as u32).to_le_bytes());
            self.sha256.update(&payload);
            let kind = EntryKind::Frame(FrameKind::Data);
            let frame = self.entry(kind, self.session, self.heard.frames, payload.clone().into());
            self.heard.frames += 1;
            self.heard.bytes += payload.len() as u64;
            batch.push(frame);
        }
        self.append(batch).await
    }

    /// Closes the session and the log.
    pub(crate) async fn end(&mut self) -> Result<()> {
        let sha256 = ssmd_storage::layout::hex(&self.sha256.clone().finalize());
        let close = note::Close {
            cause: "planned".to_owned(),
            detail: String::new(),
            covered_by: None,
            heard: self.heard,
            sha256,
        };
        let close = self.entry(EntryKind::Close, self.session, 0, note::encode(&close));
        self.append(vec![close]).await?;
        self.log.close().await
    }

    async fn append(&mut self, mut batch: Vec<Entry>) -> Result<()> {
        for (entry, n) in batch.iter_mut().zip(self.log.position().next + self.fed.len() as u64..) {
            entry.id.n = n;
        }
        self.fed.extend(batch.iter().cloned());
        self.log.append(batch).await?.await
    }

    fn entry(&self, kind: EntryKind, session: SessionId, index: u64, payload: bytes::Bytes) -> Entry {
        Entry {
            id: EntryId { origin: self.log.origin(), n: 0 },
            day: self.day,
            at: self.at,
            elapsed: Duration::from_nanos(self.at.nanos().unsigned_abs() % (1 << 60)),
            session,
            index,
            kind,
            binary: false,
            more: false,
            payload,
        }
    }
}

/// The feed of every row.
pub(crate) fn feed() -> FeedName {
    "kraken".parse().expect("a plain name")
}
