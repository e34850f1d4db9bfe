//! What a client of Kraken can know: the texts of levels in two ladders, the last trade's id, and who was promised
//! a snapshot. Slow and simple on purpose; it shares nothing with the decoder that it is held against.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::Decimal;

use crate::sim::faults::witness::{Evidence, Place, Shown, Topic, Witness, wrong_digit};

/// The depths that the venue offers.
const DEPTHS: [usize; 5] = [10, 25, 100, 500, 1000];
/// Levels of a side under the checksum.
const CHECKED: usize = 10;

#[derive(Default)]
pub(super) struct KrakenWitness {
    /// What the client would know if nothing had gone wrong.
    meant: View,
    got: View,
}

#[derive(Default)]
struct View {
    books: HashMap<String, Book>,
    trades: HashMap<String, (u64, Place)>,
}

#[derive(Default)]
struct Book {
    asked: usize,
    depth: usize,
    /// A snapshot came, and nothing was wrong since.
    live: bool,
    /// The subscription is confirmed, so a snapshot must come next.
    promised: bool,
    /// Something was wrong, and nothing was right since.
    broken: bool,
    good: Option<Place>,
    bids: BTreeMap<Decimal, (String, String)>,
    asks: BTreeMap<Decimal, (String, String)>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    channel: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    success: bool,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Confirmed {
    #[serde(default)]
    channel: String,
    #[serde(default)]
    symbol: String,
    depth: Option<usize>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    symbol: String,
}

#[derive(Deserialize)]
struct BookData<'a> {
    symbol: String,
    #[serde(borrow, default)]
    bids: Vec<Level<'a>>,
    #[serde(borrow, default)]
    asks: Vec<Level<'a>>,
    checksum: Option<u32>,
}

#[derive(Deserialize)]
struct Level<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

#[derive(Deserialize)]
struct TradeData {
    symbol: String,
    trade_id: u64,
}

impl Witness for KrakenWitness {
    fn topic(&self, text: &str) -> Topic {
        let Ok(message) = serde_json::from_str::<Message<'_>>(text) else { return Topic::default() };
        if !message.method.is_empty() {
            return Topic { channel: "answer".to_owned(), symbol: String::new() };
        }
        let named = message.data.and_then(|data| serde_json::from_str::<Vec<Named>>(data.get()).ok());
        let symbol = named.unwrap_or_default().into_iter().next().map_or_else(String::new, |one| one.symbol);
        Topic { channel: message.channel, symbol }
    }

    fn is_data(&self, topic: &Topic) -> bool {
        ["book", "trade", "ticker", "ohlc", "instrument"].contains(&topic.channel.as_str())
    }

    fn told(&mut self, text: &str) {
        self.meant.take(text, None);
    }

    fn seen(&mut self, text: &str, place: Place) -> Vec<Shown> {
        self.got.take(text, Some(place))
    }

    fn is_whole(&self, topic: &Topic) -> bool {
        let symbol = &topic.symbol;
        match topic.channel.as_str() {
            "book" => match (self.meant.books.get(symbol), self.got.books.get(symbol)) {
                (Some(meant), Some(got)) => {
                    got.live && meant.live && (&got.bids, &got.asks) == (&meant.bids, &meant.asks)
                }
                (None, _) => true,
                (Some(_), None) => false,
            },
            "trade" => {
                let last = |view: &View| view.trades.get(symbol).map(|(id, _)| *id);
                last(&self.got) >= last(&self.meant)
            }
            _ => true,
        }
    }

    fn bad_checksum(&self, text: &str) -> Option<String> {
        let start = text.find("\"checksum\":")? + "\"checksum\":".len();
        let digits = text[start..].bytes().take_while(u8::is_ascii_digit).count();
        let said: u32 = text[start..start + digits].parse().ok()?;
        Some(format!("{}{}{}", &text[..start], said ^ 1, &text[start + digits..]))
    }

    fn corrupt(&self, text: &str, pick: u64) -> Option<String> {
        wrong_digit(text, &["\"price\":", "\"qty\":"], pick)
    }
}

