//! Environments as files: finding, reading and editing their documents.

mod context;
mod edit;
mod find;
mod write;

use std::path::Path;

use ssmd_core::environment::{Document, Environment, Finding, Problems, Resolved};
use ssmd_core::{Error, ErrorKind};

pub(crate) use context::{forget, remember};
pub(crate) use edit::{Edited, Wish, change, print};
pub(crate) use find::{FIRST, FOLDER, find, listed};
pub(crate) use write::{create, make};

use crate::output::Stopped;

/// Reads the environment that is named, or the one of this folder, or gives the built-in one where there is none.
///
/// # Errors
/// Every problem of the document at once, also all that it asks for and is not built yet; `NotFound` for a file
/// that is not there; `Invalid` where documents are in this folder, and none of them is used.
pub(crate) fn load(word: Option<&Path>) -> Result<Environment, Stopped> {
    match find(word)? {
        Some(path) => Ok(read(&path)?.checked().to_start()?),
        None => {
            find::none_lies_here()?;
            Ok(Environment::builtin(&ssmd_feeds::kraken::WORDS)?)
        }
    }
}

/// Reads the environment that is named, or the one of this folder.
///
/// # Errors
/// As [`load`]; `NotFound` where there is none.
pub(crate) fn resolve(word: Option<&Path>) -> Result<(std::path::PathBuf, Resolved), Stopped> {
    let path = named(word)?;
    let resolved = read(&path)?;
    Ok((path, resolved))
}

/// The document of the environment that is named, or of the one of this folder.
///
/// # Errors
/// `NotFound` where there is none.
pub(crate) fn named(word: Option<&Path>) -> Result<std::path::PathBuf, Error> {
    find(word)?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find environment")
            .detail("none is named, and none is used in this folder")
            .hint("`ssmd init` makes one here; -c NAME|FILE names one; `ssmd env use NAME` chooses one")
    })
}

/// Reads a document and what it extends.
///
/// # Errors
/// Every problem at once; `NotFound` for a file that is not there.
pub(crate) fn read(path: &Path) -> Result<Resolved, Stopped> {
    let text = bytes(path).map_err(|error| {
        error.hint("name the document with -c FILE; `ssmd check FILE` says what is wrong with it")
    })?;
    Ok(parse(path, text)?)
}

/// The text of a document.
///
/// # Errors
/// `Invalid` for a folder; the operating system's.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    if path.is_dir() {
        return Err(Error::new(ErrorKind::Invalid, "read environment")
            .detail("this is a folder, a document is a file")
            .with("file", path.display()));
    }
    std::fs::read(path).map_err(|cause| Error::io("read environment", cause).with("file", path.display()))
}

/// The document and those that it extends: all whose change changes what it means. `None` if it cannot be read.
pub(crate) fn documents(path: &Path) -> Option<Vec<std::path::PathBuf>> {
    Some(read(path).ok()?.documents.into_iter().map(Into::into).collect())
}

/// Reads a text as if it stood in this file.
///
/// # Errors
/// Every problem at once.
pub(crate) fn parse(path: &Path, text: Vec<u8>) -> Result<Resolved, Problems> {
    Resolved::read(document(path, text), &ssmd_feeds::vocabulary(), &mut find::extended)
}

/// Reads a text that is to run, as if it stood in this file.
///
/// # Errors
/// As for [`load`].
pub(crate) fn of_text(path: &Path, text: Vec<u8>) -> Result<Environment, Stopped> {
    Ok(parse(path, text)?.checked().to_start()?)
}

/// What was found about a document later, at its places in it and in those that it extends.
pub(crate) fn found(path: &Path, text: Vec<u8>, findings: Vec<Finding>) -> Problems {
    Problems::found(document(path, text), &mut find::extended, findings)
}

fn document(path: &Path, text: Vec<u8>) -> Document {
    Document { name: path.display().to_string(), id: find::identity(path), text }
}
