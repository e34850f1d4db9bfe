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
    let words = ssmd_feeds::vocabulary();
    let Some(path) = path else {
        return Ok(Environment::builtin(&ssmd_feeds::kraken::WORDS)?);
    };
    let text = std::fs::read(path).map_err(|cause| {
        Error::io("read environment", cause)
            .with("file", path.display())
            .hint("name the document with -c FILE; `ssmd check FILE` says what is wrong with it")
    })?;
    Ok(Environment::check(&text, &path.display().to_string(), &words)?.to_start()?)
}
