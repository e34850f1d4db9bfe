//! Two connections to one venue that lag, lose and die as they like, merged: nothing is missing and nothing is there
//! twice while one of them is up, and every book is the venue's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use ssmd_core::entry::note::{self, Twin};
use ssmd_core::record::{Book, Level, Trade};
use ssmd_core::{
    Body, BookIdentity, BookSide, Decimal, Entry, EntryId, EntryKind, FrameKind, Gap, GapCause, Header,
    MergeRules, Merger, OrderBook, Origin, Output, Record, SessionId, Symbol, Timestamp, TradeIdentity,
};

const ORIGIN: Origin = Origin::from_bytes([3; 16]);
/// How long the venue is heard, and how often something happens there.
const STEPS: u64 = 400;
const STEP: u64 = 50;
/// How long a connection is away after its end, in milliseconds.
const AWAY: u64 = 300;

const NUMBERED: MergeRules = MergeRules {
    trades: TradeIdentity::Number,
    trade_channel: "trade",
    books: BookIdentity::Sequence,
    book_channel: "book",
};
const BY_CONTENT: MergeRules =
    MergeRules { trades: TradeIdentity::Id, books: BookIdentity::Change, ..NUMBERED };

/// What happens to one of two connections.
#[derive(Clone, Debug)]
struct Fate {
    /// How late each of its frames comes, in milliseconds, by the second.
    lags: Vec<u64>,
    /// When it dies, in milliseconds.
    dies: Vec<u64>,
    /// Steps whose frame it loses, with evidence.
    loses: Vec<u64>,
}

/// What the venue did in one step: a trade, or a change of its book, of one of two symbols.
#[derive(Clone, Debug)]
struct Step {
    symbol: usize,
    level: Option<(BookSide, i64, i64)>,
    /// Whether the venue tells the whole book instead of its change, where changes have no numbers.
    whole: bool,
}

fn symbol(at: usize) -> Symbol {
    Symbol::new(["A/USD", "B/USD"][at]).unwrap()
}

fn level((_, price, size): (BookSide, i64, i64)) -> Level {
    Level { price: Decimal::new(price.into(), 0).unwrap(), size: Decimal::new(size.into(), 0).unwrap() }
}

/// The venue: what each step says, and its books after it.
struct Venue {
    steps: Vec<Step>,
    /// For each step: its number among the trades, or the changes, of its symbol.
    numbers: Vec<u64>,
    /// For each step the book of its symbol after it.
    books: Vec<OrderBook>,
}

impl Venue {
    fn new(steps: Vec<Step>) -> Self {
        let (mut counts, mut now) = (BTreeMap::new(), [OrderBook::new(), OrderBook::new()]);
        let (mut numbers, mut books) = (Vec::new(), Vec::new());
        for step in &steps {
            let count = counts.entry((step.symbol, step.level.is_some())).or_insert(100_u64);
            *count += 1;
            numbers.push(*count);
            if let Some(change) = step.level {
                now[step.symbol].apply(change.0, level(change));
            }
            books.push(now[step.symbol].clone());
        }
        Self { steps, numbers, books }
    }

    /// When a step happens, in milliseconds.
    fn time(step: usize) -> u64 {
        1000 + step as u64 * STEP
    }

    fn header(&self, step: usize, place: (u64, u64, u64), n: u64) -> Header {
        let (session, index, received) = place;
        Header {
            symbol: Some(symbol(self.steps[step].symbol)),
            // Two steps share a time.
            venue_time: Some(Timestamp::from_nanos((Self::time(step) / 100 * 100).cast_signed())),
            received: Timestamp::from_nanos(received.cast_signed()),
            sequence: Some(self.numbers[step]),
            session: SessionId(session),
            index,
            source: Some(EntryId { origin: ORIGIN, n }),
        }
    }

