//! What can be subscribed: the venue's feeds that carry market data.

use ssmd_core::environment::{ChannelWords, FeedWords, OptionWords, Starter};
use ssmd_core::{Channel, Error, ErrorKind, Result};

/// What an environment may say about this venue.
pub const WORDS: FeedWords = FeedWords {
    name: "kraken-futures",
    channels: CHANNELS,
    book: Some("book"),
    depths: &[],
    keys: &[],
    starter: Starter {
        channels: &["ticker", "trade", "book"],
        symbols: &["PF_XBTUSD", "PF_ETHUSD"],
        depth: None,
    },
};

/// Every channel; none has options.
pub const CHANNELS: &[ChannelWords] = &[
    ChannelWords {
        name: "ticker",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "best prices, 24 hours, funding and trading state, about once a second",
    },
    ChannelWords {
        name: "ticker_lite",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "best prices without sizes",
    },
    ChannelWords {
        name: "trade",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "every trade, the last 100 first, with sequence numbers",
    },
    ChannelWords {
        name: "book",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "every level of the order book, with sequence numbers",
    },
    ChannelWords {
        name: "heartbeat",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "a sign of life; about the whole venue",
    },
];

/// What the venue calls a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Best prices, 24 hours, funding and trading state.
    Ticker,
    /// Best prices.
    TickerLite,
    /// Every trade.
    Trade,
    /// Every level.
    Book,
    /// A sign of life.
    Heartbeat,
}

impl Stream {
    /// Every stream with the venue's word.
    const ALL: [(Self, &'static str); 5] = [
        (Self::Ticker, "ticker"),
        (Self::TickerLite, "ticker_lite"),
        (Self::Trade, "trade"),
        (Self::Book, "book"),
        (Self::Heartbeat, "heartbeat"),
    ];

    /// The venue's word.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(stream, _)| *stream == self).map_or("", |(_, name)| name)
    }

    /// The stream with this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, word)| *word == name).map(|(stream, _)| *stream)
    }

    /// Whether it is about products, and not about the whole venue.
    pub fn has_products(self) -> bool {
        self != Self::Heartbeat
    }
}

/// Reads a channel as it is configured.
///
/// # Errors
/// `Invalid`, with what is possible.
pub fn parse_channel(channel: &Channel) -> Result<Stream> {
    let words = WORDS.check(channel)?;
    let invalid = || Error::new(ErrorKind::Invalid, "read channel").with("channel", channel);
    Stream::from_name(words.name).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_channel_is_a_stream_and_takes_no_option() {
        for words in CHANNELS {
            let parsed = parse_channel(&words.name.parse().unwrap()).unwrap();
            assert_eq!(parsed.name(), words.name);
            let option: Channel = format!("{}:1", words.name).parse().unwrap();
            assert!(parse_channel(&option).unwrap_err().hint_text().is_some());
        }
        assert_eq!(CHANNELS.len(), Stream::ALL.len());
        assert!(parse_channel(&"open_orders".parse().unwrap()).is_err());
    }
}
