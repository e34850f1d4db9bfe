//! Make before break: a connection that the venue will end is replaced while it still lives.
//!
//! Both are heard until the new one has what the old one has; both are in the journal. Neither end is a gap.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use ssmd_core::{BoxFuture, Error, ErrorKind, Frame, Frames, Result, SessionId};
use tokio::sync::watch;

use super::{End, FRAMES_PER_BATCH, Place, Supervisor, Turn};
use crate::capture::Link;

/// How long before its end a connection is replaced, at least; up to twice that, so that many are not at once.
const LEAD: Duration = Duration::from_secs(60);
/// How often is looked whether the new connection has what the old one has.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long both are heard after that: first answers, such as books, follow confirmations.
const OVERLAP: Duration = Duration::from_secs(2);

/// A connection on its way.
pub(super) type Opening = BoxFuture<'static, Result<Box<dyn Frames>>>;

/// One open connection.
pub(super) struct Line {
    pub(super) id: SessionId,
    pub(super) frames: Box<dyn Frames>,
    pub(super) durable: watch::Receiver<u64>,
    pub(super) opened: Duration,
    /// Whether anything was received on it.
    pub(super) has_heard: bool,
    /// When something was last asked for: what comes soon after that is an answer, and nobody else gets it.
    pub(super) answered: Duration,
    /// What it said and nobody has taken yet.
    pub(super) held: Option<Said>,
}

/// What a connection wakes its supervisor up for.
pub(super) enum Said {
    Durable(u64),
    Heard(Result<Vec<Frame>>),
}

impl Said {
    fn is_end(&self) -> bool {
        match self {
            Self::Durable(_) => false,
            Self::Heard(heard) => heard.as_ref().map_or(true, Vec::is_empty),
        }
    }
}

impl Line {
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Said {
        if let Some(said) = self.held.take() {
            return said;
        }
        let Self { frames, durable, .. } = self;
        tokio::select! {
            biased;
            Ok(()) = durable.changed() => Said::Durable(*durable.borrow_and_update()),
            heard = AssertUnwindSafe(frames.next(FRAMES_PER_BATCH)).catch_unwind() => {
                let broken = |_| Error::new(ErrorKind::Bug, "hear").detail("the session broke");
                Said::Heard(heard.map_err(broken).flatten())
            }
        }
    }
}

/// What takes a connection's place.
pub(super) enum Successor {
    /// Nothing yet.
    Later(BoxFuture<'static, Option<Turn>>),
    Opening(SessionId, Opening),
    Open {
        line: Line,
        look: BoxFuture<'static, ()>,
        /// Since when it has what the old one has.
        ready: Option<Duration>,
    },
}

/// What has become of it.
pub(super) enum Change {
    /// It is time, and its turn.
    Due(Option<Turn>),
    Opened(Result<Box<dyn Frames>>),
    Said(Said),
    Look,
}

impl Successor {
    /// Cancel safe.
    pub(super) async fn changed(&mut self) -> Change {
        match self {
            Self::Later(due) => Change::Due(due.await),
            Self::Opening(_, opening) => Change::Opened(opening.await),
            Self::Open { line, look, .. } => tokio::select! {
                biased;
                () = look => Change::Look,
                said = line.next() => Change::Said(said),
            },
        }
    }
}

impl Supervisor {
    /// When to replace a connection.
    pub(super) fn later(&mut self, line: &Line) -> Successor {
        let Some(age) = self.age else { return Successor::Later(Box::pin(std::future::pending())) };
        let lead = LEAD.min(age / 4);
        let due = line.opened + age.saturating_sub(lead + self.backoff.part_of(lead));
        self.due(due.saturating_sub(self.clock.elapsed()))
    }

    /// After that time, as soon as no twin is being replaced.
    fn due(&mut self, wait: Duration) -> Successor {
        self.turn = None;
        let (sleep, turn) = (self.clock.sleep(wait), self.twins.as_ref().map(Place::turn));
        Successor::Later(Box::pin(async move {
            sleep.await;
            Some(turn?.await)
        }))
    }

