//! The forms of the venue's messages, for serde. What they mean is the decoder's business.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use ssmd_core::record::{Level, Side};
use ssmd_core::{Decimal, Timestamp};

/// More levels on one side of a book are hostile: the deepest that was seen has under 400.
const LEVELS_MAX: usize = 50_000;
/// More trades in one message are hostile: a snapshot has 100.
const TRADES_MAX: usize = 10_000;

/// What all messages share: control has an `event`, data a `feed`, acknowledgements both.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) feed: Cow<'a, str>,
}

/// What the first bytes of most data messages tell: the feed, and a product behind it, which no acknowledgement
/// has (it names `product_ids`). `None` says nothing, since keys come in any order.
pub(super) fn feed_at_sight(frame: &[u8]) -> Option<&str> {
    let rest = frame.strip_prefix(b"{\"feed\":\"")?;
    let end = rest.iter().take(FEED_BYTES_MAX).position(|byte| *byte == b'"')?;
    let (feed, rest) = rest.split_at(end);
    rest.starts_with(b"\",\"product_id\":\"").then(|| std::str::from_utf8(feed).ok())?
}

/// Whether the venue says this of its own, in answer to a request or about one.
pub(super) fn is_event(event: &str) -> bool {
    EVENTS.contains(&event)
}

/// `heartbeat` as others have recorded it; the feed of that name is the usual form.
const EVENTS: [&str; 9] = [
    "info",
    "subscribed",
    "unsubscribed",
    "subscribed_failed",
    "unsubscribed_failed",
    "alert",
    "error",
    "challenge",
    "heartbeat",
];

/// How long the bars of a feed are: 60 for `candles_trade_1m` and for its snapshot.
pub(super) fn bar_seconds(feed: &str) -> Option<u64> {
    let resolution = feed.strip_prefix("candles_trade_")?;
    Some(match resolution.strip_suffix("_snapshot").unwrap_or(resolution) {
        "1m" => 60,
        "5m" => 300,
        "15m" => 900,
        "30m" => 1_800,
        "1h" => 3_600,
        "4h" => 14_400,
        "12h" => 43_200,
        "1d" => 86_400,
        "1w" => 604_800,
        _ => return None,
    })
}

/// Longer names are read in the general way.
const FEED_BYTES_MAX: usize = 32;

/// An event: an answer to a request of ours, or words about one.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default)]
    pub(super) feed: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) product_ids: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) message: Cow<'a, str>,
}

/// The state of all levels.
#[derive(Deserialize)]
pub(super) struct BookSnapshot<'a> {
    #[serde(borrow)]
    pub(super) product_id: Cow<'a, str>,
    #[serde(default)]
    pub(super) timestamp: Time,
    pub(super) seq: u64,
    #[serde(deserialize_with = "levels")]
    pub(super) bids: Vec<Level>,
    #[serde(deserialize_with = "levels")]
    pub(super) asks: Vec<Level>,
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

/// One level.
#[derive(Deserialize)]
pub(super) struct BookDelta<'a> {
    #[serde(borrow)]
    pub(super) product_id: Cow<'a, str>,
    #[serde(deserialize_with = "side")]
    pub(super) side: Side,
    pub(super) seq: u64,
    pub(super) price: Decimal,
    pub(super) qty: Decimal,
    #[serde(default)]
    pub(super) timestamp: Time,
}

/// The last trades, newest first.
#[derive(Deserialize)]
pub(super) struct TradeSnapshot<'a> {
    #[serde(borrow)]
    pub(super) product_id: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "trades")]
    pub(super) trades: Vec<Trade<'a>>,
}

fn trades<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Trade<'a>>, D::Error> {
    let trades = Vec::<Trade<'a>>::deserialize(deserializer)?;
    if trades.len() > TRADES_MAX {
        return Err(D::Error::custom("more trades than a message can have"));
    }
    Ok(trades)
}

/// One trade, by itself or in a snapshot.
#[derive(Deserialize)]
pub(super) struct Trade<'a> {
    #[serde(borrow)]
    pub(super) product_id: Cow<'a, str>,
    /// Captures of 2019 have none.
    pub(super) uid: Option<Cow<'a, str>>,
    #[serde(deserialize_with = "side")]
    pub(super) side: Side,
    #[serde(rename = "type")]
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) time: Time,
    pub(super) qty: Decimal,
    pub(super) price: Decimal,
}

fn side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Side, D::Error> {
    match <Cow<'de, str>>::deserialize(deserializer)?.as_ref() {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _ => Err(D::Error::custom("a side that is neither buy nor sell")),
    }
}

