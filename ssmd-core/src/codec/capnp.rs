//! Records as Cap'n Proto messages, as `schema/ssmd.capnp` defines them: one segment each, in the standard framing.
//!
//! The framing delimits itself: a file of records is messages end to end, read by [`Records`], and so are packets
//! that hold several. [`frame_bytes`] tells a reader of chunks how much it needs. Other languages read the same
//! bytes with the schema and their own Cap'n Proto library (`capnp decode ssmd.capnp Record`).
//!
//! Foreign bytes are hostile. A message is refused before it is read if its framing claims more than one segment or
//! more than [`MESSAGE_BYTES_MAX`]; while it is read, pointers may lead to no more than twice the message's own
//! length (a loop, or many pointers to one place, is an error) and no deeper than [`NESTING_MAX`]. What is required
//! and null, a number that [`Decimal`](crate::Decimal) cannot hold, text that is not UTF-8: each is an error that
//! names it. Nothing of that panics, and memory stays within a small multiple of the message.

mod read;
mod write;

use ::capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions, SegmentArray};

use crate::schema::ssmd_capnp::record;
use crate::{Error, ErrorKind, Record, Result, entry};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u16 = 1;
/// The longest message, in bytes: a level of a book takes at most 64 bytes here and at least 16 in any venue's
/// frame, so no record of a frame that the socket layer lets through is larger.
pub const MESSAGE_BYTES_MAX: usize = 4 * entry::FRAME_BYTES_MAX;
/// How deep structures may nest. The schema's own depth is 4: record, ticker, quote, decimal.
pub const NESTING_MAX: i32 = 8;

const WORD_BYTES: usize = 8;
/// The framing of a message with one segment: the number of segments less one, and the segment's words.
const FRAMING_BYTES: usize = 8;

/// Adds the message of one record to `out`.
///
/// # Errors
/// `Full` if the message would be longer than [`MESSAGE_BYTES_MAX`]; `out` is as it was.
pub fn encode(record: &Record, out: &mut Vec<u8>) -> Result<()> {
    let words_max = write::words_max(record);
    let words = u32::try_from(words_max).ok().filter(|_| words_max <= MESSAGE_BYTES_MAX / WORD_BYTES);
    let too_large = || Error::new(ErrorKind::Full, "write record").with("words", words_max);
    let allocator = HeapAllocator::new().first_segment_words(words.ok_or_else(too_large)?);
    let mut message = Builder::new(allocator);
    write::record(record, message.init_root());
    let segments = message.get_segments_for_output();
    let [segment] = segments[..] else {
        return Err(Error::new(ErrorKind::Bug, "write record").detail("one segment did not suffice"));
    };
    // The segment is shorter than `words_max`, which fits.
    let words = (segment.len() / WORD_BYTES) as u32;
    out.reserve(FRAMING_BYTES + segment.len());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&words.to_le_bytes());
    out.extend_from_slice(segment);
    Ok(())
}

/// Reads the one record whose message `bytes` is.
///
/// # Errors
/// `Unsupported` for what a newer version of ssmd wrote; `Invalid` for anything else that is no such message, also
/// if it is cut short or has more bytes behind it.
pub fn decode(bytes: &[u8]) -> Result<Record> {
    if frame_bytes(bytes)? != Some(bytes.len()) {
        return Err(invalid("not exactly one message").with("bytes", bytes.len()));
    }
    let segment = &bytes[FRAMING_BYTES..];
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(2 * segment.len() / WORD_BYTES)).nesting_limit(NESTING_MAX);
    let segments = [segment];
    let message = Reader::new(SegmentArray::new(&segments), options);
    let root = message.get_root::<record::Reader<'_>>().map_err(read::Fault::from);
    root.and_then(read::record).map_err(Error::from)
}

/// How many bytes the message at the front of `bytes` has in all; `None` if it takes more than these to say.
///
/// # Errors
/// `Invalid` if this is no framing of ours: more than one segment, or more than [`MESSAGE_BYTES_MAX`].
pub fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>> {
    let Some((framing, _)) = bytes.split_first_chunk::<FRAMING_BYTES>() else { return Ok(None) };
    let [a, b, c, d, e, f, g, h] = *framing;
    let more_segments = u32::from_le_bytes([a, b, c, d]);
    let length = (u32::from_le_bytes([e, f, g, h]) as usize).saturating_mul(WORD_BYTES);
    if more_segments != 0 || length > MESSAGE_BYTES_MAX {
        return Err(invalid("no framing of a record")
            .with("segments", u64::from(more_segments) + 1)
            .with("length", length));
    }
    Ok(Some(FRAMING_BYTES + length))
}

/// The records in bytes that hold messages end to end.
///
/// A message that is framed but wrong is an error in its place, and the next one follows it; broken framing, or a
/// last message that is cut short, is an error and the end.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = frame_bytes(self.rest).map(|length| length.unwrap_or(usize::MAX));
        match length.map(|length| self.rest.split_at_checked(length)) {
            Ok(Some((message, rest))) => {
                self.rest = rest;
                Some(decode(message))
            }
            broken => {
                let left = self.rest.len();
                self.rest = &[];
                Some(Err(broken
                    .err()
                    .unwrap_or_else(|| invalid("the last message is cut short").with("bytes", left))))
            }
        }
    }
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "read record").detail(detail)
}

#[cfg(test)]
mod tests;
