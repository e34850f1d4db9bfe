//! A journal of one origin that is made to stall, refuse, forget and tear holes.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ssmd_core::{
    Bounds, Entries, Entry, Error, ErrorKind, Journal, Origin, Pending, Positions, Result, Start,
};
use ssmd_transport::memory::MemoryJournal;
use tokio::sync::oneshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    /// Every call fails.
    Away,
    /// It takes what it is given and never answers.
    Silent,
}

pub(crate) struct Broker(Mutex<State>);

struct State {
    journal: Arc<MemoryJournal>,
    /// What it holds, in order.
    held: Vec<Entry>,
    mode: Mode,
    incarnation: u64,
    /// Entries that it never takes.
    refused: Option<u64>,
    unanswered: Vec<oneshot::Sender<Result<()>>>,
    /// The most entries that waited for an answer.
    waiting: usize,
    most_waiting: usize,
}

impl Broker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            journal: Arc::new(MemoryJournal::new()),
            held: Vec::new(),
            mode: Mode::Up,
            incarnation: 1,
            refused: None,
            unanswered: Vec::new(),
            waiting: 0,
            most_waiting: 0,
        })))
    }

    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.0.lock().unwrap();
        state.mode = mode;
        if mode != Mode::Silent {
            state.unanswered.clear();
            state.waiting = 0;
        }
    }

    pub(crate) fn refuse(&self, n: u64) {
        self.0.lock().unwrap().refused = Some(n);
    }

    pub(crate) fn most_waiting(&self) -> usize {
        self.0.lock().unwrap().most_waiting
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.0.lock().unwrap().held.iter().map(|entry| entry.id.n).collect()
    }

    /// Comes back with those of its entries that are `kept`, as the same journal or as a new one.
    pub(crate) fn lose(&self, kept: impl Fn(&Entry) -> bool, anew: bool) {
        let mut state = self.0.lock().unwrap();
        state.held.retain(kept);
        state.incarnation += u64::from(anew);
        let journal = Arc::new(MemoryJournal::new());
        take(&journal, state.held.clone());
        state.journal.close();
        state.journal = journal;
    }

    /// Its oldest entries are removed by age.
    pub(crate) fn trim(&self, origin: Origin, below: u64) {
        let mut state = self.0.lock().unwrap();
        state.held.retain(|entry| entry.id.n >= below);
        state.journal.trim(&Positions::from([(origin, below)]));
    }
}

/// Appending to a journal in memory never waits.
fn take(journal: &MemoryJournal, batch: Vec<Entry>) {
    let mut appending = std::pin::pin!(journal.append(batch));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(appending.as_mut().poll(&mut context).is_ready());
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "use broker")
}

#[async_trait]
impl Journal for Broker {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let mut state = self.0.lock().unwrap();
        match state.mode {
            Mode::Up => {}
            Mode::Away => return Err(away()),
            Mode::Silent => {
                let (done, pending) = Pending::new();
                state.unanswered.push(done);
                state.waiting += batch.len();
                state.most_waiting = state.most_waiting.max(state.waiting);
                return Ok(pending);
            }
        }
        if batch.iter().any(|entry| Some(entry.id.n) == state.refused) {
            return Err(Error::new(ErrorKind::Invalid, "append to broker"));
        }
        for entry in &batch {
            if state.held.last().is_none_or(|last| last.id.n < entry.id.n) {
                state.held.push(entry.clone());
            }
        }
        take(&state.journal, batch);
        Ok(Pending::ready())
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let (journal, mode) = {
            let state = self.0.lock().unwrap();
            (Arc::clone(&state.journal), state.mode)
        };
        if mode == Mode::Away { Err(away()) } else { journal.read(start).await }
    }

    async fn bounds(&self) -> Result<Bounds> {
        let (journal, mode, incarnation) = {
            let state = self.0.lock().unwrap();
            (Arc::clone(&state.journal), state.mode, state.incarnation)
        };
        match mode {
            Mode::Away => Err(away()),
            // The answer never comes; whoever asked is told when the connection is made anew.
            Mode::Silent => {
                let still = |_: &mut std::task::Context<'_>| match self.0.lock().unwrap().mode {
                    Mode::Silent => std::task::Poll::Pending,
                    _ => std::task::Poll::Ready(()),
                };
                std::future::poll_fn(still).await;
                Err(away())
            }
            Mode::Up => Ok(Bounds { incarnation: incarnation.to_string(), ..journal.bounds().await? }),
        }
    }
}
