//! What stands between `append` and the disk: a bounded queue of encoded entries, shared with the writer thread.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::{Clock, Entry, Error, ErrorKind, Origin, Pending, Result};
use tokio::sync::{Semaphore, oneshot, watch};

use super::Options;
use super::format::{self, ENTRY_BYTES, HEADER_BYTES, N_MAX, Tip};
use super::mark::Mark;

/// What the smallest batch takes of the queue's room, in bytes, so that empty batches are bounded too.
const BATCH_COST_MIN: usize = 64;

/// What segments begun for the batch that is queued and the one that is being written may add, in bytes.
const SEGMENTS_RESERVE: u64 = 2 * HEADER_BYTES as u64;

/// What the handles, the writer thread and the readers of one log share.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) origin: Origin,
    pub(super) options: Options,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) published: watch::Sender<Published>,
    /// Bytes of all segments, those that are still queued included.
    pub(super) bytes: AtomicU64,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Held by the one append that is waiting for room, so that batches queue in the order of the calls.
    turn: Semaphore,
    /// Bytes that may still be queued or on their way to the disk.
    room: Semaphore,
    seed: u32,
}

/// What readers in this process follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) mark: Mark,
    pub(super) ended: bool,
}

struct Queue {
    state: State,
    /// Encoded entries, the number of the first, and where the log will stand after the last.
    buffer: Vec<u8>,
    first: u64,
    tip: Tip,
    /// What was taken of `room` for them.
    cost: usize,
    waiting: Vec<oneshot::Sender<Result<()>>>,
    requests: Vec<Request>,
    /// Whether the writer sleeps until there is something to do.
    idle: bool,
}

impl Queue {
    /// Whether there is nothing for the writer to do.
    fn is_quiet(&self) -> bool {
        let busy = !self.waiting.is_empty() || !self.requests.is_empty();
        !busy && matches!(self.state, State::Open | State::Full)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The disk had no room; nothing is taken before the writer has seen some.
    Full,
    Closing {
        clean: bool,
    },
    /// The writer has ended; with the reason, if it failed.
    Ended(Option<String>),
}

/// An append that found the log full asks for so many bytes.
pub(super) struct Request {
    pub(super) need: u64,
    pub(super) done: oneshot::Sender<()>,
}

/// What the writer takes from the queue at once; the encoded entries are in its own buffer.
pub(super) struct Work {
    pub(super) first: u64,
    pub(super) tip: Tip,
    pub(super) cost: usize,
    pub(super) waiting: Vec<oneshot::Sender<Result<()>>>,
    pub(super) requests: Vec<Request>,
    /// Whether the log is being closed, and if so, whether in order.
    pub(super) closing: Option<bool>,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, options: Options, clock: Arc<dyn Clock>, mark: Mark, bytes: u64) -> Self {
        let queue = Queue {
            state: State::Open,
            buffer: Vec::with_capacity(options.queue_bytes),
            first: 0,
            tip: mark.tip,
            cost: 0,
            waiting: Vec::new(),
            requests: Vec::new(),
            idle: false,
        };
        Self {
            dir,
            origin: mark.origin,
            clock,
            published: watch::Sender::new(Published { mark, ended: false }),
            bytes: AtomicU64::new(bytes),
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            turn: Semaphore::new(1),
            room: Semaphore::new(options.queue_bytes),
            seed: format::seed(mark.origin),
            options,
        }
    }

    /// As [`ssmd_core::Journal::append`]; `cap` is the size that the log must not pass.
    pub(super) async fn append(&self, batch: &[Entry], cap: u64) -> Result<Pending> {
        let bytes = self.check(batch)?;
        let _turn = self.turn.acquire().await.map_err(|_| self.closed())?;
        let cost = bytes.max(BATCH_COST_MIN).min(self.options.queue_bytes);
        let permits = u32::try_from(cost).unwrap_or(u32::MAX);
        let room = self.room.acquire_many(permits).await.map_err(|_| self.closed())?;
        let pending = match self.enqueue(batch, permits as usize, cap) {
            Err(error) if error.kind() == ErrorKind::Full => {
                self.ask_for_room(bytes as u64 + SEGMENTS_RESERVE).await?;
                self.enqueue(batch, permits as usize, cap)?
            }
            answer => answer?,
        };
        room.forget();
        Ok(pending)
    }

