//! What brings a projector's changes into the cache, and sees when the cache has lost what it had.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Cache, Error, ErrorKind, Expect, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::latest::{Latest, place_of};
use super::{STOPS_WITHIN, Shared};

/// Keys that are written at once.
const KEYS_PER_FLUSH: usize = 512;
/// How often the projector writes its own key: so soon it sees that the cache was emptied.
const SIGN_EVERY: Duration = Duration::from_secs(1);
/// How long that key stays: it tells readers that somebody keeps the values up to date.
const SIGN_STAYS: Duration = Duration::from_secs(60);
/// How long a cache that failed is left alone.
const WAIT_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// What is to be done to one key: a value, or `None` to remove it; and what must be there now.
struct Change {
    key: String,
    value: Option<Bytes>,
    expect: Expect,
}

pub(super) async fn run(shared: &Arc<Shared>, stop: CancellationToken) -> Result<()> {
    let mut flush = Flush { shared: Arc::clone(shared), sign: None, told: true };
    let mut sign = shared.clock.sleep(Duration::ZERO);
    loop {
        let due = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = &mut sign => true,
            () = shared.changed.notified() => false,
        };
        let done = if due {
            sign = shared.clock.sleep(SIGN_EVERY);
            flush.sign().await
        } else {
            flush.some().await
        };
        flush.tell(done).await;
    }
    tokio::select! {
        biased;
        () = flush.rest() => {}
        () = shared.clock.sleep(STOPS_WITHIN) => {
            tracing::warn!(keys = shared.lock().dirty.len(), "not everything came into the cache in time");
        }
    }
    Ok(())
}

struct Flush {
    shared: Arc<Shared>,
    /// The version of our own key, once it is written.
    sign: Option<u64>,
    /// Whether the cache took what it was given last; its failure is said once, not each time.
    told: bool,
}

impl Flush {
    /// Writes our own key. If it is not as we left it, the cache has lost it, and maybe everything: all is written
    /// anew, behind a new key of ours, so that another loss shows too.
    async fn sign(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let key = format!("{}.projector.{}", shared.feed, shared.incarnation);
        let value = Bytes::from(format!("{{\"at_ns\":\"{}\"}}", shared.clock.now().nanos()));
        loop {
            let expect = self.sign.map_or(Expect::Any, Expect::Version);
            match shared.cache.put(&key, value.clone(), expect, Some(SIGN_STAYS)).await {
                Ok(version) => {
                    if self.sign.replace(version).is_none() {
                        let state = &mut *shared.lock();
                        state.dirty.extend(state.slots.keys().cloned());
                        shared.changed.notify_one();
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Conflict && self.sign.take().is_some() => {
                    tracing::warn!(feed = %shared.feed, "the cache is not as it was left: writing all anew");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes some of what changed.
    async fn some(&mut self) -> Result<()> {
        let changes = self.changes();
        let mut writing = JoinSet::new();
        for Change { key, value, expect } in changes {
            let cache = Arc::clone(&self.shared.cache);
            writing.spawn(async move {
                let written = write(&*cache, &key, value, expect).await;
                (key, written)
            });
        }
        let mut first = Ok(());
        while let Some(joined) = writing.join_next().await {
            match joined {
                Ok((key, Ok(there))) => self.settle(&key, there),
                Ok((key, Err(error))) => {
                    self.shared.lock().dirty.insert(key);
                    first = first.and(Err(error));
                }
                Err(cause) => {
                    first = first.and(Err(Error::new(ErrorKind::Bug, "write to cache").because(cause)));
                }
            }
        }
        if !self.shared.lock().dirty.is_empty() {
            self.shared.changed.notify_one();
        }
        first
    }

    /// Takes some keys off the list of those to be written.
    fn changes(&self) -> Vec<Change> {
        let mut state = self.shared.lock();
        let mut changes = Vec::new();
        while changes.len() < KEYS_PER_FLUSH
            && let Some(key) = state.dirty.pop_first()
        {
            let Some(slot) = state.slots.get(&key) else { continue };
            let value = slot.latest.value(&self.shared.feed);
            let expect = slot.version.map_or(Expect::Absent, Expect::Version);
            changes.push(Change { key, value, expect });
        }
        changes
    }

    /// Remembers what is in the cache under a key now.
    fn settle(&self, key: &str, there: There) {
        let mut state = self.shared.lock();
        let Some(slot) = state.slots.get_mut(key) else { return };
        match there {
            There::Ours(version) => slot.version = version,
            There::Absent => {
                slot.version = None;
                state.dirty.insert(key.to_owned());
            }
            There::Other(found) => {
                slot.version = Some(found.version);
                match place_of(&found.value) {
                    // Theirs is newer. A book goes on only from a whole one, so it waits for the next.
                    Ok(place) if slot.latest.place().is_before(place) => {
                        slot.latest = Latest::Theirs { place, value: found.value };
                        state.dirty.remove(key);
                    }
                    Ok(_) => drop(state.dirty.insert(key.to_owned())),
                    Err(error) => {
                        tracing::warn!(key, %error, "what is in the cache is no record, and is replaced");
                        state.dirty.insert(key.to_owned());
                    }
                }
            }
        }
    }

    /// Says a failure once, and waits before the next try.
    async fn tell(&mut self, done: Result<()>) {
        match done {
            Ok(()) => self.told = true,
            Err(error) => {
                if self.told {
                    let report = error.report();
                    tracing::warn!(report, "the cache keeps nothing until it is back");
                }
                self.told = false;
                self.shared.clock.sleep(WAIT_AFTER_FAILURE).await;
                self.shared.changed.notify_one();
            }
        }
    }

    /// Writes all that is left.
    async fn rest(&mut self) {
        while !self.shared.lock().dirty.is_empty() {
            let done = self.some().await;
            self.tell(done).await;
        }
    }
}

/// What is in the cache under a key.
enum There {
    /// What we wrote; `None` if we removed it.
    Ours(Option<u64>),
    /// Nothing, against expectation.
    Absent,
    /// Another value than we expected.
    Other(ssmd_core::Versioned),
}

/// Writes one key, or finds out what is there instead.
async fn write(cache: &dyn Cache, key: &str, value: Option<Bytes>, expect: Expect) -> Result<There> {
    let Some(value) = value else {
        // A book that is not known any more goes from the cache too, unless another one wrote it since.
        return match cache.get(key).await? {
            Some(found) if expect != Expect::Version(found.version) => Ok(There::Other(found)),
            found => {
                if found.is_some() {
                    cache.delete(key).await?;
                }
                Ok(There::Ours(None))
            }
        };
    };
    match cache.put(key, value, expect, None).await {
        Ok(version) => Ok(There::Ours(Some(version))),
        Err(error) if error.kind() == ErrorKind::Conflict => {
            Ok(cache.get(key).await?.map_or(There::Absent, There::Other))
        }
        Err(error) => Err(error),
    }
}
