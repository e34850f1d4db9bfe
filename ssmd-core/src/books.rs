//! The audit of books: how often each one was checked, what came of it, and since when it is as it is.
//!
//! It looks at what decoders give out, so it is the same behind a live journal and over an archive. A venue that has
//! no check leaves its books unverified: that is no good news and no bad news.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::decoders::Checks;
use crate::{Body, Entry, EntryKind, Origin, Output, Record, SessionId, Symbol, Timestamp};

/// More symbols are hostile; those beyond are not audited.
const SYMBOLS_MAX: usize = 50_000;

/// What is known of one book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookAudit {
    /// The venue's name of the symbol.
    pub symbol: Symbol,
    /// How it is.
    pub state: BookState,
    /// Since when it is whole, or is not.
    pub since: Timestamp,
    /// When something last came for it.
    pub last: Timestamp,
    /// Checks that passed.
    pub verified: u64,
    /// Checks that failed.
    pub failed: u64,
    /// Fresh starts after a failure.
    pub resynced: u64,
}

/// How a book is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BookState {
    /// A check has passed since it began, and none has failed.
    Verified,
    /// It began, or goes on, and nothing was checked.
    Unverified,
    /// A check failed, and it has not begun anew.
    Broken,
    /// The connection that told it has ended.
    Down,
}

impl BookState {
    /// The word that is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Broken => "broken",
            Self::Down => "down",
        }
    }
}

/// Every book of one feed.
#[derive(Clone, Debug, Default)]
pub struct Books {
    books: HashMap<Symbol, Known>,
    /// The symbols of the entry at hand; kept for their memory.
    told: Vec<Symbol>,
}

#[derive(Clone, Debug)]
struct Known {
    audit: BookAudit,
    session: (Origin, SessionId),
    /// Whether it failed and has not begun anew.
    failed: bool,
}

impl Books {
    /// Takes an entry and what it decoded to, with the checks that it brought. What comes before the time that is
    /// asked about does not `count`, but it tells how books are.
    pub fn take(&mut self, entry: &Entry, outputs: &[Output], checks: Checks, count: bool) {
        match entry.kind {
            EntryKind::Close => self.ended(entry, |session| session == (entry.id.origin, entry.session)),
            EntryKind::Epoch => self.ended(entry, |(origin, _)| origin == entry.id.origin),
            EntryKind::Frame(_) => self.frame(entry, outputs, checks, count),
            EntryKind::Open | EntryKind::Tick | EntryKind::Roll | EntryKind::Gap => {}
        }
    }

    /// Every book, by symbol.
    pub fn list(&self) -> Vec<BookAudit> {
        let mut all: Vec<_> = self.books.values().map(|known| known.audit.clone()).collect();
        all.sort_by(|a, b| a.symbol.cmp(&b.symbol));
        all
    }

    fn frame(&mut self, entry: &Entry, outputs: &[Output], checks: Checks, count: bool) {
        // Nearly every frame is one change of one book, or nothing of a book.
        match outputs {
            [] => {}
            [Output::Record(Record { header, body })] => {
                let (Some(symbol), true) = (&header.symbol, is_book(body)) else { return };
                match body {
                    Body::BookSnapshot(_) => self.began(entry, symbol, count),
                    _ => self.told(entry, symbol),
                }
                if checks.verified > 0 {
                    self.verified(symbol, if count { checks.verified } else { 0 });
                }
            }
            _ => self.several(entry, outputs, checks, count),
        }
    }

