//! JetStream keeps every promise of a journal, against a real nats-server.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/promises.rs"]
mod promises;
#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test file uses its part of it")]
mod server;

use std::sync::Arc;

use async_nats::jetstream;
use async_trait::async_trait;
use server::Server;
use ssmd_core::conformance::{self, journal::Harness};
use ssmd_core::{
    EntryId, EnvironmentName, Error, ErrorKind, FeedName, Journal, Positions, Result, SystemClock,
};
use ssmd_transport::nats::{self, Connection, JournalSpec, NatsJournal, Options, StreamSpec};

fn spec() -> JournalSpec {
    let environment = EnvironmentName::new("dev").unwrap();
    let stream = StreamSpec::of(&environment);
    JournalSpec { environment, feed: FeedName::new("kraken").unwrap(), stream }
}

async fn connect(server: &Server) -> Connection {
    nats::connect(&Options::new(server.url()), Arc::new(SystemClock::new())).await.unwrap()
}

/// A client of the test's own, to do to the stream what a journal does not.
async fn client(server: &Server) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

#[derive(Default)]
struct JetStream {
    server: Option<Server>,
    journal: Option<Arc<NatsJournal>>,
}

impl JetStream {
    fn server(&self) -> Result<&Server> {
        self.server.as_ref().ok_or_else(|| Error::new(ErrorKind::NotFound, "start nats-server"))
    }

    async fn another(&self) -> Result<Arc<NatsJournal>> {
        Ok(Arc::new(connect(self.server()?).await.journal(&spec()).await?))
    }
}

#[async_trait]
impl Harness for JetStream {
    async fn open(&mut self) -> Result<Arc<dyn Journal>> {
        self.server = Server::start("");
        let journal = self.another().await?;
        Ok(self.journal.insert(journal).clone())
    }

    /// The server is killed as well.
    async fn restart(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        self.journal = None;
        if let Some(server) = &mut self.server {
            server.kill();
            server.restart();
        }
        let journal = self.another().await?;
        Ok(Some(self.journal.insert(journal).clone()))
    }

    async fn recreate(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        self.journal = None;
        client(self.server()?).await.delete_stream(spec().stream.name).await.unwrap();
        let journal = self.another().await?;
        Ok(Some(self.journal.insert(journal).clone()))
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        Ok(Some(self.another().await?))
    }

    /// While held, the stream refuses every message.
    async fn hold(&mut self, held: bool) -> Result<bool> {
        let context = client(self.server()?).await;
        let mut config = context.get_stream(spec().stream.name).await.unwrap().cached_info().config.clone();
        config.max_message_size = if held { 1 } else { -1 };
        context.update_stream(config).await.unwrap();
        Ok(true)
    }

    async fn trim(&mut self, below: EntryId) -> Result<bool> {
        let Some(journal) = &self.journal else { return Ok(false) };
        journal.trim(&Positions::from([(below.origin, below.n)])).await?;
        Ok(true)
    }

    async fn close(&mut self) -> Result<bool> {
        let Some(journal) = &self.journal else { return Ok(false) };
        journal.close();
        Ok(true)
    }
}

ssmd_core::journal_conformance!(
    journal,
    async { JetStream::default() },
    promises::of("journal", conformance::journal::PROMISES, "JetStream")
);
