//! Who owns every task: spawned here, stopped by one token, drained with a deadline, first failure wins.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Clock, Error, ErrorKind, Result};

/// A set of tasks that stand and fall together. Dropping it aborts them all.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<(&'static str, Result<()>)>,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tasks that also stop when `parent` does.
    pub fn under(parent: &CancellationToken) -> Self {
        Self { set: JoinSet::new(), stop: parent.child_token() }
    }

    /// The token that tells every task to finish what it has begun and return.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// How many tasks have not been joined yet.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there is nothing to join.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Starts a task. It should return soon after [`Tasks::token`] is cancelled.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// Waits until one task has ended, and says which and how; `None` when there are none.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn next(&mut self) -> Option<(&'static str, Result<()>)> {
        let joined = self.set.join_next().await?;
        Some(joined.unwrap_or_else(|cause| {
            ("task", Err(Error::new(ErrorKind::Bug, "run task").detail("a task panicked").because(cause)))
        }))
    }

    /// Waits until all have ended, or the first one failed.
    ///
    /// # Errors
    /// The first failure. The other tasks go on: call [`Tasks::stop`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait(&mut self) -> Result<()> {
        while let Some((name, result)) = self.next().await {
            tracing::debug!(task = name, ok = result.is_ok(), "task ended");
            result?;
        }
        Ok(())
    }

    /// Tells every task to stop, and waits for them; those that are not done `within` that time are aborted.
    ///
    /// # Errors
    /// The first failure, or `Timeout` if a task had to be aborted.
    pub async fn stop(mut self, within: Duration, clock: Arc<dyn Clock>) -> Result<()> {
        self.stop.cancel();
        let mut first = Ok(());
        let deadline = clock.sleep(within);
        tokio::pin!(deadline);
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.next() => ended,
                () = &mut deadline => {
                    let late = Error::new(ErrorKind::Timeout, "stop tasks").with("tasks", self.set.len());
                    return first.and(Err(late));
                }
            };
            match ended {
                None => return first,
                Some((_, result)) => first = first.and(result),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, SystemClock, Timestamp};

    #[tokio::test]
    async fn the_first_failure_wins_and_stopping_drains_the_rest() {
        let mut tasks = Tasks::new();
        let stop = tasks.token();
        tasks.spawn("drains", async move {
            stop.cancelled().await;
            Ok(())
        });
        tasks.spawn("fails", async { Err(Error::new(ErrorKind::Full, "test")) });
        assert_eq!(tasks.wait().await.unwrap_err().kind(), ErrorKind::Full);
        tasks.stop(Duration::from_secs(60), Arc::new(SystemClock::new())).await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_aborted_at_the_deadline() {
        let clock = ManualClock::new(Timestamp::from_nanos(0));
        let mut tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending());
        let stopping = tasks.stop(Duration::from_secs(5), Arc::new(clock.clone()));
        let advance = async { clock.advance(Duration::from_secs(5)) };
        let (stopped, ()) = tokio::join!(stopping, advance);
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Timeout);
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let mut tasks = Tasks::new();
        tasks.spawn("panics", async { panic!("on purpose") });
        assert_eq!(tasks.wait().await.unwrap_err().kind(), ErrorKind::Bug);
    }
}
