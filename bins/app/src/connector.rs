//! Feeds to logs: for each feed of an environment its log, its capture, and the live decoder behind it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ssmd_core::environment::{Environment, FeedSpec};
use ssmd_core::metrics::{self, Gauge};
use ssmd_core::{
    Clock, DecodeCounts, EnvironmentName, Error, ErrorKind, Evidence, Feed, FeedName, GapCause, Journal,
    Metrics, Record, Result, SessionId, Start, Subject, Symbol, Tasks, Transport,
};
use ssmd_feeds::capture::{Capture, CaptureOptions, CaptureStatus};
use ssmd_feeds::live::{Live, LiveOptions, MakeMessages};
use ssmd_feeds::{Dialer, OpenContext, Subscriptions};
use ssmd_transport::log::{self, Log};
use ssmd_transport::memory::MemoryTransport;
use tokio::sync::{mpsc, watch};

use crate::folder::Folder;
use crate::status::FeedStatus;

/// How long captures may take to close their sessions and reach the disk.
const CAPTURE_STOPS_WITHIN: Duration = Duration::from_secs(30);
/// How long decoders may take to reach what was captured.
const LIVE_STOPS_WITHIN: Duration = Duration::from_secs(15);
/// Symbols that wait to be resynced; a decoder asks again with the next bad update.
const RESYNCS_MAX: usize = 1024;

/// Every feed of an environment, being recorded.
pub(crate) struct Connector {
    feeds: Vec<Arc<Recorded>>,
    captures: Tasks,
    decoders: Tasks,
    transport: Arc<MemoryTransport>,
    clock: Arc<dyn Clock>,
}

/// One feed, being recorded.
pub(crate) struct Recorded {
    name: FeedName,
    log: Log,
    capture: Arc<CaptureStatus>,
    counts: watch::Receiver<DecodeCounts>,
    resync: mpsc::Sender<Symbol>,
    lag: Gauge,
    /// Frames received in the last second, as the sampler saw it.
    rate: Arc<AtomicU64>,
}

impl Connector {
    /// Opens every log and begins to record.
    ///
    /// # Errors
    /// `Denied` if another process records into the same folder; what feeds say of their configuration.
    pub(crate) async fn start(
        environment: &Environment,
        folder: &Folder,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self> {
        let mut connector = Self {
            feeds: Vec::new(),
            captures: Tasks::new(),
            decoders: Tasks::new(),
            transport: Arc::new(MemoryTransport::new()),
            clock,
        };
        if environment.enabled().next().is_none() {
            return Err(Error::new(ErrorKind::Invalid, "start recording")
                .detail("no feed of the environment is enabled")
                .with("environment", &environment.name));
        }
        for spec in environment.enabled() {
            let recorded = connector.record(&environment.name, spec, folder, &metrics).await?;
            connector.feeds.push(Arc::new(recorded));
        }
        Ok(connector)
    }

    async fn record(
        &mut self,
        environment: &EnvironmentName,
        spec: &FeedSpec,
        folder: &Folder,
        metrics: &Metrics,
    ) -> Result<Recorded> {
        let (feed, subscriptions) = self.open(spec)?;
        let options = log::Options::default();
        let log = Log::open(&folder.log(&spec.name), &spec.name, options, Arc::clone(&self.clock)).await?;
        let position = log.position();
        let evidence = |last: log::LastEntry| Evidence {
            at: last.at,
            session: last.session,
            index: last.index,
            shown: None,
        };
        let journal: Arc<dyn Journal> = Arc::new(log.clone());
        let defaults = CaptureOptions::new(
            Arc::clone(&feed),
            Arc::clone(&journal),
            log.origin(),
            Arc::clone(&self.clock),
        );
        let capture = Capture::new(CaptureOptions {
            next: position.next,
            next_session: SessionId(position.next_session),
            day: position.day,
            last: position.last.map(evidence),
            last_cause: if position.clean { GapCause::Planned } else { GapCause::Crash },
            metrics: metrics.clone(),
            subscriptions,
            connects: Some(folder.connects(&spec.name)),
            universe_every: defaults.universe_every.filter(|_| spec.sync),
            ..defaults
        });
        let (resync, resyncs) = mpsc::channel(RESYNCS_MAX);
        let live = Live::new(LiveOptions {
            feed,
            journal,
            start: Start::After([(log.origin(), position.next - 1)].into()),
            live: (log.origin(), SessionId(position.next_session)),
            resync: resync.clone(),
            publish: Some((
                Arc::clone(&self.transport) as Arc<dyn Transport>,
                messages(environment, &spec.name, Arc::clone(&self.transport)),
            )),
            clock: Arc::clone(&self.clock),
            metrics: metrics.clone(),
        });
        let recorded = Recorded {
            name: spec.name.clone(),
            log,
            capture: capture.status(),
            counts: live.counts(),
            resync,
            lag: metrics.gauge(&metrics::LAG, &[spec.name.as_str()]),
            rate: Arc::default(),
        };
        let stop = self.captures.token();
        self.captures.spawn("capture", async move { capture.run(stop, resyncs).await.map(drop) });
        self.decoders.spawn("decode", live.run(self.decoders.token()));
        self.sample(&recorded, folder, metrics);
        Ok(recorded)
    }

    /// The feed, and where its sessions say what they miss.
    fn open(&self, spec: &FeedSpec) -> Result<(Arc<dyn Feed>, Subscriptions)> {
        let subscriptions = Subscriptions::default();
        let tls = ssmd_feeds::tls::client_config(None)?;
        let context = OpenContext {
            dial: Arc::new(Dialer::new(Arc::clone(&tls), spec.allow_plaintext)),
            tls,
            clock: Arc::clone(&self.clock),
            subscriptions: subscriptions.clone(),
        };
        Ok((ssmd_feeds::open(spec, &context)?, subscriptions))
    }

    /// Looks at what nobody tells, each second.
    fn sample(&mut self, recorded: &Recorded, folder: &Folder, metrics: &Metrics) {
        let labels = [recorded.name.as_str()];
        let sampler = Sampler {
            capture: Arc::clone(&recorded.capture),
            rate: Arc::clone(&recorded.rate),
            log: recorded.log.clone(),
            directory: folder.log(&recorded.name),
            bytes: metrics.gauge(&metrics::LOG_BYTES, &labels),
            uncovered: metrics.gauge(&metrics::LOG_UNCOVERED, &labels),
        };
        let sampler = sampler.run(Arc::clone(&self.clock));
        let stop = self.decoders.token();
        self.decoders.spawn("sample", async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                never = sampler => match never {},
            }
        });
    }

    /// The feeds.
    pub(crate) fn feeds(&self) -> &[Arc<Recorded>] {
        &self.feeds
    }

    /// Where records are told as they are decoded, on subjects `{environment}.{feed}.record.{type}.{symbol}`.
    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport) as Arc<dyn Transport>
    }

    /// Waits until a task failed, or every capture has ended by itself.
    ///
    /// # Errors
    /// The first failure.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        tokio::select! {
            biased;
            decoded = self.decoders.wait() => decoded,
            captured = self.captures.wait() => captured,
        }
    }

    /// Closes every session, waits until everything heard is durable and decoded. The logs stay open.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let captured =
            std::mem::take(&mut self.captures).stop(CAPTURE_STOPS_WITHIN, Arc::clone(&self.clock)).await;
        let decoded =
            std::mem::take(&mut self.decoders).stop(LIVE_STOPS_WITHIN, Arc::clone(&self.clock)).await;
        captured.and(decoded)
    }

    /// Closes the logs, so that the next start knows that nothing is missing.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn close(&self) -> Result<()> {
        let mut first = Ok(());
        for feed in &self.feeds {
            first = first.and(feed.log.close().await);
        }
        first
    }
}

