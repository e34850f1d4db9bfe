//! What is counted and timed of any backend.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::{
    Bounds, Cache, Clock, Delivery, Entries, Entry, Expect, Filter, Journal, Message, Metrics, Pending,
    Result, Start, Subscription, Transport, Versioned, metrics,
};

/// A backend of which each call is counted and timed, in [`metrics::BACKEND_CALLS`] and [`metrics::BACKEND_SECONDS`]. It
/// promises what the one inside promises.
///
/// Of an append it is seen when it is queued, not when it is durable. What readers and listeners are given is counted,
/// and not timed: they wait for what others do.
pub struct Observed<T: ?Sized> {
    inner: Arc<T>,
    count: Count,
}

/// Where calls of one backend are counted.
#[derive(Clone)]
struct Count {
    backend: &'static str,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Count {
    fn add<T>(&self, operation: &'static str, answer: &Result<T>) {
        let result = answer.as_ref().map_or_else(|error| error.kind().label(), |_| "ok");
        self.metrics.counter(&metrics::BACKEND_CALLS, &[self.backend, operation, result]).add(1);
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let began = self.clock.elapsed();
        let answer = call.await;
        self.add(operation, &answer);
        let took: Duration = self.clock.elapsed().saturating_sub(began);
        self.metrics.histogram(&metrics::BACKEND_SECONDS, &[self.backend, operation]).observe(took);
        answer
    }
}

impl Observed<dyn Journal> {
    /// Counts what a journal does, as `journal`.
    pub fn journal(inner: Arc<dyn Journal>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, count: Count { backend: "journal", clock, metrics } }
    }
}

impl Observed<dyn Transport> {
    /// Counts what a transport does, as `transport`.
    pub fn transport(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, count: Count { backend: "transport", clock, metrics } }
    }
}

impl Observed<dyn Cache> {
    /// Counts what a cache does, as `cache`.
    pub fn cache(inner: Arc<dyn Cache>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, count: Count { backend: "cache", clock, metrics } }
    }
}

/// A reader or a listener whose gifts are counted.
struct Given<T> {
    inner: T,
    count: Count,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Journal for Observed<dyn Journal> {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        self.count.timed("append", self.inner.append(batch)).await
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let inner = self.count.timed("read", self.inner.read(start)).await?;
        Ok(Box::new(Given { inner, count: self.count.clone() }))
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.count.timed("bounds", self.inner.bounds()).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Entries for Given<Box<dyn Entries>> {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let given = self.inner.next(max).await;
        self.count.add("next", &given);
        given
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for Observed<dyn Transport> {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        self.count.timed("publish", self.inner.publish(batch)).await
    }

    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        let inner = self.count.timed("subscribe", self.inner.subscribe(filter)).await?;
        Ok(Box::new(Given { inner, count: self.count.clone() }))
    }

    async fn flush(&self) -> Result<()> {
        self.count.timed("flush", self.inner.flush()).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Subscription for Given<Box<dyn Subscription>> {
    async fn next(&mut self) -> Result<Delivery> {
        let given = self.inner.next().await;
        self.count.add("next", &given);
        given
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Cache for Observed<dyn Cache> {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        self.count.timed("get", self.inner.get(key)).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        self.count.timed("put", self.inner.put(key, value, expect, ttl)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.count.timed("delete", self.inner.delete(key)).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        self.count.timed("scan", self.inner.scan(prefix)).await
    }
}
