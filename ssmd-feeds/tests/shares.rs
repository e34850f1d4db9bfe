//! Sessions that share symbols, while other shares are declared: what moves is left only when another session has it,
//! and what is missing all the same is a gap.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use common::feed::{context, spec};
use common::recorder::{Running, advance_until, find, gaps, options, serve, start};
use common::toy::{Toy, ToyJournal};
use common::{Peer, Server, manual};
use ssmd_core::environment::{ShardSpec, ShardsSpec, SymbolsSpec};
use ssmd_core::{Entry, EntryKind, Feed, FrameKind, GapCause, ManualClock};
use ssmd_feeds::CaptureOptions;
use ssmd_feeds::shares::{Declared, Share, Shares, declare};
use ssmd_feeds::ws::{Liveness, Subscriptions};
use tokio::sync::watch;

/// A toy venue that a recorder shares out, and where it is declared.
struct World {
    server: Server,
    clock: ManualClock,
    subscriptions: Subscriptions,
    /// Sessions that the venue lets be open.
    sessions: usize,
}

impl World {
    async fn new(sessions: usize) -> Self {
        Self {
            server: Server::start().await,
            clock: manual(),
            subscriptions: Subscriptions::default(),
            sessions,
        }
    }

    fn feed(&self, symbols: &[&str]) -> Arc<dyn Feed> {
        let toy = Toy {
            alive: None,
            silence: Duration::from_secs(1_000_000),
            sessions: NonZeroUsize::new(self.sessions).unwrap(),
            subscriptions: self.subscriptions.clone(),
            ..Toy::new(&self.server.url)
        };
        Arc::new(toy.feed(Liveness::Messages, symbols, 100))
    }

    fn evenly(&self, symbols: &[&str], count: usize) -> Declared {
        let shares = Shares::Even { count: NonZeroUsize::new(count).unwrap(), category: None };
        Declared { feed: self.feed(symbols), shares }
    }

    /// A share for each category, with its symbols.
    fn listed(&self, shares: &[(&str, &[&str])]) -> Declared {
        let share = |(category, symbols): &(&str, &[&str])| Share {
            category: Some((*category).to_owned()),
            feed: self.feed(symbols),
            sync: false,
            subscriptions: Subscriptions::default(),
        };
        Declared { feed: self.feed(shares[0].1), shares: Shares::Listed(shares.iter().map(share).collect()) }
    }

    fn start(&self, declared: Declared) -> (Running, watch::Sender<Declared>) {
        let journal = ToyJournal::new();
        let (declare, changes) = watch::channel(declared.clone());
        let options = CaptureOptions {
            shares: declared.shares,
            changes: Some(changes),
            subscriptions: self.subscriptions.clone(),
            ..options(declared.feed, &journal, Arc::new(self.clock.clone()))
        };
        (start(options, journal), declare)
    }

    /// Two sessions, the first of which has A, the other one B. Both have confirmed it.
    async fn two(&self) -> [Peer; 2] {
        let mut both = Vec::new();
        for _ in 0..2 {
            let mut peer = self.server.accept().await;
            let asked = peer.hear().await.unwrap();
            peer.say(&asked).await;
            both.push((asked, peer));
        }
        both.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(both[0].0 == "+trade A" && both[1].0 == "+trade B");
        <[Peer; 2]>::try_from(both.into_iter().map(|(_, peer)| peer).collect::<Vec<_>>()).ok().unwrap()
    }
}

#[tokio::test]
async fn what_moves_is_left_when_the_other_session_has_had_it_for_a_while() {
    let world = World::new(100).await;
    let (running, declare) = world.start(world.evenly(&["A", "B"], 1));
    let mut one = world.server.accept().await;
    for asked in ["+trade A", "+trade B"] {
        assert_eq!(one.hear().await.as_deref(), Some(asked));
        one.say(asked).await;
    }
    let heard =
        |entry: &Entry| entry.kind == EntryKind::Frame(FrameKind::Control) && entry.payload == "+trade B";
    running.journal.until("both on the first one", |entries| entries.iter().any(heard)).await;
    declare.send(world.evenly(&["A", "B"], 2)).unwrap();
    let mut two = world.server.accept().await;
    assert_eq!(two.hear().await.as_deref(), Some("+trade B"));
    // Until it is confirmed, however long that takes, the first one keeps it.
    for _ in 0..40 {
        common::toy::settle().await;
        world.clock.advance(Duration::from_millis(250));
    }
    two.say("+trade B").await;
    let journal = Arc::clone(&running.journal);
    advance_until(&world.clock, "it is left", || {
        journal.entries().iter().any(|entry| entry.payload == "-trade B")
    })
    .await;
    assert_eq!(one.hear().await.as_deref(), Some("-trade B"));
    let ((summary, entries), (), ()) = tokio::join!(running.stop(), serve(one), serve(two));
    let confirmed = entries.iter().rfind(|entry| entry.payload == "+trade B").unwrap();
    let left = find(&entries, "-trade B");
    assert!(left.elapsed >= confirmed.elapsed + Duration::from_secs(2), "{confirmed:?} {left:?}");
    assert_eq!((summary.figures.opened, gaps(&entries)), (2, Vec::new()));
}

