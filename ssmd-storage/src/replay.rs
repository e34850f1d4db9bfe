//! A recording is a feed: frames as they were recorded, at their own pace, a multiple of it, or at once.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ssmd_core::entry::Joiner;
use ssmd_core::{
    Clock, Decode, Error, ErrorKind, Feed, FeedName, Frame, Frames, Limits, Origin, Result, Session,
    SessionId, Symbol, Timestamp, Wanted,
};
use tokio::sync::watch;

use crate::read::{Archive, EntryReader, Selection};
use crate::verify::MakeDecoder;

/// How fast frames are given out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times as fast as they came; 1 is the pace of the recording. Above 0.
    Times(f64),
    /// As fast as they are taken.
    Max,
}

impl std::str::FromStr for Speed {
    type Err = Error;

    /// Reads `max`, or a number with an `x` behind it or not.
    fn from_str(text: &str) -> Result<Self> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let number = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok();
        let times = number.filter(|times| times.is_finite() && *times > 0.0).ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            Error::new(ErrorKind::Invalid, "read speed")
                .with("speed", shown)
                .hint("write max, 1 or another factor")
        })?;
        Ok(Self::Times(times))
    }
}

/// A recording as a [`Feed`].
///
/// Every opening gives the whole selection as one stream, once: the frames of all recorded sessions, in the order
/// of the archive. They are as they were recorded, with their own stamps, session, index and `source`; the number
/// given to [`Session::open`] and its `wanted` change nothing. Sessions of different logs may have the same
/// number: `source` tells them apart, and each pair of log and session needs a decoder of its own. The clock only
/// paces: a frame is given out when as much of its time has passed as lies between the first frame's stamp and its
/// own, divided by the speed; where the recording's clock was set back, at once.
pub struct ArchiveFeed {
    name: FeedName,
    decoder: MakeDecoder,
    recording: Arc<Recording>,
}

struct Recording {
    archive: Archive,
    name: FeedName,
    selection: Selection,
    speed: Speed,
}

impl ArchiveFeed {
    /// A feed of what `selection` finds in an archive.
    pub fn new(
        archive: Archive,
        name: FeedName,
        selection: Selection,
        speed: Speed,
        decoder: MakeDecoder,
    ) -> Self {
        let recording = Arc::new(Recording { archive, name: name.clone(), selection, speed });
        Self { name, decoder, recording }
    }
}

#[async_trait]
impl Feed for ArchiveFeed {
    fn name(&self) -> &FeedName {
        &self.name
    }

    /// No venue limits a recording.
    fn limits(&self) -> Limits {
        Limits {
            topics_per_session: NonZeroUsize::MAX,
            sessions: NonZeroUsize::MAX,
            session_age: None,
            connects: u32::MAX,
            connects_window: Duration::from_secs(1),
        }
    }

    /// Nothing: a recording is what it is.
    async fn universe(&self) -> Result<Wanted> {
        Ok(Wanted::default())
    }

    fn session(&self) -> Arc<dyn Session> {
        self.recording.clone()
    }

    fn decoder(&self) -> Box<dyn Decode> {
        (self.decoder)()
    }
}

#[async_trait]
impl Session for Recording {
    async fn open(
        &self,
        _id: SessionId,
        _wanted: watch::Receiver<Arc<Wanted>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Box<dyn Frames>> {
        Ok(Box::new(Replay {
            url: format!("archive:{}", self.name),
            entries: self.archive.entries(&self.name, self.selection.clone()),
            speed: self.speed,
            clock,
            joiners: BTreeMap::new(),
            ready: VecDeque::new(),
            failed: None,
            start: None,
        }))
    }
}

struct Replay {
    url: String,
    entries: EntryReader,
    speed: Speed,
    clock: Arc<dyn Clock>,
    joiners: BTreeMap<Origin, Joiner>,
    ready: VecDeque<Frame>,
    /// Damage that lies behind the frames that are ready.
    failed: Option<Error>,
    /// The clock's time and the frame's stamp at which the replay began.
    start: Option<(Duration, Timestamp)>,
}

impl Replay {
    /// Reads on until a frame is ready, the end, or damage that no ready frame lies before.
    async fn fill(&mut self) -> Result<()> {
        while self.ready.is_empty() {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            let Some(batch) = self.entries.next_batch().await? else { return Ok(()) };
            for entry in &batch {
                match self.joiners.entry(entry.id.origin).or_default().push(entry) {
                    Ok(frame) => self.ready.extend(frame),
                    Err(error) => self.failed = Some(error),
                }
            }
        }
        Ok(())
    }

    /// How long after now a frame with this stamp is due.
    fn due_in(&mut self, received: Timestamp) -> Duration {
        let Speed::Times(times) = self.speed else { return Duration::ZERO };
        let now = self.clock.elapsed();
        let (began, first) = *self.start.get_or_insert((now, received));
        let after = received.since(first).as_secs_f64() / times;
        let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
        began.saturating_add(after).saturating_sub(now)
    }
}

#[async_trait]
impl Frames for Replay {
    fn url(&self) -> String {
        self.url.clone()
    }

    /// At the end of the recording the answer is empty. Damage is an error of kind `Corrupt`, once; the next call
    /// goes on behind it.
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Frame>> {
        self.fill().await?;
        let Some(received) = self.ready.front().map(|frame| frame.received) else { return Ok(Vec::new()) };
        loop {
            let wait = self.due_in(received);
            if wait.is_zero() {
                break;
            }
            self.clock.sleep(wait).await;
        }
        if self.speed == Speed::Max {
            let many = max.get().min(self.ready.len());
            return Ok(self.ready.drain(..many).collect());
        }
        let mut due = Vec::new();
        while due.len() < max.get()
            && let Some(received) = self.ready.front().map(|frame| frame.received)
            && self.due_in(received).is_zero()
        {
            due.extend(self.ready.pop_front());
        }
        Ok(due)
    }

    async fn resync(&mut self, symbol: &Symbol) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "resync")
            .detail("a recording is what it is")
            .with("symbol", symbol))
    }

    async fn durable(&mut self, _below: u64) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<Vec<Frame>> {
        Ok(Vec::new())
    }
}
