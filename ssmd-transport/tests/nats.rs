//! NATS core keeps every promise of a transport, and NATS KV of a cache, against a real nats-server.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/promises.rs"]
mod promises;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test file uses its part of it")]
mod server;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use server::Server;
use ssmd_core::conformance;
use ssmd_core::{Cache, Clock, Error, ErrorKind, ManualClock, Result, SystemClock, Timestamp, Transport};
use ssmd_transport::nats::{self, CacheSpec, Connection, NatsTransport, Options, Storage};

/// Few enough to be overflowed, and more than a case publishes before it reads.
const QUEUE_MESSAGES: usize = 1000;
const OVERFLOW_MESSAGES: u64 = 50_000;

#[derive(Default)]
struct Nats {
    server: Option<Server>,
    transport: Option<Arc<NatsTransport>>,
    clock: Option<ManualClock>,
}

impl Nats {
    async fn connect(&self, clock: Arc<dyn Clock>) -> Result<Connection> {
        let server =
            self.server.as_ref().ok_or_else(|| Error::new(ErrorKind::NotFound, "start nats-server"))?;
        nats::connect(&Options::new(server.url()), clock).await
    }

    async fn bucket(&self) -> Result<Arc<dyn Cache>> {
        let clock = self.clock.clone().unwrap();
        let spec = CacheSpec { bucket: "ssmd-dev".into(), replicas: 1, storage: Storage::Memory };
        Ok(Arc::new(self.connect(Arc::new(clock)).await?.cache(&spec).await?))
    }
}

#[async_trait]
impl conformance::transport::Harness for Nats {
    async fn open(&mut self) -> Result<Arc<dyn Transport>> {
        self.server = Server::start("");
        let connection = self.connect(Arc::new(SystemClock::new())).await?;
        Ok(self.transport.insert(Arc::new(connection.transport_bounded(QUEUE_MESSAGES))).clone())
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Transport>>> {
        let connection = self.connect(Arc::new(SystemClock::new())).await?;
        Ok(Some(Arc::new(connection.transport_bounded(OVERFLOW_MESSAGES as usize))))
    }

    async fn close(&mut self) -> Result<bool> {
        let Some(transport) = &self.transport else { return Ok(false) };
        transport.close();
        Ok(true)
    }

    fn listeners(&self) -> Option<usize> {
        self.transport.as_ref().map(|transport| transport.listeners())
    }

    fn overflow_messages(&self) -> Option<u64> {
        Some(OVERFLOW_MESSAGES)
    }
}

ssmd_core::transport_conformance!(
    transport,
    async { Nats::default() },
    promises::of("transport", conformance::transport::PROMISES, "NATS core")
);

#[async_trait]
impl conformance::cache::Harness for Nats {
    async fn open(&mut self) -> Result<Arc<dyn Cache>> {
        self.server = Server::start("");
        self.clock = Some(ManualClock::new(Timestamp::from_nanos(0)));
        self.bucket().await
    }

    async fn pass(&mut self, time: Duration) -> Result<bool> {
        let Some(clock) = &self.clock else { return Ok(false) };
        clock.advance(time);
        Ok(true)
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Cache>>> {
        Ok(Some(self.bucket().await?))
    }
}

ssmd_core::cache_conformance!(
    cache,
    async { Nats::default() },
    promises::of("cache", conformance::cache::PROMISES, "NATS KV")
);
