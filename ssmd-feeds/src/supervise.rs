//! Keeps one session open for as long as it is wanted: connects within the venue's limits, hears, and connects
//! again. One session's end touches no other.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{
    Clock, Error, ErrorKind, FeedName, Frame, Frames, GapCause, Metrics, Result, Session, SessionId, Symbol,
    Wanted, metrics,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::budget::ConnectBudget;
use crate::capture::{CaptureStatus, Link};

/// What a session tells the one who numbers entries.
#[derive(Debug)]
pub(crate) enum Told {
    Opened {
        shard: usize,
        session: SessionId,
        url: String,
        wanted: Vec<String>,
        /// Told every index below which frames are durable.
        tell: watch::Sender<u64>,
    },
    Frames(Vec<Frame>),
    Closed {
        session: SessionId,
        cause: GapCause,
        detail: String,
    },
}

/// Frames taken from a session at once.
const FRAMES_PER_BATCH: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");
/// How long a session may take to close in order, whatever its venue is.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// A session that lived this long was healthy, so the next attempt to connect is soon.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// The most bytes of the list of topics that an opening tells; what we sent tells all of them.
const WANTED_BYTES_MAX: usize = 256 * 1024;
/// The longest reason for an end that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 500;

/// Keeps one session open.
pub(crate) struct Supervisor {
    pub(crate) shard: usize,
    pub(crate) feed: FeedName,
    pub(crate) session: Arc<dyn Session>,
    pub(crate) wanted: watch::Receiver<Arc<Wanted>>,
    pub(crate) events: mpsc::Sender<Told>,
    pub(crate) resync: mpsc::Receiver<Symbol>,
    pub(crate) budget: Arc<ConnectBudget>,
    pub(crate) ids: Ids,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) status: Arc<CaptureStatus>,
    pub(crate) backoff: Backoff,
    /// How many connections it has opened.
    pub(crate) connections: u64,
    pub(crate) stop: CancellationToken,
}

/// Why hearing one session has ended.
enum End {
    /// It is not wanted any more, or the feed has no more.
    Done(&'static str),
    Failed(Error),
}

/// What a session woke up for.
enum Event {
    Stop,
    Resync(Symbol),
    Durable(u64),
    Heard(Result<Vec<Frame>>),
}

impl Supervisor {
    /// Opens sessions, one after another, until none is wanted any more.
    pub(crate) async fn run(mut self) -> Result<()> {
        let ran = self.keep_open().await;
        self.status.set_link(self.shard, Link::Ended);
        ran
    }

    async fn keep_open(&mut self) -> Result<()> {
        // An attempt that failed opened nothing, so its number is not used up.
        let mut reserved = None;
        loop {
            let id = *reserved.get_or_insert_with(|| self.ids.take());
            let stop = self.stop.clone();
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                opened = self.open(id) => opened,
            };
            let wait = match opened {
                Ok(frames) => {
                    reserved = None;
                    let since = self.clock.elapsed();
                    let Some(end) = self.session(id, frames).await else { return Ok(()) };
                    let End::Failed(error) = end else { return Ok(()) };
                    if self.clock.elapsed().saturating_sub(since) >= HEALTHY_AFTER {
                        self.backoff.reset();
                    }
                    error.wait()
                }
                Err(error) => {
                    self.refused(&error);
                    error.wait()
                }
            };
            let wait = self.backoff.next(wait);
            tracing::debug!(feed = %self.feed, ?wait, "connecting again");
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    /// Opens a connection as soon as the venue's limits allow.
    async fn open(&self, id: SessionId) -> Result<Box<dyn Frames>> {
        while let Err(wait) = self.budget.take(&self.clock).await {
            tracing::warn!(feed = %self.feed, ?wait, "as many connects as the venue allows were made");
            self.clock.sleep(wait).await;
        }
        self.session.open(id, self.wanted.clone(), Arc::clone(&self.clock)).await
    }

    fn refused(&self, error: &Error) {
        self.status.refused.fetch_add(1, Ordering::Relaxed);
        let kind = if error.kind() == ErrorKind::Denied { "rejected" } else { "connect" };
        self.metrics.counter(&metrics::ERRORS, &[self.feed.as_str(), kind]).add(1);
        tracing::warn!(feed = %self.feed, report = error.report(), "not connected");
    }

    /// Hears one session from its opening to its end. `None` if nobody numbers entries any more.
    async fn session(&mut self, id: SessionId, mut frames: Box<dyn Frames>) -> Option<End> {
        let (tell, durable) = watch::channel(0);
        let url = frames.url();
        tracing::info!(feed = %self.feed, session = %id, url, "session opened");
        let wanted = shown(&self.wanted.borrow());
        let shard = self.shard;
        self.tell(Told::Opened { shard, session: id, url, wanted, tell }).await?;
        self.opened(true);
        let end = self.pump(frames.as_mut(), durable).await;
        drop(frames);
        self.opened(false);
        let end = end?;
        let (cause, detail) = match &end {
            End::Done(why) => (GapCause::Planned, (*why).to_owned()),
            End::Failed(error) => (cause(error), error.to_string().chars().take(DETAIL_CHARS_MAX).collect()),
        };
        if let End::Failed(error) = &end {
            let kind = error_type(cause);
            self.metrics.counter(&metrics::ERRORS, &[self.feed.as_str(), kind]).add(1);
            tracing::warn!(feed = %self.feed, session = %id, %error, "session ended");
        }
        self.tell(Told::Closed { session: id, cause, detail }).await?;
        Some(end)
    }

    async fn pump(&mut self, frames: &mut dyn Frames, mut durable: watch::Receiver<u64>) -> Option<End> {
        let stop = self.stop.clone();
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                Some(symbol) = self.resync.recv() => Event::Resync(symbol),
                Ok(()) = durable.changed() => Event::Durable(*durable.borrow_and_update()),
                heard = frames.next(FRAMES_PER_BATCH) => Event::Heard(heard),
            };
            let done = match event {
                Event::Stop => return self.close(frames).await,
                Event::Resync(symbol) => resync(frames, &symbol).await,
                Event::Durable(below) => frames.durable(below).await,
                Event::Heard(Ok(heard)) if heard.is_empty() => {
                    return Some(End::Done("the feed is complete"));
                }
                Event::Heard(Ok(heard)) => {
                    self.tell(Told::Frames(heard)).await?;
                    Ok(())
                }
                Event::Heard(Err(error)) => Err(error),
            };
            if let Err(error) = done {
                return Some(End::Failed(error));
            }
        }
    }

