//! Connections that hear the same, compared with one another: one that says nothing while another moves is ended, and
//! never are two replaced at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ssmd_core::entry::note::Twin;
use ssmd_core::{BoxFuture, Error, ErrorKind, FrameKind, Result};
use tokio::sync::OwnedMutexGuard;

use super::Supervisor;
use super::successor::{Line, Said};
use crate::venue::Missing;

/// What a twin hears within this time of what this connection heard last may be the same, said later to it.
const LATER: Duration = Duration::from_secs(2);
/// Longer than this without data, counted from the first data of a twin that cannot be the same, is silence. Where the
/// market moves, both and a look stay below 6 s.
const SILENT: Duration = Duration::from_millis(3_500);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What comes within this time of a connection's beginning, or of a request for a book, is no movement of the market.
const ANSWERS: Duration = Duration::from_secs(10);

/// Who replaces its connection now.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// Those that hear the same.
#[derive(Debug)]
pub(crate) struct Twins {
    each: Mutex<Vec<Heard>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What one of them heard, by the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// The last data.
    last: Option<Duration>,
    /// The first data behind it of another, which this one has not.
    unanswered: Option<Duration>,
}

impl Heard {
    /// Another one has data.
    fn missed(&mut self, now: Duration) {
        if self.last.is_none_or(|last| last + LATER < now) {
            self.unanswered.get_or_insert(now);
        }
    }
}

impl Twins {
    /// So many that nobody has heard of.
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { each: Mutex::new(vec![Heard::default(); count]), turn: Arc::default() })
    }

    fn each(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of those that hear the same.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) twins: Arc<Twins>,
    pub(crate) number: usize,
}

impl Place {
    /// As the journal names it.
    pub(super) fn twin(&self) -> Twin {
        Twin { number: self.number, of: self.twins.each().len() }
    }

    /// It begins anew.
    pub(super) fn opened(&self) {
        self.twins.each()[self.number] = Heard::default();
    }

    /// Data came on it, now. Others may be expected to hear it too, unless it is an answer.
    fn moved(&self, now: Duration, is_answer: bool) {
        for (number, heard) in self.twins.each().iter_mut().enumerate() {
            if number == self.number {
                *heard = Heard { last: Some(now), unanswered: None };
            } else if !is_answer {
                heard.missed(now);
            }
        }
    }

    /// Since when another one has moved, and this one has not.
    fn silent_since(&self) -> Option<Duration> {
        self.twins.each()[self.number].unanswered
    }

    /// Waits until no other is being replaced.
    pub(super) fn turn(&self) -> BoxFuture<'static, Turn> {
        Box::pin(Arc::clone(&self.twins.turn).lock_owned())
    }
}

impl Supervisor {
    /// When to look at the twins; never without any.
    pub(super) fn look(&self) -> BoxFuture<'static, ()> {
        match &self.twins {
            Some(_) => self.clock.sleep(LOOK_EVERY),
            None => Box::pin(std::future::pending()),
        }
    }

    /// Tells the twins what this connection said.
    pub(super) fn answered(&self, line: &Line, said: &Said) {
        let (Some(place), Said::Heard(Ok(frames))) = (&self.twins, said) else { return };
        if frames.iter().any(|frame| matches!(frame.kind, FrameKind::Data | FrameKind::Unknown)) {
            let now = self.clock.elapsed();
            place.moved(now, now.saturating_sub(line.answered) < ANSWERS);
        }
    }

    /// Compares this connection with its twins.
    ///
    /// # Errors
    /// `Timeout` if it has been silent while one of them moved.
    pub(super) fn compare(&self, line: &Line) -> Result<()> {
        let Some(since) = self.twins.as_ref().and_then(Place::silent_since) else { return Ok(()) };
        let silent = self.clock.elapsed().saturating_sub(since.max(line.opened));
        // What has not been confirmed yet cannot move; what was refused never does.
        let waits = |missing: Missing| missing.topics > missing.refused.len();
        let all = !self.status.missing_of(line.id).is_some_and(waits);
        if silent < SILENT || !all {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Timeout, "hear")
            .detail("nothing came while another connection, which hears the same, moved")
            .with("seconds", silent.as_secs_f64()))
    }
}
