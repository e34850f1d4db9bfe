//! Everything in memory: a [`MemoryJournal`], a [`MemoryTransport`] and a [`MemoryCache`].
//!
//! They keep every promise of their traits for as long as they live, within bounds, and so are the reference for
//! other backends. They know no disk, no socket and no other process.

mod journal;

mod transport;

mod cache;

pub use cache::{CACHE_BYTES_MAX, MemoryCache};
pub use journal::{JOURNAL_BYTES_MAX, MemoryJournal};
pub use transport::{LISTENERS_MAX, MemoryTransport, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
