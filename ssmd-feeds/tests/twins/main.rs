//! R19 of `docs/reliability.md`: one of two connections dies at random, either lags, and what is told has no hole.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "../common/mod.rs"]
mod common;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::FeedSpec;
use ssmd_core::record::Book;
use ssmd_core::{
    Body, BookSide, Clock, Decoders, FeedName, Merger, OrderBook, Output, Record, SessionId, Symbol,
    SystemClock, Tasks, Timestamp, TradeIdentity,
};
use ssmd_feeds::kraken::checksum;
use ssmd_feeds::sim::{self, Sim, SimOptions, Source};
use ssmd_feeds::tls::client_config;
use ssmd_feeds::{CaptureOptions, OpenContext, Subscriptions};

use common::dialer;
use common::recorder::{self, gaps};
use common::toy::ToyJournal;
use wires::Wires;

/// `SSMD_R19_SECONDS` for longer runs, `SSMD_R19_SEED` for others.
const SECONDS: u64 = 40;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A venue that is recorded over two connections.
struct Venue {
    name: &'static str,
    row: &'static str,
    path: &'static str,
    channels: &'static [&'static str],
    depth: Option<u32>,
    /// Messages a second.
    rate: f64,
}

const KRAKEN: Venue = Venue {
    name: "kraken",
    row: "R19",
    path: "/v2",
    channels: &["book", "trade", "ticker"],
    depth: Some(10),
    rate: 400.0,
};
const FUTURES: Venue =
    Venue { name: "kraken-futures", row: "R19-futures", path: "/ws/v1", depth: None, ..KRAKEN };
