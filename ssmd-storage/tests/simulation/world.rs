//! The whole of it: one host with capture, log, relay and an archiver; a broker with the relayed copy; another host
//! with a second archiver that reads from the broker; one store. The scheduler lives in `steps.rs`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash};
use std::num::NonZeroUsize;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ssmd_core::{
    Bounds, Cache, Entries, Entry, EnvironmentName, ErrorKind, FeedName, Journal, ManualClock, Metrics,
    Origin, Pending, Result, Start, Timestamp,
};
use ssmd_storage::archive::Options as ArchiverOptions;
use ssmd_storage::{Archiver, Compression, Summary};
use ssmd_transport::log::{Log, LogReader, Options, cover_on, covered};
use ssmd_transport::memory::{MemoryCache, MemoryJournal};
use ssmd_transport::relay::{self, Keys, Relay};
use tokio_util::sync::CancellationToken;

use crate::capture::Capture;
use crate::disk::SimDisk;
use crate::model::{Broken, Model};
use crate::process::Process;
use crate::random::Random;
use crate::store::SimStore;
use crate::watched::{Seen, Watched};
use crate::{Plan, Sabotage};

/// 2026-08-01T23:50:00Z: a day ends in most runs.
const START: i64 = 1_785_628_200_000_000_000;
const ORIGIN: Origin = Origin::from_bytes([7; 16]);
const RELAY_BATCH: NonZeroUsize = NonZeroUsize::new(64).expect("positive");

pub(crate) struct ArchiverProcess {
    pub(crate) process: Process<Result<Summary>>,
    pub(crate) stop: CancellationToken,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) model: Model,
    root: tempfile::TempDir,
    feed: FeedName,
    options: Options,
    /// The clocks of the two hosts.
    pub(crate) clocks: [ManualClock; 2],
    pub(crate) elapsed: Duration,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) store: SimStore,
    pub(crate) capture: Option<Capture>,
    pub(crate) relay: Option<Process<Result<()>>>,
    pub(crate) archivers: [Option<ArchiverProcess>; 2],
    pub(crate) broker: Arc<MemoryJournal>,
    cache: Arc<dyn Cache>,
    copied: Seen,
    checked: usize,
    /// What readers of the log were given, and what those of the broker.
    seen: [Seen; 2],
    /// What broke, and at which steps.
    pub(crate) faults: Vec<(u64, String)>,
    pub(crate) powered_off: u64,
    pub(crate) trace: DefaultHasher,
}

