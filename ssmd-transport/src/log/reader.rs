//! Reading a log: along its segments, up to the durable watermark, and then following it.
//!
//! A reader needs nothing from the writer but the files and the watermark, so it is the same in the writer's
//! process, which wakes it at once, and in another, which looks every [`POLL`].

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use ssmd_core::journal::hole;
use ssmd_core::{Bounds, Clock, Entries, Entry, Error, ErrorKind, Journal, Pending, Result, Start};
use tokio::sync::watch;

use super::files::{self, Named};
use super::format::{self, HEADER_BYTES, Header, Stop};
use super::inspect;
use super::mark::Mark;
use super::queue::Published;

/// How often a reader in another process than the writer looks for a higher watermark, when it has read all.
pub const POLL: Duration = Duration::from_millis(20);

/// How much of a segment is read at once, in bytes. Entries handed out share these bytes, so an entry that is kept
/// keeps as many.
const CHUNK_BYTES: usize = 1024 * 1024;
/// How often a segment may vanish between its listing and its opening before that is an error.
const LISTS_MAX: usize = 16;

/// A log that is open for reading only, in any process, whether somebody writes it or not.
///
/// [`Journal::append`] is `Unsupported`. A reader of it follows the log beyond the end of its writer, since another
/// writer may go on: it never gives `Closed`.
#[derive(Clone, Debug)]
pub struct LogReader {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
}

impl LogReader {
    /// Opens the log in `dir` for reading.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Corrupt` if its watermark is damaged.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        inspect::load_mark(dir)?;
        Ok(Self { dir: dir.to_owned(), clock })
    }
}

#[async_trait]
impl Journal for LogReader {
    async fn append(&self, _batch: Vec<Entry>) -> Result<Pending> {
        Err(Error::new(ErrorKind::Unsupported, "append to log").detail("it is open for reading only"))
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let seen = inspect::load_mark(&self.dir)?;
        let source = Source::Poll { dir: self.dir.clone(), clock: Arc::clone(&self.clock), seen };
        Ok(Box::new(Follower::new(self.dir.clone(), source, start)?))
    }

    async fn bounds(&self) -> Result<Bounds> {
        inspect::bounds(&self.dir, &inspect::load_mark(&self.dir)?)
    }
}

/// Where a reader learns how far it may read.
pub(super) enum Source {
    Watch { published: watch::Receiver<Published>, seen: Mark },
    Poll { dir: PathBuf, clock: Arc<dyn Clock>, seen: Mark },
}

impl Source {
    fn mark(&mut self) -> Mark {
        match self {
            Self::Watch { published, seen } => {
                *seen = published.borrow_and_update().mark;
                *seen
            }
            Self::Poll { seen, .. } => *seen,
        }
    }

    /// Waits for another mark than the last one that was given.
    async fn changed(&mut self) -> Result<()> {
        match self {
            Self::Watch { published, seen } => loop {
                let now = *published.borrow_and_update();
                if now.mark != *seen {
                    return Ok(());
                }
                // Without a sender there is nothing new to come either, but what came last is still to be seen.
                if now.ended || (published.changed().await.is_err() && published.borrow().mark == *seen) {
                    return Err(Error::new(ErrorKind::Closed, "read log"));
                }
            },
            Self::Poll { dir, clock, seen } => loop {
                let now = inspect::load_mark(dir)?;
                if now != *seen {
                    *seen = now;
                    return Ok(());
                }
                clock.sleep(POLL).await;
            },
        }
    }
}

/// One reader of one log.
pub(super) struct Follower {
    dir: PathBuf,
    source: Source,
    /// Entries up to this number are not wanted.
    floor: u64,
    /// The number that must come next; `None` where that is not known: at the oldest entry, and after damage.
    expected: Option<u64>,
    at: Option<Place>,
    /// The first number of the newest segment that was opened, or found to be damaged.
    passed: u64,
    /// Read already, and behind a hole that was reported.
    ready: Vec<Entry>,
}

