//! The life of a daemon: start in order, wait for a reason to stop, drain in order, say what was done.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::{Environment, FeedSpec};
use ssmd_core::{
    Clock, Error, ErrorKind, FeedName, Journal, Metrics, Result, Store, SystemClock, Tasks, metrics,
};
use ssmd_storage::FileStore;
use ssmd_storage::wrap::Observed;
use ssmd_transport::log::LogReader;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::archiver::Archivers;
use crate::board::Board;
use crate::cli;
use crate::connector::Connector;
use crate::folder::Folder;
use crate::projecting::{Projections, Source};
use crate::reload::{Declared, ORDERS_MAX, Order};
use crate::shared::Shared;
use crate::simulated::Simulate;
use crate::status::Status;
use crate::{backends, control, document, http, simulated, view};

mod reconcile;

/// Which parts of the path a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// All of it.
    Up,
    /// From feeds to logs.
    Connector,
    /// From logs to the archive.
    Archiver,
    /// From journals to the cache.
    Cache,
}

impl Role {
    /// The name of its control socket.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Connector => "connector",
            Self::Archiver => "archiver",
            Self::Cache => "cache",
        }
    }

    /// Whether it opens the feeds' connections.
    fn records(self) -> bool {
        matches!(self, Self::Up | Self::Connector)
    }

    /// Whether it makes the archive.
    fn archives(self) -> bool {
        matches!(self, Self::Up | Self::Archiver)
    }

    /// What it is called at servers (`deploy/nats/permissions.conf`).
    fn service(self) -> &'static str {
        if self.records() { "connector" } else { self.word() }
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Which parts.
    pub role: Role,
    /// What the document declares.
    pub environment: Environment,
    /// The flags of every daemon.
    pub flags: cli::Daemon,
    /// Stop when only heartbeats came for so long.
    pub until_idle: Option<Duration>,
    /// Stop at once, after archiving what is durable.
    pub once: bool,
    /// Record a simulated exchange.
    pub simulate: Option<Simulate>,
}

/// How long the control socket, health page, view and simulator may take to end.
const SERVICES_STOP_WITHIN: Duration = Duration::from_secs(10);
/// How often an archiver looks for a log that is not there yet, and idleness is judged.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs until something says stop, and gives the last status.
///
/// # Errors
/// What failed first; everything was drained as far as it went.
pub(crate) async fn run(mut plan: Plan) -> Result<Status> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
    let (orders, mut ordered) = mpsc::channel(ORDERS_MAX);
    let mut services = Tasks::new();
    let signals = listen_for_signals(stop.clone(), abandon.clone(), orders.clone(), services.token())?;
    services.spawn("signals", signals);
    let folder = Folder::create(&plan.flags.data)?;
    // Taken first: a second daemon in the same folder is refused before it touches anything.
    let socket = control::bind(folder.path(), plan.role.word()).await?;
    let declared = plan.environment.clone();
    if let Some(simulate) = &plan.simulate {
        simulated::start(&mut plan.environment, simulate, &mut services, &clock).await?;
    }
    let metrics = Metrics::new();
    let mut parts = Parts::start(&plan, &declared, &folder, &clock, &metrics).await?;
    parts.watch(&plan, &orders, &mut services);
    let board = Arc::new(parts.board(&plan, orders, stop.clone()));
    let board = parts.serve(&plan, board, socket, metrics, &mut services).await?;
    let show = plan.role == Role::Up && std::io::stdout().is_terminal() && !plan.flags.json;
    if show {
        let (drawn, clock, until) = (Arc::clone(&board), Arc::clone(&clock), services.token());
        services.spawn("live view", view::run(move || std::future::ready(drawn.now()), clock, until));
    }
    let ran = tokio::select! {
        biased;
        () = abandon.cancelled() => Ok(()),
        ran = parts.wait(&plan, &board, &mut ordered) => ran,
    };
    tracing::info!("stopping");
    stop.cancel();
    let stopped = tokio::select! {
        biased;
        stopped = parts.stop() => stopped,
        () = abandon.cancelled() => Err(Error::new(ErrorKind::Closed, "stop")
            .detail("told so twice, it did not wait for the archive")
            .hint("the log keeps what it has taken; the next start archives it")),
    };
    let status = board.now();
    let ended = services.stop(SERVICES_STOP_WITHIN, clock).await;
    ran.and(stopped).and(ended)?;
    Ok(status)
}

