//! Puts sealed segments and commits into a store, so that a crash, a lost answer or a rival changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Clock, Error, ErrorKind, FeedName, Metrics, ObjectPath, Origin, PutMode, Result, Store};
use ssmd_core::{Timestamp, metrics};
use tokio_util::sync::CancellationToken;

use crate::chain::{Chain, NextCommit};
use crate::commit::{InForce, Lost, Object};
use crate::environments::Timeline;
use crate::head::Head;
use crate::layout::sha256;
use crate::object::{create_alone, creates};
use crate::pack::Step;

/// The first wait after a failure; it doubles with each one.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait after a failure, so that archiving goes on within five seconds of the store's recovery.
const BACKOFF_MAX: Duration = Duration::from_secs(4);
/// Attempts that are left once stopping has begun: the journal still has everything.
const ATTEMPTS_AT_STOP: u32 = 5;

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It counts.
    Committed {
        /// The number through which its origin is committed or known to be lost.
        through: u64,
    },
    /// Somebody else made a commit of that number: load the chains and plan again.
    Overtaken,
}

/// Who else may commit to the same chains.
#[derive(Clone, Debug, Default)]
pub enum Rivals {
    /// Archivers of this host alone, which the lock keeps off.
    #[default]
    Here,
    /// Archivers of other hosts too. Where the store cannot refuse a second commit, all of them agree through this head.
    Anywhere(Option<Head>),
}

/// What keeps two archivers from committing under one number.
#[derive(Clone, Debug)]
pub enum Exclusion {
    /// The store creates an object once.
    Create,
    /// The head of the chain is compared and swapped.
    Head(Head),
    /// The lock, on this host alone.
    Lock,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("conditional create in the store, across hosts"),
            Self::Head(head) => write!(f, "the head of each chain in {head}, across hosts"),
            Self::Lock => f.write_str("a lock, on this host alone"),
        }
    }
}

impl Exclusion {
    /// What is in force with this store and these rivals; both are tried.
    ///
    /// # Errors
    /// `Unsupported` if there is nothing that keeps rivals off; what keeps it from being found out.
    pub async fn find(store: &dyn Store, rivals: &Rivals) -> Result<Self> {
        if creates(store).await? {
            return Ok(Self::Create);
        }
        match rivals {
            Rivals::Here => Ok(Self::Lock),
            Rivals::Anywhere(Some(head)) => head.check().await.map(|()| Self::Head(head.clone())),
            Rivals::Anywhere(None) => Err(Error::new(ErrorKind::Unsupported, "keep other archivers off")
                .detail("the store replaces objects that it should only create, and archivers on other hosts may commit")
                .hint("archive beside the log, on its host; or declare `journal: { nats: … }`; or take a store that creates once")),
        }
    }
}

/// The writer of one feed's commits.
pub struct Publisher {
    feed: FeedName,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    stop: CancellationToken,
    chains: BTreeMap<Origin, Chain>,
    environments: Option<Environments>,
    exclusion: Option<Exclusion>,
    /// The stamp of the oldest entry that no commit covers, as far as is known.
    oldest: Option<Timestamp>,
}

/// The environments that a recorder keeps beside its logs.
struct Environments {
    recorded: Arc<dyn Store>,
    timeline: Timeline,
}

impl Publisher {
    /// A publisher that knows no chains yet. Once `stop` is cancelled it gives up after a few attempts.
    pub fn new(
        feed: FeedName,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let chains = BTreeMap::new();
        Self { feed, store, clock, metrics, stop, chains, environments: None, exclusion: None, oldest: None }
    }

