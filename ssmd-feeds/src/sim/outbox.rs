//! The queue between the exchange and one connection's socket: bounded in bytes by the exchange, which asks
//! [`Outbox::bytes`] before it pushes, so that each connection's slowness is its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

/// The most frames that a connection takes at once: enough for writes of hundreds of kilobytes, few enough that
/// it hears its client between them.
const TAKE_FRAMES_MAX: usize = 1024;

/// What goes on the wire, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// A text frame of the venue's own making.
    Said(Utf8Bytes),
    /// A text frame of a recording; handed back if the connection ends before it was sent.
    Played(Utf8Bytes),
    /// A Close frame (1000). Nothing after it is sent.
    Close,
    /// A ping.
    Ping,
    /// A text frame of any bytes, for faults.
    Raw(Bytes),
    /// A text frame that comes byte by byte, so far apart. Nothing after it is sent.
    Drip(Utf8Bytes, Duration),
    /// The end, without a Close frame.
    Cut,
    /// The socket stays open, and nothing is sent or answered any more.
    Stall,
}

impl Wire {
    /// The text of a frame that is whole and in order.
    pub(super) fn text(&self) -> Option<&Utf8Bytes> {
        match self {
            Self::Said(text) | Self::Played(text) => Some(text),
            _ => None,
        }
    }

    /// What is handed back if the connection ends before it was sent.
    pub(super) fn played(self) -> Option<Utf8Bytes> {
        match self {
            Self::Played(text) => Some(text),
            _ => None,
        }
    }

    /// What it costs in the queue. A fault's own bytes are not the client's slowness.
    fn bytes(&self) -> usize {
        self.text().map_or(0, |text| text.len()) + FRAME_BYTES
    }
}

/// What a queued frame costs besides its text, roughly.
const FRAME_BYTES: usize = std::mem::size_of::<Wire>();

/// One connection's queue.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<VecDeque<Wire>>,
    /// Of frames that wait or are being sent.
    bytes: AtomicUsize,
    /// Frames that wait.
    waiting: AtomicUsize,
    /// Text frames that are with the operating system.
    frames: AtomicU64,
    filled: Notify,
    room: Arc<Notify>,
    cut: CancellationToken,
}

impl Outbox {
    /// An empty queue that notifies `room` whenever its connection took something.
    pub(super) fn new(room: Arc<Notify>) -> Self {
        Self {
            queue: Mutex::default(),
            bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            frames: AtomicU64::new(0),
            filled: Notify::new(),
            room,
            cut: CancellationToken::new(),
        }
    }

    /// How many bytes wait or are being sent.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Queues all of `batch`.
    pub(super) fn push(&self, batch: impl IntoIterator<Item = Wire>) {
        let mut queue = self.lock();
        let mut bytes = 0;
        queue.extend(batch.into_iter().inspect(|wire| bytes += wire.bytes()));
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.waiting.store(queue.len(), Ordering::Release);
        drop(queue);
        self.filled.notify_one();
    }

    /// Ends the connection at once, without a Close frame.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    /// Whether it was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    /// The recorded frames that nobody took.
    pub(super) fn played(&self) -> Vec<Utf8Bytes> {
        let queue = std::mem::take(&mut *self.lock());
        self.waiting.store(0, Ordering::Release);
        queue.into_iter().filter_map(Wire::played).collect()
    }

    /// Resolves when the connection must end at once.
    pub(super) async fn cut_off(&self) {
        self.cut.cancelled().await;
    }

    /// Waits for something to send. Cancel safe: takes nothing.
    pub(super) async fn filled(&self) {
        while self.waiting.load(Ordering::Acquire) == 0 {
            self.filled.notified().await;
        }
    }

    /// Takes the next frames, some hundreds at most; says how many bytes [`Outbox::taken`] shall report later.
    pub(super) fn take(&self, batch: &mut VecDeque<Wire>) -> usize {
        let mut queue = self.lock();
        let count = queue.len().min(TAKE_FRAMES_MAX);
        let mut bytes = 0;
        batch.extend(queue.drain(..count).inspect(|wire| bytes += wire.bytes()));
        self.waiting.store(queue.len(), Ordering::Release);
        bytes
    }

    /// How many text frames are with the operating system.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Acquire)
    }

    /// Says that so many text frames more are with the operating system.
    pub(super) fn sent(&self, frames: u64) {
        self.frames.fetch_add(frames, Ordering::AcqRel);
    }

    /// Says that all that was taken, so many bytes, is with the operating system.
    pub(super) fn taken(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.room.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Wire>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
