//! The relay between journals in memory, on a clock that is set: whatever happens to the broker, what is archived
//! from it are the log's entries in order, each once, and what is missing is what nobody has.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod broker;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use ssmd_core::{Journal, Positions, metrics};

use broker::Mode;
use world::{ORIGIN, World, feed, options};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn everything_is_copied_once_and_a_stopped_relay_has_drained() {
    let mut world = World::new();
    world.append(1000);
    world.until_copied();
    world.kill_relay();
    world.append(300);
    world.start_relay();
    world.stop.cancel();
    world.until("it has ended", |world| world.summary.is_some());
    assert_eq!(world.broker.numbers(), (1..=1300).collect::<Vec<_>>());
    assert_eq!(world.summary.unwrap().copied, 300, "the first thousand were there");
}

#[test]
fn a_broker_that_is_away_costs_a_window_and_no_entry() {
    let mut world = World::new();
    world.broker.set(Mode::Silent);
    world.append(2000);
    world.pass(60 * SECOND);
    assert!(world.broker.numbers().is_empty());
    assert!(world.broker.most_waiting() <= options().window_entries, "{}", world.broker.most_waiting());
    let gauge = |spec| world.metrics.gauge(spec, &[feed().as_str()]).get();
    assert_eq!(gauge(&metrics::RELAY_BEHIND), 2000.0);
    assert!(gauge(&metrics::RELAY_LAG) >= 55.0, "{}", gauge(&metrics::RELAY_LAG));
    world.broker.set(Mode::Away);
    world.append(1000);
    world.pass(60 * SECOND);
    world.broker.set(Mode::Up);
    world.pass(3 * SECOND);
    assert_eq!(world.broker.numbers(), (1..=3000).collect::<Vec<_>>(), "within 3 s of its return");
    let gauge = |spec| world.metrics.gauge(spec, &[feed().as_str()]).get();
    assert_eq!((gauge(&metrics::RELAY_BEHIND), gauge(&metrics::RELAY_LAG)), (0.0, 0.0));
}

#[test]
fn a_relay_that_cannot_drain_ends_all_the_same() {
    let mut world = World::new();
    world.broker.set(Mode::Away);
    world.append(10);
    world.pass(SECOND);
    world.stop.cancel();
    world.pass(6 * SECOND);
    assert_eq!(world.summary.unwrap().copied, 0);
}

#[test]
fn what_the_broker_lost_is_copied_again() {
    for (anew, kept) in [(false, 40), (false, 0), (true, 40), (true, 0)] {
        let mut world = World::new();
        world.append(100);
        world.until_copied();
        world.broker.lose(|entry| entry.id.n <= kept, anew);
        world.until("it is whole", |world| world.broker.numbers() == (1..=100).collect::<Vec<_>>());
        world.append(5);
        world.until_copied();
    }
}

#[test]
fn a_new_stream_begins_behind_what_is_archived() {
    let mut world = World::new();
    world.append(100);
    world.settle();
    world.append(3);
    world.kill_archiver();
    world.until_copied();
    world.broker.lose(|_| false, true);
    world.until_copied();
    assert_eq!(world.broker.numbers(), [101, 102, 103]);
}

#[test]
fn a_stream_that_aged_away_is_not_filled_again() {
    let mut world = World::new();
    world.append(100);
    world.settle();
    world.pass(5 * SECOND);
    world.broker.lose(|_| false, false);
    world.pass(60 * SECOND);
    assert!(world.broker.numbers().is_empty(), "all of it is archived");
}

#[test]
fn holes_are_healed_from_the_log_while_it_has_them() {
    let mut world = World::new();
    world.append(500);
    world.until_copied();
    world.broker.lose(|entry| !(100..300).contains(&entry.id.n), false);
    world.broker.trim(ORIGIN, 21);
    world.settle();
    assert_eq!(world.archive.lock().unwrap().numbers, (1..=500).collect::<Vec<_>>());
    let healed = world.metrics.counter(&metrics::RELAY_HEALED, &[feed().as_str()]).get();
    assert!(healed >= 220, "{healed}");
}

#[test]
fn what_nobody_has_is_a_hole_and_the_rest_is_not() {
    let mut world = World::new();
    world.trims = false;
    world.append(500);
    world.until_copied();
    world.broker.lose(|entry| !(100..300).contains(&entry.id.n), false);
    world.log.trim(&Positions::from([(ORIGIN, 250)]));
    world.settle();
    let archive = world.archive.lock().unwrap();
    assert_eq!(archive.lost, (100..250).collect::<Vec<_>>());
    assert_eq!(archive.numbers, (1..100).chain(250..=500).collect::<Vec<_>>());
}

