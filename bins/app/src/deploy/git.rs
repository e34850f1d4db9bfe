//! The repository that a file is written into: asked before, and told only when asked to. Runs `git`, so that hooks,
//! signatures and identities are the user's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ssmd_core::{Error, ErrorKind, Result};

const OPERATION: &str = "commit deployable files";

/// A work tree.
pub(crate) struct Repository {
    top: PathBuf,
    /// The file, from the top.
    file: PathBuf,
}

impl Repository {
    /// The repository of a file that need not be there yet, if it can be committed alone.
    ///
    /// # Errors
    /// `NotFound` where there is no repository; `Invalid` where other changes are staged; `Unavailable` without git.
    pub(crate) fn of(file: &Path) -> Result<Self> {
        let absolute = std::path::absolute(file).map_err(|cause| Error::io(OPERATION, cause))?;
        let there = absolute.ancestors().skip(1).find(|folder| folder.is_dir());
        let folder = there.unwrap_or(Path::new("/")).to_owned();
        let found = git(&folder, &["rev-parse", "--show-toplevel"])?;
        if !found.status.success() {
            return Err(Error::new(ErrorKind::NotFound, OPERATION)
                .detail("this is in no git repository")
                .with("folder", folder.display())
                .hint("leave --commit out, or `git init`"));
        }
        let top = String::from_utf8_lossy(&found.stdout).trim_end_matches('\n').to_owned();
        let whole = |path: &Path| path.canonicalize().map_err(|cause| Error::io(OPERATION, cause));
        let (top, real) = (whole(Path::new(&top))?, whole(&folder)?);
        let rest = absolute.strip_prefix(&folder).unwrap_or(&absolute);
        let file = real.join(rest);
        let file = file.strip_prefix(&top).unwrap_or(&file).to_owned();
        let repository = Self { top, file };
        repository.nothing_else_is_staged()?;
        Ok(repository)
    }

    fn nothing_else_is_staged(&self) -> Result<()> {
        let staged = self.done(&["diff", "--cached", "--name-only", "--no-renames", "-z"])?;
        let mut others = staged.split('\0').filter(|name| !name.is_empty() && Path::new(name) != self.file);
        let Some(first) = others.next() else { return Ok(()) };
        Err(Error::new(ErrorKind::Invalid, OPERATION)
            .detail("other changes are staged")
            .with("first", first)
            .with("more", others.count())
            .hint("commit them, or `git restore --staged` them; nothing was written"))
    }

    /// Commits the file, and nothing else. `None` if it is committed as it is.
    ///
    /// # Errors
    /// What git says.
    pub(crate) fn commit(&self, message: &str) -> Result<Option<String>> {
        let file = self.file.as_os_str();
        self.done(&[OsStr::new("add"), OsStr::new("--"), file])?;
        let cached = [OsStr::new("diff"), OsStr::new("--cached"), OsStr::new("--name-only")];
        let changed = self.done(&[&cached[..], &[OsStr::new("--"), file]].concat())?;
        if changed.is_empty() {
            return Ok(None);
        }
        let words = ["commit", "--quiet", "--message", message, "--"].map(OsStr::new);
        self.done(&[&words[..], &[file]].concat())?;
        Ok(Some(self.done(&["rev-parse", "HEAD"])?.trim_end().to_owned()))
    }

    fn done(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
        let output = git(&self.top, arguments)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::new(ErrorKind::Invalid, OPERATION).detail("git refused").with("git", said))
    }
}

fn git(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Output> {
    // Names are names: none of them is a pattern.
    let mut command = Command::new("git");
    command.arg("--literal-pathspecs").arg("-C").arg(folder).args(arguments);
    command.output().map_err(|cause| {
        Error::new(ErrorKind::Unavailable, OPERATION)
            .detail("git cannot be run")
            .because(cause)
            .hint("leave --commit out, or install git")
    })
}
