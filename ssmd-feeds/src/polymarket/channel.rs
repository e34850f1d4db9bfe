//! What can be subscribed: the market channel of tokens, with every kind of message that it carries.

use std::time::Duration;

use ssmd_core::environment::{ChannelWords, FeedWords, OptionWords, Starter};
use ssmd_core::{Channel, Error, ErrorKind, Result};

/// What an environment may say about this venue.
pub const WORDS: FeedWords = FeedWords {
    name: "polymarket",
    channels: CHANNELS,
    book: None,
    depths: &[],
    keys: &[],
    starter: Starter { channels: &["market"], symbols: &["bitcoin-above-*"], depth: None },
};

/// Every channel. A connection carries all messages of its tokens, or none: the venue does not let one choose. What REST
/// says is asked for beside it.
pub const CHANNELS: &[ChannelWords] = &[
    ChannelWords {
        name: MARKET,
        option: OptionWords::OneOf(&[ALWAYS, SAMPLED]),
        default_option: Some(ALWAYS),
        summary: "all about tokens: books, changes, trades, best prices, tick sizes; the option is which hashes are checked",
    },
    ChannelWords {
        name: REST_BOOK,
        option: OptionWords::OneOf(&["1", "5", "10", "30", "60", "300"]),
        default_option: Some(REST_EVERY),
        summary: "books as REST tells them, compared: one token of each connection at a time; the option is the seconds between two",
    },
];

const MARKET: &str = "market";
const REST_BOOK: &str = "rest_book";
/// In seconds.
const REST_EVERY: &str = "30";
const ALWAYS: &str = "always";
const SAMPLED: &str = "sampled";

/// Which of the hashes are computed and compared that the venue sends with each change. Those of whole books always
/// are, and so are the best prices of every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hashes {
    /// Every one: what is lost shows with the next change of the same token.
    #[default]
    Always,
    /// One a second for each token, and whenever best prices differ.
    Sampled,
}

/// What a channel asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All messages about tokens, and which of their hashes are checked.
    Market(Hashes),
    /// What REST says of one token's book, so often.
    RestBook(Duration),
}

/// Reads a channel as it is configured.
///
/// # Errors
/// `Invalid`, with what is possible.
pub fn parse_channel(channel: &Channel) -> Result<Asked> {
    WORDS.check(channel)?;
    let option = channel.option.as_deref();
    if *channel.name == *REST_BOOK {
        let seconds = option.unwrap_or(REST_EVERY).parse().map_err(|cause| {
            Error::new(ErrorKind::Bug, "read channel").with("channel", channel).because(cause)
        })?;
        return Ok(Asked::RestBook(Duration::from_secs(seconds)));
    }
    Ok(Asked::Market(if option == Some(SAMPLED) { Hashes::Sampled } else { Hashes::Always }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_option_is_read_and_others_are_told() {
        let read = |text: &str| parse_channel(&text.parse().unwrap());
        assert_eq!(read("market").unwrap(), read("market:always").unwrap());
        assert_eq!(read("market:sampled").unwrap(), Asked::Market(Hashes::Sampled));
        assert_eq!(read("rest_book").unwrap(), Asked::RestBook(Duration::from_secs(30)));
        assert_eq!(read("rest_book:1").unwrap(), Asked::RestBook(Duration::from_secs(1)));
        for wrong in ["market:never", "rest_book:2", "book"] {
            assert!(read(wrong).unwrap_err().hint_text().is_some());
        }
    }
}
