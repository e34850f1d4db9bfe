//! Sessions to journal: what is heard becomes numbered entries, and what is not heard becomes gaps.
//!
//! One task per session hears ([`crate::supervise`]), one numbers and appends, one waits for durability. Nothing
//! here parses a frame.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{
    Clock, Day, Error, ErrorKind, Evidence, Feed, GapCause, Journal, Metrics, Origin, Result, SessionId,
    Symbol, Tasks, Topic, Wanted,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::supervise::{Backoff, ConnectBudget, Ids, Supervisor};
use crate::ws::Subscriptions;

mod batch;
mod counters;
mod durable;
mod overflow;
mod status;
mod writer;

pub use status::{CaptureFigures, CaptureStatus};
use writer::Writer;

/// What a capture needs.
#[derive(Clone)]
pub struct CaptureOptions {
    /// Where frames come from.
    pub feed: Arc<dyn Feed>,
    /// Where they go.
    pub journal: Arc<dyn Journal>,
    /// The log whose numbers are given.
    pub origin: Origin,
    /// The number of the first entry: one more than the origin's last.
    pub next: u64,
    /// The first session: one more than the origin's last.
    pub next_session: SessionId,
    /// The day of the origin's last entry, or today for a new log. The day never goes back behind it.
    pub day: Day,
    /// The last frame that was received before, if any was.
    pub last: Option<Evidence>,
    /// Why nothing was received since: `Planned` if the log was closed in order, `Crash` otherwise.
    pub last_cause: GapCause,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// What the feed's sessions say they miss (see [`crate::OpenContext`]).
    pub subscriptions: Subscriptions,
    /// Seeds the jitter of reconnects.
    pub seed: u64,
}

impl CaptureOptions {
    /// A capture of `feed` into a new `origin` of `journal`, with metrics and figures that nobody else sees.
    pub fn new(
        feed: Arc<dyn Feed>,
        journal: Arc<dyn Journal>,
        origin: Origin,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            feed,
            journal,
            origin,
            next: 1,
            next_session: SessionId(1),
            day: clock.now().day(),
            last: None,
            last_cause: GapCause::Planned,
            metrics: Metrics::new(),
            subscriptions: Subscriptions::default(),
            // Jitter must differ between processes that start together.
            seed: clock.now().nanos().cast_unsigned() ^ u64::from(std::process::id()),
            clock,
        }
    }
}

/// What a capture has done, once it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSummary {
    /// What it counted.
    pub figures: CaptureFigures,
    /// The number that the next entry would get.
    pub next: u64,
    /// The session that would open next.
    pub next_session: SessionId,
}

/// Captures one feed into one journal.
pub struct Capture {
    options: CaptureOptions,
    status: Arc<CaptureStatus>,
}

/// Batches of frames on their way from sockets to the journal. What does not fit waits in the kernel's buffers.
const EVENTS_MAX: usize = 64;
/// Resyncs on their way to one session; more than that are dropped, and asked for again by the next bad update.
const RESYNCS_MAX: usize = 1024;
/// How long everything may take to end, once it was told to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

impl Capture {
    /// A capture that has not begun.
    pub fn new(options: CaptureOptions) -> Self {
        let status = Arc::new(CaptureStatus::new(options.subscriptions.clone()));
        Self { options, status }
    }

    /// What it is doing, for views; stays valid after the end.
    pub fn status(&self) -> Arc<CaptureStatus> {
        Arc::clone(&self.status)
    }

    /// Captures until `stop` or until the feed is complete. Each symbol from `resync` gets its book anew.
    ///
    /// On stop, sessions close in order, what they still heard is appended, and everything is durable when this
    /// returns.
    ///
    /// # Errors
    /// The journal failed for good, the universe cannot exist as configured, or stopping took too long.
    /// A venue that cannot be reached is no error: it is tried again for as long as it takes.
    pub async fn run(
        self,
        stop: CancellationToken,
        mut resync: mpsc::Receiver<Symbol>,
    ) -> Result<CaptureSummary> {
        let ids = Ids::starting_at(self.options.next_session);
        // A capture that fails stops all of its sessions, but not its parent.
        let mut tasks = Tasks::under(&stop);
        let token = tasks.token();
        let next = match self.universe(&token).await? {
            Some(wanted) => {
                let (shards, next) = self.start(&mut tasks, wanted, &ids);
                drain(&mut tasks, &token, &shards, &mut resync, &self.options.clock).await?;
                *next.borrow()
            }
            None => self.options.next,
        };
        Ok(CaptureSummary { figures: self.status.figures(), next, next_session: ids.peek() })
    }

