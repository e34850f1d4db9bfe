//! Secrets by name. A document says where a secret is, never what it is; nothing here prints one.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

/// The longest secret, in bytes: the largest real ones are PEM keys of a few KB.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// Where a secret is: `{ env: X }` or `{ file: X }`. Resolved on demand, never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The name of an environment variable.
    Env(String),
    /// The path of a file, relative to the working directory; white space at its end is not part of the secret.
    File(String),
}

impl Secret {
    /// Looks the secret up now. `env` and `file` read a variable and a file: `std::env::var_os` and `std::fs::read`.
    ///
    /// # Errors
    /// `NotFound` if it is not set, `Invalid` if it is empty, too long or not text, and whatever `file` says. The
    /// error names the variable or the path, and never what it holds.
    pub fn resolve(
        &self,
        env: impl FnOnce(&str) -> Option<std::ffi::OsString>,
        file: impl FnOnce(&str) -> io::Result<Vec<u8>>,
    ) -> Result<SecretText> {
        const OPERATION: &str = "read secret";
        let bytes = match self {
            Self::Env(name) => env(name).map(std::ffi::OsString::into_encoded_bytes).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, OPERATION)
                    .with("env", name)
                    .hint(format!("set the environment variable {name}"))
            })?,
            Self::File(path) => file(path).map_err(|cause| Error::io(OPERATION, cause).with("file", path))?,
        };
        let invalid =
            |why: &'static str| Error::new(ErrorKind::Invalid, OPERATION).detail(why).with("secret", self);
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(invalid("longer than 64 KiB"));
        }
        // The cause would quote no bytes, but the rule is simpler kept whole: nothing of a secret in an error.
        let text = String::from_utf8(bytes).map_err(|_| invalid("not UTF-8"))?;
        match text.trim_end() {
            "" => Err(invalid("empty")),
            secret => Ok(SecretText(secret.to_owned())),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

impl Serialize for Secret {
    /// As it stands in a document: `{ env: X }`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Env(name) => serializer.collect_map([("env", name)]),
            Self::File(path) => serializer.collect_map([("file", path)]),
        }
    }
}

/// A secret's text. It can be neither printed nor serialized; only [`SecretText::expose`] gives it out.
pub struct SecretText(String);

impl SecretText {
    /// The secret itself: for a signature or a header, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_file(_: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    #[test]
    fn a_secret_is_read_when_asked_for_and_never_printed() {
        let secret = Secret::Env("KEY".into());
        let text = secret.resolve(|name| (name == "KEY").then(|| "hunter2\n".into()), no_file).unwrap();
        assert_eq!(text.expose(), "hunter2");
        assert!(!format!("{text:?} {secret:?} {secret}").contains("hunter2"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#"{"env":"KEY"}"#);

        let file = Secret::File("key.pem".into());
        let text = file.resolve(|_| None, |path| Ok(format!("from {path}\r\n").into_bytes())).unwrap();
        assert_eq!(text.expose(), "from key.pem");
        assert_eq!(serde_json::to_string(&file).unwrap(), r#"{"file":"key.pem"}"#);
    }

    #[test]
    fn what_is_not_there_is_an_error_that_quotes_nothing() {
        let secret = Secret::Env("KEY".into());
        assert_eq!(secret.resolve(|_| None, no_file).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(secret.resolve(|_| Some(" \n".into()), no_file).unwrap_err().kind(), ErrorKind::Invalid);
        let file = Secret::File("key.pem".into());
        assert_eq!(file.resolve(|_| None, no_file).unwrap_err().kind(), ErrorKind::NotFound);
        let error = file.resolve(|_| None, |_| Ok(b"hunter2\xff".to_vec())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!error.report().contains("hunter2"), "{}", error.report());
        assert!(file.resolve(|_| None, |_| Ok(vec![b'x'; SECRET_BYTES_MAX + 1])).is_err());
    }
}
