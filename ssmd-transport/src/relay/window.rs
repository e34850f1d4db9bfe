//! What is on its way to the shared journal: bounded, answered in order.

use std::collections::VecDeque;
use std::time::Duration;

use ssmd_core::{Clock, Entry, Pending, Positions, Result, Timestamp};

use super::Options;

/// Batches on their way, the oldest first.
#[derive(Default)]
pub(super) struct Window {
    flying: VecDeque<Flying>,
    entries: usize,
    bytes: usize,
    closed: bool,
}

struct Flying {
    pending: Pending,
    sent: Sent,
    bytes: usize,
    /// When it was sent, on the monotonic clock.
    at: Duration,
}

/// A batch that arrived.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) entries: u64,
    /// The last number of each origin in it.
    pub(super) lasts: Positions,
    /// The stamp of its first entry.
    pub(super) first: Option<Timestamp>,
}

impl Window {
    pub(super) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    pub(super) fn has_room(&self, options: &Options) -> bool {
        let full =
            self.entries + options.batch.get() > options.window_entries || self.bytes >= options.window_bytes;
        self.is_empty() || !full
    }

    /// Nothing more will be sent.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn push(&mut self, batch: &[Entry], pending: Pending, at: Duration) {
        let lasts = batch.iter().map(|entry| (entry.id.origin, entry.id.n)).collect();
        let first = batch.first().map(|entry| entry.at);
        let bytes = batch.iter().map(|entry| size_of::<Entry>() + entry.payload.len()).sum();
        let sent = Sent { entries: batch.len() as u64, lasts, first };
        self.entries += batch.len();
        self.bytes += bytes;
        self.flying.push_back(Flying { pending, sent, bytes, at });
    }

    /// The stamp of the oldest entry on its way.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.flying.front().and_then(|flying| flying.sent.first)
    }

    /// Waits until the oldest batch has arrived; for ever if there is none.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn next(&mut self) -> Result<Sent> {
        let Some(front) = self.flying.front_mut() else { return std::future::pending().await };
        let arrived = (&mut front.pending).await;
        let Some(flying) = self.flying.pop_front() else { return std::future::pending().await };
        self.entries -= flying.sent.entries as usize;
        self.bytes -= flying.bytes;
        arrived.map(|()| flying.sent)
    }

    /// Waits until the oldest batch has been on its way for so long.
    pub(super) fn overdue(
        &self,
        within: Duration,
        clock: &dyn Clock,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        let flying = self.flying.front().map_or(Duration::ZERO, |f| clock.elapsed().saturating_sub(f.at));
        clock.sleep(within.saturating_sub(flying))
    }
}
