//! The forms of Kraken's messages, for serde. What they mean is the decoder's business.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use ssmd_core::record::{Level, Side};
use ssmd_core::{Decimal, Timestamp};

/// More levels on one side of one message are hostile: the deepest book has 1,000, and one message may both empty
/// and refill it.
pub(super) const LEVELS_MAX: usize = 4_000;

/// What all messages share. Answers have a `method`, market data a `channel`, a `type` and `data`.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(super) channel: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) method: Cow<'a, str>,
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(default)]
    pub(super) timestamp: Time,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    error: Option<IgnoredAny>,
    #[serde(rename = "Error")]
    rate_error: Option<IgnoredAny>,
}

impl Envelope<'_> {
    /// Whether the venue complains, without saying about which request.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some() || self.rate_error.is_some()
    }
}

/// A request of ours, as far as the decoder needs it.
#[derive(Deserialize)]
pub(super) struct Request<'a> {
    #[serde(borrow, default)]
    pub(super) method: Cow<'a, str>,
    pub(super) params: Option<RequestParams>,
}

#[derive(Deserialize)]
pub(super) struct RequestParams {
    #[serde(default)]
    pub(super) channel: String,
    #[serde(default)]
    pub(super) symbol: Vec<String>,
    pub(super) depth: Option<u32>,
}

/// An answer to one of our requests: one for each symbol in it.
#[derive(Debug, Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow, default)]
    pub(super) method: Cow<'a, str>,
    pub(super) req_id: Option<u64>,
    #[serde(default)]
    pub(super) success: bool,
    /// Why not.
    pub(super) error: Option<Cow<'a, str>>,
    /// Which one failed.
    pub(super) symbol: Option<Cow<'a, str>>,
    /// What succeeded.
    #[serde(borrow)]
    pub(super) result: Option<AnswerResult<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AnswerResult<'a> {
    #[serde(borrow, default)]
    pub(super) channel: Cow<'a, str>,
    pub(super) symbol: Option<Cow<'a, str>>,
    pub(super) depth: Option<u32>,
    pub(super) snapshot: Option<bool>,
}

/// One book of a book message, in the venue's order.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct BookEntry<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(default, deserialize_with = "levels")]
    pub(super) bids: Vec<Level>,
    #[serde(default, deserialize_with = "levels")]
    pub(super) asks: Vec<Level>,
    pub(super) checksum: Option<u32>,
    #[serde(default)]
    pub(super) timestamp: Time,
}

fn levels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Level>, D::Error> {
    #[derive(Deserialize)]
    struct Wire {
        price: Decimal,
        qty: Decimal,
    }
    let wire = Vec::<Wire>::deserialize(deserializer)?;
    if wire.len() > LEVELS_MAX {
        return Err(D::Error::custom("more levels than a book can have"));
    }
    Ok(wire.into_iter().map(|level| Level { price: level.price, size: level.qty }).collect())
}

#[derive(Deserialize)]
pub(super) struct TickerEntry<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    pub(super) bid: Option<Decimal>,
    pub(super) bid_qty: Option<Decimal>,
    pub(super) ask: Option<Decimal>,
    pub(super) ask_qty: Option<Decimal>,
    pub(super) last: Option<Decimal>,
    pub(super) volume: Option<Decimal>,
    pub(super) vwap: Option<Decimal>,
    pub(super) low: Option<Decimal>,
    pub(super) high: Option<Decimal>,
    pub(super) change: Option<Decimal>,
    pub(super) change_pct: Option<Decimal>,
    pub(super) trades: Option<u64>,
    #[serde(default)]
    pub(super) timestamp: Time,
}

#[derive(Deserialize)]
pub(super) struct TradeEntry<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(deserialize_with = "side")]
    pub(super) side: Side,
    pub(super) price: Decimal,
    pub(super) qty: Decimal,
    pub(super) ord_type: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "id")]
    pub(super) trade_id: u64,
    #[serde(default)]
    pub(super) timestamp: Time,
}

fn side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Side, D::Error> {
    match <Cow<'de, str>>::deserialize(deserializer)?.as_ref() {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _ => Err(D::Error::custom("a side that is neither buy nor sell")),
    }
}

/// An integer on the wire; its digits in a string are the same identity.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    let digits = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    digits.parse().map_err(D::Error::custom)
}

#[derive(Deserialize)]
pub(super) struct BarEntry<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    pub(super) open: Decimal,
    pub(super) high: Decimal,
    pub(super) low: Decimal,
    pub(super) close: Decimal,
    pub(super) trades: Option<u64>,
    pub(super) volume: Decimal,
    pub(super) vwap: Option<Decimal>,
    #[serde(deserialize_with = "required_time")]
    pub(super) interval_begin: Timestamp,
    /// In minutes.
    pub(super) interval: u32,
}

/// `data` of the instrument channel. Assets are kept raw only.
#[derive(Deserialize)]
pub(super) struct Instruments<'a> {
    #[serde(borrow, default)]
    pub(super) pairs: Vec<PairEntry<'a>>,
}

#[derive(Deserialize)]
pub(super) struct PairEntry<'a> {
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    pub(super) base: Option<String>,
    pub(super) quote: Option<String>,
    pub(super) status: Option<String>,
    pub(super) qty_precision: Option<u32>,
    pub(super) qty_increment: Option<Decimal>,
    pub(super) qty_min: Option<Decimal>,
    pub(super) price_precision: Option<u32>,
    pub(super) price_increment: Option<Decimal>,
    pub(super) cost_min: Option<Decimal>,
}

/// The state of the trading engine. What is not named here is shown to people as it came.
#[derive(Deserialize)]
pub(super) struct StatusEntry<'a> {
    #[serde(borrow)]
    pub(super) system: Cow<'a, str>,
    #[serde(borrow, flatten)]
    pub(super) more: BTreeMap<Cow<'a, str>, serde_json::Value>,
}

/// A moment, where the venue says one: the epoch itself stands for "never" on Kraken.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Time(pub(super) Option<Timestamp>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<Cow<'de, str>>::deserialize(deserializer)? {
            None => Ok(Self(None)),
            Some(text) => Self::parse(&text).ok_or_else(|| D::Error::custom("a timestamp that is none")),
        }
    }
}

impl Time {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let time = crate::time::parse(text)?;
        Some(Self(Some(time).filter(|time| time.nanos() != 0)))
    }
}

fn required_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    Time::deserialize(deserializer)?.0.ok_or_else(|| D::Error::custom("a timestamp is missing"))
}
