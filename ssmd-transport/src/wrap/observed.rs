//! What is counted and timed of any backend.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::metrics::BackendCalls;
use ssmd_core::{
    Bounds, Cache, Clock, Delivery, Entries, Entry, Error, Expect, Filter, Journal, Message, Metrics,
    Pending, Result, Start, Subject, Subscription, Transport, Versioned,
};

use crate::publish::Broker;

/// A backend of which each call is counted and timed, as [`BackendCalls`] does it. It
/// promises what the one inside promises.
///
/// Of an append it is seen when it is queued, not when it is durable. What readers and listeners are given is counted,
/// and not timed: they wait for what others do.
pub struct Observed<T: ?Sized> {
    inner: Arc<T>,
    calls: BackendCalls,
}

impl Observed<dyn Journal> {
    /// Counts what a journal does, as `journal`.
    pub fn journal(inner: Arc<dyn Journal>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, calls: BackendCalls::new("journal", clock, metrics) }
    }
}

impl Observed<dyn Transport> {
    /// Counts what a transport does, as `transport`.
    pub fn transport(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, calls: BackendCalls::new("transport", clock, metrics) }
    }
}

impl Observed<dyn Broker> {
    /// Counts what a broker does, as `transport`.
    pub fn broker(inner: Arc<dyn Broker>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, calls: BackendCalls::new("transport", clock, metrics) }
    }
}

impl Observed<dyn Cache> {
    /// Counts what a cache does, as `cache`.
    pub fn cache(inner: Arc<dyn Cache>, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { inner, calls: BackendCalls::new("cache", clock, metrics) }
    }
}

/// A reader or a listener whose gifts are counted.
struct Given<T> {
    inner: T,
    calls: BackendCalls,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Journal for Observed<dyn Journal> {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        self.calls.timed("append", self.inner.append(batch)).await
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let inner = self.calls.timed("read", self.inner.read(start)).await?;
        Ok(Box::new(Given { inner, calls: self.calls.clone() }))
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.calls.timed("bounds", self.inner.bounds()).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Entries for Given<Box<dyn Entries>> {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let given = self.inner.next(max).await;
        self.calls.count("next", given.as_ref().err().map(Error::kind));
        given
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Transport + ?Sized> Transport for Observed<T> {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        self.calls.timed("publish", self.inner.publish(batch)).await
    }

    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        let inner = self.calls.timed("subscribe", self.inner.subscribe(filter)).await?;
        Ok(Box::new(Given { inner, calls: self.calls.clone() }))
    }

    async fn flush(&self) -> Result<()> {
        self.calls.timed("flush", self.inner.flush()).await
    }
}

#[deny(clippy::missing_trait_methods)]
impl Broker for Observed<dyn Broker> {
    fn connection(&self) -> u64 {
        self.inner.connection()
    }

    fn retains(&self, subject: &Subject) -> bool {
        self.inner.retains(subject)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Subscription for Given<Box<dyn Subscription>> {
    async fn next(&mut self) -> Result<Delivery> {
        let given = self.inner.next().await;
        self.calls.count("next", given.as_ref().err().map(Error::kind));
        given
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Cache for Observed<dyn Cache> {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        self.calls.timed("get", self.inner.get(key)).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        self.calls.timed("put", self.inner.put(key, value, expect, ttl)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.calls.timed("delete", self.inner.delete(key)).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        self.calls.timed("scan", self.inner.scan(prefix)).await
    }
}
