//! The universe is asked again while a recorder runs, and sessions follow it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::recorder::{advance_until, gaps, options, serve, start};
use common::toy::{Toy, ToyJournal, wanted};
use common::{Server, manual};
use ssmd_core::{Clock, Error, ErrorKind, Feed, ManualClock, Result, Wanted};
use ssmd_feeds::CaptureOptions;
use ssmd_feeds::ws::Liveness;
use tokio::sync::watch;

/// What the venue answers, and how often it was asked.
#[derive(Clone)]
struct Listing(Arc<Mutex<(Result<Wanted, ErrorKind>, u64)>>);

impl Listing {
    fn new(symbols: &[&str]) -> Self {
        Self(Arc::new(Mutex::new((Ok(wanted(symbols)), 0))))
    }

    fn set(&self, answer: Result<&[&str], ErrorKind>) {
        self.0.lock().unwrap().0 = answer.map(wanted);
    }

    fn asked(&self) -> u64 {
        self.0.lock().unwrap().1
    }

    /// Where the feed is declared, as it is now and anew.
    fn declared(&self, server: &Server) -> watch::Sender<Arc<dyn Feed>> {
        watch::Sender::new(self.feed(server, 100))
    }

    fn feed(&self, server: &Server, topics_per_session: usize) -> Arc<dyn Feed> {
        let known = Arc::clone(&self.0);
        let universe = move || {
            let mut known = known.lock().unwrap();
            known.1 += 1;
            known.0.clone().map_err(|kind| Error::new(kind, "list"))
        };
        let toy = Toy { alive: None, silence: Duration::from_secs(1_000_000), ..Toy::new(&server.url) };
        Arc::new(toy.feed_of(Liveness::Messages, topics_per_session, 1000, universe))
    }

    /// Moves the clock until the venue was asked once more, and the answer was heard.
    async fn until_asked(&self, clock: &ManualClock) {
        let before = self.asked();
        advance_until(clock, "the universe is asked", || self.asked() > before).await;
    }
}

#[tokio::test]
async fn symbols_that_appear_are_subscribed_and_those_that_vanish_are_not_any_more() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let listing = Listing::new(&["A", "B"]);
    let options = CaptureOptions {
        universe_every: Some(Duration::from_secs(60)),
        ..options(listing.feed(&server, 3), &journal, Arc::new(clock.clone()))
    };
    let running = start(options, Arc::clone(&journal));
    let mut peer = server.accept().await;
    assert_eq!([peer.hear().await.unwrap(), peer.hear().await.unwrap()], ["+trade A", "+trade B"]);
    let began = clock.elapsed();
    listing.set(Ok(&["B", "C"]));
    listing.until_asked(&clock).await;
    let took = clock.elapsed() - began;
    assert!((Duration::from_secs(54)..Duration::from_secs(68)).contains(&took), "{took:?}");
    assert_eq!([peer.hear().await.unwrap(), peer.hear().await.unwrap()], ["-trade A", "+trade C"]);

    // What fits into no session gets one more; the other one does not notice.
    listing.set(Ok(&["B", "C", "D", "E"]));
    listing.until_asked(&clock).await;
    assert_eq!(peer.hear().await.as_deref(), Some("+trade D"));
    let mut more = server.accept().await;
    assert_eq!(more.hear().await.as_deref(), Some("+trade E"));
    more.say("from E").await;
    journal.until_text("from E").await;
    let ((summary, entries), (), ()) = tokio::join!(running.stop(), serve(peer), serve(more));
    assert_eq!((summary.figures.opened, summary.figures.reconnects), (2, 0));
    assert!(gaps(&entries).is_empty());
}

#[tokio::test]
async fn a_feed_that_knows_when_it_will_want_something_else_is_asked_then() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let listing = Listing::new(&["A"]);
    let options = CaptureOptions {
        universe_every: Some(Duration::from_secs(3600)),
        ..options(listing.feed(&server, 3), &journal, Arc::new(clock.clone()))
    };
    options.subscriptions.set_changes_at(clock.now().saturating_add(Duration::from_secs(20)));
    let running = start(options, Arc::clone(&journal));
    let mut peer = server.accept().await;
    assert_eq!(peer.hear().await.as_deref(), Some("+trade A"));
    let began = clock.elapsed();
    listing.set(Ok(&["A", "B"]));
    listing.until_asked(&clock).await;
    let took = clock.elapsed() - began;
    assert!((Duration::from_secs(15)..Duration::from_secs(30)).contains(&took), "{took:?}");
    assert_eq!(peer.hear().await.as_deref(), Some("+trade B"));
    tokio::join!(running.stop(), serve(peer));
}

/// What a venue says today, a page of its firewall or an address elsewhere, it may not say tomorrow; and other feeds of the
/// same process go on meanwhile.
#[tokio::test]
async fn the_first_answer_is_asked_for_until_it_is_one_whatever_the_venue_says_before() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let listing = Listing::new(&[]);
    listing.set(Err(ErrorKind::Denied));
    let running =
        start(options(listing.feed(&server, 3), &journal, Arc::new(clock.clone())), Arc::clone(&journal));
    for kind in [ErrorKind::Unsupported, ErrorKind::NotFound, ErrorKind::Invalid] {
        listing.until_asked(&clock).await;
        listing.set(Err(kind));
    }
    listing.until_asked(&clock).await;
    listing.set(Ok(&["A"]));
    listing.until_asked(&clock).await;
    let mut peer = server.accept().await;
    assert_eq!(peer.hear().await.as_deref(), Some("+trade A"));
    tokio::join!(running.stop(), serve(peer));
}

