//! The local log: a journal embedded in the process, durable, one directory a feed, no server.
//!
//! One writer (this is what the lock is for) appends to the newest segment file and syncs in groups; readers in
//! this process and in others follow the durable watermark and never pass it. Nothing is deleted that is not
//! archived. "Durable" means that `fdatasync` has returned for the file that holds the entry.
//!
//! It knows nothing of frames but when the last one was received, and nothing of archives but how far they cover
//! the log. `docs/formats/log.md` describes the files, `docs/decisions/0002-local-log.md` why they are our own.

pub mod format;

mod disk;
mod files;
mod inspect;
mod mark;
mod queue;
mod reader;
mod recover;
mod retain;
mod step;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use ssmd_core::entry::note;
use ssmd_core::{
    Bounds, Clock, Day, Entries, Entry, EntryId, EntryKind, Error, ErrorKind, FeedName, Journal, Origin,
    Pending, Result, SessionId, Start,
};
use tokio::sync::oneshot;

pub use disk::{Disk, System};
pub use format::LastEntry;
pub use inspect::{Inspection, Segment, inspect};
pub use reader::{LogReader, POLL};
pub use retain::{cover, cover_on, covered};
pub use step::Stepper;

use files::Lock;
use queue::Shared;
use reader::Follower;
use recover::Recovered;
use writer::{Active, Writer};

type Done = oneshot::Sender<Result<()>>;

/// The bounds of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment that has reached this many bytes is sealed and a new one is begun. One batch is never split, so a
    /// segment may be longer by what the queue holds.
    pub segment_bytes: u64,
    /// The hard cap: the most bytes of all segments. Above it nothing is taken (`Full`).
    pub max_bytes: u64,
    /// How long a segment is kept after it was sealed, though it is covered; less only if the cap is reached.
    pub retain: Duration,
    /// The most encoded bytes that wait for the disk, those that are being written included.
    pub queue_bytes: usize,
    /// How long to gather after each sync before the next one. It is not waited when the queue is half full.
    pub sync_pause: Duration,
}

impl Default for Options {
    /// 64 MiB a segment, 16 GiB in all, an hour, 8 MiB of queue, 2 ms.
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            max_bytes: 16 * 1024 * 1024 * 1024,
            retain: Duration::from_secs(3600),
            queue_bytes: 8 * 1024 * 1024,
            sync_pause: Duration::from_millis(2),
        }
    }
}

impl Options {
    fn check(&self) -> Result<()> {
        let invalid = |why| Err(Error::new(ErrorKind::Invalid, "open log").detail(why));
        if self.segment_bytes == 0 || self.max_bytes < self.segment_bytes {
            return invalid("a segment must hold something, and the log at least one segment");
        }
        if self.queue_bytes == 0 || self.queue_bytes > u32::MAX as usize {
            return invalid("the queue must hold something, and less than 4 GiB");
        }
        Ok(())
    }
}

/// Where a log stood when it was opened, its new epoch entry included: from here capture goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number of the next entry.
    pub next: u64,
    /// The number of the next session.
    pub next_session: u64,
    /// The day the log is in; it is the writer's task to roll it.
    pub day: Day,
    /// The last frame that was received before, if there was one: where a gap begins after a crash.
    pub last: Option<LastEntry>,
    /// Whether the epoch before was closed in order; true for a new log.
    pub clean: bool,
}

