//! Archivers on several hosts, over a store that creates twice: the head in a cache keeps them apart, whatever breaks.
//!
//! Everything runs on one thread, in an order that follows from a seed: archivers that die or freeze between any two
//! steps, requests that are carried out after those who sent them have died, answers that are lost, and a cache that
//! forgets everything or goes back to an earlier state, versions included.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![allow(clippy::disallowed_methods, reason = "hosts are killed here, and what they sent outlives them")]

mod common;
mod rewinding;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use rewinding::{Frozen, RewindingCache, WatchedStore, World};
use ssmd_core::*;
use ssmd_storage::pack::Packer;
use ssmd_storage::publish::{Published, Publisher};
use ssmd_storage::{Archive, Compression, Head, Rivals};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What one script found.
struct Found {
    forked: bool,
    whole: bool,
    commits: u64,
    rewinds: u64,
    kills: u64,
}

/// How the cache treats what it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Everything,
    Nothing,
}

/// One archiver's life: from what is committed to the end, as many times as it is overtaken.
async fn archive(
    world: World,
    frozen: Frozen,
    entries: Arc<Vec<Entry>>,
    clock: ManualClock,
    rivals: Rivals,
) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(WatchedStore::new(world.clone(), frozen.clone()));
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let mut publisher = Publisher::new(feed(), store, clock, Metrics::new(), CancellationToken::new());
    // A cache that goes back while it is tried does not compare and swap.
    while let Err(error) = publisher.keep_off(&rivals).await {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    let origin = entries[0].id.origin;
    'again: loop {
        publisher.load([origin]).await?;
        let mut packer = Packer::new(feed(), Compression::default(), &publisher.positions());
        let mut at = 0;
        while at < entries.len() {
            let next = (at + 1 + world.below(12) as usize).min(entries.len());
            let mut steps = packer.push(&entries[at..next])?;
            // Where a rival cuts elsewhere, the same numbers are other objects.
            if world.below(3) == 0 || next == entries.len() {
                steps.extend(packer.seal()?);
            }
            at = next;
            for step in steps {
                match publisher.publish(step).await? {
                    Published::Committed { .. } => {}
                    Published::Overtaken => continue 'again,
                }
            }
        }
        return Ok(());
    }
}

fn run(seed: u64, keeps: Keeps, make: impl Fn(Arc<dyn Cache>) -> Rivals) -> Found {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(script(seed, keeps, make))
}

async fn script(seed: u64, keeps: Keeps, make: impl Fn(Arc<dyn Cache>) -> Rivals) -> Found {
    const HOSTS: usize = 3;
    let world = World::new(seed);
    let recording = recording(7, 8);
    let entries = Arc::new(recording.entries.clone());
    let clock = ManualClock::new(recording.at);
    let start = |frozen: &Frozen| -> JoinHandle<Result<()>> {
        let cache: Arc<dyn Cache> = Arc::new(RewindingCache::new(world.clone(), frozen.clone()));
        tokio::spawn(archive(world.clone(), frozen.clone(), entries.clone(), clock.clone(), make(cache)))
    };
    let mut hosts: Vec<_> = (0..HOSTS)
        .map(|_| {
            let frozen = Frozen::default();
            (start(&frozen), frozen)
        })
        .collect();
    let (mut rewinds, mut kills) = (0, 0);
    for _ in 0..600 {
        let host = world.below(HOSTS as u64) as usize;
        match world.below(100) {
            0..4 => {
                hosts[host].0.abort();
                hosts[host].1.thaw();
                hosts[host] = (start(&hosts[host].1), hosts[host].1.clone());
                kills += 1;
            }
            4..12 => hosts[host].1.freeze(),
            12..40 => hosts[host].1.thaw(),
            40..43 if keeps == Keeps::Nothing => {
                world.rewind();
                rewinds += 1;
            }
            _ => {}
        }
        clock.advance(Duration::from_millis(50 << world.below(6)));
        for _ in 0..world.below(12) {
            tokio::task::yield_now().await;
        }
    }
    for (task, frozen) in &hosts {
        task.abort();
        frozen.thaw();
    }
    // Whoever comes last finds everything as it was left, and is not kept waiting for ever.
    let last = start(&Frozen::default());
    let mut turns = 0;
    while !last.is_finished() {
        clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
        turns += 1;
        assert!(turns < 200_000, "seed {seed}: it does not end");
    }
    let ended = last.await;
    // What was sent and not carried out yet.
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
    let whole = match ended {
        Ok(Ok(())) => is_whole(&world, &recording).await,
        _ => false,
    };
    Found { forked: world.forks() > 0, whole, commits: world.commits(), rewinds, kills }
}

/// Whether the archive is the recording, every entry once.
async fn is_whole(world: &World, recording: &Recording) -> bool {
    let store: Arc<dyn Store> = Arc::new(world.store());
    let report = ssmd_storage::verify(store.clone(), None, |_| None, |_| {}).await.unwrap();
    let Ok(archive) = Archive::open(store).await else { return false };
    let mut reader = archive.entries(&feed(), ssmd_storage::Selection::all());
    let mut entries = Vec::new();
    while let Ok(Some(batch)) = reader.next_batch().await {
        entries.extend(batch);
    }
    report.errors == 0 && report.holes == 0 && entries == recording.entries
}

fn scripts() -> std::ops::Range<u64> {
    let number = |name: &str, otherwise| {
        std::env::var(name).map_or(otherwise, |text| text.parse::<u64>().expect("a number"))
    };
    let from = number("SSMD_HEAD_SEED", 1);
    from..from + number("SSMD_HEAD_SCRIPTS", 40)
}

fn headed(cache: Arc<dyn Cache>) -> Rivals {
    Rivals::Anywhere(Some(Head::new(cache, "test.test", "a cache of this test")))
}

#[test]
fn archivers_on_three_hosts_never_fork_a_chain_whatever_dies_freezes_or_is_forgotten() {
    let (mut sum, mut scripts_run) = (BTreeMap::<&str, u64>::new(), 0);
    for seed in scripts() {
        for keeps in [Keeps::Everything, Keeps::Nothing] {
            let found = run(seed, keeps, headed);
            assert!(
                !found.forked && found.whole,
                "seed {seed}: forked {}, whole {}",
                found.forked,
                found.whole
            );
            for (what, count) in
                [("commits", found.commits), ("rewinds", found.rewinds), ("kills", found.kills)]
            {
                *sum.entry(what).or_default() += count;
            }
            scripts_run += 1;
        }
    }
    println!("R11-hosts-forks 0 (target 0): {scripts_run} scripts, {sum:?}, 0 lost, 0 twice");
    assert!(sum["commits"] > scripts_run && sum["kills"] > scripts_run, "{sum:?}");
}

#[test]
fn without_a_head_the_same_scripts_fork() {
    let mut forked = scripts().filter(|&seed| {
        let found = run(seed, Keeps::Everything, |_| Rivals::Here);
        found.forked || !found.whole
    });
    assert!(forked.next().is_some(), "the scripts break nothing");
}

#[tokio::test]
async fn a_remote_archiver_with_nothing_to_keep_others_off_is_refused_and_told_what_to_do() {
    let store: Arc<dyn Store> = Arc::new(Unconditional(ssmd_storage::MemoryStore::new()));
    let lock = tempfile::tempdir().unwrap();
    let mut archiver = archiver(journal_of(&[&recording(1, 2).entries]).await, store, lock.path());
    archiver.options.rivals = Rivals::Anywhere(None);
    let refused = within(archiver.run(CancellationToken::new())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.report().contains("journal: { nats: … }"), "{}", refused.report());
}
