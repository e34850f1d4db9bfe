//! What every [`Cache`] promises.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinSet;

use super::support::{Case, Stop, able, ensure, equal, noise, refused};
use crate::{Cache, Error, ErrorKind, Expect, Result, Versioned};

/// Makes the cache of one case, and does to it what the trait cannot say. The defaults mean "cannot".
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens a fresh, empty cache. Called once, before anything else.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn open(&mut self) -> Result<Arc<dyn Cache>>;

    /// Lets this much time pass, by the clock that times to live go by. Says whether it can.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn pass(&mut self, _time: Duration) -> Result<bool> {
        Ok(false)
    }

    /// A second handle to the open cache, as another process would have it.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn observe(&mut self) -> Result<Option<Arc<dyn Cache>>> {
        Ok(None)
    }
}

/// The harness of a cache without further abilities.
pub struct Plain(pub Arc<dyn Cache>);

#[async_trait]
impl Harness for Plain {
    async fn open(&mut self) -> Result<Arc<dyn Cache>> {
        Ok(self.0.clone())
    }
}

/// The list of promises, handed to another macro: the one place where they are named.
#[doc(hidden)]
#[macro_export]
macro_rules! __cache_promises {
    ($then:ident [$($with:tt)*]) => {
        $crate::$then! { [$($with)*]
            values_come_back_identical
            an_absent_key_has_no_value
            put_gives_the_version_that_get_shows
            versions_change_with_every_write
            any_replaces_the_value
            absent_refuses_a_key_that_exists_and_changes_nothing
            a_version_refuses_any_other_and_changes_nothing
            exactly_one_of_many_absent_puts_wins
            exactly_one_of_many_versioned_puts_wins
            keys_do_not_disturb_one_another
            a_value_is_gone_after_its_time_to_live
            an_expired_key_is_absent
            a_put_replaces_the_time_to_live
            delete_removes
            delete_of_what_is_absent_is_no_error
            scan_gives_what_begins_with_the_prefix_in_order
            scan_takes_the_prefix_as_it_is
            other_processes_see_every_write
        }
    };
}
crate::__cache_promises!(__conformance_promises[Harness]);

/// One test for each promise of [`Cache`]: `cache_conformance!(module_name, async { harness })`.
///
/// See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! cache_conformance {
    ($module:ident, $make:expr) => {
        $crate::cache_conformance!($module, $make, |_: &str, _: &$crate::conformance::Verdict| {});
    };
    ($module:ident, $make:expr, $told:expr) => {
        $crate::__cache_promises! { __conformance_tests [cache, $module, $make, $told] }
    };
}

async fn put(cache: &dyn Cache, key: &str, value: &str, expect: Expect) -> Result<u64> {
    cache.put(key, Bytes::copy_from_slice(value.as_bytes()), expect, None).await
}

async fn value(cache: &dyn Cache, key: &str) -> Case<Option<Bytes>> {
    Ok(cache.get(key).await?.map(|found| found.value))
}

fn text(value: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(value.as_bytes()))
}

async fn values_come_back_identical(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    let every_byte: Vec<u8> = (0..=255).collect();
    let values = [Vec::new(), b"\0".to_vec(), b"\xFF\r\n \"'".to_vec(), every_byte, noise(1, 256 * 1024)];
    for (at, bytes) in values.iter().enumerate() {
        cache.put(&format!("key.{at}"), Bytes::from(bytes.clone()), Expect::Any, None).await?;
    }
    for (at, bytes) in values.iter().enumerate() {
        let found = value(&*cache, &format!("key.{at}")).await?;
        ensure(found.as_deref() == Some(&**bytes), || format!("value {at} came back changed"))?;
    }
    Ok(())
}

async fn an_absent_key_has_no_value(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    equal("value in an empty cache", cache.get("key").await?, None)?;
    put(&*cache, "key", "x", Expect::Any).await?;
    for absent in ["ke", "key1", "Key", "key.x"] {
        equal(absent, cache.get(absent).await?, None)?;
    }
    Ok(())
}

async fn put_gives_the_version_that_get_shows(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    for round in 0..5 {
        let version = put(&*cache, "key", &round.to_string(), Expect::Any).await?;
        let must = Versioned { version, value: round.to_string().into() };
        equal("get", cache.get("key").await?, Some(must.clone()))?;
        equal("scan", cache.scan("key").await?, vec![("key".to_owned(), must)])?;
    }
    Ok(())
}

