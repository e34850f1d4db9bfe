//! An entry: what a journal holds, one numbered fact about a connection.
//!
//! Frames are entries, and so is everything else that must be known to prove a recording complete: sessions that
//! open and close, a tick every second, day rolls, gaps, and the epochs in which a log was written. An entry that
//! is no frame carries a small JSON document of ours (see [`note`]).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Day, Error, ErrorKind, Frame, FrameKind, Result, SessionId, Timestamp};

/// The most payload in one entry; a larger frame is spread over consecutive entries (see [`Entry::more`]).
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// One local log: a UUID, new for every new log. Half of every entry's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origin(Uuid);

impl Origin {
    /// A new origin, unlike any other.
    pub fn new_random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The origin with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        *self.0.as_bytes()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_simple(), f)
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|cause| Error::new(ErrorKind::Invalid, "read origin").because(cause))
    }
}

/// The identity of an entry, the same in every journal, broker, archive and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// The log that first took it.
    pub origin: Origin,
    /// Its number there: 1, 2, 3 … without holes.
    pub n: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.origin, self.n)
    }
}

impl FromStr for EntryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::new(ErrorKind::Invalid, "read entry id").hint("write it as ORIGIN/N");
        let (origin, n) = text.split_once('/').ok_or_else(invalid)?;
        Ok(Self { origin: origin.parse()?, n: n.parse().map_err(|_| invalid())? })
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A frame, or a part of one.
    Frame(FrameKind),
    /// A log was opened for writing: a [`note::Epoch`].
    Epoch,
    /// A session opened: a [`note::Open`].
    Open,
    /// A session ended: a [`note::Close`].
    Close,
    /// A second passed; what each session had heard by then: a [`note::Tick`].
    Tick,
    /// A new UTC day began: a [`note::Roll`].
    Roll,
    /// Something is missing: a [`crate::Gap`].
    Gap,
}

impl EntryKind {
    /// Every kind with the word and the number that formats use for it. Numbers are never used again.
    pub const ALL: [(Self, &'static str, u8); 10] = [
        (Self::Frame(FrameKind::Data), "data", 1),
        (Self::Frame(FrameKind::Control), "control", 2),
        (Self::Frame(FrameKind::Unknown), "unknown", 3),
        (Self::Frame(FrameKind::Sent), "sent", 4),
        (Self::Epoch, "epoch", 5),
        (Self::Open, "open", 6),
        (Self::Close, "close", 7),
        (Self::Tick, "tick", 8),
        (Self::Roll, "roll", 9),
        (Self::Gap, "gap", 10),
    ];

    /// The word for it in archive lines.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, word, _)| word)
    }

    /// The number for it in binary formats.
    pub fn number(self) -> u8 {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or(0, |(.., number)| *number)
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, w, _)| *w == word).map(|(kind, ..)| *kind)
    }

    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().find(|(.., n)| *n == number).map(|(kind, ..)| *kind)
    }
}

/// One entry of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who it is.
    pub id: EntryId,
    /// The UTC day it belongs to, as the log's only writer stamped it. Never goes back within an origin.
    pub day: Day,
    /// Wall clock: a frame's receive time, otherwise when the entry was made.
    pub at: Timestamp,
    /// Monotonic time at the same moment.
    pub elapsed: Duration,
    /// The connection it is about; 0 where it is about none.
    pub session: SessionId,
    /// A frame's index in its connection; 0 for everything else.
    pub index: u64,
    /// What it says.
    pub kind: EntryKind,
    /// Whether the frame travelled as a binary message.
    pub binary: bool,
    /// Whether the frame goes on in the next entry of the same session and index.
    pub more: bool,
    /// A frame's bytes, or the JSON document that `kind` names.
    pub payload: Bytes,
}

impl Entry {
    /// The frame this entry is, if it is a whole one.
    pub fn frame(&self) -> Option<Frame> {
        match self.kind {
            EntryKind::Frame(kind) if !self.more => Some(Frame {
                received: self.at,
                elapsed: self.elapsed,
                session: self.session,
                index: self.index,
                kind,
                binary: self.binary,
                payload: self.payload.clone(),
                source: Some(self.id),
            }),
            _ => None,
        }
    }
}