impl View {
    fn take(&mut self, text: &str, place: Option<Place>) -> Vec<Shown> {
        let mut shown = Vec::new();
        let Ok(message) = serde_json::from_str::<Message<'_>>(text) else { return shown };
        let data = message.data.map_or("", RawValue::get);
        if !message.method.is_empty() {
            self.answered(&message);
        } else if message.channel == "book" {
            let books = serde_json::from_str::<Vec<BookData<'_>>>(data).unwrap_or_default();
            for data in &books {
                let book = self.books.entry(data.symbol.clone()).or_default();
                let good = book.good;
                if let Some(evidence) = book.take(data, message.kind == "snapshot", place) {
                    let topic = Topic { channel: "book".to_owned(), symbol: data.symbol.clone() };
                    shown.push(Shown { topic, evidence, from: good, to: None, missing: None });
                }
            }
        } else if message.channel == "trade" {
            let mut trades = serde_json::from_str::<Vec<TradeData>>(data).unwrap_or_default();
            trades.sort_by_key(|trade| trade.trade_id);
            shown.extend(trades.into_iter().filter_map(|trade| self.trade(trade, place)));
        }
        shown
    }

    fn answered(&mut self, message: &Message<'_>) {
        let result = message.result.filter(|_| message.success);
        let Some(said) = result.and_then(|result| serde_json::from_str::<Confirmed>(result.get()).ok())
        else {
            return;
        };
        match (message.method.as_str(), said.channel.as_str()) {
            ("subscribe", "book") => {
                let book = self.books.entry(said.symbol).or_default();
                book.asked = said.depth.unwrap_or(DEPTHS[0]);
                book.promised = !book.live;
            }
            ("unsubscribe", "book") => {
                let book = self.books.entry(said.symbol).or_default();
                (book.live, book.promised) = (false, false);
                book.bids.clear();
                book.asks.clear();
            }
            ("unsubscribe", "trade") => {
                self.trades.remove(&said.symbol);
            }
            _ => {}
        }
    }

    fn trade(&mut self, trade: TradeData, place: Option<Place>) -> Option<Shown> {
        let nowhere = Place { connection: 0, frame: 0, at: Default::default() };
        let new = (trade.trade_id, place.unwrap_or(nowhere));
        let Some(last) = self.trades.get_mut(&trade.symbol) else {
            self.trades.insert(trade.symbol, new);
            return None;
        };
        if trade.trade_id <= last.0 {
            return None;
        }
        let (id, from) = std::mem::replace(last, new);
        let missing = trade.trade_id - id - 1;
        let topic = Topic { channel: "trade".to_owned(), symbol: trade.symbol };
        (missing > 0).then_some(Shown {
            topic,
            evidence: Evidence::TradeId,
            from: Some(from),
            to: None,
            missing: Some(missing),
        })
    }
}

impl Book {
    fn take(&mut self, data: &BookData<'_>, snapshot: bool, place: Option<Place>) -> Option<Evidence> {
        if snapshot {
            self.bids.clear();
            self.asks.clear();
            let levels = data.bids.len().max(data.asks.len());
            let shown = DEPTHS.into_iter().find(|depth| *depth >= levels).unwrap_or(DEPTHS[4]);
            self.depth = self.asked.max(shown);
            (self.live, self.promised) = (true, false);
        } else if !self.live {
            let tells = std::mem::take(&mut self.promised) && !std::mem::replace(&mut self.broken, true);
            return tells.then_some(Evidence::Protocol);
        }
        for (side, levels) in [(&mut self.bids, &data.bids), (&mut self.asks, &data.asks)] {
            for level in levels {
                let (Ok(price), Ok(size)) = (level.price.get().parse(), level.qty.get().parse::<Decimal>())
                else {
                    continue;
                };
                if size.is_zero() {
                    side.remove(&price);
                } else {
                    side.insert(price, (level.price.get().to_owned(), level.qty.get().to_owned()));
                }
            }
        }
        while self.bids.len() > self.depth {
            self.bids.pop_first();
        }
        while self.asks.len() > self.depth {
            self.asks.pop_last();
        }
        let said = data.checksum?;
        if said == self.checksum() {
            self.good = place;
            self.broken = false;
            return None;
        }
        (self.live, self.promised) = (false, false);
        let known = std::mem::replace(&mut self.broken, true);
        (!known).then_some(Evidence::Checksum)
    }

    fn checksum(&self) -> u32 {
        let mut digits = String::new();
        let bare = |text: &str| text.replace('.', "").trim_start_matches('0').to_owned();
        for (price, size) in self.asks.values().take(CHECKED).chain(self.bids.values().rev().take(CHECKED)) {
            digits.push_str(&bare(price));
            digits.push_str(&bare(size));
        }
        crc32fast::hash(digits.as_bytes())
    }
}