    fn body(&self, step: usize) -> Body {
        match self.steps[step].level {
            None => Body::Trade(Trade {
                price: Decimal::new(self.numbers[step].into(), 0).unwrap(),
                size: Decimal::new(1, 0).unwrap(),
                side: None,
                id: Some(self.numbers[step].to_string()),
                order_type: None,
            }),
            Some(change) => {
                let mut book = Book::default();
                match change.0 {
                    BookSide::Bid => book.bids.push(level(change)),
                    BookSide::Ask => book.asks.push(level(change)),
                }
                Body::BookDelta(book)
            }
        }
    }
}

impl Venue {
    /// The book after a step.
    fn whole(&self, step: usize) -> Body {
        let [bids, asks] =
            [BookSide::Bid, BookSide::Ask].map(|side| self.books[step].levels(side).copied().collect());
        Body::BookSnapshot(Book { bids, asks, ..Book::default() })
    }
}

/// Something that one connection hears.
enum Heard {
    Open(usize),
    Close,
    /// The books as they are before a step.
    Snapshots(usize),
    Step(usize),
    /// A step was lost, and this one shows it.
    Jump(usize),
    Tick,
}

/// What a connection hears, and when.
fn connection(fate: &Fate, twin: usize, venue: &Venue) -> Vec<(u64, u64, Heard)> {
    let mut all = Vec::new();
    let mut dies = fate.dies.clone();
    dies.sort_unstable();
    let (mut opens, mut session) = (0, 1 + twin as u64);
    let end = Venue::time(venue.steps.len()) + 60_000;
    for dies in dies.into_iter().chain([end]) {
        if dies < opens + 100 {
            continue;
        }
        all.push((opens, session, Heard::Open(twin)));
        let first = (0..venue.steps.len()).find(|step| Venue::time(*step) > opens + 50);
        let (mut last, mut jumps) = (opens + 50, [[false; 2]; 2]);
        // Books are heard from the beginning; the first trade of a symbol shows no loss before it.
        let mut heard = [[false, true]; 2];
        let first = first.unwrap_or(venue.steps.len());
        all.push((last, session, Heard::Snapshots(first)));
        for step in first..venue.steps.len() {
            let time = Venue::time(step);
            let lag = fate.lags[(time / 1000) as usize % fate.lags.len()];
            last = last.max(time + lag);
            if last >= dies {
                break;
            }
            let place = (venue.steps[step].symbol, usize::from(venue.steps[step].level.is_some()));
            let of = &mut jumps[place.0][place.1];
            if fate.loses.contains(&(step as u64)) {
                *of = true;
                continue;
            }
            let shown = std::mem::replace(&mut heard[place.0][place.1], true);
            if std::mem::take(of) && shown {
                all.push((last, session, Heard::Jump(step)));
            } else {
                all.push((last, session, Heard::Step(step)));
            }
        }
        all.push((dies, session, Heard::Close));
        opens = dies + AWAY;
        session += 2;
    }
    all
}

struct Journal<'a> {
    venue: &'a Venue,
    merger: Merger,
    by_content: bool,
    n: u64,
    indices: BTreeMap<u64, u64>,
    told: Vec<Record>,
}

