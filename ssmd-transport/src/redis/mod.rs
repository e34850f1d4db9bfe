//! Redis as a cache, and as nothing else: no pub/sub, no streams.
//!
//! A key `k` of the cache is the hash `{namespace}:k` with the fields `version` and `value`. Puts that are made at
//! the same time go as one script, which compares and sets each key in one round trip. Versions come from the
//! server's clock, and never go back while that does not: also after `FLUSHALL`, a crash or a restored snapshot.
//!
//! What it does not promise: Redis answers before it writes to disk, so after a crash of the server the last values
//! may be gone, or older ones be back. It is for one Redis (a primary, or what stands before it), not for a cluster
//! of shards: the keys of one script must be on one server, and a cluster's refusal is `Unsupported`. A server that evicts keys (`maxmemory-policy`) makes them absent; with `noeviction` it refuses puts,
//! as `Full`.

mod errors;
mod link;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::{Cache, Error, ErrorKind, Expect, Result, Tasks, Versioned};
use tokio::sync::{mpsc, oneshot};

pub use link::{RedisOptions, RedisServer};

use link::Link;
use writer::Put;

/// The largest value, in bytes: far above any latest value, far below what would hold the server up.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest key, in bytes, without the namespace.
pub const KEY_BYTES_MAX: usize = 1024;
/// The most keys that one scan gives; more is an error, since it would be all in memory.
pub const SCAN_KEYS_MAX: usize = 1_000_000;

/// Puts that wait for the one before; more wait in their callers.
const PUTS_MAX: usize = 4096;
/// Keys that the server is asked to look at in one step of a scan, and that are read at once.
const SCAN_STEP: usize = 1000;

/// Latest values in a Redis server, for every process that reaches it.
///
/// Made without a connection; each call that finds none connects. A call that fails says so and is not repeated:
/// the next one connects anew.
pub struct RedisCache {
    link: Link,
    namespace: String,
    puts: mpsc::Sender<Put>,
    /// Ends with the cache.
    _writer: Tasks,
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl RedisCache {
    /// A cache of the keys that begin with `{namespace}:`. It has not connected yet. Needs a Tokio runtime.
    ///
    /// # Errors
    /// `Invalid` if the address or the namespace is of no use.
    pub fn new(options: RedisOptions, namespace: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        if namespace.is_empty() || namespace.len() > KEY_BYTES_MAX || !namespace.bytes().all(plain) {
            return Err(Error::new(ErrorKind::Invalid, "open redis cache").detail("no such namespace"));
        }
        let link = Link::new(options)?;
        let (puts, queue) = mpsc::channel(PUTS_MAX);
        let mut tasks = Tasks::new();
        tasks.spawn("write to redis", writer::run(link.clone(), format!("{namespace}~version"), queue));
        Ok(Self { link, namespace: namespace.to_owned(), puts, _writer: tasks })
    }

    /// Makes one round trip and says what answered.
    ///
    /// # Errors
    /// As [`Cache::get`]; `Denied` if the server does not let us in.
    pub async fn server(&self) -> Result<RedisServer> {
        self.link.server().await
    }

    fn name(&self, operation: &'static str, key: &str) -> Result<String> {
        if key.len() > KEY_BYTES_MAX {
            let error = Error::new(ErrorKind::Invalid, operation).detail("the key is too long");
            return Err(error.with("bytes", key.len()));
        }
        Ok(format!("{}:{key}", self.namespace))
    }

    /// The full names of all keys that begin with `prefix`, in no order, some maybe twice.
    async fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let operation = "scan redis cache";
        let prefix = self.name(operation, prefix)?;
        let (mut cursor, mut names) = (0_u64, Vec::new());
        let pattern = format!("{}*", escaped(&prefix));
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_STEP);
            let (next, some): (u64, Vec<Vec<u8>>) = self.link.query(operation, &command).await?;
            // What is no text was not written by a cache of ours.
            let ours = some.into_iter().filter_map(|name| String::from_utf8(name).ok());
            names.extend(ours.filter(|name| name.starts_with(&prefix)));
            if names.len() > 2 * SCAN_KEYS_MAX {
                return Err(too_many());
            }
            cursor = next;
            if cursor == 0 {
                return Ok(names);
            }
        }
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let operation = "get from redis cache";
        let name = self.name(operation, key)?;
        let found: Fields = self.link.query(operation, &read(&name)).await?;
        versioned(operation, key, found)
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        let operation = writer::OPERATION;
        if value.len() > VALUE_BYTES_MAX {
            let error = Error::new(ErrorKind::Invalid, operation).detail("the value is too large");
            return Err(error.with("key", key).with("bytes", value.len()));
        }
        let (answer, answered) = oneshot::channel();
        let put = Put { name: self.name(operation, key)?, value, expect, ttl, answer };
        let gone = || Error::new(ErrorKind::Closed, operation).detail("the writer has ended");
        self.puts.send(put).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(|error| error.with("key", key))
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let operation = "delete from redis cache";
        let mut command = redis::cmd("UNLINK");
        command.arg(self.name(operation, key)?);
        self.link.query::<u64>(operation, &command).await.map(drop)
    }

    /// Keys that come or go meanwhile may be in it or not; what is there all the time is.
    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        let operation = "scan redis cache";
        let names = self.names(prefix).await?;
        let mut found = BTreeMap::new();
        for some in names.chunks(SCAN_STEP) {
            let mut pipe = redis::pipe();
            for name in some {
                pipe.add_command(read(name));
            }
            let fields: Vec<Fields> = self.link.query_all(operation, &pipe).await?;
            for (name, fields) in some.iter().zip(fields) {
                let key = &name[self.namespace.len() + 1..];
                // One that has gone since is absent.
                if let Some(versioned) = versioned(operation, key, fields)? {
                    found.insert(key.to_owned(), versioned);
                }
            }
            if found.len() > SCAN_KEYS_MAX {
                return Err(too_many());
            }
        }
        Ok(found.into_iter().collect())
    }
}

type Fields = (Option<u64>, Option<Bytes>);

fn read(name: &str) -> redis::Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(name).arg("version").arg("value");
    command
}

fn versioned(operation: &'static str, key: &str, found: Fields) -> Result<Option<Versioned>> {
    match found {
        (Some(version), Some(value)) => Ok(Some(Versioned { version, value })),
        (None, None) => Ok(None),
        _ => {
            let error = Error::new(ErrorKind::Corrupt, operation).with("key", key);
            Err(error.detail("a hash without a version or a value"))
        }
    }
}

fn too_many() -> Error {
    Error::new(ErrorKind::Full, "scan redis cache").with("keys_max", SCAN_KEYS_MAX)
}

/// A text as a pattern that matches only it.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}
