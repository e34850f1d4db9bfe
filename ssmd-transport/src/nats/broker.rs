//! A NATS server as a publisher needs it: reached when it is first needed and again when it was away, with a stream
//! that keeps records for those who come late, if one is declared.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_trait::async_trait;
use ssmd_core::{Clock, Error, ErrorKind, Filter, Message, Result, Subject, Subscription, Transport};
use tokio::sync::Mutex;

use super::connect::{Connection, Options, connect};
use super::stream::{StreamSpec, declare};
use super::transport::NatsTransport;
use crate::publish::Broker;

/// How long a batch may wait for room: a server that is frozen must not hold the publisher.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// Where a broker is, and what it keeps.
#[derive(Clone)]
pub struct BrokerOptions {
    /// The server.
    pub server: Options,
    /// The stream that keeps what is published, made what it shall be with each connection; `None`: nothing is kept.
    pub stream: Option<StreamSpec>,
    /// Of which subjects the last message says how something is now: with a stream, it is told again to a server that
    /// was away.
    pub retained: fn(&Subject) -> bool,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for BrokerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerOptions").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// NATS core as a transport that connects with its first call. While there is no server, calls fail as connecting
/// does, and nothing waits.
pub struct NatsBroker {
    options: BrokerOptions,
    /// Held while it is opened, so that it is opened once.
    open: Mutex<Option<Open>>,
    /// How many connections were made or made again.
    connections: AtomicU64,
}

#[derive(Clone)]
struct Open {
    connection: Connection,
    transport: Arc<NatsTransport>,
    /// The connection's changes when the stream was declared.
    declared: u64,
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker").field("options", &self.options).finish_non_exhaustive()
    }
}

impl NatsBroker {
    /// Nothing is connected yet.
    pub fn new(options: BrokerOptions) -> Self {
        Self { options, open: Mutex::new(None), connections: AtomicU64::new(0) }
    }

    /// The server, with its stream as it shall be.
    async fn open(&self) -> Result<Arc<NatsTransport>> {
        let mut open = self.open.lock().await;
        if let Some(open) = &*open
            && (open.declared == open.connection.changes() || !open.connection.is_connected())
        {
            return Ok(Arc::clone(&open.transport));
        }
        let (connection, transport) = match open.take() {
            Some(Open { connection, transport, .. }) => (connection, transport),
            None => {
                let connection = connect(&self.options.server, Arc::clone(&self.options.clock)).await?;
                let transport = Arc::new(connection.transport());
                (connection, transport)
            }
        };
        let kept = Open { declared: connection.changes(), connection, transport };
        let declared = self.declare(&kept.connection).await;
        if declared.is_ok() {
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
        let transport = Arc::clone(&kept.transport);
        // What was not declared is declared with the next call.
        let declared_at = if declared.is_ok() { kept.declared } else { u64::MAX };
        *open = Some(Open { declared: declared_at, ..kept });
        declared.map(|()| transport)
    }

    async fn declare(&self, connection: &Connection) -> Result<()> {
        let Some(stream) = &self.options.stream else { return Ok(()) };
        declare(&jetstream::new(connection.client.clone()), stream).await.map(drop)
    }
}

#[async_trait]
impl Transport for NatsBroker {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        let transport = self.open().await?;
        let late =
            || Error::new(ErrorKind::Unavailable, "publish to NATS").detail("the server takes nothing");
        tokio::select! {
            biased;
            published = transport.publish(batch) => published,
            () = self.options.clock.sleep(TAKEN_WITHIN) => Err(late()),
        }
    }

    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        self.open().await?.subscribe(filter).await
    }

    async fn flush(&self) -> Result<()> {
        let open = self.open.lock().await.clone();
        match open {
            Some(open) => open.transport.flush().await,
            None => Err(Error::new(ErrorKind::Unavailable, "flush NATS").detail("never connected")),
        }
    }
}

impl Broker for NatsBroker {
    fn connection(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn retains(&self, subject: &Subject) -> bool {
        self.options.stream.is_some() && (self.options.retained)(subject)
    }
}
