//! A store around a store promises what the one inside does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use ssmd_core::conformance::store::Plain;
use ssmd_core::{
    BoxStream, Clock, Error, ErrorKind, ManualClock, Metrics, ObjectMeta, ObjectPath, PutMode, Result, Store,
    SystemClock, Timestamp, metrics,
};
use ssmd_storage::MemoryStore;
use ssmd_storage::wrap::{Chaos, Observed};

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

ssmd_core::store_conformance!(observed, async {
    Plain(Arc::new(Observed::new(memory(), clock(), Metrics::new())))
});
ssmd_core::store_conformance!(chaos_without_faults, async {
    Plain(Arc::new(Chaos::new(memory(), clock(), 0, 1)))
});

/// Tries again what may work later, as archivers and people do.
struct Patient(Chaos);

async fn patiently<T, F: Future<Output = Result<T>>>(mut call: impl FnMut() -> F) -> Result<T> {
    loop {
        match call().await {
            Err(error) if error.kind().is_transient() => {}
            answer => return answer,
        }
    }
}

#[async_trait]
impl Store for Patient {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        let mut unsure = false;
        loop {
            match self.0.put(path, body.clone(), mode).await {
                Err(error) if error.kind().is_transient() => unsure |= error.kind() == ErrorKind::Timeout,
                // The answer that was lost was a success, if what lies there is ours.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && unsure => {
                    let there = self.get(path, None).await?;
                    return if there == body { Ok(()) } else { Err(error) };
                }
                answer => return answer,
            }
        }
    }

    async fn get(&self, path: &ObjectPath, range: Option<std::ops::Range<u64>>) -> Result<Bytes> {
        patiently(|| self.0.get(path, range.clone())).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        let listed = async move {
            let metas =
                patiently(async || self.0.list(prefix.as_ref()).try_collect::<Vec<_>>().await).await?;
            Ok::<_, Error>(futures_util::stream::iter(metas.into_iter().map(Ok)))
        };
        Box::pin(futures_util::stream::once(listed).try_flatten())
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.0.delete(path).await
    }
}

/// Every promise but those about who of several creates wins: who lost an answer cannot know.
#[test]
fn what_chaos_does_not_fail_is_as_promised() {
    use ssmd_core::conformance::{self, Verdict};
    for &promise in conformance::store::PROMISES {
        if promise.starts_with("exactly_one_of_many") || promise.starts_with("create_refuses") {
            continue;
        }
        for seed in 0..3 {
            let verdict = conformance::run(move || async move {
                let store = Patient(Chaos::new(memory(), clock(), 30, seed));
                conformance::store::check(promise, &mut Plain(Arc::new(store))).await
            });
            assert!(!matches!(verdict, Verdict::Broken(_)), "{promise}, seed {seed}: {verdict}");
        }
    }
}

/// What becomes of a hundred calls.
async fn answers(seed: u64) -> (Vec<Option<ErrorKind>>, u64) {
    let chaos = Chaos::new(memory(), clock(), 30, seed);
    let path = "a/b".parse().unwrap();
    let mut kinds = Vec::new();
    for at in 0..50_u8 {
        let put = chaos.put(&path, Bytes::from(vec![at]), PutMode::Overwrite).await;
        kinds.push(put.err().map(|error| error.kind()));
        kinds.push(chaos.get(&path, None).await.err().map(|error| error.kind()));
    }
    (kinds, chaos.faults())
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let (first, faults) = answers(7).await;
    assert!((15..50).contains(&faults), "{faults} of 100");
    assert_eq!((first.clone(), faults), answers(7).await);
    assert_ne!(first, answers(8).await.0);
}

#[tokio::test]
async fn every_call_is_counted_by_what_came_of_it() {
    let time = ManualClock::new(Timestamp::from_nanos(0));
    let seen = Metrics::new();
    let store = Observed::new(memory(), Arc::new(time.clone()), seen.clone());
    let path = "a/b".parse().unwrap();
    for _ in 0..2 {
        let _ = store.put(&path, Bytes::from_static(b"x"), PutMode::Create).await;
    }
    store.put(&path, Bytes::from_static(b"y"), PutMode::Overwrite).await.unwrap();
    store.get(&path, Some(0..9)).await.unwrap_err();
    store.get(&path, None).await.unwrap();
    let mut listed = store.list(None);
    assert!(listed.try_next().await.unwrap().is_some());
    time.advance(Duration::from_secs(3));
    assert!(listed.try_next().await.unwrap().is_none());
    drop(listed);
    store.delete(&path).await.unwrap();
    let calls =
        |operation, result| seen.counter(&metrics::BACKEND_CALLS, &["store", operation, result]).get();
    for (operation, result) in [
        ("create", "ok"),
        ("create", "already_exists"),
        ("overwrite", "ok"),
        ("get", "invalid"),
        ("get", "ok"),
        ("list", "ok"),
        ("delete", "ok"),
    ] {
        assert_eq!(calls(operation, result), 1, "{operation} {result}");
    }
    let page = seen.render();
    assert!(page.contains("ssmd_backend_seconds_sum{backend=\"store\",operation=\"list\"} 3"), "{page}");
}
