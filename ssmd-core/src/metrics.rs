//! Metrics: every name, its labels and its help in one table, and the counters behind them.
//!
//! Logs are for people, metrics for machines. Labels come from closed sets: no symbol, no client.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter as PromCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge as PromGauge;
use prometheus_client::metrics::histogram::Histogram as PromHistogram;
use prometheus_client::registry::Registry;

use crate::{Clock, Error, ErrorKind, Result};

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations in buckets, in seconds.
    Histogram,
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name as it is scraped.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, with its unit.
    pub help: &'static str,
}

/// Writes the table: a constant for each metric, and [`TABLE`] with all of them.
macro_rules! table {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Spec =
            Spec { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// Every metric there is.
        pub const TABLE: &[Spec] = &[$($id),*];
    };
}

table! {
    RECEIVED = Counter "ssmd_connector_messages_received_total" ["feed", "type"]
        "frames taken off sockets, by what the protocol made of them (data, control, unknown)";
    RECEIVED_BYTES = Counter "ssmd_connector_bytes_received_total" ["feed"]
        "bytes of frames taken off sockets";
    SENT = Counter "ssmd_connector_messages_sent_total" ["feed"]
        "frames sent to venues";
    JOURNALED = Counter "ssmd_connector_entries_durable_total" ["feed"]
        "entries that are durable in the journal";
    RECONNECTS = Counter "ssmd_connector_websocket_reconnects_total" ["feed"]
        "connections opened after the first one";
    REPLACED = Counter "ssmd_connector_websocket_replaced_total" ["feed"]
        "connections that were replaced before the venue ended them";
    CONNECTS = Counter "ssmd_connector_connects_total" ["feed", "result"]
        "attempts to connect: opened, failed";
    CONNECTS_DELAYED = Counter "ssmd_connector_connects_delayed_total" ["feed"]
        "attempts to connect that waited because the venue allows no more of them";
    CONNECT_SECONDS = Histogram "ssmd_connector_connect_seconds" ["feed"]
        "seconds that attempts to connect took, from the name lookup to the WebSocket handshake";
    SESSIONS = Gauge "ssmd_connector_sessions" ["feed"]
        "connections that are open now";
    SUBSCRIPTIONS_MISSING = Gauge "ssmd_connector_subscriptions_missing" ["feed"]
        "topics that are wanted and not confirmed by the venue";
    LAG = Gauge "ssmd_connector_lag_seconds" ["feed"]
        "seconds from the receipt of the last frame to its being durable";
    RECEIVE_LAG = Gauge "ssmd_connector_receive_lag_seconds" ["feed", "shard"]
        "seconds from the venue's time of frames to their receipt by our clock, the median of the last second in which data came; below zero where our clock is behind";
    DURABLE = Histogram "ssmd_connector_durable_seconds" ["feed"]
        "seconds from the receipt of a frame to its being durable";
    ERRORS = Counter "ssmd_connector_errors_total" ["feed", "error_type"]
        "what went wrong: connect, closed, silence, protocol, rejected, malformed, unknown, capacity, clock, universe (a listing too short to be believed), failed (the feed is not recorded or not decoded any more)";
    GAPS = Counter "ssmd_connector_gaps_total" ["feed", "cause"]
        "known holes in what was captured";
    OVERFLOW = Counter "ssmd_connector_frames_overflowed_total" ["feed"]
        "frames that were received and not kept because a bound was reached; each stretch is a gap";
    RECORDS = Counter "ssmd_decoder_records_total" ["feed", "type"]
        "records decoded behind the journal";
    DECODE_ERRORS = Counter "ssmd_decoder_errors_total" ["feed", "error_type"]
        "frames that could not be decoded: malformed, unknown; they are in the journal all the same";
    BOOKS_VERIFIED = Counter "ssmd_decoder_books_verified_total" ["feed"]
        "book updates whose integrity check passed";
    BOOKS_FAILED = Counter "ssmd_decoder_books_failed_total" ["feed"]
        "book updates whose integrity check failed; each is a gap and a resync";
    PUBLISHED = Counter "ssmd_publisher_messages_total" ["result"]
        "messages for a broker outside the process: sent, lost (it was away, or slower than the market)";
    LOG_BYTES = Gauge "ssmd_log_bytes" ["feed"]
        "bytes of the local log on disk";
    LOG_UNCOVERED = Gauge "ssmd_log_uncovered_entries" ["feed"]
        "entries of the local log that no commit of the archive covers yet";
    RELAYED = Counter "ssmd_relay_entries_total" ["feed"]
        "entries of the local log that the shared journal took";
    RELAY_BEHIND = Gauge "ssmd_relay_behind_entries" ["feed"]
        "entries of the local log that the shared journal does not have yet";
    RELAY_LAG = Gauge "ssmd_relay_lag_seconds" ["feed"]
        "age in seconds of the oldest entry that the shared journal does not have yet";
    RELAY_SKIPPED = Counter "ssmd_relay_skipped_entries_total" ["feed"]
        "entries that the local log no longer had when the shared journal needed them";
    RELAY_HEALED = Counter "ssmd_relay_healed_entries_total" ["feed"]
        "entries given from the local log to readers that missed them in the shared journal";
    RELAY_ERRORS = Counter "ssmd_relay_errors_total" ["feed", "error_type"]
        "what went wrong: journal, cache, rewound (the shared journal lost what it had taken), damage (of the log), refused (an entry that the shared journal can never take)";
    ARCHIVED_ENTRIES = Counter "ssmd_archiver_entries_total" ["feed"]
        "entries that a commit covers";
    ARCHIVED_BYTES = Counter "ssmd_archiver_bytes_written_total" ["bucket"]
        "bytes of objects written, compressed";
    ARCHIVED_FILES = Counter "ssmd_archiver_files_written_total" ["bucket"]
        "objects written";
    COMMITS = Counter "ssmd_archiver_commits_total" ["feed"]
        "commits made";
    ARCHIVER_LAG = Gauge "ssmd_archiver_lag_seconds" ["feed"]
        "age in seconds of the oldest durable entry that no commit covers";
    ARCHIVER_ERRORS = Counter "ssmd_archiver_errors_total" ["feed", "error_type"]
        "what went wrong: store, journal, conflict; each is tried again";
    BACKEND_CALLS = Counter "ssmd_backend_calls_total" ["backend", "operation", "result"]
        "calls of a backend (store: create, overwrite, get, list, delete; journal: append, read, next, bounds; transport: publish, subscribe, next, flush; cache: get, put, delete, scan), by what came of them: ok, or the kind of error";
    BACKEND_SECONDS = Histogram "ssmd_backend_seconds" ["backend", "operation"]
        "seconds that calls of a backend took, failed ones too";
    RELOADS = Counter "ssmd_environment_reloads_total" ["result"]
        "times the document was read again: applied, unchanged, invalid, refused";
    DOCUMENT_REFUSED = Gauge "ssmd_environment_document_refused" []
        "1 while the document is not what runs, because it is wrong or cannot be applied; else 0";
}

