//! The bytes of a segment: its header, its entries, and the one parser of both.
//!
//! Plain functions of bytes and values; `docs/formats/log.md` says the same byte by byte. This file knows no file,
//! no clock and no queue. All numbers are little endian.

use std::time::Duration;

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::{Day, Entry, EntryId, EntryKind, FeedName, FrameKind, Origin, SessionId, Timestamp};

/// What a segment begins with.
pub const MAGIC: [u8; 8] = *b"ssmdlog\n";
/// The version of the format that this code writes, and the only one that it reads.
pub const VERSION: u16 = 1;
/// Length of a segment's header, in bytes.
pub const HEADER_BYTES: usize = 192;
/// Length of an entry without its payload, in bytes.
pub const ENTRY_BYTES: usize = 56;

/// The longest entry, in bytes.
pub const ENTRY_BYTES_MAX: usize = ENTRY_BYTES + PAYLOAD_BYTES_MAX;

/// The most bytes of a feed's name in a header.
const FEED_BYTES: usize = 48;
/// The highest number of an entry; what is above is an error of whoever counts, and the sums here stay in bounds.
pub const N_MAX: u64 = u64::MAX / 2;

const HAS_LAST: u32 = 1;
const BINARY: u8 = 1;
const MORE: u8 = 2;

/// Evidence of the last frame that was received: where a gap after it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEntry {
    /// When it was received.
    pub at: Timestamp,
    /// The connection.
    pub session: SessionId,
    /// Its index in the connection.
    pub index: u64,
}

/// Where a log stands after some entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The number of that entry; 0 before the first.
    pub n: u64,
    /// The highest session number so far.
    pub session: u64,
    /// The latest day so far.
    pub day: Day,
    /// The last received frame, once there was one.
    pub last: Option<LastEntry>,
}

impl Tip {
    /// The tip after one more entry.
    pub fn observe(&mut self, entry: &Entry) {
        self.n = entry.id.n;
        self.session = self.session.max(entry.session.0);
        self.day = self.day.max(entry.day);
        let received = matches!(entry.kind, EntryKind::Frame(kind) if kind != FrameKind::Sent);
        if received && !entry.more {
            self.last = Some(LastEntry { at: entry.at, session: entry.session, index: entry.index });
        }
    }
}

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The log.
    pub origin: Origin,
    /// The feed whose entries these are.
    pub feed: FeedName,
    /// The number of the first entry here, which names the file.
    pub first: u64,
    /// The epoch in which the segment was begun.
    pub epoch: u64,
    /// When it was begun: the one before it was sealed then.
    pub created: Timestamp,
    /// Where the log stood before the first entry here; its `n` is the last number that was really written.
    pub before: Tip,
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(10, &(HEADER_BYTES as u16).to_le_bytes());
        put(12, &u32::from(self.before.last.is_some()).to_le_bytes());
        put(16, &self.origin.to_bytes());
        put(32, &self.first.to_le_bytes());
        put(40, &self.before.n.to_le_bytes());
        put(48, &self.epoch.to_le_bytes());
        put(56, &self.before.session.to_le_bytes());
        put(64, &self.before.day.days().to_le_bytes());
        put(68, &(self.feed.as_str().len() as u32).to_le_bytes());
        put(72, &self.created.nanos().to_le_bytes());
        if let Some(last) = self.before.last {
            put(80, &last.at.nanos().to_le_bytes());
            put(88, &last.session.0.to_le_bytes());
            put(96, &last.index.to_le_bytes());
        }
        put(104, self.feed.as_str().as_bytes());
        let crc = crc32c(&out[..HEADER_BYTES - 4]);
        out[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEADER_BYTES {
            return Err("the file is shorter than a header");
        }
        let bytes = &bytes[..HEADER_BYTES];
        if bytes[..8] != MAGIC {
            return Err("this is no log segment");
        }
        if u16_at(bytes, 8) != VERSION {
            return Err("the format's version is not one that this program reads");
        }
        if crc32c(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
            return Err("the header's checksum does not match");
        }
        let feed = &bytes[104..104 + (u32_at(bytes, 68) as usize).min(FEED_BYTES)];
        let feed = std::str::from_utf8(feed).ok().and_then(|name| FeedName::new(name).ok());
        let last = LastEntry {
            at: Timestamp::from_nanos(i64_at(bytes, 80)),
            session: SessionId(u64_at(bytes, 88)),
            index: u64_at(bytes, 96),
        };
        let before = Tip {
            n: u64_at(bytes, 40),
            session: u64_at(bytes, 56),
            day: Day::from_days(u32_at(bytes, 64) as i32),
            last: (u32_at(bytes, 12) & HAS_LAST != 0).then_some(last),
        };
        let header = Self {
            origin: Origin::from_bytes(array(bytes, 16)),
            feed: feed.ok_or("the header's feed is no feed name")?,
            first: u64_at(bytes, 32),
            epoch: u64_at(bytes, 48),
            created: Timestamp::from_nanos(i64_at(bytes, 72)),
            before,
        };
        if header.first <= before.n || header.first > N_MAX {
            Err("the header's numbers contradict one another")
        } else if header.encode() != bytes {
            Err("the header says what this version does not know")
        } else {
            Ok(header)
        }
    }
}

/// What every entry's checksum of a log starts from, so that an entry of another log never passes for one of this.
pub fn seed(origin: Origin) -> u32 {
    crc32c(&origin.to_bytes())
}

