//! What a client of Polymarket can know: the texts of levels in two maps a token, the hash of the text that they give,
//! and what is suspected until a millisecond is over. Slow and simple on purpose; it shares nothing with the decoder
//! that it is held against.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use sha1::{Digest, Sha1};
use ssmd_core::Decimal;

use crate::sim::faults::witness::{Evidence, Place, Shown, Topic, Witness};

/// Everything about a token is one channel.
const CHANNEL: &str = "market";
/// How much later a message must be for a suspicion not to wait for another one of its token,
const SUSPICION_MILLIS: u64 = 1_000;
/// and how long it waits where nothing but answers to pings comes.
const SUSPICION_NANOS: i64 = 5_000_000_000;

#[derive(Default)]
pub(super) struct PolymarketWitness {
    /// What the client would know if nothing had gone wrong.
    meant: View,
    got: View,
}

#[derive(Default)]
struct View {
    tokens: BTreeMap<String, Token>,
    markets: HashMap<String, Market>,
}

/// What hashes hold beside levels.
#[derive(Clone, Default)]
struct Market {
    tick: Option<String>,
    /// Prices that the last trade may have had, the likeliest first.
    last: Vec<String>,
    /// Whether a hash was right before.
    known: bool,
}

#[derive(Default)]
struct Token {
    market: String,
    bids: BTreeMap<Decimal, (String, String)>,
    asks: BTreeMap<Decimal, (String, String)>,
    /// A book came, and nothing was wrong since.
    live: bool,
    /// Something was wrong, and nothing was right since.
    broken: bool,
    /// The time and the hash of the last book.
    floor: (u64, String),
    good: Option<Place>,
    suspicion: Option<(Claim, Option<Place>)>,
}

