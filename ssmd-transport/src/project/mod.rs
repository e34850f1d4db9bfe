//! Records to a cache: of each symbol the latest ticker, quote, trade and book.
//!
//! A [`Projector`] takes every record as it is decoded, keeps the latest, and writes what changed as fast as the
//! cache takes it: a value that changes faster is written less often, and the last one always. It holds up nobody.
//! What is written is derived, and never the other way round: an older value never replaces a newer one, whoever
//! writes, and what the cache has lost is written anew within seconds.
//!
//! The layout of keys and values is in `docs/formats/cache.md`.

mod flush;
mod latest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ssmd_core::{
    Body, Cache, Clock, EntryId, FeedName, Header, Origin, Record, RecordType, Result, SessionId, Symbol,
    Timestamp,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use latest::Latest;

/// The most keys of one feed: four for each of 250,000 symbols. What is beyond is not kept in the cache, and said.
pub const KEYS_MAX: usize = 1_000_000;
/// How long a stopped projector may take to write the rest.
pub const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Keeps the latest of one feed's records in a cache. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Projector {
    shared: Arc<Shared>,
}

struct Shared {
    feed: FeedName,
    cache: Arc<dyn Cache>,
    clock: Arc<dyn Clock>,
    /// Names this projector's own key.
    incarnation: Origin,
    state: Mutex<State>,
    /// Something is to be written.
    changed: Notify,
}

#[derive(Default)]
struct State {
    slots: BTreeMap<String, Slot>,
    /// The keys of slots that are not in the cache as they are here.
    dirty: BTreeSet<String>,
    /// Whether it was said that there are too many.
    full: bool,
}

/// One key.
struct Slot {
    latest: Latest,
    /// What the cache calls the value that is there; `None` is absent, as far as is known.
    version: Option<u64>,
}

/// Which of two values is the newer: by number in one log, by time of receipt between logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    source: Option<EntryId>,
    received: Timestamp,
}

impl Place {
    fn of(header: &Header) -> Self {
        Self { source: header.source, received: header.received }
    }

    fn is_before(self, other: Self) -> bool {
        match (self.source, other.source) {
            (Some(one), Some(two)) if one.origin == two.origin => one.n < two.n,
            _ => self.received < other.received,
        }
    }
}

impl Projector {
    /// A projector of `feed` that has written nothing yet.
    pub fn new(feed: FeedName, cache: Arc<dyn Cache>, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            feed,
            cache,
            clock,
            incarnation: Origin::new_random(),
            state: Mutex::default(),
            changed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a record, in the order in which they are decoded. Never waits for the cache.
    pub fn take(&self, record: &Record) {
        let mut state = self.shared.lock();
        match &record.body {
            Body::Gap(gap) => {
                let session = gap.from.as_ref().map_or(record.header.session, |from| from.session);
                state.forget_books(gap.symbol.as_ref(), session);
            }
            body => {
                let (Some(symbol), Some(kind)) = (&record.header.symbol, kind(body)) else { return };
                state.take(key(&self.shared.feed, kind, symbol), record);
            }
        }
        let is_dirty = !state.dirty.is_empty();
        drop(state);
        if is_dirty {
            self.shared.changed.notify_one();
        }
    }

    /// Writes until `stop`, and then what is left. A cache that is away is waited for.
    ///
    /// # Errors
    /// None so far: what cannot be written is said, and tried again.
    ///
    /// # Cancel safety
    /// Not safe: what was being written then may be written or not.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        flush::run(&self.shared, stop).await
    }

    /// How many keys are not in the cache yet as they should be.
    pub fn behind(&self) -> usize {
        self.shared.lock().dirty.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, key: String, record: &Record) {
        if let Some(slot) = self.slots.get_mut(&key) {
            if slot.latest.take(record) {
                self.dirty.insert(key);
            }
            return;
        }
        let Some(latest) = Latest::begin(record) else { return };
        if self.slots.len() >= KEYS_MAX {
            if !self.full {
                tracing::error!(keys_max = KEYS_MAX, "too many symbols: the rest is not kept in the cache");
            }
            self.full = true;
            return;
        }
        self.slots.insert(key.clone(), Slot { latest, version: None });
        self.dirty.insert(key);
    }

    /// Books that miss changes are no books any more: of one symbol, or of all that one session told.
    fn forget_books(&mut self, symbol: Option<&Symbol>, session: SessionId) {
        for (key, slot) in &mut self.slots {
            if slot.latest.forget_book(symbol, session) {
                self.dirty.insert(key.clone());
            }
        }
    }
}

/// The word of a record that is kept.
fn kind(body: &Body) -> Option<&'static str> {
    match body {
        Body::Ticker(_) => Some(RecordType::Ticker.word()),
        Body::Quote(_) => Some(RecordType::Quote.word()),
        Body::Trade(_) => Some(RecordType::Trade.word()),
        Body::BookSnapshot(_) | Body::BookDelta(_) => Some("book"),
        _ => None,
    }
}

/// Where the latest record of a kind is: `{feed}.{kind}.{symbol}`.
pub fn key(feed: &FeedName, kind: &str, symbol: &Symbol) -> String {
    format!("{feed}.{kind}.{}", symbol.token())
}