struct Parts {
    role: Role,
    once: bool,
    /// What runs.
    environment: Environment,
    /// What the document said, where its venues are simulated.
    simulated: Option<Environment>,
    declared: Declared,
    /// Where environments are recorded before they are used.
    recorded: Arc<dyn Store>,
    connector: Option<Connector>,
    archivers: Option<Archivers>,
    projections: Option<Projections>,
    listener: Option<tokio::net::TcpListener>,
    store: String,
    folder: Folder,
    /// The journal that other machines read too, if the environment has one.
    shared: Option<Shared>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    started: Duration,
}

impl Parts {
    async fn start(
        plan: &Plan,
        declared: &Environment,
        folder: &Folder,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self> {
        let environment = &plan.environment;
        let listener = match plan.flags.listen.or(default_listen(plan.role)) {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        let spec = folder.store(&environment.archive());
        let mut parts = Self {
            role: plan.role,
            once: plan.once,
            environment: environment.clone(),
            simulated: plan.simulate.is_some().then(|| declared.clone()),
            declared: Declared::default(),
            recorded: Arc::new(FileStore::open(folder.path())?),
            connector: None,
            archivers: None,
            projections: None,
            listener,
            store: spec.to_string(),
            folder: folder.clone(),
            shared: Shared::of(environment, plan.role.service(), (clock, metrics))?,
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
            started: clock.elapsed(),
        };
        if plan.role.records() {
            let how = if plan.simulate.is_some() { "start, simulated" } else { "start" };
            parts.connector = Some(parts.start_connector(declared, how).await?);
        }
        if plan.role.archives() {
            let store = ssmd_storage::open(&spec, std::path::Path::new("."))?;
            let store = Arc::new(Observed::new(store, Arc::clone(clock), metrics.clone()));
            let from = (folder, parts.shared.clone());
            let mut archivers = Archivers::new(store, from, Arc::clone(clock), metrics.clone());
            // What a feed recorded before it was disabled is archived all the same.
            let archived = |feed: &&FeedSpec| feed.enabled || folder.log(&feed.name).exists();
            for feed in environment.feeds.iter().filter(archived) {
                archivers.archive(&feed.name, |stop| parts.journal(&feed.name, stop));
            }
            parts.archivers = Some(archivers);
        }
        if plan.role == Role::Cache {
            let mut projections = Projections::new(environment, plan.role.service(), (clock, metrics))?;
            for feed in environment.enabled() {
                let source = parts.source(feed)?;
                projections.project(feed, || source);
            }
            parts.projections = Some(projections);
        }
        Ok(parts)
    }

    /// Reads the document again when it changes.
    fn watch(&self, plan: &Plan, orders: &mpsc::Sender<Order>, services: &mut Tasks) {
        let path = match crate::environment::find(plan.flags.config.as_deref()) {
            Ok(Some(path)) if !plan.once => reconcile::absolute(&path),
            // What it was started with is looked for no more.
            _ => return,
        };
        self.declared.change(|state| state.document = Some(path.clone()));
        self.metrics.gauge(&metrics::DOCUMENT_REFUSED, &[]).set(0.0);
        if plan.flags.no_watch {
            return;
        }
        let watched = document::watch(
            path,
            crate::environment::documents,
            Arc::clone(&self.clock),
            orders.clone(),
            services.token(),
        );
        services.spawn("document", watched);
    }

    /// What a feed's latest values are taken from: the log in the data folder, the shared journal, or what a recorder
    /// tells a broker. Without any of these the log, once it is there.
    fn source(
        &self,
        spec: &FeedSpec,
    ) -> Result<impl Future<Output = Result<Source>> + Send + 'static + use<>> {
        let directory = self.folder.log(&spec.name);
        let told = match &self.shared {
            None if !directory.exists() => self.told(spec)?,
            _ => None,
        };
        let (shared, clock, feed) = (self.shared.clone(), Arc::clone(&self.clock), spec.name.clone());
        Ok(async move {
            if let Some(told) = told {
                return Ok(told);
            }
            loop {
                match LogReader::open(&directory, Arc::clone(&clock)) {
                    Ok(log) => return Ok(Source::Journal(Arc::new(log))),
                    Err(error) if error.kind() == ErrorKind::NotFound => match &shared {
                        Some(shared) => return Ok(Source::Journal(shared.journal(&feed))),
                        None => clock.sleep(LOOK_EVERY).await,
                    },
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// What a recorder tells a broker of this feed, if the environment has one.
    fn told(&self, spec: &FeedSpec) -> Result<Option<Source>> {
        let environment = &self.environment;
        let observed = (&self.clock, &self.metrics);
        let Some(broker) = backends::broker(environment, self.role.service(), observed)? else {
            return Ok(None);
        };
        let format = environment.transport.format();
        let category = spec.category.as_ref().map(|category| format!(".{category}")).unwrap_or_default();
        let filter = format!("{}.{}{category}.{}.>", environment.name, spec.name, format.word()).parse()?;
        Ok(Some(Source::Transport(broker, filter, format)))
    }

    /// The log that is written here; or the one that another process writes into the data folder; or, without one,
    /// the shared journal. Without that too, the log once it is there.
    fn journal(
        &self,
        feed: &FeedName,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<Arc<dyn Journal>>> + Send + 'static + use<> {
        let shared = self.shared.as_ref().map(|shared| shared.healed(feed, stop));
        let own = self.connector.as_ref().and_then(|connector| connector.log(feed));
        let (directory, clock, once) = (self.folder.log(feed), Arc::clone(&self.clock), self.once);
        async move {
            if let Some(log) = own {
                return Ok(Arc::new(log) as Arc<dyn Journal>);
            }
            loop {
                match LogReader::open(&directory, Arc::clone(&clock)) {
                    Ok(log) => return Ok(Arc::new(log) as Arc<dyn Journal>),
                    Err(error) if error.kind() == ErrorKind::NotFound && shared.is_some() => {
                        tracing::info!("no log is here; archiving from the shared journal");
                        return shared.ok_or(error);
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound && !once => {
                        clock.sleep(LOOK_EVERY).await;
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        return Err(Error::new(ErrorKind::Unavailable, "archive")
                            .because(error)
                            .hint("record something first: ssmd-connector with the same --data"));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn board(&self, plan: &Plan, orders: mpsc::Sender<Order>, stop: CancellationToken) -> Board {
        Board {
            role: plan.role.word(),
            environment: plan.environment.name.to_string(),
            declared: self.declared.clone(),
            orders,
            folder: self.folder.clone(),
            store: self.store.clone(),
            listen: self.listener.as_ref().and_then(|listener| listener.local_addr().ok()),
            started: (self.clock.now(), self.started),
            clock: Arc::clone(&self.clock),
            recorded: self.connector.as_ref().map(Connector::shown).unwrap_or_default(),
            archived: self.archivers.as_ref().map(|archivers| archivers.feeds.shown()).unwrap_or_default(),
            projected: self
                .projections
                .as_ref()
                .map(|projections| projections.feeds.shown())
                .unwrap_or_default(),
            transport: self.connector.as_ref().map(Connector::transport),
            stop,
        }
    }

    async fn serve(
        &mut self,
        plan: &Plan,
        board: Arc<Board>,
        socket: tokio::net::UnixListener,
        metrics: Metrics,
        services: &mut Tasks,
    ) -> Result<Arc<Board>> {
        let controlled = Arc::clone(&board) as Arc<dyn control::Controlled>;
        let path = board.folder.path().join(format!("{}.sock", board.role));
        services.spawn("control socket", control::serve(socket, path, controlled, services.token()));
        if let Some(listener) = self.listener.take() {
            let watched = Arc::clone(&board);
            let ready: http::Ready = Arc::new(move || watched.ready());
            services.spawn("health", http::serve(listener, metrics, ready, services.token()));
        }
        let feeds: Vec<_> = plan.environment.enabled().map(|feed| feed.name.as_str()).collect();
        let listen = board.listen.map(|address| address.to_string());
        tracing::info!(
            role = board.role, environment = %board.environment, feeds = feeds.join(","),
            store = board.store, data = %board.folder.path().display(), listen = listen.as_deref(), "started"
        );
        Ok(board)
    }

    /// Waits for a reason to stop, and does what it is told meanwhile.
    async fn wait(&mut self, plan: &Plan, board: &Board, ordered: &mut mpsc::Receiver<Order>) -> Result<()> {
        if plan.once {
            return Ok(());
        }
        let (recording, clock) = (self.connector.is_some(), Arc::clone(&self.clock));
        let over = async {
            match plan.flags.run_for {
                Some(time) => clock.sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let ends = async {
            tokio::select! {
                biased;
                () = board.stop.cancelled() => {}
                () = over => {}
                () = idle(plan.until_idle, board, clock.as_ref()) => {}
                never = report(board, clock.as_ref()) => match never {},
            }
        };
        tokio::pin!(ends);
        loop {
            let order = tokio::select! {
                biased;
                () = &mut ends => return Ok(()),
                () = async { match &mut self.connector {
                    Some(connector) => connector.wait().await,
                    None => std::future::pending().await,
                } } => return Ok(()),
                failed = archiving(self.archivers.as_mut(), recording) => return failed,
                failed = async { match &mut self.projections {
                    Some(projections) => projections.feeds.wait().await,
                    None => std::future::pending().await,
                } } => return failed,
                Some(order) = ordered.recv() => order,
            };
            Box::pin(self.take(order)).await?;
        }
    }

    /// Sockets, then decoders, then the archive, then the logs.
    async fn stop(&mut self) -> Result<()> {
        let captured = match &mut self.connector {
            Some(connector) => connector.stop().await,
            None => Ok(()),
        };
        let archived = match &mut self.archivers {
            Some(archivers) => archivers.stop().await,
            None => Ok(()),
        };
        let closed = match &self.connector {
            Some(connector) => connector.close().await,
            None => Ok(()),
        };
        let projected = match &mut self.projections {
            Some(projections) => projections.feeds.stop().await,
            None => Ok(()),
        };
        captured.and(archived).and(closed).and(projected)
    }
}

/// Waits until an archiver failed. Beside a recorder that is no reason to stop: the log keeps what is not archived,
/// and the failure is told at once and again at the end.
async fn archiving(archivers: Option<&mut Archivers>, recording: bool) -> Result<()> {
    let Some(archivers) = archivers else { return std::future::pending().await };
    let failed = archivers.feeds.wait().await;
    match failed {
        Err(error) if recording => {
            tracing::error!("a feed is not archived any more, recording goes on: {}", error.report());
            archivers.fail(error);
            std::future::pending().await
        }
        Ok(()) if recording => std::future::pending().await,
        ended => ended,
    }
}

/// Where a daemon serves its health unless told otherwise. `up` serves none, so that any number can run side by side.
fn default_listen(role: Role) -> Option<SocketAddr> {
    match role {
        Role::Up => None,
        Role::Connector => Some(SocketAddr::from(([127, 0, 0, 1], 9601))),
        Role::Archiver => Some(SocketAddr::from(([127, 0, 0, 1], 9602))),
        Role::Cache => Some(SocketAddr::from(([127, 0, 0, 1], 9603))),
    }
}

async fn idle(after: Option<Duration>, board: &Board, clock: &dyn Clock) {
    let Some(after) = after else { return std::future::pending().await };
    loop {
        clock.sleep(LOOK_EVERY).await;
        let last = board.last_activity();
        if last.is_some_and(|last| clock.elapsed().saturating_sub(last) >= after) {
            tracing::info!(?after, "idle");
            return;
        }
    }
}

/// Says how each feed is doing, now and then, for those who read logs.
async fn report(board: &Board, clock: &dyn Clock) -> std::convert::Infallible {
    const EVERY: Duration = Duration::from_secs(10);
    loop {
        clock.sleep(EVERY).await;
        for feed in &board.now().feeds {
            tracing::info!("{}: {}", feed.feed, feed.lines(board.role).join(", "));
        }
    }
}

/// A task that turns SIGTERM, Ctrl-C and a closed terminal into a stop, the next of them into an end at once, and any
/// other SIGHUP into reading the document again.
fn listen_for_signals(
    stop: CancellationToken,
    abandon: CancellationToken,
    orders: mpsc::Sender<Order>,
    until: CancellationToken,
) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
    let failed = |cause| Error::io("listen for signals", cause);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    // A terminal that was closed is none any more.
    let has_terminal = || std::io::stdin().is_terminal();
    let had_terminal = has_terminal();
    Ok(async move {
        let mut tell = [stop, abandon].into_iter();
        loop {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("interrupted"),
                _ = hangup.recv() => {
                    if !had_terminal || has_terminal() {
                        tracing::info!("SIGHUP: reading the document again");
                        // When too much waits, the document is read then.
                        drop(orders.try_send(Order::Read("signal")));
                        continue;
                    }
                    tracing::info!("the terminal was closed");
                }
                () = until.cancelled() => return Ok(()),
            }
            match tell.next() {
                Some(told) => told.cancel(),
                None => return Ok(()),
            }
        }
    })
}
