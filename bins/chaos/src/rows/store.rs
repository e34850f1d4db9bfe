//! R08: a store that refuses, stalls, or does as it was told and loses its answer.

use std::sync::Arc;

use rand::RngExt;
use ssmd_core::{Metrics, Result};
use ssmd_storage::archive::Options;
use ssmd_storage::wrap::Chaos;
use ssmd_storage::{Archiver, FileStore};
use ssmd_transport::log::LogReader;
use tokio_util::sync::CancellationToken;

use crate::record::{Difference, compare, entries};
use crate::rig::{Outcome, Rig, number};
use crate::tape::{Tape, feed};

/// Of a hundred calls so many fail, in one of the three ways.
const FAULTS_PERCENT: u32 = 30;
/// Frames of a round: some ten segments.
const FRAMES_A_ROUND: usize = 300;

/// R08: the archiver of the library on such a store; in this process, since the programs know no store that fails.
pub(crate) async fn unreliable(rig: &mut Rig) -> Result<Outcome> {
    let (log, store) = (rig.path("log"), rig.path("store"));
    let mut tape = Tape::begin(&log, rig.clock.clone(), rig.random.random()).await?;
    let mut faults = 0;
    for _ in 0..rig.rounds {
        tape.frames(FRAMES_A_ROUND).await?;
        let inner = Arc::new(FileStore::open(&store)?);
        let chaos = Arc::new(Chaos::new(inner, Arc::clone(&rig.clock), FAULTS_PERCENT, rig.random.random()));
        let archiver = Archiver {
            feed: feed(),
            journal: Arc::new(LogReader::open(&log, Arc::clone(&rig.clock))?),
            store: Arc::clone(&chaos) as _,
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
        faults += chaos.faults();
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
        "{lost} lost, {twice} twice, {changed} changed, {errors} errors of {} entries; {faults} faults",
        tape.fed.len(),
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
