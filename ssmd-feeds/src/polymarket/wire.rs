//! The forms of the venue's messages, for serde. What they mean is the decoder's business.

use std::borrow::Cow;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use ssmd_core::record::{Level, Side};
use ssmd_core::{Decimal, Timestamp};

use super::hash::Hash;

/// More levels on one side of a book are hostile: prices have at most 9,999 steps.
const LEVELS_MAX: usize = 20_000;
/// More changes in one message are hostile: a sweep through a book has some hundred.
pub(super) const CHANGES_MAX: usize = 2_000;
/// More messages in one frame are hostile: a connection has 500 tokens, whose books come in one frame.
const MESSAGES_MAX: usize = 2_000;
/// More tokens of one market are hostile: it has two.
const TOKENS_MAX: usize = 256;
/// More bytes behind the last value of a message are none of the venue's.
const TAIL_BYTES_MAX: usize = 64;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventType {
    /// All levels of a token.
    Book,
    /// Levels that changed.
    PriceChange,
    /// A trade.
    LastTradePrice,
    /// Prices have another step from now on.
    TickSizeChange,
    /// The best prices of a token.
    BestBidAsk,
    /// A market began, somewhere on the venue.
    NewMarket,
    /// A market has its outcome.
    MarketResolved,
}

impl EventType {
    /// Whether it shows that data of what was asked for flows. The venue tells of new markets and of outcomes whatever
    /// was asked for.
    pub(super) fn is_flow(self) -> bool {
        !matches!(self, Self::NewMarket | Self::MarketResolved)
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "book" => Self::Book,
            "price_change" => Self::PriceChange,
            "last_trade_price" => Self::LastTradePrice,
            "tick_size_change" => Self::TickSizeChange,
            "best_bid_ask" => Self::BestBidAsk,
            "new_market" => Self::NewMarket,
            "market_resolved" => Self::MarketResolved,
            _ => return None,
        })
    }
}

/// What a frame is, without what it says.
#[derive(Debug)]
pub(super) enum Glance<'a> {
    /// Nothing, or an answer to our ping.
    Beat,
    /// The venue complains about something that we sent.
    Complaint(Cow<'a, str>),
    /// One message.
    One(EventType),
    /// Several messages.
    Many(Vec<&'a RawValue>),
    /// What REST says of a book, asked for beside the connection.
    RestBook,
    /// JSON of a type that nobody has seen.
    Unknown(Cow<'a, str>),
}

/// Tells what a frame is.
///
/// # Errors
/// It is neither JSON nor one of the venue's words.
pub(super) fn glance(frame: &[u8]) -> serde_json::Result<Glance<'_>> {
    let frame = frame.trim_ascii();
    if let Some(event) = last_value(frame).and_then(EventType::from_word) {
        return Ok(Glance::One(event));
    }
    match frame.first() {
        None => Ok(Glance::Beat),
        Some(b'[') => serde_json::from_slice(frame).map(|Bounded::<_, MESSAGES_MAX>(all)| Glance::Many(all)),
        Some(b'{') => serde_json::from_slice(frame).map(Envelope::glance),
        Some(_) if frame == b"PONG" || frame == b"PING" => Ok(Glance::Beat),
        Some(_) if frame.starts_with(COMPLAINT) => Ok(Glance::Complaint(String::from_utf8_lossy(frame))),
        Some(_) => serde_json::from_slice::<IgnoredAny>(frame).map(|_| Glance::Unknown("no object".into())),
    }
}

/// Tells what one of several messages is.
///
/// # Errors
/// It is no object.
pub(super) fn glance_inside(message: &RawValue) -> serde_json::Result<Glance<'_>> {
    let text = message.get();
    match last_value(text.as_bytes()).and_then(EventType::from_word) {
        Some(event) => Ok(Glance::One(event)),
        None if text.starts_with('{') => serde_json::from_str(text).map(Envelope::glance),
        None => Ok(Glance::Unknown("no object".into())),
    }
}

/// The words of a refusal, which is no JSON.
const COMPLAINT: &[u8] = b"INVALID";

