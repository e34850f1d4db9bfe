//! A bucket keeps what the trait promises, on real servers: one that honours conditions, one that ignores them.

#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "../../ssmd-transport/tests/support/promises.rs"]
mod promises;
mod servers;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use servers::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Server};
use ssmd_core::conformance::{self, Verdict, store::Harness};
use ssmd_core::environment::{S3Spec, Secret, StoreSpec};
use ssmd_core::{BoxStream, ErrorKind, ObjectMeta, ObjectPath, PutMode, Result, Store};
use ssmd_storage::{S3Store, create_alone};
use tokio::sync::Mutex;

/// A place, and keys in files, since a test cannot set the variables of its own process.
struct Place {
    spec: S3Spec,
    _keys: tempfile::TempDir,
}

impl Place {
    fn new(store: &str) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let StoreSpec::S3(mut spec) = StoreSpec::parse(store).unwrap() else {
            panic!("{store} is no bucket")
        };
        for (name, value) in [("access_key_id", ACCESS_KEY_ID), ("secret_access_key", SECRET_ACCESS_KEY)] {
            let path = keys.path().join(name);
            std::fs::write(&path, value).unwrap();
            spec.keys.insert(name.to_owned(), Secret::File(path.display().to_string()));
        }
        Self { spec, _keys: keys }
    }

    fn of(server: &Server) -> Self {
        Self::new(&server.store(&server.bucket(), server.address))
    }

    fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(S3Store::open(&self.spec)?))
    }
}

#[async_trait]
impl Harness for Place {
    async fn open(&mut self) -> Result<Arc<dyn Store>> {
        Place::open(self)
    }

    async fn restart(&mut self) -> Result<Option<Arc<dyn Store>>> {
        Place::open(self).map(Some)
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Store>>> {
        Place::open(self).map(Some)
    }
}

/// The only writer of a store that creates twice, as an archiver with its lock is.
struct Alone(Arc<dyn Store>, Mutex<()>);

#[async_trait]
impl Store for Alone {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        let _one = self.1.lock().await;
        match mode {
            PutMode::Create => create_alone(&*self.0, path, body).await,
            PutMode::Overwrite => self.0.put(path, body, mode).await,
        }
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        self.0.get(path, range).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.0.delete(path).await
    }
}

struct AloneAt(Place);

#[async_trait]
impl Harness for AloneAt {
    async fn open(&mut self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Alone(self.0.open()?, Mutex::default())))
    }

    async fn restart(&mut self) -> Result<Option<Arc<dyn Store>>> {
        Harness::open(self).await.map(Some)
    }
}

/// Every promise, on a fresh bucket each. A server is shared: a process a promise would take minutes.
fn kept<H: Harness + 'static>(backend: &'static str, make: impl Fn() -> H + Send + Copy + 'static) {
    for &promise in conformance::store::PROMISES {
        let verdict =
            conformance::run(move || async move { conformance::store::check(promise, &mut make()).await });
        assert!(!matches!(verdict, Verdict::Broken(_)), "{promise}: {verdict}");
        promises::of("store", conformance::store::PROMISES, backend)(promise, &verdict);
    }
}

#[test]
fn a_bucket_that_honours_conditions_keeps_every_promise() {
    let Some(server) = servers::moto() else { return };
    kept("S3: moto", move || Place::of(server));
}

#[test]
fn a_part_of_a_bucket_is_a_store_of_its_own() {
    let Some(server) = servers::moto() else { return };
    let (bucket, region) = (server.bucket(), server.region);
    let at =
        |prefix: &str| format!("s3://{bucket}{prefix}?endpoint=http://{}&region={region}", server.address);
    run(async {
        let [whole, part, other] = ["", "/a/b", "/a/bc"].map(|prefix| Place::new(&at(prefix)));
        let [whole, part, other] = [&whole, &part, &other].map(|place| place.open().unwrap());
        part.put(&path("x/y"), Bytes::from_static(b"1"), PutMode::Create).await.unwrap();
        other.put(&path("x/y"), Bytes::from_static(b"2"), PutMode::Create).await.unwrap();
        assert_eq!(listed(&*part).await, ["x/y"]);
        assert_eq!(listed(&*whole).await, ["a/b/x/y", "a/bc/x/y"]);
        assert_eq!(part.get(&path("x/y"), None).await.unwrap(), Bytes::from_static(b"1"));
    });
}

