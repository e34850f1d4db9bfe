//! A journal or a cache on another machine, opened when it is first needed and again when it has ended.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::{
    Bounds, Cache, Entries, Entry, Error, ErrorKind, Expect, Journal, Pending, Result, Start, Versioned,
};
use tokio::sync::Mutex;

/// Opens one anew.
pub type Open<T> =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Arc<T>>> + Send + 'static>> + Send + Sync>;

/// What `open` gives, for as long as it has not ended. While it cannot be opened, every call fails as opening does.
///
/// One that ends (`Closed`), or is no longer there (`NotFound`), is `Unavailable` here, and the next call
/// opens it again: who only knows that it ended would stop.
pub struct Reopened<T: ?Sized> {
    open: Open<T>,
    /// Held while it is opened, so that it is opened once.
    current: Mutex<Option<Arc<T>>>,
}

impl<T: ?Sized> Reopened<T> {
    /// Nothing is opened yet.
    pub fn new(open: Open<T>) -> Self {
        Self { open, current: Mutex::new(None) }
    }

    async fn current(&self) -> Result<Arc<T>> {
        let mut current = self.current.lock().await;
        if let Some(open) = &*current {
            return Ok(Arc::clone(open));
        }
        let opened = (self.open)().await?;
        *current = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// What a call gave, after which another one is opened if this one has ended.
    async fn of<R>(&self, which: &Arc<T>, given: Result<R>) -> Result<R> {
        match given {
            Err(error) => Err(self.ended(which, error).await),
            given => given,
        }
    }

    /// The error of a call, after which another one is opened if this one has ended.
    async fn ended(&self, which: &Arc<T>, error: Error) -> Error {
        if !is_end(&error) {
            return error;
        }
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, which)) {
            *current = None;
        }
        drop(current);
        unavailable(error)
    }
}

/// Whether the journal or the cache itself has ended. A start that lies before what is kept names its origin.
fn is_end(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Closed => true,
        ErrorKind::NotFound => error.context("origin").is_none(),
        _ => false,
    }
}

fn unavailable(cause: Error) -> Error {
    Error::new(ErrorKind::Unavailable, "use shared journal or cache")
        .detail("it has ended; it is opened again")
        .because(cause)
}

#[async_trait]
impl Journal for Reopened<dyn Journal> {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let journal = self.current().await?;
        let pending = journal.append(batch).await;
        self.of(&journal, pending).await
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let journal = self.current().await?;
        match journal.read(start).await {
            Err(error) => Err(self.ended(&journal, error).await),
            // The reader may need the journal alive.
            Ok(inner) => Ok(Box::new(Reader { inner, _journal: journal })),
        }
    }

    async fn bounds(&self) -> Result<Bounds> {
        let journal = self.current().await?;
        let bounds = journal.bounds().await;
        self.of(&journal, bounds).await
    }
}

struct Reader {
    inner: Box<dyn Entries>,
    _journal: Arc<dyn Journal>,
}

#[async_trait]
impl Entries for Reader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        self.inner.next(max).await.map_err(|error| if is_end(&error) { unavailable(error) } else { error })
    }
}

#[async_trait]
impl Cache for Reopened<dyn Cache> {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let cache = self.current().await?;
        let got = cache.get(key).await;
        self.of(&cache, got).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        let cache = self.current().await?;
        let put = cache.put(key, value, expect, ttl).await;
        self.of(&cache, put).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let cache = self.current().await?;
        let deleted = cache.delete(key).await;
        self.of(&cache, deleted).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        let cache = self.current().await?;
        let scanned = cache.scan(prefix).await;
        self.of(&cache, scanned).await
    }
}
