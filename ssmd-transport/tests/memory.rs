//! The memory backends keep every promise of their traits.

use std::sync::Arc;

use async_trait::async_trait;
use ssmd_core::conformance;
use ssmd_core::{EntryId, Journal, Positions, Result};
use ssmd_transport::memory::MemoryJournal;

/// Above what the largest case appends, and small enough to be filled at once.
const JOURNAL_BYTES: usize = 8 * 1024 * 1024;

#[derive(Default)]
struct InMemory {
    journal: Option<Arc<MemoryJournal>>,
}

#[async_trait]
impl conformance::journal::Harness for InMemory {
    async fn open(&mut self) -> Result<Arc<dyn Journal>> {
        Ok(self.journal.insert(Arc::new(MemoryJournal::bounded(JOURNAL_BYTES))).clone())
    }

    async fn recreate(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        self.open().await.map(Some)
    }

    async fn trim(&mut self, below: EntryId) -> Result<bool> {
        let Some(journal) = &self.journal else { return Ok(false) };
        journal.trim(&Positions::from([(below.origin, below.n)]));
        Ok(true)
    }

    async fn close(&mut self) -> Result<bool> {
        let Some(journal) = &self.journal else { return Ok(false) };
        journal.close();
        Ok(true)
    }

    fn overflow_bytes(&self) -> Option<u64> {
        Some(2 * JOURNAL_BYTES as u64)
    }
}

ssmd_core::journal_conformance!(journal, async { InMemory::default() });
