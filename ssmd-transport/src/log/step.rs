//! A log without a thread: it writes when it is told to. For simulations, in which one scheduler decides what
//! happens next.

use std::path::Path;
use std::sync::Arc;

use ssmd_core::{Clock, FeedName, Origin, Result};

use super::disk::Disk;
use super::files::{self, Lock};
use super::writer::Writer;
use super::{Log, Options, epoch_entry, recover};

/// What the writer's thread does, a turn at a time.
///
/// Dropping it is what the end of a process is: nothing that is queued is written, and the lock is released.
pub struct Stepper {
    writer: Writer,
    buffer: Vec<u8>,
    ended: bool,
}

impl Stepper {
    /// Writes, syncs and answers for what is queued, and deletes what may go; `false` if there was nothing to do.
    pub fn step(&mut self) -> bool {
        if self.ended || !self.writer.shared.has_work() {
            return false;
        }
        let work = self.writer.shared.take(&mut self.buffer);
        self.ended = !self.writer.turn(&self.buffer, work);
        true
    }

    /// Whether the log was closed, or its disk failed.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Log {
    /// As [`Log::open`], on any disk and with what a [`Stepper`] does instead of a thread; a new log is `origin`.
    ///
    /// # Errors
    /// As for [`Log::open`].
    ///
    /// # Cancel safety
    /// It waits for nothing.
    pub async fn open_stepped(
        dir: &Path,
        feed: &FeedName,
        options: Options,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        origin: Origin,
    ) -> Result<(Self, Stepper)> {
        options.check()?;
        files::prepare(dir)?;
        let lock = Lock::take(dir, clock.now())?;
        let recovered = recover::recover(&*disk, dir, feed, clock.now(), origin)?;
        let epoch = epoch_entry(feed, &recovered, &*clock);
        let (log, writer) = Self::assemble(dir, feed, options, clock, disk, (lock, recovered));
        let mut stepper = Stepper { writer, buffer: Vec::new(), ended: false };
        let pending = log.0.shared.append(&[epoch], u64::MAX).await?;
        stepper.step();
        pending.await?;
        Ok((log, stepper))
    }
}