/// Where in which segment a reader is.
struct Place {
    segment: Named,
    header: Header,
    file: Arc<File>,
    /// Where `chunk` begins in the file.
    offset: u64,
    chunk: Bytes,
    /// The memory that `chunk` is part of. It is used again once no entry shares it: entries are read all the time, and
    /// memory that one thread takes and another gives back, again and again, ends up in pieces.
    room: Bytes,
    /// The last number before `offset`.
    after: u64,
}

impl Follower {
    pub(super) fn new(dir: PathBuf, mut source: Source, start: Start) -> Result<Self> {
        let mark = source.mark();
        let after = match &start {
            Start::Oldest => None,
            Start::Newest => Some(mark.tip.n),
            Start::After(positions) => positions.get(&mark.origin).copied(),
        };
        let expected = after.map(|n| n.saturating_add(1));
        let mut follower =
            Self { dir, source, floor: after.unwrap_or(0), expected, at: None, passed: 0, ready: Vec::new() };
        if matches!(start, Start::Newest) && mark.segment != 0 {
            follower.at = follower.at_mark(&mark).ok();
            follower.passed = follower.at.as_ref().map_or(0, |place| place.segment.first);
        }
        if follower.at.is_none() {
            follower.locate(&mark)?;
        }
        Ok(follower)
    }

    /// The end of what is durable, without reading what lies before it.
    fn at_mark(&self, mark: &Mark) -> Result<Place> {
        let path = files::segment_path(&self.dir, mark.segment);
        let mut place = Place::open(Named { first: mark.segment, path })?;
        (place.offset, place.after) = (mark.offset, mark.tip.n);
        Ok(place)
    }

