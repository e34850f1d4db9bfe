//! The sessions of one capture: what each shall carry, kept up to date as the universe changes.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{BoxFuture, Feed, Limits, Tasks, Topic, Wanted, metrics};
use tokio::sync::{mpsc, watch};

use super::{CaptureOptions, CaptureStatus, RESYNCS_MAX, Resync};
use crate::budget::ConnectBudget;
use crate::supervise::{Backoff, Ids, Place, Supervisor, Told, Twins};

/// One part in so many of a session stays free while another session may be opened.
const SPARE: usize = 10;
/// How much sooner than usual the universe is asked again after the venue did not tell it, or not all of it.
const SOONER: u32 = 12;
/// Answers in a row in which more than half is missing, before the next one is believed: as many as come in the time
/// between two usual ones.
const SHRUNK_MAX: u32 = SOONER;
/// The universe is not asked again before, whatever the feed says.
const SOONEST: Duration = Duration::from_millis(200);

/// Every session of a capture.
pub(super) struct Shards {
    options: CaptureOptions,
    status: Arc<CaptureStatus>,
    /// Weak, since what hears events ends when no session is left.
    events: mpsc::WeakSender<Told>,
    budget: Arc<ConnectBudget>,
    ids: Ids,
    random: StdRng,
    open: Vec<Shard>,
    /// How many answers in a row could not be all that there is.
    shrunk: u32,
}

/// What a venue answered.
pub(super) enum Answer {
    /// As is asked now and then: it may not be all that there is.
    Listed(Wanted),
    /// As was asked because something else is declared.
    Declared(Wanted),
}

