//! A Polymarket feed as configuration opens it, against venues on loopback: subscribe, decode, resync; universe.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::feed::{context, spec, until};
use common::recorded::{frame, gaps};
use common::{Peer, Server, soon};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use ssmd_core::{
    Decode, ErrorKind, Feed, Frame, Frames, Gap, GapCause, Output, RecordType, SessionId, SystemClock, Tasks,
};
use ssmd_feeds::OpenContext;
use ssmd_feeds::polymarket::{Hashes, PolymarketDecode};
use ssmd_feeds::sim::{Sim, SimOptions, Source, symbols};
use tokio::sync::watch;

/// The next request, pings answered.
async fn request(peer: &mut Peer) -> Value {
    loop {
        let text = peer.hear().await.unwrap();
        if text == "PING" {
            peer.say("PONG").await;
            continue;
        }
        return serde_json::from_str(&text).unwrap();
    }
}

/// The hash of a book of bids alone, as `docs/venues/polymarket.md` describes it.
fn hash(time: u64, bids: &str) -> String {
    let text = format!(
        r#"{{"market":"0xab","asset_id":"77","timestamp":"{time}","hash":"","bids":[{bids}],"asks":[],"min_order_size":"5","tick_size":"0.01","neg_risk":false,"last_trade_price":"0.500"}}"#
    );
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn level(price: &str) -> String {
    format!(r#"{{"price":"{price}","size":"2"}}"#)
}

fn book(time: u64, bids: &str) -> String {
    let hash = hash(time, bids);
    format!(
        r#"[{{"market":"0xab","asset_id":"77","timestamp":"{time}","hash":"{hash}","bids":[{bids}],"asks":[],"tick_size":"0.01","event_type":"book","last_trade_price":"0.500"}}]"#
    )
}

fn change(time: u64, price: &str, hash: &str) -> String {
    let entry = json!({"asset_id": "77", "price": price, "size": "2", "side": "BUY", "hash": hash});
    json!({"market": "0xab", "price_changes": [entry], "timestamp": time.to_string(), "event_type": "price_change"})
        .to_string()
}

/// Each message of a millisecond carries the hash of the book after the last of them, however late that one comes.
#[test]
fn a_millisecond_told_in_parts_is_no_gap() {
    let levels = ["0.40", "0.41", "0.42", "0.43", "0.44"].map(level);
    let after = |time, count: usize| hash(time, &levels[..count].join(","));
    let told = [
        (0, book(10, &levels[0])),
        (100, change(11, "0.41", &after(11, 3))),
        (200, change(11, "0.42", &after(11, 3))),
        (1000, change(12, "0.43", &after(12, 5))),
        (1150, "PONG".to_owned()),
        (3500, change(12, "0.44", &after(12, 5))),
        (9000, "PONG".to_owned()),
    ];
    let (mut decoder, mut out) = (PolymarketDecode::new(Hashes::Always), Vec::new());
    for (index, (millis, text)) in (0..).zip(&told) {
        let frame = Frame { elapsed: Duration::from_millis(*millis), ..frame(index, 0, text.as_bytes()) };
        decoder.decode(&frame, &mut out).unwrap();
    }
    assert_eq!(gaps(&out), [] as [&Gap; 0]);
    assert_eq!(decoder.counts().books_verified, 3);
}

#[tokio::test]
async fn a_wrong_hash_is_a_gap_and_the_book_is_left_and_asked_for_again() {
    let server = Server::start().await;
    let context = context();
    let feed =
        ssmd_feeds::open(&spec("polymarket", Some(server.url.clone()), &["market"], &["77"]), &context)
            .unwrap();
    let (_wanted, receiver) = watch::channel(Arc::new(feed.universe().await.unwrap()));
    let session = feed.session();
    let opening = session.open(SessionId(1), receiver, Arc::clone(&context.clock));
    let (frames, mut peer) = tokio::join!(soon("open", opening), server.accept());
    let mut frames = frames.unwrap();
    let venue = async {
        let mut requests = vec![request(&mut peer).await];
        let [a, b, c, d] = ["0.40", "0.41", "0.42", "0.43"].map(level);
        peer.say(&book(10, &a)).await;
        peer.say(&change(11, "0.41", &hash(11, &format!("{a},{b}")))).await;
        // The change at 0.42 is lost.
        let hash_13 = hash(13, &format!("{a},{b},{c},{d}"));
        peer.say(&change(13, "0.43", &hash_13)).await;
        peer.say(&change(14, "0.44", &hash(14, ""))).await;
        requests.push(request(&mut peer).await);
        requests.push(request(&mut peer).await);
        peer.say(&book(20, &c)).await;
        peer.say(&change(21, "0.43", &hash(21, &format!("{c},{d}")))).await;
        (requests, peer, hash_13)
    };
    let mut out = Vec::new();
    let client = async {
        let mut decoder = feed.decoder();
        until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| {
            decoder.counts().books_verified == 4 && context.subscriptions.missing().topics == 0
        })
        .await;
        decoder.counts()
    };
    let ((requests, _peer, hash_13), counts) = tokio::join!(venue, client);
    assert_eq!(requests[0]["type"], "market");
    let words: Vec<_> = requests[1..].iter().map(|request| request["operation"].as_str().unwrap()).collect();
    assert_eq!(words, ["unsubscribe", "subscribe"]);
    assert!(requests.iter().all(|request| request["assets_ids"] == json!(["77"])));
    assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (1, 0, 0));
    let found = gaps(&out);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].cause, GapCause::Checksum);
    let shown = |evidence: &Option<ssmd_core::Evidence>| evidence.clone().unwrap().shown.unwrap();
    let hash_11 = hash(11, &format!("{},{}", level("0.40"), level("0.41")));
    assert_eq!((shown(&found[0].from), shown(&found[0].to)), (hash_11, hash_13));
}