    /// Finds the segment to begin in, if it is there yet.
    fn locate(&mut self, mark: &Mark) -> Result<()> {
        for _ in 0..LISTS_MAX {
            let mut segments = files::segments(&self.dir)?;
            segments.retain(|segment| segment.first > self.passed);
            let next = self.expected.unwrap_or(0);
            let inside = segments.iter().rev().find(|segment| segment.first <= next);
            let readable = inside.or(segments.first()).filter(|segment| segment.first <= mark.segment);
            let Some(segment) = readable else {
                // Nothing is left, or nothing is there yet: what was and is not any more must be known.
                let gone = segments.is_empty() && self.expected.is_some_and(|next| next <= mark.tip.n);
                return if gone { Err(self.deleted(mark, mark.tip.n + 1)) } else { Ok(()) };
            };
            let Some(place) = self.enter(segment.clone())? else { continue };
            let (first, before) = (place.header.first, place.header.before.n);
            if self.expected.is_some_and(|next| next <= before && next < first) {
                return Err(self.deleted(mark, first));
            }
            self.passed = first;
            self.at = Some(place);
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "read log").with("path", self.dir.display()))
    }

    /// Opens a segment; gives none if retention was faster. A damaged header is an error once: the next call goes on
    /// behind that segment.
    fn enter(&mut self, segment: Named) -> Result<Option<Place>> {
        let first = segment.first;
        match Place::open(segment) {
            Ok(place) => Ok(Some(place)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                self.passed = first;
                let before =
                    self.expected.take().map_or_else(|| "unknown".to_owned(), |n| (n - 1).to_string());
                Err(error.with("before", before).with("after", "unknown"))
            }
        }
    }

    fn deleted(&self, mark: &Mark, oldest: u64) -> Error {
        Error::new(ErrorKind::NotFound, "read log")
            .detail("these entries were archived and deleted")
            .with("origin", mark.origin)
            .with("n", self.expected.unwrap_or(0))
            .with("oldest", oldest)
    }

    /// Goes on in the segment after the one that has been read to its end.
    fn turn(&mut self, mark: &Mark) -> Result<bool> {
        let Some(place) = &self.at else { return Ok(false) };
        let (done, end) = (place.segment.clone(), place.offset);
        let following = files::segments(&self.dir)?.into_iter().find(|segment| segment.first > self.passed);
        let Some(following) = following.filter(|segment| segment.first <= mark.segment) else {
            return Ok(false);
        };
        let Some(next) = self.enter(following)? else { return Ok(true) };
        let (first, before) = (next.header.first, next.header.before.n);
        let missing = self.expected.filter(|expected| *expected <= before && *expected < first);
        self.passed = first;
        self.at = Some(next);
        let Some(missing) = missing else { return Ok(true) };
        if !done.path.exists() {
            // Retention was faster than this reader: what it has not read is archived, and a hole here.
            self.expected = Some(first);
            return Err(hole(mark.origin, missing, first - 1));
        }
        self.expected = None;
        Err(corrupt(&done, end, "a segment ends too early", missing - 1, Some(first)))
    }

    /// What lies at the reader's place, up to `limit`: at least one entry that is wanted, or none if there is
    /// nothing more before the limit.
    async fn fill(&mut self, limit: u64, max: usize) -> Result<Vec<Entry>> {
        loop {
            let Some(place) = &mut self.at else { return Ok(Vec::new()) };
            if place.offset >= limit {
                return Ok(Vec::new());
            }
            if place.chunk.is_empty() {
                place.load(CHUNK_BYTES, limit).await?;
            }
            let scan = format::scan(&place.chunk, place.header.origin, place.after, max);
            let mut entries = scan.entries;
            place.take(scan.valid, entries.last());
            match scan.stop {
                Stop::End | Stop::Enough => {}
                _ if !entries.is_empty() => {}
                Stop::Short(need) if place.chunk.len() < need && place.offset + need as u64 <= limit => {
                    place.load(need.max(CHUNK_BYTES), limit).await?;
                    if place.chunk.len() < need {
                        return Err(self.damaged(limit, "the segment is shorter than it was").await);
                    }
                }
                Stop::Short(_) => {
                    return Err(self.damaged(limit, "an entry does not end where it should").await);
                }
                Stop::Damaged(why) => return Err(self.damaged(limit, why).await),
            }
            if entries.first().is_some_and(|entry| entry.id.n <= self.floor) {
                entries.retain(|entry| entry.id.n > self.floor);
            }
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }

    /// The error for damage at the reader's place. Goes on behind the one damaged entry if its length can be
    /// believed, else behind what is durable of this segment now.
    async fn damaged(&mut self, limit: u64, why: &'static str) -> Error {
        let Some(place) = &mut self.at else { return Error::new(ErrorKind::Bug, "read log") };
        let (segment, offset, before) = (place.segment.clone(), place.offset, place.after);
        let after = match place.step_over(limit).await {
            Ok(after) => after,
            Err(error) => return error,
        };
        self.expected = after;
        corrupt(&segment, offset, why, before, after)
    }

    /// The part of `entries` without a hole before or in it; the rest is kept.
    fn give(&mut self, mut entries: Vec<Entry>, max: usize) -> Result<Vec<Entry>> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(entries) };
        let (origin, begin, end) = (first.id.origin, first.id.n, last.id.n);
        if let Some(expected) = self.expected.filter(|expected| *expected < begin) {
            self.expected = Some(begin);
            self.ready = entries;
            return Err(hole(origin, expected, begin - 1));
        }
        let dense = end - begin == entries.len() as u64 - 1;
        let whole = |(at, entry): (usize, &Entry)| entry.id.n != begin + at as u64;
        let split =
            if dense { entries.len() } else { entries.iter().enumerate().position(whole).unwrap_or(0) };
        self.ready = entries.split_off(split.min(max));
        self.expected = entries.last().map(|entry| entry.id.n + 1);
        Ok(entries)
    }
}

#[async_trait]
impl Entries for Follower {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let max = max.get();
        if !self.ready.is_empty() {
            let ready = std::mem::take(&mut self.ready);
            return self.give(ready, max);
        }
        loop {
            let mark = self.source.mark();
            if self.at.is_none() {
                self.locate(&mark)?;
            }
            let limit = match &self.at {
                Some(place) => place.limit(&mark)?,
                None => 0,
            };
            let entries = self.fill(limit, max).await?;
            if !entries.is_empty() {
                return self.give(entries, max);
            }
            let is_sealed = self.at.as_ref().is_some_and(|place| place.segment.first < mark.segment);
            if !(is_sealed && self.turn(&mark)?) {
                self.source.changed().await?;
            }
        }
    }
}

