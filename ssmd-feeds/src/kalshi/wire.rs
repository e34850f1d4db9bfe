//! The forms of the venue's messages, for serde. What they mean is the decoder's business.
//!
//! The venue changed how it writes prices and sizes in 2026: whole cents and whole contracts until then, dollars and
//! hundredths of contracts in strings since, both for a while. Each number is read in all of its forms and has the
//! same digits in each: four after the point of a price, two after that of a size.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use ssmd_core::record::{Level, Side};
use ssmd_core::{Decimal, Timestamp};

use super::numbers::{Cents, Dollars, Levels, Millis, Quantity, Time, Worth, complement};

/// Longer words are no type of message.
const TYPE_BYTES_MAX: usize = 64;

/// What all messages share. Acknowledgements have an `id`.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, rename = "type", default)]
    pub(super) kind: Cow<'a, str>,
    #[serde(default)]
    pub(super) id: u64,
    pub(super) sid: Option<u64>,
    pub(super) seq: Option<u64>,
    #[serde(borrow)]
    pub(super) msg: Option<&'a RawValue>,
    /// Where `ok` had it before it had a `msg`.
    #[serde(borrow)]
    pub(super) market_tickers: Option<&'a RawValue>,
}

/// A message of one type.
#[derive(Deserialize)]
pub(super) struct Message<T> {
    #[serde(default)]
    pub(super) sid: Option<u64>,
    #[serde(default)]
    pub(super) seq: Option<u64>,
    pub(super) msg: T,
}

/// What the first bytes of most messages tell: their type. `None` says nothing, since keys come in any order.
pub(super) fn kind_at_sight(frame: &[u8]) -> Option<&str> {
    let rest = frame.strip_prefix(b"{\"type\":\"")?;
    let end = rest.iter().take(TYPE_BYTES_MAX).position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// What a type of message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ticker,
    Trade,
    Snapshot,
    Delta,
    Market,
    Event,
    /// Market data that is recorded and has no record: changes of fees, markets made of others.
    RawOnly,
    /// An answer to a command.
    Answer,
}

impl Kind {
    /// The kind of message that has this type.
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "orderbook_delta" => Self::Delta,
            "ticker" => Self::Ticker,
            "trade" => Self::Trade,
            "orderbook_snapshot" => Self::Snapshot,
            "market_lifecycle_v2" => Self::Market,
            "event_lifecycle" => Self::Event,
            "event_fee_update" | "multivariate_lookup" | "multivariate_market_lifecycle" => Self::RawOnly,
            "subscribed" | "unsubscribed" | "ok" | "error" => Self::Answer,
            _ => return None,
        })
    }
}

/// A change of one level. Prices of the no side are what the subscription asked for, see the decoder.
#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) market_ticker: Cow<'a, str>,
    pub(super) price_dollars: Option<Decimal>,
    pub(super) price: Option<Cents>,
    pub(super) delta_fp: Option<Decimal>,
    pub(super) delta: Option<Quantity>,
    pub(super) side: Outcome,
    #[serde(default)]
    pub(super) ts: Time,
    #[serde(default)]
    pub(super) ts_ms: Millis,
}

impl Delta<'_> {
    pub(super) fn price(&self) -> Option<Decimal> {
        self.price_dollars.or(self.price.map(|cents| cents.0))
    }

    /// What is added to the size at the price.
    pub(super) fn change(&self) -> Option<Decimal> {
        self.delta_fp.or(self.delta.map(|count| count.0))
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        self.ts.fine().or(self.ts_ms.0).or(self.ts.any())
    }
}

