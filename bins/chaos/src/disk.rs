//! Disks that can fill up or lose power: a tmpfs of a few megabytes, and ext4 on a loop device that is shut down
//! without writing anything more, as the power cut does it. Both need the rights to mount.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ssmd_core::{Error, Result, Timestamp};

use crate::broken;
use crate::rig::Rig;

/// Waits for a line, says the time, and makes ext4 behave as if the power were gone: no journal is flushed, nothing
/// dirty is written, every call fails. `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`; Python, because a
/// call of `ioctl` from Rust needs `unsafe`.
const CUT: &str = "import fcntl,os,struct,sys,time
disk=os.open(sys.argv[1],os.O_RDONLY)
print('ready',flush=True)
sys.stdin.readline()
at=time.time_ns()
fcntl.ioctl(disk,0x8004587D,struct.pack('I',2))
print(at,flush=True)";

/// A mounted disk; unmounted when it is dropped.
pub(crate) struct Disk {
    point: PathBuf,
    image: Option<PathBuf>,
}

impl Disk {
    /// A disk in memory of so many MiB.
    ///
    /// # Errors
    /// Where mounting is not allowed.
    pub(crate) fn memory(rig: &Rig, name: &str, mebibytes: u32) -> Result<Self> {
        let point = rig.path(name);
        make(&point)?;
        let size = format!("size={mebibytes}m");
        tool("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], &[&point])?;
        Ok(Self { point, image: None })
    }

    /// An ext4 disk in a file of so many MiB.
    ///
    /// # Errors
    /// Where there is no `mkfs.ext4`, no loop device, no Python, or mounting is not allowed.
    pub(crate) fn ext4(rig: &Rig, name: &str, mebibytes: u64) -> Result<Self> {
        let (point, image) = (rig.path(name), rig.path(&format!("{name}.ext4")));
        make(&point)?;
        let made = File::create(&image).and_then(|file| file.set_len(mebibytes * 1024 * 1024));
        made.map_err(|cause| Error::io("make disk", cause))?;
        tool("python3", &["-c", "import fcntl"], &[])?;
        tool("mkfs.ext4", &["-q", "-F"], &[&image])?;
        tool("mount", &["-o", "loop"], &[&image, &point])?;
        Ok(Self { point, image: Some(image) })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.point
    }

    /// Gets ready to cut the power.
    pub(crate) fn knife(&self) -> Result<Knife> {
        let failed = |cause| Error::io("cut power", cause);
        let mut command = Command::new("python3");
        command.args(["-c", CUT]).arg(&self.point).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let said = child.stdout.take().ok_or_else(|| broken("cut power", "no standard output"))?;
        let mut knife = Knife { child, said: BufReader::new(said) };
        knife.line()?;
        Ok(knife)
    }

    /// Unmounts it and mounts it again, as a machine that starts does. Nobody may have a file of it open.
    pub(crate) fn restart(&self) -> Result<()> {
        let image = self.image.as_ref().ok_or_else(|| broken("restart disk", "memory forgets"))?;
        tool("umount", &[], &[&self.point])?;
        tool("mount", &["-o", "loop"], &[image, &self.point])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A program that was killed a moment ago may still hold it: then it is unmounted when that has gone.
        if tool("umount", &[], &[&self.point]).is_err() {
            let _ = tool("umount", &["-l"], &[&self.point]);
        }
    }
}

/// Cuts the power of one disk, at once.
pub(crate) struct Knife {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Knife {
    /// Cuts, and says when.
    pub(crate) fn cut(mut self) -> Result<Timestamp> {
        let mut go = self.child.stdin.take().ok_or_else(|| broken("cut power", "no standard input"))?;
        go.write_all(b"\n").map_err(|cause| Error::io("cut power", cause))?;
        let at = self.line()?.parse().map_err(|cause| broken("cut power", "no time").because(cause))?;
        self.child.wait().map_err(|cause| Error::io("cut power", cause))?;
        Ok(Timestamp::from_nanos(at))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(|cause| Error::io("cut power", cause))?;
        Ok(line.trim().to_owned())
    }
}

fn make(point: &Path) -> Result<()> {
    std::fs::create_dir_all(point).map_err(|cause| Error::io("make mount point", cause))
}

fn tool(name: &'static str, arguments: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new(name).args(arguments).args(paths).output();
    let output = output.map_err(|cause| Error::io("run tool", cause).with("tool", name))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(broken("run tool", said).with("tool", name))
}
