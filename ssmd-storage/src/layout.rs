//! What lives under which path. Names are functions of content, so a repeat finds what it made before.

use sha2::{Digest, Sha256};
use ssmd_core::{Day, EnvironmentName, Error, FeedName, ObjectPath, Origin, Result, Timestamp};

/// The folder of raw segments.
pub const RAW: &str = "raw";
/// The folder of commits.
pub const COMMITS: &str = "commits";
/// The folder of bids for the next commits (see [`crate::head`]).
pub const BIDS: &str = "bids";
/// The folder of environments as they were applied.
pub const ENVIRONMENTS: &str = "environments";

/// How a segment is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard at this level, with a content checksum: `.jsonl.zst`.
    Zstd(i32),
    /// gzip at its default level: `.jsonl.gz`.
    Gzip,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(3)
    }
}

impl Compression {
    /// The last part of a segment's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Zstd(_) => "jsonl.zst",
            Self::Gzip => "jsonl.gz",
        }
    }
}

/// What a raw segment's name is made of.
#[derive(Clone, Copy, Debug)]
pub struct SegmentName<'a> {
    /// The feed.
    pub feed: &'a FeedName,
    /// The log its entries come from.
    pub origin: Origin,
    /// The day of its entries.
    pub day: Day,
    /// The first entry's stamp, which gives hour and minute.
    pub at: Timestamp,
    /// The first number in it.
    pub first: u64,
    /// The last number in it.
    pub last: u64,
    /// The SHA-256 of the object, in hexadecimal.
    pub sha256: &'a str,
    /// The last part of the name.
    pub suffix: &'static str,
}

impl SegmentName<'_> {
    /// `raw/{feed}/{YYYY}/{MM}/{DD}/{HH}/{mm}-{origin}-{first}-{last}-{sha256}.{suffix}`, with eight digits of the
    /// origin, numbers of sixteen digits so that names sort, and sixteen digits of the hash.
    ///
    /// # Errors
    /// `Invalid` for a day outside the years 0 to 9999 or a hash that is none.
    pub fn path(&self) -> Result<ObjectPath> {
        let origin = self.origin.to_string();
        let date = self.day.to_string().replace('-', "/");
        let (hour, minute) = (self.at.hour(), self.at.minute());
        let short = self.sha256.get(..16).ok_or_else(|| {
            Error::new(ssmd_core::ErrorKind::Invalid, "name segment").with("sha256", self.sha256)
        })?;
        let Self { feed, first, last, suffix, .. } = self;
        let origin = &origin[..8];
        format!("{RAW}/{feed}/{date}/{hour:02}/{minute:02}-{origin}-{first:016}-{last:016}-{short}.{suffix}")
            .parse()
    }
}

/// Where all raw segments of a feed live.
///
/// # Errors
/// Never for a feed name: it is safe in paths.
pub fn raw_prefix(feed: &FeedName) -> Result<ObjectPath> {
    format!("{RAW}/{feed}").parse()
}

/// `commits/{origin}/{n}.json`, with twelve digits so that names sort.
///
/// # Errors
/// Never for an origin: it is safe in paths.
pub fn commit_path(origin: Origin, n: u64) -> Result<ObjectPath> {
    format!("{COMMITS}/{origin}/{n:012}.json").parse()
}

/// Where the commits of an origin live.
///
/// # Errors
/// Never for an origin: it is safe in paths.
pub fn commits_prefix(origin: Origin) -> Result<ObjectPath> {
    format!("{COMMITS}/{origin}").parse()
}

/// `environments/{name}/{valid_from}-{sha256}.json`, with nanoseconds of nineteen digits so that names sort, and
/// sixteen digits of the hash of the document.
///
/// # Errors
/// `Invalid` for a moment before 1970 or a hash that is none.
pub fn environment_path(name: &EnvironmentName, valid_from: Timestamp, sha256: &str) -> Result<ObjectPath> {
    let invalid = || Error::new(ssmd_core::ErrorKind::Invalid, "name environment").with("sha256", sha256);
    let short = sha256.get(..16).filter(|_| valid_from.nanos() >= 0).ok_or_else(invalid)?;
    format!("{ENVIRONMENTS}/{name}/{:019}-{short}.json", valid_from.nanos()).parse()
}