fn lock(seen: &Seen) -> MutexGuard<'_, Vec<Entry>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
        let shm = std::path::Path::new("/dev/shm");
        let root = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
        let mut random = Random::new(plan.seed, u64::MAX);
        let options = Options {
            segment_bytes: 1024 << random.below(4),
            max_bytes: (24 * 1024) << random.below(4),
            retain: Duration::from_secs(20 * random.below(3)),
            queue_bytes: 4096 << random.below(3),
            sync_pause: Duration::ZERO,
        };
        // Two hosts never agree to the nanosecond.
        let clock = |by: i64| ManualClock::new(Timestamp::from_nanos(START + by));
        Self {
            plan: plan.clone(),
            model: Model::default(),
            root: root.expect("a temporary directory"),
            feed: FeedName::new("test").expect("a name"),
            options,
            clocks: [clock(0), clock(7_654_321)],
            elapsed: Duration::ZERO,
            disk: Arc::new(SimDisk::new(plan.sabotage.lies())),
            store: SimStore::new(plan.sabotage.breaks()),
            capture: None,
            relay: None,
            archivers: [None, None],
            broker: Arc::new(MemoryJournal::new()),
            cache: Arc::new(MemoryCache::new(Arc::new(clock(0)))),
            copied: Arc::default(),
            checked: 0,
            seen: [Arc::default(), Arc::default()],
            faults: Vec::new(),
            powered_off: 0,
            trace: DefaultHasher::new(),
        }
    }

    fn log_dir(&self) -> std::path::PathBuf {
        self.root.path().join("log")
    }

    /// Opens the log, which recovers it; a disk that fails then is tried again later.
    pub(crate) fn open_capture(&mut self) -> Result<(), Broken> {
        let (dir, feed, options) = (self.log_dir(), self.feed.clone(), self.options.clone());
        let (clock, disk) = (self.clocks[0].clone(), Arc::clone(&self.disk));
        let opening =
            async move { Log::open_stepped(&dir, &feed, options, Arc::new(clock), disk, ORIGIN).await };
        let opened = Process::new(opening).run().ok_or("opening the log waits for something")?;
        let error = match opened {
            Ok((log, stepper)) => {
                let held = self.read_log(log.durable())?;
                self.model.recovered(&held)?;
                self.capture = Some(Capture::new(log, stepper, self.clocks[0].clone()));
                return Ok(());
            }
            Err(error) => error,
        };
        let expected = matches!(error.kind(), ErrorKind::Full | ErrorKind::Io | ErrorKind::Closed);
        if expected { Ok(()) } else { Err(format!("the log does not open: {}", error.report())) }
    }

    /// What a new reader finds in the log.
    fn read_log(&self, through: u64) -> Result<Vec<Entry>, Broken> {
        let (dir, clock) = (self.log_dir(), Arc::new(self.clocks[0].clone()));
        let reading = async move {
            let mut reader = LogReader::open(&dir, clock)?.read(Start::Oldest).await?;
            let mut held: Vec<Entry> = Vec::new();
            while held.last().is_none_or(|entry| entry.id.n < through) {
                held.extend(reader.next(NonZeroUsize::MAX).await?);
            }
            Ok(held)
        };
        let read: Option<Result<Vec<Entry>>> = Process::new(reading).run();
        read.ok_or("reading the log waits for something")?
            .map_err(|error| format!("the log cannot be read: {}", error.report()))
    }

    /// The log as another process sees it, if there is one.
    fn log_reader(&self) -> Option<Arc<dyn Journal>> {
        let log = LogReader::open(&self.log_dir(), Arc::new(self.clocks[0].clone())).ok()?;
        Some(self.watched(Arc::new(log), 0))
    }

    fn watched(&self, inner: Arc<dyn Journal>, host: usize) -> Arc<dyn Journal> {
        let cheats = self.plan.sabotage.cheats();
        let (seen, disk) = (Arc::clone(&self.seen[host]), Arc::clone(&self.disk));
        Arc::new(Watched { inner, seen, cheats, dir: self.log_dir(), disk, origin: ORIGIN })
    }

    pub(crate) fn start_relay(&mut self) {
        let Some(log) = self.log_reader() else { return };
        let target = Noted { broker: Arc::clone(&self.broker), copied: Arc::clone(&self.copied) };
        let relay = Relay {
            feed: self.feed.clone(),
            source: log,
            target: Arc::new(target),
            cache: Arc::clone(&self.cache),
            keys: Keys::new(&EnvironmentName::new("test").expect("a name"), &self.feed),
            clock: Arc::new(self.clocks[0].clone()),
            metrics: Metrics::new(),
            options: relay::Options { batch: RELAY_BATCH, ..relay::Options::default() },
            // The archivers tell the log themselves.
            covered: Arc::new(|_, _| Ok(())),
        };
        self.relay = Some(Process::new(async move { relay.run(CancellationToken::new()).await.map(drop) }));
    }

    pub(crate) fn start_archiver(&mut self, host: usize) {
        let journal = match host {
            0 => self.log_reader(),
            _ => Some(self.watched(Arc::clone(&self.broker) as Arc<dyn Journal>, 1)),
        };
        let Some(journal) = journal else { return };
        let (dir, disk, broker) = (self.log_dir(), Arc::clone(&self.disk), Arc::clone(&self.broker));
        let mut options = ArchiverOptions::new(self.root.path().join(format!("host-{host}")));
        options.compression = Compression::Zstd(1);
        let archiver = Archiver {
            feed: self.feed.clone(),
            journal,
            store: self.store.client(Some(host)),
            clock: Arc::new(self.clocks[host].clone()),
            metrics: Metrics::new(),
            options,
            covered: Arc::new(move |origin, through| {
                broker.trim(&BTreeMap::from([(origin, through.saturating_sub(20))]));
                cover_on(&*disk, &dir, origin, through)
            }),
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        let process = Process::new(async move { archiver.run(token).await });
        self.archivers[host] = Some(ArchiverProcess { process, stop });
    }

    /// Runs an archiver as far as it comes.
    pub(crate) fn run_archiver(&mut self, host: usize) -> Result<bool, Broken> {
        let Some(archiver) = &mut self.archivers[host] else { return Ok(false) };
        let Some(ended) = archiver.process.run() else { return Ok(false) };
        self.archivers[host] = None;
        match ended {
            Ok(_) => Ok(true),
            Err(error) => Err(format!("archiver {host} gives up: {}", error.report())),
        }
    }

    pub(crate) fn run_relay(&mut self) -> Result<(), Broken> {
        let Some(ended) = self.relay.as_mut().and_then(Process::run) else { return Ok(()) };
        self.relay = None;
        // A relay waits until it is told to stop, and nobody tells it.
        Err(format!("relay: it ended: {ended:?}"))
    }

    /// The broker comes back without the last that it took.
    pub(crate) fn lose_broker(&mut self, random: &mut Random) {
        let mut copied = lock(&self.copied);
        let kept = copied.len() - random.below(20).min(copied.len() as u64) as usize;
        copied.truncate(kept);
        self.checked = self.checked.min(kept);
        let first = self.model.committed().saturating_sub(20);
        let batch: Vec<_> = copied.iter().filter(|entry| entry.id.n > first).cloned().collect();
        let broker = Arc::new(MemoryJournal::new());
        let refill = Arc::clone(&broker);
        Process::new(async move { refill.append(batch).await }).run();
        self.broker = broker;
        (self.relay, self.archivers[1]) = (None, None);
    }

    /// Everything on the first host ends at once.
    pub(crate) fn kill_host(&mut self) {
        (self.capture, self.relay, self.archivers[0]) = (None, None, None);
    }

    /// What must be so after every step.
    pub(crate) fn check(&mut self) -> Result<(), Broken> {
        for (path, bytes) in self.store.take_commits() {
            path.as_str().hash(&mut self.trace);
            bytes.hash(&mut self.trace);
            self.model.commit(&path, &bytes, &self.store)?;
        }
        for host in 0..2 {
            let seen = std::mem::take(&mut *lock(&self.seen[host]));
            let Some(last) = seen.last() else { continue };
            let durable = ssmd_transport::log::inspect(&self.log_dir()).map(|log| log.durable);
            if host == 0 && durable.is_ok_and(|durable| last.id.n > durable) {
                return Err(format!("a reader saw entry {} behind the watermark", last.id.n));
            }
            seen.iter().try_for_each(|entry| self.model.fix(entry, "read"))?;
        }
        self.check_copy()?;
        for (_, content) in self.disk.take_removed() {
            self.model.deleted(content)?;
        }
        match covered(&self.log_dir()) {
            Ok(Some((_, n))) if n > self.model.committed() => {
                Err(format!("covered: {n}, commits end at {}", self.model.committed()))
            }
            _ => Ok(()),
        }
    }

    /// The copy has each entry once and in order; what it skips is archived and was deleted from the log.
    fn check_copy(&mut self) -> Result<(), Broken> {
        let copied = lock(&self.copied);
        let mut last = self.checked.checked_sub(1).map(|at| copied[at].id.n);
        for entry in &copied[self.checked..] {
            let n = entry.id.n;
            let expected = last.map_or(1, |last| last + 1);
            if n != expected && !(n > expected && n - 1 <= self.model.committed()) {
                return Err(format!("relay: entry {n} was copied where {expected} should be"));
            }
            last = Some(n);
        }
        self.checked = copied.len();
        Ok(())
    }

    /// What the broker holds is what was copied to it.
    pub(crate) fn check_broker(&self) -> Result<(), Broken> {
        let (broker, wanted) = (Arc::clone(&self.broker), lock(&self.copied).clone());
        let reading = async move {
            let Some(&(first, last)) = broker.bounds().await?.origins.get(&ORIGIN) else { return Ok(None) };
            let mut reader = broker.read(Start::Oldest).await?;
            let mut held: Vec<Entry> = Vec::new();
            while held.last().is_none_or(|entry| entry.id.n < last) {
                match reader.next(NonZeroUsize::MAX).await {
                    Ok(batch) => held.extend(batch),
                    Err(error) if error.kind() == ErrorKind::Hole => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(Some((first, held)))
        };
        match Process::<Result<_>>::new(reading).run() {
            Some(Ok(None)) => Ok(()),
            Some(Ok(Some((first, held)))) => {
                let wanted: Vec<_> = wanted.into_iter().filter(|entry| entry.id.n >= first).collect();
                if held == wanted { Ok(()) } else { Err("the copy is not what was relayed".to_owned()) }
            }
            _ => Err("the copy cannot be read".to_owned()),
        }
    }

    /// Whether everything in the log was archived and deleted.
    pub(crate) fn is_log_empty(&self) -> bool {
        ssmd_transport::log::inspect(&self.log_dir()).is_ok_and(|log| log.segments.is_empty())
    }

    pub(crate) fn copied_through(&self) -> u64 {
        lock(&self.copied).last().map_or(0, |entry| entry.id.n)
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.elapsed += by;
        self.clocks.iter().for_each(|clock| clock.advance(by));
    }

    /// Where things stand, for the trace.
    pub(crate) fn note(&mut self, step: u64, what: &str) {
        let durable = self.capture.as_ref().map_or(0, |capture| capture.log.durable());
        let state = (step, what, self.elapsed, durable, self.disk.changes(), self.copied_through());
        state.hash(&mut self.trace);
    }

    pub(crate) fn sabotage(&self) -> Sabotage {
        self.plan.sabotage
    }
}

/// The broker as the relay has it: what it takes is noted.
struct Noted {
    broker: Arc<MemoryJournal>,
    copied: Seen,
}

#[async_trait]
impl Journal for Noted {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let pending = self.broker.append(batch.clone()).await?;
        let mut copied = lock(&self.copied);
        let last = copied.last().map_or(0, |entry| entry.id.n);
        copied.extend(batch.into_iter().filter(|entry| entry.id.n > last));
        Ok(pending)
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        self.broker.read(start).await
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.broker.bounds().await
    }
}
