//! From entries to sealed segments and known losses, for every origin of a feed. Synchronous; no store.

use std::collections::BTreeMap;

use ssmd_core::{Entry, FeedName, Origin, Result, Timestamp};

use crate::layout::Compression;
use crate::segment::{Sealed, SegmentWriter};

/// What is to be committed, in this order.
#[derive(Debug)]
pub enum Step {
    /// A segment.
    Segment(Origin, Box<Sealed>),
    /// Numbers, both ends included, that the journal no longer has.
    Lost(Origin, u64, u64),
}

/// Packs the entries of one feed.
pub struct Packer {
    feed: FeedName,
    compression: Compression,
    origins: BTreeMap<Origin, Open>,
}

#[derive(Default)]
struct Open {
    /// The last number that was taken or given up.
    last: u64,
    segment: Option<SegmentWriter>,
}

impl Packer {
    /// A packer that goes on behind these positions.
    pub fn new(feed: FeedName, compression: Compression, positions: &BTreeMap<Origin, u64>) -> Self {
        let open = |(&origin, &last): (&Origin, &u64)| (origin, Open { last, segment: None });
        Self { feed, compression, origins: positions.iter().map(open).collect() }
    }

    /// Takes entries in order. Those that were taken before are passed over; numbers that are skipped are lost.
    ///
    /// # Errors
    /// As for [`SegmentWriter`].
    pub fn push(&mut self, entries: &[Entry]) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for entries in entries.chunk_by(|one, next| one.id.origin == next.id.origin) {
            let Some(origin) = entries.first().map(|entry| entry.id.origin) else { continue };
            let open = self.origins.entry(origin).or_default();
            for entry in entries.iter() {
                if entry.id.n > open.last {
                    open.push(&self.feed, entry, self.compression, &mut steps)?;
                }
            }
        }
        Ok(steps)
    }

    /// Gives up the numbers from `first` to `last`, as far as they were not taken.
    ///
    /// # Errors
    /// As for [`SegmentWriter::finish`].
    pub fn lost(&mut self, origin: Origin, first: u64, last: u64) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        self.origins.entry(origin).or_default().lose(origin, first, last, &mut steps)?;
        Ok(steps)
    }

    /// Seals every open segment.
    ///
    /// # Errors
    /// As for [`SegmentWriter::finish`].
    pub fn seal(&mut self) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for (&origin, open) in &mut self.origins {
            steps.extend(seal(origin, open.segment.take())?);
        }
        Ok(steps)
    }

    /// The last number of an origin that was taken or given up.
    pub fn position(&self, origin: Origin) -> u64 {
        self.origins.get(&origin).map_or(0, |open| open.last)
    }

    /// The last number of every origin that was taken or given up.
    pub fn positions(&self) -> BTreeMap<Origin, u64> {
        self.origins.iter().map(|(&origin, open)| (origin, open.last)).collect()
    }

    /// The stamp of the oldest entry that is not sealed.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.origins.values().filter_map(|open| open.segment.as_ref()).map(SegmentWriter::first_at).min()
    }
}

impl Open {
    /// Takes the next entry; the numbers before it are lost if they were not taken.
    fn push(
        &mut self,
        feed: &FeedName,
        entry: &Entry,
        compression: Compression,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        let origin = entry.id.origin;
        if entry.id.n > self.last + 1 {
            self.lose(origin, self.last + 1, entry.id.n - 1, steps)?;
        }
        self.last = entry.id.n;
        let taken = match &mut self.segment {
            Some(segment) => segment.push(entry)?,
            None => false,
        };
        if !taken {
            let next = SegmentWriter::begin(feed, entry, compression)?;
            steps.extend(seal(origin, self.segment.replace(next))?);
        }
        Ok(())
    }

    fn lose(&mut self, origin: Origin, first: u64, last: u64, steps: &mut Vec<Step>) -> Result<()> {
        let first = first.max(self.last + 1);
        steps.extend(seal(origin, self.segment.take())?);
        if last >= first {
            self.last = last;
            steps.push(Step::Lost(origin, first, last));
        }
        Ok(())
    }
}

fn seal(origin: Origin, segment: Option<SegmentWriter>) -> Result<Option<Step>> {
    let sealed = segment.map(SegmentWriter::finish).transpose()?;
    Ok(sealed.map(|sealed| Step::Segment(origin, Box::new(sealed))))
}
