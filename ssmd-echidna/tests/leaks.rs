//! Opening and closing leaves nothing behind: no descriptor, no thread, no memory.
//!
//! `SSMD_OPEN_CLOSE` says how many connections each mode opens: 300 without it.
#![cfg(feature = "libechidna")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{Clock, SystemClock};
use ssmd_echidna::{EchidnaDialer, Mode};
use ssmd_feeds::conformance::server::Server;
use ssmd_feeds::dial::{Dial, Dialer};
use ssmd_feeds::venue::Handshake;

/// Connections before the first look: allocators and runtimes warm up.
const WARM: usize = 100;
/// What memory may grow by, all connections together.
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Descriptors, threads, and bytes of memory of this process.
fn held() -> (usize, usize, u64) {
    let count = |folder| std::fs::read_dir(folder).unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (count("/proc/self/fd"), count("/proc/self/task"), kilobytes * 1024)
}

async fn open_and_close(mode: Mode, connections: usize) {
    let server = Server::start().await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let dialer = Dialer::new(ssmd_feeds::tls::client_config(None).unwrap(), false);
    let dial = EchidnaDialer::new(dialer, mode).unwrap();
    let handshake = Handshake { url: server.url.clone(), headers: Vec::new() };
    let serving = async {
        for n in 0..connections {
            let mut peer = server.accept().await;
            let _ = peer.try_say("hello").await;
            match n % 3 {
                0 => peer.goodbye().await,
                1 => drop(peer),
                // This one is left by the client.
                _ => while peer.hear().await.is_some() {},
            }
        }
    };
    let opening = async {
        for n in 0..connections {
            let mut socket = dial.open(&handshake, Arc::clone(&clock)).await.unwrap();
            let mut out = Vec::new();
            socket.receive(NonZeroUsize::MIN, &mut out).await.unwrap();
            assert_eq!(out[0].payload, "hello");
            if n % 3 < 2 {
                socket.receive(NonZeroUsize::MIN, &mut out).await.unwrap_err();
            }
        }
    };
    tokio::join!(serving, opening);
}

/// Both modes in one test, since they share a process whose threads are counted.
#[tokio::test]
async fn nothing_is_left_behind() {
    let connections = std::env::var("SSMD_OPEN_CLOSE").map_or(300, |count| count.parse().unwrap());
    let clock = SystemClock::new();
    for mode in [Mode::Framed, Mode::Native] {
        open_and_close(mode, WARM).await;
        clock.sleep(Duration::from_millis(200)).await;
        let before = held();
        open_and_close(mode, connections).await;
        // Threads end on their own: the runtime's after ten idle seconds.
        let mut after = held();
        for _ in 0..600 {
            if after.0 <= before.0 && after.1 <= before.1 {
                break;
            }
            clock.sleep(Duration::from_millis(100)).await;
            after = held();
        }
        println!("{mode:?}: {connections} connections, descriptors, threads, bytes {before:?} -> {after:?}");
        assert!(after.0 <= before.0 && after.1 <= before.1, "{mode:?}: {before:?} -> {after:?}");
        assert!(after.2 <= before.2 + GROWTH_BYTES_MAX, "{mode:?}: {before:?} -> {after:?}");
    }
}
