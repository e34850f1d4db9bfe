//! Connections that hear the same, compared with one another: one that says nothing while another moves is ended, and
//! never are two replaced at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ssmd_core::entry::note::Twin;
use ssmd_core::{BoxFuture, Error, ErrorKind, FrameKind, Result};
use tokio::sync::OwnedMutexGuard;

use super::Supervisor;
use super::successor::{Line, Said};

/// Longer than this without data, counted from the first data of a twin, is silence. With a look it stays below 6 s.
const SILENT: Duration = Duration::from_millis(5_500);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What comes within this time of a connection's beginning, or of a request for a book, is no movement of the market.
const ANSWERS: Duration = Duration::from_secs(10);

/// Who replaces its connection now.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// Those that hear the same.
#[derive(Debug)]
pub(crate) struct Twins {
    /// For each: since when another one has moved, and it has not.
    unanswered: Mutex<Vec<Option<Duration>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Twins {
    /// So many that nobody has heard of.
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { unanswered: Mutex::new(vec![None; count]), turn: Arc::default() })
    }

    fn unanswered(&self) -> MutexGuard<'_, Vec<Option<Duration>>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
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
        Twin { number: self.number, of: self.twins.unanswered().len() }
    }

    /// It begins anew.
    pub(super) fn opened(&self) {
        self.twins.unanswered()[self.number] = None;
    }

    /// Data came on it, now. Others may be expected to hear it too, unless it is an answer.
    fn moved(&self, now: Duration, is_answer: bool) {
        for (number, mark) in self.twins.unanswered().iter_mut().enumerate() {
            if number == self.number {
                *mark = None;
            } else if !is_answer {
                mark.get_or_insert(now);
            }
        }
    }

    /// Since when another one has moved, and this one has not.
    fn silent_since(&self) -> Option<Duration> {
        self.twins.unanswered()[self.number]
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
        // What has not been confirmed yet cannot move.
        let all = self.status.missing_of(line.id).is_none_or(|missing| missing.topics == 0);
        if silent < SILENT || !all {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Timeout, "hear")
            .detail("nothing came while another connection, which hears the same, moved")
            .with("seconds", silent.as_secs_f64()))
    }
}
