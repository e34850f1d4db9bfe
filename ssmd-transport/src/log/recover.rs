//! What a log is when it is opened for writing: the longest valid prefix of what was written, and where to go on.
//!
//! Only the last segment can be torn: every other one was synced to its end before its successor was begun. A tail
//! that nobody was told of is cut off. If entries that were acknowledged are missing (the mark says so), the damaged
//! bytes are kept in a `.cut` file for people, and their numbers are never given again: readers see a hole.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::Path;

use bytes::Bytes;
use ssmd_core::entry::note;
use ssmd_core::{Entry, EntryKind, Error, ErrorKind, FeedName, Origin, Result, Timestamp};

use super::disk::Disk;
use super::files::{self, Named};
use super::format::{self, HEADER_BYTES, Header, Stop, Tip};
use super::mark::{Mark, MarkFile};
use super::retain::{self, Sealed};

/// How much of a segment is read at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;
/// How many entries are parsed at once.
const ENTRIES_MAX: usize = 4096;

/// A log, recovered.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) mark_file: MarkFile,
    /// Where the log stands, with the epoch that begins now.
    pub(super) mark: Mark,
    /// The last number that is really in the log.
    pub(super) written: u64,
    /// Whether the last epoch was closed in order.
    pub(super) clean: bool,
    pub(super) cut_bytes: u64,
    /// The segment to go on with: its first number, its file and its length.
    pub(super) active: Option<(u64, File, u64)>,
    pub(super) sealed: VecDeque<Sealed>,
    /// Length of all segments.
    pub(super) bytes: u64,
}

/// Recovers the log in `dir`, or makes a new one there, with the identity `fresh`. The caller holds the lock.
pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    feed: &FeedName,
    now: Timestamp,
    fresh: Origin,
) -> Result<Recovered> {
    let known = match MarkFile::open(dir, false)? {
        Some(mut file) => file.load()?,
        None => None,
    };
    let mut segments = files::segments(dir)?;
    let is_new = known.is_none() && segments.is_empty();
    let mut cut_bytes = 0;
    let last = open_last(disk, dir, &mut segments, known.as_ref(), &mut cut_bytes)?;
    let origin = match (&known, &last) {
        (Some(mark), _) => mark.origin,
        (None, Some((_, _, header))) => header.origin,
        (None, None) => fresh,
    };
    let mut sealed = sealed(&segments, origin, feed, now)?;
    let covered = retain::covered(dir).ok().flatten().filter(|(known, _)| *known == origin);
    let covered = covered.map_or(0, |(_, n)| n);
    let tip = last.as_ref().map(|(_, _, header)| header.before);
    let mut found = Found {
        // Without a segment, all that was archived is all that may be missing.
        tip: tip.unwrap_or(Tip {
            n: covered,
            session: 0,
            day: known.map_or(now.day(), |mark| mark.tip.day),
            last: None,
        }),
        epoch: known.map_or(0, |mark| mark.epoch),
        end: 0,
    };
    if let Some((segment, file, header)) = &last {
        found.walk(segment, file, header)?;
    }
    let written = found.tip.n;
    let told = known.map_or(0, |mark| mark.tip.n).max(covered);
    let lost = told > written;
    let active = match last {
        Some((segment, file, _)) => {
            cut_bytes += cut(disk, dir, &segment, &file, found.end, lost)?;
            let durable = known.filter(|mark| mark.segment == segment.first).map_or(0, |mark| mark.offset);
            settle(disk, &segment, &file, durable, found.end)?;
            keep(disk, dir, segment, file, found.end, lost, &mut sealed, now)?
        }
        None => None,
    };
    let clean = known.map_or(is_new, |mark| mark.clean) && !lost && cut_bytes == 0 && told == written;
    let (segment, offset) = match (&active, sealed.back()) {
        (Some((first, _, offset)), _) => (*first, *offset),
        (None, Some(last)) => (last.first, last.bytes),
        (None, None) => (0, 0),
    };
    let tip = merge(found.tip, known.map(|mark| mark.tip), told);
    let mark = Mark { origin, epoch: found.epoch + 1, tip, segment, offset, clean: false };
    let bytes = sealed.iter().map(|segment| segment.bytes).sum::<u64>()
        + active.as_ref().map_or(0, |(_, _, bytes)| *bytes);
    let mark_file = MarkFile::create(disk, dir, &mark)?;
    Ok(Recovered { mark_file, mark, written, clean, cut_bytes, active, sealed, bytes })
}

