//! One open journal, one origin, and the short words in which the cases speak of both.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::support::{Case, Stop, able};
use super::Harness;
use crate::{
    Day, Entries, Entry, EntryId, EntryKind, FrameKind, Journal, Origin, Pending, Positions, Result,
    SessionId, Start, Timestamp,
};

/// The origin of the cases' entries where the journal takes any.
const ORIGIN: Origin = Origin::from_bytes([0x5A; 16]);

/// A journal, and the origin that the case writes to. Cases count their entries from 1 (`k`); the journal's own
/// entries come before.
pub(super) struct Bench {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) origin: Origin,
    pub(super) base: u64,
}

impl Bench {
    pub(super) async fn open(harness: &mut dyn Harness) -> Case<Self> {
        let origin = harness.only_origin().unwrap_or(ORIGIN);
        let journal = harness.open().await?;
        let base = last(&*journal, origin).await?;
        Ok(Self { journal, origin, base })
    }

    /// The same place in the same journal, through another handle.
    pub(super) fn through(&self, journal: Arc<dyn Journal>) -> Self {
        Self { journal, origin: self.origin, base: self.base }
    }

    /// The same journal, as another origin.
    pub(super) fn another_origin(&self, seed: u8) -> Self {
        Self { journal: self.journal.clone(), origin: Origin::from_bytes([seed; 16]), base: 0 }
    }

    pub(super) async fn restart(self, harness: &mut dyn Harness) -> Case<Self> {
        let Self { journal, origin, base } = self;
        drop(journal);
        let journal = able(harness.restart().await?, "restart")?;
        Ok(Self { journal, origin, base })
    }

    pub(super) fn id(&self, k: u64) -> EntryId {
        EntryId { origin: self.origin, n: self.base + k }
    }

    pub(super) fn entry(&self, k: u64) -> Entry {
        self.entry_with(k, format!("entry {k}"))
    }

    pub(super) fn entry_with(&self, k: u64, payload: impl Into<Bytes>) -> Entry {
        Entry {
            id: self.id(k),
            day: Day::from_days(20_000),
            at: Timestamp::from_nanos(1_728_000_000_000_000_000 + k as i64),
            elapsed: Duration::from_nanos(k),
            session: SessionId(1),
            index: k,
            kind: EntryKind::Frame(FrameKind::Data),
            binary: false,
            more: false,
            payload: payload.into(),
        }
    }

    pub(super) fn entries(&self, ks: impl IntoIterator<Item = u64>) -> Vec<Entry> {
        ks.into_iter().map(|k| self.entry(k)).collect()
    }

    /// Queues one batch.
    pub(super) async fn queue(&self, ks: impl IntoIterator<Item = u64>) -> Result<Pending> {
        self.journal.append(self.entries(ks)).await
    }

    /// Appends one batch and waits until it is durable.
    pub(super) async fn append(&self, ks: impl IntoIterator<Item = u64>) -> Result<()> {
        self.queue(ks).await?.await
    }

    /// A reader behind the case's entry `k`; 0 is before the first.
    pub(super) async fn reader_after(&self, k: u64) -> Case<Reader> {
        let positions = Positions::from([(self.origin, self.base + k)]);
        self.reader(Start::After(positions)).await
    }

    pub(super) async fn reader(&self, start: Start) -> Case<Reader> {
        let entries = self.journal.read(start).await?;
        Ok(Reader { entries, origin: self.origin, base: self.base })
    }

    /// First and last of the origin, counted as the cases do; `None` if the journal has nothing of it.
    pub(super) async fn bounds(&self) -> Case<Option<(u64, u64)>> {
        let bounds = self.journal.bounds().await?;
        let found = bounds.origins.get(&self.origin);
        Ok(found.map(|(first, last)| (first.saturating_sub(self.base), last.saturating_sub(self.base))))
    }

    /// The last number of the origin, counted as the cases do.
    pub(super) async fn last(&self) -> Case<u64> {
        Ok(last(&*self.journal, self.origin).await?.saturating_sub(self.base))
    }
}

async fn last(journal: &dyn Journal, origin: Origin) -> Result<u64> {
    Ok(journal.bounds().await?.origins.get(&origin).map_or(0, |(_, last)| *last))
}

/// A reader that gives only the entries of the case's own origin, and counts as the cases do.
pub(super) struct Reader {
    pub(super) entries: Box<dyn Entries>,
    origin: Origin,
    base: u64,
}

impl Reader {
    /// The next batch of at most `max`, of all origins.
    pub(super) async fn next(&mut self, max: usize) -> Result<Vec<Entry>> {
        self.entries.next(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)).await
    }

    /// The next `count` of the case's entries.
    pub(super) async fn take(&mut self, count: usize) -> Case<Vec<Entry>> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let batch = self.next(count - taken.len()).await?;
            if batch.is_empty() {
                return Err(Stop::Broken("next gave no entry and no error".into()));
            }
            taken.extend(batch.into_iter().filter(|entry| self.is_ours(entry)));
        }
        Ok(taken)
    }

    /// The numbers of the next `count` of the case's entries.
    pub(super) async fn take_ks(&mut self, count: usize) -> Case<Vec<u64>> {
        let taken = self.take(count).await?;
        Ok(self.ks(&taken))
    }

    pub(super) fn ks(&self, entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.id.n.saturating_sub(self.base)).collect()
    }

    fn is_ours(&self, entry: &Entry) -> bool {
        entry.id.origin == self.origin && entry.id.n > self.base
    }
}

/// `1..=n` as a list.
pub(super) fn list(ks: RangeInclusive<u64>) -> Vec<u64> {
    ks.collect()
}
