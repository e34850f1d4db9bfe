//! Cases of [`Journal::append`](crate::Journal::append).

use super::super::support::{Case, POLLS, Stop, able, attempt, ensure, equal, noise, refused};
use super::Harness;
use super::bench::{Bench, list};
use crate::entry::PAYLOAD_BYTES_MAX;
use crate::{Entry, EntryKind, ErrorKind, Start};

pub(super) async fn entries_come_back_identical(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let payloads: [&[u8]; 5] = [b"", b"{\"a\":1}\n", b"\0\xFF\xC3\x28\r\n", b"\xE2\x82", &noise(1, 10_000)];
    let mut written: Vec<Entry> = Vec::new();
    for (kind, _, number) in EntryKind::ALL {
        for (at, payload) in payloads.iter().enumerate() {
            let k = written.len() as u64 + 1;
            let mut entry = bench.entry_with(k, payload.to_vec());
            entry.kind = kind;
            entry.binary = (at + usize::from(number)).is_multiple_of(2);
            entry.more = (at + usize::from(number)).is_multiple_of(3);
            entry.session.0 = k % 4;
            entry.index = u64::MAX - k;
            written.push(entry);
        }
    }
    bench.journal.append(written.clone()).await?.await?;
    let read = bench.reader_after(0).await?.take(written.len()).await?;
    for (got, must) in read.into_iter().zip(written) {
        equal("entry", got, must)?;
    }
    Ok(())
}

pub(super) async fn payloads_of_the_largest_size_are_kept(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let large = bench.entry_with(1, noise(2, PAYLOAD_BYTES_MAX));
    bench.journal.append(vec![large.clone(), bench.entry(2)]).await?.await?;
    let read = bench.reader_after(0).await?.take(2).await?;
    equal("payload bytes", read[0].payload.len(), PAYLOAD_BYTES_MAX)?;
    ensure(read[0] == large, || "the largest payload came back changed".into())?;
    equal("entry behind it", &read[1], &bench.entry(2))
}

pub(super) async fn an_oversized_payload_is_invalid_and_nothing_of_its_batch_is_queued(
    harness: &mut dyn Harness,
) -> Case {
    let bench = Bench::open(harness).await?;
    let oversized = bench.entry_with(2, vec![0; PAYLOAD_BYTES_MAX + 1]);
    let batch = vec![bench.entry_with(1, "refused"), oversized, bench.entry_with(3, "refused")];
    refused("append of an oversized payload", bench.journal.append(batch).await, ErrorKind::Invalid)?;
    bench.append(1..=3).await?;
    equal("entries", bench.reader_after(0).await?.take(3).await?, bench.entries(1..=3))
}

pub(super) async fn an_empty_batch_is_durable_at_once(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.journal.append(Vec::new()).await?.await?;
    bench.append(1..=1).await?;
    bench.journal.append(Vec::new()).await?.await?;
    equal("entries", bench.reader_after(0).await?.take_ks(1).await?, vec![1])
}

pub(super) async fn calls_are_kept_in_order(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let mut pending = Vec::new();
    let mut next = 1;
    for size in (1..=4).cycle().take(100) {
        pending.push(bench.queue(next..next + size).await?);
        next += size;
    }
    for batch in pending {
        batch.await?;
    }
    let read = bench.reader_after(0).await?.take(next as usize - 1).await?;
    equal("entries in order", read, bench.entries(1..next))
}

pub(super) async fn pending_resolves_when_the_batch_is_durable(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    for k in 1..=10 {
        bench.append([2 * k - 1, 2 * k]).await?;
        equal("last in bounds once pending resolved", bench.last().await?, 2 * k)?;
        let read = bench.reader_after(2 * k - 2).await?.take_ks(2).await?;
        equal("what a new reader sees", read, vec![2 * k - 1, 2 * k])?;
    }
    Ok(())
}

