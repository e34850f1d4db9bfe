//! The one thread that writes a log: a batch, a sync, the news of it, and again.
//!
//! A sync that failed is never tried again: the kernel may have dropped the pages that it could not write, and a
//! second sync would report success. A full disk is no such failure, as long as the write says so and not the sync.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ssmd_core::{Error, ErrorKind, FeedName, Result, Timestamp};

use super::disk::Disk;
use super::files::{self, Lock};
use super::format::{HEADER_BYTES, Header, Tip};
use super::mark::{Mark, MarkFile};
use super::queue::{Published, Shared, Work};
use super::retain::{self, Sealed};

/// How often retention looks for something to delete while the log is written to.
const RETAIN_PAUSE: Duration = Duration::from_secs(1);
/// Space that must be free, besides what is to be written, before a log that found the disk full takes entries.
const FREE_BYTES_MIN: u64 = 1024 * 1024;

/// How often a full disk is looked at while what was taken waits for room.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_millis(50);

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) feed: FeedName,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) lock: Option<Lock>,
    pub(super) mark_file: MarkFile,
    pub(super) mark: Mark,
    /// The last number that is really in the log; the mark's may be higher after damage.
    pub(super) written: u64,
    pub(super) active: Option<Active>,
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) retained_at: Duration,
    /// Whether the epoch's own entry is durable. Until then a full disk refuses the opening; later it is waited for.
    pub(super) begun: bool,
}

/// The segment that is written to.
pub(super) struct Active {
    pub(super) first: u64,
    /// Where the durable part ends.
    pub(super) offset: u64,
    pub(super) file: File,
    pub(super) path: PathBuf,
}

enum Failure {
    /// No space; the file is as it was.
    Full(Error),
    Fatal(Error),
}

impl Writer {
    /// Writes until the log is closed or the disk fails.
    pub(super) fn run(mut self) {
        let _end = EndOnPanic(Arc::clone(&self.shared));
        // As the queue's: all of it from the beginning, and given back whole. Grown step by step, they would leave holes
        // between what lives longer.
        let mut buffer = Vec::with_capacity(self.shared.options.queue_bytes);
        loop {
            let work = self.shared.take(&mut buffer);
            let written = self.write_when_there_is_room(&buffer, &work);
            if !self.settle(&buffer, work, written) {
                return;
            }
            self.shared.pause(self.shared.options.sync_pause);
        }
    }

    /// Does what was taken from the queue, without waiting for anything; `false` once the log has ended.
    pub(super) fn turn(&mut self, buffer: &[u8], work: Work) -> bool {
        let written = self.write(buffer, &work);
        self.settle(buffer, work, written)
    }

    /// Tells everyone what became of what was taken; `false` once the log has ended.
    fn settle(&mut self, buffer: &[u8], mut work: Work, written: Result<(), Failure>) -> bool {
        let waiting = std::mem::take(&mut work.waiting);
        match written {
            Ok(()) => {
                for done in waiting {
                    // A pending that was dropped does not want to know.
                    let _ = done.send(Ok(()));
                }
            }
            Err(Failure::Full(error)) => self.give_up(&error, waiting, buffer.len() as u64),
            Err(Failure::Fatal(error)) => {
                let why = error.report();
                tracing::error!(path = %self.shared.dir.display(), "the log cannot be written: {why}");
                self.lock = None;
                // First the end, then the answers: who has one finds the log closed.
                self.shared.end(Some(why));
                for done in waiting {
                    let _ = done.send(Err(told(&error)));
                }
                return false;
            }
        }
        self.shared.release(work.cost);
        for request in work.requests {
            self.make_room(request.need);
            // An append that was cancelled does not want to know.
            let _ = request.done.send(());
        }
        if let Some(clean) = work.closing {
            self.finish(clean);
            return false;
        }
        self.retain_if_due();
        true
    }

    /// What was taken is not refused because the disk is full: it waits, the queue behind it fills up, and whoever
    /// appends then waits or goes on without. Only closing does not wait.
    fn write_when_there_is_room(&mut self, buffer: &[u8], work: &Work) -> Result<(), Failure> {
        let mut waited = false;
        loop {
            let error = match self.write(buffer, work) {
                Err(Failure::Full(error)) if self.begun && work.closing.is_none() => error,
                done => {
                    self.begun |= done.is_ok();
                    return done;
                }
            };
            if !waited {
                tracing::warn!(path = %self.shared.dir.display(), %error, "the disk is full; the log waits for room");
            }
            waited = true;
            if !self.wait_for_room(buffer.len() as u64) {
                return Err(Failure::Full(error));
            }
        }
    }

