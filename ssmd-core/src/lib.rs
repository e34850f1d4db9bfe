//! The nouns of ssmd, and what each of them promises.
//!
//! Five nouns carry everything: a [`Feed`] gives frames, a [`Journal`] keeps them in order, a [`Store`] keeps
//! them for good, a [`Transport`] tells whoever listens, a [`Cache`] keeps the latest. Time comes from a [`Clock`].
//!
//! One frame, top to bottom: a [`Frame`] leaves a socket stamped with a [`Timestamp`], becomes an [`Entry`] with
//! an [`EntryId`] `(origin, n)` in a journal, is archived as one line of a segment, and is decoded, live or years
//! later, into [`Record`]s by the same [`Decode`].
//!
//! This crate knows no venue, no socket, no file and no database.

pub mod clock;
pub mod decimal;
pub mod error;
pub mod name;

pub mod entry;
pub mod frame;
pub mod gap;
pub mod record;

pub mod book;

pub mod cache;
pub mod feed;
pub mod journal;
pub mod store;
pub mod transport;

pub mod codec;
pub mod schema;

pub mod books;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod decoders;
pub mod environment;
pub mod merge;
pub mod metrics;
pub mod tasks;

pub use book::{BookSide, OrderBook};
pub use books::{BookAudit, BookState, Books};
pub use cache::{Cache, Expect, Versioned};
pub use clock::{Clock, Day, ManualClock, SystemClock, Timestamp};
pub use decimal::Decimal;
pub use decoders::{Checks, Decoders};
pub use entry::{Entry, EntryId, EntryKind, Origin};
pub use error::{Error, ErrorKind, Result};
pub use feed::{
    Channel, Decode, DecodeCounts, DecodeError, Feed, Frames, Limits, Output, Session, Topic, Wanted,
};
pub use frame::{Frame, FrameKind, SessionId};
pub use gap::{Evidence, Gap, GapCause};
pub use journal::{Bounds, Entries, Journal, Pending, Positions, Start};
pub use merge::{BookIdentity, MergeRules, Merger, TradeIdentity};
pub use metrics::Metrics;
pub use name::{EnvironmentName, FeedName, Filter, Subject, Symbol};
pub use record::{Body, Header, Record, RecordType};
pub use store::{ObjectMeta, ObjectPath, PutMode, Store};
pub use tasks::Tasks;
pub use transport::{Delivery, Message, Subscription, Transport};

/// A boxed future, as object-safe traits without `async` need it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A boxed stream.
pub type BoxStream<'a, T> = std::pin::Pin<Box<dyn futures_core::Stream<Item = T> + Send + 'a>>;