pub(super) async fn pending_waits_for_durability(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=1).await?;
    able(harness.hold(true).await?.then_some(()), "hold durability back")?;
    let mut first = bench.queue(2..=2).await?;
    let mut second = bench.queue(3..=3).await?;
    ensure(attempt(&mut second, POLLS).await.is_none(), || "resolved before it was durable".into())?;
    ensure(attempt(&mut first, POLLS).await.is_none(), || "resolved before it was durable".into())?;
    harness.hold(false).await?;
    second.await?;
    first.await?;
    equal("last", bench.last().await?, 3)
}

/// The most batches that are queued to find out whether a journal ever waits for room.
const ROOM_BATCHES: u64 = 512;

pub(super) async fn an_append_without_room_waits_for_it(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    able(harness.hold(true).await?.then_some(()), "hold durability back")?;
    let large = |k| vec![bench.entry_with(k, vec![b'x'; FILL_BYTES])];
    let mut pending = Vec::new();
    for k in 1..=ROOM_BATCHES {
        match attempt(bench.journal.append(large(k)), POLLS).await {
            Some(Err(error)) if error.kind() == ErrorKind::Full => break,
            Some(queued) => pending.push(queued?),
            None => break,
        }
    }
    // The next one waits for room, or fails as `Full`, or there is room for more than was tried.
    let queued = pending.len() as u64;
    let waits = bench.journal.append(large(queued + 1));
    let (waited, released) = tokio::join!(biased; waits, harness.hold(false));
    released?;
    let mut must = queued;
    match waited {
        Err(error) if error.kind() == ErrorKind::Full => {}
        waited => {
            pending.push(waited?);
            must += 1;
        }
    }
    for batch in pending {
        batch.await?;
    }
    equal("last", bench.last().await?, must)?;
    equal("entries", bench.reader_after(0).await?.take_ks(must as usize).await?, list(1..=must))
}

pub(super) async fn a_dropped_pending_changes_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    for k in 1..=20 {
        drop(bench.queue([k]).await?);
    }
    bench.append(21..=21).await?;
    equal("entries", bench.reader_after(0).await?.take_ks(21).await?, list(1..=21))
}

/// An append that was dropped before it resolved must not be there, so the same number can be appended again; one
/// that resolved must be.
pub(super) async fn a_dropped_append_queues_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let mut must = Vec::new();
    for k in 1..=60 {
        let polls = k as usize % 3;
        let first = bench.entry_with(k, "first");
        let pending = if polls == 0 {
            drop(bench.journal.append(vec![first.clone()]));
            None
        } else {
            attempt(bench.journal.append(vec![first.clone()]), polls).await.transpose()?
        };
        // Repeats are ignored: had a dropped one been queued, this one would not be kept.
        bench.journal.append(vec![bench.entry_with(k, "again")]).await?.await?;
        must.push(if pending.is_some() { first } else { bench.entry_with(k, "again") });
    }
    equal("entries", bench.reader_after(0).await?.take(60).await?, must)
}

pub(super) async fn a_repeat_changes_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=5).await?;
    for k in [5, 1, 3] {
        bench.journal.append(vec![bench.entry_with(k, "repeated")]).await?.await?;
        equal("bounds after a repeat", bench.last().await?, 5)?;
    }
    let overlapping = (4..=6).map(|k| bench.entry_with(k, "overlapping")).collect();
    bench.journal.append(overlapping).await?.await?;
    bench.append(7..=7).await?;
    let mut must = bench.entries(1..=7);
    must[5] = bench.entry_with(6, "overlapping");
    equal("entries", bench.reader_after(0).await?.take(7).await?, must)
}

pub(super) async fn a_repeat_within_a_batch_changes_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let repeated = |k| bench.entry_with(k, "repeated");
    let batch = vec![bench.entry(1), repeated(1), bench.entry(2), repeated(1), repeated(2), bench.entry(3)];
    bench.journal.append(batch).await?.await?;
    bench.append(4..=4).await?;
    equal("entries", bench.reader_after(0).await?.take(4).await?, bench.entries(1..=4))
}

