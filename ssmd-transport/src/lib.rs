//! Journals, transports and caches.

pub mod log;
pub mod memory;

pub mod login;
#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod project;
pub mod publish;

#[cfg(feature = "redis")]
pub mod redis;
