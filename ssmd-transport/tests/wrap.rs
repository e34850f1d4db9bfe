//! A backend around a backend promises what the one inside does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::conformance::{self, Verdict};
use ssmd_core::*;
use ssmd_transport::memory::{MemoryCache, MemoryJournal, MemoryTransport};
use ssmd_transport::wrap::{Chaos, Observed};

/// Above what the largest case appends, and small enough to be filled at once.
const JOURNAL_BYTES: usize = 8 * 1024 * 1024;
/// Few enough to be overflowed at once.
const QUEUE_MESSAGES: usize = 1000;

/// What stands around the backends in memory.
#[derive(Clone, Copy)]
enum Around {
    Observed,
    /// Faults in a hundred calls, and the seed.
    Chaos(u32, u64),
}

struct Wrapped {
    around: Around,
    journal: Option<Arc<MemoryJournal>>,
    transport: Option<Arc<MemoryTransport>>,
    clock: Option<ManualClock>,
}

impl Wrapped {
    fn new(around: Around) -> Self {
        Self { around, journal: None, transport: None, clock: None }
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

#[async_trait]
impl conformance::journal::Harness for Wrapped {
    async fn open(&mut self) -> Result<Arc<dyn Journal>> {
        let inner = self.journal.insert(Arc::new(MemoryJournal::bounded(JOURNAL_BYTES))).clone();
        Ok(match self.around {
            Around::Observed => Arc::new(Observed::journal(inner, clock(), Metrics::new())),
            Around::Chaos(0, seed) => Arc::new(Chaos::<dyn Journal>::new(inner, clock(), 0, seed)),
            Around::Chaos(percent, seed) => {
                Arc::new(Patient(Arc::new(Chaos::<dyn Journal>::new(inner, clock(), percent, seed))))
            }
        })
    }

    async fn recreate(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        conformance::journal::Harness::open(self).await.map(Some)
    }

    async fn trim(&mut self, below: EntryId) -> Result<bool> {
        let Some(journal) = &self.journal else { return Ok(false) };
        journal.trim(&Positions::from([(below.origin, below.n)]));
        Ok(true)
    }

    async fn close(&mut self) -> Result<bool> {
        let Some(journal) = &self.journal else { return Ok(false) };
        journal.close();
        Ok(true)
    }

    fn overflow_bytes(&self) -> Option<u64> {
        Some(2 * JOURNAL_BYTES as u64)
    }
}

#[async_trait]
impl conformance::transport::Harness for Wrapped {
    async fn open(&mut self) -> Result<Arc<dyn Transport>> {
        let inner = self.transport.insert(Arc::new(MemoryTransport::bounded(QUEUE_MESSAGES))).clone();
        Ok(match self.around {
            Around::Observed => Arc::new(Observed::transport(inner, clock(), Metrics::new())),
            Around::Chaos(percent, seed) => {
                Arc::new(Chaos::<dyn Transport>::new(inner, clock(), percent, seed))
            }
        })
    }

    async fn close(&mut self) -> Result<bool> {
        let Some(transport) = &self.transport else { return Ok(false) };
        transport.close();
        Ok(true)
    }

    fn listeners(&self) -> Option<usize> {
        self.transport.as_ref().map(|transport| transport.listeners())
    }

    fn overflow_messages(&self) -> Option<u64> {
        Some(3 * QUEUE_MESSAGES as u64)
    }
}

#[async_trait]
impl conformance::cache::Harness for Wrapped {
    async fn open(&mut self) -> Result<Arc<dyn Cache>> {
        let time = self.clock.insert(ManualClock::new(Timestamp::from_nanos(0)));
        let inner = Arc::new(MemoryCache::new(Arc::new(time.clone())));
        Ok(match self.around {
            Around::Observed => Arc::new(Observed::cache(inner, clock(), Metrics::new())),
            Around::Chaos(0, seed) => Arc::new(Chaos::<dyn Cache>::new(inner, clock(), 0, seed)),
            Around::Chaos(percent, seed) => {
                Arc::new(Patient(Arc::new(Chaos::<dyn Cache>::new(inner, clock(), percent, seed))))
            }
        })
    }

    async fn pass(&mut self, time: Duration) -> Result<bool> {
        let Some(clock) = &self.clock else { return Ok(false) };
        clock.advance(time);
        Ok(true)
    }
}

ssmd_core::journal_conformance!(observed_journal, async { Wrapped::new(Around::Observed) });
ssmd_core::journal_conformance!(calm_journal, async { Wrapped::new(Around::Chaos(0, 1)) });
ssmd_core::transport_conformance!(observed_transport, async { Wrapped::new(Around::Observed) });
ssmd_core::transport_conformance!(calm_transport, async { Wrapped::new(Around::Chaos(0, 1)) });
ssmd_core::cache_conformance!(observed_cache, async { Wrapped::new(Around::Observed) });
ssmd_core::cache_conformance!(calm_cache, async { Wrapped::new(Around::Chaos(0, 1)) });

/// Tries again what may work later, as relays and archivers do.
struct Patient<T: ?Sized>(Arc<T>);

fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

async fn patiently<T, F: Future<Output = Result<T>>>(mut call: impl FnMut() -> F) -> Result<T> {
    loop {
        match call().await {
            Err(error) if passes(&error) => {}
            answer => return answer,
        }
    }
}

#[async_trait]
impl Journal for Patient<Chaos<dyn Journal>> {
    /// What was taken is ignored when it comes again.
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        patiently(async || self.0.append(batch.clone()).await?.await).await.map(|()| Pending::ready())
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let inner = patiently(|| self.0.read(start.clone())).await?;
        Ok(Box::new(PatientReader(inner)))
    }

    async fn bounds(&self) -> Result<Bounds> {
        patiently(|| self.0.bounds()).await
    }
}

struct PatientReader(Box<dyn Entries>);

#[async_trait]
impl Entries for PatientReader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        loop {
            match self.0.next(max).await {
                Err(error) if passes(&error) => {}
                given => return given,
            }
        }
    }
}

