//! R01 and R11: archivers that die, and archivers that sleep while others work.

use rand::RngExt;
use ssmd_core::{Error, Result};

use crate::record::{Difference, compare, entries};
use crate::rig::{Outcome, Rig, number};
use crate::tape::{Tape, feed};

/// Frames that are added to the log for each round: some twenty segments.
const FRAMES_A_ROUND: usize = 600;

/// R01: `kill -9` of the archiver, again and again, while there is work.
pub(crate) async fn killed(rig: &mut Rig) -> Result<Outcome> {
    let (data, store) = (rig.path("data"), rig.path("store"));
    let config = rig.environment("environment.yaml", 1, &store)?;
    let log = data.join("log").join(feed().as_str());
    let mut tape = Tape::begin(&log, rig.clock.clone(), rig.random.random()).await?;
    let mut at_work = 0;
    for _ in 0..rig.rounds {
        tape.frames(FRAMES_A_ROUND).await?;
        let before = commits(&store);
        let archiver = rig.archiver(&config, &data, &[])?;
        let time = rig.between(20, 250);
        rig.pause(time).await;
        archiver.kill()?;
        at_work += u32::from(commits(&store) > before);
    }
    tape.end().await?;
    rig.archive_rest(&config, &data).await?;
    let kills = rig.rounds;
    judge(rig, &store, &tape, |archive| format!("{archive}; {kills} kills, {at_work} of them after a commit"))
        .await
}

/// R11: two archivers with folders of their own work on one log and one store; one of them is stopped at a random
/// instant, sleeps while the other goes on, and wakes.
pub(crate) async fn rivals(rig: &mut Rig) -> Result<Outcome> {
    let (one, other, store) = (rig.path("one"), rig.path("other"), rig.path("store"));
    let config = rig.environment("environment.yaml", 1, &store)?;
    let log = one.join("log").join(feed().as_str());
    let mut tape = Tape::begin(&log, rig.clock.clone(), rig.random.random()).await?;
    // The lock that keeps two archivers apart is in the folder above the log.
    let shared = std::fs::create_dir_all(other.join("log"))
        .and_then(|()| std::os::unix::fs::symlink(&log, other.join("log").join(feed().as_str())));
    shared.map_err(|cause| Error::io("share log", cause))?;
    let mut slept_at_work = 0;
    for _ in 0..rig.rounds {
        tape.frames(FRAMES_A_ROUND).await?;
        let (sleeper, worker) = (rig.archiver(&config, &one, &[])?, rig.archiver(&config, &other, &[])?);
        let time = rig.between(40, 150);
        rig.pause(time).await;
        sleeper.signal("STOP")?;
        let before = commits(&store);
        let time = rig.between(20, 150);
        rig.pause(time).await;
        slept_at_work += u32::from(commits(&store) > before);
        sleeper.signal("CONT")?;
        let time = rig.between(20, 100);
        rig.pause(time).await;
        sleeper.kill()?;
        worker.kill()?;
    }
    tape.end().await?;
    rig.archive_rest(&config, &other).await?;
    let rounds = rig.rounds;
    judge(rig, &store, &tape, |archive| {
        format!("{archive}; {rounds} rounds, in {slept_at_work} the other committed meanwhile")
    })
    .await
}

/// Holds the archive against what went into the log.
async fn judge(
    rig: &Rig,
    store: &std::path::Path,
    tape: &Tape,
    say: impl Fn(String) -> String,
) -> Result<Outcome> {
    let report = rig.verify(store).await?;
    let difference = compare(&entries(store).await?, &tape.fed);
    let Difference { lost, twice, changed } = difference;
    let missing = report["problems"].as_array().into_iter().flatten();
    let missing = missing.filter(|problem| problem["code"] == "object_missing").count();
    let (errors, holes) = (number(&report, "errors"), number(&report, "holes"));
    let orphans = report["orphans"].as_array().map_or(0, Vec::len);
    let archive = format!(
        "{lost} lost, {twice} twice, {changed} changed, {missing} named but missing, {errors} errors of {} entries \
         in {} commits; {orphans} orphans, none named",
        tape.fed.len(),
        number(&report, "commits"),
    );
    Ok(Outcome::Ran { value: say(archive), ok: difference.none() && errors == 0 && holes == 0 })
}

/// How many commits lie in a store.
pub(crate) fn commits(store: &std::path::Path) -> usize {
    let origins = std::fs::read_dir(store.join("commits")).into_iter().flatten().flatten();
    origins.map(|origin| std::fs::read_dir(origin.path()).map_or(0, Iterator::count)).sum()
}
