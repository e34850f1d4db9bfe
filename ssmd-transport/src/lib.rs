//! Journals, transports and caches.

pub mod log;
