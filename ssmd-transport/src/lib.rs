//! Journals, transports and caches.

pub mod log;
pub mod memory;
#[cfg(feature = "nats")]
pub mod nats;
pub mod relay;
pub mod reopened;