/// What goes in one piece, at the border, and in parts of which the last is the smallest and the largest possible.
#[test]
fn an_object_in_parts_replaces_the_old_one_as_a_whole() {
    const PART: usize = 8 * 1024 * 1024;
    let Some(server) = servers::moto() else { return };
    let place = Place::of(server);
    run(async {
        let store = place.open().unwrap();
        for bytes in [PART, PART + 1, 3 * PART, 5 * PART - 1] {
            let body: Bytes = (0..bytes).map(|at| (at % 251) as u8 ^ bytes as u8).collect();
            store.put(&path("large"), body.clone(), PutMode::Overwrite).await.unwrap();
            assert!(
                store.get(&path("large"), None).await.unwrap() == body,
                "{bytes} bytes came back changed"
            );
            let metas: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
            assert_eq!((metas.len(), metas[0].bytes), (1, bytes as u64));
        }
    });
}

#[test]
fn the_probe_finds_that_moto_creates_once_and_leaves_nothing() {
    let Some(server) = servers::moto() else { return };
    let place = Place::of(server);
    run(async {
        let store = S3Store::open(&place.spec).unwrap();
        assert!(store.creates_once().await.unwrap());
        assert_eq!(listed(&store).await, [""; 0]);
    });
}

#[test]
fn a_bucket_that_ignores_conditions_keeps_every_promise_to_who_writes_alone() {
    let Some(server) = servers::garage() else { return };
    kept("S3: Garage, one writer", move || AloneAt(Place::of(server)));
}

#[test]
fn the_probe_finds_that_garage_creates_twice_and_creates_are_refused() {
    let Some(server) = servers::garage() else { return };
    let place = Place::of(server);
    run(async {
        let store = S3Store::open(&place.spec).unwrap();
        assert!(!store.creates_once().await.unwrap());
        let refused = store.put(&path("a"), Bytes::new(), PutMode::Create).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{}", refused.report());
        assert_eq!(listed(&store).await, [""; 0]);
    });
}

#[test]
fn a_wrong_key_is_denied_and_never_printed() {
    let Some(server) = servers::garage() else { return };
    let mut place = Place::of(server);
    let wrong = "f".repeat(64);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &wrong).unwrap();
    place.spec.keys.insert("secret_access_key".into(), Secret::File(file.path().display().to_string()));
    run(async {
        let store = place.open().unwrap();
        let refused = store.get(&path("a"), None).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied, "{}", refused.report());
        assert!(!refused.report().contains(&wrong), "{}", refused.report());
    });
}

#[test]
fn an_endpoint_that_is_away_is_unavailable_and_asked_again_later() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = nobody.local_addr().unwrap();
    drop(nobody);
    let place = Place::new(&format!("s3://bucket?endpoint=http://{address}"));
    run(async {
        let store = place.open().unwrap();
        for mode in [PutMode::Create, PutMode::Overwrite] {
            let away = store.put(&path("a"), Bytes::new(), mode).await.unwrap_err();
            assert_eq!(away.kind(), ErrorKind::Unavailable, "{}", away.report());
        }
        let away = store.get(&path("a"), None).await.unwrap_err();
        assert_eq!(away.kind(), ErrorKind::Unavailable, "{}", away.report());
    });
}

#[test]
fn keys_that_are_not_there_are_named() {
    let mut place = Place::new("s3://bucket?endpoint=http://127.0.0.1:1");
    place.spec.keys = BTreeMap::from([("access_key_id".to_owned(), Secret::Env("SSMD_NO_SUCH".to_owned()))]);
    let Err(missing) = place.open() else { panic!("there is no such key") };
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.report().contains("SSMD_NO_SUCH"), "{}", missing.report());
}

fn run(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case);
}

fn path(text: &str) -> ObjectPath {
    text.parse().unwrap()
}

async fn listed(store: &dyn Store) -> Vec<String> {
    let metas: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    let mut paths: Vec<_> = metas.into_iter().map(|meta| meta.path.as_str().to_owned()).collect();
    paths.sort();
    paths
}
