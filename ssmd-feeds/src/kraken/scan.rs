//! The shortest way through a book message: the exact form that the venue sends, and nothing else.
//!
//! Nine of ten frames of a busy feed are book updates. Whatever differs from the usual form in a single byte is
//! left to serde ([`super::wire`]), which gives the same for everything that is read here; a property test over
//! mutated frames holds the two against each other.

use std::borrow::Cow;

use ssmd_core::Decimal;
use ssmd_core::record::Level;

use super::wire::{BookEntry, LEVELS_MAX, Time};

/// A book message with one book, and whether it is a snapshot. `None` is not a refusal.
pub(super) fn book(frame: &[u8]) -> Option<(bool, BookEntry<'_>)> {
    let mut cursor = Cursor { rest: frame };
    cursor.literal(b"{\"channel\":\"book\",\"type\":\"")?;
    let snapshot = match cursor.literal(b"update") {
        Some(()) => false,
        None => cursor.literal(b"snapshot").map(|()| true)?,
    };
    cursor.literal(b"\",\"data\":[{\"symbol\":\"")?;
    let symbol = cursor.text()?;
    cursor.literal(b",\"bids\":[")?;
    let bids = cursor.levels()?;
    cursor.literal(b",\"asks\":[")?;
    let asks = cursor.levels()?;
    cursor.literal(b",\"checksum\":")?;
    let checksum = cursor.checksum()?;
    let timestamp = match cursor.literal(b",\"timestamp\":\"") {
        Some(()) => Time::parse(cursor.text()?)?,
        None => Time::default(),
    };
    cursor.literal(b"}]}")?;
    let entry =
        BookEntry { symbol: Cow::Borrowed(symbol), bids, asks, checksum: Some(checksum), timestamp };
    cursor.rest.is_empty().then_some((snapshot, entry))
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// Text without escapes, up to and over its closing quote.
    fn text(&mut self) -> Option<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ')?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    /// Levels up to and over the closing bracket.
    fn levels(&mut self) -> Option<Vec<Level>> {
        if self.literal(b"]").is_some() {
            return Some(Vec::new());
        }
        let mut levels = Vec::with_capacity(LEVELS_EXPECTED);
        while levels.len() < LEVELS_MAX {
            self.literal(b"{\"price\":")?;
            let price = self.number(b',')?;
            self.literal(b"\"qty\":")?;
            let size = self.number(b'}')?;
            levels.push(Level { price, size });
            let (&separator, rest) = self.rest.split_first()?;
            self.rest = rest;
            match separator {
                b',' => {}
                b']' => return Some(levels),
                _ => return None,
            }
        }
        None
    }

    /// A number up to and over the byte that ends it.
    fn number(&mut self, end: u8) -> Option<Decimal> {
        let at = self.rest.iter().position(|&byte| byte == end)?;
        let number = Decimal::parse(&self.rest[..at]).ok()?;
        self.rest = &self.rest[at + 1..];
        Some(number)
    }

    fn checksum(&mut self) -> Option<u32> {
        let end = self.rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.rest.split_at(end);
        if digits.len() > 1 && digits[0] == b'0' {
            return None;
        }
        self.rest = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// Most updates change one or two levels of a side.
const LEVELS_EXPECTED: usize = 4;
