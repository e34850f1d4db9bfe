//! Kraken futures v1 from the venue's side: requests, answers, subscriptions.
//!
//! Real captures set the form of every frame. <https://docs.kraken.com/api/docs/guides/futures-websockets>

mod listing;
mod products;
mod witness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::json;
use ssmd_core::{Result, Symbol, Timestamp};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::faults::witness::Witness;
use super::market::hash;
use super::venue::{Connection, Opened, Outgoing, Setup, SimVenue};
use listing::{Listing, millis};
use products::{Product, Rest};
use witness::FuturesWitness;

/// Subscriptions of one client: more than every product on every feed.
const SUBSCRIPTIONS_MAX: usize = 50_000;
/// The feeds that need a key.
const PRIVATE: [&str; 8] = [
    "open_orders",
    "open_orders_verbose",
    "open_positions",
    "balances",
    "fills",
    "account_log",
    "notifications_auth",
    "notifications",
];

/// Opens the venue.
pub(super) fn open(setup: &Setup) -> Result<Opened> {
    let products = setup.symbols.iter().map(Product::new).collect::<Result<Vec<_>>>()?;
    let rest = Arc::new(Rest::new(&products));
    let products = products.into_iter().map(|product| (product.symbol.clone(), product)).collect();
    let venue = KrakenFutures {
        seed: setup.seed,
        plays: setup.plays,
        rng: StdRng::seed_from_u64(setup.seed),
        products,
        listings: BTreeMap::new(),
        active: Vec::new(),
        clients: HashMap::new(),
    };
    Ok(Opened { venue: Box::new(venue), rest })
}

/// The products that it lists first.
pub(super) fn symbols(count: usize) -> Vec<Symbol> {
    products::names(count).filter_map(|name| Symbol::new(&name).ok()).collect()
}

/// The feeds of this endpoint, without those that need a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Ticker,
    TickerLite,
    Trade,
    Book,
    Heartbeat,
}

impl Channel {
    fn read(name: &str) -> Option<Self> {
        Some(match name {
            "ticker" => Self::Ticker,
            "ticker_lite" => Self::TickerLite,
            "trade" => Self::Trade,
            "book" => Self::Book,
            "heartbeat" => Self::Heartbeat,
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct Request {
    event: String,
    #[serde(default)]
    feed: String,
    #[serde(default)]
    product_ids: Vec<String>,
}

struct KrakenFutures {
    seed: u64,
    plays: bool,
    rng: StdRng,
    products: BTreeMap<String, Product>,
    /// A market begins when somebody first asks for it.
    listings: BTreeMap<String, Box<Listing>>,
    /// The listings that somebody listens to.
    active: Vec<String>,
    /// What each client has; heartbeats have no product.
    clients: HashMap<Connection, BTreeSet<(Channel, String)>>,
}

impl SimVenue for KrakenFutures {
    fn opened(&mut self, client: Connection, _now: Timestamp, out: &mut Outgoing) {
        self.clients.insert(client, BTreeSet::new());
        if !self.plays {
            out.say(client, Utf8Bytes::from_static(r#"{"event":"info","version":1}"#));
        }
    }

    fn heard(&mut self, client: Connection, text: &str, now: Timestamp, out: &mut Outgoing) {
        let Ok(request) = serde_json::from_str::<Request>(text) else {
            return complain(client, "error", "Bad websocket message", out);
        };
        let subscribe = match request.event.as_str() {
            "subscribe" => true,
            "unsubscribe" => false,
            _ => return complain(client, "error", "Unknown event", out),
        };
        let Some(channel) = Channel::read(&request.feed) else {
            let message = match PRIVATE.contains(&request.feed.as_str()) {
                true => "Failed to subscribe to authenticated feed",
                false => "Couldn't subscribe to invalid feed",
            };
            return complain(client, "alert", message, out);
        };
        let products = match channel {
            Channel::Heartbeat => vec![String::new()],
            _ => request.product_ids.iter().map(|product| product.to_ascii_uppercase()).collect(),
        };
        for product in products {
            let listed = channel == Channel::Heartbeat || self.plays || self.products.contains_key(&product);
            if !listed {
                complain(client, "error", "Invalid product id", out);
                continue;
            }
            let done = match subscribe {
                true => self.subscribe(client, channel, &product),
                false => self.unsubscribe(client, channel, &product),
            };
            answer(client, &request, &product, done, out);
            if subscribe && done && !self.plays && channel != Channel::Heartbeat {
                self.listen(client, channel, product, now, out);
            }
        }
    }

    fn gone(&mut self, client: Connection) {
        for (channel, product) in self.clients.remove(&client).unwrap_or_default() {
            self.leave(client, channel, &product);
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
        let which = self.rng.random_range(0..self.active.len());
        self.listings.get_mut(&self.active[which]).map_or(0, |listing| listing.step(now, out))
    }

    fn heartbeat(&self, client: Connection, now: Timestamp) -> Option<Utf8Bytes> {
        let heard = (Channel::Heartbeat, String::new());
        let wanted = self.clients.get(&client).is_some_and(|subscriptions| subscriptions.contains(&heard));
        wanted.then(|| format!(r#"{{"feed":"heartbeat","time":{}}}"#, millis(now)).into())
    }

    fn witness(&self) -> Option<Box<dyn Witness>> {
        Some(Box::<FuturesWitness>::default())
    }
}

impl KrakenFutures {
    fn subscribe(&mut self, client: Connection, channel: Channel, product: &str) -> bool {
        let subscriptions = self.clients.entry(client).or_default();
        subscriptions.len() < SUBSCRIPTIONS_MAX && subscriptions.insert((channel, product.to_owned()))
    }

    fn unsubscribe(&mut self, client: Connection, channel: Channel, product: &str) -> bool {
        self.leave(client, channel, product);
        self.clients.entry(client).or_default().remove(&(channel, product.to_owned()))
    }

    fn listen(
        &mut self,
        client: Connection,
        channel: Channel,
        symbol: String,
        now: Timestamp,
        out: &mut Outgoing,
    ) {
        let Some(product) = self.products.get(&symbol) else { return };
        let seed = self.seed ^ hash(&symbol);
        let new = || Box::new(Listing::new(product.clone(), seed, now));
        let listing = self.listings.entry(symbol.clone()).or_insert_with(new);
        if !listing.is_heard() {
            self.active.push(symbol);
        }
        listing.listen(channel, client);
        listing.snapshot(channel, client, now, out);
    }

    fn leave(&mut self, client: Connection, channel: Channel, product: &str) {
        let Some(listing) = self.listings.get_mut(product) else { return };
        listing.leave(channel, client);
        if !listing.is_heard() {
            self.active.retain(|other| other != product);
        }
    }
}

/// One answer for each product; the words are the venue's, when it fails too.
fn answer(client: Connection, request: &Request, product: &str, done: bool, out: &mut Outgoing) {
    let failed = if done { "" } else { "_failed" };
    let (event, feed) = (&request.event, &request.feed);
    let products =
        if product.is_empty() { String::new() } else { format!(r#","product_ids":[{}]"#, json!(product)) };
    let frame = format!(r#"{{"event":"{event}d{failed}","feed":"{feed}"{products}}}"#);
    out.say(client, frame.into());
}

fn complain(client: Connection, event: &str, message: &str, out: &mut Outgoing) {
    out.say(client, format!(r#"{{"event":"{event}","message":"{message}"}}"#).into());
}
