//! The integrity rule: numbers per product that grow by one, in books from the snapshot on, in trades always.

use ssmd_core::{Evidence, Frame, Gap, GapCause, SessionId, Symbol, Timestamp};

/// A number and the frame that showed it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) number: u64,
    at: Timestamp,
    session: SessionId,
    index: u64,
}

impl Seen {
    pub(super) fn new(number: u64, frame: &Frame) -> Self {
        Self { number, at: frame.received, session: frame.session, index: frame.index }
    }

    fn evidence(self) -> Evidence {
        Evidence {
            at: self.at,
            session: self.session,
            index: self.index,
            shown: Some(self.number.to_string()),
        }
    }

    /// How many numbers are missing between this one and a later one: `None` if that is not later at all.
    fn missing_before(self, number: u64) -> Option<u64> {
        number.checked_sub(self.number)?.checked_sub(1)
    }
}

/// What lies between two frames whose numbers do not follow.
pub(super) fn gap(channel: &str, symbol: &Symbol, from: Seen, to: Seen) -> Gap {
    Gap {
        cause: GapCause::Sequence,
        channel: Some(channel.to_owned()),
        symbol: Some(symbol.clone()),
        from: Some(from.evidence()),
        to: Some(to.evidence()),
        missing: from.missing_before(to.number),
        detail: String::new(),
    }
}

/// A book that was confirmed, and whose snapshot has not come.
pub(super) fn unpromised(symbol: &Symbol, good: Option<Seen>, to: Seen) -> Gap {
    Gap {
        cause: GapCause::Protocol,
        channel: Some("book".to_owned()),
        symbol: Some(symbol.clone()),
        from: good.map(Seen::evidence),
        to: Some(to.evidence()),
        missing: None,
        detail: "changes came and no snapshot before them".to_owned(),
    }
}

/// Changes that may come between a confirmation and its snapshot: the venue does not rule them out, and none was
/// ever seen.
const EARLY_MAX: u32 = 16;

/// What a change of a book is, by its number.
pub(super) enum Verdict {
    /// There is no snapshot to follow.
    Unchecked,
    /// The book has it already.
    Contained,
    /// It follows.
    Followed,
    /// Some before it are missing, after this one; no more is checked until the next snapshot.
    Jumped(Seen),
    /// The snapshot that must come is lost; whether that is news, and no part of a gap that was told already.
    Unpromised { news: bool },
}

/// The numbers of one book.
#[derive(Default)]
pub(super) struct BookSequence {
    /// The last number that the book contains; `None` while there is no book.
    last: Option<Seen>,
    /// The last frame after which the book was the venue's.
    good: Option<Seen>,
    /// How many changes came since a subscription was confirmed, while its snapshot is awaited.
    early: Option<u32>,
    /// Whether something is wrong that was told, and no snapshot came since.
    broken: bool,
}

impl BookSequence {
    /// A snapshot begins anew.
    pub(super) fn snapshot(&mut self, seen: Seen) {
        *self = Self { last: Some(seen), good: Some(seen), early: None, broken: false };
    }

    /// The venue has confirmed a subscription.
    pub(super) fn confirmed(&mut self) {
        if self.last.is_none() {
            self.early = Some(0);
        }
    }

    /// What comes next belongs to another subscription.
    pub(super) fn forget(&mut self) {
        (self.last, self.early) = (None, None);
    }

    /// The last frame after which the book was the venue's.
    pub(super) fn good(&self) -> Option<Seen> {
        self.good
    }

    /// A change.
    pub(super) fn delta(&mut self, seen: Seen) -> Verdict {
        let Some(last) = self.last else { return self.early() };
        match last.missing_before(seen.number) {
            None => Verdict::Contained,
            Some(0) => {
                (self.last, self.good) = (Some(seen), Some(seen));
                Verdict::Followed
            }
            Some(_) => {
                self.forget();
                self.broken = true;
                Verdict::Jumped(last)
            }
        }
    }

    fn early(&mut self) -> Verdict {
        match &mut self.early {
            Some(EARLY_MAX) => {
                self.early = None;
                Verdict::Unpromised { news: !std::mem::replace(&mut self.broken, true) }
            }
            Some(count) => {
                *count += 1;
                Verdict::Unchecked
            }
            None => Verdict::Unchecked,
        }
    }
}

/// The numbers of one product's trades.
#[derive(Default)]
pub(super) struct TradeSequence(Option<Seen>);

impl TradeSequence {
    /// What comes next belongs to another subscription.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Takes trades that one frame tells, from the lowest number to the highest; gives the last number before
    /// them if some are missing in between. Trades that were sent again are no gap.
    pub(super) fn take(&mut self, lowest: Seen, highest: Seen) -> Option<Seen> {
        let last = self.0;
        if last.is_none_or(|last| last.number < highest.number) {
            self.0 = Some(highest);
        }
        last.filter(|last| last.missing_before(lowest.number).is_some_and(|missing| missing > 0))
    }
}
