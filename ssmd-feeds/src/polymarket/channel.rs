//! What can be subscribed: the market channel of tokens, with every kind of message that it carries.

use ssmd_core::environment::{ChannelWords, FeedWords, OptionWords, Starter};
use ssmd_core::{Channel, Result};

/// What an environment may say about this venue.
pub const WORDS: FeedWords = FeedWords {
    name: "polymarket",
    channels: CHANNELS,
    book: None,
    depths: &[],
    keys: &[],
    starter: Starter { channels: &["market"], symbols: &["bitcoin-above-*"], depth: None },
};

/// Every channel. A connection carries all messages of its tokens, or none: the venue does not let one choose.
pub const CHANNELS: &[ChannelWords] = &[ChannelWords {
    name: MARKET,
    option: OptionWords::OneOf(&[ALWAYS, SAMPLED]),
    default_option: Some(ALWAYS),
    summary: "all about tokens: books, changes, trades, best prices, tick sizes; the option is which hashes are checked",
}];

const MARKET: &str = "market";
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

/// Reads a channel as it is configured.
///
/// # Errors
/// `Invalid`, with what is possible.
pub fn parse_channel(channel: &Channel) -> Result<Hashes> {
    WORDS.check(channel)?;
    let sampled = channel.option.as_deref() == Some(SAMPLED);
    Ok(if sampled { Hashes::Sampled } else { Hashes::Always })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_option_is_read_and_others_are_told() {
        let read = |text: &str| parse_channel(&text.parse().unwrap());
        assert_eq!(read("market").unwrap(), read("market:always").unwrap());
        assert_eq!(read("market:sampled").unwrap(), Hashes::Sampled);
        for wrong in ["market:never", "book"] {
            assert!(read(wrong).unwrap_err().hint_text().is_some());
        }
    }
}
