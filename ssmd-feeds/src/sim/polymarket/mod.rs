//! Polymarket's market channel from the venue's side: requests, books, changes with true hashes.
//!
//! Real captures set the form of every frame. <https://docs.polymarket.com/market-data/websocket/market-channel>

mod listing;
mod markets;
mod witness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use ssmd_core::{Result, Symbol, Timestamp};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::faults::witness::Witness;
use super::market::hash;
use super::venue::{Connection, Opened, Outgoing, Setup, SimVenue};
use listing::Listing;
use markets::{Names, Rest};

/// Tokens of one client: more than a connection may have at the venue.
const SUBSCRIPTIONS_MAX: usize = 50_000;

/// Opens the venue.
pub(super) fn open(setup: &Setup) -> Result<Opened> {
    let mut tokens = BTreeMap::new();
    let mut markets = BTreeMap::new();
    for symbol in &setup.symbols {
        let names = Names::new(symbol)?;
        for (at, token) in names.tokens.iter().enumerate() {
            tokens.insert(token.clone(), (names.condition.clone(), at));
        }
        markets.insert(names.condition.clone(), names);
    }
    let listings = Listings::default();
    let rest = Arc::new(Rest::new(markets.values(), Arc::clone(&listings)));
    let venue = Polymarket {
        seed: setup.seed,
        plays: setup.plays,
        rng: StdRng::seed_from_u64(setup.seed),
        tokens,
        markets,
        listings,
        active: Vec::new(),
        clients: HashMap::new(),
    };
    Ok(Opened { venue: Box::new(venue), rest })
}

/// The tokens that it lists first.
pub(super) fn symbols(count: usize) -> Vec<Symbol> {
    markets::names(count).filter_map(|name| Symbol::new(&name).ok()).collect()
}

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    operation: String,
    assets_ids: Vec<String>,
}

/// Markets by their condition, for the socket and for REST. One begins when somebody first asks for one of its tokens.
type Listings = Arc<Mutex<BTreeMap<String, Box<Listing>>>>;

fn lock(listings: &Listings) -> MutexGuard<'_, BTreeMap<String, Box<Listing>>> {
    listings.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Polymarket {
    seed: u64,
    plays: bool,
    rng: StdRng,
    /// The market of a token, and which of its tokens that is.
    tokens: BTreeMap<String, (String, usize)>,
    markets: BTreeMap<String, Names>,
    listings: Listings,
    /// The listings that somebody listens to.
    active: Vec<String>,
    /// The tokens of each client.
    clients: HashMap<Connection, BTreeSet<String>>,
}

impl SimVenue for Polymarket {
    fn opened(&mut self, client: Connection, _now: Timestamp, _out: &mut Outgoing) {
        self.clients.insert(client, BTreeSet::new());
    }

    /// Nothing is acknowledged; what is not listed, or asked for twice, is passed over in silence.
    fn heard(&mut self, client: Connection, text: &str, now: Timestamp, out: &mut Outgoing) {
        if text == "PING" {
            return out.say(client, Utf8Bytes::from_static("PONG"));
        }
        let request = serde_json::from_str::<Request>(text).ok();
        let subscribe = request.as_ref().and_then(|request| {
            match (request.kind.to_ascii_lowercase().as_str(), request.operation.as_str()) {
                ("market", "") | (_, "subscribe") => Some(true),
                (_, "unsubscribe") => Some(false),
                _ => None,
            }
        });
        let (Some(request), Some(subscribe)) = (request, subscribe) else {
            return out.say(client, Utf8Bytes::from_static("INVALID OPERATION"));
        };
        let mut books = Vec::new();
        for token in request.assets_ids {
            if subscribe {
                books.extend(self.subscribe(client, token, now));
            } else {
                self.unsubscribe(client, &token);
            }
        }
        if !books.is_empty() {
            out.say(client, format!("[{}]", books.join(",")).into());
        }
    }

    fn gone(&mut self, client: Connection) {
        for token in self.clients.remove(&client).unwrap_or_default() {
            self.leave(client, &token);
        }
    }

    fn is_subscribed(&self, client: Connection) -> bool {
        self.clients.get(&client).is_some_and(|tokens| !tokens.is_empty())
    }

    fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    fn step(&mut self, now: Timestamp, out: &mut Outgoing) -> usize {
        if self.active.is_empty() {
            return 0;
        }
        let which = self.rng.random_range(0..self.active.len());
        lock(&self.listings).get_mut(&self.active[which]).map_or(0, |listing| listing.step(now, out))
    }

    fn heartbeat(&self, _client: Connection, _now: Timestamp) -> Option<Utf8Bytes> {
        None
    }

    fn witness(&self) -> Option<Box<dyn Witness>> {
        Some(Box::<witness::PolymarketWitness>::default())
    }
}

impl Polymarket {
    /// The book of a token that is new to the client.
    fn subscribe(&mut self, client: Connection, token: String, now: Timestamp) -> Option<String> {
        let known = self.tokens.get(&token).cloned();
        if known.is_none() && !self.plays {
            return None;
        }
        let subscriptions = self.clients.entry(client).or_default();
        if subscriptions.len() >= SUBSCRIPTIONS_MAX || !subscriptions.insert(token) || self.plays {
            return None;
        }
        let (condition, at) = known?;
        let names = self.markets.get(&condition)?;
        let seed = self.seed ^ hash(&condition);
        let new = || Box::new(Listing::new(names, seed, now));
        let mut listings = lock(&self.listings);
        let listing = listings.entry(condition.clone()).or_insert_with(new);
        if !listing.is_heard() {
            self.active.push(condition);
        }
        listing.listen(at, client);
        Some(listing.book(at))
    }

    fn unsubscribe(&mut self, client: Connection, token: &str) {
        self.leave(client, token);
        self.clients.entry(client).or_default().remove(token);
    }

    fn leave(&mut self, client: Connection, token: &str) {
        let Some((condition, at)) = self.tokens.get(token) else { return };
        let mut listings = lock(&self.listings);
        let Some(listing) = listings.get_mut(condition) else { return };
        listing.leave(*at, client);
        if !listing.is_heard() {
            self.active.retain(|other| other != condition);
        }
    }
}