    /// Finds what keeps rivals off, and says it. Tries again for as long as it takes.
    ///
    /// # Errors
    /// As for [`Exclusion::find`], if trying again cannot cure it or stopping does not wait for it.
    pub async fn keep_off(&mut self, rivals: &Rivals) -> Result<()> {
        let mut attempts = Attempts::default();
        let found = loop {
            match Exclusion::find(&*self.store, rivals).await {
                Ok(found) => break found,
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        };
        tracing::info!(feed = %self.feed, "other archivers are kept off by {found}");
        self.exclusion = Some(found);
        Ok(())
    }

    /// Copies what a recorder applies, from where it `recorded` it, and names in each commit what held.
    pub fn with_environments(mut self, recorded: Arc<dyn Store>) -> Self {
        self.environments = Some(Environments { recorded, timeline: Timeline::default() });
        self
    }

    /// Loads the chains of these origins as they are in the store now. Others are not looked at, so damage to the
    /// commits of an old log does not keep a new one from being archived.
    ///
    /// # Errors
    /// `Corrupt` for damaged commits; `Invalid` for an origin of another feed; what stopping does not wait for.
    pub async fn load(&mut self, origins: impl IntoIterator<Item = Origin>) -> Result<()> {
        self.chains.clear();
        for origin in origins {
            let mut attempts = Attempts::default();
            let chain = loop {
                match Chain::load(&*self.store, origin).await {
                    Ok(chain) => break chain,
                    Err(error) => self.wait(&mut attempts, error).await?,
                }
            };
            if let Some(other) = chain.as_ref().filter(|chain| chain.feed != self.feed) {
                return Err(Error::new(ErrorKind::Invalid, "load commits")
                    .detail("the origin belongs to another feed")
                    .with("origin", origin)
                    .with("feed", &other.feed));
            }
            self.chains.extend(chain.map(|chain| (origin, chain)));
        }
        Ok(())
    }

    /// Where each origin that has commits goes on.
    pub fn positions(&self) -> BTreeMap<Origin, u64> {
        self.chains.iter().map(|(&origin, chain)| (origin, chain.position())).collect()
    }

    /// Puts what a step holds and commits it. Tries again for as long as it takes.
    ///
    /// # Errors
    /// What trying again cannot cure; what stopping does not wait for.
    ///
    /// # Cancel safety
    /// Dropping the future leaves at most an object that no commit names, or the commit made: load again.
    pub async fn publish(&mut self, step: Step) -> Result<Published> {
        let now = self.clock.now();
        let (origin, added, lost) = match step {
            Step::Segment(origin, sealed) => {
                self.show_lag(Some(sealed.object.earliest));
                let path: ObjectPath = sealed.object.path.parse()?;
                if !self.create(&path, sealed.body.clone(), &sealed.object.sha256).await? {
                    // The name says what the bytes must be, so those that lie there have been damaged.
                    tracing::warn!(%path, "replacing an object that is not what its name says");
                    self.store.put(&path, sealed.body, PutMode::Overwrite).await?;
                }
                self.count_object(sealed.object.bytes);
                (origin, vec![sealed.object], vec![])
            }
            Step::Lost(origin, first, last) => (origin, vec![], vec![Lost { first, last, noticed: now }]),
        };
        let entries = added.iter().map(|object| object.entries).sum();
        let environments = self.in_force(&added).await?;
        let feed = &self.feed;
        let chain = self.chains.entry(origin).or_insert_with(|| Chain::empty(feed.clone(), origin));
        let next = chain.next(added, vec![], lost, environments, now)?;
        if !self.commit(&next).await? {
            self.count_error("conflict");
            return Ok(Published::Overtaken);
        }
        self.metrics.counter(&metrics::COMMITS, &[self.feed.as_str()]).add(1);
        self.metrics.counter(&metrics::ARCHIVED_ENTRIES, &[self.feed.as_str()]).add(entries);
        let Some(chain) = self.chains.get_mut(&origin) else {
            return Err(Error::new(ErrorKind::Bug, "publish").with("origin", origin));
        };
        chain.force(next.commit, &next.bytes)?;
        Ok(Published::Committed { through: chain.position() })
    }

    /// Copies the environments that the archive does not have yet, and names those under which these objects were
    /// received. Tries again for as long as it takes.
    async fn in_force(&mut self, added: &[Object]) -> Result<Vec<InForce>> {
        let mut attempts = Attempts::default();
        loop {
            let Some(environments) = &mut self.environments else { return Ok(Vec::new()) };
            match environments.timeline.follow(&*environments.recorded, &*self.store).await {
                Ok(()) => break,
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
        let timeline = self.environments.iter().map(|environments| &environments.timeline);
        let mut named: Vec<_> = timeline
            .flat_map(|timeline| {
                added.iter().flat_map(|object| timeline.between(object.earliest, object.latest))
            })
            .cloned()
            .collect();
        named.sort();
        named.dedup();
        Ok(named)
    }

    /// Counts one error of this type.
    pub fn count_error(&self, error_type: &str) {
        self.metrics.counter(&metrics::ARCHIVER_ERRORS, &[self.feed.as_str(), error_type]).add(1);
    }

    /// Waits before the next attempt after `error`.
    ///
    /// # Errors
    /// `error`, if another attempt cannot cure it or stopping does not wait for it.
    pub async fn wait(&self, attempts: &mut Attempts, error: Error) -> Result<()> {
        use ErrorKind::{Bug, Corrupt, Invalid, Unsupported};
        let hopeless = matches!(error.kind(), Bug | Corrupt | Invalid | Unsupported);
        let stopping = self.stop.is_cancelled();
        attempts.stopping += u32::from(stopping);
        if hopeless || attempts.stopping > ATTEMPTS_AT_STOP {
            return Err(error);
        }
        self.count_error("store");
        // The entries that cannot be put grow old meanwhile.
        self.set_lag();
        let wait = attempts.next(error.wait(), &*self.clock);
        tracing::warn!(feed = %self.feed, %error, ?wait, "the store failed; trying again");
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if !stopping => {}
            () = self.clock.sleep(wait) => {}
        }
        Ok(())
    }

    /// Makes a commit; `false` if its number is another one's.
    async fn commit(&self, next: &NextCommit) -> Result<bool> {
        let Some(Exclusion::Head(head)) = &self.exclusion else {
            return self.create(&next.path, next.bytes.clone(), &sha256(&next.bytes)).await;
        };
        let mut attempts = Attempts::default();
        loop {
            match head.commit(&*self.store, &*self.clock, next).await {
                Ok(made) => return Ok(made),
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
    }

    /// Creates an object; `false` if another one is there under that name. An equal one is as good: then the
    /// answer to an earlier attempt was lost, or a crash came after it.
    async fn create(&self, path: &ObjectPath, body: Bytes, digest: &str) -> Result<bool> {
        let mut attempts = Attempts::default();
        loop {
            // Where the store cannot tell, the archiver's lock keeps others of this host off.
            let put = create_alone(&*self.store, path, body.clone()).await;
            let result = match put {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let there = self.store.get(path, None).await;
                    there.map(|there| there.len() == body.len() && sha256(&there) == digest)
                }
                put => put.map(|()| true),
            };
            match result {
                Ok(created) => return Ok(created),
                Err(error) => self.wait(&mut attempts, error).await?,
            }
        }
    }

    fn count_object(&self, bytes: u64) {
        self.metrics.counter(&metrics::ARCHIVED_BYTES, &[crate::layout::RAW]).add(bytes);
        self.metrics.counter(&metrics::ARCHIVED_FILES, &[crate::layout::RAW]).add(1);
    }

    /// Shows the age of the oldest entry that no commit covers, from now on also while the store fails.
    pub fn show_lag(&mut self, oldest: Option<Timestamp>) {
        self.oldest = oldest;
        self.set_lag();
    }

    fn set_lag(&self) {
        let lag = self.oldest.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest));
        self.metrics.gauge(&metrics::ARCHIVER_LAG, &[self.feed.as_str()]).set(lag.as_secs_f64());
    }
}

/// How often something was tried in vain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts {
    failed: u32,
    stopping: u32,
}

impl Attempts {
    /// The wait before the next attempt: doubled each time, capped, and a random part of it at least half, so
    /// that rivals do not keep step. It comes from the clock's nanoseconds, which no two rivals share.
    fn next(&mut self, asked: Option<Duration>, clock: &dyn Clock) -> Duration {
        let full = BACKOFF_MIN.saturating_mul(1 << self.failed.min(16)).min(BACKOFF_MAX);
        self.failed = self.failed.saturating_add(1);
        let mut hasher = DefaultHasher::new();
        (clock.now(), clock.elapsed(), self.failed).hash(&mut hasher);
        let random = hasher.finish() % 1000;
        let jittered = full.mul_f64(0.5 + random as f64 / 2000.0);
        jittered.max(asked.unwrap_or_default().min(BACKOFF_MAX))
    }
}
