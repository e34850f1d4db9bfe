//! What an adapter says about its venue: how to talk to it, and what its frames mean. No I/O.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::environment::{FeedSpec, FeedWords};
use ssmd_core::{Clock, Decode, Feed, FrameKind, Limits, MergeRules, Result, Symbol, Timestamp, Wanted};

use crate::dial::Dial;
use crate::listing::AskListing;
use crate::ws::Subscriptions;

/// One line of the table of feeds: all that configuration, help and docs need to know about a venue.
#[derive(Debug)]
pub struct VenueInfo {
    /// Its name in configuration, subjects and paths, its channels, and what else a document may say about it.
    pub words: FeedWords,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Its WebSocket address.
    pub url: &'static str,
    /// Its REST address, where it has one.
    pub rest: Option<&'static str>,
    /// What it allows.
    pub limits: Limits,
    /// Where it documents its protocol.
    pub docs: &'static str,
    /// Opens a feed as it is configured; checks the configuration, does no I/O.
    pub open: fn(&FeedSpec, &OpenContext) -> Result<Arc<dyn Feed>>,
    /// Makes what asks the venue for all that it lists; checks the configuration, does no I/O itself.
    pub listing: fn(&FeedSpec, &OpenContext) -> Result<AskListing>,
    /// How connections that hear the same are merged.
    pub merge: MergeRules,
    /// Makes the decoder of one session, for recordings too.
    pub decoder: fn() -> Box<dyn Decode>,
}

/// What a feed needs from the process that opens it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenContext {
    /// Opens WebSockets.
    pub dial: Arc<dyn Dial>,
    /// TLS as the process trusts it, for REST (see [`crate::http::Http::new`]).
    pub tls: Arc<rustls::ClientConfig>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where sessions say what is wanted and not so.
    pub subscriptions: Subscriptions,
}

/// How to open a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// `ws://` or `wss://`, with path and query.
    pub url: String,
    /// Headers to add, signed ones among them. Never logged.
    pub headers: Vec<(String, String)>,
}

/// One connection's side of a venue's protocol, as a state machine without sockets and clocks.
///
/// Each connection runs on a fresh clone, so no state survives a reconnect. `now` is monotonic time; frames put
/// onto `send` are sent in order, as text.
pub trait Protocol: Clone + Send + Sync + 'static {
    /// How to open the connection. `now` is for signatures.
    ///
    /// # Errors
    /// `Invalid` or `Denied` if what is configured cannot work.
    fn handshake(&self, now: Timestamp) -> Result<Handshake>;

    /// Takes what shall be subscribed from now on and sends what brings it about. Called right after the
    /// connection opened, and whenever `wanted` changes.
    fn want(&mut self, wanted: &Wanted, now: Duration, send: &mut Vec<Bytes>);

    /// Hears one frame. Data never waits for acknowledgements. What it cannot read is `Unknown`.
    ///
    /// # Errors
    /// The venue said that this connection must end; the reason for it.
    fn heard(&mut self, frame: &[u8], now: Duration, send: &mut Vec<Bytes>) -> Result<FrameKind>;

    /// Asks for a fresh start of one symbol's book, without touching others.
    fn resync(&mut self, symbol: &Symbol, now: Duration, send: &mut Vec<Bytes>);

    /// Called every [`Protocol::heartbeat`]: keeps the connection alive, and repeats commands that were refused
    /// for now, or not answered in time.
    fn beat(&mut self, now: Duration, send: &mut Vec<Bytes>);

    /// How often to beat.
    fn heartbeat(&self) -> Duration;

    /// Longer than this without any byte is death.
    fn silence(&self) -> Duration;

    /// How many wanted topics the venue has not confirmed, and what it refused for good, for people.
    fn missing(&self) -> Missing;
}

/// What is wanted and not so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Topics that are wanted and not confirmed.
    pub topics: usize,
    /// Topics that the venue refused, with its words.
    pub refused: Vec<(String, String)>,
}
