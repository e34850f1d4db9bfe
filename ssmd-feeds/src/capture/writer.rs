//! Numbers everything that sessions tell, and appends it in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use ssmd_core::entry::note;
use ssmd_core::entry::note::LastHeard;
use ssmd_core::{
    BoxFuture, Clock, Day, Entry, EntryKind, Error, ErrorKind, Evidence, Frame, FrameKind, Gap, GapCause,
    Journal, Origin, Pending, Result, SessionId, Timestamp,
};
use tokio::sync::{mpsc, watch};

use super::batch::{Batch, NO_SESSION, evidence, unnumbered};
use super::counters::Counters;
use super::durable::Appended;
use super::overflow::{Lost, Overflow};
use super::status::{Tally, add};
use super::{CaptureOptions, CaptureStatus};
use crate::supervise::Told;

/// Events taken from sessions at once.
const EVENTS_PER_BATCH: usize = 32;
/// A batch is appended as soon as it holds this many bytes.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long to wait for room in the journal before frames are not kept: long enough for a slow disk, short enough
/// that the kernel's buffers hold what arrives meanwhile.
const ROOM_TIME_MAX: Duration = Duration::from_secs(2);
/// How long to wait for room when there was none the last time.
const ROOM_TIME_MAX_FULL: Duration = Duration::from_millis(1);
/// The time between ticks.
const TICK: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    status: Arc<CaptureStatus>,
    pendings: mpsc::Sender<Appended>,
    /// Where the next number is published.
    reached: watch::Sender<u64>,
    origin: Origin,
    next: u64,
    day: Day,
    day_ends: Timestamp,
    sessions: BTreeMap<SessionId, Open>,
    /// The holes that each shard's next frame ends, and the last frame it received.
    shards: Vec<Shard>,
    overflow: Overflow,
    batch: Batch,
    counters: Counters,
}

/// An open session.
struct Open {
    shard: usize,
    /// The last frame that it received.
    last: Option<Evidence>,
    heard: note::Heard,
    sha256: Sha256,
    tell: Arc<watch::Sender<u64>>,
}

#[derive(Clone, Default)]
struct Shard {
    last: Option<Evidence>,
    /// More than one if the process that was here before had more shards.
    holes: Vec<Hole>,
}

/// Nothing is received, since `from`.
#[derive(Clone)]
struct Hole {
    cause: GapCause,
    detail: String,
    from: Evidence,
}

impl Shard {
    /// What a restart must know of it.
    fn tell(&self, shard: usize) -> Vec<LastHeard> {
        let down = |hole: &Hole| LastHeard {
            shard,
            frame: hole.from.clone(),
            down: Some(hole.cause),
            detail: hole.detail.clone(),
        };
        let open =
            |frame: &Evidence| LastHeard { shard, frame: frame.clone(), down: None, detail: String::new() };
        if self.holes.is_empty() {
            self.last.iter().map(open).collect()
        } else {
            self.holes.iter().map(down).collect()
        }
    }
}

impl Writer {
    pub(super) fn new(
        options: &CaptureOptions,
        status: Arc<CaptureStatus>,
        (sessions, heard): (usize, Vec<LastHeard>),
        pendings: mpsc::Sender<Appended>,
        reached: watch::Sender<u64>,
    ) -> Self {
        let mut shards = vec![Shard::default(); sessions];
        for LastHeard { shard, frame, down, detail } in heard {
            // There may have been more sessions before; their holes end when the last one hears something.
            let Some(shard) = shards.get_mut(shard.min(sessions.saturating_sub(1))) else { continue };
            let cause = down.unwrap_or(options.last_cause);
            shard.holes.push(Hole { cause, detail, from: frame.clone() });
            shard.last = Some(frame);
        }
        Self {
            journal: Arc::clone(&options.journal),
            clock: Arc::clone(&options.clock),
            status,
            pendings,
            reached,
            origin: options.origin,
            next: options.next,
            day: options.day,
            day_ends: options.day.next().start(),
            sessions: BTreeMap::new(),
            overflow: Overflow::new(shards.iter().map(|shard| shard.last.clone())),
            shards,
            batch: Batch::default(),
            counters: Counters::new(&options.metrics, options.feed.name().as_str()),
        }
    }

