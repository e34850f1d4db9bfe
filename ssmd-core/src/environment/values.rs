//! Texts of documents as values: durations, sizes, times, names. Pure functions of text, each with its refusal.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::tz::TimeZoneDatabase;

use super::codes::Code;
use super::source::quote;
use super::spec::TimeOfDay;
use super::vocabulary::nearest;
use crate::name::NAME_BYTES_MAX;
use crate::{Day, Decimal, Timestamp};

/// Why a text is refused.
pub(super) struct Fault {
    pub(super) code: Code,
    /// What is wrong, as the end of a sentence that begins with the key.
    pub(super) why: String,
    pub(super) expected: String,
    pub(super) nearest: Option<String>,
}

pub(super) type Read<T> = Result<T, Fault>;

fn fault<T>(code: Code, why: impl Into<String>, expected: impl Into<String>) -> Read<T> {
    Err(Fault { code, why: why.into(), expected: expected.into(), nearest: None })
}

/// The longest identifier of another system, in bytes.
const ID_BYTES_MAX: usize = 128;
/// The longest duration: a year. A longer one is a slip of the keyboard.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The units of durations, in milliseconds, from the largest.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// The units of sizes, in bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads `30s`, `5m`, `1h30m`, `7d`, `250ms`: whole numbers, units from the largest to the smallest.
pub(super) fn duration(text: &str) -> Read<Duration> {
    let wrong = || {
        fault(
            Code::Duration,
            format!("is {}, which is no duration", quote(text)),
            "`30s`, `5m`, `1h30m` or `7d`",
        )
    };
    let (mut rest, mut total, mut units) = (text, 0_u64, &DURATION_UNITS[..]);
    while !rest.is_empty() {
        let Some((number, unit, behind)) = quantity(rest) else { return wrong() };
        let Some(at) = units.iter().position(|(word, _)| *word == unit) else { return wrong() };
        let Some(sum) = number.checked_mul(units[at].1).and_then(|part| total.checked_add(part)) else {
            return wrong();
        };
        (rest, total, units) = (behind, sum, &units[at + 1..]);
    }
    let duration = Duration::from_millis(total);
    if text.is_empty() {
        return wrong();
    }
    if duration.is_zero() || duration > DURATION_MAX {
        return fault(Code::Range, format!("is {}", quote(text)), "more than `0s` and at most `366d`");
    }
    Ok(duration)
}

/// A number in digits, the letters behind it, and what follows.
fn quantity(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let rest = &text[digits..];
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Some((number, &rest[..letters], &rest[letters..]))
}

/// A duration as [`duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

/// Reads `10GB`, `512 MiB`, or a bare number of bytes.
pub(super) fn bytes(text: &str) -> Read<u64> {
    let wrong = |nearest: Option<String>| {
        let why = format!("is {}, which is no size", quote(text));
        Err(Fault {
            code: Code::Size,
            why,
            expected: "a number and `KB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`".into(),
            nearest,
        })
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let Ok(number) = text[..digits].parse::<u64>() else { return wrong(None) };
    let unit = text[digits..].strip_prefix(' ').unwrap_or(&text[digits..]);
    let factor = match unit {
        "" => Some(1),
        unit => SIZE_UNITS.iter().find(|(word, _)| *word == unit).map(|(_, factor)| *factor),
    };
    let Some(factor) = factor else {
        let right = SIZE_UNITS.iter().map(|(word, _)| *word).find(|word| word.eq_ignore_ascii_case(unit));
        return wrong(right.map(|unit| format!("{number}{unit}")));
    };
    match number.checked_mul(factor) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        Some(_) => fault(Code::Range, "is nothing", "at least one byte"),
        None => fault(Code::Range, format!("is {}", quote(text)), "less than 18 EB"),
    }
}

/// Reads `HH:MM`.
pub(super) fn time_of_day(text: &str) -> Read<TimeOfDay> {
    let two = |part: &str| match part.as_bytes() {
        [a, b] if a.is_ascii_digit() && b.is_ascii_digit() => part.parse::<u16>().ok(),
        _ => None,
    };
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
    match parts {
        Some((hour, minute)) if hour < 24 && minute < 60 => Ok(TimeOfDay(hour * 60 + minute)),
        _ => fault(
            Code::TimeOfDay,
            format!("is {}, which is no time of day", quote(text)),
            "`\"HH:MM\"` from `\"00:00\"` to `\"23:59\"`",
        ),
    }
}

impl std::fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// Reads IANA's name of a time zone, in its spelling.
pub(super) fn zone(text: &str) -> Read<String> {
    let database = TimeZoneDatabase::bundled();
    let found = database.get(text).ok().and_then(|zone| zone.iana_name().map(str::to_owned));
    if found.as_deref() == Some(text) {
        return Ok(text.to_owned());
    }
    let known: Vec<_> = database.available().map(|name| name.to_string()).collect();
    let near = found.or_else(|| nearest(text, known.iter().map(String::as_str)).map(str::to_owned));
    Err(Fault {
        code: Code::Zone,
        why: format!("is {}, which is no time zone", quote(text)),
        expected: "IANA's name, such as `UTC` or `America/New_York`".into(),
        nearest: near,
    })
}

