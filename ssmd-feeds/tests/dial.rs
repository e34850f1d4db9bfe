//! The Rust dialer keeps what every dialer promises, and trusts whom it must.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
#[path = "common/dial_suite.rs"]
mod dial_suite;

use std::sync::Arc;

use common::{Server, dialer, soon};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ssmd_core::{ErrorKind, SystemClock};
use ssmd_feeds::dial::{Dial, Dialer};
use ssmd_feeds::tls::{client_config, client_config_with_pem};
use tokio_rustls::TlsAcceptor;

/// One test for each promise.
macro_rules! promises {
    ($($promise:ident)*) => {
        $(#[tokio::test]
        async fn $promise() {
            dial_suite::$promise(dialer()).await;
        })*
    };
}

promises! {
    a_handshake_and_frames_may_come_in_one_piece_or_drop_by_drop
    fragments_are_joined_around_control_frames_and_pings_are_answered
    everything_sent_before_a_goodbye_is_given_before_the_end
    our_goodbye_is_answered_and_what_comes_before_the_answer_is_given
    what_the_protocol_forbids_is_corrupt_and_costs_nothing_before_it
    an_end_without_a_goodbye_is_an_end
    a_dropped_receive_loses_nothing
    a_server_that_never_answers_is_given_up
    a_peer_that_does_not_read_is_noticed
    a_refusal_tells_its_status_and_when_to_come_back
    plain_text_does_not_leave_this_machine
}

/// An authority that nobody else knows, and a server certificate of it for `name`.
fn certificate(name: &str) -> (String, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (authority.pem(), vec![server.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// What comes of dialing `localhost` at a server whose certificate is for `name`.
async fn dial_tls(name: &str, trusted: bool) -> ssmd_core::Result<Vec<u8>> {
    let (authority, chain, key) = certificate(name);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server_config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let server = Server::start().await;
    let url = server.url.replace("ws://127.0.0.1", "wss://localhost");
    let serving = async {
        let tcp = server.tcp().await;
        let Ok(tls) = TlsAcceptor::from(Arc::new(server_config)).accept(tcp).await else { return };
        let Ok(mut peer) = tokio_tungstenite::accept_async(tls).await else { return };
        let _ = peer.close(None).await;
        let hello = tokio_tungstenite::tungstenite::Message::text("hello");
        let _ = futures_util::SinkExt::send(&mut peer, hello).await;
    };
    let config =
        if trusted { client_config_with_pem(authority.as_bytes()) } else { client_config(None) }.unwrap();
    let dialing = async {
        let dialer = Dialer::new(config, false);
        let mut socket = dialer.open(&dial_suite::to(&url), Arc::new(SystemClock::new())).await?;
        let mut out = Vec::new();
        let end = socket.receive(std::num::NonZeroUsize::MIN, &mut out).await.unwrap_err();
        Ok(end.to_string().into_bytes())
    };
    let both = Box::pin(async { tokio::join!(serving, dialing) });
    let ((), dialed) = soon("dial", both).await;
    dialed
}

#[tokio::test]
async fn tls_is_spoken_with_whom_we_trust_under_the_name_we_asked_for_and_nobody_else() {
    assert!(dial_tls("localhost", true).await.is_ok());
    for (name, trusted) in [("localhost", false), ("example.com", true)] {
        let error = dial_tls(name, trusted).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
        assert_eq!(error.operation(), "prove identity");
    }
}
