//! Venues, sockets, capture and the exchange simulator.
//!
//! An adapter says what a venue's protocol is ([`venue`]) and does no I/O. One file opens sockets ([`dial`]), one
//! loop runs protocols over them ([`ws`]), one client asks REST ([`http`]),
//! one file chooses what of a listing is wanted ([`listing`]), and capture turns sessions into
//! the entries of a journal ([`capture`]) behind which records are decoded ([`live`]).
//!
//! This crate knows no broker and no archive, and no file but those that the simulator plays and writes, the one that
//! keeps attempts to connect, and those that hold keys.

use std::sync::Arc;

use ssmd_core::environment::{FeedSpec, Vocabulary};
use ssmd_core::{BookIdentity, Decode, Error, ErrorKind, Feed, FeedName, MergeRules, Result, TradeIdentity};

pub mod sim;
pub mod venue;

#[cfg(feature = "conformance")]
pub mod conformance;

pub mod dial;
pub mod tls;
mod wire;

pub mod ws;

pub mod http;
pub mod listing;

pub mod capture;
pub mod shares;

mod budget;
mod supervise;

pub mod lag;
pub mod live;
pub mod quiet;

mod decoding;
mod pattern;
mod scan;
mod time;

pub mod kalshi;
pub mod kraken;
pub mod kraken_futures;
pub mod polymarket;

pub use capture::{
    Capture, CaptureFigures, CaptureOptions, CaptureStatus, CaptureSummary, RESYNCS_MAX, Resync,
};
pub use dial::{Dial, Dialer, Received, Socket};
pub use live::{Live, LiveOptions};
pub use shares::{Declared, Share, Shares, declare};
pub use venue::{Handshake, Missing, OpenContext, Protocol, VenueInfo};
pub use ws::{Liveness, Subscriptions, WsFeed, WsOptions};

/// Every venue there is, one line each.
pub static VENUES: &[&VenueInfo] =
    &[&kalshi::VENUE, &kraken::VENUE, &kraken_futures::VENUE, &polymarket::VENUE];

/// What environments may say: the names, channels and options of every venue.
pub fn vocabulary() -> Vocabulary {
    Vocabulary { feeds: VENUES.iter().map(|venue| venue.words).collect() }
}

/// The venue of that name.
///
/// # Errors
/// `NotFound`, with those that there are.
pub fn venue(name: &FeedName) -> Result<&'static VenueInfo> {
    VENUES.iter().copied().find(|venue| venue.words.name == name.as_str()).ok_or_else(|| {
        let known: Vec<_> = VENUES.iter().map(|venue| venue.words.name).collect();
        Error::new(ErrorKind::NotFound, "find venue")
            .with("feed", name)
            .hint(format!("the feeds are: {}", known.join(", ")))
    })
}

/// Opens the feed that `spec` describes; no connection is made yet.
///
/// # Errors
/// `NotFound` if no venue has that name, `Invalid` for what the venue cannot do.
pub fn open(spec: &FeedSpec, context: &OpenContext) -> Result<Arc<dyn Feed>> {
    (venue(&spec.name)?.open)(spec, context)
}

/// What makes the decoders of a feed's sessions, for a recording of it.
///
/// # Errors
/// `NotFound` if no venue has that name.
pub fn decoder(feed: &FeedName) -> Result<Arc<dyn Fn() -> Box<dyn Decode> + Send + Sync>> {
    Ok(Arc::new(venue(feed)?.decoder))
}

/// How connections that hear the same are merged; where no venue has that name, by what records say.
pub fn merge_rules(feed: &FeedName) -> MergeRules {
    const BY_CONTENT: MergeRules = MergeRules {
        trades: TradeIdentity::Id,
        trade_channel: "trade",
        books: BookIdentity::Change,
        book_channel: "book",
    };
    venue(feed).map_or(BY_CONTENT, |venue| venue.merge)
}
