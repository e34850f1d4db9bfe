//! The sessions of one origin: dense indices, counts of ticks, and the hash that was taken at the socket.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use ssmd_core::entry::{Joiner, note};
use ssmd_core::{Entry, EntryKind, Frame, Gap, GapCause, Origin, SessionId};

use super::report::Report;
use crate::layout::hex;

pub(super) struct Sessions {
    origin: Origin,
    joiner: Joiner,
    open: BTreeMap<SessionId, Heard>,
    /// Sessions that began before something that could not be read are not known to begin at 0.
    interrupted: bool,
}

/// What the archive holds of an open session.
struct Heard {
    frames: u64,
    bytes: u64,
    sha256: Sha256,
    /// Whether every frame so far was there.
    whole: bool,
    /// The most frames that a tick spoke of.
    ticked: u64,
}

impl Heard {
    fn new(whole: bool) -> Self {
        Self { frames: 0, bytes: 0, sha256: Sha256::new(), whole, ticked: 0 }
    }
}

impl Sessions {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin, joiner: Joiner::default(), open: BTreeMap::new(), interrupted: false }
    }

    pub(super) fn entry(&mut self, entry: &Entry, report: &mut Report) {
        match entry.kind {
            EntryKind::Frame(_) => self.part(entry, report),
            EntryKind::Epoch => {
                self.finish(report);
                self.joiner = Joiner::default();
                read_note::<note::Epoch>(entry, report);
            }
            EntryKind::Open => {
                read_note::<note::Open>(entry, report);
                report.sessions += 1;
                if self.open.insert(entry.session, Heard::new(true)).is_some() {
                    report.problem("session_reused", "a session opened twice", self.place(entry.session));
                }
            }
            EntryKind::Close => self.close(entry, report),
            EntryKind::Tick => self.tick(entry, report),
            EntryKind::Roll => {
                let roll = read_note::<note::Roll>(entry, report);
                if roll.is_some_and(|roll| roll.day != entry.day) {
                    report.problem("roll_day", "a roll names another day than its own", entry.id);
                }
            }
            EntryKind::Gap => self.gap(entry, report),
        }
    }

    /// What could not be read may have held frames of every open session.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
        self.joiner = Joiner::default();
        self.open.values_mut().for_each(|heard| heard.whole = false);
    }

    /// Ends every open session.
    pub(super) fn finish(&mut self, report: &mut Report) {
        for (session, heard) in std::mem::take(&mut self.open) {
            self.check_ticks(session, &heard, report);
        }
    }

    fn part(&mut self, entry: &Entry, report: &mut Report) {
        match self.joiner.push(entry) {
            Ok(Some(frame)) => self.frame(&frame, report),
            Ok(None) => {}
            Err(error) => {
                if !self.interrupted {
                    report.problem("frame_parts", error.report(), entry.id);
                }
                self.open.entry(entry.session).or_insert_with(|| Heard::new(false)).whole = false;
            }
        }
    }

    fn frame(&mut self, frame: &Frame, report: &mut Report) {
        let place = self.place(frame.session);
        let interrupted = self.interrupted;
        let heard = self.open.entry(frame.session).or_insert_with(|| {
            report.sessions += 1;
            if !interrupted {
                report.problem("session_unopened", "a frame of a session that did not open", &place);
            }
            Heard::new(false)
        });
        if heard.whole && frame.index != heard.frames {
            let why = format!("frame {} follows where {} should", frame.index, heard.frames);
            report.problem("session_index", why, place);
            heard.whole = false;
        }
        heard.frames = frame.index + 1;
        heard.bytes += frame.payload.len() as u64;
        heard.sha256.update(u32::try_from(frame.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        heard.sha256.update(&frame.payload);
    }

    fn close(&mut self, entry: &Entry, report: &mut Report) {
        let place = self.place(entry.session);
        let Some(close) = read_note::<note::Close>(entry, report) else { return };
        let Some(heard) = self.open.remove(&entry.session) else {
            if !self.interrupted {
                report.problem("session_unopened", "a session closed that did not open", place);
            }
            return;
        };
        self.check_ticks(entry.session, &heard, report);
        if !heard.whole {
            return;
        }
        if (close.heard.frames, close.heard.bytes) != (heard.frames, heard.bytes) {
            let why = format!("it heard {} frames, the archive holds {}", close.heard.frames, heard.frames);
            report.problem("session_count", why, place);
        } else if close.sha256 != hex(&heard.sha256.finalize()) {
            report.problem("session_hash", "its frames are not those that passed the socket", place);
        }
    }

    /// A tick may run ahead of the frames that it counts; at the session's end they must all be there.
    fn tick(&mut self, entry: &Entry, report: &mut Report) {
        let Some(tick) = read_note::<note::Tick>(entry, report) else { return };
        for (session, said) in tick.sessions {
            let session = SessionId(session);
            let place = self.place(session);
            let Some(heard) = self.open.get_mut(&session) else { continue };
            heard.ticked = heard.ticked.max(said.frames);
            if heard.whole && said.frames == heard.frames && said.bytes != heard.bytes {
                report.problem("tick_bytes", "a tick counts other bytes than the archive holds", place);
            }
        }
    }

    fn check_ticks(&self, session: SessionId, heard: &Heard, report: &mut Report) {
        if heard.whole && heard.ticked > heard.frames {
            let why = format!("a tick counts {} frames, the archive holds {}", heard.ticked, heard.frames);
            report.problem("tick_frames", why, self.place(session));
        }
    }

    /// Frames that were received and not kept are known to be missing.
    fn gap(&mut self, entry: &Entry, report: &mut Report) {
        let Some(gap) = read_note::<Gap>(entry, report) else { return };
        if gap.cause != GapCause::Overflow {
            return;
        }
        let named = [Some(entry.session), gap.from.map(|e| e.session), gap.to.map(|e| e.session)];
        for session in named.into_iter().flatten() {
            if let Some(heard) = self.open.get_mut(&session) {
                heard.whole = false;
            }
        }
    }

    fn place(&self, session: SessionId) -> String {
        format!("{} session {session}", self.origin)
    }
}

fn read_note<T: DeserializeOwned>(entry: &Entry, report: &mut Report) -> Option<T> {
    match note::decode(&entry.payload) {
        Ok(note) => Some(note),
        Err(error) => {
            report.problem("note", error.report(), entry.id);
            None
        }
    }
}
