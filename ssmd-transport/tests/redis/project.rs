//! The latest records in a real Redis: never an older one over a newer one, and all of them again after it lost them.

use std::sync::Arc;
use std::time::Duration;

use ssmd_core::record::{Book, Level, Side, Trade};
use ssmd_core::{
    Body, Cache, EntryId, Evidence, FeedName, Gap, GapCause, Header, Origin, Record, SessionId, Symbol,
    Tasks, Timestamp, codec,
};
use ssmd_transport::project::{Projector, key};
use ssmd_transport::redis::RedisCache;

use crate::rig::{Redis, ask, cache, clock};

fn feed() -> FeedName {
    FeedName::new("kraken").unwrap()
}

/// Entry `n` of a log, received at second `second`.
fn header(symbol: &str, origin: u8, n: u64, second: i64) -> Header {
    Header {
        symbol: Some(Symbol::new(symbol).unwrap()),
        venue_time: None,
        received: Timestamp::from_nanos(second * 1_000_000_000),
        sequence: None,
        session: SessionId(1),
        index: n,
        source: Some(EntryId { origin: Origin::from_bytes([origin; 16]), n }),
    }
}

fn trade(header: Header, price: &str) -> Record {
    let (price, size) = (price.parse().unwrap(), "1".parse().unwrap());
    let side = Some(Side::Buy);
    Record { header, body: Body::Trade(Trade { price, size, side, id: None, order_type: None }) }
}

fn book(bids: &[(&str, &str)]) -> Book {
    let level =
        |(price, size): &(&str, &str)| Level { price: price.parse().unwrap(), size: size.parse().unwrap() };
    Book { bids: bids.iter().map(level).collect(), depth: Some(2), ..Book::default() }
}

/// A projector that runs.
struct Running {
    projector: Projector,
    tasks: Tasks,
}

impl Running {
    fn start(cache: &Arc<RedisCache>) -> Self {
        let cache = Arc::clone(cache) as Arc<dyn Cache>;
        let projector = Projector::new(feed(), cache, clock());
        let mut tasks = Tasks::new();
        tasks.spawn("project", projector.clone().run(tasks.token()));
        Self { projector, tasks }
    }

    fn take(&self, record: &Record) {
        self.projector.take(record);
    }

    async fn stop(self) {
        self.tasks.stop(Duration::from_secs(60), clock()).await.unwrap();
        assert_eq!(self.projector.behind(), 0);
    }
}

/// The record under a key.
async fn found(cache: &RedisCache, kind: &str, symbol: &str) -> Option<Record> {
    let key = key(&feed(), kind, &Symbol::new(symbol).unwrap());
    let found = cache.get(&key).await.ok()??;
    Some(codec::json::decode(&found.value).unwrap().1)
}

