//! What every load stands on: the time, and a folder of its own on a real disk, removed at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{Clock, Error, ErrorKind, Result, SystemClock};

/// File systems that are no disk: nothing that is measured on them holds elsewhere.
const NO_DISKS: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];

/// Time and place of a run.
#[derive(Debug)]
pub(super) struct Ground {
    clock: Arc<dyn Clock>,
    folder: PathBuf,
    filesystem: String,
    load: f64,
    soak: bool,
}

impl Ground {
    /// Makes a folder inside `parent`, or inside `target` here, or here.
    ///
    /// # Errors
    /// `Invalid` if that is no disk, the operating system's.
    pub(super) fn take(parent: Option<&Path>, soak: bool) -> Result<Self> {
        let target = Path::new("target");
        let parent = parent.unwrap_or(if target.is_dir() { target } else { Path::new(".") });
        let folder = parent.join(format!("ssmd-bench-{}", std::process::id()));
        let failed = |cause| Error::io("make bench folder", cause).with("folder", folder.display());
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
        let filesystem = filesystem(&mounts, &folder).unwrap_or_else(|| "unknown".to_owned());
        let load = std::fs::read_to_string("/proc/loadavg").map_err(failed)?;
        let load = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
        let ground = Self { clock: Arc::new(SystemClock::new()), folder, filesystem, load, soak };
        if NO_DISKS.contains(&ground.filesystem.as_str()) {
            return Err(Error::new(ErrorKind::Invalid, "bench")
                .detail("the folder is not on a disk")
                .with("folder", ground.folder.display())
                .with("filesystem", &ground.filesystem)
                .hint("name a folder on a disk with --data"));
        }
        Ok(ground)
    }

    /// The time.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Where everything is written.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What kind of file system that is.
    pub(super) fn filesystem(&self) -> &str {
        &self.filesystem
    }

    /// How many tasks wanted a core in the minute before the run: above the number of cores, others slow it down.
    pub(super) fn load(&self) -> f64 {
        self.load
    }

    /// Whether long loads run for as long as their figures say.
    pub(super) fn soak(&self) -> bool {
        self.soak
    }

    /// A new, empty folder; what was there is removed.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        let failed = |cause| Error::io("make bench folder", cause).with("folder", folder.display());
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(failed)?;
        }
        std::fs::create_dir_all(&folder).map_err(failed)?;
        Ok(folder)
    }

    /// What this process has used of its cores so far, in seconds.
    pub(super) fn cpu_seconds(&self) -> f64 {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
    }

    /// Looks every millisecond until it is so.
    ///
    /// # Errors
    /// `Timeout` after `within`, with `what` was waited for.
    pub(super) async fn until(
        &self,
        what: &'static str,
        within: Duration,
        mut so: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = self.clock.elapsed() + within;
        while !so() {
            if self.clock.elapsed() > deadline {
                return Err(Error::new(ErrorKind::Timeout, what).with("seconds", within.as_secs()));
            }
            self.clock.sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "could not remove the bench folder");
        }
    }
}

/// The type of the file system that holds a path: of the longest mount point above it, the last one mounted there.
fn filesystem(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?);
        path.starts_with(&point)
            .then(|| (point.components().count(), kind.split(' ').next().map(str::to_owned)))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length)?.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_tells_the_filesystem() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:26 / /run rw shared:5 - tmpfs tmpfs rw\n";
        assert_eq!(filesystem(mounts, Path::new("/srv/data")).as_deref(), Some("ext4"));
        assert_eq!(filesystem(mounts, Path::new("/run/data")).as_deref(), Some("tmpfs"));
        assert_eq!(filesystem("", Path::new("/run/data")), None);
    }

    #[test]
    fn folders_are_made_and_removed() {
        let parent = tempfile::tempdir().unwrap();
        // A machine may keep its temporary files in memory, which is refused.
        let Ok(ground) = Ground::take(Some(parent.path()), false) else { return };
        let fresh = ground.fresh("x").unwrap();
        std::fs::write(fresh.join("file"), b"x").unwrap();
        assert_eq!(ground.fresh("x").unwrap().read_dir().unwrap().count(), 0);
        assert!(ground.cpu_seconds() > 0.0);
        drop(ground);
        assert_eq!(parent.path().read_dir().unwrap().count(), 0);
    }
}
