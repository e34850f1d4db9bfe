//! A journal in memory: durable for as long as it lives, bounded in bytes, trimmed by its owner.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::journal::{hole, removed};
use ssmd_core::{
    Bounds, Entries, Entry, EntryId, Error, ErrorKind, Journal, Origin, Pending, Positions, Result, Start,
};
use tokio::sync::watch;

/// The default hard cap of a journal, in bytes: some minutes of a busy feed, and little beside a browser tab.
pub const JOURNAL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an entry costs beside its payload, in bytes.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// A journal of any number of origins. An entry is durable when it is appended, for as long as the journal lives.
///
/// At its hard cap it takes nothing more until [`MemoryJournal::trim`] made room. It has no queue, so appending
/// never waits. Dropping or closing it ends its readers once they have read all.
#[derive(Debug)]
pub struct MemoryJournal {
    shared: Arc<Shared>,
    bytes_max: usize,
    incarnation: String,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryJournal {
    /// An empty journal that holds at most [`JOURNAL_BYTES_MAX`].
    pub fn new() -> Self {
        Self::bounded(JOURNAL_BYTES_MAX)
    }

    /// An empty journal that holds at most `bytes_max`, entries' own size included.
    pub fn bounded(bytes_max: usize) -> Self {
        let state = State::default();
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(()) });
        Self { shared, bytes_max, incarnation: Origin::new_random().to_string() }
    }

    /// Removes the entries of every named origin below the named number. Readers that have not read them are told
    /// of a hole.
    pub fn trim(&self, below: &Positions) {
        let mut state = self.shared.lock();
        state.remove(below);
        drop(state);
        self.shared.changed.send_replace(());
    }

    /// Ends the journal: it takes nothing more, and readers end when they have read all.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.send_replace(());
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let operation = "append to memory journal";
        if let Some(entry) = batch.iter().find(|entry| entry.payload.len() > PAYLOAD_BYTES_MAX) {
            return Err(Error::new(ErrorKind::Invalid, operation)
                .detail("payload too large")
                .with("entry", entry.id)
                .with("bytes", entry.payload.len()));
        }
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, operation));
        }
        let new = state.new_of(batch);
        let bytes = state.bytes + new.iter().map(cost).sum::<usize>();
        if bytes > self.bytes_max {
            return Err(Error::new(ErrorKind::Full, operation).with("bytes_max", self.bytes_max));
        }
        state.take(new);
        drop(state);
        self.shared.changed.send_replace(());
        Ok(Pending::ready())
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let state = self.shared.lock();
        let begin = |(origin, span): (&Origin, &Span)| (*origin, span.first.saturating_sub(1));
        let (next, positions) = match start {
            Start::Oldest => (state.front, state.spans.iter().map(begin).collect()),
            Start::Newest => {
                let last = |(origin, span): (&Origin, &Span)| (*origin, span.last);
                (state.front + state.places.len() as u64, state.spans.iter().map(last).collect())
            }
            Start::After(named) => {
                state.check_kept(&named)?;
                let mut positions: Positions = state.spans.iter().map(begin).collect();
                positions.extend(named);
                (state.first_after(&positions), positions)
            }
        };
        drop(state);
        let changed = self.shared.changed.subscribe();
        Ok(Box::new(Reader { shared: self.shared.clone(), changed, next, positions }))
    }

    async fn bounds(&self) -> Result<Bounds> {
        let state = self.shared.lock();
        let kept = state.spans.iter().filter(|(_, span)| span.first <= span.last);
        let origins = kept.map(|(origin, span)| (*origin, (span.first, span.last))).collect();
        Ok(Bounds { origins, incarnation: self.incarnation.clone() })
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Entries in the order in which they were appended; `None` where one was removed.
    places: VecDeque<Option<Entry>>,
    /// The number of the first place; places are numbered through from the journal's beginning.
    front: u64,
    bytes: usize,
    spans: BTreeMap<Origin, Span>,
    closed: bool,
}

/// What was taken of one origin, and what of it is kept: nothing if `first` is behind `last`.
#[derive(Debug)]
struct Span {
    /// The number with which it began.
    begin: u64,
    first: u64,
    last: u64,
}

impl State {
    /// The entries of a batch that are no repeats.
    fn new_of(&self, batch: Vec<Entry>) -> Vec<Entry> {
        let mut lasts = Positions::new();
        let mut is_new = |id: EntryId| {
            let known = self.spans.get(&id.origin).map_or(0, |span| span.last);
            let last = lasts.entry(id.origin).or_insert(known);
            let new = id.n > *last;
            *last = id.n.max(*last);
            new
        };
        batch.into_iter().filter(|entry| is_new(entry.id)).collect()
    }

