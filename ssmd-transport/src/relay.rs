//! The relay: from a local log to the shared journal, the same entries under the same identities.
//!
//! It keeps no position of its own: it goes on behind the last entry of its origin that the shared journal has, and
//! looks again and again whether that is still there. While the other side is away it waits, and nothing else does.
//! It knows no broker and no file: only [`Journal`] and [`Cache`]. `docs/decisions/0053-relay.md` says why.

mod heal;
mod healed;
mod known;
mod watermark;
mod window;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::journal::{Range, read_after};
use ssmd_core::{
    Bounds, Cache, Clock, Entries, Entry, EnvironmentName, Error, ErrorKind, FeedName, Journal, Metrics,
    Origin, Positions, Result, metrics,
};
use tokio_util::sync::CancellationToken;

pub use healed::{Healed, Healing};
pub use watermark::{Covered, Watermark};

use known::Known;
use window::Window;

/// The names under which a relay and the readers of a shared journal tell each other things in a [`Cache`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(String);

impl Keys {
    /// Those of one feed of an environment.
    pub fn new(environment: &EnvironmentName, feed: &FeedName) -> Self {
        Self(format!("{environment}.{feed}"))
    }

    /// Through which number an origin is archived.
    pub fn covered(&self, origin: Origin) -> String {
        format!("{}.covered.{origin}", self.0)
    }

    /// Which numbers of an origin a reader is missing.
    pub fn heal(&self, origin: Origin) -> String {
        format!("{}.heal.{origin}", self.0)
    }

    /// What follows of an origin from a missing number on.
    pub fn healed(&self, origin: Origin, from: u64) -> String {
        format!("{}.healed.{origin}.{from}", self.0)
    }
}

/// The bounds of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most entries read at once.
    pub batch: NonZeroUsize,
    /// The most entries that are on their way.
    pub window_entries: usize,
    /// The most bytes of payload that are on their way; one batch is, even if it is larger.
    pub window_bytes: usize,
    /// How long the other side may take for anything. Then all that is on its way counts as not sent.
    pub answers_within: Duration,
    /// How often to look whether what was taken is still there.
    pub check_every: Duration,
    /// How often to look for the watermark and for what readers are missing.
    pub attend_every: Duration,
    /// How long copying may go on once stopping has begun. The log keeps the rest for the next start.
    pub drains_within: Duration,
}

impl Default for Options {
    /// 512 entries a batch, 16,384 entries or 8 MiB on their way, 10 s, 5 s, 1 s, 5 s.
    fn default() -> Self {
        Self {
            batch: NonZeroUsize::new(512).expect("positive"),
            window_entries: 16_384,
            window_bytes: 8 * 1024 * 1024,
            answers_within: Duration::from_secs(10),
            check_every: Duration::from_secs(5),
            attend_every: Duration::from_secs(1),
            drains_within: Duration::from_secs(5),
        }
    }
}

/// What a relay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries that the shared journal took, those counted twice that it had lost meanwhile.
    pub copied: u64,
    /// Entries that the log no longer had, or had damaged.
    pub skipped: u64,
    /// Entries that the shared journal can never take.
    pub refused: u64,
    /// How often the shared journal was found without what it had taken.
    pub rewound: u64,
}

/// Copies the log of one feed.
pub struct Relay {
    /// The feed, for metrics.
    pub feed: FeedName,
    /// The log.
    pub source: Arc<dyn Journal>,
    /// The shared journal.
    pub target: Arc<dyn Journal>,
    /// Where the archiver tells how far it is, and what it is missing.
    pub cache: Arc<dyn Cache>,
    /// Under which names.
    pub keys: Keys,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// Its bounds.
    pub options: Options,
    /// Told through which number an origin is archived, whenever that is known to be higher.
    pub covered: Covered,
}

/// How a pass over the log ended.
enum Pass {
    /// Everything that was wanted is copied.
    Done,
    /// The shared journal is not what it was.
    Rewound,
}

/// The first wait after a failure; it doubles with each one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait after a failure, so that copying goes on soon after the broker's recovery.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How often a log may say in one pass that it is damaged before the pass is begun anew.
const DAMAGES_MAX: u32 = 64;

