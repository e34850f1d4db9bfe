//! The one task that writes: what waits goes as one script, in the order in which it came, and while the server runs
//! one, the next are on their way.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Cmd, Script};
use ssmd_core::{BoxFuture, Error, ErrorKind, Expect, Result};
use tokio::sync::{mpsc, oneshot};

use super::errors::of_code;
use super::link::Link;

/// What a put is called in errors.
pub(super) const OPERATION: &str = "put into redis cache";

/// Keys of one script: it holds the server up for about a millisecond.
const KEYS_PER_SCRIPT: usize = 128;
/// Bytes of one script, unless one value alone is larger.
const BYTES_PER_SCRIPT: usize = 1024 * 1024;
/// Full scripts that are on their way at once: the server runs one while the next comes and the last is answered.
const SCRIPTS_MAX: usize = 4;
/// While so many scripts are on their way, one that is not full waits for more keys.
const SCRIPTS_PARTIAL_MAX: usize = 2;
/// What a call has for each key besides its name and its value: a version, seldom a time to live.
const ARGUMENT_BYTES: usize = 20;
/// The longest time to live, in milliseconds: far beyond any use, and within what Redis can add to its clock.
const TTL_MILLISECONDS_MAX: u128 = 1 << 52;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("put.lua")));

/// A put that waits, and who waits for it.
pub(super) struct Put {
    pub(super) name: String,
    pub(super) value: Bytes,
    pub(super) expect: Expect,
    pub(super) ttl: Option<Duration>,
    pub(super) answer: oneshot::Sender<Result<u64>>,
}

/// Writes what comes, until nobody can send any more.
pub(super) async fn run(link: Link, counter: String, mut queue: mpsc::Receiver<Put>) -> Result<()> {
    let (mut waiting, mut open) = (Vec::with_capacity(KEYS_PER_SCRIPT), true);
    let mut scripts = Scripts::default();
    while open || !waiting.is_empty() || !scripts.under_way.is_empty() {
        let fitting = scripts.fitting(&waiting);
        if fitting > 0 {
            let rest = waiting.split_off(fitting);
            scripts.send(&link, &counter, std::mem::replace(&mut waiting, rest));
            continue;
        }
        let room = KEYS_PER_SCRIPT - waiting.len();
        tokio::select! {
            biased;
            Some(keys) = scripts.under_way.next() => scripts.done(&keys),
            count = queue.recv_many(&mut waiting, room), if open && room > 0 => open = count > 0,
        }
    }
    Ok(())
}

/// The scripts that are on their way.
#[derive(Default)]
struct Scripts<'a> {
    under_way: FuturesUnordered<BoxFuture<'a, Vec<u64>>>,
    /// The keys of all of them, as hashes. No key is in two: whether a script is sent again (Redis had forgotten it),
    /// or a connection breaks, what was put first is written first.
    keys: HashSet<u64>,
    hasher: RandomState,
}

impl<'a> Scripts<'a> {
    fn key(&self, put: &Put) -> u64 {
        self.hasher.hash_one(&put.name)
    }

    /// How many of the first go now, as one.
    fn fitting(&self, waiting: &[Put]) -> usize {
        let mut bytes = 0;
        let fits = |put: &&Put| {
            bytes += put.value.len() + put.name.len();
            bytes <= BYTES_PER_SCRIPT
        };
        let fitting = waiting.iter().take_while(fits).count().max(1).min(waiting.len());
        let full = fitting == KEYS_PER_SCRIPT || fitting < waiting.len();
        if self.under_way.len() >= if full { SCRIPTS_MAX } else { SCRIPTS_PARTIAL_MAX } {
            return 0;
        }
        waiting[..fitting].iter().take_while(|put| !self.keys.contains(&self.key(put))).count()
    }

    fn send(&mut self, link: &'a Link, counter: &'a str, batch: Vec<Put>) {
        let keys: Vec<_> = batch.iter().map(|put| self.key(put)).collect();
        self.keys.extend(&keys);
        self.under_way.push(Box::pin(async move {
            write(link, counter, batch).await;
            keys
        }));
    }

    fn done(&mut self, keys: &[u64]) {
        for key in keys {
            self.keys.remove(key);
        }
    }
}

async fn write(link: &Link, counter: &str, batch: Vec<Put>) {
    let answers = link.run::<String>(OPERATION, &SCRIPT, &call(counter, &batch)).await;
    let wrong = || Error::new(ErrorKind::Corrupt, OPERATION).detail("not one answer a key");
    let whole = |all: &String| all.split('\n').count() == batch.len();
    match answers.and_then(|all| if whole(&all) { Ok(all) } else { Err(wrong()) }) {
        Ok(answers) => {
            for (put, answer) in batch.into_iter().zip(answers.split('\n')) {
                // Whoever does not wait any more needs no answer.
                let _ = put.answer.send(read(answer));
            }
        }
        Err(error) => {
            let (kind, report) = (error.kind(), error.report());
            for put in batch {
                let _ = put.answer.send(Err(Error::new(kind, OPERATION).because(report.clone())));
            }
        }
    }
}

fn call(counter: &str, batch: &[Put]) -> Cmd {
    let bytes = batch.iter().map(|put| put.name.len() + put.value.len()).sum::<usize>();
    let mut call = Cmd::with_capacity(4 + 4 * batch.len(), bytes + ARGUMENT_BYTES * batch.len());
    call.arg("EVALSHA").arg(SCRIPT.get_hash()).arg(1 + batch.len()).arg(counter);
    for put in batch {
        call.arg(&put.name);
    }
    for put in batch {
        match put.expect {
            Expect::Any => call.arg("*"),
            Expect::Absent => call.arg("-"),
            Expect::Version(version) => call.arg(version),
        };
        call.arg(&put.value[..]);
    }
    if batch.iter().any(|put| put.ttl.is_some()) {
        for put in batch {
            let milliseconds = |ttl: Duration| ttl.as_nanos().div_ceil(1_000_000).min(TTL_MILLISECONDS_MAX);
            call.arg(put.ttl.map_or_else(String::new, |ttl| milliseconds(ttl).to_string()));
        }
    }
    call
}

/// What the script said of one key.
fn read(answer: &str) -> Result<u64> {
    if answer == "-" {
        return Err(Error::new(ErrorKind::Conflict, OPERATION));
    }
    if let Some(said) = answer.strip_prefix('!') {
        let code = said.split(' ').next().unwrap_or_default();
        return Err(Error::new(of_code(code), OPERATION).detail(said.to_owned()));
    }
    let wrong = |_| Error::new(ErrorKind::Corrupt, OPERATION).detail("no version was given");
    answer.parse().map_err(wrong)
}
