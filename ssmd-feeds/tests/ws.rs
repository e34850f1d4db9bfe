//! The socket loop: what it stamps and numbers, and when it gives a connection up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use common::toy::{Toy, settle, wanted};
use common::{Peer, Server, manual, soon};
use ssmd_core::{
    Clock, ErrorKind, Feed, Frame, FrameKind, Frames, ManualClock, SessionId, Symbol, SystemClock, Wanted,
};
use ssmd_feeds::ws::Liveness;
use tokio::sync::watch;

const MANY: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// A session and the server's side of its connection.
async fn connect(
    toy: impl FnOnce(Toy) -> Toy,
    liveness: Liveness,
    clock: Arc<dyn Clock>,
) -> (Box<dyn Frames>, Peer, watch::Sender<Arc<Wanted>>) {
    let server = Server::start().await;
    let feed = toy(Toy::new(&server.url)).feed(liveness, &["A", "B"], 100);
    let (change, wanted) = watch::channel(Arc::new(feed.universe().await.unwrap()));
    let session = feed.session();
    let (frames, peer) = tokio::join!(session.open(SessionId(7), wanted, clock), server.accept());
    (frames.unwrap(), peer, change)
}

/// Frames until there are `count`.
async fn take(frames: &mut Box<dyn Frames>, count: usize) -> Vec<Frame> {
    let mut got = Vec::new();
    while got.len() < count {
        got.extend(soon("frames", frames.next(MANY)).await.unwrap());
    }
    got
}

fn shown(frames: &[Frame]) -> Vec<(u64, FrameKind, &str)> {
    frames.iter().map(|f| (f.index, f.kind, std::str::from_utf8(&f.payload).unwrap())).collect()
}

#[tokio::test]
async fn sent_frames_stand_in_their_place_among_those_received() {
    let (mut frames, mut peer, change) =
        connect(|t| t, Liveness::Messages, Arc::new(SystemClock::new())).await;
    assert!(frames.url().starts_with("ws://127.0.0.1:") && !frames.url().contains("secret"));
    let serving = async {
        assert_eq!(peer.hear().await.unwrap(), "+trade A");
        assert_eq!(peer.hear().await.unwrap(), "+trade B");
        for text in ["+trade A", "who?", "x", "?huh"] {
            peer.say(text).await;
        }
        assert_eq!(peer.hear().await.unwrap(), "me");
    };
    let ((), got) = tokio::join!(serving, take(&mut frames, 7));
    use FrameKind::{Control, Data, Sent, Unknown};
    let shown = shown(&got);
    assert_eq!(shown[..2], [(0, Sent, "+trade A"), (1, Sent, "+trade B")]);
    let rest: Vec<_> = shown[2..].iter().map(|(_, kind, text)| (*kind, *text)).collect();
    assert_eq!(
        rest,
        [(Control, "+trade A"), (Control, "who?"), (Sent, "me"), (Data, "x"), (Unknown, "?huh")]
    );
    assert!(got.iter().zip(0..).all(|(frame, index)| frame.index == index && frame.session == SessionId(7)));
    assert!(got.windows(2).all(|pair| pair[0].elapsed <= pair[1].elapsed || pair[0].kind == Sent));

    change.send_replace(Arc::new(wanted(&["B", "C"])));
    let (got, heard) = tokio::join!(take(&mut frames, 2), async {
        [peer.hear().await.unwrap(), peer.hear().await.unwrap()]
    });
    assert_eq!(heard, ["-trade A", "+trade C"]);
    assert_eq!(got[0].index, 7);

    let symbol = Symbol::new("B").unwrap();
    soon("resync", frames.resync(&symbol)).await.unwrap();
    let (got, heard) = tokio::join!(take(&mut frames, 1), peer.hear());
    assert_eq!((got[0].kind, heard.as_deref()), (Sent, Some("again B")));
}

