//! What can be subscribed: channels, their options, and what a request says about them.

use serde::Serialize;
use ssmd_core::environment::{ChannelWords, FeedWords, OptionWords, Starter};
use ssmd_core::{Channel, Error, ErrorKind, Result};

use super::audit::{DEPTH_DEFAULT, DEPTHS};

/// What an environment may say about this venue.
pub const WORDS: FeedWords = FeedWords {
    name: "kraken",
    channels: CHANNELS,
    book: Some("book"),
    depths: &DEPTHS,
    keys: &[],
    starter: Starter {
        channels: &["ticker", "trade", "book"],
        symbols: &["BTC/USD", "ETH/USD"],
        depth: Some(DEPTH_DEFAULT),
    },
};

/// Every channel with its options.
pub const CHANNELS: &[ChannelWords] = &[
    ChannelWords {
        name: "book",
        option: OptionWords::Depth,
        default_option: Some("10"),
        summary: "levels of the order book, with checksums; the option is the depth",
    },
    ChannelWords {
        name: "ticker",
        option: OptionWords::OneOf(&["trades", "bbo"]),
        default_option: Some("trades"),
        summary: "24 hours in one message, at each trade or at each change of the best prices",
    },
    ChannelWords {
        name: "trade",
        option: OptionWords::OneOf(&["snapshot"]),
        default_option: None,
        summary: "every trade; with the option the last 50 first",
    },
    ChannelWords {
        name: "ohlc",
        option: OptionWords::OneOf(&["1", "5", "15", "30", "60", "240", "1440", "10080", "21600"]),
        default_option: Some("1"),
        summary: "bars as they form; the option is the interval in minutes",
    },
    ChannelWords {
        name: "instrument",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "what can be traded, and its steps; about the whole venue",
    },
    ChannelWords {
        name: "status",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "the state of the trading engine; comes by itself",
    },
];

/// A channel with its option, as it is subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscribed {
    /// Levels a side.
    Book {
        /// 10, 25, 100, 500 or 1,000.
        depth: u32,
    },
    /// 24 hours in one message.
    Ticker {
        /// At each change of the best prices, not only at trades.
        bbo: bool,
    },
    /// Every trade.
    Trade {
        /// The last ones first.
        snapshot: bool,
    },
    /// Bars.
    Ohlc {
        /// How long a bar is.
        minutes: u32,
    },
    /// What can be traded.
    Instrument,
}

/// Reads a channel as it is configured; `None` is one that comes by itself. `depth` is that of books whose channel
/// says none.
///
/// # Errors
/// `Invalid`, with what is possible.
pub fn parse_channel(channel: &Channel, depth: Option<u32>) -> Result<Option<Subscribed>> {
    let words = WORDS.check(channel)?;
    let option = channel.option.as_deref();
    let number = || option.and_then(|option| option.parse().ok());
    Ok(match words.name {
        "book" => {
            let depth = number().or(depth).unwrap_or(DEPTH_DEFAULT);
            if !DEPTHS.contains(&depth) {
                let hint = "the depths are: 10, 25, 100, 500, 1000";
                let invalid = Error::new(ErrorKind::Invalid, "read channel").with("channel", channel);
                return Err(invalid.with("depth", depth).hint(hint));
            }
            Some(Subscribed::Book { depth })
        }
        "ticker" => Some(Subscribed::Ticker { bbo: option == Some("bbo") }),
        "trade" => Some(Subscribed::Trade { snapshot: option.is_some() }),
        "ohlc" => Some(Subscribed::Ohlc { minutes: number().unwrap_or(1) }),
        "instrument" => Some(Subscribed::Instrument),
        _ => None,
    })
}

/// `params` of a request.
#[derive(Serialize)]
pub(super) struct Params<'a> {
    channel: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    symbol: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_trigger: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<bool>,
}

impl Subscribed {
    /// The venue's name of the channel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Book { .. } => "book",
            Self::Ticker { .. } => "ticker",
            Self::Trade { .. } => "trade",
            Self::Ohlc { .. } => "ohlc",
            Self::Instrument => "instrument",
        }
    }

    /// Whether it is about symbols, and not about the whole venue.
    pub(super) fn has_symbols(self) -> bool {
        self != Self::Instrument
    }

    /// What a request says. An unsubscription names depth and interval too, but no snapshot.
    pub(super) fn params(self, symbol: Vec<&str>, subscribe: bool) -> Params<'_> {
        let mut params = Params {
            channel: self.name(),
            symbol,
            depth: None,
            interval: None,
            event_trigger: None,
            snapshot: subscribe.then_some(true),
        };
        match self {
            Self::Book { depth } => params.depth = Some(depth),
            Self::Ticker { bbo } => params.event_trigger = Some(if bbo { "bbo" } else { "trades" }),
            Self::Trade { snapshot } => params.snapshot = subscribe.then_some(snapshot),
            Self::Ohlc { minutes } => params.interval = Some(minutes),
            Self::Instrument => {}
        }
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, depth: Option<u32>) -> Result<Option<Subscribed>> {
        parse_channel(&text.parse().unwrap(), depth)
    }

    #[test]
    fn every_documented_option_is_accepted_and_no_other() {
        for info in CHANNELS {
            assert!(parse(info.name, None).is_ok());
            for option in WORDS.options(info) {
                assert!(parse(&format!("{}:{option}", info.name), None).unwrap().is_some());
            }
            assert!(parse(&format!("{}:11", info.name), None).unwrap_err().hint_text().is_some());
            if let Some(default) = info.default_option {
                let written = parse(&format!("{}:{default}", info.name), None).unwrap();
                assert_eq!(parse(info.name, None).unwrap(), written);
            }
        }
        assert!(parse("level3", None).is_err());
    }

    #[test]
    fn the_feeds_depth_is_for_channels_that_say_none() {
        assert_eq!(parse("book", Some(100)).unwrap(), Some(Subscribed::Book { depth: 100 }));
        assert_eq!(parse("book:25", Some(100)).unwrap(), Some(Subscribed::Book { depth: 25 }));
        assert!(parse("book", Some(11)).is_err());
    }
}
