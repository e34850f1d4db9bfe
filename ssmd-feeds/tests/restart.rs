//! A recorder that ends and begins again: every hole is known once, and the venue's limit holds all the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::recorder::{Running, at, find, gaps, options, serve, start, toy};
use common::toy::{Toy, ToyJournal, settle};
use common::{Peer, Server, manual};
use ssmd_core::{Clock, Entry, Feed, Gap, GapCause, ManualClock, SessionId, SystemClock, metrics};
use ssmd_feeds::CaptureOptions;
use ssmd_feeds::ws::Liveness;

/// The next life of a recorder, which goes on in the same journal.
fn again(feed: &Arc<dyn Feed>, journal: &Arc<ToyJournal>, last_cause: GapCause) -> Running {
    let entries = journal.entries();
    let next_session = entries.iter().map(|entry| entry.session.0).max().unwrap_or(0) + 1;
    let options = CaptureOptions {
        next: entries.len() as u64 + 1,
        next_session: SessionId(next_session),
        last_cause,
        ..options(Arc::clone(feed), journal, Arc::new(SystemClock::new()))
    };
    start(options, Arc::clone(journal))
}

fn sides(gap: &Gap) -> (GapCause, u64, u64, u64, u64) {
    let (from, to) = (gap.from.as_ref().unwrap(), gap.to.as_ref().unwrap());
    (gap.cause, from.session.0, from.index, to.session.0, to.index)
}

/// From one text to another.
fn between(entries: &[Entry], cause: GapCause, from: &str, to: &str) -> (GapCause, u64, u64, u64, u64) {
    let (from, to) = (find(entries, from), find(entries, to));
    (cause, from.session.0, from.index, to.session.0, to.index)
}

/// The sessions of A and B.
async fn both(server: &Server) -> (Peer, Peer) {
    let (mut one, mut two) = (server.accept().await, server.accept().await);
    let first = one.hear().await.unwrap();
    two.hear().await.unwrap();
    if first == "+trade A" { (one, two) } else { (two, one) }
}

#[tokio::test]
async fn a_session_that_was_down_at_the_stop_is_one_gap_after_the_next_start() {
    let server = Server::start().await;
    let (feed, journal) = (toy(&server), ToyJournal::new());
    let running = again(&feed, &journal, GapCause::Planned);
    let mut peer = server.accept().await;
    peer.say("last").await;
    journal.until_text("last").await;
    drop(peer);
    journal.until("close", |entries| entries.iter().any(|e| e.kind.word() == "close")).await;
    running.stop().await;
    // This life hears nothing: what it connects to says nothing.
    let running = again(&feed, &journal, GapCause::Planned);
    let peer = server.accept().await;
    tokio::join!(running.stop(), serve(peer));
    assert!(gaps(&journal.entries()).is_empty());
    let running = again(&feed, &journal, GapCause::Planned);
    let mut peer = server.accept().await;
    peer.say("first").await;
    journal.until_text("first").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let gaps = gaps(&entries);
    assert_eq!(gaps.len(), 1, "{gaps:#?}");
    assert_eq!(sides(&gaps[0]), between(&entries, GapCause::Disconnect, "last", "first"));
    assert_eq!(gaps[0].from, at(find(&entries, "last")));
}

#[tokio::test]
async fn each_of_several_sessions_has_its_own_gap_after_a_restart() {
    let server = Server::start().await;
    let feed: Arc<dyn Feed> = Arc::new(Toy::new(&server.url).feed(Liveness::Messages, &["A", "B"], 1));
    let journal = ToyJournal::new();
    let running = again(&feed, &journal, GapCause::Planned);
    let (mut a, mut b) = both(&server).await;
    b.say("b1").await;
    journal.until_text("b1").await;
    a.say("a1").await;
    journal.until_text("a1").await;
    tokio::join!(running.stop(), serve(a), serve(b));

    // B hears nothing in this life, which crashes.
    let running = again(&feed, &journal, GapCause::Planned);
    let (mut a, b) = both(&server).await;
    a.say("a2").await;
    journal.until_text("a2").await;
    drop(running);
    drop((a, b));

    let running = again(&feed, &journal, GapCause::Crash);
    let (mut a, mut b) = both(&server).await;
    a.say("a3").await;
    journal.until_text("a3").await;
    b.say("b3").await;
    journal.until_text("b3").await;
    let ((_, entries), (), ()) = tokio::join!(running.stop(), serve(a), serve(b));
    let mut got: Vec<_> = gaps(&entries).iter().map(sides).collect();
    got.sort_by_key(|gap| gap.1);
    let mut must = vec![
        between(&entries, GapCause::Planned, "a1", "a2"),
        between(&entries, GapCause::Crash, "a2", "a3"),
        between(&entries, GapCause::Planned, "b1", "b3"),
    ];
    must.sort_by_key(|gap| gap.1);
    assert_eq!(got, must);
}

