//! Environments as a time series: recorded once, named by commits, proved by verification.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap too")]

mod common;

use std::sync::Arc;

use common::*;
use ssmd_core::environment::{ChannelWords, Environment, FeedWords, OptionWords, Starter, Vocabulary};
use ssmd_core::*;
use ssmd_storage::environments::{self, Applied, History};
use ssmd_storage::{FileStore, MemoryStore, Report};
use tempfile::tempdir;
use tokio_util::sync::CancellationToken;

const WORDS: FeedWords = FeedWords {
    name: "test",
    channels: &[ChannelWords {
        name: "trade",
        option: OptionWords::Nothing,
        default_option: None,
        summary: "for tests",
    }],
    book: None,
    depths: &[],
    keys: &["secret"],
    starter: Starter { channels: &["trade"], symbols: &["A"], depth: None },
};

fn environment(symbols: &str) -> Environment {
    let text = format!(
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: dev }}\nspec: {{ feeds: {{ test: {{ channels: [trade], \
         symbols: [{symbols}], keys: {{ secret: {{ env: PATH }} }} }} }} }}\n"
    );
    Environment::parse(text.as_bytes(), "env.yaml", &Vocabulary { feeds: vec![WORDS] }).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(START + seconds * 1_000_000_000)
}

async fn apply(store: &dyn Store, symbols: &str, now: Timestamp) -> environments::Recorded {
    let applied = Applied { who: "me@here".into(), how: "file".into() };
    environments::record(store, &environment(symbols), applied, now).await.unwrap()
}

#[tokio::test]
async fn what_holds_is_recorded_once_and_a_day_knows_what_held_on_it() {
    let store = MemoryStore::new();
    let first = apply(&store, "A", at(0)).await;
    assert_eq!(apply(&store, "A", at(5)).await, first);
    let second = apply(&store, "A, B", at(10)).await;
    // A clock that was set back: later all the same.
    let third = apply(&store, "A", at(-100)).await;
    assert_eq!(third.version.sha256, first.version.sha256);
    assert!(third.version.valid_from > second.version.valid_from);
    assert!(!String::from_utf8_lossy(&first.bytes).contains(&std::env::var("PATH").unwrap()));

    let history = History::load(&store).await.unwrap();
    let order: Vec<_> = history.versions().map(|version| version.path.clone()).collect();
    assert_eq!(order, [&first, &second, &third].map(|version| version.path.clone()));
    assert_eq!(history.at(at(-1)), None);
    assert_eq!(history.at(at(7)), Some(&first));
    assert_eq!(history.valid_to(&first), Some(at(10)));
    assert_eq!((history.valid_to(&third), history.current()), (None, Some(&third)));
    assert_eq!(history.between(at(3), at(9)), [&first]);
    assert_eq!(history.between(at(3), at(10)), [&first, &second]);
    assert_eq!(history.on(at(0).day()), [&first, &second, &third]);
    assert_eq!(history.on(at(0).day().next()), [&third]);
    assert!(history.on(at(-86_400).day()).is_empty());
    let applied = Applied { who: "me@here".into(), how: "undo".into() };
    let fourth = environments::restore(&store, &second.version, applied, at(20)).await.unwrap();
    assert_eq!((&fourth.version.document, &fourth.version.how[..]), (&second.version.document, "undo"));
    assert_eq!(environments::current(&store).await.unwrap(), Some(fourth));
    let name = EnvironmentName::new("other").unwrap();
    assert_eq!(history.of(&name).current(), None);
}

#[tokio::test]
async fn a_damaged_version_is_passed_over_and_does_not_keep_from_recording() {
    let store = MemoryStore::new();
    let first = apply(&store, "A", at(0)).await;
    let second = apply(&store, "B", at(1)).await;
    for at in 0..second.bytes.len() {
        let mut bad = second.bytes.to_vec();
        bad[at] ^= 1;
        store.put(&second.path, bad.into(), PutMode::Overwrite).await.unwrap();
        let history = History::load(&store).await.unwrap();
        assert_eq!(history.current(), Some(&first), "byte {at}");
    }
    let again = apply(&store, "B", at(1_000)).await;
    assert_eq!(again.version.sha256, second.version.sha256);
    assert_ne!(again.path, second.path);
}