    fn several(&mut self, entry: &Entry, outputs: &[Output], checks: Checks, count: bool) {
        let mut told = std::mem::take(&mut self.told);
        let mut verified = checks.verified;
        for output in outputs {
            match output {
                Output::Resync(symbol) => self.failed(entry, symbol, count),
                Output::Record(record) => {
                    let Some(symbol) = &record.header.symbol else { continue };
                    match &record.body {
                        Body::BookSnapshot(_) => self.began(entry, symbol, count),
                        body if is_book(body) => self.told(entry, symbol),
                        _ => continue,
                    }
                    told.push(symbol.clone());
                }
            }
        }
        // A frame about several books has a check for each; what it has more belongs to the last.
        let failed =
            |books: &HashMap<Symbol, Known>, symbol: &Symbol| books.get(symbol).is_some_and(|b| b.failed);
        let books = &self.books;
        told.retain(|symbol| !failed(books, symbol));
        while let (Some(symbol), true) = (told.pop(), verified > 0) {
            let mine = if told.is_empty() { verified } else { 1 };
            verified -= mine;
            self.verified(&symbol, if count { mine } else { 0 });
        }
        told.clear();
        self.told = told;
    }

    fn known(&mut self, entry: &Entry, symbol: &Symbol) -> Option<&mut Known> {
        if !self.books.contains_key(symbol) {
            if self.books.len() == SYMBOLS_MAX {
                return None;
            }
            let audit = BookAudit {
                symbol: symbol.clone(),
                state: BookState::Unverified,
                since: entry.at,
                last: entry.at,
                verified: 0,
                failed: 0,
                resynced: 0,
            };
            let session = (entry.id.origin, entry.session);
            self.books.insert(symbol.clone(), Known { audit, session, failed: false });
        }
        let known = self.books.get_mut(symbol)?;
        known.audit.last = entry.at;
        Some(known)
    }

    fn began(&mut self, entry: &Entry, symbol: &Symbol, count: bool) {
        let session = (entry.id.origin, entry.session);
        let Some(known) = self.known(entry, symbol) else { return };
        known.audit.resynced += u64::from(known.failed && count);
        let goes_on = matches!(known.audit.state, BookState::Verified | BookState::Unverified);
        // Two connections that overlap tell the same book: it is whole all along.
        if !goes_on || known.session == session {
            known.audit.since = entry.at;
            known.audit.state = BookState::Unverified;
        }
        (known.session, known.failed) = (session, false);
    }

    fn told(&mut self, entry: &Entry, symbol: &Symbol) {
        let session = (entry.id.origin, entry.session);
        let Some(known) = self.known(entry, symbol) else { return };
        if known.audit.state == BookState::Down {
            known.session = session;
            (known.audit.state, known.audit.since) = (BookState::Unverified, entry.at);
        }
    }

    fn verified(&mut self, symbol: &Symbol, count: u64) {
        let Some(known) = self.books.get_mut(symbol) else { return };
        known.audit.verified += count;
        known.audit.state = BookState::Verified;
    }

    fn failed(&mut self, entry: &Entry, symbol: &Symbol, count: bool) {
        let Some(known) = self.known(entry, symbol) else { return };
        known.audit.failed += u64::from(count);
        known.failed = true;
        if known.audit.state != BookState::Broken {
            (known.audit.state, known.audit.since) = (BookState::Broken, entry.at);
        }
    }

    fn ended(&mut self, entry: &Entry, of: impl Fn((Origin, SessionId)) -> bool) {
        let known = self.books.values_mut().filter(|known| of(known.session));
        for known in known.filter(|known| known.audit.state != BookState::Down) {
            (known.audit.state, known.audit.since) = (BookState::Down, entry.at);
        }
    }
}

