//! Every change that a log makes to its files, as one trait, so that a failing disk can be put under the real code.
//!
//! Reading is no part of it: a log reads the files as they are.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a log asks of a file system that it writes to. Files are open already; `path` is the name that they have.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a new, empty file and opens it for writing.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Writes all of `bytes`. Other processes see them; a power cut may lose any part of them.
    ///
    /// # Errors
    /// `StorageFull` if they do not fit; a part may have been written.
    fn write_all_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file off, or extends it with zeros.
    ///
    /// # Errors
    /// As the operating system's.
    fn set_len(&self, file: &File, path: &Path, bytes: u64) -> io::Result<()>;

    /// Makes what was written to the file, and its length, survive a power cut.
    ///
    /// # Errors
    /// As the operating system's. What was written since the last sync may then be lost, and a later sync may
    /// succeed all the same.
    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()>;

    /// As [`Disk::sync_data`], the file's other attributes included.
    ///
    /// # Errors
    /// As for [`Disk::sync_data`].
    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()>;

    /// Gives a file another name, in the place of what had it. Atomic; durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory survive a power cut.
    ///
    /// # Errors
    /// As the operating system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// How many bytes are free.
    ///
    /// # Errors
    /// As the operating system's.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// The machine's own file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Disk for System {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn write_all_at(&self, file: &File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn set_len(&self, file: &File, _path: &Path, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }

    fn sync_data(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
