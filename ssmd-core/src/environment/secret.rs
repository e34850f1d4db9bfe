//! Secrets by name. A document says where a secret is, never what it is; nothing here prints one.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

use super::codes::Code;
use super::fields::{self, SECRET};
use super::node::{Node, Value};
use super::problem::{Draft, Log};
use super::section;
use super::source::quote;
use super::spec::SecretSpec;
use super::values;
use super::vocabulary::{nearest, one_of};
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
    /// One key of a secret of Kubernetes, by its name in `spec.secrets`. Nothing mounts these yet.
    Mounted {
        /// The name in `spec.secrets`.
        secret: String,
        /// The key in it.
        key: String,
    },
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
            Self::Mounted { .. } => {
                let detail = "secrets of Kubernetes are not built yet";
                return Err(Error::new(ErrorKind::Unsupported, OPERATION)
                    .detail(detail)
                    .with("secret", self));
            }
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
            Self::Mounted { secret, key } => write!(f, "secret {secret}, key {key}"),
        }
    }
}

impl Serialize for Secret {
    /// As it stands in a document: `{ env: X }`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Env(name) => serializer.collect_map([("env", name)]),
            Self::File(path) => serializer.collect_map([("file", path)]),
            Self::Mounted { secret, key } => serializer.collect_map([("secret", secret), ("key", key)]),
        }
    }
}

/// The secrets that `spec.secrets` names; `None` for those of which the value is wrong.
pub(super) type Known = BTreeMap<String, Option<SecretSpec>>;

/// Reads `spec.secrets`.
pub(super) fn read_known(node: &Node<'_>, path: &str, log: &mut Log<'_>) -> Known {
    let shown = format!("`{path}`");
    let Some(entries) = section::map(node, &shown, log) else {
        node.hide(log);
        return Known::new();
    };
    let mut known = Known::new();
    for (key, node) in entries {
        section::reported(
            values::id(&key.text),
            &key.node(),
            &format!("the name of a secret in {shown}"),
            log,
        );
        let mounted = node.text().and_then(mounted);
        if mounted.is_some() {
            let message =
                format!("{} of {shown}, a secret of Kubernetes, is not built yet", quote(&key.text));
            let expected = "`{ env: VARIABLE }` or `{ file: PATH }`";
            log.note(Draft::new(Code::NotBuiltYet, key.span, message).expected(expected));
        }
        let spec = mounted.or_else(|| {
            let expected = "`{ env: VARIABLE }`, `{ file: PATH }` or `sealed-secret/NAME`";
            here(node, expected, &shown, log).map(SecretSpec::Here)
        });
        known.insert(key.text.clone().into_owned(), spec);
    }
    known
}

/// `sealed-secret/NAME` or `secret/NAME`, with a name as Kubernetes has them.
fn mounted(text: &str) -> Option<SecretSpec> {
    let (kind, name) = text.split_once('/')?;
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = name.len() <= 253
        && name.bytes().all(|byte| letter(byte) || matches!(byte, b'-' | b'.'))
        && name.bytes().next().is_some_and(letter)
        && name.bytes().last().is_some_and(letter);
    let sealed = kind == "sealed-secret";
    (fits && (sealed || kind == "secret")).then(|| SecretSpec::Mounted { sealed, name: name.to_owned() })
}

/// Reads secrets under names, of which `names` are those that may stand there; `none` says why there are none.
pub(super) fn read_map(
    node: &Node<'_>,
    names: Option<&[&str]>,
    none: &str,
    path: &str,
    secrets: &Known,
    log: &mut Log<'_>,
) -> BTreeMap<String, Secret> {
    let shown = format!("`{path}`");
    let Some(entries) = section::map(node, &shown, log) else {
        node.hide(log);
        return BTreeMap::new();
    };
    let mut keys = BTreeMap::new();
    for (key, node) in entries {
        if let Some(names) = names.filter(|names| !names.contains(&key.text.as_ref())) {
            let message = format!("unknown key {} in {shown}", quote(&key.text));
            let expected = if names.is_empty() { none.to_owned() } else { one_of(names) };
            let near = nearest(&key.text, names.iter().copied());
            log.add(Draft::new(Code::UnknownKey, key.span, message).expected(expected).nearest(near));
        }
        if let Some(secret) = read(node, &key.text, &shown, secrets, log) {
            keys.insert(key.text.clone().into_owned(), secret);
        }
    }
    keys
}

/// Reads `{ env: X }`, `{ file: X }`, or `{ secret: NAME }`, of which `key` is the key where it says none.
pub(super) fn read(
    node: &Node<'_>,
    key: &str,
    shown: &str,
    secrets: &Known,
    log: &mut Log<'_>,
) -> Option<Secret> {
    let entries = match &node.value {
        Value::Map(entries) if entries.iter().any(|(key, _)| key.text == "secret") => entries,
        _ => return here(node, "`{ env: VARIABLE }`, `{ file: PATH }` or `{ secret: NAME }`", shown, log),
    };
    let mut key = key.to_owned();
    let mut named = None;
    for (part, node) in entries {
        let shown = format!("{} of a secret in {shown}", quote(&part.text));
        match part.text.as_ref() {
            "secret" => named = section::text(node, &shown, log).map(|name| (name, node)),
            "key" => {
                let read = section::text(node, &shown, log).map(values::id);
                key = read.and_then(|read| section::reported(read, node, &shown, log))?;
            }
            other => {
                let known = || fields::fields(SECRET).map(|field| field.key);
                let draft = Draft::new(Code::UnknownKey, part.span, format!("unknown key {shown}"));
                node.hide(log);
                log.add(draft.expected("`secret` and `key`").nearest(nearest(other, known())));
            }
        }
    }
    let (name, node) = named?;
    match secrets.get(name) {
        Some(Some(SecretSpec::Here(secret))) => Some(secret.clone()),
        Some(Some(SecretSpec::Mounted { .. })) => Some(Secret::Mounted { secret: name.to_owned(), key }),
        Some(None) => None,
        None => {
            let known = || secrets.keys().map(String::as_str);
            let expected = match secrets.is_empty() {
                true => "a name of `spec.secrets`, which has none".to_owned(),
                false => one_of(known()),
            };
            let message = format!("secret {} is not defined in `spec.secrets`", quote(name));
            let draft = Draft::new(Code::UnknownSecret, node.span, message);
            log.add(draft.expected(expected).nearest(nearest(name, known())));
            None
        }
    }
}

/// Reads `{ env: X }` or `{ file: X }`.
fn here(node: &Node<'_>, expected: &str, shown: &str, log: &mut Log<'_>) -> Option<Secret> {
    if let Value::Refused = node.value {
        return None;
    }
    if let Value::Map(entries) = &node.value
        && let [(key, value)] = entries.as_slice()
        && let Some(text) =
            value.text().filter(|text| !text.trim().is_empty() && !text.chars().any(char::is_control))
    {
        match key.text.as_ref() {
            "env" if !text.contains('=') => return Some(Secret::Env(text.to_owned())),
            "file" => return Some(Secret::File(text.to_owned())),
            _ => {}
        }
    }
    node.hide(log);
    let message = format!("a secret in {shown} is not named");
    log.add(Draft::new(Code::Secret, node.span, message).expected(expected));
    None
}

/// A secret's text. It can be neither printed nor serialized; only [`SecretText::expose`] gives it out.
#[derive(Clone)]
pub struct SecretText(String);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

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
