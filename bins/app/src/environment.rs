//! Finding and reading the environment document.

use std::path::Path;

use ssmd_core::Error;
use ssmd_core::environment::Environment;

use crate::output::Stopped;

/// Reads the document, or gives the built-in environment where none is named.
///
/// # Errors
/// Every problem of the document at once, also all that it asks for and is not built yet; `NotFound` for a file
/// that is not there.
pub(crate) fn load(path: Option<&Path>) -> Result<Environment, Stopped> {
    let Some(path) = path else {
        return Ok(Environment::builtin(&ssmd_feeds::kraken::WORDS)?);
    };
    let text = std::fs::read(path).map_err(|cause| {
        Error::io("read environment", cause)
            .with("file", path.display())
            .hint("name the document with -c FILE; `ssmd check FILE` says what is wrong with it")
    })?;
    parse(&text, &path.display().to_string())
}

/// Reads a document's text; `name` is what messages call it.
///
/// # Errors
/// As for [`load`].
pub(crate) fn parse(text: &[u8], name: &str) -> Result<Environment, Stopped> {
    Ok(Environment::check(text, name, &ssmd_feeds::vocabulary())?.to_start()?)
}