impl Place {
    fn open(segment: Named) -> Result<Self> {
        let (file, header) = files::open_segment(&segment, false)?;
        let after = header.first - 1;
        let offset = HEADER_BYTES as u64;
        let (chunk, room) = (Bytes::new(), Bytes::new());
        Ok(Self { segment, header, file: Arc::new(file), offset, chunk, room, after })
    }

    /// How far this segment may be read.
    fn limit(&self, mark: &Mark) -> Result<u64> {
        match self.segment.first.cmp(&mark.segment) {
            std::cmp::Ordering::Greater => Ok(0),
            std::cmp::Ordering::Equal => Ok(mark.offset),
            std::cmp::Ordering::Less => {
                let meta = self.file.metadata();
                meta.map(|meta| meta.len())
                    .map_err(|cause| files::failed("read log", &self.segment.path, cause))
            }
        }
    }

    /// Reads the next chunk. Safe to cancel: what was read before is read again.
    async fn load(&mut self, length: usize, limit: u64) -> Result<()> {
        let length = usize::try_from(limit.saturating_sub(self.offset)).unwrap_or(length).min(length);
        self.chunk = Bytes::new();
        let room = std::mem::take(&mut self.room);
        (self.chunk, self.room) = self.read(self.offset, length, room).await?;
        if self.chunk.is_empty() && length > 0 {
            let why = "the segment is shorter than it was";
            let error = corrupt(&self.segment, self.offset, why, self.after, None);
            self.offset = limit;
            return Err(error);
        }
        Ok(())
    }

    /// What lies there, and the memory that it is in: `room`, if that is large enough and shared by nobody.
    async fn read(&self, offset: u64, length: usize, room: Bytes) -> Result<(Bytes, Bytes)> {
        let (file, path) = (Arc::clone(&self.file), self.segment.path.clone());
        let mut room = reused(room, length);
        let reading = tokio::task::spawn_blocking(move || {
            let length = files::fill(&file, &path, offset, &mut room[..length])?;
            let room = room.freeze();
            Ok((room.slice(..length), room))
        });
        reading.await.map_err(|cause| Error::new(ErrorKind::Closed, "read log").because(cause))?
    }

    fn take(&mut self, bytes: usize, last: Option<&Entry>) {
        let _ = self.chunk.split_to(bytes);
        self.offset += bytes as u64;
        self.after = last.map_or(self.after, |entry| entry.id.n);
    }

    /// Moves behind a damaged entry; gives the number found there, if one was.
    async fn step_over(&mut self, limit: u64) -> Result<Option<u64>> {
        let (damaged, _) = self.read(self.offset, format::ENTRY_BYTES, Bytes::new()).await?;
        let behind = format::claimed_bytes(&damaged).map(|bytes| self.offset + bytes as u64);
        if let Some(behind) = behind.filter(|behind| *behind < limit) {
            let length = usize::try_from(limit - behind).unwrap_or(usize::MAX);
            let (chunk, _) = self.read(behind, length.min(format::ENTRY_BYTES_MAX), Bytes::new()).await?;
            let scan = format::scan(&chunk, self.header.origin, self.after, 1);
            if let Some(entry) = scan.entries.first() {
                (self.offset, self.chunk) = (behind, Bytes::new());
                return Ok(Some(entry.id.n));
            }
        }
        (self.offset, self.chunk) = (limit, Bytes::new());
        Ok(None)
    }
}

/// This memory, if it is large enough and shared by nobody, else new memory.
pub(super) fn reused(room: Bytes, length: usize) -> BytesMut {
    match room.try_into_mut() {
        Ok(room) if room.len() >= length => room,
        _ => BytesMut::zeroed(length.next_power_of_two()),
    }
}

fn corrupt(segment: &Named, offset: u64, why: &'static str, before: u64, after: Option<u64>) -> Error {
    let error = Error::new(ErrorKind::Corrupt, "read log")
        .detail(why)
        .with("path", segment.path.display())
        .with("offset", offset)
        .with("before", before);
    match after {
        Some(after) => error.with("after", after),
        None => error.with("after", "unknown"),
    }
}
