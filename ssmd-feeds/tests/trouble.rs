//! Peers, disks and listeners that misbehave, and what is kept all the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use common::recorder::{ORIGIN, advance_until, at, capture, find, gaps, options, serve, start, toy};
use common::toy::{Toy, ToyJournal, notes, settle};
use common::{Server, manual, soon};
use ssmd_core::entry::note;
use ssmd_core::environment::FeedSpec;
use ssmd_core::{
    Clock, EntryKind, Error, ErrorKind, Feed, Filter, FrameKind, GapCause, Message, Metrics, Record, Result,
    SessionId, Start, Subject, Subscription, SystemClock, Tasks, Transport, Wanted,
};
use ssmd_feeds::live::{Live, LiveOptions};
use ssmd_feeds::ws::{Liveness, Subscriptions};
use ssmd_feeds::{CaptureOptions, OpenContext, tls};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Lets other tasks run so many times.
async fn yields(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn next_may_be_dropped_wherever_it_waits() {
    const MESSAGES: usize = 2000;
    let server = Server::start().await;
    let clock = manual();
    let toy = Toy { heartbeat: Duration::from_secs(1), ..Toy::new(&server.url) };
    let feed = toy.feed(Liveness::Bytes, &["A", "B"], 100);
    let (change, wanted) = watch::channel(Arc::new(feed.universe().await.unwrap()));
    let session = feed.session();
    let opening = session.open(SessionId(1), wanted, Arc::new(clock.clone()));
    let (frames, mut peer) = tokio::join!(opening, server.accept());
    let mut frames = frames.unwrap();
    let talking = async {
        for n in 0..MESSAGES {
            peer.say(&format!("{n}")).await;
            yields(n % 5).await;
        }
        peer
    };
    let hearing = async {
        let (mut got, mut dropped) = (Vec::new(), 0);
        for round in 0_usize.. {
            let max = NonZeroUsize::new(1 + round % 7).unwrap();
            let next = tokio::select! {
                biased;
                next = frames.next(max) => Some(next.unwrap()),
                () = yields(round % 4) => None,
            };
            // Every reason to wake up comes between, and beside, what is heard.
            match next {
                Some(next) => got.extend(next),
                None => dropped += 1,
            }
            match round % 16 {
                3 => clock.advance(Duration::from_millis(700)),
                9 => drop(
                    change.send_replace(Arc::new(common::toy::wanted(&["A", "B", "C"][..round % 3 + 1]))),
                ),
                _ => {}
            }
            tokio::task::yield_now().await;
            if got.iter().filter(|frame| frame.kind == FrameKind::Data).count() == MESSAGES {
                break;
            }
        }
        (got, dropped)
    };
    let (peer, (got, dropped)) = soon("messages", async { tokio::join!(talking, hearing) }).await;
    drop(peer);
    assert!(dropped > 100, "only {dropped} were dropped");
    assert!(got.iter().any(|frame| frame.payload == "alive?"));
    assert!(got.iter().zip(0..).all(|(frame, index)| frame.index == index), "numbers are dense");
    let data: Vec<_> = got.iter().filter(|frame| frame.kind == FrameKind::Data).collect();
    assert!(data.iter().enumerate().all(|(n, frame)| frame.payload == n.to_string()), "in order, none twice");
}

#[tokio::test]
async fn an_append_that_stalls_becomes_one_counted_gap() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let running = start(options(toy(&server), &journal, Arc::new(clock.clone())), Arc::clone(&journal));
    let mut peer = server.accept().await;
    peer.say("kept").await;
    journal.until_text("kept").await;
    journal.set_stalled(true);
    for n in 0..20 {
        peer.say(&format!("lost {n}")).await;
    }
    let status = Arc::clone(&running.status);
    advance_until(&clock, "overflow", || status.figures().overflowed == 20).await;
    journal.set_stalled(false);
    peer.say("kept again").await;
    journal.until_text("kept again").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let gaps = gaps(&entries);
    assert_eq!((gaps.len(), gaps[0].cause, gaps[0].missing), (1, GapCause::Overflow, Some(20)));
    assert_eq!(
        (&gaps[0].from, &gaps[0].to),
        (&at(find(&entries, "kept")), &at(find(&entries, "kept again")))
    );
}

