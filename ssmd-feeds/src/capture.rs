//! Sessions to journal: what is heard becomes numbered entries, and what is not heard becomes gaps.
//!
//! One task per session hears ([`crate::supervise`]), one numbers and appends, one waits for durability. Nothing
//! here parses a frame.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{
    Clock, Day, Error, ErrorKind, Evidence, Feed, GapCause, Journal, Metrics, Origin, Result, SessionId,
    Symbol, Tasks, Wanted,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::budget::ConnectBudget;
use crate::shares::{Declared, Shares};
use crate::supervise::{Backoff, Ids};
use crate::ws::Subscriptions;

mod batch;
mod counters;
mod deal;
mod durable;
mod overflow;
mod resume;
mod sessions;
mod shards;
mod spread;
mod status;
mod writer;

pub(crate) use sessions::Heir;
use shards::Shards;
pub(crate) use status::Link;
pub use status::{CaptureFigures, CaptureStatus, ShareFigures};
use writer::Writer;

/// Resyncs that may wait at one place; more than that are dropped. One lost message may break every book of a connection,
/// which are 10,000 at most.
pub const RESYNCS_MAX: usize = 16 * 1024;

/// Asks for a symbol's book anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resync {
    /// Whose book.
    pub symbol: Symbol,
    /// On which session; `None` is every one that carries it.
    pub session: Option<SessionId>,
}

impl From<Symbol> for Resync {
    fn from(symbol: Symbol) -> Self {
        Self { symbol, session: None }
    }
}

/// What a capture needs.
#[derive(Clone)]
pub struct CaptureOptions {
    /// Where frames come from.
    pub feed: Arc<dyn Feed>,
    /// The same feed once more for each further session that shall hear the same, perhaps at another address. Only
    /// their sessions are used.
    pub twins: Vec<Arc<dyn Feed>>,
    /// Who wants what of the feed.
    pub shares: Shares,
    /// The same feed as it is declared anew while the capture runs: other symbols, channels or shares, everything
    /// else as before. What it wants holds at once; sessions and what they carry already stay as they are. What has
    /// to move to another session is left when that one has it.
    pub changes: Option<watch::Receiver<Declared>>,
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
    /// The last frame that was received before, if any was. It counts only where the journal itself does not tell
    /// any more what each session received last.
    pub last: Option<Evidence>,
    /// Why nothing was received since: `Planned` if the log was closed in order, `Crash` otherwise.
    pub last_cause: GapCause,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Metrics,
    /// What the feed's sessions say they miss (see [`crate::OpenContext`]).
    pub subscriptions: Subscriptions,
    /// Where attempts to connect are kept, so that a restart stays within the venue's limit too; `None` forgets.
    pub connects: Option<PathBuf>,
    /// How often the universe is asked again, give or take a tenth; `None` never asks again.
    pub universe_every: Option<Duration>,
    /// Seeds the jitter of reconnects and of asking.
    pub seed: u64,
}

