//! One recording of a simulator that goes wrong on purpose: its own ledger, and the archive's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ssmd_core::environment::{FeedSpec, StoreSpec};
use ssmd_core::{
    Clock, Decoders, Entry, EntryKind, ErrorKind, Evidence, FeedName, FrameKind, Journal, Metrics, Origin,
    Output, Record, SessionId, Start, Symbol, SystemClock, Tasks,
};
use ssmd_feeds::capture::{Capture, CaptureOptions};
use ssmd_feeds::live::{Live, LiveOptions};
use ssmd_feeds::sim::{self, FaultScript, Sim, SimOptions, Source};
use ssmd_feeds::{Dialer, OpenContext, Subscriptions};
use ssmd_storage::{Archive, Archiver, Selection, archive, gaps};
use ssmd_transport::log::{self, Log};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::truth::{self, Truth};

/// A venue that can be simulated, with what it calls things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Venue {
    pub(crate) name: &'static str,
    path: &'static str,
    /// Its channels of market data.
    pub(crate) channels: &'static [&'static str],
    has_depths: bool,
    /// Messages a second where a run is long: what its books take of an unoptimized build.
    pub(crate) rate: u64,
    /// Symbols of such a run.
    pub(crate) many: usize,
    /// Frames before the end whose evidence may still be undecided: what a frame shows is decided by later ones.
    undecided: u64,
    /// What the recorder has after the last fault, so that its books can be whole again.
    pub(crate) quiet_end: Duration,
}

impl Venue {
    /// The first symbols that it lists.
    pub(crate) fn symbols(self, count: usize) -> Vec<Symbol> {
        sim::symbols(self.name, count).unwrap()
    }
}

pub(crate) const KRAKEN: Venue = Venue {
    name: "kraken",
    path: "/v2",
    channels: &["book", "trade", "ticker"],
    has_depths: true,
    rate: 2500,
    many: 4,
    undecided: 0,
    quiet_end: Duration::from_secs(4),
};
pub(crate) const FUTURES: Venue = Venue {
    name: "kraken-futures",
    path: "/ws/v1",
    channels: &["book", "trade", "ticker"],
    has_depths: false,
    rate: 2500,
    many: 4,
    undecided: 0,
    quiet_end: Duration::from_secs(4),
};
pub(crate) const KALSHI: Venue = Venue {
    name: "kalshi",
    path: "/trade-api/ws/v2",
    channels: &["orderbook_delta", "trade", "ticker"],
    has_depths: false,
    rate: 2500,
    many: 4,
    undecided: 0,
    // A book whose snapshot was lost too is asked for again after ten seconds.
    quiet_end: Duration::from_secs(13),
};
pub(crate) const POLYMARKET: Venue = Venue {
    name: "polymarket",
    path: "/ws/market",
    channels: &["market"],
    has_depths: false,
    rate: 300,
    // A token whose book broke is asked for after a while only, so it takes many for many gaps.
    many: 40,
    undecided: 50,
    // A token that broke several times within a minute waits for 2, 4, 8 … seconds.
    quiet_end: Duration::from_secs(8),
};

/// How a recording is made.
pub(crate) struct Plan {
    pub(crate) venue: Venue,
    pub(crate) script: String,
    pub(crate) time: Duration,
    /// Messages a second; `None` for as many as the recorder takes.
    pub(crate) rate: Option<f64>,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) depth: u32,
    pub(crate) seed: u64,
    /// Ask the venue itself for its books near the end.
    pub(crate) truth: bool,
    /// Whether two connections hear the same.
    pub(crate) twins: bool,
}

/// A frame: its connection, and its number among the frames that were received there, from 1.
pub(crate) type Place = (u64, u64);

/// What a gap is, whoever found it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Known {
    pub(crate) to: Option<Place>,
    pub(crate) from: Option<Place>,
    pub(crate) cause: String,
    pub(crate) channel: Option<String>,
    pub(crate) symbol: Option<String>,
    pub(crate) missing: Option<u64>,
}

