//! A capture that runs beside a test, and what is asked of its journal.

use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{
    Clock, Entry, EntryKind, Evidence, Feed, Gap, GapCause, ManualClock, Metrics, Origin, SessionId,
    SystemClock,
};
use ssmd_feeds::shares::Shares;
use ssmd_feeds::ws::{Liveness, Subscriptions};
use ssmd_feeds::{Capture, CaptureOptions, CaptureStatus, CaptureSummary, Resync};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::toy::{Toy, ToyJournal, lines, notes, settle};
use super::{Peer, Server, soon};

pub const ORIGIN: Origin = Origin::from_bytes([7; 16]);

/// A capture that runs beside the test.
pub struct Running {
    pub journal: Arc<ToyJournal>,
    pub status: Arc<CaptureStatus>,
    pub stop: CancellationToken,
    pub resync: mpsc::Sender<Resync>,
    pub metrics: Metrics,
    pub tasks: ssmd_core::Tasks,
    pub summary: tokio::sync::oneshot::Receiver<CaptureSummary>,
}

pub fn options(feed: Arc<dyn Feed>, journal: &Arc<ToyJournal>, clock: Arc<dyn Clock>) -> CaptureOptions {
    CaptureOptions {
        feed,
        twins: Vec::new(),
        shares: Shares::default(),
        changes: None,
        journal: journal.clone(),
        origin: ORIGIN,
        next: 1,
        next_session: SessionId(1),
        day: clock.now().day(),
        last: None,
        last_cause: GapCause::Crash,
        clock,
        metrics: Metrics::new(),
        subscriptions: Subscriptions::default(),
        connects: None,
        universe_every: None,
        seed: 1,
    }
}

pub fn start(options: CaptureOptions, journal: Arc<ToyJournal>) -> Running {
    let metrics = options.metrics.clone();
    let capture = Capture::new(options);
    let (status, stop) = (capture.status(), CancellationToken::new());
    let (resync, resyncs) = mpsc::channel(16);
    let (done, summary) = tokio::sync::oneshot::channel();
    let mut tasks = ssmd_core::Tasks::new();
    let token = stop.clone();
    tasks.spawn("capture", async move {
        let _ = done.send(capture.run(token, resyncs).await?);
        Ok(())
    });
    Running { journal, status, stop, resync, metrics, tasks, summary }
}

/// A capture of the toy venue with the machine's clock.
pub fn capture(feed: Arc<dyn Feed>) -> Running {
    let journal = ToyJournal::new();
    start(options(feed, &journal, Arc::new(SystemClock::new())), journal)
}

impl Running {
    pub async fn stop(self) -> (CaptureSummary, Vec<Entry>) {
        self.stop.cancel();
        self.ended().await
    }

    pub async fn ended(mut self) -> (CaptureSummary, Vec<Entry>) {
        soon("end", self.tasks.wait()).await.unwrap();
        let entries = self.journal.entries();
        assert!(entries.iter().zip(entries[0].id.n..).all(|(entry, n)| entry.id.n == n), "numbers are dense");
        assert!(entries.windows(2).all(|pair| pair[0].day <= pair[1].day), "the day never goes back");
        (self.summary.await.unwrap(), entries)
    }
}

pub fn toy(server: &Server) -> Arc<dyn Feed> {
    Arc::new(Toy::new(&server.url).feed(Liveness::Messages, &["A"], 100))
}

pub fn find<'a>(entries: &'a [Entry], text: &str) -> &'a Entry {
    let found = entries.iter().find(|entry| entry.payload == text);
    found.unwrap_or_else(|| panic!("{text} is not in {:#?}", lines(entries)))
}

pub fn at(entry: &Entry) -> Option<Evidence> {
    Some(Evidence { at: entry.at, session: entry.session, index: entry.index, shown: None })
}

pub fn gaps(entries: &[Entry]) -> Vec<Gap> {
    notes(entries, EntryKind::Gap)
}

/// Answers a goodbye, as a server does.
pub async fn serve(mut peer: Peer) {
    while peer.hear().await.is_some() {}
}

/// Moves the clock until something is so.
pub async fn advance_until(clock: &ManualClock, what: &str, so: impl Fn() -> bool) {
    soon(what, async {
        while !so() {
            settle().await;
            clock.advance(Duration::from_millis(250));
        }
    })
    .await;
}
