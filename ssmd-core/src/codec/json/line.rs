//! Writes one JSON object into a buffer, field by field, without building it first.
//!
//! Every method takes a value or an `Option` of one; what is absent writes nothing.

use std::io::Write as _;

use serde::Serialize;

use crate::record::Level;
use crate::{Decimal, EntryId, Timestamp};

const NANOS_PER_MILLI: i64 = 1_000_000;
/// The digits of the largest 64-bit number.
const DIGITS_MAX: usize = 20;

pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>, kind: &'static str) -> Self {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        Self { out }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    pub(super) fn text<'b>(&mut self, key: &'static str, value: impl Into<Option<&'b str>>) {
        if let Some(text) = value.into() {
            self.document(key, text);
        }
    }

    pub(super) fn number(&mut self, key: &'static str, value: impl Into<Option<u64>>) {
        if let Some(number) = value.into() {
            self.key(key);
            put_number(self.out, number);
        }
    }

    pub(super) fn decimal(&mut self, key: &'static str, value: impl Into<Option<Decimal>>) {
        if let Some(number) = value.into() {
            self.key(key);
            put_decimal(self.out, number);
        }
    }

    /// Milliseconds as a number, rounded down, and nanoseconds as a string.
    pub(super) fn time(
        &mut self,
        millis: &'static str,
        nanos: &'static str,
        value: impl Into<Option<Timestamp>>,
    ) {
        if let Some(time) = value.into() {
            self.key(millis);
            put_signed(self.out, to_millis(time));
            self.key(nanos);
            self.out.push(b'"');
            put_signed(self.out, time.nanos());
            self.out.push(b'"');
        }
    }

    pub(super) fn source(&mut self, key: &'static str, value: Option<EntryId>) {
        if let Some(source) = value {
            self.key(key);
            self.out.push(b'"');
            for byte in source.origin.to_bytes() {
                self.out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
            }
            self.out.push(b'/');
            put_number(self.out, source.n);
            self.out.push(b'"');
        }
    }

    pub(super) fn levels(&mut self, key: &'static str, levels: &[Level]) {
        self.key(key);
        self.out.push(b'[');
        for (at, level) in levels.iter().enumerate() {
            self.out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
            put_decimal(self.out, level.price);
            self.out.push(b',');
            put_decimal(self.out, level.size);
            self.out.push(b']');
        }
        self.out.push(b']');
    }

    /// Whatever `serde` writes for it.
    pub(super) fn document(&mut self, key: &'static str, value: &(impl Serialize + ?Sized)) {
        self.key(key);
        serde_json::to_writer(&mut *self.out, value).expect("text and plain structs are always JSON");
    }

    fn key(&mut self, key: &'static str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// Milliseconds since 1970, rounded down.
pub(super) fn to_millis(time: Timestamp) -> i64 {
    time.nanos().div_euclid(NANOS_PER_MILLI)
}

/// The same text as `Display`, several times faster for the numbers that venues send.
fn put_decimal(out: &mut Vec<u8>, number: Decimal) {
    let (mantissa, scale) = (number.mantissa(), number.scale() as usize);
    let Ok(magnitude) = u64::try_from(mantissa.unsigned_abs()) else {
        write!(out, "{number}").expect("writing to memory cannot fail");
        return;
    };
    if mantissa < 0 {
        out.push(b'-');
    }
    let mut buffer = [0; DIGITS_MAX];
    let digits = digits(magnitude, &mut buffer);
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

fn put_signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    put_number(out, number.unsigned_abs());
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(digits(number, &mut [0; DIGITS_MAX]));
}

/// The digits of a number, written into the end of `buffer`.
fn digits(mut number: u64, buffer: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(number: Decimal) -> String {
        let mut out = Vec::new();
        put_decimal(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_at_the_edges_keep_their_digits() {
        for text in
            ["0", "0.00", "-0.5", "1", "10", "0.00044780", "18446744073709551615", "18446744073709551616"]
        {
            assert_eq!(written(text.parse().unwrap()), text);
        }
    }

    proptest! {
        #[test]
        fn decimals_are_written_as_they_are_displayed(number in crate::codec::strategies::decimal()) {
            prop_assert_eq!(written(number), number.to_string());
        }

        #[test]
        fn numbers_are_written_as_they_are_displayed(number in any::<i64>()) {
            let mut out = Vec::new();
            put_signed(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
