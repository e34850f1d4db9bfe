//! What nobody tells of a feed: how fast frames come, how large its log is, when a frame was not decoded. Looked at each
//! second.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ssmd_core::metrics::Gauge;
use ssmd_core::{Clock, DecodeCounts};
use ssmd_feeds::capture::CaptureStatus;
use ssmd_transport::log::{self, Log};
use tokio::sync::watch;

/// What the sampler saw last.
#[derive(Default)]
pub(super) struct Sampled {
    /// Frames received in the last second.
    pub(super) rate: AtomicU64,
    /// Gaps before today, UTC.
    pub(super) gaps_before: AtomicU64,
    /// Seconds since the last frame that was not decoded, plus one; 0 before the first.
    pub(super) undecoded: AtomicU64,
}

/// What looks at a feed each second: how fast frames come, and how large its log is.
pub(super) struct Sampler {
    pub(super) capture: Arc<CaptureStatus>,
    pub(super) sampled: Arc<Sampled>,
    pub(super) counts: watch::Receiver<DecodeCounts>,
    pub(super) gaps: Arc<AtomicU64>,
    pub(super) log: Log,
    pub(super) directory: PathBuf,
    pub(super) bytes: Gauge,
    pub(super) uncovered: Gauge,
}

impl Sampler {
    pub(super) async fn run(self, clock: Arc<dyn Clock>) -> std::convert::Infallible {
        let (mut at, mut frames) = (clock.elapsed(), self.capture.figures().frames);
        let mut day = clock.now().day();
        let mut undecoded = (0, None);
        loop {
            self.measure_log();
            clock.sleep(Duration::from_secs(1)).await;
            undecoded = self.look_what_was_not_decoded(undecoded, clock.elapsed());
            let figures = self.capture.figures();
            let (now, total, today) = (clock.elapsed(), figures.frames, clock.now().day());
            if day != today {
                day = today;
                let gaps = figures.gaps + self.gaps.load(Ordering::Relaxed);
                self.sampled.gaps_before.store(gaps, Ordering::Relaxed);
            }
            let seconds = now.saturating_sub(at).as_secs_f64().max(0.001);
            self.sampled.rate.store(((total - frames) as f64 / seconds).round() as u64, Ordering::Relaxed);
            (at, frames) = (now, total);
        }
    }

    /// How many frames were not decoded, and when that was seen to rise last.
    fn look_what_was_not_decoded(
        &self,
        (before, seen): (u64, Option<Duration>),
        now: Duration,
    ) -> (u64, Option<Duration>) {
        let counts = *self.counts.borrow();
        let count = counts.unknown + counts.malformed;
        let seen = if count > before { Some(now) } else { seen };
        let age = seen.map_or(0, |seen| 1 + now.saturating_sub(seen).as_secs());
        self.sampled.undecoded.store(age, Ordering::Relaxed);
        (count, seen)
    }

    fn measure_log(&self) {
        self.bytes.set(self.log.bytes() as f64);
        match log::covered(&self.directory) {
            Ok(covered) => {
                let ours = covered.filter(|(origin, _)| *origin == self.log.origin());
                let covered = ours.map_or(0, |(_, n)| n);
                self.uncovered.set(self.log.durable().saturating_sub(covered) as f64);
            }
            Err(error) => tracing::debug!(%error, "it is not known how much is archived"),
        }
    }
}
