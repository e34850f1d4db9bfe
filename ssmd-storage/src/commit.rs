//! A commit: the numbered, immutable object that makes segments count. Format only; no store.

use serde::{Deserialize, Serialize};
use ssmd_core::{Day, Error, ErrorKind, FeedName, ObjectPath, Origin, Result, Timestamp};

use crate::coverage::Coverage;
use crate::layout::sha256;
use crate::text;

/// The version of the format.
pub const VERSION: u32 = 1;
/// Every commit whose number is a multiple of this carries the full list of objects, so that opening a store reads
/// at most so many commits.
pub const CHECKPOINT_EVERY: u64 = 256;
/// The most bytes of a commit. A checkpoint that would be larger is left out: then readers walk further back.
pub const COMMIT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One commit of one origin.
///
/// Its bytes end in a field `check`, the SHA-256 of all bytes before it, so that damage to the last commit shows too.
/// Readers pass over fields that they do not know and refuse versions that they do not know: a field that may be
/// passed over is added, anything else raises the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Always `commit`.
    pub ssmd: String,
    /// Always [`VERSION`].
    pub v: u32,
    /// The feed.
    pub feed: FeedName,
    /// The log whose entries are committed.
    #[serde(with = "text")]
    pub origin: Origin,
    /// Its number: 1, 2, 3 … without holes.
    pub n: u64,
    /// The commit before it; `None` for the first.
    pub previous: Option<Previous>,
    /// When it was made, by the archiver's clock.
    pub made_at: Timestamp,
    /// What made it: name and version.
    pub by: String,
    /// Objects that count from now on.
    pub added: Vec<Object>,
    /// Paths of objects that no longer count.
    pub removed: Vec<String>,
    /// Numbers that the journal has lost, found since the last commit.
    pub lost: Vec<Lost>,
    /// Which numbers the archive holds after this commit.
    pub coverage: Coverage,
    /// The environments that held while the entries that are added were received, the oldest first. Commits of
    /// before there were any, and imports, name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<InForce>,
    /// Every object and every loss after this commit, now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// The commit before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its path.
    pub path: String,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// An environment that held, as a version of it (see [`crate::environments`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InForce {
    /// Its path.
    pub path: String,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What a commit says about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// The first number in it.
    pub first: u64,
    /// The last number in it.
    pub last: u64,
    /// The day of all its entries.
    pub day: Day,
    /// How many entries it holds.
    pub entries: u64,
    /// How many frames end in it, received and sent.
    pub frames: u64,
    /// The sessions that its entries are about, rising.
    pub sessions: Vec<u64>,
    /// The earliest stamp in it.
    pub earliest: Timestamp,
    /// The latest stamp in it.
    pub latest: Timestamp,
    /// Its length before compression.
    pub plain_bytes: u64,
}

/// A stretch of numbers that existed once and is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lost {
    /// The first number that is gone.
    pub first: u64,
    /// The last number that is gone.
    pub last: u64,
    /// When the archiver noticed.
    pub noticed: Timestamp,
}

/// Everything that counts, so that the chain before need not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Every object, by its first number.
    pub objects: Vec<Object>,
    /// Every loss.
    pub lost: Vec<Lost>,
}

impl Commit {
    /// The commit's bytes.
    ///
    /// # Errors
    /// `Invalid` if it would be larger than [`COMMIT_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self)
            .map_err(|cause| Error::new(ErrorKind::Bug, "write commit").because(cause))?;
        let bytes = seal(bytes);
        if bytes.len() > COMMIT_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "write commit").with("bytes", bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads a commit.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are no commit, or one that contradicts itself; `Unsupported` for a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > COMMIT_BYTES_MAX {
            return Err(corrupt("it is too long"));
        }
        if !is_whole(bytes) {
            return Err(corrupt("its bytes are not those that were written"));
        }
        #[derive(Deserialize)]
        struct Version {
            ssmd: String,
            v: u32,
        }
        let unreadable = |cause: serde_json::Error| corrupt("it is not readable").because(cause);
        let version: Version = serde_json::from_slice(bytes).map_err(unreadable)?;
        if version.ssmd != "commit" {
            return Err(corrupt("it is no commit"));
        }
        if version.v != VERSION {
            return Err(Error::new(ErrorKind::Unsupported, "read commit")
                .with("version", version.v)
                .hint("read it with a later ssmd"));
        }
        let commit: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        commit.check()?;
        Ok(commit)
    }

    /// Who it is, for the next one.
    ///
    /// # Errors
    /// Never for a commit that was decoded or is being written.
    pub fn reference(&self, bytes: &[u8]) -> Result<Previous> {
        let path = crate::layout::commit_path(self.origin, self.n)?;
        Ok(Previous { path: path.to_string(), sha256: sha256(bytes) })
    }

    fn check(&self) -> Result<()> {
        if self.n == 0 || self.previous.is_some() != (self.n > 1) {
            return Err(corrupt("its number and its predecessor do not fit").with("n", self.n));
        }
        let listed = self.checkpoint.iter().flat_map(|checkpoint| &checkpoint.objects);
        for object in self.added.iter().chain(listed) {
            object
                .path
                .parse::<ObjectPath>()
                .map_err(|cause| corrupt("an object's path is none").because(cause))?;
            let dense = object.first > 0
                && object.last >= object.first
                && object.last - object.first + 1 == object.entries
                && object.sha256.len() == 64
                && object.earliest <= object.latest;
            if !dense {
                return Err(corrupt("an object's figures contradict each other").with("path", &object.path));
            }
        }
        if self.environments.iter().any(|named| named.path.parse::<ObjectPath>().is_err()) {
            return Err(corrupt("an environment's path is none").with("n", self.n));
        }
        if self.lost.iter().any(|lost| lost.first == 0 || lost.last < lost.first) {
            return Err(corrupt("a loss ends before it begins").with("n", self.n));
        }
        Ok(())
    }
}

/// What follows the document but its closing brace: the hash of everything before, as one more field.
const CHECK: &[u8] = b",\"check\":\"";
const CHECK_END: &[u8] = b"\"}\n";

/// Ends a JSON object with the hash of its bytes.
pub(crate) fn seal(mut object: Vec<u8>) -> Vec<u8> {
    object.pop();
    let check = sha256(&object);
    object.extend_from_slice(CHECK);
    object.extend_from_slice(check.as_bytes());
    object.extend_from_slice(CHECK_END);
    object
}

/// Whether the bytes are those that [`seal`] gave.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let end = CHECK.len() + 64 + CHECK_END.len();
    let Some((document, tail)) = bytes.len().checked_sub(end).map(|at| bytes.split_at(at)) else {
        return false;
    };
    tail.strip_prefix(CHECK).and_then(|tail| tail.strip_suffix(CHECK_END))
        == Some(sha256(document).as_bytes())
}

fn corrupt(detail: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "read commit").detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_none_makes_a_commit_corrupt_and_not_invalid() {
        let document = br#"{"ssmd":"commit","v":1,"feed":"kraken","origin":"09090909090909090909090909090909","n":1,
            "previous":null,"made_at":7,"by":"ssmd","added":[{"path":"../a","bytes":4,"sha256":"","first":1,"last":2,
            "day":"2024-10-04","entries":2,"frames":1,"sessions":[1],"earliest":1,"latest":2,"plain_bytes":9}],
            "removed":[],"lost":[],"coverage":[[1,2]]"#;
        let whole = [document, CHECK, sha256(document).as_bytes(), CHECK_END].concat();
        assert_eq!(Commit::decode(&whole).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