#[tokio::test]
async fn what_was_heard_last_is_found_however_far_back_it_lies() {
    const MANY: usize = 40_000;
    let server = Server::start().await;
    let feed: Arc<dyn Feed> = Arc::new(Toy::new(&server.url).feed(Liveness::Messages, &["A", "B"], 1));
    let journal = ToyJournal::new();
    // The clock stands still, so no tick tells what was heard.
    let running = start(options(Arc::clone(&feed), &journal, Arc::new(manual())), Arc::clone(&journal));
    let (mut a, mut b) = both(&server).await;
    b.say("b1").await;
    journal.until_text("b1").await;
    a.burst((0..MANY).map(|n| format!("a{n}"))).await;
    journal.until("the burst", |entries| entries.len() > MANY).await;
    drop(running);
    drop((a, b));
    let running = again(&feed, &journal, GapCause::Crash);
    let (a, mut b) = both(&server).await;
    b.say("b2").await;
    journal.until_text("b2").await;
    let ((_, entries), (), ()) = tokio::join!(running.stop(), serve(a), serve(b));
    let got: Vec<_> = gaps(&entries).iter().map(sides).collect();
    assert_eq!(got, [between(&entries, GapCause::Crash, "b1", "b2")]);
}

#[tokio::test]
async fn holes_of_more_sessions_than_there_are_now_are_not_forgotten() {
    let server = Server::start().await;
    let journal = ToyJournal::new();
    let feed = |topics| -> Arc<dyn Feed> {
        Arc::new(Toy::new(&server.url).feed(Liveness::Messages, &["A", "B"], topics))
    };
    let running = again(&feed(1), &journal, GapCause::Planned);
    let (mut a, mut b) = both(&server).await;
    a.say("a1").await;
    b.say("b1").await;
    journal.until_text("a1").await;
    journal.until_text("b1").await;
    tokio::join!(running.stop(), serve(a), serve(b));
    let running = again(&feed(2), &journal, GapCause::Planned);
    let mut peer = server.accept().await;
    peer.say("both").await;
    journal.until_text("both").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let mut got: Vec<_> = gaps(&entries).iter().map(sides).collect();
    got.sort_by_key(|gap| gap.1);
    let mut must = vec![
        between(&entries, GapCause::Planned, "a1", "both"),
        between(&entries, GapCause::Planned, "b1", "both"),
    ];
    must.sort_by_key(|gap| gap.1);
    assert_eq!(got, must);
}

#[tokio::test]
async fn a_crash_while_a_connection_is_replaced_is_one_gap() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let toy = Toy { session_age: Some(Duration::from_secs(600)), ..Toy::new(&server.url) };
    let feed: Arc<dyn Feed> = Arc::new(toy.feed(Liveness::Messages, &["A"], 100));
    let running = start(options(Arc::clone(&feed), &journal, Arc::new(clock.clone())), Arc::clone(&journal));
    let mut old = server.accept().await;
    old.say("old").await;
    journal.until_text("old").await;
    let moving = async {
        loop {
            settle().await;
            clock.advance(Duration::from_secs(1));
        }
    };
    let mut new = tokio::select! {
        biased;
        new = server.accept() => new,
        () = moving => unreachable!("it goes on for ever"),
    };
    new.say("new").await;
    journal.until_text("new").await;
    old.say("last").await;
    let told = journal.until_text("last").await.len();
    clock.advance(Duration::from_secs(1));
    journal.until("tick", |entries| entries[told..].iter().any(|e| e.kind.word() == "tick")).await;
    drop(running);
    let running = again(&feed, &journal, GapCause::Crash);
    let mut peer = server.accept().await;
    peer.say("after").await;
    journal.until_text("after").await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(peer));
    let got: Vec<_> = gaps(&entries).iter().map(sides).collect();
    assert_eq!(got, [between(&entries, GapCause::Crash, "last", "after")]);
}

#[tokio::test]
async fn a_recorder_that_crashes_at_every_connect_stays_within_the_venue_s_limit() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let feed: Arc<dyn Feed> = Arc::new(Toy::new(&server.url).feed_with(Liveness::Messages, &["A"], 100, 10));
    let (mut wall, mut attempts) = (manual().now(), Vec::new());
    for _ in 0..90 {
        let clock = ManualClock::new(wall);
        let journal = ToyJournal::new();
        let options = CaptureOptions {
            connects: Some(folder.path().join("connects")),
            ..options(Arc::clone(&feed), &journal, Arc::new(clock.clone()))
        };
        let running = start(options, journal);
        let delayed = running.metrics.counter(&metrics::CONNECTS_DELAYED, &["toy"]);
        tokio::select! {
            biased;
            tcp = server.tcp() => {
                attempts.push(clock.now());
                drop(tcp);
            }
            () = async { while delayed.get() == 0 { settle().await } } => {}
        }
        drop(running);
        clock.advance(Duration::from_secs(15));
        wall = clock.now();
    }
    assert!(attempts.len() > 8, "{} attempts in {:?}", attempts.len(), wall.since(manual().now()));
    for (n, first) in attempts.iter().enumerate() {
        let window = Duration::from_secs(600);
        let within = attempts[n..].iter().filter(|at| at.since(*first) < window).count();
        assert!(within <= 8, "{within} attempts within ten minutes: {attempts:?}");
    }
}
