//! A store keeps objects for good.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{BoxStream, Error, ErrorKind, Result, Timestamp};

/// The name of an object: segments of `[A-Za-z0-9._~=-]` joined by slashes, none of them `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(String);

impl ObjectPath {
    /// The longest path, in bytes: what S3 allows.
    pub const BYTES_MAX: usize = 1024;

    /// The path's text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let safe =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'=' | b'-');
        let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(safe);
        if text.len() > Self::BYTES_MAX || !text.split('/').all(segment) {
            let shown: String = text.chars().take(120).collect();
            return Err(Error::new(ErrorKind::Invalid, "read object path").with("path", shown));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a put does when the object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Fails with `AlreadyExists` and changes nothing.
    Create,
    /// Replaces it as a whole.
    Overwrite,
}

/// What is known about an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its name.
    pub path: ObjectPath,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last written, by the store's clock.
    pub modified: Timestamp,
}

/// Objects, for good.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes a whole object; when this returns it is durable, in the sense that the backend documents, and
    /// visible as a whole to everyone. At no time is a part of it visible. Of creates of one path at once, exactly
    /// one wins.
    ///
    /// # Errors
    /// `AlreadyExists` with [`PutMode::Create`]; `Full`; `Unavailable`; `Timeout`, after which it may or may not
    /// have happened. `Unsupported` if the store ignores conditions.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old object or the new one, never a mixture.
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()>;

    /// The object's bytes, or those of `range`, which must lie inside it: start ≤ end ≤ length.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a range outside the object.
    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes>;

    /// Every object whose path begins with the segments of `prefix` (all of them for `None`), each once, in no
    /// order. The object of exactly that path is one of them. A prefix of nothing gives nothing.
    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>>;

    /// Removes an object; removing what is not there is no error.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached.
    async fn delete(&self, path: &ObjectPath) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_leave_the_store() {
        for path in ["raw/kraken/2026/08/01/a.jsonl.zst", "x", "a~2Fb/c=1"] {
            assert_eq!(path.parse::<ObjectPath>().unwrap().as_str(), path);
        }
        for path in ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a b", "a\\b", "a\0", "é"] {
            assert!(path.parse::<ObjectPath>().is_err(), "{path:?}");
        }
    }
}
