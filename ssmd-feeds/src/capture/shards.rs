//! What the shares of one feed want, asked again and again, and which of them has what: then it is up to [`Sessions`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{BoxFuture, Tasks, Topic, Wanted, metrics};
use tokio::sync::{mpsc, watch};

use super::deal::{by_name, evenly};
use super::sessions::{Context, Sessions};
use super::{CaptureOptions, CaptureStatus, Resync};
use crate::budget::ConnectBudget;
use crate::shares::{Declared, Shares};
use crate::supervise::{Backoff, Ids, Told};

/// How much sooner than usual the universe is asked again after the venue did not tell it, or not all of it.
const SOONER: u32 = 12;
/// Answers in a row in which more than half is missing, before the next one is believed: as many as come in the time
/// between two usual ones.
const SHRUNK_MAX: u32 = SOONER;
/// The universe is not asked again before, whatever the feed says.
const SOONEST: Duration = Duration::from_millis(200);

/// Every share of a capture.
pub(super) struct Shards {
    options: CaptureOptions,
    status: Arc<CaptureStatus>,
    random: StdRng,
    sessions: Sessions,
    /// What each declared share wants, as was answered last.
    answers: Vec<Wanted>,
    /// How many answers in a row could not be all that there is.
    shrunk: u32,
    /// Whether the number of shares has changed, so that they shall be made even again.
    even: bool,
}

/// What a venue answered.
pub(super) enum Answer {
    /// As is asked now and then: it may not be all that there is.
    Listed(Vec<Wanted>),
    /// As was asked because something else is declared.
    Declared(Declared, Vec<Wanted>),
}

impl Shards {
    pub(super) fn new(
        options: CaptureOptions,
        status: Arc<CaptureStatus>,
        events: &mpsc::Sender<Told>,
        budget: ConnectBudget,
        ids: Ids,
    ) -> Self {
        let random = StdRng::seed_from_u64(options.seed);
        let context = Context {
            options: options.clone(),
            status: Arc::clone(&status),
            events: events.downgrade(),
            budget: Arc::new(budget),
            ids,
        };
        let sessions = Sessions::new(context);
        Self { options, status, random, sessions, answers: Vec::new(), shrunk: 0, even: false }
    }

    /// How many sessions there are, all twins counted.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// Makes the sessions together carry what the shares want.
    pub(super) fn want(&mut self, answers: Vec<Wanted>, tasks: &mut Tasks) {
        self.answers = answers;
        self.deal(tasks);
    }

    fn deal(&mut self, tasks: &mut Tasks) {
        let shares = &self.options.shares;
        let dealt = match shares {
            Shares::Even { .. } => {
                let all = self.answers.first().cloned().unwrap_or_default();
                let carried = self.sessions.carried(shares.count());
                evenly(&all, &carried, shares.count(), std::mem::take(&mut self.even))
            }
            Shares::Listed(_) => by_name(&self.answers),
        };
        let unplaced = self.sessions.carry(dealt, tasks);
        self.exhausted(&unplaced);
    }

    /// Tells that there is more than all connections together may carry.
    fn exhausted(&mut self, unplaced: &[Topic]) {
        self.status.set_unplaced(unplaced.iter().map(ToString::to_string).collect());
        // What still moves may make room.
        if unplaced.is_empty() || self.sessions.makes_room() {
            return;
        }
        let (feed, limits) = (self.options.feed.name(), self.options.feed.limits());
        self.options.metrics.counter(&metrics::ERRORS, &[feed.as_str(), "capacity"]).add(1);
        let (topics, sessions) = (unplaced.len(), limits.sessions);
        tracing::error!(%feed, topics, %sessions, "more is wanted than the venue's connections may carry");
    }

