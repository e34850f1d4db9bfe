//! A vocabulary for tests: one venue as its table will have it, one that needs keys and has no depths.

use ssmd_core::environment::{Environment, FeedWords, OptionWords, Problems, Starter, Vocabulary};

pub(crate) const WORDS: Vocabulary = Vocabulary {
    feeds: &[
        FeedWords {
            name: "kraken",
            channels: &["ticker", "trade", "book", "ohlc", "instrument", "status"],
            everything: &["ticker", "trade", "book", "ohlc"],
            options: &[
                ("ticker", OptionWords::OneOf(&["bbo", "trades"])),
                ("book", OptionWords::Depth),
                ("ohlc", OptionWords::OneOf(&["1", "5", "15", "30", "60"])),
            ],
            depths: &[10, 25, 100, 500, 1000],
            keys: &[],
            starter: Starter {
                channels: &["ticker", "trade", "book"],
                symbols: &["BTC/USD", "ETH/USD"],
                depth: Some(10),
            },
        },
        FeedWords {
            name: "kalshi",
            channels: &["ticker", "trade", "orderbook_delta"],
            everything: &["ticker", "trade", "orderbook_delta"],
            options: &[],
            depths: &[],
            keys: &["api_key", "private_key"],
            starter: Starter { channels: &["trade"], symbols: &["*"], depth: None },
        },
    ],
};

pub(crate) fn parse(text: impl AsRef<[u8]>) -> Result<Environment, Problems> {
    Environment::parse(text.as_ref(), "env.yaml", &WORDS)
}