    /// Goes one step further in replacing a connection; `None` when nobody hears us any more.
    pub(super) async fn succeed(
        &mut self,
        line: Line,
        successor: Successor,
        change: Change,
    ) -> Option<(Line, Successor)> {
        let successor = match (successor, change) {
            (_, Change::Due(turn)) => {
                self.turn = turn;
                let (id, opening) = self.opening();
                Successor::Opening(id, opening)
            }
            (Successor::Opening(id, _), Change::Opened(Ok(frames))) => {
                let next = self.opened(id, frames, Some(line.id)).await?;
                Successor::Open { line: next, look: self.clock.sleep(LOOK_EVERY), ready: None }
            }
            (_, Change::Opened(Err(error))) => {
                self.refused(&error);
                self.again(&error)
            }
            (Successor::Open { line: mut next, look, ready }, Change::Said(said)) => {
                match self.take(&mut next, said).await? {
                    Ok(()) => Successor::Open { line: next, look, ready },
                    Err(end) => {
                        self.ended(next, &end, Some(line.id)).await?;
                        let closed = Error::new(ErrorKind::Closed, "replace connection");
                        self.again(&if let End::Failed(error) = end { error } else { closed })
                    }
                }
            }
            (Successor::Open { line: next, ready, .. }, Change::Look) => {
                let now = self.clock.elapsed();
                let ready = self.has_as_much(&next, &line).then(|| ready.unwrap_or(now));
                if ready.is_some_and(|since| now.saturating_sub(since) >= OVERLAP) {
                    return self.replace(line, next).await;
                }
                Successor::Open { line: next, look: self.clock.sleep(LOOK_EVERY), ready }
            }
            (successor, _) => successor,
        };
        Some((line, successor))
    }

    /// Who carries on after a connection has ended, if that was under way already.
    pub(super) async fn inherit(&mut self, successor: Successor) -> Option<Option<Line>> {
        self.turn = None;
        let (id, opening) = match successor {
            Successor::Later(_) => return Some(None),
            Successor::Open { line, .. } => {
                self.status.set_link(self.shard, Link::Open(line.id));
                return Some(Some(line));
            }
            Successor::Opening(id, opening) => (id, opening),
        };
        let stop = self.stop.clone();
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return Some(None),
            opened = opening => opened,
        };
        match opened {
            Ok(frames) => self.opened(id, frames, None).await.map(Some),
            Err(error) => {
                self.refused(&error);
                Some(None)
            }
        }
    }

    /// Tries again later; the old connection lives on meanwhile.
    fn again(&mut self, error: &Error) -> Successor {
        let wait = self.backoff.next(error.wait());
        self.due(wait)
    }

    fn has_as_much(&self, next: &Line, line: &Line) -> bool {
        let missing = |line: &Line| self.status.missing_of(line.id).map_or(0, |missing| missing.topics);
        next.has_heard && missing(next) <= missing(line)
    }

    /// Closes the old connection while the new one is heard.
    async fn replace(&mut self, line: Line, mut next: Line) -> Option<(Line, Successor)> {
        let old = line.id;
        let closed = {
            let mut closing = std::pin::pin!(self.close(line, "replaced before the venue ends it"));
            loop {
                let said = tokio::select! {
                    biased;
                    closed = &mut closing => break closed?,
                    said = next.next() => said,
                };
                if said.is_end() {
                    next.held = Some(said);
                    break closing.await?;
                }
                // It is no end.
                let _ = self.take(&mut next, said).await?;
            }
        };
        self.ended(closed.0, &closed.1, Some(next.id)).await?;
        self.backoff.reset();
        self.metrics.counter(&ssmd_core::metrics::REPLACED, &[self.feed.as_str()]).add(1);
        tracing::info!(feed = %self.feed, %old, new = %next.id, "replaced a connection before its end");
        let later = self.later(&next);
        Some((next, later))
    }
}