    /// Appends until every session has ended.
    pub(super) fn run(mut self, mut events: mpsc::Receiver<Told>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let mut told = Vec::with_capacity(EVENTS_PER_BATCH);
            let mut deadline = self.clock.elapsed() + TICK;
            let mut tick = self.clock.sleep(TICK);
            loop {
                let taken = tokio::select! {
                    biased;
                    () = &mut tick => None,
                    taken = events.recv_many(&mut told, EVENTS_PER_BATCH) => Some(taken),
                };
                match taken {
                    Some(0) => return self.finish().await,
                    Some(_) => {
                        for event in told.drain(..) {
                            self.take(event).await?;
                        }
                    }
                    None => {
                        self.tick();
                        let now = self.clock.elapsed();
                        deadline = (deadline + TICK).max(now);
                        tick = self.clock.sleep(deadline - now);
                    }
                }
                self.append().await?;
            }
        })
    }

    async fn take(&mut self, event: Told) -> Result<()> {
        match event {
            Told::Opened { shard, twin, category, session, url, wanted, tell } => {
                let open = Open {
                    shard,
                    last: None,
                    heard: note::Heard::default(),
                    sha256: Sha256::new(),
                    tell: Arc::new(tell),
                };
                if shard >= self.shards.len() {
                    self.shards.resize_with(shard + 1, Shard::default);
                    self.overflow.grow(shard + 1);
                }
                self.sessions.insert(session, open);
                self.counters.sessions.set(self.sessions.len() as f64);
                let shard = Some(twin.map_or(shard, |twin| shard / twin.of));
                let open = note::Open { url, wanted, shard, twin, category };
                self.note(EntryKind::Open, session, note::encode(&open), true);
            }
            Told::Frames(frames) => self.frames(frames).await?,
            Told::Closed { session, cause, detail, covered_by } => {
                self.closed(session, cause, detail, covered_by);
            }
            Told::Retired { shard, heir } => self.retired(shard, heir),
        }
        if self.batch.bytes >= BATCH_BYTES { self.append().await } else { Ok(()) }
    }

    async fn frames(&mut self, frames: Vec<Frame>) -> Result<()> {
        let tally = Tally::of(&frames);
        self.counters.count(&tally);
        self.status.count(&frames, &tally);
        let Some(session) = frames.first().map(|frame| frame.session) else { return Ok(()) };
        let Some(mut open) = self.sessions.remove(&session) else {
            return Err(Error::new(ErrorKind::Bug, "capture")
                .detail("a frame of a session that is not open")
                .with("session", session));
        };
        for frame in frames {
            self.frame(&mut open, frame);
            if self.batch.bytes >= BATCH_BYTES {
                self.append().await?;
            }
        }
        self.sessions.insert(session, open);
        Ok(())
    }

    fn frame(&mut self, open: &mut Open, frame: Frame) {
        let length = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        open.sha256.update(length.to_le_bytes());
        open.sha256.update(&frame.payload);
        open.heard.frames += 1;
        open.heard.bytes += frame.payload.len() as u64;
        if frame.received >= self.day_ends {
            self.roll(frame.received, frame.elapsed);
        }
        if let Some(lost) = self.overflow.tell(open.shard) {
            self.overflowed(frame.session, lost, Some(evidence(&frame)));
        }
        if frame.kind != FrameKind::Sent {
            for hole in std::mem::take(&mut self.shards[open.shard].holes) {
                self.filled(&frame, hole);
            }
            open.last = Some(evidence(&frame));
            self.shards[open.shard].last.clone_from(&open.last);
        }
        self.batch.frame(self.day, open.shard, &open.tell, frame);
    }

    /// A hole has ended with this frame.
    fn filled(&mut self, frame: &Frame, hole: Hole) {
        let Hole { cause, detail, from } = hole;
        let to = Some(evidence(frame));
        let gap = Gap { cause, channel: None, symbol: None, from: Some(from), to, missing: None, detail };
        self.gap(frame.session, &gap, true);
    }

    fn overflowed(&mut self, session: SessionId, lost: Lost, to: Option<Evidence>) {
        let gap = Gap {
            cause: GapCause::Overflow,
            channel: None,
            symbol: None,
            from: lost.from,
            to,
            missing: Some(lost.frames),
            detail: "the journal had no room".to_owned(),
        };
        self.gap(session, &gap, false);
    }

    fn gap(&mut self, session: SessionId, gap: &Gap, owed: bool) {
        self.note(EntryKind::Gap, session, note::encode(gap), owed);
        self.batch.gaps.push(gap.cause);
    }

    fn closed(&mut self, session: SessionId, cause: GapCause, detail: String, covered_by: Option<SessionId>) {
        let Some(open) = self.sessions.remove(&session) else { return };
        self.counters.sessions.set(self.sessions.len() as f64);
        let shard = &mut self.shards[open.shard];
        if let Some(other) = covered_by.and_then(|other| self.sessions.get(&other)) {
            if shard.last.as_ref().is_some_and(|last| last.session == session) {
                shard.last.clone_from(&other.last);
            }
        } else if let Some(from) = open.last {
            // A session that received nothing leaves the hole before it as it was.
            shard.holes.push(Hole { cause, detail: detail.clone(), from });
        }
        let sha256 = open.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let cause = cause.word().to_owned();
        let close = note::Close { cause, detail, covered_by, heard: open.heard, sha256 };
        self.note(EntryKind::Close, session, note::encode(&close), true);
    }

    /// What a shard did not hear at its end is missing until another session had it.
    fn retired(&mut self, shard: usize, heir: SessionId) {
        let Some(shard) = self.shards.get_mut(shard) else { return };
        shard.last = None;
        let holes = std::mem::take(&mut shard.holes);
        let to = self.sessions.get(&heir).and_then(|open| open.last.clone());
        for Hole { cause, detail, from } in holes {
            let (from, to) = (Some(from), to.clone());
            self.gap(
                heir,
                &Gap { cause, channel: None, symbol: None, from, to, missing: None, detail },
                true,
            );
        }
    }

    fn tick(&mut self) {
        let sessions = self.sessions.iter().map(|(id, open)| (id.0, open.heard)).collect();
        let mut last: Vec<_> =
            self.shards.iter().enumerate().flat_map(|(shard, state)| state.tell(shard)).collect();
        // While one connection takes another's place, a shard has two.
        let others = self.sessions.values().filter_map(|open| Some((open.shard, open.last.clone()?)));
        for (shard, frame) in others {
            if last.iter().all(|known| known.frame.session != frame.session) {
                last.push(LastHeard { shard, frame, down: None, detail: String::new() });
            }
        }
        let last = Some(last);
        self.note(EntryKind::Tick, NO_SESSION, note::encode(&note::Tick { sessions, last }), false);
        self.counters.missing.set(self.status.missing().topics as f64);
    }

    /// Adds an entry that is no frame, stamped now.
    fn note(&mut self, kind: EntryKind, session: SessionId, payload: Bytes, owed: bool) {
        let (at, elapsed) = (self.clock.now(), self.clock.elapsed());
        if at >= self.day_ends {
            self.roll(at, elapsed);
        }
        let entry = self.entry(at, elapsed, session, kind, payload);
        self.batch.note(entry, owed);
    }

    fn roll(&mut self, at: Timestamp, elapsed: Duration) {
        self.day = at.day();
        self.day_ends = self.day.next().start();
        let payload = note::encode(&note::Roll { day: self.day });
        let entry = self.entry(at, elapsed, NO_SESSION, EntryKind::Roll, payload);
        self.batch.note(entry, true);
    }

    fn entry(
        &self,
        at: Timestamp,
        elapsed: Duration,
        session: SessionId,
        kind: EntryKind,
        payload: Bytes,
    ) -> Entry {
        Entry {
            id: unnumbered(),
            day: self.day,
            at,
            elapsed,
            session,
            index: 0,
            kind,
            binary: false,
            more: false,
            payload,
        }
    }

    /// Appends the batch, after all that is owed. Frames that do not fit are lost and counted.
    async fn append(&mut self) -> Result<()> {
        let wait = if self.overflow.full() { ROOM_TIME_MAX_FULL } else { ROOM_TIME_MAX };
        self.append_within(wait).await
    }

    async fn append_within(&mut self, wait: Duration) -> Result<()> {
        if self.batch.entries.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        if !self.overflow.owed().is_empty() {
            batch.entries.splice(0..0, self.overflow.owed().iter().cloned());
        }
        batch.number(self.origin, self.next);
        let entries = std::mem::take(&mut batch.entries);
        let count = entries.len() as u64;
        let (permit, pending) = match self.hand_over(entries, wait).await {
            Ok(appended) => appended,
            Err(error) if error.kind() == ErrorKind::Full => {
                self.lose(batch, &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.overflow.full() {
            tracing::info!("the journal has room again");
        }
        self.next += count;
        self.reached.send_replace(self.next);
        self.overflow.kept(&batch);
        self.counters.gaps(&batch.gaps);
        add(&self.status.gaps, batch.gaps.len() as u64);
        let marks = batch.runs.into_iter().map(|run| run.mark).collect();
        permit.send(Appended { pending, last: self.next - 1, entries: count, marks });
        Ok(())
    }

    /// Appends entries if there is room within that time; `Full` if not, and then none of them was appended.
    async fn hand_over(
        &self,
        entries: Vec<Entry>,
        wait: Duration,
    ) -> Result<(mpsc::OwnedPermit<Appended>, Pending)> {
        let appending = async {
            let permit = self.pendings.clone().reserve_owned().await.map_err(|_| stage_ended())?;
            Ok((permit, self.journal.append(entries).await?))
        };
        tokio::select! {
            biased;
            appended = appending => appended,
            // Made only when there is something to wait for.
            () = async { self.clock.sleep(wait).await } => {
                Err(Error::new(ErrorKind::Full, "append to journal").detail("it is too slow"))
            }
        }
    }

    fn lose(&mut self, batch: Batch, error: &Error) {
        if !self.overflow.full() {
            tracing::error!(%error, "the journal has no room; frames are lost until it has");
        }
        let frames = self.overflow.lost(batch);
        self.counters.overflow.add(frames);
        add(&self.status.overflowed, frames);
    }

    /// Tells what is still owed; bounds that nothing ends stay open.
    async fn finish(mut self) -> Result<()> {
        for shard in self.overflow.losers() {
            if let Some(lost) = self.overflow.tell(shard) {
                let session = lost.from.as_ref().map_or(NO_SESSION, |from| from.session);
                self.overflowed(session, lost, None);
            }
        }
        if !self.overflow.owed().is_empty() {
            // An empty batch is not appended, so what is owed needs company.
            self.tick();
        }
        self.append_within(ROOM_TIME_MAX).await?;
        if self.overflow.full() {
            return Err(Error::new(ErrorKind::Full, "capture")
                .detail("the journal had no room for the end")
                .with("lost", self.status.figures().overflowed));
        }
        Ok(())
    }
}

fn stage_ended() -> Error {
    Error::new(ErrorKind::Closed, "capture").detail("waiting for durability has ended")
}
