//! Faults of any backend, which follow from a seed.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{
    Bounds, Cache, Clock, Delivery, Entries, Entry, Error, ErrorKind, Expect, Filter, Journal, Message,
    Pending, Result, Start, Subject, Subscription, Transport, Versioned,
};

use crate::publish::Broker;

/// A backend of which some calls fail, in ways that such backends fail: refused, done without an answer, late. The same
/// seed and the same calls in the same order give the same faults.
///
/// What succeeds is as the one inside promises it. A call that fails with `Unavailable` has done nothing, but for
/// publishing, which may have sent everything; one that fails with `Timeout` may have done everything: a put, and an append
/// whose [`Pending`] says so. A listener loses messages now and then, and is told how many.
pub struct Chaos<T: ?Sized> {
    inner: Arc<T>,
    dice: Dice,
}

/// How long a call is late.
const LATE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refused,
    AnswerLost,
    Late,
}

#[derive(Clone)]
struct Dice(Arc<Thrown>);

struct Thrown {
    clock: Arc<dyn Clock>,
    percent: u32,
    random: Mutex<StdRng>,
    faults: AtomicU64,
}

impl Dice {
    fn fault(&self) -> Option<Fault> {
        let mut random = self.0.random.lock().unwrap_or_else(PoisonError::into_inner);
        let (broken, which) = (random.random_range(0..100) < self.0.percent, random.random_range(0..3));
        drop(random);
        if !broken {
            return None;
        }
        self.0.faults.fetch_add(1, Ordering::Relaxed);
        Some([Fault::Refused, Fault::AnswerLost, Fault::Late][which])
    }

    /// Lets a call that changes nothing through, now and then late, or refuses it.
    async fn let_through(&self, operation: &'static str) -> Result<()> {
        match self.fault() {
            Some(Fault::Refused | Fault::AnswerLost) => Err(refused(operation)),
            Some(Fault::Late) => {
                self.0.clock.sleep(LATE).await;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn refused(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation)
}

fn lost(operation: &'static str) -> Error {
    Error::new(ErrorKind::Timeout, operation)
}

impl<T: ?Sized> Chaos<T> {
    /// Breaks `percent` of a hundred calls of `inner`, by `seed`.
    pub fn new(inner: Arc<T>, clock: Arc<dyn Clock>, percent: u32, seed: u64) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let dice = Dice(Arc::new(Thrown { clock, percent, random, faults: AtomicU64::new(0) }));
        Self { inner, dice }
    }

    /// How many calls were broken so far.
    pub fn faults(&self) -> u64 {
        self.dice.0.faults.load(Ordering::Relaxed)
    }
}

/// A reader or a listener that breaks too.
struct Broken<T> {
    inner: T,
    dice: Dice,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Journal for Chaos<dyn Journal> {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let operation = "append to journal";
        match self.dice.fault() {
            Some(Fault::Refused) => return Err(refused(operation)),
            Some(Fault::AnswerLost) => {
                // Whether it became durable is not known to whoever asked.
                drop(self.inner.append(batch).await?);
                let (done, pending) = Pending::new();
                // The receiver is alive: it is returned.
                let _ = done.send(Err(lost(operation)));
                return Ok(pending);
            }
            Some(Fault::Late) => self.dice.0.clock.sleep(LATE).await,
            None => {}
        }
        self.inner.append(batch).await
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        self.dice.let_through("read journal").await?;
        let inner = self.inner.read(start).await?;
        Ok(Box::new(Broken { inner, dice: self.dice.clone() }))
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.dice.let_through("look at journal").await?;
        self.inner.bounds().await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Entries for Broken<Box<dyn Entries>> {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        self.dice.let_through("read journal").await?;
        self.inner.next(max).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Transport + ?Sized> Transport for Chaos<T> {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        match self.dice.fault() {
            Some(Fault::Refused) => return Err(refused("publish")),
            Some(Fault::AnswerLost) => {
                self.inner.publish(batch).await?;
                return Err(refused("publish"));
            }
            Some(Fault::Late) => self.dice.0.clock.sleep(LATE).await,
            None => {}
        }
        self.inner.publish(batch).await
    }

    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        self.dice.let_through("subscribe").await?;
        let inner = self.inner.subscribe(filter).await?;
        Ok(Box::new(Broken { inner, dice: self.dice.clone() }))
    }

    async fn flush(&self) -> Result<()> {
        self.dice.let_through("flush").await?;
        self.inner.flush().await
    }
}

#[deny(clippy::missing_trait_methods)]
impl Broker for Chaos<dyn Broker> {
    fn connection(&self) -> u64 {
        self.inner.connection()
    }

    fn retains(&self, subject: &Subject) -> bool {
        self.inner.retains(subject)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Subscription for Broken<Box<dyn Subscription>> {
    async fn next(&mut self) -> Result<Delivery> {
        let given = self.inner.next().await?;
        // What was given is told as lost in the same breath: dropping the future loses nothing.
        match (&given, self.dice.fault()) {
            (Delivery::Message(_), Some(Fault::Refused | Fault::AnswerLost)) => Ok(Delivery::Lost(1)),
            _ => Ok(given),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Cache for Chaos<dyn Cache> {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        self.dice.let_through("get value").await?;
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        match self.dice.fault() {
            Some(Fault::Refused) => return Err(refused("put value")),
            Some(Fault::AnswerLost) => {
                // Whether it took effect is not known to whoever asked.
                let _ = self.inner.put(key, value, expect, ttl).await;
                return Err(lost("put value"));
            }
            Some(Fault::Late) => self.dice.0.clock.sleep(LATE).await,
            None => {}
        }
        self.inner.put(key, value, expect, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.dice.let_through("delete value").await?;
        self.inner.delete(key).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        self.dice.let_through("scan values").await?;
        self.inner.scan(prefix).await
    }
}
