//! A recorder that crashes again and again, against a venue that takes every connection and drops it.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ssmd_core::{Clock, SystemClock};
use tempfile::tempdir;

use crate::rig::{Running, environment_of, ssmd, text_of};

/// Kraken allows 150 attempts in ten minutes; eight of ten are used.
const ATTEMPTS_MAX: usize = 120;
/// Attempts of one life, after which it is killed.
const ATTEMPTS_A_LIFE: usize = 12;
/// Sessions that connect at once, all from one address.
const SHARES: usize = 8;
/// Lives without an attempt, after which the budget is taken for used up.
const IDLE_LIVES: usize = 2;

/// A life that makes no attempt for so long makes none: the longest wait between two of the first is 2 s.
const IDLE_AFTER: Duration = Duration::from_secs(3);

#[test]
#[expect(clippy::disallowed_methods, reason = "another process is waited for, which no clock of ours moves")]
fn a_process_that_crash_loops_stays_within_the_venue_s_limit() {
    let folder = tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(tcp);
        }
    });
    let more = format!("shards: {SHARES}");
    let symbols: Vec<_> = (0..SHARES).map(|n| format!("S{n}/USD")).collect();
    let config = environment_of(folder.path(), port, "kraken", &symbols.join("\", \""), &more);
    let data = text_of(folder.path());
    let (clock, mut idle, mut lives) = (SystemClock::new(), 0, 0);
    let count = || attempts.load(Ordering::SeqCst);
    while idle < IDLE_LIVES {
        lives += 1;
        let before = count();
        let mut command = ssmd(&["up", "-c", &config, "--data", &data, "--json"]);
        let running = Running::start(command.env("SSMD_LOG", "off"));
        let (mut last, mut seen) = (clock.elapsed(), before);
        while count() < before + ATTEMPTS_A_LIFE && clock.elapsed() - last < IDLE_AFTER {
            std::thread::sleep(Duration::from_millis(5));
            if count() > seen {
                (seen, last) = (count(), clock.elapsed());
            }
        }
        idle = if count() == before { idle + 1 } else { 0 };
        // As a crash does: without a word.
        running.signal("KILL");
        drop(running);
    }
    let (made, took) = (count(), clock.elapsed());
    println!("R18-crash-loop-attempts {made} {ATTEMPTS_MAX} ({lives} lives in {:.0} s)", took.as_secs_f64());
    assert!(took < Duration::from_secs(600), "the venue's window is over: {took:?}");
    assert!(made <= ATTEMPTS_MAX, "{made} attempts");
    // An attempt counts before it is made, so a life that ends between the two wastes those of all of its sessions.
    let counted = std::fs::read(folder.path().join("connects/kraken")).unwrap();
    let counted: Vec<i64> = serde_json::from_slice(&counted).unwrap();
    assert_eq!(counted.len(), ATTEMPTS_MAX, "{made} attempts in {lives} lives: the budget is not used");
    assert!(
        made + lives * SHARES >= ATTEMPTS_MAX,
        "{made} attempts in {lives} lives were made of those that count"
    );
}
