//! Kraken's way of writing numbers, times and book checksums.

use ssmd_core::Timestamp;

use super::super::market::{Ladder, Level, Market};

/// How many levels of each side a checksum covers, whatever the depth.
pub(super) const CHECKSUM_LEVELS: usize = 10;

/// Writes `mantissa / 10^scale` with all its digits, as in `0.00044780`.
pub(super) fn number(out: &mut String, mantissa: i128, scale: u32) {
    if mantissa < 0 {
        out.push('-');
    }
    let mut buffer = [0; 40];
    let digits = digits(&mut buffer, mantissa.unsigned_abs());
    let scale = scale as usize;
    if scale == 0 {
        out.push_str(digits);
    } else if let Some(whole) = digits.len().checked_sub(scale).filter(|whole| *whole > 0) {
        out.push_str(&digits[..whole]);
        out.push('.');
        out.push_str(&digits[whole..]);
    } else {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', scale - digits.len()));
        out.push_str(digits);
    }
}

/// Writes an integer.
pub(super) fn integer(out: &mut String, value: u64) {
    out.push_str(digits(&mut [0; 40], value.into()));
}

/// Writes levels as `{"price":63005.0,"qty":2.08665551}`, separated by commas.
pub(super) fn levels(
    out: &mut String,
    levels: impl Iterator<Item = Level>,
    price_scale: u32,
    qty_scale: u32,
) {
    for (at, level) in levels.enumerate() {
        out.push_str(if at == 0 { "{\"price\":" } else { ",{\"price\":" });
        number(out, level.price.into(), price_scale);
        out.push_str(",\"qty\":");
        number(out, level.qty.into(), qty_scale);
        out.push('}');
    }
}

/// The CRC32 of a book: digits of price and quantity of the best asks, then of the best bids.
pub(super) fn checksum(market: &Market, scratch: &mut String) -> u32 {
    scratch.clear();
    let mut side = |ladder: &Ladder| {
        for level in ladder.best(CHECKSUM_LEVELS) {
            scratch.push_str(digits(&mut [0; 40], level.price.unsigned_abs().into()));
            scratch.push_str(digits(&mut [0; 40], level.qty.unsigned_abs().into()));
        }
    };
    side(&market.asks);
    side(&market.bids);
    crc32fast::hash(scratch.as_bytes())
}

/// A moment as Kraken writes it: RFC 3339 with microseconds.
pub(super) fn micros(at: Timestamp) -> String {
    let mut text = at.to_string();
    text.truncate("2026-08-01T02:53:53.646219".len());
    text.push('Z');
    text
}

/// The decimal digits of a number, without leading zeros.
fn digits(buffer: &mut [u8; 40], value: u128) -> &str {
    let mut at = buffer.len();
    let mut high = value;
    // Division of 64 bits is much faster, and nearly always enough.
    while high > u128::from(u64::MAX) {
        at -= 1;
        buffer[at] = b'0' + (high % 10) as u8;
        high /= 10;
    }
    let mut low = high as u64;
    loop {
        at -= 1;
        buffer[at] = b'0' + (low % 10) as u8;
        low /= 10;
        if low == 0 {
            break;
        }
    }
    // Digits are ASCII.
    std::str::from_utf8(&buffer[at..]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_zeros() {
        let cases = [
            (44_780, 8, "0.00044780"),
            (208_665_551, 8, "2.08665551"),
            (630_050, 1, "63005.0"),
            (0, 8, "0.00000000"),
            (-4293, 1, "-429.3"),
            (-5, 2, "-0.05"),
            (7, 0, "7"),
            (123_456_789_012_345_678_901_234, 8, "1234567890123456.78901234"),
        ];
        for (mantissa, scale, text) in cases {
            let mut out = String::new();
            number(&mut out, mantissa, scale);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn times_have_microseconds() {
        let at: Timestamp = "2026-08-01T02:53:53.6462195Z".parse().unwrap();
        assert_eq!(micros(at), "2026-08-01T02:53:53.646219Z");
    }
}