/// The value of `event_type` where it is a message's last key, as the venue writes it. `None` says nothing.
///
/// A quote inside of a text is escaped, so what looks like the key is the key; and one closing brace at the end is
/// that of the outermost object.
fn last_value(frame: &[u8]) -> Option<&str> {
    let inside = frame.strip_suffix(b"\"}").filter(|_| frame.first() == Some(&b'{'))?;
    let tail = &inside[inside.len().saturating_sub(TAIL_BYTES_MAX)..];
    let start = tail.iter().rposition(|byte| *byte == b'"')?;
    let (before, value) = (&tail[..start], &tail[start + 1..]);
    let key = before.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let before = key.strip_suffix(b"\"event_type\"")?.trim_ascii_end();
    before.ends_with(b",").then(|| std::str::from_utf8(value).ok())?
}

/// What tells the type of a message whose keys are in another order.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    event_type: Cow<'a, str>,
    #[serde(default, alias = "buys")]
    bids: Option<IgnoredAny>,
    #[serde(default, alias = "changes")]
    price_changes: Option<IgnoredAny>,
    /// Nothing that the socket tells has it.
    min_order_size: Option<IgnoredAny>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Old messages have no type, but nothing else has their keys.
    fn glance(self) -> Glance<'a> {
        match (EventType::from_word(&self.event_type), self.error) {
            (Some(event), _) => Glance::One(event),
            (None, _) if !self.event_type.is_empty() => Glance::Unknown(self.event_type),
            (None, Some(error)) => Glance::Complaint(error.get().into()),
            (None, None) if self.bids.is_some() && self.min_order_size.is_some() => Glance::RestBook,
            (None, None) if self.bids.is_some() => Glance::One(EventType::Book),
            (None, None) if self.price_changes.is_some() => Glance::One(EventType::PriceChange),
            (None, None) => Glance::Unknown("no event_type".into()),
        }
    }
}

/// Whose book it is.
#[derive(Deserialize)]
pub(super) struct BookOf<'a> {
    #[serde(borrow)]
    pub(super) asset_id: Cow<'a, str>,
    #[serde(default)]
    pub(super) hash: Hash,
    tick_size: Option<IgnoredAny>,
    last_trade_price: Option<IgnoredAny>,
}

impl BookOf<'_> {
    /// Whether it was asked for: a book that the venue sends around a trade says less.
    pub(super) fn was_asked_for(&self) -> bool {
        self.tick_size.is_some() || self.last_trade_price.is_some()
    }
}

/// The state of all levels of a token.
#[derive(Deserialize)]
pub(super) struct Book<'a> {
    #[serde(borrow)]
    pub(super) market: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) asset_id: Cow<'a, str>,
    #[serde(default)]
    pub(super) timestamp: Time,
    #[serde(default)]
    pub(super) hash: Hash,
    /// The best price last.
    #[serde(alias = "buys")]
    pub(super) bids: Bounded<WireLevel, LEVELS_MAX>,
    /// The best price last.
    #[serde(alias = "sells")]
    pub(super) asks: Bounded<WireLevel, LEVELS_MAX>,
    /// Only in a book that was asked for.
    pub(super) tick_size: Option<Decimal>,
    /// Only in a book that was asked for; empty where nothing was ever traded.
    #[serde(default)]
    pub(super) last_trade_price: LastPrice,
}

/// What a book that REST tells has beside what all books have: the rest of what its hash holds.
#[derive(Deserialize)]
pub(super) struct RestOnly<'a> {
    #[serde(borrow)]
    pub(super) min_order_size: Cow<'a, str>,
    pub(super) neg_risk: bool,
}

/// A price and how much is there.
#[derive(Deserialize)]
pub(super) struct WireLevel {
    price: Decimal,
    size: Decimal,
}

/// Levels with the best first.
pub(super) fn best_first(levels: &Bounded<WireLevel, LEVELS_MAX>) -> Vec<Level> {
    levels.0.iter().rev().map(|level| Level { price: level.price, size: level.size }).collect()
}

/// The price of a market's last trade as a book tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LastPrice {
    /// It does not.
    #[default]
    Untold,
    /// Nothing was ever traded.
    Never,
    /// It is this.
    Price(Decimal),
}

impl LastPrice {
    /// The price, if there is one.
    pub(super) fn price(self) -> Option<Decimal> {
        match self {
            Self::Price(price) => Some(price),
            Self::Untold | Self::Never => None,
        }
    }
}