impl Relay {
    /// Copies until `stop`, then what the log holds at that moment as far as that is quick, and says what it did.
    ///
    /// # Errors
    /// What trying again cannot cure: `Invalid` and `Unsupported` of either side, and `Bug`.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next run goes on behind what the shared journal has.
    pub async fn run(self, stop: CancellationToken) -> Result<Summary> {
        let known = Known::new(&self.metrics, &self.feed);
        let mut summary = Summary::default();
        let late = async {
            stop.cancelled().await;
            self.clock.sleep(self.options.drains_within).await;
        };
        let copied = tokio::select! {
            biased;
            copied = self.copy(&known, &mut summary, &stop) => copied,
            () = late => {
                tracing::warn!(feed = %self.feed, behind = known.behind(), "not all of the log is in the shared journal; the next start goes on");
                Ok(())
            }
            never = self.attend(&known) => match never {},
        };
        let lasts = self.lasts().await;
        known.show(&lasts, self.clock.now());
        copied.map(|()| summary)
    }

    /// The last number of each origin of the log; none of those that cannot be asked for.
    async fn lasts(&self) -> Positions {
        match self.source.bounds().await {
            Ok(bounds) => bounds.origins.into_iter().map(|(origin, (_, last))| (origin, last)).collect(),
            Err(error) => {
                tracing::debug!(feed = %self.feed, %error, "the log cannot be looked at");
                Positions::new()
            }
        }
    }

    async fn copy(&self, known: &Known, summary: &mut Summary, stop: &CancellationToken) -> Result<()> {
        use ErrorKind::{Bug, Invalid, Unsupported};
        let mut backoff = BACKOFF_MIN;
        loop {
            let before = known.highest();
            let ended = self.pass(known, summary, stop).await;
            if known.highest() != before {
                backoff = BACKOFF_MIN;
            }
            match ended {
                Ok(Pass::Done) => return Ok(()),
                Ok(Pass::Rewound) => {
                    summary.rewound += 1;
                    self.count_error("rewound");
                    tracing::warn!(feed = %self.feed, "the shared journal has lost what it had taken; copying again");
                }
                Err(error) if matches!(error.kind(), Bug | Invalid | Unsupported) => return Err(error),
                Err(error) => {
                    self.count_error("journal");
                    tracing::warn!(feed = %self.feed, %error, wait = ?backoff, "copying failed; trying again");
                }
            }
            self.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// From behind what the shared journal has to the end, or until it is not what it was.
    async fn pass(&self, known: &Known, summary: &mut Summary, stop: &CancellationToken) -> Result<Pass> {
        let there = self.in_time(self.target.bounds()).await?;
        let positions = self.begin(&there, known).await?;
        let (entries, skipped) = read_after(&*self.source, positions.clone()).await?;
        let mut copying =
            Copying { relay: self, known, summary, entries, window: Window::default(), passed: positions };
        for (origin, first, last) in skipped {
            copying.skip(origin, first, last);
        }
        copying.run(&there, stop).await
    }

    /// Behind which number of each origin to go on: what the shared journal has, else what is archived.
    async fn begin(&self, there: &Bounds, known: &Known) -> Result<Positions> {
        let mut positions = Positions::new();
        for origin in self.source.bounds().await?.origins.into_keys() {
            let position = match there.origins.get(&origin) {
                Some((_, last)) => *last,
                None => {
                    self.look_for_watermark(origin, known).await;
                    known.covered(origin)
                }
            };
            positions.insert(origin, position);
        }
        known.begin(&positions);
        Ok(positions)
    }

    /// Whether all that was copied is still there, or is archived. What was removed from the front is no matter:
    /// readers that miss it ask for it.
    async fn is_whole(&self, began: &Bounds, known: &Known) -> Result<bool> {
        let copied = known.copied();
        let there = self.in_time(self.target.bounds()).await?;
        let is_kept = |(origin, n): (&Origin, &u64)| match there.origins.get(origin) {
            Some((_, last)) => last >= n,
            None => *n <= known.covered(*origin),
        };
        Ok(there.incarnation == began.incarnation && copied.iter().all(is_kept))
    }

    /// The answer, or `Timeout` if it takes too long.
    async fn in_time<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.clock.sleep(self.options.answers_within) => Err(self.too_late()),
        }
    }

    fn too_late(&self) -> Error {
        Error::new(ErrorKind::Timeout, "copy to shared journal")
            .detail("it does not answer")
            .with("feed", &self.feed)
    }

    fn count_error(&self, error_type: &str) {
        self.metrics.counter(&metrics::RELAY_ERRORS, &[self.feed.as_str(), error_type]).add(1);
    }
}

/// One pass.
struct Copying<'a> {
    relay: &'a Relay,
    known: &'a Known,
    summary: &'a mut Summary,
    entries: Box<dyn Entries>,
    window: Window,
    /// The last number of each origin that was sent or passed over.
    passed: Positions,
}