type Last = (Named, File, Header);

/// Opens the last segment; one whose header is damaged is moved out of the way, if the log's identity is known.
fn open_last(
    disk: &dyn Disk,
    dir: &Path,
    segments: &mut Vec<Named>,
    mark: Option<&Mark>,
    cut_bytes: &mut u64,
) -> Result<Option<Last>> {
    while let Some(segment) = segments.pop() {
        match files::open_segment(&segment, true) {
            Ok((file, header)) => {
                segments.push(segment.clone());
                return Ok(Some((segment, file, header)));
            }
            Err(error) if error.kind() == ErrorKind::Corrupt && (mark.is_some() || !segments.is_empty()) => {
                tracing::warn!(%error, "a log segment without a valid header is moved out of the way");
                let path = cut_path(dir, &segment, 0);
                let failed = |cause| files::failed("move damaged segment", &segment.path, cause);
                *cut_bytes += fs::metadata(&segment.path).map_err(failed)?.len();
                disk.rename(&segment.path, &path).map_err(failed)?;
                files::sync_dir(disk, dir)?;
            }
            Err(error) => return Err(error.hint("move the log's directory away to begin a new log")),
        }
    }
    Ok(None)
}

/// Every segment but the last, from names and headers alone.
fn sealed(segments: &[Named], origin: Origin, feed: &FeedName, now: Timestamp) -> Result<VecDeque<Sealed>> {
    let mut sealed: VecDeque<Sealed> = VecDeque::new();
    for segment in segments {
        let file = files::open(&segment.path, false)?;
        let bytes =
            file.metadata().map_err(|cause| files::failed("open log file", &segment.path, cause))?.len();
        let header = files::open_segment(segment, false).ok().map(|(_, header)| header);
        if let Some(header) = &header {
            check(segment, header, origin, feed)?;
        }
        if let Some(before) = sealed.back_mut() {
            before.last = segment.first - 1;
            before.until = header.map_or(now, |header| header.created);
        }
        sealed.push_back(Sealed { first: segment.first, last: u64::MAX, bytes, until: now });
    }
    // The last one is not sealed, or becomes so only when it is known where it ends.
    sealed.pop_back();
    Ok(sealed)
}

fn check(segment: &Named, header: &Header, origin: Origin, feed: &FeedName) -> Result<()> {
    if header.origin != origin {
        return Err(Error::new(ErrorKind::Corrupt, "open log")
            .detail("a segment belongs to another log")
            .with("path", segment.path.display())
            .with("origin", header.origin)
            .with("expected", origin)
            .hint("move the file back to where it came from"));
    }
    if header.feed != *feed {
        return Err(Error::new(ErrorKind::Invalid, "open log")
            .detail("this is the log of another feed")
            .with("path", segment.path.display())
            .with("feed", &header.feed)
            .with("expected", feed));
    }
    Ok(())
}

/// What the last segment holds.
struct Found {
    tip: Tip,
    epoch: u64,
    /// Where its valid prefix ends.
    end: u64,
}

impl Found {
    fn walk(&mut self, segment: &Named, file: &File, header: &Header) -> Result<()> {
        self.epoch = self.epoch.max(header.epoch);
        self.end = HEADER_BYTES as u64;
        let mut after = header.first - 1;
        let mut length = CHUNK_BYTES;
        loop {
            let mut chunk = files::read(file, &segment.path, self.end, length)?;
            let is_last = chunk.len() < length;
            length = CHUNK_BYTES;
            loop {
                let scan = format::scan(&chunk, header.origin, after, ENTRIES_MAX);
                for entry in &scan.entries {
                    self.take(entry);
                    after = entry.id.n;
                }
                self.end += scan.valid as u64;
                let _ = chunk.split_to(scan.valid);
                match scan.stop {
                    Stop::Enough => {}
                    Stop::Damaged(_) => return Ok(()),
                    Stop::End | Stop::Short(_) if is_last => return Ok(()),
                    Stop::End => break,
                    Stop::Short(need) => {
                        length = need.max(CHUNK_BYTES);
                        break;
                    }
                }
            }
        }
    }