impl<'de> Deserialize<'de> for LastPrice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(raw) = Option::<&RawValue>::deserialize(deserializer)? else { return Ok(Self::Untold) };
        match raw.get() {
            "\"\"" => Ok(Self::Never),
            text => serde_json::from_str(text).map(Self::Price).map_err(D::Error::custom),
        }
    }
}

/// Levels that changed, in both forms: since September 2025 each change names its token.
#[derive(Deserialize)]
pub(super) struct PriceChange<'a> {
    #[serde(borrow)]
    pub(super) market: Cow<'a, str>,
    /// In the old form.
    #[serde(borrow, default)]
    pub(super) asset_id: Cow<'a, str>,
    /// In the old form.
    #[serde(default)]
    pub(super) hash: Hash,
    #[serde(default)]
    pub(super) timestamp: Time,
    #[serde(borrow, alias = "changes")]
    pub(super) price_changes: Bounded<Change<'a>, CHANGES_MAX>,
}

/// One level, with what the book must be after it.
#[derive(Deserialize)]
pub(super) struct Change<'a> {
    #[serde(borrow, default)]
    pub(super) asset_id: Cow<'a, str>,
    pub(super) price: Decimal,
    /// The new total; 0 removes the level.
    pub(super) size: Decimal,
    #[serde(deserialize_with = "side")]
    pub(super) side: Side,
    #[serde(default)]
    pub(super) hash: Hash,
    pub(super) best_bid: Option<Decimal>,
    pub(super) best_ask: Option<Decimal>,
}

/// A trade.
#[derive(Deserialize)]
pub(super) struct LastTradePrice<'a> {
    #[serde(borrow)]
    pub(super) market: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) asset_id: Cow<'a, str>,
    pub(super) price: Decimal,
    pub(super) size: Decimal,
    #[serde(deserialize_with = "side")]
    pub(super) side: Side,
    #[serde(default)]
    pub(super) timestamp: Time,
    /// Since 2026.
    #[serde(borrow, default)]
    pub(super) transaction_hash: Cow<'a, str>,
}

/// Prices have another step.
#[derive(Deserialize)]
pub(super) struct TickSizeChange<'a> {
    #[serde(borrow)]
    pub(super) market: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) asset_id: Cow<'a, str>,
    pub(super) new_tick_size: Decimal,
    #[serde(default)]
    pub(super) timestamp: Time,
}

/// The best prices.
#[derive(Deserialize)]
pub(super) struct BestBidAsk<'a> {
    #[serde(borrow)]
    pub(super) asset_id: Cow<'a, str>,
    pub(super) best_bid: Option<Decimal>,
    pub(super) best_ask: Option<Decimal>,
    #[serde(default)]
    pub(super) timestamp: Time,
}

/// A market that began.
#[derive(Deserialize)]
pub(super) struct NewMarket<'a> {
    #[serde(borrow)]
    pub(super) market: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) slug: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) question: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) assets_ids: Tokens<'a>,
    #[serde(borrow, default)]
    pub(super) outcomes: Tokens<'a>,
    pub(super) active: Option<bool>,
    pub(super) order_price_min_tick_size: Option<Decimal>,
    #[serde(default)]
    pub(super) timestamp: Time,
}

/// A market that has its outcome.
#[derive(Deserialize)]
pub(super) struct MarketResolved<'a> {
    #[serde(borrow)]
    pub(super) market: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) assets_ids: Tokens<'a>,
    #[serde(borrow)]
    pub(super) winning_asset_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) winning_outcome: Cow<'a, str>,
    #[serde(default)]
    pub(super) timestamp: Time,
}

/// Texts of the tokens of one market.
pub(super) type Tokens<'a> = Bounded<Cow<'a, str>, TOKENS_MAX>;

/// The venue writes BUY and SELL. On a change it is the side of the book.
fn side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Side, D::Error> {
    match <Cow<'de, str>>::deserialize(deserializer)?.as_ref() {
        "BUY" => Ok(Side::Buy),
        "SELL" => Ok(Side::Sell),
        _ => Err(D::Error::custom("a side that is neither BUY nor SELL")),
    }
}

