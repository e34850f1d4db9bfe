//! Kalshi WebSocket v2 from the venue's side: the signed handshake, commands, answers, subscriptions and their numbers.
//!
//! Real captures set the form of every frame. <https://docs.kalshi.com/websockets>

mod gate;
mod listing;
mod markets;
mod witness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::{Value, json};
use ssmd_core::{Result, Symbol, Timestamp};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::faults::witness::Witness;
use super::market::hash;
use super::venue::{Connection, Opened, Outgoing, Setup, SimVenue};
use gate::Gate;
use listing::Listing;
use markets::{Contract, Rest};

/// Markets on one subscription.
const MARKETS_MAX: usize = 10_000;
/// Frames of a recording have numbers of their own: answers have others, so that nobody takes one for the other.
const PLAY_SID: u64 = 1_000_000;

/// Opens the venue.
pub(super) fn open(setup: &Setup) -> Result<Opened> {
    let contract = |symbol| {
        Contract::new(symbol)
            .map(|contract| Contract { closes: setup.closing.get(symbol).copied(), ..contract })
    };
    let contracts = setup.symbols.iter().map(contract).collect::<Result<Vec<_>>>()?;
    let closing = contracts.iter().filter_map(|contract| Some((contract.closes?, contract.ticker.clone())));
    let closing = closing.collect();
    let gate = Gate::new(setup.public_key.as_deref())?;
    let rest = Arc::new(Rest::new(contracts.clone(), gate));
    let contracts = contracts.into_iter().map(|contract| (contract.ticker.clone(), contract)).collect();
    let venue = Kalshi {
        seed: setup.seed,
        plays: setup.plays,
        rng: StdRng::seed_from_u64(setup.seed),
        contracts,
        closing,
        listings: BTreeMap::new(),
        active: Vec::new(),
        clients: HashMap::new(),
    };
    Ok(Opened { venue: Box::new(venue), rest })
}

/// The markets that it lists first.
pub(super) fn symbols(count: usize) -> Vec<Symbol> {
    markets::names(count).filter_map(|name| Symbol::new(&name).ok()).collect()
}

/// The channels of public data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    Ticker,
    Trade,
    Book,
    Lifecycle,
}

impl Channel {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Ticker, "ticker"),
        (Self::Trade, "trade"),
        (Self::Book, "orderbook_delta"),
        (Self::Lifecycle, "market_lifecycle_v2"),
    ];

    fn read(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, word)| *word == name).map(|(channel, _)| *channel)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(channel, _)| *channel == self).map_or("", |(_, name)| name)
    }
}

#[derive(Deserialize)]
struct Command {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    cmd: String,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    channels: Vec<String>,
    sids: Vec<u64>,
    sid: Option<u64>,
    action: String,
    market_ticker: Option<String>,
    market_tickers: Vec<String>,
}

impl Params {
    fn markets(&self) -> Vec<String> {
        self.market_tickers.iter().chain(&self.market_ticker).cloned().collect()
    }
}

/// What a client has on one channel.
struct Subscription {
    sid: u64,
    seq: u64,
    /// `None` for all of them.
    markets: Option<BTreeSet<String>>,
}

impl Subscription {
    fn has(&self, market: &str) -> bool {
        self.markets.as_ref().is_none_or(|markets| markets.contains(market))
    }

    fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// What the venue says on it. Tickers have no number.
    fn frame(&mut self, kind: &str, msg: &str) -> Utf8Bytes {
        let sid = self.sid;
        if kind == "ticker" {
            return line(format_args!(r#"{{"type":"ticker","sid":{sid},"msg":{msg}}}"#));
        }
        let seq = self.next();
        line(format_args!(r#"{{"type":"{kind}","sid":{sid},"seq":{seq},"msg":{msg}}}"#))
    }
}

#[derive(Default)]
struct Client {
    subscriptions: BTreeMap<Channel, Subscription>,
    last_sid: u64,
}

struct Kalshi {
    seed: u64,
    plays: bool,
    rng: StdRng,
    contracts: BTreeMap<String, Contract>,
    /// Those that will close, and when.
    closing: BTreeSet<(Timestamp, String)>,
    /// A market begins when somebody first asks for it.
    listings: BTreeMap<String, Box<Listing>>,
    /// The markets that somebody listens to.
    active: Vec<String>,
    clients: HashMap<Connection, Client>,
}

impl SimVenue for Kalshi {
    fn opened(&mut self, client: Connection, _now: Timestamp, _out: &mut Outgoing) {
        let last_sid = if self.plays { PLAY_SID } else { 0 };
        self.clients.insert(client, Client { last_sid, ..Client::default() });
    }

    fn heard(&mut self, client: Connection, text: &str, now: Timestamp, out: &mut Outgoing) {
        self.close(now, out);
        let Ok(command) = serde_json::from_str::<Command>(text) else {
            return complain(client, 0, 1, "Unable to process message", out);
        };
        match command.cmd.as_str() {
            "subscribe" => self.subscribe(client, &command, now, out),
            "unsubscribe" => self.unsubscribe(client, &command, out),
            "update_subscription" => self.update(client, &command, now, out),
            "list_subscriptions" => {
                let subscriptions = self.clients.get(&client).map(|client| &client.subscriptions);
                let all: Vec<Value> = subscriptions
                    .into_iter()
                    .flatten()
                    .map(
                        |(channel, subscription)| json!({"channel": channel.name(), "sid": subscription.sid}),
                    )
                    .collect();
                out.say(client, line(json!({"id": command.id, "type": "ok", "msg": all})));
            }
            _ => complain(client, command.id, 5, "Unknown command", out),
        }
        self.look_who_listens();
    }

    fn gone(&mut self, client: Connection) {
        self.clients.remove(&client);
        self.look_who_listens();
    }

    fn is_subscribed(&self, client: Connection) -> bool {
        self.clients.get(&client).is_some_and(|client| !client.subscriptions.is_empty())
    }

    fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    fn step(&mut self, now: Timestamp, out: &mut Outgoing) -> usize {
        self.close(now, out);
        if self.active.is_empty() {
            return 0;
        }
        let name = self.active[self.rng.random_range(0..self.active.len())].clone();
        let Some(listing) = self.listings.get_mut(&name) else { return 0 };
        let (clients, mut said) = (&mut self.clients, 0);
        listing.step(now, &mut |channel, msg| {
            let mut heard = false;
            for (number, client) in clients.iter_mut() {
                let Some(subscription) = client.subscriptions.get_mut(&channel) else { continue };
                if subscription.has(&name) {
                    out.say(*number, subscription.frame(channel.name(), &msg));
                    heard = true;
                }
            }
            said += usize::from(heard);
        });
        said
    }

    fn heartbeat(&self, _client: Connection, _now: Timestamp) -> Option<Utf8Bytes> {
        None
    }

    fn witness(&self) -> Option<Box<dyn Witness>> {
        Some(Box::new(witness::KalshiWitness::default()))
    }
}

impl Kalshi {
    fn subscribe(&mut self, client: Connection, command: &Command, now: Timestamp, out: &mut Outgoing) {
        let markets = command.params.markets();
        if command.params.channels.is_empty() {
            return complain(client, command.id, 3, "Channels required", out);
        }
        if let Some(unknown) = self.unknown(&markets) {
            return complain_of(client, command.id, 16, "Market not found", Some(&unknown), out);
        }
        for name in &command.params.channels {
            let Some(channel) = Channel::read(name) else {
                complain(client, command.id, 8, "Unknown channel name", out);
                continue;
            };
            if channel == Channel::Book && markets.is_empty() {
                complain(client, command.id, 14, "Market tickers required", out);
                continue;
            }
            let Some(state) = self.clients.get_mut(&client) else { return };
            if state.subscriptions.contains_key(&channel) {
                complain(client, command.id, 6, "Already subscribed", out);
                continue;
            }
            state.last_sid += 1;
            let of_markets = channel != Channel::Lifecycle && !markets.is_empty();
            let subscription = Subscription {
                sid: state.last_sid,
                seq: 0,
                markets: of_markets.then(|| markets.iter().cloned().collect()),
            };
            let msg = json!({"channel": name, "sid": subscription.sid});
            state.subscriptions.insert(channel, subscription);
            out.say(client, line(json!({"id": command.id, "type": "subscribed", "msg": msg})));
            self.greet(client, channel, &markets, now, out);
        }
    }

    /// What markets begin with for somebody who is new to them.
    fn greet(
        &mut self,
        client: Connection,
        channel: Channel,
        markets: &[String],
        now: Timestamp,
        out: &mut Outgoing,
    ) {
        if self.plays {
            return;
        }
        let Self { seed, contracts, listings, clients, .. } = self;
        let Some(state) = clients.get_mut(&client) else { return };
        let Some(subscription) = state.subscriptions.get_mut(&channel) else { return };
        for name in markets {
            let Some(contract) = contracts.get(name) else { continue };
            let seed = *seed ^ hash(name);
            let listing = listings
                .entry(name.clone())
                .or_insert_with(|| Box::new(Listing::new(contract.clone(), seed, now)));
            match channel {
                Channel::Book => {
                    out.say(client, subscription.frame("orderbook_snapshot", &listing.snapshot()));
                }
                Channel::Ticker => {
                    out.say(client, subscription.frame("ticker", &listing.first_ticker(now)));
                }
                Channel::Trade | Channel::Lifecycle => {}
            }
        }
    }

    fn unsubscribe(&mut self, client: Connection, command: &Command, out: &mut Outgoing) {
        if command.params.sids.is_empty() {
            return complain(client, command.id, 4, "Subscription IDs required", out);
        }
        for sid in &command.params.sids {
            let Some(state) = self.clients.get_mut(&client) else { return };
            let channel =
                state.subscriptions.iter().find(|(_, s)| s.sid == *sid).map(|(channel, _)| *channel);
            let Some(mut subscription) = channel.and_then(|channel| state.subscriptions.remove(&channel))
            else {
                complain(client, command.id, 7, "Unknown subscription ID", out);
                continue;
            };
            let seq = subscription.next();
            let frame = json!({"id": command.id, "sid": sid, "seq": seq, "type": "unsubscribed"});
            out.say(client, line(frame));
        }
    }

    fn update(&mut self, client: Connection, command: &Command, now: Timestamp, out: &mut Outgoing) {
        let params = &command.params;
        let sids: Vec<u64> = params.sids.iter().copied().chain(params.sid).collect();
        let [sid] = sids.as_slice() else {
            return complain(client, command.id, 12, "Exactly one subscription ID is required", out);
        };
        let names = params.markets();
        if params.action == "add_markets"
            && let Some(unknown) = self.unknown(&names)
        {
            return complain_of(client, command.id, 16, "Market not found", Some(&unknown), out);
        }
        let Some(state) = self.clients.get_mut(&client) else { return };
        let Some((channel, subscription)) = state.subscriptions.iter_mut().find(|(_, s)| s.sid == *sid)
        else {
            return complain(client, command.id, 7, "Unknown subscription ID", out);
        };
        let (channel, mut fresh) = (*channel, Vec::new());
        match (params.action.as_str(), &mut subscription.markets) {
            ("add_markets", Some(markets)) if markets.len() + names.len() > MARKETS_MAX => {
                return complain(client, command.id, 26, "Too many markets on this subscription", out);
            }
            ("add_markets", Some(markets)) => {
                fresh = names.into_iter().filter(|name| markets.insert(name.clone())).collect();
            }
            ("delete_markets", Some(markets)) => names.iter().for_each(|name| {
                markets.remove(name);
            }),
            ("get_snapshot", Some(markets)) if channel == Channel::Book => {
                fresh = names.into_iter().filter(|name| markets.contains(name)).collect();
            }
            (_, None) => {}
            _ => return complain(client, command.id, 13, "Unsupported action", out),
        }
        let msg = json!({"market_tickers": subscription.markets});
        let frame =
            json!({"id": command.id, "sid": sid, "seq": subscription.next(), "type": "ok", "msg": msg});
        out.say(client, line(frame));
        self.greet(client, channel, &fresh, now, out);
    }

    /// Markets whose time is over: their books are told as empty, twice as the venue does at times, and no more.
    fn close(&mut self, now: Timestamp, out: &mut Outgoing) {
        while self.closing.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.closing.pop_first() else { return };
            let Some(contract) = self.contracts.get(&name) else { continue };
            let seed = self.seed ^ hash(&name);
            let new = || Box::new(Listing::new(contract.clone(), seed, now));
            let listing = self.listings.entry(name.clone()).or_insert_with(new);
            listing.close();
            let msg = listing.snapshot();
            for (number, client) in &mut self.clients {
                let Some(subscription) = client.subscriptions.get_mut(&Channel::Book) else { continue };
                if subscription.has(&name) {
                    (0..2).for_each(|_| out.say(*number, subscription.frame("orderbook_snapshot", &msg)));
                }
            }
            self.active.retain(|active| *active != name);
        }
    }

    fn unknown(&self, markets: &[String]) -> Option<String> {
        let is_known = |name: &String| self.plays || self.contracts.contains_key(name);
        markets.iter().find(|name| !is_known(name)).cloned()
    }

    /// Only markets that somebody listens to go on.
    fn look_who_listens(&mut self) {
        if self.plays {
            return;
        }
        let subscriptions = self.clients.values().flat_map(|client| &client.subscriptions);
        let mut all = BTreeSet::new();
        for (channel, subscription) in subscriptions {
            match &subscription.markets {
                Some(markets) => all.extend(markets.iter().cloned()),
                None if *channel == Channel::Lifecycle => {}
                None => all.extend(self.contracts.keys().cloned()),
            }
        }
        for name in &all {
            let Some(contract) = self.contracts.get(name) else { continue };
            let seed = self.seed ^ hash(name);
            let new = || Box::new(Listing::new(contract.clone(), seed, Timestamp::default()));
            self.listings.entry(name.clone()).or_insert_with(new);
        }
        let is_over = |name: &String| self.listings.get(name).is_some_and(|listing| listing.is_closed());
        self.active = all.into_iter().filter(|name| !is_over(name)).collect();
    }
}

/// A frame as the venue sends it, which ends in a newline.
fn line(frame: impl Display) -> Utf8Bytes {
    format!("{frame}\n").into()
}

fn complain(client: Connection, id: u64, code: u64, words: &str, out: &mut Outgoing) {
    complain_of(client, id, code, words, None, out);
}

fn complain_of(
    client: Connection,
    id: u64,
    code: u64,
    words: &str,
    market: Option<&str>,
    out: &mut Outgoing,
) {
    let mut msg = json!({"code": code, "msg": words});
    if let Some(market) = market {
        msg["market_ticker"] = json!(market);
    }
    out.say(client, line(json!({"id": id, "type": "error", "msg": msg})));
}
