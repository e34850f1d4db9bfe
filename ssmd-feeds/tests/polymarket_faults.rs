//! The simulator's ledger of faults against what the decoder finds: everything that shows is found once, where it
//! shows, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{dialer, soon};
use serde_json::Value;
use ssmd_core::environment::FeedSpec;
use ssmd_core::{Body, Clock, ErrorKind, Feed, FrameKind, Output, SessionId, Symbol, SystemClock, Tasks};
use ssmd_feeds::sim::{FaultScript, Sim, SimOptions, Source, symbols};
use ssmd_feeds::tls::client_config;
use ssmd_feeds::{OpenContext, Subscriptions};
use tokio::sync::watch;

/// Frames taken at once.
const BATCH: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();
/// Frames in which every token of a market is heard of again.
const UNDECIDED: u64 = 50;
/// Scripts that run beside each other.
const TOGETHER: usize = 4;
/// Faults that a connection survives.
const FAULTS: [&str; 8] = [
    "drop",
    "corrupt",
    "bad_checksum",
    "duplicate, copies: 2",
    "reorder, by: 2",
    "malformed",
    "delay, for: 50ms",
    "unknown",
];

/// Where it was right last, where it was wrong, and whose book it is.
type Known = (Option<u64>, Option<u64>, String);

/// A feed of these tokens.
fn open(address: &str, tokens: &[Symbol], clock: &Arc<dyn Clock>) -> Arc<dyn Feed> {
    let spec = FeedSpec {
        url: Some(format!("ws://{address}")),
        channels: vec!["market".parse().unwrap()],
        symbols: tokens.iter().map(ToString::to_string).collect(),
        ..FeedSpec::new("polymarket".parse().unwrap())
    };
    let context = OpenContext {
        dial: dialer(),
        tls: client_config(None).unwrap(),
        clock: Arc::clone(clock),
        subscriptions: Subscriptions::default(),
    };
    ssmd_feeds::open(&spec, &context).unwrap()
}

/// What the ledger has of hashes, and how many lines.
fn read(ledger: &Path) -> (Vec<Known>, usize) {
    let rows = std::fs::read_to_string(ledger).unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = rows.iter().filter(|row| row["evidence"] == "checksum");
    let known = |row: &Value| {
        let place = |name: &str| row[name]["frame"].as_u64();
        (place("from"), place("to"), row["symbol"].as_str().unwrap().to_owned())
    };
    (shown.map(known).collect(), rows.len())
}

/// Runs a script for a while; gives what the ledger expects and what was found, both in frames of the connection.
async fn run(script: &str, seed: u64) -> (BTreeSet<Known>, Vec<Known>, usize) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let tokens = symbols("polymarket", 2).unwrap();
    let options = SimOptions {
        venue: "polymarket".to_owned(),
        source: Source::Model { seed, symbols: tokens.clone(), rate: Some(60.0) },
        listen: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let sim = Sim::bind(options, Arc::clone(&clock)).await.unwrap();
    let sim = sim.with_faults(FaultScript::parse(script).unwrap(), Some(&ledger)).unwrap();
    let address = sim.address().to_string();
    let mut venue = Tasks::new();
    let stop = venue.token();
    venue.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let feed = open(&address, &tokens, &clock);
    let (_wanted, receiver) = watch::channel(Arc::new(feed.universe().await.unwrap()));
    let mut frames = feed.session().open(SessionId(1), receiver, Arc::clone(&clock)).await.unwrap();
    let (mut decoder, mut outputs, mut found, mut places) =
        (feed.decoder(), Vec::new(), Vec::new(), Vec::new());
    let end = clock.elapsed() + Duration::from_secs(4);
    let undecided;
    loop {
        if clock.elapsed() > end && !venue.token().is_cancelled() {
            venue.token().cancel();
        }
        let batch = match soon("receive", frames.next(BATCH)).await {
            Ok(batch) => batch,
            // On a machine that is busy the connection may have been given up: then the last frames decide nothing.
            Err(error) => {
                undecided = if error.kind() == ErrorKind::Closed { 0 } else { UNDECIDED };
                println!("{error}");
                break;
            }
        };
        for frame in batch {
            if frame.kind != FrameKind::Sent {
                places.push(frame.index);
            }
            // What is malformed on purpose does not decode.
            let _ = decoder.decode(&frame, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Resync(symbol) => drop(frames.resync(&symbol).await),
                    Output::Record(record) => {
                        if let Body::Gap(gap) = record.body {
                            found.push(gap);
                        }
                    }
                }
            }
        }
    }
    venue.stop(Duration::from_secs(30), clock).await.unwrap();
    let place = |index: u64| places.iter().position(|at| *at == index).map(|at| at as u64 + 1);
    let found: Vec<_> = found
        .into_iter()
        .map(|gap| {
            let [from, to] = [gap.from, gap.to].map(|seen| place(seen?.index));
            (from, to, gap.symbol.unwrap().to_string())
        })
        .collect();
    let (shown, rows) = read(&ledger);
    let decided = |(_, to, _): &Known| to.is_some_and(|to| to + undecided <= places.len() as u64);
    (shown.into_iter().filter(decided).collect(), found.into_iter().filter(decided).collect(), rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shows_of_every_fault_is_found_once_and_nothing_else_is() {
    let (mut faults, mut gaps) = (0, 0);
    let script =
        |seed: usize| format!("seed: {seed}\nfaults:\n  - {{ fault: {}, every: 20 }}\n", FAULTS[seed]);
    let scripts: Vec<_> = (0..FAULTS.len()).map(script).collect();
    let mut all = Vec::new();
    for (group, scripts) in scripts.chunks(TOGETHER).enumerate() {
        let runs = scripts.iter().zip(0..).map(|(script, at)| run(script, (group * TOGETHER) as u64 + at));
        all.extend(futures_util::future::join_all(runs).await);
    }
    for (fault, (expected, found, rows)) in FAULTS.iter().zip(all) {
        println!("{fault}: {rows} faults, {} show, {} gaps", expected.len(), found.len());
        let set: BTreeSet<_> = found.iter().cloned().collect();
        assert_eq!(set.len(), found.len(), "a gap is there twice");
        let missed: Vec<_> = expected.difference(&set).collect();
        let alarms: Vec<_> = set.difference(&expected).collect();
        assert!(
            missed.is_empty() && alarms.is_empty(),
            "{fault}: missed {missed:?}, false alarms {alarms:?}"
        );
        assert!(rows > 3, "{fault}: nothing went wrong");
        faults += rows;
        gaps += found.len();
    }
    println!("{faults} faults, {gaps} gaps");
    assert!(gaps > 20, "{gaps}");
}
