//! What a capture is doing now, cheap to write at full speed and cheap to read.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ssmd_core::{Frame, FrameKind, Result, SessionId, Symbol, Timestamp, Wanted};
use tokio::sync::watch;

use crate::shares::Shares;
use crate::venue::Missing;
use crate::ws::Subscriptions;

/// The live figures of one capture. Every method may be called from anywhere at any time.
#[derive(Debug)]
pub struct CaptureStatus {
    pub(crate) sessions: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) overflowed: AtomicU64,
    pub(crate) durable: AtomicU64,
    /// Whether the venue has not said yet what that means which is declared now.
    pub(crate) asking: AtomicBool,
    frames: AtomicU64,
    data: AtomicU64,
    sent: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds plus one; 0 is never.
    last_frame: AtomicU64,
    last_activity: AtomicU64,
    subscriptions: Subscriptions,
    shards: Mutex<Vec<Shard>>,
    /// The category of each share that is declared.
    categories: Mutex<Vec<Option<String>>>,
    /// Topics that no connection has room for.
    unplaced: Mutex<Vec<String>>,
    /// Why the venue did not say what there is when it was asked last.
    unlisted: Mutex<Option<String>>,
}

/// A session, or one of several that hear the same.
#[derive(Debug)]
struct Shard {
    link: Link,
    /// What it shall carry now.
    wanted: watch::Receiver<Arc<Wanted>>,
    /// For which of the declared shares; `None` once it is not needed any more.
    share: Option<usize>,
}

/// Whether a shard has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It should have one.
    Down,
    /// It has this one, which says itself what it misses.
    Open(SessionId),
    /// It needs none any more.
    Ended,
}

/// One share of a capture at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareFigures {
    /// A part of its subjects.
    pub category: Option<String>,
    /// Its connections that are open.
    pub sessions: u64,
    /// Those that should be.
    pub sessions_wanted: u64,
    /// Symbols that they carry.
    pub symbols: u64,
}

/// The figures of one capture at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureFigures {
    /// Connections that are open.
    pub sessions: u64,
    /// Connections that were opened in all.
    pub opened: u64,
    /// Those of them that took the place of one that had ended.
    pub reconnects: u64,
    /// Attempts to connect that failed.
    pub refused: u64,
    /// Frames received.
    pub frames: u64,
    /// Those of them that are data or unknown; when this stands still and `frames` does not, only heartbeats come.
    pub data: u64,
    /// Frames sent.
    pub sent: u64,
    /// Bytes of frames received.
    pub bytes: u64,
    /// Known holes written to the journal.
    pub gaps: u64,
    /// Frames that were not kept because the journal had no room.
    pub overflowed: u64,
    /// The last entry that is durable; 0 before the first.
    pub durable: u64,
    /// When the last frame was received.
    pub last_frame: Option<Timestamp>,
    /// When something last happened; see [`CaptureStatus::last_activity`].
    pub last_activity: Option<Duration>,
}

impl CaptureStatus {
    pub(crate) fn new(subscriptions: Subscriptions) -> Self {
        Self {
            sessions: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            asking: AtomicBool::new(false),
            frames: AtomicU64::new(0),
            data: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last_frame: AtomicU64::new(0),
            last_activity: AtomicU64::new(0),
            subscriptions,
            shards: Mutex::default(),
            categories: Mutex::default(),
            unplaced: Mutex::default(),
            unlisted: Mutex::default(),
        }
    }

    /// A shard has come that shall carry what is `wanted` of a share. They come in the order of their numbers, or
    /// take that of one that has ended.
    pub(crate) fn add_shard(&self, number: usize, share: usize, wanted: watch::Receiver<Arc<Wanted>>) {
        let shard = Shard { link: Link::Down, wanted, share: Some(share) };
        let mut shards = self.shards();
        match shards.get_mut(number) {
            Some(place) => *place = shard,
            None => shards.push(shard),
        }
    }

    /// What has become of a shard's session.
    pub(crate) fn set_link(&self, shard: usize, link: Link) {
        if let Some(known) = self.shards().get_mut(shard) {
            known.link = link;
        }
    }

    /// These shards are for that share from now on, or for none.
    pub(crate) fn set_share(&self, numbers: Range<usize>, share: Option<usize>) {
        let mut shards = self.shards();
        shards.iter_mut().take(numbers.end).skip(numbers.start).for_each(|shard| shard.share = share);
    }

    /// Whether none of these shards needs a session any more.
    pub(crate) fn has_ended(&self, numbers: Range<usize>) -> bool {
        let shards = self.shards();
        shards.iter().take(numbers.end).skip(numbers.start).all(|shard| shard.link == Link::Ended)
    }

    /// The session that a shard has now.
    pub(crate) fn session(&self, number: usize) -> Option<SessionId> {
        match self.shards().get(number)?.link {
            Link::Open(session) => Some(session),
            Link::Down | Link::Ended => None,
        }
    }

    /// What is declared.
    pub(crate) fn set_categories(&self, shares: &Shares) {
        let categories = shares.categories().into_iter().map(|category| category.map(str::to_owned));
        *self.categories.lock().unwrap_or_else(PoisonError::into_inner) = categories.collect();
    }

    /// How each declared share is doing, in their order; nothing before the venue has said what there is.
    pub fn shares(&self) -> Vec<ShareFigures> {
        let categories = self.categories.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shards = self.shards();
        let figures = |(share, category): (usize, Option<String>)| {
            let its = || shards.iter().filter(move |shard| shard.share == Some(share));
            let wanted: Vec<_> = its().map(|shard| Arc::clone(&shard.wanted.borrow())).collect();
            let topics = wanted.iter().flat_map(|wanted| &wanted.0);
            let symbols: BTreeSet<_> = topics.filter_map(|topic| topic.symbol.as_ref()).collect();
            ShareFigures {
                category,
                sessions: its().filter(|shard| matches!(shard.link, Link::Open(_))).count() as u64,
                sessions_wanted: its().filter(|shard| shard.link != Link::Ended).count() as u64,
                symbols: symbols.len() as u64,
            }
        };
        if shards.is_empty() { Vec::new() } else { categories.into_iter().enumerate().map(figures).collect() }
    }

