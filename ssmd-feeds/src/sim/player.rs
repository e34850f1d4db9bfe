//! Paces recorded frames: one after another at the distances they were recorded with, or as fast as they go.
//!
//! Files are read ahead by a blocking task behind a bounded queue, so that a recording of any size plays in
//! little memory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ssmd_core::{Error, ErrorKind, Result, Tasks};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::play::PlayReader;

/// Frames read at once.
const BATCH_FRAMES: usize = 512;
/// Bytes read at once, roughly: a batch of large frames is cut short.
const BATCH_BYTES: usize = 256 << 10;
/// Batches read ahead: some 10 MB of usual frames.
const AHEAD_BATCHES: usize = 64;
/// A play that is later than this, since its client was slow, goes on from where it is instead of catching up.
const LATE_MAX: Duration = Duration::from_secs(1);

/// How fast recorded frames are played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as recorded. Frames without a time follow the one before at once.
    Times(f64),
    /// As fast as the client takes them.
    Max,
}

impl FromStr for Speed {
    type Err = Error;

    /// Reads `1`, `2.5` or `max`.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(ErrorKind::Invalid, "read speed").with("speed", text).hint("write 1, 10, 0.5 or max")
        };
        if text == "max" {
            return Ok(Self::Max);
        }
        let times: f64 = text.parse().map_err(|cause| invalid().because(cause))?;
        if times.is_finite() && times > 0.0 { Ok(Self::Times(times)) } else { Err(invalid()) }
    }
}

/// A frame, and how long after the one before it was recorded.
type Step = (Duration, Utf8Bytes);

/// A play under way.
pub(super) struct Player {
    ahead: mpsc::Receiver<Result<Vec<Step>>>,
    steps: VecDeque<Step>,
    speed: Speed,
    /// When the frame before the next one was due.
    due: Duration,
    read: bool,
}

impl Player {
    /// Starts reading `files`, one after another.
    pub(super) fn start(files: Vec<PathBuf>, speed: Speed, tasks: &mut Tasks) -> Self {
        let (sender, ahead) = mpsc::channel(AHEAD_BATCHES);
        tasks.spawn("read play files", async move {
            let reading = tokio::task::spawn_blocking(move || read_all(&files, &sender));
            reading.await.map_err(|cause| Error::new(ErrorKind::Bug, "read play files").because(cause))
        });
        Self { ahead, steps: VecDeque::new(), speed, due: Duration::ZERO, read: false }
    }

    /// Waits for more frames from the files. Cancel safe.
    pub(super) async fn read_on(&mut self) -> Result<()> {
        match self.ahead.recv().await.transpose()? {
            Some(steps) => self.steps.extend(steps),
            None => self.read = true,
        }
        Ok(())
    }

    /// Whether frames must be read before it can go on.
    pub(super) fn is_starved(&self) -> bool {
        self.steps.is_empty() && !self.read
    }

    /// Whether every frame was played.
    pub(super) fn is_done(&self) -> bool {
        self.steps.is_empty() && self.read
    }

    /// Says that nobody listened until now.
    pub(super) fn resume(&mut self, now: Duration) {
        self.due = now;
    }

    /// Takes the next frame if it is due, or says how long until it is.
    pub(super) fn next(&mut self, now: Duration) -> Option<Result<Utf8Bytes, Duration>> {
        let (gap, _) = self.steps.front()?;
        let due = match self.speed {
            Speed::Max => now,
            Speed::Times(times) => self.due.saturating_add(scaled(*gap, times)),
        };
        if due > now {
            return Some(Err(due - now));
        }
        self.due = if now - due > LATE_MAX { now } else { due };
        self.steps.pop_front().map(|(_, text)| Ok(text))
    }

    /// Takes back frames that nobody got.
    pub(super) fn hand_back(&mut self, frames: Vec<Utf8Bytes>) {
        for text in frames.into_iter().rev() {
            self.steps.push_front((Duration::ZERO, text));
        }
    }
}

fn scaled(gap: Duration, times: f64) -> Duration {
    Duration::try_from_secs_f64(gap.as_secs_f64() / times).unwrap_or(Duration::MAX)
}

fn read_all(files: &[PathBuf], out: &mpsc::Sender<Result<Vec<Step>>>) {
    for file in files {
        // The player is gone when sending fails, and needs no more.
        match read(file, out) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let _ = out.blocking_send(Err(error));
                return;
            }
        }
    }
}

fn read(file: &Path, out: &mpsc::Sender<Result<Vec<Step>>>) -> Result<bool> {
    let (mut batch, mut bytes, mut last) = (Vec::with_capacity(BATCH_FRAMES), 0, None);
    for frame in PlayReader::open(file)? {
        let frame = frame?;
        let gap = match (frame.at, last) {
            (Some(at), Some(last)) => at.since(last),
            _ => Duration::ZERO,
        };
        last = frame.at.or(last);
        bytes += frame.raw.len();
        batch.push((gap, frame.raw.into()));
        if batch.len() == BATCH_FRAMES || bytes > BATCH_BYTES {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_FRAMES));
            bytes = 0;
            if out.blocking_send(Ok(full)).is_err() {
                return Ok(false);
            }
        }
    }
    Ok(batch.is_empty() || out.blocking_send(Ok(batch)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_read_as_written() {
        assert_eq!("max".parse::<Speed>().unwrap(), Speed::Max);
        assert_eq!("2.5".parse::<Speed>().unwrap(), Speed::Times(2.5));
        for text in ["0", "-1", "inf", "NaN", "fast", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    #[test]
    fn frames_keep_their_distances() {
        let (_sender, ahead) = mpsc::channel(1);
        let seconds = Duration::from_secs;
        let steps = [(0, "a"), (4, "b"), (0, "c"), (2, "d")].map(|(gap, text)| (seconds(gap), text.into()));
        let speed = Speed::Times(2.0);
        let mut player = Player { ahead, steps: steps.into(), speed, due: Duration::ZERO, read: true };
        player.resume(seconds(100));
        assert_eq!(player.next(seconds(100)), Some(Ok("a".into())));
        assert_eq!(player.next(seconds(100)), Some(Err(seconds(2))));
        assert_eq!(player.next(seconds(102)), Some(Ok("b".into())));
        player.hand_back(vec!["a".into(), "b".into()]);
        for text in ["a", "b", "c"] {
            assert_eq!(player.next(seconds(102)), Some(Ok(text.into())));
        }
        player.resume(seconds(200));
        assert_eq!(player.next(seconds(200)), Some(Err(seconds(1))), "time without listeners does not count");
        assert_eq!(player.next(seconds(201)), Some(Ok("d".into())));
        assert!(player.is_done() && player.next(seconds(201)).is_none());
    }
}