/// Puts frames that were spread over several entries together again. One per origin, entries in order.
#[derive(Debug, Default)]
pub struct Joiner {
    /// The parts of the one frame that is being put together, and its first entry.
    open: Option<(Entry, Vec<u8>)>,
}

/// The most bytes of one frame; the WebSocket layer refuses larger ones.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Joiner {
    /// Takes the next entry; gives a frame when one is complete. Entries that are no frames give nothing.
    ///
    /// # Errors
    /// `Corrupt` if a part is missing or the parts do not belong together. The next whole frame is read again.
    pub fn push(&mut self, entry: &Entry) -> Result<Option<Frame>> {
        let Some((first, _)) = &self.open else {
            if entry.more {
                self.open = Some((entry.clone(), entry.payload.to_vec()));
                return Ok(None);
            }
            return Ok(entry.frame());
        };
        let follows = entry.id.origin == first.id.origin
            && (entry.session, entry.index, entry.kind) == (first.session, first.index, first.kind);
        let Some((first, mut bytes)) = self.open.take() else { return Ok(None) };
        if !follows || bytes.len() + entry.payload.len() > FRAME_BYTES_MAX {
            return Err(Error::new(ErrorKind::Corrupt, "join frame")
                .detail("a part of a large frame is missing")
                .with("first", first.id)
                .with("at", entry.id));
        }
        bytes.extend_from_slice(&entry.payload);
        if entry.more {
            self.open = Some((first, bytes));
            return Ok(None);
        }
        let whole = Entry { more: false, payload: bytes.into(), ..first };
        Ok(whole.frame())
    }
}

/// The JSON documents that entries other than frames carry. Fields are only ever added.
pub mod note {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use serde::{Deserialize, Serialize};

    use crate::{Day, Error, ErrorKind, Evidence, GapCause, Result, SessionId};