    fn shards(&self) -> MutexGuard<'_, Vec<Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All figures now.
    pub fn figures(&self) -> CaptureFigures {
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let last_frame = get(&self.last_frame);
        CaptureFigures {
            sessions: get(&self.sessions),
            opened: get(&self.opened),
            reconnects: get(&self.reconnects),
            refused: get(&self.refused),
            frames: get(&self.frames),
            data: get(&self.data),
            sent: get(&self.sent),
            bytes: get(&self.bytes),
            gaps: get(&self.gaps),
            overflowed: get(&self.overflowed),
            durable: get(&self.durable),
            last_frame: last_frame.checked_sub(1).map(|nanos| Timestamp::from_nanos(nanos.cast_signed())),
            last_activity: self.last_activity(),
        }
    }

    /// When something last happened, as monotonic time of the capture's clock: the first frame of all, or a later
    /// one that is data or unknown. Heartbeats, acknowledgements and refused connects are nothing. `None` before
    /// the first frame.
    pub fn last_activity(&self) -> Option<Duration> {
        self.last_activity.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_nanos)
    }

    /// How many topics are wanted; `None` while the venue has not said yet what that means which is declared now.
    pub fn wanted(&self) -> Option<usize> {
        let shards = self.shards();
        let wanted = shards.iter().map(|shard| shard.wanted.borrow().0.len()).sum();
        (!shards.is_empty() && !self.asking.load(Ordering::Relaxed)).then_some(wanted)
    }

    /// What is wanted and not so: what open sessions say, all that those carry which are down, and what no session
    /// has room for.
    pub fn missing(&self) -> Missing {
        let mut missing = self.subscriptions.missing();
        let shards = self.shards();
        let down = shards.iter().filter(|shard| shard.link == Link::Down);
        missing.topics += down.map(|shard| shard.wanted.borrow().0.len()).sum::<usize>();
        let unplaced = self.unplaced.lock().unwrap_or_else(PoisonError::into_inner);
        missing.topics += unplaced.len();
        let words = || "every connection that the venue allows is full".to_owned();
        missing.refused.extend(unplaced.iter().map(|topic| (topic.clone(), words())));
        missing
    }

    /// Whether a connection carries anything of this symbol, or shall.
    pub fn carries(&self, symbol: &Symbol) -> bool {
        let shards = self.shards();
        let its =
            |shard: &Shard| shard.wanted.borrow().0.iter().any(|topic| topic.symbol.as_ref() == Some(symbol));
        shards.iter().any(its)
    }

    /// Why the venue did not say what there is when it was asked last; `None` if it did. What it said before holds
    /// meanwhile.
    pub fn listing_error(&self) -> Option<String> {
        let unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        unlisted.or_else(|| self.subscriptions.unlisted())
    }

    /// Keeps whether the venue said what there is, and hands it on.
    pub(crate) fn asked<T>(&self, answer: Result<T>) -> Result<T> {
        let error = answer.as_ref().err().map(ToString::to_string);
        *self.unlisted.lock().unwrap_or_else(PoisonError::into_inner) = error;
        answer
    }

    /// What one session misses, where it says so.
    pub(crate) fn missing_of(&self, id: SessionId) -> Option<Missing> {
        self.subscriptions.of(id)
    }

    /// What no connection has room for.
    pub(crate) fn set_unplaced(&self, topics: Vec<String>) {
        *self.unplaced.lock().unwrap_or_else(PoisonError::into_inner) = topics;
    }

    pub(super) fn count(&self, frames: &[Frame], tally: &Tally) {
        add(&self.frames, tally.received());
        add(&self.data, tally.data + tally.unknown);
        add(&self.sent, tally.sent);
        add(&self.bytes, tally.bytes);
        let Some(last) = frames.iter().rfind(|frame| frame.kind != FrameKind::Sent) else { return };
        self.last_frame.store(last.received.nanos().cast_unsigned().saturating_add(1), Ordering::Relaxed);
        let active = |frame: &&Frame| matches!(frame.kind, FrameKind::Data | FrameKind::Unknown);
        let first = self.last_activity.load(Ordering::Relaxed) == 0;
        if let Some(frame) = frames.iter().rfind(active).or(first.then_some(last)) {
            let nanos = u64::try_from(frame.elapsed.as_nanos()).unwrap_or(u64::MAX - 1);
            self.last_activity.fetch_max(nanos + 1, Ordering::Relaxed);
        }
    }
}

pub(crate) fn add(figure: &AtomicU64, by: u64) {
    figure.fetch_add(by, Ordering::Relaxed);
}

/// A batch of frames, counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) data: u64,
    pub(super) control: u64,
    pub(super) unknown: u64,
    pub(super) sent: u64,
    /// Bytes of those received.
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn of(frames: &[Frame]) -> Self {
        let mut tally = Self::default();
        for frame in frames {
            let kind = match frame.kind {
                FrameKind::Data => &mut tally.data,
                FrameKind::Control => &mut tally.control,
                FrameKind::Unknown => &mut tally.unknown,
                FrameKind::Sent => {
                    tally.sent += 1;
                    continue;
                }
            };
            *kind += 1;
            tally.bytes += frame.payload.len() as u64;
        }
        tally
    }

    pub(super) fn received(&self) -> u64 {
        self.data + self.control + self.unknown
    }
}
