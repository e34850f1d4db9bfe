//! Feeds to logs: for each feed of an environment its log, its capture, and the live decoder behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ssmd_core::environment::{Environment, FeedSpec, RecordFormat};
use ssmd_core::metrics::{self, Counter, Gauge};
use ssmd_core::{
    Books, Cache, Clock, DecodeCounts, EnvironmentName, Error, ErrorKind, Evidence, Feed, FeedName, Filter,
    GapCause, Journal, Metrics, Result, SessionId, Start, Symbol, Tasks, Transport,
};
use ssmd_feeds::capture::{Capture, CaptureOptions, CaptureStatus};
use ssmd_feeds::lag::ReceiveLag;
use ssmd_feeds::live::{Live, LiveOptions, MakeMessages};
use ssmd_feeds::{Declared, Dial, Dialer, OpenContext, RESYNCS_MAX, Resync, Subscriptions};
use ssmd_transport::log::{self, Log};
use ssmd_transport::memory::MemoryTransport;
use ssmd_transport::project::{self, Projector};
use ssmd_transport::publish::{Broker, Publisher};
use ssmd_transport::relay::{self, Relay};
use tokio::sync::{mpsc, watch};

use crate::backends;
use crate::folder::Folder;
use crate::shared::Shared;
use crate::status::{FeedBook, FeedStatus, ShardStatus};
use crate::telling;

mod sampler;

use sampler::{Sampled, Sampler};

/// What a recorder is called at servers.
const SERVICE: &str = "connector";
/// How long captures may take to close their sessions and reach the disk.
const CAPTURE_STOPS_WITHIN: Duration = Duration::from_secs(30);
/// How long decoders may take to reach what was captured.
const LIVE_STOPS_WITHIN: Duration = Duration::from_secs(15);
/// How long relays may take to copy what was captured. Each gives up by itself before that.
const RELAY_STOPS_WITHIN: Duration = Duration::from_secs(15);
/// How long the latest values may take to reach the cache, and messages a broker: longer than those give themselves.
const TELLERS_STOP_WITHIN: Duration = project::STOPS_WITHIN.saturating_mul(2);