    async fn close(&self, frames: &mut dyn Frames) -> Option<End> {
        let closed = tokio::select! {
            biased;
            closed = frames.close() => closed,
            () = self.clock.sleep(CLOSE_TIME_MAX) => {
                return Some(End::Done("stopped; the other side did not close in time"));
            }
        };
        match closed {
            Ok(heard) if heard.is_empty() => {}
            Ok(heard) => self.tell(Told::Frames(heard)).await?,
            Err(error) => tracing::debug!(feed = %self.feed, %error, "the session did not close in order"),
        }
        Some(End::Done("stopped"))
    }

    async fn tell(&self, told: Told) -> Option<()> {
        self.events.send(told).await.ok()
    }

    fn opened(&mut self, open: bool) {
        let status = &self.status;
        if open {
            status.sessions.fetch_add(1, Ordering::Relaxed);
            status.opened.fetch_add(1, Ordering::Relaxed);
            status.set_link(self.shard, Link::Open);
            if self.connections > 0 {
                status.reconnects.fetch_add(1, Ordering::Relaxed);
                self.metrics.counter(&metrics::RECONNECTS, &[self.feed.as_str()]).add(1);
            }
            self.connections += 1;
        } else {
            status.sessions.fetch_sub(1, Ordering::Relaxed);
            status.set_link(self.shard, Link::Down);
        }
    }
}

async fn resync(frames: &mut dyn Frames, symbol: &Symbol) -> Result<()> {
    match frames.resync(symbol).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            tracing::debug!(%symbol, "this feed cannot resync");
            Ok(())
        }
        done => done,
    }
}

/// What the end of a connection means for what is missing after it.
fn cause(error: &Error) -> GapCause {
    match error.kind() {
        ErrorKind::Timeout => GapCause::Silence,
        ErrorKind::Corrupt => GapCause::Protocol,
        ErrorKind::Denied => GapCause::Refused,
        _ => GapCause::Disconnect,
    }
}

fn error_type(cause: GapCause) -> &'static str {
    match cause {
        GapCause::Silence => "silence",
        GapCause::Protocol => "protocol",
        GapCause::Refused => "rejected",
        _ => "closed",
    }
}

fn shown(wanted: &Wanted) -> Vec<String> {
    let mut topics = Vec::new();
    let mut bytes = 0;
    for topic in &wanted.0 {
        let topic = topic.to_string();
        bytes += topic.len();
        if bytes > WANTED_BYTES_MAX {
            topics.push(format!("… and {} more", wanted.0.len() - topics.len()));
            break;
        }
        topics.push(topic);
    }
    topics
}

/// Gives session numbers. Clones share the count.
#[derive(Clone, Debug)]
pub(crate) struct Ids(Arc<AtomicU64>);

impl Ids {
    pub(crate) fn starting_at(first: SessionId) -> Self {
        Self(Arc::new(AtomicU64::new(first.0)))
    }

    pub(crate) fn peek(&self) -> SessionId {
        SessionId(self.0.load(Ordering::Relaxed))
    }

    fn take(&self) -> SessionId {
        SessionId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The bound of the random wait before the first attempt to connect again; it doubles with each attempt.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Where doubling ends.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Random waits below a bound that doubles: many clients that were cut off together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    bound: Duration,
    jitter: StdRng,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { bound: BACKOFF_FIRST, jitter: StdRng::seed_from_u64(seed) }
    }

    /// How long to wait now; never less than what the other side `asked` for.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let wait = self.jitter.random_range(Duration::ZERO..=self.bound);
        self.bound = (self.bound * 2).min(BACKOFF_MAX);
        asked.unwrap_or_default() + wait
    }

    pub(crate) fn reset(&mut self) {
        self.bound = BACKOFF_FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_cap_and_obey_the_other_side() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<_> = (0..200).map(|_| backoff.next(None)).collect();
        assert!(waits[0] <= BACKOFF_FIRST);
        assert!(waits.iter().all(|wait| *wait <= BACKOFF_MAX));
        assert!(waits[20..].iter().any(|wait| *wait > BACKOFF_MAX / 2));
        assert!(backoff.next(Some(Duration::from_secs(100))) >= Duration::from_secs(100));
        backoff.reset();
        assert!(backoff.next(None) <= BACKOFF_FIRST);
    }
}
