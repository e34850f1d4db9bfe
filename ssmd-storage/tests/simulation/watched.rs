//! A journal whose readers are watched, and may be made to break their word.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::{Bounds, Entries, Entry, Journal, Origin, Pending, Result, Start};
use ssmd_transport::log::format::{self, HEADER_BYTES};
use ssmd_transport::log::{cover_on, inspect};

use crate::disk::SimDisk;

/// What a reader does that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cheats {
    Never,
    /// It gives what is written, durable or not.
    Watermark,
    /// It calls covered what it has read.
    Cover,
}

/// What readers were given since the last look.
pub(crate) type Seen = Arc<Mutex<Vec<Entry>>>;

pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Journal>,
    pub(crate) seen: Seen,
    pub(crate) cheats: Cheats,
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) origin: Origin,
}

#[async_trait]
impl Journal for Watched {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        self.inner.append(batch).await
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let last = match &start {
            Start::After(positions) => positions.get(&self.origin).copied().unwrap_or(0),
            _ => 0,
        };
        Ok(Box::new(Reader {
            inner: self.inner.read(start).await?,
            seen: Arc::clone(&self.seen),
            cheats: self.cheats,
            dir: self.dir.clone(),
            disk: Arc::clone(&self.disk),
            origin: self.origin,
            last,
        }))
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.inner.bounds().await
    }
}

struct Reader {
    inner: Box<dyn Entries>,
    seen: Seen,
    cheats: Cheats,
    dir: PathBuf,
    disk: Arc<SimDisk>,
    origin: Origin,
    last: u64,
}

#[async_trait]
impl Entries for Reader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let mut batch = self.beyond();
        if batch.is_empty() {
            batch = self.inner.next(max).await?;
        }
        self.last = batch.last().map_or(self.last, |entry| entry.id.n);
        if self.cheats == Cheats::Cover {
            let _ = cover_on(&*self.disk, &self.dir, self.origin, self.last);
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(batch.iter().cloned());
        Ok(batch)
    }
}

impl Reader {
    /// For one that cheats: what lies behind the watermark in the newest segment.
    fn beyond(&self) -> Vec<Entry> {
        let inspected = match inspect(&self.dir) {
            Ok(inspected) if self.cheats == Cheats::Watermark && inspected.durable <= self.last => inspected,
            _ => return Vec::new(),
        };
        let Some(segment) = inspected.segments.last() else { return Vec::new() };
        let bytes = Bytes::from(std::fs::read(&segment.path).unwrap_or_default());
        let held = bytes.slice(HEADER_BYTES.min(bytes.len())..);
        let mut entries = format::scan(&held, self.origin, segment.first - 1, usize::MAX).entries;
        entries.retain(|entry| entry.id.n > self.last);
        entries
    }
}
