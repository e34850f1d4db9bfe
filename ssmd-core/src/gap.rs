//! A gap: a known hole, with its cause, its bounds from the last good to the first bad evidence, and the evidence.

use serde::{Deserialize, Serialize};

use crate::{SessionId, Symbol, Timestamp};

/// Why something is missing. Words are never renamed: archives hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// Stopped on purpose.
    Planned,
    /// The process or the machine stopped without closing its log.
    Crash,
    /// The venue or the network ended the connection.
    Disconnect,
    /// Nothing came for longer than the venue allows for.
    Silence,
    /// The venue refused the connection or a subscription.
    Refused,
    /// The socket layer refused a frame: invalid UTF-8, oversize, a broken WebSocket frame.
    Protocol,
    /// A book's checksum did not match.
    Checksum,
    /// A venue's sequence number jumped.
    Sequence,
    /// A trade id is missing.
    TradeId,
    /// A bound of ours was reached and new frames were not kept.
    Overflow,
    /// Entries that once existed are gone from the journal.
    Lost,
}

impl GapCause {
    /// Every cause with its word.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Planned, "planned"),
        (Self::Crash, "crash"),
        (Self::Disconnect, "disconnect"),
        (Self::Silence, "silence"),
        (Self::Refused, "refused"),
        (Self::Protocol, "protocol"),
        (Self::Checksum, "checksum"),
        (Self::Sequence, "sequence"),
        (Self::TradeId, "trade_id"),
        (Self::Overflow, "overflow"),
        (Self::Lost, "lost"),
    ];

    /// The word that archives and answers use.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(cause, _)| *cause == self).map_or("", |(_, word)| word)
    }

    /// The cause with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, w)| *w == word).map(|(cause, _)| *cause)
    }
}

/// Where one side of a gap was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Receive time of the frame, or when we noticed.
    pub at: Timestamp,
    /// The connection.
    pub session: SessionId,
    /// The frame's index in it.
    pub index: u64,
    /// What it showed: a sequence number, a checksum, a trade id, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

/// A known hole. The payload of a gap entry and the body of a gap record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Why.
    pub cause: GapCause,
    /// The channel it concerns; `None` is all that the session was subscribed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The symbol it concerns; `None` is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    /// The last good evidence before it; `None` if there never was any.
    pub from: Option<Evidence>,
    /// The first evidence after it; `None` while it is open.
    pub to: Option<Evidence>,
    /// How many messages are missing, where the venue's numbers tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// What was said about it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_json_form() {
        for (cause, word) in GapCause::ALL {
            assert_eq!(serde_json::to_string(&cause).unwrap(), format!("\"{word}\""));
            assert_eq!(GapCause::from_word(word), Some(cause));
        }
    }
}