impl Journal<'_> {
    fn push(&mut self, at: u64, session: u64, heard: &Heard) {
        self.n += 1;
        let index = self.indices.entry(session).or_default();
        let place = (session, *index, at);
        let (mut out, mut kind, mut payload) = (Vec::new(), EntryKind::Frame(FrameKind::Data), Bytes::new());
        match heard {
            Heard::Open(twin) => {
                kind = EntryKind::Open;
                let twin = Some(Twin { number: *twin, of: 2 });
                payload = note::encode(&note::Open {
                    url: String::new(),
                    wanted: vec![],
                    shard: Some(0),
                    twin,
                    category: None,
                });
            }
            Heard::Close => {
                kind = EntryKind::Close;
                payload = note::encode(&note::Close {
                    cause: "disconnect".to_owned(),
                    detail: String::new(),
                    covered_by: None,
                    heard: note::Heard::default(),
                    sha256: String::new(),
                });
            }
            Heard::Tick => kind = EntryKind::Tick,
            Heard::Snapshots(first) => {
                for of in 0..2 {
                    out.extend(self.snapshot(of, *first, place));
                }
                *self.indices.entry(session).or_default() += 1;
            }
            Heard::Step(step) | Heard::Jump(step) => {
                let is_book = self.venue.steps[*step].level.is_some();
                let header = self.venue.header(*step, place, self.n);
                let body = match is_book && self.by_content && self.venue.steps[*step].whole {
                    true => self.venue.whole(*step),
                    false => self.venue.body(*step),
                };
                let record = Record { header, body };
                let jumps = matches!(heard, Heard::Jump(_));
                out.extend(jumps.then(|| self.gap(*step, place)));
                out.push(Output::Record(record));
                if jumps && is_book {
                    out.push(Output::Resync(symbol(self.venue.steps[*step].symbol)));
                }
                *self.indices.entry(session).or_default() += 1;
            }
        }
        let stamp = Timestamp::from_nanos(at.cast_signed());
        let entry = Entry {
            id: EntryId { origin: ORIGIN, n: self.n },
            day: stamp.day(),
            at: stamp,
            elapsed: Duration::from_millis(at),
            session: SessionId(if kind == EntryKind::Tick { 0 } else { session }),
            index: place.1,
            kind,
            binary: false,
            more: false,
            payload,
        };
        self.merger.take(&entry, &mut out);
        self.told.extend(out.into_iter().filter_map(|output| match output {
            Output::Record(record) => Some(record),
            Output::Resync(_) => None,
        }));
    }

    /// What a decoder says of a loss before a step.
    fn gap(&self, step: usize, place: (u64, u64, u64)) -> Output {
        let is_book = self.venue.steps[step].level.is_some();
        Output::Record(Record {
            header: self.venue.header(step, place, self.n),
            body: Body::Gap(Gap {
                cause: GapCause::Sequence,
                channel: Some(if is_book { "book" } else { "trade" }.to_owned()),
                symbol: Some(symbol(self.venue.steps[step].symbol)),
                from: None,
                to: None,
                missing: None,
                detail: String::new(),
            }),
        })
    }

    /// The book of a symbol before a step, numbered as its last change.
    fn snapshot(&self, of: usize, first: usize, place: (u64, u64, u64)) -> Option<Output> {
        let is_change =
            |step: &usize| self.venue.steps[*step].symbol == of && self.venue.steps[*step].level.is_some();
        let last = (0..first).rev().find(is_change);
        let mut header = self.venue.header(last.unwrap_or(0), place, self.n);
        header.symbol = Some(symbol(of));
        header.sequence = Some(last.map_or(100, |last| self.venue.numbers[last]));
        let nothing = Body::BookSnapshot(Book::default());
        Some(Output::Record(Record { header, body: last.map_or(nothing, |last| self.venue.whole(last)) }))
    }
}

fn merge(venue: &Venue, fates: &[Fate; 2], rules: MergeRules) -> Vec<Record> {
    let mut all = connection(&fates[0], 0, venue);
    all.extend(connection(&fates[1], 1, venue));
    let end = Venue::time(venue.steps.len()) + 60_000;
    all.extend((0..end / 1000).map(|second| (second * 1000 + 500, 0, Heard::Tick)));
    // Frames of one connection stay in their order; of two at one time, any may be first.
    all.sort_by_key(|(at, ..)| *at);
    let by_content = rules.books == BookIdentity::Change;
    let mut journal = Journal {
        venue,
        merger: Merger::new(rules),
        by_content,
        n: 0,
        indices: BTreeMap::new(),
        told: Vec::new(),
    };
    all.iter().for_each(|(at, session, heard)| journal.push(*at, *session, heard));
    journal.told
}

