//! Books of two connections of which a venue says no time of a snapshot, one case at a time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::time::Duration;

use bytes::Bytes;
use ssmd_core::entry::note::{self, Twin};
use ssmd_core::record::{Book, Level};
use ssmd_core::{
    Body, BookIdentity, Decimal, Entry, EntryId, EntryKind, FrameKind, Header, MergeRules, Merger, Origin,
    Output, Record, SessionId, Symbol, Timestamp, TradeIdentity,
};

const ORIGIN: Origin = Origin::from_bytes([3; 16]);
const RULES: MergeRules = MergeRules {
    trades: TradeIdentity::Id,
    trade_channel: "trade",
    books: BookIdentity::Change,
    book_channel: "orderbook_delta",
};

struct Run {
    merger: Merger,
    n: u64,
}

impl Run {
    fn new() -> Self {
        Self { merger: Merger::new(RULES), n: 0 }
    }

    /// What an entry makes be told: the type of each record, or `resync`.
    fn push(
        &mut self,
        at: u64,
        session: u64,
        kind: EntryKind,
        said: Bytes,
        body: Option<Said>,
    ) -> Vec<String> {
        self.n += 1;
        let received = Timestamp::from_nanos(at.cast_signed() * 1_000_000);
        let id = EntryId { origin: ORIGIN, n: self.n };
        let session = SessionId(session);
        let mut out = Vec::new();
        if let Some((body, venue_time)) = body {
            let header = Header {
                symbol: Some(Symbol::new("K").unwrap()),
                venue_time: venue_time.map(|at| Timestamp::from_nanos(at * 1_000_000)),
                received,
                sequence: None,
                session,
                index: self.n,
                source: Some(id),
            };
            out.push(Output::Record(Record { header, body }));
        }
        let entry = Entry {
            id,
            day: received.day(),
            at: received,
            elapsed: Duration::from_millis(at),
            session,
            index: self.n,
            kind,
            binary: false,
            more: false,
            payload: said,
        };
        self.merger.take(&entry, &mut out);
        let word = |output: &Output| match output {
            Output::Resync(symbol) => format!("resync {symbol}"),
            Output::Record(record) => record.body.record_type().word().to_owned(),
        };
        out.iter().map(word).collect()
    }

    fn open(&mut self, at: u64, session: u64, number: usize) {
        let twin = Some(Twin { number, of: 2 });
        let open =
            note::Open { url: String::new(), wanted: Vec::new(), shard: Some(0), category: None, twin };
        self.push(at, session, EntryKind::Open, note::encode(&open), None);
    }

    fn close(&mut self, at: u64, session: u64) -> Vec<String> {
        let close = note::Close {
            cause: "disconnect".to_owned(),
            detail: String::new(),
            covered_by: None,
            heard: note::Heard::default(),
            sha256: String::new(),
        };
        self.push(at, session, EntryKind::Close, note::encode(&close), None)
    }

    fn say(&mut self, at: u64, session: u64, body: Said) -> Vec<String> {
        self.push(at, session, EntryKind::Frame(FrameKind::Data), Bytes::new(), Some(body))
    }

    fn ticks(&mut self, from: u64, to: u64) -> Vec<String> {
        (from..to)
            .step_by(1000)
            .flat_map(|at| self.push(at, 0, EntryKind::Tick, Bytes::new(), None))
            .collect()
    }
}

/// A body, and when the venue says that it was, in milliseconds.
type Said = (Body, Option<i64>);

fn book(size: i128) -> Book {
    let level = Level { price: Decimal::new(50, 2).unwrap(), size: Decimal::new(size, 0).unwrap() };
    Book { bids: vec![level], ..Book::default() }
}

fn snapshot(size: i128) -> Said {
    (Body::BookSnapshot(book(size)), None)
}

fn change(size: i128, at: i64) -> Said {
    (Body::BookDelta(book(size)), Some(at))
}

#[test]
fn a_quiet_book_has_no_gap_when_one_of_two_ends() {
    let mut run = Run::new();
    run.open(0, 1, 0);
    run.say(100, 1, snapshot(10));
    run.say(1_000, 1, change(20, 990));
    // The other one comes back with the same book, and the market is quiet for an hour.
    run.open(60_000, 2, 1);
    run.say(60_100, 2, snapshot(20));
    run.ticks(61_000, 3_600_000);
    let mut told = run.close(3_600_000, 1);
    told.extend(run.ticks(3_600_500, 3_630_000));
    told.extend(run.say(3_631_000, 2, change(30, 3_630_990)));
    assert_eq!(told.iter().filter(|word| word.starts_with("book")).count(), 1, "{told:?}");
    assert!(!told.iter().any(|word| word == "gap"), "{told:?}");
}

#[test]
fn a_snapshot_that_may_be_older_than_what_was_told_is_not_followed() {
    let mut run = Run::new();
    run.open(0, 1, 0);
    run.open(10, 2, 1);
    run.say(100, 1, snapshot(20));
    run.say(1_000, 1, change(10, 990));
    // The same levels come again within the time that a connection may lag: it may be the book of before.
    run.say(1_100, 1, change(20, 1_090));
    run.say(1_200, 2, snapshot(20));
    let mut told = run.close(1_300, 1);
    told.extend(run.ticks(1_500, 30_000));
    assert!(told.iter().any(|word| word == "gap"), "{told:?}");
}

#[test]
fn a_book_that_nobody_can_go_on_with_is_asked_for_by_the_clock() {
    let mut run = Run::new();
    run.open(0, 1, 0);
    run.say(100, 1, snapshot(10));
    run.open(1_000, 2, 1);
    run.say(1_100, 2, snapshot(10));
    // The leader is frozen; the other one says a change, when its snapshot has been forgotten.
    run.ticks(1_500, 20_000);
    run.say(20_000, 2, change(20, 19_990));
    run.ticks(20_500, 25_500);
    run.close(25_500, 1);
    assert_eq!(run.ticks(25_600, 60_000), ["resync K"]);
    let told = run.say(60_000, 2, snapshot(20));
    assert!(told.contains(&"gap".to_owned()), "{told:?}");
    assert_eq!(run.say(60_100, 2, change(30, 60_090)).len(), 1);
}

#[test]
fn what_one_has_heard_before_the_other_is_told_though_both_end() {
    let mut run = Run::new();
    run.open(0, 1, 0);
    run.open(10, 2, 1);
    run.say(100, 1, snapshot(10));
    run.say(110, 2, snapshot(10));
    run.say(200, 1, change(20, 190));
    run.say(210, 2, change(20, 190));
    assert!(run.say(300, 2, change(30, 290)).is_empty(), "the leader has not said it yet");
    assert!(run.close(310, 2).is_empty());
    let told = run.close(320, 1);
    assert_eq!(told.iter().filter(|word| word.starts_with("book")).count(), 1, "{told:?}");
    assert!(!told.contains(&"gap".to_owned()), "{told:?}");
}
