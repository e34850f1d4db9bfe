//! Cases of [`Journal::read`](crate::Journal::read), [`Entries::next`](crate::Entries::next) and
//! [`Journal::bounds`](crate::Journal::bounds).

use tokio::task::JoinSet;

use super::super::support::{Case, POLLS, Stop, able, attempt, ensure, equal, refused};
use super::Harness;
use super::bench::{Bench, Reader, list};
use crate::{Error, ErrorKind, Positions, Start};

pub(super) async fn oldest_begins_with_the_oldest_entry(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=3).await?;
    let bounds = bench.journal.bounds().await?;
    let (first, _) = able(bounds.origins.get(&bench.origin), "tell bounds of what it took")?;
    let mut reader = bench.reader(Start::Oldest).await?;
    let oldest = reader.next(1).await?;
    equal("oldest", oldest.first().map(|entry| entry.id.n), Some(*first))?;
    let mut again = bench.reader(Start::Oldest).await?;
    equal("entries", again.take_ks(3).await?, list(1..=3))
}

pub(super) async fn newest_begins_after_what_is_durable(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=3).await?;
    let mut reader = bench.reader(Start::Newest).await?;
    still_waits("read of the newest", &mut reader).await?;
    bench.append(4..=5).await?;
    equal("entries", reader.take_ks(2).await?, list(4..=5))?;
    if harness.hold(true).await? {
        let pending = bench.queue(6..=6).await?;
        let mut reader = bench.reader(Start::Newest).await?;
        harness.hold(false).await?;
        pending.await?;
        equal("what became durable after the start", reader.take_ks(1).await?, vec![6])?;
    }
    Ok(())
}

pub(super) async fn after_begins_behind_each_position(harness: &mut dyn Harness) -> Case {
    let only = harness.only_origin();
    let first = Bench::open(harness).await?;
    first.append(1..=9).await?;
    for k in 0..9 {
        let read = first.reader_after(k).await?.take_ks(9 - k as usize).await?;
        equal("entries behind a position", read, list(k + 1..=9))?;
    }
    let mut at_end = first.reader_after(9).await?;
    still_waits("read behind the last", &mut at_end).await?;
    first.append([10]).await?;
    equal("entries behind the last", at_end.take_ks(1).await?, vec![10])?;
    if only.is_none() {
        let second = first.another_origin(2);
        second.append(1..=4).await?;
        let positions = Positions::from([(first.origin, first.base + 8), (second.origin, 3)]);
        let mut reader = second.reader(Start::After(positions.clone())).await?;
        equal("entries of the second origin", reader.take_ks(1).await?, vec![4])?;
        let mut reader = first.reader(Start::After(positions)).await?;
        equal("entries of the first origin", reader.take_ks(2).await?, vec![9, 10])?;
    }
    Ok(())
}

pub(super) async fn origins_that_are_not_named_are_read_from_their_oldest(harness: &mut dyn Harness) -> Case {
    let only = harness.only_origin();
    let first = Bench::open(harness).await?;
    first.append(1..=3).await?;
    let mut reader = first.reader(Start::After(Positions::new())).await?;
    equal("entries after no position", reader.take_ks(3).await?, list(1..=3))?;
    if only.is_some() {
        return Ok(());
    }
    let (second, third) = (first.another_origin(2), first.another_origin(3));
    second.append(1..=2).await?;
    let behind = Start::After(Positions::from([(first.origin, first.base + 3)]));
    let mut reader = second.reader(behind.clone()).await?;
    equal("an origin that is not named", reader.take_ks(2).await?, list(1..=2))?;
    let mut reader = third.reader(behind).await?;
    third.append([1, 2]).await?;
    equal("an origin that appears later", reader.take_ks(2).await?, list(1..=2))
}

/// How much is appended before it is trimmed: enough for a journal that removes whole files.
const TRIM_BATCHES: u64 = 40;

/// Appends many batches and has the first three quarters removed; gives the first number that is left.
async fn trimmed(bench: &Bench, harness: &mut dyn Harness) -> Case<u64> {
    for k in 1..=TRIM_BATCHES {
        bench.journal.append(vec![bench.entry_with(k, vec![b'x'; 32 * 1024])]).await?.await?;
    }
    trim(bench, harness).await
}

