//! Logs to the archive: an archiver for each feed of an environment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ssmd_core::metrics::{self, Counter};
use ssmd_core::{Clock, FeedName, Journal, Metrics, Result, Store, Tasks};
use ssmd_storage::archive::Options;
use ssmd_transport::log;

use crate::folder::Folder;
use crate::status::FeedStatus;

/// How long archivers may take to seal, put and commit what is left.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// Every feed of an environment, being archived.
pub(crate) struct Archivers {
    tasks: Tasks,
    feeds: BTreeMap<FeedName, Archived>,
    clock: Arc<dyn Clock>,
}

/// One feed, being archived. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Archived {
    covered: Arc<AtomicU64>,
    commits: Counter,
    bytes: Counter,
    objects: Counter,
}

impl Archivers {
    /// No feeds yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { tasks: Tasks::new(), feeds: BTreeMap::new(), clock }
    }

    /// Archives what the journal holds and will hold, once `open` has it. The log is told what it may forget.
    pub(crate) fn archive(
        &mut self,
        feed: &FeedName,
        open: impl Future<Output = Result<Arc<dyn Journal>>> + Send + 'static,
        store: Arc<dyn Store>,
        folder: &Folder,
        metrics: &Metrics,
    ) {
        let covered = Arc::new(AtomicU64::new(0));
        let (seen, directory) = (Arc::clone(&covered), folder.log(feed));
        let covered_to: ssmd_storage::archive::Covered = Arc::new(move |origin, n| {
            seen.fetch_max(n, Ordering::Relaxed);
            log::cover(&directory, origin, n)
        });
        let archived = Archived {
            covered,
            commits: metrics.counter(&metrics::COMMITS, &[feed.as_str()]),
            bytes: metrics.counter(&metrics::ARCHIVED_BYTES, &["raw"]),
            objects: metrics.counter(&metrics::ARCHIVED_FILES, &["raw"]),
        };
        self.feeds.insert(feed.clone(), archived);
        let options = Options::new(folder.path().join("log"));
        let (feed, clock, metrics) = (feed.clone(), Arc::clone(&self.clock), metrics.clone());
        let stop = self.tasks.token();
        self.tasks.spawn("archive", async move {
            let journal = tokio::select! {
                biased;
                journal = open => journal?,
                () = stop.cancelled() => return Ok(()),
            };
            let archiver =
                ssmd_storage::Archiver { feed, journal, store, clock, metrics, options, covered: covered_to };
            archiver.run(stop).await.map(drop)
        });
    }

    /// What is known of each feed.
    pub(crate) fn feeds(&self) -> BTreeMap<FeedName, Archived> {
        self.feeds.clone()
    }

    /// Waits until one failed.
    ///
    /// # Errors
    /// The first failure.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        self.tasks.wait().await
    }

    /// Archives everything that is durable now, and ends.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        std::mem::take(&mut self.tasks).stop(STOPS_WITHIN, Arc::clone(&self.clock)).await
    }
}

impl Archived {
    /// Adds what is archived to the feed's status.
    pub(crate) fn describe(&self, status: &mut FeedStatus) {
        status.archived = self.covered.load(Ordering::Relaxed);
        status.commits = self.commits.get();
        status.objects = self.objects.get();
        status.archived_bytes = self.bytes.get();
    }
}