impl Recorded {
    /// Its name.
    pub(crate) fn name(&self) -> &FeedName {
        &self.name
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// When something other than a heartbeat last came, on the connector's monotonic clock.
    pub(crate) fn last_activity(&self) -> Option<Duration> {
        self.capture.last_activity()
    }

    /// Asks for a fresh start of one book.
    ///
    /// # Errors
    /// `Full` if too many are waiting already.
    pub(crate) fn resync(&self, symbol: Symbol) -> Result<()> {
        self.resync.try_send(symbol).map_err(|_| Error::new(ErrorKind::Full, "ask for resync"))
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> FeedStatus {
        let (figures, counts, missing) =
            (self.capture.figures(), *self.counts.borrow(), self.capture.missing());
        FeedStatus {
            feed: self.name.to_string(),
            sessions: figures.sessions,
            reconnects: figures.reconnects,
            frames: figures.frames,
            bytes: figures.bytes,
            frames_per_second: self.rate.load(Ordering::Relaxed) as f64,
            gaps: figures.gaps,
            overflowed: figures.overflowed,
            subscriptions_missing: missing.topics as u64,
            refused: missing.refused.into_iter().map(|(topic, why)| format!("{topic}: {why}")).collect(),
            records: counts.records,
            unknown: counts.unknown,
            malformed: counts.malformed,
            books_verified: counts.books_verified,
            books_failed: counts.books_failed,
            durable: self.log.durable(),
            log_bytes: self.log.bytes(),
            lag_seconds: self.lag.get(),
            ..FeedStatus::default()
        }
    }
}

/// What looks at a feed each second: how fast frames come, and how large its log is.
struct Sampler {
    capture: Arc<CaptureStatus>,
    rate: Arc<AtomicU64>,
    log: Log,
    directory: PathBuf,
    bytes: Gauge,
    uncovered: Gauge,
}

impl Sampler {
    async fn run(self, clock: Arc<dyn Clock>) -> std::convert::Infallible {
        let (mut at, mut frames) = (clock.elapsed(), self.capture.figures().frames);
        loop {
            self.measure_log();
            clock.sleep(Duration::from_secs(1)).await;
            let (now, total) = (clock.elapsed(), self.capture.figures().frames);
            let seconds = now.saturating_sub(at).as_secs_f64().max(0.001);
            self.rate.store(((total - frames) as f64 / seconds).round() as u64, Ordering::Relaxed);
            (at, frames) = (now, total);
        }
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

/// Records as JSON lines, on a subject that says what they are; nothing while nobody listens.
fn messages(environment: &EnvironmentName, feed: &FeedName, transport: Arc<MemoryTransport>) -> MakeMessages {
    let (environment, feed) = (environment.clone(), feed.clone());
    Arc::new(move |record: &Record, out| {
        if transport.listeners() == 0 {
            return;
        }
        let symbol = record.header.symbol.as_ref().map_or_else(|| "_".to_owned(), Symbol::token);
        let tokens = [
            environment.as_str(),
            feed.as_str(),
            "record",
            record.body.record_type().word(),
            symbol.as_str(),
        ];
        match Subject::new(tokens) {
            Ok(subject) => {
                let mut payload = Vec::with_capacity(256);
                ssmd_core::codec::json::encode(record, &feed, &mut payload);
                out.push(ssmd_core::Message { subject, headers: Vec::new(), payload: payload.into() });
            }
            Err(error) => tracing::error!(%error, "a record has no subject"),
        }
    })
}
