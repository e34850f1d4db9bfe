//! The one task that writes: what waits goes as one script, in the order in which it came.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use redis::Script;
use ssmd_core::{Error, ErrorKind, Expect, Result};
use tokio::sync::{mpsc, oneshot};

use super::errors::of_code;
use super::link::Link;

/// What a put is called in errors.
pub(super) const OPERATION: &str = "put into redis cache";

/// Keys of one script: it holds the server up for about a millisecond.
const KEYS_PER_SCRIPT: usize = 512;
/// Bytes of one script, unless one value alone is larger.
const BYTES_PER_SCRIPT: usize = 1024 * 1024;
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
    let mut waiting = Vec::with_capacity(KEYS_PER_SCRIPT);
    loop {
        if waiting.is_empty() && queue.recv_many(&mut waiting, KEYS_PER_SCRIPT).await == 0 {
            return Ok(());
        }
        let rest = waiting.split_off(fitting(&waiting));
        let batch = std::mem::replace(&mut waiting, rest);
        write(&link, &counter, batch).await;
    }
}

/// How many of the first go together.
fn fitting(waiting: &[Put]) -> usize {
    let mut bytes = 0;
    let fits = |put: &&Put| {
        bytes += put.value.len() + put.name.len();
        bytes <= BYTES_PER_SCRIPT
    };
    waiting.iter().take_while(fits).count().max(1)
}

async fn write(link: &Link, counter: &str, batch: Vec<Put>) {
    let mut call = SCRIPT.prepare_invoke();
    call.key(counter);
    for put in &batch {
        call.key(&put.name);
        match put.expect {
            Expect::Any => call.arg("*"),
            Expect::Absent => call.arg("-"),
            Expect::Version(version) => call.arg(version),
        };
        match put.ttl {
            None => call.arg(""),
            Some(ttl) => {
                let milliseconds = ttl.as_nanos().div_ceil(1_000_000).min(TTL_MILLISECONDS_MAX);
                call.arg(milliseconds.to_string())
            }
        };
        call.arg(&put.value[..]);
    }
    let answers: Result<Vec<String>> = link.run(OPERATION, &call).await;
    let wrong = || Error::new(ErrorKind::Corrupt, OPERATION).detail("not one answer a key");
    let answers = answers.and_then(|all| if all.len() == batch.len() { Ok(all) } else { Err(wrong()) });
    match answers {
        Ok(answers) => {
            for (put, answer) in batch.into_iter().zip(answers) {
                // Whoever does not wait any more needs no answer.
                let _ = put.answer.send(read(&answer));
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
