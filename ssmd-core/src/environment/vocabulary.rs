//! What a document may name: the feeds that exist and what each of them knows. Filled by the crate of the feeds.

use crate::{Channel, Error, ErrorKind, Result};

/// Every feed that exists.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The table of feeds.
    pub feeds: Vec<FeedWords>,
}

/// What one venue knows.
#[derive(Clone, Copy, Debug)]
pub struct FeedWords {
    /// The feed's name, with hyphens.
    pub name: &'static str,
    /// The channels that can be subscribed to; `"*"` stands for all of them, without options.
    pub channels: &'static [ChannelWords],
    /// The channel that tells books and nothing else; `None` where there is no such channel.
    pub book: Option<&'static str>,
    /// The levels a side that a book may have, ascending; empty where books have no depth to choose.
    pub depths: &'static [u32],
    /// The venue's credentials, by name; empty where none are needed.
    pub keys: &'static [&'static str],
    /// What someone without a document gets.
    pub starter: Starter,
}

/// One channel of a venue.
#[derive(Clone, Copy, Debug)]
pub struct ChannelWords {
    /// The venue's name for it.
    pub name: &'static str,
    /// What may follow after a colon.
    pub option: OptionWords,
    /// The option that is meant where none is written.
    pub default_option: Option<&'static str>,
    /// What it tells, in a few words.
    pub summary: &'static str,
}

/// What a channel's option may be.
#[derive(Clone, Copy, Debug)]
pub enum OptionWords {
    /// There is none.
    Nothing,
    /// One of [`FeedWords::depths`]. A session carries one such channel a symbol, so it may be listed once.
    Depth,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// A small start: some channels of some symbols.
#[derive(Clone, Copy, Debug)]
pub struct Starter {
    /// Channels, with options where wanted.
    pub channels: &'static [&'static str],
    /// Symbols.
    pub symbols: &'static [&'static str],
    /// Levels a side of books.
    pub depth: Option<u32>,
}

impl Vocabulary {
    /// The words of one feed.
    pub fn feed(&self, name: &str) -> Option<&FeedWords> {
        self.feeds.iter().find(|feed| feed.name == name)
    }
}

impl FeedWords {
    /// The channel of that name.
    pub fn channel(&self, name: &str) -> Option<&'static ChannelWords> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// The channel that is meant, if it exists and takes its option.
    ///
    /// # Errors
    /// `Invalid`, with what is possible.
    pub fn check(&self, channel: &Channel) -> Result<&'static ChannelWords> {
        let invalid = || Error::new(ErrorKind::Invalid, "read channel").with("channel", channel);
        let Some(words) = self.channel(&channel.name) else {
            let known: Vec<_> = self.channels.iter().map(|words| words.name).collect();
            return Err(invalid().hint(format!("the channels are: {}", known.join(", "))));
        };
        let options = self.options(words);
        if channel.option.as_deref().is_none_or(|option| options.iter().any(|known| known == option)) {
            return Ok(words);
        }
        Err(invalid().hint(match options.as_slice() {
            [] => format!("`{}` takes no option", words.name),
            options => format!("the options of `{}` are: {}", words.name, options.join(", ")),
        }))
    }

    /// Every option that a channel takes, as words.
    pub fn options(&self, channel: &ChannelWords) -> Vec<String> {
        match channel.option {
            OptionWords::Nothing => Vec::new(),
            OptionWords::Depth => self.depths.iter().map(u32::to_string).collect(),
            OptionWords::OneOf(words) => words.iter().map(|&word| word.to_owned()).collect(),
        }
    }
}

/// The longest word that is compared, in bytes: real ones are below 40, and the comparison is quadratic.
const COMPARED_BYTES_MAX: usize = 64;

/// The candidate that was most likely meant, if one is near enough.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let far = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        // Cheaper than the comparison, and never wrong: each letter too many costs one.
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= far)
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A list for people: `a`, `b` or `c`.
pub(super) fn one_of<T: std::fmt::Display>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_spelling_is_near() {
        let words = ["ticker", "trade", "book"];
        assert_eq!(nearest("tickr", words), Some("ticker"));
        assert_eq!(nearest("Trade", words), Some("trade"));
        assert_eq!(nearest("boko", words), Some("book"));
        assert_eq!(nearest("boook", words), Some("book"));
        assert_eq!(nearest("candles", words), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), words), None);
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(one_of([""; 0]), "nothing");
        assert_eq!(one_of([10, 25, 100]), "`10`, `25` or `100`");
    }
}
