//! How long a frame takes from its receipt to the disk, at the rate of a busy venue, beside the disk's own sync.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ssmd_core::{
    Bounds, Clock, Entries, Entry, EntryKind, Error, ErrorKind, Journal, Pending, Result, Start, Tasks,
};
use tokio::sync::{mpsc, oneshot};

use super::figure::{Figure, quantile};
use super::ground::Ground;
use super::recorder::{self, CHANNELS, Recorder, SYMBOLS};

/// Frames a second.
const RATE: f64 = 20_000.0;
/// What is added to twice the disk's own time, in ms: the log gathers for 2 ms between two syncs.
const SPARE_MS: f64 = 3.0;
/// How often the disk is asked, before and after.
const SYNCS: usize = 1000;
/// What is written before each of these syncs: what comes in a few ms at that rate.
const SYNC_BYTES: usize = 64 * 350;
/// Batches that may wait to be durable; the log has room for fewer.
const PENDINGS_MAX: usize = 4096;

/// One figure.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let seconds = if ground.soak() { 600 } else { 20 };
    let mut disk = syncs(ground).await?;
    let (mut frames, rate) = frames(ground, Duration::from_secs(seconds)).await?;
    disk.extend(syncs(ground).await?);
    let disk_p99 = quantile(&mut disk, 0.99);
    let limit = 2.0 * disk_p99 + SPARE_MS;
    Ok(vec![
        Figure::most("durable_p99", quantile(&mut frames, 0.99), limit, "ms")
            .beside("p50", quantile(&mut frames, 0.5))
            .beside("p999", quantile(&mut frames, 0.999))
            .beside("max", quantile(&mut frames, 1.0))
            .beside("disk_p50", quantile(&mut disk, 0.5))
            .beside("disk_p99", disk_p99)
            .beside("frames_per_second", rate),
    ])
}

/// What the disk takes, in ms, for a write at the end of a file and its sync, with the log's pause between.
async fn syncs(ground: &Ground) -> Result<Vec<f64>> {
    let failed = |cause| Error::io("sync bench file", cause);
    let clock = ground.clock();
    let path = ground.fresh("sync")?.join("file");
    let file = Arc::new(std::fs::File::create(path).map_err(failed)?);
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let (file, timer) = (Arc::clone(&file), Arc::clone(&clock));
        let synced = tokio::task::spawn_blocking(move || {
            (&*file).write_all(&[b'x'; SYNC_BYTES])?;
            let began = timer.elapsed();
            file.sync_data()?;
            Ok((timer.elapsed() - began).as_secs_f64() * 1e3)
        });
        let synced = synced.await.map_err(|cause| Error::new(ErrorKind::Bug, "bench").because(cause))?;
        took.push(synced.map_err(failed)?);
        clock.sleep(Duration::from_millis(2)).await;
    }
    Ok(took)
}

/// What each frame of a simulated market took, in ms, and how many there were a second.
async fn frames(ground: &Ground, time: Duration) -> Result<(Vec<f64>, f64)> {
    let clock = ground.clock();
    let mut tasks = Tasks::new();
    let document = recorder::simulate(SYMBOLS, CHANNELS, Some(RATE), &mut tasks).await?;
    let environment = recorder::environment(&document)?;
    let folder = ground.fresh("durable")?;
    let (watch, watched) = mpsc::channel(PENDINGS_MAX);
    let took = Arc::new(Mutex::new(Vec::new()));
    tasks.spawn("time batches", measure(watched, Arc::clone(&took), Arc::clone(&clock)));
    let wrap = |log| Arc::new(Timed { log, watch: watch.clone() }) as Arc<dyn Journal>;
    let recorder = Recorder::start(&environment, &folder, true, &wrap, Arc::clone(&clock)).await?;
    // The first second is for snapshots and for memory that is touched for the first time.
    clock.sleep(Duration::from_secs(1)).await;
    took.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let began = clock.elapsed();
    clock.sleep(time).await;
    let frames = std::mem::take(&mut *took.lock().unwrap_or_else(PoisonError::into_inner));
    let rate = frames.len() as f64 / (clock.elapsed() - began).as_secs_f64();
    drop(watch);
    recorder.stop().await?;
    tasks.stop(recorder::STOP_TIME_MAX, clock).await?;
    Ok((frames, rate))
}

/// A batch on its way: when its frames were received, what says that it is durable, and whom to tell then.
struct Watched {
    received: Vec<Duration>,
    pending: Pending,
    done: oneshot::Sender<Result<()>>,
}

async fn measure(
    mut batches: mpsc::Receiver<Watched>,
    took: Arc<Mutex<Vec<f64>>>,
    clock: Arc<dyn Clock>,
) -> Result<()> {
    while let Some(Watched { received, pending, done }) = batches.recv().await {
        let result = pending.await;
        let now = clock.elapsed();
        let millis = received.iter().map(|then| now.saturating_sub(*then).as_secs_f64() * 1e3);
        took.lock().unwrap_or_else(PoisonError::into_inner).extend(millis);
        // Capture may have gone.
        let _ = done.send(result);
    }
    Ok(())
}

/// The log, with a watch on what is appended to it.
struct Timed {
    log: ssmd_transport::log::Log,
    watch: mpsc::Sender<Watched>,
}

#[async_trait]
impl Journal for Timed {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let frames = batch.iter().filter(|entry| matches!(entry.kind, EntryKind::Frame(_)));
        let received = frames.map(|entry| entry.elapsed).collect();
        let permit = self.watch.reserve().await.map_err(|_| Error::new(ErrorKind::Closed, "watch batch"))?;
        let pending = self.log.append(batch).await?;
        let (done, told) = Pending::new();
        permit.send(Watched { received, pending, done });
        Ok(told)
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        self.log.read(start).await
    }

    async fn bounds(&self) -> Result<Bounds> {
        self.log.bounds().await
    }
}