/// The ends of the channels of one session, or of several that hear the same.
struct Shard {
    wanted: watch::Sender<Arc<Wanted>>,
    resyncs: Vec<mpsc::Sender<Resync>>,
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
        let (events, budget) = (events.downgrade(), Arc::new(budget));
        Self { options, status, events, budget, ids, random, open: Vec::new(), shrunk: 0 }
    }

    /// How many sessions there are, all twins counted.
    pub(super) fn sessions(&self) -> usize {
        self.open.len() * self.twins()
    }

    /// How many sessions hear the same.
    fn twins(&self) -> usize {
        1 + self.options.twins.len()
    }

    /// What the venue allows those that hear different things.
    fn limits(&self) -> Limits {
        let limits = self.options.feed.limits();
        let sessions = NonZeroUsize::new(limits.sessions.get() / self.twins()).unwrap_or(NonZeroUsize::MIN);
        Limits { sessions, ..limits }
    }

    /// Makes the sessions together carry what is wanted. Topics stay where they are; new sessions are started for
    /// what fits nowhere.
    pub(super) fn want(&mut self, wanted: &Wanted, tasks: &mut Tasks) {
        let carried = self.open.iter().map(|shard| Wanted::clone(&shard.wanted.borrow())).collect();
        let (parts, unplaced) = spread(carried, wanted, self.limits());
        self.exhausted(&unplaced);
        let mut parts = parts.into_iter();
        for (shard, part) in self.open.iter().zip(parts.by_ref()) {
            shard.wanted.send_if_modified(|carried| {
                let differs = **carried != part;
                if differs {
                    *carried = Arc::new(part);
                }
                differs
            });
        }
        for part in parts {
            self.start(part, tasks);
        }
    }

    /// Tells that there is more than all connections together may carry.
    fn exhausted(&mut self, unplaced: &[Topic]) {
        self.status.set_unplaced(unplaced.iter().map(ToString::to_string).collect());
        if unplaced.is_empty() {
            return;
        }
        let (feed, limits) = (self.options.feed.name(), self.options.feed.limits());
        self.options.metrics.counter(&metrics::ERRORS, &[feed.as_str(), "capacity"]).add(1);
        let (topics, sessions) = (unplaced.len(), limits.sessions);
        tracing::error!(%feed, topics, %sessions, "more is wanted than the venue's connections may carry");
    }

    /// Takes a new answer of the venue.
    pub(super) fn take(&mut self, answer: &Answer, tasks: &mut Tasks) {
        match answer {
            Answer::Listed(wanted) => self.keep_up(wanted, tasks),
            Answer::Declared(wanted) => {
                self.want(wanted, tasks);
                self.status.asking.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Asks at once what the feed wants that is declared from now on.
    pub(super) fn change(&mut self, feed: Arc<dyn Feed>) -> BoxFuture<'static, Answer> {
        self.status.asking.store(true, Ordering::Relaxed);
        self.options.feed = Arc::clone(&feed);
        let (clock, mut backoff) = (Arc::clone(&self.options.clock), Backoff::new(self.random.random()));
        Box::pin(async move {
            loop {
                let error = match feed.universe().await {
                    Ok(wanted) => return Answer::Declared(wanted),
                    Err(error) => error,
                };
                let wait = backoff.next(error.wait());
                tracing::warn!(feed = %feed.name(), %error, ?wait, "what is declared now is not known yet");
                clock.sleep(wait).await;
            }
        })
    }

    /// Takes a new answer to an old question. One that misses more than half of what is carried cannot be all that
    /// there is: nothing is left for it, until it was given so often that it must be. One that is empty never is.
    fn keep_up(&mut self, wanted: &Wanted, tasks: &mut Tasks) {
        let topics: usize = self.open.iter().map(|shard| shard.wanted.borrow().0.len()).sum();
        let listed = wanted.0.len();
        let shrank = listed * 2 < topics;
        if !shrank || listed > 0 && self.shrunk >= SHRUNK_MAX {
            self.shrunk = 0;
            return self.want(wanted, tasks);
        }
        self.shrunk += 1;
        let feed = self.options.feed.name();
        self.options.metrics.counter(&metrics::ERRORS, &[feed.as_str(), "universe"]).add(1);
        tracing::warn!(%feed, topics, listed, "the universe shrank too much to be believed; nothing is left");
        // What is new in it is wanted all the same.
        let mut all = wanted.clone();
        all.0.extend(self.open.iter().flat_map(|shard| shard.wanted.borrow().0.clone()));
        self.want(&all, tasks);
    }

    /// Asks the sessions that carry a symbol, or the one that is meant, to get its book anew.
    pub(super) fn resync(&self, asked: &Resync) {
        let symbol = &asked.symbol;
        for shard in &self.open {
            let wants = shard.wanted.borrow().0.iter().any(|topic| topic.symbol.as_ref() == Some(symbol));
            for resync in shard.resyncs.iter().filter(|_| wants) {
                if resync.try_send(asked.clone()).is_err() {
                    tracing::warn!(%symbol, "a resync was dropped; too many wait, or the session has ended");
                }
            }
        }
    }

    /// Asks the universe when it is time, and sooner again while the venue cannot tell it.
    pub(super) fn ask_again(&mut self) -> BoxFuture<'static, Answer> {
        let (feed, clock) = (Arc::clone(&self.options.feed), Arc::clone(&self.options.clock));
        let Some(every) = self.options.universe_every else { return Box::pin(std::future::pending()) };
        // Many processes do not ask together.
        let every: Duration = every.mul_f64(self.random.random_range(0.9..1.1));
        let due = if self.shrunk > 0 { every / SOONER } else { every };
        let changes_in = self.options.subscriptions.changes_at().map(|at| at.since(clock.now()).max(SOONEST));
        Box::pin(async move {
            // A feed that knows when what it wants will be different is asked then.
            let mut wait = due.min(changes_in.unwrap_or(due));
            loop {
                clock.sleep(wait).await;
                match feed.universe().await {
                    Ok(wanted) => return Answer::Listed(wanted),
                    Err(error) => {
                        wait = (every / SOONER).max(error.wait().unwrap_or_default());
                        tracing::warn!(feed = %feed.name(), %error, "the universe is as it was known before");
                    }
                }
            }
        })
    }

    fn start(&mut self, wanted: Wanted, tasks: &mut Tasks) {
        // Without anybody who hears them, the capture is at its end.
        let Some(events) = self.events.upgrade() else { return };
        let (wanted, receiver) = watch::channel(Arc::new(wanted));
        let feeds: Vec<_> =
            std::iter::once(&self.options.feed).chain(&self.options.twins).map(Arc::clone).collect();
        let twins = (feeds.len() > 1).then(|| Twins::new(feeds.len()));
        let mut resyncs = Vec::new();
        for (number, feed) in feeds.into_iter().enumerate() {
            let options = &self.options;
            let (resync, asked) = mpsc::channel(RESYNCS_MAX);
            resyncs.push(resync);
            self.status.add_shard(receiver.clone());
            let supervisor = Supervisor {
                shard: self.sessions() + number,
                twins: twins.as_ref().map(|twins| Place { twins: Arc::clone(twins), number }),
                feed: options.feed.name().clone(),
                session: feed.session(),
                wanted: receiver.clone(),
                events: events.clone(),
                resync: asked,
                budget: Arc::clone(&self.budget),
                ids: self.ids.clone(),
                clock: Arc::clone(&options.clock),
                metrics: options.metrics.clone(),
                status: Arc::clone(&self.status),
                backoff: Backoff::new(self.random.random()),
                age: feed.limits().session_age,
                connections: 0,
                reserved: None,
                turn: None,
                stop: tasks.token(),
            };
            tasks.spawn("session", supervisor.run());
        }
        self.open.push(Shard { wanted, resyncs });
    }
}

/// Waits until something else is declared.
pub(super) async fn changed(changes: &mut Option<watch::Receiver<Arc<dyn Feed>>>) -> Arc<dyn Feed> {
    if let Some(receiver) = changes
        && receiver.changed().await.is_ok()
    {
        return Arc::clone(&receiver.borrow_and_update());
    }
    // Nobody can declare anything any more.
    std::future::pending().await
}

