//! The archiver: every entry exactly once, whatever breaks.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap too")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use futures_util::TryStreamExt;
use ssmd_core::*;
use ssmd_storage::{Archive, Chain, FileStore, MemoryStore, Selection};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn everything_is_archived_once_and_cut_at_a_minute() {
    let recording = recording(1, 150);
    let store = Arc::new(MemoryStore::new());
    let journal = journal_of(&[&recording.entries]).await;
    let summary = archive_all(journal.clone(), store.clone()).await.unwrap();
    assert_eq!((summary.objects, summary.commits), (3, 3));
    assert_eq!(summary.entries, recording.entries.len() as u64);
    assert_eq!(read_all(store.clone()).await, recording.entries);

    let again = archive_all(journal, store.clone()).await.unwrap();
    assert_eq!(again, ssmd_storage::Summary::default());
    let archive = Archive::open(store).await.unwrap();
    assert_eq!(archive.feeds(), [feed()]);
    assert_eq!(archive.days(&feed()), [Timestamp::from_nanos(START).day()]);
}

#[tokio::test]
async fn days_and_stepped_clocks_cut_too() {
    let mut recording = Recording::new(2);
    recording.open();
    for by in [Duration::from_secs(75_600 - 1), Duration::from_secs(1), Duration::from_secs(1)] {
        recording.advance(by);
        recording.frame("{}");
    }
    recording.at = Timestamp::from_nanos(recording.at.nanos() - 61_000_000_000);
    let day = recording.entries.last().unwrap().day;
    recording.frame("[]");
    recording.entries.last_mut().unwrap().day = day;
    let store = Arc::new(MemoryStore::new());
    archive_all(journal_of(&[&recording.entries]).await, store.clone()).await.unwrap();
    let segments = Archive::open(store.clone()).await.unwrap().segments(&feed(), &Selection::all());
    let sizes: Vec<_> = segments.iter().map(|(_, object)| object.entries).collect();
    assert_eq!(sizes, [2, 1, 2, 1]);
    assert!(segments[0].1.path.starts_with("raw/test/2026/08/01/03/00-02020202-0000000000000001-"));
    assert_eq!(read_all(store).await, recording.entries);
}

#[tokio::test]
async fn what_arrives_in_other_batches_gives_the_same_objects() {
    let recording = recording(3, 130);
    let mut listings = Vec::new();
    for size in [1, 7, 100_000] {
        let store = MemoryStore::new();
        let batches: Vec<_> = recording.entries.chunks(size).collect();
        let store = Arc::new(store);
        archive_all(journal_of(&batches).await, store.clone()).await.unwrap();
        let prefix: ObjectPath = "raw".parse().unwrap();
        let mut names: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
        names.sort_by_key(|meta: &ObjectMeta| meta.path.clone());
        listings.push(names.into_iter().map(|meta| meta.path).collect::<Vec<_>>());
    }
    assert_eq!(listings[0], listings[1]);
    assert_eq!(listings[0], listings[2]);
}