async fn trim(bench: &Bench, harness: &mut dyn Harness) -> Case<u64> {
    let below = TRIM_BATCHES * 3 / 4;
    able(harness.trim(bench.id(below)).await?.then_some(()), "remove old entries")?;
    let (first, last) =
        bench.bounds().await?.ok_or_else(|| Stop::Broken("nothing is left after a trim".into()))?;
    ensure(first > 1 && first <= below, || format!("first is {first} after a trim below {below}"))?;
    equal("last after a trim", last, TRIM_BATCHES)?;
    Ok(first)
}

pub(super) async fn a_start_before_what_is_kept_is_not_found(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let first = trimmed(&bench, harness).await?;
    for k in [0, first - 2] {
        let positions = Positions::from([(bench.origin, bench.base + k)]);
        let answer = bench.journal.read(Start::After(positions)).await;
        let error = refused("read before what is kept", answer.map(drop), ErrorKind::NotFound)?;
        equal("origin in the error", error.context("origin"), Some(&*bench.origin.to_string()))?;
        ensure(error.context("n").is_some(), || format!("the error names no number (context `n`): {error}"))?;
    }
    equal("after the last removed", bench.reader_after(first - 1).await?.take_ks(1).await?, vec![first])?;
    equal("oldest", bench.reader(Start::Oldest).await?.take_ks(1).await?, vec![first])
}

pub(super) async fn next_gives_at_least_one_and_at_most_max(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=30).await?;
    let mut reader = bench.reader_after(0).await?;
    let mut read = Vec::new();
    for max in [1, 2, 3, 7, usize::MAX].into_iter().cycle() {
        let batch = reader.next(max).await?;
        ensure(!batch.is_empty(), || "gave nothing".into())?;
        ensure(batch.len() <= max, || format!("gave {} of at most {max}", batch.len()))?;
        read.extend(reader.ks(&batch));
        if read.len() >= 30 {
            break;
        }
    }
    equal("entries", read, list(1..=30))
}

pub(super) async fn a_dropped_next_loses_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let mut reader = bench.reader_after(0).await?;
    let mut read = Vec::new();
    for k in 1..=60 {
        // Dropped while it waits, then dropped after some polls while there is something to give.
        if let Some(batch) = attempt(reader.next(2), k as usize % 4).await.transpose()? {
            read.extend(reader.ks(&batch));
        }
        bench.append([k]).await?;
        if let Some(batch) = attempt(reader.next(2), k as usize % 3).await.transpose()? {
            read.extend(reader.ks(&batch));
        }
    }
    let rest = reader.take_ks(60_usize.saturating_sub(read.len())).await?;
    read.extend(rest);
    equal("entries", read, list(1..=60))
}

/// The hole that the next call must tell.
async fn told_hole(bench: &Bench, reader: &mut Reader, from: u64, to: u64) -> Case {
    let error = refused("read of a hole", reader.next(100).await, ErrorKind::Hole)?;
    let must = crate::journal::hole(bench.origin, bench.base + from, bench.base + to);
    for name in ["origin", "from", "to"] {
        equal(&format!("`{name}` of the hole"), error.context(name), must.context(name))?;
    }
    Ok(())
}

pub(super) async fn a_hole_is_told_once_with_both_ends(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append([1, 2]).await?;
    let mut tailing = bench.reader_after(0).await?;
    equal("entries before the hole", tailing.take_ks(2).await?, vec![1, 2])?;
    bench.append([6, 7]).await?;
    for mut reader in [tailing, bench.reader_after(2).await?] {
        told_hole(&bench, &mut reader, 3, 5).await?;
        equal("entries behind the hole", reader.take_ks(2).await?, vec![6, 7])?;
    }
    Ok(())
}

pub(super) async fn every_hole_is_told(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append([1, 3, 4, 9]).await?;
    let mut reader = bench.reader_after(0).await?;
    equal("entries", reader.take_ks(1).await?, vec![1])?;
    told_hole(&bench, &mut reader, 2, 2).await?;
    equal("entries", reader.take_ks(2).await?, vec![3, 4])?;
    told_hole(&bench, &mut reader, 5, 8).await?;
    equal("entries", reader.take_ks(1).await?, vec![9])
}

