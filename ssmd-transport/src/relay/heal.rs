//! Holes of the shared journal, filled from the log: what is asked and answered through a [`Cache`], and the
//! answering side.
//!
//! A reader puts which numbers it is missing under `heal.{origin}`. The relay answers under `healed.{origin}.{from}`
//! with the entries from there on, a piece at a time, or says that nobody has them. Either may die at any moment:
//! what was put is gone after a while, and is asked and answered again.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use crc32c::crc32c_append;
use serde::{Deserialize, Serialize};
use ssmd_core::journal::read_after;
use ssmd_core::{Entries, Entry, Error, ErrorKind, Expect, Origin, Positions, Result, metrics};

use super::known::Known;
use super::{Relay, hole_of};
use crate::log::format::{self, Stop};

/// How long a question or an answer is kept that nobody takes.
pub(super) const KEPT: Duration = Duration::from_secs(60);
/// The most payload of one answer, in bytes; one entry is answered even if it is larger.
const PIECE_BYTES: usize = 256 * 1024;
/// Entries read at once from the log.
const BATCH: NonZeroUsize = NonZeroUsize::new(512).expect("positive");
/// What comes before the entries of an answer.
const HEAD_BYTES: usize = 28;
/// How soon to look again while somebody asks.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// How long the log may take to give what it holds. Behind damage at its end nothing comes.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// Numbers that a reader is missing, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Question {
    pub(super) fn encode(self) -> Bytes {
        serde_json::to_vec(&self).map(Bytes::from).unwrap_or_default()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value)
            .ok()
            .filter(|question: &Self| 0 < question.from && question.from <= question.to)
    }
}

/// What the log has of the numbers from `from` through `through`: all of them, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) from: u64,
    pub(super) through: u64,
    pub(super) entries: Vec<Entry>,
}

impl Answer {
    /// The two numbers and how many entries follow, with a checksum, and the entries as a log holds them.
    pub(super) fn encode(&self, origin: Origin) -> Bytes {
        let mut value = Vec::with_capacity(PIECE_BYTES);
        for number in [self.from, self.through, self.entries.len() as u64] {
            value.extend_from_slice(&number.to_le_bytes());
        }
        let seed = format::seed(origin);
        value.extend_from_slice(&crc32c_append(seed, &value).to_le_bytes());
        self.entries.iter().for_each(|entry| format::encode(entry, seed, &mut value));
        value.into()
    }

    /// The answer in a value; `None` if it is not one about this origin, whole and undamaged.
    pub(super) fn decode(value: &Bytes, origin: Origin) -> Option<Self> {
        let head = value.get(..HEAD_BYTES)?;
        let number = |at: usize| head.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let (from, through, count) = (number(0)?, number(8)?, number(16)?);
        let sum = crc32c_append(format::seed(origin), &head[..24]).to_le_bytes();
        if head[24..] != sum || from == 0 || through < from || (count != 0 && count != through - from + 1) {
            return None;
        }
        let scan = format::scan(&value.slice(HEAD_BYTES..), origin, from - 1, usize::MAX);
        let dense = scan.entries.iter().zip(from..).all(|(entry, n)| entry.id.n == n);
        let whole = matches!(scan.stop, Stop::End) && scan.entries.len() as u64 == count && dense;
        whole.then_some(Self { from, through, entries: scan.entries })
    }
}

/// Reads the log for those who ask, and keeps its place between one piece and the next.
#[derive(Default)]
struct Reading {
    open: Option<Place>,
}

struct Place {
    origin: Origin,
    /// The next number.
    next: u64,
    entries: Box<dyn Entries>,
    ready: VecDeque<Entry>,
}

impl Relay {
    /// Looks for the watermark and for questions, and shows the lag, for ever.
    pub(super) async fn attend(&self, known: &Known) -> std::convert::Infallible {
        let (mut reading, mut origins) = (Reading::default(), BTreeSet::new());
        loop {
            let lasts = self.lasts().await;
            known.show(&lasts, self.clock.now());
            origins.extend(lasts.keys().copied());
            let mut asked = false;
            for &origin in &origins {
                self.look_for_watermark(origin, known).await;
                asked |= self.answer(origin, &mut reading).await.unwrap_or_else(|error| {
                    self.count_error("cache");
                    tracing::debug!(feed = %self.feed, %origin, %error, "could not heal");
                    false
                });
            }
            if !asked {
                reading.open = None;
            }
            self.clock.sleep(if asked { ASKED_EVERY } else { self.options.attend_every }).await;
        }
    }

