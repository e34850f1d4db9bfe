//! What every [`Store`] promises.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use tokio::task::JoinSet;

use super::support::{Case, Stop, able, attempt, ensure, equal, noise, refused};
use crate::{Error, ErrorKind, ObjectMeta, ObjectPath, PutMode, Result, Store};

/// Makes the store of one case, and does to it what the trait cannot say. The defaults mean "cannot".
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens a fresh, empty store. Called once, before anything else.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn open(&mut self) -> Result<Arc<dyn Store>>;

    /// Opens the same store again, as after a restart. Called when every handle has been dropped.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn restart(&mut self) -> Result<Option<Arc<dyn Store>>> {
        Ok(None)
    }

    /// A second handle to the open store, as another process would have it.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn observe(&mut self) -> Result<Option<Arc<dyn Store>>> {
        Ok(None)
    }
}

/// The harness of a store without further abilities.
pub struct Plain(pub Arc<dyn Store>);

#[async_trait]
impl Harness for Plain {
    async fn open(&mut self) -> Result<Arc<dyn Store>> {
        Ok(self.0.clone())
    }
}

/// The list of promises, handed to another macro: the one place where they are named.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_promises {
    ($then:ident [$($with:tt)*]) => {
        $crate::$then! { [$($with)*]
            an_object_comes_back_identical
            an_empty_object_is_an_object
            a_large_object_comes_back_identical
            create_refuses_what_exists_and_changes_nothing
            exactly_one_of_many_creates_wins
            exactly_one_of_many_creates_wins_across_processes
            overwrite_replaces_the_whole_object
            a_put_is_visible_to_everyone_when_it_returns
            no_part_of_an_object_is_ever_visible
            a_dropped_put_leaves_the_old_or_the_new
            what_was_put_survives_a_restart
            a_range_gives_its_bytes
            a_range_outside_is_invalid
            an_absent_object_is_not_found
            list_gives_every_object_with_its_length
            list_matches_whole_segments
            list_of_an_objects_own_path_gives_it
            list_of_nothing_is_empty
            modified_does_not_go_back
            delete_removes
            delete_of_what_is_absent_is_no_error
        }
    };
}
crate::__store_promises!(__conformance_promises[Harness]);

/// One test for each promise of [`Store`]: `store_conformance!(module_name, async { harness })`.
///
/// See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! store_conformance {
    ($module:ident, $make:expr) => {
        $crate::store_conformance!($module, $make, |_: &str, _: &$crate::conformance::Verdict| {});
    };
    ($module:ident, $make:expr, $told:expr) => {
        $crate::__store_promises! { __conformance_tests [store, $module, $make, $told] }
    };
}

fn path(text: &str) -> Case<ObjectPath> {
    Ok(text.parse()?)
}

async fn listed(store: &dyn Store, prefix: Option<&str>) -> Case<BTreeMap<String, u64>> {
    let metas = metas(store, prefix).await?;
    let count = metas.len();
    let listed: BTreeMap<_, _> =
        metas.into_iter().map(|meta| (meta.path.as_str().to_owned(), meta.bytes)).collect();
    equal("objects listed, each once", count, listed.len())?;
    Ok(listed)
}

async fn metas(store: &dyn Store, prefix: Option<&str>) -> Case<Vec<ObjectMeta>> {
    let prefix = prefix.map(path).transpose()?;
    let mut stream = store.list(prefix.as_ref());
    let mut metas = Vec::new();
    while let Some(meta) = std::future::poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await {
        metas.push(meta?);
    }
    Ok(metas)
}

fn sizes(objects: &[(&str, u64)]) -> BTreeMap<String, u64> {
    objects.iter().map(|(path, bytes)| ((*path).to_owned(), *bytes)).collect()
}

async fn an_object_comes_back_identical(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let long = format!("{0}/{0}/{0}/{0}", "s".repeat(200));
    let every_byte: Vec<u8> = (0..=255).collect();
    let objects = [
        ("one", Bytes::from_static(b"1")),
        ("raw/kraken/2026/08/01/00/a~2Fb=c.jsonl.zst", noise(1, 100_000).into()),
        ("commits/0/7.json", every_byte.into()),
        (&*long, Bytes::from_static(b"{}\r\n\0")),
    ];
    for (at, (name, body)) in objects.iter().enumerate() {
        let mode = if at % 2 == 0 { PutMode::Create } else { PutMode::Overwrite };
        store.put(&path(name)?, body.clone(), mode).await?;
    }
    for (name, body) in &objects {
        equal("object", &store.get(&path(name)?, None).await?, body)?;
    }
    Ok(())
}

