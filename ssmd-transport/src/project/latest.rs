//! The latest of one key: a record as it came, or a book that is kept up to date.

use bytes::Bytes;
use ssmd_core::record::{Book, Level};
use ssmd_core::{Body, BookSide, FeedName, Header, OrderBook, Record, Result, SessionId, Symbol, codec};

use super::Place;

/// The latest value of one key.
pub(super) enum Latest {
    /// As it was told last.
    Told(Record),
    /// A whole book.
    Book {
        /// Of the last record that changed it.
        header: Header,
        levels: Box<OrderBook>,
        depth: Option<u32>,
    },
    /// A book that misses changes, and since when: nothing is known until it begins anew.
    Broken { header: Header },
    /// What another one wrote, and is newer than what we had.
    Theirs { place: Place, value: Bytes },
}

impl Latest {
    /// The first of a key; `None` for changes of a book that is not known.
    pub(super) fn begin(record: &Record) -> Option<Self> {
        match &record.body {
            Body::BookDelta(_) => None,
            Body::BookSnapshot(book) => {
                let mut levels = Box::new(OrderBook::new());
                levels.replace(&book.bids, &book.asks);
                cut(&mut levels, book.depth);
                Some(Self::Book { header: record.header.clone(), levels, depth: book.depth })
            }
            _ => Some(Self::Told(record.clone())),
        }
    }

    /// Takes the next record; says whether anything changed.
    pub(super) fn take(&mut self, record: &Record) -> bool {
        if Place::of(&record.header).is_before(self.place()) {
            return false;
        }
        if let (Self::Book { header, levels, depth }, Body::BookDelta(book)) = (&mut *self, &record.body) {
            for (side, changes) in [(BookSide::Bid, &book.bids), (BookSide::Ask, &book.asks)] {
                changes.iter().for_each(|level| levels.apply(side, *level));
            }
            cut(levels, *depth);
            *header = record.header.clone();
            return true;
        }
        let Some(latest) = Self::begin(record) else { return false };
        *self = latest;
        true
    }

    /// Forgets a book that misses changes; says whether it is one.
    pub(super) fn forget_book(&mut self, symbol: Option<&Symbol>, session: SessionId) -> bool {
        let Self::Book { header, .. } = self else { return false };
        let meant = match symbol {
            Some(symbol) => header.symbol.as_ref() == Some(symbol),
            None => header.session == session,
        };
        if meant {
            *self = Self::Broken { header: header.clone() };
        }
        meant
    }

    pub(super) fn place(&self) -> Place {
        match self {
            Self::Told(Record { header, .. }) | Self::Book { header, .. } | Self::Broken { header } => {
                Place::of(header)
            }
            Self::Theirs { place, .. } => *place,
        }
    }

    /// What stands in the cache for it; `None` if nothing does.
    pub(super) fn value(&self, feed: &FeedName) -> Option<Bytes> {
        let record = match self {
            Self::Told(record) => record,
            Self::Book { header, levels, depth } => &Record {
                header: header.clone(),
                body: Body::BookSnapshot(Book {
                    bids: side(levels, BookSide::Bid),
                    asks: side(levels, BookSide::Ask),
                    depth: *depth,
                    checksum: None,
                }),
            },
            Self::Broken { .. } => return None,
            Self::Theirs { value, .. } => return Some(value.clone()),
        };
        let mut line = Vec::with_capacity(256);
        codec::json::encode(record, feed, &mut line);
        Some(line.into())
    }
}

/// Where a value of the cache stands among others.
///
/// # Errors
/// `Invalid` or `Unsupported` if it is no record.
pub(super) fn place_of(value: &[u8]) -> Result<Place> {
    codec::json::decode(value).map(|(_, record)| Place::of(&record.header))
}

fn side(levels: &OrderBook, side: BookSide) -> Vec<Level> {
    levels.levels(side).copied().collect()
}

fn cut(levels: &mut OrderBook, depth: Option<u32>) {
    if let Some(depth) = depth {
        levels.truncate(depth as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssmd_core::{EntryId, Origin, Timestamp};

    fn place(origin: u8, n: u64, nanos: i64) -> Place {
        let source = EntryId { origin: Origin::from_bytes([origin; 16]), n };
        Place { source: Some(source), received: Timestamp::from_nanos(nanos) }
    }

    #[test]
    fn numbers_decide_within_a_log_and_times_between_logs() {
        assert!(place(1, 1, 9).is_before(place(1, 2, 3)), "the clock was stepped back");
        assert!(!place(1, 2, 3).is_before(place(1, 1, 9)));
        assert!(place(1, 7, 1).is_before(place(2, 1, 2)));
        assert!(!place(2, 1, 2).is_before(place(1, 7, 1)));
        assert!(!place(1, 1, 1).is_before(place(1, 1, 1)), "one entry tells several records");
    }
}
