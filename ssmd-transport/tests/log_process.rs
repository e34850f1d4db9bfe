//! The local log and other processes: writers that are killed, readers that follow, writers that come second.
//!
//! The other process is this test's own binary, told by an environment variable which part it plays.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod support;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ssmd_core::{EntryKind, Journal, Start};
use ssmd_transport::log::Options;
use support::*;

const DIR: &str = "SSMD_TEST_LOG_DIR";

fn options() -> Options {
    Options { segment_bytes: 64 * 1024, ..Options::default() }
}

/// Starts this binary again, to run only the test `part`, on the log in `dir`.
fn start(part: &str, dir: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", part, "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The test framework writes to the same place.
    (child, lines.filter_map(|line| line.split_once("> ").map(|(_, said)| said.to_owned())))
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "> {what}").unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn part_writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let log = open(Path::new(&dir), options()).await.unwrap();
    let mut pendings = VecDeque::new();
    for n in log.position().next.. {
        pendings.push_back((n, log.append(vec![entry(log.origin(), n)]).await.unwrap()));
        if pendings.len() > 300 {
            let (n, pending) = pendings.pop_front().unwrap();
            pending.await.unwrap();
            say(&n.to_string());
        }
    }
}

#[tokio::test]
async fn part_reader() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut entries = reader(Path::new(&dir)).read(Start::Oldest).await.unwrap();
    say("ready");
    loop {
        for entry in entries.next(NonZeroUsize::MIN.saturating_add(99)).await.unwrap() {
            say(&entry.id.n.to_string());
        }
    }
}

#[tokio::test]
async fn part_second_writer() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let error = open(Path::new(&dir), options()).await.err().unwrap();
    say(&format!("{:?} {}", error.kind(), error.context("holder").unwrap()));
}

#[tokio::test]
async fn killed_writers_lose_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    // The moments are of no order: after so many acknowledgements, and wherever the writer is by then.
    for count in [0, 1, 700, 13, 2500, 90, 1, 4000, 333, 1200] {
        let (mut child, lines) = start("part_writer", dir.path());
        for line in lines.take(count) {
            acknowledged = line.parse::<u64>().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if count == 0 {
            continue;
        }
        let bounds = reader(dir.path()).bounds().await.unwrap();
        let (_, last) = bounds.origins.into_values().next().unwrap();
        assert!(last >= acknowledged, "acknowledged {acknowledged}, but a reader sees only {last}");
    }
    let log = open(dir.path(), options()).await.unwrap();
    assert!(!log.position().clean);
    let (entries, errors) = drain(&log).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(numbers(&entries), (1..=log.durable()).collect::<Vec<_>>());
    assert!(log.durable() > acknowledged);
    let epochs = entries.iter().filter(|entry| entry.kind == EntryKind::Epoch).count();
    assert!((10..=11).contains(&epochs), "{epochs}");
    for got in entries.iter().filter(|entry| entry.kind != EntryKind::Epoch) {
        assert_eq!(*got, entry(log.origin(), got.id.n));
    }
    assert!(files(dir.path(), ".log").len() > 3, "rotation happened on the way");
    println!("10 kills, {} entries, {} acknowledged at the last kill, 0 lost", entries.len(), acknowledged);
}

#[tokio::test]
async fn readers_in_another_process_follow_across_rotation() {
    let dir = tempdir();
    let log = open(dir.path(), Options { segment_bytes: 2000, ..Options::default() }).await.unwrap();
    let (mut child, mut lines) = start("part_reader", dir.path());
    assert_eq!(lines.next().as_deref(), Some("ready"));
    let mut seen = 0;
    for from in (2..2000).step_by(100) {
        append(&log, from..from + 50).await;
        append(&log, from + 50..from + 100).await;
        while seen < log.durable() {
            let n: u64 = lines.next().unwrap().parse().unwrap();
            assert_eq!(n, seen + 1);
            assert!(n <= log.durable());
            seen = n;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(files(dir.path(), ".log").len() > 20);
}

#[tokio::test]
async fn a_second_writer_in_another_process_is_refused() {
    let dir = tempdir();
    let log = open(dir.path(), options()).await.unwrap();
    let (mut child, mut lines) = start("part_second_writer", dir.path());
    let said = lines.next().unwrap();
    assert!(said.starts_with(&format!("Conflict process {} since ", std::process::id())), "{said}");
    assert!(child.wait().unwrap().success());
    log.close().await.unwrap();
}
