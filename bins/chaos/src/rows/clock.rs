//! R20: clocks that step while programs run, and between their runs. The programs are the real ones; `libfaketime`
//! tells them another time of day.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ssmd_core::{Day, Entry, EntryKind, Error, Result, SessionId};

use super::connector::exchange;
use crate::process::Process;
use crate::record::{compare, entries};
use crate::rig::{Outcome, Rig, free_port, number};
use crate::tail::Tail;
use crate::tape::feed;

const HOUR: i64 = 3600;
const RATE: u32 = 500;
/// How long each time of day holds.
const HOLDS: Duration = Duration::from_millis(1200);

/// R20: forward, back, to midnight and over it, back before it; then a restart that is a day and more behind.
pub(crate) async fn steps(rig: &mut Rig) -> Result<Outcome> {
    let Some(library) = library() else {
        let why = "no libfaketime here (Debian: apt-get install libfaketime)";
        return Ok(Outcome::NotRun(why.to_owned()));
    };
    let (data, store, port) = (rig.path("data"), rig.path("store"), free_port()?);
    let config = rig.environment("environment.yaml", port, &store)?;
    let sim = exchange(rig, port, RATE, &[]).await?;
    let tail = Tail::watch(&data.join("log").join(feed().as_str()), rig.clock.clone(), Vec::new());
    let into_day = rig.now().nanos().rem_euclid(24 * HOUR * 1_000_000_000) / 1_000_000_000;
    let to_midnight = 24 * HOUR - into_day - 1;
    let (mut shifts, mut runs) = (0, 0);
    for _ in 0..rig.rounds {
        for offsets in [
            vec![0, HOUR, -HOUR, 0, to_midnight, to_midnight - HOUR],
            vec![-26 * HOUR, to_midnight],
            vec![-HOUR, HOUR],
        ] {
            step(rig, offsets[0])?;
            let start = |name: &str| -> Result<Process> {
                let arguments = ["-c", &config, "--data", &data.to_string_lossy(), "--listen", "127.0.0.1:0"];
                shifted(rig, rig.program(name, &arguments), &library)
            };
            let (connector, mut archiver) = (start("ssmd-connector")?, start("ssmd-archiver")?);
            runs += 1;
            for offset in offsets {
                step(rig, offset)?;
                shifts += 1;
                rig.pause(HOLDS).await;
            }
            connector.kill()?;
            archiver.stop(rig).await?;
        }
    }
    drop(sim);
    rig.archive_rest(&config, &data).await?;
    let durable = tail.stop().await?;
    let archived = entries(&store).await?;
    let difference = compare(&archived, &durable);
    let (misordered, back, days, spread) = order(&archived);
    let errors = number(&rig.verify(&store).await?, "errors");
    let value = format!(
        "{misordered} misordered, {back} days back, {} lost or changed, {} twice, {errors} errors of {} entries; {shifts} \
         times of day in {runs} runs over {days} days, stamps {spread} s apart",
        difference.lost + difference.changed,
        difference.twice,
        archived.len(),
    );
    let stepped = days >= 2 && spread >= 2 * HOUR;
    Ok(Outcome::Ran {
        value,
        ok: misordered == 0 && back == 0 && difference.none() && errors == 0 && stepped,
    })
}

/// Entries out of order by number or by index in their session; days that go back; days; how far stamps lie apart.
fn order(archived: &[Entry]) -> (usize, usize, usize, i64) {
    let (mut last, mut indices) = (0, BTreeMap::<SessionId, u64>::new());
    let (mut misordered, mut back, mut days) = (0, 0, Vec::<Day>::new());
    for entry in archived {
        misordered += usize::from(entry.id.n != last + 1);
        last = entry.id.n;
        if matches!(entry.kind, EntryKind::Frame(_)) && !entry.more {
            let next = indices.entry(entry.session).or_default();
            misordered += usize::from(entry.index != *next);
            *next = entry.index + 1;
        }
        match days.last() {
            Some(day) if *day == entry.day => {}
            Some(day) if *day > entry.day => back += 1,
            _ => days.push(entry.day),
        }
    }
    let stamps = || archived.iter().map(|entry| entry.at.nanos() / 1_000_000_000);
    (misordered, back, days.len(), stamps().max().unwrap_or(0) - stamps().min().unwrap_or(0))
}

/// Says what time it is from now on: so many seconds from the true one.
fn step(rig: &Rig, offset: i64) -> Result<()> {
    let (new, file) = (rig.path("offset.new"), rig.path("offset"));
    let written = std::fs::write(&new, format!("{offset:+}")).and_then(|()| std::fs::rename(&new, &file));
    written.map_err(|cause| Error::io("step clock", cause))
}

fn shifted(rig: &Rig, mut command: Command, library: &Path) -> Result<Process> {
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", rig.path("offset"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    Process::start(&mut command, &rig.path("said.txt"))
}

/// The library, where distributions put it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let candidates = folders.chain(["/usr/lib".into(), "/usr/lib64".into()]);
    candidates.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file())
}
