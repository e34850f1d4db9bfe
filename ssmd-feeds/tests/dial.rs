//! The Rust dialer keeps what every dialer promises.

use std::sync::Arc;

use ssmd_feeds::dial::Dialer;

ssmd_feeds::dial_conformance!(rust, |tls| Arc::new(Dialer::new(tls, false)));
