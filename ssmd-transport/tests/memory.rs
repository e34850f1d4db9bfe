//! The memory backends keep every promise of their traits.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/promises.rs"]
mod promises;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ssmd_core::conformance;
use ssmd_core::{Cache, EntryId, Journal, ManualClock, Positions, Result, Timestamp, Transport};
use ssmd_transport::memory::{MemoryCache, MemoryJournal, MemoryTransport};

/// Above what the largest case appends, and small enough to be filled at once.
const JOURNAL_BYTES: usize = 8 * 1024 * 1024;

/// Few enough to be overflowed at once.
const QUEUE_MESSAGES: usize = 1000;

#[derive(Default)]
struct InMemory {
    journal: Option<Arc<MemoryJournal>>,
    transport: Option<Arc<MemoryTransport>>,
    clock: Option<ManualClock>,
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

ssmd_core::journal_conformance!(
    journal,
    async { InMemory::default() },
    promises::of("journal", conformance::journal::PROMISES, "memory")
);

#[async_trait]
impl conformance::transport::Harness for InMemory {
    async fn open(&mut self) -> Result<Arc<dyn Transport>> {
        Ok(self.transport.insert(Arc::new(MemoryTransport::bounded(QUEUE_MESSAGES))).clone())
    }

    async fn close(&mut self) -> Result<bool> {
        let Some(transport) = &self.transport else { return Ok(false) };
        transport.close();
        Ok(true)
    }

    fn listeners(&self) -> Option<usize> {
        self.transport.as_ref().map(|transport| transport.listeners())
    }

    fn overflow_messages(&self) -> Option<u64> {
        Some(3 * QUEUE_MESSAGES as u64)
    }
}

ssmd_core::transport_conformance!(
    transport,
    async { InMemory::default() },
    promises::of("transport", conformance::transport::PROMISES, "memory")
);

#[async_trait]
impl conformance::cache::Harness for InMemory {
    async fn open(&mut self) -> Result<Arc<dyn Cache>> {
        let clock = self.clock.insert(ManualClock::new(Timestamp::from_nanos(0)));
        Ok(Arc::new(MemoryCache::new(Arc::new(clock.clone()))))
    }

    async fn pass(&mut self, time: Duration) -> Result<bool> {
        let Some(clock) = &self.clock else { return Ok(false) };
        clock.advance(time);
        Ok(true)
    }
}

ssmd_core::cache_conformance!(
    cache,
    async { InMemory::default() },
    promises::of("cache", conformance::cache::PROMISES, "memory")
);
