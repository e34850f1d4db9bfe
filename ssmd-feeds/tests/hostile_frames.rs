//! What no venue should send reaches the journal as it came, is counted, and ends nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::toy::{ToyJournal, lines};
use common::{Server, dialer, soon};
use futures_util::SinkExt;
use ssmd_core::entry::{Joiner, PAYLOAD_BYTES_MAX};
use ssmd_core::environment::FeedSpec;
use ssmd_core::{Entry, EntryKind, Feed, Frame, FrameKind, Metrics, Origin, SessionId, Start, SystemClock};
use ssmd_feeds::live::{Live, LiveOptions};
use ssmd_feeds::tls::client_config;
use ssmd_feeds::ws::Subscriptions;
use ssmd_feeds::{Capture, CaptureOptions, OpenContext};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

const ORIGIN: Origin = Origin::from_bytes([7; 16]);
/// A frame that is spread over many entries.
const LARGE_BYTES: usize = 16 * 1024 * 1024;
const LAST: &str = r#"{"channel":"heartbeat"}"#;

/// Frames, and what the protocol makes of them.
fn hostile() -> Vec<(Message, FrameKind)> {
    use FrameKind::{Control, Data, Unknown};
    let text = |text: &str| Message::text(text.to_owned());
    let large = |head: &str, tail: &str| {
        Message::text(format!("{head}{}{tail}", "x".repeat(LARGE_BYTES - head.len() - tail.len())))
    };
    vec![
        (text(""), Unknown),
        (text("\0"), Unknown),
        (text("{"), Unknown),
        (text("null"), Unknown),
        (text("{\"channel\":7}"), Unknown),
        (text("{\"channel\":\"of the future\",\"data\":[]}"), Unknown),
        (
            text(
                "{\"channel\":\"book\",\"type\":\"update\",\"data\":[{\"symbol\":\"BTC/USD\",\"bids\":{}}]}",
            ),
            Data,
        ),
        (text("{\"channel\":\"book\",\"type\":\"snapshot\",\"data\":[{\"symbol\":\"\"}]}"), Data),
        (text("{\"channel\":\"trade\",\"type\":\"update\",\"data\":[{\"price\":1e999999}]}"), Data),
        (text("{\"channel\":\"of the future\",\"type\":\"\u{1F980}\r\n\u{0}\"}"), Unknown),
        (Message::text("[".repeat(400_000)), Unknown),
        (
            Message::text(format!(
                "{{\"channel\":\"book\",\"type\":\"update\",\"data\":{}",
                "[".repeat(400_000)
            )),
            Data,
        ),
        (Message::text("{\"a\":".repeat(100_000)), Unknown),
        (Message::text(format!("{{\"data\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000))), Unknown),
        (Message::binary(vec![0xFF, 0x00, 0xC3]), Unknown),
        (large("{\"channel\":\"of the future\",\"data\":\"", "\"}"), Unknown),
        (large("{\"channel\":\"book\",\"type\":\"update\",\"data\":\"", "\"}"), Data),
        (large("", ""), Unknown),
        (text(LAST), Control),
    ]
}

#[tokio::test]
async fn hostile_frames_are_kept_as_they_came_and_counted_and_end_nothing() {
    let server = Server::start().await;
    let feed = kraken(&server);
    let (journal, metrics) = (ToyJournal::new(), Metrics::new());
    let (resync, resyncs) = mpsc::channel(16);
    let live = live(&feed, &journal, &metrics, resync);
    let (counts, stop, mut decoding) = (live.counts(), CancellationToken::new(), ssmd_core::Tasks::new());
    decoding.spawn("live", live.run(stop.clone()));
    let capture = capture(&feed, &journal, &metrics);
    let (status, token) = (capture.status(), CancellationToken::new());
    let mut tasks = ssmd_core::Tasks::new();
    let stopped = token.clone();
    tasks.spawn("capture", async move { capture.run(stopped, resyncs).await.map(drop) });

    let mut peer = server.accept().await;
    let said = hostile();
    let mut undecodable = 0;
    for (message, kind) in &said {
        undecodable += u64::from(*kind != FrameKind::Control);
        soon("say", peer.0.send(message.clone())).await.unwrap();
    }
    journal.until_text(LAST).await;
    assert_eq!(
        (status.figures().reconnects, status.figures().sessions),
        (0, 1),
        "one session outlives it all"
    );
    token.cancel();
    let ((), ended) = tokio::join!(async { while peer.hear().await.is_some() {} }, soon("end", tasks.wait()));
    ended.unwrap();
    stop.cancel();
    soon("live", decoding.wait()).await.unwrap();

    let entries = journal.entries();
    same(&said, &entries);
    assert!(entries.iter().all(|entry| entry.kind != EntryKind::Gap), "{:#?}", lines(&entries));
    let counts = *counts.borrow();
    assert_eq!(counts.malformed + counts.unknown, undecodable, "each is counted: {counts:?}");
    assert_eq!(counts.records, 0);
    let shown = metrics.render();
    for (kind, word) in [(counts.malformed, "malformed"), (counts.unknown, "unknown")] {
        let line = format!("ssmd_decoder_errors_total{{feed=\"kraken\",error_type=\"{word}\"}} {kind}");
        assert!(kind > 0 && shown.contains(&line), "{line} is not in {shown}");
    }
}

/// What was received, joined, is what was said, byte for byte and in order; large frames lie in consecutive entries.
fn same(said: &[(Message, FrameKind)], entries: &[Entry]) {
    assert!(entries.iter().all(|entry| entry.payload.len() <= PAYLOAD_BYTES_MAX));
    let parts = entries.iter().filter(|entry| entry.more).count();
    assert!(parts >= 3 * (LARGE_BYTES / PAYLOAD_BYTES_MAX - 1), "{parts} parts");
    let mut joiner = Joiner::default();
    let frames = entries.iter().filter_map(|entry| joiner.push(entry).unwrap());
    let received: Vec<Frame> = frames.filter(|frame| frame.kind != FrameKind::Sent).collect();
    assert_eq!(received.len(), said.len());
    for (at, (frame, (message, kind))) in received.iter().zip(said).enumerate() {
        let bytes: Bytes = message.clone().into_data();
        assert!(frame.payload == bytes, "frame {at}: {} bytes of {}", frame.payload.len(), bytes.len());
        assert_eq!((frame.kind, frame.binary), (*kind, message.is_binary()), "frame {at}");
    }
}

fn kraken(server: &Server) -> Arc<dyn Feed> {
    let spec = FeedSpec {
        url: Some(server.url.clone()),
        channels: vec!["book:10".parse().unwrap(), "trade".parse().unwrap()],
        symbols: vec!["BTC/USD".to_owned()],
        ..FeedSpec::new("kraken".parse().unwrap())
    };
    let context = OpenContext {
        dial: dialer(),
        tls: client_config(None).unwrap(),
        clock: Arc::new(SystemClock::new()),
        subscriptions: Subscriptions::default(),
    };
    ssmd_feeds::open(&spec, &context).unwrap()
}

fn live(
    feed: &Arc<dyn Feed>,
    journal: &Arc<ToyJournal>,
    metrics: &Metrics,
    resync: mpsc::Sender<ssmd_feeds::Resync>,
) -> Live {
    Live::new(LiveOptions {
        feed: Arc::clone(feed),
        journal: journal.clone(),
        start: Start::Oldest,
        live: (ORIGIN, SessionId(1)),
        resync,
        publish: Vec::new(),
        clock: Arc::new(SystemClock::new()),
        metrics: metrics.clone(),
    })
}

fn capture(feed: &Arc<dyn Feed>, journal: &Arc<ToyJournal>, metrics: &Metrics) -> Capture {
    let options = CaptureOptions::new(feed.clone(), journal.clone(), ORIGIN, Arc::new(SystemClock::new()));
    Capture::new(CaptureOptions { metrics: metrics.clone(), ..options })
}
