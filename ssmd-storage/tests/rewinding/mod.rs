//! A store that creates twice and a cache that can go back, both carried out in an order that follows from a seed.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::*;
use ssmd_storage::MemoryStore;

use crate::common::Unconditional;

type Values = BTreeMap<String, (u64, Bytes)>;

/// What all hosts share. Cheap to clone.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    random: Mutex<StdRng>,
    store: Arc<Unconditional>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was ever put under the name of each commit.
    commits: BTreeMap<ObjectPath, BTreeSet<Bytes>>,
    values: Values,
    version: u64,
    /// States that the cache had.
    past: Vec<(Values, u64)>,
}

/// Whether a host stands still, as after SIGSTOP.
#[derive(Clone, Default)]
pub struct Frozen(Arc<AtomicBool>);

impl Frozen {
    pub fn freeze(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn thaw(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    async fn wait(&self) {
        while self.0.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Inner {
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            store: Arc::new(Unconditional(MemoryStore::new())),
            state: Mutex::default(),
        }))
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.0.random.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..bound)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store as it is, for who looks at the end.
    pub fn store(&self) -> WatchedStore {
        WatchedStore { world: self.clone(), frozen: Frozen::default(), calm: true }
    }

    /// Commit numbers of which there were two.
    pub fn forks(&self) -> usize {
        self.state().commits.values().filter(|bodies| bodies.len() > 1).count()
    }

    pub fn commits(&self) -> u64 {
        self.state().commits.len() as u64
    }

    /// The cache forgets everything, or is as it was at some moment before, versions included.
    pub fn rewind(&self) {
        let all = self.below(3) == 0;
        let mut state = self.state();
        let past = std::mem::take(&mut state.past);
        let kept = if past.is_empty() || all {
            0
        } else {
            past.len() - 1 - self.below(past.len().min(8) as u64) as usize
        };
        (state.values, state.version) = past.get(kept).filter(|_| !all).cloned().unwrap_or_default();
        state.past = past.into_iter().take(kept).collect();
    }

    /// Lets others go first, now and then for long.
    async fn pause(&self) {
        let turns = if self.below(30) == 0 { self.below(60) } else { self.below(4) };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    /// Does what was sent, also if whoever sent it dies meanwhile; says `Timeout` now and then.
    async fn carry_out<T: Send + 'static>(
        &self,
        frozen: &Frozen,
        effect: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        frozen.wait().await;
        self.pause().await;
        frozen.wait().await;
        let world = self.clone();
        let done = tokio::spawn(async move {
            world.pause().await;
            effect.await
        });
        let lost = self.below(40) == 0;
        if lost {
            self.pause().await;
            return Err(Error::new(ErrorKind::Timeout, "test"));
        }
        let done = done.await.unwrap();
        self.pause().await;
        frozen.wait().await;
        done
    }
}

/// The store as one host sees it.
pub struct WatchedStore {
    world: World,
    frozen: Frozen,
    calm: bool,
}

impl WatchedStore {
    pub fn new(world: World, frozen: Frozen) -> Self {
        Self { world, frozen, calm: false }
    }

    async fn asked<T: Send + 'static>(
        &self,
        effect: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.calm { effect.await } else { self.world.carry_out(&self.frozen, effect).await }
    }
}

#[async_trait]
impl Store for WatchedStore {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        let (world, path) = (self.world.clone(), path.clone());
        self.asked(async move {
            if mode == PutMode::Overwrite && path.as_str().starts_with("commits/") {
                world.state().commits.entry(path.clone()).or_default().insert(body.clone());
            }
            world.0.store.put(&path, body, mode).await
        })
        .await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        let (store, path) = (self.world.0.store.clone(), path.clone());
        self.asked(async move { store.get(&path, range).await }).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        let (store, prefix) = (self.world.0.store.clone(), prefix.cloned());
        let all = self.asked(async move { store.list(prefix.as_ref()).try_collect::<Vec<_>>().await });
        let each = |all: Result<Vec<ObjectMeta>>| match all {
            Ok(all) => futures_util::stream::iter(all.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => futures_util::stream::iter(vec![Err(error)]),
        };
        all.map(each).into_stream().flatten().boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        let (store, path) = (self.world.0.store.clone(), path.clone());
        self.asked(async move { store.delete(&path).await }).await
    }
}

/// The cache as one host sees it.
pub struct RewindingCache {
    world: World,
    frozen: Frozen,
}

impl RewindingCache {
    pub fn new(world: World, frozen: Frozen) -> Self {
        Self { world, frozen }
    }

    async fn asked<T: Send + 'static>(
        &self,
        effect: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let world = self.world.clone();
        self.world.carry_out(&self.frozen, async move { effect(&mut world.state()) }).await
    }
}

#[async_trait]
impl Cache for RewindingCache {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let key = key.to_owned();
        let found = |(version, value): &(u64, Bytes)| Versioned { version: *version, value: value.clone() };
        self.asked(move |state| Ok(state.values.get(&key).map(found))).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, _: Option<Duration>) -> Result<u64> {
        let key = key.to_owned();
        self.asked(move |state| {
            let version = state.values.get(&key).map(|(version, _)| *version);
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => version.is_none(),
                Expect::Version(expected) => version == Some(expected),
            };
            if !holds {
                return Err(Error::new(ErrorKind::Conflict, "test"));
            }
            let before = (state.values.clone(), state.version);
            state.past.push(before);
            state.version += 1;
            state.values.insert(key, (state.version, value));
            Ok(state.version)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.asked(move |state| {
            state.values.remove(&key);
            Ok(())
        })
        .await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        let prefix = prefix.to_owned();
        self.asked(move |state| {
            let all = state.values.iter().filter(|(key, _)| key.starts_with(&prefix));
            let found =
                |(version, value): &(u64, Bytes)| Versioned { version: *version, value: value.clone() };
            Ok(all.map(|(key, slot)| (key.clone(), found(slot))).collect())
        })
        .await
    }
}
