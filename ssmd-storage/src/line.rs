//! One line of a raw segment: an entry as JSON, its frame embedded byte for byte where that is possible.
//!
//! `{"t":…,"e":…,"n":…,"s":…,"i":…,"k":"data",["more":true,]["bin":true,]` and then the payload: `"raw":<JSON>` with
//! white space around it in `"pre"` and `"tail"`, else `"str":"…"` for other text, else `"b64":"…"`. The form is a
//! function of the payload, so the same entry always gives the same line.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::{Day, Entry, EntryId, EntryKind, Error, ErrorKind, Origin, Result, SessionId, Timestamp};

use crate::json::{self, eight};

/// The longest line, in bytes: a payload of control characters becomes six bytes for each of its own.
pub const LINE_BYTES_MAX: usize = 6 * PAYLOAD_BYTES_MAX + 1024;

/// Writes an entry as one line, with its line feed.
pub fn write(entry: &Entry, out: &mut Vec<u8>) {
    write_after(entry, &mut Stamp::default(), out);
}

/// How a line begins, for the next one: frames that came with one read have one stamp.
#[derive(Debug, Default)]
pub struct Stamp {
    of: Option<(Timestamp, Duration)>,
    text: Vec<u8>,
}

/// Like [`write`], if the last line left `stamp`.
pub fn write_after(entry: &Entry, stamp: &mut Stamp, out: &mut Vec<u8>) {
    out.reserve(entry.payload.len() + 256);
    if stamp.of != Some((entry.at, entry.elapsed)) {
        stamp.of = Some((entry.at, entry.elapsed));
        stamp.text.clear();
        stamp.text.extend_from_slice(b"{\"t\":");
        push_signed(&mut stamp.text, entry.at.nanos());
        stamp.text.extend_from_slice(b",\"e\":");
        push_number(&mut stamp.text, u64::try_from(entry.elapsed.as_nanos()).unwrap_or(u64::MAX));
        stamp.text.extend_from_slice(b",\"n\":");
    }
    out.extend_from_slice(&stamp.text);
    push_number(out, entry.id.n);
    out.extend_from_slice(b",\"s\":");
    push_number(out, entry.session.0);
    out.extend_from_slice(b",\"i\":");
    push_number(out, entry.index);
    out.extend_from_slice(b",\"k\":\"");
    out.extend_from_slice(entry.kind.word().as_bytes());
    out.extend_from_slice(b"\",");
    if entry.more {
        out.extend_from_slice(MORE);
    }
    if entry.binary {
        out.extend_from_slice(BIN);
    }
    write_payload(&entry.payload, out);
    out.extend_from_slice(b"}\n");
}

/// What every line of a segment has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// The log that the entries come from.
    pub origin: Origin,
    /// Their day.
    pub day: Day,
}

/// Reads the line, without its line feed, that lies in `block` at `range`. An embedded frame is not copied.
///
/// Whether an embedded frame is valid JSON is not checked here: writing the entry again and comparing does that.
///
/// # Errors
/// `Corrupt` if it is no line of this format.
pub fn read(block: &Bytes, range: Range<usize>, common: Common) -> Result<Entry> {
    let line = block.get(range.clone()).unwrap_or_default();
    let Some((fields, payload)) = read_fast(line) else { return read_slow(line, common) };
    let payload = match payload {
        Fast::Raw(from) => block.slice(range.start + from..range.end - 1),
        Fast::RawAndLineFeed(from) => {
            let core = &line[from..line.len() - 1];
            [core, b"\n"].concat().into()
        }
    };
    fields.entry(common, payload)
}

const MORE: &[u8] = b"\"more\":true,";
const BIN: &[u8] = b"\"bin\":true,";
const RAW: &[u8] = b"\"raw\":";
/// How the tail of a frame that ends in one line feed is written: all of Kalshi's do.
const LINE_FEED: &[u8] = b"\"tail\":\"\\n\",";

