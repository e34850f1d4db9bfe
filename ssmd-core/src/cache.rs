//! A cache keeps the latest value of each key.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;

/// A value and the version that names it for compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Changes with every write of the key, and is never one that the key had before, even if it was deleted in
    /// between; means nothing across keys.
    pub version: u64,
    /// The value.
    pub value: Bytes,
}

/// What must be so for a put to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// The key does not exist.
    Absent,
    /// The key has this version.
    Version(u64),
}

/// Latest values.
#[async_trait]
pub trait Cache: Send + Sync {
    /// The value now, or `None`. A value whose time to live has passed is never given.
    ///
    /// # Errors
    /// `Unavailable` if the other side cannot be reached.
    async fn get(&self, key: &str) -> Result<Option<Versioned>>;

    /// Writes a value if `expect` holds, and gives its version. With `ttl` the value is gone after that time, and
    /// its key is absent; each put replaces the time to live of the one before. Of puts at once that expect the
    /// same, exactly one wins.
    ///
    /// # Errors
    /// `Conflict` if `expect` does not hold; then nothing was changed. `Full` at the bound that the backend
    /// documents. `Timeout` leaves it unknown.
    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64>;

    /// Removes a key; removing what is not there is no error.
    ///
    /// # Errors
    /// `Unavailable` if the other side cannot be reached.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Every key that begins with `prefix`, with its value, in the order of the keys' bytes. The prefix is plain
    /// text, no pattern; every key begins with the empty one.
    ///
    /// # Errors
    /// `Unavailable` if the other side cannot be reached.
    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>>;
}