/// Takes what is published, unless it is told to fail.
#[derive(Default)]
struct Listener {
    heard: watch::Sender<Vec<Message>>,
    refused: watch::Sender<usize>,
    fails: Mutex<bool>,
}

#[async_trait]
impl Transport for Listener {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        if *self.fails.lock().unwrap() {
            self.refused.send_modify(|refused| *refused += batch.len());
            return Err(Error::new(ErrorKind::Unavailable, "publish"));
        }
        self.heard.send_modify(|heard| heard.extend(batch));
        Ok(())
    }

    async fn subscribe(&self, _filter: &Filter) -> Result<Box<dyn Subscription>> {
        Err(Error::new(ErrorKind::Unsupported, "subscribe"))
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl Listener {
    async fn until_heard(&self, count: usize) -> Vec<String> {
        let mut heard = self.heard.subscribe();
        let heard = soon("records", heard.wait_for(|heard| heard.len() >= count)).await.unwrap();
        heard.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
    }
}

fn kraken(url: &str) -> Arc<dyn Feed> {
    let spec = FeedSpec {
        url: Some(url.to_owned()),
        channels: vec!["trade".parse().unwrap()],
        symbols: vec!["BTC/USD".to_owned()],
        ..FeedSpec::new("kraken".parse().unwrap())
    };
    let context = OpenContext {
        dial: common::dialer(),
        tls: tls::client_config(None).unwrap(),
        clock: Arc::new(SystemClock::new()),
        subscriptions: Subscriptions::default(),
    };
    ssmd_feeds::open(&spec, &context).unwrap()
}

fn trade(id: u64) -> String {
    format!(
        r#"{{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"buy","price":1.5,"qty":2.0,"ord_type":"limit","trade_id":{id},"timestamp":"2026-08-01T12:00:00.000000Z"}}]}}"#
    )
}

#[tokio::test]
async fn records_are_published_as_they_become_durable_and_a_listener_that_fails_stops_nothing() {
    let server = Server::start().await;
    let feed = kraken(&server.url);
    let running = capture(Arc::clone(&feed));
    let listener = Arc::new(Listener::default());
    let make = |record: &Record, _: Option<&str>, out: &mut Vec<Message>| {
        let subject = Subject::new(["test", record.body.record_type().word()]).unwrap();
        let mut payload = Vec::new();
        ssmd_core::codec::json::encode(record, &"kraken".parse().unwrap(), &mut payload);
        out.push(Message { subject, headers: Vec::new(), payload: payload.into() });
    };
    let live = Live::new(LiveOptions {
        feed,
        journal: running.journal.clone(),
        start: Start::Oldest,
        live: (ORIGIN, SessionId(1)),
        resync: running.resync.clone(),
        publish: vec![(Arc::clone(&listener) as Arc<dyn Transport>, Arc::new(make))],
        clock: Arc::new(SystemClock::new()),
        metrics: Metrics::new(),
    });
    let (counts, stop, mut tasks) = (live.counts(), CancellationToken::new(), Tasks::new());
    tasks.spawn("live", live.run(stop.clone()));
    let mut peer = server.accept().await;
    for id in 1..=3 {
        peer.say(&trade(id)).await;
    }
    let heard = listener.until_heard(3).await;
    for (id, line) in (1..).zip(&heard) {
        assert!(line.contains(&format!("\"{id}\"")) && line.contains("BTC/USD"), "{line}");
    }
    *listener.fails.lock().unwrap() = true;
    peer.say(&trade(4)).await;
    let mut refused = listener.refused.subscribe();
    soon("refusal", refused.wait_for(|refused| *refused == 1)).await.unwrap();
    *listener.fails.lock().unwrap() = false;
    peer.say(&trade(5)).await;
    let heard = listener.until_heard(4).await;
    assert!(heard[3].contains("\"5\""), "told at most once: {heard:#?}");
    tokio::join!(running.stop(), serve(peer));
    stop.cancel();
    soon("live", tasks.wait()).await.unwrap();
    assert_eq!(counts.borrow().records, 5);
}

#[tokio::test]
async fn a_message_that_drips_for_ever_is_no_sign_of_life() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let toy = Toy { silence: Duration::from_secs(6), ..Toy::new(&server.url) };
    let feed: Arc<dyn Feed> = Arc::new(toy.feed(Liveness::Messages, &["A"], 100));
    let running = start(options(feed, &journal, Arc::new(clock.clone())), Arc::clone(&journal));
    let mut peer = server.accept().await;
    peer.say("last").await;
    journal.until_text("last").await;
    let heard = clock.elapsed();
    // The beginning of a message of 60,000 bytes, which then come a few at a time.
    let tcp = peer.0.get_mut();
    tcp.write_all(&[0x81, 126, 0xEA, 0x60]).await.unwrap();
    let dripping = async {
        loop {
            if tcp.write_all(b"xxx").await.is_err() {
                return std::future::pending().await;
            }
            settle().await;
            clock.advance(Duration::from_millis(250));
        }
    };
    let mut again = tokio::select! {
        biased;
        again = server.accept() => again,
        () = dripping => unreachable!("it drips for ever"),
    };
    let took = clock.elapsed() - heard;
    assert!((Duration::from_secs(6)..Duration::from_secs(8)).contains(&took), "{took:?}");
    again.say("first").await;
    journal.until_text("first").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(again));
    let gaps = gaps(&entries);
    assert_eq!(
        (gaps.len(), gaps[0].cause, &gaps[0].from),
        (1, GapCause::Silence, &at(find(&entries, "last")))
    );
}

