//! Exact prices and sizes: text to number and back without floats.
//!
//! The digits are those of the wire, trailing zeros included: `0.00044780` is the mantissa 44780 at scale 8, so a
//! checksum over digits (Kraken) can be computed from the number alone. The arithmetic is [`rust_decimal`]'s:
//! 28 significant digits and up to 28 digits after the point, which holds a volume of 10^12 with 8 digits after
//! the point with eight orders of magnitude to spare.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// An exact decimal number that remembers how many digits it was written with.
///
/// Equality, order and hash are by value: `1.0 == 1.00`. JSON form: a number with exactly its digits.
#[derive(Clone, Copy, Default)]
pub struct Decimal(rust_decimal::Decimal);

/// The most digits after the point.
pub const SCALE_MAX: u32 = 28;
/// The longest text that is read as a number, in bytes; anything longer is hostile.
pub const TEXT_BYTES_MAX: usize = 64;

impl Decimal {
    /// Zero, written `0`.
    pub const ZERO: Self = Self(rust_decimal::Decimal::ZERO);

    /// The number `mantissa / 10^scale`.
    ///
    /// # Errors
    /// `Invalid` if the mantissa needs more than 96 bits or the scale is above [`SCALE_MAX`].
    pub fn new(mantissa: i128, scale: u32) -> Result<Self> {
        rust_decimal::Decimal::try_from_i128_with_scale(mantissa, scale).map(Self).map_err(|cause| {
            Error::new(ErrorKind::Invalid, "make decimal")
                .with("mantissa", mantissa)
                .with("scale", scale)
                .because(cause)
        })
    }

    /// The number `digits / 10^scale`, for readers that have counted the digits; `None` if the scale is above
    /// [`SCALE_MAX`].
    #[inline]
    pub fn from_digits(digits: u64, scale: u32) -> Option<Self> {
        let (low, middle) = (digits as u32, (digits >> 32) as u32);
        (scale <= SCALE_MAX).then(|| Self(rust_decimal::Decimal::from_parts(low, middle, 0, false, scale)))
    }

    /// Reads a JSON number, or the same text out of a JSON string: `-?digits[.digits][(e|E)[+-]digits]`.
    ///
    /// # Errors
    /// `Invalid` for any other text, and for a number that this type cannot hold exactly.
    pub fn parse(text: &[u8]) -> Result<Self> {
        parse(text).ok_or_else(|| {
            let shown = String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]).into_owned();
            Error::new(ErrorKind::Invalid, "read decimal").with("text", shown)
        })
    }

    /// All digits as an integer: 44780 for `0.00044780`.
    #[inline]
    pub fn mantissa(self) -> i128 {
        self.0.mantissa()
    }

    /// How many of the digits stand after the point: 8 for `0.00044780`.
    #[inline]
    pub fn scale(self) -> u32 {
        self.0.scale()
    }

    /// Whether the value is zero, however written.
    #[inline]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Whether the value is below zero.
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }

    /// The exact sum, with the digits of whichever has more after the point, or `None` if these cannot be held.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if let Some((one, two, scale)) = self.aligned(other)
            && let Some(sum) = one.checked_add(two)
        {
            return Self::signed(sum.unsigned_abs(), sum < 0, scale);
        }
        let scale = self.scale().max(other.scale());
        Self::exact(self.mantissa_at(scale)?.checked_add(other.mantissa_at(scale)?)?, scale)
    }

    /// The exact difference, likewise, or `None` if it cannot be held.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        if let Some((one, two, scale)) = self.aligned(other)
            && let Some(difference) = one.checked_sub(two)
        {
            return Self::signed(difference.unsigned_abs(), difference < 0, scale);
        }
        let scale = self.scale().max(other.scale());
        Self::exact(self.mantissa_at(scale)?.checked_sub(other.mantissa_at(scale)?)?, scale)
    }

    /// The number `digits / 10^scale`, or the negative of it; zero has no sign.
    #[inline]
    fn signed(digits: u64, negative: bool, scale: u32) -> Option<Self> {
        let mut number = Self::from_digits(digits, scale)?;
        number.0.set_sign_negative(negative && digits > 0);
        Some(number)
    }

    /// All digits and how many of them stand after the point, if they fit into 64 bits with a sign: nearly always.
    #[inline]
    fn short(self) -> Option<(i64, u32)> {
        let number = self.0.unpack();
        let digits = i64::try_from(u64::from(number.mid) << 32 | u64::from(number.lo)).ok()?;
        (number.hi == 0).then_some((if number.negative { -digits } else { digits }, number.scale))
    }

    /// The digits of both with equally many after the point, and how many these are, if all is short.
    #[inline]
    fn aligned(self, other: Self) -> Option<(i64, i64, u32)> {
        let ((one, of_one), (two, of_two)) = (self.short()?, other.short()?);
        let scale = of_one.max(of_two);
        let raise = |digits: i64, by: u32| match by {
            0 => Some(digits),
            by => digits.checked_mul(*POWERS.get(by as usize)?),
        };
        Some((raise(one, scale - of_one)?, raise(two, scale - of_two)?, scale))
    }

    /// The digits as they would be with more of them after the point, or `None` if these are too many.
    fn mantissa_at(self, scale: u32) -> Option<i128> {
        self.mantissa().checked_mul(10_i128.pow(scale - self.scale()))
    }

    fn exact(mantissa: i128, scale: u32) -> Option<Self> {
        rust_decimal::Decimal::try_from_i128_with_scale(mantissa, scale).ok().map(Self)
    }
}

