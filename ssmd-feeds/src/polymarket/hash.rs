//! The venue's hash of a book: SHA-1 over a text that holds all of its levels.
//!
//! The venue documents no form. This one was worked out from recordings, in which it gives every hash of a book and
//! of a change (`docs/venues/polymarket.md`): the JSON of the book as REST writes it, with an empty hash.

use serde::{Deserialize, Deserializer};
use sha1::{Digest, Sha1};
use ssmd_core::{BookSide, Decimal, OrderBook};

use crate::scan::{below, each};

/// A hash as the venue sends it; `None` where it sends none, or something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hash(pub(super) Option<[u8; 20]>);

impl Hash {
    /// Reads the digits of a hash.
    pub(super) fn parse(text: &str) -> Self {
        let Ok(digits) = <&[u8; 40]>::try_from(text.as_bytes()) else { return Self(None) };
        let (words, _) = digits.as_chunks::<8>();
        let (mut bytes, mut all) = ([0; 20], true);
        for (four, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            let (value, are_digits) = nibbles(u64::from_le_bytes(*word));
            *four = value.to_le_bytes();
            all &= are_digits;
        }
        Self(all.then_some(bytes))
    }
}

/// What eight digits are worth, the first one in the lowest byte, and whether they are digits at all.
fn nibbles(digits: u64) -> (u32, bool) {
    let letters = (digits >> 6) & each(1);
    let values = (digits & each(0xf)) + letters * 9;
    let as_written = values + each(b'0') + letters * u64::from(b'a' - 10 - b'0');
    let in_range = (values + each(6)) >> 4 & each(1) == letters && values & each(0x10) == 0;
    let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    ((fours | fours >> 16) as u32, in_range && as_written == digits)
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().flatten().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Ok(text.map_or(Self(None), |text| Self::parse(&text)))
    }
}

/// What the text holds of a market that messages on the WebSocket do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    min_order_size: &'static str,
    neg_risk: bool,
}

impl Form {
    /// The form of a market of which both are known; `None` for an order size that no known form has.
    pub(super) fn of(min_order_size: &str, neg_risk: bool) -> Option<Self> {
        FORMS.into_iter().find(|form| form.min_order_size == min_order_size && form.neg_risk == neg_risk)
    }
}

/// Every form that is tried where none is known: the first gave all hashes that were recorded on the WebSocket, the
/// second one of REST.
pub(super) const FORMS: [Form; 10] = forms();

const fn forms() -> [Form; 10] {
    let sizes = ["5", "15", "1", "10", "0.1"];
    let mut forms = [Form { min_order_size: "5", neg_risk: false }; 10];
    let mut at = 0;
    while at < 10 {
        forms[at] = Form { min_order_size: sizes[at / 2], neg_risk: at % 2 == 1 };
        at += 1;
    }
    forms
}

/// The text up to the levels' end is hashed once, whatever is tried behind it.
pub(super) struct Begun(Sha1);

/// Begins the hash of a token's book. `text` is memory that is used again.
pub(super) fn begin(market: &str, token: &str, millis: u64, book: &OrderBook, text: &mut Vec<u8>) -> Begun {
    text.clear();
    text.extend_from_slice(b"{\"market\":\"");
    text.extend_from_slice(market.as_bytes());
    text.extend_from_slice(b"\",\"asset_id\":\"");
    text.extend_from_slice(token.as_bytes());
    text.extend_from_slice(b"\",\"timestamp\":\"");
    write(text, Decimal::from_digits(millis, 0).unwrap_or_default());
    text.extend_from_slice(b"\",\"hash\":\"\",\"bids\":[");
    levels(text, book, BookSide::Bid);
    text.extend_from_slice(b"],\"asks\":[");
    levels(text, book, BookSide::Ask);
    Begun(Sha1::new_with_prefix(text))
}

/// The best level is the last one on both sides.
fn levels(text: &mut Vec<u8>, book: &OrderBook, side: BookSide) {
    text.reserve(book.depth(side) * LEVEL_BYTES);
    for (at, level) in book.levels(side).rev().enumerate() {
        let comma = usize::from(at == 0);
        let (Some(price), Some(size)) = (short(level.price), short(level.size)) else {
            text.extend_from_slice(&b",{\"price\":\""[comma..]);
            write(text, level.price);
            text.extend_from_slice(b"\",\"size\":\"");
            write(text, level.size);
            text.extend_from_slice(b"\"}");
            continue;
        };
        // All of it at once, since this is most of what a hash takes.
        let (mut line, mut end) = ([0; LEVEL_BYTES], 0);
        put_into(&mut line, &mut end, b",{\"price\":\"");
        put_into(&mut line, &mut end, &price.0);
        end -= price.0.len() - price.1;
        put_into(&mut line, &mut end, b"\",\"size\":\"");
        put_into(&mut line, &mut end, &size.0);
        end -= size.0.len() - size.1;
        put_into(&mut line, &mut end, b"\"}");
        text.extend_from_slice(&line[comma..end]);
    }
}

fn put_into<const N: usize>(line: &mut [u8; LEVEL_BYTES], end: &mut usize, text: &[u8; N]) {
    line[*end..*end + N].copy_from_slice(text);
    *end += N;
}

/// What most levels take, at most.
const LEVEL_BYTES: usize = 48;

