//! The model's books, checked by an independent book that knows only the frames.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::support::{Client, Running, model, subscribe};

#[derive(Deserialize)]
struct Frame<'a> {
    channel: Option<&'a str>,
    r#type: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BookData<'a> {
    symbol: &'a str,
    #[serde(borrow)]
    bids: Vec<LevelData<'a>>,
    #[serde(borrow)]
    asks: Vec<LevelData<'a>>,
    checksum: u32,
}

#[derive(Deserialize)]
struct LevelData<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

#[derive(Deserialize)]
struct TradeData<'a> {
    symbol: &'a str,
    trade_id: u64,
}

/// A book from the documentation's words: wire digits, cut to its depth after every message.
#[derive(Default)]
struct Book {
    bids: BTreeMap<u64, String>,
    asks: BTreeMap<u64, String>,
}

fn digits(text: &str) -> String {
    text.replace('.', "").trim_start_matches('0').to_owned()
}

impl Book {
    fn apply(&mut self, data: &BookData<'_>, depth: usize) {
        for (side, levels) in [(&mut self.bids, &data.bids), (&mut self.asks, &data.asks)] {
            for level in levels {
                let price = digits(level.price.get()).parse().unwrap();
                match digits(level.qty.get()) {
                    qty if qty.is_empty() => drop(side.remove(&price)),
                    qty => drop(side.insert(price, qty)),
                }
            }
        }
        while self.bids.len() > depth {
            self.bids.pop_first();
        }
        while self.asks.len() > depth {
            self.asks.pop_last();
        }
    }

    fn checksum(&self) -> u32 {
        let mut text = String::new();
        let asks = self.asks.iter().take(10);
        for (price, qty) in asks.chain(self.bids.iter().rev().take(10)) {
            text += &format!("{price}{qty}");
        }
        crc32fast::hash(text.as_bytes())
    }
}

/// Everything that is checked about one connection's frames.
struct Audit {
    depth: usize,
    books: HashMap<String, Book>,
    trades: HashMap<String, u64>,
    updates: usize,
    traded: usize,
}

impl Audit {
    fn new(depth: usize) -> Self {
        Self { depth, books: HashMap::new(), trades: HashMap::new(), updates: 0, traded: 0 }
    }

    fn hear(&mut self, text: &str) {
        let frame: Frame<'_> = serde_json::from_str(text).unwrap();
        let Some(data) = frame.data else { return };
        match frame.channel {
            Some("book") => {
                let data: Vec<BookData<'_>> = serde_json::from_str(data.get()).unwrap();
                let [data] = data.as_slice() else { panic!("{text}") };
                let book = self.books.entry(data.symbol.to_owned()).or_default();
                if frame.r#type == Some("snapshot") {
                    *book = Book::default();
                } else {
                    self.updates += 1;
                }
                book.apply(data, self.depth);
                assert_eq!(book.checksum(), data.checksum, "{text}");
                assert_eq!((book.bids.len(), book.asks.len()), (self.depth, self.depth), "{text}");
            }
            Some("trade") => {
                for trade in serde_json::from_str::<Vec<TradeData<'_>>>(data.get()).unwrap() {
                    self.traded += 1;
                    let last = self.trades.insert(trade.symbol.to_owned(), trade.trade_id);
                    assert!(last.is_none_or(|last| last + 1 == trade.trade_id), "{text}");
                }
            }
            _ => {}
        }
    }
}

async fn audited(client: &mut Client, depth: usize, updates: usize) -> Audit {
    let symbols = ["BTC/USD", "ETH/USD", "XRP/USD", "S0001/USD"];
    client.say(&subscribe("book", &symbols, json!({ "depth": depth }))).await;
    client.say(&subscribe("trade", &symbols, json!({ "snapshot": true }))).await;
    client.say(&subscribe("ticker", &symbols, json!({ "event_trigger": "bbo" }))).await;
    let mut audit = Audit::new(depth);
    while audit.updates < updates {
        audit.hear(&client.hear().await.unwrap());
    }
    audit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_checksum_holds_at_every_depth_side_by_side() {
    let sim = Running::start(model(14, None)).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(sim.client().await);
    }
    let mut depths = [10, 25, 100, 500, 1000].into_iter();
    let audits = clients.iter_mut().map(|client| audited(client, depths.next().unwrap(), 20_000));
    for audit in futures_util::future::join_all(audits).await {
        assert_eq!(audit.books.len(), 4);
        assert!(audit.traded > 1000, "{} trades", audit.traded);
    }
    drop(clients);
    assert_eq!(sim.stopped().await.cut, 0);
}

/// What one client hears of one symbol, without times and acknowledgements.
async fn heard(seed: u64, count: usize) -> Vec<String> {
    let mut options = model(14, None);
    if let ssmd_feeds::sim::Source::Model { seed: own, .. } = &mut options.source {
        *own = seed;
    }
    let sim = Running::start(options).await;
    let mut client = sim.client().await;
    client.say(&subscribe("book", &["S0001/USD", "BTC/USD"], json!({}))).await;
    let mut frames = Vec::new();
    while frames.len() < count {
        let text = client.hear().await.unwrap();
        if text.starts_with(r#"{"channel":"book""#) {
            frames.push(text.split(r#","timestamp""#).next().unwrap().to_owned());
        }
    }
    sim.stopped().await;
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_says_the_same() {
    let first = heard(3, 3000).await;
    assert_eq!(first, heard(3, 3000).await);
    assert_ne!(first, heard(4, 3000).await);
}

#[tokio::test]
async fn a_rate_is_kept() {
    let sim = Running::start(model(5, Some(2000.0))).await;
    let mut client = sim.client().await;
    client.say(&subscribe("book", &["BTC/USD", "ETH/USD"], json!({}))).await;
    while !client.hear().await.unwrap().contains("update\",\"data\":[{\"symbol") {}
    let clock = ssmd_core::SystemClock::new();
    for _ in 0..1000 {
        client.hear().await.unwrap();
    }
    let took = ssmd_core::Clock::elapsed(&clock).as_secs_f64();
    assert!((0.4..5.0).contains(&took), "1000 messages at 2000/s took {took} s");
    sim.stopped().await;
}
