//! What can be known of a venue's stream by whoever gets it: a second opinion beside the decoder, that shares no
//! code with it.

use serde::Serialize;
use ssmd_core::Timestamp;

use crate::sim::venue::Connection;

/// A channel of a symbol, in the venue's words; answers to commands are the channel `answer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) struct Topic {
    pub(in crate::sim) channel: String,
    pub(in crate::sim) symbol: String,
}

/// A text frame that a client gets: its number on its connection, from 1, and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::sim) struct Place {
    pub(in crate::sim) connection: Connection,
    pub(in crate::sim) frame: u64,
    pub(in crate::sim) at: Timestamp,
}

/// How a fault shows. The words are those of gaps' causes, but for `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::sim) enum Evidence {
    Checksum,
    Sequence,
    TradeId,
    Silence,
    Protocol,
    Disconnect,
    None,
}

/// Evidence in one frame that something is missing.
#[derive(Debug)]
pub(in crate::sim) struct Shown {
    pub(in crate::sim) topic: Topic,
    pub(in crate::sim) evidence: Evidence,
    /// The last frame that was good.
    pub(in crate::sim) from: Option<Place>,
    /// Where it showed, if that was before this frame.
    pub(in crate::sim) to: Option<Place>,
    /// How many messages are missing, where numbers tell.
    pub(in crate::sim) missing: Option<u64>,
}

/// One connection, as the venue meant it and as its client gets it.
pub(in crate::sim) trait Witness: Send {
    /// What a frame is about.
    fn topic(&self, text: &str) -> Topic;

    /// Whether a topic is market data.
    fn is_data(&self, topic: &Topic) -> bool;

    /// The venue said this.
    fn told(&mut self, text: &str);

    /// The client gets this; what it shows that was not shown before.
    fn seen(&mut self, text: &str, place: Place) -> Vec<Shown>;

    /// Whether the client knows of a topic what the venue said.
    fn is_whole(&self, topic: &Topic) -> bool;

    /// The frame with a wrong checksum, if it has one.
    fn bad_checksum(&self, text: &str) -> Option<String>;

    /// The frame with a wrong digit in one of its prices or sizes, `pick` says which, if it has any.
    fn corrupt(&self, text: &str, pick: u64) -> Option<String>;
}

/// The text with another last digit in one of the numbers behind these names; `pick` says which.
pub(in crate::sim) fn wrong_digit(text: &str, names: &[&str], pick: u64) -> Option<String> {
    let ends = names.iter().flat_map(|name| {
        text.match_indices(name).filter_map(|(at, _)| {
            let number = &text[at + name.len()..];
            let length = number.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            (length > 0).then(|| at + name.len() + length - 1)
        })
    });
    let ends: Vec<usize> = ends.collect();
    let at = *ends.get((pick % ends.len().max(1) as u64) as usize)?;
    let digit = text.as_bytes()[at];
    let other = if digit == b'9' { '0' } else { char::from(digit + 1) };
    Some(format!("{}{other}{}", &text[..at], &text[at + 1..]))
}
