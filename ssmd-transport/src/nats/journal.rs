//! JetStream as the journal of one feed: many origins, one subject each, in a stream that feeds may share.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::Stream;
use async_trait::async_trait;
use futures_util::StreamExt;
use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::journal::removed;
use ssmd_core::{
    Bounds, Clock, Entries, Entry, EnvironmentName, Error, ErrorKind, FeedName, Journal, Origin, Pending,
    Positions, Result, Start, Tasks,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::connect::Connection;
use super::reader::Reader;
use super::stream::{self, StreamSpec};
use super::writer::{Batch, Writer};
use super::{find, wire};

/// The most bytes of entries that wait to be acknowledged, their own size included; then [`Journal::append`] waits.
pub const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most messages that are under way to the server.
pub const WINDOW_MESSAGES: usize = 4096;
/// The most batches that are queued.
const QUEUE_BATCHES_MAX: usize = 4096;
/// The least that a server must take in one message: else an entry would take thousands of them.
const PAYLOAD_BYTES_MIN: usize = 2 * wire::HEADER_BYTES_MAX;
/// What an entry costs in the queue beside its payload, in bytes.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// What an acknowledgement of JetStream is worth. The server tells its `sync_interval` to nobody but its operator.
pub const ON_DISK: &str = "what is acknowledged is on disk after the server's sync_interval, 2 minutes unless it is set: \
    a power cut of every replica loses what came since";

/// Which journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSpec {
    /// The environment: the first token of its subjects.
    pub environment: EnvironmentName,
    /// The feed: the second one.
    pub feed: FeedName,
    /// The stream that keeps it; other feeds' journals may be in it too.
    pub stream: StreamSpec,
}

/// The journal of one feed in JetStream.
///
/// An entry is *durable* here when the stream's leader has acknowledged it and all before it: with more than one
/// replica, when most of them have it. On disk it is `sync_interval` later; a local log stands before this journal
/// for what a power cut takes in between. While the server is away, or takes nothing, a [`Pending`] waits for as long
/// as the journal lives, and so does [`Journal::append`] once [`QUEUE_BYTES_MAX`] are queued; order is never lost.
///
/// A journal ends when it is closed, or when its stream has been deleted or made anew: what is pending then resolves
/// as `NotFound`, and appending is refused as `Closed`.
///
/// Of an origin of which nothing at all is left in the stream, nothing is known either: it begins anew.
pub struct NatsJournal {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
    /// Ends the writer when the journal is dropped.
    _tasks: Tasks,
}

/// What the journal, its writer and its readers know.
pub(super) struct Shared {
    pub(super) connection: Connection,
    pub(super) context: jetstream::Context,
    pub(super) stream: Stream,
    pub(super) incarnation: String,
    /// `{env}.{feed}.log`.
    prefix: String,
    /// Cancelled when the journal has ended.
    pub(super) ended: CancellationToken,
}

impl Shared {
    pub(super) fn subject(&self, origin: Origin) -> String {
        format!("{}.{origin}", self.prefix)
    }

    /// Every subject of the journal.
    pub(super) fn filter(&self) -> String {
        format!("{}.*", self.prefix)
    }

    /// The origin that a subject is of.
    pub(super) fn origin(&self, subject: &str) -> Option<Origin> {
        subject.strip_prefix(&self.prefix)?.strip_prefix('.')?.parse().ok()
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.connection.clock
    }

    /// Whether the stream is still the one that was opened, and the sequence of its last message.
    ///
    /// # Errors
    /// `NotFound` if it was deleted or made anew, `Unavailable` if the server does not say.
    pub(super) async fn check(&self) -> Result<u64> {
        let operation = "look at stream";
        let name = &self.stream.cached_info().config.name;
        let gone = || {
            Error::new(ErrorKind::NotFound, operation)
                .detail("the stream was deleted or made anew")
                .with("stream", name)
        };
        match self.context.get_stream(name).await {
            Ok(now) if stream::incarnation(now.cached_info()) == self.incarnation => {
                Ok(now.cached_info().state.last_sequence)
            }
            Ok(_) => Err(gone()),
            Err(cause) => match cause.kind() {
                GetStreamErrorKind::JetStream(error) if error.code() == 404 => Err(gone()),
                _ => Err(Error::new(ErrorKind::Unavailable, operation).with("stream", name).because(cause)),
            },
        }
    }

    /// The origins of which the stream holds messages.
    async fn origins(&self) -> Result<Vec<Origin>> {
        let unavailable = |cause| Error::new(ErrorKind::Unavailable, "list origins").because(cause);
        let mut subjects = self.stream.info_with_subjects(self.filter()).await.map_err(unavailable)?;
        let mut origins = Vec::new();
        while let Some(subject) = subjects.next().await {
            origins.extend(self.origin(&subject.map_err(unavailable)?.0));
        }
        Ok(origins)
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.check().await?;
        let mut origins = BTreeMap::new();
        for origin in self.origins().await? {
            let subject = self.subject(origin);
            let first = find::first(&self.stream, &subject, origin).await?;
            let last = find::tail(&self.stream, &subject, origin).await?.last;
            // An entry whose first parts were removed is none.
            if let Some(first) = first
                && first <= last
            {
                origins.insert(origin, (first, last));
            }
        }
        Ok(Bounds { origins, incarnation: self.incarnation.clone() })
    }