fn write_payload(payload: &[u8], out: &mut Vec<u8>) {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = payload.iter().position(|byte| !space(byte)).unwrap_or(payload.len());
    let end = payload.iter().rposition(|byte| !space(byte)).map_or(start, |last| last + 1);
    let (pre, core, tail) = (&payload[..start], &payload[start..end], &payload[end..]);
    if json::is_line(core) {
        push_space(out, "pre", pre);
        push_space(out, "tail", tail);
        out.extend_from_slice(RAW);
        out.extend_from_slice(core);
    } else if let Ok(text) = std::str::from_utf8(payload) {
        out.extend_from_slice(b"\"str\":");
        // Writing to a vector does not fail.
        let _ = serde_json::to_writer(out, text);
    } else {
        out.extend_from_slice(b"\"b64\":\"");
        out.extend_from_slice(BASE64.encode(payload).as_bytes());
        out.push(b'"');
    }
}

fn push_space(out: &mut Vec<u8>, key: &str, space: &[u8]) {
    if space.is_empty() {
        return;
    }
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":\"");
    for byte in space {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.push(b' '),
        }
    }
    out.extend_from_slice(b"\",");
}

fn push_signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_number(out, number.unsigned_abs());
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    const EIGHT: u64 = 100_000_000;
    if number < 10 {
        out.push(b'0' + number as u8);
        return;
    }
    let (rest, last) = (number / EIGHT, eight_digits(number % EIGHT));
    if rest > 0 {
        push_number(out, rest);
        out.extend_from_slice(&(last | eight(b'0')).to_le_bytes());
        return;
    }
    let zeros = (last.trailing_zeros() / 8).min(7);
    out.extend_from_slice(&((last | eight(b'0')) >> (8 * zeros)).to_le_bytes());
    out.truncate(out.len() - zeros as usize);
}

/// The eight digits of a number, a byte each, the first in the lowest: all halves, quarters and eighths at once.
fn eight_digits(number: u64) -> u64 {
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let high = ((halves * 10_486) >> 20) & 0x7F_0000_007F;
    let quarters = high | (halves - 100 * high) << 16;
    let high = ((quarters * 103) >> 10) & 0x0F_000F_000F_000F;
    high | (quarters - 10 * high) << 8
}

/// The fields of a line but its payload.
struct Fields {
    t: i64,
    e: u64,
    n: u64,
    s: u64,
    i: u64,
    kind: EntryKind,
    more: bool,
    bin: bool,
}

impl Fields {
    fn entry(self, common: Common, payload: Bytes) -> Result<Entry> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(corrupt("a payload is too long").with("n", self.n).with("bytes", payload.len()));
        }
        Ok(Entry {
            id: EntryId { origin: common.origin, n: self.n },
            day: common.day,
            at: Timestamp::from_nanos(self.t),
            elapsed: Duration::from_nanos(self.e),
            session: SessionId(self.s),
            index: self.i,
            kind: self.kind,
            binary: self.bin,
            more: self.more,
            payload,
        })
    }
}

/// Where the payload of a line begins that the fast way can read.
enum Fast {
    Raw(usize),
    RawAndLineFeed(usize),
}

