//! What a client of Kalshi can know: the numbers of each subscription, and two sides of levels for each market. Slow
//! and simple on purpose; it shares nothing with the decoder that it is held against.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sim::faults::witness::{Evidence, Place, Shown, Topic, Witness, wrong_digit};

#[derive(Default)]
pub(super) struct KalshiWitness {
    /// What the client would know if nothing had gone wrong.
    meant: View,
    got: View,
}

#[derive(Default)]
struct View {
    numbers: BTreeMap<u64, Numbers>,
    books: HashMap<String, Book>,
}

/// One subscription.
#[derive(Default)]
struct Numbers {
    channel: String,
    last: Option<(u64, Option<Place>)>,
    /// It is confirmed, and nothing was heard since.
    fresh: Option<Option<Place>>,
}

#[derive(Default, PartialEq)]
struct Book {
    sid: u64,
    whole: bool,
    /// Hundredths of contracts, by side and price.
    levels: BTreeMap<(String, String), i64>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    sid: Option<u64>,
    seq: Option<u64>,
    #[serde(default)]
    msg: Value,
}

fn read(text: &str) -> Option<Message> {
    serde_json::from_str(text).ok()
}

/// The channel on which messages of this type come; answers come on any.
fn channel(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "orderbook_snapshot" | "orderbook_delta" => "orderbook_delta",
        "trade" => "trade",
        "ticker" => "ticker",
        "market_lifecycle_v2" | "event_lifecycle" => "market_lifecycle_v2",
        _ => return None,
    })
}

fn hundredths(text: &str) -> i64 {
    text.replace('.', "").parse().unwrap_or(0)
}

impl Witness for KalshiWitness {
    /// Numbers are a subscription's, so what is lost is lost for all of its markets.
    fn topic(&self, text: &str) -> Topic {
        let Some(message) = read(text) else { return Topic::default() };
        let channel = channel(&message.kind).unwrap_or("answer").to_owned();
        Topic { channel, symbol: String::new() }
    }

    fn is_data(&self, topic: &Topic) -> bool {
        channel(&topic.channel).is_some()
    }

    fn told(&mut self, text: &str) {
        self.meant.take(text, None);
    }

    fn seen(&mut self, text: &str, place: Place) -> Vec<Shown> {
        self.got.take(text, Some(place))
    }

    fn is_whole(&self, topic: &Topic) -> bool {
        let last = |view: &View| {
            let numbers = view.numbers.values().find(|numbers| numbers.channel == topic.channel);
            numbers.and_then(|numbers| numbers.last).map(|(number, _)| number)
        };
        match topic.channel.as_str() {
            "orderbook_delta" => {
                let whole = |book: &Book| book.whole;
                last(&self.got) == last(&self.meant)
                    && self.got.books.values().all(whole)
                    && self.got.books == self.meant.books
            }
            "trade" | "market_lifecycle_v2" => last(&self.got) >= last(&self.meant),
            _ => true,
        }
    }

    /// The venue has none.
    fn bad_checksum(&self, _text: &str) -> Option<String> {
        None
    }

    fn corrupt(&self, text: &str, pick: u64) -> Option<String> {
        wrong_digit(text, &["\"price_dollars\":\"", "\"delta_fp\":\"", "\"count_fp\":\""], pick)
    }
}

impl View {
    fn take(&mut self, text: &str, place: Option<Place>) -> Vec<Shown> {
        let Some(Message { kind, sid, seq, msg }) = read(text) else { return Vec::new() };
        if kind == "subscribed" {
            let numbers = self.numbers.entry(msg["sid"].as_u64().unwrap_or(0)).or_default();
            numbers.channel = msg["channel"].as_str().unwrap_or_default().to_owned();
            numbers.fresh = Some(place);
            return Vec::new();
        }
        let (Some(sid), Some(seq)) = (sid, seq) else { return Vec::new() };
        let begins = (kind == "orderbook_snapshot").then(|| text_of(&msg, "market_ticker"));
        let mut shown = Vec::new();
        match self.follow(sid, seq, channel(&kind), place) {
            Followed::Stale => return shown,
            Followed::Yes => {}
            Followed::No(jump) => {
                shown.push(jump);
                let others = self
                    .books
                    .iter_mut()
                    .filter(|(name, book)| book.sid == sid && begins.as_ref() != Some(name));
                others.for_each(|(_, book)| book.whole = false);
            }
        }
        match kind.as_str() {
            "orderbook_snapshot" => self.snapshot(sid, &msg),
            "orderbook_delta" => shown.extend(self.delta(sid, &msg)),
            "unsubscribed" => {
                self.numbers.remove(&sid);
                self.books.retain(|_, book| book.sid != sid);
            }
            _ => {}
        }
        shown
    }

    fn follow(&mut self, sid: u64, seq: u64, channel: Option<&str>, place: Option<Place>) -> Followed {
        let numbers = self.numbers.entry(sid).or_default();
        if let (true, Some(channel)) = (numbers.channel.is_empty(), channel) {
            numbers.channel = channel.to_owned();
        }
        let (last, fresh) = (numbers.last, numbers.fresh.take());
        let before = match (last, fresh) {
            (_, Some(_)) if seq == 1 => None,
            (None, None) => None,
            (None, Some(start)) => Some((0, start)),
            (Some((number, _)), _) if seq == number + 1 => None,
            (Some(last), _) if seq > last.0 => Some(last),
            (Some(_), Some(start)) => Some((0, start)),
            (Some(_), None) => return Followed::Stale,
        };
        numbers.last = Some((seq, place));
        match before {
            None => Followed::Yes,
            Some((number, from)) => Followed::No(Shown {
                topic: Topic { channel: numbers.channel.clone(), symbol: String::new() },
                evidence: Evidence::Sequence,
                from,
                to: None,
                missing: Some(seq - number - 1),
            }),
        }
    }

    fn snapshot(&mut self, sid: u64, msg: &Value) {
        let mut book = Book { sid, whole: true, levels: BTreeMap::new() };
        for side in ["yes", "no"] {
            for level in msg[format!("{side}_dollars_fp")].as_array().into_iter().flatten() {
                let (Some(price), Some(size)) = (level[0].as_str(), level[1].as_str()) else { continue };
                book.levels.insert((side.to_owned(), price.to_owned()), hundredths(size));
            }
        }
        self.books.insert(text_of(msg, "market_ticker"), book);
    }

    fn delta(&mut self, sid: u64, msg: &Value) -> Option<Shown> {
        let name = text_of(msg, "market_ticker");
        let wrong = |name: String| Shown {
            topic: Topic { channel: "orderbook_delta".to_owned(), symbol: name },
            evidence: Evidence::Protocol,
            from: None,
            to: None,
            missing: None,
        };
        let Some(book) = self.books.get_mut(&name) else {
            self.books.insert(name.clone(), Book { sid, whole: false, levels: BTreeMap::new() });
            return Some(wrong(name));
        };
        if !book.whole {
            return None;
        }
        let place = (text_of(msg, "side"), text_of(msg, "price_dollars"));
        let size = book.levels.get(&place).copied().unwrap_or(0) + hundredths(&text_of(msg, "delta_fp"));
        match size {
            ..0 => {
                book.whole = false;
                return Some(wrong(name));
            }
            0 => book.levels.remove(&place),
            _ => book.levels.insert(place, size),
        };
        None
    }
}

enum Followed {
    Yes,
    Stale,
    No(Shown),
}

fn text_of(msg: &Value, key: &str) -> String {
    msg.as_object().and_then(|msg: &Map<String, Value>| msg.get(key)?.as_str()).unwrap_or_default().to_owned()
}
