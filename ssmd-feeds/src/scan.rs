//! Reads a message in the one form that a venue sends, from left to right, and gives up at the first byte that differs.
//!
//! It knows no venue. What it reads serde reads too, in the same way: each venue's scanner has a property test over
//! mutated frames that holds the two against each other.

use memchr::memchr2;
use ssmd_core::Decimal;

/// What was not read yet. `None` of any reader is not a refusal: the message is left to serde.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the beginning of a frame.
    pub(crate) fn new(frame: &'a [u8]) -> Self {
        Self { rest: frame }
    }

    /// Whether everything was read.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Exactly these bytes.
    pub(crate) fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// Text without escapes, up to and over its closing quote.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let end = memchr2(b'"', b'\\', self.rest)?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\"")?;
        let control = text.iter().fold(false, |control, byte| control | (*byte < b' '));
        std::str::from_utf8(text).ok().filter(|_| !control)
    }

    /// A number up to and over the byte that ends it.
    pub(crate) fn number(&mut self, end: u8) -> Option<Decimal> {
        let length = self.rest.iter().take(NUMBER_BYTES_MAX).position(|byte| *byte == end)?;
        let (text, rest) = self.rest.split_at(length);
        self.rest = &rest[1..];
        Decimal::parse(text).ok()
    }

    /// A whole number of at most 19 digits, up to what is no digit.
    pub(crate) fn whole(&mut self) -> Option<u64> {
        let (mut number, mut length) = (0_u64, 0);
        while let Some(digit) = self.rest.get(length).filter(|byte| byte.is_ascii_digit()) {
            if length == WHOLE_DIGITS_MAX {
                return None;
            }
            number = number * 10 + u64::from(digit - b'0');
            length += 1;
        }
        let leads_with_zero = length > 1 && self.rest[0] == b'0';
        self.rest = &self.rest[length..];
        (length > 0 && !leads_with_zero).then_some(number)
    }
}

/// Longer numbers are read in the general way.
const NUMBER_BYTES_MAX: usize = 32;
/// So many digits fit into 64 bits.
const WHOLE_DIGITS_MAX: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_at_what_is_not_the_usual_form() {
        let number = |text: &str| Cursor::new(text.as_bytes()).number(b'"').map(|number| number.to_string());
        assert_eq!(number("-54.00\""), Some("-54.00".to_owned()));
        assert_eq!(
            (number("1"), number("\""), number("01\""), number(&"1".repeat(40))),
            (None, None, None, None)
        );
        let whole = |text: &str| Cursor::new(text.as_bytes()).whole();
        assert_eq!(
            (whole("9999999999999999999,"), whole("0}"), whole("17")),
            (Some(9_999_999_999_999_999_999), Some(0), Some(17))
        );
        assert_eq!((whole("01"), whole("x"), whole("10000000000000000000")), (None, None, None));
        let text = |text: &'static str| Cursor::new(text.as_bytes()).text();
        assert_eq!(
            (text("a\"b"), text("\""), text("a\\\"\""), text("a\n\"")),
            (Some("a"), Some(""), None, None)
        );
    }
}
