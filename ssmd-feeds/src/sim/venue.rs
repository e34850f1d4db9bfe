//! What a simulated venue is: its answers, its market, its REST. One line in [`VENUES`] makes it known.
//!
//! No sockets here and no clock: time is handed in, frames are handed out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use ssmd_core::environment::nearest;
use ssmd_core::{Error, ErrorKind, Result, Symbol, Timestamp};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::faults::witness::Witness;
use super::{kalshi, kraken, kraken_futures, polymarket};

/// The number of a connection, from 1 in the order of opening.
pub(super) type Connection = u64;

/// Every venue that can be simulated.
const VENUES: &[Entry] = &[
    Entry { name: "kalshi", open: kalshi::open, symbols: kalshi::symbols },
    Entry { name: "kraken", open: kraken::open, symbols: kraken::symbols },
    Entry { name: "kraken-futures", open: kraken_futures::open, symbols: kraken_futures::symbols },
    Entry { name: "polymarket", open: polymarket::open, symbols: polymarket::symbols },
];

/// One line of the table.
struct Entry {
    name: &'static str,
    open: fn(&Setup) -> Result<Opened>,
    symbols: fn(usize) -> Vec<Symbol>,
}

/// What a venue is made from.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// Everything random follows from it.
    pub(super) seed: u64,
    /// What is listed.
    pub(super) symbols: Vec<Symbol>,
    /// Frames come from a recording: commands are answered for any symbol, and there is no market.
    pub(super) plays: bool,
    /// When markets close, where the venue has such an end.
    pub(super) closing: BTreeMap<Symbol, Timestamp>,
    /// Who signs with the other half of this key, in PEM, is let in; for venues where clients sign.
    pub(super) public_key: Option<Vec<u8>>,
}

/// A venue's two faces.
pub(super) struct Opened {
    /// The WebSocket's.
    pub(super) venue: Box<dyn SimVenue>,
    /// HTTP's.
    pub(super) rest: Arc<dyn SimRest>,
}

/// What a venue says on its WebSocket.
pub(super) trait SimVenue: Send {
    /// A client connected.
    fn opened(&mut self, client: Connection, now: Timestamp, out: &mut Outgoing);

    /// A client sent a text frame.
    fn heard(&mut self, client: Connection, text: &str, now: Timestamp, out: &mut Outgoing);

    /// A client is gone.
    fn gone(&mut self, client: Connection);

    /// Whether a client has any subscription: it may hear data and heartbeats.
    fn is_subscribed(&self, client: Connection) -> bool;

    /// Whether the market has listeners.
    fn is_active(&self) -> bool;

    /// Lets one thing happen in the market; says how many messages it made. Each counts once, however many
    /// clients get it.
    fn step(&mut self, now: Timestamp, out: &mut Outgoing) -> usize;

    /// What it says to a client with subscriptions when there is nothing to say; `None` where that is nothing.
    fn heartbeat(&self, client: Connection, now: Timestamp) -> Option<Utf8Bytes>;

    /// Who knows what a client of a new connection can know; `None` where nobody does, so that faults cannot be
    /// scripted.
    fn witness(&self) -> Option<Box<dyn Witness>>;
}

/// What a venue says over HTTP.
pub(super) trait SimRest: Send + Sync {
    /// Whether a WebSocket may be opened under `path`.
    fn has_socket(&self, path: &str) -> bool;

    /// Lets a client open a WebSocket, or says why not. Venues without keys let everybody in.
    fn admits(
        &self,
        _headers: &HeaderMap,
        _path: &str,
        _now: Timestamp,
    ) -> std::result::Result<(), &'static str> {
        Ok(())
    }

    /// Answers a GET, or `None` if there is no such page.
    fn get(&self, path: &str, query: &str, now: Timestamp) -> Option<Bytes>;
}

/// Frames on their way to clients, in order for each.
#[derive(Debug, Default)]
pub(super) struct Outgoing(HashMap<Connection, Vec<Utf8Bytes>>);

impl Outgoing {
    /// Says one frame to one client.
    pub(super) fn say(&mut self, client: Connection, frame: Utf8Bytes) {
        self.0.entry(client).or_default().push(frame);
    }

    /// Says the same frame to many; it is encoded once.
    pub(super) fn say_all(&mut self, clients: &[Connection], frame: &str) {
        let frame = Utf8Bytes::from(frame);
        for client in clients {
            self.say(*client, frame.clone());
        }
    }

    /// What waits, client by client.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Connection, &mut Vec<Utf8Bytes>)> {
        self.0.iter_mut().filter(|(_, frames)| !frames.is_empty()).map(|(client, frames)| (*client, frames))
    }

    /// Forgets a client and what waited for it.
    pub(super) fn forget(&mut self, client: Connection) {
        self.0.remove(&client);
    }
}

/// Opens the venue of that name.
pub(super) fn open(name: &str, setup: &Setup) -> Result<Opened> {
    (entry(name)?.open)(setup)
}

/// The first `count` symbols that a simulated venue lists: well-known ones first, then invented ones.
///
/// # Errors
/// `Unsupported` if no venue of that name can be simulated.
pub fn symbols(venue: &str, count: usize) -> Result<Vec<Symbol>> {
    Ok((entry(venue)?.symbols)(count))
}

/// The names of the venues that can be simulated.
pub fn names() -> impl Iterator<Item = &'static str> {
    VENUES.iter().map(|entry| entry.name)
}

fn entry(name: &str) -> Result<&'static Entry> {
    VENUES.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<_> = names().collect();
        let meant = nearest(name, known.iter().copied());
        let meant = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`? "));
        Error::new(ErrorKind::Unsupported, "simulate venue")
            .with("venue", name)
            .hint(format!("{meant}venues that can be simulated: {}", known.join(", ")))
    })
}