#[tokio::test]
async fn an_answer_that_is_none_or_not_whole_changes_nothing() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let listing = Listing::new(&["A", "B", "C", "D", "E"]);
    let options = CaptureOptions {
        universe_every: Some(Duration::from_secs(60)),
        ..options(listing.feed(&server, 100), &journal, Arc::new(clock.clone()))
    };
    let running = start(options, Arc::clone(&journal));
    let mut peer = server.accept().await;
    for _ in 0..5 {
        peer.hear().await.unwrap();
    }
    for answer in [Err(ErrorKind::Unavailable), Err(ErrorKind::Invalid), Ok(&[][..]), Ok(&["A", "B"][..])] {
        listing.set(answer);
        listing.until_asked(&clock).await;
    }
    // It is asked again sooner, and more of it is wanted, but nothing is left.
    let began = clock.elapsed();
    listing.set(Ok(&["A", "F"]));
    listing.until_asked(&clock).await;
    let took = clock.elapsed() - began;
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(peer.hear().await.as_deref(), Some("+trade F"), "nothing else was sent before");
    assert_eq!(running.metrics.counter(&ssmd_core::metrics::ERRORS, &["toy", "universe"]).get(), 3);
    listing.set(Ok(&["A", "B", "C"]));
    listing.until_asked(&clock).await;
    let mut heard = [(); 3].map(|()| String::new());
    for text in &mut heard {
        *text = peer.hear().await.unwrap();
    }
    assert_eq!(heard, ["-trade D", "-trade E", "-trade F"], "half of it is believed");
    tokio::join!(running.stop(), serve(peer));
}

#[tokio::test]
async fn a_venue_that_says_it_long_enough_lists_less() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let listing = Listing::new(&["A", "B", "C"]);
    let options = CaptureOptions {
        universe_every: Some(Duration::from_secs(60)),
        ..options(listing.feed(&server, 100), &journal, Arc::new(clock.clone()))
    };
    let running = start(options, Arc::clone(&journal));
    let mut peer = server.accept().await;
    for _ in 0..3 {
        peer.hear().await.unwrap();
    }
    let began = clock.elapsed();
    listing.set(Ok(&["A"]));
    advance_until(&clock, "less is wanted", || running.status.wanted() == Some(1)).await;
    let took = clock.elapsed() - began;
    assert_eq!([peer.hear().await.unwrap(), peer.hear().await.unwrap()], ["-trade B", "-trade C"]);
    assert!(took >= Duration::from_secs(100), "an answer that is wrong for a while is no reason: {took:?}");
    tokio::join!(running.stop(), serve(peer));
}

#[tokio::test]
async fn what_is_declared_anew_is_wanted_at_once_on_the_same_connection() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let declare = Listing::new(&["A", "B", "C", "D", "E"]).declared(&server);
    let changes = declare.subscribe();
    let options = CaptureOptions {
        changes: Some(changes.clone()),
        universe_every: Some(Duration::from_secs(3600)),
        ..options(changes.borrow().clone(), &journal, Arc::new(clock.clone()))
    };
    let running = start(options, Arc::clone(&journal));
    let mut peer = server.accept().await;
    for _ in 0..5 {
        peer.hear().await.unwrap();
    }
    // The clock stands still: nothing waits for a time. Less than half of it is no mistake when it is declared.
    declare.send(Listing::new(&["E", "F"]).feed(&server, 100)).unwrap();
    let mut heard = Vec::new();
    for _ in 0..5 {
        heard.push(peer.hear().await.unwrap());
    }
    assert_eq!(heard, ["-trade A", "-trade B", "-trade C", "-trade D", "+trade F"]);
    assert_eq!(running.status.wanted(), Some(2));

    // While the venue does not say what is meant, what was so stays so; then it is asked what is declared last.
    let listing = Listing::new(&[]);
    listing.set(Err(ErrorKind::Unavailable));
    declare.send(listing.feed(&server, 100)).unwrap();
    listing.until_asked(&clock).await;
    assert_eq!(running.status.wanted(), None);
    declare.send(Listing::new(&["E", "F", "G"]).feed(&server, 100)).unwrap();
    assert_eq!(peer.hear().await.as_deref(), Some("+trade G"));
    let ((summary, entries), ()) = tokio::join!(running.stop(), serve(peer));
    assert_eq!((summary.figures.opened, summary.figures.reconnects), (1, 0));
    assert!(gaps(&entries).is_empty());
}

#[tokio::test]
async fn what_is_declared_before_the_venue_has_answered_is_what_it_is_asked() {
    let (server, clock, journal) = (Server::start().await, manual(), ToyJournal::new());
    let listing = Listing::new(&["A"]);
    listing.set(Err(ErrorKind::Unavailable));
    let declare = listing.declared(&server);
    let changes = declare.subscribe();
    let options = CaptureOptions {
        changes: Some(changes.clone()),
        ..options(changes.borrow().clone(), &journal, Arc::new(clock.clone()))
    };
    let running = start(options, Arc::clone(&journal));
    listing.until_asked(&clock).await;
    declare.send(Listing::new(&["B"]).feed(&server, 100)).unwrap();
    let mut peer = server.accept().await;
    assert_eq!(peer.hear().await.as_deref(), Some("+trade B"));
    tokio::join!(running.stop(), serve(peer));
}
