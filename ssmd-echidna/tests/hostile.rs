//! Whatever a server says, both modes make of it what the dialer in Rust makes of it.
#![cfg(feature = "libechidna")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::num::NonZeroUsize;
use std::sync::Arc;

use proptest::prelude::*;
use ssmd_core::environment::DialerSpec;
use ssmd_core::{ErrorKind, SystemClock};
use ssmd_feeds::conformance::dial::{accept_key, switching};
use ssmd_feeds::conformance::server::{Server, soon};
use ssmd_feeds::dial::{Dialer, Received};
use ssmd_feeds::venue::Handshake;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What came of a connection: the messages, and how it ended.
type Heard = (Vec<(bool, Vec<u8>)>, ErrorKind);

/// Shakes hands, says `bytes` in pieces, and leaves.
async fn hear(spec: DialerSpec, bytes: &[u8], piece: usize) -> Heard {
    let server = Server::start().await;
    let serving = async {
        let mut tcp = server.tcp().await;
        tcp.set_nodelay(true).unwrap();
        let accept = accept_key(&mut tcp).await;
        let said = [&switching(&accept), bytes].concat();
        for piece in said.chunks(piece) {
            // A client that has had enough may go.
            if tcp.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = tcp.shutdown().await;
        // What it still says is read, so that nothing it was told is lost to a reset.
        let _ = soon("end", tcp.read_to_end(&mut Vec::new())).await;
    };
    let listening = async {
        let dialer = Dialer::new(ssmd_feeds::tls::client_config(None).unwrap(), false);
        let dial = ssmd_echidna::dial(spec, dialer).unwrap();
        let handshake = Handshake { url: server.url.clone(), headers: Vec::new() };
        let clock = Arc::new(SystemClock::new());
        let mut socket = soon("open", dial.open(&handshake, clock)).await.unwrap();
        let mut out = Vec::new();
        loop {
            let batch = NonZeroUsize::new(3).unwrap();
            if let Err(end) = soon("receive", socket.receive(batch, &mut out)).await {
                let said = |message: &Received| (message.binary, message.payload.to_vec());
                return (out.iter().map(said).collect(), end.kind());
            }
        }
    };
    let ((), heard) = tokio::join!(serving, listening);
    heard
}

/// A frame of a server: mostly a good one, in one of many ways not.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81_u8, 0x82, 0x89, 0x8A]),
        3 => prop::sample::select(vec![0x01_u8, 0x02, 0x00, 0x80]),
        1 => Just(0x88_u8),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        6 => "[a-zäß€😀]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0..70_000_usize).prop_map(|length| vec![b'x'; length]),
    ];
    (first, payload, 0..40_u8).prop_map(|(first, payload, damage)| {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(short as u8),
            length @ 126..=0xFFFF => {
                bytes.push(126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        match damage {
            0 => bytes[1] |= 0x80,
            1 => bytes[1] ^= 0x41,
            _ => {}
        }
        bytes.extend(payload);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_dialer_hears_the_same(
        frames in prop::collection::vec(frame(), 0..12),
        cut in prop::option::weighted(0.2, 0..2_000_usize),
        piece in prop_oneof![Just(usize::MAX), 150..9_000_usize],
    ) {
        let mut bytes = frames.concat();
        bytes.truncate(cut.unwrap_or(usize::MAX));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hear = |spec| runtime.block_on(Box::pin(hear(spec, &bytes, piece)));
        let expected = hear(DialerSpec::Rust);
        for spec in [DialerSpec::Echidna, DialerSpec::EchidnaNative] {
            let (messages, end) = hear(spec);
            prop_assert_eq!(&messages, &expected.0);
            // Where a frame that is forbidden never ends, some tell what is wrong with it, others that it never ends.
            let ends = [ErrorKind::Closed, ErrorKind::Corrupt];
            prop_assert!(ends.contains(&end) && ends.contains(&expected.1), "{:?}: {}, {}", spec, end, expected.1);
        }
    }
}

/// `SSMD_HOSTILE_CASES` for longer runs.
fn cases() -> u32 {
    std::env::var("SSMD_HOSTILE_CASES").map_or(128, |count| count.parse().unwrap())
}
