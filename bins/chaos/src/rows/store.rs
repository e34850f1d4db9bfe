//! R08: a store that refuses, stalls, or does as it was told and loses its answer.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{
    BoxStream, Clock, Error, ErrorKind, Metrics, ObjectMeta, ObjectPath, PutMode, Result, Store,
};
use ssmd_storage::archive::Options;
use ssmd_storage::{Archiver, FileStore};
use ssmd_transport::log::LogReader;
use tokio_util::sync::CancellationToken;

use crate::record::{Difference, compare, entries};
use crate::rig::{Outcome, Rig, number};
use crate::tape::{Tape, feed};

/// Of a hundred calls so many fail, in one of the three ways.
const FAULTS_PERCENT: u32 = 30;
/// How long a call stalls.
const STALL: Duration = Duration::from_millis(20);
/// Frames of a round: some ten segments.
const FRAMES_A_ROUND: usize = 300;

/// A store in front of another.
struct Unreliable {
    inner: FileStore,
    random: Mutex<StdRng>,
    clock: Arc<dyn Clock>,
    faults: Arc<AtomicU64>,
}

enum Fault {
    None,
    Refuse,
    LoseAnswer,
    Stall,
}

impl Unreliable {
    fn fault(&self) -> Fault {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if random.random_range(0..100) >= FAULTS_PERCENT {
            return Fault::None;
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        match random.random_range(0..3) {
            0 => Fault::Refuse,
            1 => Fault::LoseAnswer,
            _ => Fault::Stall,
        }
    }
}

#[async_trait]
impl Store for Unreliable {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        match self.fault() {
            Fault::Refuse => return Err(Error::new(ErrorKind::Unavailable, "put object")),
            Fault::LoseAnswer => {
                // Whether it took effect is not known to whoever asked.
                let _ = self.inner.put(path, body, mode).await;
                return Err(Error::new(ErrorKind::Timeout, "put object"));
            }
            Fault::Stall => self.clock.sleep(STALL).await,
            Fault::None => {}
        }
        self.inner.put(path, body, mode).await
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        match self.fault() {
            Fault::Refuse | Fault::LoseAnswer => return Err(Error::new(ErrorKind::Timeout, "get object")),
            Fault::Stall => self.clock.sleep(STALL).await,
            Fault::None => {}
        }
        self.inner.get(path, range).await
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        if matches!(self.fault(), Fault::Refuse | Fault::LoseAnswer) {
            let refused = Error::new(ErrorKind::Unavailable, "list objects");
            return Box::pin(futures_util::stream::once(std::future::ready(Err(refused))));
        }
        self.inner.list(prefix)
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.inner.delete(path).await
    }
}

/// R08: the archiver of the library on such a store; in this process, since the programs know no store that fails.
pub(crate) async fn unreliable(rig: &mut Rig) -> Result<Outcome> {
    let (log, store) = (rig.path("log"), rig.path("store"));
    let mut tape = Tape::begin(&log, rig.clock.clone(), rig.random.random()).await?;
    let faults = Arc::new(AtomicU64::new(0));
    for _ in 0..rig.rounds {
        tape.frames(FRAMES_A_ROUND).await?;
        let random = Mutex::new(StdRng::seed_from_u64(rig.random.random()));
        let (inner, faults) = (FileStore::open(&store)?, Arc::clone(&faults));
        let archiver = Archiver {
            feed: feed(),
            journal: Arc::new(LogReader::open(&log, Arc::clone(&rig.clock))?),
            store: Arc::new(Unreliable { inner, random, clock: Arc::clone(&rig.clock), faults }),
            clock: Arc::clone(&rig.clock),
            metrics: Metrics::new(),
            options: Options::new(rig.path("locks")),
            covered: Arc::new(|_, _| Ok(())),
        };
        let stop = CancellationToken::new();
        let (run, give_up) = (archiver.run(stop.clone()), rig.between(100, 900));
        let stopping = async {
            rig.pause(give_up).await;
            stop.cancel();
        };
        // A stop gives up on a store that goes on failing; what it leaves is for the next round.
        let (ended, ()) = tokio::join!(run, stopping);
        match ended {
            Err(error) if !error.kind().is_transient() => return Err(error),
            _ => {}
        }
    }
    tape.end().await?;
    settle(rig, &log, &store).await?;
    let Difference { lost, twice, changed } = compare(&entries(&store).await?, &tape.fed);
    let errors = number(&rig.verify(&store).await?, "errors");
    let value = format!(
        "{lost} lost, {twice} twice, {changed} changed, {errors} errors of {} entries; {} faults",
        tape.fed.len(),
        faults.load(Ordering::Relaxed),
    );
    Ok(Outcome::Ran { value, ok: lost + twice + changed + errors == 0 })
}

/// Archives the rest into a store that does not fail.
async fn settle(rig: &Rig, log: &std::path::Path, store: &std::path::Path) -> Result<()> {
    let archiver = Archiver {
        feed: feed(),
        journal: Arc::new(LogReader::open(log, Arc::clone(&rig.clock))?),
        store: Arc::new(FileStore::open(store)?),
        clock: Arc::clone(&rig.clock),
        metrics: Metrics::new(),
        options: Options::new(rig.path("locks")),
        covered: Arc::new(|_, _| Ok(())),
    };
    let stop = CancellationToken::new();
    stop.cancel();
    archiver.run(stop).await.map(drop)
}
