//! Everything in memory: a [`MemoryJournal`], a [`MemoryTransport`] and a [`MemoryCache`].
//!
//! They keep every promise of their traits for as long as they live, within bounds, and so are the reference for
//! other backends. They know no disk, no socket and no other process.

mod journal;

pub use journal::{JOURNAL_BYTES_MAX, MemoryJournal};