#[tokio::test]
async fn a_peer_that_is_gone_without_a_word_is_noticed_where_quiet_is_allowed() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let toy =
        Toy { silence: Duration::from_secs(6), heartbeat: Duration::from_secs(2), ..Toy::new(&server.url) };
    let feed: Arc<dyn Feed> = Arc::new(toy.feed(Liveness::Bytes, &["A"], 100));
    let running = start(options(feed, &journal, Arc::new(clock.clone())), Arc::clone(&journal));
    // The connection stays open, but nobody reads it or writes to it any more.
    let mut half_open = server.accept().await;
    half_open.say("last").await;
    journal.until_text("last").await;
    let mut again = tokio::select! {
        biased;
        again = server.accept() => again,
        () = advance_until(&clock, "second session", || false) => unreachable!("that is never so"),
    };
    again.say("first").await;
    journal.until_text("first").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(again));
    drop(half_open);
    assert_eq!(gaps(&entries).iter().map(|gap| gap.cause).collect::<Vec<_>>(), [GapCause::Silence]);
}

#[tokio::test]
async fn every_frame_of_a_burst_before_the_goodbye_is_journaled() {
    const FRAMES: usize = 100_000;
    let server = Server::start().await;
    let running = capture(toy(&server));
    let mut peer = server.accept().await;
    let talking = async {
        peer.burst((0..FRAMES).map(|n| n.to_string())).await;
        peer.goodbye().await;
    };
    let closed = |entries: &[ssmd_core::Entry]| entries.iter().any(|entry| entry.kind == EntryKind::Close);
    let (_, entries) = tokio::join!(talking, running.journal.until("close", closed));
    let data = entries.iter().filter(|entry| entry.kind == EntryKind::Frame(FrameKind::Data));
    let mut expected = 0;
    for entry in data {
        assert_eq!(entry.payload, expected.to_string());
        expected += 1;
    }
    assert_eq!(expected, FRAMES);
    let close: note::Close = notes(&entries, EntryKind::Close).remove(0);
    assert_eq!((close.cause.as_str(), close.heard.frames), ("disconnect", FRAMES as u64 + 1));
    running.stop().await;
}

