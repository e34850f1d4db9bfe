//! Capture: sessions to journal, with every hole known.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::recorder::{ORIGIN, Running, advance_until, at, capture, find, gaps, options, serve, start, toy};
use common::toy::{Toy, ToyJournal, lines, notes, settle};
use common::{Server, manual, soon};
use sha2::{Digest, Sha256};
use ssmd_core::entry::{Joiner, PAYLOAD_BYTES_MAX, note};
use ssmd_core::{
    Clock, EntryKind, Evidence, Feed, FrameKind, GapCause, ManualClock, SessionId, Start, Symbol,
    SystemClock, Timestamp,
};
use ssmd_feeds::CaptureOptions;
use ssmd_feeds::live::{Live, LiveOptions};
use ssmd_feeds::ws::Liveness;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_session_is_whole_in_the_journal_and_stopping_drains_it() {
    let server = Server::start().await;
    let running = capture(toy(&server));
    let mut peer = server.accept().await;
    assert_eq!(peer.hear().await.as_deref(), Some("+trade A"));
    for text in ["+trade A", "one", "?two", "beat"] {
        peer.say(text).await;
    }
    running.journal.until_text("beat").await;
    assert!(running.status.last_activity().is_some());
    assert_eq!(running.status.figures().sessions, 1);
    let metrics = running.metrics.clone();
    let ((summary, entries), ()) = tokio::join!(running.stop(), serve(peer));

    let kinds: Vec<_> = entries.iter().filter(|e| e.kind != EntryKind::Tick).map(|e| e.kind.word()).collect();
    assert_eq!(kinds, ["open", "sent", "control", "data", "unknown", "control", "close"]);
    let open: note::Open = notes(&entries, EntryKind::Open).remove(0);
    assert_eq!(open.wanted, ["trade A"]);
    assert!(!open.url.contains("secret"));
    let close: note::Close = notes(&entries, EntryKind::Close).remove(0);
    let mut sha256 = Sha256::new();
    for entry in entries.iter().filter(|entry| entry.frame().is_some()) {
        sha256.update(u32::try_from(entry.payload.len()).unwrap().to_le_bytes());
        sha256.update(&entry.payload);
    }
    let sha256: String = sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((close.cause.as_str(), close.heard.frames, close.sha256), ("planned", 5, sha256));
    assert_eq!((summary.next, summary.next_session), (entries.len() as u64 + 1, SessionId(2)));
    assert_eq!((summary.figures.frames, summary.figures.data, summary.figures.sent), (4, 2, 1));
    assert_eq!(summary.figures.durable, entries.len() as u64);
    let text = metrics.render();
    for line in [
        "ssmd_connector_messages_received_total{feed=\"toy\",type=\"data\"} 1",
        "ssmd_connector_messages_sent_total{feed=\"toy\"} 1",
        "ssmd_connector_sessions{feed=\"toy\"} 0",
        &format!("ssmd_connector_entries_durable_total{{feed=\"toy\"}} {}", entries.len()),
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_lost_connection_is_a_gap_from_the_last_frame_to_the_first() {
    let server = Server::start().await;
    let running = capture(toy(&server));
    let mut peer = server.accept().await;
    peer.say("last").await;
    running.journal.until_text("last").await;
    drop(peer);
    // The one after it ends before it has said anything: it changes nothing about the gap.
    drop(server.accept().await);
    let mut peer = server.accept().await;
    peer.say("first").await;
    peer.say("second").await;
    running.journal.until_text("second").await;
    assert_eq!(running.status.figures().reconnects, 2);
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let gaps = gaps(&entries);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].cause, GapCause::Disconnect);
    assert_eq!((&gaps[0].from, &gaps[0].to), (&at(find(&entries, "last")), &at(find(&entries, "first"))));
    let sessions: Vec<_> =
        entries.iter().filter(|e| e.kind == EntryKind::Close).map(|e| e.session.0).collect();
    assert_eq!(sessions, [1, 2, 3]);
}

