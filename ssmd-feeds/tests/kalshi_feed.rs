//! A Kalshi feed as configuration opens it, against venues on loopback: keys, subscriptions, broken books, the hour.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::feed::{BATCH, context, spec, until};
use common::recorded::{frame, gaps, records};
use common::toy::settle;
use common::{Peer, Server, manual, soon};
use serde_json::{Value, json};
use ssmd_core::environment::{FeedSpec, Secret};
use ssmd_core::{
    Body, Clock, Decode, Error, ErrorKind, Feed, Frame, FrameKind, Frames, GapCause, Output, Record,
    RecordType, SessionId, Symbol, SystemClock, Tasks, Wanted,
};
use ssmd_feeds::OpenContext;
use ssmd_feeds::kalshi::KalshiDecode;
use ssmd_feeds::sim::{self, Sim, SimOptions, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

const DATA: [&str; 3] = ["ticker", "trade", "orderbook_delta"];

fn testdata(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kalshi").join(file)
}

async fn simulator(symbols: Vec<Symbol>, rate: f64, key: Option<&str>) -> (Sim, String) {
    let options = SimOptions {
        venue: "kalshi".to_owned(),
        source: Source::Model { seed: 3, symbols, rate: Some(rate) },
        listen: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let mut sim = Sim::bind(options, Arc::new(SystemClock::new())).await.unwrap();
    if let Some(key) = key {
        sim = sim.with_public_key(&testdata(key)).unwrap();
    }
    let address = sim.address().to_string();
    (sim, address)
}

async fn open(
    feed: &dyn Feed,
    wanted: Wanted,
    clock: &Arc<dyn Clock>,
) -> Result<(Box<dyn Frames>, watch::Sender<Arc<Wanted>>), Error> {
    let (wanted, receiver) = watch::channel(Arc::new(wanted));
    let frames = soon("open", feed.session().open(SessionId(1), receiver, Arc::clone(clock))).await?;
    Ok((frames, wanted))
}

fn symbols_of(out: &[Output], kind: RecordType) -> Vec<Symbol> {
    let symbol = |output: &Output| match output {
        Output::Record(record) if record.body.record_type() == kind => record.header.symbol.clone(),
        _ => None,
    };
    out.iter().filter_map(symbol).collect()
}

/// The frames of one subscription, with their numbers.
struct Numbered<'a>(&'a mut Peer, u64);

impl Numbered<'_> {
    async fn say(&mut self, frame: Value) {
        let mut frame = frame;
        self.1 += 1;
        frame["sid"] = json!(1);
        frame["seq"] = json!(self.1);
        self.0.say(&format!("{frame}\n")).await;
    }

    async fn snapshot(&mut self, market: &str) {
        let msg = json!({"market_ticker": market, "yes_dollars_fp": [["0.4000", "10.00"]]});
        self.say(json!({"type": "orderbook_snapshot", "msg": msg})).await;
    }

    async fn delta(&mut self, market: &str) {
        let msg =
            json!({"market_ticker": market, "price_dollars": "0.4000", "delta_fp": "1.00", "side": "yes"});
        self.say(json!({"type": "orderbook_delta", "msg": msg})).await;
    }
}