#[test]
fn an_entry_that_the_broker_refuses_is_passed_by_and_given_to_who_misses_it() {
    let mut world = World::new();
    world.broker.refuse(13);
    world.append(20);
    world.settle();
    assert_eq!(world.broker.numbers(), (1..=20).filter(|n| *n != 13).collect::<Vec<_>>());
    assert_eq!(world.archive.lock().unwrap().numbers, (1..=20).collect::<Vec<_>>());
}

#[test]
fn the_log_is_freed_by_what_is_archived_and_by_nothing_else() {
    let mut world = World::new();
    world.append(100);
    world.until_copied();
    world.pass(10 * SECOND);
    let kept = |world: &World| {
        let mut reading = world.log.bounds();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match reading.as_mut().poll(&mut context) {
            std::task::Poll::Ready(bounds) => bounds.unwrap().origins.get(&ORIGIN).map(|(first, _)| *first),
            std::task::Poll::Pending => None,
        }
    };
    assert_eq!(kept(&world), Some(1), "copied is not archived");
    world.settle();
    world.until("the log is freed", |world| kept(world).is_none());
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    Append(u64),
    Pass(u64),
    Set(Mode),
    /// The broker forgets its last so many, as the same stream or as a new one.
    Rewind(u64, bool),
    Purge(bool),
    /// So many are missing from so far before the broker's end.
    Tear(u64, u64),
    Trim(u64),
    KillRelay,
    KillArchiver,
    Start,
    /// The log loses its oldest so many, archived or not.
    Damage(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u64..60).prop_map(Event::Append),
        8 => (1_u64..12_000).prop_map(Event::Pass),
        2 => prop_oneof![Just(Mode::Up), Just(Mode::Away), Just(Mode::Silent)].prop_map(Event::Set),
        2 => Just(Event::Set(Mode::Up)),
        1 => (1_u64..50, any::<bool>()).prop_map(|(n, anew)| Event::Rewind(n, anew)),
        1 => any::<bool>().prop_map(Event::Purge),
        2 => (1_u64..40, 1_u64..60).prop_map(|(n, at)| Event::Tear(n, at)),
        1 => (1_u64..60).prop_map(Event::Trim),
        1 => Just(Event::KillRelay),
        1 => Just(Event::KillArchiver),
        3 => Just(Event::Start),
        1 => (1_u64..30).prop_map(Event::Damage),
    ]
}

impl World {
    fn happen(&mut self, event: Event, damaged: &mut u64) {
        let end = self.broker.numbers().last().copied().unwrap_or(0);
        match event {
            Event::Append(count) => self.append(count),
            Event::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Event::Set(mode) => self.broker.set(mode),
            Event::Rewind(n, anew) => self.broker.lose(|entry| entry.id.n + n <= end, anew),
            Event::Purge(anew) => self.broker.lose(|_| false, anew),
            Event::Tear(n, at) => {
                let from = end.saturating_sub(at);
                self.broker.lose(|entry| !(from..from + n).contains(&entry.id.n), false);
            }
            Event::Trim(n) => self.broker.trim(ORIGIN, end.saturating_sub(n)),
            Event::KillRelay => self.kill_relay(),
            Event::KillArchiver => self.kill_archiver(),
            Event::Start => {
                self.start_relay();
                self.start_archiver();
            }
            Event::Damage(n) => {
                *damaged = (*damaged).max((self.position() + n).min(self.last));
                self.log.trim(&Positions::from([(ORIGIN, *damaged + 1)]));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_entry_arrives_once_and_in_order(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        world.start_archiver();
        let (mut damaged, mut has_damage) = (0, false);
        for event in events {
            has_damage |= matches!(event, Event::Damage(_));
            world.happen(event, &mut damaged);
        }
        // What is missing at the very end shows with what follows.
        world.append(1);
        world.settle();
        let archive = world.archive.lock().unwrap();
        let lost: BTreeSet<u64> = archive.lost.iter().copied().collect();
        prop_assert!(has_damage || lost.is_empty(), "lost without damage: {lost:?}");
        prop_assert!(lost.iter().all(|n| *n <= damaged), "{lost:?} of {damaged}");
        let wanted: Vec<u64> = (1..=world.last).filter(|n| !lost.contains(n)).collect();
        prop_assert_eq!(&archive.numbers, &wanted);
        prop_assert_eq!(archive.lost.len(), lost.len(), "told once");
    }
}
