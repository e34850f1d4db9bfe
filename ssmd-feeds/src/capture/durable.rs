//! Waits until what was appended is durable, in order, and tells sessions and metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ssmd_core::metrics::{self, Gauge};
use ssmd_core::{BoxFuture, Clock, Pending, Result};
use tokio::sync::mpsc;

use super::batch::Mark;
use super::{CaptureOptions, CaptureStatus};

/// Batches that are appended and not durable yet. The journal bounds their bytes; this bounds their number.
const PENDINGS_MAX: usize = 4096;

/// How often the lag is told while the journal lets a batch wait.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// A batch that was appended.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) pending: Pending,
    /// Its last entry's number, and how many entries it has.
    pub(super) last: u64,
    pub(super) entries: u64,
    pub(super) marks: Vec<Mark>,
}

/// The stage's entrance, and the stage. It ends when the entrance is dropped and all is durable, or with the
/// journal's error.
pub(super) fn stage(
    options: &CaptureOptions,
    status: Arc<CaptureStatus>,
) -> (mpsc::Sender<Appended>, BoxFuture<'static, Result<()>>) {
    let (entrance, mut batches) = mpsc::channel::<Appended>(PENDINGS_MAX);
    let clock = Arc::clone(&options.clock);
    let feed = options.feed.name().as_str().to_owned();
    let entries = options.metrics.counter(&metrics::JOURNALED, &[&feed]);
    let took = options.metrics.histogram(&metrics::DURABLE, &[&feed]);
    let lag = options.metrics.gauge(&metrics::LAG, &[&feed]);
    let stage = async move {
        while let Some(batch) = batches.recv().await {
            let first = batch.marks.iter().map(|mark| mark.first).min();
            wait(batch.pending, first, &*clock, &lag).await?;
            let now = clock.elapsed();
            entries.add(batch.entries);
            status.durable.store(batch.last, Ordering::Relaxed);
            for mark in batch.marks {
                // The oldest and the newest of a run stand for those between them.
                took.observe(now.saturating_sub(mark.first));
                if mark.last != mark.first {
                    took.observe(now.saturating_sub(mark.last));
                }
                lag.set(now.saturating_sub(mark.last).as_secs_f64());
                mark.tell.send_replace(mark.below);
            }
        }
        Ok(())
    };
    (entrance, Box::pin(stage))
}

/// Waits for durability; the lag grows meanwhile, from the receipt of the batch's first frame.
async fn wait(mut pending: Pending, first: Option<Duration>, clock: &dyn Clock, lag: &Gauge) -> Result<()> {
    loop {
        tokio::select! {
            biased;
            durable = &mut pending => return durable,
            () = clock.sleep(LAG_EVERY) => {
                if let Some(first) = first {
                    lag.set(clock.elapsed().saturating_sub(first).as_secs_f64());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssmd_core::{ManualClock, Metrics, Timestamp};

    #[tokio::test]
    async fn the_lag_grows_while_a_batch_waits() {
        let clock = ManualClock::new(Timestamp::from_nanos(0));
        let lag = Metrics::new().gauge(&metrics::LAG, &["toy"]);
        let (done, pending) = Pending::new();
        let stalling = async {
            for seconds in [1.0, 2.0, 3.0] {
                clock.advance(LAG_EVERY);
                // Which of the two goes on first is not said.
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(lag.get(), seconds);
            }
            done.send(Ok(())).unwrap();
        };
        let (durable, ()) = tokio::join!(wait(pending, Some(Duration::ZERO), &clock, &lag), stalling);
        durable.unwrap();
    }
}