#[tokio::test]
async fn invalid_utf8_is_a_gap_with_the_cause_protocol() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let server = Server::start().await;
    let running = capture(toy(&server));
    let mut peer = server.accept().await;
    peer.say("good").await;
    let bad = Frame::message(vec![0xFF, 0xFE], OpCode::Data(Data::Text), true);
    peer.0.send(tokio_tungstenite::tungstenite::Message::Frame(bad)).await.unwrap();
    let mut again = server.accept().await;
    again.say("again").await;
    running.journal.until_text("again").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(again));
    assert_eq!(gaps(&entries).iter().map(|gap| gap.cause).collect::<Vec<_>>(), [GapCause::Protocol]);
    assert_eq!(gaps(&entries)[0].from, at(find(&entries, "good")));
}

#[tokio::test]
async fn a_restart_goes_on_numbering_and_knows_what_it_missed() {
    let server = Server::start().await;
    let journal = ToyJournal::new();
    let last = Evidence { at: Timestamp::from_nanos(5), session: SessionId(4), index: 17, shown: None };
    let options = CaptureOptions {
        next: 100,
        next_session: SessionId(5),
        last: Some(last.clone()),
        last_cause: GapCause::Crash,
        ..options(toy(&server), &journal, Arc::new(SystemClock::new()))
    };
    let running = start(options, journal);
    let mut peer = server.accept().await;
    peer.say("hello").await;
    running.journal.until_text("hello").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    assert_eq!(entries[0].id, ssmd_core::EntryId { origin: ORIGIN, n: 100 });
    let gaps = gaps(&entries);
    assert_eq!((gaps[0].cause, &gaps[0].from), (GapCause::Crash, &Some(last)));
    assert_eq!(gaps[0].to, at(find(&entries, "hello")));
    assert_eq!((gaps.len(), find(&entries, "hello").session), (1, SessionId(5)));
}

