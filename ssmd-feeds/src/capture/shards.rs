//! The sessions of one capture: what each shall carry, kept up to date as the universe changes.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{BoxFuture, Symbol, Tasks, Topic, Wanted};
use tokio::sync::{mpsc, watch};

use super::{CaptureOptions, CaptureStatus};
use crate::budget::ConnectBudget;
use crate::supervise::{Backoff, Ids, Supervisor, Told};

/// Resyncs on their way to one session; more than that are dropped, and asked for again by the next bad update.
const RESYNCS_MAX: usize = 1024;
/// How much sooner than usual the universe is asked again after the venue did not tell it.
const SOONER: u32 = 12;
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
}

/// One session's ends of its channels.
struct Shard {
    wanted: watch::Sender<Arc<Wanted>>,
    resync: mpsc::Sender<Symbol>,
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
        Self { options, status, events, budget, ids, random, open: Vec::new() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Makes the sessions together carry what is wanted. Topics stay where they are; new sessions are started for
    /// what fits nowhere.
    pub(super) fn want(&mut self, wanted: &Wanted, tasks: &mut Tasks) {
        let carried = self.open.iter().map(|shard| Wanted::clone(&shard.wanted.borrow())).collect();
        let parts = spread(carried, wanted, self.options.feed.limits().topics_per_session.get());
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

    /// Takes a new answer of the venue, unless so much is missing in it that it cannot be all that there is.
    pub(super) fn keep_up(&mut self, wanted: &Wanted, tasks: &mut Tasks) {
        let topics: usize = self.open.iter().map(|shard| shard.wanted.borrow().0.len()).sum();
        let feed = self.options.feed.name();
        if wanted.0.len() < topics / 2 || wanted.0.is_empty() && topics > 0 {
            tracing::warn!(%feed, topics, listed = wanted.0.len(), "the universe shrank too much to be believed");
            return;
        }
        self.want(wanted, tasks);
    }

    /// Asks the session that carries a symbol to get its book anew.
    pub(super) fn resync(&self, symbol: &Symbol) {
        for shard in &self.open {
            let wants = shard.wanted.borrow().0.iter().any(|topic| topic.symbol.as_ref() == Some(symbol));
            if wants && shard.resync.try_send(symbol.clone()).is_err() {
                tracing::warn!(%symbol, "a resync was dropped; too many wait, or the session has ended");
            }
        }
    }

    /// A factor for waits, so that many processes do not ask together.
    pub(super) fn jitter(&mut self) -> f64 {
        self.random.random_range(0.9..1.1)
    }

    fn start(&mut self, wanted: Wanted, tasks: &mut Tasks) {
        // Without anybody who hears them, the capture is at its end.
        let Some(events) = self.events.upgrade() else { return };
        let options = &self.options;
        let (wanted, receiver) = watch::channel(Arc::new(wanted));
        let (resync, resyncs) = mpsc::channel(RESYNCS_MAX);
        self.status.add_shard(receiver.clone());
        let supervisor = Supervisor {
            shard: self.open.len(),
            feed: options.feed.name().clone(),
            session: options.feed.session(),
            wanted: receiver,
            events,
            resync: resyncs,
            budget: Arc::clone(&self.budget),
            ids: self.ids.clone(),
            clock: Arc::clone(&options.clock),
            metrics: options.metrics.clone(),
            status: Arc::clone(&self.status),
            backoff: Backoff::new(self.random.random()),
            connections: 0,
            stop: tasks.token(),
        };
        tasks.spawn("session", supervisor.run());
        self.open.push(Shard { wanted, resync });
    }
}

/// Asks the universe when it is time, and sooner again while the venue cannot tell it.
pub(super) fn ask_again(options: &CaptureOptions, jitter: f64) -> BoxFuture<'static, Wanted> {
    let (feed, clock) = (Arc::clone(&options.feed), Arc::clone(&options.clock));
    let Some(every) = options.universe_every else { return Box::pin(std::future::pending()) };
    let every: Duration = every.mul_f64(jitter);
    let changes_in = options.subscriptions.changes_at().map(|at| at.since(clock.now()).max(SOONEST));
    Box::pin(async move {
        // A feed that knows when what it wants will be different is asked then.
        let mut wait = every.min(changes_in.unwrap_or(every));
        loop {
            clock.sleep(wait).await;
            match feed.universe().await {
                Ok(wanted) => return wanted,
                Err(error) => {
                    wait = (every / SOONER).max(error.wait().unwrap_or_default());
                    tracing::warn!(feed = %feed.name(), %error, "the universe is as it was known before");
                }
            }
        }
    })
}

/// Spreads what is wanted over sessions, all topics of a symbol in the same one where that is possible, and what a
/// session carries already stays there. There is always at least one session: a recording wants nothing.
fn spread(mut shards: Vec<Wanted>, wanted: &Wanted, topics_per_session: usize) -> Vec<Wanted> {
    if shards.is_empty() {
        shards.push(Wanted::default());
    }
    shards.iter_mut().for_each(|shard| shard.0.retain(|topic| wanted.0.contains(topic)));
    let mut topics: Vec<&Topic> =
        wanted.0.iter().filter(|topic| !shards.iter().any(|shard| shard.0.contains(topic))).collect();
    topics.sort_by(|a, b| (&a.symbol, &a.channel).cmp(&(&b.symbol, &b.channel)));
    for group in topics.chunk_by(|a, b| a.symbol.is_some() && a.symbol == b.symbol) {
        for part in group.chunks(topics_per_session) {
            let fits = |shard: &Wanted| shard.0.len() + part.len() <= topics_per_session;
            let knows = |shard: &Wanted| {
                part[0].symbol.is_some() && shard.0.iter().any(|topic| topic.symbol == part[0].symbol)
            };
            let at = shards.iter().position(|shard| fits(shard) && knows(shard));
            let at = at.or_else(|| shards.iter().position(fits)).unwrap_or_else(|| {
                shards.push(Wanted::default());
                shards.len() - 1
            });
            shards[at].0.extend(part.iter().copied().cloned());
        }
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_carry_no_more_topics_than_they_may_and_symbols_stay_together() {
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let symbols: Vec<_> = (0..7).map(|n| Symbol::new(&format!("S{n}")).unwrap()).collect();
        let wanted = Wanted::product(&channels, &symbols);
        let parts = spread(Vec::new(), &wanted, 5);
        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| part.0.len() <= 5 && part.0.len() % 2 == 0));
        assert_eq!(
            parts.into_iter().flat_map(|part| part.0).collect::<std::collections::BTreeSet<_>>(),
            wanted.0
        );
        assert_eq!(spread(Vec::new(), &Wanted::default(), 5).len(), 1);
        assert_eq!(spread(Vec::new(), &wanted, 1).len(), 14);
    }

    #[test]
    fn what_is_carried_stays_where_it_is() {
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let symbols: Vec<_> = (0..6).map(|n| Symbol::new(&format!("S{n}")).unwrap()).collect();
        let before = spread(Vec::new(), &Wanted::product(&channels, &symbols[..4]), 4);
        let after = spread(before.clone(), &Wanted::product(&channels, &symbols[1..]), 4);
        assert_eq!(after.len(), 3);
        assert_eq!(after[1], before[1]);
        let names = |shard: &Wanted| shard.0.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&after[0]), ["book S1", "book S4", "trade S1", "trade S4"]);
        assert_eq!(names(&after[2]), ["book S5", "trade S5"]);
    }
}