    fn take(&mut self, entry: &Entry) {
        self.tip.observe(entry);
        if entry.kind == EntryKind::Epoch
            && let Ok(note) = note::decode::<note::Epoch>(&entry.payload)
        {
            self.epoch = self.epoch.max(note.epoch);
        }
    }
}

/// Cuts the last segment back to its valid prefix; gives how many bytes were cut off.
fn cut(disk: &dyn Disk, dir: &Path, segment: &Named, file: &File, end: u64, lost: bool) -> Result<u64> {
    let failed = |cause| files::failed("cut log", &segment.path, cause);
    let bytes = file.metadata().map_err(failed)?.len().saturating_sub(end);
    if bytes > 0 {
        tracing::warn!(path = %segment.path.display(), offset = end, bytes, lost, "the log's torn tail is cut off");
        if lost {
            save_cut(disk, dir, segment, file, end)?;
        }
        disk.set_len(file, &segment.path, end).map_err(failed)?;
    }
    Ok(bytes)
}

/// Makes the valid prefix durable. What lies behind the mark is written once more before that: if a sync of it
/// failed, the kernel may hold its pages as clean, and a second sync would write nothing and report success.
fn settle(disk: &dyn Disk, segment: &Named, file: &File, durable: u64, end: u64) -> Result<()> {
    let failed = |cause| files::failed("settle log", &segment.path, cause);
    let mut offset = durable.max(HEADER_BYTES as u64);
    while offset < end {
        let length = usize::try_from(end - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let chunk = files::read(file, &segment.path, offset, length)?;
        if chunk.is_empty() {
            break;
        }
        disk.write_all_at(file, &segment.path, &chunk, offset).map_err(failed)?;
        offset += chunk.len() as u64;
    }
    disk.sync_all(file, &segment.path).map_err(failed)
}

/// Keeps what is cut off although it was acknowledged once: somebody may read more in it than this program does.
fn save_cut(disk: &dyn Disk, dir: &Path, segment: &Named, file: &File, end: u64) -> Result<()> {
    let path = cut_path(dir, segment, end);
    let failed = |cause| files::failed("keep cut bytes", &path, cause);
    // A recovery that was interrupted may have left a part of it.
    match disk.remove(&path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(failed(cause)),
        _ => {}
    }
    let copy = disk.create(&path).map_err(failed)?;
    let mut offset = end;
    loop {
        let chunk: Bytes = files::read(file, &segment.path, offset, CHUNK_BYTES)?;
        if chunk.is_empty() {
            break;
        }
        disk.write_all_at(&copy, &path, &chunk, offset - end).map_err(failed)?;
        offset += chunk.len() as u64;
    }
    disk.sync_all(&copy, &path).map_err(failed)?;
    files::sync_dir(disk, dir)
}

fn cut_path(dir: &Path, segment: &Named, offset: u64) -> std::path::PathBuf {
    dir.join(format!("{:020}-{offset}.cut", segment.first))
}

/// Decides whether the last segment is gone on with.
#[expect(clippy::too_many_arguments, reason = "each is one fact about the segment")]
fn keep(
    disk: &dyn Disk,
    dir: &Path,
    segment: Named,
    file: File,
    end: u64,
    lost: bool,
    sealed: &mut VecDeque<Sealed>,
    now: Timestamp,
) -> Result<Option<(u64, File, u64)>> {
    if end == HEADER_BYTES as u64 {
        // Nothing is in it, and the next entry may have another number than its name.
        disk.remove(&segment.path)
            .map_err(|cause| files::failed("remove empty segment", &segment.path, cause))?;
        files::sync_dir(disk, dir)?;
        return Ok(None);
    }
    if lost {
        // Readers may have read beyond its end: what comes now must not lie where they look.
        let last = u64::MAX;
        sealed.push_back(Sealed { first: segment.first, last, bytes: end, until: now });
        return Ok(None);
    }
    Ok(Some((segment.first, file, end)))
}

/// Where the log stands, of what it holds and what the mark and the covered watermark say it once held.
fn merge(found: Tip, known: Option<Tip>, told: u64) -> Tip {
    let Some(known) = known else { return Tip { n: found.n.max(told), ..found } };
    Tip {
        n: found.n.max(told),
        session: found.session.max(known.session),
        day: found.day.max(known.day),
        last: if known.n > found.n { known.last } else { found.last },
    }
}
