//! What both modes promise beside what every dialer does: whose memory payloads are, and what a failure says.
#![cfg(feature = "libechidna")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::num::NonZeroUsize;
use std::sync::Arc;

use ssmd_core::{ErrorKind, SystemClock};
use ssmd_echidna::{EchidnaDialer, Mode};
use ssmd_feeds::conformance::server::Server;
use ssmd_feeds::dial::{Dial, Dialer};
use ssmd_feeds::venue::Handshake;

fn dialer(mode: Mode) -> EchidnaDialer {
    EchidnaDialer::new(Dialer::new(ssmd_feeds::tls::client_config(None).unwrap(), false), mode).unwrap()
}

/// Nobody listens there.
#[tokio::test]
async fn nobody_there_is_an_error_with_its_cause() {
    let server = Server::start().await;
    let handshake = Handshake { url: server.url.clone(), headers: Vec::new() };
    drop(server);
    for mode in [Mode::Framed, Mode::Native] {
        let dial = dialer(mode);
        let opened = dial.open(&handshake, Arc::new(SystemClock::new())).await;
        let error = opened.map(drop).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "connect"));
        assert!(error.report().contains("refused"), "{mode:?}: {}", error.report());
    }
}

/// Payloads are places in the memory that was read into: nobody copies them, and they outlive everything else.
#[tokio::test]
async fn payloads_stand_where_they_were_read_and_outlive_their_socket() {
    for mode in [Mode::Framed, Mode::Native] {
        let dial = dialer(mode);
        let server = Server::start().await;
        let handshake = Handshake { url: server.url.clone(), headers: Vec::new() };
        let texts = ["one", "zwei", "three and a half"];
        let serving = async {
            let mut peer = server.accept().await;
            peer.burst(texts.iter().map(|text| (*text).to_owned())).await;
            for _ in 0..100 {
                peer.say(&"behind".repeat(1000)).await;
            }
            peer.goodbye().await;
        };
        let listening = async {
            let mut socket = dial.open(&handshake, Arc::new(SystemClock::new())).await.unwrap();
            let mut out = Vec::new();
            while socket.receive(NonZeroUsize::new(50).unwrap(), &mut out).await.is_ok() {}
            out
        };
        let ((), out) = tokio::join!(serving, listening);
        assert_eq!(out.len(), texts.len() + 100);
        for (message, text) in out.iter().zip(texts) {
            assert_eq!(message.payload, text);
        }
        for pair in out[..texts.len()].windows(2) {
            let ends = pair[0].payload.as_ptr() as usize + pair[0].payload.len();
            // Between two short texts stand the two bytes of a head.
            assert_eq!(pair[1].payload.as_ptr() as usize, ends + 2, "{mode:?}");
        }
        assert!(out[texts.len()..].iter().all(|message| message.payload == "behind".repeat(1000)));
    }
}
