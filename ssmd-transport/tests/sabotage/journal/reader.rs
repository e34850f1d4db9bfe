//! A reader of the rig, and how it may be broken.

use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use ssmd_core::{Entries, Entry, Error, ErrorKind, Result};
use tokio::sync::Mutex;
use tokio::task::yield_now;

use super::rig::{Fault, Rig};

pub(super) struct Reader {
    rig: Arc<Rig>,
    inner: Arc<Mutex<Box<dyn Entries>>>,
    /// A hole that a fault tells again.
    again: Option<(String, String, String)>,
    holes: u32,
    shown: usize,
    fault: Fault,
}

impl Reader {
    pub(super) fn new(rig: Arc<Rig>, inner: Arc<Mutex<Box<dyn Entries>>>, fault: Fault) -> Self {
        Self { rig, inner, again: None, holes: 0, shown: 0, fault }
    }

    async fn inner(&self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let mut inner = self.inner.lock().await;
        let next = inner.next(max);
        if self.fault != Fault::NeverWakes {
            return next.await;
        }
        let mut next = next;
        let waker = std::task::Waker::noop();
        std::future::poll_fn(|_| next.as_mut().poll(&mut std::task::Context::from_waker(waker))).await
    }

    fn queued(&mut self) -> Option<Vec<Entry>> {
        let stage = self.rig.stage.lock().unwrap();
        let queued = stage.queue.iter().flat_map(|(batch, _)| batch).skip(self.shown);
        let queued: Vec<_> = queued.cloned().collect();
        self.shown += queued.len();
        (!queued.is_empty()).then_some(queued)
    }

    fn hole(origin: &str, from: &str, to: &str) -> Error {
        let error = Error::new(ErrorKind::Hole, "read rig");
        error.with("origin", origin).with("from", from).with("to", to)
    }

    /// What a fault makes of a hole; `None` passes over it.
    fn broken(&mut self, hole: Error) -> Option<Error> {
        self.holes += 1;
        let text = |name| hole.context(name).unwrap_or_default().to_owned();
        let (origin, from, to) = (text("origin"), text("from"), text("to"));
        match self.fault {
            Fault::PassesOverHoles => None,
            Fault::TellsOneHole if self.holes > 1 => None,
            Fault::HolesEndBehind => {
                let to = to.parse::<u64>().unwrap() + 1;
                Some(Self::hole(&origin, &from, &to.to_string()))
            }
            Fault::TellsHolesTwice => {
                self.again = Some((origin, from, to));
                Some(hole)
            }
            _ => Some(hole),
        }
    }
}

#[async_trait]
impl Entries for Reader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let closed = self.rig.stage.lock().unwrap().closed;
        if self.fault == Fault::EndsAtAHole && self.holes > 0
            || self.fault == Fault::EndsBeforeAllIsRead && closed
        {
            return Err(Error::new(ErrorKind::Closed, "read rig"));
        }
        if let Some((origin, from, to)) = self.again.take() {
            return Err(Self::hole(&origin, &from, &to));
        }
        let more = if self.fault == Fault::GivesMoreThanMax { max.saturating_add(1) } else { max };
        if self.fault == Fault::ShowsWhatIsQueued
            && let Some(queued) = self.queued()
        {
            return Ok(queued);
        }
        let mut batch = loop {
            match self.inner(more).await {
                Err(error) if error.kind() == ErrorKind::Hole => {
                    if let Some(error) = self.broken(error) {
                        return Err(error);
                    }
                }
                batch => break batch?,
            }
        };
        if self.fault == Fault::YieldsAfterTaking {
            yield_now().await;
        }
        let stage = self.rig.stage.lock().unwrap();
        for entry in &mut batch {
            if let Some(overwritten) = stage.overwritten.get(&entry.id) {
                *entry = overwritten.clone();
            }
        }
        Ok(batch)
    }
}