/// Holds what was told against the venue. Trades without numbers have the order of whoever leads, so one that the
/// leader did not hear may come late.
fn check(venue: &Venue, told: &[Record], in_order: bool) -> Result<(), TestCaseError> {
    for of in 0..2 {
        let mine: Vec<_> = told.iter().filter(|record| record.header.symbol == Some(symbol(of))).collect();
        let gaps: Vec<_> = mine.iter().filter(|record| matches!(record.body, Body::Gap(_))).collect();
        prop_assert!(gaps.is_empty(), "{gaps:?}");
        let is = |step: &usize, book| {
            venue.steps[*step].symbol == of && venue.steps[*step].level.is_some() == book
        };
        let truth: Vec<u64> =
            (0..venue.steps.len()).filter(|step| is(step, false)).map(|step| venue.numbers[step]).collect();
        let mut trades: Vec<u64> = mine
            .iter()
            .filter_map(|record| match &record.body {
                Body::Trade(trade) => Some(trade.id.as_deref().unwrap().parse().unwrap()),
                _ => None,
            })
            .collect();
        if !in_order {
            trades.sort_unstable();
        }
        prop_assert_eq!(trades, truth, "trades of {}", symbol(of));
        let (mut book, mut at, mut told) = (OrderBook::new(), 100, BTreeSet::new());
        for record in mine {
            match &record.body {
                Body::BookSnapshot(given) => {
                    book.replace(&given.bids, &given.asks);
                    at = record.header.sequence.unwrap();
                }
                Body::BookDelta(given) => {
                    for (side, levels) in [(BookSide::Bid, &given.bids), (BookSide::Ask, &given.asks)] {
                        levels.iter().for_each(|level| book.apply(side, *level));
                    }
                    at += 1;
                    prop_assert_eq!(record.header.sequence, Some(at), "a change is missing or twice");
                }
                // It is the book at every switch, and so before and after it.
                Body::Switch(_) => {}
                _ => continue,
            }
            told.insert(at);
            let step = (0..venue.steps.len()).rev().find(|step| is(step, true) && venue.numbers[*step] == at);
            let expected = step.map_or_else(OrderBook::new, |step| venue.books[step].clone());
            prop_assert_eq!(&book, &expected);
        }
        let (first, last) = (told.first().copied().unwrap_or(0), told.last().copied().unwrap_or(0));
        prop_assert_eq!(told.len() as u64, last - first + 1, "a book is missing");
        let last = (0..venue.steps.len()).rev().find(|step| is(step, true));
        prop_assert_eq!(at, last.map_or(100, |last| venue.numbers[last]), "the end of the book is missing");
    }
    Ok(())
}

/// The one that leads is five seconds behind the other, which tells whole books again and again, and dies.
#[test]
fn who_was_far_behind_is_followed_from_where_it_was() {
    let change = |at: i64| (BookSide::Bid, 1 + at % 5, 1 + at % 7);
    let steps = (0..STEPS.cast_signed()).map(|at| Step {
        symbol: (at % 2) as usize,
        level: (at % 7 != 0).then(|| change(at / 2)),
        whole: at % 5 == 0,
    });
    let venue = Venue::new(steps.collect());
    let behind = Fate { lags: vec![5000], dies: vec![12_000], loses: Vec::new() };
    let ahead = Fate { lags: vec![0], dies: vec![4000], loses: Vec::new() };
    for rules in [NUMBERED, BY_CONTENT] {
        check(&venue, &merge(&venue, &[behind.clone(), ahead.clone()], rules), true).unwrap();
    }
}

/// Whoever is ahead has not heard the first trade of a symbol, and nothing shows that: the other one has.
#[test]
fn the_first_trade_is_told_though_one_connection_has_lost_it() {
    let trade = |at: u64| Step { symbol: (at % 2) as usize, level: None, whole: false };
    let venue = Venue::new((0..STEPS).map(trade).collect());
    for (lag, lost) in [(300, vec![0]), (5000, vec![0, 1]), (300, vec![0, 2, 4, 1])] {
        let ahead = Fate { lags: vec![0], dies: Vec::new(), loses: lost };
        let behind = Fate { lags: vec![lag], dies: Vec::new(), loses: Vec::new() };
        for rules in [NUMBERED, BY_CONTENT] {
            for fates in [[ahead.clone(), behind.clone()], [behind.clone(), ahead.clone()]] {
                check(&venue, &merge(&venue, &fates, rules), rules == NUMBERED).unwrap();
            }
        }
    }
}

