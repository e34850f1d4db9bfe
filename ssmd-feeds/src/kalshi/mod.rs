//! Kalshi, WebSocket v2: books, trades, tickers and the lives of markets, behind a signed handshake.
//!
//! [`KalshiProtocol`] talks to the venue, [`KalshiDecode`] says what its frames mean, [`universe`] reads what can be
//! traded and when; none of them does any I/O. [`VENUE`] puts them together. `docs/venues/kalshi.md` describes every
//! message.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{BookIdentity, Error, ErrorKind, Feed, Limits, MergeRules, Result, TradeIdentity};

use crate::decoding::shown;
use crate::http::{Http, HttpOptions};
use crate::listing::{self, About, AskListing, Channels};
use crate::venue::{OpenContext, VenueInfo};
use crate::ws::{Liveness, WsFeed, WsOptions};

pub mod universe;

pub(crate) mod auth;
mod books;
mod channel;
mod commands;
mod decode;
mod line;
mod numbers;
mod protocol;
mod scan;
mod sequence;
mod subscriptions;
mod wire;

pub use channel::{CHANNELS, Stream, WORDS, parse_channel};
pub use decode::KalshiDecode;
pub use protocol::KalshiProtocol;

/// Where market data is, with keys. Demo: `wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2`.
const URL: &str = "wss://external-api-ws.kalshi.com/trade-api/ws/v2";
/// Where it lists what can be traded, without keys. Demo: `https://external-api.demo.kalshi.co`.
const REST: &str = "https://external-api.kalshi.com";
/// Topics on one connection: 10,000 markets on one subscription have been seen to work.
const TOPICS_PER_SESSION: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");
/// The venue names no bound for attempts to connect; others ban above this.
const CONNECTS: u32 = 150;
/// Connections open at a time, all that use the account together: about five are reported for production.
const SESSIONS: NonZeroUsize = NonZeroUsize::new(5).expect("it is not zero");
/// The window of [`CONNECTS`].
const CONNECTS_WINDOW: Duration = Duration::from_secs(600);
/// The least time between two questions: half of what the smallest account may ask.
const REST_SPACING: Duration = Duration::from_millis(100);

/// The line of the table of feeds.
pub static VENUE: VenueInfo = VenueInfo {
    words: channel::WORDS,
    summary: "Kalshi, WebSocket v2",
    url: URL,
    rest: Some(REST),
    limits: Limits {
        topics_per_session: TOPICS_PER_SESSION,
        sessions: SESSIONS,
        session_age: None,
        connects: CONNECTS,
        connects_window: CONNECTS_WINDOW,
    },
    docs: "https://docs.kalshi.com/websockets",
    open,
    listing: ask_listing,
    merge: MergeRules {
        trades: TradeIdentity::Id,
        trade_channel: "trade",
        books: BookIdentity::Change,
        book_channel: "orderbook_delta",
    },
    decoder: || Box::new(KalshiDecode::new()),
};

/// Opens the feed that `spec` describes. No I/O.
///
/// # Errors
/// `Invalid` for a channel, an option, a symbol or keys that cannot be.
pub fn open(spec: &FeedSpec, context: &OpenContext) -> Result<Arc<dyn Feed>> {
    if let Some(text) = spec.symbols.iter().find(|text| text.bytes().any(|byte| byte.is_ascii_lowercase())) {
        return Err(Error::new(ErrorKind::Invalid, "read market")
            .with("symbol", shown(text))
            .hint(format!("write it as the venue does: {}", shown(&text.to_ascii_uppercase()))));
    }
    let channels = Channels::new(spec, "KXBTC15M-*", |channel| {
        Ok(if parse_channel(channel)?.has_markets() { About::Symbols } else { About::Venue })
    })?;
    let keys = auth::Keys::new(&spec.keys)?;
    let protocol = KalshiProtocol::new(spec.url.as_deref().unwrap_or(URL)).with_keys(keys);
    let options = WsOptions {
        name: spec.name.clone(),
        limits: VENUE.limits,
        liveness: Liveness::Bytes,
        dial: Arc::clone(&context.dial),
        subscriptions: context.subscriptions.clone(),
    };
    let universe = listing::universe(&VENUE, spec, context, channels)?;
    Ok(Arc::new(WsFeed::new(options, protocol, Arc::new(|| Box::new(KalshiDecode::new())), universe)))
}

/// Asks REST for the markets that `spec` may mean, and again when that is not known any more.
fn ask_listing(spec: &FeedSpec, context: &OpenContext) -> Result<AskListing> {
    let mut options = HttpOptions::new(spec.rest.as_deref().unwrap_or(REST));
    options.allow_plaintext = spec.allow_plaintext;
    options.spacing = REST_SPACING;
    let http = Http::new(options, &context.tls, Arc::clone(&context.clock))?;
    let (clock, subscriptions) = (Arc::clone(&context.clock), context.subscriptions.clone());
    let rolling = Arc::new(universe::Rolling::new(http, spec, clock, subscriptions));
    Ok(Arc::new(move || {
        let rolling = Arc::clone(&rolling);
        Box::pin(async move { rolling.listing().await })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feed of everything about these markets.
    pub(super) fn spec(symbols: &[&str]) -> FeedSpec {
        FeedSpec {
            channels: CHANNELS.iter().map(|channel| channel.name.parse().unwrap()).collect(),
            symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
            ..FeedSpec::new("kalshi".parse().unwrap())
        }
    }
}