/// Spreads what is wanted over sessions, all topics of a symbol in the same one where that is possible, and what a
/// session carries already stays there. There is always at least one session: a recording wants nothing.
///
/// A session is added before the others are full, so that what comes suddenly finds room. What none has room for
/// is given back.
fn spread(mut shards: Vec<Wanted>, wanted: &Wanted, limits: Limits) -> (Vec<Wanted>, Vec<Topic>) {
    let full = limits.topics_per_session.get();
    let busy = full - full / SPARE;
    if shards.is_empty() {
        shards.push(Wanted::default());
    }
    shards.iter_mut().for_each(|shard| shard.0.retain(|topic| wanted.0.contains(topic)));
    let carried: BTreeSet<&Topic> = shards.iter().flat_map(|shard| &shard.0).collect();
    let mut topics: Vec<&Topic> = wanted.0.iter().filter(|topic| !carried.contains(topic)).collect();
    topics.sort_by(|a, b| (&a.symbol, &a.channel).cmp(&(&b.symbol, &b.channel)));
    let mut unplaced = Vec::new();
    for group in topics.chunk_by(|a, b| a.symbol.is_some() && a.symbol == b.symbol) {
        for part in group.chunks(full) {
            let fits = |shard: &Wanted, room: usize| shard.0.len() + part.len() <= room;
            let knows = |shard: &Wanted| {
                part[0].symbol.is_some() && shard.0.iter().any(|topic| topic.symbol == part[0].symbol)
            };
            let mut at = shards.iter().position(|shard| fits(shard, full) && knows(shard));
            at = at.or_else(|| shards.iter().position(|shard| fits(shard, busy) || shard.0.is_empty()));
            if at.is_none() && shards.len() < limits.sessions.get() {
                shards.push(Wanted::default());
                at = Some(shards.len() - 1);
            }
            match at.or_else(|| shards.iter().position(|shard| fits(shard, full))) {
                Some(at) => shards[at].0.extend(part.iter().copied().cloned()),
                None => unplaced.extend(part.iter().copied().cloned()),
            }
        }
    }
    (shards, unplaced)
}

#[cfg(test)]
mod tests {
    use ssmd_core::Symbol;

    use super::*;

    fn limits(topics_per_session: usize, sessions: usize) -> Limits {
        Limits {
            topics_per_session: topics_per_session.try_into().unwrap(),
            sessions: sessions.try_into().unwrap(),
            session_age: None,
            connects: 1,
            connects_window: Duration::from_secs(1),
        }
    }

    fn spread_all(shards: Vec<Wanted>, wanted: &Wanted, topics_per_session: usize) -> Vec<Wanted> {
        let (shards, unplaced) = spread(shards, wanted, limits(topics_per_session, 1000));
        assert_eq!(unplaced, []);
        shards
    }

    #[test]
    fn a_session_is_added_before_the_others_are_full_and_what_fits_nowhere_is_told() {
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let symbols: Vec<_> = (0..26).map(|n| Symbol::new(&format!("S{n:02}")).unwrap()).collect();
        let lengths = |parts: &[Wanted]| parts.iter().map(|part| part.0.len()).collect::<Vec<_>>();
        let before = spread_all(Vec::new(), &Wanted::product(&channels, &symbols[..10]), 20);
        assert_eq!(lengths(&before), [18, 2]);
        let (after, unplaced) = spread(before, &Wanted::product(&channels, &symbols), limits(20, 2));
        assert_eq!((lengths(&after), unplaced.len()), (vec![20, 20], 12));
        let (later, unplaced) = spread(after, &Wanted::product(&channels, &symbols[8..]), limits(20, 2));
        assert_eq!((lengths(&later).iter().sum::<usize>(), unplaced.len()), (36, 0));
    }

    #[test]
    fn sessions_carry_no_more_topics_than_they_may_and_symbols_stay_together() {
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let symbols: Vec<_> = (0..7).map(|n| Symbol::new(&format!("S{n}")).unwrap()).collect();
        let wanted = Wanted::product(&channels, &symbols);
        let parts = spread_all(Vec::new(), &wanted, 5);
        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| part.0.len() <= 5 && part.0.len() % 2 == 0));
        assert_eq!(
            parts.into_iter().flat_map(|part| part.0).collect::<std::collections::BTreeSet<_>>(),
            wanted.0
        );
        assert_eq!(spread_all(Vec::new(), &Wanted::default(), 5).len(), 1);
        assert_eq!(spread_all(Vec::new(), &wanted, 1).len(), 14);
    }

    #[test]
    fn what_is_carried_stays_where_it_is() {
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let symbols: Vec<_> = (0..6).map(|n| Symbol::new(&format!("S{n}")).unwrap()).collect();
        let before = spread_all(Vec::new(), &Wanted::product(&channels, &symbols[..4]), 4);
        let after = spread_all(before.clone(), &Wanted::product(&channels, &symbols[1..]), 4);
        assert_eq!(after.len(), 3);
        assert_eq!(after[1], before[1]);
        let names = |shard: &Wanted| shard.0.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&after[0]), ["book S1", "book S4", "trade S1", "trade S4"]);
        assert_eq!(names(&after[2]), ["book S5", "trade S5"]);
    }
}
