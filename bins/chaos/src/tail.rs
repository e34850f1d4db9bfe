//! Watches a log from another process and remembers everything that it ever said was durable.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ssmd_core::{Clock, Entry, ErrorKind, Journal, Positions, Result, Start, Tasks};
use ssmd_transport::log::LogReader;

const BATCH: NonZeroUsize = NonZeroUsize::new(4096).expect("positive");
/// How often a log that is not there yet, or cannot be read, is tried.
const TRY_EVERY: Duration = Duration::from_millis(20);
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// A watcher of one log.
pub(crate) struct Tail {
    tasks: Tasks,
    seen: Arc<Mutex<Vec<Entry>>>,
    clock: Arc<dyn Clock>,
}

impl Tail {
    /// Watches the log in this folder, from behind what was seen before.
    pub(crate) fn watch(directory: &Path, clock: Arc<dyn Clock>, before: Vec<Entry>) -> Self {
        let seen = Arc::new(Mutex::new(before));
        let mut tasks = Tasks::new();
        let stop = tasks.token();
        let watching = follow(directory.to_owned(), Arc::clone(&clock), Arc::clone(&seen));
        tasks.spawn("watch log", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                never = watching => match never {},
            }
        });
        Self { tasks, seen, clock }
    }

    /// What was durable so far.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.seen)
    }

    /// Stops watching; no file of the log is open any more.
    pub(crate) async fn stop(self) -> Result<Vec<Entry>> {
        self.tasks.stop(STOPS_WITHIN, self.clock).await?;
        let seen = std::mem::take(&mut *lock(&self.seen));
        Ok(seen)
    }
}

fn lock(seen: &Mutex<Vec<Entry>>) -> MutexGuard<'_, Vec<Entry>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads for ever. A log that cannot be read now, because its disk has gone, is tried again.
async fn follow(
    directory: PathBuf,
    clock: Arc<dyn Clock>,
    seen: Arc<Mutex<Vec<Entry>>>,
) -> std::convert::Infallible {
    loop {
        // What stops the reading stops it only for now.
        let _ = read(&directory, &clock, &seen).await;
        clock.sleep(TRY_EVERY).await;
    }
}

async fn read(directory: &Path, clock: &Arc<dyn Clock>, seen: &Mutex<Vec<Entry>>) -> Result<()> {
    let log = LogReader::open(directory, Arc::clone(clock))?;
    let last = lock(seen).last().map(|entry| entry.id);
    let positions: Positions = last.map(|id| (id.origin, id.n)).into_iter().collect();
    let mut entries = log.read(Start::After(positions)).await?;
    loop {
        match entries.next(BATCH).await {
            Ok(batch) => lock(seen).extend(batch),
            Err(error) if error.kind() == ErrorKind::Hole => {}
            Err(error) => return Err(error),
        }
    }
}