    /// Answers the question about an origin, if there is one that has no answer yet.
    async fn answer(&self, origin: Origin, reading: &mut Reading) -> Result<bool> {
        let Some(asked) = self.in_time(self.cache.get(&self.keys.heal(origin))).await? else {
            return Ok(false);
        };
        let Some(question) = Question::decode(&asked.value) else {
            return Err(Error::new(ErrorKind::Invalid, "read what to heal").with("origin", origin));
        };
        let key = self.keys.healed(origin, question.from);
        if self.in_time(self.cache.get(&key)).await?.is_some() {
            return Ok(true);
        }
        let answer = match self.find(origin, question, reading).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(false),
            Err(error) => {
                reading.open = None;
                return Err(error);
            }
        };
        let healed = answer.entries.len() as u64;
        let (from, through) = (answer.from, answer.through);
        self.in_time(self.cache.put(&key, answer.encode(origin), Expect::Any, Some(KEPT))).await?;
        self.metrics.counter(&metrics::RELAY_HEALED, &[self.feed.as_str()]).add(healed);
        if healed == 0 {
            tracing::warn!(feed = %self.feed, %origin, from, through, "a reader misses what the log no longer has");
        }
        Ok(true)
    }

    /// What the log has from `question.from` on: some entries, or how many are lost; `None` if it is not there yet.
    async fn find(
        &self,
        origin: Origin,
        question: Question,
        reading: &mut Reading,
    ) -> Result<Option<Answer>> {
        let Question { from, to } = question;
        let bounds = self.source.bounds().await?;
        let last = bounds.origins.get(&origin).map(|(_, last)| *last);
        if last.is_some_and(|last| to > last) {
            return Ok(None);
        }
        let lost = |through: u64| Ok(Some(Answer { from, through: through.min(to), entries: Vec::new() }));
        if last.is_none() {
            return lost(to);
        }
        let is_there = |place: &&mut Place| place.origin == origin && place.next == from;
        if reading.open.as_mut().filter(is_there).is_none() {
            let (entries, skipped) = read_after(&*self.source, Positions::from([(origin, from - 1)])).await?;
            let next = skipped.iter().filter(|(o, ..)| *o == origin).map(|(.., last)| last + 1).max();
            let next = next.unwrap_or(from);
            reading.open = Some(Place { origin, next, entries, ready: VecDeque::new() });
            if next > from {
                return lost(next - 1);
            }
        }
        let Some(place) = &mut reading.open else { return Ok(None) };
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while place.next <= to && bytes < PIECE_BYTES {
            if !place.load(&*self.clock).await? {
                // Damage up to the end of what the log holds.
                place.next = if taken.is_empty() { to + 1 } else { place.next };
                break;
            }
            let Some(entry) = place.ready.front() else { break };
            if entry.id.n > place.next {
                if taken.is_empty() {
                    place.next = entry.id.n;
                }
                break;
            }
            bytes += entry.payload.len();
            place.next += 1;
            taken.extend(place.ready.pop_front());
        }
        let through = if taken.is_empty() { (place.next - 1).min(to) } else { place.next - 1 };
        Ok(Some(Answer { from, through, entries: taken }))
    }
}

impl Place {
    /// Reads on if nothing is ready; `false` if nothing comes.
    async fn load(&mut self, clock: &dyn ssmd_core::Clock) -> Result<bool> {
        while self.ready.is_empty() {
            let read = tokio::select! {
                biased;
                read = self.entries.next(BATCH) => read,
                () = clock.sleep(READ_WITHIN) => return Ok(false),
            };
            match read {
                Ok(batch) => {
                    let wanted = |entry: &Entry| entry.id.origin == self.origin && entry.id.n >= self.next;
                    self.ready.extend(batch.into_iter().filter(wanted));
                }
                // What comes next tells how far it went.
                Err(error) if error.kind() == ErrorKind::Corrupt || hole_of(&error).is_some() => {}
                Err(error) if error.kind() == ErrorKind::Closed => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssmd_core::{Day, EntryId, EntryKind, FrameKind, SessionId, Timestamp};

    #[test]
    fn answers_come_back_whole_or_not_at_all() {
        let origin = Origin::from_bytes([5; 16]);
        let entry = |n: u64| Entry {
            id: EntryId { origin, n },
            day: Day::from_days(20_000),
            at: Timestamp::from_nanos(7),
            elapsed: Duration::from_nanos(n),
            session: SessionId(1),
            index: n,
            kind: EntryKind::Frame(FrameKind::Data),
            binary: false,
            more: false,
            payload: Bytes::from(vec![b'x'; n as usize]),
        };
        let answer = Answer { from: 3, through: 6, entries: (3..=6).map(entry).collect() };
        let value = answer.encode(origin);
        assert_eq!(Answer::decode(&value, origin), Some(answer));
        let lost = Answer { from: 3, through: 90, entries: Vec::new() };
        assert_eq!(Answer::decode(&lost.encode(origin), origin), Some(lost));
        assert_eq!(Answer::decode(&value, Origin::from_bytes([6; 16])), None, "another log's");
        for at in 0..value.len() {
            assert_eq!(Answer::decode(&value.slice(..at), origin), None, "cut at {at}");
            let mut flipped = value.to_vec();
            flipped[at] ^= 0x10;
            assert_eq!(Answer::decode(&flipped.into(), origin), None, "byte {at}");
        }
    }
}