    fn take(&mut self, new: Vec<Entry>) {
        for entry in new {
            let n = entry.id.n;
            let span = self.spans.entry(entry.id.origin).or_insert(Span { begin: n, first: n, last: n });
            // All that it had was removed: what is kept begins anew.
            if span.first > span.last {
                span.first = n;
            }
            span.last = n;
            self.bytes += cost(&entry);
            self.places.push_back(Some(entry));
        }
    }

    fn remove(&mut self, below: &Positions) {
        let is_removed = |entry: &mut Entry| below.get(&entry.id.origin).is_some_and(|n| entry.id.n < *n);
        // What is removed behind the front leaves an empty place until the front reaches it.
        for place in &mut self.places {
            self.bytes -= place.take_if(is_removed).as_ref().map_or(0, cost);
        }
        while self.places.front().is_some_and(Option::is_none) {
            self.places.pop_front();
            self.front += 1;
        }
        let mut firsts = BTreeMap::new();
        for entry in self.places.iter().flatten() {
            firsts.entry(entry.id.origin).or_insert(entry.id.n);
        }
        for (origin, span) in &mut self.spans {
            span.first = firsts.get(origin).copied().unwrap_or(span.last + 1);
        }
    }

    fn check_kept(&self, named: &Positions) -> Result<()> {
        for (origin, n) in named {
            match self.spans.get(origin) {
                Some(span) if n.saturating_add(1) < span.first => {
                    return Err(removed(*origin, *n).with("first", span.first));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The first place with an entry behind `positions`.
    fn first_after(&self, positions: &Positions) -> u64 {
        let behind =
            |entry: &Entry| positions.get(&entry.id.origin).is_none_or(|position| entry.id.n > *position);
        let at = self.places.iter().position(|place| place.as_ref().is_some_and(behind));
        self.front + at.unwrap_or(self.places.len()) as u64
    }
}

fn cost(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.payload.len()
}

struct Reader {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    /// The place to read next.
    next: u64,
    /// The last number of each origin that was given or told to be missing.
    positions: Positions,
}

#[async_trait]
impl Entries for Reader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        loop {
            self.changed.mark_unchanged();
            let shared = self.shared.clone();
            if let Some(answer) = self.take(&shared.lock(), max) {
                return answer;
            }
            // The sender lives as long as `shared`; if it were gone, the state would say closed.
            let _ = self.changed.changed().await;
        }
    }
}

impl Reader {
    /// What can be given now. The whole step happens at once, so a dropped future has taken nothing.
    fn take(&mut self, state: &State, max: NonZeroUsize) -> Option<Result<Vec<Entry>>> {
        if let Some(hole) = self.removed(state) {
            return Some(Err(hole));
        }
        self.next = self.next.max(state.front);
        let mut taken = Vec::new();
        let skipped = ((self.next - state.front) as usize).min(state.places.len());
        for place in state.places.range(skipped..) {
            if let Some(entry) = place {
                let EntryId { origin, n } = entry.id;
                let position = self.positions.get(&origin).copied();
                let expected = position.map_or(n, |position| position.saturating_add(1));
                if n > expected {
                    if taken.is_empty() {
                        self.positions.insert(origin, n - 1);
                        return Some(Err(hole(origin, expected, n - 1)));
                    }
                    return Some(Ok(taken));
                }
                if n == expected {
                    self.positions.insert(origin, n);
                    taken.push(entry.clone());
                }
            }
            self.next += 1;
            if taken.len() == max.get() {
                break;
            }
        }
        match (taken.is_empty(), state.closed) {
            (false, _) => Some(Ok(taken)),
            (true, true) => Some(Err(Error::new(ErrorKind::Closed, "read memory journal"))),
            (true, false) => None,
        }
    }

    /// A hole that trimming tore in front of this reader, if there is one that it was not told of.
    fn removed(&mut self, state: &State) -> Option<Error> {
        for (origin, span) in &state.spans {
            let expected = self.positions.get(origin).map_or(span.begin, |n| n.saturating_add(1));
            if span.first > expected {
                self.positions.insert(*origin, span.first - 1);
                return Some(hole(*origin, expected, span.first - 1));
            }
        }
        None
    }
}
