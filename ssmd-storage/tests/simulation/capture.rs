//! What capture does, without a venue: sessions, frames, ticks, day rolls, and a gap where the log had no room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use ssmd_core::entry::note;
use ssmd_core::{
    Clock, Day, Entry, EntryId, EntryKind, FrameKind, Gap, GapCause, Journal, ManualClock, Pending, Result,
    SessionId,
};
use ssmd_storage::layout::hex;
use ssmd_transport::log::{Log, Stepper};

use crate::model::{Broken, Model};
use crate::process::Process;
use crate::random::Random;

/// Batches that may wait for their answer.
const WAITING_MAX: usize = 6;

pub(crate) struct Capture {
    pub(crate) log: Arc<Log>,
    pub(crate) stepper: Stepper,
    clock: ManualClock,
    next: u64,
    day: Day,
    session: u64,
    is_open: bool,
    heard: note::Heard,
    sha256: Sha256,
    /// A session whose frames were refused.
    refused: Option<u64>,
    appending: Option<(Vec<Entry>, Process<Result<Pending>>)>,
    waiting: VecDeque<(Vec<Entry>, Process<Result<()>>)>,
}

impl Capture {
    pub(crate) fn new(log: Log, stepper: Stepper, clock: ManualClock) -> Self {
        let position = log.position();
        Self {
            log: Arc::new(log),
            stepper,
            clock,
            next: position.next,
            day: position.day,
            session: position.next_session,
            is_open: false,
            heard: note::Heard::default(),
            sha256: Sha256::new(),
            refused: None,
            appending: None,
            waiting: VecDeque::new(),
        }
    }

    /// Begins to append a batch, unless too many wait already.
    pub(crate) fn append(&mut self, random: &mut Random, model: &mut Model) -> Result<(), Broken> {
        if self.appending.is_some() || self.waiting.len() >= WAITING_MAX {
            return self.hear(model);
        }
        let batch = self.batch(random);
        batch.iter().for_each(|entry| model.offer(entry));
        let (log, entries) = (Arc::clone(&self.log), batch.clone());
        self.appending = Some((batch, Process::new(async move { log.append(entries).await })));
        self.hear(model)
    }

    /// Writes what is queued, and takes the answers.
    pub(crate) fn write(&mut self, model: &mut Model) -> Result<bool, Broken> {
        let did = self.stepper.step();
        self.hear(model)?;
        Ok(did)
    }

    /// Takes the answers that are there.
    pub(crate) fn hear(&mut self, model: &mut Model) -> Result<(), Broken> {
        let mut refused = false;
        while let Some((batch, pending)) = self.waiting.front_mut() {
            let Some(answer) = pending.run() else { break };
            match answer {
                Ok(()) => model.acknowledge(batch)?,
                Err(_) => refused = true,
            }
            self.waiting.pop_front();
        }
        if refused {
            // What comes behind a refused batch is refused too, and its numbers are free again.
            self.appending = None;
            self.waiting.clear();
            self.give_up(self.log.durable() + 1);
            return Ok(());
        }
        let Some((batch, appending)) = &mut self.appending else { return Ok(()) };
        match appending.run() {
            None => return Ok(()),
            Some(Ok(pending)) => self.waiting.push_back((batch.clone(), Process::new(pending))),
            Some(Err(_)) => {
                let first = batch[0].id.n;
                self.give_up(first);
            }
        }
        self.appending = None;
        Ok(())
    }

    pub(crate) fn has_work(&self) -> bool {
        self.appending.is_some() || !self.waiting.is_empty()
    }

    fn give_up(&mut self, next: u64) {
        self.next = next;
        self.refused = Some(self.refused.unwrap_or(self.session));
        self.session += 1;
        self.is_open = false;
    }

    fn batch(&mut self, random: &mut Random) -> Vec<Entry> {
        let mut batch = Vec::new();
        let today = self.clock.now().day();
        if today > self.day {
            self.day = today;
            self.note(&mut batch, 0, EntryKind::Roll, &note::Roll { day: today });
        }
        if let Some(session) = self.refused.take() {
            let cause = GapCause::Overflow;
            let detail = "the log was full".to_owned();
            let gap = Gap { cause, channel: None, symbol: None, from: None, to: None, missing: None, detail };
            self.note(&mut batch, session, EntryKind::Gap, &gap);
        }
        if !self.is_open {
            self.is_open = true;
            (self.heard, self.sha256) = (note::Heard::default(), Sha256::new());
            let open = note::Open {
                shard: None,
                twin: None,
                category: None,
                url: "test:".to_owned(),
                wanted: vec![],
            };
            self.note(&mut batch, self.session, EntryKind::Open, &open);
        }
        // Equal lengths let the entries of one attempt lie where those of another did.
        let bytes = if random.percent(50) { 200 } else { random.below(400) };
        for _ in 0..=random.below(8) {
            self.frame(&mut batch, random, bytes as usize);
        }
        if random.percent(30) {
            let sessions = [(self.session, self.heard)].into();
            self.note(&mut batch, 0, EntryKind::Tick, &note::Tick { sessions, last: None });
        }
        if random.percent(5) {
            let sha256 = hex(&self.sha256.clone().finalize());
            let (cause, detail) = ("planned".to_owned(), String::new());
            let close = note::Close { cause, detail, covered_by: None, heard: self.heard, sha256 };
            self.note(&mut batch, self.session, EntryKind::Close, &close);
            self.session += 1;
            self.is_open = false;
        }
        batch
    }

    fn frame(&mut self, batch: &mut Vec<Entry>, random: &mut Random, bytes: usize) {
        let payload: Bytes = (0..bytes).map(|_| (random.number() >> 7) as u8).collect::<Vec<_>>().into();
        let index = self.heard.frames;
        self.heard.frames += 1;
        self.heard.bytes += payload.len() as u64;
        self.sha256.update((payload.len() as u32).to_le_bytes());
        self.sha256.update(&payload);
        let entry = self.entry(self.session, EntryKind::Frame(FrameKind::Data), payload);
        batch.push(Entry { index, ..entry });
    }

    fn note(&mut self, batch: &mut Vec<Entry>, session: u64, kind: EntryKind, note: &impl serde::Serialize) {
        let entry = self.entry(session, kind, note::encode(note));
        batch.push(entry);
    }

    fn entry(&mut self, session: u64, kind: EntryKind, payload: Bytes) -> Entry {
        let n = self.next;
        self.next += 1;
        Entry {
            id: EntryId { origin: self.log.origin(), n },
            day: self.day,
            at: self.clock.now(),
            elapsed: self.clock.elapsed().max(Duration::from_nanos(1)),
            session: SessionId(session),
            index: 0,
            kind,
            binary: true,
            more: false,
            payload,
        }
    }
}