/// Where the calls of one backend are counted and timed, alike for every kind of backend: [`BACKEND_CALLS`],
/// [`BACKEND_SECONDS`].
#[derive(Clone)]
pub struct BackendCalls {
    backend: &'static str,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl BackendCalls {
    /// Counts calls of a backend of this kind: `store`, `journal`, `transport` or `cache`.
    pub fn new(backend: &'static str, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { backend, clock, metrics }
    }

    /// When a call begins, for [`BackendCalls::ended`].
    pub fn begin(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Counts and times a call that began then.
    pub fn ended(&self, operation: &'static str, began: Duration, failed: Option<ErrorKind>) {
        self.count(operation, failed);
        let took = self.clock.elapsed().saturating_sub(began);
        self.metrics.histogram(&BACKEND_SECONDS, &[self.backend, operation]).observe(took);
    }

    /// Counts a call without its time.
    pub fn count(&self, operation: &'static str, failed: Option<ErrorKind>) {
        let result = failed.map_or("ok", ErrorKind::label);
        self.metrics.counter(&BACKEND_CALLS, &[self.backend, operation, result]).add(1);
    }

    /// Counts and times a call, when it ends.
    ///
    /// # Errors
    /// The call's.
    ///
    /// # Cancel safety
    /// As the call's; one that is dropped is not counted.
    pub async fn timed<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let began = self.begin();
        let answer = call.await;
        self.ended(operation, began, answer.as_ref().err().map(Error::kind));
        answer
    }
}

/// The registry of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

