//! The bounds of the memory backends, and what happens at them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use ssmd_core::{
    Cache, Day, Delivery, Entries, Entry, EntryId, EntryKind, ErrorKind, Expect, Filter, FrameKind, Journal,
    ManualClock, Message, Origin, Positions, SessionId, Start, Timestamp, Transport,
};
use ssmd_transport::memory::{MemoryCache, MemoryJournal, MemoryTransport, QUEUE_BYTES_MAX};

fn entry(origin: u8, n: u64) -> Entry {
    Entry {
        id: EntryId { origin: Origin::from_bytes([origin; 16]), n },
        day: Day::from_days(1),
        at: Timestamp::from_nanos(1),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index: n,
        kind: EntryKind::Frame(FrameKind::Data),
        binary: false,
        more: false,
        payload: Bytes::from(vec![origin; 1000]),
    }
}

#[tokio::test]
async fn trimming_makes_room_in_a_full_journal() {
    let journal = MemoryJournal::bounded(20_000);
    let mut n = 0;
    while let Ok(pending) = journal.append(vec![entry(1, n + 1)]).await {
        pending.await.unwrap();
        n += 1;
    }
    assert!((10..20).contains(&n), "{n} entries of 1000 bytes fit into 20 000");
    journal.trim(&Positions::from([(entry(1, 1).id.origin, 6)]));
    let batch = (n + 1..=n + 5).map(|n| entry(1, n)).collect();
    journal.append(batch).await.unwrap().await.unwrap();
    let full = journal.append(vec![entry(1, n + 6)]).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full);
    assert!(full.kind().is_transient());
}

#[tokio::test]
async fn an_origin_whose_entries_are_all_removed_still_ignores_repeats() {
    let journal = MemoryJournal::new();
    journal.append(vec![entry(1, 1), entry(2, 1), entry(1, 2)]).await.unwrap().await.unwrap();
    journal.trim(&Positions::from([(entry(1, 1).id.origin, u64::MAX)]));
    journal.append(vec![entry(1, 2)]).await.unwrap().await.unwrap();
    let bounds = journal.bounds().await.unwrap();
    assert_eq!(bounds.origins, BTreeMap::from([(entry(2, 1).id.origin, (1, 1))]));
    journal.append(vec![entry(1, 3)]).await.unwrap().await.unwrap();
    assert_eq!(journal.bounds().await.unwrap().origins[&entry(1, 1).id.origin], (3, 3));
}

#[tokio::test]
async fn a_queue_is_bounded_in_bytes_and_holds_one_message_of_any_size() {
    let transport = MemoryTransport::new();
    let mut subscription = transport.subscribe(&Filter::all()).await.unwrap();
    let message = |bytes: usize| Message {
        subject: "dev.a".parse().unwrap(),
        headers: Vec::new(),
        payload: vec![0; bytes].into(),
    };
    transport.publish(vec![message(QUEUE_BYTES_MAX / 2); 5]).await.unwrap();
    assert_eq!(subscription.next().await.unwrap(), Delivery::Lost(3));
    transport.publish(vec![message(QUEUE_BYTES_MAX * 2)]).await.unwrap();
    assert_eq!(subscription.next().await.unwrap(), Delivery::Lost(2));
    assert_eq!(subscription.next().await.unwrap(), Delivery::Message(message(QUEUE_BYTES_MAX * 2)));
}

#[tokio::test]
async fn a_full_cache_refuses_and_has_room_again_when_keys_expire() {
    let clock = ManualClock::new(Timestamp::from_nanos(0));
    let cache = MemoryCache::bounded(Arc::new(clock.clone()), 10_000);
    let value = Bytes::from(vec![0; 4000]);
    let ttl = Some(Duration::from_secs(1));
    cache.put("a", value.clone(), Expect::Any, ttl).await.unwrap();
    cache.put("b", value.clone(), Expect::Any, None).await.unwrap();
    let full = cache.put("c", value.clone(), Expect::Any, None).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full);
    // A value that replaces another needs only the difference, and a refused one changes nothing.
    cache.put("b", value.clone(), Expect::Any, None).await.unwrap();
    let too_large = cache.put("b", vec![0; 20_000].into(), Expect::Any, None).await.unwrap_err();
    assert_eq!(too_large.kind(), ErrorKind::Full);
    assert_eq!(cache.get("b").await.unwrap().unwrap().value, value);
    clock.advance(Duration::from_secs(1));
    cache.put("c", value, Expect::Any, None).await.unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Append { origin: u8, skip: u64 },
    Trim { origin: u8, back: u64 },
    Read { max: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, prop_oneof![4 => Just(1_u64), 1 => 2..5_u64])
            .prop_map(|(origin, skip)| Step::Append { origin, skip }),
        1 => (0..3_u8, 0..6_u64).prop_map(|(origin, back)| Step::Trim { origin, back }),
        3 => (1..4_usize).prop_map(|max| Step::Read { max }),
    ]
}

/// What the reader has been told of each origin: the last number it was given, or told to be missing.
fn read(reader: &mut dyn Entries, max: usize, told: &mut BTreeMap<Origin, u64>) -> bool {
    let max = NonZeroUsize::new(max).unwrap();
    let answer = reader.next(max).as_mut().poll(&mut Context::from_waker(Waker::noop()));
    match answer {
        Poll::Pending => return false,
        Poll::Ready(Ok(batch)) => {
            assert!((1..=max.get()).contains(&batch.len()));
            for Entry { id: EntryId { origin, n }, .. } in batch {
                let before = told.insert(origin, n);
                assert!(before.is_none_or(|before| before + 1 == n), "{n} after {before:?}");
            }
        }
        Poll::Ready(Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::Hole);
            let [from, to] = ["from", "to"].map(|name| error.context(name).unwrap().parse::<u64>().unwrap());
            let origin = error.context("origin").unwrap().parse().unwrap();
            let before = told.insert(origin, to);
            assert!(from <= to && before.is_none_or(|before| before + 1 == from), "{from} after {before:?}");
        }
    }
    true
}

proptest! {
    /// However appends, holes, removals and reads mix, a reader is told of every number, once and in order.
    #[test]
    fn a_reader_is_told_of_every_number(steps in proptest::collection::vec(step(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let journal = MemoryJournal::new();
            let mut reader = journal.read(Start::Oldest).await.unwrap();
            let (mut lasts, mut told) = (BTreeMap::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Append { origin, skip } => {
                        let last = lasts.entry(entry(origin, 0).id.origin).or_insert(0);
                        *last += skip;
                        journal.append(vec![entry(origin, *last)]).await.unwrap().await.unwrap();
                    }
                    Step::Trim { origin, back } => {
                        let origin = entry(origin, 0).id.origin;
                        let last = lasts.get(&origin).copied().unwrap_or(0);
                        journal.trim(&Positions::from([(origin, last.saturating_sub(back))]));
                    }
                    Step::Read { max } => {
                        read(&mut *reader, max, &mut told);
                    }
                }
            }
            while read(&mut *reader, 3, &mut told) {}
            assert_eq!(told, lasts);
        });
    }
}