    fn check(&self, batch: &[Entry]) -> Result<usize> {
        let mut bytes = 0;
        for entry in batch {
            let invalid =
                |why| Error::new(ErrorKind::Invalid, "append to log").detail(why).with("entry", entry.id);
            if entry.payload.len() > PAYLOAD_BYTES_MAX {
                return Err(invalid("a payload is above the bound").with("bytes", entry.payload.len()));
            }
            if entry.id.origin != self.origin {
                return Err(invalid("this log holds one origin").with("origin", self.origin));
            }
            if entry.id.n > N_MAX {
                return Err(invalid("a number is above the bound"));
            }
            bytes += ENTRY_BYTES + entry.payload.len();
        }
        Ok(bytes)
    }

    /// Encodes what is new in the batch into the queue, or changes nothing.
    fn enqueue(&self, batch: &[Entry], cost: usize, cap: u64) -> Result<Pending> {
        let mut queue = self.queue();
        let mut last = queue.tip.n;
        let mut fresh = 0;
        for entry in batch.iter().filter(|entry| entry.id.n > queue.tip.n) {
            fresh += (ENTRY_BYTES + entry.payload.len()) as u64;
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        match &queue.state {
            State::Open if fresh == 0 || bytes.saturating_add(fresh + SEGMENTS_RESERVE) <= cap => {}
            State::Open | State::Full => return Err(self.full(bytes)),
            State::Closing { .. } | State::Ended(_) => return Err(closed(&queue.state)),
        }
        if queue.buffer.is_empty() {
            queue.first = batch.iter().find(|entry| entry.id.n > last).map_or(0, |entry| entry.id.n);
        }
        let before = queue.buffer.len();
        for entry in batch {
            if entry.id.n > last {
                format::encode(entry, self.seed, &mut queue.buffer);
                queue.tip.observe(entry);
                last = entry.id.n;
            }
        }
        self.bytes.fetch_add((queue.buffer.len() - before) as u64, Ordering::Relaxed);
        let (done, pending) = Pending::new();
        queue.waiting.push(done);
        queue.cost += cost;
        self.wake(&queue);
        Ok(pending)
    }

    pub(super) async fn ask_for_room(&self, need: u64) -> Result<()> {
        let (done, answer) = oneshot::channel();
        {
            let mut queue = self.queue();
            if matches!(queue.state, State::Closing { .. } | State::Ended(_)) {
                return Err(closed(&queue.state));
            }
            queue.requests.push(Request { need, done });
            self.wake(&queue);
        }
        answer.await.map_err(|_| self.closed())
    }

    fn wake(&self, queue: &Queue) {
        if queue.idle || self.is_urgent(queue) {
            self.wake.notify_all();
        }
    }

    /// Whether the writer should not let the queue gather any longer.
    fn is_urgent(&self, queue: &Queue) -> bool {
        let busy = matches!(queue.state, State::Open | State::Full);
        !busy || !queue.requests.is_empty() || queue.cost > self.options.queue_bytes / 2
    }

    /// Asks the writer to write what is queued and to end.
    pub(super) fn close(&self, clean: bool) {
        let mut queue = self.queue();
        if matches!(queue.state, State::Open | State::Full) {
            queue.state = State::Closing { clean };
        }
        self.wake.notify_all();
    }

    /// What went wrong, if the writer ended because of it.
    pub(super) fn failure(&self) -> Option<Error> {
        let queue = self.queue();
        matches!(queue.state, State::Ended(Some(_))).then(|| closed(&queue.state))
    }

    /// Whether [`Shared::take`] would return at once.
    pub(super) fn has_work(&self) -> bool {
        !self.queue().is_quiet()
    }

    /// Waits until there is something to do and takes all of it, the encoded entries into `buffer`.
    pub(super) fn take(&self, buffer: &mut Vec<u8>) -> Work {
        let mut queue = self.queue();
        queue.idle = true;
        queue = self.wake.wait_while(queue, |queue| queue.is_quiet()).unwrap_or_else(PoisonError::into_inner);
        queue.idle = false;
        buffer.clear();
        std::mem::swap(buffer, &mut queue.buffer);
        Work {
            first: queue.first,
            tip: queue.tip,
            cost: std::mem::take(&mut queue.cost),
            waiting: std::mem::take(&mut queue.waiting),
            requests: std::mem::take(&mut queue.requests),
            closing: match queue.state {
                State::Closing { clean } => Some(clean),
                _ => None,
            },
        }
    }

    /// Lets the queue gather for a while, but no longer than it is half full.
    ///
    /// This paces the disk, not the data, so it is the machine's time and not the [`Clock`]'s.
    pub(super) fn pause(&self, pause: Duration) {
        let queue = self.queue();
        let _woken = self
            .wake
            .wait_timeout_while(queue, pause, |queue| !self.is_urgent(queue))
            .unwrap_or_else(PoisonError::into_inner);
    }

    /// Waits so long, and says whether the log is to be closed; at once if it is. As in [`Shared::pause`], the
    /// machine's time.
    pub(super) fn closes_within(&self, time: Duration) -> bool {
        let open = |queue: &mut Queue| matches!(queue.state, State::Open | State::Full);
        let waited = self.wake.wait_timeout_while(self.queue(), time, open);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !open(&mut queue)
    }

    /// Gives room back that a batch took.
    pub(super) fn release(&self, cost: usize) {
        self.room.add_permits(cost);
    }

    /// Takes nothing more until [`Shared::reopen`], forgets what is queued, and stands again at `tip`.
    /// Gives who waits for it, and how many bytes it was.
    pub(super) fn drop_queued(&self, tip: Tip) -> (Vec<oneshot::Sender<Result<()>>>, u64) {
        let mut queue = self.queue();
        if queue.state == State::Open {
            queue.state = State::Full;
        }
        let session = queue.tip.session.max(tip.session);
        queue.tip = Tip { session, ..tip };
        let bytes = queue.buffer.len() as u64;
        queue.buffer.clear();
        self.release(std::mem::take(&mut queue.cost));
        (std::mem::take(&mut queue.waiting), bytes)
    }

    /// The disk has room again.
    pub(super) fn reopen(&self) {
        let mut queue = self.queue();
        if queue.state == State::Full {
            queue.state = State::Open;
        }
    }

    /// The writer has ended: whoever waits is told so. Does nothing the second time.
    pub(super) fn end(&self, failure: Option<String>) {
        let (waiting, state) = {
            let mut queue = self.queue();
            if matches!(queue.state, State::Ended(_)) {
                return;
            }
            queue.state = State::Ended(failure);
            queue.requests.clear();
            queue.buffer = Vec::new();
            (std::mem::take(&mut queue.waiting), queue.state.clone())
        };
        self.room.close();
        self.turn.close();
        for done in waiting {
            // A pending that was dropped does not want to know.
            let _ = done.send(Err(closed(&state)));
        }
        self.published.send_modify(|published| published.ended = true);
    }

    fn full(&self, bytes: u64) -> Error {
        Error::new(ErrorKind::Full, "append to log")
            .with("path", self.dir.display())
            .with("bytes", bytes)
            .with("max_bytes", self.options.max_bytes)
            .hint("archive what it holds, free disk space, or raise the log's cap")
    }

    fn closed(&self) -> Error {
        closed(&self.queue().state)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed(state: &State) -> Error {
    let error = Error::new(ErrorKind::Closed, "append to log");
    match state {
        State::Ended(Some(why)) => error.detail(why.clone()),
        _ => error,
    }
}