    /// Takes a new answer of the venue.
    pub(super) fn take(&mut self, answer: Answer, tasks: &mut Tasks) {
        match answer {
            Answer::Listed(answers) => self.keep_up(answers, tasks),
            Answer::Declared(declared, answers) => {
                self.even = self.options.shares.count() != declared.shares.count();
                self.sessions.declare(&declared);
                (self.options.feed, self.options.shares) = (declared.feed, declared.shares);
                self.want(answers, tasks);
                self.status.asking.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Asks at once what the shares want that are declared from now on.
    pub(super) fn change(&mut self, declared: Declared) -> BoxFuture<'static, Answer> {
        self.status.asking.store(true, Ordering::Relaxed);
        let (clock, mut backoff) = (Arc::clone(&self.options.clock), Backoff::new(self.random.random()));
        let status = Arc::clone(&self.status);
        Box::pin(async move {
            loop {
                let error = match status.asked(declared.universe(&[]).await) {
                    Ok(answers) => return Answer::Declared(declared, answers),
                    Err(error) => error,
                };
                let wait = backoff.next(error.wait());
                tracing::warn!(feed = %declared.feed.name(), %error, ?wait, "what is declared now is not known yet");
                clock.sleep(wait).await;
            }
        })
    }

    /// Takes a new answer to an old question. One that misses more than half of what is carried cannot be all that
    /// there is: nothing is left for it, until it was given so often that it must be. One that is empty never is.
    fn keep_up(&mut self, mut answers: Vec<Wanted>, tasks: &mut Tasks) {
        let topics = self.sessions.carried(self.options.shares.count()).iter().map(|has| has.0.len()).sum();
        let listed = answers.iter().flat_map(|answer| &answer.0).collect::<BTreeSet<_>>().len();
        let shrank = listed * 2 < topics;
        if !shrank || listed > 0 && self.shrunk >= SHRUNK_MAX {
            self.shrunk = 0;
            return self.want(answers, tasks);
        }
        self.shrunk += 1;
        let feed = self.options.feed.name();
        self.options.metrics.counter(&metrics::ERRORS, &[feed.as_str(), "universe"]).add(1);
        tracing::warn!(%feed, topics, listed, "the universe shrank too much to be believed; nothing is left");
        // What is new in it is wanted all the same.
        for (answer, before) in answers.iter_mut().zip(&self.answers) {
            answer.0.extend(before.0.iter().cloned());
        }
        self.want(answers, tasks);
    }

    /// Asks the sessions that carry a symbol, or the one that is meant, to get its book anew.
    pub(super) fn resync(&self, asked: &Resync) {
        self.sessions.resync(asked);
    }

    /// Waits until something that moves may have arrived; for ever while nothing does.
    pub(super) fn moves(&self) -> BoxFuture<'static, ()> {
        self.sessions.moves()
    }

    /// Leaves what has arrived elsewhere.
    pub(super) fn look(&mut self, tasks: &mut Tasks) {
        if self.sessions.look() {
            self.deal(tasks);
        }
    }

    /// No session is started any more.
    pub(super) fn stop(&mut self) {
        self.sessions.stop();
    }

    /// Asks the universe when it is time, and sooner again while the venue cannot tell it.
    pub(super) fn ask_again(&mut self) -> BoxFuture<'static, Answer> {
        let Some(every) = self.options.universe_every else { return Box::pin(std::future::pending()) };
        let declared = Declared { feed: Arc::clone(&self.options.feed), shares: self.options.shares.clone() };
        let (clock, known) = (Arc::clone(&self.options.clock), self.answers.clone());
        let status = Arc::clone(&self.status);
        // Many processes do not ask together.
        let every: Duration = every.mul_f64(self.random.random_range(0.9..1.1));
        let due = if self.shrunk > 0 { every / SOONER } else { every };
        let changes_at = declared.shares.changes_at(&self.options.subscriptions);
        let changes_in = changes_at.map(|at| at.since(clock.now()).max(SOONEST));
        Box::pin(async move {
            // A feed that knows when what it wants will be different is asked then.
            let mut wait = due.min(changes_in.unwrap_or(due));
            loop {
                clock.sleep(wait).await;
                match status.asked(declared.universe(&known).await) {
                    Ok(answers) => return Answer::Listed(answers),
                    Err(error) => {
                        wait = (every / SOONER).max(error.wait().unwrap_or_default());
                        tracing::warn!(feed = %declared.feed.name(), %error, "the universe is as it was known before");
                    }
                }
            }
        })
    }
}

/// Waits until something else is declared.
pub(super) async fn changed(changes: &mut Option<watch::Receiver<Declared>>) -> Declared {
    if let Some(receiver) = changes
        && receiver.changed().await.is_ok()
    {
        return receiver.borrow_and_update().clone();
    }
    // Nobody can declare anything any more.
    std::future::pending().await
}