/// The powers of ten that fit into 64 bits with a sign.
const POWERS: [i64; 19] = powers();

const fn powers() -> [i64; 19] {
    let (mut powers, mut at) = ([1; 19], 1);
    while at < 19 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
}

impl PartialEq for Decimal {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    /// The numbers of one book mostly are short, and are compared as integers.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match self.aligned(*other) {
            Some((one, two, _)) => one.cmp(&two),
            None => self.0.cmp(&other.0),
        }
    }
}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// The longest text whose digits surely fit into 64 bits: 19 digits or a point among them, 10^19 < 2^64.
const SHORT_BYTES_MAX: usize = 19;

/// The fast path of every frame: plain digits that fit into 64 bits. `None` is not a refusal.
fn parse_short(text: &[u8]) -> Option<Decimal> {
    let (text, negative) = text.strip_prefix(b"-").map_or((text, false), |digits| (digits, true));
    if text.len() > SHORT_BYTES_MAX || (text.len() > 1 && text[0] == b'0' && text[1] != b'.') {
        return None;
    }
    let (mut mantissa, mut point) = (0_u64, None);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() && at > 0 => point = Some(at),
            _ => return None,
        }
    }
    let scale = match point {
        Some(at) => text.len() - at - 1,
        None => 0,
    };
    if text.is_empty() || (point.is_some() && scale == 0) {
        return None;
    }
    Decimal::signed(mantissa, negative, scale as u32)
}

/// Every form, in one pass, without allocation.
fn parse(text: &[u8]) -> Option<Decimal> {
    if let Some(number) = parse_short(text) {
        return Some(number);
    }
    parse_long(text)
}

fn parse_long(text: &[u8]) -> Option<Decimal> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let (mut mantissa, mut scale, mut seen_point, mut count) = (0_i128, 0_i32, false, 0_usize);
    let mut at = 0;
    while let Some(&byte) = digits.get(at) {
        match byte {
            b'0'..=b'9' => {
                // 10^38 is the last power of ten below 2^127; the 96-bit bound is checked at the end.
                mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                scale += i32::from(seen_point);
                count += 1;
            }
            b'.' if !seen_point && count > 0 => seen_point = true,
            b'e' | b'E' => break,
            _ => return None,
        }
        at += 1;
    }
    let leading_zero = count > 1 && digits[0] == b'0' && digits[1] != b'.';
    let empty_fraction = seen_point && scale == 0;
    if count == 0 || leading_zero || empty_fraction {
        return None;
    }
    if at < digits.len() {
        scale = scale.checked_sub(exponent(&digits[at + 1..])?)?;
    }
    if scale < 0 {
        mantissa = mantissa.checked_mul(10_i128.checked_pow(scale.unsigned_abs())?)?;
        scale = 0;
    }
    let mantissa = if negative { -mantissa } else { mantissa };
    rust_decimal::Decimal::try_from_i128_with_scale(mantissa, scale.unsigned_abs()).ok().map(Decimal)
}

fn exponent(text: &[u8]) -> Option<i32> {
    let (sign, digits) = match text.split_first()? {
        (b'-', rest) => (-1, rest),
        (b'+', rest) => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() || digits.len() > 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(sign * digits.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0')))
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Decimal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text.as_bytes())
    }
}

