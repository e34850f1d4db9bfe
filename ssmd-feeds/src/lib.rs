//! Venues, sockets, capture and the exchange simulator.
//!
//! An adapter says what a venue's protocol is ([`venue`]) and does no I/O. One file opens sockets ([`dial`]), one
//! loop runs protocols over them ([`ws`]), one client asks REST ([`http`]), and capture turns sessions into
//! the entries of a journal ([`capture`]) behind which records are decoded ([`live`]).
//!
//! This crate knows no broker, no archive and no file.

use std::sync::Arc;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{Error, ErrorKind, Feed, Result};

pub mod venue;

pub mod dial;
pub mod tls;
mod wire;

pub mod ws;

pub mod http;

pub mod capture;
mod supervise;

pub mod live;

pub mod kraken;

pub use capture::{Capture, CaptureFigures, CaptureOptions, CaptureStatus, CaptureSummary};
pub use dial::{Dial, Dialer, Received, Socket};
pub use live::{Live, LiveOptions};
pub use venue::{ChannelInfo, Handshake, Missing, OpenContext, Protocol, VenueInfo};
pub use ws::{Liveness, Subscriptions, WsFeed, WsOptions};

/// Every venue there is, one line each.
pub static VENUES: &[VenueInfo] = &[kraken::VENUE];

/// Opens the feed that `spec` describes; no connection is made yet.
///
/// # Errors
/// `NotFound` if no venue has that name, `Invalid` for what the venue cannot do.
pub fn open(spec: &FeedSpec, context: &OpenContext) -> Result<Arc<dyn Feed>> {
    let Some(venue) = VENUES.iter().find(|venue| venue.name == spec.name.as_str()) else {
        let known: Vec<_> = VENUES.iter().map(|venue| venue.name).collect();
        return Err(Error::new(ErrorKind::NotFound, "open feed")
            .with("feed", &spec.name)
            .hint(format!("the feeds are: {}", known.join(", "))));
    };
    (venue.open)(spec, context)
}