    /// `false` if the log is to be closed before there is any.
    fn wait_for_room(&mut self, need: u64) -> bool {
        while !self.shared.closes_within(LOOK_FOR_ROOM_EVERY) {
            let covered = self.covered();
            self.retain(covered, need);
            let free = self.disk.free_bytes(&self.shared.dir);
            if free.is_ok_and(|free| free >= need.saturating_add(FREE_BYTES_MIN)) {
                return true;
            }
        }
        false
    }

    fn write(&mut self, buffer: &[u8], work: &Work) -> Result<(), Failure> {
        if buffer.is_empty() {
            return Ok(());
        }
        let segment_bytes = self.shared.options.segment_bytes;
        if self.active.as_ref().is_some_and(|active| active.offset >= segment_bytes) {
            self.seal();
        }
        let active = match self.active.take() {
            Some(active) => active,
            None => self.begin(work.first).map_err(recoverable)?,
        };
        let active = self.active.insert(active);
        if let Err(cause) = self.disk.write_all_at(&active.file, &active.path, buffer, active.offset) {
            let full = recoverable(self.failed("write log", cause));
            return Err(self.cut_back(full));
        }
        if let Err(cause) = self.disk.sync_data(&active.file, &active.path) {
            let fatal = Failure::Fatal(self.failed("sync log", cause));
            return Err(self.cut_back(fatal));
        }
        active.offset += buffer.len() as u64;
        self.written = work.tip.n;
        let (segment, offset) = (active.first, active.offset);
        self.mark = Mark { tip: work.tip, segment, offset, clean: false, ..self.mark };
        self.publish().map_err(Failure::Fatal)
    }

    /// Removes what a failed batch left, so that nothing which was never acknowledged is found later.
    fn cut_back(&mut self, failure: Failure) -> Failure {
        let Some(active) = &self.active else { return failure };
        if active.offset == HEADER_BYTES as u64 {
            // Begun for this batch, and named by its first number, which the next batch need not have.
            let removed = self.disk.remove(&active.path);
            tracing::debug!(removed = removed.is_ok(), "an empty segment is given up");
            self.shared.bytes.fetch_sub(HEADER_BYTES as u64, Ordering::Relaxed);
            self.active = None;
            return failure;
        }
        let (file, path) = (&active.file, &active.path);
        let cut = self.disk.set_len(file, path, active.offset);
        match failure {
            // The segment may be sealed before anything else is written to it: then a power cut must not bring back
            // what was cut off, since only the last segment is ever recovered.
            Failure::Full(error) => match cut.and_then(|()| self.disk.sync_data(file, path)) {
                Ok(()) => Failure::Full(error),
                Err(cause) => Failure::Fatal(self.failed("cut log", cause)),
            },
            fatal => fatal,
        }
    }

    fn publish(&mut self) -> Result<()> {
        let stored = self.mark_file.store(&*self.disk, &self.mark);
        stored.map_err(|cause| self.failed("mark log durable", cause))?;
        self.shared.published.send_replace(Published { mark: self.mark, ended: false });
        Ok(())
    }

