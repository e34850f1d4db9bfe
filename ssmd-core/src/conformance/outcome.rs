//! What came of a case, and the thread, runtime and deadline that each case runs with.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::support::Stop;

/// How long one case may take. A case takes milliseconds; the rest is for slow disks and crowded machines.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise was kept.
    Kept,
    /// The harness lacks an ability that the case needs: which.
    Skipped(String),
    /// The promise was broken: how.
    Broken(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("kept"),
            Self::Skipped(ability) => write!(f, "skipped: the harness cannot {ability}"),
            Self::Broken(how) => write!(f, "broken: {how}"),
        }
    }
}

impl From<Result<(), Stop>> for Verdict {
    fn from(result: Result<(), Stop>) -> Self {
        match result {
            Ok(()) => Self::Kept,
            Err(Stop::Cannot(ability)) => Self::Skipped(ability.to_owned()),
            Err(Stop::Broken(how)) => Self::Broken(how),
        }
    }
}

/// One promise and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The promise's name.
    pub promise: &'static str,
    /// What came of it.
    pub verdict: Verdict,
}

/// Runs one case on a thread and a runtime of its own, within [`DEADLINE`].
pub fn run<F: Future<Output = Verdict>>(case: impl FnOnce() -> F + Send + 'static) -> Verdict {
    run_within(DEADLINE, case)
}

/// Runs one case on a thread and a runtime of its own. If it does not end in time, the thread is left behind.
pub fn run_within<F: Future<Output = Verdict>>(
    deadline: Duration,
    case: impl FnOnce() -> F + Send + 'static,
) -> Verdict {
    let (tell, told) = sync_channel(1);
    let spawned = std::thread::Builder::new().spawn(move || {
        let verdict = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(case()),
            Err(error) => Verdict::Broken(format!("no runtime: {error}")),
        };
        // Whoever waited too long has gone and needs no answer.
        let _ = tell.send(verdict);
    });
    let thread = match spawned {
        Ok(thread) => thread,
        Err(error) => return Verdict::Broken(format!("no thread: {error}")),
    };
    match told.recv_timeout(deadline) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Timeout) => late(deadline),
        Err(RecvTimeoutError::Disconnected) => Verdict::Broken(panicked(thread.join())),
    }
}

/// Runs one case as a test: panics if the promise is broken, and says so if the case was skipped. Gives what came of it.
///
/// # Panics
/// If the promise was not kept.
pub fn assert_kept<F: Future<Output = Verdict>>(
    promise: &str,
    case: impl FnOnce() -> F + Send + 'static,
) -> Verdict {
    let verdict = run(case);
    match &verdict {
        Verdict::Kept => {}
        Verdict::Skipped(_) => println!("{promise}: {verdict}"),
        Verdict::Broken(_) => panic!("{promise}: {verdict}"),
    }
    verdict
}

/// The verdict of a case that shares the caller's runtime, within [`DEADLINE`].
pub(super) async fn in_time(case: impl Future<Output = Verdict>) -> Verdict {
    tokio::time::timeout(DEADLINE, Box::pin(case)).await.unwrap_or_else(|_| late(DEADLINE))
}

fn late(deadline: Duration) -> Verdict {
    Verdict::Broken(format!("no end within {deadline:?}"))
}

fn panicked(joined: std::thread::Result<()>) -> String {
    let Err(payload) = joined else { return String::from("the case ended without a verdict") };
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("for no known reason");
    format!("panicked: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_blocks_or_waits_for_ever_or_panics_is_broken() {
        let short = Duration::from_millis(20);
        let waits = run_within(short, std::future::pending);
        assert_eq!(waits, late(short));
        let blocks = run_within(short, || async {
            std::thread::park();
            Verdict::Kept
        });
        assert_eq!(blocks, late(short));
        let panics = run(|| async { panic!("on purpose") });
        assert_eq!(panics, Verdict::Broken("panicked: on purpose".into()));
        assert_eq!(run(|| async { Verdict::Kept }), Verdict::Kept);
    }
}