async fn versions_change_with_every_write(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    let mut seen = Vec::new();
    for round in 0..6 {
        let version = put(&*cache, "key", "the same", Expect::Any).await?;
        ensure(!seen.contains(&version), || format!("version {version} was there before: {seen:?}"))?;
        seen.push(version);
        if round % 2 == 1 {
            cache.delete("key").await?;
        }
    }
    Ok(())
}

async fn any_replaces_the_value(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    for written in ["a longer first value", "short", ""] {
        put(&*cache, "key", written, Expect::Any).await?;
        equal("value", value(&*cache, "key").await?, text(written))?;
    }
    Ok(())
}

async fn absent_refuses_a_key_that_exists_and_changes_nothing(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    let version = put(&*cache, "key", "first", Expect::Absent).await?;
    let second = put(&*cache, "key", "second", Expect::Absent).await;
    refused("put where a value is", second, ErrorKind::Conflict)?;
    let must = Versioned { version, value: Bytes::from_static(b"first") };
    equal("value", cache.get("key").await?, Some(must))?;
    cache.delete("key").await?;
    put(&*cache, "key", "third", Expect::Absent).await?;
    equal("value", value(&*cache, "key").await?, text("third"))
}

async fn a_version_refuses_any_other_and_changes_nothing(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    let first = put(&*cache, "key", "first", Expect::Any).await?;
    let second = put(&*cache, "key", "second", Expect::Version(first)).await?;
    for stale in [first, second.wrapping_add(1), 0] {
        let answer = put(&*cache, "key", "stale", Expect::Version(stale)).await;
        refused("put with another version", answer, ErrorKind::Conflict)?;
    }
    let must = Versioned { version: second, value: Bytes::from_static(b"second") };
    equal("value", cache.get("key").await?, Some(must))?;
    let absent = put(&*cache, "absent", "x", Expect::Version(second)).await;
    refused("put of an absent key with a version", absent, ErrorKind::Conflict)?;
    equal("absent key", cache.get("absent").await?, None)?;
    cache.delete("key").await?;
    let deleted = put(&*cache, "key", "x", Expect::Version(second)).await;
    refused("put of a deleted key with its version", deleted, ErrorKind::Conflict).map(drop)
}

/// Tasks that write one key at once.
const WRITERS: usize = 32;

async fn write_at_once(cache: &Arc<dyn Cache>, expect: Expect) -> Case {
    let mut writing = JoinSet::new();
    for at in 0..WRITERS {
        let cache = cache.clone();
        writing.spawn(async move { (at, put(&*cache, "key", &at.to_string(), expect).await) });
    }
    let mut winners = Vec::new();
    while let Some(joined) = writing.join_next().await {
        match joined.map_err(|error| Stop::Broken(format!("a writer ended: {error}")))? {
            (at, Ok(_)) => winners.push(at),
            (_, Err(error)) => {
                refused("put by a loser", Err::<(), Error>(error), ErrorKind::Conflict)?;
            }
        }
    }
    ensure(winners.len() == 1, || format!("{} of {WRITERS} puts won", winners.len()))?;
    equal("the winner's value", value(&**cache, "key").await?, Some(winners[0].to_string().into()))
}

async fn exactly_one_of_many_absent_puts_wins(harness: &mut dyn Harness) -> Case {
    write_at_once(&harness.open().await?, Expect::Absent).await
}

async fn exactly_one_of_many_versioned_puts_wins(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    for _ in 0..3 {
        let version = put(&*cache, "key", "before", Expect::Any).await?;
        write_at_once(&cache, Expect::Version(version)).await?;
    }
    Ok(())
}

async fn keys_do_not_disturb_one_another(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    let keys = ["a", "ab", "a.b", "a.b.c", "a-b", "a_b", "A"];
    for key in keys {
        put(&*cache, key, key, Expect::Absent).await?;
    }
    cache.delete("a.b").await?;
    put(&*cache, "ab", "other", Expect::Any).await?;
    for key in ["a", "a.b.c", "a-b", "a_b", "A"] {
        equal(key, value(&*cache, key).await?, text(key))?;
    }
    equal("a.b", value(&*cache, "a.b").await?, None)
}

const TTL: Duration = Duration::from_secs(60);

async fn pass(harness: &mut dyn Harness, time: Duration) -> Case {
    able(harness.pass(time).await?.then_some(()), "let time pass")
}