#[tokio::test]
async fn a_peer_that_accepts_and_closes_at_once_is_asked_no_more_often_than_its_limit_allows() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let feed: Arc<dyn Feed> = Arc::new(Toy::new(&server.url).feed_with(Liveness::Messages, &["A"], 100, 10));
    let running = start(options(feed, &journal, Arc::new(clock.clone())), Arc::clone(&journal));
    let mut attempts = Vec::new();
    while attempts.len() < 20 {
        tokio::select! {
            biased;
            peer = server.accept() => {
                attempts.push(clock.elapsed());
                peer.goodbye().await;
            }
            () = settle() => clock.advance(Duration::from_secs(1)),
        }
    }
    for (n, first) in attempts.iter().enumerate() {
        // The test sees an attempt up to some steps of its clock late.
        let window = *first + Duration::from_secs(600 - 5);
        let within = attempts[n..].iter().filter(|at| **at < window).count();
        assert!(within <= 8, "{within} attempts within ten minutes: {attempts:?}");
    }
    let (summary, entries) = running.stop().await;
    assert!(summary.figures.reconnects >= 18, "{:?}", summary.figures);
    assert!(gaps(&entries).is_empty(), "nothing was heard, so nothing is missing");
}

#[tokio::test]
async fn a_connection_that_the_venue_will_end_is_replaced_before_and_nothing_is_missing() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let subscriptions = Subscriptions::default();
    let age = Some(Duration::from_secs(600));
    let toy = Toy { session_age: age, subscriptions: subscriptions.clone(), ..Toy::new(&server.url) };
    let feed: Arc<dyn Feed> = Arc::new(toy.feed(Liveness::Messages, &["A"], 100));
    let options = CaptureOptions { subscriptions, ..options(feed, &journal, Arc::new(clock.clone())) };
    let running = start(options, Arc::clone(&journal));
    let mut old = server.accept().await;
    old.say("+trade A").await;
    old.say("old 1").await;
    journal.until_text("old 1").await;
    let mut new = tokio::select! {
        biased;
        new = server.accept() => new,
        () = steps(&clock, Duration::from_secs(1)) => unreachable!("it goes on for ever"),
    };
    let came = clock.elapsed().as_secs();
    assert!((480..=545).contains(&came), "{came} s");
    // Until the new connection has what the old one has, both live.
    let ten = clock.elapsed() + Duration::from_secs(10);
    advance_until(&clock, "time", || clock.elapsed() > ten).await;
    old.say("old 2").await;
    journal.until_text("old 2").await;
    assert_eq!(running.status.figures().sessions, 2);
    new.say("+trade A").await;
    new.say("new 1").await;
    journal.until_text("new 1").await;
    old.say("old 3").await;
    journal.until_text("old 3").await;
    let status = Arc::clone(&running.status);
    let replaced = advance_until(&clock, "replacement", || status.figures().sessions == 1);
    tokio::join!(replaced, serve(old));
    new.say("new 2").await;
    let entries = journal.until_text("new 2").await;
    let closes: Vec<note::Close> = notes(&entries, EntryKind::Close);
    assert_eq!((closes.len(), closes[0].covered_by), (1, Some(SessionId(2))));
    assert!(gaps(&entries).is_empty(), "{:?}", gaps(&entries));
    assert_eq!(running.metrics.counter(&ssmd_core::metrics::REPLACED, &["toy"]).get(), 1);
    // Crashed there, the next process knows that only the new connection's hearing ended.
    let summary = running.status.figures();
    assert_eq!((summary.reconnects, summary.opened), (0, 2));
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(new));
    assert!(gaps(&entries).is_empty());
}

