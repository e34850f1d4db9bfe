//! Verification: what is sound passes, what is damaged is named.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap too")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use futures_util::TryStreamExt;
use ssmd_core::*;
use ssmd_storage::{MemoryStore, Report};

async fn report(store: &Arc<MemoryStore>) -> Report {
    ssmd_storage::verify(store.clone(), None, |_| Some(decoder()), |_| {}).await.unwrap()
}

async fn paths(store: &Arc<MemoryStore>) -> Vec<ObjectPath> {
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    listed.into_iter().map(|meta| meta.path).collect()
}

async fn archived(recording: &Recording) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    archive_all(journal_of(&[&recording.entries]).await, store.clone()).await.unwrap();
    store
}

#[tokio::test]
async fn a_sound_archive_passes_and_is_counted() {
    let mut recording = recording(1, 70);
    recording.open();
    recording.gap(&gap(GapCause::Silence));
    recording.frame("{\"bad\":1}");
    recording.frame("x".repeat(3 * 1024 * 1024));
    recording.close();
    let store = archived(&recording).await;
    let mut steps = Vec::new();
    let report =
        ssmd_storage::verify(store, None, |_| Some(decoder()), |step| steps.push(step)).await.unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.errors, report.objects, report.commits, report.sessions), (0, 2, 2, 2));
    assert_eq!((report.frames, report.entries), (70 * 4 + 2, recording.entries.len() as u64));
    assert_eq!((report.books_verified, report.books_failed, report.gaps), (70, 1, 2));
    assert_eq!((report.unknown, report.malformed), (70, 141));
    assert_eq!(steps.last().map(|step| (step.done, step.of)), Some((2, 2)));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["days"][0], "2026-08-01");
}

#[tokio::test]
async fn every_flipped_byte_is_found() {
    let store = archived(&recording(2, 62)).await;
    let mut flips = 0;
    for path in paths(&store).await {
        let good = store.get(&path, None).await.unwrap();
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            store.put(&path, bad.into(), PutMode::Overwrite).await.unwrap();
            let report = report(&store).await;
            let named = report.problems.iter().any(|problem| problem.place == path.as_str());
            assert!(named, "byte {at} of {path}: {report:?}");
            flips += 1;
        }
        store.put(&path, good, PutMode::Overwrite).await.unwrap();
    }
    println!("flips {flips} found {flips}");
    assert_eq!(report(&store).await.errors, 0);
}

#[tokio::test]
async fn truncated_and_missing_objects_are_found() {
    let store = archived(&recording(3, 130)).await;
    for path in paths(&store).await {
        let good = store.get(&path, None).await.unwrap();
        for length in [0, 1, good.len() / 2, good.len() - 1] {
            store.put(&path, good.slice(..length), PutMode::Overwrite).await.unwrap();
            let report = report(&store).await;
            assert!(
                report.problems.iter().any(|problem| problem.place == path.as_str()),
                "{path} {report:?}"
            );
        }
        store.delete(&path).await.unwrap();
        // The last commit of a chain leaves no trace but the object that it named.
        let report = report(&store).await;
        assert!(report.errors > 0 || report.orphans.len() == 1, "{path} {report:?}");
        store.put(&path, good, PutMode::Overwrite).await.unwrap();
    }
}

/// What the archive says about a recording in which one thing is wrong.
async fn codes(break_it: impl FnOnce(&mut Recording)) -> Vec<&'static str> {
    let mut recording = recording(4, 5);
    break_it(&mut recording);
    let report = report(&archived(&recording).await).await;
    report.problems.into_iter().map(|problem| problem.code).collect()
}

#[tokio::test]
async fn a_recording_that_contradicts_itself_is_found() {
    let frame = |entry: &Entry| matches!(entry.kind, EntryKind::Frame(_));
    let changed = codes(|r| r.entries[4].payload = Bytes::from_static(b"not jsom 0")).await;
    assert_eq!(changed.first(), Some(&"session_hash"));
    let skipped =
        codes(|r| r.entries.iter_mut().filter(|e| frame(e)).skip(3).for_each(|e| e.index += 1)).await;
    assert_eq!(skipped, ["session_index"]);
    let shorter = codes(|r| r.entries[4].payload = Bytes::new()).await;
    assert!(shorter.contains(&"tick_bytes") && shorter.contains(&"session_count"), "{shorter:?}");
    let twice = codes(|r| r.note(EntryKind::Open, &serde_json::json!({"url": "", "wanted": []}))).await;
    assert!(twice.is_empty(), "a closed session may be followed: {twice:?}");
    let note = codes(|r| r.note(EntryKind::Tick, &"no tick")).await;
    assert_eq!(note, ["note"]);
    let ahead = codes(|r| {
        r.open();
        r.note(EntryKind::Tick, &serde_json::json!({"sessions": {"2": {"frames": 9, "bytes": 9}}}));
    })
    .await;
    assert_eq!(ahead, ["tick_frames"]);
}

#[tokio::test]
async fn decoding_finds_gaps_from_the_beginning_of_the_session() {
    let mut recording = Recording::new(5);
    recording.open();
    recording.frame("{\"book\":1}");
    recording.advance(Duration::from_secs(86_400));
    let silence = Gap { detail: "quiet".to_owned(), ..gap(GapCause::Silence) };
    recording.gap(&silence);
    recording.frame("{\"bad\":1}");
    recording.close();
    let archive = ssmd_storage::Archive::open(archived(&recording).await).await.unwrap();
    let day = recording.at.day();
    let ledger = async |first, last, decoder| {
        let gaps = ssmd_storage::ledger(&archive, &feed(), (first, last), decoder).await.unwrap();
        gaps.into_iter().map(|gap| gap.gap.cause).collect::<Vec<_>>()
    };
    assert_eq!(ledger(day, day, None).await, [GapCause::Silence]);
    assert_eq!(ledger(day, day, Some(decoder())).await, [GapCause::Silence, GapCause::Checksum]);
    let before = Timestamp::from_nanos(START).day();
    assert_eq!(ledger(before, before, Some(decoder())).await, []);
}

#[tokio::test]
async fn a_day_is_read_with_the_beginnings_of_its_sessions_where_a_decoder_needs_them() {
    let mut recording = Recording::new(6);
    for _ in 0..2 {
        recording.open();
        recording.frame("{\"book\":1}");
        recording.advance(Duration::from_secs(86_400));
        recording.frame("{\"book\":2}");
        recording.close();
    }
    let archive = ssmd_storage::Archive::open(archived(&recording).await).await.unwrap();
    let first = Timestamp::from_nanos(START).day();
    let days = |day| {
        let selection = ssmd_storage::Selection::day(day);
        let segments = archive.segments_with_beginnings(&feed(), &selection);
        segments.into_iter().map(|(_, object)| object.day).collect::<Vec<_>>()
    };
    assert_eq!(days(first), [first]);
    assert_eq!(days(first.next()), [first, first.next()]);
    let last = first.next().next();
    assert_eq!(days(last), [first.next(), last], "the first session ended before that day");
}
