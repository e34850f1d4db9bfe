//! Keeps one session open for as long as it is wanted: connects within the venue's limits, hears, and connects
//! again, before the end where that is known ([`successor`]). One session's end touches no other.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::entry::note::Twin;
use ssmd_core::{
    Clock, Error, ErrorKind, FeedName, Frame, FrameKind, Frames, GapCause, Metrics, Result, Session,
    SessionId, Wanted, metrics,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::budget::ConnectBudget;
use crate::capture::{CaptureStatus, Heir, Link, Resync};

mod successor;
mod twins;

use successor::{Change, Line, Opening, Said, Successor};
pub(crate) use twins::{Place, Turn, Twins};

/// What a session tells the one who numbers entries.
#[derive(Debug)]
pub(crate) enum Told {
    Opened {
        /// Twins count as shards of their own.
        shard: usize,
        twin: Option<Twin>,
        category: Option<String>,
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
        /// Another session that carries the same all along.
        covered_by: Option<SessionId>,
    },
    /// A shard is not needed any more: another session has what it carried.
    Retired {
        shard: usize,
        heir: SessionId,
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
    /// Twins count as shards of their own.
    pub(crate) shard: usize,
    /// Those that hear the same, if there are any.
    pub(crate) twins: Option<Place>,
    /// The part of subjects that its share has.
    pub(crate) category: Option<String>,
    pub(crate) feed: FeedName,
    pub(crate) session: Arc<dyn Session>,
    pub(crate) wanted: watch::Receiver<Arc<Wanted>>,
    pub(crate) events: mpsc::Sender<Told>,
    pub(crate) resync: mpsc::Receiver<Resync>,
    pub(crate) budget: Arc<ConnectBudget>,
    pub(crate) ids: Ids,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) status: Arc<CaptureStatus>,
    pub(crate) backoff: Backoff,
    /// The age at which the venue ends a connection.
    pub(crate) age: Option<Duration>,
    /// How many connections it has opened.
    pub(crate) connections: u64,
    /// A number that was taken for a connection that has not opened.
    pub(crate) reserved: Option<SessionId>,
    /// Held while a connection is replaced: twins take turns in that.
    pub(crate) turn: Option<Turn>,
    pub(crate) stop: CancellationToken,
    /// Who has what it carried, if it is stopped since it is not needed any more.
    pub(crate) heir: Heir,
}

/// Why hearing one session has ended.
enum End {
    /// It is not wanted any more, or the feed has no more.
    Done(&'static str),
    Failed(Error),
}

/// What woke a supervisor up.
enum Event {
    Stop,
    Resync(Resync),
    Said(Said),
    Look,
    Successor(Change),
}

impl Supervisor {
    /// Opens sessions, one after another, until none is wanted any more.
    pub(crate) async fn run(mut self) -> Result<()> {
        let ran = self.keep_open().await;
        if let Some(heir) = self.heir.get().copied() {
            self.tell(Told::Retired { shard: self.shard, heir }).await;
        }
        self.status.set_link(self.shard, Link::Ended);
        ran
    }

    async fn keep_open(&mut self) -> Result<()> {
        let stop = self.stop.clone();
        loop {
            let (id, opening) = self.opening();
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                opened = opening => opened,
            };
            let wait = match opened {
                Ok(frames) => {
                    let Some(line) = self.opened(id, frames, None).await else { return Ok(()) };
                    let Some(End::Failed(error)) = self.carry(line).await else { return Ok(()) };
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

    /// Opens a connection as soon as the venue's limits allow. A number whose attempt failed is used again.
    fn opening(&mut self) -> (SessionId, Opening) {
        let id = *self.reserved.get_or_insert_with(|| self.ids.take());
        let (budget, session, feed) =
            (Arc::clone(&self.budget), Arc::clone(&self.session), self.feed.clone());
        let (wanted, clock, metrics) = (self.wanted.clone(), Arc::clone(&self.clock), self.metrics.clone());
        let opening = async move {
            while let Err(wait) = budget.take(&clock).await {
                tracing::warn!(%feed, ?wait, "as many connects as the venue allows were made");
                metrics.counter(&metrics::CONNECTS_DELAYED, &[feed.as_str()]).add(1);
                clock.sleep(wait).await;
            }
            let began = clock.elapsed();
            let opened = session.open(id, wanted, Arc::clone(&clock)).await;
            let result = if opened.is_ok() { "opened" } else { "failed" };
            metrics.counter(&metrics::CONNECTS, &[feed.as_str(), result]).add(1);
            let took = clock.elapsed().saturating_sub(began);
            metrics.histogram(&metrics::CONNECT_SECONDS, &[feed.as_str()]).observe(took);
            opened
        };
        (id, Box::pin(opening))
    }

    fn refused(&self, error: &Error) {
        self.status.refused.fetch_add(1, Ordering::Relaxed);
        self.metrics.counter(&metrics::ERRORS, &[self.feed.as_str(), "connect"]).add(1);
        tracing::warn!(feed = %self.feed, "cannot connect: {}", error.report());
    }

    /// Tells that a connection is open; it may take the place of another one that is.
    async fn opened(
        &mut self,
        id: SessionId,
        frames: Box<dyn Frames>,
        replaces: Option<SessionId>,
    ) -> Option<Line> {
        self.reserved = None;
        let (tell, durable) = watch::channel(0);
        let (shard, url, wanted) = (self.shard, frames.url(), shown(&self.wanted.borrow()));
        let twin = self.twins.as_ref().map(Place::twin);
        let category = self.category.clone();
        self.tell(Told::Opened { shard, twin, category, session: id, url, wanted, tell }).await?;
        let status = &self.status;
        status.sessions.fetch_add(1, Ordering::Relaxed);
        status.opened.fetch_add(1, Ordering::Relaxed);
        status.set_link(self.shard, Link::Open(id));
        if replaces.is_some() {
            tracing::debug!(feed = %self.feed, session = %id, "a connection is replaced before it ends");
        } else if self.connections > 0 {
            status.reconnects.fetch_add(1, Ordering::Relaxed);
            self.metrics.counter(&metrics::RECONNECTS, &[self.feed.as_str()]).add(1);
        }
        self.connections += 1;
        let opened = self.clock.elapsed();
        if let (Some(twins), None) = (&self.twins, replaces) {
            twins.opened();
        }
        let line = Line { id, frames, durable, opened, has_heard: false, answered: opened, held: None };
        Some(line)
    }

    /// Tells that a connection has ended. Nothing is missing for that if another one carries the same.
    async fn ended(&self, line: Line, end: &End, covered_by: Option<SessionId>) -> Option<()> {
        let Line { id, frames, .. } = line;
        drop(frames);
        self.status.sessions.fetch_sub(1, Ordering::Relaxed);
        if covered_by.is_none() {
            self.status.set_link(self.shard, Link::Down);
        }
        let (cause, detail) = match end {
            End::Done(why) => (GapCause::Planned, (*why).to_owned()),
            End::Failed(error) => (cause(error), error.to_string().chars().take(DETAIL_CHARS_MAX).collect()),
        };
        if let End::Failed(error) = end {
            self.metrics.counter(&metrics::ERRORS, &[self.feed.as_str(), error_type(cause)]).add(1);
            tracing::warn!(feed = %self.feed, session = %id, %error, "session ended");
        }
        self.tell(Told::Closed { session: id, cause, detail, covered_by }).await
    }

    /// Hears a connection, and those that take its place in time, until one ends for which there is no other.
    async fn carry(&mut self, mut line: Line) -> Option<End> {
        let stop = self.stop.clone();
        let mut successor = self.later(&line);
        let mut look = self.look();
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                Some(resync) = self.resync.recv() => Event::Resync(resync),
                said = line.next() => Event::Said(said),
                change = successor.changed() => Event::Successor(change),
                () = &mut look => Event::Look,
            };
            let done = match event {
                Event::Stop => {
                    if let Successor::Open { line: other, .. } = successor {
                        let end = self.close(other, "stopped").await?;
                        self.ended(end.0, &end.1, Some(line.id)).await?;
                    }
                    let (line, end) = self.close(line, "stopped").await?;
                    self.ended(line, &end, self.heir.get().copied()).await?;
                    return Some(end);
                }
                Event::Resync(asked) => {
                    if let Successor::Open { line: other, .. } = &mut successor {
                        // Its own end tells what is wrong with it.
                        let _ = self.resync(other, &asked).await;
                    }
                    self.resync(&mut line, &asked).await.map_err(End::Failed)
                }
                Event::Said(said) => {
                    self.answered(&line, &said);
                    self.take(&mut line, said).await?
                }
                Event::Look => {
                    look = self.look();
                    self.compare(&line).map_err(End::Failed)
                }
                Event::Successor(change) => {
                    (line, successor) = self.succeed(line, successor, change).await?;
                    continue;
                }
            };
            let Err(end) = done else { continue };
            self.healthy(&line);
            self.ended(line, &end, None).await?;
            let Some(next) = self.inherit(successor).await? else { return Some(end) };
            line = next;
            successor = self.later(&line);
        }
    }

    /// Does what a connection said; its end if that is what it was.
    async fn take(&self, line: &mut Line, said: Said) -> Option<Result<(), End>> {
        Some(match said {
            Said::Durable(below) => line.frames.durable(below).await.map_err(End::Failed),
            Said::Heard(Ok(heard)) if heard.is_empty() => Err(End::Done("the feed is complete")),
            Said::Heard(Ok(heard)) => {
                line.has_heard |= heard.iter().any(|frame| frame.kind != FrameKind::Sent);
                self.tell(Told::Frames(heard)).await?;
                Ok(())
            }
            Said::Heard(Err(error)) => Err(End::Failed(error)),
        })
    }

    /// A session that lived long was healthy, so the next attempt to connect is soon.
    fn healthy(&mut self, line: &Line) {
        if self.clock.elapsed().saturating_sub(line.opened) >= HEALTHY_AFTER {
            self.backoff.reset();
        }
    }

    /// Closes a connection in order, and hears it to its end.
    async fn close(&self, mut line: Line, why: &'static str) -> Option<(Line, End)> {
        let closed = tokio::select! {
            biased;
            closed = line.frames.close() => closed,
            () = self.clock.sleep(CLOSE_TIME_MAX) => {
                return Some((line, End::Done("stopped; the other side did not close in time")));
            }
        };
        match closed {
            Ok(heard) if heard.is_empty() => {}
            Ok(heard) => self.tell(Told::Frames(heard)).await?,
            Err(error) => tracing::debug!(feed = %self.feed, %error, "the session did not close in order"),
        }
        Some((line, End::Done(why)))
    }

    /// Asks for a book anew, on the connection that is meant.
    async fn resync(&self, line: &mut Line, asked: &Resync) -> Result<()> {
        let Resync { symbol, session } = asked;
        if session.is_some_and(|session| session != line.id) {
            return Ok(());
        }
        line.answered = self.clock.elapsed();
        match line.frames.resync(symbol).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                tracing::debug!(%symbol, "this feed cannot resync");
                Ok(())
            }
            done => done,
        }
    }

    async fn tell(&self, told: Told) -> Option<()> {
        self.events.send(told).await.ok()
    }
}

/// What the end of a connection means for what is missing after it.
fn cause(error: &Error) -> GapCause {
    match error.kind() {
        ErrorKind::Timeout => GapCause::Silence,
        ErrorKind::Corrupt | ErrorKind::Bug => GapCause::Protocol,
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

    /// A random part of a time.
    pub(crate) fn part_of(&mut self, time: Duration) -> Duration {
        self.jitter.random_range(Duration::ZERO..=time)
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