#[async_trait]
impl Cache for Patient<Chaos<dyn Cache>> {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        patiently(|| self.0.get(key)).await
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        let mut unsure = false;
        loop {
            match self.0.put(key, value.clone(), expect, ttl).await {
                Err(error) if passes(&error) => unsure |= error.kind() == ErrorKind::Timeout,
                // The answer that was lost was a success, if what is there is ours.
                Err(error) if error.kind() == ErrorKind::Conflict && unsure => {
                    let there = self.get(key).await?.filter(|there| there.value == value);
                    return there.map(|there| there.version).ok_or(error);
                }
                answer => return answer,
            }
        }
    }

    async fn delete(&self, key: &str) -> Result<()> {
        patiently(|| self.0.delete(key)).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        patiently(|| self.0.scan(prefix)).await
    }
}

/// Every promise to who tries again, but those about who of several puts wins: who lost an answer cannot know.
#[test]
fn what_chaos_does_not_fail_of_a_cache_is_as_promised() {
    for &promise in conformance::cache::PROMISES {
        if promise.starts_with("exactly_one_of_many") {
            continue;
        }
        for seed in 0..3 {
            let verdict = conformance::run(move || async move {
                conformance::cache::check(promise, &mut Wrapped::new(Around::Chaos(30, seed))).await
            });
            assert!(!matches!(verdict, Verdict::Broken(_)), "{promise}, seed {seed}: {verdict}");
        }
    }
}

#[test]
fn what_chaos_does_not_fail_of_a_journal_is_as_promised() {
    for &promise in conformance::journal::PROMISES {
        for seed in 0..3 {
            let verdict = conformance::run(move || async move {
                conformance::journal::check(promise, &mut Wrapped::new(Around::Chaos(10, seed))).await
            });
            assert!(!matches!(verdict, Verdict::Broken(_)), "{promise}, seed {seed}: {verdict}");
        }
    }
}