#[tokio::test]
async fn at_most_as_many_frames_as_asked_for_and_none_lost() {
    let (mut frames, mut peer, _change) =
        connect(|t| t, Liveness::Messages, Arc::new(SystemClock::new())).await;
    for n in 0..100 {
        peer.say(&format!("{n}")).await;
    }
    let mut got = Vec::new();
    while got.len() < 102 {
        let some = soon("frames", frames.next(NonZeroUsize::new(3).unwrap())).await.unwrap();
        assert!((1..=3).contains(&some.len()));
        got.extend(some);
    }
    assert!(got.iter().zip(0..).all(|(frame, index)| frame.index == index));
}

/// Moves the clock on while the session is polled, until the session ends.
async fn until_end(frames: &mut Box<dyn Frames>, clock: &ManualClock, step: Duration) -> ssmd_core::Error {
    let mut ended = None;
    soon("end", async {
        while ended.is_none() {
            tokio::select! {
                biased;
                result = frames.next(MANY) => ended = result.err(),
                () = settle() => clock.advance(step),
            }
        }
    })
    .await;
    ended.unwrap()
}

#[tokio::test]
async fn a_connection_that_only_answers_pings_is_dead_where_messages_are_promised() {
    let clock = manual();
    let toy = |t| Toy { silence: Duration::from_secs(6), ..t };
    let (mut frames, mut peer, _change) = connect(toy, Liveness::Messages, Arc::new(clock.clone())).await;
    peer.say("alive").await;
    assert_eq!(take(&mut frames, 3).await[2].payload, "alive");
    let heard = clock.elapsed();
    let pinging = async {
        loop {
            let ping = tokio_tungstenite::tungstenite::Message::Ping("x".into());
            if futures_util::SinkExt::send(&mut peer.0, ping).await.is_err() {
                return;
            }
            settle().await;
        }
    };
    let error = tokio::select! {
        error = until_end(&mut frames, &clock, Duration::from_millis(100)) => error,
        () = pinging => panic!("the session ended first"),
    };
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let took = clock.elapsed() - heard;
    assert!((Duration::from_secs(6)..=Duration::from_millis(6200)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_quiet_connection_lives_while_our_pings_are_answered_and_dies_when_they_are_not() {
    let clock = manual();
    let toy = |t| Toy { silence: Duration::from_secs(6), heartbeat: Duration::from_secs(2), ..t };
    let (mut frames, mut peer, _change) = connect(toy, Liveness::Bytes, Arc::new(clock.clone())).await;
    let beats = async {
        let mut beats = 0;
        while beats < 10 {
            tokio::select! {
                biased;
                got = frames.next(MANY) => {
                    beats += got.unwrap().iter().filter(|frame| frame.payload == "alive?").count();
                }
                () = settle() => clock.advance(Duration::from_millis(500)),
            }
        }
        frames
    };
    // Reading is what answers pings.
    let mut frames = tokio::select! {
        frames = soon("beats", beats) => frames,
        () = async { while peer.hear().await.is_some() {} } => panic!("the session ended first"),
    };
    assert!(clock.elapsed() >= Duration::from_secs(20));
    let last = clock.elapsed();
    let error = until_end(&mut frames, &clock, Duration::from_millis(100)).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    // An answer may have been on its way for a step of the clock.
    let took = clock.elapsed() - last;
    assert!(took <= Duration::from_millis(6000 + 250 + 200), "{took:?}");
}

#[tokio::test]
async fn a_connection_whose_data_is_frozen_is_dead_however_well_it_answers_pings() {
    let clock = manual();
    let toy =
        |t| Toy { silence: Duration::from_secs(5), heartbeat: Duration::from_secs(1), alive: None, ..t };
    let liveness = Liveness::Data(Duration::from_secs(20));
    let (mut frames, mut peer, _change) = connect(toy, liveness, Arc::new(clock.clone())).await;
    // Nothing is confirmed, so that no data is expected.
    let quiet = async {
        while clock.elapsed() < Duration::from_secs(60) {
            settle().await;
            clock.advance(Duration::from_millis(500));
        }
    };
    let (hearing, mut heard) = (async { while peer.hear().await.is_some() {} }, Vec::new());
    tokio::select! {
        () = quiet => {}
        () = hearing => panic!("the session ended though no data was due"),
        () = async { loop { heard.extend(frames.next(MANY).await.unwrap()) } } => {}
    }
    peer.say("+trade A").await;
    peer.say("1").await;
    let got = take(&mut frames, 2).await;
    let last = got[1].elapsed;
    let error = tokio::select! {
        error = until_end(&mut frames, &clock, Duration::from_millis(500)) => error,
        () = async { while peer.hear().await.is_some() {} } => panic!("the session ended first"),
    };
    let took = clock.elapsed() - last;
    assert!(error.to_string().contains("no data came"), "{error}");
    assert!((Duration::from_secs(20)..=Duration::from_millis(21_000)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn what_has_arrived_is_a_sign_of_life_however_late_it_is_taken() {
    let clock = manual();
    let toy = |t| Toy { silence: Duration::from_secs(6), ..t };
    let (mut frames, mut peer, _change) = connect(toy, Liveness::Messages, Arc::new(clock.clone())).await;
    take(&mut frames, 2).await;
    peer.say("in time").await;
    settle().await;
    // This process was kept from running, and its timers are due before anything is read.
    clock.advance(Duration::from_secs(100));
    assert_eq!(take(&mut frames, 1).await[0].payload, "in time");
    let error = until_end(&mut frames, &clock, Duration::from_millis(100)).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn a_frame_that_breaks_the_protocol_is_kept_and_ends_its_connection_alone() {
    let (mut frames, mut peer, _change) =
        connect(|t| t, Liveness::Messages, Arc::new(SystemClock::new())).await;
    for text in ["before", "break", "after"] {
        peer.say(text).await;
    }
    let got = take(&mut frames, 5).await;
    assert_eq!(shown(&got)[3], (3, FrameKind::Unknown, "break"));
    assert_eq!(shown(&got)[4], (4, FrameKind::Data, "after"));
    let error = soon("end", frames.next(MANY)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug, "{error}");
}

#[tokio::test]
async fn beats_keep_their_own_time_however_much_is_heard() {
    let clock = manual();
    let toy = |t| Toy { heartbeat: Duration::from_secs(1), ..t };
    let (mut frames, mut peer, _change) = connect(toy, Liveness::Messages, Arc::new(clock.clone())).await;
    take(&mut frames, 2).await;
    for n in 1..=30 {
        clock.advance(Duration::from_millis(100));
        peer.say("data").await;
        // A message just before the deadline does not put the beat off.
        let expect = if n % 10 == 0 { 2 } else { 1 };
        let got = take(&mut frames, expect).await;
        assert_eq!(got.iter().any(|frame| frame.payload == "alive?"), n % 10 == 0, "after {n}00 ms");
    }
}

#[tokio::test]
async fn what_the_venue_says_when_it_throws_us_out_is_kept() {
    let (mut frames, mut peer, _change) =
        connect(|t| t, Liveness::Messages, Arc::new(SystemClock::new())).await;
    peer.say("x").await;
    peer.say("go away").await;
    let got = take(&mut frames, 4).await;
    assert_eq!(shown(&got)[3], (3, FrameKind::Control, "go away"));
    let error = soon("end", frames.next(MANY)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn closing_gives_what_still_arrives_and_waits_no_longer_than_it_may() {
    let (mut frames, mut peer, _change) =
        connect(|t| t, Liveness::Messages, Arc::new(SystemClock::new())).await;
    let serving = async {
        while peer.hear().await.is_some() {}
        // Our goodbye was heard; the server's own follows what it had to say before.
    };
    let (closed, ()) = tokio::join!(soon("close", frames.close()), serving);
    assert_eq!(closed.unwrap().len(), 2);

    let clock = manual();
    let (mut frames, mut peer, _change) = connect(|t| t, Liveness::Messages, Arc::new(clock.clone())).await;
    // Nothing can be answered any more, and being thrown out is no news.
    for text in ["who?", "go away", "late"] {
        peer.say(text).await;
    }
    let closing = async { soon("close", frames.close()).await.unwrap() };
    let moving = async {
        settle().await;
        clock.advance(Duration::from_secs(3));
    };
    let (closed, ()) = tokio::join!(closing, moving);
    let closed: Vec<_> = closed.iter().map(|frame| &frame.payload[..]).collect();
    assert_eq!(closed, [&b"+trade A"[..], b"+trade B", b"who?", b"go away", b"late"]);
}
