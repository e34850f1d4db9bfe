//! Kraken spot v2 from the venue's side: commands, answers, subscriptions.
//!
//! Real captures set the form of every frame. <https://docs.kraken.com/api/docs/guides/spot-ws-intro>

mod commands;
mod encode;
mod listing;
mod pairs;
mod witness;

use std::collections::HashMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{Result, Symbol, Timestamp};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::faults::witness::Witness;
use super::market::hash;
use super::venue::{Connection, Opened, Outgoing, Setup, SimVenue};
use commands::{Answer, Ask, Channel, Command};
use listing::{Listing, Topic};
use pairs::{Pair, Rest};

/// Subscriptions of one client: more than every pair on every channel.
const SUBSCRIPTIONS_MAX: usize = 50_000;
const HEARTBEAT: &str = r#"{"channel":"heartbeat"}"#;

/// Opens the venue.
pub(super) fn open(setup: &Setup) -> Result<Opened> {
    let pairs = setup.symbols.iter().map(Pair::new).collect::<Result<Vec<_>>>()?;
    let rest = Arc::new(Rest::new(&pairs));
    let index = pairs.iter().enumerate().map(|(at, pair)| (pair.symbol.clone(), at)).collect();
    let listings = pairs.iter().map(|_| None).collect();
    let venue = Kraken {
        seed: setup.seed,
        plays: setup.plays,
        rng: StdRng::seed_from_u64(setup.seed),
        pairs,
        index,
        listings,
        active: Vec::new(),
        clients: HashMap::new(),
        stamp: (Timestamp::from_nanos(0), String::new()),
    };
    Ok(Opened { venue: Box::new(venue), rest })
}

/// The symbols that it lists first.
pub(super) fn symbols(count: usize) -> Vec<Symbol> {
    pairs::names(count).filter_map(|name| Symbol::new(&name).ok()).collect()
}

struct Kraken {
    seed: u64,
    plays: bool,
    rng: StdRng,
    pairs: Vec<Pair>,
    index: HashMap<String, usize>,
    /// A market begins when somebody first asks for it.
    listings: Vec<Option<Box<Listing>>>,
    /// The listings that somebody listens to.
    active: Vec<usize>,
    clients: HashMap<Connection, Subscriptions>,
    /// The last moment written out.
    stamp: (Timestamp, String),
}

/// What one client has, by channel and symbol: one of each, since frames do not say depth or trigger.
type Subscriptions = HashMap<(Channel, String), Ask>;

impl SimVenue for Kraken {
    fn opened(&mut self, client: Connection, _now: Timestamp, out: &mut Outgoing) {
        self.clients.insert(client, Subscriptions::new());
        if !self.plays {
            let id: u64 = self.rng.random();
            let status = format!(
                r#"{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"online","api_version":"v2","connection_id":{id},"upcoming_maintenance":[],"emergency":[]}}]}}"#
            );
            out.say(client, status.into());
        }
    }

    fn heard(&mut self, client: Connection, text: &str, now: Timestamp, out: &mut Outgoing) {
        let answer = Answer::at(now);
        match commands::read(text) {
            Ok(Command::Ping { id }) => out.say(client, answer.pong(id)),
            Ok(Command::Subscribe { id, asks }) => {
                for (symbol, ask) in asks {
                    self.subscribe(client, id, symbol, ask, now, out);
                }
            }
            Ok(Command::Unsubscribe { id, asks }) => {
                for (symbol, ask) in asks {
                    self.unsubscribe(client, id, symbol, ask, now, out);
                }
            }
            Err(refusal) => out.say(client, answer.refused(&refusal)),
        }
    }

    fn gone(&mut self, client: Connection) {
        for ((_, symbol), ask) in self.clients.remove(&client).unwrap_or_default() {
            self.leave(client, &symbol, ask);
        }
    }

    fn is_subscribed(&self, client: Connection) -> bool {
        self.clients.get(&client).is_some_and(|subscriptions| !subscriptions.is_empty())
    }

    fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    fn step(&mut self, now: Timestamp, out: &mut Outgoing) -> usize {
        if self.active.is_empty() {
            return 0;
        }
        if self.stamp.0 != now || self.stamp.1.is_empty() {
            self.stamp = (now, encode::micros(now));
        }
        let which = self.active[self.rng.random_range(0..self.active.len())];
        match &mut self.listings[which] {
            Some(listing) => listing.step(now, &self.stamp.1, out),
            None => 0,
        }
    }

    fn heartbeat(&self, _client: Connection, _now: Timestamp) -> Option<Utf8Bytes> {
        Some(Utf8Bytes::from_static(HEARTBEAT))
    }

    fn witness(&self) -> Option<Box<dyn Witness>> {
        Some(Box::new(witness::KrakenWitness::default()))
    }
}

impl Kraken {
    fn subscribe(
        &mut self,
        client: Connection,
        id: Option<u64>,
        symbol: String,
        ask: Ask,
        now: Timestamp,
        out: &mut Outgoing,
    ) {
        let answer = Answer::at(now);
        let at = self.index.get(&symbol).copied();
        if at.is_none() && !self.plays && ask.channel() != Channel::Instrument {
            let error = format!("Currency pair not supported {symbol}");
            out.say(client, answer.error("subscribe", id, &error, Some(&symbol)));
            return;
        }
        let subscriptions = self.clients.entry(client).or_default();
        let key = (ask.channel(), symbol);
        if subscriptions.contains_key(&key) {
            out.say(client, answer.error("subscribe", id, "Already subscribed", Some(&key.1)));
            return;
        }
        if subscriptions.len() >= SUBSCRIPTIONS_MAX {
            out.say(client, answer.error("subscribe", id, "Exceeded subscriptions", Some(&key.1)));
            return;
        }
        out.say(client, answer.subscribed(id, &key.1, ask));
        subscriptions.insert(key, ask);
        if self.plays {
            return;
        }
        match (ask, at) {
            (Ask::Pair { topic, snapshot }, Some(at)) => self.listen(client, at, topic, snapshot, now, out),
            (Ask::Instrument { snapshot: true }, _) => {
                let data = pairs::instruments(&self.pairs);
                let frame = format!(r#"{{"channel":"instrument","type":"snapshot","data":{data}}}"#);
                out.say(client, frame.into());
            }
            _ => {}
        }
    }

    fn listen(
        &mut self,
        client: Connection,
        at: usize,
        topic: Topic,
        snapshot: bool,
        now: Timestamp,
        out: &mut Outgoing,
    ) {
        let pair = &self.pairs[at];
        let seed = self.seed ^ hash(&pair.symbol);
        let listing =
            self.listings[at].get_or_insert_with(|| Box::new(Listing::new(pair.clone(), seed, now)));
        if !listing.is_heard() {
            self.active.push(at);
        }
        listing.listen(topic, client, now);
        if snapshot {
            listing.snapshot(topic, client, now, out);
        }
    }

    fn unsubscribe(
        &mut self,
        client: Connection,
        id: Option<u64>,
        symbol: String,
        ask: Ask,
        now: Timestamp,
        out: &mut Outgoing,
    ) {
        let answer = Answer::at(now);
        let subscriptions = self.clients.entry(client).or_default();
        let key = (ask.channel(), symbol);
        if !subscriptions.get(&key).is_some_and(|there| there.same_topic(ask)) {
            out.say(client, answer.error("unsubscribe", id, "Subscription Not Found", Some(&key.1)));
            return;
        }
        subscriptions.remove(&key);
        self.leave(client, &key.1, ask);
        out.say(client, answer.unsubscribed(id, &key.1, ask));
    }

    fn leave(&mut self, client: Connection, symbol: &str, ask: Ask) {
        let (Ask::Pair { topic, .. }, Some(at)) = (ask, self.index.get(symbol).copied()) else { return };
        if let Some(listing) = &mut self.listings[at] {
            listing.leave(topic, client);
            if !listing.is_heard() {
                self.active.retain(|other| *other != at);
            }
        }
    }
}
