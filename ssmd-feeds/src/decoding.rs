//! What the decoders of all venues do alike: counting, naming where a record came from, saying what was wrong.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use ssmd_core::{DecodeCounts, DecodeError, Evidence, Frame, Header, Output, Symbol, Timestamp};

/// What is kept of each symbol of a connection. Every frame asks once at least, so it is quick to ask; the names are the
/// venue's and bounded in number, so it need not withstand names that are chosen to collide.
pub(crate) type BySymbol<T> = HashMap<Symbol, T, foldhash::fast::RandomState>;

/// How much of a foreign text an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// Counts one frame, whose outputs begin at `before`; takes them back if it could not be decoded.
pub(crate) fn count(
    counts: &mut DecodeCounts,
    result: &Result<(), DecodeError>,
    before: usize,
    out: &mut Vec<Output>,
) {
    counts.frames += 1;
    match result {
        Ok(()) => {
            let is_record = |output: &&Output| matches!(output, Output::Record(_));
            counts.records += out[before..].iter().filter(is_record).count() as u64;
        }
        Err(error) => {
            out.truncate(before);
            match error {
                DecodeError::Malformed(_) => counts.malformed += 1,
                DecodeError::Unknown(_) => counts.unknown += 1,
            }
        }
    }
}

/// The header of a record that `frame` tells.
pub(crate) fn header(frame: &Frame, symbol: Option<Symbol>, venue_time: Option<Timestamp>) -> Header {
    Header {
        symbol,
        venue_time,
        received: frame.received,
        sequence: None,
        session: frame.session,
        index: frame.index,
        source: frame.source,
    }
}

/// `frame` as one side of a gap.
pub(crate) fn evidence(frame: &Frame, shown: Option<String>) -> Evidence {
    Evidence { at: frame.received, session: frame.session, index: frame.index, shown }
}

/// Reads a JSON object; `None` for any other JSON, which serde would take for the fields of a struct in order.
pub(crate) fn object<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> serde_json::Result<Option<T>> {
    if frame.trim_ascii_start().first() == Some(&b'[') {
        return serde_json::from_slice::<IgnoredAny>(frame).map(|_| None);
    }
    serde_json::from_slice(frame).map(Some)
}

/// The words of serde may repeat the frame's.
pub(crate) fn malformed(error: serde_json::Error) -> DecodeError {
    DecodeError::Malformed(shown(&error.to_string()))
}

/// As much of a foreign text as an error shows.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