async fn a_value_is_gone_after_its_time_to_live(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    cache.put("key.1", Bytes::from_static(b"x"), Expect::Any, Some(TTL)).await?;
    cache.put("key.2", Bytes::from_static(b"y"), Expect::Any, Some(TTL * 2)).await?;
    put(&*cache, "key.3", "z", Expect::Any).await?;
    pass(harness, TTL - Duration::from_secs(1)).await?;
    equal("value within its time", value(&*cache, "key.1").await?, text("x"))?;
    pass(harness, Duration::from_secs(1)).await?;
    equal("value after its time", value(&*cache, "key.1").await?, None)?;
    let keys: Vec<String> = cache.scan("key.").await?.into_iter().map(|(key, _)| key).collect();
    equal("keys that are left", keys, vec!["key.2".to_owned(), "key.3".to_owned()])?;
    pass(harness, TTL * 1000).await?;
    equal("value with a longer time, after it", value(&*cache, "key.2").await?, None)?;
    equal("value without a time to live", value(&*cache, "key.3").await?, text("z"))
}

async fn an_expired_key_is_absent(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    let version = cache.put("key", Bytes::from_static(b"x"), Expect::Absent, Some(TTL)).await?;
    let early = put(&*cache, "key", "early", Expect::Absent).await;
    refused("put within the time to live", early, ErrorKind::Conflict)?;
    pass(harness, TTL).await?;
    let stale = put(&*cache, "key", "stale", Expect::Version(version)).await;
    refused("put with an expired version", stale, ErrorKind::Conflict)?;
    put(&*cache, "key", "new", Expect::Absent).await?;
    equal("value", value(&*cache, "key").await?, text("new"))
}

async fn a_put_replaces_the_time_to_live(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    for key in ["kept", "prolonged"] {
        cache.put(key, Bytes::from_static(b"old"), Expect::Any, Some(TTL)).await?;
    }
    put(&*cache, "kept", "new", Expect::Any).await?;
    pass(harness, TTL / 2).await?;
    cache.put("prolonged", Bytes::from_static(b"new"), Expect::Any, Some(TTL)).await?;
    pass(harness, TTL / 2).await?;
    equal("value written anew without one", value(&*cache, "kept").await?, text("new"))?;
    equal("value written anew with one", value(&*cache, "prolonged").await?, text("new"))?;
    pass(harness, TTL / 2).await?;
    equal("value after its second time", value(&*cache, "prolonged").await?, None)
}

async fn delete_removes(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    put(&*cache, "key", "x", Expect::Any).await?;
    cache.delete("key").await?;
    equal("value", cache.get("key").await?, None)?;
    equal("scan", cache.scan("").await?, Vec::new())
}

async fn delete_of_what_is_absent_is_no_error(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    cache.delete("key").await?;
    put(&*cache, "key", "x", Expect::Any).await?;
    cache.delete("key").await?;
    cache.delete("key").await?;
    equal("value", cache.get("key").await?, None)
}

async fn scan_gives_what_begins_with_the_prefix_in_order(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    let mut keys: Vec<String> = (0..300).map(|at| format!("p{}.k{}", at % 3, at * 7 % 300)).collect();
    keys.extend(["p1", "p11.x", "q", "P1.k"].map(String::from));
    for key in &keys {
        put(&*cache, key, key, Expect::Any).await?;
    }
    keys.sort_unstable();
    for prefix in ["p1.", "p1", "p1.k29", "", "q", "r"] {
        let found = cache.scan(prefix).await?;
        let must: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        ensure(found.iter().all(|(key, found)| found.value == key.as_bytes()), || {
            format!("scan of {prefix:?} gave values of other keys")
        })?;
        let found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
        equal(&format!("keys that begin with {prefix:?}"), found, must)?;
    }
    Ok(())
}

async fn scan_takes_the_prefix_as_it_is(harness: &mut dyn Harness) -> Case {
    let cache = harness.open().await?;
    for key in ["a.b", "ab", "b"] {
        put(&*cache, key, key, Expect::Any).await?;
    }
    for prefix in ["*", "a*", "a?", ">", "a.>", "[ab]", ".", "a.b.", "\\a"] {
        equal(&format!("keys that begin with {prefix:?}"), cache.scan(prefix).await?, Vec::new())?;
    }
    Ok(())
}

async fn other_processes_see_every_write(harness: &mut dyn Harness) -> Case {
    let ours = harness.open().await?;
    let other = able(harness.observe().await?, "be opened by another process")?;
    let version = put(&*ours, "key", "first", Expect::Any).await?;
    equal("value", value(&*other, "key").await?, text("first"))?;
    put(&*other, "key", "second", Expect::Version(version)).await?;
    equal("value", value(&*ours, "key").await?, text("second"))?;
    let stale = put(&*ours, "key", "third", Expect::Version(version)).await;
    refused("put with a version that another process replaced", stale, ErrorKind::Conflict)?;
    other.delete("key").await?;
    equal("value", value(&*ours, "key").await?, None)
}
