//! Journals, transports and caches.

pub mod log;
pub mod memory;
pub mod relay;
pub mod reopened;