/// Reads a time with its offset, or a UTC day, which means its first moment.
pub(super) fn moment(text: &str) -> Read<Timestamp> {
    let day = text.parse().map(Day::start);
    day.or_else(|_| text.parse()).or_else(|_| {
        fault(
            Code::Moment,
            format!("is {}, which is no time", quote(text)),
            "a UTC day as `2027-01-31`, or a time as `2027-01-31T12:00:00Z`",
        )
    })
}

/// Reads a number that is not below zero.
pub(super) fn decimal(text: &str) -> Read<Decimal> {
    match text.parse::<Decimal>() {
        Ok(number) if !number.is_negative() => Ok(number),
        _ => fault(
            Code::Number,
            format!("is {}", quote(text)),
            "a number that is not below zero, such as `1000` or `0.5`",
        ),
    }
}

/// Reads an IP address and a port.
pub(super) fn listen(text: &str) -> Read<SocketAddr> {
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address),
        Err(_) => fault(
            Code::Listen,
            format!("is {}", quote(text)),
            "an IP address and a port, such as `127.0.0.1:9700` or `[::1]:9700`",
        ),
    }
}

/// Reads a lower-case name that can stand in subjects and paths.
pub(super) fn name(text: &str) -> Read<String> {
    let fits = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        return Ok(text.to_owned());
    }
    let lower = text.to_lowercase().replace(['_', ' '], "-");
    let right = (lower != text && name(&lower).is_ok()).then_some(lower);
    Err(Fault {
        code: Code::Identifier,
        why: format!("is {}", quote(text)),
        expected: "a lower-case letter, then lower-case letters, digits and hyphens, at most 48 bytes".into(),
        nearest: right,
    })
}

/// Reads what another system calls something.
pub(super) fn id(text: &str) -> Read<String> {
    let fits = !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    match fits {
        true => Ok(text.to_owned()),
        false => fault(
            Code::Identifier,
            format!("is {}", quote(text)),
            "a letter or a digit, then letters, digits, `-`, `_` and `.`, at most 128 bytes",
        ),
    }
}

/// Reads text for people.
pub(super) fn text(text: &str, most: usize) -> Read<String> {
    if text.trim().is_empty() || text.len() > most || text.chars().any(char::is_control) {
        let why =
            if text.trim().is_empty() { "is empty text".to_owned() } else { format!("is {}", quote(text)) };
        return fault(Code::Text, why, format!("1 to {most} bytes of text without control characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_have_units() {
        for (text, millis) in
            [("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("250ms", 250)]
        {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "30", "s", "5 m", "1m1h", "1s1s", "-1s", "1.5h", "0s", "367d", "99999999999999999999s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        for (text, size) in [("10GB", 10_000_000_000), ("1 KiB", 1024), ("17", 17), ("3TiB", 3 << 40)] {
            assert_eq!(bytes(text).ok(), Some(size), "{text}");
        }
        for text in ["", "0", "GB", "10gb", "-1", "1.5GB", "10  GB", "99999999TB", "10GBs"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(bytes("10gb").err().and_then(|fault| fault.nearest).as_deref(), Some("10GB"));
    }

    #[test]
    fn times_and_zones_are_those_that_exist() {
        assert_eq!(time_of_day("00:10").ok().map(TimeOfDay::minutes), Some(10));
        assert_eq!(time_of_day("23:59").ok().map(|time| time.to_string()).as_deref(), Some("23:59"));
        for text in ["24:00", "0:10", "00:60", "00-10", "noon", "+1:00"] {
            assert!(time_of_day(text).is_err(), "{text}");
        }
        assert!(zone("UTC").is_ok() && zone("America/New_York").is_ok());
        assert_eq!(
            zone("america/new_york").err().and_then(|fault| fault.nearest).as_deref(),
            Some("America/New_York")
        );
        assert_eq!(
            zone("Europe/Berlim").err().and_then(|fault| fault.nearest).as_deref(),
            Some("Europe/Berlin")
        );
        assert_eq!(moment("2027-01-01").ok(), moment("2027-01-01T01:00:00+01:00").ok());
        assert!(moment("tomorrow").is_err());
    }

    #[test]
    fn names_suggest_their_right_spelling() {
        assert!(name("crypto").is_ok() && id("trading-bot_1.x").is_ok());
        assert_eq!(
            name("Crypto Coins").err().and_then(|fault| fault.nearest).as_deref(),
            Some("crypto-coins")
        );
        for text in ["", "-x", "a b", "é", &"x".repeat(200)] {
            assert!(name(text).is_err() && id(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_duration_is_read_again(millis in 1_u64..31_622_400_000) {
            let shown = show_duration(Duration::from_millis(millis));
            prop_assert_eq!(duration(&shown).ok(), Some(Duration::from_millis(millis)));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,12}|[0-9]{0,25}[a-zA-Z:. -]{0,4}") {
            let _ = (duration(&text), bytes(&text), time_of_day(&text), moment(&text), decimal(&text));
            let _ = (listen(&text), name(&text), id(&text));
        }
    }
}
