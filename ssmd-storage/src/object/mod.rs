//! The [`Store`] over `object_store`: a directory, a bucket, or memory. Knows no formats.

mod file;
#[cfg(feature = "s3")]
mod probe;
#[cfg(feature = "s3")]
mod s3;

use std::error::Error as StdError;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::memory::InMemory;
use object_store::path::Path as InnerPath;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use ssmd_core::environment::StoreSpec;
use ssmd_core::{
    BoxStream, Error, ErrorKind, ObjectMeta, ObjectPath, Origin, PutMode, Result, Store, Timestamp,
};

pub use file::FileStore;
#[cfg(feature = "s3")]
pub use s3::S3Store;

/// Opens the store that an environment names; a relative path begins at `base`. A bucket is not asked for anything
/// before it is used.
///
/// # Errors
/// As for [`FileStore::open`] and [`S3Store::open`]; `Unsupported` for a bucket without the feature `s3`.
pub fn open(spec: &StoreSpec, base: &Path) -> Result<Arc<dyn Store>> {
    match spec {
        StoreSpec::File(path) => Ok(Arc::new(FileStore::open(&base.join(path))?)),
        #[cfg(feature = "s3")]
        StoreSpec::S3(spec) => Ok(Arc::new(S3Store::open(spec)?)),
        #[cfg(not(feature = "s3"))]
        StoreSpec::S3(_) => Err(Error::new(ErrorKind::Unsupported, "open store")
            .detail("this program was built without the feature s3")
            .with("store", spec)),
    }
}

/// Creates an object also in a store that cannot refuse what exists ([`ErrorKind::Unsupported`]): that one is asked
/// first whether the object is there, so the caller must keep other writers of the path away meanwhile.
///
/// # Errors
/// `AlreadyExists`; the store's own.
///
/// # Cancel safety
/// As [`Store::put`].
pub async fn create_alone(store: &dyn Store, path: &ObjectPath, body: Bytes) -> Result<()> {
    match store.put(path, body.clone(), PutMode::Create).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {}
        created => return created,
    }
    match store.get(path, None).await {
        Ok(_) => Err(Error::new(ErrorKind::AlreadyExists, "create object").with("path", path)),
        Err(error) if error.kind() == ErrorKind::NotFound => store.put(path, body, PutMode::Overwrite).await,
        Err(error) => Err(error),
    }
}

/// Whether a store creates an object only once, tried with an object that is removed again.
///
/// # Errors
/// The store's own.
///
/// # Cancel safety
/// Dropping the future may leave an object without bytes, whose name begins with `ssmd-probe`.
pub async fn creates(store: &dyn Store) -> Result<bool> {
    let path: ObjectPath = format!("ssmd-probe/{}", Origin::new_random()).parse()?;
    let created = store.put(&path, Bytes::new(), PutMode::Create).await;
    store.delete(&path).await?;
    match created {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(false),
        created => created.map(|()| true),
    }
}

/// Objects in memory, for tests and for what need not outlive the process. Durable means: until then.
#[derive(Debug, Default)]
pub struct MemoryStore(InMemory);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        put(&self.0, path, body, mode).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        get(&self.0, path, range).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        list(&self.0, prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        delete(&self.0, path).await
    }
}

async fn put(inner: &dyn ObjectStore, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
    let mode = match mode {
        PutMode::Create => object_store::PutMode::Create,
        PutMode::Overwrite => object_store::PutMode::Overwrite,
    };
    let put = inner.put_opts(&inner_path(path)?, body.into(), mode.into()).await;
    put.map(drop).map_err(|cause| translate("put object", path, cause))
}

