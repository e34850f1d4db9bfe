//! Kalshi's frames with scripted faults: the decoder finds what the simulator's own ledger says that it can find, at the
//! same frames, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use common::feed::context;
use common::soon;
use serde_json::Value;
use ssmd_core::environment::FeedSpec;
use ssmd_core::{Body, Clock, Evidence, FrameKind, Gap, Output, SessionId, Symbol, SystemClock, Tasks};
use ssmd_feeds::sim::{self, FaultScript, Sim, SimOptions, Source};
use tokio::sync::watch;

/// How long each script runs.
const TIME: Duration = Duration::from_millis(2_500);

/// A gap: from one frame to another of the connection, counted from 1; why; of which channel and market; how much.
type Known = (Option<u64>, Option<u64>, String, Option<String>, Option<String>, Option<u64>);

/// Books, trades and tickers of these markets.
fn spec(address: &str, symbols: &[Symbol]) -> FeedSpec {
    FeedSpec {
        url: Some(format!("ws://{}", address)),
        channels: ["orderbook_delta", "trade", "ticker"].map(|name| name.parse().unwrap()).to_vec(),
        symbols: symbols.iter().map(ToString::to_string).collect(),
        ..FeedSpec::new("kalshi".parse().unwrap())
    }
}

/// A gap as the decoder found it; `places` are the frames' numbers among those that were received.
fn known(gap: &Gap, places: &[u64]) -> Known {
    let place = |seen: &Option<Evidence>| seen.as_ref().map(|seen| places[seen.index as usize]);
    let symbol = gap.symbol.as_ref().map(ToString::to_string);
    (place(&gap.from), place(&gap.to), gap.cause.word().to_owned(), gap.channel.clone(), symbol, gap.missing)
}

/// A gap as the simulator told it.
fn told(row: &Value) -> Known {
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    (
        row["from"]["frame"].as_u64(),
        row["to"]["frame"].as_u64(),
        text("evidence").unwrap(),
        text("channel"),
        text("symbol"),
        row["missing"].as_u64(),
    )
}

/// Runs one script; gives what the simulator says of it, and what the decoder found.
async fn run(script: &str, seed: u64) -> (BTreeSet<Known>, Vec<Known>, u64) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let symbols = sim::symbols("kalshi", 3).unwrap();
    let options = SimOptions {
        venue: "kalshi".to_owned(),
        source: Source::Model { seed, symbols: symbols.clone(), rate: Some(400.0) },
        listen: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let sim = Sim::bind(options, Arc::clone(&clock)).await.unwrap();
    let sim = sim.with_faults(FaultScript::parse(script).unwrap(), Some(&ledger)).unwrap();
    let spec = spec(&sim.address().to_string(), &symbols);
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let context = context();
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    let (_wanted, receiver) = watch::channel(Arc::new(feed.universe().await.unwrap()));
    let mut frames = feed.session().open(SessionId(1), receiver, Arc::clone(&clock)).await.unwrap();
    let (mut decoder, mut found, mut places, mut received) = (feed.decoder(), Vec::new(), Vec::new(), 0);
    let began = clock.elapsed();
    while clock.elapsed() - began < TIME {
        for frame in soon("receive", frames.next(NonZeroUsize::MIN)).await.unwrap() {
            let mut out = Vec::new();
            received += u64::from(frame.kind != FrameKind::Sent);
            places.push(received);
            // What is malformed on purpose does not decode.
            let _ = decoder.decode(&frame, &mut out);
            for output in out {
                match output {
                    Output::Record(record) => {
                        if let Body::Gap(gap) = record.body {
                            found.push(gap);
                        }
                    }
                    Output::Resync(symbol) => frames.resync(&symbol).await.unwrap(),
                }
            }
        }
    }
    drop(frames);
    tasks.stop(Duration::from_secs(30), clock).await.unwrap();
    let found = found.iter().map(|gap| known(gap, &places)).collect();
    let text = std::fs::read_to_string(&ledger).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    // What was sent and not received any more shows nothing.
    let shown = rows.filter(|row| row["evidence"] != "none" && row["to"]["frame"].as_u64() <= Some(received));
    (shown.map(|row| told(&row)).collect(), found, text.lines().count() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shows_is_found_and_nothing_else() {
    let faults = [
        "drop, every: 37",
        "drop, chance: 0.05",
        "drop, after: 5, times: 3, channel: orderbook_delta",
        "drop, every: 9, channel: trade",
        "drop, after: 0, times: 1, channel: answer",
        "drop, after: 3, times: 2, channel: answer",
        "duplicate, every: 11, copies: 2",
        "duplicate, every: 2, channel: answer, copies: 1",
        "reorder, every: 23, by: 2",
        "reorder, every: 2, channel: answer, by: 1",
        "corrupt, every: 13, channel: orderbook_delta",
        "malformed, every: 41",
        "delay, every: 200, for: 50ms",
        "unknown, every: 50",
    ];
    let (mut gaps, mut injected, mut wrong) = (0, 0, Vec::new());
    for (group, together) in faults.chunks(5).enumerate() {
        let scripts: Vec<_> = together
            .iter()
            .enumerate()
            .map(|(at, fault)| {
                let seed = (group * 5 + at) as u64;
                (seed, format!("seed: {seed}\nfaults:\n  - {{ fault: {fault} }}\n"))
            })
            .collect();
        let runs = scripts.iter().map(|(seed, script)| run(script, *seed));
        for ((_, script), (expected, found, rows)) in
            scripts.iter().zip(futures_util::future::join_all(runs).await)
        {
            gaps += found.len();
            injected += rows;
            let told: BTreeSet<_> = found.iter().cloned().collect();
            let missed: Vec<_> = expected.difference(&told).collect();
            let invented: Vec<_> = told.difference(&expected).collect();
            if !missed.is_empty() || !invented.is_empty() || told.len() != found.len() {
                wrong.push(format!("{script}missed {missed:?}\ninvented {invented:?}\nof {}", found.len()));
            }
        }
    }
    println!("{injected} rows of faults, {gaps} gaps");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(gaps > 50, "{gaps} gaps");
}
