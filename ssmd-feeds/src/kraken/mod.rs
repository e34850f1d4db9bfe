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
use ssmd_core::{Channel, Error, ErrorKind, Feed, Limits, Result, Topic, Wanted};

use crate::http::{Http, HttpOptions};
use crate::pattern::is_pattern;
use crate::venue::{OpenContext, VenueInfo};
use crate::ws::{AskUniverse, Liveness, WsFeed, WsOptions};

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
/// The window of [`CONNECTS`].
const CONNECTS_WINDOW: Duration = Duration::from_secs(600);
/// What comes about every second when there is nothing else.
const HEARTBEAT: &[u8] = br#"{"channel":"heartbeat"}"#;

/// The line of the table of feeds.
pub const VENUE: VenueInfo = VenueInfo {
    words: channel::WORDS,
    summary: "Kraken spot, WebSocket v2",
    url: URL,
    rest: Some(REST),
    limits: Limits {
        topics_per_session: TOPICS_PER_SESSION,
        connects: CONNECTS,
        connects_window: CONNECTS_WINDOW,
    },
    docs: "https://docs.kraken.com/exchange/api-reference/spot-websocket",
    open,
    decoder: || Box::new(KrakenDecode::new()),
};

/// Opens the feed that `spec` describes. No I/O.
///
/// # Errors
/// `Invalid` for a channel, an option, a depth or a symbol that cannot be.
pub fn open(spec: &FeedSpec, context: &OpenContext) -> Result<Arc<dyn Feed>> {
    let channels = Channels::check(spec)?;
    let protocol = KrakenProtocol::new(spec.url.as_deref().unwrap_or(URL), spec.depth);
    let options = WsOptions {
        name: spec.name.clone(),
        limits: VENUE.limits,
        liveness: Liveness::Messages,
        dial: Arc::clone(&context.dial),
        subscriptions: context.subscriptions.clone(),
    };
    let universe = ask(spec, context, channels)?;
    Ok(Arc::new(WsFeed::new(options, protocol, Arc::new(|| Box::new(KrakenDecode::new())), universe)))
}

/// The channels of a feed.
struct Channels {
    of_symbols: Vec<Channel>,
    of_venue: Vec<Channel>,
}

impl Channels {
    fn check(spec: &FeedSpec) -> Result<Self> {
        let mut channels = Self { of_symbols: Vec::new(), of_venue: Vec::new() };
        for channel in &spec.channels {
            match parse_channel(channel, spec.depth)? {
                Some(subscribed) if subscribed.has_symbols() => channels.of_symbols.push(channel.clone()),
                Some(_) => channels.of_venue.push(channel.clone()),
                None => {}
            }
        }
        if !channels.of_symbols.is_empty() && spec.symbols.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "open feed")
                .detail("no symbols")
                .with("feed", &spec.name)
                .hint("name symbols such as BTC/USD, or `*` for all"));
        }
        universe::select(&[], &spec.symbols)?;
        Ok(channels)
    }

    fn wanted(&self, pairs: &[universe::Pair], symbols: &[String]) -> Result<Wanted> {
        let mut wanted = Wanted::product(&self.of_symbols, &universe::select(pairs, symbols)?);
        let of_venue = self.of_venue.iter().map(|channel| Topic { channel: channel.clone(), symbol: None });
        wanted.0.extend(of_venue);
        Ok(wanted)
    }
}

/// REST is asked only where a pattern needs it.
fn ask(spec: &FeedSpec, context: &OpenContext, channels: Channels) -> Result<AskUniverse> {
    let symbols = spec.symbols.clone();
    if !symbols.iter().any(|text| is_pattern(text)) {
        let wanted = channels.wanted(&[], &symbols)?;
        return Ok(Arc::new(move || Box::pin(std::future::ready(Ok(wanted.clone())))));
    }
    let mut options = HttpOptions::new(spec.rest.as_deref().unwrap_or(REST));
    options.allow_plaintext = spec.allow_plaintext;
    let http = Http::new(options, &context.tls, Arc::clone(&context.clock))?;
    let asked = Arc::new((http, channels, symbols));
    Ok(Arc::new(move || {
        let asked = Arc::clone(&asked);
        Box::pin(async move {
            let (http, channels, symbols) = &*asked;
            let listing = universe::parse_pairs(&http.get(universe::PAIRS_PATH).await?)?;
            for (name, why) in &listing.bad {
                tracing::warn!(feed = "kraken", pair = %name, %why, "a listed pair was left out");
            }
            channels.wanted(&listing.pairs, symbols)
        })
    }))
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
