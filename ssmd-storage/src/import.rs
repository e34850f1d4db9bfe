//! Play files into an archive: as the log of an origin that never ran, through the same segments and commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ssmd_core::entry::{PAYLOAD_BYTES_MAX, note};
use ssmd_core::{
    Clock, Day, Entry, EntryId, EntryKind, Error, ErrorKind, FeedName, FrameKind, Metrics, Origin, Result,
    SessionId, Store, Timestamp,
};
use tokio_util::sync::CancellationToken;

use crate::archive::Summary;
use crate::layout::{Compression, hex};
use crate::pack::{Packer, Step};
use crate::play::{PlayReader, Played};
use crate::publish::{Published, Publisher};

/// Frames packed at once.
const BATCH: usize = 4096;

/// What an import needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The feed whose frames these are.
    pub feed: FeedName,
    /// The origin that they become; a new one for every import.
    pub origin: Origin,
    /// How segments are compressed.
    pub compression: Compression,
}

/// Imports play files, in this order. Connections become sessions, numbered from 1 in the order of their first
/// frames; connections of different files are different ones. A frame without a time has that of the one before it,
/// or the clock's. Days never go back.
///
/// # Errors
/// `Invalid`, with the line's number, for a file that is none, and for files without a frame; `AlreadyExists` if the origin has commits; the
/// store's own. What was committed before stays: an import that failed is repeated under a new origin.
pub async fn import(
    store: Arc<dyn Store>,
    files: Vec<PlayReader>,
    options: Options,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
) -> Result<Summary> {
    let Options { feed, origin, compression } = options;
    let mut publisher = Publisher::new(feed.clone(), store, clock.clone(), metrics, CancellationToken::new());
    publisher.load([origin]).await?;
    if publisher.positions().contains_key(&origin) {
        return Err(Error::new(ErrorKind::AlreadyExists, "import").with("origin", origin));
    }
    let mut log = Log::new(origin, clock.now());
    let mut packer = Packer::new(feed.clone(), compression, &BTreeMap::new());
    let mut files = files.into_iter();
    let mut file = None;
    let mut summary = Summary::default();
    loop {
        let (feed, mut source) = (feed.clone(), (log, packer, file.take(), files));
        let packed = tokio::task::spawn_blocking(move || {
            let (log, packer, file, files) = &mut source;
            let packed = pack(log, packer, file, files, &feed);
            packed.map(|(steps, more)| (source, steps, more))
        });
        let packed = packed.await.map_err(|cause| Error::new(ErrorKind::Bug, "import").because(cause))?;
        let (source, steps, more) = packed?;
        (log, packer, file, files) = source;
        for step in steps {
            publish(&mut publisher, step, &mut summary).await?;
        }
        if !more {
            return Ok(summary);
        }
    }
}

async fn publish(publisher: &mut Publisher, step: Step, summary: &mut Summary) -> Result<()> {
    if let Step::Segment(_, sealed) = &step {
        summary.objects += 1;
        summary.entries += sealed.object.entries;
        summary.bytes += sealed.object.bytes;
    }
    summary.commits += 1;
    match publisher.publish(step).await? {
        Published::Committed { .. } => Ok(()),
        Published::Overtaken => Err(Error::new(ErrorKind::Conflict, "import")
            .detail("somebody else commits under the same origin")
            .hint("import under a new origin")),
    }
}

/// Packs the next frames; `false` when it was the last of them.
fn pack(
    log: &mut Log,
    packer: &mut Packer,
    file: &mut Option<PlayReader>,
    files: &mut std::vec::IntoIter<PlayReader>,
    feed: &FeedName,
) -> Result<(Vec<Step>, bool)> {
    if log.n == 0 {
        log.epoch(feed);
    }
    let mut more = true;
    while more && log.entries.len() < BATCH {
        if file.is_none() {
            *file = files.next();
        }
        let Some(reader) = file else {
            more = false;
            break;
        };
        match reader.next()? {
            Some(played) => log.frame(played),
            None => {
                log.close_all();
                *file = None;
            }
        }
    }
    if !more && log.n == 1 {
        return Err(Error::new(ErrorKind::Invalid, "import").detail("there is no frame in these files"));
    }
    let mut steps = packer.push(&std::mem::take(&mut log.entries))?;
    if !more {
        steps.extend(packer.seal()?);
    }
    Ok((steps, more))
}

