//! The shortest way through a book message: the exact form that the venue sends, and nothing else.
//!
//! Nine of ten frames of a busy feed are book updates. Whatever differs from the usual form in a single byte is
//! left to serde ([`super::wire`]), which gives the same for everything that is read here; a property test over
//! mutated frames holds the two against each other.

use std::borrow::Cow;

use ssmd_core::record::Level;

use super::wire::{BookEntry, LEVELS_MAX, Time};
use crate::scan::Cursor;

/// A book message with one book, and whether it is a snapshot. `None` is not a refusal.
pub(super) fn book(frame: &[u8]) -> Option<(bool, BookEntry<'_>)> {
    let mut cursor = Cursor::behind(b"{\"channel\":\"book\",\"type\":\"", frame)?;
    let snapshot = match cursor.literal(b"update") {
        Some(()) => false,
        None => cursor.literal(b"snapshot").map(|()| true)?,
    };
    cursor.literal(b"\",\"data\":[{\"symbol\":\"")?;
    let symbol = cursor.text()?;
    cursor.literal(b",\"bids\":[")?;
    let bids = levels(&mut cursor)?;
    cursor.literal(b",\"asks\":[")?;
    let asks = levels(&mut cursor)?;
    cursor.literal(b",\"checksum\":")?;
    let checksum = u32::try_from(cursor.whole()?).ok()?;
    let timestamp = match cursor.literal(b",\"timestamp\":\"") {
        Some(()) => Time::parse(cursor.text()?)?,
        None => Time::default(),
    };
    cursor.literal(b"}]}")?;
    let entry = BookEntry { symbol: Cow::Borrowed(symbol), bids, asks, checksum: Some(checksum), timestamp };
    cursor.is_done().then_some((snapshot, entry))
}

/// Levels up to and over the closing bracket.
fn levels(cursor: &mut Cursor<'_>) -> Option<Vec<Level>> {
    if cursor.literal(b"]").is_some() {
        return Some(Vec::new());
    }
    let mut levels = Vec::with_capacity(LEVELS_EXPECTED);
    while levels.len() < LEVELS_MAX {
        cursor.literal(b"{\"price\":")?;
        let price = cursor.number(b',')?;
        cursor.literal(b"\"qty\":")?;
        let size = cursor.number(b'}')?;
        levels.push(Level { price, size });
        match cursor.byte()? {
            b',' => {}
            b']' => return Some(levels),
            _ => return None,
        }
    }
    None
}

/// Most updates change one or two levels of a side.
const LEVELS_EXPECTED: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::Envelope;
    use super::*;

    const FRAME: &str = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":63000.2,"qty":0.00000000}],"asks":[{"price":63005.0,"qty":2.08665551},{"price":63005.1,"qty":12.0}],"checksum":2532652056,"timestamp":"2026-08-01T02:53:53.646219Z"}]}"#;

    /// What serde makes of the same bytes.
    fn slowly(frame: &[u8]) -> Option<(bool, BookEntry<'_>)> {
        let envelope: Envelope<'_> = serde_json::from_slice(frame).ok()?;
        assert_eq!(envelope.channel, "book");
        let mut entries: Vec<BookEntry<'_>> = serde_json::from_str(envelope.data?.get()).ok()?;
        assert_eq!(entries.len(), 1);
        Some((envelope.kind == "snapshot", entries.remove(0)))
    }

    /// Equal numbers with other digits would give another checksum.
    fn digits(entry: &BookEntry<'_>) -> String {
        format!("{entry:?}")
    }

    fn check(frame: &[u8]) -> bool {
        let Some((snapshot, entry)) = book(frame) else { return false };
        let (other_snapshot, other) = slowly(frame).expect("serde reads whatever the scanner reads");
        assert_eq!((snapshot, digits(&entry)), (other_snapshot, digits(&other)));
        true
    }

    #[test]
    fn the_usual_forms_are_read() {
        assert!(check(FRAME.as_bytes()));
        assert!(check(FRAME.replace("update", "snapshot").as_bytes()));
        assert!(check(FRAME.replace(r#","timestamp":"2026-08-01T02:53:53.646219Z""#, "").as_bytes()));
        assert!(check(FRAME.replace(r#"{"price":63000.2,"qty":0.00000000}"#, "").as_bytes()));
        assert!(!check(FRAME.replace("BTC/USD", r"BTC\/USD").as_bytes()));
        assert!(!check(format!("{FRAME} ").as_bytes()));
    }

    #[test]
    fn the_longest_numbers_are_read_alike() {
        for digits in [
            "9999999999999999999",
            "99999999999999999999",
            "0.123456789012345678",
            "0.00",
            "00.1",
            "1.",
            "-1",
        ] {
            check(FRAME.replace("63005.0", digits).as_bytes());
        }
    }

    #[test]
    fn more_levels_than_a_book_can_have_are_refused() {
        let level = r#"{"price":63005.0,"qty":2.0}"#;
        for (count, fits) in [(LEVELS_MAX, true), (LEVELS_MAX + 1, false)] {
            let levels = vec![level; count].join(",");
            let frame = FRAME.replace(r#"{"price":63000.2,"qty":0.00000000}"#, &levels);
            assert_eq!((check(frame.as_bytes()), slowly(frame.as_bytes()).is_some()), (fits, fits));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn serde_gives_the_same(
            changes in prop::collection::vec((0..FRAME.len(), 0_u8..3, any::<u8>()), 0..3),
            digits in prop::collection::vec((0..FRAME.len(), prop::sample::select(&b"0123456789.eE+-\"\\,:{}[] /\x1f"[..])), 0..3),
        ) {
            let mut frame = FRAME.as_bytes().to_vec();
            for (at, what, byte) in changes {
                let at = at % frame.len();
                match what {
                    0 => frame[at] = byte,
                    1 => frame.insert(at, byte),
                    _ => drop(frame.remove(at)),
                }
            }
            for (at, byte) in digits {
                let at = at % frame.len();
                frame[at] = byte;
            }
            check(&frame);
        }
    }
}