/// What a listener heard of a hundred messages: their numbers, how many were lost, and how many were surely sent.
async fn heard(seed: u64) -> (Vec<u64>, u64, u64) {
    let inner = Arc::new(MemoryTransport::bounded(QUEUE_MESSAGES));
    let chaos = Chaos::<dyn Transport>::new(inner.clone(), clock(), 30, seed);
    let mut listener = patiently(async || chaos.subscribe(&">".parse()?).await).await.unwrap();
    let mut sent = 0;
    for n in 0..100 {
        let subject = Subject::new(["test", "x"]).unwrap();
        let message = Message { subject, headers: Vec::new(), payload: n.to_string().into() };
        sent += u64::from(chaos.publish(vec![message]).await.is_ok());
    }
    inner.close();
    let (mut numbers, mut lost) = (Vec::new(), 0);
    while let Ok(delivery) = listener.next().await {
        match delivery {
            Delivery::Message(message) => {
                numbers.push(std::str::from_utf8(&message.payload).unwrap().parse().unwrap());
            }
            Delivery::Lost(count) => lost += count,
        }
    }
    (numbers, lost, sent)
}

#[tokio::test]
async fn what_chaos_does_not_tell_of_a_transport_it_tells_as_lost() {
    for seed in 0..10 {
        let (numbers, lost, sent) = heard(seed).await;
        assert!(numbers.is_sorted_by(|one, next| one < next), "seed {seed}: {numbers:?}");
        assert!(
            lost > 0 && numbers.len() as u64 + lost >= sent,
            "seed {seed}: {} and {lost} of {sent}",
            numbers.len()
        );
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    assert_eq!(heard(7).await, heard(7).await);
    assert_ne!(heard(7).await, heard(8).await);
    let answers = async |seed| {
        let cache = Chaos::<dyn Cache>::new(Arc::new(MemoryCache::new(clock())), clock(), 30, seed);
        let mut kinds = Vec::new();
        for at in 0..50_u8 {
            let put = cache.put("key", vec![at].into(), Expect::Any, None).await;
            kinds.push(put.err().map(|error| error.kind()));
            kinds.push(cache.get("key").await.err().map(|error| error.kind()));
        }
        (kinds, cache.faults())
    };
    let (first, faults) = answers(7).await;
    assert!((15..50).contains(&faults), "{faults} of 100");
    assert_eq!((first.clone(), faults), answers(7).await);
    assert_ne!(first, answers(8).await.0);
}

#[tokio::test]
async fn every_call_is_counted_by_what_came_of_it() {
    let seen = Metrics::new();
    let cache = Observed::cache(Arc::new(MemoryCache::new(clock())), clock(), seen.clone());
    cache.put("key", Bytes::new(), Expect::Absent, None).await.unwrap();
    cache.put("key", Bytes::new(), Expect::Absent, None).await.unwrap_err();
    cache.get("key").await.unwrap();
    let transport = Observed::transport(Arc::new(MemoryTransport::bounded(1)), clock(), seen.clone());
    let _listener = transport.subscribe(&">".parse().unwrap()).await.unwrap();
    transport.publish(Vec::new()).await.unwrap();
    let journal = Observed::journal(Arc::new(MemoryJournal::new()), clock(), seen.clone());
    journal.append(Vec::new()).await.unwrap().await.unwrap();
    journal.bounds().await.unwrap();
    let calls = |labels: [&str; 3]| seen.counter(&metrics::BACKEND_CALLS, &labels).get();
    for labels in [
        ["cache", "put", "ok"],
        ["cache", "put", "conflict"],
        ["cache", "get", "ok"],
        ["transport", "subscribe", "ok"],
        ["transport", "publish", "ok"],
        ["journal", "append", "ok"],
        ["journal", "bounds", "ok"],
    ] {
        assert_eq!(calls(labels), 1, "{labels:?}");
    }
    assert!(seen.render().contains("ssmd_backend_seconds_count{backend=\"journal\",operation=\"append\"} 1"));
}
