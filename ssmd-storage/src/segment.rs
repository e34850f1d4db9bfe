//! Raw segments: sealed files of lines, written so that the same entries always give the same bytes.
//!
//! Owns the cut rules, the header line and the compression; knows nothing of stores.

mod decoder;
mod encoder;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ssmd_core::{Day, Entry, EntryKind, Error, ErrorKind, FeedName, Origin, Result, Timestamp};

use crate::commit::Object;
use crate::layout::{Compression, SegmentName, sha256};
use crate::line::{self, Common, LINE_BYTES_MAX, Stamp};
use crate::text;
use decoder::Decoder;
use encoder::Encoder;

/// A segment ends before an entry whose stamp is this far from its first one's, in either direction.
pub const SEGMENT_SPAN: Duration = Duration::from_secs(60);
/// The most bytes of a segment before compression, but for one that holds a single entry.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The most bytes of a segment after compression: what does not compress grows a little.
pub const OBJECT_BYTES_MAX: u64 = SEGMENT_BYTES_MAX + SEGMENT_BYTES_MAX / 64;

/// A segment is compressed in parts of whole lines: as many as have together at most so many bytes, and at least one.
/// So few that the compressor finds them in the processor's caches, so many that it finds what repeats.
pub const PART_BYTES_MAX: usize = 1024 * 1024;
/// The version of the format.
const VERSION: u32 = 1;

/// The first line of a segment, so that a file alone can be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always `raw`.
    ssmd: String,
    /// Always 1.
    v: u32,
    /// The feed.
    pub feed: FeedName,
    /// The log that the entries come from.
    #[serde(with = "text")]
    pub origin: Origin,
    /// The day of all its entries.
    pub day: Day,
    /// The number of its first entry.
    pub first: u64,
}

/// A sealed segment: the object and what a commit says about it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// What the commit says.
    pub object: Object,
    /// The object's bytes.
    pub body: Bytes,
}

/// Writes one segment.
pub struct SegmentWriter {
    header: Header,
    compression: Compression,
    encoder: Encoder,
    /// The part that is not full yet.
    pending: Vec<u8>,
    stamp: Stamp,
    summary: Summary,
    first_at: Timestamp,
}

/// What is counted over the entries of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) last: u64,
    pub(crate) entries: u64,
    pub(crate) frames: u64,
    pub(crate) sessions: BTreeSet<u64>,
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
    pub(crate) plain_bytes: u64,
}

impl Summary {
    pub(crate) fn new(plain_bytes: u64) -> Self {
        Self {
            last: 0,
            entries: 0,
            frames: 0,
            sessions: BTreeSet::new(),
            earliest: Timestamp::from_nanos(i64::MAX),
            latest: Timestamp::from_nanos(i64::MIN),
            plain_bytes,
        }
    }

    pub(crate) fn count(&mut self, entry: &Entry, line_bytes: usize) {
        self.last = entry.id.n;
        self.entries += 1;
        self.frames += u64::from(matches!(entry.kind, EntryKind::Frame(_)) && !entry.more);
        if entry.session.0 != 0 && self.sessions.last() != Some(&entry.session.0) {
            self.sessions.insert(entry.session.0);
        }
        self.earliest = self.earliest.min(entry.at);
        self.latest = self.latest.max(entry.at);
        self.plain_bytes += line_bytes as u64;
    }
}

impl SegmentWriter {
    /// Begins a segment with its first entry.
    ///
    /// # Errors
    /// `Invalid` for a compression level that there is not.
    pub fn begin(feed: &FeedName, first: &Entry, compression: Compression) -> Result<Self> {
        let header = Header {
            ssmd: "raw".to_owned(),
            v: VERSION,
            feed: feed.clone(),
            origin: first.id.origin,
            day: first.day,
            first: first.id.n,
        };
        let mut pending = Vec::with_capacity(PART_BYTES_MAX + PART_BYTES_MAX / 4);
        serde_json::to_writer(&mut pending, &header)
            .map_err(|cause| Error::new(ErrorKind::Bug, "begin segment").because(cause))?;
        pending.push(b'\n');
        let encoder = Encoder::new(compression)?;
        let summary = Summary::new(pending.len() as u64);
        let stamp = Stamp::default();
        let mut writer = Self { header, compression, encoder, pending, stamp, summary, first_at: first.at };
        writer.add(first)?;
        Ok(writer)
    }

    /// Adds the next entry, or says `false` if it must begin the next segment.
    ///
    /// # Errors
    /// `Bug` if the entry does not follow the last one.
    pub fn push(&mut self, entry: &Entry) -> Result<bool> {
        let follows = entry.id.origin == self.header.origin && entry.id.n == self.summary.last + 1;
        if !follows {
            return Err(Error::new(ErrorKind::Bug, "write segment")
                .detail("an entry does not follow")
                .with("last", self.summary.last)
                .with("entry", entry.id));
        }
        let apart = entry.at.nanos().abs_diff(self.first_at.nanos());
        if entry.day != self.header.day || u128::from(apart) >= SEGMENT_SPAN.as_nanos() {
            return Ok(false);
        }
        self.add(entry)
    }

    /// The stamp of the first entry.
    pub fn first_at(&self) -> Timestamp {
        self.first_at
    }

