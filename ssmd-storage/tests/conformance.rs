//! Both stores, and a recording as a feed, keep what the traits promise.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap too")]

mod common;
#[path = "../../ssmd-transport/tests/support/promises.rs"]
mod promises;

use std::sync::Arc;

use async_trait::async_trait;
use common::*;
use ssmd_core::conformance::{self, Verdict};
use ssmd_core::{EntryKind, Feed, Result, Store};
use ssmd_storage::{Archive, ArchiveFeed, FileStore, MemoryStore, Selection, Speed};

struct InAFolder(tempfile::TempDir);

#[async_trait]
impl conformance::store::Harness for InAFolder {
    async fn open(&mut self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(FileStore::open(self.0.path())?))
    }

    async fn restart(&mut self) -> Result<Option<Arc<dyn Store>>> {
        self.open().await.map(Some)
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Store>>> {
        self.open().await.map(Some)
    }
}

struct InMemory;

#[async_trait]
impl conformance::store::Harness for InMemory {
    async fn open(&mut self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(MemoryStore::new()))
    }
}

ssmd_core::store_conformance!(
    file,
    async { InAFolder(tempfile::tempdir().unwrap()) },
    promises::of("store", conformance::store::PROMISES, "folder")
);
ssmd_core::store_conformance!(
    memory,
    async { InMemory },
    promises::of("store", conformance::store::PROMISES, "memory")
);

struct Recorded;

#[async_trait]
impl conformance::feed::Harness for Recorded {
    async fn open(&mut self) -> Result<Arc<dyn Feed>> {
        let store = Arc::new(MemoryStore::new());
        archive_all(journal_of(&[&recording(1, 5).entries]).await, store.clone()).await?;
        let archive = Archive::open(store).await?;
        Ok(Arc::new(ArchiveFeed::new(archive, feed(), Selection::all(), Speed::Times(1.0), decoder())))
    }

    fn known(&self) -> Option<Vec<(ssmd_core::FrameKind, Vec<u8>)>> {
        let frames = recording(1, 5).entries.into_iter().filter_map(|entry| match entry.kind {
            EntryKind::Frame(kind) => Some((kind, entry.payload.to_vec())),
            _ => None,
        });
        Some(frames.collect())
    }

    fn keeps_recorded_times(&self) -> bool {
        true
    }
}

/// Every promise but the one about the session's number: a recording keeps those that were recorded.
#[test]
fn a_recording_is_a_feed() {
    for promise in conformance::feed::PROMISES {
        if *promise == "frames_carry_the_session_they_were_opened_for" {
            continue;
        }
        let verdict = conformance::run(|| async { conformance::feed::check(promise, &mut Recorded).await });
        assert!(!matches!(verdict, Verdict::Broken(_)), "{promise}: {verdict}");
    }
}
