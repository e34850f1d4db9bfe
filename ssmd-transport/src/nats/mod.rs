//! NATS: core as transport, JetStream as journal, KV as cache, over one [`Connection`].
//!
//! ```no_run
//! # async fn f() -> ssmd_core::Result<()> {
//! use std::sync::Arc;
//! use ssmd_core::{EnvironmentName, FeedName, SystemClock};
//! use ssmd_transport::nats::{self, JournalSpec, Options, StreamSpec};
//!
//! let environment = EnvironmentName::new("dev")?;
//! let connection = nats::connect(&Options::new("nats://127.0.0.1:4222"), Arc::new(SystemClock::new())).await?;
//! let stream = StreamSpec::of(&environment);
//! let journal = connection.journal(&JournalSpec { environment, feed: FeedName::new("kraken")?, stream }).await?;
//! # drop(journal);
//! # Ok(())
//! # }
//! ```

mod connect;

mod transport;

mod broker;

mod cache;

mod stream;

mod journal;
mod writer;

mod reader;

mod find;

mod chain;

mod wire;

pub use broker::{BrokerOptions, NatsBroker};
pub use cache::{CacheSpec, NatsCache};
pub use connect::{Auth, Connection, Options, SERVER_MIN, Tls, connect};
pub use journal::{JournalSpec, NatsJournal, ON_DISK, QUEUE_BYTES_MAX, WINDOW_MESSAGES};
pub use stream::{Storage, StreamSpec};
pub use transport::NatsTransport;
