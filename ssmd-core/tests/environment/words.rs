//! A vocabulary for tests: one venue as its table will have it, one that needs keys and has no depths.

use std::sync::LazyLock;

use ssmd_core::environment::{
    ChannelWords, Environment, FeedWords, OptionWords, Problems, Starter, Vocabulary,
};

pub(crate) static WORDS: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary { feeds: vec![KRAKEN, KALSHI] });

const KRAKEN: FeedWords = FeedWords {
    name: "kraken",
    channels: &[
        channel("ticker", OptionWords::OneOf(&["bbo", "trades"])),
        channel("trade", OptionWords::Nothing),
        channel("book", OptionWords::Depth),
        channel("ohlc", OptionWords::OneOf(&["1", "5", "15", "30", "60"])),
        channel("instrument", OptionWords::Nothing),
        channel("status", OptionWords::Nothing),
    ],
    book: Some("book"),
    depths: &[10, 25, 100, 500, 1000],
    keys: &[],
    starter: Starter {
        channels: &["ticker", "trade", "book"],
        symbols: &["BTC/USD", "ETH/USD"],
        depth: Some(10),
    },
};

const KALSHI: FeedWords = FeedWords {
    name: "kalshi",
    channels: &[
        channel("ticker", OptionWords::Nothing),
        channel("trade", OptionWords::Nothing),
        channel("orderbook_delta", OptionWords::Nothing),
    ],
    book: Some("orderbook_delta"),
    depths: &[],
    keys: &["api_key", "private_key"],
    starter: Starter { channels: &["trade"], symbols: &["*"], depth: None },
};

const fn channel(name: &'static str, option: OptionWords) -> ChannelWords {
    ChannelWords { name, option, default_option: None, summary: "for tests" }
}

pub(crate) fn parse(text: impl AsRef<[u8]>) -> Result<Environment, Problems> {
    Environment::parse(text.as_ref(), "env.yaml", &WORDS)
}
