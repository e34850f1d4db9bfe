//! Prices, sizes and times in every form in which the venue writes them.
//!
//! Whole cents and whole contracts as numbers until March 2026, dollars and hundredths of contracts in strings since.
//! Each form of a price has the same digits here, four after the point, and each form of a size two.

use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use ssmd_core::record::Level;
use ssmd_core::{Decimal, Timestamp};

/// More levels on one side of a book are hostile: the finest grid of prices has 9,999.
const LEVELS_MAX: usize = 20_000;

/// One dollar, which yes and no are worth together.
pub(super) fn one() -> Decimal {
    Decimal::from_digits(1, 0).unwrap_or_default()
}

/// The price of one side, from that of the other.
pub(super) fn complement(price: Decimal) -> Option<Decimal> {
    one().checked_sub(price)
}

/// Whole cents, as four digits after the point.
#[derive(Clone, Copy)]
pub(super) struct Cents(pub(super) Decimal);

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cents = u32::deserialize(deserializer)?;
        Decimal::from_digits(u64::from(cents) * 100, 4).map(Self).ok_or_else(|| D::Error::custom("no price"))
    }
}

/// Whole contracts, as two digits after the point.
#[derive(Clone, Copy)]
pub(super) struct Quantity(pub(super) Decimal);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = i64::deserialize(deserializer)?;
        Decimal::new(i128::from(count) * 100, 2).map(Self).map_err(D::Error::custom)
    }
}

/// Dollars; an empty text where there is no price.
#[derive(Clone, Copy)]
pub(super) struct Dollars(pub(super) Option<Decimal>);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        if digits.is_empty() {
            return Ok(Self(None));
        }
        Decimal::parse(digits.as_bytes()).map(|price| Self(Some(price))).map_err(D::Error::custom)
    }
}

/// What a contract is worth in the end: dollars in a string, whole cents as a number.
#[derive(Clone, Copy)]
pub(super) struct Worth(pub(super) Decimal);

impl<'de> Deserialize<'de> for Worth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if raw.starts_with('"') {
            return serde_json::from_str(raw).map(Self).map_err(D::Error::custom);
        }
        serde_json::from_str(raw).map(|Cents(worth)| Self(worth)).map_err(D::Error::custom)
    }
}

/// Levels as pairs of price and size.
pub(super) struct Levels<P, Q>(pub(super) Vec<Level>, PhantomData<(P, Q)>);

impl<'de, P, Q> Deserialize<'de> for Levels<P, Q>
where
    P: Deserialize<'de> + Into<Decimal>,
    Q: Deserialize<'de> + Into<Decimal>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<P, Q>(PhantomData<(P, Q)>);
        impl<'de, P, Q> Visitor<'de> for Pairs<P, Q>
        where
            P: Deserialize<'de> + Into<Decimal>,
            Q: Deserialize<'de> + Into<Decimal>,
        {
            type Value = Vec<Level>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("levels")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
                let mut levels = Vec::new();
                while let Some((price, size)) = pairs.next_element::<(P, Q)>()? {
                    if levels.len() == LEVELS_MAX {
                        return Err(A::Error::custom("more levels than a book can have"));
                    }
                    levels.push(Level { price: price.into(), size: size.into() });
                }
                Ok(levels)
            }
        }
        let pairs = Pairs(PhantomData::<(P, Q)>);
        deserializer.deserialize_seq(pairs).map(|levels| Self(levels, PhantomData))
    }
}

impl From<Cents> for Decimal {
    fn from(cents: Cents) -> Self {
        cents.0
    }
}

impl From<Quantity> for Decimal {
    fn from(count: Quantity) -> Self {
        count.0
    }
}

/// A moment: whole seconds since 1970 as a number, 0 for none, or RFC 3339 in a string, empty for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Time {
    #[default]
    None,
    Seconds(Timestamp),
    Fine(Timestamp),
}

impl Time {
    /// With all digits that the venue has.
    pub(super) fn fine(self) -> Option<Timestamp> {
        match self {
            Self::Fine(time) => Some(time),
            Self::None | Self::Seconds(_) => None,
        }
    }

    /// However exact.
    pub(super) fn any(self) -> Option<Timestamp> {
        match self {
            Self::Fine(time) | Self::Seconds(time) => Some(time),
            Self::None => None,
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let wrong = || D::Error::custom("a time that is none");
        if let Some(text) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            return match text {
                "" => Ok(Self::None),
                text => crate::time::parse(text).map(Self::Fine).ok_or_else(wrong),
            };
        }
        match raw {
            "0" | "null" => Ok(Self::None),
            number => {
                let time = number.parse().ok().and_then(|number| moment(number, NANOS_PER_SECOND));
                time.map(Self::Seconds).ok_or_else(wrong)
            }
        }
    }
}

/// Milliseconds since 1970; 0 and `null` for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Millis(pub(super) Option<Timestamp>);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match <&RawValue>::deserialize(deserializer)?.get() {
            "null" => Ok(Self(None)),
            number => {
                let time = number.parse().ok().and_then(Self::of);
                time.ok_or_else(|| D::Error::custom("a time that is none"))
            }
        }
    }
}

impl Millis {
    /// So many milliseconds since 1970; `None` for more than a [`Timestamp`] can hold.
    pub(super) fn of(millis: u64) -> Option<Self> {
        Some(Self(if millis == 0 { None } else { Some(moment(millis, NANOS_PER_MILLISECOND)?) }))
    }
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLISECOND: i64 = 1_000_000;

fn moment(number: u64, nanos: i64) -> Option<Timestamp> {
    Some(Timestamp::from_nanos(i64::try_from(number).ok()?.checked_mul(nanos)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_millis_or_text_and_zero_is_none() {
        let read =
            |text: &str| serde_json::from_str::<Time>(text).map(|time| time.any().map(Timestamp::nanos));
        assert_eq!(read("1784475900").unwrap(), Some(1_784_475_900_000_000_000));
        assert_eq!(read("\"2026-07-19T15:45:00.544125Z\"").unwrap(), Some(1_784_475_900_544_125_000));
        for none in ["0", "\"\"", "null"] {
            assert_eq!(read(none).unwrap(), None);
        }
        assert!(read("-1").is_err() && read("1e3").is_err() && read("\"soon\"").is_err());
        assert!(serde_json::from_str::<Millis>("9223372036854775807").is_err());
    }

    #[test]
    fn what_a_contract_is_worth_is_dollars_or_cents() {
        let read = |text: &str| serde_json::from_str::<Worth>(text).map(|worth| worth.0.to_string());
        assert_eq!(read("\"0.0000\"").unwrap(), "0.0000");
        assert_eq!(read("100").unwrap(), "1.0000");
        assert!(read("0.5").is_err() && read("\"yes\"").is_err());
    }
}
