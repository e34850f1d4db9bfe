//! Writing a document so that whoever looks, whenever the machine stops, finds the old one or the new one whole.
//!
//! A file beside it is written and synced, then takes its place, then the folder is synced. Editors of one folder
//! take turns. A link stays a link: the file that it leads to is replaced.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use ssmd_core::{Error, ErrorKind, Result};

use super::edit::unified;

const OPERATION: &str = "write document";

/// The steps of a write, each of which may be the last one that happens.
trait Disk {
    /// Makes an empty file, in place of one that an interrupted write left.
    fn create(&mut self, path: &Path) -> io::Result<File>;
    /// Writes all of it.
    fn write(&mut self, file: &mut File, text: &[u8]) -> io::Result<()>;
    /// Gives it the rights that the old one had.
    fn give_rights(&mut self, file: &File, path: &Path, old: &Metadata) -> io::Result<()>;
    /// Puts it on the disk: a file or a folder.
    fn sync(&mut self, file: &File) -> io::Result<()>;
    /// Puts one file in the place of another.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
}

/// The real one.
struct RealDisk;

impl Disk for RealDisk {
    fn create(&mut self, path: &Path) -> io::Result<File> {
        match std::fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn write(&mut self, file: &mut File, text: &[u8]) -> io::Result<()> {
        file.write_all(text)
    }

    fn give_rights(&mut self, file: &File, path: &Path, old: &Metadata) -> io::Result<()> {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            // Only root may give files away; for others the file is theirs from now on, as after any editor.
            let _ = chown(path, Some(old.uid()), Some(old.gid()));
        }
        file.set_permissions(old.permissions())
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
}

/// Waits until nobody else edits in this folder, and keeps everybody else from it until dropped.
///
/// # Errors
/// The operating system's.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let lock = || {
        let file = File::open(folder)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|cause| Error::io("lock folder", cause).with("folder", folder.display()))
}

/// The file itself, whatever links lead to it, and the folder it is in.
///
/// # Errors
/// The operating system's.
pub(super) fn target(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let file = match path.canonicalize() {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => path.to_owned(),
        found => found.map_err(|cause| Error::io("find document", cause).with("file", path.display()))?,
    };
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok((file, folder))
}

/// Replaces a document, or makes it. Whoever calls holds the lock of its folder.
///
/// # Errors
/// The operating system's; then the old one is still there.
pub(super) fn replace(path: &Path, text: &[u8]) -> Result<()> {
    replace_on(path, text, &mut RealDisk)
}

/// Makes a document that is not there yet, with the folder it is in.
///
/// # Errors
/// `AlreadyExists` if it is there; the operating system's.
pub(crate) fn create(path: &Path, text: &str) -> Result<()> {
    let (path, folder) = target(path)?;
    std::fs::create_dir_all(&folder)
        .map_err(|cause| Error::io("create folder", cause).with("folder", folder.display()))?;
    let _lock = lock(&folder)?;
    if path.symlink_metadata().is_ok() {
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION)
            .with("file", path.display())
            .hint("edit it, or delete it first: nothing is overwritten"));
    }
    replace(&path, text.as_bytes())
}

/// What became of a file that is made anew each time.
pub(crate) struct Made {
    /// The changed lines as a unified diff; empty if there are none.
    pub(crate) diff: String,
    /// Whether it was written.
    pub(crate) written: bool,
}

