//! Logs to the archive: an archiver for each feed of an environment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ssmd_core::metrics::{self, Counter, Gauge};
use ssmd_core::{Clock, Error, ErrorKind, FeedName, Journal, Metrics, Origin, Result, Store, Tasks};
use ssmd_storage::Rivals;
use ssmd_storage::archive::Options;
use ssmd_transport::log;
use ssmd_transport::relay::Watermark;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::by_feed::ByFeed;
use crate::folder::Folder;
use crate::shared::Shared;
use crate::status::FeedStatus;

/// How long archivers may take to seal, put and commit what is left.
const STOPS_WITHIN: Duration = Duration::from_secs(60);
/// An archive that is further behind than this does not do its work; a segment is sealed long before.
const LAG_MAX: Duration = Duration::from_secs(15 * 60);

/// Every feed of an environment, being archived.
pub(crate) struct Archivers {
    /// Each ends after everything that is durable then is archived.
    pub(crate) feeds: ByFeed<Archived>,
    store: Arc<dyn Store>,
    folder: Folder,
    shared: Option<Shared>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    failed: Option<Error>,
}

/// One feed, being archived. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Archived {
    /// By log: a log that was deleted is followed by one of another origin.
    covered: Arc<Mutex<BTreeMap<Origin, u64>>>,
    /// Whether the log was found.
    open: Arc<AtomicBool>,
    lag: Gauge,
    commits: Counter,
    bytes: Counter,
    objects: Counter,
}

impl Archivers {
    /// No feeds yet.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        (folder, shared): (&Folder, Option<Shared>),
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let (feeds, folder) = (ByFeed::new(&clock, STOPS_WITHIN), folder.clone());
        Self { feeds, store, folder, shared, clock, metrics, failed: None }
    }

    /// Archives what the journal holds and will hold, once `open` has it. The log is told what it may forget.
    pub(crate) fn archive<F>(&mut self, feed: &FeedName, open: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<Arc<dyn Journal>>> + Send + 'static,
    {
        let (folder, metrics) = (&self.folder, &self.metrics);
        let (covered, opened) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicBool::new(false)));
        let (seen, directory) = (Arc::clone(&covered), folder.log(feed));
        let (archived_to, told) = watch::channel(BTreeMap::new());
        let shared = self.shared.clone();
        let is_shared = shared.is_some();
        let covered_to: ssmd_storage::archive::Covered = Arc::new(move |origin, n| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let known: &mut u64 = seen.entry(origin).or_default();
            *known = n.max(*known);
            archived_to.send_replace(seen.clone());
            drop(seen);
            match log::cover(&directory, origin, n) {
                // The log is on another machine, and is told by the relay beside it.
                Err(error) if is_shared && error.kind() == ErrorKind::NotFound => Ok(()),
                told => told,
            }
        });
        let archived = Archived {
            covered,
            open: Arc::clone(&opened),
            lag: metrics.gauge(&metrics::ARCHIVER_LAG, &[feed.as_str()]),
            commits: metrics.counter(&metrics::COMMITS, &[feed.as_str()]),
            bytes: metrics.counter(&metrics::ARCHIVED_BYTES, &["raw"]),
            objects: metrics.counter(&metrics::ARCHIVED_FILES, &["raw"]),
        };
        let mut options = Options::new(folder.path().join("log"));
        options.environments = Some(folder.path().to_owned());
        if let Some(shared) = &shared {
            // Whoever can read the shared journal may archive it too.
            options.rivals = Rivals::Anywhere(Some(shared.head(feed)));
        }
        let (feed, clock, metrics) = (feed.clone(), Arc::clone(&self.clock), metrics.clone());
        let (name, store, mut tasks) = (feed.clone(), Arc::clone(&self.store), Tasks::new());
        let stop = tasks.token();
        let open = open(stop.clone());
        let telling = shared.map(|shared| Watermark {
            cache: shared.cache(),
            keys: shared.keys(&feed),
            clock: Arc::clone(&clock),
            archived: told,
        });
        tasks.spawn("archive", async move {
            let journal = tokio::select! {
                biased;
                journal = open => journal?,
                () = stop.cancelled() => return Ok(()),
            };
            opened.store(true, Ordering::Relaxed);
            let archiver =
                ssmd_storage::Archiver { feed, journal, store, clock, metrics, options, covered: covered_to };
            tell(archiver.run(stop), telling).await
        });
        self.feeds.add(&name, archived, tasks);
    }

    /// Keeps a failure that must not stop anything else, for [`Archivers::stop`] to give.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// Archives everything that is durable now, and ends.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let stopped = self.feeds.stop().await;
        self.failed.take().map_or(stopped, Err)
    }
}

/// Archives, and tells the relay of it to the end.
async fn tell(
    archiving: impl Future<Output = Result<ssmd_storage::Summary>>,
    telling: Option<Watermark>,
) -> Result<()> {
    let Some(telling) = telling else { return archiving.await.map(drop) };
    let done = CancellationToken::new();
    let archiving = async {
        let archived = archiving.await;
        done.cancel();
        archived
    };
    let (archived, told) = tokio::join!(archiving, telling.run(done.clone()));
    archived.map(drop).and(told)
}

impl Archived {
    /// Adds what is archived of this log to the feed's status.
    pub(crate) fn describe(&self, log: Option<Origin>, status: &mut FeedStatus) {
        let covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a log beside it, the entries come from the shared journal.
        let of = |origin| covered.get(&origin).copied();
        status.archived = log.map_or_else(|| covered.values().max().copied(), of).unwrap_or_default();
        drop(covered);
        status.commits = self.commits.get();
        status.objects = self.objects.get();
        status.archived_bytes = self.bytes.get();
        status.archive_lag_seconds = self.lag.get();
    }

    /// Whether the log is there and its archive up to date; if not, why.
    ///
    /// # Errors
    /// The reason, for people.
    pub(crate) fn ready(&self, feed: &FeedName) -> std::result::Result<(), String> {
        if !self.open.load(Ordering::Relaxed) {
            return Err(format!("no log yet: {feed}"));
        }
        let lag = self.lag.get();
        if lag > LAG_MAX.as_secs_f64() {
            return Err(format!("the archive of {feed} is {lag:.0} s behind its log"));
        }
        Ok(())
    }
}