    /// Where in the stream to begin so that everything behind `named` is found.
    async fn place(&self, named: &Positions) -> Result<u64> {
        let last = self.check().await?;
        let bounds = self.bounds().await?;
        let mut place = last + 1;
        for (origin, (first, _)) in &bounds.origins {
            let subject = self.subject(*origin);
            let n = named.get(origin).copied();
            if let Some(n) = n
                && n.saturating_add(1) < *first
            {
                return Err(removed(*origin, n).with("first", first));
            }
            let from = find::locate(&self.stream, &subject, *origin, n.unwrap_or(0), last).await?;
            place = place.min(from);
        }
        Ok(place)
    }
}

impl Connection {
    /// Opens the journal of a feed, and makes its stream what `spec` says.
    ///
    /// # Errors
    /// `Conflict` for a change of the stream that would lose messages (its hint is the command that makes it all the
    /// same), `Invalid` for a stream that the server does not take, `Unsupported` if it takes less than 1 KiB in a
    /// message, `Unavailable` if it cannot be reached or has no JetStream.
    pub async fn journal(&self, spec: &JournalSpec) -> Result<NatsJournal> {
        let most = self.payload_bytes_max();
        if most < PAYLOAD_BYTES_MIN {
            return Err(Error::new(ErrorKind::Unsupported, "open journal")
                .detail("the server takes too little in one message")
                .with("max_payload", most)
                .hint("set `max_payload: 8MB` in the server's configuration"));
        }
        let context = jetstream::new(self.client.clone());
        let stream = stream::declare(&context, &spec.stream).await?;
        let incarnation = stream::incarnation(stream.cached_info());
        tracing::info!(stream = spec.stream.name, "{ON_DISK}");
        let prefix = format!("{}.{}.log", spec.environment, spec.feed);
        let connection = self.clone();
        let ended = CancellationToken::new();
        let shared = Arc::new(Shared { connection, context, stream, incarnation, prefix, ended });
        let (queue, queued) = mpsc::channel(QUEUE_BATCHES_MAX);
        let mut tasks = Tasks::new();
        let writer = Writer::new(shared.clone(), queued).await?;
        tasks.spawn("nats journal", writer.run());
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        Ok(NatsJournal { shared, queue, room, _tasks: tasks })
    }
}

impl NatsJournal {
    /// Ends the journal: it takes nothing more, what is queued is still written, and readers end when they have read
    /// all that is in the stream.
    pub fn close(&self) {
        self.shared.ended.cancel();
    }

    /// Removes the entries of every named origin below the named number. Readers that have not read them are told of
    /// a hole.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached or does not allow it.
    pub async fn trim(&self, below: &Positions) -> Result<()> {
        let last = self.shared.check().await?;
        for (origin, n) in below {
            let subject = self.shared.subject(*origin);
            let at = find::behind(&self.shared.stream, &subject, *origin, n.saturating_sub(1), last).await?;
            let purge = self.shared.stream.purge().filter(subject).sequence(at);
            purge.await.map_err(|cause| {
                Error::new(ErrorKind::Unavailable, "trim stream").with("origin", origin).because(cause)
            })?;
        }
        Ok(())
    }
}

impl Drop for NatsJournal {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Journal for NatsJournal {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let operation = "append to journal";
        if let Some(entry) = batch.iter().find(|entry| entry.payload.len() > PAYLOAD_BYTES_MAX) {
            return Err(Error::new(ErrorKind::Invalid, operation)
                .detail("payload too large")
                .with("entry", entry.id)
                .with("bytes", entry.payload.len()));
        }
        let closed = || Error::new(ErrorKind::Closed, operation);
        if self.shared.ended.is_cancelled() {
            return Err(closed());
        }
        if batch.is_empty() {
            return Ok(Pending::ready());
        }
        let bytes = batch.iter().map(|entry| ENTRY_BYTES + entry.payload.len()).sum::<usize>();
        // A batch above the whole queue has it for itself.
        let bytes = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let queued = async {
            let room = self.room.clone().acquire_many_owned(bytes).await.map_err(|_| closed())?;
            let place = self.queue.reserve().await.map_err(|_| closed())?;
            let (done, pending) = Pending::new();
            place.send(Batch { entries: batch, done, _room: room });
            Ok(pending)
        };
        tokio::select! {
            biased;
            queued = queued => queued,
            () = self.shared.ended.cancelled() => Err(closed()),
        }
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let shared = &self.shared;
        let (place, positions) = match start {
            Start::Oldest => {
                shared.check().await?;
                (1, Positions::new())
            }
            Start::Newest => {
                let last = shared.check().await?;
                let bounds = shared.bounds().await?;
                (last + 1, bounds.origins.into_iter().map(|(origin, (_, last))| (origin, last)).collect())
            }
            Start::After(named) => (shared.place(&named).await?, named),
        };
        Ok(Box::new(Reader::open(shared.clone(), place, positions).await?))
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.shared.bounds().await
    }
}
