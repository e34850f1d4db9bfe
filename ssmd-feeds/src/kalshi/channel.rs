//! What can be subscribed: the venue's channels that carry market data.

use ssmd_core::environment::{ChannelWords, FeedWords, OptionWords, Starter};
use ssmd_core::{Channel, Error, ErrorKind, Result};

/// What an environment may say about this venue.
pub const WORDS: FeedWords = FeedWords {
    name: "kalshi",
    channels: CHANNELS,
    book: Some("orderbook_delta"),
    depths: &[],
    keys: &["key_id", "private_key"],
    starter: Starter {
        channels: &["ticker", "trade", "orderbook_delta", "market_lifecycle_v2"],
        symbols: &["KXBTC15M-*"],
        depth: None,
    },
};

/// Every channel; none has options.
pub const CHANNELS: &[ChannelWords] = &[
    ChannelWords {
        name: "ticker",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "best prices, last price, volume and open interest, whenever one changes",
    },
    ChannelWords {
        name: "trade",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "every trade",
    },
    ChannelWords {
        name: "orderbook_delta",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "every level of the order book, with sequence numbers",
    },
    ChannelWords {
        name: "market_lifecycle_v2",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "listings, changes and outcomes of markets and events; about the whole venue",
    },
];

/// A channel of the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Best prices, last price, volume, open interest.
    Ticker,
    /// Every trade.
    Trade,
    /// Every level.
    Book,
    /// What happens to markets and events.
    Lifecycle,
}

impl Stream {
    /// Every stream with the venue's word.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Ticker, "ticker"),
        (Self::Trade, "trade"),
        (Self::Book, "orderbook_delta"),
        (Self::Lifecycle, "market_lifecycle_v2"),
    ];

    /// The venue's word.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(stream, _)| *stream == self).map_or("", |(_, name)| name)
    }

    /// The stream with this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, word)| *word == name).map(|(stream, _)| *stream)
    }

    /// Whether it is about markets, and not about the whole venue.
    pub fn has_markets(self) -> bool {
        self != Self::Lifecycle
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
        assert!(parse_channel(&"fill".parse().unwrap()).is_err());
    }
}
