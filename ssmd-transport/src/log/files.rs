//! The directory of a log: which names are ours, how they are opened without following anybody's tricks, and the
//! lock that makes the writer the only one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::pread;
use ssmd_core::{Error, ErrorKind, Result, Timestamp};

use super::disk::{Disk, System};
use super::format::{HEADER_BYTES, Header};

/// The ending of segment files.
const SEGMENT: &str = ".log";
/// Digits in a segment's name: enough for every `u64`, so that names sort as numbers do.
const DIGITS: usize = 20;
/// A segment under construction; renamed once it is whole and durable.
const NEW: &str = "new.tmp";
const LOCK: &str = "lock";
/// The most bytes of the lock's text that are read for an error message.
const HOLDER_BYTES_MAX: u64 = 200;

/// A segment file, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

/// The segments of a log, oldest first. Names that end like a segment's and are none are an error; other foreign
/// names are left alone.
pub(super) fn segments(dir: &Path) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    for name in names(dir)? {
        let Some(number) = name.strip_suffix(SEGMENT) else { continue };
        let digits = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
        match number.parse() {
            Ok(first) if digits => found.push(Named { first, path: dir.join(&name) }),
            _ => {
                return Err(Error::new(ErrorKind::Invalid, "list log")
                    .detail("a file's name ends like a segment's, and is none")
                    .with("path", dir.join(&name).display())
                    .hint("move it out of the log's directory"));
            }
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let list = || -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|item| Ok(item?.file_name().to_string_lossy().into_owned())).collect()
    };
    list().map_err(|cause| failed("list log", dir, cause))
}

/// Makes the directory if it is missing, and refuses one in which somebody keeps other things.
pub(super) fn prepare(dir: &Path) -> Result<()> {
    create_dir(dir)?;
    let names = names(dir)?;
    let ours = |name: &String| name.ends_with(SEGMENT) || name == LOCK || name == super::mark::NAME;
    // `lost+found` is what a fresh disk holds; the other file may be left of a creation that was interrupted.
    let harmless = |name: &String| name == "lost+found" || name.ends_with(".tmp");
    match names.iter().find(|name| !harmless(name)) {
        Some(name) if !names.iter().any(ours) => Err(Error::new(ErrorKind::Invalid, "create log")
            .detail("the directory holds something that is no log")
            .with("path", dir.join(name).display())
            .hint("name an empty directory, or one that does not exist yet")),
        _ => Ok(()),
    }
}

/// Makes a directory and what is missing above it, all of it durable: a log must not vanish with its directory.
fn create_dir(dir: &Path) -> Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    fs::create_dir_all(dir).map_err(|cause| failed("create log", dir, cause))?;
    for made in missing {
        match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(&System, parent)?,
            _ => sync_dir(&System, Path::new("."))?,
        }
    }
    Ok(())
}

/// Opens a regular file: no symlink is followed, no pipe is waited for.
pub(super) fn open(path: &Path, write: bool) -> Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    let meta = match &opened {
        Ok(file) => file.metadata(),
        Err(_) => fs::symlink_metadata(path),
    };
    if meta.is_ok_and(|meta| !meta.is_file()) {
        return Err(Error::new(ErrorKind::Invalid, "open log file")
            .detail("this is no regular file")
            .with("path", path.display()));
    }
    opened.map_err(|cause| failed("open log file", path, cause))
}

/// Opens a segment and reads its header.
pub(super) fn open_segment(segment: &Named, write: bool) -> Result<(File, Header)> {
    let file = open(&segment.path, write)?;
    let bytes = read(&file, &segment.path, 0, HEADER_BYTES)?;
    let header = match Header::decode(&bytes) {
        Ok(header) if header.first == segment.first => Ok(header),
        Ok(_) => Err("the header does not belong to the file's name"),
        Err(why) => Err(why),
    };
    let header = header.map_err(|why| {
        Error::new(ErrorKind::Corrupt, "read log header")
            .detail(why)
            .with("path", segment.path.display())
            .with("offset", 0)
    })?;
    Ok((file, header))
}

/// Reads `length` bytes from `offset` on, or fewer if the file ends.
pub(super) fn read(file: &File, path: &Path, offset: u64, length: usize) -> Result<Bytes> {
    let mut bytes = BytesMut::zeroed(length);
    let length = fill(file, path, offset, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes.freeze())
}

/// Fills `room`, or less of it at the end of the file, and gives how much that is.
pub(super) fn fill(file: &File, path: &Path, offset: u64, room: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match pread(file, &mut room[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(failed("read log", path, cause.into())),
        }
    }
    Ok(filled)
}

/// Where the segment is, or would be, whose first entry has this number.
pub(super) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:0DIGITS$}{SEGMENT}"))
}

/// Creates a segment that holds only its header; when this returns it is durable under its name.
pub(super) fn create_segment(disk: &dyn Disk, dir: &Path, header: &Header) -> Result<File> {
    let path = segment_path(dir, header.first);
    replace(disk, dir, NEW, &path, &header.encode())?;
    open(&path, true)
}

/// Writes a whole file beside its place and moves it there; when this returns it is durable, and at no time is a
/// part of it visible.
pub(super) fn replace(disk: &dyn Disk, dir: &Path, temporary: &str, path: &Path, bytes: &[u8]) -> Result<()> {
    let new = dir.join(temporary);
    let write = || -> io::Result<()> {
        // What an interrupted attempt left is removed, so that a symlink by that name is never written through.
        match disk.remove(&new) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let file = disk.create(&new)?;
        disk.write_all_at(&file, &new, bytes, 0)?;
        disk.sync_all(&file, &new)?;
        disk.rename(&new, path)
    };
    write().map_err(|cause| failed("write log file", path, cause))?;
    sync_dir(disk, dir)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<()> {
    disk.sync_dir(dir).map_err(|cause| failed("sync log directory", dir, cause))
}

/// The error of a call to the operating system, with the file it was about.
pub(super) fn failed(operation: &'static str, path: &Path, cause: io::Error) -> Error {
    Error::io(operation, cause).with("path", path.display())
}

/// The right to write, held until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    /// The lock belongs to this open file.
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(dir: &Path, now: Timestamp) -> Result<Self> {
        let path = dir.join(LOCK);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(&path)
            .map_err(|cause| failed("lock log", &path, cause))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(held(&file, dir)),
            Err(cause) => return Err(failed("lock log", &path, cause.into())),
        }
        let text = format!("process {} since {now}\n", std::process::id());
        // The text is only for people: a full disk must not keep a log from being opened.
        if let Err(cause) = file.set_len(0).and_then(|()| file.write_all(text.as_bytes())) {
            tracing::debug!(%cause, "the log's lock does not say who holds it");
        }
        Ok(Self { _file: file })
    }
}

fn held(file: &File, dir: &Path) -> Error {
    let mut holder = String::new();
    // Whoever holds it may be writing the text at this moment: then it is left out.
    let _ = file.take(HOLDER_BYTES_MAX).read_to_string(&mut holder);
    Error::new(ErrorKind::Conflict, "lock log")
        .detail("the log is open for writing already")
        .with("path", dir.display())
        .with("holder", holder.trim())
        .hint("stop the other process, or use another directory")
}