const KALSHI: Venue = Venue {
    name: "kalshi",
    row: "R19-kalshi",
    path: "/trade-api/ws/v2",
    channels: &["orderbook_delta", "trade", "ticker"],
    depth: None,
    rate: 400.0,
};
const POLYMARKET: Venue = Venue {
    name: "polymarket",
    row: "R19-polymarket",
    path: "/ws/market",
    channels: &["market"],
    depth: None,
    // Each change has the hash of a whole book, which takes its time where nothing is optimized.
    rate: 100.0,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_one_of_two_connections_dies_again_and_again() {
    let heard = r19(&KRAKEN).await;
    assert_eq!(wrong_books(&heard.told), Vec::<String>::new());
    assert_eq!(newest_books(&heard.raw), newest_books(&heard.told), "the end of a book is missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_one_of_two_connections_to_futures_dies_again_and_again() {
    let heard = r19(&FUTURES).await;
    assert_eq!(jumps(&heard.told, change_number), Vec::<String>::new(), "numbers of changes");
    assert_eq!(highest(&heard.told, change_number), highest(&heard.raw, change_number));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_one_of_two_connections_to_kalshi_dies_again_and_again() {
    let heard = r19(&KALSHI).await;
    assert_eq!(lost_or_twice(&heard, is_change), Vec::<String>::new());
    assert_eq!(last_books(&heard.told), heard_books(&heard.raw));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_one_of_two_connections_to_polymarket_dies_again_and_again() {
    let heard = r19(&POLYMARKET).await;
    assert_eq!(lost_or_twice(&heard, is_change), Vec::<String>::new());
    assert_eq!(last_books(&heard.told), heard_books(&heard.raw));
}

/// All that both connections said, and what was told of it.
struct Heard {
    raw: Vec<Record>,
    told: Vec<Record>,
}

async fn r19(venue: &Venue) -> Heard {
    let row = venue.row;
    let (seconds, seed) = (number("SSMD_R19_SECONDS", SECONDS), number("SSMD_R19_SEED", 19));
    let (entries, cut) = record(venue, Duration::from_secs(seconds), seed).await;
    let feed: FeedName = venue.name.parse().unwrap();
    let (raw, told) = (decode(&entries, &feed, false), decode(&entries, &feed, true));
    assert_eq!(told, decode(&entries, &feed, true), "the same journal must give the same");
    let heard = Heard { raw, told };
    let Heard { raw, told } = &heard;
    let trades = |record: &Record| match &record.body {
        Body::Trade(trade) if venue.name == "kraken" => trade.id.as_deref()?.parse().ok(),
        Body::Trade(_) => record.header.sequence,
        _ => None,
    };
    let is_trade = |record: &Record| matches!(record.body, Body::Trade(_));
    let by_number = ssmd_feeds::merge_rules(&feed).trades != TradeIdentity::Id;
    let holes: Vec<_> = told.iter().filter(|record| matches!(record.body, Body::Gap(_))).collect();
    let switches = told.iter().filter(|record| matches!(record.body, Body::Switch(_))).count();
    let wrong = if by_number { jumps(told, trades) } else { lost_or_twice(&heard, is_trade) };
    let raw_gaps = gaps(&entries);
    let count = told.iter().filter(|record| is_trade(record)).count();
    println!("{row}-cut {cut} seed {seed}, {seconds} s");
    println!("{row}-raw-gaps {} switches {switches} trades {count}", raw_gaps.len());
    println!("{row}-gaps {} 0", holes.len());
    println!("{row}-duplicates-or-missing {} 0", wrong.len());
    assert!(cut > 0 && raw_gaps.len() >= cut, "{cut} were cut, {raw_gaps:#?}");
    assert!(holes.is_empty(), "{holes:#?}");
    assert_eq!(wrong, Vec::<String>::new(), "trades");
    assert!(switches > 0 && count > 0, "{switches} switches, {count} trades");
    assert_eq!(highest(told, trades), highest(raw, trades), "the last trades are missing");
    heard
}

/// Records a simulated venue over two wires, of which one at a time is cut; the journal, and how many were cut.
async fn record(venue: &Venue, time: Duration, seed: u64) -> (Vec<ssmd_core::Entry>, usize) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let symbols = sim::symbols(venue.name, 4).unwrap();
    let options = SimOptions {
        venue: venue.name.to_owned(),
        source: Source::Model { seed, symbols: symbols.clone(), rate: Some(venue.rate) },
        listen: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let sim = Sim::bind(options, Arc::clone(&clock)).await.unwrap();
    let wires = Wires::listen(sim.address(), seed, Arc::clone(&clock)).await;
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let subscriptions = Subscriptions::default();
    let context = OpenContext {
        dial: dialer(),
        tls: client_config(None).unwrap(),
        clock: Arc::clone(&clock),
        subscriptions: subscriptions.clone(),
    };
    let spec = FeedSpec {
        url: Some(format!("ws://{}{}", wires.address(), venue.path)),
        channels: venue.channels.iter().map(|channel| channel.parse().unwrap()).collect(),
        symbols: symbols.iter().map(ToString::to_string).collect(),
        depth: venue.depth,
        ..FeedSpec::new(venue.name.parse().unwrap())
    };
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    let journal = ToyJournal::new();
    let options = CaptureOptions {
        twins: vec![Arc::clone(&feed)],
        subscriptions,
        ..recorder::options(feed, &journal, Arc::clone(&clock))
    };
    let running = recorder::start(options, journal);
    let cut = wires.cut(time, async {
        let (_, entries) = running.stop().await;
        entries
    });
    let (cut, entries) = cut.await;
    tasks.stop(Duration::from_secs(30), clock).await.unwrap();
    (entries, cut)
}

/// What a journal means, merged or as each connection said it.
fn decode(entries: &[ssmd_core::Entry], feed: &FeedName, merged: bool) -> Vec<Record> {
    let decoder = ssmd_feeds::decoder(feed).unwrap();
    let mut decoders = Decoders::with(move || decoder());
    let mut merger = Merger::new(ssmd_feeds::merge_rules(feed));
    let (mut told, mut outputs) = (Vec::new(), Vec::new());
    for entry in entries {
        let _ = decoders.push(entry, &mut outputs);
        if merged {
            merger.take(entry, &mut outputs);
        }
        told.extend(outputs.drain(..).filter_map(|output| match output {
            Output::Record(record) => Some(record),
            Output::Resync(_) => None,
        }));
    }
    told
}

/// The number of a change, or of a snapshot that stands in its place.
fn change_number(record: &Record) -> Option<u64> {
    let is_book = matches!(record.body, Body::BookDelta(_) | Body::BookSnapshot(_));
    is_book.then_some(record.header.sequence)?
}

fn is_change(record: &Record) -> bool {
    matches!(record.body, Body::BookDelta(_))
}

/// A record without what its connection adds.
type Said = (Symbol, Timestamp, String);

/// How often each of these was said.
fn counts<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<Said, usize> {
    let mut counts = BTreeMap::new();
    for Record { header, body } in records {
        let said = (header.symbol.clone().unwrap(), header.venue_time.unwrap(), format!("{body:?}"));
        *counts.entry(said).or_default() += 1;
    }
    counts
}

/// Which of these was told more or less often than a connection said it, from the first of its symbol on.
fn lost_or_twice(heard: &Heard, is_one: impl Fn(&Record) -> bool) -> Vec<String> {
    let sessions: BTreeSet<SessionId> = heard.raw.iter().map(|record| record.header.session).collect();
    let mut said = BTreeMap::<Said, usize>::new();
    for session in sessions {
        let its = heard.raw.iter().filter(|record| record.header.session == session && is_one(record));
        for (this, count) in counts(its) {
            let known = said.entry(this).or_default();
            *known = count.max(*known);
        }
    }
    let told = counts(heard.told.iter().filter(|record| is_one(record)));
    let mut firsts = BTreeMap::new();
    for (symbol, time, _) in told.keys() {
        firsts.entry(symbol).or_insert(time);
    }
    let since_first = |(symbol, time, _): &Said| firsts.get(symbol).is_some_and(|first| time >= *first);
    let all: BTreeSet<&Said> = said.keys().filter(|this| since_first(this)).chain(told.keys()).collect();
    let times = |counts: &BTreeMap<Said, usize>, this| counts.get(this).copied().unwrap_or_default();
    let wrong = all.into_iter().filter(|this| times(&said, this) != times(&told, this));
    wrong
        .map(|this| format!("said {} times, told {}: {this:?}", times(&said, this), times(&told, this)))
        .collect()
}

/// When each book was changed last, and what it was then.
fn last_books(records: &[Record]) -> BTreeMap<Symbol, (Timestamp, OrderBook)> {
    let mut books = BTreeMap::<Symbol, (Timestamp, OrderBook)>::new();
    for Record { header, body } in records {
        let (Body::BookSnapshot(given) | Body::BookDelta(given)) = body else { continue };
        let (changed, book) = books.entry(header.symbol.clone().unwrap()).or_default();
        match body {
            Body::BookSnapshot(_) => book.replace(&given.bids, &given.asks),
            _ => {
                given.bids.iter().for_each(|level| book.apply(BookSide::Bid, *level));
                given.asks.iter().for_each(|level| book.apply(BookSide::Ask, *level));
                *changed = header.venue_time.unwrap();
            }
        }
    }
    books
}

/// The same of the connection that heard most of each book.
fn heard_books(records: &[Record]) -> BTreeMap<Symbol, (Timestamp, OrderBook)> {
    let sessions: BTreeSet<SessionId> = records.iter().map(|record| record.header.session).collect();
    let mut newest = BTreeMap::<Symbol, (Timestamp, OrderBook)>::new();
    for session in sessions {
        let its: Vec<_> = records.iter().filter(|record| record.header.session == session).cloned().collect();
        for (symbol, (changed, book)) in last_books(&its) {
            let known = newest.entry(symbol).or_default();
            if changed >= known.0 {
                *known = (changed, book);
            }
        }
    }
    newest
}

/// The highest number of each symbol.
fn highest(records: &[Record], number: impl Fn(&Record) -> Option<u64>) -> BTreeMap<Option<Symbol>, u64> {
    let mut all = BTreeMap::<Option<Symbol>, u64>::new();
    for record in records {
        if let Some(number) = number(record) {
            let known = all.entry(record.header.symbol.clone()).or_default();
            *known = number.max(*known);
        }
    }
    all
}

/// Where the number of a symbol is not one above the last.
fn jumps(told: &[Record], number: impl Fn(&Record) -> Option<u64>) -> Vec<String> {
    let (mut last, mut wrong) = (BTreeMap::new(), Vec::new());
    for record in told {
        let Some(number) = number(record) else { continue };
        let symbol = record.header.symbol.clone();
        if let Some(before) = last.insert(symbol.clone(), number)
            && number != before + 1
        {
            wrong.push(format!("{symbol:?}: {number} follows {before}"));
        }
    }
    wrong
}

fn change(book: &mut OrderBook, given: &Book) {
    given.bids.iter().for_each(|level| book.apply(BookSide::Bid, *level));
    given.asks.iter().for_each(|level| book.apply(BookSide::Ask, *level));
    book.truncate(given.depth.unwrap_or(10) as usize);
}

/// Where a book, made of what was told, is not the venue's: after each change its checksum must be right.
fn wrong_books(told: &[Record]) -> Vec<String> {
    let (mut books, mut wrong) = (BTreeMap::<Option<Symbol>, OrderBook>::new(), Vec::new());
    for record in told {
        let book = books.entry(record.header.symbol.clone()).or_default();
        let given = match &record.body {
            Body::BookSnapshot(given) => {
                book.replace(&given.bids, &given.asks);
                given
            }
            Body::BookDelta(given) => {
                change(book, given);
                given
            }
            _ => continue,
        };
        if given.checksum.is_some_and(|said| said != checksum(book)) {
            wrong.push(format!("{:?} at {:?}", record.header.symbol, record.header.source));
        }
    }
    wrong
}

/// The venue's time of the last change of each book.
fn newest_books(records: &[Record]) -> BTreeMap<Symbol, Timestamp> {
    let mut newest = BTreeMap::new();
    for record in records.iter().filter(|record| matches!(record.body, Body::BookDelta(_))) {
        let (Some(symbol), Some(time)) = (&record.header.symbol, record.header.venue_time) else { continue };
        let known = newest.entry(symbol.clone()).or_insert(time);
        *known = time.max(*known);
    }
    newest
}
