//! What may be deleted: segments that are archived (below the covered watermark), and nothing else, ever.
//!
//! The watermark is one line of text in the file `covered`, written by whoever archives. It may be too low, never
//! too high.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use crc32c::crc32c;
use ssmd_core::{Error, ErrorKind, Origin, Result, Timestamp};

use super::disk::{Disk, System};
use super::files;
use super::format::N_MAX;
use super::mark::MarkFile;

const NAME: &str = "covered";
const MAGIC: &str = "ssmd-covered-1";
/// More than any line of ours, in bytes.
const LINE_BYTES_MAX: usize = 256;

/// Says that every entry of `origin` up to `n` is archived for good, so that the log in `dir` may delete it.
///
/// A number that is not above the one that is known already changes nothing. Durable when this returns.
///
/// # Errors
/// `NotFound` if there is no log, `Conflict` if it is one of another origin, `Invalid` for a number that the log
/// has not made durable yet.
pub fn cover(dir: &Path, origin: Origin, n: u64) -> Result<()> {
    cover_on(&System, dir, origin, n)
}

/// As [`cover`], on any disk.
///
/// # Errors
/// As for [`cover`].
pub fn cover_on(disk: &dyn Disk, dir: &Path, origin: Origin, n: u64) -> Result<()> {
    let refuse = |kind, why: &'static str| {
        Error::new(kind, "cover log")
            .detail(why)
            .with("path", dir.display())
            .with("origin", origin)
            .with("n", n)
    };
    let mark = match MarkFile::open(dir, false)? {
        Some(mut file) => file.load()?,
        None => return Err(refuse(ErrorKind::NotFound, "there is no log")),
    };
    let mark = mark.ok_or_else(|| refuse(ErrorKind::Corrupt, "both slots of its watermark are damaged"))?;
    if mark.origin != origin {
        return Err(refuse(ErrorKind::Conflict, "the log has another origin").with("log", mark.origin));
    }
    if n > mark.tip.n {
        return Err(
            refuse(ErrorKind::Invalid, "the log is not durable up to there").with("durable", mark.tip.n)
        );
    }
    // A damaged line is replaced: what it said is said again.
    let known = covered(dir).ok().flatten().filter(|(known, _)| *known == origin);
    if known.is_some_and(|(_, known)| known >= n) {
        return Ok(());
    }
    let text = format!("{MAGIC} {origin} {n}");
    let line = format!("{text} {:08x}\n", crc32c(text.as_bytes()));
    files::replace(disk, dir, "covered.tmp", &dir.join(NAME), line.as_bytes())
}

/// The covered watermark of the log in `dir`, if there is one.
///
/// # Errors
/// `Corrupt` if the file is not what [`cover`] writes.
pub fn covered(dir: &Path) -> Result<Option<(Origin, u64)>> {
    let path = dir.join(NAME);
    let file = match files::open(&path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = files::read(&file, &path, 0, LINE_BYTES_MAX)?;
    match parse(&bytes) {
        Some(covered) => Ok(Some(covered)),
        None => Err(Error::new(ErrorKind::Corrupt, "read covered watermark")
            .with("path", path.display())
            .hint("delete the file: the archiver writes it again")),
    }
}

fn parse(bytes: &[u8]) -> Option<(Origin, u64)> {
    let (text, crc) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.rsplit_once(' ')?;
    if crc.len() != 8 || u32::from_str_radix(crc, 16).ok()? != crc32c(text.as_bytes()) {
        return None;
    }
    let (origin, n) = text.strip_prefix(MAGIC)?.strip_prefix(' ')?.split_once(' ')?;
    let n = n.parse().ok().filter(|n| *n <= N_MAX)?;
    Some((origin.parse().ok()?, n))
}

/// A segment that is never written to again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) first: u64,
    /// The last number in it, or more.
    pub(super) last: u64,
    pub(super) bytes: u64,
    /// When it was sealed.
    pub(super) until: Timestamp,
}

/// How many of the oldest segments may be deleted: all of it covered, and either older than `retain` or needed to
/// make up for `over` bytes above the cap.
pub(super) fn expired(
    sealed: &VecDeque<Sealed>,
    covered: u64,
    now: Timestamp,
    retain: Duration,
    mut over: u64,
) -> usize {
    let mut count = 0;
    for segment in sealed {
        let old = now.since(segment.until) >= retain;
        if segment.last > covered || !(old || over > 0) {
            break;
        }
        over = over.saturating_sub(segment.bytes);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_covered_segments_expire_and_the_youngest_only_under_pressure() {
        let at = |seconds: i64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let segment = |first, last, until| Sealed { first, last, bytes: 100, until: at(until) };
        let sealed: VecDeque<_> = [segment(1, 10, 0), segment(11, 20, 50), segment(21, 30, 90)].into();
        let count = |covered, over| expired(&sealed, covered, at(100), Duration::from_secs(40), over);
        assert_eq!(count(0, 1_000_000), 0, "uncovered data is never deleted");
        assert_eq!(count(9, 1_000_000), 0, "nor a segment of which one entry is not covered");
        assert_eq!(count(10, 0), 1);
        assert_eq!(count(30, 0), 2);
        assert_eq!(count(30, 250), 3);
        assert_eq!(count(30, 150), 2);
    }

    #[test]
    fn a_damaged_line_is_no_watermark() {
        let text = format!("{MAGIC} {} 7", Origin::from_bytes([3; 16]));
        let line = format!("{text} {:08x}\n", crc32c(text.as_bytes()));
        assert_eq!(parse(line.as_bytes()), Some((Origin::from_bytes([3; 16]), 7)));
        for at in 0..line.len() {
            let mut damaged = line.clone().into_bytes();
            damaged[at] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&line.as_bytes()[..at]), None, "cut at {at}");
        }
    }
}
