//! A recorder as the connector assembles it: feed, capture and log, with or without the live decoder behind it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::Environment;
use ssmd_core::{
    Clock, DecodeCounts, Error, ErrorKind, Feed, FeedName, Journal, Metrics, Result, SessionId, Start,
    SystemClock, Tasks,
};
use ssmd_feeds::sim::{self, Sim, SimOptions, Source};
use ssmd_feeds::{
    Capture, CaptureOptions, CaptureStatus, Dialer, Live, LiveOptions, OpenContext, Resync, Subscriptions,
};
use ssmd_transport::log::{Log, Options};
use tokio::sync::{mpsc, watch};

use super::market::DEPTH;

/// The feed that is recorded.
pub(super) const FEED: &str = "kraken";
/// How long ending may take.
pub(super) const STOP_TIME_MAX: Duration = Duration::from_secs(30);
/// Symbols of a market that is busy in all of them.
pub(super) const SYMBOLS: usize = 8;
/// What is recorded of it.
pub(super) const CHANNELS: &str = "book, trade, ticker";

/// Puts a journal of the caller's own between capture and log.
pub(super) type Wrap<'a> = &'a (dyn Fn(Log) -> Arc<dyn Journal> + Sync);

/// What records.
pub(super) struct Recorder {
    /// What capture counts.
    pub(super) status: Arc<CaptureStatus>,
    /// Where it records.
    pub(super) log: Log,
    /// What the live decoder counts, if there is one.
    pub(super) counts: Option<watch::Receiver<DecodeCounts>>,
    capture: Tasks,
    live: Tasks,
    clock: Arc<dyn Clock>,
    _resync: mpsc::Sender<Resync>,
}

impl Recorder {
    /// Records what `environment` declares into the log in `folder`.
    ///
    /// # Errors
    /// As for [`Log::open`].
    pub(super) async fn start(
        environment: &Environment,
        folder: &Path,
        live: bool,
        wrap: Wrap<'_>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let name = FeedName::new(FEED)?;
        let log = Log::open(folder, &name, Options::default(), Arc::clone(&clock)).await?;
        let subscriptions = Subscriptions::default();
        let feed = open(environment, subscriptions.clone(), Arc::clone(&clock))?;
        let position = log.position();
        let journal = wrap(log.clone());
        let base = CaptureOptions::new(Arc::clone(&feed), journal, log.origin(), Arc::clone(&clock));
        let (next, next_session) = (position.next, SessionId(position.next_session));
        let capture =
            Capture::new(CaptureOptions { next, next_session, day: position.day, subscriptions, ..base });
        let status = capture.status();
        let (resync, resyncs) = mpsc::channel(1);
        let mut recorder = Self {
            status,
            counts: None,
            capture: Tasks::new(),
            live: Tasks::new(),
            clock: Arc::clone(&clock),
            _resync: resync.clone(),
            log,
        };
        if live {
            let journal: Arc<dyn Journal> = Arc::new(recorder.log.clone());
            let origin = recorder.log.origin();
            let start = Start::After([(origin, next - 1)].into());
            let (live, metrics) = ((origin, next_session), Metrics::new());
            let live = Live::new(LiveOptions {
                feed,
                journal,
                start,
                live,
                resync,
                publish: Vec::new(),
                clock,
                metrics,
            });
            recorder.counts = Some(live.counts());
            recorder.live.spawn("decode", live.run(recorder.live.token()));
        }
        let stop = recorder.capture.token();
        recorder.capture.spawn("capture", async move { capture.run(stop, resyncs).await.map(drop) });
        Ok(recorder)
    }

    /// Ends capture, decoder and log, and gives the log's origin's frames back as they lie on disk.
    ///
    /// # Errors
    /// What failed first.
    pub(super) async fn stop(self) -> Result<()> {
        let captured = self.capture.stop(STOP_TIME_MAX, Arc::clone(&self.clock)).await;
        let decoded = self.live.stop(STOP_TIME_MAX, self.clock).await;
        let closed = self.log.close().await;
        captured.and(decoded).and(closed)
    }
}

fn open(
    environment: &Environment,
    subscriptions: Subscriptions,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Feed>> {
    let tls = ssmd_feeds::tls::client_config(None)?;
    let spec = environment.feeds.first().ok_or_else(|| Error::new(ErrorKind::Bug, "bench"))?;
    let dial = Arc::new(Dialer::new(Arc::clone(&tls), spec.allow_plaintext));
    ssmd_feeds::open(spec, &OpenContext { dial, tls, clock, subscriptions })
}

/// A document that records book, trades and tickers of these symbols from a port of this machine.
pub(super) fn document(address: SocketAddr, channels: &str, symbols: &[String]) -> String {
    let symbols: Vec<_> = symbols.iter().map(|symbol| format!("{symbol:?}")).collect();
    format!(
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: bench }}\nspec:\n  feeds:\n    {FEED}:\n      \
         url: ws://{address}/v2\n      rest: http://{address}\n      channels: [{channels}]\n      \
         symbols: [{}]\n      depth: {DEPTH}\n",
        symbols.join(", ")
    )
}

/// The document as it is read.
///
/// # Errors
/// `Bug` if it cannot be.
pub(super) fn environment(document: &str) -> Result<Environment> {
    Environment::parse(document.as_bytes(), "bench", &ssmd_feeds::vocabulary())
        .map_err(|problems| Error::new(ErrorKind::Bug, "bench").detail(problems.to_string()))
}

/// A simulated exchange of so many symbols, and the document that records these channels of it.
///
/// # Errors
/// The operating system's.
pub(super) async fn simulate(
    count: usize,
    channels: &str,
    rate: Option<f64>,
    tasks: &mut Tasks,
) -> Result<String> {
    let symbols = sim::symbols(FEED, count)?;
    let names: Vec<_> = symbols.iter().map(|symbol| symbol.as_str().to_owned()).collect();
    let options = SimOptions {
        venue: FEED.to_owned(),
        source: Source::Model { seed: 1, symbols, rate },
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let sim = Sim::bind(options, Arc::new(SystemClock::new())).await?;
    let address = sim.address();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    Ok(document(address, channels, &names))
}
