//! Journals, transports and caches.

pub mod memory;