    /// The active segment is synced up to its end already; from here on it never changes.
    fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            let until = self.shared.clock.now();
            self.sealed.push_back(Sealed {
                first: active.first,
                last: self.written,
                bytes: active.offset,
                until,
            });
        }
    }

    fn begin(&mut self, first: u64) -> Result<Active> {
        let header = Header {
            origin: self.mark.origin,
            feed: self.feed.clone(),
            first,
            epoch: self.mark.epoch,
            created: self.shared.clock.now(),
            before: Tip { n: self.written, ..self.mark.tip },
        };
        let file = files::create_segment(&*self.disk, &self.shared.dir, &header)?;
        self.shared.bytes.fetch_add(HEADER_BYTES as u64, Ordering::Relaxed);
        let path = files::segment_path(&self.shared.dir, first);
        Ok(Active { first, offset: HEADER_BYTES as u64, file, path })
    }

    /// The disk is full: what was not written is refused, and the log stands again where it is durable.
    fn give_up(&mut self, error: &Error, waiting: Vec<super::Done>, bytes: u64) {
        let (behind, queued) = self.shared.drop_queued(self.mark.tip);
        self.shared.bytes.fetch_sub(bytes + queued, Ordering::Relaxed);
        tracing::warn!(path = %self.shared.dir.display(), bytes = bytes + queued, %error, "the log found no space");
        for done in waiting.into_iter().chain(behind) {
            let _ = done.send(Err(told(error)));
        }
    }

    /// Deletes what is covered, however young, until `need` more bytes fit, and looks whether the disk has room.
    fn make_room(&mut self, need: u64) {
        let covered = self.covered();
        let bytes = self.shared.bytes.load(Ordering::Relaxed);
        let over = bytes.saturating_add(need).saturating_sub(self.shared.options.max_bytes);
        let is_done = self.mark.segment != 0 && covered >= self.written;
        if over > 0 && is_done && self.active.as_ref().is_some_and(|active| active.first == self.mark.segment)
        {
            self.seal();
        }
        self.retain(covered, over);
        match self.disk.free_bytes(&self.shared.dir) {
            Ok(free) if free >= need.saturating_add(FREE_BYTES_MIN) => self.shared.reopen(),
            Ok(_) => {}
            Err(cause) => tracing::warn!(%cause, "the log's free disk space is not known"),
        }
    }

    fn retain_if_due(&mut self) {
        let elapsed = self.shared.clock.elapsed();
        if elapsed.saturating_sub(self.retained_at) >= RETAIN_PAUSE && !self.sealed.is_empty() {
            self.retained_at = elapsed;
            let covered = self.covered();
            self.retain(covered, 0);
        }
    }

    /// The covered watermark; 0, which deletes nothing, if there is none or it cannot be read.
    fn covered(&self) -> u64 {
        match retain::covered(&self.shared.dir) {
            Ok(Some((origin, n))) if origin == self.mark.origin => n,
            Ok(_) => 0,
            Err(error) => {
                tracing::warn!(%error, "the log keeps everything: its covered watermark cannot be read");
                0
            }
        }
    }

    fn retain(&mut self, covered: u64, over: u64) {
        let now: Timestamp = self.shared.clock.now();
        let expired = retain::expired(&self.sealed, covered, now, self.shared.options.retain, over);
        for _ in 0..expired {
            let Some(oldest) = self.sealed.front() else { break };
            let path = files::segment_path(&self.shared.dir, oldest.first);
            match self.disk.remove(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %cause, "a covered segment cannot be deleted");
                    break;
                }
                _ => {}
            }
            self.shared.bytes.fetch_sub(oldest.bytes, Ordering::Relaxed);
            self.sealed.pop_front();
        }
        if expired > 0
            && let Err(error) = files::sync_dir(&*self.disk, &self.shared.dir)
        {
            // Then a deleted segment may be there again after a power cut, and is deleted again.
            tracing::warn!(%error, "the deletion of covered segments is not durable");
        }
    }

    fn finish(&mut self, clean: bool) {
        let mut failure = None;
        if clean {
            self.mark.clean = true;
            let stored = self.mark_file.store(&*self.disk, &self.mark);
            let stored = stored.and_then(|()| self.mark_file.sync(&*self.disk));
            failure = stored.err().map(|cause| self.failed("close log", cause).report());
        }
        self.lock = None;
        self.shared.end(failure);
    }

    fn failed(&self, operation: &'static str, cause: io::Error) -> Error {
        files::failed(operation, &self.shared.dir, cause)
    }
}

/// Whether the log can go on after this error of a write.
fn recoverable(error: Error) -> Failure {
    if error.kind() == ErrorKind::Full { Failure::Full(error) } else { Failure::Fatal(error) }
}

/// What every batch that shared a failed write is told; the cause itself can only be in one error.
fn told(error: &Error) -> Error {
    Error::new(error.kind(), "append to log").detail(error.report())
}

/// Nobody waits for a thread that has died.
struct EndOnPanic(Arc<Shared>);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        self.0.end(Some("the log's writer thread panicked".to_owned()));
    }
}
