//! The [`Store`] over `object_store`: a directory, or memory. Owns durability on disk; knows no formats.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as InnerPath;
use object_store::{ObjectStore, ObjectStoreExt};
use ssmd_core::environment::StoreSpec;
use ssmd_core::{BoxStream, Error, ErrorKind, ObjectMeta, ObjectPath, PutMode, Result, Store, Timestamp};

/// Opens the store that an environment names; a relative path begins at `base`.
///
/// # Errors
/// As for [`FileStore::open`].
pub fn open(spec: &StoreSpec, base: &Path) -> Result<Arc<dyn Store>> {
    match spec {
        StoreSpec::File(path) => Ok(Arc::new(FileStore::open(&base.join(path))?)),
    }
}

/// Objects as files under one directory.
///
/// Durable means: the file, its name in its directory, and the directories above it up to the root are synced.
/// A file appears under its name as a whole, by link or rename. What a crash leaves of an unfinished write has a
/// name that no object can have; lists pass over it and [`FileStore::sweep`] removes it.
#[derive(Debug)]
pub struct FileStore {
    inner: LocalFileSystem,
    root: PathBuf,
    /// Directories whose own names are known to be durable.
    synced: Arc<Mutex<HashSet<PathBuf>>>,
}

/// Directories remembered as synced; beyond that they are forgotten and synced once more. An archive adds one
/// directory an hour and feed.
const SYNCED_DIRECTORIES_MAX: usize = 4096;

impl FileStore {
    /// Opens the directory, and creates it where it is missing.
    ///
    /// # Errors
    /// As the operating system's: `Denied`, `Full`, `Io`.
    pub fn open(root: &Path) -> Result<Self> {
        let failed = |cause| Error::io("open store", cause).with("path", root.display());
        std::fs::create_dir_all(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        for directory in root.ancestors().take(2) {
            File::open(directory).and_then(|file| file.sync_all()).map_err(failed)?;
        }
        let inner = LocalFileSystem::new_with_prefix(&root)
            .map_err(|cause| translate("open store", root.display(), cause))?
            .with_fsync(true);
        Ok(Self { inner, root, synced: Arc::default() })
    }

    /// Removes what crashes left of unfinished writes, if it has not changed for `grace` before `now`, and says
    /// how many files that were.
    ///
    /// # Errors
    /// As the operating system's.
    pub async fn sweep(&self, now: Timestamp, grace: Duration) -> Result<usize> {
        let root = self.root.clone();
        blocking("sweep store", move || {
            let mut removed = 0;
            sweep_directory(&root, now, grace, &mut removed)?;
            Ok(removed)
        })
        .await
    }

    /// Makes durable what the write itself may not have: the names of directories that an earlier process made
    /// and did not live to sync, and an object that somebody else is still syncing.
    async fn settle(&self, path: &ObjectPath, existed: bool) -> Result<()> {
        let file = self.root.join(path.as_str());
        let (root, synced) = (self.root.clone(), self.synced.clone());
        blocking("sync object", move || {
            if existed {
                File::open(&file)?.sync_all()?;
            }
            for directory in file.ancestors().skip(1).take_while(|directory| directory.starts_with(&root)) {
                let known = lock(&synced).contains(directory);
                if existed || !known {
                    File::open(directory)?.sync_all()?;
                }
                let mut synced = lock(&synced);
                if synced.len() >= SYNCED_DIRECTORIES_MAX {
                    synced.clear();
                }
                synced.insert(directory.to_owned());
            }
            Ok(())
        })
        .await
        .map_err(|error| error.with("path", path))
    }
}

fn lock(synced: &Mutex<HashSet<PathBuf>>) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
    synced.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::new(ErrorKind::Bug, operation).because(cause))?
        .map_err(|cause| Error::io(operation, cause))
}

fn sweep_directory(
    directory: &Path,
    now: Timestamp,
    grace: Duration,
    removed: &mut usize,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sweep_directory(&entry.path(), now, grace, removed)?;
            continue;
        }
        let name = entry.file_name();
        let staged = name.to_str().and_then(|name| name.rsplit_once('#')).is_some_and(|(_, suffix)| {
            !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
        });
        if !staged || !kind.is_file() {
            continue;
        }
        let modified = entry.metadata()?.modified()?;
        let since_epoch = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        if now.since(Timestamp::from_nanos(0).saturating_add(since_epoch)) >= grace {
            std::fs::remove_file(entry.path())?;
            *removed += 1;
        }
    }
    Ok(())
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
impl Store for FileStore {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        let put = put(&self.inner, path, body, mode).await;
        match &put {
            Ok(()) => self.settle(path, false).await?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.settle(path, true).await?,
            Err(_) => {}
        }
        put
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        get(&self.inner, path, range).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        list(&self.inner, prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        delete(&self.inner, path).await
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
    let bytes = inner.head(&at).await.map_err(failed)?.size;
    if range.start > range.end || range.end > bytes {
        return Err(Error::new(ErrorKind::Invalid, "get object")
            .detail("the range lies outside the object")
            .with("path", path)
            .with("range", format!("{}..{}", range.start, range.end))
            .with("bytes", bytes));
    }
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    inner.get_range(&at, range).await.map_err(failed)
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
        other => system_kind(other).unwrap_or(ErrorKind::Io),
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
