//! A program that runs while a row goes on, and never outlives it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use ssmd_core::{Error, Result};

use crate::broken;
use crate::rig::Rig;

/// A program that was started; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program whose standard error is added to a file.
    pub(crate) fn start(command: &mut Command, said: &Path) -> Result<Self> {
        let failed = |cause| Error::io("start program", cause);
        let said = File::options().create(true).append(true).open(said).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        Ok(Self { child: command.spawn().map_err(failed)? })
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(broken("send signal", format!("kill -{name}: {status}"))),
            Err(cause) => Err(Error::io("send signal", cause)),
        }
    }

    /// `kill -9`, and waits until it is dead.
    ///
    /// # Errors
    /// If it had ended before by itself: then the row has not broken what it meant to.
    pub(crate) fn kill(mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            return Err(broken("kill program", format!("it had ended by itself: {status}")));
        }
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_err(|cause| Error::io("kill program", cause))?;
        Ok(())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(|cause| Error::io("wait for program", cause))
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self, rig: &Rig) -> Result<ExitStatus> {
        rig.until("a program to end", || self.ended()).await
    }

    /// Waits for its end, which must be exit code 0.
    pub(crate) async fn ends_well(&mut self, rig: &Rig) -> Result<()> {
        let status = self.end(rig).await?;
        if status.success() { Ok(()) } else { Err(broken("run program", format!("it ended with {status}"))) }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self, rig: &Rig) -> Result<()> {
        self.signal("TERM")?;
        self.ends_well(rig).await
    }

    /// The most memory that it has had so far, in bytes; `None` where the system does not tell or it has ended.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end: exit code and standard output.
pub(crate) async fn run_within(rig: &Rig, mut command: Command) -> Result<(Option<i32>, Vec<u8>)> {
    let failed = |cause| Error::io("run program", cause);
    let out = tempfile::NamedTempFile::new().map_err(failed)?;
    let said = File::options().create(true).append(true).open(rig.path("said.txt")).map_err(failed)?;
    command.stdin(Stdio::null()).stdout(out.reopen().map_err(failed)?).stderr(said);
    let mut process = Process { child: command.spawn().map_err(failed)? };
    let status = process.end(rig).await?;
    Ok((status.code(), std::fs::read(out.path()).map_err(failed)?))
}
