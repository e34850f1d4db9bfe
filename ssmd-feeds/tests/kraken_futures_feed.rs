//! A Kraken futures feed as configuration opens it, against venues on loopback: subscribe, decode, resync; universe.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;

use common::feed::{context, spec, until};
use common::recorded::gaps;
use common::{Peer, Server, soon};
use serde_json::{Value, json};
use ssmd_core::{
    ErrorKind, Feed, FrameKind, Frames, GapCause, Output, RecordType, SessionId, Symbol, SystemClock, Tasks,
};
use ssmd_feeds::OpenContext;
use ssmd_feeds::sim::{Sim, SimOptions, Source};
use tokio::sync::watch;

/// Hears a request and answers it as the venue does, product by product.
async fn answer(peer: &mut Peer) -> Value {
    let request: Value = serde_json::from_str(&peer.hear().await.unwrap()).unwrap();
    for product in request["product_ids"].as_array().unwrap() {
        let event = format!("{}d", request["event"].as_str().unwrap());
        let answer = json!({"event": event, "feed": request["feed"], "product_ids": [product]});
        peer.say(&answer.to_string()).await;
    }
    request
}

async fn snapshot(peer: &mut Peer, sequence: u64) {
    let frame =
        json!({"feed": "book_snapshot", "product_id": "PF_XBTUSD", "seq": sequence, "bids": [], "asks": []});
    peer.say(&frame.to_string()).await;
}

async fn delta(peer: &mut Peer, sequence: u64) {
    let frame = json!({"feed": "book", "product_id": "PF_XBTUSD", "side": "buy", "seq": sequence, "price": 1.5, "qty": 2.0});
    peer.say(&frame.to_string()).await;
}

#[tokio::test]
async fn a_jump_in_a_books_numbers_is_a_gap_and_the_book_is_asked_for_again() {
    let server = Server::start().await;
    let context = context();
    let spec = spec("kraken-futures", Some(server.url.clone()), &["book"], &["PF_XBTUSD"]);
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    let (_wanted, receiver) = watch::channel(Arc::new(feed.universe().await.unwrap()));
    let session = feed.session();
    let opening = session.open(SessionId(1), receiver, Arc::clone(&context.clock));
    let (frames, mut peer) = tokio::join!(soon("open", opening), server.accept());
    let mut frames = frames.unwrap();
    let venue = async {
        peer.say(r#"{"event":"info","version":1}"#).await;
        let mut requests = vec![answer(&mut peer).await];
        snapshot(&mut peer, 10).await;
        for sequence in [11, 12, 15, 16, 19] {
            delta(&mut peer, sequence).await;
        }
        requests.push(answer(&mut peer).await);
        requests.push(answer(&mut peer).await);
        snapshot(&mut peer, 30).await;
        delta(&mut peer, 31).await;
        (requests, peer)
    };
    let mut out = Vec::new();
    let client = async {
        let mut decoder = feed.decoder();
        until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| decoder.counts().books_verified == 3)
            .await;
        decoder.counts()
    };
    let ((requests, _peer), counts) = tokio::join!(venue, client);
    let events: Vec<_> = requests.iter().map(|request| request["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["subscribe", "unsubscribe", "subscribe"]);
    assert!(requests.iter().all(|request| request["product_ids"] == json!(["PF_XBTUSD"])));
    assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (1, 0, 0));
    let found = gaps(&out);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].cause, found[0].missing), (GapCause::Sequence, Some(2)));
    let shown = |evidence: &Option<ssmd_core::Evidence>| evidence.clone().unwrap().shown.unwrap();
    assert_eq!((shown(&found[0].from), shown(&found[0].to)), ("12".to_owned(), "15".to_owned()));
    assert_eq!(context.subscriptions.missing().topics, 0);
}

