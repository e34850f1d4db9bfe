//! Entries on their way into the journal, and what must be known about them if they do not fit.

use std::sync::Arc;
use std::time::Duration;

use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::{Day, Entry, EntryId, EntryKind, Evidence, Frame, GapCause, Origin, SessionId};
use tokio::sync::watch;

/// Entries without numbers. They are numbered when they are appended, so that what does not fit burns no number.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// The entries that are no frames and must be told later if they do not fit now.
    pub(super) owed: Vec<Entry>,
    /// The frames, by session.
    pub(super) runs: Vec<Run>,
    /// The causes of the gaps among the entries.
    pub(super) gaps: Vec<GapCause>,
    pub(super) bytes: usize,
}

/// Frames of one session that lie in one batch.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) shard: usize,
    pub(super) frames: u64,
    pub(super) last: Evidence,
    pub(super) mark: Mark,
}

/// What to tell and to measure when the frames of a run are durable.
#[derive(Debug)]
pub(super) struct Mark {
    /// Tells the session that every frame below an index is durable.
    pub(super) tell: Arc<watch::Sender<u64>>,
    /// That index.
    pub(super) below: u64,
    /// When the first and the last of them were received.
    pub(super) first: Duration,
    pub(super) last: Duration,
}

impl Batch {
    /// Adds a frame, in parts if it is large. The parts of a frame lie in one batch, so it fits whole or not at all.
    pub(super) fn frame(&mut self, day: Day, shard: usize, tell: &Arc<watch::Sender<u64>>, frame: Frame) {
        self.bytes += frame.payload.len();
        let last = evidence(&frame);
        let mut rest = frame.payload;
        loop {
            let more = rest.len() > PAYLOAD_BYTES_MAX;
            let payload = if more { rest.split_to(PAYLOAD_BYTES_MAX) } else { std::mem::take(&mut rest) };
            self.entries.push(Entry {
                id: unnumbered(),
                day,
                at: frame.received,
                elapsed: frame.elapsed,
                session: frame.session,
                index: frame.index,
                kind: EntryKind::Frame(frame.kind),
                binary: frame.binary,
                more,
                payload,
            });
            if !more {
                break;
            }
        }
        match self.runs.last_mut() {
            Some(run) if run.last.session == frame.session => {
                run.frames += 1;
                run.last = last;
                run.mark.below = frame.index + 1;
                run.mark.last = frame.elapsed;
            }
            _ => {
                let tell = Arc::clone(tell);
                let (first, below) = (frame.elapsed, frame.index + 1);
                let mark = Mark { tell, below, first, last: first };
                self.runs.push(Run { shard, frames: 1, last, mark });
            }
        }
    }

    /// Adds an entry that is no frame; `owed` says whether it must be told later if it does not fit now.
    pub(super) fn note(&mut self, entry: Entry, owed: bool) {
        self.bytes += entry.payload.len();
        if owed {
            self.owed.push(entry.clone());
        }
        self.entries.push(entry);
    }

    pub(super) fn number(&mut self, origin: Origin, next: u64) {
        for (entry, n) in self.entries.iter_mut().zip(next..) {
            entry.id = EntryId { origin, n };
        }
    }
}

/// The place of a number that is not known yet.
pub(super) fn unnumbered() -> EntryId {
    EntryId { origin: Origin::from_bytes([0; 16]), n: 0 }
}

/// Where and when a frame was seen.
pub(super) fn evidence(frame: &Frame) -> Evidence {
    Evidence { at: frame.received, session: frame.session, index: frame.index, shown: None }
}

/// The session that entries about no session carry.
pub(super) const NO_SESSION: SessionId = SessionId(0);
