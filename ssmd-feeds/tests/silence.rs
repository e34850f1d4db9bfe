//! A connection that lives and says nothing, while another one, which hears the same, moves.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::recorder::{Running, gaps, options, serve, start};
use common::toy::{Toy, ToyJournal, settle};
use common::{Server, manual};
use ssmd_core::{Clock, EntryKind, Feed, GapCause, ManualClock, SessionId};
use ssmd_feeds::CaptureOptions;
use ssmd_feeds::ws::{Liveness, Subscriptions};

/// A recorder with two connections, neither of which is ever silent for too long by itself.
fn two(server: &Server, clock: &ManualClock, journal: &Arc<ToyJournal>) -> Running {
    let subscriptions = Subscriptions::default();
    let toy = Toy {
        alive: None,
        silence: Duration::from_secs(1_000_000),
        subscriptions: subscriptions.clone(),
        ..Toy::new(&server.url)
    };
    let feed: Arc<dyn Feed> = Arc::new(toy.feed(Liveness::Bytes, &["A"], 100));
    let options = CaptureOptions {
        twins: vec![Arc::clone(&feed)],
        subscriptions,
        ..options(feed, journal, Arc::new(clock.clone()))
    };
    start(options, Arc::clone(journal))
}

#[tokio::test]
async fn a_connection_that_is_silent_while_its_twin_moves_ends_within_six_seconds() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let running = two(&server, &clock, &journal);
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut peer = server.accept().await;
        assert_eq!(peer.hear().await.as_deref(), Some("+trade A"));
        peer.say("+trade A").await;
        peers.push(peer);
    }
    let (silent, mut moves) = (peers.pop().unwrap(), peers.pop().unwrap());
    let advance = async |by: Duration| {
        for _ in 0..by.as_millis() / 250 {
            settle().await;
            clock.advance(Duration::from_millis(250));
        }
        settle().await;
    };
    let closes = || journal.entries().iter().filter(|entry| entry.kind == EntryKind::Close).count();
    // What comes soon after the beginning is an answer, which nobody else gets; nothing at all is nobody's fault.
    moves.say("an answer").await;
    journal.until_text("an answer").await;
    advance(Duration::from_secs(60)).await;
    assert_eq!(closes(), 0);
    let began = clock.elapsed();
    moves.say("news").await;
    journal.until_text("news").await;
    advance(Duration::from_secs(3)).await;
    assert_eq!(closes(), 0, "a twin may lag");
    let ends = async {
        while closes() == 0 {
            advance(Duration::from_millis(250)).await;
        }
        clock.elapsed() - began
    };
    let took = common::soon("the end of the silent one", ends).await;
    // The silent one has heard nothing for long, so what the other one hears cannot be the same, said later to it.
    assert!(took >= Duration::from_millis(3_500) && took <= Duration::from_secs(4), "{took:?}");
    drop(silent);
    let back = async {
        let mut peer = server.accept().await;
        peer.hear().await.unwrap();
        peer.say("+trade A").await;
        peer
    };
    let ticks = async {
        loop {
            advance(Duration::from_millis(250)).await;
        }
    };
    let back = tokio::select! {
        back = back => back,
        () = ticks => unreachable!("it ticks for ever"),
    };
    journal.until("the gap", |entries| !gaps(entries).is_empty()).await;
    let ((_, entries), (), ()) = tokio::join!(running.stop(), serve(moves), serve(back));
    let gaps = gaps(&entries);
    assert_eq!((gaps.len(), gaps[0].cause), (1, GapCause::Silence), "{gaps:?}");
    let last = gaps[0].from.as_ref().unwrap().session;
    assert!(last == SessionId(1) || last == SessionId(2));
    let news = entries.iter().find(|entry| entry.payload == "news").unwrap();
    assert_ne!(news.session, last, "the one that moved goes on");
}