/// No state of a book comes again: where one does, nothing tells the two apart, and what lies between has changed nothing.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = prop_oneof![Just(BookSide::Bid), Just(BookSide::Ask)];
    let level = prop::option::weighted(0.7, (side, 1_i64..6));
    let step = (0_usize..2, level, prop::bool::weighted(0.15));
    prop::collection::vec(step, STEPS as usize).prop_map(|steps| {
        let all = (1..).zip(steps).map(|(size, (symbol, level, whole))| Step {
            symbol,
            level: level.map(|(side, price)| (side, price, size)),
            whole,
        });
        let mut steps: Vec<Step> = all.collect();
        // Each symbol has a trade soon, which a connection may lose.
        steps[0] = Step { symbol: 0, level: None, whole: false };
        steps[1] = Step { symbol: 1, ..steps[0].clone() };
        steps
    })
}

fn lags() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![5 => 0_u64..40, 1 => 0_u64..5000], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// One of two dies again and again, the other stays; either lags.
    #[test]
    fn one_that_dies_is_covered(
        steps in steps(),
        lags in [lags(), lags()],
        // What is told begins with what comes first, so the first trades must have come from one of them.
        dies in prop::collection::vec(6500_u64..21_000, 0..5),
        loses in prop::collection::vec(prop_oneof![1 => 0..4_u64, 3 => 0..STEPS], 0..5),
    ) {
        let venue = Venue::new(steps);
        // The first steps are trades, and the loss of the first of a symbol is seen by nobody.
        let seen = !loses.iter().any(|step| *step < 2);
        let [one, other] = lags;
        let fates = [
            Fate { lags: one, dies, loses },
            Fate { lags: other, dies: Vec::new(), loses: Vec::new() },
        ];
        for rules in [NUMBERED, BY_CONTENT] {
            let in_order = seen || rules == NUMBERED;
            check(&venue, &merge(&venue, &fates, rules), in_order)?;
            let [one, other] = fates.clone();
            check(&venue, &merge(&venue, &[other, one], rules), in_order)?;
        }
    }

    /// Both die, in turn, with time in between for the other to hear what the first has.
    #[test]
    fn two_that_die_in_turn_cover_one_another(
        steps in steps(),
        dies in prop::collection::vec(any::<bool>(), 3),
        lag in 0_u64..500,
    ) {
        let venue = Venue::new(steps);
        let mut fates = [0, lag].map(|lag| Fate { lags: vec![lag], dies: Vec::new(), loses: Vec::new() });
        for (at, which) in dies.into_iter().enumerate() {
            fates[usize::from(which)].dies.push(6000 + at as u64 * 4000);
        }
        for rules in [NUMBERED, BY_CONTENT] {
            check(&venue, &merge(&venue, &fates, rules), true)?;
        }
    }

    /// Whatever happens, nothing is told twice, and the same journal gives the same.
    #[test]
    fn nothing_is_told_twice_and_the_same_is_told_again(
        steps in steps(),
        lags in [lags(), lags()],
        dies in [prop::collection::vec(1000_u64..21_000, 0..5), prop::collection::vec(1000_u64..21_000, 0..5)],
        loses in [prop::collection::vec(0..STEPS, 0..9), prop::collection::vec(0..STEPS, 0..9)],
    ) {
        let venue = Venue::new(steps);
        let [a, b] = [0, 1].map(|at: usize| Fate {
            lags: lags[at].clone(), dies: dies[at].clone(), loses: loses[at].clone(),
        });
        let fates = [a, b];
        for rules in [NUMBERED, BY_CONTENT] {
            let told = merge(&venue, &fates, rules);
            prop_assert_eq!(&told, &merge(&venue, &fates, rules));
            let mut ids: Vec<_> = told.iter().filter_map(|record| match &record.body {
                Body::Trade(trade) => Some((record.header.symbol.clone(), trade.id.clone())),
                _ => None,
            }).collect();
            let count = ids.len();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), count, "a trade is told twice");
        }
    }
}
