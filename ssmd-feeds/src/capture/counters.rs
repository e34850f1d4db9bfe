//! The metrics of one capture, gotten once and added to per batch.

use ssmd_core::GapCause;
use ssmd_core::metrics::{self, Counter, Gauge, Metrics};

use super::status::Tally;

pub(super) struct Counters {
    feed: String,
    registry: Metrics,
    data: Counter,
    control: Counter,
    unknown: Counter,
    bytes: Counter,
    sent: Counter,
    pub(super) overflow: Counter,
    pub(super) sessions: Gauge,
    pub(super) missing: Gauge,
    unknown_errors: Counter,
}

impl Counters {
    pub(super) fn new(registry: &Metrics, feed: &str) -> Self {
        let received = |kind| registry.counter(&metrics::RECEIVED, &[feed, kind]);
        Self {
            feed: feed.to_owned(),
            data: received("data"),
            control: received("control"),
            unknown: received("unknown"),
            bytes: registry.counter(&metrics::RECEIVED_BYTES, &[feed]),
            sent: registry.counter(&metrics::SENT, &[feed]),
            overflow: registry.counter(&metrics::OVERFLOW, &[feed]),
            sessions: registry.gauge(&metrics::SESSIONS, &[feed]),
            missing: registry.gauge(&metrics::SUBSCRIPTIONS_MISSING, &[feed]),
            unknown_errors: registry.counter(&metrics::ERRORS, &[feed, "unknown"]),
            registry: registry.clone(),
        }
    }

    pub(super) fn count(&self, tally: &Tally) {
        self.data.add(tally.data);
        self.control.add(tally.control);
        self.unknown.add(tally.unknown);
        self.unknown_errors.add(tally.unknown);
        self.bytes.add(tally.bytes);
        self.sent.add(tally.sent);
    }

    pub(super) fn gaps(&self, causes: &[GapCause]) {
        for cause in causes {
            self.registry.counter(&metrics::GAPS, &[&self.feed, cause.word()]).add(1);
        }
    }
}