#[derive(Clone)]
struct Claim {
    millis: u64,
    hash: String,
    bests: Option<[Decimal; 2]>,
    also: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unchecked,
    Right,
    Wrong,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Frame {
    Many(Vec<Message>),
    One(Box<Message>),
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    event_type: String,
    #[serde(default)]
    market: String,
    #[serde(default)]
    asset_id: String,
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    hash: String,
    #[serde(default)]
    bids: Vec<Level>,
    #[serde(default)]
    asks: Vec<Level>,
    tick_size: Option<String>,
    last_trade_price: Option<String>,
    #[serde(default)]
    price: String,
    #[serde(default)]
    price_changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Level {
    price: String,
    size: String,
}

#[derive(Deserialize)]
struct Change {
    asset_id: String,
    price: String,
    size: String,
    side: String,
    hash: String,
    best_bid: String,
    best_ask: String,
}

impl Witness for PolymarketWitness {
    /// A change of both tokens is about the first.
    fn topic(&self, text: &str) -> Topic {
        let first = messages(text).into_iter().next();
        let symbol = first.map(|message| match message.price_changes.first() {
            Some(change) => change.asset_id.clone(),
            None => message.asset_id,
        });
        match symbol {
            Some(symbol) => Topic { channel: CHANNEL.to_owned(), symbol },
            None => Topic { channel: "answer".to_owned(), symbol: String::new() },
        }
    }

    fn is_data(&self, topic: &Topic) -> bool {
        topic.channel == CHANNEL
    }

    fn told(&mut self, text: &str) {
        self.meant.take(text, None);
    }

    fn seen(&mut self, text: &str, place: Place) -> Vec<Shown> {
        self.got.take(text, Some(place))
    }

    fn is_whole(&self, topic: &Topic) -> bool {
        match (self.meant.tokens.get(&topic.symbol), self.got.tokens.get(&topic.symbol)) {
            (Some(meant), Some(got)) => {
                let same = (&got.bids, &got.asks) == (&meant.bids, &meant.asks);
                got.live && meant.live && got.suspicion.is_none() && same
            }
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    fn bad_checksum(&self, text: &str) -> Option<String> {
        let at = text.find("\"hash\":\"")? + "\"hash\":\"".len();
        let other = if text.as_bytes().get(at)? == &b'0' { '1' } else { '0' };
        Some(format!("{}{other}{}", &text[..at], &text[at + 1..]))
    }

    fn corrupt(&self, text: &str, pick: u64) -> Option<String> {
        let names = ["\"price\":\"", "\"size\":\""];
        let ends = names.iter().flat_map(|name| {
            text.match_indices(name).filter_map(|(at, _)| {
                let start = at + name.len();
                text[start..].find('"').filter(|length| *length > 0).map(|length| start + length - 1)
            })
        });
        let ends: Vec<usize> = ends.collect();
        let at = *ends.get((pick % ends.len().max(1) as u64) as usize)?;
        let digit = text.as_bytes()[at];
        let other = if digit == b'9' { '0' } else { char::from(digit + 1) };
        Some(format!("{}{other}{}", &text[..at], &text[at + 1..]))
    }
}

fn messages(text: &str) -> Vec<Message> {
    match serde_json::from_str(text) {
        Ok(Frame::Many(messages)) => messages,
        Ok(Frame::One(message)) => vec![*message],
        Err(_) => Vec::new(),
    }
}

impl View {
    fn take(&mut self, text: &str, place: Option<Place>) -> Vec<Shown> {
        let mut shown = Vec::new();
        if text == "PONG" {
            self.expire(None, place, &mut shown);
        }
        for message in &messages(text) {
            if let Ok(time) = message.timestamp.parse() {
                self.expire(Some(time), place, &mut shown);
            }
            match message.event_type.as_str() {
                "book" => self.book(message, place, &mut shown),
                "price_change" => self.changes(message, place, &mut shown),
                "last_trade_price" => {
                    self.markets.entry(message.market.clone()).or_default().likely(padded(&message.price));
                }
                _ => {}
            }
        }
        shown
    }

    fn expire(&mut self, time: Option<u64>, place: Option<Place>, shown: &mut Vec<Shown>) {
        let Some(now) = place.map(|place| place.at.nanos()) else { return };
        let old = |token: &Token| match (&token.suspicion, time) {
            (Some((claim, _)), Some(time)) => time >= claim.millis + SUSPICION_MILLIS,
            (Some((_, Some(since))), None) => now - since.at.nanos() >= SUSPICION_NANOS,
            _ => false,
        };
        let old: Vec<_> =
            self.tokens.iter().filter(|(_, token)| old(token)).map(|(id, _)| id.clone()).collect();
        old.iter().for_each(|id| self.confirm(id, None, shown));
    }

    /// Decides a suspicion, unless the next message is of the same millisecond.
    fn confirm(&mut self, id: &str, next: Option<u64>, shown: &mut Vec<Shown>) {
        let Some(token) = self.tokens.get_mut(id) else { return };
        if next.is_some() && token.suspicion.as_ref().is_some_and(|(claim, _)| Some(claim.millis) == next) {
            return;
        }
        let Some((claim, place)) = token.suspicion.take() else { return };
        let market = self.markets.entry(token.market.clone()).or_default();
        match token.hash(id, market, &claim, true) {
            Verdict::Right => token.good = place,
            Verdict::Unchecked if token.agrees(&claim) != Some(false) => {}
            _ => shown.extend(token.fails(id, place)),
        }
    }

    fn book(&mut self, message: &Message, place: Option<Place>, shown: &mut Vec<Shown>) {
        let (id, name) = (&message.asset_id, &message.market);
        let millis = message.timestamp.parse().unwrap_or(0);
        self.confirm(id, Some(millis), shown);
        let token = self.tokens.entry(id.clone()).or_default();
        token.market = name.clone();
        let market = self.markets.entry(name.clone()).or_default();
        if message.tick_size.is_none() && millis < token.floor.0 {
            return;
        }
        if let Some(tick) = &message.tick_size {
            market.tick = Some(tick.clone());
        }
        if let Some(last) = &message.last_trade_price {
            market.likely(last.clone());
        }
        token.bids.clear();
        token.asks.clear();
        for (side, levels) in [(&mut token.bids, &message.bids), (&mut token.asks, &message.asks)] {
            levels.iter().for_each(|level| set(side, &level.price, &level.size));
        }
        (token.live, token.suspicion, token.floor) = (true, None, (millis, message.hash.clone()));
        if place.is_none() {
            return;
        }
        let claim = Claim { millis, hash: message.hash.clone(), bests: None, also: Vec::new() };
        match token.hash(id, market, &claim, true) {
            Verdict::Right => token.good = place,
            Verdict::Unchecked => token.broken = false,
            Verdict::Wrong => shown.extend(token.fails(id, place)),
        }
    }

    fn changes(&mut self, message: &Message, place: Option<Place>, shown: &mut Vec<Shown>) {
        let millis = message.timestamp.parse().unwrap_or(0);
        let mut claims: Vec<(&str, Claim)> = Vec::new();
        for change in &message.price_changes {
            let id = change.asset_id.as_str();
            if !claims.iter().any(|(known, _)| *known == id) {
                self.confirm(id, Some(millis), shown);
            }
            let token = self.tokens.entry(id.to_owned()).or_default();
            token.market = message.market.clone();
            if millis < token.floor.0 || (millis == token.floor.0 && change.hash == token.floor.1) {
                continue;
            }
            if token.live {
                let side = if change.side == "BUY" { &mut token.bids } else { &mut token.asks };
                set(side, &change.price, &change.size);
            }
            let bests = [&change.best_bid, &change.best_ask].map(|text| text.parse().unwrap_or_default());
            let at = claims.iter().position(|(known, _)| *known == id);
            let also = at.map(|at| claims.remove(at).1.also).unwrap_or_default();
            let mut claim = Claim { millis, hash: change.hash.clone(), bests: Some(bests), also };
            claim.also.push(padded(&change.price));
            claims.push((id, claim));
        }
        for (id, claim) in claims {
            let (Some(token), market) =
                (self.tokens.get_mut(id), self.markets.entry(message.market.clone()).or_default())
            else {
                continue;
            };
            token.check(id, market, claim, place);
        }
    }
}

impl Market {
    fn likely(&mut self, last: String) {
        self.last.retain(|known| *known != last);
        self.last.insert(0, last);
        self.last.truncate(4);
    }
}

impl Token {
    /// What is wrong is suspected until the millisecond is over.
    fn check(&mut self, id: &str, market: &mut Market, claim: Claim, place: Option<Place>) {
        // What was meant is right.
        if !self.live || place.is_none() {
            return;
        }
        match (self.hash(id, market, &claim, false), self.agrees(&claim)) {
            (Verdict::Right, _) | (Verdict::Unchecked, Some(true)) => {
                (self.suspicion, self.good) = (None, place);
            }
            (Verdict::Wrong, _) | (Verdict::Unchecked, Some(false)) => {
                let first = self.suspicion.take().map_or(place, |(_, first)| first);
                self.suspicion = Some((claim, first));
            }
            (Verdict::Unchecked, None) => {}
        }
    }

    fn agrees(&self, claim: &Claim) -> Option<bool> {
        let [bid, ask] = claim.bests?;
        let best_bid = self.bids.keys().next_back().copied().unwrap_or_default();
        let best_ask = self.asks.keys().next().copied().or("1".parse().ok()).unwrap_or_default();
        Some(bid == best_bid && ask == best_ask)
    }

    fn fails(&mut self, id: &str, to: Option<Place>) -> Option<Shown> {
        self.live = false;
        self.suspicion = None;
        self.bids.clear();
        self.asks.clear();
        let topic = Topic { channel: CHANNEL.to_owned(), symbol: id.to_owned() };
        let news = !std::mem::replace(&mut self.broken, true);
        news.then_some(Shown { topic, evidence: Evidence::Checksum, from: self.good, to, missing: None })
    }

    /// Whether the claim's hash is that of the levels, for a last price that is known, or, if `any`, for any at all.
    fn hash(&mut self, id: &str, market: &mut Market, claim: &Claim, any: bool) -> Verdict {
        let Some(tick) = market.tick.clone() else { return Verdict::Unchecked };
        let text = |(price, size): &(String, String)| format!(r#"{{"price":"{price}","size":"{size}"}}"#);
        let bids: Vec<_> = self.bids.values().map(text).collect();
        let asks: Vec<_> = self.asks.values().rev().map(text).collect();
        let begun = Sha1::new_with_prefix(format!(
            r#"{{"market":"{}","asset_id":"{id}","timestamp":"{}","hash":"","bids":[{}],"asks":[{}]"#,
            self.market,
            claim.millis,
            bids.join(","),
            asks.join(","),
        ));
        let fits = |last: &String| {
            let tail = format!(
                r#","min_order_size":"5","tick_size":"{tick}","neg_risk":false,"last_trade_price":"{last}"}}"#
            );
            let hash = begun.clone().chain_update(tail).finalize();
            hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == claim.hash
        };
        let mut candidates = market.last.clone();
        if market.known {
            let opposite = claim.also.iter().filter_map(|price| opposite(price));
            candidates.extend(claim.also.iter().cloned().chain(opposite));
        }
        if market.known && any {
            candidates.extend((0..=1000).map(|last| format!("{}.{:03}", last / 1000, last % 1000)));
        }
        match candidates.into_iter().find(fits) {
            Some(last) => {
                market.known = true;
                market.likely(last);
                self.broken = false;
                Verdict::Right
            }
            None if market.known => Verdict::Wrong,
            None => Verdict::Unchecked,
        }
    }
}

fn set(side: &mut BTreeMap<Decimal, (String, String)>, price: &str, size: &str) {
    let (Ok(number), Ok(amount)) = (price.parse(), size.parse::<Decimal>()) else { return };
    if amount.is_zero() {
        side.remove(&number);
    } else {
        side.insert(number, (price.to_owned(), size.to_owned()));
    }
}

/// With three digits after the point.
fn padded(price: &str) -> String {
    let digits = price.split_once('.').map_or(0, |(_, digits)| digits.len());
    let point = if digits == 0 { "." } else { "" };
    format!("{price}{point}{}", "0".repeat(3_usize.saturating_sub(digits)))
}

fn opposite(price: &str) -> Option<String> {
    let one: Decimal = "1".parse().ok()?;
    one.checked_sub(price.parse().ok()?).map(|price| price.to_string())
}
