//! How stores are written: `file:` and a path. Used for `spec.store` and for `--store`.

use super::StoreSpec;
use crate::{Error, ErrorKind, Result};

/// The longest path of a store, in bytes: `PATH_MAX` of Linux.
const PATH_BYTES_MAX: usize = 4096;

/// The path of [`super::STORE_DEFAULT`].
pub(super) const PATH_DEFAULT: &str = "./ssmd-data/store";
/// What to write instead.
const HINT: &str = "write file: and a path, as in file:./ssmd-data/store";

impl std::fmt::Display for StoreSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::File(path) = self;
        write!(f, "file:{path}")
    }
}

impl StoreSpec {
    /// Reads `file:PATH` or `file:///PATH`. A path that does not start with `/` is relative to the working directory.
    ///
    /// # Errors
    /// `Unsupported` for a store that is not built yet, `Invalid` for everything else, with what to write instead.
    pub fn parse(text: &str) -> Result<Self> {
        read(text).map_err(|(kind, detail)| {
            let shown: String = text.chars().take(80).collect();
            Error::new(kind, "read store").detail(detail).with("store", shown).hint(HINT)
        })
    }
}

/// The same, with the bare reason for a refusal.
pub(super) fn read(text: &str) -> Result<StoreSpec, (ErrorKind, &'static str)> {
    let invalid = |detail| Err((ErrorKind::Invalid, detail));
    let Some(rest) = text.strip_prefix("file:") else {
        return match text.split(':').next() {
            Some("s3" | "gs" | "az") => Err((ErrorKind::Unsupported, "object stores are not built yet")),
            _ => invalid("it must start with file:"),
        };
    };
    let path = match rest.strip_prefix("//") {
        Some(rooted) if rooted.starts_with('/') => rooted,
        Some(_) => return invalid("file:// must be followed by a path that starts with /"),
        None => rest,
    };
    if path.is_empty() {
        return invalid("the path is missing");
    }
    if path.len() > PATH_BYTES_MAX {
        return invalid("the path is longer than 4096 bytes");
    }
    if path.trim() != path || path.chars().any(char::is_control) {
        return invalid("it has white space around the path, or control characters in it");
    }
    Ok(StoreSpec::File(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_files() {
        for (text, path) in [
            ("file:./ssmd-data/store", "./ssmd-data/store"),
            ("file:store", "store"),
            ("file:/var/lib/ssmd", "/var/lib/ssmd"),
            ("file:///var/lib/ssmd", "/var/lib/ssmd"),
        ] {
            assert_eq!(StoreSpec::parse(text).unwrap(), StoreSpec::File(path.into()), "{text}");
        }
        for text in
            ["", "file", "file:", "file://", "file://host/x", "./store", "file: x", "file:x\n", "FILE:x"]
        {
            assert_eq!(StoreSpec::parse(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
        assert_eq!(StoreSpec::parse("s3://bucket").unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(StoreSpec::parse(&format!("file:{}", "x".repeat(5000))).is_err());
    }
}