    /// Seals the segment.
    ///
    /// # Errors
    /// `Bug` if the compressor fails, which it does not in memory.
    pub fn finish(mut self) -> Result<Sealed> {
        self.encoder.write(&self.pending)?;
        let body = self.encoder.finish()?;
        let sha256 = sha256(&body);
        let Summary { last, entries, frames, sessions, earliest, latest, plain_bytes } = self.summary;
        let path = SegmentName {
            feed: &self.header.feed,
            origin: self.header.origin,
            day: self.header.day,
            at: self.first_at,
            first: self.header.first,
            last,
            sha256: &sha256,
            suffix: self.compression.suffix(),
        }
        .path()?;
        let object = Object {
            path: path.to_string(),
            bytes: body.len() as u64,
            sha256,
            first: self.header.first,
            last,
            day: self.header.day,
            entries,
            frames,
            sessions: sessions.into_iter().collect(),
            earliest,
            latest,
            plain_bytes,
        };
        Ok(Sealed { object, body })
    }

    fn add(&mut self, entry: &Entry) -> Result<bool> {
        let before = self.pending.len();
        line::write_after(entry, &mut self.stamp, &mut self.pending);
        let bytes = self.pending.len() - before;
        if self.summary.entries > 0 && self.summary.plain_bytes + bytes as u64 > SEGMENT_BYTES_MAX {
            self.pending.truncate(before);
            return Ok(false);
        }
        self.summary.count(entry, bytes);
        if self.pending.len() > PART_BYTES_MAX && before > 0 {
            self.encoder.write(&self.pending[..before])?;
            self.pending.drain(..before);
        }
        Ok(true)
    }
}

/// Reads one segment, block by block, never holding more than a block and a line of it.
pub struct SegmentReader {
    source: Decoder,
    header: Header,
    /// Bytes that are read and not parsed: the beginning of a line.
    rest: Bytes,
    next: u64,
    plain_bytes: u64,
    ended: bool,
}

/// Bytes that are unpacked at a time: a part of a segment.
const BLOCK_BYTES: usize = PART_BYTES_MAX;

impl SegmentReader {
    /// Begins to read a segment's bytes, compressed in either way.
    ///
    /// # Errors
    /// `Corrupt` if it is no segment; `Unsupported` if it is of a later version.
    pub fn open(body: Bytes) -> Result<Self> {
        let header = Header {
            ssmd: String::new(),
            v: VERSION,
            feed: FeedName::new("unknown")?,
            origin: Origin::from_bytes([0; 16]),
            day: Day::from_days(0),
            first: 0,
        };
        let source = Decoder::new(body)?;
        let mut reader = Self { source, header, rest: Bytes::new(), next: 0, plain_bytes: 0, ended: false };
        let block = reader.block()?;
        let end = memchr::memchr(b'\n', &block).ok_or_else(|| corrupt("there is no header"))?;
        reader.header = read_header(&block[..end])?;
        reader.next = reader.header.first;
        reader.rest = block.slice(end + 1..);
        Ok(reader)
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes unpacked so far.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Adds the entries of the next block to `out`; `false` at the end.
    ///
    /// # Errors
    /// `Corrupt` for a line that is none, numbers that do not follow one another, damage that the compression
    /// notices, or more bytes than a segment may have.
    pub fn read(&mut self, out: &mut Vec<Entry>) -> Result<bool> {
        self.read_lines(|_, entry| {
            out.push(entry);
            Ok(())
        })
    }

    /// Like [`SegmentReader::read`], with each line (without its line feed) beside its entry.
    ///
    /// # Errors
    /// As for [`SegmentReader::read`], and those of `each`.
    pub fn read_lines(&mut self, mut each: impl FnMut(&[u8], Entry) -> Result<()>) -> Result<bool> {
        let block = if self.rest.contains(&b'\n') { std::mem::take(&mut self.rest) } else { self.block()? };
        if block.is_empty() {
            return Ok(false);
        }
        let common = Common { origin: self.header.origin, day: self.header.day };
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &block) {
            let entry = line::read(&block, start..end, common)?;
            if entry.id.n != self.next {
                return Err(corrupt("numbers do not follow").with("n", entry.id.n).with("wanted", self.next));
            }
            self.next = self.next.saturating_add(1);
            each(&block[start..end], entry)?;
            start = end + 1;
        }
        self.rest = block.slice(start..);
        Ok(true)
    }

    /// The next bytes up to at least one line feed; nothing at the end.
    fn block(&mut self) -> Result<Bytes> {
        let mut block = Vec::with_capacity(BLOCK_BYTES.max(2 * self.rest.len()));
        block.extend_from_slice(&self.rest);
        self.rest = Bytes::new();
        while !self.ended {
            let before = block.len();
            // Most of it is free, unless the beginning of a long line was left.
            block.reserve(64 * 1024);
            let read = self.source.read(&mut block);
            let read = read.map_err(|cause| corrupt("it does not unpack").because(cause))?;
            self.plain_bytes += read as u64;
            self.ended = read == 0;
            if self.plain_bytes > SEGMENT_BYTES_MAX + LINE_BYTES_MAX as u64 {
                return Err(corrupt("it unpacks to more than a segment may hold"));
            }
            if memchr::memrchr(b'\n', &block[before..]).is_some() {
                return Ok(block.into());
            }
            if block.len() > LINE_BYTES_MAX {
                return Err(corrupt("a line is too long"));
            }
        }
        if block.is_empty() || block.ends_with(b"\n") {
            return Ok(block.into());
        }
        Err(corrupt("the last line has no end"))
    }
}

fn read_header(line: &[u8]) -> Result<Header> {
    let header: Header =
        serde_json::from_slice(line).map_err(|cause| corrupt("the header is not readable").because(cause))?;
    if header.ssmd != "raw" {
        return Err(corrupt("it is no raw segment"));
    }
    if header.v != VERSION {
        return Err(Error::new(ErrorKind::Unsupported, "read segment")
            .with("version", header.v)
            .hint("read it with a later ssmd"));
    }
    Ok(header)
}

fn corrupt(detail: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "read segment").detail(detail)
}