/// Archives a recording of some seconds, whose environments lie in `folder`.
async fn archive(folder: &std::path::Path, recording: &Recording) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let journal = journal_of(&[&recording.entries]).await;
    let mut archiver = archiver(journal, store.clone(), folder);
    archiver.options.environments = Some(folder.join("meta"));
    let stop = CancellationToken::new();
    stop.cancel();
    archiver.run(stop).await.unwrap();
    store
}

async fn verified(store: &Arc<MemoryStore>) -> Report {
    ssmd_storage::verify(store.clone(), None, |_| Some(decoder()), |_| {}).await.unwrap()
}

#[tokio::test]
async fn commits_name_what_held_while_their_entries_were_received_and_verify_proves_it() {
    let folder = tempdir().unwrap();
    let beside = FileStore::open(&folder.path().join("meta")).unwrap();
    let old = apply(&beside, "OLD", at(-1_000)).await;
    let first = apply(&beside, "A", at(-500)).await;
    let second = apply(&beside, "A, B", at(70)).await;
    let recording = recording(9, 200);
    let store = archive(folder.path(), &recording).await;

    let mut named = Vec::new();
    for n in 1.. {
        let path = ssmd_storage::layout::commit_path(recording.origin, n).unwrap();
        let Ok(bytes) = store.get(&path, None).await else { break };
        let commit = ssmd_storage::Commit::decode(&bytes).unwrap();
        named.push(commit.environments.into_iter().map(|named| named.path).collect::<Vec<_>>());
    }
    let (first, second) = (first.path.to_string(), second.path.to_string());
    assert_eq!((named[0].len(), &named[0][0]), (1, &first));
    assert_eq!(named[1], [first.clone(), second.clone()]);
    assert!(named[2..].iter().all(|named| *named == [second.clone()]), "{named:?}");
    let report = verified(&store).await;
    assert_eq!((report.errors, report.environments), (0, 3), "{report:?}");

    // One that no commit names may go; those that are named may not go, and not change.
    store.delete(&old.path).await.unwrap();
    assert_eq!(verified(&store).await.errors, 0);
    let path: ObjectPath = second.parse().unwrap();
    let good = store.get(&path, None).await.unwrap();
    let text = String::from_utf8(good.to_vec()).unwrap();
    store.put(&path, text.replace("me@here", "me@home").into(), PutMode::Overwrite).await.unwrap();
    assert_eq!(verified(&store).await.problems[0].code, "environment_unreadable");
    store.delete(&path).await.unwrap();
    let report = verified(&store).await;
    assert_eq!((report.errors, report.problems[0].code), (1, "environment_missing"), "{report:?}");
    // The archiver puts back what is damaged or gone.
    let recorded = History::load(&beside).await.unwrap();
    for version in recorded.versions() {
        environments::copy(version, &*store).await.unwrap();
    }
    assert_eq!(verified(&store).await.errors, 0);
}

#[tokio::test]
async fn a_version_that_is_another_one_than_commits_name_is_found() {
    let folder = tempdir().unwrap();
    let beside = FileStore::open(&folder.path().join("meta")).unwrap();
    let first = apply(&beside, "A", at(-500)).await;
    let store = archive(folder.path(), &recording(9, 5)).await;
    let mut other = first.version.clone();
    other.who = "somebody else".into();
    store.put(&first.path, other.encode().unwrap().into(), PutMode::Overwrite).await.unwrap();
    let report = verified(&store).await;
    assert_eq!((report.errors, report.problems[0].code), (1, "environment_hash"), "{report:?}");
}
