//! The table of rows.

mod archiver;
mod clock;
mod connector;
mod damage;
mod full;
mod input;
mod names;
mod power;
mod store;
mod torn;

use ssmd_core::{BoxFuture, Result};

use crate::rig::{Outcome, Rig};

/// One fault, and what must hold under it.
pub(crate) struct Row {
    /// Its name.
    pub(crate) id: &'static str,
    /// What is broken.
    pub(crate) what: &'static str,
    /// What its figures must be.
    pub(crate) target: &'static str,
    /// How often it is broken in the short form.
    pub(crate) rounds: u32,
    /// Breaks it.
    pub(crate) run: for<'a> fn(&'a mut Rig) -> BoxFuture<'a, Result<Outcome>>,
}

macro_rules! row {
    ($id:literal, $what:literal, $target:literal, $rounds:literal, $run:path) => {
        Row { id: $id, what: $what, target: $target, rounds: $rounds, run: |rig| Box::pin($run(rig)) }
    };
}

/// Every row.
pub(crate) const ROWS: &[Row] = &[
    row!(
        "R01",
        "kill -9 of the archiver at random instants",
        "lost 0, twice 0, named but missing 0",
        50,
        archiver::killed
    ),
    row!("R02", "power cut under the archiver's store", "covered but lost 0, damage 0", 8, power::store),
    row!(
        "R03",
        "power cut of log and store on one disk",
        "durable but lost 0, feed lost at most 10 ms and two syncs (and what the machine kept it waiting), a clean prefix",
        4,
        power::node
    ),
    row!(
        "R05",
        "kill -9 of the connector at random instants",
        "durable but not archived 0, restarts without true bounds 0, restart to first frame p99 at most 1 s",
        50,
        connector::killed
    ),
    row!("R07", "disk full under log and store", "lost silently 0, resumes within 5 s", 1, full::both),
    row!(
        "R08",
        "a store that refuses, stalls, or loses its answer",
        "lost 0, twice 0, changed 0",
        20,
        store::unreliable
    ),
    row!(
        "R10",
        "flipped bits, cuts and swapped files in an archive",
        "named by verify: all",
        200,
        damage::archive
    ),
    row!(
        "R11",
        "two archivers of one store, one of them stopped at random instants",
        "overlaps 0, lost 0, one chain",
        20,
        archiver::rivals
    ),
    row!(
        "R12",
        "a log's last segment torn at every byte, with and without garbage behind",
        "failures 0",
        1,
        torn::every_byte
    ),
    row!(
        "R20",
        "clock steps of an hour, backwards, across midnight, and between runs",
        "misordered 0, days back 0, damage 0",
        1,
        clock::steps
    ),
    row!(
        "S01",
        "hostile names as subject, path and label",
        "escapes 0, collisions 0",
        1_000_000,
        names::hostile
    ),
    row!(
        "S02",
        "frames of 16 MiB, floods of fragments, deep JSON, zstd bombs",
        "crashes 0, bytes changed 0, memory within cap + 16 MiB",
        1,
        input::hostile
    ),
];