/// Everything about one product. Both feeds of tickers have this form; the light one leaves most of it out.
#[derive(Deserialize)]
pub(super) struct Ticker<'a> {
    #[serde(borrow)]
    pub(super) product_id: Cow<'a, str>,
    #[serde(default)]
    pub(super) time: Time,
    pub(super) bid: Option<Decimal>,
    pub(super) ask: Option<Decimal>,
    pub(super) bid_size: Option<Decimal>,
    pub(super) ask_size: Option<Decimal>,
    pub(super) last: Option<Decimal>,
    pub(super) volume: Option<Decimal>,
    pub(super) low: Option<Decimal>,
    pub(super) high: Option<Decimal>,
    #[serde(rename = "openInterest")]
    pub(super) open_interest: Option<Decimal>,
    #[serde(rename = "markPrice", default)]
    pub(super) mark_price: Quotient,
    #[serde(default)]
    pub(super) index: Quotient,
    #[serde(default)]
    pub(super) change: Quotient,
    pub(super) suspended: Option<bool>,
    pub(super) post_only: Option<bool>,
    #[serde(default)]
    pub(super) relative_funding_rate: Quotient,
    #[serde(default)]
    pub(super) relative_funding_rate_prediction: Quotient,
    #[serde(default)]
    pub(super) next_funding_rate_time: Time,
}

/// The result of a division by the venue, in as many digits as a float of 64 bits has. One that is so near to zero
/// that [`Decimal`] cannot hold its digits is `None`: no reason to lose the prices beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quotient(pub(super) Option<Decimal>);

impl<'de> Deserialize<'de> for Quotient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(raw) = Option::<&RawValue>::deserialize(deserializer)? else { return Ok(Self(None)) };
        let text = raw.get();
        match Decimal::parse(text.as_bytes()) {
            Ok(number) => Ok(Self(Some(number))),
            Err(_) if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
                Ok(Self(None))
            }
            Err(error) => Err(D::Error::custom(error)),
        }
    }
}

/// A bar of trades.
#[derive(Deserialize)]
pub(super) struct Candles<'a> {
    #[serde(borrow)]
    pub(super) product_id: Cow<'a, str>,
    pub(super) candle: Candle,
}

#[derive(Deserialize)]
pub(super) struct Candle {
    pub(super) time: Time,
    pub(super) open: Decimal,
    pub(super) high: Decimal,
    pub(super) low: Decimal,
    pub(super) close: Decimal,
    pub(super) volume: Decimal,
}

/// Milliseconds since 1970; 0 stands for "none" on this venue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Time(pub(super) Option<Timestamp>);

const NANOS_PER_MILLISECOND: i64 = 1_000_000;

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(millis) = Option::<u64>::deserialize(deserializer)?.filter(|millis| *millis > 0) else {
            return Ok(Self(None));
        };
        let nanos = i64::try_from(millis).ok().and_then(|millis| millis.checked_mul(NANOS_PER_MILLISECOND));
        let nanos = nanos.ok_or_else(|| D::Error::custom("a time that is none"))?;
        Ok(Self(Some(Timestamp::from_nanos(nanos))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_never_taken_for_data() {
        let at_sight = |text: &'static str| feed_at_sight(text.as_bytes());
        assert_eq!(at_sight(r#"{"feed":"book","product_id":"PI_XBTUSD","seq":1}"#), Some("book"));
        assert_eq!(at_sight(r#"{"feed":"book","product_ids":["PI_XBTUSD"],"event":"subscribed"}"#), None);
        assert_eq!(at_sight(r#"{"feed":"book","event":"subscribed"}"#), None);
        assert_eq!(at_sight(r#"{"feed":""#), None);
    }

    #[test]
    fn a_quotient_with_more_digits_than_can_be_held_is_left_out() {
        let read = |text: &str| serde_json::from_str::<Quotient>(text);
        assert_eq!(read("-2.84e-6").unwrap().0.unwrap().to_string(), "-0.00000284");
        assert_eq!(read("1.2345678901234567e-13").unwrap(), Quotient(None));
        assert_eq!(read("null").unwrap(), Quotient(None));
        assert!(read("true").is_err() && read("\"x\"").is_err());
    }

    #[test]
    fn times_are_milliseconds_and_zero_is_none() {
        let read = |text: &str| serde_json::from_str::<Time>(text);
        assert_eq!(read("1626994925378").unwrap().0.unwrap().nanos(), 1_626_994_925_378_000_000);
        assert_eq!(read("0").unwrap(), Time(None));
        assert!(read("9223372036854775807").is_err() && read("-1").is_err());
    }
}
