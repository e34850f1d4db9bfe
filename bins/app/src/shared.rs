//! The shared journal of an environment (`journal: { nats: … }`): one connection, opened when it is first needed.

use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::{Environment, JetStreamSpec, JournalSpec};
use ssmd_core::{Cache, Clock, EnvironmentName, Error, ErrorKind, FeedName, Journal, Metrics, Result};
use ssmd_storage::Head;
use ssmd_transport::nats::{self, CacheSpec, Connection, StreamSpec};
use ssmd_transport::relay::{Healed, Healing, Keys};
use ssmd_transport::reopened::Reopened;
use ssmd_transport::wrap::Observed;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::backends;

/// How long an archiver waits for the word of a relay before it believes a hole: as long as a log keeps what is
/// archived.
const HEALS_WITHIN: Duration = Duration::from_secs(3600);

/// What a process has of the shared journal. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    environment: EnvironmentName,
    server: nats::Options,
    stream: StreamSpec,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// Held while it is made, so that it is made once; it mends itself from then on.
    connection: Mutex<Option<Connection>>,
}

impl Shared {
    /// The shared journal that an environment declares, if it does, for a service of this name: servers know services
    /// by it (`deploy/nats/permissions.conf`). Nothing is connected yet.
    ///
    /// # Errors
    /// `NotFound` without an address, and what is wrong with the credentials.
    pub(crate) fn of(
        environment: &Environment,
        name: &str,
        (clock, metrics): (&Arc<dyn Clock>, &Metrics),
    ) -> Result<Option<Self>> {
        let JournalSpec::JetStream(spec) = &environment.journal else { return Ok(None) };
        let mut server = backends::nats(spec.url.as_deref(), &spec.tls, spec.credentials.as_ref())?;
        let stream = stream(spec, &environment.name);
        name.clone_into(&mut server.name);
        let inner = Inner {
            environment: environment.name.clone(),
            server,
            stream,
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
            connection: Mutex::new(None),
        };
        Ok(Some(Self(Arc::new(inner))))
    }

    /// The stream's name.
    pub(crate) fn stream(&self) -> &str {
        &self.0.stream.name
    }

    /// Whether the stream is there; opening a journal makes it.
    ///
    /// # Errors
    /// `NotFound` if it is not, and as connecting.
    pub(crate) async fn check(&self) -> Result<()> {
        if self.connect().await?.has_stream(self.stream()).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, "find journal")
            .with("stream", self.stream())
            .hint("the first recorder of the environment makes it"))
    }

    /// The journal of one feed.
    pub(crate) fn journal(&self, feed: &FeedName) -> Arc<dyn Journal> {
        let (shared, feed) = (self.clone(), feed.clone());
        let journal = Reopened::<dyn Journal>::new(Arc::new(move || {
            let (shared, feed) = (shared.clone(), feed.clone());
            Box::pin(async move {
                let connection = shared.connect().await?;
                let (environment, stream) = (shared.0.environment.clone(), shared.0.stream.clone());
                let spec = nats::JournalSpec { environment, feed, stream };
                Ok(Arc::new(connection.journal(&spec).await?) as Arc<dyn Journal>)
            })
        }));
        Arc::new(Observed::journal(Arc::new(journal), Arc::clone(&self.0.clock), self.0.metrics.clone()))
    }

    /// The journal of one feed for who must not miss what a log still has.
    pub(crate) fn healed(&self, feed: &FeedName, stop: CancellationToken) -> Arc<dyn Journal> {
        let healing = Healing {
            cache: self.cache(),
            keys: self.keys(feed),
            clock: Arc::clone(&self.0.clock),
            waits: HEALS_WITHIN,
            stop,
        };
        Arc::new(Healed::new(self.journal(feed), healing))
    }

    /// Where relays and archivers tell each other how far they are: a bucket beside the stream.
    pub(crate) fn cache(&self) -> Arc<dyn Cache> {
        let shared = self.clone();
        let cache = Reopened::<dyn Cache>::new(Arc::new(move || {
            let shared = shared.clone();
            Box::pin(async move {
                let connection = shared.connect().await?;
                let bucket = format!("ssmd-{}", shared.0.environment);
                let (replicas, storage) = (shared.0.stream.replicas, shared.0.stream.storage);
                let cache = connection.cache(&CacheSpec { bucket, replicas, storage }).await?;
                Ok(Arc::new(cache) as Arc<dyn Cache>)
            })
        }));
        Arc::new(Observed::cache(Arc::new(cache), Arc::clone(&self.0.clock), self.0.metrics.clone()))
    }

    /// The heads of a feed's chains, in the same bucket: what keeps archivers of several hosts apart.
    pub(crate) fn head(&self, feed: &FeedName) -> Head {
        let environment = &self.0.environment;
        Head::new(
            self.cache(),
            format!("{environment}.{feed}"),
            format!("NATS KV (bucket ssmd-{environment})"),
        )
    }

    /// Under which names.
    pub(crate) fn keys(&self, feed: &FeedName) -> Keys {
        Keys::new(&self.0.environment, feed)
    }

    async fn connect(&self) -> Result<Connection> {
        let mut connection = self.0.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let made = nats::connect(&self.0.server, Arc::clone(&self.0.clock)).await?;
        Ok(connection.insert(made).clone())
    }
}

fn stream(spec: &JetStreamSpec, environment: &EnvironmentName) -> StreamSpec {
    let default = StreamSpec::of(environment);
    StreamSpec {
        name: spec.stream.clone().unwrap_or(default.name),
        max_age: Duration::from_secs(u64::from(spec.retention_hours) * 3600),
        max_bytes: spec.max_bytes,
        replicas: spec.replicas,
        ..default
    }
}