    /// A log was opened for writing.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Epoch {
        /// Counts the openings of this log, from 1.
        pub epoch: u64,
        /// The version of ssmd that wrote what follows.
        pub version: String,
        /// The feed whose frames follow.
        pub feed: String,
        /// Whether the epoch before it was closed in order; false after a crash, true for the first.
        pub clean: bool,
        /// Bytes of a torn tail that recovery cut off.
        #[serde(default, skip_serializing_if = "is_zero")]
        pub cut_bytes: u64,
    }

    fn is_zero(number: &u64) -> bool {
        *number == 0
    }

    /// A session opened.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Open {
        /// Where it connected to, without secrets.
        pub url: String,
        /// What it was asked to subscribe to, as `channel[:option] symbol`.
        pub wanted: Vec<String>,
        /// Which of the feed's shards it carries, counted from 0; `None` in old logs and where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub shard: Option<usize>,
        /// Which of the sessions it is that hear the same; `None` where there is only one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub twin: Option<Twin>,
        /// The part of subjects that its share has; `None` in old logs and where it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub category: Option<String>,
    }

    impl Open {
        /// Which of the feed's sessions it is, all twins of all shards counted together.
        pub fn place(&self) -> Option<usize> {
            let shard = self.shard?;
            Some(self.twin.map_or(shard, |twin| shard.saturating_mul(twin.of).saturating_add(twin.number)))
        }
    }

    /// One of several sessions of a shard that hear the same.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Twin {
        /// Which one, counted from 0.
        pub number: usize,
        /// How many there are.
        pub of: usize,
    }

    /// A session ended.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Close {
        /// Why: a [`crate::GapCause`] word.
        pub cause: String,
        /// What was said about it, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub detail: String,
        /// Another session, open before and after, that carries the same: nothing is missing for this end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub covered_by: Option<SessionId>,
        /// What the session had heard and sent in all.
        #[serde(flatten)]
        pub heard: Heard,
        /// SHA-256, in hexadecimal, over every frame of the session in order, each as its length (u32, little
        /// endian) and its bytes: the same number from the archive proves that the bytes are those of the socket.
        pub sha256: String,
    }

    /// What a session had heard and sent by some moment.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Heard {
        /// Frames, received and sent: the next index.
        pub frames: u64,
        /// Their bytes.
        pub bytes: u64,
    }

    /// A second passed.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Tick {
        /// What each open session had heard, by its number.
        pub sessions: BTreeMap<u64, Heard>,
        /// Where each shard last received something: whoever writes on after a restart knows from it where holes
        /// begin. `None` in old logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub last: Option<Vec<LastHeard>>,
    }

    /// The last frame that one shard of a feed received.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct LastHeard {
        /// The shard, counted from 0; sessions that hear the same count as shards of their own.
        pub shard: usize,
        /// The frame.
        #[serde(flatten)]
        pub frame: Evidence,
        /// Why nothing is received since; `None` while its session is open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub down: Option<GapCause>,
        /// What was said about that, for people.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub detail: String,
    }

    /// A new UTC day began.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Roll {
        /// The day that this entry is the first of.
        pub day: Day,
    }

    /// The payload for a document.
    ///
    /// # Panics
    /// Never for the types of this module: their JSON cannot fail.
    pub fn encode(document: &impl Serialize) -> Bytes {
        serde_json::to_vec(document).expect("notes are plain JSON").into()
    }

    /// The document in a payload.
    ///
    /// # Errors
    /// `Corrupt` if the payload is no such document.
    pub fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T> {
        serde_json::from_slice(payload)
            .map_err(|cause| Error::new(ErrorKind::Corrupt, "read note").because(cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(n: u64, index: u64, more: bool, payload: &'static str) -> Entry {
        Entry {
            id: EntryId { origin: Origin::from_bytes([7; 16]), n },
            day: Day::from_days(1),
            at: Timestamp::from_nanos(1),
            elapsed: Duration::ZERO,
            session: SessionId(1),
            index,
            kind: EntryKind::Frame(FrameKind::Data),
            binary: false,
            more,
            payload: Bytes::from_static(payload.as_bytes()),
        }
    }

    #[test]
    fn large_frames_come_back_whole() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.push(&part(1, 0, true, "ab")).unwrap(), None);
        assert_eq!(joiner.push(&part(2, 0, true, "cd")).unwrap(), None);
        let frame = joiner.push(&part(3, 0, false, "e")).unwrap().unwrap();
        assert_eq!(frame.payload, "abcde");
        assert_eq!(frame.source.unwrap().n, 1);
        assert_eq!(joiner.push(&part(4, 1, false, "f")).unwrap().unwrap().payload, "f");
    }

    #[test]
    fn a_missing_part_is_an_error_and_the_next_frame_is_read() {
        let mut joiner = Joiner::default();
        joiner.push(&part(1, 0, true, "ab")).unwrap();
        assert_eq!(joiner.push(&part(3, 1, false, "x")).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(joiner.push(&part(4, 2, false, "y")).unwrap().unwrap().payload, "y");
    }

    #[test]
    fn ticks_of_old_logs_are_read() {
        use crate::{Evidence, GapCause};
        let old: note::Tick = note::decode(br#"{"sessions":{"3":{"frames":2,"bytes":5}}}"#).unwrap();
        assert_eq!((old.sessions[&3].frames, old.last), (2, None));
        let frame = Evidence { at: Timestamp::from_nanos(5), session: SessionId(3), index: 1, shown: None };
        let down = Some(GapCause::Silence);
        let last = note::LastHeard { shard: 1, frame, down, detail: String::new() };
        let tick = note::Tick { last: Some(vec![last]), ..note::Tick::default() };
        assert_eq!(note::decode::<note::Tick>(&note::encode(&tick)).unwrap(), tick);
    }

    #[test]
    fn kinds_have_one_word_and_one_number_each() {
        for (kind, word, number) in EntryKind::ALL {
            assert_eq!(EntryKind::from_word(word), Some(kind));
            assert_eq!(EntryKind::from_number(number), Some(kind));
            assert_eq!((kind.word(), kind.number()), (word, number));
        }
    }

    #[test]
    fn ids_read_what_they_print() {
        let id = EntryId { origin: Origin::new_random(), n: 42 };
        assert_eq!(id.to_string().parse::<EntryId>().unwrap(), id);
        assert!("nonsense".parse::<EntryId>().is_err());
    }
}
