//! What the tests of this crate share: servers that they control frame by frame, and time limits.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part, and exports nothing")]
#![allow(unused_imports, reason = "each test file uses its own part")]

use std::sync::Arc;

use ssmd_core::{ManualClock, Timestamp};
pub use ssmd_feeds::conformance::server::{LIMIT, Peer, Server, soon};
use ssmd_feeds::dial::Dialer;
use ssmd_feeds::tls::client_config;

pub mod feed;
pub mod golden;
pub mod recorded;
pub mod recorder;
pub mod toy;

/// A dialer with the public roots.
pub fn dialer() -> Arc<Dialer> {
    Arc::new(Dialer::new(client_config(None).unwrap(), false))
}

/// A clock that stands still until it is moved.
pub fn manual() -> ManualClock {
    ManualClock::new("2026-08-01T12:00:00Z".parse::<Timestamp>().unwrap())
}
