//! Reads a message in the one form that a venue sends, from left to right, and gives up at the first byte that differs.
//!
//! It knows no venue. What it reads serde reads too, in the same way: each venue's scanner has a property test over
//! mutated frames that holds the two against each other.

use memchr::memchr2;
use ssmd_core::Decimal;

/// What was not read yet. `None` of any reader is not a refusal: the message is left to serde.
pub(crate) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// Behind what a frame begins with. `None` if it begins with something else, or holds what no text of JSON holds as it
    /// is: that is looked for once, and not text by text.
    pub(crate) fn behind<const N: usize>(literal: &[u8; N], frame: &'a [u8]) -> Option<Self> {
        let rest = frame.strip_prefix(literal)?;
        let control = rest.iter().fold(false, |control, byte| control | (*byte < b' '));
        std::str::from_utf8(rest).ok().filter(|_| !control).map(|rest| Self { rest })
    }

    /// Whether everything was read.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Exactly this text.
    #[inline]
    pub(crate) fn literal<const N: usize>(&mut self, literal: &[u8; N]) -> Option<()> {
        let is_there = self.rest.as_bytes().first_chunk() == Some(literal);
        self.rest = self.rest.get(N..).filter(|_| is_there)?;
        Some(())
    }

    /// One byte.
    #[inline]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let byte = *self.rest.as_bytes().first()?;
        self.rest = self.rest.get(1..)?;
        Some(byte)
    }

    /// Text without escapes, up to and over its closing quote.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let end = memchr2(b'"', b'\\', self.rest.as_bytes())?;
        let text = self.rest.get(..end)?;
        self.rest = self.rest.get(end..)?.strip_prefix('"')?;
        Some(text)
    }

    /// A number up to and over the byte that ends it.
    pub(crate) fn number(&mut self, end: u8) -> Option<Decimal> {
        let bytes = self.rest.as_bytes();
        if let Some((number, length)) = bytes.first_chunk().and_then(|bytes| short(*bytes, end))
            && bytes.get(length as usize) == Some(&end)
        {
            self.rest = self.rest.get(length as usize + 1..)?;
            return Some(number);
        }
        let length = bytes.iter().take(NUMBER_BYTES_MAX).position(|byte| *byte == end)?;
        let number = Decimal::parse(&bytes[..length]).ok()?;
        self.rest = self.rest.get(length + 1..)?;
        Some(number)
    }

    /// A whole number of at most 19 digits, up to what is no digit.
    pub(crate) fn whole(&mut self) -> Option<u64> {
        let bytes = self.rest.as_bytes();
        let (mut number, mut length) = (0_u64, 0);
        while let Some(digit) = bytes.get(length).filter(|byte| byte.is_ascii_digit()) {
            if length == WHOLE_DIGITS_MAX {
                return None;
            }
            number = number * 10 + u64::from(digit - b'0');
            length += 1;
        }
        let leads_with_zero = length > 1 && bytes[0] == b'0';
        self.rest = self.rest.get(length..)?;
        (length > 0 && !leads_with_zero).then_some(number)
    }
}

/// A number without a sign whose text ends before one of these bytes, or behind them, and how long it is: all bytes at
/// once, without a branch for each. `None` is not a refusal.
fn short(bytes: [u8; 8], end: u8) -> Option<(Decimal, u32)> {
    // The first byte is the lowest. What lies behind the end becomes 0, and so does what is shifted in.
    let word = u64::from_le_bytes(bytes);
    let length = first(word, end);
    let text = (word ^ each(b'0')) & below(length);
    let point = first(text, b'.' ^ b'0').min(length);
    let digits = (text & below(point)) | ((text >> 8) & !below(point));
    let scale = (length - point).saturating_sub(1);
    let all = (digits.wrapping_add(each(0x7f - 9)) | digits) & each(0x80) == 0;
    let ends_well = point == length || scale > 0;
    let begins_well = point == 1 || (point > 0 && digits & 0xff != 0);
    if !(all && ends_well && begins_well) {
        return None;
    }
    let count = point + scale;
    Decimal::from_digits(value(digits << (64 - 8 * count)), scale).map(|number| (number, length))
}

/// This byte eight times.
pub(crate) const fn each(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// Where the first such byte is; 8 if there is none.
const fn first(word: u64, byte: u8) -> u32 {
    let others = word ^ each(byte);
    (others.wrapping_sub(each(1)) & !others & each(0x80)).trailing_zeros() / 8
}

/// All bits of so many bytes.
pub(crate) fn below(bytes: u32) -> u64 {
    1_u64.checked_shl(8 * bytes).unwrap_or(0).wrapping_sub(1)
}

/// The value of eight digits, of which the highest is the lowest byte.
const fn value(digits: u64) -> u64 {
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

/// Longer numbers are read in the general way.
const NUMBER_BYTES_MAX: usize = 32;
/// So many digits fit into 64 bits.
const WHOLE_DIGITS_MAX: usize = 19;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_numbers_are_read_as_all_are(text in "[0-9]{0,9}[.]?[0-9]{0,9}|[0-9.,\"-]{0,10}", behind in any::<[u8; 9]>()) {
            let mut bytes = text.clone().into_bytes();
            bytes.push(b'"');
            bytes.extend(behind);
            if let Some((number, length)) = short(*bytes.first_chunk().unwrap(), b'"') {
                let known = Decimal::parse(&bytes[..length as usize]).unwrap();
                prop_assert_eq!((number.mantissa(), number.scale()), (known.mantissa(), known.scale()));
                prop_assert!(length == 8 || bytes[length as usize] == b'"');
            }
            let whole = text.split('"').next().unwrap_or_default();
            let known = Decimal::parse(whole.as_bytes()).ok();
            let Some(mut cursor) = Cursor::behind(b"", &bytes) else { return Ok(()) };
            let read = cursor.number(b'"');
            prop_assert_eq!(read.map(|number| number.to_string()), known.map(|number| number.to_string()));
        }

        #[test]
        fn numbers_of_up_to_eight_bytes_take_the_short_way(whole in 1_u32..9999, part in 0_u32..999) {
            let text = format!("{whole}.{part:03}\"  ");
            prop_assert!(short(*text.as_bytes().first_chunk().unwrap(), b'"').is_some());
        }
    }

    #[test]
    fn it_stops_at_what_is_not_the_usual_form() {
        let number = |text: &str| {
            Cursor::behind(b"", text.as_bytes()).unwrap().number(b'"').map(|number| number.to_string())
        };
        assert_eq!(number("-54.00\""), Some("-54.00".to_owned()));
        assert_eq!(
            (number("1"), number("\""), number("01\""), number(&"1".repeat(40))),
            (None, None, None, None)
        );
        let whole = |text: &str| Cursor::behind(b"", text.as_bytes()).unwrap().whole();
        assert_eq!(
            (whole("9999999999999999999,"), whole("0}"), whole("17")),
            (Some(9_999_999_999_999_999_999), Some(0), Some(17))
        );
        assert_eq!((whole("01"), whole("x"), whole("10000000000000000000")), (None, None, None));
        let text = |text: &'static str| Cursor::behind(b"", text.as_bytes())?.text();
        assert_eq!(
            (text("a\"b"), text("\""), text("a\\\"\""), text("a\n\"")),
            (Some("a"), Some(""), None, None)
        );
    }
}
