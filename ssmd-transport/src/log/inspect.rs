//! What a log holds, from its names, headers and marks alone: nothing is locked and no entry is read.

use std::path::{Path, PathBuf};

use ssmd_core::{Bounds, Error, ErrorKind, FeedName, Origin, Result, Timestamp};

use super::files;
use super::mark::{Mark, MarkFile};
use super::retain;

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Which log it is.
    pub origin: Origin,
    /// The feed, if there is a segment that says so.
    pub feed: Option<FeedName>,
    /// How often it was opened for writing.
    pub epoch: u64,
    /// The watermark: every entry up to this number is durable.
    pub durable: u64,
    /// Every entry up to this number is archived, as far as the log was told.
    pub covered: u64,
    /// Whether it was closed in order; false while it is open.
    pub clean: bool,
    /// Length of all segments, in bytes.
    pub bytes: u64,
    /// The segments, oldest first.
    pub segments: Vec<Segment>,
}

/// One segment file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// The number of its first entry.
    pub first: u64,
    /// The number of its last durable entry; for a damaged neighbour, the highest that it can be.
    pub last: u64,
    /// Its length, in bytes.
    pub bytes: u64,
    /// When it was begun; `None` if its header is damaged.
    pub created: Option<Timestamp>,
}

/// Looks at the log in `dir`, whether it is open or not. This reads files and so may block for a moment.
///
/// # Errors
/// `NotFound` if there is no log, `Corrupt` if its watermark is damaged, `Invalid` for foreign files that are named
/// like segments.
pub fn inspect(dir: &Path) -> Result<Inspection> {
    let mark = load_mark(dir)?;
    let named = files::segments(dir)?;
    let mut segments: Vec<Segment> = Vec::with_capacity(named.len());
    let mut feed = None;
    for segment in named {
        let file = files::open(&segment.path, false)?;
        let meta = file.metadata().map_err(|cause| files::failed("inspect log", &segment.path, cause))?;
        let header = files::open_segment(&segment, false).ok().map(|(_, header)| header);
        if let Some(before) = segments.last_mut() {
            before.last = header.as_ref().map_or(segment.first.saturating_sub(1), |header| header.before.n);
        }
        let created = header.as_ref().map(|header| header.created);
        feed = header.map(|header| header.feed).or(feed);
        let last = mark.tip.n;
        segments.push(Segment { path: segment.path, first: segment.first, last, bytes: meta.len(), created });
    }
    let covered = retain::covered(dir)?.filter(|(origin, _)| *origin == mark.origin);
    Ok(Inspection {
        origin: mark.origin,
        feed,
        epoch: mark.epoch,
        durable: mark.tip.n,
        covered: covered.map_or(0, |(_, n)| n),
        clean: mark.clean,
        bytes: segments.iter().map(|segment| segment.bytes).sum(),
        segments,
    })
}

/// The first and the last durable number of the log in `dir`.
pub(super) fn bounds(dir: &Path, mark: &Mark) -> Result<Bounds> {
    let oldest = files::segments(dir)?.first().map(|segment| segment.first);
    let range = oldest.filter(|first| *first <= mark.tip.n).map(|first| (mark.origin, (first, mark.tip.n)));
    Ok(Bounds { origins: range.into_iter().collect(), incarnation: mark.origin.to_string() })
}

/// The watermark of the log in `dir`.
pub(super) fn load_mark(dir: &Path) -> Result<Mark> {
    let about = |kind| Error::new(kind, "open log").with("path", dir.display());
    let file = MarkFile::open(dir, false)?;
    let mut file = file.ok_or_else(|| about(ErrorKind::NotFound).detail("there is no log"))?;
    file.load()?.ok_or_else(|| {
        about(ErrorKind::Corrupt)
            .detail("both slots of its watermark are damaged")
            .hint("open the log for writing once: that recovers it")
    })
}