#[tokio::test]
async fn a_crash_at_any_step_repeats_work_and_changes_nothing() {
    crash_at_every_step(|| Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn a_crash_at_any_step_changes_nothing_in_a_store_that_cannot_refuse_what_exists() {
    crash_at_every_step(|| Arc::new(Unconditional(MemoryStore::new()))).await;
}

async fn crash_at_every_step(make: impl Fn() -> Arc<dyn Store>) {
    let recording = recording(4, 200);
    for after in [false, true] {
        for breaks_at in 0.. {
            let inner = make();
            let faulty = Faulty {
                inner: inner.clone(),
                operations: AtomicUsize::new(0),
                breaks_at,
                after,
                for_good: true,
            };
            let faulty = Arc::new(faulty);
            let journal = journal_of(&[&recording.entries]).await;
            let lock = tempfile::tempdir().unwrap();
            let stop = CancellationToken::new();
            // The store is gone for good from here on: the archiver is dropped where it waits for it.
            let run = archiver(journal.clone(), faulty.clone(), lock.path());
            let broken = async {
                while faulty.operations.load(Ordering::SeqCst) <= breaks_at {
                    tokio::task::yield_now().await;
                }
            };
            stop.cancel();
            let ended = tokio::select! {
                biased;
                ended = run.run(stop) => ended.is_ok(),
                () = broken => false,
            };
            archive_all(journal, inner.clone()).await.unwrap();
            assert_eq!(
                read_all(inner.clone()).await,
                recording.entries,
                "broken at {breaks_at}, after: {after}"
            );
            let report = ssmd_storage::verify(inner, None, |_| Some(decoder()), |_| {}).await.unwrap();
            assert_eq!(report.errors, 0, "{report:?}");
            if ended {
                assert!(breaks_at > 8, "it broke at no step");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_for_a_moment_is_tried_again() {
    let recording = recording(5, 100);
    for breaks_at in 0..8 {
        for after in [false, true] {
            let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let faulty = Faulty {
                inner: inner.clone(),
                operations: AtomicUsize::new(0),
                breaks_at,
                after,
                for_good: false,
            };
            let journal = journal_of(&[&recording.entries]).await;
            archive_all(journal, Arc::new(faulty)).await.unwrap();
            assert_eq!(read_all(inner).await, recording.entries);
        }
    }
}

#[tokio::test]
async fn two_archivers_commit_every_entry_once() {
    let recording = recording(6, 1000);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let journal = journal_of(&[&recording.entries]).await;
    let (left, right) =
        tokio::join!(archive_all(journal.clone(), store.clone()), archive_all(journal, store.clone()));
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!(left.entries + right.entries, recording.entries.len() as u64);
    assert_eq!(read_all(store.clone()).await, recording.entries);
    let report = ssmd_storage::verify(store, None, |_| None, |_| {}).await.unwrap();
    assert_eq!((report.errors, report.orphans.len()), (0, 0));
}

#[tokio::test]
async fn a_second_archiver_on_the_same_host_is_refused() {
    let lock = tempfile::tempdir().unwrap();
    let journal = journal_of(&[]).await;
    let first = archiver(journal.clone(), Arc::new(MemoryStore::new()), lock.path());
    let second = archiver(journal, Arc::new(MemoryStore::new()), lock.path());
    let stop = CancellationToken::new();
    let both = async {
        tokio::join!(first.run(stop.clone()), async {
            let error = second.run(stop.clone()).await.unwrap_err();
            stop.cancel();
            error
        })
    };
    let (first, error) = within(both).await;
    assert_eq!(error.kind(), ErrorKind::Conflict);
    first.unwrap();
}

#[tokio::test]
async fn lost_entries_are_committed_as_lost_and_the_rest_goes_on() {
    let recording = recording(7, 30);
    let (all, store) = (&recording.entries, Arc::new(MemoryStore::new()));
    let journal = journal_of(&[&all[..50], &all[70..]]).await;
    let summary = archive_all(journal, store.clone()).await.unwrap();
    assert_eq!((summary.lost, summary.commits), (20, 3));
    let chain = Chain::load(&*store, recording.origin).await.unwrap().unwrap();
    assert_eq!(chain.coverage.holes(), [(51, 70)]);
    assert_eq!((chain.lost[&51].first, chain.lost[&51].last), (51, 70));
    assert_eq!(chain.position(), all.len() as u64);

    let archive = Archive::open(store.clone()).await.unwrap();
    let day = recording.at.day();
    let gaps = ssmd_storage::ledger(&archive, &feed(), (day, day), None).await.unwrap();
    assert_eq!(gaps.len(), 1);
    assert_eq!((gaps[0].gap.cause, gaps[0].gap.missing), (GapCause::Lost, Some(20)));
    let report = ssmd_storage::verify(store, None, |_| None, |_| {}).await.unwrap();
    assert_eq!((report.errors, report.holes, report.lost), (0, 1, 20));
}

#[tokio::test]
async fn damage_under_a_new_objects_name_is_replaced() {
    let recording = recording(12, 5);
    let stores = [Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())];
    archive_all(journal_of(&[&recording.entries]).await, stores[0].clone()).await.unwrap();
    let archive = Archive::open(stores[0].clone()).await.unwrap();
    let path: ObjectPath = archive.segments(&feed(), &Selection::all())[0].1.path.parse().unwrap();
    stores[1].put(&path, "damaged".into(), PutMode::Create).await.unwrap();
    archive_all(journal_of(&[&recording.entries]).await, stores[1].clone()).await.unwrap();
    assert_eq!(read_all(stores[1].clone()).await, recording.entries);
}

#[tokio::test]
async fn what_was_trimmed_before_it_was_archived_is_lost() {
    let recording = recording(8, 20);
    let store = Arc::new(MemoryStore::new());
    archive_all(journal_of(&[&recording.entries[..20]]).await, store.clone()).await.unwrap();
    let journal = journal_of(&[&recording.entries]).await;
    journal.trim(&[(recording.origin, 41)].into());
    let summary = archive_all(journal, store.clone()).await.unwrap();
    assert_eq!(summary.lost, 20);
    assert_eq!(read_all(store).await.len(), recording.entries.len() - 20);
}

#[tokio::test]
async fn commits_are_told_and_the_lag_is_shown() {
    let recording = recording(9, 100);
    let lock = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut archiver =
        archiver(journal_of(&[&recording.entries]).await, Arc::new(MemoryStore::new()), lock.path());
    let tell = told.clone();
    archiver.covered = Arc::new(move |origin, n| {
        tell.lock().unwrap().push((origin, n));
        Err(Error::new(ErrorKind::Io, "test"))
    });
    let stop = CancellationToken::new();
    stop.cancel();
    within(archiver.run(stop)).await.unwrap();
    let last = recording.entries.len() as u64;
    assert_eq!(told.lock().unwrap().last(), Some(&(recording.origin, last)));
    assert!(told.lock().unwrap().is_sorted());
    let entries = archiver.metrics.counter(&metrics::ARCHIVED_ENTRIES, &["test"]);
    assert_eq!(entries.get(), last);
    assert_eq!(archiver.metrics.gauge(&metrics::ARCHIVER_LAG, &["test"]).get(), 0.0);
}

#[tokio::test]
async fn the_lag_grows_while_the_store_refuses() {
    let recording = recording(9, 100);
    let lock = tempfile::tempdir().unwrap();
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let store = Faulty { inner, operations: AtomicUsize::new(0), breaks_at: 2, after: false, for_good: true };
    let clock = ManualClock::new(recording.at);
    let mut archiver = archiver(journal_of(&[&recording.entries]).await, Arc::new(store), lock.path());
    archiver.clock = Arc::new(clock.clone());
    let lag = archiver.metrics.gauge(&metrics::ARCHIVER_LAG, &["test"]);
    let watch = async {
        // The recording is 100 s long, and the store refuses from the first segment on.
        for wanted in [1000.0, 2000.0] {
            while lag.get() < wanted {
                clock.advance(Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        }
    };
    within(async {
        tokio::select! {
            ended = archiver.run(CancellationToken::new()) => panic!("{ended:?}"),
            () = watch => {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_silent_journal_is_archived_without_being_stopped() {
    let recording = recording(10, 5);
    let lock = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(recording.at);
    let store = Arc::new(MemoryStore::new());
    let mut archiver = archiver(journal_of(&[&recording.entries]).await, store.clone(), lock.path());
    archiver.clock = Arc::new(clock.clone());
    let stop = CancellationToken::new();
    let watch = async {
        while Archive::open(store.clone()).await.unwrap().feeds().is_empty() {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (summary, ()) = within(async { tokio::join!(archiver.run(stop.clone()), watch) }).await;
    assert_eq!(summary.unwrap().entries, recording.entries.len() as u64);
}

#[tokio::test]
async fn orphans_are_swept_after_their_grace() {
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(root.path()).unwrap());
    let recording = recording(11, 5);
    archive_all(journal_of(&[&recording.entries]).await, store.clone()).await.unwrap();
    let orphan: ObjectPath = "raw/test/2026/08/01/03/00-orphan.jsonl.zst".parse().unwrap();
    store.put(&orphan, "x".into(), PutMode::Create).await.unwrap();
    std::fs::write(root.path().join("raw/test/left#1"), "x").unwrap();
    let now = SystemClock::new().now();
    let grace = Duration::from_secs(60);
    assert!(ssmd_storage::sweep(store.clone(), &feed(), now, grace).await.unwrap().is_empty());
    assert_eq!(store.sweep(now, grace).await.unwrap(), 0);
    let later = now.saturating_add(Duration::from_secs(120));
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 3, "an unfinished write is no object");
    let report = ssmd_storage::verify(store.clone(), None, |_| None, |_| {}).await.unwrap();
    assert_eq!((report.errors, report.orphans.len()), (0, 1));
    assert_eq!(ssmd_storage::sweep(store.clone(), &feed(), later, grace).await.unwrap(), [orphan]);
    assert_eq!(store.sweep(later, grace).await.unwrap(), 1);
    assert_eq!(read_all(store).await, recording.entries);
}
