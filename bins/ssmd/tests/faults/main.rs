//! The simulator's ledger of faults against the archive's ledger of gaps: everything that shows is there once.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod figures;
mod program;
mod rig;
mod truth;
mod twins;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{RngExt, SeedableRng};
use rig::{FUTURES, KALSHI, KRAKEN, POLYMARKET, Plan, Venue, record};

/// Random scripts of one run; `SSMD_FAULT_SCRIPTS` for more, `SSMD_FAULT_SEED` for the first seed.
const SCRIPTS: u64 = 24;
/// Scripts that run beside each other: most of their time they wait.
const TOGETHER: u64 = 8;

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// One to five faults. Each eighth script has one that takes the recorder seconds to notice.
fn random(venue: Venue, seed: u64) -> Plan {
    let mut rng = StdRng::seed_from_u64(seed);
    let symbols = venue.symbols(3);
    let mut script = format!("seed: {seed}\nfaults:\n");
    let mut slow = seed.is_multiple_of(8);
    let long = slow;
    for _ in 0..rng.random_range(1..=5) {
        let fault = match std::mem::take(&mut slow) {
            true => *["half_open", "slow_drip", "silence"].choose(&mut rng).unwrap(),
            false => *FAULTS.choose(&mut rng).unwrap(),
        };
        let of_frame = !OF_CONNECTION.contains(&fault);
        let when = match rng.random_range(0..4) {
            0 if of_frame => format!("every: {}", rng.random_range(5..60)),
            1 if of_frame => format!("chance: 0.0{}", rng.random_range(1..9)),
            2 => format!("at: {}ms", rng.random_range(100..2000)),
            _ => format!("after: {}", rng.random_range(10..250)),
        };
        let mut more = match fault {
            "silence" if long => String::new(),
            "silence" => format!(", for: {}ms", rng.random_range(50..1500)),
            "delay" => format!(", for: {}ms", rng.random_range(1..300)),
            "reorder" => format!(", by: {}", rng.random_range(1..4)),
            "close" => format!(", abrupt: {}", rng.random_bool(0.5)),
            "duplicate" => format!(", copies: {}", rng.random_range(1..3)),
            _ => String::new(),
        };
        if of_frame && rng.random_bool(0.5) {
            let channel = venue.channels.iter().chain(&["answer"]).choose(&mut rng).unwrap();
            more.push_str(&format!(", channel: {channel}"));
        }
        if of_frame && rng.random_bool(0.3) {
            more.push_str(&format!(", symbol: {}", symbols.choose(&mut rng).unwrap()));
        }
        script.push_str(&format!("  - {{ fault: {fault}, {when}{more} }}\n"));
    }
    if rng.random_bool(0.3) {
        script.push_str("  - { fault: refuse, times: 2 }\n");
    }
    let time = Duration::from_secs(if long { 9 } else { 3 });
    let depth = *[10, 10, 25, 100].choose(&mut rng).unwrap();
    Plan { venue, script, time, rate: Some(300.0), symbols, depth, seed, truth: false, twins: false }
}

const FAULTS: [&str; 14] = [
    "drop",
    "drop",
    "duplicate",
    "reorder",
    "delay",
    "corrupt",
    "bad_checksum",
    "malformed",
    "unknown",
    "silence",
    "close",
    "invalid_utf8",
    "oversize",
    "drop",
];
const OF_CONNECTION: [&str; 7] =
    ["silence", "close", "invalid_utf8", "oversize", "unknown", "half_open", "slow_drip"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ledgers_know_the_same_of_random_faults() {
    both_ledgers_know_the_same(KRAKEN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ledgers_know_the_same_of_random_faults_of_futures() {
    both_ledgers_know_the_same(FUTURES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ledgers_know_the_same_of_random_faults_of_kalshi() {
    both_ledgers_know_the_same(KALSHI).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ledgers_know_the_same_of_random_faults_of_polymarket() {
    both_ledgers_know_the_same(POLYMARKET).await;
}

async fn both_ledgers_know_the_same(venue: Venue) {
    let (first, count) = (number("SSMD_FAULT_SEED", 1), number("SSMD_FAULT_SCRIPTS", SCRIPTS));
    let (mut rows, mut gaps, mut wrong) = (0, 0, Vec::new());
    for group in (first..first + count).collect::<Vec<_>>().chunks(TOGETHER as usize) {
        let plans: Vec<_> = group.iter().map(|seed| random(venue, *seed)).collect();
        let recorded = futures_util::future::join_all(plans.iter().map(record)).await;
        for (plan, recorded) in plans.iter().zip(recorded) {
            rows += recorded.rows.len();
            gaps += recorded.found.len();
            let differences = recorded.differences();
            if !differences.is_empty() {
                wrong.push(format!("{}{}\n", plan.script, differences.join("\n")));
            }
        }
    }
    println!("{}: {count} scripts from seed {first}: {rows} faults, {gaps} gaps", venue.name);
    assert!(gaps > 0, "nothing was tested");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
