//! A venue's limit on connects, kept by all sessions of a feed together, and across restarts of the process: one
//! that crashes as soon as it has connected must not get the address banned.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{Clock, Error, Limits, Result, Timestamp};
use tokio::sync::Mutex;

/// What of a venue's limit on connects is used: the rest is for whoever else shares the address.
const SHARE: f64 = 0.8;
/// How much later than it is counted an attempt may reach the venue; windows are this much longer than the venue's.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Keeps attempts to connect within a venue's limit.
#[derive(Debug)]
pub(crate) struct ConnectBudget {
    attempts: usize,
    window: Duration,
    file: Option<PathBuf>,
    made: Mutex<Made>,
}

/// When attempts were made, in nanoseconds of the clock's monotonic time: below zero before this process began.
type Made = VecDeque<i128>;

impl ConnectBudget {
    /// A budget that goes on where `file` says that the one before ended.
    pub(crate) async fn open(limits: Limits, file: Option<PathBuf>, clock: &dyn Clock) -> Self {
        let attempts = ((f64::from(limits.connects) * SHARE) as usize).max(1);
        let window = limits.connects_window + DELAY_MAX;
        let made = match &file {
            Some(path) => load(path, attempts, clock).await,
            None => Made::new(),
        };
        Self { attempts, window, file, made: Mutex::new(made) }
    }

    /// Takes one attempt, which is to be made now; or says how long to wait before asking again. An attempt that
    /// was taken is in the file already; where it cannot be, attempts are so far apart that no number of restarts
    /// exceeds the limit.
    ///
    /// # Cancel safety
    /// Safe: at worst an attempt counts that was not made.
    pub(crate) async fn take(&self, clock: &Arc<dyn Clock>) -> Result<(), Duration> {
        let mut made = self.made.lock().await;
        self.admit(&mut made, nanos(clock.elapsed()))?;
        if let Some(path) = &self.file {
            let (now, wall) = (nanos(clock.elapsed()), i128::from(clock.now().nanos()));
            let stamps = made.iter().map(|at| wall - (now - at)).collect();
            if let Err(error) = save(path.clone(), stamps).await {
                // A crash loop would know of none of its attempts, so each waits for as long as is its share.
                let pace = self.window / u32::try_from(self.attempts).unwrap_or(u32::MAX);
                tracing::warn!(%error, ?pace, "a restart will not know of this connect; connecting slowly");
                clock.sleep(pace).await;
            }
        }
        Ok(())
    }

    fn admit(&self, made: &mut Made, now: i128) -> Result<(), Duration> {
        let window = nanos(self.window);
        while made.front().is_some_and(|first| now >= first + window) {
            made.pop_front();
        }
        match made.front() {
            Some(first) if made.len() >= self.attempts => {
                Err(Duration::from_nanos(u64::try_from(first + window - now).unwrap_or(u64::MAX)))
            }
            _ => {
                made.push_back(now);
                Ok(())
            }
        }
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / 2)
}

/// Reads when attempts were made. If that cannot be read, all that are allowed count as made just now.
async fn load(path: &Path, attempts: usize, clock: &dyn Clock) -> Made {
    let now = nanos(clock.elapsed());
    let stamps: Result<Vec<Timestamp>> = match tokio::fs::read(path).await {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|cause| Error::new(ssmd_core::ErrorKind::Corrupt, "read connects made").because(cause)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(Error::io("read connects made", cause)),
    };
    match stamps {
        Ok(mut stamps) => {
            stamps.sort_unstable();
            // What lies in the future, since the wall clock was set back, counts as made now.
            let wall = clock.now();
            let ages = stamps.iter().map(|at| nanos(wall.since(*at)));
            let skip = stamps.len().saturating_sub(attempts);
            ages.skip(skip).map(|age| now - age).collect()
        }
        Err(error) => {
            let error = error.with("path", path.display()).hint("delete the file");
            tracing::warn!(
                report = error.report(),
                "it is not known how often was connected; waiting to be safe"
            );
            std::iter::repeat_n(now, attempts).collect()
        }
    }
}