impl Serialize for Decimal {
    /// A JSON number with exactly these digits; only `serde_json` can do that, so no other format is supported.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw =
            serde_json::value::RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// A JSON number, or the same digits in a JSON string.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?.get();
        let digits = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        Self::parse(digits.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_venue_value_keeps_its_digits() {
        // Kraken, Kalshi, Polymarket, Kraken futures; the last is 10^12 with 8 digits after the point.
        for text in
            ["0.00044780", "83744.3", "0.9600", "351.20", "0.001", "-429.3", "0", "1000000000000.12345678"]
        {
            assert_eq!(Decimal::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        let price = Decimal::parse(b"0.00044780").unwrap();
        assert_eq!((price.mantissa(), price.scale()), (44780, 8));
    }

    #[test]
    fn exponents_are_exact() {
        for (text, plain) in
            [("-2.8e-6", "-0.0000028"), ("1E3", "1000"), ("1.50e1", "15.0"), ("1.5e+0", "1.5")]
        {
            assert_eq!(Decimal::parse(text.as_bytes()).unwrap().to_string(), plain, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_number_is_refused() {
        for text in
            ["", "-", ".5", "5.", "1.2.3", "01", "00", "1e", "1e+", "+1", " 1", "1 ", "NaN", "1_000", "0x1"]
        {
            assert!(Decimal::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Decimal::parse("9".repeat(30).as_bytes()).is_err());
        assert!(Decimal::parse(b"1e9999").is_err());
        assert!(Decimal::parse(b"1e-29").is_err());
        assert!(Decimal::parse(&[b'1'; 10_000]).is_err());
    }

    #[test]
    fn a_sum_that_has_too_many_digits_is_none_and_not_rounded() {
        let number = |text: &str| text.parse::<Decimal>().unwrap();
        let largest = number("79228162514264337593543950335");
        for small in ["0.1", "0.5", "1"] {
            assert_eq!(largest.checked_add(number(small)), None, "{small}");
            assert_eq!(number(&format!("-{largest}")).checked_sub(number(small)), None, "{small}");
        }
        assert_eq!(number("1e-28").checked_add(number("100")), None);
        let sum = number("0.10").checked_add(number("0.9")).unwrap();
        assert_eq!((sum.to_string(), sum.checked_sub(sum)), ("1.00".to_owned(), Some(Decimal::ZERO)));
    }

    #[test]
    fn json_numbers_have_exactly_the_digits() {
        let price = Decimal::parse(b"0.10").unwrap();
        assert_eq!(serde_json::to_string(&price).unwrap(), "0.10");
        for json in ["0.10", "\"0.10\""] {
            assert_eq!(serde_json::from_str::<Decimal>(json).unwrap().to_string(), "0.10");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_prints(mantissa in -(1_i128 << 95)..(1_i128 << 95), scale in 0..=SCALE_MAX) {
            let number = Decimal::new(mantissa, scale).unwrap();
            let again = Decimal::parse(number.to_string().as_bytes()).unwrap();
            prop_assert_eq!((again.mantissa(), again.scale()), (mantissa, scale));
        }

        #[test]
        fn short_numbers_are_compared_and_added_as_long_ones_are(
            a in -50_i128..50, b in any::<i64>(), shift in 0_u32..3, scale in 0_u32..4, other in 0_u32..4,
        ) {
            for (one, two) in [(a, i128::from(b)), (a, a + 1), (a << 60 << shift, i128::from(b)), (a, -a)] {
                let number = Decimal::new(one, scale).unwrap();
                for with in [Decimal::new(two, scale).unwrap(), Decimal::new(two, other).unwrap()] {
                    prop_assert_eq!(number.cmp(&with), number.0.cmp(&with.0));
                    prop_assert_eq!(number == with, number.0 == with.0);
                    let scale = number.scale().max(with.scale());
                    let (a, b) = (number.mantissa_at(scale).unwrap(), with.mantissa_at(scale).unwrap());
                    let shown = |mantissa| Decimal::new(mantissa, scale).unwrap().to_string();
                    prop_assert_eq!(number.checked_add(with).unwrap().to_string(), shown(a + b));
                    prop_assert_eq!(number.checked_sub(with).unwrap().to_string(), shown(a - b));
                }
            }
        }

        #[test]
        fn short_and_long_texts_are_read_alike(text in "-?[0-9]{0,12}[.]?[0-9]{0,12}|[0-9.eE+-]{0,20}") {
            let digits = |number: Decimal| (number.mantissa(), number.scale(), number.to_string());
            if let Some(short) = parse_short(text.as_bytes()) {
                prop_assert_eq!(Some(digits(short)), parse_long(text.as_bytes()).map(digits));
            }
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Decimal::parse(&text);
        }
    }
}
