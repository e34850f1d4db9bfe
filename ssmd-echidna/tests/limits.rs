//! A machine that has nothing left: errors with a kind, an operation and a cause, and nothing left open.
//!
//! In a process of its own, whose descriptors it counts and limits.
#![cfg(feature = "libechidna")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::error::Error as _;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ssmd_core::{Clock, ErrorKind, SystemClock};
use ssmd_echidna::{EchidnaDialer, Mode};
use ssmd_feeds::conformance::server::Server;
use ssmd_feeds::dial::{Dial, Dialer};
use ssmd_feeds::venue::Handshake;

/// What a connection may need beside its socket: a pipe, two events, a duplicate.
const DESCRIPTORS: u64 = 6;

fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64
}

/// Leaves room for `more` descriptors, which take the lowest free numbers; gives what there was.
fn limit(more: u64) -> Rlimit {
    let files: Vec<_> = (0..=more).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    let current = files.last().map(|file| file.as_raw_fd() as u64);
    let whole = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current, ..whole }).unwrap();
    whole
}

#[tokio::test]
async fn without_descriptors_a_connection_is_an_error_and_the_next_one_works() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let dialer = Dialer::new(ssmd_feeds::tls::client_config(None).unwrap(), false);
    for mode in [Mode::Framed, Mode::Native] {
        let dial = EchidnaDialer::new(dialer.clone(), mode).unwrap();
        let (mut failed, mut opened) = (0, 0);
        for more in 0..=DESCRIPTORS {
            let server = Server::start().await;
            let handshake = Handshake { url: server.url.clone(), headers: Vec::new() };
            let before = open_descriptors();
            let whole = limit(more);
            // The server takes the connection once there is room again.
            let dialed = {
                let opening = dial.open(&handshake, Arc::clone(&clock));
                tokio::pin!(opening);
                tokio::select! {
                    biased;
                    dialed = &mut opening => Some(dialed),
                    () = clock.sleep(std::time::Duration::from_millis(300)) => {
                        setrlimit(Resource::Nofile, whole).unwrap();
                        let (dialed, _peer) = tokio::join!(opening, server.accept());
                        Some(dialed)
                    }
                }
            };
            setrlimit(Resource::Nofile, whole).unwrap();
            match dialed.unwrap() {
                Ok(socket) => {
                    opened += 1;
                    drop(socket);
                }
                Err(error) => {
                    failed += 1;
                    assert_eq!(error.kind(), ErrorKind::Io, "{mode:?}: {}", error.report());
                    assert!(!error.operation().is_empty() && error.source().is_some(), "{}", error.report());
                }
            }
            drop(server);
            until_closed(&clock, before).await;
        }
        println!("{mode:?}: {failed} failed, {opened} opened");
        assert!(failed >= 1 && opened >= 1, "{mode:?}: {failed} failed, {opened} opened");
    }
}

/// A thread closes what is its own, soon.
async fn until_closed(clock: &Arc<dyn Clock>, descriptors: u64) {
    for _ in 0..200 {
        if open_descriptors() <= descriptors {
            return;
        }
        clock.sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{} descriptors, {descriptors} before", open_descriptors());
}