#[tokio::test]
async fn a_jump_in_the_numbers_is_one_gap_and_all_its_books_are_asked_for_at_once() {
    let server = Server::start().await;
    let context = context();
    let spec = spec("kalshi", Some(server.url.clone()), &["orderbook_delta"], &["A", "B"]);
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    let wanted = feed.universe().await.unwrap();
    let (opened, mut peer) = tokio::join!(open(feed.as_ref(), wanted, &context.clock), server.accept());
    let (mut frames, _wanted) = opened.unwrap();
    let venue = async {
        let subscribe: Value = serde_json::from_str(&peer.hear().await.unwrap()).unwrap();
        assert_eq!(subscribe["params"]["market_tickers"], json!(["A", "B"]));
        let msg = json!({"channel": "orderbook_delta", "sid": 1});
        peer.say(&json!({"id": subscribe["id"], "type": "subscribed", "msg": msg}).to_string()).await;
        let mut said = Numbered(&mut peer, 0);
        said.snapshot("A").await;
        said.snapshot("B").await;
        said.delta("A").await;
        said.1 += 3;
        said.delta("A").await;
        said.delta("B").await;
        let mut asked = BTreeSet::new();
        while asked.len() < 2 {
            let again: Value = serde_json::from_str(&said.0.hear().await.unwrap()).unwrap();
            assert_eq!(
                (&again["params"]["action"], &again["params"]["sids"]),
                (&json!("get_snapshot"), &json!([1]))
            );
            let markets = again["params"]["market_tickers"].as_array().unwrap().clone();
            said.say(json!({"id": again["id"], "type": "ok", "msg": {"market_tickers": ["A", "B"]}})).await;
            for market in markets {
                said.snapshot(market.as_str().unwrap()).await;
                asked.insert(market.to_string());
            }
        }
        said.delta("A").await;
        said.delta("B").await;
        peer
    };
    let mut out = Vec::new();
    let mut decoder = feed.decoder();
    let client =
        until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| decoder.counts().books_verified == 3);
    let (_peer, ()) = tokio::join!(venue, client);
    let counts = decoder.counts();
    assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (2, 0, 0));
    let found = gaps(&out);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].cause, found[0].missing, &found[0].symbol), (GapCause::Sequence, Some(3), &None));
    let deltas = symbols_of(&out, RecordType::BookDelta);
    assert_eq!(deltas.len(), 3, "a change of a book that is not known is no record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_market_is_followed_without_a_gap_through_a_resync() {
    let (sim, address) = simulator(sim::symbols("kalshi", 8).unwrap(), 3_000.0, None).await;
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let context = context();
    let mut spec = spec(
        "kalshi",
        Some(format!("ws://{address}")),
        &["ticker", "trade", "orderbook_delta", "market_lifecycle_v2"],
        &[],
    );
    spec.rest = Some(format!("http://{address}"));
    spec.filters.category = vec!["crypto".to_owned(), "Crypto".to_owned()];
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    let wanted = soon("ask", feed.universe()).await.unwrap();
    assert_eq!(wanted.0.len(), 3 * 4 + 1, "two of four series are of this category, with two markets each");
    assert!(context.subscriptions.changes_at().is_some());
    let (mut frames, _wanted) = open(feed.as_ref(), wanted, &context.clock).await.unwrap();
    let (mut decoder, mut out) = (feed.decoder(), Vec::new());
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| decoder.counts().books_verified > 1_500)
        .await;
    assert_eq!(context.subscriptions.missing(), Default::default());
    let snapshots = |out: &[Output]| symbols_of(out, RecordType::BookSnapshot).len();
    assert_eq!(snapshots(&out), 4);
    frames.resync(&Symbol::new("KXETHD-26DEC31-T0001").unwrap()).await.unwrap();
    until(frames.as_mut(), decoder.as_mut(), &mut out, |_, out| snapshots(out) == 5).await;
    let verified = decoder.counts().books_verified;
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| {
        decoder.counts().books_verified > verified + 500
    })
    .await;
    let counts = decoder.counts();
    assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (0, 0, 0));
    assert!(gaps(&out).is_empty(), "{:?}", gaps(&out));
    for kind in [RecordType::Ticker, RecordType::Trade] {
        assert!(!symbols_of(&out, kind).is_empty(), "{kind:?}");
    }
}

/// The empty book comes unasked for, twice, while a neighbour goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_that_closes_has_an_empty_book_and_nothing_is_asked_for_again() {
    let symbols = sim::symbols("kalshi", 2).unwrap();
    let (closes, stays) = (symbols[0].clone(), symbols[1].clone());
    let (sim, address) = simulator(symbols.clone(), 500.0, None).await;
    let at = SystemClock::new().now().saturating_add(Duration::from_secs(2));
    let sim = sim.with_closing(closes.clone(), at).unwrap();
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let (context, url) = (context(), Some(format!("ws://{address}")));
    let names = [closes.as_str(), stays.as_str()];
    let feed = ssmd_feeds::open(&spec("kalshi", url, &DATA, &names), &context).unwrap();
    let wanted = feed.universe().await.unwrap();
    let (mut frames, _wanted) = open(feed.as_ref(), wanted, &context.clock).await.unwrap();
    let (mut decoder, mut out) = (feed.decoder(), Vec::new());
    let books = |out: &[Output]| {
        let is_its = |record: &&Record| record.header.symbol.as_ref() == Some(&closes);
        let is_book = |record: &Record| match &record.body {
            Body::BookSnapshot(book) | Body::BookDelta(book) => Some(book.bids.len() + book.asks.len()),
            _ => None,
        };
        records(out).filter(is_its).filter_map(is_book).collect::<Vec<_>>()
    };
    until(frames.as_mut(), decoder.as_mut(), &mut out, |_, out| books(out).ends_with(&[0, 0])).await;
    let (told, verified) = (books(&out), decoder.counts().books_verified);
    assert!(told[0] > 100 && told.len() > 3, "it was open before: {told:?}");
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| {
        decoder.counts().books_verified > verified + 100
    })
    .await;
    assert_eq!(books(&out), told, "nothing follows");
    let counts = decoder.counts();
    assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (0, 0, 0));
    assert!(gaps(&out).is_empty(), "{:?}", gaps(&out));
    assert!(!out.iter().any(|output| matches!(output, Output::Resync(_))), "nothing is broken");
    // Who asks for it again gets the same, as a part of the same count.
    frames.resync(&closes).await.unwrap();
    let again = told.len() + 1;
    until(frames.as_mut(), decoder.as_mut(), &mut out, |_, out| books(out).len() == again).await;
    assert_eq!((books(&out).last(), gaps(&out).len()), (Some(&0), 0));
}