pub(super) async fn a_number_that_skips_is_kept(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append([1, 2]).await?;
    bench.append([5, 9]).await?;
    equal("last", bench.last().await?, 9)?;
    // What was skipped is below the last now, and stays missing.
    bench.append([3, 4, 9]).await?;
    bench.append([10]).await?;
    equal("last", bench.last().await?, 10)?;
    equal("entries behind the first hole", bench.reader_after(4).await?.take_ks(1).await?, vec![5])?;
    equal("entries behind the second hole", bench.reader_after(8).await?.take_ks(2).await?, vec![9, 10])
}

pub(super) async fn origins_are_numbered_apart(harness: &mut dyn Harness) -> Case {
    let only = harness.only_origin();
    let first = Bench::open(harness).await?;
    able(only.is_none().then_some(()), "take entries of several origins")?;
    let second = first.another_origin(2);
    first.append(1..=3).await?;
    second.append(1..=2).await?;
    let mixed = vec![first.entry(4), second.entry(3), first.entry(5), second.entry(4)];
    first.journal.append(mixed).await?.await?;
    equal("last of one origin", first.last().await?, 5)?;
    equal("last of the other", second.last().await?, 4)?;
    let read = first.reader(Start::Oldest).await?.take(5).await?;
    equal("entries of one origin", read, first.entries(1..=5))?;
    let read = second.reader(Start::Oldest).await?.take(4).await?;
    equal("entries of the other", read, second.entries(1..=4))
}

pub(super) async fn what_was_durable_survives_a_restart(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=50).await?;
    let large = bench.entry_with(51, noise(3, PAYLOAD_BYTES_MAX));
    bench.journal.append(vec![large.clone()]).await?.await?;
    let mut must = bench.entries(1..=50);
    must.push(large);
    let bench = bench.restart(harness).await?;
    ensure(bench.last().await? >= 51, || "the bounds have shrunk".into())?;
    let read = bench.reader_after(0).await?.take(51).await?;
    ensure(read == must, || "entries changed over a restart".into())
}

pub(super) async fn a_repeat_changes_nothing_after_a_restart(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append([1, 2, 5]).await?;
    let bench = bench.restart(harness).await?;
    let opened = bench.last().await?;
    for k in [1, 3, 5] {
        bench.journal.append(vec![bench.entry_with(k, "repeated")]).await?.await?;
    }
    equal("last after repeats", bench.last().await?, opened)?;
    let mut reader = bench.reader_after(0).await?;
    equal("entries", reader.take(2).await?, bench.entries(1..=2))?;
    refused("read of the hole", reader.next(9).await, ErrorKind::Hole)?;
    equal("entries behind the hole", reader.take(1).await?, bench.entries([5]))
}

/// Bytes of one entry's payload while a journal is filled.
const FILL_BYTES: usize = 64 * 1024;

pub(super) async fn a_full_journal_says_so_and_queues_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let bytes = able(harness.overflow_bytes(), "fill the journal")?;
    let mut kept = 0;
    let full = loop {
        if kept * FILL_BYTES as u64 > bytes {
            return Err(Stop::Broken("took more than its hard cap".into()));
        }
        let batch = vec![bench.entry_with(kept + 1, vec![7; FILL_BYTES]), bench.entry(kept + 2)];
        match bench.journal.append(batch).await {
            Ok(pending) => pending.await?,
            Err(error) => break error,
        }
        kept += 2;
    };
    equal("kind of the error", full.kind(), ErrorKind::Full)?;
    equal("last", bench.last().await?, kept)?;
    let newest = bench.reader_after(kept - 1).await?.take_ks(1).await?;
    equal("the last entry that was taken", newest, vec![kept])
}

pub(super) async fn a_closed_journal_takes_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=1).await?;
    able(harness.close().await?.then_some(()), "close the journal under its handles")?;
    refused("append to a closed journal", bench.queue(2..=2).await, ErrorKind::Closed).map(drop)
}
