//! What works for each feed, and what others see of it, as feeds come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ssmd_core::{Clock, FeedName, Result, Tasks};

/// The tasks of each feed, beside what is shown of it.
pub(crate) struct ByFeed<T> {
    tasks: BTreeMap<FeedName, Tasks>,
    shown: Shown<T>,
    clock: Arc<dyn Clock>,
    stops_within: Duration,
}

/// What others see of the feeds.
pub(crate) type Shown<T> = Arc<Mutex<BTreeMap<FeedName, T>>>;

impl<T> ByFeed<T> {
    /// No feeds yet; each may take so long to stop.
    pub(crate) fn new(clock: &Arc<dyn Clock>, stops_within: Duration) -> Self {
        let (tasks, shown) = (BTreeMap::new(), Shown::default());
        Self { tasks, shown, clock: Arc::clone(clock), stops_within }
    }

    /// What is known of each feed, as they come and go.
    pub(crate) fn shown(&self) -> Shown<T> {
        Arc::clone(&self.shown)
    }

    pub(crate) fn add(&mut self, feed: &FeedName, shown: T, tasks: Tasks) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(feed.clone(), shown);
        self.tasks.insert(feed.clone(), tasks);
    }

    /// Lets one feed do what is left, and leaves it.
    ///
    /// # Errors
    /// Its failure.
    pub(crate) async fn remove(&mut self, feed: &FeedName) -> Result<()> {
        let Some(tasks) = self.tasks.remove(feed) else { return Ok(()) };
        let stopped = tasks.stop(self.stops_within, Arc::clone(&self.clock)).await;
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(feed);
        stopped
    }

    /// Waits until one failed.
    ///
    /// # Errors
    /// The first failure.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::try_join_all(self.tasks.values_mut().map(Tasks::wait)).await.map(drop)
    }

    /// Lets every feed do what is left, and ends.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let tasks = std::mem::take(&mut self.tasks).into_values();
        let stops = tasks.map(|tasks| tasks.stop(self.stops_within, Arc::clone(&self.clock)));
        futures_util::future::join_all(stops).await.into_iter().fold(Ok(()), Result::and)
    }
}
