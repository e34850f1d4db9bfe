//! What is owed to the journal while it has no room: frames become one counted gap, everything else is told later.

use std::collections::BTreeSet;

use ssmd_core::{Entry, EntryKind, Evidence};

use super::batch::Batch;

/// Frames of one shard that were not kept, in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// The last frame that was kept before.
    pub(super) from: Option<Evidence>,
    /// How many were not.
    pub(super) frames: u64,
}

/// What each shard has lost and kept, and what must still be told.
#[derive(Debug)]
pub(super) struct Overflow {
    shards: Vec<Kept>,
    owed: Vec<Entry>,
    /// Losses whose gap lies in the batch that is being built; they come back if it does not fit.
    told: Vec<(usize, Lost)>,
    full: bool,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    last: Option<Evidence>,
    lost: Option<Lost>,
}

impl Overflow {
    /// Knows for each shard the last frame that was kept.
    pub(super) fn new(last: impl Iterator<Item = Option<Evidence>>) -> Self {
        let shards = last.map(|last| Kept { last, lost: None }).collect();
        Self { shards, owed: Vec::new(), told: Vec::new(), full: false }
    }

    /// There are so many shards now.
    pub(super) fn grow(&mut self, shards: usize) {
        self.shards.resize_with(shards, Kept::default);
    }

    /// Whether the last batch did not fit.
    pub(super) fn full(&self) -> bool {
        self.full
    }

    /// What a shard has lost, to be told as a gap in the batch that is being built.
    pub(super) fn tell(&mut self, shard: usize) -> Option<Lost> {
        let lost = self.shards[shard].lost.take()?;
        self.told.push((shard, lost.clone()));
        Some(lost)
    }

    /// Every shard that has lost something.
    pub(super) fn losers(&self) -> Vec<usize> {
        (0..self.shards.len()).filter(|shard| self.shards[*shard].lost.is_some()).collect()
    }

    /// What must come before the next batch.
    pub(super) fn owed(&self) -> &[Entry] {
        &self.owed
    }

    /// The batch, with all that was owed before it, is in the journal.
    pub(super) fn kept(&mut self, batch: &Batch) {
        self.owed.clear();
        self.told.clear();
        self.full = false;
        for run in &batch.runs {
            self.shards[run.shard].last = Some(run.last.clone());
        }
    }

    /// The batch did not fit. Gives the number of frames that are lost with it.
    pub(super) fn lost(&mut self, batch: Batch) -> u64 {
        self.full = true;
        self.owed.extend(batch.owed);
        self.forget_ended();
        for (shard, lost) in self.told.drain(..) {
            self.shards[shard].lost = Some(lost);
        }
        let mut frames = 0;
        for run in batch.runs {
            let kept = &mut self.shards[run.shard];
            let lost = kept.lost.get_or_insert_with(|| Lost { from: kept.last.clone(), frames: 0 });
            lost.frames += run.frames;
            frames += run.frames;
        }
        frames
    }

    /// Forgets what is owed about sessions of which the journal will hold nothing: their frames are in the gap.
    /// Without this, a venue that reconnects while the journal is full would let what is owed grow without bound.
    fn forget_ended(&mut self) {
        let about = |kind| {
            let entries = self.owed.iter().filter(move |entry| entry.kind == kind);
            entries.map(|entry| entry.session).collect::<BTreeSet<_>>()
        };
        let ended: BTreeSet<_> =
            about(EntryKind::Open).intersection(&about(EntryKind::Close)).copied().collect();
        self.owed.retain(|entry| !ended.contains(&entry.session));
    }
}