/// Reads a line as [`write`] writes it; `None` for every other.
fn read_fast(line: &[u8]) -> Option<(Fields, Fast)> {
    let mut cursor = Cursor { rest: line.strip_suffix(b"}")? };
    cursor.eat(b"{\"t\":")?;
    let t = cursor.signed()?;
    cursor.eat(b",\"e\":")?;
    let e = cursor.number()?;
    cursor.eat(b",\"n\":")?;
    let n = cursor.number()?;
    cursor.eat(b",\"s\":")?;
    let s = cursor.number()?;
    cursor.eat(b",\"i\":")?;
    let i = cursor.number()?;
    cursor.eat(b",\"k\":\"")?;
    let kind = cursor.kind()?;
    let more = cursor.eat(MORE).is_some();
    let bin = cursor.eat(BIN).is_some();
    let line_feed = cursor.eat(LINE_FEED).is_some();
    cursor.eat(RAW)?;
    let from = line.len() - 1 - cursor.rest.len();
    let payload = if line_feed { Fast::RawAndLineFeed(from) } else { Fast::Raw(from) };
    (!cursor.rest.is_empty()).then_some((Fields { t, e, n, s, i, kind, more, bin }, payload))
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    #[inline]
    fn eat(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    #[inline]
    fn signed(&mut self) -> Option<i64> {
        let negative = self.eat(b"-").is_some();
        let number = i64::try_from(self.number()?).ok()?;
        Some(if negative { -number } else { number })
    }

    /// At most nineteen digits, so that nothing overflows; longer numbers go the slow way.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        let mut digits = 0;
        while let Some(byte) = self.rest.get(digits)
            && byte.is_ascii_digit()
        {
            if digits == 19 {
                return None;
            }
            number = number * 10 + u64::from(byte - b'0');
            digits += 1;
        }
        let canonical = digits == 1 || (digits > 1 && self.rest[0] != b'0');
        self.rest = &self.rest[digits..];
        canonical.then_some(number)
    }

    #[inline]
    fn kind(&mut self) -> Option<EntryKind> {
        if self.eat(b"data\",").is_some() {
            return Some(EntryKind::Frame(ssmd_core::FrameKind::Data));
        }
        let end = self.rest.iter().take(16).position(|byte| *byte == b'"')?;
        let kind = EntryKind::from_word(std::str::from_utf8(&self.rest[..end]).ok()?)?;
        self.rest = &self.rest[end..];
        self.eat(b"\",")?;
        Some(kind)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Slow<'a> {
    t: i64,
    e: u64,
    n: u64,
    s: u64,
    i: u64,
    #[serde(borrow)]
    k: Cow<'a, str>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    bin: bool,
    #[serde(default)]
    pre: String,
    #[serde(default)]
    tail: String,
    #[serde(borrow)]
    raw: Option<&'a RawValue>,
    str: Option<String>,
    b64: Option<String>,
}

fn read_slow(line: &[u8], common: Common) -> Result<Entry> {
    let slow: Slow<'_> =
        serde_json::from_slice(line).map_err(|cause| corrupt("a line is not readable").because(cause))?;
    let kind = EntryKind::from_word(&slow.k).ok_or_else(|| corrupt("an unknown kind").with("n", slow.n))?;
    let payload: Bytes = match (slow.raw, slow.str, slow.b64) {
        (Some(raw), None, None) => {
            let around = |text: &str| text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            if !around(&slow.pre) || !around(&slow.tail) {
                return Err(corrupt("around a frame there is more than white space").with("n", slow.n));
            }
            [slow.pre.as_bytes(), raw.get().as_bytes(), slow.tail.as_bytes()].concat().into()
        }
        (None, Some(text), None) => text.into(),
        (None, None, Some(text)) => BASE64
            .decode(text)
            .map_err(|cause| corrupt("not base64").with("n", slow.n).because(cause))?
            .into(),
        _ => return Err(corrupt("not exactly one payload").with("n", slow.n)),
    };
    let Slow { t, e, n, s, i, more, bin, .. } = slow;
    Fields { t, e, n, s, i, kind, more, bin }.entry(common, payload)
}

fn corrupt(detail: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "read line").detail(detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ssmd_core::FrameKind;

    use super::*;

    const COMMON: Common = Common { origin: Origin::from_bytes([9; 16]), day: Day::from_days(20_000) };

    fn entry(payload: Bytes) -> Entry {
        Entry {
            id: EntryId { origin: COMMON.origin, n: 12 },
            day: COMMON.day,
            at: Timestamp::from_nanos(1_785_641_750_295_158_100),
            elapsed: Duration::from_nanos(55),
            session: SessionId(3),
            index: 4,
            kind: EntryKind::Frame(FrameKind::Data),
            binary: false,
            more: false,
            payload,
        }
    }

    fn line_of(entry: &Entry) -> Bytes {
        let mut line = Vec::new();
        write(entry, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        line.into()
    }

    /// Writes, checks that the line is one line of JSON, and reads it back both ways.
    fn round_trip(entry: &Entry) -> Bytes {
        let line = line_of(entry);
        assert!(memchr::memchr(b'\n', &line).is_none());
        assert!(line.len() <= LINE_BYTES_MAX);
        serde_json::from_slice::<serde::de::IgnoredAny>(&line).unwrap();
        assert_eq!(&read(&line, 0..line.len(), COMMON).unwrap(), entry);
        assert_eq!(&read_slow(&line, COMMON).unwrap(), entry);
        line
    }

    #[test]
    fn the_form_is_chosen_by_the_payload() {
        let head = "{\"t\":1785641750295158100,\"e\":55,\"n\":12,\"s\":3,\"i\":4,\"k\":\"data\",";
        for (payload, rest) in [
            ("{\"a\":1E5,\"a\":[ ]}", "\"raw\":{\"a\":1E5,\"a\":[ ]}}"),
            ("{}\n", "\"tail\":\"\\n\",\"raw\":{}}"),
            (" \t[1]\r\n", "\"pre\":\" \\t\",\"tail\":\"\\r\\n\",\"raw\":[1]}"),
            ("{\n}", "\"str\":\"{\\n}\"}"),
            ("", "\"str\":\"\"}"),
            (" ", "\"str\":\" \"}"),
            ("01", "\"str\":\"01\"}"),
            ("{} {}", "\"str\":\"{} {}\"}"),
            ("NaN", "\"str\":\"NaN\"}"),
        ] {
            let line = round_trip(&entry(Bytes::from_static(payload.as_bytes())));
            assert_eq!(std::str::from_utf8(&line).unwrap(), format!("{head}{rest}"));
        }
        assert!(round_trip(&entry(Bytes::from_static(b"\"\xff\""))).ends_with(b"\"b64\":\"Iv8i\"}"));
    }

    #[test]
    fn deep_nesting_is_harmless() {
        for text in ["[".repeat(400_000), "{\"a\":".repeat(100_000)] {
            round_trip(&entry(text.into()));
        }
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert!(round_trip(&entry(deep.into())).ends_with(b"]}"));
        round_trip(&entry(Bytes::from(vec![1; PAYLOAD_BYTES_MAX])));
    }

    #[test]
    fn what_is_no_line_is_corrupt() {
        for line in
            ["", "{}", "null", "{\"t\":1}", "{\"t\":1,\"e\":1,\"n\":1,\"s\":1,\"i\":1,\"k\":\"x\",\"raw\":1}"]
        {
            let line = Bytes::from_static(line.as_bytes());
            assert_eq!(read(&line, 0..line.len(), COMMON).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    fn payloads() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            ".{0,80}".prop_map(String::into_bytes),
            "[ \t\r\n]{0,3}[\\[\\]{}:,\"\\\\0-9eE.+-tfn ]{0,20}[ \t\r\n]{0,3}".prop_map(String::into_bytes),
            "[ \t\r\n]{0,3}\\{\"a\": ?-?[1-9][0-9]{0,20}(\\.[0-9]{1,8})?(E5)?\\}[ \t\r\n]{0,3}"
                .prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn every_payload_comes_back(
            payload in payloads(), at in any::<i64>(), n in any::<u64>(), elapsed in any::<u64>(),
            kind in 0usize..10, binary in any::<bool>(), more in any::<bool>(),
        ) {
            let mut entry = entry(payload.into());
            entry.at = Timestamp::from_nanos(at);
            entry.id.n = n;
            entry.elapsed = Duration::from_nanos(elapsed);
            entry.kind = EntryKind::ALL[kind].0;
            (entry.binary, entry.more) = (binary, more);
            round_trip(&entry);
        }

        #[test]
        fn reading_never_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let line = Bytes::from(line);
            let _ = read(&line, 0..line.len(), COMMON);
        }
    }
}
