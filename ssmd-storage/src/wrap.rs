//! Stores around stores: [`Observed`] counts what every backend does alike, [`Chaos`] breaks it by a seed.

use std::future::ready;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::metrics::BackendCalls;
use ssmd_core::{
    BoxStream, Clock, Error, ErrorKind, Metrics, ObjectMeta, ObjectPath, PutMode, Result, Store,
};

/// A store of which each call is counted and timed, as [`BackendCalls`] does it. It
/// promises what the store inside promises.
pub struct Observed {
    inner: Arc<dyn Store>,
    calls: BackendCalls,
}

impl Observed {
    /// Counts what `inner` does.
    pub fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, calls: BackendCalls::new("store", clock, metrics) }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Observed {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        let operation = match mode {
            PutMode::Create => "create",
            PutMode::Overwrite => "overwrite",
        };
        self.calls.timed(operation, self.inner.put(path, body, mode)).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        self.calls.timed("get", self.inner.get(path, range)).await
    }

    /// Counted when it ends, or at its first error; not if it is dropped before.
    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        let (began, mut counted) = (self.calls.begin(), false);
        let listed = self.inner.list(prefix).map(Some).chain(stream::once(ready(None)));
        let counted = listed.filter_map(move |item| {
            let failed = match &item {
                Some(Ok(_)) => return ready(item),
                Some(Err(error)) => Some(error.kind()),
                None => None,
            };
            if !std::mem::replace(&mut counted, true) {
                self.calls.ended("list", began, failed);
            }
            ready(item)
        });
        counted.boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.calls.timed("delete", self.inner.delete(path)).await
    }
}

/// A store of which some calls fail, in ways that stores fail: refused, done without an answer, late. The same seed and
/// the same calls in the same order give the same faults.
///
/// What succeeds is as the store inside promises it. A call that fails with `Unavailable` has done nothing; one that
/// fails with `Timeout` may have done everything. Deletes never fail.
pub struct Chaos {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    percent: u32,
    random: Mutex<StdRng>,
    faults: AtomicU64,
}

/// How long a call is late.
const LATE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refused,
    AnswerLost,
    Late,
}

impl Chaos {
    /// Breaks `percent` of a hundred calls of `inner`, by `seed`.
    pub fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>, percent: u32, seed: u64) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        Self { inner, clock, percent, random, faults: AtomicU64::new(0) }
    }

    /// How many calls were broken so far.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    fn fault(&self) -> Option<Fault> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let (broken, which) = (random.random_range(0..100) < self.percent, random.random_range(0..3));
        drop(random);
        if !broken {
            return None;
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        Some([Fault::Refused, Fault::AnswerLost, Fault::Late][which])
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Chaos {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        let failed = |kind| Err(Error::new(kind, "put object").with("path", path));
        match self.fault() {
            Some(Fault::Refused) => return failed(ErrorKind::Unavailable),
            Some(Fault::AnswerLost) => {
                // Whether it took effect is not known to whoever asked.
                let _ = self.inner.put(path, body, mode).await;
                return failed(ErrorKind::Timeout);
            }
            Some(Fault::Late) => self.clock.sleep(LATE).await,
            None => {}
        }
        self.inner.put(path, body, mode).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        let failed = |kind| Err(Error::new(kind, "get object").with("path", path));
        match self.fault() {
            Some(Fault::Refused) => return failed(ErrorKind::Unavailable),
            Some(Fault::AnswerLost) => return failed(ErrorKind::Timeout),
            Some(Fault::Late) => self.clock.sleep(LATE).await,
            None => {}
        }
        self.inner.get(path, range).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        match self.fault() {
            Some(Fault::Refused | Fault::AnswerLost) => {
                let refused = Error::new(ErrorKind::Unavailable, "list objects");
                stream::once(ready(Err(refused))).boxed()
            }
            Some(Fault::Late) => {
                let late = stream::once(self.clock.sleep(LATE)).filter_map(|()| ready(None));
                late.chain(self.inner.list(prefix)).boxed()
            }
            None => self.inner.list(prefix),
        }
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.inner.delete(path).await
    }
}