fn is_book(body: &Body) -> bool {
    matches!(body, Body::BookSnapshot(_) | Body::BookDelta(_))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::Book;
    use crate::{EntryId, FrameKind, Header};

    fn entry(kind: EntryKind, session: u64, second: i64) -> Entry {
        let at = Timestamp::from_nanos(second * 1_000_000_000);
        Entry {
            id: EntryId { origin: Origin::from_bytes([1; 16]), n: 1 },
            day: at.day(),
            at,
            elapsed: Duration::ZERO,
            session: SessionId(session),
            index: 0,
            kind,
            binary: false,
            more: false,
            payload: bytes::Bytes::new(),
        }
    }

    fn record(symbol: &str, body: fn(Book) -> Body) -> Output {
        let header = Header {
            symbol: Some(Symbol::new(symbol).unwrap()),
            venue_time: None,
            received: Timestamp::from_nanos(0),
            sequence: None,
            session: SessionId(1),
            index: 0,
            source: None,
        };
        Output::Record(Record { header, body: body(Book::default()) })
    }

    fn take(books: &mut Books, session: u64, second: i64, outputs: &[Output], verified: u64, failed: u64) {
        let entry = entry(EntryKind::Frame(FrameKind::Data), session, second);
        books.take(&entry, outputs, Checks { verified, failed }, true);
    }

    fn shown(books: &Books) -> Vec<String> {
        let line = |book: BookAudit| {
            let BookAudit { symbol, state, since, verified, failed, resynced, .. } = book;
            let since = since.nanos() / 1_000_000_000;
            format!("{symbol} {} since {since}: {verified} {failed} {resynced}", state.word())
        };
        books.list().into_iter().map(line).collect()
    }

    #[test]
    fn a_book_is_followed_from_its_snapshot_to_its_end() {
        let (mut books, resync) = (Books::default(), Output::Resync(Symbol::new("A").unwrap()));
        take(&mut books, 1, 1, &[record("A", Body::BookSnapshot)], 0, 0);
        assert_eq!(shown(&books), ["A unverified since 1: 0 0 0"]);
        take(&mut books, 1, 2, &[record("A", Body::BookDelta)], 1, 0);
        assert_eq!(shown(&books), ["A verified since 1: 1 0 0"]);
        take(&mut books, 1, 3, &[record("A", Body::BookDelta), resync.clone()], 0, 1);
        take(&mut books, 1, 4, &[record("A", Body::BookDelta), resync], 0, 1);
        assert_eq!(shown(&books), ["A broken since 3: 1 2 0"]);
        take(&mut books, 1, 5, &[record("A", Body::BookSnapshot)], 1, 0);
        assert_eq!(shown(&books), ["A verified since 5: 2 2 1"]);
        books.take(&entry(EntryKind::Close, 1, 6), &[], Checks::default(), true);
        assert_eq!(shown(&books), ["A down since 6: 2 2 1"]);
        take(&mut books, 2, 7, &[record("A", Body::BookSnapshot)], 0, 0);
        assert_eq!(shown(&books), ["A unverified since 7: 2 2 1"]);
    }

    #[test]
    fn a_book_that_another_connection_takes_over_is_whole_all_along() {
        let mut books = Books::default();
        take(&mut books, 1, 1, &[record("A", Body::BookSnapshot)], 1, 0);
        take(&mut books, 2, 2, &[record("A", Body::BookSnapshot)], 1, 0);
        books.take(&entry(EntryKind::Close, 1, 3), &[], Checks::default(), true);
        assert_eq!(shown(&books), ["A verified since 1: 2 0 0"]);
    }

    #[test]
    fn a_frame_of_several_books_is_a_check_of_each_that_did_not_fail() {
        let mut books = Books::default();
        let deltas = || ["A", "B", "C"].map(|symbol| record(symbol, Body::BookDelta)).to_vec();
        let mut outputs = deltas();
        outputs.push(Output::Resync(Symbol::new("B").unwrap()));
        take(&mut books, 1, 1, &outputs, 2, 1);
        let lines = ["A verified since 1: 1 0 0", "B broken since 1: 0 1 0", "C verified since 1: 1 0 0"];
        assert_eq!(shown(&books), lines);
        books.take(&entry(EntryKind::Frame(FrameKind::Data), 1, 2), &deltas(), Checks::default(), true);
        let frame = entry(EntryKind::Frame(FrameKind::Data), 1, 3);
        books.take(&frame, &deltas()[..1], Checks { verified: 5, failed: 0 }, false);
        assert_eq!(shown(&books), lines);
    }
}
