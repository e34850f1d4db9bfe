//! Objects as files. Owns durability on disk; knows no formats.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use ssmd_core::{BoxStream, Error, ErrorKind, ObjectMeta, ObjectPath, PutMode, Result, Store, Timestamp};

use super::{delete, get, list, put, translate};

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
