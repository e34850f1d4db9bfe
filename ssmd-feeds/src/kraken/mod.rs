//! Kraken spot, WebSocket v2: books with checksums, trades, tickers, bars, instruments, status.
//!
//! [`KrakenProtocol`] talks to the venue, [`KrakenDecode`] says what its frames mean, [`universe`] reads what can
//! be traded; none of them does any I/O. [`VENUE`] puts them together. `docs/venues/kraken.md` describes every
//! message.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::FeedSpec;
use ssmd_core::record::TradingStatus;
use ssmd_core::{BookIdentity, Feed, Limits, MergeRules, Result, TradeIdentity};

use crate::listing::{self, About, AskListing, Channels};
use crate::venue::{OpenContext, VenueInfo};
use crate::ws::{Liveness, WsFeed, WsOptions};

pub mod universe;

mod audit;
mod channel;
mod decode;
mod protocol;
mod scan;
mod subscriptions;
mod wire;

pub use audit::checksum;
pub use channel::{CHANNELS, Subscribed, WORDS, parse_channel};
pub use decode::KrakenDecode;
pub use protocol::KrakenProtocol;

/// Where market data is, without keys.
const URL: &str = "wss://ws.kraken.com/v2";
/// Where it says what can be traded.
const REST: &str = "https://api.kraken.com";
/// Topics on one connection. The venue names no bound; this many books can still be resubscribed within a minute.
const TOPICS_PER_SESSION: NonZeroUsize = NonZeroUsize::new(2_000).expect("it is not zero");
/// About 150 attempts in ten minutes and address, then a ban for a while.
const CONNECTS: u32 = 150;
/// Connections open at a time. The venue names no bound; this many would use up its attempts in ten minutes.
const SESSIONS: NonZeroUsize = NonZeroUsize::new(100).expect("it is not zero");
/// The window of [`CONNECTS`].
const CONNECTS_WINDOW: Duration = Duration::from_secs(600);
/// What comes about every second when there is nothing else.
const HEARTBEAT: &[u8] = br#"{"channel":"heartbeat"}"#;

/// The line of the table of feeds.
pub static VENUE: VenueInfo = VenueInfo {
    words: channel::WORDS,
    summary: "Kraken spot, WebSocket v2",
    url: URL,
    rest: Some(REST),
    limits: Limits {
        topics_per_session: TOPICS_PER_SESSION,
        sessions: SESSIONS,
        session_age: None,
        connects: CONNECTS,
        connects_window: CONNECTS_WINDOW,
    },
    docs: "https://docs.kraken.com/exchange/api-reference/spot-websocket",
    open,
    listing: ask_listing,
    merge: MergeRules {
        trades: TradeIdentity::Number,
        trade_channel: "trade",
        books: BookIdentity::Change,
        book_channel: "book",
    },
    decoder: || Box::new(KrakenDecode::new()),
};

/// Opens the feed that `spec` describes. No I/O.
///
/// # Errors
/// `Invalid` for a channel, an option, a depth or a symbol that cannot be.
pub fn open(spec: &FeedSpec, context: &OpenContext) -> Result<Arc<dyn Feed>> {
    let channels = Channels::new(spec, "BTC/USD", |channel| {
        Ok(match parse_channel(channel, spec.depth)? {
            Some(subscribed) if subscribed.has_symbols() => About::Symbols,
            Some(_) => About::Venue,
            None => About::Nothing,
        })
    })?;
    let protocol = KrakenProtocol::new(spec.url.as_deref().unwrap_or(URL), spec.depth);
    let options = WsOptions {
        name: spec.name.clone(),
        limits: VENUE.limits,
        liveness: Liveness::Messages,
        dial: Arc::clone(&context.dial),
        subscriptions: context.subscriptions.clone(),
    };
    let universe = listing::universe(&VENUE, spec, context, channels)?;
    Ok(Arc::new(WsFeed::new(options, protocol, Arc::new(|| Box::new(KrakenDecode::new())), universe)))
}

/// Asks REST for all pairs.
fn ask_listing(spec: &FeedSpec, context: &OpenContext) -> Result<AskListing> {
    let http = listing::http(spec, context, REST)?;
    Ok(listing::one_answer(http, universe::PAIRS_PATH, universe::parse_pairs))
}

/// The venue's status words, of its engine and of its pairs, in one vocabulary.
fn trading_status(word: &str) -> TradingStatus {
    match word {
        "online" => TradingStatus::Online,
        "cancel_only" => TradingStatus::CancelOnly,
        "post_only" => TradingStatus::PostOnly,
        "limit_only" => TradingStatus::LimitOnly,
        "reduce_only" => TradingStatus::ReduceOnly,
        "maintenance" => TradingStatus::Maintenance,
        "delisted" | "work_in_progress" => TradingStatus::Closed,
        _ => TradingStatus::Unknown,
    }
}