/// Looks until the cache holds what it must.
async fn until(cache: &RedisCache, kind: &str, symbol: &str, must: impl Fn(Option<&Record>) -> bool) {
    let looking = async {
        loop {
            let found = found(cache, kind, symbol).await;
            if must(found.as_ref()) {
                return;
            }
            clock().sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = looking => {}
        () = clock().sleep(Duration::from_secs(60)) => {
            panic!("{kind} of {symbol}: {:?}", found(cache, kind, symbol).await);
        }
    }
}

/// Looks until the cache holds exactly this.
async fn holds(cache: &RedisCache, kind: &str, record: &Record) {
    let symbol = record.header.symbol.clone().unwrap();
    until(cache, kind, symbol.as_str(), |found| found == Some(record)).await;
}

#[tokio::test]
async fn the_latest_of_each_kind_is_there_and_a_book_is_whole() {
    let Some(server) = Redis::start(&[]) else { return };
    let cache = Arc::new(cache(&server));
    let running = Running::start(&cache);
    let hostile = "A*B\r\nFLUSHALL\r\n../ 𝄞";
    for at in 1..=100 {
        running.take(&trade(header("BTC/USD", 1, at, 1), &at.to_string()));
        running.take(&trade(header(hostile, 1, at, 1), &at.to_string()));
    }
    holds(&cache, "trade", &trade(header("BTC/USD", 1, 100, 1), "100")).await;
    holds(&cache, "trade", &trade(header(hostile, 1, 100, 1), "100")).await;

    let change = |n, body| running.take(&Record { header: header("BTC/USD", 1, n, 1), body });
    let whole = |n, bids: &[(&str, &str)]| Record {
        header: header("BTC/USD", 1, n, 1),
        body: Body::BookSnapshot(book(bids)),
    };
    change(101, Body::BookDelta(book(&[("8", "1")])));
    change(102, Body::BookSnapshot(book(&[("10", "1"), ("9", "2")])));
    holds(&cache, "book", &whole(102, &[("10", "1"), ("9", "2")])).await;
    change(103, Body::BookDelta(book(&[("11", "5"), ("10", "0"), ("8", "7")])));
    // Nine is the second of two levels now, and eight is beyond the depth.
    holds(&cache, "book", &whole(103, &[("11", "5"), ("9", "2")])).await;

    let from = Evidence { at: Timestamp::from_nanos(0), session: SessionId(1), index: 0, shown: None };
    let gap = Gap {
        cause: GapCause::Disconnect,
        channel: None,
        symbol: None,
        from: Some(from),
        to: None,
        missing: None,
        detail: String::new(),
    };
    change(104, Body::Gap(gap));
    until(&cache, "book", "BTC/USD", |found| found.is_none()).await;
    change(105, Body::BookDelta(book(&[("8", "1")])));
    change(106, Body::BookSnapshot(book(&[("7", "1")])));
    holds(&cache, "book", &whole(106, &[("7", "1")])).await;
    running.stop().await;
    // Two trades, a book and the projector's own key.
    assert_eq!(cache.scan("kraken.").await.unwrap().len(), 4);
}

#[tokio::test]
async fn an_older_value_never_replaces_a_newer_one() {
    let Some(server) = Redis::start(&[]) else { return };
    let cache = Arc::new(cache(&server));
    let newer = trade(header("A", 1, 9, 9), "9");
    let first = Running::start(&cache);
    first.take(&newer);
    holds(&cache, "trade", &newer).await;
    first.stop().await;

    // Another one starts and tells again what is old: of the same log, and of another one.
    let second = Running::start(&cache);
    for old in [trade(header("A", 1, 8, 10), "8"), trade(header("A", 2, 70, 8), "7")] {
        second.take(&old);
        second.take(&trade(header("B", 1, 8, 8), "1"));
        holds(&cache, "trade", &trade(header("B", 1, 8, 8), "1")).await;
        assert_eq!(found(&cache, "trade", "A").await.as_ref(), Some(&newer));
    }
    let newest = trade(header("A", 2, 71, 10), "10");
    second.take(&newest);
    holds(&cache, "trade", &newest).await;
    second.stop().await;

    // Two at once, whose order in time is not their order of writing.
    let (one, two) = (Running::start(&cache), Running::start(&cache));
    for at in 0..500 {
        one.take(&trade(header("C", 3, at, 2 * at as i64), &at.to_string()));
        two.take(&trade(header("C", 4, at, 2 * at as i64 + 1), &at.to_string()));
        tokio::task::yield_now().await;
    }
    holds(&cache, "trade", &trade(header("C", 4, 499, 999), "499")).await;
    one.stop().await;
    two.stop().await;
    assert_eq!(found(&cache, "trade", "C").await, Some(trade(header("C", 4, 499, 999), "499")));
}

#[tokio::test]
async fn what_redis_lost_is_written_anew_also_for_symbols_that_are_quiet() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let cache = Arc::new(cache(&server));
    let running = Running::start(&cache);
    let all: Vec<_> = (0..2000).map(|at| trade(header(&format!("S{at}"), 1, at, 1), "5")).collect();
    all.iter().for_each(|record| running.take(record));
    for round in 0..3 {
        for record in &all {
            holds(&cache, "trade", record).await;
        }
        match round {
            0 => drop(ask(&server, &["FLUSHALL"]).await),
            1 => server = server.crash(),
            _ => {}
        }
    }
    running.stop().await;
    assert_eq!(cache.scan("kraken.trade.").await.unwrap().len(), all.len());
    drop(server);
}
