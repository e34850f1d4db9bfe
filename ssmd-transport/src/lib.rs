//! Journals, transports and caches.

pub mod log;
pub mod memory;