/// Replaces the file, so that it is the old one or the new one whenever the process dies.
async fn save(path: PathBuf, stamps: Vec<i128>) -> Result<()> {
    let saving = tokio::task::spawn_blocking(move || {
        let bytes = serde_json::to_vec(&stamps).map_err(std::io::Error::other)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let new = path.with_extension("new");
        let mut file = std::fs::File::create(&new)?;
        std::io::Write::write_all(&mut file, &bytes)?;
        file.sync_data()?;
        std::fs::rename(new, path)
    });
    let saved = saving.await.map_err(std::io::Error::other).and_then(|saved| saved);
    saved.map_err(|cause| Error::io("keep connects made", cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssmd_core::ManualClock;

    const LIMITS: Limits = Limits {
        topics_per_session: std::num::NonZeroUsize::MIN,
        sessions: std::num::NonZeroUsize::MIN,
        session_age: None,
        connects: 10,
        connects_window: Duration::from_secs(60),
    };

    /// No window of a minute holds more than eight.
    fn check(made: &[Timestamp]) {
        for (at, first) in made.iter().enumerate() {
            let within = made[at..].iter().filter(|time| time.since(*first) < LIMITS.connects_window).count();
            assert!(within <= 8, "{within} attempts from {first} on");
        }
    }

    fn begin() -> Timestamp {
        "2026-08-01T12:00:00Z".parse().unwrap()
    }

    #[tokio::test]
    async fn no_window_sees_more_connects_than_the_budget() {
        let manual = ManualClock::new(begin());
        let clock: Arc<dyn Clock> = Arc::new(manual.clone());
        let budget = ConnectBudget::open(LIMITS, None, &manual).await;
        let mut made = Vec::new();
        while made.len() < 100 {
            match budget.take(&clock).await {
                Ok(()) => made.push(clock.now()),
                Err(wait) => {
                    assert!(wait > Duration::ZERO);
                    manual.advance(wait);
                }
            }
        }
        check(&made);
    }

    #[tokio::test]
    async fn a_process_that_crashes_again_and_again_stays_within_the_budget() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("connects").join("toy");
        let (mut made, mut wall) = (Vec::new(), begin());
        for _ in 0..150 {
            // Each process has a monotonic clock of its own, which begins at zero.
            let clock = ManualClock::new(wall);
            let shared: Arc<dyn Clock> = Arc::new(clock.clone());
            let budget = ConnectBudget::open(LIMITS, Some(file.clone()), &clock).await;
            if budget.take(&shared).await.is_ok() {
                made.push(clock.now());
            }
            clock.advance(Duration::from_secs(2));
            wall = clock.now();
        }
        check(&made);
        assert!(made.len() >= 5 * 7, "{} attempts in five minutes", made.len());
    }

    #[tokio::test]
    async fn where_attempts_cannot_be_kept_they_are_far_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("toy");
        // A folder stands where the new file must be written.
        std::fs::create_dir_all(file.with_extension("new")).unwrap();
        let (mut made, mut wall) = (Vec::new(), begin());
        for _ in 0..40 {
            let clock = ManualClock::new(wall);
            let shared: Arc<dyn Clock> = Arc::new(clock.clone());
            let budget = ConnectBudget::open(LIMITS, Some(file.clone()), &clock).await;
            let mut taking = std::pin::pin!(budget.take(&shared));
            loop {
                tokio::select! {
                    biased;
                    taken = &mut taking => {
                        taken.unwrap();
                        break;
                    }
                    () = tokio::task::yield_now() => clock.advance(Duration::from_millis(1)),
                }
            }
            made.push(clock.now());
            wall = clock.now();
        }
        check(&made);
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_and_a_damaged_file_allow_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("toy");
        let clock = ManualClock::new(begin());
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let budget = ConnectBudget::open(LIMITS, Some(file.clone()), &clock).await;
        while budget.take(&shared).await.is_ok() {}
        clock.step("2026-08-01T11:00:00Z".parse().unwrap());
        let budget = ConnectBudget::open(LIMITS, Some(file.clone()), &clock).await;
        assert_eq!(budget.take(&shared).await, Err(Duration::from_secs(65)));
        std::fs::write(&file, "[1, 2").unwrap();
        let budget = ConnectBudget::open(LIMITS, Some(file), &clock).await;
        assert_eq!(budget.take(&shared).await, Err(Duration::from_secs(65)));
    }
}
