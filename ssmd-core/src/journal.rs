//! A journal keeps the entries of one feed in order, durably.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::{Entry, Error, ErrorKind, Origin, Result};

/// The last number known of each origin.
pub type Positions = BTreeMap<Origin, u64>;

/// Keeps the entries of one feed, in order, under the identities they came with.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Queues a batch, in the order of the calls, and returns at once if there is room; else it waits for room.
    /// The [`Pending`] resolves when every entry of the batch is durable, in the sense that the backend documents:
    /// then [`Journal::bounds`] and new readers see it. An empty batch is durable at once.
    ///
    /// An entry whose number is at or below its origin's last is ignored: a repeat changes nothing, within a batch,
    /// after a restart, and when the entry itself has been removed. A number that skips some is kept, and the hole
    /// is reported to readers.
    ///
    /// # Errors
    /// `Full` at the hard cap, `Invalid` for a payload above [`crate::entry::PAYLOAD_BYTES_MAX`], `Closed` when
    /// the journal is. Nothing of the batch was queued then.
    ///
    /// # Cancel safety
    /// Dropping the future before it resolves queues nothing. Dropping the [`Pending`] changes nothing.
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending>;

    /// Reads from `start` on, and follows what is appended.
    ///
    /// # Errors
    /// `NotFound` if `start` lies before what the journal still has (context `origin` and `n`): see [`removed`].
    async fn read(&self, start: Start) -> Result<Box<dyn Entries>>;

    /// What it holds now, of what is durable.
    ///
    /// # Errors
    /// As the backend's own.
    async fn bounds(&self) -> Result<Bounds>;
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest entry that is kept, of every origin.
    Oldest,
    /// After what is durable now.
    Newest,
    /// After these; origins that are not named, or that appear later, from their oldest.
    After(Positions),
}

/// A reader of a journal.
#[async_trait]
pub trait Entries: Send {
    /// Waits for entries that are durable, and gives at least one and at most `max`, in order within each origin.
    /// It never shows what is not durable.
    ///
    /// # Errors
    /// `Hole` when numbers are missing (context `origin`, `from`, `to`, both ends included), once, after what came
    /// before it; the next call goes on behind it. Entries that were removed before they could be read are a hole
    /// too; what lies before the first entry of an origin is none. `Corrupt` for damage, `Closed` when the journal has ended and all has been read.
    ///
    /// # Cancel safety
    /// Safe: dropping the future loses no entry.
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>>;
}

/// What a journal holds, of what is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// First and last number of each origin that has any.
    pub origins: BTreeMap<Origin, (u64, u64)>,
    /// Changes when the journal was created anew: numbers seen before mean nothing then.
    pub incarnation: String,
}

/// Resolves when a batch is durable.
#[derive(Debug)]
#[must_use = "an entry is not durable before this resolves"]
pub struct Pending(oneshot::Receiver<Result<()>>);

impl Pending {
    /// A pending batch and what resolves it. A dropped sender resolves it as `Closed`.
    pub fn new() -> (oneshot::Sender<Result<()>>, Self) {
        let (done, pending) = oneshot::channel();
        (done, Self(pending))
    }

    /// A batch that is durable already.
    pub fn ready() -> Self {
        let (done, pending) = Self::new();
        // The receiver is alive: it is returned.
        let _ = done.send(Ok(()));
        pending
    }
}

impl Future for Pending {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "append to journal"))))
    }
}

/// Numbers of one origin, both ends included.
pub type Range = (Origin, u64, u64);

/// Reads a journal behind these positions, or from where it begins, and says what it no longer has in between. What
/// is removed while it is opened is said too.
///
/// # Errors
/// As for [`Journal::read`] and [`Journal::bounds`]; `NotFound` if that is not for what was removed.
pub async fn read_after(
    journal: &dyn Journal,
    mut positions: Positions,
) -> Result<(Box<dyn Entries>, Vec<Range>)> {
    let mut skipped = Vec::new();
    loop {
        let gone = match journal.read(Start::After(positions.clone())).await {
            Err(error) if error.kind() == ErrorKind::NotFound => error,
            entries => return Ok((entries?, skipped)),
        };
        let before = skipped.len();
        for (origin, (first, _)) in journal.bounds().await?.origins {
            if let Some(position) = positions.get_mut(&origin).filter(|position| first > **position + 1) {
                skipped.push((origin, *position + 1, first - 1));
                *position = first - 1;
            }
        }
        if skipped.len() == before {
            return Err(gone);
        }
    }
}

/// The error of a reader that found numbers missing.
pub fn hole(origin: Origin, from: u64, to: u64) -> Error {
    Error::new(ErrorKind::Hole, "read journal").with("origin", origin).with("from", from).with("to", to)
}

/// The error of a reader that shall begin after `n` where the journal no longer has what follows.
pub fn removed(origin: Origin, n: u64) -> Error {
    Error::new(ErrorKind::NotFound, "read journal")
        .detail("the start lies before what is kept")
        .with("origin", origin)
        .with("n", n)
}
