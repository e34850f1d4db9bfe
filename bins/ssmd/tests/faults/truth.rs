//! What the venue itself says of its books near the end, to a client of its own, against those made of the records.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use ssmd_core::record::Level;
use ssmd_core::{Body, BookSide, Clock, Decimal, OrderBook, Record, Symbol, Timestamp};
use ssmd_feeds::{Dial, Dialer, Handshake};

use crate::rig::Plan;

/// How long before the end the venue is asked.
const BEFORE_END: Duration = Duration::from_secs(2);

/// One book of the venue.
pub(crate) struct Truth {
    symbol: String,
    /// Its number, where it is the same on every connection.
    number: Option<u64>,
    /// When it was asked for, so that it is no older.
    asked: Timestamp,
    book: OrderBook,
}

/// Asks the venue for all of its books, if that is planned.
pub(crate) async fn ask(plan: &Plan, url: &str, clock: &Arc<dyn Clock>) -> Vec<Truth> {
    if !plan.truth {
        return Vec::new();
    }
    clock.sleep(plan.time.saturating_sub(BEFORE_END)).await;
    let dialer = Dialer::new(ssmd_feeds::tls::client_config(None).unwrap(), false);
    let handshake = Handshake { url: url.to_owned(), headers: Vec::new() };
    let mut socket = dialer.open(&handshake, Arc::clone(clock)).await.unwrap();
    let symbols: Vec<_> = plan.symbols.iter().map(Symbol::as_str).collect();
    let request = match plan.venue.name {
        "kraken-futures" => json!({"event": "subscribe", "feed": "book", "product_ids": symbols}),
        "kalshi" => {
            let params = json!({"channels": ["orderbook_delta"], "market_tickers": symbols});
            json!({"id": 1, "cmd": "subscribe", "params": params})
        }
        "polymarket" => json!({"assets_ids": symbols, "type": "market"}),
        other => panic!("{other} proves its books itself"),
    };
    let asked = clock.now();
    socket.send(request.to_string().into()).unwrap();
    let (mut books, mut heard) = (BTreeMap::new(), Vec::new());
    while books.len() < symbols.len() {
        socket.receive(NonZeroUsize::MIN, &mut heard).await.unwrap();
        for message in heard.drain(..) {
            let frame: Value = serde_json::from_slice(&message.payload).unwrap();
            for truth in frame.as_array().unwrap_or(&vec![frame.clone()]).iter().filter_map(read) {
                books.entry(truth.symbol.clone()).or_insert(Truth { asked, ..truth });
            }
        }
    }
    books.into_values().collect()
}

/// A message that tells a whole book.
fn read(frame: &Value) -> Option<Truth> {
    let (frame, symbol, sides) = if frame["feed"] == "book_snapshot" {
        (frame, "product_id", ["bids", "asks"])
    } else if frame["type"] == "orderbook_snapshot" {
        (&frame["msg"], "market_ticker", ["yes_dollars_fp", "no_dollars_fp"])
    } else if frame["event_type"] == "book" {
        (frame, "asset_id", ["bids", "asks"])
    } else {
        return None;
    };
    let level = |level: &Value| match level.as_array() {
        Some(pair) => [&pair[0], &pair[1]].map(decimal),
        None => [&level["price"], level.get("qty").unwrap_or(&level["size"])].map(decimal),
    };
    let levels = |side: &str| {
        let levels = frame[side].as_array().into_iter().flatten().map(level);
        levels.map(|[price, size]| Level { price, size }).collect::<Vec<_>>()
    };
    let [bids, mut asks] = sides.map(levels);
    if symbol == "market_ticker" {
        // Who bids for no asks for the rest of a dollar.
        let one: Decimal = "1.0000".parse().unwrap();
        asks.iter_mut().for_each(|level| level.price = one.checked_sub(level.price).unwrap());
    }
    let mut book = OrderBook::new();
    book.replace(&bids, &asks);
    let (symbol, number) = (frame[symbol].as_str().unwrap().to_owned(), frame["seq"].as_u64());
    Some(Truth { symbol, number, asked: Timestamp::default(), book })
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().unwrap()
}

/// Books that are not the venue's.
#[derive(Debug, Default)]
pub(crate) struct Wrong {
    /// Those that were taken for whole.
    pub(crate) wrong: BTreeSet<String>,
    /// Those that were known to be broken, and asked for again.
    pub(crate) broken: BTreeSet<String>,
}

/// Makes each book of the records. What the venue said of it must be its state at that number, or, where books have no
/// numbers of their own, at some moment from the question on.
pub(crate) fn wrong(truths: &[Truth], records: &[Record]) -> Wrong {
    let mut all = Wrong::default();
    for truth in truths {
        match Followed::through(truth, records) {
            Followed { met: true, .. } => {}
            Followed { broken: true, .. } => drop(all.broken.insert(truth.symbol.clone())),
            _ => drop(all.wrong.insert(truth.symbol.clone())),
        }
    }
    all
}

#[derive(Default)]
struct Followed {
    book: OrderBook,
    /// Whether something of it is missing until its next snapshot.
    broken: bool,
    met: bool,
}

impl Followed {
    fn through(truth: &Truth, records: &[Record]) -> Self {
        let mut followed = Self::default();
        let mut current = false;
        for record in records {
            let its = record.header.symbol.as_ref().is_none_or(|symbol| symbol.as_str() == truth.symbol);
            if !its {
                continue;
            }
            if truth.number.is_none() && !current && record.header.received >= truth.asked {
                // The state that held when it was asked.
                current = true;
                followed.meet(truth);
            }
            if followed.take(record)
                && (current || truth.number.is_some_and(|n| record.header.sequence == Some(n)))
            {
                followed.meet(truth);
            }
        }
        followed
    }

    fn meet(&mut self, truth: &Truth) {
        self.met |= !self.broken && self.book == truth.book;
    }

    /// Whether the record is about the book.
    fn take(&mut self, record: &Record) -> bool {
        match &record.body {
            Body::BookSnapshot(given) => {
                self.book.replace(&given.bids, &given.asks);
                self.broken = false;
            }
            Body::BookDelta(given) => {
                given.bids.iter().for_each(|level| self.book.apply(BookSide::Bid, *level));
                given.asks.iter().for_each(|level| self.book.apply(BookSide::Ask, *level));
            }
            Body::Gap(gap) if gap.channel.as_deref() != Some("trade") => self.broken = true,
            _ => return false,
        }
        true
    }
}