#[tokio::test]
async fn a_connection_that_ends_while_it_is_replaced_is_one_gap_and_the_new_one_goes_on() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let toy = Toy { session_age: Some(Duration::from_secs(600)), ..Toy::new(&server.url) };
    let feed: Arc<dyn Feed> = Arc::new(toy.feed(Liveness::Messages, &["A"], 100));
    let running = start(options(feed, &journal, Arc::new(clock.clone())), Arc::clone(&journal));
    let mut old = server.accept().await;
    old.say("last").await;
    journal.until_text("last").await;
    let mut new = tokio::select! {
        biased;
        new = server.accept() => new,
        () = steps(&clock, Duration::from_secs(1)) => unreachable!("it goes on for ever"),
    };
    drop(old);
    let closed = |entries: &[ssmd_core::Entry]| entries.iter().any(|entry| entry.kind == EntryKind::Close);
    journal.until("close", closed).await;
    new.say("first").await;
    journal.until_text("first").await;
    let ((summary, entries), ()) = tokio::join!(running.stop(), serve(new));
    let gaps = gaps(&entries);
    assert_eq!((gaps.len(), gaps[0].cause), (1, GapCause::Disconnect));
    assert_eq!((&gaps[0].from, &gaps[0].to), (&at(find(&entries, "last")), &at(find(&entries, "first"))));
    assert_eq!(summary.figures.opened, 2);
}

/// Moves the clock for ever.
async fn steps(clock: &ssmd_core::ManualClock, step: Duration) {
    loop {
        settle().await;
        clock.advance(step);
    }
}

#[tokio::test]
async fn what_no_connection_has_room_for_is_an_error_that_is_shown() {
    let server = Server::start().await;
    let toy = Toy { sessions: NonZeroUsize::new(2).unwrap(), ..Toy::new(&server.url) };
    let running = capture(Arc::new(toy.feed(Liveness::Messages, &["A", "B", "C", "D", "E"], 2)));
    let (one, two) = (server.accept().await, server.accept().await);
    let opens = |entries: &[ssmd_core::Entry]| {
        entries.iter().filter(|entry| entry.kind == EntryKind::Open).count() == 2
    };
    running.journal.until("opens", opens).await;
    let missing = running.status.missing();
    let shown: Vec<_> = missing.refused.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(shown, ["trade E"]);
    assert!(missing.topics >= 1, "{missing:?}");
    assert_eq!(running.metrics.counter(&ssmd_core::metrics::ERRORS, &["toy", "capacity"]).get(), 1);
    tokio::join!(running.stop(), serve(one), serve(two));
}

#[tokio::test]
async fn what_a_session_that_is_down_should_carry_is_missing() {
    let server = Server::start().await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let journal = ToyJournal::new();
    let feed: Arc<dyn Feed> = Arc::new(Toy::new(&server.url).feed(Liveness::Messages, &["A", "B"], 100));
    let wanted: Wanted = feed.universe().await.unwrap();
    let running = start(options(feed, &journal, clock), Arc::clone(&journal));
    let missing = |count: usize| {
        let status = Arc::clone(&running.status);
        soon("topics that are missing", async move {
            while status.missing().topics != count {
                tokio::task::yield_now().await;
            }
        })
    };
    missing(wanted.0.len()).await;
    let mut peer = server.accept().await;
    peer.say("+trade A").await;
    missing(0).await;
    drop(peer);
    missing(wanted.0.len()).await;
    let status = Arc::clone(&running.status);
    running.stop().await;
    assert_eq!(status.missing().topics, 0, "what is not wanted any more is not missing");
}

#[tokio::test]
async fn two_connections_of_a_quiet_market_both_live() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let feed: Arc<dyn Feed> = Arc::new(Toy::new(&server.url).feed(Liveness::Messages, &["A"], 100));
    let options = options(Arc::clone(&feed), &journal, Arc::new(clock.clone()));
    let running = start(CaptureOptions { twins: vec![feed], ..options }, Arc::clone(&journal));
    let (mut one, mut two) = (server.accept().await, server.accept().await);
    let settled = clock.elapsed() + Duration::from_secs(12);
    advance_until(&clock, "time", || clock.elapsed() > settled).await;
    // Both hear the same, one a little before the other; then the market is quiet.
    one.say("one: x").await;
    journal.until_text("one: x").await;
    clock.advance(Duration::from_millis(1));
    two.say("two: x").await;
    journal.until_text("two: x").await;
    let later = clock.elapsed() + Duration::from_secs(20);
    advance_until(&clock, "time", || clock.elapsed() > later).await;
    let closes: Vec<note::Close> = notes(&journal.entries(), EntryKind::Close);
    assert!(closes.is_empty(), "{closes:?}");
    drop((one, two, running));
}