/// Makes a file say this, with the folder it is in; one that says so already is not touched.
///
/// # Errors
/// `AlreadyExists` if what is there does not begin with `heading`: it is somebody else's. The operating system's.
pub(crate) fn make(path: &Path, text: &str, heading: &str, write: bool) -> Result<Made> {
    let shown = path.display().to_string();
    let (path, folder) = target(path)?;
    let old = match std::fs::read(&path) {
        Ok(old) => String::from_utf8_lossy(&old).into_owned(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => String::new(),
        Err(cause) => return Err(Error::io(OPERATION, cause).with("file", shown)),
    };
    if !old.is_empty() && !old.starts_with(heading) {
        return Err(Error::new(ErrorKind::AlreadyExists, OPERATION)
            .detail("this file is of something else")
            .with("file", shown)
            .hint(format!(
                "delete it, or name another folder with --dir; it should begin with `{heading}`"
            )));
    }
    let diff = unified(&shown, &old, text);
    let written = write && old != text;
    if written {
        std::fs::create_dir_all(&folder)
            .map_err(|cause| Error::io("create folder", cause).with("folder", folder.display()))?;
        let _lock = lock(&folder)?;
        replace(&path, text.as_bytes())?;
    }
    Ok(Made { diff, written })
}

fn replace_on(path: &Path, text: &[u8], disk: &mut dyn Disk) -> Result<()> {
    let (path, folder) = target(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = folder.join(format!(".{name}.ssmd-edit"));
    let mut steps = || {
        let mut file = disk.create(&beside)?;
        disk.write(&mut file, text)?;
        match path.metadata() {
            Ok(old) => disk.give_rights(&file, &beside, &old)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        disk.sync(&file)?;
        disk.rename(&beside, &path)?;
        disk.sync(&File::open(&folder)?)
    };
    steps().map_err(|cause| {
        let _ = std::fs::remove_file(&beside);
        Error::io(OPERATION, cause).with("file", path.display())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A machine that stops in the middle of its nth step, or behind it.
    struct Stops {
        steps: usize,
        behind: bool,
    }

    impl Stops {
        /// Whether this step is the last one, and then whether it happens.
        fn step<T>(&mut self, half: impl FnOnce(), whole: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            let last = self.steps == 0;
            self.steps = self.steps.wrapping_sub(1);
            if !last {
                return whole();
            }
            if self.behind {
                drop(whole()?);
            } else {
                half();
            }
            // Nothing runs after a stop: no clean-up either.
            std::panic::panic_any("stopped");
        }
    }

    impl Disk for Stops {
        fn create(&mut self, path: &Path) -> io::Result<File> {
            self.step(|| {}, || RealDisk.create(path))
        }

        fn write(&mut self, file: &mut File, text: &[u8]) -> io::Result<()> {
            let mut other = file.try_clone().unwrap();
            self.step(|| other.write_all(&text[..text.len() / 2]).unwrap(), || RealDisk.write(file, text))
        }

        fn give_rights(&mut self, file: &File, path: &Path, old: &Metadata) -> io::Result<()> {
            self.step(|| {}, || RealDisk.give_rights(file, path, old))
        }

        fn sync(&mut self, file: &File) -> io::Result<()> {
            self.step(|| {}, || RealDisk.sync(file))
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.step(|| {}, || RealDisk.rename(from, to))
        }
    }

    #[test]
    fn a_stop_at_any_step_leaves_the_old_or_the_new_document() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env.yaml");
        let (old, new) = ("old: 1\n".repeat(500), "new: 2\n".repeat(700));
        let (mut olds, mut news) = (0, 0);
        for (steps, behind) in (0..6).flat_map(|step| [(step, false), (step, true)]) {
            std::fs::write(&path, &old).unwrap();
            let mut disk = Stops { steps, behind };
            let write = std::panic::AssertUnwindSafe(|| replace_on(&path, new.as_bytes(), &mut disk));
            assert!(std::panic::catch_unwind(write).is_err(), "step {steps} is one of the steps");
            match std::fs::read_to_string(&path).unwrap() {
                text if text == old => olds += 1,
                text if text == new => news += 1,
                text => panic!("after step {steps}: {} bytes of neither", text.len()),
            }
            // What the stop left is in nobody's way.
            replace(&path, new.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), new);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        assert_eq!((olds, news), (9, 3));
    }

    #[test]
    fn rights_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("env.yaml"), folder.path().join("link.yaml"));
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("env.yaml", &link).unwrap();
        replace(&link, b"new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn nothing_is_overwritten_by_making() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("environments").join("dev.yaml");
        create(&path, "first").unwrap();
        assert_eq!(create(&path, "second").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    }
}
