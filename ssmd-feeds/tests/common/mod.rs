//! What the tests of this crate share: servers that they control frame by frame, and time limits.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part, and exports nothing")]
#![allow(unused_imports, reason = "each test file uses its own part")]

use std::sync::Arc;

use ssmd_core::{ManualClock, Timestamp};
pub use ssmd_feeds::conformance::server::{LIMIT, Peer, Server, soon};
use ssmd_feeds::dial::{Dial, Dialer};
use ssmd_feeds::tls::client_config;

pub mod feed;
pub mod golden;
pub mod recorded;
pub mod recorder;
pub mod toy;

/// The dialer under test, with the public roots.
pub fn dialer() -> Arc<dyn Dial> {
    let dialer = Dialer::new(client_config(None).unwrap(), false);
    ssmd_echidna::dial(ssmd_feeds::conformance::dialer(), dialer).unwrap()
}

/// A clock that stands still until it is moved.
pub fn manual() -> ManualClock {
    ManualClock::new("2026-08-01T12:00:00Z".parse::<Timestamp>().unwrap())
}