async fn get(inner: &dyn ObjectStore, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
    let at = inner_path(path)?;
    let failed = |cause| translate("get object", path, cause);
    let Some(range) = range else {
        let found = inner.get(&at).await.map_err(failed)?;
        return found.bytes().await.map_err(failed);
    };
    let mut refused = None;
    if range.start < range.end {
        let options = GetOptions { range: Some(range.clone().into()), ..GetOptions::default() };
        match inner.get_opts(&at, options).await {
            Ok(found) if range.end <= found.meta.size => return found.bytes().await.map_err(failed),
            Ok(_) => {}
            // Stores refuse ranges in words of their own; the length says whether that is why.
            Err(cause) => refused = Some(failed(cause)),
        }
    }
    let bytes = match refused {
        Some(error) if error.kind() == ErrorKind::NotFound => return Err(error),
        _ => inner.head(&at).await.map_err(failed)?.size,
    };
    if range.start > range.end || range.end > bytes {
        return Err(Error::new(ErrorKind::Invalid, "get object")
            .detail("the range lies outside the object")
            .with("path", path)
            .with("range", format!("{}..{}", range.start, range.end))
            .with("bytes", bytes));
    }
    refused.map_or(Ok(Bytes::new()), Err)
}

fn list<'a>(inner: &'a dyn ObjectStore, prefix: Option<&ObjectPath>) -> BoxStream<'a, Result<ObjectMeta>> {
    let prefix = match prefix.map(inner_path).transpose() {
        Ok(prefix) => prefix,
        Err(error) => return futures_util::stream::once(async { Err(error) }).boxed(),
    };
    let own = prefix.clone();
    let below = inner.list(prefix.as_ref()).filter(move |found| {
        let itself = own.is_some() && found.as_ref().ok().map(|meta| &meta.location) == own.as_ref();
        std::future::ready(!itself)
    });
    // An object of exactly that name counts too; the store underneath gives only what lies below it.
    let itself =
        futures_util::stream::iter(prefix).filter_map(async |prefix| match inner.head(&prefix).await {
            Err(cause) => {
                let error = translate("list objects", &prefix, cause);
                (error.kind() != ErrorKind::NotFound).then_some(Err(error))
            }
            Ok(meta) => listed(Ok(meta)),
        });
    itself.chain(below.filter_map(|found| std::future::ready(listed(found)))).boxed()
}

fn listed(found: object_store::Result<object_store::ObjectMeta>) -> Option<Result<ObjectMeta>> {
    let meta = match found {
        Ok(meta) => meta,
        Err(cause) => return Some(Err(translate("list objects", "", cause))),
    };
    let Ok(path) = meta.location.as_ref().parse() else {
        tracing::warn!(name = %meta.location, "passed over a file whose name no object can have");
        return None;
    };
    let modified = Timestamp::from_nanos(meta.last_modified.timestamp_nanos_opt().unwrap_or(0));
    Some(Ok(ObjectMeta { path, bytes: meta.size, modified }))
}

async fn delete(inner: &dyn ObjectStore, path: &ObjectPath) -> Result<()> {
    match inner.delete(&inner_path(path)?).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(cause) => Err(translate("delete object", path, cause)),
    }
}

fn inner_path(path: &ObjectPath) -> Result<InnerPath> {
    InnerPath::parse(path.as_str())
        .map_err(|cause| Error::new(ErrorKind::Invalid, "name object").with("path", path).because(cause))
}

fn translate(operation: &'static str, path: impl std::fmt::Display, cause: object_store::Error) -> Error {
    use object_store::Error as Inner;
    let kind = match &cause {
        Inner::NotFound { .. } => ErrorKind::NotFound,
        Inner::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        Inner::Precondition { .. } | Inner::NotModified { .. } => ErrorKind::Conflict,
        Inner::InvalidPath { .. } => ErrorKind::Invalid,
        Inner::NotSupported { .. } | Inner::NotImplemented { .. } => ErrorKind::Unsupported,
        Inner::PermissionDenied { .. } | Inner::Unauthenticated { .. } => ErrorKind::Denied,
        other => answer_kind(other).or_else(|| system_kind(other)).unwrap_or(ErrorKind::Io),
    };
    Error::new(kind, operation).with("path", path).because(cause)
}

/// The kind of the operating system's error underneath, if there is one.
fn system_kind(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            // A path through a file leads to nothing.
            if io.kind() == std::io::ErrorKind::NotADirectory {
                return Some(ErrorKind::NotFound);
            }
            return Some(Error::io("translate", io.kind().into()).kind());
        }
        next = error.source();
    }
    None
}

/// The kind of what a server answered, or did not, if there is one underneath.
#[cfg(feature = "s3")]
fn answer_kind(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    s3::answer_kind(error)
}

#[cfg(not(feature = "s3"))]
fn answer_kind(_: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    None
}