    /// Asks what is wanted until the venue answers; `None` if it was told to stop before.
    async fn universe(&self, stop: &CancellationToken) -> Result<Option<Wanted>> {
        let CaptureOptions { feed, clock, seed, .. } = &self.options;
        let mut backoff = Backoff::new(*seed);
        loop {
            let asked = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                asked = feed.universe() => asked,
            };
            let error = match asked {
                Ok(wanted) => return Ok(Some(wanted)),
                Err(error) if !error.kind().is_transient() => return Err(error),
                Err(error) => error,
            };
            let wait = backoff.next(error.wait());
            tracing::warn!(feed = %feed.name(), %error, ?wait, "the universe is not known yet");
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                () = clock.sleep(wait) => {}
            }
        }
    }

    fn start(&self, tasks: &mut Tasks, wanted: Wanted, ids: &Ids) -> (Vec<Shard>, watch::Receiver<u64>) {
        let options = &self.options;
        let parts = shards(wanted, options.feed.limits().topics_per_session.get());
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let budget = Arc::new(ConnectBudget::new(options.feed.limits()));
        let mut seeds = StdRng::seed_from_u64(options.seed);
        let (next, reached) = watch::channel(options.next);
        let (pendings, durable) = durable::stage(options, Arc::clone(&self.status));
        let writer = Writer::new(options, Arc::clone(&self.status), parts.len(), pendings, next);
        tasks.spawn("append", writer.run(heard));
        tasks.spawn("durable", durable);
        let mut started = Vec::with_capacity(parts.len());
        for (shard, wanted) in parts.into_iter().enumerate() {
            let (wanted, receiver) = watch::channel(Arc::new(wanted));
            let (resync, resyncs) = mpsc::channel(RESYNCS_MAX);
            let supervisor = Supervisor {
                shard,
                feed: options.feed.name().clone(),
                session: options.feed.session(),
                wanted: receiver,
                events: events.clone(),
                resync: resyncs,
                budget: Arc::clone(&budget),
                ids: ids.clone(),
                clock: Arc::clone(&options.clock),
                metrics: options.metrics.clone(),
                status: Arc::clone(&self.status),
                backoff: Backoff::new(seeds.random()),
                connections: 0,
                stop: tasks.token(),
            };
            tasks.spawn("session", supervisor.run());
            started.push(Shard { wanted, resync });
        }
        (started, reached)
    }
}

/// One session's ends of its channels.
struct Shard {
    wanted: watch::Sender<Arc<Wanted>>,
    resync: mpsc::Sender<Symbol>,
}

/// Waits until all tasks have ended, and hands resyncs on meanwhile.
async fn drain(
    tasks: &mut Tasks,
    stop: &CancellationToken,
    shards: &[Shard],
    resync: &mut mpsc::Receiver<Symbol>,
    clock: &Arc<dyn Clock>,
) -> Result<()> {
    let late = async {
        stop.cancelled().await;
        clock.sleep(STOP_TIME_MAX).await;
    };
    tokio::pin!(late);
    let mut first = Ok(());
    loop {
        tokio::select! {
            biased;
            () = &mut late => {
                let error = Error::new(ErrorKind::Timeout, "stop capture").with("tasks", tasks.len());
                return first.and(Err(error));
            }
            ended = tasks.next() => match ended {
                None => return first,
                Some((_, Ok(()))) => {}
                Some((_, Err(error))) => {
                    stop.cancel();
                    first = first.and(Err(error));
                }
            },
            Some(symbol) = resync.recv() => hand_on(shards, &symbol),
        }
    }
}

fn hand_on(shards: &[Shard], symbol: &Symbol) {
    for shard in shards {
        let wants = shard.wanted.borrow().0.iter().any(|topic| topic.symbol.as_ref() == Some(symbol));
        if wants && shard.resync.try_send(symbol.clone()).is_err() {
            tracing::warn!(%symbol, "a resync was dropped; too many wait, or the session has ended");
        }
    }
}

/// Spreads what is wanted over sessions, all topics of a symbol in the same one where that is possible. There is
/// always at least one session: a recording wants nothing.
fn shards(wanted: Wanted, topics_per_session: usize) -> Vec<Wanted> {
    let mut topics: Vec<Topic> = wanted.0.into_iter().collect();
    topics.sort_by(|a, b| (&a.symbol, &a.channel).cmp(&(&b.symbol, &b.channel)));
    let mut shards = vec![Wanted::default()];
    for group in topics.chunk_by(|a, b| a.symbol.is_some() && a.symbol == b.symbol) {
        for part in group.chunks(topics_per_session) {
            let fits = shards.last().is_some_and(|shard| shard.0.len() + part.len() <= topics_per_session);
            if !fits {
                shards.push(Wanted::default());
            }
            if let Some(shard) = shards.last_mut() {
                shard.0.extend(part.iter().cloned());
            }
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
        let parts = shards(wanted.clone(), 5);
        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| part.0.len() <= 5 && part.0.len() % 2 == 0));
        assert_eq!(
            parts.into_iter().flat_map(|part| part.0).collect::<std::collections::BTreeSet<_>>(),
            wanted.0
        );
        assert_eq!(shards(Wanted::default(), 5).len(), 1);
        assert_eq!(shards(wanted, 1).len(), 14);
    }
}
