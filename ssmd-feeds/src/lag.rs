//! How long messages are under way: from the venue's time to our receipt, connection by connection.
//!
//! The difference of two clocks: it is below zero where ours is behind the venue's, and one that is the same on every
//! connection and at all times is the clocks' and not the network's. Venues stamp what happened, or what they sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ssmd_core::entry::note;
use ssmd_core::metrics::{self, Metrics};
use ssmd_core::{Body, Entry, EntryKind, Output, SessionId};

/// Frames of one second that count; of more, the first ones stand for all.
const FRAMES_MAX: usize = 4096;
/// A frame cannot come before it was sent: this much, in nanoseconds, is no rounding of a venue's time but a clock.
const AHEAD_MAX: i64 = 1_000_000_000;
const NANOS_PER_SECOND: f64 = 1e9;

/// The lag of every connection of a feed, by its shard. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ReceiveLag(Arc<Mutex<BTreeMap<usize, i64>>>);

impl ReceiveLag {
    /// The lag of the connection where it is most, in seconds; `None` where nothing with a venue's time has come.
    pub fn most_seconds(&self) -> Option<f64> {
        let most = self.lock().values().copied().max()?;
        Some(most as f64 / NANOS_PER_SECOND)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures it from a journal's entries and what they decode to, second by second.
pub(crate) struct Lags {
    feed: String,
    metrics: Metrics,
    sessions: BTreeMap<SessionId, Measured>,
    lag: ReceiveLag,
}

#[derive(Default)]
struct Measured {
    shard: usize,
    /// In nanoseconds, since the last tick.
    lags: Vec<i64>,
    /// Whether it was told that our clock is wrong.
    warned: bool,
}

impl Lags {
    pub(crate) fn new(metrics: &Metrics, feed: &str) -> Self {
        let (feed, metrics) = (feed.to_owned(), metrics.clone());
        Self { feed, metrics, sessions: BTreeMap::new(), lag: ReceiveLag::default() }
    }

    pub(crate) fn shared(&self) -> ReceiveLag {
        self.lag.clone()
    }

    pub(crate) fn take(&mut self, entry: &Entry, outputs: &[Output]) {
        match entry.kind {
            EntryKind::Open => {
                let shard = note::decode::<note::Open>(&entry.payload).ok().and_then(|open| open.place());
                let measured = Measured { shard: shard.unwrap_or(0), lags: Vec::new(), warned: false };
                self.sessions.insert(entry.session, measured);
            }
            EntryKind::Close => {
                let Some(closed) = self.sessions.remove(&entry.session) else { return };
                if self.sessions.values().all(|measured| measured.shard != closed.shard) {
                    self.lag.lock().remove(&closed.shard);
                }
            }
            EntryKind::Tick => self.tell(),
            EntryKind::Frame(_) => self.measure(entry, outputs),
            EntryKind::Epoch | EntryKind::Roll | EntryKind::Gap => {}
        }
    }

    /// A frame is as late as the newest of what it tells.
    fn measure(&mut self, entry: &Entry, outputs: &[Output]) {
        let times = outputs.iter().filter_map(|output| match output {
            Output::Record(record) if is_new(&record.body) => record.header.venue_time,
            _ => None,
        });
        let (Some(newest), Some(measured)) = (times.max(), self.sessions.get_mut(&entry.session)) else {
            return;
        };
        if measured.lags.len() < FRAMES_MAX {
            measured.lags.push(entry.at.nanos().saturating_sub(newest.nanos()));
        }
    }

    fn tell(&mut self) {
        for measured in self.sessions.values_mut().filter(|measured| !measured.lags.is_empty()) {
            let middle = measured.lags.len() / 2;
            let median = *measured.lags.select_nth_unstable(middle).1;
            measured.lags.clear();
            let shard = measured.shard.to_string();
            let gauge = self.metrics.gauge(&metrics::RECEIVE_LAG, &[&self.feed, &shard]);
            gauge.set(median as f64 / NANOS_PER_SECOND);
            self.lag.lock().insert(measured.shard, median);
            if median < -AHEAD_MAX && !std::mem::replace(&mut measured.warned, true) {
                let seconds = -median as f64 / NANOS_PER_SECOND;
                self.metrics.counter(&metrics::ERRORS, &[&self.feed, "clock"]).add(1);
                tracing::error!(feed = %self.feed, seconds, "our clock is behind the venue's; set it, with NTP for example");
            }
        }
    }
}

/// Whether it tells what happens now: what a subscription begins with may be old.
fn is_new(body: &Body) -> bool {
    matches!(body, Body::Trade(_) | Body::Quote(_) | Body::Ticker(_) | Body::BookDelta(_))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ssmd_core::record::Book;
    use ssmd_core::{EntryId, FrameKind, Header, Origin, Record, Timestamp};

    use super::*;

    fn entry(kind: EntryKind, session: u64, millis: i64) -> Entry {
        let at = Timestamp::from_nanos(millis * 1_000_000);
        let payload = match kind {
            EntryKind::Open => {
                let shard = Some(session as usize - 1);
                note::encode(&note::Open {
                    url: String::new(),
                    wanted: Vec::new(),
                    shard,
                    twin: None,
                    category: None,
                })
            }
            _ => bytes::Bytes::new(),
        };
        Entry {
            id: EntryId { origin: Origin::from_bytes([1; 16]), n: 1 },
            day: at.day(),
            at,
            elapsed: Duration::ZERO,
            session: SessionId(session),
            index: 0,
            kind,
            binary: false,
            more: false,
            payload,
        }
    }

    fn hear(lags: &mut Lags, session: u64, received: i64, said: i64, body: fn(Book) -> Body) {
        let frame = entry(EntryKind::Frame(FrameKind::Data), session, received);
        let header = Header {
            symbol: None,
            venue_time: Some(Timestamp::from_nanos(said * 1_000_000)),
            received: frame.at,
            sequence: None,
            session: SessionId(session),
            index: 0,
            source: None,
        };
        lags.take(&frame, &[Output::Record(Record { header, body: body(Book::default()) })]);
    }

    #[test]
    fn each_connection_has_the_median_of_a_second_with_its_sign() {
        let metrics = Metrics::new();
        let mut lags = Lags::new(&metrics, "toy");
        let shared = lags.shared();
        let gauge = |shard: &str| metrics.gauge(&metrics::RECEIVE_LAG, &["toy", shard]).get();
        [1, 2].into_iter().for_each(|session| lags.take(&entry(EntryKind::Open, session, 0), &[]));
        assert_eq!(shared.most_seconds(), None);
        hear(&mut lags, 1, 9_000, 1_000, Body::BookSnapshot);
        for lag in [20, 30, 5_000] {
            hear(&mut lags, 1, 10_000 + lag, 10_000, Body::BookDelta);
        }
        hear(&mut lags, 2, 10_000, 10_050, Body::BookDelta);
        lags.take(&entry(EntryKind::Tick, 0, 11_000), &[]);
        assert_eq!((gauge("0"), gauge("1")), (0.03, -0.05));
        assert_eq!(shared.most_seconds(), Some(0.03));
        lags.take(&entry(EntryKind::Close, 1, 12_000), &[]);
        lags.take(&entry(EntryKind::Tick, 0, 12_000), &[]);
        assert_eq!(shared.most_seconds(), Some(-0.05));
        let wrong = || metrics.counter(&metrics::ERRORS, &["toy", "clock"]).get();
        assert_eq!(wrong(), 0);
        for second in [13, 14] {
            hear(&mut lags, 2, second * 1000, second * 1000 + 1_001, Body::BookDelta);
            lags.take(&entry(EntryKind::Tick, 0, second * 1000), &[]);
        }
        assert_eq!(wrong(), 1);
    }
}
