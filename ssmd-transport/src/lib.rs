//! Journals, transports and caches.

pub mod log;
pub mod memory;

pub mod login;
pub mod project;

#[cfg(feature = "redis")]
pub mod redis;
