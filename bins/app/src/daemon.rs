//! The life of a daemon: start in order, wait for a reason to stop, drain in order, say what was done.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::{Environment, FeedSpec};
use ssmd_core::{Clock, Error, ErrorKind, FeedName, Journal, Metrics, Result, SystemClock, Tasks};
use ssmd_transport::log::LogReader;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::archiver::Archivers;
use crate::board::Board;
use crate::cli;
use crate::connector::Connector;
use crate::folder::Folder;
use crate::simulated::Simulate;
use crate::status::Status;
use crate::{control, http, simulated, view};

/// Which parts of the path a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// All of it.
    Up,
    /// From feeds to logs.
    Connector,
    /// From logs to the archive.
    Archiver,
}

impl Role {
    /// The name of its control socket.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Connector => "connector",
            Self::Archiver => "archiver",
        }
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
    let mut services = Tasks::new();
    services.spawn("signals", listen_for_signals(stop.clone(), abandon.clone(), services.token())?);
    let folder = Folder::create(&plan.flags.data)?;
    // Taken first: a second daemon in the same folder is refused before it touches anything.
    let socket = control::bind(folder.path(), plan.role.word()).await?;
    if let Some(simulate) = &plan.simulate {
        simulated::start(&mut plan.environment, simulate, &mut services, &clock).await?;
    }
    let metrics = Metrics::new();
    let mut parts = Parts::start(&plan, &folder, &clock, &metrics).await?;
    let board = Arc::new(parts.board(&plan, folder, &clock, stop.clone()));
    let board = parts.serve(&plan, board, socket, metrics, &mut services).await?;
    let show = plan.role == Role::Up && std::io::stdout().is_terminal() && !plan.flags.json;
    if show {
        let (drawn, clock, until) = (Arc::clone(&board), Arc::clone(&clock), services.token());
        services.spawn("live view", view::run(move || std::future::ready(drawn.now()), clock, until));
    }
    let ran = parts.wait(&plan, &board, &clock).await;
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
    connector: Option<Connector>,
    archivers: Option<Archivers>,
    listener: Option<tokio::net::TcpListener>,
    store: String,
    started: Duration,
}

impl Parts {
    async fn start(plan: &Plan, folder: &Folder, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Result<Self> {
        let environment = &plan.environment;
        let listener = match plan.flags.listen.or(default_listen(plan.role)) {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        let spec = folder.store(&environment.store);
        let started = clock.elapsed();
        let mut parts = Self { connector: None, archivers: None, listener, store: spec.to_string(), started };
        if plan.role != Role::Archiver {
            let connector = Connector::start(environment, folder, Arc::clone(clock), metrics.clone()).await?;
            parts.connector = Some(connector);
        }
        if plan.role != Role::Connector {
            let store = ssmd_storage::open(&spec, std::path::Path::new("."))?;
            let mut archivers = Archivers::new(Arc::clone(clock));
            // What a feed recorded before it was disabled is archived all the same.
            let archived = |feed: &&FeedSpec| feed.enabled || folder.log(&feed.name).exists();
            for feed in environment.feeds.iter().filter(archived) {
                let journal = parts.journal(&feed.name, folder, clock, plan.once);
                archivers.archive(&feed.name, journal, Arc::clone(&store), folder, metrics);
            }
            parts.archivers = Some(archivers);
        }
        Ok(parts)
    }

    /// The log that is written here, or the one that another process writes, once it is there.
    fn journal(
        &self,
        feed: &FeedName,
        folder: &Folder,
        clock: &Arc<dyn Clock>,
        once: bool,
    ) -> impl Future<Output = Result<Arc<dyn Journal>>> + Send + 'static {
        let own = self.connector.as_ref().and_then(|connector| {
            connector
                .feeds()
                .iter()
                .find(|recorded| recorded.name() == feed)
                .map(|recorded| recorded.log().clone())
        });
        let (directory, clock) = (folder.log(feed), Arc::clone(clock));
        async move {
            if let Some(log) = own {
                return Ok(Arc::new(log) as Arc<dyn Journal>);
            }
            loop {
                match LogReader::open(&directory, Arc::clone(&clock)) {
                    Ok(log) => return Ok(Arc::new(log) as Arc<dyn Journal>),
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

    fn board(&self, plan: &Plan, folder: Folder, clock: &Arc<dyn Clock>, stop: CancellationToken) -> Board {
        Board {
            role: plan.role.word(),
            environment: plan.environment.name.to_string(),
            folder,
            store: self.store.clone(),
            listen: self.listener.as_ref().and_then(|listener| listener.local_addr().ok()),
            started: (clock.now(), self.started),
            clock: Arc::clone(clock),
            recorded: self.connector.as_ref().map(|connector| connector.feeds().to_vec()).unwrap_or_default(),
            archived: self.archivers.as_ref().map(Archivers::feeds).unwrap_or_default(),
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

    /// Waits for a reason to stop.
    async fn wait(&mut self, plan: &Plan, board: &Board, clock: &Arc<dyn Clock>) -> Result<()> {
        if plan.once {
            return Ok(());
        }
        let recording = self.connector.is_some();
        let idle = idle(plan.until_idle, board, clock.as_ref());
        let over = async {
            match plan.flags.run_for {
                Some(time) => clock.sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let talk = report(board, clock.as_ref());
        tokio::select! {
            biased;
            () = board.stop.cancelled() => Ok(()),
            ended = async { match &mut self.connector {
                Some(connector) => connector.wait().await,
                None => std::future::pending().await,
            } } => ended,
            failed = archiving(self.archivers.as_mut(), recording) => failed,
            () = over => Ok(()),
            () = idle => Ok(()),
            never = talk => match never {},
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
        captured.and(archived).and(closed)
    }
}

/// Waits until an archiver failed. Beside a recorder that is no reason to stop: the log keeps what is not archived,
/// and the failure is told at once and again at the end.
async fn archiving(archivers: Option<&mut Archivers>, recording: bool) -> Result<()> {
    let Some(archivers) = archivers else { return std::future::pending().await };
    let failed = archivers.wait().await;
    match failed {
        Err(error) if recording => {
            tracing::error!("nothing is archived any more, recording goes on: {}", error.report());
            archivers.fail(error);
            std::future::pending().await
        }
        ended => ended,
    }
}

/// Where a daemon serves its health unless told otherwise. `up` serves none, so that any number can run side by side.
fn default_listen(role: Role) -> Option<SocketAddr> {
    match role {
        Role::Up => None,
        Role::Connector => Some(SocketAddr::from(([127, 0, 0, 1], 9601))),
        Role::Archiver => Some(SocketAddr::from(([127, 0, 0, 1], 9602))),
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

/// A task that turns SIGTERM, Ctrl-C and a closed terminal into a stop, and the next of them into an end at once.
fn listen_for_signals(
    stop: CancellationToken,
    abandon: CancellationToken,
    until: CancellationToken,
) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
    let failed = |cause| Error::io("listen for signals", cause);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    Ok(async move {
        for told in [stop, abandon] {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("interrupted"),
                _ = hangup.recv() => tracing::info!("the terminal was closed"),
                () = until.cancelled() => return Ok(()),
            }
            told.cancel();
        }
        Ok(())
    })
}