/// Makes the entries that a log would have taken.
struct Log {
    origin: Origin,
    n: u64,
    at: Timestamp,
    first_at: Option<Timestamp>,
    day: Day,
    sessions: u64,
    open: BTreeMap<Option<u64>, Connection>,
    entries: Vec<Entry>,
}

struct Connection {
    session: SessionId,
    heard: note::Heard,
    sha256: Sha256,
}

impl Log {
    fn new(origin: Origin, now: Timestamp) -> Self {
        let open = BTreeMap::new();
        Self {
            origin,
            n: 0,
            at: now,
            first_at: None,
            day: Day::from_days(i32::MIN),
            sessions: 0,
            open,
            entries: vec![],
        }
    }

    /// The epoch is stamped like the first frame, which follows it: it is written when that is known.
    fn epoch(&mut self, feed: &FeedName) {
        self.n = 1;
        let epoch = note::Epoch {
            epoch: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            feed: feed.to_string(),
            clean: true,
            cut_bytes: 0,
        };
        let entry = self.entry(1, SessionId(0), EntryKind::Epoch, note::encode(&epoch));
        self.entries.push(entry);
    }

    fn frame(&mut self, played: Played) {
        self.at = played.at.unwrap_or(self.at);
        self.advance_day();
        if !self.open.contains_key(&played.connection) {
            self.open(played.connection);
        }
        let Some(connection) = self.open.get_mut(&played.connection) else { return };
        let (session, index) = (connection.session, connection.heard.frames);
        connection.heard.frames += 1;
        connection.heard.bytes += played.payload.len() as u64;
        let length = u32::try_from(played.payload.len()).unwrap_or(u32::MAX);
        connection.sha256.update(length.to_le_bytes());
        connection.sha256.update(&played.payload);
        let binary = std::str::from_utf8(&played.payload).is_err();
        let mut rest = played.payload;
        loop {
            let part = rest.split_to(rest.len().min(PAYLOAD_BYTES_MAX));
            let more = !rest.is_empty();
            self.n += 1;
            let entry = self.entry(self.n, session, EntryKind::Frame(FrameKind::Data), part);
            self.entries.push(Entry { index, binary, more, ..entry });
            if !more {
                return;
            }
        }
    }

    fn open(&mut self, connection: Option<u64>) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let url = connection.map_or("play".to_owned(), |number| format!("play:{number}"));
        let opened = Connection { session, heard: note::Heard::default(), sha256: Sha256::new() };
        self.open.insert(connection, opened);
        self.note(
            session,
            EntryKind::Open,
            &note::Open { url, wanted: Vec::new(), shard: None, twin: None, category: None },
        );
    }

    fn close_all(&mut self) {
        for connection in std::mem::take(&mut self.open).into_values() {
            let close = note::Close {
                covered_by: None,
                cause: ssmd_core::GapCause::Planned.word().to_owned(),
                detail: "the play file ended".to_owned(),
                heard: connection.heard,
                sha256: hex(&connection.sha256.finalize()),
            };
            self.note(connection.session, EntryKind::Close, &close);
        }
    }

    /// The first frame's time is the epoch's too, and later days begin with a roll.
    fn advance_day(&mut self) {
        if self.first_at.is_none() {
            self.first_at = Some(self.at);
            self.day = self.at.day();
            for entry in &mut self.entries {
                (entry.at, entry.day) = (self.at, self.day);
            }
        } else if self.at.day() > self.day {
            self.day = self.at.day();
            self.note(SessionId(0), EntryKind::Roll, &note::Roll { day: self.day });
        }
    }

    fn note(&mut self, session: SessionId, kind: EntryKind, document: &impl serde::Serialize) {
        self.n += 1;
        let entry = self.entry(self.n, session, kind, note::encode(document));
        self.entries.push(entry);
    }

    fn entry(&self, n: u64, session: SessionId, kind: EntryKind, payload: bytes::Bytes) -> Entry {
        let elapsed = self.first_at.map_or(Duration::ZERO, |first| self.at.since(first));
        let day = if self.first_at.is_some() { self.day } else { self.at.day() };
        Entry {
            id: EntryId { origin: self.origin, n },
            day,
            at: self.at,
            elapsed,
            session,
            index: 0,
            kind,
            binary: false,
            more: false,
            payload,
        }
    }
}