/// Channels are left one after another, and what one of them no longer has another one still tells.
#[test]
fn a_market_whose_trades_were_left_first_keeps_its_book() {
    let delta = |seq: u64| {
        format!(
            r#"{{"type":"orderbook_delta","sid":2,"seq":{seq},"msg":{{"market_ticker":"A","price_dollars":"0.4000","delta_fp":"1.00","side":"yes"}}}}"#
        )
    };
    let left = |id: u64, sid: u64| {
        format!(
            r#"{{"id":{id},"cmd":"update_subscription","params":{{"sids":[{sid}],"action":"delete_markets","market_tickers":["A"]}}}}"#
        )
    };
    let told = [
        (FrameKind::Data, r#"{"id":1,"type":"subscribed","msg":{"channel":"trade","sid":1}}"#.to_owned()),
        (FrameKind::Data, r#"{"id":2,"type":"subscribed","msg":{"channel":"orderbook_delta","sid":2}}"#.to_owned()),
        (FrameKind::Data, r#"{"type":"orderbook_snapshot","sid":2,"seq":1,"msg":{"market_ticker":"A","yes_dollars_fp":[["0.4000","5.00"]]}}"#.to_owned()),
        (FrameKind::Sent, left(3, 1)),
        (FrameKind::Sent, left(4, 2)),
        (FrameKind::Data, r#"{"id":3,"sid":1,"seq":1,"type":"ok","msg":{"market_tickers":[]}}"#.to_owned()),
        (FrameKind::Data, delta(2)),
        (FrameKind::Data, r#"{"id":4,"sid":2,"seq":3,"type":"ok","msg":{"market_tickers":[]}}"#.to_owned()),
    ];
    let (mut decoder, mut out) = (KalshiDecode::new(), Vec::new());
    for (index, (kind, text)) in (0..).zip(&told) {
        let frame = Frame { kind: *kind, ..frame(index, 0, text.as_bytes()) };
        decoder.decode(&frame, &mut out).unwrap();
    }
    assert!(gaps(&out).is_empty(), "{:?}", gaps(&out));
    assert_eq!(symbols_of(&out, RecordType::BookDelta).len(), 1);
}

/// At the hour, hundreds of markets open and as many close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_markets_roll_over_within_a_second_and_their_neighbours_lose_nothing() {
    let all = sim::symbols("kalshi", 640).unwrap();
    let (neighbours, rest) = all.split_at(40);
    let (old, new) = rest.split_at(300);
    let (sim, address) = simulator(all.clone(), 2_000.0, None).await;
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let context = context();
    let feed =
        ssmd_feeds::open(&spec("kalshi", Some(format!("ws://{address}")), &DATA, &["A"]), &context).unwrap();
    let channels = DATA.map(|name| name.parse().unwrap());
    let wants = |markets: &[Symbol]| Wanted::product(&channels, &[neighbours, markets].concat());
    let (mut decoder, mut out) = (feed.decoder(), Vec::new());
    // Somebody has listened to the new markets already, so that they exist and the venue need not make them up.
    let (mut other, _other_wanted) = open(feed.as_ref(), wants(new), &context.clock).await.unwrap();
    let all_on = || context.subscriptions.missing().topics == 0;
    while !all_on() {
        soon("receive", other.next(BATCH)).await.unwrap();
    }
    drop(other);
    let (mut frames, wanted) = open(feed.as_ref(), wants(old), &context.clock).await.unwrap();
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| {
        all_on() && decoder.counts().books_verified > 500
    })
    .await;
    out.clear();
    // Decoding is another task's, behind the journal: frames are only taken here.
    let (began, mut asked, mut heard) = (context.clock.elapsed(), false, Vec::new());
    wanted.send_replace(Arc::new(wants(new)));
    while !(asked && all_on()) {
        heard.extend(soon("receive", frames.next(BATCH)).await.unwrap());
        asked |= !all_on();
    }
    let took = context.clock.elapsed() - began;
    heard.iter().for_each(|frame| decoder.decode(frame, &mut out).unwrap());
    println!("900 topics of 300 markets were exchanged in {took:?}");
    // The figure is a second; an unoptimized build on a busy machine must only show that nothing waits in turn.
    assert!(took <= Duration::from_secs(5), "{took:?}");
    let snapshots =
        |out: &[Output]| symbols_of(out, RecordType::BookSnapshot).into_iter().collect::<BTreeSet<_>>();
    let wanted_now: BTreeSet<_> = new.iter().cloned().collect();
    until(frames.as_mut(), decoder.as_mut(), &mut out, |_, out| snapshots(out).is_superset(&wanted_now))
        .await;
    // Snapshots of the old ones may still have been on their way.
    assert!(snapshots(&out).is_superset(&new.iter().cloned().collect()), "every new market has its book");
    assert!(symbols_of(&out, RecordType::BookDelta).iter().any(|symbol| neighbours.contains(symbol)));
    let verified = decoder.counts().books_verified;
    out.clear();
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| {
        decoder.counts().books_verified > verified + 1_000
    })
    .await;
    let counts = decoder.counts();
    assert!(gaps(&out).is_empty(), "{:?}", gaps(&out));
    assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (0, 0, 0), "every number followed");
    let heard: BTreeSet<_> = symbols_of(&out, RecordType::BookDelta).into_iter().collect();
    assert!(heard.is_disjoint(&old.iter().cloned().collect()), "what is over was left");
    assert!(
        heard.iter().any(|symbol| neighbours.contains(symbol))
            && heard.iter().any(|symbol| new.contains(symbol))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_is_let_in_and_who_signs_wrongly_is_told_why() {
    let mut tasks = Tasks::new();
    let mut addresses = Vec::new();
    for key in ["key.public.pem", "other.public.pem"] {
        let (sim, address) = simulator(sim::symbols("kalshi", 2).unwrap(), 10.0, Some(key)).await;
        let stop = tasks.token();
        tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
        addresses.push(address);
    }
    let signed = |address: &str, path: &str, key: &str| {
        let mut spec =
            spec("kalshi", Some(format!("ws://{address}{path}")), &["trade"], &["KXFED-26DEC31-T0001"]);
        let file = |file: &Path| Secret::File(file.to_str().unwrap().to_owned());
        spec.keys.insert("key_id".to_owned(), file(&testdata("key.public.pem")));
        // Any text in one line will do for a name.
        let name = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(name.path(), "a-key\n").unwrap();
        spec.keys.insert("key_id".to_owned(), file(name.path()));
        spec.keys.insert("private_key".to_owned(), file(&testdata(key)));
        (spec, name)
    };
    let context = context();
    for (path, key) in [("", "key.pkcs8.pem"), ("/trade-api/ws/v2", "key.pkcs1.pem")] {
        let (spec, _name) = signed(&addresses[0], path, key);
        let feed = ssmd_feeds::open(&spec, &context).unwrap();
        for _ in 0..2 {
            let wanted = feed.universe().await.unwrap();
            assert!(open(feed.as_ref(), wanted, &context.clock).await.is_ok(), "each connect is signed anew");
        }
    }
    let (right, _name) = signed(&addresses[0], "", "key.pkcs8.pem");
    let refusal = async |spec: &FeedSpec, clock: Arc<dyn Clock>| {
        let feed = ssmd_feeds::open(spec, &context).unwrap();
        open(feed.as_ref(), Wanted::default(), &clock).await.err().unwrap()
    };
    let (wrong, _name) = signed(&addresses[1], "", "key.pkcs8.pem");
    let error = refusal(&wrong, Arc::clone(&context.clock)).await;
    assert_eq!((error.kind(), error.context("status")), (ErrorKind::Denied, Some("401")));
    assert!(error.report().contains("incorrect signature"), "{}", error.report());
    assert!(error.hint_text().unwrap().contains("not expired"));
    let mut unsigned = right.clone();
    unsigned.keys.clear();
    let error = refusal(&unsigned, Arc::clone(&context.clock)).await;
    assert!(error.report().contains("missing KALSHI-ACCESS headers"), "{}", error.report());
    let error = refusal(&right, Arc::new(manual())).await;
    assert!(error.report().contains("timestamp is too far"), "{}", error.report());
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("this machine's clock is") && hint.contains("the venue's"), "{hint}");
    let (mut broken, _name) = signed(&addresses[0], "", "key.public.pem");
    let error = refusal(&broken, Arc::clone(&context.clock)).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    broken.keys.insert("private_key".to_owned(), Secret::File("/nowhere/key.pem".to_owned()));
    assert_eq!(refusal(&broken, Arc::clone(&context.clock)).await.context("file"), Some("/nowhere/key.pem"));
}

/// REST takes questions and says nothing, from before the listing is old until after the market has opened.
#[tokio::test]
async fn a_market_is_wanted_by_the_clock_while_rest_says_nothing() {
    let (server, clock) = (Server::start().await, manual());
    let began = clock.now();
    let time = |seconds: u64| began.saturating_add(Duration::from_secs(seconds)).to_string();
    let row = json!({"ticker": "KXA-1", "status": "initialized", "open_time": time(150), "close_time": time(3_600)});
    let body = json!({"markets": [row], "cursor": ""}).to_string();
    let mut spec = spec("kalshi", Some(server.url.clone()), &["trade"], &["KXA-*"]);
    spec.rest = Some(server.url.replace("ws://", "http://"));
    let feed = ssmd_feeds::open(&spec, &OpenContext { clock: Arc::new(clock.clone()), ..context() }).unwrap();
    let wanted = async |step: Duration| {
        tokio::select! {
            biased;
            wanted = feed.universe() => wanted.unwrap().0.len(),
            () = async { loop { settle().await; clock.advance(step) } } => unreachable!("the clock does not stop"),
        }
    };
    // Markets that have not opened, are open, or are paused: a page each, so it is fresh for a minute and a half.
    let answers = async {
        for _ in 0..3 {
            let mut tcp = server.tcp().await;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(tcp.read_u8().await.unwrap());
            }
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}", body.len());
            tcp.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
            tcp.shutdown().await.unwrap();
        }
    };
    let first = async { tokio::join!(wanted(Duration::from_millis(10)), answers).0 };
    assert_eq!(soon("the listing", first).await, 0, "it is not open yet");
    clock.advance(Duration::from_secs(120));
    let mut asked = Vec::new();
    let silence = async {
        loop {
            asked.push(server.tcp().await);
        }
    };
    let later = async {
        let count = wanted(Duration::from_millis(100)).await;
        let opened = clock.now();
        (count, opened, wanted(Duration::from_millis(100)).await)
    };
    let (count, opened, after) = tokio::select! {
        biased;
        later = soon("the markets", later) => later,
        () = silence => unreachable!("the server does not stop"),
    };
    assert_eq!((count, after), (1, 1));
    let lead = began.saturating_add(Duration::from_secs(145));
    assert!(opened >= lead && opened.since(lead) < Duration::from_secs(1), "{opened}");
    // The question was kept, and given up at last: then the market is wanted all the same.
    assert!(clock.now().since(opened) > Duration::from_secs(10) && asked.len() <= 4, "{}", asked.len());
}

#[tokio::test]
async fn what_cannot_work_is_told_before_anything_is_opened() {
    for (channels, symbols) in [
        (&["fill"][..], &["KXFED-1"][..]),
        (&["trade:10"], &["KXFED-1"]),
        (&["trade"], &[]),
        (&["trade"], &["kxfed-1"]),
        (&["trade"], &[""]),
    ] {
        let error = ssmd_feeds::open(&spec("kalshi", None, channels, symbols), &context()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert!(ssmd_feeds::open(&spec("kalshi", None, &["market_lifecycle_v2"], &[]), &context()).is_ok());
    let mut half = spec("kalshi", None, &["trade"], &["KXFED-1"]);
    half.keys.insert("key_id".to_owned(), Secret::Env("X".to_owned()));
    assert!(ssmd_feeds::open(&half, &context()).err().unwrap().hint_text().is_some());
}