/// The state of all levels. A side that is empty is not there, in any form.
#[derive(Deserialize)]
pub(super) struct Snapshot<'a> {
    #[serde(borrow)]
    pub(super) market_ticker: Cow<'a, str>,
    yes_dollars_fp: Option<Levels<Decimal, Decimal>>,
    no_dollars_fp: Option<Levels<Decimal, Decimal>>,
    yes_dollars: Option<Levels<Decimal, Quantity>>,
    no_dollars: Option<Levels<Decimal, Quantity>>,
    yes: Option<Levels<Cents, Quantity>>,
    no: Option<Levels<Cents, Quantity>>,
    #[serde(default)]
    ts: Time,
    #[serde(default)]
    ts_ms: Millis,
}

/// The keys under which levels have been seen.
const SIDES: [&str; 6] = ["yes_dollars_fp", "no_dollars_fp", "yes_dollars", "no_dollars", "yes", "no"];

impl<'a> Snapshot<'a> {
    /// Reads one. Levels in a form that is not known must not be taken for a side that is empty.
    pub(super) fn read(msg: &'a str) -> Result<Self, serde_json::Error> {
        let snapshot: Self = serde_json::from_str(msg)?;
        if snapshot.has_both_sides() {
            return Ok(snapshot);
        }
        let fields: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(msg)?;
        let unseen = |(key, value): &(&Cow<'_, str>, &&RawValue)| {
            value.get().starts_with(['[', '{']) && !SIDES.contains(&key.as_ref())
        };
        match fields.iter().find(unseen) {
            Some((key, _)) => {
                Err(serde_json::Error::custom(format!("levels in a form that is not known: {key}")))
            }
            None => Ok(snapshot),
        }
    }

    fn has_both_sides(&self) -> bool {
        let yes = self.yes_dollars_fp.is_some() || self.yes_dollars.is_some() || self.yes.is_some();
        yes && (self.no_dollars_fp.is_some() || self.no_dollars.is_some() || self.no.is_some())
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        self.ts.fine().or(self.ts_ms.0).or(self.ts.any())
    }

    /// Bids for yes, and bids for no.
    pub(super) fn sides(self) -> (Vec<Level>, Vec<Level>) {
        let fine = |levels: Option<Levels<Decimal, Decimal>>| levels.map(|levels| levels.0);
        let middle = |levels: Option<Levels<Decimal, Quantity>>| levels.map(|levels| levels.0);
        let coarse = |levels: Option<Levels<Cents, Quantity>>| levels.map(|levels| levels.0);
        let yes = fine(self.yes_dollars_fp).or(middle(self.yes_dollars)).or(coarse(self.yes));
        let no = fine(self.no_dollars_fp).or(middle(self.no_dollars)).or(coarse(self.no));
        (yes.unwrap_or_default(), no.unwrap_or_default())
    }
}

/// One trade.
#[derive(Deserialize)]
pub(super) struct Trade<'a> {
    #[serde(borrow)]
    pub(super) market_ticker: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) trade_id: Option<Cow<'a, str>>,
    yes_price_dollars: Option<Decimal>,
    no_price_dollars: Option<Decimal>,
    #[serde(alias = "price")]
    yes_price: Option<Cents>,
    no_price: Option<Cents>,
    count_fp: Option<Decimal>,
    count: Option<Quantity>,
    taker_outcome_side: Option<Outcome>,
    taker_book_side: Option<BookWord>,
    #[serde(alias = "side")]
    taker_side: Option<Outcome>,
    #[serde(default)]
    ts: Time,
    #[serde(default)]
    ts_ms: Millis,
}

impl Trade<'_> {
    /// The price of yes.
    pub(super) fn price(&self) -> Option<Decimal> {
        let yes = self.yes_price_dollars.or(self.yes_price.map(|cents| cents.0));
        yes.or_else(|| complement(self.no_price_dollars.or(self.no_price.map(|cents| cents.0))?))
    }

    pub(super) fn size(&self) -> Option<Decimal> {
        self.count_fp.or(self.count.map(|count| count.0))
    }

    /// Who bids for yes buys; who bids for no sells yes.
    pub(super) fn side(&self) -> Option<Side> {
        let outcome = self.taker_outcome_side.or(self.taker_side);
        let book = self.taker_book_side.map(|BookWord(side)| side);
        outcome.map(Outcome::side).or(book)
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        self.ts.fine().or(self.ts_ms.0).or(self.ts.any())
    }
}

