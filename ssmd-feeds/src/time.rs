//! Timestamps of venues: RFC 3339 text to nanoseconds, exactly and quickly.

use ssmd_core::Timestamp;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Reads RFC 3339. The form that venues send, `2026-09-25T17:48:26.844359Z`, is read here in a few
/// nanoseconds; any other one by the general reader. `None` is no time, or one that a [`Timestamp`] cannot hold.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    parse_utc(text.as_bytes()).or_else(|| text.parse().ok())
}

fn parse_utc(text: &[u8]) -> Option<Timestamp> {
    let (whole, fraction) = text.strip_suffix(b"Z")?.split_at_checked("YYYY-MM-DDTHH:MM:SS".len())?;
    let separators = [whole[4], whole[7], whole[10], whole[13], whole[16]];
    if separators != *b"--T::" {
        return None;
    }
    let number = |from: usize, to: usize| digits(&whole[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let fits = (1970..2262).contains(&year) && (1..=12).contains(&month) && (1..=28).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 59 {
        // Also the last days of months, whose number the general reader knows.
        return None;
    }
    let seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp::from_nanos(seconds * NANOS_PER_SECOND + nanos(fraction)?))
}

fn nanos(fraction: &[u8]) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let text = fraction.strip_prefix(b".")?;
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    Some(digits(text)? * 10_i64.pow(9 - text.len() as u32))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// The days from 1970-01-01 to a date of the Gregorian calendar, for years from 1970 on. The year is taken to
/// begin in March, so that the leap day is its last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    let days_before_year = 365 * year + year / 4 - year / 100 + year / 400;
    days_before_year + days_before_month + day - 1 - DAYS_TO_EPOCH
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_venues_send() {
        assert_eq!(parse("2026-09-25T17:48:26.844359Z").unwrap().nanos(), 1_790_358_506_844_359_000);
        assert_eq!(parse("2026-09-25T17:48:26.844359566Z").unwrap().nanos(), 1_790_358_506_844_359_566);
        assert_eq!(parse("1970-01-01T00:00:00Z").unwrap().nanos(), 0);
        for text in [
            "",
            "Z",
            "2026-13-25T17:48:26Z",
            "2026-02-29T00:00:00Z",
            "2026-09-25 17:48",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_general_reader(nanos in 0_i64..9_000_000_000_000_000_000) {
            let time = Timestamp::from_nanos(nanos);
            prop_assert_eq!(parse(&time.to_string()), Some(time));
        }

        #[test]
        fn reads_nothing_that_the_general_reader_refuses(
            text in "(19|20|21)[0-9]{2}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.][0-9]{0,10})?Z"
        ) {
            if let Some(time) = parse_utc(text.as_bytes()) {
                prop_assert_eq!(text.parse::<Timestamp>().ok(), Some(time));
            }
        }
    }
}