/// Every feed of an environment, being recorded.
pub(crate) struct Connector {
    recordings: Vec<Recording>,
    shown: Shown,
    environment: EnvironmentName,
    folder: Folder,
    shared: Option<Shared>,
    transport: Arc<MemoryTransport>,
    /// The same in the broker's format, if that is another one.
    other: Option<(RecordFormat, Arc<MemoryTransport>)>,
    /// Where the latest values are kept, if anywhere.
    cache: Option<Arc<dyn Cache>>,
    /// What tells a broker, if there is one.
    publishing: Tasks,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// What others see of the feeds, as they come and go.
pub(crate) type Shown = Arc<Mutex<Vec<Arc<Recorded>>>>;

/// One feed and what works for it.
struct Recording {
    recorded: Arc<Recorded>,
    context: OpenContext,
    declare: watch::Sender<Declared>,
    captures: Tasks,
    decoders: Tasks,
    relays: Tasks,
    /// What comes behind the decoders, and ends after them.
    tellers: Tasks,
    /// Whether its capture has ended, and its decoders.
    ended: (bool, bool),
    /// The first failure of either, which is given when all ends.
    failed: Option<Error>,
}

/// One feed, being recorded.
pub(crate) struct Recorded {
    name: FeedName,
    log: Log,
    capture: Arc<CaptureStatus>,
    counts: watch::Receiver<DecodeCounts>,
    books: Arc<Mutex<Books>>,
    /// Gaps that decoding found.
    gaps: Arc<AtomicU64>,
    receive_lag: ReceiveLag,
    resync: mpsc::Sender<Resync>,
    lag: Gauge,
    /// What keeps the latest values, if anything does.
    projector: Option<Projector>,
    /// How far the shared journal is behind the log, in entries and in seconds.
    relay: Option<(Gauge, Gauge)>,
    missing: Gauge,
    sampled: Arc<Sampled>,
    /// Why it is not recorded, or not decoded, any more.
    failed: Mutex<Option<String>>,
    failures: Counter,
}

impl Connector {
    /// Opens every log and begins to record.
    ///
    /// # Errors
    /// `Conflict` if another process records into the same folder; what feeds say of their configuration.
    pub(crate) async fn start(
        environment: &Environment,
        (folder, shared): (&Folder, Option<Shared>),
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self> {
        let mut connector = Self {
            recordings: Vec::new(),
            shown: Shown::default(),
            environment: environment.name.clone(),
            folder: folder.clone(),
            shared,
            transport: Arc::new(MemoryTransport::new()),
            other: other(environment),
            cache: backends::cache(environment, SERVICE, (&clock, &metrics))?,
            publishing: Tasks::new(),
            clock,
            metrics,
        };
        if environment.enabled().next().is_none() {
            return Err(Error::new(ErrorKind::Invalid, "start recording")
                .detail("no feed of the environment is enabled")
                .with("environment", &environment.name));
        }
        if let Some(broker) = backends::broker(environment, SERVICE, (&connector.clock, &connector.metrics))?
        {
            connector.publish(broker).await?;
        }
        for spec in environment.enabled() {
            connector.add(spec).await?;
        }
        Ok(connector)
    }

    /// Tells a broker too what is told inside this process.
    async fn publish(&mut self, broker: Arc<dyn Broker>) -> Result<()> {
        let heard = self.other.as_ref().map_or(&self.transport, |(_, other)| other);
        let publisher = Publisher {
            heard: heard.subscribe(&Filter::all()).await?,
            broker,
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
        };
        let stop = self.publishing.token();
        self.publishing.spawn("publish", publisher.run(stop));
        Ok(())
    }

    /// Begins to record one more feed.
    ///
    /// # Errors
    /// As for [`Connector::start`]; then the others go on.
    pub(crate) async fn add(&mut self, spec: &FeedSpec) -> Result<()> {
        let context = self.context(spec)?;
        let declared = ssmd_feeds::declare(spec, &context)?;
        let twins = twins(spec, &context)?;
        let (declare, changes) = watch::channel(declared.clone());
        let options = log::Options::default();
        let directory = self.folder.log(&spec.name);
        let log = Log::open(&directory, &spec.name, options, Arc::clone(&self.clock)).await?;
        let journal: Arc<dyn Journal> = Arc::new(log.clone());
        let capture = self.capture(spec, (&declared, twins), changes, &log, &context.subscriptions);
        let (resync, resyncs) = mpsc::channel(RESYNCS_MAX);
        let position = log.position();
        let (projector, tellers) = self.tellers(spec);
        let live = Live::new(LiveOptions {
            feed: declared.feed,
            journal,
            start: Start::After([(log.origin(), position.next - 1)].into()),
            live: (log.origin(), SessionId(position.next_session)),
            resync: resync.clone(),
            publish: self.telling(spec, projector.clone()),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
        });
        let recorded = Arc::new(Recorded {
            name: spec.name.clone(),
            log,
            capture: capture.status(),
            counts: live.counts(),
            books: live.books(),
            gaps: live.gaps(),
            receive_lag: live.receive_lag(),
            resync,
            projector,
            lag: self.metrics.gauge(&metrics::LAG, &[spec.name.as_str()]),
            relay: self.shared.as_ref().map(|_| {
                let gauge = |of| self.metrics.gauge(of, &[spec.name.as_str()]);
                (gauge(&metrics::RELAY_BEHIND), gauge(&metrics::RELAY_LAG))
            }),
            missing: self.metrics.gauge(&metrics::SUBSCRIPTIONS_MISSING, &[spec.name.as_str()]),
            sampled: Arc::default(),
            failed: Mutex::default(),
            failures: self.metrics.counter(&metrics::ERRORS, &[spec.name.as_str(), "failed"]),
        });
        let (mut captures, mut decoders) = (Tasks::new(), Tasks::new());
        let stop = captures.token();
        captures.spawn("capture", async move { capture.run(stop, resyncs).await.map(drop) });
        let stop = decoders.token();
        decoders.spawn("decode", live.run(stop));
        self.sample(&recorded, &mut decoders);
        let relays = self.relay(&recorded);
        let (ended, failed) = ((false, false), None);
        self.recordings.push(Recording {
            recorded,
            context,
            declare,
            captures,
            decoders,
            relays,
            tellers,
            ended,
            failed,
        });
        self.show();
        Ok(())
    }

    /// What keeps a feed's latest values, if anything does.
    fn tellers(&self, spec: &FeedSpec) -> (Option<Projector>, Tasks) {
        let mut tellers = Tasks::new();
        let projector = self.cache.as_ref().map(|cache| {
            let projector = Projector::new(spec.name.clone(), Arc::clone(cache), Arc::clone(&self.clock));
            tellers.spawn("project", projector.clone().run(tellers.token()));
            projector
        });
        (projector, tellers)
    }

    /// Where records go, and as what.
    fn telling(
        &self,
        spec: &FeedSpec,
        projector: Option<Projector>,
    ) -> Vec<(Arc<dyn Transport>, MakeMessages)> {
        let messages = |format, to: &Arc<MemoryTransport>| {
            telling::messages(&self.environment, spec, format, Arc::clone(to))
        };
        let here = telling::projected(messages(RecordFormat::Json, &self.transport), projector);
        let here = (Arc::clone(&self.transport) as Arc<dyn Transport>, here);
        let there = self
            .other
            .iter()
            .map(|(format, to)| (Arc::clone(to) as Arc<dyn Transport>, messages(*format, to)));
        std::iter::once(here).chain(there).collect()
    }

    fn capture(
        &self,
        spec: &FeedSpec,
        (declared, twins): (&Declared, Vec<Arc<dyn Feed>>),
        changes: watch::Receiver<Declared>,
        log: &Log,
        subscriptions: &Subscriptions,
    ) -> Capture {
        let position = log.position();
        let evidence = |last: log::LastEntry| Evidence {
            at: last.at,
            session: last.session,
            index: last.index,
            shown: None,
        };
        let (clock, journal) = (Arc::clone(&self.clock), Arc::new(log.clone()));
        let feed = Arc::clone(&declared.feed);
        let defaults = CaptureOptions::new(feed, journal, log.origin(), clock);
        let asks = spec.shares().iter().any(|share| share.sync);
        Capture::new(CaptureOptions {
            twins,
            shares: declared.shares.clone(),
            changes: Some(changes),
            next: position.next,
            next_session: SessionId(position.next_session),
            day: position.day,
            last: position.last.map(evidence),
            last_cause: if position.clean { GapCause::Planned } else { GapCause::Crash },
            metrics: self.metrics.clone(),
            subscriptions: subscriptions.clone(),
            connects: Some(self.folder.connects(&spec.name)),
            universe_every: defaults.universe_every.filter(|_| asks),
            ..defaults
        })
    }

    /// Copies the log to the shared journal, if there is one. A relay that fails stops nothing: the log keeps all.
    fn relay(&self, recorded: &Recorded) -> Tasks {
        let mut relays = Tasks::new();
        let Some(shared) = &self.shared else { return relays };
        let (feed, directory) = (recorded.name.clone(), self.folder.log(&recorded.name));
        let relay = Relay {
            feed: feed.clone(),
            source: Arc::new(recorded.log.clone()),
            target: shared.journal(&feed),
            cache: shared.cache(),
            keys: shared.keys(&feed),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            options: relay::Options::default(),
            covered: Arc::new(move |origin, n| log::cover(&directory, origin, n)),
        };
        let stop = relays.token();
        relays.spawn("relay", async move {
            if let Err(error) = relay.run(stop).await {
                tracing::error!(%feed, "nothing is copied any more, recording goes on: {}", error.report());
            }
            Ok(())
        });
        relays
    }

    fn context(&self, spec: &FeedSpec) -> Result<OpenContext> {
        let tls = ssmd_feeds::tls::client_config(None)?;
        Ok(OpenContext {
            dial: dial(spec, &tls)?,
            tls,
            clock: Arc::clone(&self.clock),
            subscriptions: Subscriptions::default(),
        })
    }

    /// Whether the feed can be opened as it is declared; opens no connection.
    ///
    /// # Errors
    /// What the feed says of its configuration.
    pub(crate) fn check(&self, spec: &FeedSpec) -> Result<()> {
        ssmd_feeds::declare(spec, &self.context(spec)?).map(drop)
    }

    /// Lets a feed want other symbols or channels, or share them otherwise, without touching connections that stay.
    ///
    /// # Errors
    /// `NotFound` if it is not recorded; what the feed says of its configuration. Then it is as it was.
    pub(crate) fn want(&self, spec: &FeedSpec) -> Result<()> {
        let recording = self.recordings.iter().find(|recording| recording.recorded.name == spec.name);
        let recording = recording
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "change feed").with("feed", &spec.name))?;
        recording.declare.send_replace(ssmd_feeds::declare(spec, &recording.context)?);
        Ok(())
    }

