//! An entry as messages: the payload as it is, everything else in one header, large ones in parts.

use async_nats::{HeaderMap, HeaderName};
use bytes::{Bytes, BytesMut};
use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::{Day, Entry, EntryId, EntryKind, Origin, SessionId, Timestamp};

use super::chain::Link;

/// The header that carries what an entry is. Its first word is the version of its form; the others are
/// `n prev acked acked_at day at elapsed session index kind flags part parts crc`, where `acked_at` is the stream's
/// sequence of `acked`, flags are `b` for binary, `m` for more or `-`, and `crc` is the CRC-32C of what stands before
/// it and of the payload.
pub(super) const ENTRY: HeaderName = HeaderName::from_static("Ssmd-Entry");
/// The server takes a message only if this is the sequence of its subject's last one.
pub(super) const EXPECTED: HeaderName = HeaderName::from_static("Nats-Expected-Last-Subject-Sequence");

/// What the headers of a message of ours and the protocol's own words take at most, in bytes.
pub(super) const HEADER_BYTES_MAX: usize = 512;
/// The most parts of an entry: a server that takes less than 1 KiB in a message is of no use.
const PARTS_MAX: usize = PAYLOAD_BYTES_MAX / HEADER_BYTES_MAX;

/// One message of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) link: Link,
    /// The stream's sequence of `link.acked`: where to look for what came behind it.
    pub(super) acked_at: u64,
    pub(super) part: usize,
    pub(super) parts: usize,
    /// The entry, with this part's payload.
    pub(super) entry: Entry,
}

/// How many messages an entry takes, of at most `room` bytes of payload each.
pub(super) fn parts(entry: &Entry, room: usize) -> usize {
    entry.payload.len().div_ceil(room).max(1)
}

/// The payload of one part.
pub(super) fn part(entry: &Entry, part: usize, room: usize) -> Bytes {
    let end = entry.payload.len().min((part + 1) * room);
    entry.payload.slice(part * room..end)
}

/// The header of one part.
pub(super) fn header(
    entry: &Entry,
    link: Link,
    acked_at: u64,
    (part, parts): (usize, usize),
    payload: &[u8],
) -> String {
    let flags = match (entry.binary, entry.more) {
        (false, false) => "-",
        (true, false) => "b",
        (false, true) => "m",
        (true, true) => "bm",
    };
    let elapsed = u64::try_from(entry.elapsed.as_nanos()).unwrap_or(u64::MAX);
    let mut text = format!(
        "1 {} {} {} {acked_at} {} {} {elapsed} {} {} {} {flags} {part} {parts} ",
        link.n,
        link.prev,
        link.acked,
        entry.day.days(),
        entry.at.nanos(),
        entry.session.0,
        entry.index,
        entry.kind.word(),
    );
    let crc = crc32c::crc32c_append(crc32c::crc32c(text.as_bytes()), payload);
    text.push_str(&format!("{crc:08x}"));
    text
}

/// Reads a message; `None` if it is none of ours or damaged. Without `payload` its check is left out.
pub(super) fn read(origin: Origin, headers: &HeaderMap, payload: Option<Bytes>) -> Option<Piece> {
    let text = headers.get(ENTRY)?.as_str();
    let (fields, crc) = text.rsplit_once(' ')?;
    if let Some(payload) = &payload {
        let said = u32::from_str_radix(crc, 16).ok()?;
        let head = crc32c::crc32c(text.get(..fields.len() + 1)?.as_bytes());
        if crc32c::crc32c_append(head, payload) != said {
            return None;
        }
    }
    let mut words = fields.split(' ');
    if words.next()? != "1" {
        return None;
    }
    let (n, prev, acked) = (number(&mut words)?, number(&mut words)?, number(&mut words)?);
    let acked_at = number(&mut words)?;
    let day = Day::from_days(words.next()?.parse().ok()?);
    let at = Timestamp::from_nanos(words.next()?.parse().ok()?);
    let elapsed = std::time::Duration::from_nanos(number(&mut words)?);
    let session = SessionId(number(&mut words)?);
    let index = number(&mut words)?;
    let kind = EntryKind::from_word(words.next()?)?;
    let (binary, more) = match words.next()? {
        "-" => (false, false),
        "b" => (true, false),
        "m" => (false, true),
        "bm" => (true, true),
        _ => return None,
    };
    let part = words.next()?.parse().ok()?;
    let parts = words.next()?.parse().ok()?;
    if words.next().is_some() || part >= parts || parts > PARTS_MAX || n == 0 || prev >= n || acked >= n {
        return None;
    }
    let payload = payload.unwrap_or_default();
    let id = EntryId { origin, n };
    let entry = Entry { id, day, at, elapsed, session, index, kind, binary, more, payload };
    Some(Piece { link: Link { n, prev, acked }, acked_at, part, parts, entry })
}

fn number<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<u64> {
    words.next()?.parse().ok()
}

/// Puts the parts of large entries together again. One per origin, messages in the order of the stream.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    open: Option<(Piece, BytesMut)>,
}

impl Assembly {
    /// Takes the next message; gives the entry that it completes. Parts without their first ones give nothing.
    pub(super) fn push(&mut self, piece: Piece) -> Option<(Link, Entry)> {
        if piece.parts == 1 {
            self.open = None;
            return Some((piece.link, piece.entry));
        }
        if piece.part == 0 {
            let bytes = BytesMut::from(&piece.entry.payload[..]);
            self.open = Some((piece, bytes));
            return None;
        }
        let (mut open, mut bytes) = self.open.take()?;
        let follows = open.entry.id == piece.entry.id && open.part + 1 == piece.part;
        if !follows || bytes.len() + piece.entry.payload.len() > PAYLOAD_BYTES_MAX {
            return None;
        }
        bytes.extend_from_slice(&piece.entry.payload);
        if piece.part + 1 == piece.parts {
            return Some((piece.link, Entry { payload: bytes.freeze(), ..piece.entry }));
        }
        open.part = piece.part;
        self.open = Some((open, bytes));
        None
    }
}