#[tokio::test]
async fn what_does_not_fit_into_the_journal_is_one_gap_with_its_bounds_and_count() {
    let server = Server::start().await;
    let running = capture(toy(&server));
    let mut peer = server.accept().await;
    peer.say("kept").await;
    running.journal.until_text("kept").await;
    running.journal.set_full(true);
    for n in 0..50 {
        peer.say(&format!("lost {n}")).await;
    }
    soon("overflow", async {
        while running.status.figures().overflowed < 50 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.journal.set_full(false);
    peer.say("kept again").await;
    running.journal.until_text("kept again").await;
    let metrics = running.metrics.clone();
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let gaps = gaps(&entries);
    assert_eq!(gaps.len(), 1, "{:#?}", lines(&entries));
    assert_eq!((gaps[0].cause, gaps[0].missing), (GapCause::Overflow, Some(50)));
    assert_eq!(
        (&gaps[0].from, &gaps[0].to),
        (&at(find(&entries, "kept")), &at(find(&entries, "kept again")))
    );
    assert_eq!(find(&entries, "kept again").index - find(&entries, "kept").index - 1, 50);
    assert!(metrics.render().contains("ssmd_connector_frames_overflowed_total{feed=\"toy\"} 50"));
}

#[tokio::test]
async fn sessions_that_come_and_go_while_the_journal_is_full_are_in_the_gap() {
    let server = Server::start().await;
    let running = capture(toy(&server));
    let mut peer = server.accept().await;
    peer.say("kept").await;
    running.journal.until_text("kept").await;
    running.journal.set_full(true);
    drop(peer);
    for _ in 0..3 {
        let mut peer = server.accept().await;
        peer.say("lost").await;
        let before = running.status.figures().overflowed;
        soon("overflow", async {
            while running.status.figures().overflowed == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    let mut peer = server.accept().await;
    running.journal.set_full(false);
    peer.say("kept again").await;
    running.journal.until_text("kept again").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let overflow: Vec<_> = gaps(&entries).into_iter().filter(|gap| gap.cause == GapCause::Overflow).collect();
    assert_eq!(overflow.len(), 1, "{:#?}", lines(&entries));
    assert_eq!(overflow[0].from.as_ref().unwrap().session, SessionId(1));
    let count = |kind| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!(count(EntryKind::Open), count(EntryKind::Close));
}

#[tokio::test]
async fn large_frames_are_spread_over_entries_and_come_back() {
    let server = Server::start().await;
    let running = capture(toy(&server));
    let mut peer = server.accept().await;
    let large = "x".repeat(2 * PAYLOAD_BYTES_MAX + 5);
    peer.say(&large).await;
    peer.say("after").await;
    running.journal.until_text("after").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let parts: Vec<_> = entries.iter().filter(|entry| entry.payload.starts_with(b"xx")).collect();
    assert_eq!(parts.iter().map(|part| part.more).collect::<Vec<_>>(), [true, true, false]);
    let mut joiner = Joiner::default();
    let frames: Vec<_> = entries.iter().filter_map(|entry| joiner.push(entry).unwrap()).collect();
    assert!(frames.iter().any(|frame| frame.payload == large));
}

#[tokio::test]
async fn a_second_is_a_tick_and_a_new_day_a_roll_without_a_reconnect() {
    let server = Server::start().await;
    let clock = ManualClock::new("2026-08-01T23:59:57Z".parse().unwrap());
    let journal = ToyJournal::new();
    let running = start(options(toy(&server), &journal, Arc::new(clock.clone())), journal);
    let mut peer = server.accept().await;
    peer.say("before").await;
    running.journal.until_text("before").await;
    let rolled = |running: &Running| running.journal.entries().iter().any(|e| e.kind == EntryKind::Roll);
    advance_until(&clock, "roll", || rolled(&running)).await;
    peer.say("after").await;
    running.journal.until_text("after").await;
    // Whatever the clock does, the day does not go back.
    clock.step("2026-08-01T12:00:00Z".parse().unwrap());
    peer.say("stepped").await;
    running.journal.until_text("stepped").await;
    let ((summary, entries), ()) = tokio::join!(running.stop(), serve(peer));
    assert_eq!(summary.figures.opened, 1);
    assert_eq!(find(&entries, "before").day.to_string(), "2026-08-01");
    assert_eq!(find(&entries, "after").day.to_string(), "2026-08-02");
    assert_eq!(find(&entries, "stepped").day.to_string(), "2026-08-02");
    let roll: note::Roll = notes(&entries, EntryKind::Roll).remove(0);
    assert_eq!(roll.day.to_string(), "2026-08-02");
    let ticks: Vec<note::Tick> = notes(&entries, EntryKind::Tick);
    assert!(ticks.len() >= 3 && ticks.len() <= 5, "{:#?}", lines(&entries));
    assert!(ticks.last().unwrap().sessions[&1].frames >= 2);
}

#[tokio::test]
async fn silence_ends_a_session_and_the_next_one_tells_the_gap() {
    let server = Server::start().await;
    let clock = manual();
    let journal = ToyJournal::new();
    let toy = Toy { silence: Duration::from_secs(6), ..Toy::new(&server.url) };
    let feed: Arc<dyn Feed> = Arc::new(toy.feed(Liveness::Messages, &["A"], 100));
    let running = start(options(feed, &journal, Arc::new(clock.clone())), journal);
    let mut half_open = server.accept().await;
    half_open.say("last").await;
    running.journal.until_text("last").await;
    let heard = clock.elapsed();
    let mut peer = tokio::select! {
        biased;
        peer = server.accept() => peer,
        () = advance_until(&clock, "second session", || false) => unreachable!("that is never so"),
    };
    assert!(clock.elapsed() - heard < Duration::from_secs(8));
    peer.say("first").await;
    running.journal.until_text("first").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let gaps = gaps(&entries);
    assert_eq!((gaps.len(), gaps[0].cause), (1, GapCause::Silence));
    assert_eq!(gaps[0].from, at(find(&entries, "last")));
}

#[tokio::test]
async fn a_venue_that_refuses_is_asked_no_more_often_than_its_limit_allows() {
    let server = Server::start().await;
    let clock = manual();
    let journal = ToyJournal::new();
    let feed: Arc<dyn Feed> = Arc::new(Toy::new(&server.url).feed_with(Liveness::Messages, &["A"], 100, 10));
    let running = start(options(feed, &journal, Arc::new(clock.clone())), journal);
    let mut attempts = Vec::new();
    while attempts.len() < 30 {
        tokio::select! {
            biased;
            tcp = server.tcp() => {
                attempts.push(clock.elapsed());
                drop(tcp);
            }
            () = settle() => clock.advance(Duration::from_secs(1)),
        }
    }
    for (n, first) in attempts.iter().enumerate() {
        let window = *first + Duration::from_secs(600);
        // The test sees an attempt up to a step of its clock late.
        let within = attempts[n..].iter().filter(|at| **at + Duration::from_secs(5) < window).count();
        assert!(within <= 8, "{within} attempts within ten minutes: {attempts:?}");
    }
    assert!(running.status.last_activity().is_none(), "refused connects are no activity");
    let (summary, entries) = running.stop().await;
    assert!(gaps(&entries).is_empty(), "nothing was heard before, so nothing is missing");
    assert_eq!(summary.next_session, SessionId(2), "attempts that fail use no session up");
}

#[tokio::test]
async fn sessions_live_and_die_apart_and_a_resync_reaches_the_one_it_concerns() {
    let server = Server::start().await;
    let running = capture(Arc::new(Toy::new(&server.url).feed(Liveness::Messages, &["A", "B"], 1)));
    let (mut one, mut two) = (server.accept().await, server.accept().await);
    let first = one.hear().await.unwrap();
    let second = two.hear().await.unwrap();
    let (mut a, mut b) = if first == "+trade A" { (one, two) } else { (two, one) };
    assert_ne!(first, second);
    running.resync.send(Symbol::new("B").unwrap().into()).await.unwrap();
    assert_eq!(b.hear().await.as_deref(), Some("again B"));
    a.say("a1").await;
    b.say("b1").await;
    running.journal.until_text("a1").await;
    running.journal.until_text("b1").await;
    drop(a);
    let mut a = server.accept().await;
    assert_eq!(a.hear().await.as_deref(), Some("+trade A"), "A was not resynced");
    a.say("a2").await;
    b.say("b2").await;
    running.journal.until_text("a2").await;
    running.journal.until_text("b2").await;
    let ((_, entries), (), ()) = tokio::join!(running.stop(), serve(a), serve(b));
    assert_eq!(find(&entries, "b1").session, find(&entries, "b2").session);
    let gaps = gaps(&entries);
    assert_eq!(gaps.len(), 1);
    assert_eq!((&gaps[0].from, &gaps[0].to), (&at(find(&entries, "a1")), &at(find(&entries, "a2"))));
    assert_eq!(entries.iter().filter(|e| e.kind == EntryKind::Frame(FrameKind::Sent)).count(), 4);
}

#[tokio::test]
async fn the_live_decoder_asks_for_resyncs_and_reads_to_the_end_when_it_is_stopped() {
    let server = Server::start().await;
    let feed = toy(&server);
    let running = capture(Arc::clone(&feed));
    let live = Live::new(LiveOptions {
        feed,
        journal: running.journal.clone(),
        start: Start::Oldest,
        live: (ORIGIN, SessionId(1)),
        resync: running.resync.clone(),
        publish: Vec::new(),
        clock: Arc::new(SystemClock::new()),
        metrics: running.metrics.clone(),
    });
    let (counts, stop) = (live.counts(), CancellationToken::new());
    let mut tasks = ssmd_core::Tasks::new();
    tasks.spawn("live", live.run(stop.clone()));
    let mut peer = server.accept().await;
    assert_eq!(peer.hear().await.as_deref(), Some("+trade A"));
    peer.say("broken A").await;
    assert_eq!(peer.hear().await.as_deref(), Some("again A"));
    peer.say("malformed x").await;
    running.journal.until_text("malformed x").await;
    let metrics = running.metrics.clone();
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    stop.cancel();
    soon("live", tasks.wait()).await.unwrap();
    let counts = *counts.borrow();
    let frames = entries.iter().filter(|entry| entry.frame().is_some()).count() as u64;
    assert_eq!((counts.frames, counts.malformed, counts.books_failed), (frames, 1, 1));
    let text = metrics.render();
    assert!(text.contains("ssmd_decoder_errors_total{feed=\"toy\",error_type=\"malformed\"} 1"), "{text}");
    assert!(text.contains("ssmd_decoder_books_failed_total{feed=\"toy\"} 1"), "{text}");
}

/// A feed that gives two frames and is complete, like a recording.
struct Recording(ssmd_core::FeedName);

#[async_trait::async_trait]
impl Feed for Recording {
    fn name(&self) -> &ssmd_core::FeedName {
        &self.0
    }

    fn limits(&self) -> ssmd_core::Limits {
        ssmd_core::Limits {
            topics_per_session: std::num::NonZeroUsize::MIN,
            sessions: std::num::NonZeroUsize::MIN,
            session_age: None,
            connects: 1,
            connects_window: Duration::from_secs(1),
        }
    }

    async fn universe(&self) -> ssmd_core::Result<ssmd_core::Wanted> {
        Ok(ssmd_core::Wanted::default())
    }

    fn session(&self) -> Arc<dyn ssmd_core::Session> {
        Arc::new(Recording(self.0.clone()))
    }

    fn decoder(&self) -> Box<dyn ssmd_core::Decode> {
        unreachable!("capture decodes nothing")
    }
}

#[async_trait::async_trait]
impl ssmd_core::Session for Recording {
    async fn open(
        &self,
        id: SessionId,
        _wanted: tokio::sync::watch::Receiver<Arc<ssmd_core::Wanted>>,
        clock: Arc<dyn Clock>,
    ) -> ssmd_core::Result<Box<dyn ssmd_core::Frames>> {
        let frame = |index| ssmd_core::Frame {
            received: clock.now(),
            elapsed: clock.elapsed(),
            session: id,
            index,
            kind: FrameKind::Data,
            binary: false,
            payload: "played".into(),
            source: None,
        };
        Ok(Box::new(Playing { frames: vec![frame(0), frame(1)], durable: 0 }))
    }
}

struct Playing {
    frames: Vec<ssmd_core::Frame>,
    durable: u64,
}

#[async_trait::async_trait]
impl ssmd_core::Frames for Playing {
    fn url(&self) -> String {
        "recording".to_owned()
    }

    /// Ends only after what it gave is durable, so the test ends only if it is told.
    async fn next(&mut self, _max: std::num::NonZeroUsize) -> ssmd_core::Result<Vec<ssmd_core::Frame>> {
        if self.frames.is_empty() && self.durable < 2 {
            return std::future::pending().await;
        }
        Ok(std::mem::take(&mut self.frames))
    }

    async fn resync(&mut self, _symbol: &Symbol) -> ssmd_core::Result<()> {
        Err(ssmd_core::Error::new(ssmd_core::ErrorKind::Unsupported, "resync"))
    }

    async fn durable(&mut self, below: u64) -> ssmd_core::Result<()> {
        self.durable = below;
        Ok(())
    }

    async fn close(&mut self) -> ssmd_core::Result<Vec<ssmd_core::Frame>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_feed_that_is_complete_ends_the_capture_and_hears_what_is_durable() {
    let running = capture(Arc::new(Recording("recording".parse().unwrap())));
    let (summary, entries) = running.ended().await;
    assert_eq!((summary.figures.opened, summary.figures.data), (1, 2));
    let close: note::Close = notes(&entries, EntryKind::Close).remove(0);
    assert_eq!((close.cause.as_str(), close.detail.as_str()), ("planned", "the feed is complete"));
    assert!(gaps(&entries).is_empty());
}

#[tokio::test]
async fn a_journal_that_fails_ends_the_capture_with_its_error() {
    let server = Server::start().await;
    let mut running = capture(toy(&server));
    let mut peer = server.accept().await;
    peer.say("kept").await;
    running.journal.until_text("kept").await;
    running.journal.fail();
    peer.say("not kept").await;
    let (ended, ()) = tokio::join!(soon("end", running.tasks.wait()), serve(peer));
    assert_eq!(ended.unwrap_err().kind(), ssmd_core::ErrorKind::Io);
}