async fn simulator(symbols: &[&str]) -> (Sim, String) {
    let symbols = symbols.iter().map(|symbol| Symbol::new(symbol).unwrap()).collect();
    let options = SimOptions {
        venue: "kraken-futures".to_owned(),
        source: Source::Model { seed: 3, symbols, rate: Some(4_000.0) },
        listen: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let sim = Sim::bind(options, Arc::new(SystemClock::new())).await.unwrap();
    let address = sim.address().to_string();
    (sim, address)
}

async fn open(
    feed: &dyn Feed,
    context: &OpenContext,
) -> (Box<dyn Frames>, watch::Sender<Arc<ssmd_core::Wanted>>) {
    let (wanted, receiver) = watch::channel(Arc::new(soon("ask", feed.universe()).await.unwrap()));
    let opening = feed.session().open(SessionId(1), receiver, Arc::clone(&context.clock)).await;
    (opening.unwrap(), wanted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_market_is_followed_without_a_gap_through_a_resync() {
    let (sim, address) = simulator(&["PF_XBTUSD", "PF_ETHUSD", "PF_S0001USD"]).await;
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let context = context();
    let channels = ["ticker", "ticker_lite", "trade", "book", "heartbeat"];
    let mut spec = spec("kraken-futures", Some(format!("ws://{address}/ws/v1")), &channels, &["PF_*"]);
    spec.rest = Some(format!("http://{address}"));
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    assert_eq!(soon("ask", feed.universe()).await.unwrap().0.len(), 4 * 3 + 1);
    let (mut frames, _wanted) = open(feed.as_ref(), &context).await;
    let (mut decoder, mut out) = (feed.decoder(), Vec::new());
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| decoder.counts().books_verified > 2_000)
        .await;
    assert_eq!(context.subscriptions.missing().topics, 0);
    frames.resync(&Symbol::new("PF_ETHUSD").unwrap()).await.unwrap();
    let snapshots = |out: &[Output]| {
        let is_snapshot = |output: &&Output| matches!(output, Output::Record(record) if record.body.record_type() == RecordType::BookSnapshot);
        out.iter().filter(is_snapshot).count()
    };
    until(frames.as_mut(), decoder.as_mut(), &mut out, |_, out| snapshots(out) == 4).await;
    let verified = decoder.counts().books_verified;
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| {
        decoder.counts().books_verified > verified + 500
    })
    .await;
    let counts = decoder.counts();
    assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (0, 0, 0));
    assert!(gaps(&out).is_empty(), "{:?}", gaps(&out));
    for kind in
        [RecordType::Ticker, RecordType::Quote, RecordType::Trade, RecordType::Funding, RecordType::Status]
    {
        let is_kind =
            |output: &Output| matches!(output, Output::Record(record) if record.body.record_type() == kind);
        assert!(out.iter().any(is_kind), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_come_to_those_who_asked_for_them_alone() {
    let (sim, address) = simulator(&["PF_XBTUSD"]).await;
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let context = context();
    let feed = ssmd_feeds::open(
        &spec("kraken-futures", Some(format!("ws://{address}")), &["heartbeat"], &[]),
        &context,
    )
    .unwrap();
    let (mut frames, _wanted) = open(feed.as_ref(), &context).await;
    loop {
        let heard = soon("heartbeat", frames.next(NonZeroUsize::MIN)).await.unwrap();
        assert!(heard.iter().all(|frame| frame.kind != FrameKind::Unknown));
        if heard.iter().any(|frame| frame.payload.starts_with(b"{\"feed\":\"heartbeat\",\"time\":")) {
            break;
        }
    }
}

#[tokio::test]
async fn what_cannot_work_is_told_before_anything_is_opened() {
    for (channels, symbols) in [
        (&["open_orders"][..], &["PF_XBTUSD"][..]),
        (&["book:10"], &["PF_XBTUSD"]),
        (&["book"], &[]),
        (&["book"], &["pf_xbtusd"]),
        (&["book"], &[""]),
    ] {
        let error =
            ssmd_feeds::open(&spec("kraken-futures", None, channels, symbols), &context()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert!(ssmd_feeds::open(&spec("kraken-futures", None, &["heartbeat"], &[]), &context()).is_ok());
}