type Labels = Vec<(&'static str, String)>;

struct Inner {
    registry: Registry,
    families: Vec<(&'static str, Any)>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("families", &self.families.len()).finish()
    }
}

enum Any {
    Counter(Family<Labels, PromCounter>),
    Gauge(Family<Labels, PromGauge<f64, AtomicU64>>),
    Histogram(Family<Labels, PromHistogram, fn() -> PromHistogram>),
}

/// Buckets of every histogram, in seconds: from a tenth of a millisecond to ten seconds.
const BUCKETS: [f64; 16] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

fn histogram() -> PromHistogram {
    PromHistogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every metric of the table in it, none of them counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let mut families = Vec::with_capacity(TABLE.len());
        for spec in TABLE {
            // The registry adds `_total` to counters itself.
            let name = spec.name.strip_suffix("_total").unwrap_or(spec.name);
            let family = match spec.kind {
                Kind::Counter => {
                    let family = Family::default();
                    registry.register(name, spec.help, Family::clone(&family));
                    Any::Counter(family)
                }
                Kind::Gauge => {
                    let family = Family::default();
                    registry.register(name, spec.help, Family::clone(&family));
                    Any::Gauge(family)
                }
                Kind::Histogram => {
                    let family = Family::new_with_constructor(histogram as fn() -> PromHistogram);
                    registry.register(name, spec.help, Family::clone(&family));
                    Any::Histogram(family)
                }
            };
            families.push((spec.name, family));
        }
        Self(Arc::new(Inner { registry, families }))
    }

    /// The counter with these label values, in the order of `spec.labels`. Get it once and keep it.
    ///
    /// # Panics
    /// If `spec` is no counter of the table or the number of labels is another.
    pub fn counter(&self, spec: &Spec, values: &[&str]) -> Counter {
        match self.family(spec) {
            Any::Counter(family) => Counter(family.get_or_create_owned(&labels(spec, values))),
            _ => panic!("{} is no counter", spec.name),
        }
    }

    /// The gauge with these label values, in the order of `spec.labels`.
    ///
    /// # Panics
    /// If `spec` is no gauge of the table or the number of labels is another.
    pub fn gauge(&self, spec: &Spec, values: &[&str]) -> Gauge {
        match self.family(spec) {
            Any::Gauge(family) => Gauge(family.get_or_create_owned(&labels(spec, values))),
            _ => panic!("{} is no gauge", spec.name),
        }
    }

    /// The histogram with these label values, in the order of `spec.labels`.
    ///
    /// # Panics
    /// If `spec` is no histogram of the table or the number of labels is another.
    pub fn histogram(&self, spec: &Spec, values: &[&str]) -> Histogram {
        match self.family(spec) {
            Any::Histogram(family) => Histogram(family.get_or_create_owned(&labels(spec, values))),
            _ => panic!("{} is no histogram", spec.name),
        }
    }

    /// Everything counted so far, in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.0.registry) {
            // Writing to a `String` does not fail; if it ever does, the scraper shall see why.
            let _ = writeln!(text, "# {error}");
        }
        text
    }

    fn family(&self, spec: &Spec) -> &Any {
        let found = self.0.families.iter().find(|(name, _)| *name == spec.name);
        &found.unwrap_or_else(|| panic!("{} is not in the table", spec.name)).1
    }
}

fn labels(spec: &Spec, values: &[&str]) -> Labels {
    assert_eq!(spec.labels.len(), values.len(), "{} has the labels {:?}", spec.name, spec.labels);
    spec.labels.iter().zip(values).map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A number that only grows. Cheap to clone and to add to.
#[derive(Clone, Debug)]
pub struct Counter(PromCounter);

impl Counter {
    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.inc_by(by);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge(PromGauge<f64, AtomicU64>);

impl Gauge {
    /// Replaces the number.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// The number now.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// Durations, counted in buckets.
#[derive(Clone, Debug)]
pub struct Histogram(PromHistogram);

impl Histogram {
    /// Counts one.
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::new();
        metrics.counter(&RECEIVED, &["kraken", "data"]).add(3);
        metrics.gauge(&LAG, &["kraken"]).set(0.5);
        metrics.histogram(&DURABLE, &["kraken"]).observe(Duration::from_millis(3));
        let text = metrics.render();
        for line in [
            "ssmd_connector_messages_received_total{feed=\"kraken\",type=\"data\"} 3",
            "ssmd_connector_lag_seconds{feed=\"kraken\"} 0.5",
            "ssmd_connector_durable_seconds_bucket{le=\"0.005\",feed=\"kraken\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn names_are_unique_and_of_one_form() {
        for (at, spec) in TABLE.iter().enumerate() {
            assert!(spec.name.starts_with("ssmd_"), "{}", spec.name);
            assert_eq!(spec.kind == Kind::Counter, spec.name.ends_with("_total"), "{}", spec.name);
            assert!(TABLE[..at].iter().all(|other| other.name != spec.name), "{}", spec.name);
        }
    }
}