/// The origin and number of a commit's path; `None` for every other path.
pub fn parse_commit_path(path: &ObjectPath) -> Option<(Origin, u64)> {
    let mut parts = path.as_str().split('/');
    let (folder, origin, name) = (parts.next()?, parts.next()?, parts.next()?);
    let origin: Origin = origin.parse().ok()?;
    let n = name.strip_suffix(".json")?.parse().ok()?;
    let canonical = folder == COMMITS && commit_path(origin, n).ok().as_ref() == Some(path);
    canonical.then_some((origin, n))
}

/// Where the bids for an origin's commits are.
///
/// # Errors
/// Never for an origin: it is safe in paths.
pub fn bids_prefix(origin: Origin) -> Result<ObjectPath> {
    format!("{BIDS}/{origin}").parse()
}

/// What the name of a bid says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bid {
    /// The number of the commit.
    pub n: u64,
    /// How high it is; of two of the same term that of the greater `by`.
    pub term: u64,
    /// Whose.
    pub by: u64,
    /// The SHA-256 of the commit that is meant, if it is known.
    pub sha256: Option<String>,
}

impl Bid {
    /// `bids/{origin}/{n}-{term}-{by}.bid`, or with `-{sha256}.json` in place of `.bid`: numbers of twelve, twenty and
    /// (in hexadecimal) sixteen digits, so that names sort.
    ///
    /// # Errors
    /// `Invalid` for a hash that is none.
    pub fn path(&self, origin: Origin) -> Result<ObjectPath> {
        let Self { n, term, by, sha256 } = self;
        let end = sha256.as_ref().map_or_else(|| ".bid".to_owned(), |sha256| format!("-{sha256}.json"));
        format!("{BIDS}/{origin}/{n:012}-{term:020}-{by:016x}{end}").parse()
    }

    /// What this path says about a commit of an origin; `None` for every other path.
    pub fn parse(path: &ObjectPath, origin: Origin) -> Option<Self> {
        let (_, name) = path.as_str().rsplit_once('/')?;
        let (name, meant) = match name.strip_suffix(".bid") {
            Some(name) => (name, None),
            None => name.strip_suffix(".json")?.rsplit_once('-').map(|(name, hash)| (name, Some(hash)))?,
        };
        let mut parts = name.split('-');
        let (n, term, by) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let by = u64::from_str_radix(by, 16).ok()?;
        let bid = Self { n, term, by, sha256: meant.map(str::to_owned) };
        (bid.path(origin).ok().as_ref() == Some(path)).then_some(bid)
    }
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_when_and_what() {
        let feed = FeedName::new("kraken-futures").unwrap();
        let at: Timestamp = "2026-08-01T02:53:53Z".parse().unwrap();
        let name = SegmentName {
            feed: &feed,
            origin: Origin::from_bytes([0xab; 16]),
            day: at.day(),
            at,
            first: 7,
            last: 12,
            sha256: &sha256(b""),
            suffix: Compression::default().suffix(),
        };
        let text = "raw/kraken-futures/2026/08/01/02/53-abababab-0000000000000007-0000000000000012-e3b0c44298fc1c14.jsonl.zst";
        assert_eq!(name.path().unwrap().as_str(), text);
        assert!(SegmentName { sha256: "", ..name }.path().is_err());
        assert!(SegmentName { day: Day::from_days(i32::MAX), ..name }.path().is_err());
    }

    #[test]
    fn commits_are_numbered() {
        let origin = Origin::from_bytes([1; 16]);
        let path = commit_path(origin, 42).unwrap();
        assert_eq!(path.as_str(), "commits/01010101010101010101010101010101/000000000042.json");
        assert_eq!(parse_commit_path(&path), Some((origin, 42)));
        for other in ["commits/x/1.json", "commits/01010101010101010101010101010101/42.json", "raw/a"] {
            assert_eq!(parse_commit_path(&other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn bids_are_named_by_what_they_say() {
        let (origin, other) = (Origin::from_bytes([1; 16]), Origin::from_bytes([2; 16]));
        for sha256 in [None, Some(sha256(b""))] {
            let bid = Bid { n: 42, term: u64::MAX, by: 0xab, sha256 };
            let path = bid.path(origin).unwrap();
            assert_eq!(Bid::parse(&path, origin), Some(bid));
            assert_eq!((Bid::parse(&path, other), parse_commit_path(&path)), (None, None));
        }
        for other in ["bids/x/1-2-3.bid", "bids/01010101010101010101010101010101/1-2-3.bid"] {
            assert_eq!(Bid::parse(&other.parse().unwrap(), origin), None, "{other}");
        }
    }
}