async fn an_empty_object_is_an_object(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    store.put(&path("a/empty")?, Bytes::new(), PutMode::Create).await?;
    equal("object", store.get(&path("a/empty")?, None).await?, Bytes::new())?;
    equal("list", listed(&*store, None).await?, sizes(&[("a/empty", 0)]))?;
    let again = store.put(&path("a/empty")?, Bytes::new(), PutMode::Create).await;
    refused("second create", again, ErrorKind::AlreadyExists).map(drop)
}

/// Bytes of the large object: above what backends send in one piece.
const LARGE_BYTES: usize = 12 * 1024 * 1024 + 1;

async fn a_large_object_comes_back_identical(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let body = Bytes::from(noise(2, LARGE_BYTES));
    store.put(&path("large")?, body.clone(), PutMode::Create).await?;
    ensure(store.get(&path("large")?, None).await? == body, || "a large object came back changed".into())?;
    let tail = store.get(&path("large")?, Some(LARGE_BYTES as u64 - 7..LARGE_BYTES as u64)).await?;
    equal("its last bytes", tail, body.slice(LARGE_BYTES - 7..))
}

async fn create_refuses_what_exists_and_changes_nothing(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let name = path("commits/1.json")?;
    store.put(&name, Bytes::from_static(b"first"), PutMode::Create).await?;
    let second = store.put(&name, Bytes::from_static(b"second"), PutMode::Create).await;
    refused("create of what exists", second, ErrorKind::AlreadyExists)?;
    let same = store.put(&name, Bytes::from_static(b"first"), PutMode::Create).await;
    refused("create of the same bytes", same, ErrorKind::AlreadyExists)?;
    equal("object", store.get(&name, None).await?, Bytes::from_static(b"first"))
}

/// Tasks that create one object at once.
const CREATORS: u8 = 32;

async fn create_at_once(stores: &[Arc<dyn Store>]) -> Case {
    let name = path("commits/2.json")?;
    let mut creating = JoinSet::new();
    for at in 0..CREATORS {
        let (store, name) = (stores[usize::from(at) % stores.len()].clone(), name.clone());
        creating.spawn(async move {
            let put = store.put(&name, Bytes::from(vec![at; 1000]), PutMode::Create).await;
            (at, put)
        });
    }
    let mut winners = Vec::new();
    while let Some(joined) = creating.join_next().await {
        match joined.map_err(|error| Stop::Broken(format!("a creator ended: {error}")))? {
            (at, Ok(())) => winners.push(at),
            (_, Err(error)) => {
                refused("create by a loser", Err::<(), Error>(error), ErrorKind::AlreadyExists)?;
            }
        }
    }
    ensure(winners.len() == 1, || format!("{} of {CREATORS} creates won", winners.len()))?;
    equal("the winner's object", stores[0].get(&name, None).await?, Bytes::from(vec![winners[0]; 1000]))
}

async fn exactly_one_of_many_creates_wins(harness: &mut dyn Harness) -> Case {
    create_at_once(&[harness.open().await?]).await
}

async fn exactly_one_of_many_creates_wins_across_processes(harness: &mut dyn Harness) -> Case {
    let ours = harness.open().await?;
    let other = able(harness.observe().await?, "be opened by another process")?;
    create_at_once(&[ours, other]).await
}

async fn overwrite_replaces_the_whole_object(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let name = path("a/b")?;
    for bytes in [10, 1000, 3, 0, 70_000] {
        let body = Bytes::from(noise(bytes as u64, bytes));
        store.put(&name, body.clone(), PutMode::Overwrite).await?;
        equal("object", store.get(&name, None).await?, body)?;
        equal("list", listed(&*store, None).await?, sizes(&[("a/b", bytes as u64)]))?;
    }
    Ok(())
}

async fn a_put_is_visible_to_everyone_when_it_returns(harness: &mut dyn Harness) -> Case {
    let ours = harness.open().await?;
    let other = harness.observe().await?.unwrap_or_else(|| ours.clone());
    for at in 0..20_u8 {
        let name = path(&format!("a/{at}"))?;
        let (writer, reader) = if at % 2 == 0 { (&ours, &other) } else { (&other, &ours) };
        writer.put(&name, Bytes::from(vec![at; 100]), PutMode::Create).await?;
        equal("object", reader.get(&name, None).await?, Bytes::from(vec![at; 100]))?;
        equal("objects listed", listed(&**reader, Some("a")).await?.len(), usize::from(at) + 1)?;
    }
    Ok(())
}