/// Everything about one market.
#[derive(Deserialize)]
pub(super) struct Ticker<'a> {
    #[serde(borrow)]
    pub(super) market_ticker: Cow<'a, str>,
    price_dollars: Option<Dollars>,
    price: Option<Cents>,
    yes_bid_dollars: Option<Dollars>,
    yes_bid: Option<Cents>,
    yes_ask_dollars: Option<Dollars>,
    yes_ask: Option<Cents>,
    no_bid_dollars: Option<Dollars>,
    no_bid: Option<Cents>,
    no_ask_dollars: Option<Dollars>,
    no_ask: Option<Cents>,
    pub(super) yes_bid_size_fp: Option<Decimal>,
    pub(super) yes_ask_size_fp: Option<Decimal>,
    volume_fp: Option<Decimal>,
    volume: Option<Quantity>,
    open_interest_fp: Option<Decimal>,
    open_interest: Option<Quantity>,
    #[serde(default)]
    ts: Time,
    #[serde(default)]
    ts_ms: Millis,
    #[serde(default)]
    time: Time,
}

/// The prices of a ticker as they are written; the outer `None` is a form that is not known.
pub(super) struct Prices {
    pub(super) last: Option<Decimal>,
    pub(super) bid: Option<Decimal>,
    pub(super) ask: Option<Decimal>,
}

impl Ticker<'_> {
    /// `None` if one of them is in no form that is known. The no side is used where the yes side is not told.
    pub(super) fn prices(&self) -> Option<Prices> {
        let told = |dollars: Option<Dollars>, cents: Option<Cents>| {
            dollars.map(|dollars| dollars.0).or(cents.map(|cents| Some(cents.0)))
        };
        let other = |told: Option<Option<Decimal>>| told.map(|price| price.and_then(complement));
        let no_bid = || other(told(self.no_bid_dollars, self.no_bid));
        let no_ask = || other(told(self.no_ask_dollars, self.no_ask));
        Some(Prices {
            last: told(self.price_dollars, self.price)?,
            bid: told(self.yes_bid_dollars, self.yes_bid).or_else(no_ask)?,
            ask: told(self.yes_ask_dollars, self.yes_ask).or_else(no_bid)?,
        })
    }

    pub(super) fn volume(&self) -> Option<Decimal> {
        self.volume_fp.or(self.volume.map(|count| count.0))
    }

    pub(super) fn open_interest(&self) -> Option<Decimal> {
        self.open_interest_fp.or(self.open_interest.map(|count| count.0))
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        self.time.fine().or(self.ts.fine()).or(self.ts_ms.0).or(self.ts.any())
    }
}

/// Something happened to a market.
#[derive(Deserialize)]
pub(super) struct Market<'a> {
    #[serde(borrow)]
    pub(super) market_ticker: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) event_type: Cow<'a, str>,
    #[serde(default)]
    pub(super) open_ts: Time,
    #[serde(default)]
    pub(super) close_ts: Time,
    #[serde(default)]
    pub(super) determination_ts: Time,
    #[serde(default)]
    pub(super) settled_ts: Time,
    #[serde(borrow)]
    pub(super) result: Option<Cow<'a, str>>,
    pub(super) settlement_value: Option<Worth>,
    #[serde(borrow)]
    pub(super) additional_metadata: Option<Metadata<'a>>,
}

/// What a market is, when it is new or has changed.
#[derive(Deserialize)]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) event_ticker: Option<Cow<'a, str>>,
}

/// Something happened to an event, to which markets belong.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow)]
    pub(super) event_ticker: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) series_ticker: Option<Cow<'a, str>>,
}

/// What was subscribed.
#[derive(Deserialize)]
pub(super) struct Subscribed<'a> {
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
    pub(super) sid: u64,
}

