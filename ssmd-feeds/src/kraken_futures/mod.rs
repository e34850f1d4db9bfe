//! Kraken futures, WebSocket v1: books with sequence numbers, trades, tickers, funding, bars, trading states.
//!
//! [`KrakenFuturesProtocol`] talks to the venue, [`KrakenFuturesDecode`] says what its frames mean, [`universe`]
//! reads what can be traded; none of them does any I/O. [`VENUE`] puts them together.
//! `docs/venues/kraken-futures.md` describes every message.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{BookIdentity, Feed, Limits, MergeRules, Result, TradeIdentity};

use crate::listing::{self, About, AskListing, Channels};
use crate::venue::{OpenContext, VenueInfo};
use crate::ws::{Liveness, WsFeed, WsOptions};

pub mod universe;

mod channel;
mod decode;
mod protocol;
mod sequence;
mod subscriptions;
mod wire;

pub use channel::{CHANNELS, Stream, WORDS, parse_channel};
pub use decode::KrakenFuturesDecode;
pub use protocol::KrakenFuturesProtocol;

/// Where market data is, without keys.
const URL: &str = "wss://futures.kraken.com/ws/v1";
/// Where it says what can be traded.
const REST: &str = "https://futures.kraken.com";
/// Topics on one connection. The venue names no bound; its 300 products on every channel fit.
const TOPICS_PER_SESSION: NonZeroUsize = NonZeroUsize::new(2_000).expect("it is not zero");
/// The venue names no bound for attempts to connect here; its spot side, behind the same gate, bans above this.
const CONNECTS: u32 = 150;
/// Connections open at a time. The venue names no bound; this many would use up its attempts in ten minutes.
const SESSIONS: NonZeroUsize = NonZeroUsize::new(100).expect("it is not zero");
/// The window of [`CONNECTS`].
const CONNECTS_WINDOW: Duration = Duration::from_secs(600);

/// With tickers subscribed, which come about once a second for each product, no data for so long is no quiet market.
const FROZEN_AFTER: Duration = Duration::from_secs(30);

/// The line of the table of feeds.
pub static VENUE: VenueInfo = VenueInfo {
    words: channel::WORDS,
    summary: "Kraken futures, WebSocket v1",
    url: URL,
    rest: Some(REST),
    limits: Limits {
        topics_per_session: TOPICS_PER_SESSION,
        sessions: SESSIONS,
        session_age: None,
        connects: CONNECTS,
        connects_window: CONNECTS_WINDOW,
    },
    docs: "https://docs.kraken.com/api/docs/guides/futures-websockets",
    open,
    listing: ask_listing,
    merge: MergeRules {
        trades: TradeIdentity::Sequence,
        trade_channel: "trade",
        books: BookIdentity::Sequence,
        book_channel: "book",
    },
    decoder: || Box::new(KrakenFuturesDecode::new()),
};

/// Opens the feed that `spec` describes. No I/O.
///
/// # Errors
/// `Invalid` for a channel, an option or a symbol that cannot be.
pub fn open(spec: &FeedSpec, context: &OpenContext) -> Result<Arc<dyn Feed>> {
    universe::check(&spec.symbols)?;
    let channels = Channels::new(spec, "PF_XBTUSD", |channel| {
        Ok(if parse_channel(channel)?.has_products() { About::Symbols } else { About::Venue })
    })?;
    let ticks = spec.channels.iter().any(|channel| *channel.name == *Stream::Ticker.name());
    let protocol = KrakenFuturesProtocol::new(spec.url.as_deref().unwrap_or(URL));
    let options = WsOptions {
        name: spec.name.clone(),
        limits: VENUE.limits,
        liveness: if ticks { Liveness::Data(FROZEN_AFTER) } else { Liveness::Bytes },
        dial: Arc::clone(&context.dial),
        subscriptions: context.subscriptions.clone(),
    };
    let universe = listing::universe(&VENUE, spec, context, channels)?;
    Ok(Arc::new(WsFeed::new(options, protocol, Arc::new(|| Box::new(KrakenFuturesDecode::new())), universe)))
}

/// Asks REST for all instruments.
fn ask_listing(spec: &FeedSpec, context: &OpenContext) -> Result<AskListing> {
    let http = listing::http(spec, context, REST)?;
    Ok(listing::one_answer(http, universe::INSTRUMENTS_PATH, universe::parse_instruments))
}
