//! Books held against what REST says of them: what is equal, what is not, and what that brings about.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use common::feed::context;
use common::soon;
use ssmd_core::environment::FeedSpec;
use ssmd_core::{Body, Clock, FrameKind, Output, SessionId, SystemClock, Tasks};
use ssmd_feeds::sim::{FaultScript, Sim, SimOptions, Source, symbols};
use tokio::sync::watch;

/// Frames taken at once.
const BATCH: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// What was found, in order, and how many books were asked for anew.
struct Found {
    audits: Vec<String>,
    resyncs: usize,
    gaps: usize,
    frames: Vec<(FrameKind, String)>,
}

/// Listens to two tokens of one market, and asks REST of one each second, until `enough` was found.
async fn run(script: &str, enough: impl Fn(&Found) -> bool) -> Found {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let tokens = symbols("polymarket", 2).unwrap();
    let options = SimOptions {
        venue: "polymarket".to_owned(),
        source: Source::Model { seed: 1, symbols: tokens.clone(), rate: Some(60.0) },
        listen: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let sim = Sim::bind(options, Arc::clone(&clock)).await.unwrap();
    let script = script.replace("TOKEN", tokens[0].as_str());
    let sim = sim.with_faults(FaultScript::parse(&script).unwrap(), None).unwrap();
    let spec = FeedSpec {
        url: Some(format!("ws://{}", sim.address())),
        rest: Some(format!("http://{}", sim.address())),
        channels: ["market", "rest_book:1"].map(|channel| channel.parse().unwrap()).to_vec(),
        symbols: tokens.iter().map(ToString::to_string).collect(),
        ..FeedSpec::new("polymarket".parse().unwrap())
    };
    let mut venue = Tasks::new();
    let stop = venue.token();
    venue.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let context = context();
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    let wanted = feed.universe().await.unwrap();
    assert_eq!(wanted.0.len(), 2, "what REST is asked is no topic");
    let (_wanted, receiver) = watch::channel(Arc::new(wanted));
    let mut frames = feed.session().open(SessionId(1), receiver, Arc::clone(&clock)).await.unwrap();
    let (mut decoder, mut outputs) = (feed.decoder(), Vec::new());
    let mut found = Found { audits: Vec::new(), resyncs: 0, gaps: 0, frames: Vec::new() };
    let mut next = 0;
    while !enough(&found) {
        for frame in soon("receive", frames.next(BATCH)).await.unwrap() {
            assert_eq!(frame.index, next, "what is learned beside the socket is numbered with what it says");
            next += 1;
            decoder.decode(&frame, &mut outputs).unwrap();
            if frame.payload.windows(14).any(|bytes| bytes == b"min_order_size") {
                found.frames.push((frame.kind, String::from_utf8(frame.payload.to_vec()).unwrap()));
            }
            for output in outputs.drain(..) {
                match output {
                    Output::Resync(symbol) => {
                        found.resyncs += 1;
                        frames.resync(&symbol).await.unwrap();
                    }
                    Output::Record(record) => match record.body {
                        Body::Audit(audit) => {
                            assert_eq!(audit.check, "rest_book");
                            assert!(record.header.symbol.is_some());
                            found.audits.push(audit.found);
                        }
                        Body::Gap(_) => found.gaps += 1,
                        _ => {}
                    },
                }
            }
        }
    }
    drop(frames);
    venue.stop(Duration::from_secs(30), clock).await.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_are_as_rest_has_them() {
    let found = run("faults: []", |found| found.audits.len() >= 4).await;
    assert!(found.audits.iter().all(|audit| audit.starts_with("equal: ")), "{:?}", found.audits);
    assert!(found.frames.len() >= 4 && found.frames.iter().all(|(kind, _)| *kind == FrameKind::Control));
    assert_eq!((found.resyncs, found.gaps), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rest_says_and_is_not_so_is_told_and_nothing_is_asked_for() {
    let found = run("faults: [{ fault: wrong_rest, times: 2 }]", |found| found.audits.len() >= 4).await;
    let wrong: Vec<_> = found.audits.iter().filter(|audit| !audit.starts_with("equal: ")).collect();
    assert_eq!(wrong.len(), 2, "{:?}", found.audits);
    assert!(wrong.iter().all(|audit| audit.contains("do not give its hash")), "{wrong:?}");
    assert_eq!((found.resyncs, found.gaps), (0, 0));
}

/// Its first book comes and nothing after it; the other token goes on, so that nothing but REST shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_stands_still_while_its_market_goes_on_is_found() {
    let script = "faults: [{ fault: drop, after: 1, times: 1000000, symbol: TOKEN }]";
    let found = run(script, |found| found.resyncs > 0).await;
    let wrong: Vec<_> = found.audits.iter().filter(|audit| !audit.starts_with("equal: ")).collect();
    assert!(wrong.iter().any(|audit| audit.starts_with("REST has other levels")), "{:?}", found.audits);
}
