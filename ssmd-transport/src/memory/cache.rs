//! A cache in memory: times to live go by a [`Clock`], and there is a bound in bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::{Cache, Clock, Error, ErrorKind, Expect, Result, Versioned};

/// The default bound of a cache, in bytes: a kilobyte for each of 65,536 symbols.
pub const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a key costs beside its text and value, in bytes.
const KEY_BYTES: usize = 128;

/// Latest values within one process.
///
/// At its bound it refuses puts as `Full` until keys are deleted or expire; it never evicts what may be needed.
#[derive(Debug)]
pub struct MemoryCache {
    clock: Arc<dyn Clock>,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: BTreeMap<String, Slot>,
    /// Keys by the monotonic time at which they expire.
    expiring: BTreeSet<(Duration, String)>,
    bytes: usize,
    /// The version of the last write of any key: no key ever has one twice.
    version: u64,
}

#[derive(Debug)]
struct Slot {
    found: Versioned,
    expires: Option<Duration>,
}

impl MemoryCache {
    /// An empty cache that holds at most [`CACHE_BYTES_MAX`] and whose times to live go by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::bounded(clock, CACHE_BYTES_MAX)
    }

    /// An empty cache that holds at most `bytes_max`, keys included.
    pub fn bounded(clock: Arc<dyn Clock>, bytes_max: usize) -> Self {
        Self { clock, bytes_max, state: Mutex::default() }
    }

    /// The state now, without what has expired.
    fn now(&self) -> (MutexGuard<'_, State>, Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that no two calls see time go back.
        let now = self.clock.elapsed();
        state.expire(now);
        (state, now)
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let (state, _) = self.now();
        Ok(state.slots.get(key).map(|slot| slot.found.clone()))
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        let operation = "put into memory cache";
        let (mut state, now) = self.now();
        let version = state.slots.get(key).map(|slot| slot.found.version);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => version.is_none(),
            Expect::Version(expected) => version == Some(expected),
        };
        if !holds {
            return Err(Error::new(ErrorKind::Conflict, operation).with("key", key));
        }
        let freed = state.slots.get(key).map_or(0, |slot| cost(key, &slot.found.value));
        let needed = cost(key, &value);
        if state.bytes - freed + needed > self.bytes_max {
            return Err(Error::new(ErrorKind::Full, operation).with("bytes_max", self.bytes_max));
        }
        state.remove(key);
        Ok(state.insert(key, value, ttl.map(|ttl| now.saturating_add(ttl))))
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let (mut state, _) = self.now();
        state.remove(key);
        Ok(())
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        let (state, _) = self.now();
        let from =
            state.slots.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let found = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, slot)| (key.clone(), slot.found.clone())).collect())
    }
}

impl State {
    fn insert(&mut self, key: &str, value: Bytes, expires: Option<Duration>) -> u64 {
        self.version += 1;
        let slot = Slot { found: Versioned { version: self.version, value }, expires };
        self.bytes += cost(key, &slot.found.value);
        if let Some(expires) = expires {
            self.expiring.insert((expires, key.to_owned()));
        }
        self.slots.insert(key.to_owned(), slot);
        self.version
    }

    fn remove(&mut self, key: &str) {
        if let Some(slot) = self.slots.remove(key) {
            self.bytes -= cost(key, &slot.found.value);
            if let Some(expires) = slot.expires {
                self.expiring.remove(&(expires, key.to_owned()));
            }
        }
    }

    fn expire(&mut self, now: Duration) {
        while let Some((expires, key)) = self.expiring.first() {
            if *expires > now {
                return;
            }
            let key = key.clone();
            self.remove(&key);
        }
    }
}

/// The key stands in two maps.
fn cost(key: &str, value: &Bytes) -> usize {
    KEY_BYTES + 2 * key.len() + value.len()
}