/// What went wrong.
#[derive(Deserialize)]
pub(super) struct Problem<'a> {
    #[serde(default)]
    pub(super) code: u64,
    #[serde(borrow, default)]
    pub(super) msg: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) market_ticker: Option<Cow<'a, str>>,
}

/// A command of ours, as the decoder finds it in a recording.
#[derive(Deserialize)]
pub(super) struct Command<'a> {
    pub(super) id: u64,
    #[serde(borrow, default)]
    pub(super) params: Params<'a>,
}

/// What a command is about.
#[derive(Default, Deserialize)]
pub(super) struct Params<'a> {
    #[serde(borrow)]
    pub(super) action: Option<Cow<'a, str>>,
    pub(super) use_yes_price: Option<bool>,
    #[serde(borrow, default)]
    pub(super) market_tickers: Vec<Cow<'a, str>>,
}

/// Which of the two outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Yes,
    No,
}

impl Outcome {
    fn side(self) -> Side {
        match self {
            Self::Yes => Side::Buy,
            Self::No => Side::Sell,
        }
    }
}

#[derive(Clone, Copy)]
struct BookWord(Side);

impl<'de> Deserialize<'de> for BookWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match <Cow<'de, str>>::deserialize(deserializer)?.as_ref() {
            "bid" => Ok(Self(Side::Buy)),
            "ask" => Ok(Self(Side::Sell)),
            _ => Err(D::Error::custom("a side that is neither bid nor ask")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_number_has_the_same_digits() {
        let delta = |fields: &str| {
            let text = format!(r#"{{"market_ticker":"A","side":"yes",{fields}}}"#);
            let delta: Delta<'_> = serde_json::from_str(&text).unwrap();
            format!("{:?} {:?}", delta.price(), delta.change())
        };
        let expected = "Some(0.9600) Some(-54.00)";
        assert_eq!(delta(r#""price":96,"delta":-54"#), expected);
        assert_eq!(delta(r#""price_dollars":"0.9600","delta_fp":"-54.00""#), expected);
        assert_eq!(delta(r#""price":96,"price_dollars":"0.9600","delta":-54,"delta_fp":"-54.00""#), expected);
        assert_eq!(delta(r#""price_cc":9600,"delta_x":"-54""#), "None None");
    }

    #[test]
    fn a_known_name_with_a_new_form_is_an_error() {
        for fields in
            [r#""price":0.96,"delta":1"#, r#""price":"0.9600","delta":1"#, r#""price":96,"delta":1.5"#]
        {
            let text = format!(r#"{{"market_ticker":"A","side":"yes",{fields}}}"#);
            assert!(serde_json::from_str::<Delta<'_>>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unseen_form_of_levels_is_no_empty_side() {
        let read = |sides: &str| {
            Snapshot::read(&format!(r#"{{"market_ticker":"A","market_id":"x"{sides}}}"#)).map(Snapshot::sides)
        };
        assert_eq!(read("").unwrap(), (Vec::new(), Vec::new()));
        assert!(read(r#","note":"new","n":1"#).is_ok());
        let error = read(r#","yes_cc":[[9600,1]]"#).unwrap_err().to_string();
        assert!(error.contains("yes_cc"), "{error}");
        let forms = [
            r#","yes":[[4,7]],"no":[[93,1]]"#,
            r#","yes_dollars":[["0.0400",7]],"no_dollars":[["0.9300",1]]"#,
            r#","yes_dollars_fp":[["0.0400","7.00"]],"no_dollars_fp":[["0.9300","1.00"]]"#,
        ];
        for form in forms {
            let (yes, no) = read(form).unwrap();
            let shown = |levels: Vec<Level>| format!("{} {}", levels[0].price, levels[0].size);
            assert_eq!((shown(yes), shown(no)), ("0.0400 7.00".to_owned(), "0.9300 1.00".to_owned()));
        }
    }
}