/// Appends an entry's bytes to `out`. The payload must not be longer than [`PAYLOAD_BYTES_MAX`].
pub fn encode(entry: &Entry, seed: u32, out: &mut Vec<u8>) {
    let mut head = [0; ENTRY_BYTES];
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(4, &(entry.payload.len() as u32).to_le_bytes());
    put(8, &entry.id.n.to_le_bytes());
    put(16, &entry.at.nanos().to_le_bytes());
    put(24, &u64::try_from(entry.elapsed.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
    put(32, &entry.session.0.to_le_bytes());
    put(40, &entry.index.to_le_bytes());
    put(48, &entry.day.days().to_le_bytes());
    let flags = if entry.binary { BINARY } else { 0 } | if entry.more { MORE } else { 0 };
    put(52, &[entry.kind.number(), flags]);
    let crc = crc32c_append(crc32c_append(seed, &head[4..]), &entry.payload);
    head[..4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(&entry.payload);
}

/// What [`scan`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Whole, undamaged entries; their payloads are slices of the scanned bytes.
    pub entries: Vec<Entry>,
    /// How many bytes they are.
    pub valid: usize,
    /// Why there are no more.
    pub stop: Stop,
}

/// Why a scan stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes ended with an entry.
    End,
    /// As many entries as were asked for.
    Enough,
    /// The bytes end inside an entry, which needs this many from where it begins.
    Short(usize),
    /// What follows is no entry, for this reason.
    Damaged(&'static str),
}

/// Reads up to `max` entries of the log `origin` from the beginning of `bytes`; each must have a higher number than
/// the one before it, the first one than `after`. Never panics, whatever the bytes are, and gives no entry of which
/// a bit has changed.
pub fn scan(bytes: &Bytes, origin: Origin, mut after: u64, max: usize) -> Scan {
    let seed = seed(origin);
    let mut entries = Vec::with_capacity(max.min(bytes.len() / ENTRY_BYTES));
    let mut valid = 0;
    let stop = loop {
        if valid == bytes.len() {
            break Stop::End;
        }
        if entries.len() == max {
            break Stop::Enough;
        }
        match entry_at(bytes, valid, origin, seed, after) {
            Ok(entry) => {
                valid += ENTRY_BYTES + entry.payload.len();
                after = entry.id.n;
                entries.push(entry);
            }
            Err(stop) => break stop,
        }
    };
    Scan { entries, valid, stop }
}

/// Where the entry at the beginning of `bytes` would end by its own account: a guess, if it is damaged.
pub fn claimed_bytes(bytes: &[u8]) -> Option<usize> {
    let payload = (bytes.len() >= 8).then(|| u32_at(bytes, 4) as usize)?;
    (payload <= PAYLOAD_BYTES_MAX).then_some(ENTRY_BYTES + payload)
}

fn entry_at(all: &Bytes, at: usize, origin: Origin, seed: u32, after: u64) -> Result<Entry, Stop> {
    let bytes = &all[at..];
    if bytes.len() < ENTRY_BYTES {
        return Err(Stop::Short(ENTRY_BYTES));
    }
    let length = claimed_bytes(bytes).ok_or(Stop::Damaged("an entry's length is above the bound"))?;
    if bytes.len() < length {
        return Err(Stop::Short(length));
    }
    if crc32c_append(seed, &bytes[4..length]) != u32_at(bytes, 0) {
        return Err(Stop::Damaged("an entry's checksum does not match"));
    }
    let n = u64_at(bytes, 8);
    if n <= after || n > N_MAX {
        return Err(Stop::Damaged("an entry's number does not come after the one before it"));
    }
    let kind = EntryKind::from_number(bytes[52]).ok_or(Stop::Damaged("an entry's kind is unknown"))?;
    if bytes[53] & !(BINARY | MORE) != 0 || u16_at(bytes, 54) != 0 {
        return Err(Stop::Damaged("an entry has flags that this version does not know"));
    }
    Ok(Entry {
        id: EntryId { origin, n },
        at: Timestamp::from_nanos(i64_at(bytes, 16)),
        elapsed: Duration::from_nanos(u64_at(bytes, 24)),
        session: SessionId(u64_at(bytes, 32)),
        index: u64_at(bytes, 40),
        day: Day::from_days(u32_at(bytes, 48) as i32),
        kind,
        binary: bytes[53] & BINARY != 0,
        more: bytes[53] & MORE != 0,
        payload: all.slice(at + ENTRY_BYTES..at + length),
    })
}

/// `N` bytes from `at` on, which the caller knows to be there.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(super) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_something_in_its_zeros_is_refused() {
        let before = Tip { n: 11, session: 1, day: Day::from_days(20_000), last: None };
        let feed = FeedName::new("kraken").unwrap();
        let created = Timestamp::from_nanos(9);
        let header =
            Header { origin: Origin::from_bytes([7; 16]), feed, first: 12, epoch: 2, created, before };
        assert_eq!(Header::decode(&header.encode()), Ok(header.clone()));
        // The header's length, an unknown flag, a last entry that is not there, the length and the end of the name.
        for at in [10, 13, 80, 71, 111, 150, 170] {
            let mut bytes = header.encode();
            bytes[at] ^= 64;
            let crc = crc32c(&bytes[..HEADER_BYTES - 4]);
            bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
            assert!(Header::decode(&bytes).is_err(), "{at}");
        }
    }
}