#[tokio::test]
async fn a_session_that_is_not_needed_ends_without_a_gap_and_its_number_is_used_again() {
    let world = World::new(100).await;
    let (running, declare) = world.start(world.evenly(&["A", "B"], 2));
    let [mut one, mut two] = world.two().await;
    two.say("heard").await;
    running.journal.until("a frame", |entries| entries.iter().any(|entry| entry.payload == "heard")).await;
    declare.send(world.evenly(&["A", "B"], 1)).unwrap();
    assert_eq!(one.hear().await.as_deref(), Some("+trade B"));
    one.say("+trade B").await;
    let ends = advance_until(&world.clock, "the other one ends", || running.status.figures().sessions == 1);
    tokio::join!(ends, serve(two));
    let shares = running.status.shares();
    assert_eq!((shares.len(), shares[0].symbols, shares[0].sessions), (1, 2, 1));

    declare.send(world.evenly(&["A", "B"], 2)).unwrap();
    let mut three = world.server.accept().await;
    assert_eq!(three.hear().await.as_deref(), Some("+trade B"));
    three.say("+trade B").await;
    let ((summary, entries), (), ()) = tokio::join!(running.stop(), serve(one), serve(three));
    assert_eq!((summary.figures.opened, gaps(&entries)), (3, Vec::new()));
    let opens: Vec<ssmd_core::entry::note::Open> = common::toy::notes(&entries, ssmd_core::EntryKind::Open);
    assert_eq!(opens.last().unwrap().shard, Some(1), "{opens:?}");
}

#[tokio::test]
async fn what_a_session_that_is_away_does_not_hear_is_a_gap_until_another_one_has_it() {
    let world = World::new(100).await;
    let (running, declare) = world.start(world.evenly(&["A", "B"], 2));
    let [mut one, two] = world.two().await;
    drop(two);
    running
        .journal
        .until("the end", |entries| entries.iter().any(|entry| entry.kind == ssmd_core::EntryKind::Close))
        .await;
    // The clock stands still, so it does not come back by itself.
    declare.send(world.evenly(&["A", "B"], 1)).unwrap();
    assert_eq!(one.hear().await.as_deref(), Some("+trade B"));
    world.clock.advance(Duration::from_secs(1));
    one.say("+trade B").await;
    let journal = Arc::clone(&running.journal);
    advance_until(&world.clock, "the gap is told", || !gaps(&journal.entries()).is_empty()).await;
    let ((_, entries), ()) = tokio::join!(running.stop(), serve(one));
    let gaps = gaps(&entries);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].cause, GapCause::Disconnect);
    let (from, to) = (gaps[0].from.clone().unwrap(), gaps[0].to.clone().unwrap());
    assert!(from.session != to.session && from.at < to.at, "{gaps:?}");
}

#[tokio::test]
async fn where_there_is_no_room_for_both_the_old_sessions_end_first_and_that_is_a_gap() {
    let world = World::new(2).await;
    let (running, declare) = world.start(world.listed(&[("a", &["A"]), ("b", &["B"])]));
    let [one, two] = world.two().await;
    declare.send(world.listed(&[("c", &["A"]), ("d", &["B"])])).unwrap();
    common::soon("the end of both", async { tokio::join!(serve(one), serve(two)) }).await;
    let accepted = async {
        let both = world.two().await;
        assert!(running.status.missing().refused.is_empty(), "{:?}", running.status.missing());
        both
    };
    let ticking = async {
        loop {
            common::toy::settle().await;
            world.clock.advance(Duration::from_millis(250));
        }
    };
    let [one, two] = tokio::select! {
        both = accepted => both,
        () = ticking => unreachable!("it ticks for ever"),
    };
    let ((summary, entries), (), ()) = tokio::join!(running.stop(), serve(one), serve(two));
    assert_eq!(summary.figures.opened, 4);
    let causes: Vec<_> = gaps(&entries).into_iter().map(|gap| gap.cause).collect();
    assert_eq!(causes, [GapCause::Planned, GapCause::Planned]);
}

#[test]
fn more_shares_than_the_venue_lets_be_open_are_refused() {
    let refused = |count: u32, redundancy: u32| {
        let mut spec = spec("kalshi", None, &["trade"], &["KXFED-26DEC31-T0001"]);
        (spec.shards, spec.redundancy) = (Some(ShardsSpec::Count(count)), redundancy);
        declare(&spec, &context()).map(|declared| declared.shares.count()).map_err(|error| error.report())
    };
    assert_eq!(refused(5, 1), Ok(5));
    assert!(refused(6, 1).unwrap_err().contains("at most 5 sessions"));
    assert!(refused(3, 2).unwrap_err().contains("more sessions than the venue lets be open"));
}

#[tokio::test]
async fn shares_of_a_document_have_their_own_symbols_and_categories_and_the_rest_is_the_last() {
    let shard = |category: Option<&str>, names: &[&str]| ShardSpec {
        category: category.map(str::to_owned),
        symbols: SymbolsSpec {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..SymbolsSpec::default()
        },
    };
    let mut spec = spec("kraken", None, &["trade"], &["ADA/USD"]);
    spec.category = Some("rest".to_owned());
    let listed = vec![shard(Some("bitcoin"), &["BTC/USD"]), shard(None, &["ETH/USD", "SOL/USD"])];
    spec.shards = Some(ShardsSpec::Listed(listed));
    let declared = declare(&spec, &context()).unwrap();
    assert_eq!(declared.shares.categories(), [Some("bitcoin"), Some("rest"), Some("rest")]);
    let Shares::Listed(shares) = &declared.shares else { panic!("they are listed") };
    let mut symbols = Vec::new();
    for share in shares {
        let wanted = share.feed.universe().await.unwrap();
        symbols.push(wanted.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    assert_eq!(symbols, ["trade BTC/USD", "trade ETH/USD, trade SOL/USD", "trade ADA/USD"]);
}