async fn simulator(count: usize, rate: f64) -> (Sim, String) {
    let options = SimOptions {
        venue: "polymarket".to_owned(),
        source: Source::Model { seed: 3, symbols: symbols("polymarket", count).unwrap(), rate: Some(rate) },
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
async fn the_simulated_markets_are_followed_without_a_gap_through_a_resync() {
    let (sim, address) = simulator(12, 4_000.0).await;
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let context = context();
    let mut spec =
        spec("polymarket", Some(format!("ws://{address}/ws/market")), &["market"], &["*-december*", "rain*"]);
    spec.rest = Some(format!("http://{address}"));
    let feed = ssmd_feeds::open(&spec, &context).unwrap();
    let universe = soon("ask", feed.universe()).await.unwrap();
    assert_eq!(universe.0.len(), 10);
    let (mut frames, _wanted) = open(feed.as_ref(), &context).await;
    let (mut decoder, mut out) = (feed.decoder(), Vec::new());
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, _| {
        decoder.counts().books_verified > 4_000 && context.subscriptions.missing().topics == 0
    })
    .await;
    let token = universe.0.first().unwrap().symbol.clone().unwrap();
    frames.resync(&token).await.unwrap();
    let asked_for = |out: &[Output]| {
        let is_instrument = |output: &&Output| matches!(output, Output::Record(record) if record.body.record_type() == RecordType::BookSnapshot);
        out.iter().filter(is_instrument).count()
    };
    let snapshots = asked_for(&out);
    let verified = decoder.counts().books_verified;
    until(frames.as_mut(), decoder.as_mut(), &mut out, |decoder, out| {
        asked_for(out) > snapshots && decoder.counts().books_verified > verified + 500
    })
    .await;
    let counts = decoder.counts();
    assert!(gaps(&out).is_empty(), "{:?}", gaps(&out));
    assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (0, 0, 0));
    for kind in [RecordType::Quote, RecordType::Trade, RecordType::BookDelta, RecordType::Instrument] {
        let is_kind =
            |output: &Output| matches!(output, Output::Record(record) if record.body.record_type() == kind);
        assert!(out.iter().any(is_kind), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markets_are_found_by_slug_condition_tag_and_page() {
    let (sim, address) = simulator(250, 1.0).await;
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    let context = context();
    let ask = async |symbols: &[&str], category: &[&str]| {
        let mut spec = spec("polymarket", Some(format!("ws://{address}")), &["market"], symbols);
        spec.rest = Some(format!("http://{address}"));
        spec.filters.category = category.iter().map(|word| (*word).to_owned()).collect();
        let feed = ssmd_feeds::open(&spec, &context).unwrap();
        soon("ask", feed.universe()).await.map(|wanted| wanted.0.len())
    };
    assert_eq!(ask(&["*"], &[]).await.unwrap(), 250, "125 markets are two pages");
    assert_eq!(ask(&["bitcoin-above-100k-on-december-31"], &[]).await.unwrap(), 2);
    assert_eq!(ask(&["12345"], &[]).await.unwrap(), 1);
    assert_eq!(ask(&["12345"], &["crypto"]).await.unwrap(), 1 + 4);
    let condition = format!("0x{}", "0".repeat(64));
    let some = [&condition, "no-such-market", "12345"];
    assert_eq!(ask(&some, &[]).await.unwrap(), 3, "what is not listed is wanted as it is written");
}

#[tokio::test]
async fn what_cannot_work_is_told_before_anything_is_opened() {
    for (channel, symbols) in
        [("book", &["77"][..]), ("market:never", &["77"]), ("market", &[]), ("market", &["a b"])]
    {
        let mut spec = spec("polymarket", None, &["market"], symbols);
        spec.channels = vec![channel.parse().unwrap()];
        let error = ssmd_feeds::open(&spec, &context()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
