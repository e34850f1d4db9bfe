//! Kraken futures, WebSocket v1: books with sequence numbers, trades, tickers, funding, bars, trading states.
//!
//! [`KrakenFuturesProtocol`] talks to the venue, [`KrakenFuturesDecode`] says what its frames mean, [`universe`]
//! reads what can be traded; none of them does any I/O. [`VENUE`] puts them together.
//! `docs/venues/kraken-futures.md` describes every message.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{Channel, Error, ErrorKind, Feed, Limits, Result, Topic, Wanted};

use crate::http::{Http, HttpOptions};
use crate::pattern::is_pattern;
use crate::venue::{OpenContext, VenueInfo};
use crate::ws::{AskUniverse, Liveness, WsFeed, WsOptions};

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

/// The line of the table of feeds.
pub const VENUE: VenueInfo = VenueInfo {
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
    decoder: || Box::new(KrakenFuturesDecode::new()),
};

/// Opens the feed that `spec` describes. No I/O.
///
/// # Errors
/// `Invalid` for a channel, an option or a symbol that cannot be.
pub fn open(spec: &FeedSpec, context: &OpenContext) -> Result<Arc<dyn Feed>> {
    let channels = Channels::check(spec)?;
    let protocol = KrakenFuturesProtocol::new(spec.url.as_deref().unwrap_or(URL));
    let options = WsOptions {
        name: spec.name.clone(),
        limits: VENUE.limits,
        liveness: Liveness::Bytes,
        dial: Arc::clone(&context.dial),
        subscriptions: context.subscriptions.clone(),
    };
    let universe = ask(spec, context, channels)?;
    Ok(Arc::new(WsFeed::new(options, protocol, Arc::new(|| Box::new(KrakenFuturesDecode::new())), universe)))
}

/// The channels of a feed.
struct Channels {
    of_products: Vec<Channel>,
    of_venue: Vec<Channel>,
}

impl Channels {
    fn check(spec: &FeedSpec) -> Result<Self> {
        let mut channels = Self { of_products: Vec::new(), of_venue: Vec::new() };
        for channel in &spec.channels {
            match parse_channel(channel)?.has_products() {
                true => channels.of_products.push(channel.clone()),
                false => channels.of_venue.push(channel.clone()),
            }
        }
        if !channels.of_products.is_empty() && spec.symbols.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "open feed")
                .detail("no symbols")
                .with("feed", &spec.name)
                .hint("name products such as PF_XBTUSD, or `*` for all"));
        }
        universe::select(&[], &spec.symbols)?;
        Ok(channels)
    }

    fn wanted(&self, products: &[universe::Product], symbols: &[String]) -> Result<Wanted> {
        let mut wanted = Wanted::product(&self.of_products, &universe::select(products, symbols)?);
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
            let listing = universe::parse_instruments(&http.get(universe::INSTRUMENTS_PATH).await?)?;
            for (name, why) in &listing.bad {
                tracing::warn!(feed = "kraken-futures", product = %name, %why, "a listed product was left out");
            }
            channels.wanted(&listing.products, symbols)
        })
    }))
}