/// A log that is open for writing. Clones are handles of the same log.
///
/// When the last handle is dropped without [`Log::close`], what is queued is still written and the lock is
/// released, but the next epoch will say that this one was not closed in order.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    position: Position,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log in `dir` for writing, or makes a new one there, and writes its next epoch entry.
    ///
    /// # Errors
    /// `Conflict` if it is open for writing elsewhere (the context `holder` says where), `Invalid` if it is the log
    /// of another feed, if the directory holds foreign things, or for options that contradict one another,
    /// `Corrupt` if it cannot be told any more which log it is, `Full` if the disk has no room for the epoch.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the log closed, at the latest when the recovery that was begun has ended.
    pub async fn open(dir: &Path, feed: &FeedName, options: Options, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_on(dir, feed, options, clock, Arc::new(System)).await
    }

    async fn open_on(
        dir: &Path,
        feed: &FeedName,
        options: Options,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self> {
        options.check()?;
        let (path, name, now) = (dir.to_owned(), feed.clone(), clock.now());
        let on = Arc::clone(&disk);
        let recovering = tokio::task::spawn_blocking(move || {
            files::prepare(&path)?;
            let lock = Lock::take(&path, now)?;
            recover::recover(&*on, &path, &name, now, Origin::new_random()).map(|recovered| (lock, recovered))
        });
        let (lock, recovered) =
            recovering.await.map_err(|cause| Error::new(ErrorKind::Bug, "recover log").because(cause))??;
        let epoch = epoch_entry(feed, &recovered, &*clock);
        let (log, writer) = Self::assemble(dir, feed, options, clock, disk, (lock, recovered));
        log.start(writer)?;
        // The cap does not hold for an epoch: what it says must be known even of a log that is full.
        log.0.shared.append(&[epoch], u64::MAX).await?.await?;
        Ok(log)
    }

    /// The handle and what writes for it, which does not run yet.
    fn assemble(
        dir: &Path,
        feed: &FeedName,
        options: Options,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        (lock, recovered): (Lock, Recovered),
    ) -> (Self, Writer) {
        let Recovered { mark_file, mark, written, clean, active, sealed, bytes, .. } = recovered;
        let position = Position {
            next: mark.tip.n + 2,
            next_session: mark.tip.session + 1,
            day: mark.tip.day,
            last: mark.tip.last,
            clean,
        };
        let retained_at = clock.elapsed();
        let shared = Arc::new(Shared::new(dir.to_owned(), options, clock, mark, bytes));
        let active = active.map(|(first, file, offset)| {
            let path = files::segment_path(dir, first);
            Active { first, offset, file, path }
        });
        let (lock, feed) = (Some(lock), feed.clone());
        let writer = Writer {
            shared: Arc::clone(&shared),
            feed,
            disk,
            lock,
            mark_file,
            mark,
            written,
            active,
            sealed,
            retained_at,
            begun: false,
        };
        (Self(Arc::new(Handle { shared, position, thread: Mutex::new(None) })), writer)
    }

    fn start(&self, writer: Writer) -> Result<()> {
        let thread = std::thread::Builder::new()
            .name("ssmd-log".to_owned())
            .spawn(move || writer.run())
            .map_err(|cause| Error::io("start log writer", cause))?;
        *self.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Which log it is: half of the identity of every entry in it.
    pub fn origin(&self) -> Origin {
        self.0.shared.origin
    }

    /// Where it stood when it was opened.
    pub fn position(&self) -> Position {
        self.0.position
    }

    /// The watermark: every entry up to this number is durable.
    pub fn durable(&self) -> u64 {
        self.0.shared.published.borrow().mark.tip.n
    }

    /// Bytes of all its segments, what is queued for them included.
    pub fn bytes(&self) -> u64 {
        self.0.shared.bytes.load(Ordering::Relaxed)
    }

    /// Writes and syncs what is queued, marks the log as closed in order, and releases the lock. A second call
    /// waits for the same.
    ///
    /// # Errors
    /// `Closed`, with what went wrong, if the disk failed now or earlier.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the closing once it has begun.
    pub async fn close(&self) -> Result<()> {
        let shared = &self.0.shared;
        shared.close(true);
        // The sender is in `shared`, so it is alive.
        let _ = shared.published.subscribe().wait_for(|published| published.ended).await;
        self.0.join();
        shared.failure().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Log");
        shown.field("dir", &self.0.shared.dir).field("origin", &self.origin()).finish_non_exhaustive()
    }
}

impl Handle {
    /// Waits for the writer's thread, which is about to end.
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(path = %self.shared.dir.display(), "the log's writer thread panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(false);
        self.join();
    }
}

fn epoch_entry(feed: &FeedName, recovered: &Recovered, clock: &dyn Clock) -> Entry {
    let note = note::Epoch {
        epoch: recovered.mark.epoch,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feed: feed.as_str().to_owned(),
        clean: recovered.clean,
        cut_bytes: recovered.cut_bytes,
    };
    Entry {
        id: EntryId { origin: recovered.mark.origin, n: recovered.mark.tip.n + 1 },
        day: recovered.mark.tip.day,
        at: clock.now(),
        elapsed: clock.elapsed(),
        session: SessionId(0),
        index: 0,
        kind: EntryKind::Epoch,
        binary: false,
        more: false,
        payload: note::encode(&note),
    }
}

/// See [`Log`] for what "durable" means. Entries of another origin are `Invalid`.
#[async_trait]
impl Journal for Log {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        self.0.shared.append(&batch, self.0.shared.options.max_bytes).await
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let shared = &self.0.shared;
        let published = shared.published.subscribe();
        let seen = published.borrow().mark;
        let source = reader::Source::Watch { published, seen };
        Ok(Box::new(Follower::new(shared.dir.clone(), source, start)?))
    }

    async fn bounds(&self) -> Result<Bounds> {
        let mark = self.0.shared.published.borrow().mark;
        inspect::bounds(&self.0.shared.dir, &mark)
    }
}
