//! The ledger of faults: one row for each fault and each stream that it touched.

use serde::Serialize;
use ssmd_core::Timestamp;

use super::script::{KINDS, Kind};
use super::witness::{Evidence, Place, Shown, Topic};
use crate::sim::venue::Connection;

/// A fault that happened.
#[derive(Clone, Debug)]
pub(super) struct Injected {
    pub(super) id: u64,
    pub(super) fault: &'static str,
    pub(super) connection: Connection,
    /// The number that the frame had or would have had.
    pub(super) frame: u64,
    pub(super) at: Timestamp,
}

/// A line of the ledger.
#[derive(Clone, Debug, Serialize)]
pub(in crate::sim) struct Row {
    /// The fault's number; 0 for holes of a recording that nobody injected.
    id: u64,
    fault: &'static str,
    connection: Connection,
    frame: u64,
    at: Timestamp,
    /// `None` for the whole connection.
    channel: Option<String>,
    symbol: Option<String>,
    evidence: Evidence,
    from: Option<Place>,
    to: Option<Place>,
    missing: Option<u64>,
}

/// A connection that ended, until another one says something.
#[derive(Debug)]
pub(super) struct Hole {
    pub(super) from: Place,
    pub(super) evidence: Evidence,
    pub(super) injected: Injected,
}

impl Injected {
    /// What a recording lacks by itself.
    pub(super) fn recorded(place: Place) -> Self {
        let Place { connection, frame, at } = place;
        Self { id: 0, fault: "recorded", connection, frame, at }
    }

    /// Its row while it has shown nothing.
    pub(super) fn row(&self, topic: &Topic) -> Row {
        let named = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Row {
            id: self.id,
            fault: self.fault,
            connection: self.connection,
            frame: self.frame,
            at: self.at,
            channel: named(&topic.channel),
            symbol: named(&topic.symbol),
            evidence: Evidence::None,
            from: None,
            to: None,
            missing: None,
        }
    }
}

impl Row {
    /// It has shown in this frame.
    pub(super) fn shows(self, shown: &Shown, to: Place) -> Self {
        let Shown { evidence, from, missing, .. } = *shown;
        Self { evidence, from, to: shown.to.or(Some(to)), missing, ..self }
    }

    /// Whether its evidence lies among the first so many frames of its connection.
    pub(super) fn is_within(&self, frames: u64) -> bool {
        self.to.is_none_or(|to| to.frame <= frames)
    }

    pub(super) fn without_evidence(self) -> Self {
        Self { evidence: Evidence::None, from: None, to: None, missing: None, ..self }
    }
}

impl Hole {
    /// The next connection has begun to speak.
    pub(super) fn ends(self, to: Place) -> Row {
        let row = self.injected.row(&Topic::default());
        Row { evidence: self.evidence, from: Some(self.from), to: Some(to), ..row }
    }
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        let at = match self {
            Self::Drop => 0,
            Self::Duplicate { .. } => 1,
            Self::Reorder { .. } => 2,
            Self::Delay { .. } => 3,
            Self::Corrupt => 4,
            Self::BadChecksum => 5,
            Self::Malformed => 6,
            Self::InvalidUtf8 => 7,
            Self::Unknown => 8,
            Self::Oversize { .. } => 9,
            Self::Silence { .. } => 10,
            Self::HalfOpen => 11,
            Self::Close { .. } => 12,
            Self::Refuse => 13,
            Self::SlowDrip { .. } => 14,
            Self::WrongRest => 15,
        };
        KINDS[at].0
    }

    /// Whether it hits a message of market data, and not the connection as a whole.
    pub(super) fn is_of_frame(self) -> bool {
        matches!(
            self,
            Self::Drop
                | Self::Duplicate { .. }
                | Self::Reorder { .. }
                | Self::Delay { .. }
                | Self::Corrupt
                | Self::BadChecksum
                | Self::Malformed
        )
    }
}
