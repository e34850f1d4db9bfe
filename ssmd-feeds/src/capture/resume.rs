//! Where holes begin after a restart: what the end of a log says about the last frame that each shard received.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use ssmd_core::entry::note::{self, LastHeard};
use ssmd_core::{Entry, EntryKind, ErrorKind, Evidence, FrameKind, Gap, GapCause, Result, SessionId, Start};

use super::CaptureOptions;

/// How many entries are looked at first; a tick, which tells everything, comes every second.
const TAIL_ENTRIES: u64 = 16_384;
/// How many times more are looked at if there was no tick among them.
const TAIL_GROWS: u64 = 8;
/// Entries taken from the journal at once.
const BATCH: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// The last frame of each session that nothing has taken the place of, with the reason for its end.
///
/// # Errors
/// The journal's, if it cannot be read.
pub(super) async fn last_heard(options: &CaptureOptions) -> Result<Vec<LastHeard>> {
    let told = options.last.clone().map(|frame| LastHeard {
        shard: 0,
        frame,
        down: Some(options.last_cause),
        detail: String::new(),
    });
    let bounds = options.journal.bounds().await?;
    let Some(&(first, last)) = bounds.origins.get(&options.origin) else { return Ok(Vec::from_iter(told)) };
    let last = last.min(options.next.saturating_sub(1));
    let mut length = TAIL_ENTRIES;
    loop {
        let after = last.saturating_sub(length).max(first.saturating_sub(1));
        let tail = read(options, after, last).await?;
        if tail.complete || after < first {
            let mut found = tail.last_of_shards();
            found.iter_mut().for_each(|last| last.down = last.down.or(Some(options.last_cause)));
            // All that spoke of sessions may have been trimmed.
            return Ok(if found.is_empty() { Vec::from_iter(told) } else { found });
        }
        length = length.saturating_mul(TAIL_GROWS);
    }
}

async fn read(options: &CaptureOptions, mut after: u64, last: u64) -> Result<Tail> {
    let mut tail = Tail::default();
    if after >= last {
        return Ok(tail);
    }
    let mut entries = options.journal.read(Start::After([(options.origin, after)].into())).await?;
    while after < last {
        match entries.next(BATCH).await {
            Ok(batch) => {
                for entry in batch.iter().filter(|entry| entry.id.origin == options.origin) {
                    if (after + 1..=last).contains(&entry.id.n) {
                        tail.take(entry);
                        after = entry.id.n;
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::Hole => {
                let to = error.context("to").and_then(|to| to.parse().ok());
                after = after.max(to.ok_or(error)?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(tail)
}

/// What a run of entries says.
#[derive(Default)]
struct Tail {
    /// By the session that received it.
    last: BTreeMap<SessionId, LastHeard>,
    /// The shards of sessions that opened in the run.
    opened: BTreeMap<SessionId, usize>,
    /// Whether what came before the run does not matter.
    complete: bool,
}

impl Tail {
    fn take(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::Tick => {
                if let Ok(note::Tick { last: Some(last), .. }) = note::decode(&entry.payload) {
                    self.last = last.into_iter().map(|last| (last.frame.session, last)).collect();
                    self.complete = true;
                }
            }
            EntryKind::Frame(kind) if kind != FrameKind::Sent && !entry.more => {
                let frame =
                    Evidence { at: entry.at, session: entry.session, index: entry.index, shown: None };
                let known = self.last.get(&entry.session).map(|last| last.shard);
                let opened = || self.opened.get(&entry.session).copied();
                let shard = known.or_else(opened).unwrap_or_else(|| self.free());
                let last = LastHeard { shard, frame, down: None, detail: String::new() };
                self.last.insert(entry.session, last);
            }
            EntryKind::Open => {
                let open = note::decode::<note::Open>(&entry.payload);
                if let Some(place) = open.ok().and_then(|open| open.place()) {
                    self.opened.insert(entry.session, place);
                }
            }
            EntryKind::Gap => {
                if let Ok(gap) = note::decode(&entry.payload) {
                    self.filled(entry.session, gap);
                }
            }
            EntryKind::Close => {
                let Ok(close) = note::decode::<note::Close>(&entry.payload) else { return };
                if close.covered_by.is_some() {
                    self.last.remove(&entry.session);
                } else if let Some(last) = self.last.get_mut(&entry.session) {
                    last.down = GapCause::from_word(&close.cause);
                    last.detail = close.detail;
                }
            }
            EntryKind::Epoch => {
                let clean = note::decode::<note::Epoch>(&entry.payload).is_ok_and(|epoch| epoch.clean);
                let cause = if clean { GapCause::Planned } else { GapCause::Crash };
                self.last.values_mut().for_each(|last| last.down = last.down.or(Some(cause)));
            }
            _ => {}
        }
    }

    /// A gap was written when a session took the place of another.
    fn filled(&mut self, session: SessionId, gap: Gap) {
        let about_all = gap.channel.is_none() && gap.symbol.is_none() && gap.cause != GapCause::Overflow;
        let (Some(from), Some(to), true) = (gap.from, gap.to, about_all) else { return };
        if let Some(before) = self.last.remove(&from.session) {
            let last = LastHeard { frame: to, down: None, detail: String::new(), ..before };
            self.last.insert(session, last);
        }
    }

    /// Of two connections that were open at the end, one taking the other's place, the one that heard last.
    fn last_of_shards(self) -> Vec<LastHeard> {
        let (open, mut all): (Vec<_>, Vec<_>) = self.last.into_values().partition(|last| last.down.is_none());
        let mut newest = BTreeMap::<usize, LastHeard>::new();
        for last in open {
            let known = newest.get(&last.shard).is_some_and(|known| known.frame.at >= last.frame.at);
            if !known {
                newest.insert(last.shard, last);
            }
        }
        all.extend(newest.into_values());
        all.sort_by_key(|last| last.frame.session);
        all
    }

    fn free(&self) -> usize {
        self.last.values().map(|last| last.shard + 1).max().unwrap_or(0)
    }
}