/// A list of no more than `MAX` values.
#[derive(Debug)]
pub(super) struct Bounded<T, const MAX: usize>(pub(super) Vec<T>);

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Values<T, MAX> {
            type Value = Bounded<T, MAX>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a list of at most {MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::with_capacity(2);
                while let Some(value) = list.next_element()? {
                    if values.len() == MAX {
                        return Err(A::Error::custom("the list is longer than one of the venue can be"));
                    }
                    values.push(value);
                }
                Ok(Bounded(values))
            }
        }
        deserializer.deserialize_seq(Values(std::marker::PhantomData))
    }
}

/// Milliseconds since 1970, in a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) Option<u64>);

const NANOS_PER_MILLISECOND: i64 = 1_000_000;

impl Time {
    /// Reads digits.
    pub(super) fn parse(digits: &str) -> Option<Self> {
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        let time = Self(Some(all.then(|| digits.parse().ok()).flatten()?));
        time.timestamp().map(|_| time)
    }

    /// The moment.
    pub(super) fn timestamp(self) -> Option<Timestamp> {
        let millis = i64::try_from(self.0?).ok()?;
        Some(Timestamp::from_nanos(millis.checked_mul(NANOS_PER_MILLISECOND)?))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if matches!(raw, "null" | "\"\"") {
            return Ok(Self(None));
        }
        let digits = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        Self::parse(digits).ok_or_else(|| D::Error::custom("a time that is none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(frame: &str) -> String {
        match glance(frame.as_bytes()) {
            Ok(Glance::Many(all)) => format!("Many({})", all.len()),
            Ok(glance) => format!("{glance:?}"),
            Err(_) => "Err".to_owned(),
        }
    }

    #[test]
    fn frames_are_told_apart_whatever_the_order_of_keys() {
        for (frame, what) in [
            (r#"{"market":"0x1","event_type":"book"}"#, "One(Book)"),
            (r#"{"market": "0x1", "event_type": "price_change"}"#, "One(PriceChange)"),
            (r#"{"event_type":"last_trade_price","price":"0.5"}"#, "One(LastTradePrice)"),
            (r#"{"event_type":"book"}"#, "One(Book)"),
            (r#"{"asset_id":"1","buys":[],"sells":[]}"#, "One(Book)"),
            (r#"{"asset_id":"1","bids":[],"asks":[],"min_order_size":"5"}"#, "RestBook"),
            (r#"{"asset_id":"1","changes":[]}"#, "One(PriceChange)"),
            (r#"{"event_type":"what"}"#, r#"Unknown("what")"#),
            (r#"{"error":"no"}"#, r#"Complaint("\"no\"")"#),
            ("[]", "Many(0)"),
            ("[{},{}]", "Many(2)"),
            ("", "Beat"),
            ("PONG", "Beat"),
            ("INVALID OPERATION", r#"Complaint("INVALID OPERATION")"#),
            ("17", r#"Unknown("no object")"#),
            ("pang", "Err"),
            ("[1", "Err"),
        ] {
            assert_eq!(seen(frame), what, "{frame}");
        }
    }

    #[test]
    fn text_that_looks_like_the_key_is_not_the_key() {
        let hidden = r#"{"event_type":"book","question":"\",\"event_type\":\"price_change"}"#;
        assert_eq!(seen(hidden), "One(Book)");
        let nested = r#"{"event_type":"book","x":{"y":1,"event_type":"price_change"}}"#;
        assert_eq!(seen(nested), "One(Book)");
    }

    #[test]
    fn times_are_milliseconds_and_a_last_price_may_be_empty() {
        let time = |text: &str| serde_json::from_str::<Time>(text);
        assert_eq!(
            time("\"1788786290337\"").unwrap().timestamp().unwrap().nanos(),
            1_788_786_290_337_000_000
        );
        assert_eq!(time("null").unwrap(), Time(None));
        assert!(time("\"-1\"").is_err() && time("\"9223372036854775807\"").is_err() && time("true").is_err());
        let last = |text: &str| serde_json::from_str::<LastPrice>(text).unwrap();
        assert_eq!((last("\"\""), last("null")), (LastPrice::Never, LastPrice::Untold));
        assert!(matches!(last("\"0.620\""), LastPrice::Price(price) if price.scale() == 3));
    }
}
