//! Both modes keep what every dialer promises. Without the feature `libechidna`, the error says what to do.

use std::sync::Arc;

use ssmd_echidna::{EchidnaDialer, Mode};
use ssmd_feeds::dial::Dialer;

#[cfg(feature = "libechidna")]
ssmd_feeds::dial_conformance!(framed, |tls| {
    Arc::new(EchidnaDialer::new(Dialer::new(tls, false), Mode::Framed).expect("it was built"))
});

#[cfg(feature = "libechidna")]
ssmd_feeds::dial_conformance!(native, |tls| {
    Arc::new(EchidnaDialer::new(Dialer::new(tls, false), Mode::Native).expect("it was built"))
});

#[cfg(not(feature = "libechidna"))]
#[test]
fn without_libechidna_the_error_names_the_feature() {
    let tls = ssmd_feeds::tls::client_config(None).expect("there are public roots");
    let error =
        EchidnaDialer::new(Dialer::new(Arc::clone(&tls), false), Mode::Native).expect_err("it was not built");
    assert_eq!(error.kind(), ssmd_core::ErrorKind::Unsupported);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--features libechidna")), "{error}");
}
