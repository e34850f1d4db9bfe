//! What a running process shows of itself: to its control socket, its health page and its live view.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ssmd_core::{
    Clock, Error, ErrorKind, FeedName, Filter, Origin, Result, Subscription, Symbol, Timestamp, Transport,
};
use ssmd_transport::log;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::archiver::Archived;
use crate::by_feed;
use crate::connector::{self, Recorded};
use crate::control::Controlled;
use crate::folder::Folder;
use crate::projecting::Projected;
use crate::reload::{Answer, Apply, Declared, Order, State};
use crate::status::{FeedBook, FeedStatus, Status};

/// Everything that can be seen of a running process.
pub(crate) struct Board {
    /// `up`, `connector`, `archiver` or `cache`.
    pub role: &'static str,
    /// The environment's name.
    pub environment: String,
    /// What is declared.
    pub declared: Declared,
    /// Where the process is told what to do about its document.
    pub orders: mpsc::Sender<Order>,
    /// The data folder.
    pub folder: Folder,
    /// The archive, for people.
    pub store: String,
    /// Where health and metrics are served.
    pub listen: Option<SocketAddr>,
    /// When the process started, and on its monotonic clock.
    pub started: (Timestamp, Duration),
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is recorded here.
    pub recorded: connector::Shown,
    /// What is archived here.
    pub archived: by_feed::Shown<Archived>,
    /// What is projected here.
    pub projected: by_feed::Shown<Projected>,
    /// Where records are told, if anything is decoded here.
    pub transport: Option<Arc<dyn Transport>>,
    /// Stops the process.
    pub stop: CancellationToken,
}

impl Board {
    /// How everything is doing.
    pub(crate) fn now(&self) -> Status {
        let mut feeds: Vec<_> = self.recorded().iter().map(|feed| feed.status()).collect();
        for (name, archived) in &self.archived() {
            let at = feeds.iter().position(|feed| feed.feed == name.as_str()).unwrap_or_else(|| {
                feeds.push(self.read_log(name));
                feeds.len() - 1
            });
            archived.describe(self.origin(name), &mut feeds[at]);
        }
        for (name, projected) in &self.projected() {
            let mut feed = FeedStatus::named(name);
            projected.describe(&mut feed);
            feeds.push(feed);
        }
        let State { document, version, refused } = self.declared.now();
        let mut status = Status {
            role: self.role.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: self.environment.clone(),
            environment_version: version,
            document: document.map(|path| path.display().to_string()),
            document_refused: refused,
            started: self.started.0,
            seconds: self.clock.elapsed().saturating_sub(self.started.1).as_secs_f64(),
            stopping: self.stop.is_cancelled(),
            listen: self.listen.map(|address| address.to_string()),
            store: self.store.clone(),
            feeds,
            ..Status::default()
        };
        status.judge();
        status
    }

    fn recorded(&self) -> Vec<Arc<Recorded>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn archived(&self) -> BTreeMap<FeedName, Archived> {
        self.archived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn projected(&self) -> BTreeMap<FeedName, Projected> {
        self.projected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When something other than a heartbeat last came, over all feeds.
    pub(crate) fn last_activity(&self) -> Option<Duration> {
        self.recorded().iter().filter_map(|feed| feed.last_activity()).max()
    }

    /// Whether it does its work; if not, why.
    ///
    /// # Errors
    /// The reason, for people.
    pub(crate) fn ready(&self) -> std::result::Result<(), String> {
        let silent: Vec<_> = self
            .recorded()
            .iter()
            .map(|feed| feed.status())
            .filter(|feed| feed.sessions == 0)
            .map(|f| f.feed)
            .collect();
        if !silent.is_empty() {
            return Err(format!("no connection: {}", silent.join(", ")));
        }
        self.archived().iter().try_for_each(|(name, archived)| archived.ready(name))?;
        self.projected().iter().try_for_each(|(name, projected)| projected.ready(name))
    }

    /// Which log is in a feed's folder now.
    fn origin(&self, feed: &FeedName) -> Option<Origin> {
        let own = self.recorded().into_iter().find(|recorded| recorded.name() == feed);
        own.map(|recorded| recorded.log().origin())
            .or_else(|| log::inspect(&self.folder.log(feed)).ok().map(|inspection| inspection.origin))
    }

    /// A feed whose log another process writes: only its files tell.
    fn read_log(&self, feed: &FeedName) -> FeedStatus {
        FeedStatus::of_log(&self.folder, feed).unwrap_or_else(|_| FeedStatus::named(feed))
    }
}

#[async_trait]
impl Controlled for Board {
    async fn status(&self) -> Status {
        self.now()
    }

    async fn tail(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        match &self.transport {
            Some(transport) => transport.subscribe(filter).await,
            None => Err(Error::new(ErrorKind::Unsupported, "tail").detail("this process decodes nothing")),
        }
    }

    async fn books(&self, feed: Option<&str>) -> Result<Vec<FeedBook>> {
        let all = self.recorded();
        let known = |name: &str| all.iter().any(|recorded| recorded.name().as_str() == name);
        if let Some(name) = feed.filter(|name| !known(name)) {
            return Err(Error::new(ErrorKind::NotFound, "audit books").with("feed", name));
        }
        let meant = |recorded: &&Arc<Recorded>| feed.is_none_or(|feed| recorded.name().as_str() == feed);
        Ok(all.iter().filter(meant).flat_map(|recorded| recorded.books()).collect())
    }

    async fn resync(&self, feed: &str, symbol: Symbol) -> Result<()> {
        let found = self.recorded().into_iter().find(|recorded| recorded.name().as_str() == feed);
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "resync").with("feed", feed))?.resync(symbol)
    }

    async fn apply(&self, apply: Apply) -> Result<Answer> {
        let (answer, made) = oneshot::channel();
        let stopping = || Error::new(ErrorKind::Unavailable, "apply environment").detail("it is stopping");
        self.orders.send(Order::Apply(apply, answer)).await.map_err(|_| stopping())?;
        tokio::select! {
            biased;
            made = made => made.map_err(|_| stopping()),
            () = self.stop.cancelled() => Err(stopping()),
        }
    }

    fn stop(&self) {
        self.stop.cancel();
    }
}
