//! A frame: bytes as they were received from a venue, or as we sent them.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{EntryId, Timestamp};

/// One connection. Numbered from 1 in the order of opening, per log, and never used twice in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a venue's protocol made of a frame, without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameKind {
    /// Market data.
    Data,
    /// Acknowledgements, heartbeats, status, and what comes whatever is subscribed: nothing that shows that data flows.
    Control,
    /// The protocol does not know it; kept all the same.
    Unknown,
    /// We sent it. Without our subscriptions a recording cannot be gap-checked later.
    Sent,
}

/// One frame with the moment it passed the socket. The payload is never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Wall clock in the poll that took it off the socket (or put it on).
    pub received: Timestamp,
    /// Monotonic time in the same poll.
    pub elapsed: Duration,
    /// The connection.
    pub session: SessionId,
    /// Its place in the connection: 0, 1, 2 … over received and sent frames together, without holes.
    pub index: u64,
    /// What the protocol made of it.
    pub kind: FrameKind,
    /// Whether it travelled as a binary WebSocket message; false is text.
    pub binary: bool,
    /// The bytes.
    pub payload: Bytes,
    /// Its first entry, once a journal has it; `None` at the socket.
    pub source: Option<EntryId>,
}
