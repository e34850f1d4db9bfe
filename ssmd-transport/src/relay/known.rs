//! What a relay knows at any moment, and shows: how far it is, and how far the archive is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ssmd_core::metrics::{self, Gauge};
use ssmd_core::{FeedName, Metrics, Origin, Positions, Timestamp};

use super::window::Sent;

/// Shared by what copies and what attends.
pub(super) struct Known {
    state: Mutex<State>,
    lag: Gauge,
    behind: Gauge,
}

#[derive(Default)]
struct State {
    /// The last number of each origin that the shared journal has, as far as is known.
    copied: Positions,
    /// The highest that it ever had.
    highest: Positions,
    covered: Positions,
    /// The stamp of the oldest entry on its way.
    oldest: Option<Timestamp>,
    /// Since when the log holds more than was copied.
    late_since: Option<Timestamp>,
    behind: u64,
}

impl Known {
    pub(super) fn new(metrics: &Metrics, feed: &FeedName) -> Self {
        let labels = [feed.as_str()];
        let (lag, behind) =
            (metrics.gauge(&metrics::RELAY_LAG, &labels), metrics.gauge(&metrics::RELAY_BEHIND, &labels));
        Self { state: Mutex::default(), lag, behind }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pass begins behind these.
    pub(super) fn begin(&self, positions: &Positions) {
        let mut state = self.lock();
        state.copied.clone_from(positions);
    }

    /// Something is on its way.
    pub(super) fn send(&self, oldest: Option<Timestamp>) {
        self.lock().oldest = oldest;
    }

    /// A batch has arrived.
    pub(super) fn copy(&self, sent: &Sent, oldest: Option<Timestamp>) {
        let mut state = self.lock();
        for (&origin, &n) in &sent.lasts {
            state.copied.insert(origin, n);
            let highest = state.highest.entry(origin).or_default();
            *highest = n.max(*highest);
        }
        state.oldest = oldest;
    }

    pub(super) fn copied(&self) -> Positions {
        self.lock().copied.clone()
    }

    pub(super) fn highest(&self) -> Positions {
        self.lock().highest.clone()
    }

    pub(super) fn covered(&self, origin: Origin) -> u64 {
        self.lock().covered.get(&origin).copied().unwrap_or(0)
    }

    pub(super) fn cover(&self, origin: Origin, n: u64) {
        let mut state = self.lock();
        let known = state.covered.entry(origin).or_default();
        *known = n.max(*known);
    }

    pub(super) fn behind(&self) -> u64 {
        self.lock().behind
    }

    /// Shows how far the copy is behind a log that ends at `lasts`.
    pub(super) fn show(&self, lasts: &Positions, now: Timestamp) {
        let mut state = self.lock();
        let behind = |(origin, last): (&Origin, &u64)| {
            last.saturating_sub(state.copied.get(origin).copied().unwrap_or(0))
        };
        let behind = lasts.iter().map(behind).sum();
        state.behind = behind;
        // What is not even on its way yet has no stamp that is known: then since it was noticed.
        state.late_since = if behind == 0 { None } else { state.oldest.or(state.late_since).or(Some(now)) };
        let lag = state.late_since.map_or(Duration::ZERO, |since| now.since(since));
        drop(state);
        self.lag.set(lag.as_secs_f64());
        self.behind.set(behind as f64);
    }
}
