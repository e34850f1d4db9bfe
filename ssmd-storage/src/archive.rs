//! The archiver: from a journal to committed segments. A crash at any step repeats work and changes nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::journal::read_after;
use ssmd_core::{
    Clock, Entries, Entry, Error, ErrorKind, FeedName, Journal, Metrics, Origin, Positions, Result, Store,
};
use tokio_util::sync::CancellationToken;

use crate::layout::Compression;
use crate::object::FileStore;
use crate::pack::{Packer, Step};
use crate::publish::{Attempts, Published, Publisher, Rivals};

/// Told after each commit: the origin, and the number through which it is committed.
pub type Covered = Arc<dyn Fn(Origin, u64) -> Result<()> + Send + Sync>;

/// Entries read from the journal at once: a millisecond's work or so, and at 300 bytes each a megabyte.
const BATCH: NonZeroUsize = NonZeroUsize::new(4096).expect("positive");

/// How an archiver works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the lock that keeps a second archiver of this feed off this host.
    pub lock_dir: PathBuf,
    /// How segments are compressed.
    pub compression: Compression,
    /// Seals what is open after so long without a new entry: a journal that fell silent is archived too.
    pub idle: Duration,
    /// The folder in which the recorder keeps the environments it applies (see [`crate::environments`]); without it
    /// commits name none.
    pub environments: Option<PathBuf>,
    /// Who else may archive the same logs.
    pub rivals: Rivals,
}

impl Options {
    /// The defaults, with the lock in this folder.
    pub fn new(lock_dir: impl Into<PathBuf>) -> Self {
        Self {
            lock_dir: lock_dir.into(),
            compression: Compression::default(),
            idle: Duration::from_secs(90),
            environments: None,
            rivals: Rivals::default(),
        }
    }
}

/// What an archiver did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Commits made.
    pub commits: u64,
    /// Segments put.
    pub objects: u64,
    /// Entries committed.
    pub entries: u64,
    /// Their bytes, compressed.
    pub bytes: u64,
    /// Entries found to be lost.
    pub lost: u64,
}

/// Archives one feed.
pub struct Archiver {
    /// The feed.
    pub feed: FeedName,
    /// Where its entries come from.
    pub journal: Arc<dyn Journal>,
    /// Where they go.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// How it works.
    pub options: Options,
    /// Told after each commit, and once for what is committed already.
    pub covered: Covered,
}

impl Archiver {
    /// Archives until `stop`, then what the journal holds at that moment, and says what it did.
    ///
    /// # Errors
    /// `Conflict` if another archiver of this feed runs on this host; `Unsupported` if nothing keeps those of others off;
    /// `Corrupt` for a damaged journal or damaged
    /// commits, after everything before the damage is committed; after `stop`, what the store still refuses.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next run goes on at the last commit.
    pub async fn run(&self, stop: CancellationToken) -> Result<Summary> {
        let _lock = self.lock()?;
        let mut publisher = Publisher::new(
            self.feed.clone(),
            self.store.clone(),
            self.clock.clone(),
            self.metrics.clone(),
            stop.clone(),
        );
        if let Some(folder) = &self.options.environments {
            publisher = publisher.with_environments(Arc::new(FileStore::open(folder)?));
        }
        publisher.keep_off(&self.options.rivals).await?;
        let mut run = Run { archiver: self, publisher, stop, summary: Summary::default() };
        let mut attempts = Attempts::default();
        loop {
            let before = run.summary.commits;
            let ended = run.pass().await;
            if run.summary.commits > before {
                attempts = Attempts::default();
            }
            match ended {
                Ok(Pass::Done) => return Ok(run.summary),
                Ok(Pass::Appeared) => {}
                Ok(Pass::Again) => {
                    let overtaken = Error::new(ErrorKind::Conflict, "commit").with("feed", &self.feed);
                    run.publisher.wait(&mut attempts, overtaken).await?;
                }
                // The journal may be trimmed between the question what it has and the reading of it.
                Err(error) if error.kind().is_transient() || error.kind() == ErrorKind::NotFound => {
                    run.publisher.wait(&mut attempts, error).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Holds the lock for as long as the file is open.
    fn lock(&self) -> Result<File> {
        let path = self.options.lock_dir.join(format!("archiver-{}.lock", self.feed));
        let failed = |cause| Error::io("lock archiver", cause).with("path", path.display());
        std::fs::create_dir_all(&self.options.lock_dir).map_err(failed)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::new(ErrorKind::Conflict, "lock archiver")
                .detail("another archiver of this feed is running")
                .with("path", path.display())),
            Err(cause) => Err(failed(cause.into())),
        }
    }
}

/// How a pass over the journal ended.
enum Pass {
    /// Stopped, or the journal has ended; everything is committed.
    Done,
    /// Somebody else commits too: begin again from what is committed now.
    Again,
    /// Entries came of an origin whose commits were not loaded: begin again with them.
    Appeared,
}

/// What the journal had to say.
enum Heard {
    Entries(Vec<Entry>),
    Lost(Origin, u64, u64),
    /// Nothing for a while.
    Idle,
    /// Stopping has begun.
    Stop,
    /// There will be no more, because of this if it is an error.
    End(Result<()>),
}

struct Run<'a> {
    archiver: &'a Archiver,
    publisher: Publisher,
    stop: CancellationToken,
    summary: Summary,
}

impl Run<'_> {
    /// From what is committed to the end, or until somebody else commits.
    async fn pass(&mut self) -> Result<Pass> {
        let bounds = self.archiver.journal.bounds().await?;
        self.publisher.load(bounds.origins.keys().copied()).await?;
        let positions = self.publisher.positions();
        positions.iter().for_each(|(&origin, &through)| self.covered(origin, through));
        let packer = Packer::new(self.archiver.feed.clone(), self.archiver.options.compression, &positions);
        let mut packer = Some(packer);
        let known: BTreeSet<Origin> = bounds.origins.keys().copied().collect();
        let begin = known.iter().map(|origin| (*origin, positions.get(origin).copied().unwrap_or(0)));
        let (mut entries, skipped) = read_after(&*self.archiver.journal, begin.collect()).await?;
        for (origin, first, last) in skipped {
            if !self.work(&mut packer, move |packer| packer.lost(origin, first, last)).await? {
                return Ok(Pass::Again);
            }
        }
        let mut goal = None;
        loop {
            let reached = |packer: &Packer, goal: &Positions| {
                goal.iter().all(|(&origin, &last)| packer.position(origin) >= last)
            };
            let done = match (&goal, &packer) {
                (Some(goal), Some(packer)) => reached(packer, goal),
                _ => false,
            };
            let heard =
                if done { Heard::End(Ok(())) } else { self.hear(&mut *entries, goal.is_some()).await };
            let going_on = match heard {
                Heard::Entries(batch) if batch.iter().any(|entry| !known.contains(&entry.id.origin)) => {
                    return Ok(Pass::Appeared);
                }
                Heard::Entries(batch) => self.work(&mut packer, move |packer| packer.push(&batch)).await?,
                Heard::Lost(origin, first, last) => {
                    self.work(&mut packer, move |packer| packer.lost(origin, first, last)).await?
                }
                Heard::Idle => self.work(&mut packer, Packer::seal).await?,
                Heard::Stop => {
                    let bounds = self.archiver.journal.bounds().await?;
                    goal =
                        Some(bounds.origins.into_iter().map(|(origin, (_, last))| (origin, last)).collect());
                    true
                }
                Heard::End(how) => {
                    let committed = self.work(&mut packer, Packer::seal).await?;
                    return how.map(|()| if committed { Pass::Done } else { Pass::Again });
                }
            };
            if !going_on {
                return Ok(Pass::Again);
            }
        }
    }

