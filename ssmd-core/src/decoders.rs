//! From a journal's entries to records: one [`Decode`] for each session, joined frames, gaps as records.
//!
//! The same code runs behind a live journal and over an archive, so decoding an archive equals decoding live.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::Joiner;
use crate::{
    Body, Decode, DecodeCounts, DecodeError, Entry, EntryKind, Feed, Gap, Header, Origin, Output, Record,
    SessionId,
};

/// Decodes the entries of one feed, of any number of origins and sessions.
pub struct Decoders {
    make: Box<dyn Fn() -> Box<dyn Decode> + Send + Sync>,
    open: BTreeMap<(Origin, SessionId), Box<dyn Decode>>,
    joiners: BTreeMap<Origin, Joiner>,
    /// Counts of sessions that have ended, and of frames whose parts were missing.
    ended: DecodeCounts,
    /// Checks of books that the last entry brought.
    checks: Checks,
}

/// Checks of books: how many passed, and how many failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Those that passed.
    pub verified: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Decoders {
    /// Decoders as `feed` makes them.
    pub fn new(feed: Arc<dyn Feed>) -> Self {
        Self::with(move || feed.decoder())
    }

    /// Decoders as `make` makes them.
    pub fn with(make: impl Fn() -> Box<dyn Decode> + Send + Sync + 'static) -> Self {
        Self {
            make: Box::new(make),
            open: BTreeMap::new(),
            joiners: BTreeMap::new(),
            ended: DecodeCounts::default(),
            checks: Checks::default(),
        }
    }

    /// Takes the next entry of its origin, and adds what it means to `out`.
    ///
    /// # Errors
    /// The entry's frame could not be decoded; `out` is as it was, the error is counted, and the next entry can be
    /// pushed.
    pub fn push(&mut self, entry: &Entry, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        self.checks = Checks::default();
        match entry.kind {
            EntryKind::Frame(_) => self.frame(entry, out),
            EntryKind::Epoch => {
                let origin = entry.id.origin;
                self.joiners.remove(&origin);
                let ended: Vec<_> = self.open.keys().filter(|(o, _)| *o == origin).copied().collect();
                ended.into_iter().for_each(|key| self.end(key));
                Ok(())
            }
            EntryKind::Close => {
                self.end((entry.id.origin, entry.session));
                Ok(())
            }
            EntryKind::Gap => self.gap(entry, out),
            EntryKind::Open | EntryKind::Tick | EntryKind::Roll => Ok(()),
        }
    }

    /// The checks of books that the last entry brought.
    pub fn checks(&self) -> Checks {
        self.checks
    }

    /// Everything counted so far.
    pub fn counts(&self) -> DecodeCounts {
        let mut counts = self.ended;
        self.open.values().for_each(|decoder| counts += decoder.counts());
        counts
    }

    fn frame(&mut self, entry: &Entry, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let joined = self.joiners.entry(entry.id.origin).or_default().push(entry);
        let frame = match joined {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.ended.malformed += 1;
                return Err(DecodeError::Malformed(error.to_string()));
            }
        };
        let key = (entry.id.origin, entry.session);
        let decoder = self.open.entry(key).or_insert_with(|| (self.make)());
        let before = decoder.counts();
        let decoded = decoder.decode(&frame, out);
        let after = decoder.counts();
        self.checks = Checks {
            verified: after.books_verified - before.books_verified,
            failed: after.books_failed - before.books_failed,
        };
        decoded
    }

    fn gap(&mut self, entry: &Entry, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let gap: Gap = crate::entry::note::decode(&entry.payload).map_err(|error| {
            self.ended.malformed += 1;
            DecodeError::Malformed(error.to_string())
        })?;
        let header = Header::of_entry(entry, gap.symbol.clone());
        self.ended.records += 1;
        out.push(Output::Record(Record { header, body: Body::Gap(gap) }));
        Ok(())
    }

    fn end(&mut self, key: (Origin, SessionId)) {
        if let Some(decoder) = self.open.remove(&key) {
            self.ended += decoder.counts();
        }
    }
}
