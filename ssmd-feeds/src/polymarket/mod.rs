//! Polymarket, the market channel of its order books: books with hashes, changes, trades, best prices, tick sizes, new
//! and resolved markets.
//!
//! [`PolymarketProtocol`] talks to the venue, [`PolymarketDecode`] says what its frames mean, [`universe`] reads what
//! can be traded; none of them does any I/O. [`VENUE`] puts them together. `docs/venues/polymarket.md` describes
//! every message.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{BookIdentity, Feed, Limits, MergeRules, Result, TradeIdentity};

use crate::listing::{About, Channels};
use crate::venue::{OpenContext, VenueInfo};
use crate::ws::{Liveness, WsFeed, WsOptions};

pub mod universe;

mod ask;
mod audit;
mod channel;
mod decode;
mod freshness;
mod hash;
mod lifecycle;
mod protocol;
mod rest;
mod scan;
mod subscriptions;
mod wire;

pub use channel::{Asked, CHANNELS, Hashes, WORDS, parse_channel};
pub use decode::PolymarketDecode;
pub use protocol::PolymarketProtocol;

/// Where market data is, without keys.
const URL: &str = "wss://ws-subscriptions-clob.polymarket.com/ws/market";
/// Where it lists markets. What is known by its condition alone is asked of [`CLOB`].
const REST: &str = "https://gamma-api.polymarket.com";
/// The REST of the order books.
const CLOB: &str = "https://clob.polymarket.com";
/// Tokens on one connection: above this the venue sends no first books, others found.
const TOPICS_PER_SESSION: NonZeroUsize = NonZeroUsize::new(500).expect("it is not zero");
/// The venue names no bound for attempts to connect. Others were slowed down above ten connections at once.
const CONNECTS: u32 = 60;
/// Connections open at a time. The venue names no bound; above about ten it has been seen to slow all of them.
const SESSIONS: NonZeroUsize = NonZeroUsize::new(10).expect("it is not zero");
/// The window of [`CONNECTS`].
const CONNECTS_WINDOW: Duration = Duration::from_secs(600);

/// The line of the table of feeds.
pub static VENUE: VenueInfo = VenueInfo {
    words: channel::WORDS,
    summary: "Polymarket, market channel of the CLOB",
    url: URL,
    rest: Some(REST),
    limits: Limits {
        topics_per_session: TOPICS_PER_SESSION,
        sessions: SESSIONS,
        session_age: None,
        connects: CONNECTS,
        connects_window: CONNECTS_WINDOW,
    },
    docs: "https://docs.polymarket.com/market-data/websocket/market-channel",
    open,
    listing: ask::listing,
    merge: MergeRules {
        trades: TradeIdentity::Id,
        trade_channel: "last_trade_price",
        books: BookIdentity::Change,
        book_channel: "market",
    },
    decoder: || Box::new(PolymarketDecode::new(Hashes::Always)),
};

/// Opens the feed that `spec` describes. No I/O.
///
/// # Errors
/// `Invalid` for a channel, an option or a symbol that cannot be.
pub fn open(spec: &FeedSpec, context: &OpenContext) -> Result<Arc<dyn Feed>> {
    spec.symbols.iter().try_for_each(|text| universe::named(text).map(drop))?;
    let channels = Channels::new(spec, "a market's slug", |channel| {
        parse_channel(channel).map(|asked| match asked {
            Asked::Market(_) => About::Symbols,
            Asked::RestBook(_) => About::Nothing,
        })
    })?;
    let (mut hashes, mut asides) = (None, None);
    for channel in &spec.channels {
        match parse_channel(channel)? {
            Asked::Market(more) => hashes = Some(hashes.map_or(more, |hashes: Hashes| hashes.min(more))),
            Asked::RestBook(every) => asides = Some(ask::books(spec, context, every)?),
        }
    }
    let hashes = hashes.unwrap_or_default();
    let protocol = PolymarketProtocol::new(spec.url.as_deref().unwrap_or(URL));
    let options = WsOptions {
        name: spec.name.clone(),
        limits: VENUE.limits,
        liveness: Liveness::Messages,
        dial: Arc::clone(&context.dial),
        subscriptions: context.subscriptions.clone(),
    };
    let universe = ask::universe(spec, context, channels)?;
    let decoder = Arc::new(move || Box::new(PolymarketDecode::new(hashes)) as Box<_>);
    Ok(Arc::new(WsFeed::new(options, protocol, decoder, universe).with_asides(asides)))
}