/// The text of a number that takes eight bytes at most, and how many it takes.
fn short(number: Decimal) -> Option<([u8; 8], usize)> {
    let mantissa = u32::try_from(number.mantissa()).ok().filter(|mantissa| *mantissa < 100_000_000)?;
    let (digits, scale) = (eight_digits(mantissa), number.scale());
    let width = (8 - digits.trailing_zeros() / 8).max(scale + 1);
    let length = width + u32::from(scale > 0);
    if length > 8 {
        return None;
    }
    let text = (digits | each(b'0')) >> (8 * (8 - width));
    let text = match scale {
        0 => text,
        _ => {
            let whole = below(width - scale);
            text & whole | (text & !whole) << 8 | u64::from(b'.') << (8 * (width - scale))
        }
    };
    Some((text.to_le_bytes(), length as usize))
}

/// The eight digits of a number, the highest in the lowest byte.
fn eight_digits(number: u32) -> u64 {
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = (fours * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - hundreds * 100) << 16;
    let tens = (pairs * 103) >> 10 & 0x000f_000f_000f_000f;
    tens | (pairs - tens * 10) << 8
}

impl Begun {
    /// The hash, if a market's last trade had this price (`None`: it had none).
    pub(super) fn finish(&self, form: Form, tick_size: Decimal, last: Option<Decimal>) -> Hash {
        let mut tail = Vec::with_capacity(TAIL_BYTES);
        tail.extend_from_slice(b"],\"min_order_size\":\"");
        tail.extend_from_slice(form.min_order_size.as_bytes());
        tail.extend_from_slice(b"\",\"tick_size\":\"");
        write(&mut tail, tick_size);
        let neg_risk: &[u8] = if form.neg_risk { b"true" } else { b"false" };
        tail.extend_from_slice(b"\",\"neg_risk\":");
        tail.extend_from_slice(neg_risk);
        tail.extend_from_slice(b",\"last_trade_price\":\"");
        if let Some(last) = last {
            write(&mut tail, last);
        }
        tail.extend_from_slice(b"\"}");
        Hash(Some(self.0.clone().chain_update(&tail).finalize().into()))
    }
}

/// The text behind the levels is about this long.
const TAIL_BYTES: usize = 112;

/// Writes a number as the venue does: with the digits that it was read with.
fn write(text: &mut Vec<u8>, number: Decimal) {
    let (mantissa, scale) = (number.mantissa(), number.scale());
    let Some((digits, one)) = u64::try_from(mantissa).ok().zip(10_u64.checked_pow(scale)) else {
        text.extend_from_slice(number.to_string().as_bytes());
        return;
    };
    if scale == 0 {
        return put(text, digits, 1);
    }
    put(text, digits / one, 1);
    text.push(b'.');
    put(text, digits % one, scale as usize);
}

/// Writes a number with so many digits at least, two at a time.
fn put(text: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    while number >= 10 {
        at -= 2;
        let pair = (number % 100) as usize * 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        number /= 100;
    }
    if number > 0 {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    text.extend_from_slice(&digits[at.min(DIGITS_MAX - width)..]);
}

/// A number of 64 bits has no more digits.
const DIGITS_MAX: usize = 20;

/// The digits of 0 to 99.
const PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let (mut pairs, mut at) = ([0; 200], 0);
    while at < 100 {
        pairs[at * 2] = b'0' + (at / 10) as u8;
        pairs[at * 2 + 1] = b'0' + (at % 10) as u8;
        at += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ssmd_core::record::Level;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_written_with_their_digits(mantissa in any::<i64>(), large in any::<i64>(), scale in 0..28_u32) {
            for mantissa in [i128::from(mantissa.unsigned_abs()), i128::from(mantissa % 1000), i128::from(large) << 20] {
                let number = Decimal::new(mantissa, scale).unwrap();
                let mut text = Vec::new();
                write(&mut text, number);
                prop_assert_eq!(String::from_utf8(text).unwrap(), number.to_string());
            }
        }
    }

    proptest! {
        #[test]
        fn short_numbers_are_written_as_all_are(mantissa in 0..200_000_000_u32, shift in 0..28_u32, scale in 0..9_u32) {
            let number = Decimal::new(i128::from(mantissa >> shift), scale).unwrap();
            let shown = number.to_string();
            match short(number) {
                Some((text, length)) => prop_assert_eq!(&text[..length], shown.as_bytes()),
                None => prop_assert!(shown.len() > 8),
            }
        }

        #[test]
        fn hashes_are_read_by_their_digits_alone(bytes in any::<[u8; 20]>(), at in 0..40_usize, other in any::<u8>()) {
            let hash = Hash(Some(bytes));
            prop_assert_eq!(Hash::parse(&hash.to_string()), hash);
            let mut text = hash.to_string().into_bytes();
            text[at] = other & 0x7f;
            let text = String::from_utf8(text).unwrap();
            let is_digit = matches!(other & 0x7f, b'0'..=b'9' | b'a'..=b'f');
            let read = Hash::parse(&text);
            prop_assert_eq!(read.0.map(|_| read.to_string()), is_digit.then_some(text));
        }
    }

    /// Computed with another program from the text that the module's doc describes.
    #[test]
    fn the_hash_is_that_of_the_documented_text() {
        let level =
            |price: &str, size: &str| Level { price: price.parse().unwrap(), size: size.parse().unwrap() };
        let mut book = OrderBook::new();
        book.replace(
            &[level("0.47", "10"), level("0.4", "2.50")],
            &[level("0.48", "100"), level("0.5", "0.01")],
        );
        let begun = begin("0xab", "12", 1_700_000_000_000, &book, &mut Vec::new());
        let last = Some("0.470".parse().unwrap());
        let hash = begun.finish(FORMS[0], "0.01".parse().unwrap(), last);
        assert_eq!(hash.to_string(), "7f5bbb6c8ea7bc3042b5d88ab6a2d799884d20bc");
        assert_eq!(Hash::parse(&hash.to_string()), hash);
        assert_eq!(Hash::parse("0x0...."), Hash(None));
    }
}