/// Overwrites in [`no_part_of_an_object_is_ever_visible`].
const OVERWRITES: u8 = 30;

/// A writer replaces an object by ever other sizes of ever other bytes, while a reader reads and lists it.
async fn no_part_of_an_object_is_ever_visible(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let name = path("a/changes")?;
    let body = |round: u8| Bytes::from(vec![round; 100_000 + 1000 * usize::from(round)]);
    let mut writing = JoinSet::new();
    let (writer, written) = (store.clone(), name.clone());
    writing.spawn(async move {
        for round in 1..=OVERWRITES {
            writer.put(&written, body(round), PutMode::Overwrite).await?;
        }
        Ok::<_, Error>(())
    });
    let mut last = 0;
    while last < OVERWRITES {
        for meta in metas(&*store, Some("a")).await? {
            let rounds = (1..=OVERWRITES).filter(|round| body(*round).len() as u64 == meta.bytes).count();
            ensure(meta.path == name && rounds == 1, || format!("a part is listed: {meta:?}"))?;
        }
        let seen = match store.get(&name, None).await {
            Ok(seen) => seen,
            Err(error) if error.kind() == ErrorKind::NotFound && last == 0 => {
                tokio::task::yield_now().await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let round = seen.first().copied().unwrap_or(0);
        ensure(seen == body(round), || format!("a mixture of {} bytes from round {round}", seen.len()))?;
        ensure(round >= last, || format!("round {round} was seen after round {last}"))?;
        last = round;
        tokio::task::yield_now().await;
    }
    writing.join_next().await.transpose().map_err(|error| Stop::Broken(error.to_string()))?.transpose()?;
    Ok(())
}

async fn a_dropped_put_leaves_the_old_or_the_new(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let name = path("a/b")?;
    let mut bodies = vec![Bytes::from_static(b"old")];
    store.put(&name, bodies[0].clone(), PutMode::Overwrite).await?;
    for polls in 0..20 {
        let new = Bytes::from(noise(polls as u64, 50_000 + polls));
        bodies.push(new.clone());
        attempt(store.put(&name, new, PutMode::Overwrite), polls % 5).await.transpose()?;
        // A put that was dropped may still happen later, so the object may be any of those so far.
        let seen = store.get(&name, None).await?;
        ensure(bodies.contains(&seen), || format!("{} bytes are no whole object of those put", seen.len()))?;
        let listed = listed(&*store, None).await?;
        let sizes: Vec<_> = listed.values().copied().collect();
        ensure(sizes.len() == 1 && bodies.iter().any(|body| body.len() as u64 == sizes[0]), || {
            format!("a part is listed: {listed:?}")
        })?;
    }
    Ok(())
}

async fn what_was_put_survives_a_restart(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let body = Bytes::from(noise(3, 100_000));
    store.put(&path("a/created")?, body.clone(), PutMode::Create).await?;
    store.put(&path("a/overwritten")?, Bytes::from_static(b"old"), PutMode::Create).await?;
    store.put(&path("a/overwritten")?, body.clone(), PutMode::Overwrite).await?;
    store.put(&path("a/deleted")?, body.clone(), PutMode::Create).await?;
    store.delete(&path("a/deleted")?).await?;
    drop(store);
    let store = able(harness.restart().await?, "restart")?;
    let must = sizes(&[("a/created", 100_000), ("a/overwritten", 100_000)]);
    equal("list", listed(&*store, None).await?, must)?;
    for name in ["a/created", "a/overwritten"] {
        equal("object", &store.get(&path(name)?, None).await?, &body)?;
    }
    let again = store.put(&path("a/created")?, body, PutMode::Create).await;
    refused("create of what exists", again, ErrorKind::AlreadyExists).map(drop)
}

async fn a_range_gives_its_bytes(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let body = Bytes::from(noise(4, 1000));
    store.put(&path("a")?, body.clone(), PutMode::Create).await?;
    for (start, end) in [(0, 1), (0, 1000), (1, 999), (500, 501), (999, 1000)] {
        let part = store.get(&path("a")?, Some(start as u64..end as u64)).await?;
        equal(&format!("bytes {start}..{end}"), part, body.slice(start..end))?;
    }
    Ok(())
}

async fn a_range_outside_is_invalid(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    store.put(&path("a")?, Bytes::from_static(b"0123456789"), PutMode::Create).await?;
    for (start, end) in [(0, 11), (9, 11), (10, 11), (20, 30), (0, u64::MAX), (7, 3)] {
        let answer = store.get(&path("a")?, Some(Range { start, end })).await;
        refused(&format!("range {start}..{end} of 10 bytes"), answer, ErrorKind::Invalid)?;
    }
    let absent = store.get(&path("b")?, Some(0..1)).await;
    refused("range of an absent object", absent, ErrorKind::NotFound).map(drop)
}

async fn an_absent_object_is_not_found(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    refused("get from an empty store", store.get(&path("a/b")?, None).await, ErrorKind::NotFound)?;
    store.put(&path("a/b/c")?, Bytes::from_static(b"x"), PutMode::Create).await?;
    for absent in ["a", "a/b", "a/b/d", "a/b/cc", "A/B/C"] {
        refused(absent, store.get(&path(absent)?, None).await, ErrorKind::NotFound)?;
    }
    Ok(())
}

async fn fill(store: &dyn Store, objects: &[(&str, u64)]) -> Case {
    for (name, bytes) in objects {
        store.put(&path(name)?, vec![b'x'; *bytes as usize].into(), PutMode::Create).await?;
    }
    Ok(())
}

async fn list_gives_every_object_with_its_length(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let names: Vec<String> = (0..150).map(|at| format!("d{}/e~2F{}/o={at}.x", at % 3, at % 7)).collect();
    let objects: Vec<(&str, u64)> = names.iter().zip(0..).map(|(name, bytes)| (&**name, bytes)).collect();
    fill(&*store, &objects).await?;
    equal("list of all", listed(&*store, None).await?, sizes(&objects))?;
    let of_d1: Vec<_> = objects.iter().copied().filter(|(name, _)| name.starts_with("d1/")).collect();
    equal("list of one prefix", listed(&*store, Some("d1")).await?, sizes(&of_d1))
}

async fn list_matches_whole_segments(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    // No object has the name of a folder: a file system cannot have both.
    fill(&*store, &[("a/b/c", 1), ("a/b/d/e", 2), ("a/bc/d", 4), ("ab/b/c", 5), ("b/a/b/c", 6)]).await?;
    equal("list of a/b", listed(&*store, Some("a/b")).await?, sizes(&[("a/b/c", 1), ("a/b/d/e", 2)]))?;
    let of_a = sizes(&[("a/b/c", 1), ("a/b/d/e", 2), ("a/bc/d", 4)]);
    equal("list of a", listed(&*store, Some("a")).await?, of_a)
}

async fn list_of_an_objects_own_path_gives_it(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    fill(&*store, &[("a/b", 1), ("a/bc", 2)]).await?;
    equal("list of a/b", listed(&*store, Some("a/b")).await?, sizes(&[("a/b", 1)]))
}

async fn list_of_nothing_is_empty(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    equal("list of an empty store", listed(&*store, None).await?, sizes(&[]))?;
    equal("list of an absent prefix", listed(&*store, Some("a/b")).await?, sizes(&[]))?;
    fill(&*store, &[("a/b", 1)]).await?;
    equal("list of another prefix", listed(&*store, Some("b")).await?, sizes(&[]))
}

async fn modified_does_not_go_back(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    let mut last = None;
    for round in 0..3_u8 {
        store.put(&path("a")?, Bytes::from(vec![round]), PutMode::Overwrite).await?;
        let modified = metas(&*store, None).await?.first().map(|meta| meta.modified);
        ensure(modified.is_some() && modified >= last, || format!("{modified:?} after {last:?}"))?;
        last = modified;
    }
    Ok(())
}

async fn delete_removes(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    fill(&*store, &[("a/b", 1), ("a/c", 2)]).await?;
    store.delete(&path("a/b")?).await?;
    refused("get of a deleted object", store.get(&path("a/b")?, None).await, ErrorKind::NotFound)?;
    equal("list", listed(&*store, None).await?, sizes(&[("a/c", 2)]))?;
    store.put(&path("a/b")?, Bytes::from_static(b"new"), PutMode::Create).await?;
    equal("object created again", store.get(&path("a/b")?, None).await?, Bytes::from_static(b"new"))
}

async fn delete_of_what_is_absent_is_no_error(harness: &mut dyn Harness) -> Case {
    let store = harness.open().await?;
    store.delete(&path("a/b")?).await?;
    fill(&*store, &[("a/b", 1)]).await?;
    store.delete(&path("a/b")?).await?;
    store.delete(&path("a/b")?).await?;
    store.delete(&path("a/b/c")?).await?;
    equal("list", listed(&*store, None).await?, sizes(&[]))
}