/// How often the universe is asked again unless told otherwise: listings change a few times a week.
const UNIVERSE_EVERY: Duration = Duration::from_secs(3600);

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
            twins: Vec::new(),
            shares: Shares::default(),
            changes: None,
            journal,
            origin,
            next: 1,
            next_session: SessionId(1),
            day: clock.now().day(),
            last: None,
            last_cause: GapCause::Planned,
            metrics: Metrics::new(),
            subscriptions: Subscriptions::default(),
            connects: None,
            universe_every: Some(UNIVERSE_EVERY),
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

    /// Captures until `stop` or until the feed is complete. Each book that `resync` names is asked for anew.
    ///
    /// On stop, sessions close in order, what they still heard is appended, and everything is durable when this
    /// returns.
    ///
    /// # Errors
    /// The journal failed for good, or stopping took too long. A venue that cannot be reached, or does not say what
    /// there is, whatever it says instead, is no error: it is asked again for as long as it takes. What cannot exist as
    /// configured was refused when the feed was opened.
    pub async fn run(
        mut self,
        stop: CancellationToken,
        mut resync: mpsc::Receiver<Resync>,
    ) -> Result<CaptureSummary> {
        let ids = Ids::starting_at(self.options.next_session);
        // A capture that fails stops all of its sessions, but not its parent.
        let mut tasks = Tasks::under(&stop);
        let token = tasks.token();
        let next = match self.universe(&token).await? {
            Some(wanted) => {
                let (mut shards, next) = self.start(&mut tasks, wanted, &ids).await?;
                self.drain(&mut tasks, &token, &mut shards, &mut resync).await?;
                *next.borrow()
            }
            None => self.options.next,
        };
        Ok(CaptureSummary { figures: self.status.figures(), next, next_session: ids.peek() })
    }

    /// Asks what is wanted until the venue answers; `None` if it was told to stop before.
    async fn universe(&mut self, stop: &CancellationToken) -> Result<Option<Vec<Wanted>>> {
        let mut changes = self.options.changes.take();
        let asked = self.first_answer(&mut changes, stop).await;
        self.options.changes = changes;
        asked
    }

    async fn first_answer(
        &mut self,
        changes: &mut Option<watch::Receiver<Declared>>,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<Wanted>>> {
        let mut backoff = Backoff::new(self.options.seed);
        loop {
            let declared =
                Declared { feed: Arc::clone(&self.options.feed), shares: self.options.shares.clone() };
            let asked = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                changed = shards::changed(changes) => {
                    (self.options.feed, self.options.shares) = (changed.feed, changed.shares);
                    continue;
                }
                asked = declared.universe(&[]) => asked,
            };
            let error = match self.status.asked(asked) {
                Ok(wanted) => return Ok(Some(wanted)),
                Err(error) => error,
            };
            let wait = backoff.next(error.wait());
            tracing::warn!(feed = %declared.feed.name(), %error, ?wait, "the universe is not known yet");
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                changed = shards::changed(changes) => {
                    (self.options.feed, self.options.shares) = (changed.feed, changed.shares);
                }
                () = self.options.clock.sleep(wait) => {}
            }
        }
    }

    /// Starts the stages behind the sessions, and the sessions.
    async fn start(
        &self,
        tasks: &mut Tasks,
        wanted: Vec<Wanted>,
        ids: &Ids,
    ) -> Result<(Shards, watch::Receiver<u64>)> {
        let options = &self.options;
        let heard = resume::last_heard(options).await?;
        let budget =
            ConnectBudget::open(options.feed.limits(), options.connects.clone(), &*options.clock).await;
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let (next, reached) = watch::channel(options.next);
        let (pendings, durable) = durable::stage(options, Arc::clone(&self.status));
        let status = Arc::clone(&self.status);
        let mut shards = Shards::new(options.clone(), status, &events, budget, ids.clone());
        shards.want(wanted, tasks);
        let heard = (shards.sessions(), heard);
        let writer = Writer::new(options, Arc::clone(&self.status), heard, pendings, next);
        tasks.spawn("append", writer.run(told));
        tasks.spawn("durable", durable);
        Ok((shards, reached))
    }

    /// Waits until all tasks have ended; hands resyncs on and keeps up with the universe meanwhile.
    async fn drain(
        &self,
        tasks: &mut Tasks,
        stop: &CancellationToken,
        shards: &mut Shards,
        resync: &mut mpsc::Receiver<Resync>,
    ) -> Result<()> {
        let late = async {
            stop.cancelled().await;
            self.options.clock.sleep(STOP_TIME_MAX).await;
        };
        tokio::pin!(late);
        let mut changes = self.options.changes.clone();
        let (mut asked, mut moves) = (shards.ask_again(), shards.moves());
        let (mut first, mut stopped) = (Ok(()), false);
        loop {
            tokio::select! {
                biased;
                () = &mut late => {
                    let error = Error::new(ErrorKind::Timeout, "stop capture").with("tasks", tasks.len());
                    return first.and(Err(error));
                }
                () = stop.cancelled(), if !stopped => {
                    stopped = true;
                    shards.stop();
                }
                ended = tasks.next() => match ended {
                    None => return first,
                    Some((_, Ok(()))) => {}
                    Some((_, Err(error))) => {
                        stop.cancel();
                        first = first.and(Err(error));
                    }
                },
                Some(asked) = resync.recv() => shards.resync(&asked),
                changed = shards::changed(&mut changes) => asked = shards.change(changed),
                answer = &mut asked => {
                    shards.take(answer, tasks);
                    (asked, moves) = (shards.ask_again(), shards.moves());
                }
                () = &mut moves => {
                    shards.look(tasks);
                    moves = shards.moves();
                }
            }
        }
    }
}