    /// Closes one feed's sessions and waits until everything heard is durable and decoded. Its log stays open, and
    /// must be closed.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn remove(&mut self, feed: &FeedName) -> (Option<Log>, Result<()>) {
        let at = self.recordings.iter().position(|recording| recording.recorded.name == *feed);
        let Some(at) = at else { return (None, Ok(())) };
        let mut recording = self.recordings.remove(at);
        let stopped = recording.stop(&self.clock).await;
        self.show();
        recording.recorded.missing.set(0.0);
        (Some(recording.recorded.log.clone()), stopped)
    }

    /// Looks at what nobody tells, each second.
    fn sample(&self, recorded: &Recorded, tasks: &mut Tasks) {
        let labels = [recorded.name.as_str()];
        let sampler = Sampler {
            capture: Arc::clone(&recorded.capture),
            sampled: Arc::clone(&recorded.sampled),
            counts: recorded.counts.clone(),
            gaps: Arc::clone(&recorded.gaps),
            log: recorded.log.clone(),
            directory: self.folder.log(&recorded.name),
            bytes: self.metrics.gauge(&metrics::LOG_BYTES, &labels),
            uncovered: self.metrics.gauge(&metrics::LOG_UNCOVERED, &labels),
        };
        let sampler = sampler.run(Arc::clone(&self.clock));
        let stop = tasks.token();
        tasks.spawn("sample", async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                never = sampler => match never {},
            }
        });
    }

    fn show(&self) {
        let feeds = self.recordings.iter().map(|recording| Arc::clone(&recording.recorded)).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = feeds;
    }

    /// The feeds as they come and go.
    pub(crate) fn shown(&self) -> Shown {
        Arc::clone(&self.shown)
    }

    /// The log of a feed that is recorded here.
    pub(crate) fn log(&self, feed: &FeedName) -> Option<Log> {
        let found = self.recordings.iter().find(|recording| recording.recorded.name == *feed);
        found.map(|recording| recording.recorded.log.clone())
    }

    /// Where records are told as they are decoded, on subjects
    /// `{environment}.{feed}[.{category}].json.{type}.{symbol}`.
    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport) as Arc<dyn Transport>
    }

    /// Waits until no feed is recorded any more. One that fails is told at once, and touches no other; its failure is
    /// given again by [`Connector::stop`].
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wait(&mut self) {
        if self.recordings.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::join_all(self.recordings.iter_mut().map(Recording::wait)).await;
    }

    /// Closes every session, waits until everything heard is durable and decoded. The logs stay open.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let clock = &self.clock;
        let stops = self.recordings.iter_mut().map(|recording| recording.stop(clock));
        let stopped = futures_util::future::join_all(stops).await.into_iter().fold(Ok(()), Result::and);
        let publishing = std::mem::take(&mut self.publishing);
        stopped.and(publishing.stop(TELLERS_STOP_WITHIN, Arc::clone(clock)).await)
    }

    /// Closes the logs, so that the next start knows that nothing is missing.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn close(&self) -> Result<()> {
        let mut first = Ok(());
        for recording in &self.recordings {
            first = first.and(recording.recorded.log.close().await);
        }
        first
    }
}

