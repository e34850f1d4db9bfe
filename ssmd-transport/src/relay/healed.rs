//! A shared journal whose holes are filled from the log, for whoever must not miss what is there somewhere.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ssmd_core::journal::{Range, hole, read_after};
use ssmd_core::{
    Bounds, Cache, Clock, Entries, Entry, Error, ErrorKind, Expect, Journal, Pending, Result, Start,
};
use tokio_util::sync::CancellationToken;

use super::heal::{Answer, KEPT, Question};
use super::{Keys, hole_of};

/// How often a reader looks for an answer.
const POLL: Duration = Duration::from_millis(50);
/// How often a question is put again: the cache may have lost it.
const ASKS_EVERY: Duration = Duration::from_secs(5);
/// How long a relay that is there needs for its word, once stopping has begun.
const STOPPING_WAITS: Duration = Duration::from_secs(10);

/// How holes are filled.
#[derive(Clone)]
pub struct Healing {
    /// Where the relay of the log is asked.
    pub cache: Arc<dyn Cache>,
    /// Under which names.
    pub keys: Keys,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long to wait for the relay's word before a hole is believed. Its host may be away.
    pub waits: Duration,
    /// Once this is cancelled nobody waits long for the relay: readers end (`Closed`) before a hole of which it says
    /// nothing within seconds.
    pub stop: CancellationToken,
}

/// A journal of which readers are told of a hole only when the relay says that nobody has what is missing, or has
/// said nothing for long. Of damage they are not told, but of the hole that it leaves.
pub struct Healed {
    inner: Arc<dyn Journal>,
    healing: Healing,
}

impl Healed {
    /// This journal, with its holes filled.
    pub fn new(inner: Arc<dyn Journal>, healing: Healing) -> Self {
        Self { inner, healing }
    }
}

#[async_trait]
impl Journal for Healed {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        self.inner.append(batch).await
    }

    /// As the journal's own, but for a start before what it still has: what lies between is a hole then, which the
    /// relay is asked for.
    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let (inner, missing) = match start {
            Start::After(positions) => read_after(&*self.inner, positions).await?,
            start => (self.inner.read(start).await?, Vec::new()),
        };
        let healing = self.healing.clone();
        Ok(Box::new(Reader {
            inner,
            healing,
            missing: missing.into(),
            since: None,
            asked: None,
            stopping: None,
        }))
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.inner.bounds().await
    }
}

struct Reader {
    inner: Box<dyn Entries>,
    healing: Healing,
    /// What comes before the next entries of `inner`.
    missing: VecDeque<Range>,
    /// Since when the first of what is missing is waited for, on the monotonic clock, and when it was last asked for.
    since: Option<Duration>,
    asked: Option<Duration>,
    /// Since when stopping was noticed while something was waited for.
    stopping: Option<Duration>,
}

#[async_trait]
impl Entries for Reader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        loop {
            if let Some(&missing) = self.missing.front() {
                return self.heal(missing, max).await;
            }
            match self.inner.next(max).await {
                // Whoever may write there can put anything into a shared journal, and disks flip bits. What ought to
                // have been in its place is a hole behind it, if anything.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::error!(%error, "passing by what is damaged, or none of ours, in the shared journal");
                }
                Err(error) => match hole_of(&error) {
                    Some(missing) => self.missing.push_back(missing),
                    None => return Err(error),
                },
                entries => return entries,
            }
        }
    }
}

impl Reader {
    /// What is known of the first numbers that are missing. Nothing changes before it is, so it is safe to cancel.
    async fn heal(&mut self, missing: Range, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let (origin, from, to) = missing;
        let clock = Arc::clone(&self.healing.clock);
        let since = *self.since.get_or_insert_with(|| clock.elapsed());
        loop {
            match self.ask(missing).await {
                Ok(Some(answer)) => return self.take(missing, answer, max),
                Ok(None) => {}
                Err(error) => tracing::debug!(%origin, from, to, %error, "could not ask for what is missing"),
            }
            let waited = clock.elapsed().saturating_sub(since);
            if waited >= self.healing.waits {
                tracing::error!(%origin, from, to, ?waited, "nobody says whether this can be healed");
                return self.take(missing, Answer { from, through: to, entries: Vec::new() }, max);
            }
            if self.healing.stop.is_cancelled() {
                let stopping = *self.stopping.get_or_insert_with(|| clock.elapsed());
                if clock.elapsed().saturating_sub(stopping) >= STOPPING_WAITS {
                    tracing::warn!(%origin, from, to, "stopping before a hole that is not healed");
                    return Err(Error::new(ErrorKind::Closed, "read healed journal"));
                }
            }
            clock.sleep(POLL).await;
        }
    }

    /// Looks for the answer, and asks for it now and then.
    async fn ask(&mut self, (origin, from, to): Range) -> Result<Option<Answer>> {
        let Healing { cache, keys, clock, .. } = &self.healing;
        let key = keys.healed(origin, from);
        if let Some(found) = cache.get(&key).await? {
            let answer = Answer::decode(&found.value, origin);
            if let Some(answer) = answer.filter(|answer| answer.from == from && answer.through <= to) {
                // The next question first, so that this one is not answered again.
                match answer.through < to {
                    true => put(&**cache, &keys.heal(origin), answer.through + 1, to).await?,
                    false => cache.delete(&keys.heal(origin)).await?,
                }
                cache.delete(&key).await?;
                return Ok(Some(answer));
            }
            // Of another question, or damaged.
            cache.delete(&key).await?;
        }
        let now = clock.elapsed();
        if self.asked.is_none_or(|asked| now.saturating_sub(asked) >= ASKS_EVERY) {
            put(&**cache, &keys.heal(origin), from, to).await?;
            self.asked = Some(now);
        }
        Ok(None)
    }

    fn take(&mut self, (origin, from, to): Range, answer: Answer, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let mut entries = answer.entries;
        entries.truncate(max.get());
        let through = entries.last().map_or(answer.through, |entry| entry.id.n);
        self.missing.pop_front();
        (self.since, self.asked, self.stopping) = (None, None, None);
        if through < to {
            self.missing.push_front((origin, through + 1, to));
        }
        if entries.is_empty() { Err(hole(origin, from, through)) } else { Ok(entries) }
    }
}

async fn put(cache: &dyn Cache, key: &str, from: u64, to: u64) -> Result<()> {
    cache.put(key, Question { from, to }.encode(), Expect::Any, Some(KEPT)).await.map(drop)
}
