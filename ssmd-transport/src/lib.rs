//! Journals, transports and caches.

pub mod log;
pub mod login;
pub mod memory;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "nats")]
pub mod nats;
pub mod project;
pub mod publish;
#[cfg(feature = "redis")]
pub mod redis;
pub mod relay;
pub mod reopened;
pub mod wrap;