    async fn hear(&self, entries: &mut dyn Entries, stopping: bool) -> Heard {
        let next = tokio::select! {
            biased;
            () = self.stop.cancelled(), if !stopping => return Heard::Stop,
            next = entries.next(BATCH) => next,
            () = self.archiver.clock.sleep(self.archiver.options.idle) => return Heard::Idle,
        };
        let error = match next {
            Ok(batch) => return Heard::Entries(batch),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::Closed {
            self.publisher.count_error("journal");
        }
        match error.kind() {
            ErrorKind::Closed => Heard::End(Ok(())),
            ErrorKind::Hole => lost(&error).map_or(Heard::End(Err(error)), |(o, a, b)| Heard::Lost(o, a, b)),
            _ => Heard::End(Err(error)),
        }
    }

    /// Packs off the async thread, then puts and commits what is sealed; `false` if somebody else committed.
    async fn work(
        &mut self,
        packer: &mut Option<Packer>,
        work: impl FnOnce(&mut Packer) -> Result<Vec<Step>> + Send + 'static,
    ) -> Result<bool> {
        let bug = || Error::new(ErrorKind::Bug, "pack entries");
        let mut taken = packer.take().ok_or_else(bug)?;
        let packed = tokio::task::spawn_blocking(move || {
            let steps = work(&mut taken);
            (taken, steps)
        });
        let (returned, steps) = packed.await.map_err(|cause| bug().because(cause))?;
        let oldest = returned.oldest();
        *packer = Some(returned);
        for step in steps? {
            if !self.publish(step).await? {
                return Ok(false);
            }
        }
        self.publisher.show_lag(oldest);
        Ok(true)
    }

    async fn publish(&mut self, step: Step) -> Result<bool> {
        let (origin, objects, entries, bytes, lost) = match &step {
            Step::Segment(origin, sealed) => (*origin, 1, sealed.object.entries, sealed.object.bytes, 0),
            Step::Lost(origin, first, last) => (*origin, 0, 0, 0, last - first + 1),
        };
        let Published::Committed { through } = self.publisher.publish(step).await? else { return Ok(false) };
        self.summary.commits += 1;
        self.summary.objects += objects;
        self.summary.entries += entries;
        self.summary.bytes += bytes;
        self.summary.lost += lost;
        self.covered(origin, through);
        Ok(true)
    }

    fn covered(&self, origin: Origin, through: u64) {
        if let Err(error) = (self.archiver.covered)(origin, through) {
            // The watermark may be too low: nothing is lost, the log only keeps more than it needs.
            tracing::warn!(feed = %self.archiver.feed, %error, "could not tell what is covered");
            self.publisher.count_error("journal");
        }
    }
}

/// What an error of kind `Hole` names.
fn lost(error: &Error) -> Option<(Origin, u64, u64)> {
    let number = |name| error.context(name).and_then(|text| text.parse().ok());
    Some((error.context("origin")?.parse().ok()?, number("from")?, number("to")?))
}