impl Recording {
    /// Waits until its capture has ended. What decodes may end before it: then frames are kept all the same.
    async fn wait(&mut self) {
        while !self.ended.0 {
            let decodes = !self.ended.1;
            let (ended, what) = tokio::select! {
                biased;
                captured = self.captures.wait() => {
                    self.ended.0 = true;
                    (captured, "it is not recorded any more")
                }
                decoded = self.decoders.wait(), if decodes => {
                    self.ended.1 = true;
                    (decoded, "it is not decoded any more, recording goes on")
                }
            };
            if let Err(error) = ended {
                self.fail(error, what);
            }
        }
    }

    /// Tells that something of it has failed, here and wherever its status is looked at.
    fn fail(&mut self, error: Error, what: &str) {
        let Recorded { name, failed, failures, .. } = &*self.recorded;
        tracing::error!(feed = %name, "{what}: {}", error.report());
        failures.add(1);
        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{what}: {error}"));
        self.failed.get_or_insert(error);
    }

    async fn stop(&mut self, clock: &Arc<dyn Clock>) -> Result<()> {
        let (captures, decoders) = (std::mem::take(&mut self.captures), std::mem::take(&mut self.decoders));
        let (relays, tellers) = (std::mem::take(&mut self.relays), std::mem::take(&mut self.tellers));
        let captured = captures.stop(CAPTURE_STOPS_WITHIN, Arc::clone(clock)).await;
        let (decoded, copied) = tokio::join!(
            decoders.stop(LIVE_STOPS_WITHIN, Arc::clone(clock)),
            relays.stop(RELAY_STOPS_WITHIN, Arc::clone(clock)),
        );
        let told = tellers.stop(TELLERS_STOP_WITHIN, Arc::clone(clock)).await;
        let failed = self.failed.take().map_or(Ok(()), Err);
        failed.and(captured).and(decoded).and(copied).and(told)
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
    /// `NotFound` if no connection carries it; `Full` if too many are waiting already.
    pub(crate) fn resync(&self, symbol: Symbol) -> Result<()> {
        if !self.capture.carries(&symbol) {
            return Err(Error::new(ErrorKind::NotFound, "ask for resync")
                .detail("the feed does not record this symbol")
                .with("feed", &self.name)
                .with("symbol", &symbol));
        }
        self.resync.try_send(symbol.into()).map_err(|_| Error::new(ErrorKind::Full, "ask for resync"))
    }

    /// The audit of its books.
    pub(crate) fn books(&self) -> Vec<FeedBook> {
        let audited = self.books.lock().unwrap_or_else(PoisonError::into_inner).list();
        audited.into_iter().map(|book| FeedBook { feed: self.name.to_string(), book }).collect()
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> FeedStatus {
        let (figures, counts, missing) =
            (self.capture.figures(), *self.counts.borrow(), self.capture.missing());
        let gaps = figures.gaps + self.gaps.load(Ordering::Relaxed);
        FeedStatus {
            feed: self.name.to_string(),
            sessions: figures.sessions,
            shards: self.capture.shares().into_iter().map(ShardStatus::from).collect(),
            reconnects: figures.reconnects,
            frames: figures.frames,
            bytes: figures.bytes,
            frames_per_second: self.sampled.rate.load(Ordering::Relaxed) as f64,
            gaps,
            gaps_today: gaps.saturating_sub(self.sampled.gaps_before.load(Ordering::Relaxed)),
            overflowed: figures.overflowed,
            subscriptions_wanted: self.capture.wanted().map(|topics| topics as u64),
            listing_error: self.capture.listing_error(),
            subscriptions_missing: missing.topics as u64,
            refused: missing.refused.into_iter().map(|(topic, why)| format!("{topic}: {why}")).collect(),
            records: counts.records,
            unknown: counts.unknown,
            malformed: counts.malformed,
            undecoded_seconds: self
                .sampled
                .undecoded
                .load(Ordering::Relaxed)
                .checked_sub(1)
                .map(|s| s as f64),
            failed: self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            books_verified: counts.books_verified,
            books_failed: counts.books_failed,
            durable: self.log.durable(),
            log_bytes: self.log.bytes(),
            lag_seconds: self.lag.get(),
            receive_lag_seconds: self.receive_lag.most_seconds(),
            relay_behind: self.relay.as_ref().map(|(behind, _)| behind.get() as u64),
            cache_behind: self.projector.as_ref().map(|projector| projector.behind() as u64),
            relay_lag_seconds: self.relay.as_ref().map(|(_, lag)| lag.get()),
            ..FeedStatus::default()
        }
    }
}

/// The same feed for each further session that hears the same.
fn twins(spec: &FeedSpec, context: &OpenContext) -> Result<Vec<Arc<dyn Feed>>> {
    let Some(share) = spec.shares().first().map(|share| share.alone(spec)) else { return Ok(Vec::new()) };
    let spec = &share;
    let other = FeedSpec { url: spec.twin_url.clone().or_else(|| spec.url.clone()), ..spec.clone() };
    let of = |number| ssmd_feeds::open(if number % 2 == 1 { &other } else { spec }, context);
    (1..spec.redundancy).map(of).collect()
}

/// What carries records to a broker that wants them in another format than whoever listens here.
fn other(environment: &Environment) -> Option<(RecordFormat, Arc<MemoryTransport>)> {
    let format = environment.transport.format();
    (format != RecordFormat::Json).then(|| (format, Arc::new(MemoryTransport::new())))
}

/// Whose sockets the feed uses.
fn dial(spec: &FeedSpec, tls: &Arc<rustls::ClientConfig>) -> Result<Arc<dyn Dial>> {
    let dialer = Dialer::new(Arc::clone(tls), spec.allow_plaintext);
    ssmd_echidna::dial(spec.dialer, dialer).map_err(|error| error.with("feed", &spec.name))
}
