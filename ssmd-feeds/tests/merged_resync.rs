//! A merged book that nobody can go on with: what the clock shows is asked of every connection that carries the symbol.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::recorder::ORIGIN;
use common::toy::ToyJournal;
use common::{dialer, soon};
use ssmd_core::entry::note::{self, Twin};
use ssmd_core::environment::FeedSpec;
use ssmd_core::{
    Entry, EntryId, EntryKind, FrameKind, Journal, Metrics, SessionId, Start, SystemClock, Tasks, Timestamp,
};
use ssmd_feeds::live::{Live, LiveOptions};
use ssmd_feeds::{OpenContext, Subscriptions, tls};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct Script(Vec<Entry>);

impl Script {
    fn push(&mut self, seconds: u64, session: u64, kind: EntryKind, payload: Bytes) {
        let at = Timestamp::from_nanos(seconds.cast_signed() * 1_000_000_000);
        let index = self.0.iter().filter(|entry| entry.session == SessionId(session)).count() as u64;
        self.0.push(Entry {
            id: EntryId { origin: ORIGIN, n: self.0.len() as u64 + 1 },
            day: at.day(),
            at,
            elapsed: Duration::from_secs(seconds),
            session: SessionId(session),
            index,
            kind,
            binary: false,
            more: false,
            payload,
        });
    }

    fn open(&mut self, seconds: u64, session: u64, number: usize) {
        let twin = Some(Twin { number, of: 2 });
        let open =
            note::Open { url: String::new(), wanted: Vec::new(), shard: Some(0), category: None, twin };
        self.push(seconds, session, EntryKind::Open, note::encode(&open));
    }

    fn say(&mut self, seconds: u64, session: u64, text: String) {
        self.push(seconds, session, EntryKind::Frame(FrameKind::Data), text.into());
    }

    fn ticks(&mut self, from: u64, to: u64) {
        (from..to).for_each(|second| self.push(second, 0, EntryKind::Tick, Bytes::new()));
    }
}

fn snapshot(sequence: u64) -> String {
    format!(
        r#"{{"type":"orderbook_snapshot","sid":1,"seq":{sequence},"msg":{{"market_ticker":"K","yes_dollars_fp":[["0.4000","5.00"]]}}}}"#
    )
}

fn delta(sequence: u64, second: u64) -> String {
    format!(
        r#"{{"type":"orderbook_delta","sid":1,"seq":{sequence},"msg":{{"market_ticker":"K","price_dollars":"0.4000","delta_fp":"1.00","side":"yes","ts_ms":{second}000}}}}"#
    )
}

#[tokio::test]
async fn what_the_clock_shows_is_asked_of_every_connection() {
    let spec = FeedSpec {
        url: Some("ws://127.0.0.1:9".to_owned()),
        channels: vec!["orderbook_delta".parse().unwrap()],
        symbols: vec!["K".to_owned()],
        ..FeedSpec::new("kalshi".parse().unwrap())
    };
    let context = OpenContext {
        dial: dialer(),
        tls: tls::client_config(None).unwrap(),
        clock: Arc::new(SystemClock::new()),
        subscriptions: Subscriptions::default(),
    };
    let mut script = Script(Vec::new());
    script.open(0, 1, 0);
    script.say(1, 1, snapshot(1));
    script.open(2, 2, 1);
    script.say(3, 2, snapshot(1));
    // The first one leads and is frozen; what the second one says first follows nothing that is known any more.
    script.ticks(4, 20);
    script.say(20, 2, delta(2, 20));
    script.ticks(21, 25);
    let close = note::Close {
        cause: "disconnect".to_owned(),
        detail: String::new(),
        covered_by: None,
        heard: note::Heard::default(),
        sha256: String::new(),
    };
    script.push(25, 1, EntryKind::Close, note::encode(&close));
    script.ticks(26, 60);
    let journal = ToyJournal::new();
    let _durable = journal.append(script.0).await.unwrap();
    let (resync, mut asked) = mpsc::channel(8);
    let live = Live::new(LiveOptions {
        feed: ssmd_feeds::open(&spec, &context).unwrap(),
        journal: journal.clone(),
        start: Start::Oldest,
        live: (ORIGIN, SessionId(1)),
        resync,
        publish: Vec::new(),
        clock: Arc::new(SystemClock::new()),
        metrics: Metrics::new(),
    });
    let (stop, mut tasks) = (CancellationToken::new(), Tasks::new());
    tasks.spawn("live", live.run(stop.clone()));
    let asked = soon("a resync", asked.recv()).await.unwrap();
    assert_eq!((asked.symbol.as_str(), asked.session), ("K", None));
    stop.cancel();
    soon("live", tasks.wait()).await.unwrap();
}