pub(super) async fn reading_goes_on_behind_a_hole(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append([1, 2, 3, 100]).await?;
    let mut reader = bench.reader_after(0).await?;
    let before = reader.next(100).await?;
    equal("entries before the hole come first", reader.ks(&before), vec![1, 2, 3])?;
    told_hole(&bench, &mut reader, 4, 99).await?;
    equal("entries behind it", reader.take_ks(1).await?, vec![100])?;
    still_waits("read behind a hole", &mut reader).await?;
    bench.append([101]).await?;
    equal("entries appended later", reader.take_ks(1).await?, vec![101])
}

pub(super) async fn entries_removed_before_they_were_read_are_a_hole(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append([1]).await?;
    let mut reader = bench.reader_after(0).await?;
    equal("entries", reader.take_ks(1).await?, vec![1])?;
    let first = trimmed(&bench, harness).await?;
    // A reader may have taken some into a buffer of its own; the rest must be told, not passed over.
    let mut last = 1;
    loop {
        match reader.next(1).await {
            Ok(batch) => {
                let ks = reader.ks(&batch);
                equal("number behind the last one", ks, vec![last + 1])?;
                last += 1;
            }
            Err(error) if error.kind() == ErrorKind::Hole => {
                let to = error.context("to").and_then(|to| to.parse::<u64>().ok());
                let from = error.context("from").and_then(|from| from.parse::<u64>().ok());
                equal("hole", (from, to), (Some(bench.base + last + 1), Some(bench.base + first - 1)))?;
                last = first - 1;
            }
            Err(error) => return Err(error.into()),
        }
        if last == TRIM_BATCHES {
            return Ok(());
        }
    }
}

pub(super) async fn a_waiting_reader_wakes_up_when_entries_become_durable(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let mut reader = bench.reader_after(0).await?;
    for k in 1..=20 {
        let read = async { reader.take_ks(1).await };
        let append = async {
            // The reader waits by now: `join` polls it first.
            tokio::task::yield_now().await;
            bench.append([k]).await
        };
        let (read, appended) = tokio::join!(biased; read, append);
        appended?;
        equal("entries", read?, vec![k])?;
    }
    Ok(())
}

pub(super) async fn readers_never_see_what_is_not_durable(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append([1]).await?;
    let observer = harness.observe().await?.map(|observer| bench.through(observer));
    able(harness.hold(true).await?.then_some(()), "hold durability back")?;
    let pending = bench.queue([2, 3]).await?;
    let mut readers = vec![bench.reader_after(0).await?];
    // It is kept until the end: a journal that is dropped may end its readers.
    if let Some(other) = &observer {
        readers.push(other.reader_after(0).await?);
    }
    for reader in &mut readers {
        equal("what is durable", reader.take_ks(1).await?, vec![1])?;
        still_waits("read of what is not durable", reader).await?;
    }
    harness.hold(false).await?;
    pending.await?;
    for reader in &mut readers {
        equal("what has become durable", reader.take_ks(2).await?, vec![2, 3])?;
    }
    Ok(())
}

/// Readers that read at once in [`readers_do_not_disturb_one_another`].
const READERS: usize = 16;

pub(super) async fn readers_do_not_disturb_one_another(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=50).await?;
    let mut reading = JoinSet::new();
    for at in 0..READERS {
        let mut reader = bench.reader_after(at as u64).await?;
        reading.spawn(async move {
            let mut ks = Vec::new();
            while ks.last() != Some(&100) {
                let batch = reader.next(at + 1).await?;
                ks.extend(reader.ks(&batch));
            }
            Ok::<_, Error>((at, ks))
        });
    }
    for k in 51..=100 {
        bench.append([k]).await?;
    }
    while let Some(joined) = reading.join_next().await {
        let (at, ks) = joined.map_err(|error| Stop::Broken(format!("a reader ended: {error}")))??;
        equal("entries of one of many readers", ks, list(at as u64 + 1..=100))?;
    }
    Ok(())
}

