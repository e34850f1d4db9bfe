//! What a client of Kraken futures can know: the texts of levels in two ladders, the numbers of changes and trades,
//! and who was promised a snapshot. Slow and simple on purpose; it shares nothing with the decoder that it is held
//! against.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::sim::faults::witness::{Evidence, Place, Shown, Topic, Witness, wrong_digit};

/// Changes that a client takes after a confirmation before it misses the snapshot.
const EARLY_MAX: u32 = 16;

#[derive(Default)]
pub(super) struct FuturesWitness {
    /// What the client would know if nothing had gone wrong.
    meant: View,
    got: View,
}

#[derive(Default)]
struct View {
    books: HashMap<String, Book>,
    /// The highest number of each product's trades.
    trades: HashMap<String, (u64, Option<Place>)>,
}

#[derive(Default)]
struct Book {
    /// The number of the last change that is contained, while there is a book.
    number: Option<u64>,
    /// The subscription is confirmed and its snapshot has not come: how many changes have.
    early: Option<u32>,
    broken: bool,
    good: Option<Place>,
    levels: BTreeMap<(String, String), String>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    event: String,
    #[serde(default)]
    feed: String,
    #[serde(default)]
    product_id: String,
    #[serde(default)]
    product_ids: Vec<String>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    side: String,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    qty: Option<&'a RawValue>,
    #[serde(borrow, default)]
    bids: Vec<Level<'a>>,
    #[serde(borrow, default)]
    asks: Vec<Level<'a>>,
    #[serde(default)]
    trades: Vec<Numbered>,
}

#[derive(Deserialize)]
struct Level<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

impl Witness for FuturesWitness {
    fn topic(&self, text: &str) -> Topic {
        let Ok(message) = serde_json::from_str::<Message<'_>>(text) else { return Topic::default() };
        if !message.event.is_empty() {
            return Topic { channel: "answer".to_owned(), symbol: String::new() };
        }
        let channel = message.feed.strip_suffix("_snapshot").unwrap_or(&message.feed).to_owned();
        Topic { channel, symbol: message.product_id }
    }

    fn is_data(&self, topic: &Topic) -> bool {
        ["book", "trade", "ticker", "ticker_lite"].contains(&topic.channel.as_str())
    }

    fn told(&mut self, text: &str) {
        self.meant.take(text, None);
    }

    fn seen(&mut self, text: &str, place: Place) -> Vec<Shown> {
        self.got.take(text, Some(place)).into_iter().collect()
    }

    fn is_whole(&self, topic: &Topic) -> bool {
        let symbol = &topic.symbol;
        match topic.channel.as_str() {
            "book" => match (self.meant.books.get(symbol), self.got.books.get(symbol)) {
                (Some(meant), Some(got)) => {
                    got.number.is_some() && (got.number, &got.levels) == (meant.number, &meant.levels)
                }
                (None, _) => true,
                (Some(_), None) => false,
            },
            "trade" => {
                let last = |view: &View| view.trades.get(symbol).map(|(number, _)| *number);
                last(&self.got) >= last(&self.meant)
            }
            _ => true,
        }
    }

    /// The venue has none.
    fn bad_checksum(&self, _text: &str) -> Option<String> {
        None
    }

    fn corrupt(&self, text: &str, pick: u64) -> Option<String> {
        wrong_digit(text, &["\"price\":", "\"qty\":"], pick)
    }
}

impl View {
    fn take(&mut self, text: &str, place: Option<Place>) -> Option<Shown> {
        let message = serde_json::from_str::<Message<'_>>(text).ok()?;
        let about = |channel: &str, evidence, from, missing| {
            let topic = Topic { channel: channel.to_owned(), symbol: message.product_id.clone() };
            Some(Shown { topic, evidence, from, to: None, missing })
        };
        match (message.event.as_str(), message.feed.as_str()) {
            ("subscribed", "book") => {
                for product in message.product_ids {
                    let book = self.books.entry(product).or_default();
                    book.early = book.number.is_none().then_some(0);
                }
                None
            }
            ("unsubscribed", "book") => {
                for product in message.product_ids {
                    let book = self.books.entry(product).or_default();
                    (book.number, book.early) = (None, None);
                    book.levels.clear();
                }
                None
            }
            ("unsubscribed", "trade") => {
                for product in &message.product_ids {
                    self.trades.remove(product);
                }
                None
            }
            ("", "book_snapshot") => {
                self.books.entry(message.product_id.clone()).or_default().begin(&message, place);
                None
            }
            ("", "book") => {
                let book = self.books.entry(message.product_id.clone()).or_default();
                let good = book.good;
                let (evidence, missing) = book.change(&message, place)?;
                about("book", evidence, good, missing)
            }
            ("", "trade") => {
                let (from, missing) = self.trade(&message.product_id, message.seq, message.seq, place)?;
                about("trade", Evidence::Sequence, from, Some(missing))
            }
            ("", "trade_snapshot") => {
                let numbers = || message.trades.iter().map(|trade| trade.seq);
                let (lowest, highest) = (numbers().min()?, numbers().max()?);
                let (from, missing) = self.trade(&message.product_id, lowest, highest, place)?;
                about("trade", Evidence::Sequence, from, Some(missing))
            }
            _ => None,
        }
    }

    /// What was known before, and how many trades are missing since, if some are.
    fn trade(
        &mut self,
        product: &str,
        lowest: u64,
        highest: u64,
        place: Option<Place>,
    ) -> Option<(Option<Place>, u64)> {
        let Some(last) = self.trades.get_mut(product) else {
            self.trades.insert(product.to_owned(), (highest, place));
            return None;
        };
        let (number, from) = *last;
        if highest > number {
            *last = (highest, place);
        }
        let missing = lowest.checked_sub(number)?.checked_sub(1)?;
        (missing > 0).then_some((from, missing))
    }
}

impl Book {
    fn begin(&mut self, message: &Message<'_>, place: Option<Place>) {
        let sides = [("buy", &message.bids), ("sell", &message.asks)];
        let levels = sides.into_iter().flat_map(|(side, levels)| {
            levels.iter().map(move |level| (key(side, level.price), level.qty.get().to_owned()))
        });
        self.levels = levels.collect();
        (self.number, self.early, self.broken, self.good) = (Some(message.seq), None, false, place);
    }

    fn change(&mut self, message: &Message<'_>, place: Option<Place>) -> Option<(Evidence, Option<u64>)> {
        let Some(number) = self.number else {
            let early = self.early.as_mut()?;
            *early += 1;
            if *early <= EARLY_MAX {
                return None;
            }
            self.early = None;
            return (!std::mem::replace(&mut self.broken, true)).then_some((Evidence::Protocol, None));
        };
        if message.seq <= number {
            return None;
        }
        if message.seq > number + 1 {
            (self.number, self.broken) = (None, true);
            return Some((Evidence::Sequence, Some(message.seq - number - 1)));
        }
        (self.number, self.good) = (Some(message.seq), place);
        if let (Some(price), Some(qty)) = (message.price, message.qty) {
            let key = key(&message.side, price);
            if qty.get().bytes().all(|byte| matches!(byte, b'0' | b'.')) {
                self.levels.remove(&key);
            } else {
                self.levels.insert(key, qty.get().to_owned());
            }
        }
        None
    }
}

fn key(side: &str, price: &RawValue) -> (String, String) {
    (side.to_owned(), price.get().to_owned())
}