/// What came of it.
pub(crate) struct Recorded {
    /// The simulator's ledger, line by line.
    pub(crate) rows: Vec<Value>,
    /// Its gaps.
    pub(crate) expected: BTreeSet<Known>,
    /// Those that the archive knows, in order.
    pub(crate) found: Vec<Known>,
    pub(crate) gaps: Vec<gaps::LedgerGap>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) records: Vec<Record>,
    /// What the venue said of its books near the end, if it was asked.
    pub(crate) truth: Vec<Truth>,
}

/// Records a simulator with its faults, archives the log, and reads both ledgers.
pub(crate) async fn record(plan: &Plan) -> Recorded {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("faults.jsonl");
    let symbols = plan.symbols.clone();
    let options = SimOptions {
        venue: plan.venue.name.to_owned(),
        source: Source::Model { seed: plan.seed, symbols, rate: plan.rate },
        listen: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let script = FaultScript::parse(&plan.script).unwrap_or_else(|error| panic!("{error}\n{}", plan.script));
    let sim = Sim::bind(options, Arc::clone(&clock)).await.unwrap();
    let sim = sim.with_faults(script, Some(&ledger)).unwrap();
    let url = format!("ws://{}{}", sim.address(), plan.venue.path);
    let mut venue = Tasks::new();
    let stop = venue.token();
    venue.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let (feed, truth) =
        tokio::join!(capture(plan, url.clone(), folder.path(), &clock), truth::ask(plan, &url, &clock));
    venue.stop(Duration::from_secs(30), Arc::clone(&clock)).await.unwrap();
    let text = std::fs::read_to_string(&ledger).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Recorded { truth, ..read(folder.path(), &feed, plan.venue, rows).await }
}

async fn capture(plan: &Plan, url: String, folder: &Path, clock: &Arc<dyn Clock>) -> FeedName {
    let name: FeedName = plan.venue.name.parse().unwrap();
    let spec = FeedSpec {
        url: Some(url),
        channels: plan.venue.channels.iter().map(|channel| channel.parse().unwrap()).collect(),
        symbols: plan.symbols.iter().map(ToString::to_string).collect(),
        depth: plan.venue.has_depths.then_some(plan.depth),
        ..FeedSpec::new(name.clone())
    };
    let tls = ssmd_feeds::tls::client_config(None).unwrap();
    let subscriptions = Subscriptions::default();
    let context = OpenContext {
        dial: ssmd_echidna::dial(ssmd_feeds::conformance::dialer(), Dialer::new(Arc::clone(&tls), false))
            .unwrap(),
        tls,
        clock: Arc::clone(clock),
        subscriptions: subscriptions.clone(),
    };
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    let log =
        Log::open(&folder.join("log"), &name, log::Options::default(), Arc::clone(clock)).await.unwrap();
    let journal: Arc<dyn Journal> = Arc::new(log.clone());
    let capture = Capture::new(CaptureOptions {
        next: log.position().next,
        subscriptions,
        twins: plan.twins.then(|| Arc::clone(&feed)).into_iter().collect(),
        ..CaptureOptions::new(Arc::clone(&feed), Arc::clone(&journal), log.origin(), Arc::clone(clock))
    });
    let (resync, resyncs) = mpsc::channel(1024);
    let live = Live::new(LiveOptions {
        feed,
        journal: Arc::clone(&journal),
        start: Start::After([(log.origin(), log.position().next - 1)].into()),
        live: (log.origin(), SessionId(1)),
        resync,
        publish: Vec::new(),
        clock: Arc::clone(clock),
        metrics: Metrics::new(),
    });
    let (mut captures, mut decoders) = (Tasks::new(), Tasks::new());
    let stop = captures.token();
    captures.spawn("capture", async move { capture.run(stop, resyncs).await.map(drop) });
    let stop = decoders.token();
    decoders.spawn("decode", live.run(stop));
    clock.sleep(plan.time).await;
    captures.stop(Duration::from_secs(30), Arc::clone(clock)).await.unwrap();
    decoders.stop(Duration::from_secs(30), Arc::clone(clock)).await.unwrap();
    let archiver = Archiver {
        feed: name.clone(),
        journal,
        store: ssmd_storage::open(&StoreSpec::File("store".to_owned()), folder).unwrap(),
        clock: Arc::clone(clock),
        metrics: Metrics::new(),
        options: archive::Options::new(folder.join("log")),
        covered: Arc::new(|_: Origin, _| Ok(())),
    };
    let stop = CancellationToken::new();
    stop.cancel();
    archiver.run(stop).await.unwrap();
    log.close().await.unwrap();
    name
}

async fn read(folder: &Path, feed: &FeedName, venue: Venue, rows: Vec<Value>) -> Recorded {
    let store = ssmd_storage::open(&StoreSpec::File("store".to_owned()), folder).unwrap();
    let archive = Archive::open(store).await.unwrap();
    let decoder = ssmd_feeds::decoder(feed).unwrap();
    let gaps = gaps::ledger_of_all(&archive, feed, Some(Arc::clone(&decoder))).await.unwrap();
    let mut entries = Vec::new();
    let mut reader = archive.entries(feed, Selection::all());
    loop {
        match reader.next_batch().await {
            Ok(Some(batch)) => entries.extend(batch),
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Closed => break,
            Err(error) => panic!("{}", error.report()),
        }
    }
    let (mut decoders, mut outputs) = (Decoders::with(move || decoder()), Vec::new());
    for entry in &entries {
        // What is malformed on purpose does not decode.
        let _ = decoders.push(entry, &mut outputs);
    }
    let records = outputs.into_iter().filter_map(|output| match output {
        Output::Record(record) => Some(record),
        Output::Resync(_) => None,
    });
    let places = places(&entries);
    // A recorder that stops while it connects leaves what was on its way to it: nothing follows that.
    let (connection, frame) = places.values().max().copied().unwrap_or_default();
    let end = (connection, frame.saturating_sub(venue.undecided));
    let reached = |known: &Known| known.to.is_none_or(|to| to <= end);
    let found = gaps.iter().map(|found| of_archive(found, &places)).filter(reached).collect();
    let shown = rows.iter().filter(|row| row["evidence"] != "none").map(of_simulator);
    let expected = shown.filter(reached).collect();
    Recorded { records: records.collect(), rows, expected, found, gaps, entries, truth: Vec::new() }
}

/// The number of each received frame on its connection. Sessions are connections in the same order.
fn places(entries: &[Entry]) -> BTreeMap<(SessionId, u64), Place> {
    let (mut places, mut counts) = (BTreeMap::new(), BTreeMap::<SessionId, u64>::new());
    for entry in entries {
        let received = matches!(entry.kind, EntryKind::Frame(kind) if kind != FrameKind::Sent);
        if received && !entry.more {
            let count = counts.entry(entry.session).or_default();
            *count += 1;
            places.insert((entry.session, entry.index), (entry.session.0, *count));
        }
    }
    places
}

fn of_archive(found: &gaps::LedgerGap, places: &BTreeMap<(SessionId, u64), Place>) -> Known {
    let place = |evidence: &Option<Evidence>| {
        evidence.as_ref().map(|seen| places.get(&(seen.session, seen.index)).copied().unwrap_or_default())
    };
    let gap = &found.gap;
    Known {
        to: place(&gap.to),
        from: place(&gap.from),
        cause: gap.cause.word().to_owned(),
        channel: gap.channel.clone(),
        symbol: gap.symbol.as_ref().map(ToString::to_string),
        missing: gap.missing,
    }
}

fn of_simulator(row: &Value) -> Known {
    let place = |name: &str| row[name]["frame"].as_u64().zip(row[name]["connection"].as_u64());
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    Known {
        to: place("to").map(|(frame, connection)| (connection, frame)),
        from: place("from").map(|(frame, connection)| (connection, frame)),
        cause: text("evidence").unwrap(),
        channel: text("channel"),
        symbol: text("symbol"),
        missing: row["missing"].as_u64(),
    }
}

impl Recorded {
    /// Holds the two ledgers against each other; says what is in one of them only.
    pub(crate) fn differences(&self) -> Vec<String> {
        let found: BTreeSet<_> = self.found.iter().cloned().collect();
        let mut all: Vec<_> =
            self.expected.difference(&found).map(|gap| format!("not detected: {gap:?}")).collect();
        all.extend(found.difference(&self.expected).map(|gap| format!("false alarm: {gap:?}")));
        if found.len() != self.found.len() {
            all.push(format!("{} gaps are there twice", self.found.len() - found.len()));
        }
        all
    }
}