impl Copying<'_> {
    async fn run(&mut self, began: &Bounds, stop: &CancellationToken) -> Result<Pass> {
        let (relay, options) = (self.relay, &self.relay.options);
        let mut goal: Option<Positions> = None;
        let mut damages = 0;
        let mut check = relay.clock.sleep(options.check_every);
        loop {
            if self.window.is_empty() && goal.as_ref().is_some_and(|goal| self.has_passed(goal)) {
                return Ok(Pass::Done);
            }
            let has_room = self.window.has_room(options) && !self.window.is_closed();
            let overdue = self.window.overdue(options.answers_within, &*relay.clock);
            tokio::select! {
                biased;
                sent = self.window.next(), if !self.window.is_empty() => {
                    let sent = sent?;
                    self.summary.copied += sent.entries;
                    self.known.copy(&sent, self.window.oldest());
                    relay.metrics.counter(&metrics::RELAYED, &[relay.feed.as_str()]).add(sent.entries);
                }
                () = overdue, if !self.window.is_empty() => return Err(relay.too_late()),
                () = stop.cancelled(), if goal.is_none() => {
                    let bounds = relay.source.bounds().await?;
                    goal = Some(bounds.origins.into_iter().map(|(origin, (_, last))| (origin, last)).collect());
                }
                () = &mut check => {
                    if !relay.is_whole(began, self.known).await? {
                        return Ok(Pass::Rewound);
                    }
                    check = relay.clock.sleep(options.check_every);
                }
                read = self.entries.next(options.batch), if has_room => match read {
                    Ok(batch) => self.send(batch).await?,
                    Err(error) if error.kind() == ErrorKind::Closed => {
                        self.window.close();
                        goal = Some(Positions::new());
                    }
                    Err(error) => match hole_of(&error) {
                        Some((origin, first, last)) => self.skip(origin, first, last),
                        // The reader goes on behind the damage, which readers of the copy see as a hole.
                        None if error.kind() == ErrorKind::Corrupt && damages < DAMAGES_MAX => {
                            damages += 1;
                            relay.count_error("damage");
                            tracing::error!(feed = %relay.feed, %error, "the log is damaged");
                        }
                        None => return Err(error),
                    },
                },
            }
        }
    }

    fn has_passed(&self, goal: &Positions) -> bool {
        goal.iter().all(|(origin, last)| self.passed.get(origin).is_some_and(|passed| passed >= last))
    }

    fn skip(&mut self, origin: Origin, first: u64, last: u64) {
        let skipped = last - first + 1;
        self.summary.skipped += skipped;
        let feed = &self.relay.feed;
        self.relay.metrics.counter(&metrics::RELAY_SKIPPED, &[feed.as_str()]).add(skipped);
        tracing::warn!(%feed, %origin, first, last, "the log no longer has what the shared journal has not");
        let passed = self.passed.entry(origin).or_default();
        *passed = last.max(*passed);
    }

    async fn send(&mut self, batch: Vec<Entry>) -> Result<()> {
        let sent = self.relay.in_time(self.relay.target.append(batch.clone())).await;
        match sent {
            Ok(pending) => self.sent(&batch, pending),
            Err(error) if error.kind() == ErrorKind::Invalid => return self.send_each(batch).await,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends what can be sent of a batch of which something cannot. Who reads the copy finds a hole, and asks.
    async fn send_each(&mut self, batch: Vec<Entry>) -> Result<()> {
        for entry in batch {
            let one = vec![entry];
            let sent = self.relay.in_time(self.relay.target.append(one.clone())).await;
            match sent {
                Ok(pending) => self.sent(&one, pending),
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    self.summary.refused += 1;
                    self.relay.count_error("refused");
                    tracing::error!(feed = %self.relay.feed, %error, "the shared journal can never take this entry");
                    self.pass_by(&one);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sent(&mut self, batch: &[Entry], pending: ssmd_core::Pending) {
        self.pass_by(batch);
        self.window.push(batch, pending, self.relay.clock.elapsed());
        self.known.send(self.window.oldest());
    }

    fn pass_by(&mut self, batch: &[Entry]) {
        for entry in batch {
            let passed = self.passed.entry(entry.id.origin).or_default();
            *passed = entry.id.n.max(*passed);
        }
    }
}

/// What an error of kind `Hole` names.
fn hole_of(error: &Error) -> Option<Range> {
    if error.kind() != ErrorKind::Hole {
        return None;
    }
    let number = |name| error.context(name).and_then(|text| text.parse().ok());
    Some((error.context("origin")?.parse().ok()?, number("from")?, number("to")?))
}