pub(super) async fn a_reader_of_a_closed_journal_reads_all_and_is_told(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=3).await?;
    let mut reader = bench.reader_after(0).await?;
    let mut waiting = bench.reader_after(3).await?;
    still_waits("read behind the last", &mut waiting).await?;
    able(harness.close().await?.then_some(()), "close the journal under its handles")?;
    equal("entries", reader.take_ks(3).await?, list(1..=3))?;
    refused("read behind the end", reader.next(1).await, ErrorKind::Closed)?;
    refused("read that waited", waiting.next(1).await, ErrorKind::Closed).map(drop)
}

pub(super) async fn other_processes_read_what_is_durable(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append(1..=3).await?;
    let other = bench.through(able(harness.observe().await?, "be read by another process")?);
    equal("last as another process sees it", other.last().await?, 3)?;
    let mut reader = other.reader_after(0).await?;
    equal("entries", reader.take(3).await?, bench.entries(1..=3))?;
    bench.append(4..=5).await?;
    equal("entries appended later", reader.take(2).await?, bench.entries(4..=5))?;
    let ours = bench.journal.bounds().await?;
    equal("bounds", other.journal.bounds().await?, ours)
}

pub(super) async fn bounds_are_the_first_and_last_of_each_origin(harness: &mut dyn Harness) -> Case {
    let only = harness.only_origin();
    let first = Bench::open(harness).await?;
    let before = first.journal.bounds().await?;
    ensure(first.base > 0 || !before.origins.contains_key(&first.origin), || {
        "bounds name an origin that has nothing".into()
    })?;
    for k in 1..=5 {
        first.append([k]).await?;
        equal("last", first.last().await?, k)?;
    }
    let begin = before.origins.get(&first.origin).map_or(1, |(first, _)| *first);
    let bounds = first.journal.bounds().await?;
    equal("bounds", bounds.origins.get(&first.origin), Some(&(begin, first.base + 5)))?;
    if only.is_none() {
        let second = first.another_origin(2);
        second.append([7, 9]).await?;
        equal("bounds of an origin that begins at 7", second.bounds().await?, Some((7, 9)))?;
        equal("last of the other", first.last().await?, 5)?;
    }
    Ok(())
}

pub(super) async fn bounds_tell_only_what_is_durable(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    bench.append([1]).await?;
    able(harness.hold(true).await?.then_some(()), "hold durability back")?;
    let pending = bench.queue([2]).await?;
    for _ in 0..POLLS {
        equal("last while durability is held", bench.last().await?, 1)?;
        tokio::task::yield_now().await;
    }
    harness.hold(false).await?;
    pending.await?;
    equal("last", bench.last().await?, 2)
}

pub(super) async fn bounds_follow_what_is_removed(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let first = trimmed(&bench, harness).await?;
    let read = bench.reader(Start::Oldest).await?.take_ks((TRIM_BATCHES - first + 1) as usize).await?;
    equal("what is left", read, list(first..=TRIM_BATCHES))?;
    bench.journal.append(vec![bench.entry_with(1, "removed, and repeated")]).await?.await?;
    equal("bounds after a repeat", bench.bounds().await?, Some((first, TRIM_BATCHES)))
}

pub(super) async fn the_incarnation_stays(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let incarnation = bench.journal.bounds().await?.incarnation;
    ensure(!incarnation.is_empty(), || "the incarnation is empty".into())?;
    bench.append([1]).await?;
    equal("incarnation after an append", bench.journal.bounds().await?.incarnation, incarnation.clone())?;
    match bench.restart(harness).await {
        Ok(bench) => equal("after a restart", bench.journal.bounds().await?.incarnation, incarnation),
        Err(Stop::Cannot(_)) => Ok(()),
        Err(stop) => Err(stop),
    }
}

pub(super) async fn a_new_journal_has_a_new_incarnation(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let old = bench.journal.bounds().await?.incarnation;
    drop(bench);
    let journal = able(harness.recreate().await?, "make a new journal in the old one's place")?;
    ensure(journal.bounds().await?.incarnation != old, || "the incarnation is the old one".into())
}

async fn still_waits(what: &str, reader: &mut Reader) -> Case {
    match attempt(reader.next(100), POLLS).await {
        None => Ok(()),
        Some(answer) => Err(Stop::Broken(format!("{what}: must wait, gave {answer:?}"))),
    }
}
