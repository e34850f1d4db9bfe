//! One edit of a document: read, change, check, write, show.

use std::path::Path;

use ssmd_core::environment::{self, Edit, Resolved};
use ssmd_core::{Error, ErrorKind, Result};

use super::write;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

/// Lines shown around what changed.
const CONTEXT_LINES: usize = 3;

/// What an edit is to do.
pub(crate) struct Wish {
    /// The edits; none if everything is so already.
    pub(crate) edits: Vec<Edit>,
    /// What has happened then, in a sentence.
    pub(crate) said: String,
}

/// What an edit did.
pub(crate) struct Edited {
    /// The document.
    pub(crate) file: String,
    /// What was before.
    pub(crate) before: Resolved,
    /// What is now, or would be.
    pub(crate) after: Resolved,
    /// The changed lines as a unified diff; empty if there are none.
    pub(crate) diff: String,
    /// Whether the document was written.
    pub(crate) written: bool,
    /// What has happened, in a sentence.
    pub(crate) said: String,
}

/// Edits a document. It is checked before and after; what is wrong with either is told, and then nothing is written.
///
/// # Errors
/// Every problem at once; `Conflict` if somebody changed the file meanwhile; the operating system's.
pub(crate) fn change(
    path: &Path,
    write: bool,
    wish: impl FnOnce(&Resolved) -> Result<Wish>,
) -> Result<Edited, Stopped> {
    let (target, folder) = write::target(path)?;
    let _lock = write::lock(&folder)?;
    let read = || super::bytes(&target);
    let bytes = read()?;
    let before = super::parse(path, bytes.clone())?;
    let Wish { edits, said } = wish(&before)?;
    // A document with an environment in it is UTF-8.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let edited = environment::edit(&text, &edits)?;
    let after = super::parse(path, edited.clone().into_bytes())?;
    let changed = edited != text;
    if changed && write {
        if read()? != bytes {
            return Err(Error::new(ErrorKind::Conflict, "write document")
                .detail("somebody else wrote it meanwhile")
                .with("file", path.display())
                .hint("try again")
                .into());
        }
        write::replace(&target, edited.as_bytes())?;
    }
    let file = path.display().to_string();
    let diff = unified(&file, &text, &edited);
    Ok(Edited { file, before, after, diff, written: changed && write, said })
}

/// The changed lines of a file; empty if there are none.
pub(super) fn unified(file: &str, old: &str, new: &str) -> String {
    let diff = similar::TextDiff::from_lines(old, new);
    diff.unified_diff().context_radius(CONTEXT_LINES).header(file, file).to_string()
}

/// Prints what an edit did.
///
/// # Errors
/// `Unread` if nobody reads.
pub(crate) fn print(edited: &Edited, json: bool) -> Outcome {
    let mut out = Out::new();
    if json {
        out.json(&serde_json::json!({
            "file": edited.file,
            "environment": edited.after.environment.name,
            "changed": !edited.diff.is_empty(),
            "written": edited.written,
            "said": edited.said,
            "diff": edited.diff,
        }))?;
    } else {
        out.bytes(edited.diff.as_bytes())?;
        match (edited.diff.is_empty(), edited.written) {
            (true, _) => out.line(format_args!("nothing to change: {}", edited.said))?,
            (false, true) => out.line(&edited.said)?,
            (false, false) => out.line("nothing was written")?,
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}
