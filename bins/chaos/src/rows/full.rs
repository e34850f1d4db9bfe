//! R07: disks that fill up, under the log and under the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rand::RngExt;
use ssmd_core::entry::note;
use ssmd_core::{Entry, EntryKind, Error, FrameKind, Gap, GapCause, Result, SessionId};

use super::archiver::commits;
use super::connector::exchange;
use crate::disk::Disk;
use crate::record::{Difference, compare, entries};
use crate::rig::{Outcome, Rig, free_port, number};
use crate::tail::Tail;
use crate::tape::{Tape, feed};

/// The disks.
const DISK_MIB: u32 = 32;
/// What the log and the store find free.
const LOG_FREE: usize = 3 * 1024 * 1024;
const STORE_FREE: usize = 192 * 1024;
/// How long a disk stays full: longer than the waits that double have grown.
const FULL_FOR: Duration = Duration::from_secs(8);
/// A log to which nothing was added for so long, under a running feed, has met the full disk.
const STANDS_STILL_FOR: Duration = Duration::from_millis(500);
/// Recording and archiving must go on by themselves within this.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);
/// Messages a second of the simulated market.
const RATE: u32 = 12_000;

/// R07: first under the log, then under the store.
pub(crate) async fn both(rig: &mut Rig) -> Result<Outcome> {
    if let Err(error) = Disk::memory(rig, "trial", 1) {
        return Ok(Outcome::NotRun(format!("no tmpfs here, which root could mount ({})", error.report())));
    }
    let (log, log_ok) = under_log(rig).await?;
    let (store, store_ok) = under_store(rig).await?;
    Ok(Outcome::Ran { value: format!("log: {log}; store: {store}"), ok: log_ok && store_ok })
}

async fn under_log(rig: &mut Rig) -> Result<(String, bool)> {
    let disk = Disk::memory(rig, "log-disk", DISK_MIB)?;
    let (data, store, port) = (disk.path().join("data"), rig.path("log-store"), free_port()?);
    let config = rig.environment("log.yaml", port, &store)?;
    let sim = exchange(rig, port, RATE, &[]).await?;
    let ballast = fill(disk.path(), LOG_FREE)?;
    let log = data.join("log").join(feed().as_str());
    let tail = Tail::watch(&log, rig.clock.clone(), Vec::new());
    let mut connector = rig.connector(&config, &data)?;
    rig.pause(FULL_FOR).await;
    let while_full = tail.seen().len();
    rig.pause(STANDS_STILL_FOR).await;
    let (full, freed) = (while_full > 0 && tail.seen().len() == while_full, rig.now());
    std::fs::remove_file(ballast).map_err(|cause| Error::io("free disk", cause))?;
    let again = |entry: &Entry| entry.at > freed && matches!(entry.kind, EntryKind::Frame(FrameKind::Data));
    let resumed =
        rig.until("the log to go on", || Ok(tail.seen().iter().find(|e| again(e)).map(|e| e.at))).await?;
    rig.pause(Duration::from_millis(300)).await;
    connector.stop(rig).await?;
    drop(sim);
    let durable = tail.stop().await?;
    rig.archive_rest(&config, &data).await?;
    let archived = entries(&store).await?;
    let difference = compare(&archived, &durable);
    let (missing, counted) = unaccounted(&archived);
    let errors = number(&rig.verify(&store).await?, "errors");
    let silent = missing.abs_diff(counted);
    let after = resumed.since(freed);
    let value = format!(
        "full {full}, {} durable entries lost, {missing} frames not kept, {counted} of them counted in gaps, {silent} lost silently, \
         {errors} errors, resumed after {:.2} s",
        difference.lost,
        after.as_secs_f64(),
    );
    let ok = full && difference.none() && silent == 0 && errors == 0 && after <= RESUMES_WITHIN;
    Ok((value, ok))
}

/// Frames that sessions received or sent and that are not archived, and those that overflow gaps count.
fn unaccounted(archived: &[Entry]) -> (u64, u64) {
    let (mut heard, mut kept): (BTreeMap<SessionId, u64>, u64) = (BTreeMap::new(), 0);
    let mut counted = 0;
    for entry in archived {
        match entry.kind {
            EntryKind::Frame(_) if !entry.more => {
                kept += 1;
                let heard = heard.entry(entry.session).or_default();
                *heard = (*heard).max(entry.index + 1);
            }
            EntryKind::Close => {
                if let Ok(close) = note::decode::<note::Close>(&entry.payload) {
                    heard.insert(entry.session, close.heard.frames);
                }
            }
            EntryKind::Gap => {
                let gap = note::decode::<Gap>(&entry.payload).ok();
                let overflow = gap.filter(|gap| gap.cause == GapCause::Overflow);
                counted += overflow.and_then(|gap| gap.missing).unwrap_or(0);
            }
            _ => {}
        }
    }
    (heard.values().sum::<u64>() - kept, counted)
}

async fn under_store(rig: &mut Rig) -> Result<(String, bool)> {
    let disk = Disk::memory(rig, "store-disk", DISK_MIB)?;
    let (data, store) = (rig.path("data"), disk.path().join("store"));
    let config = rig.environment("store.yaml", 1, &store)?;
    let log = data.join("log").join(feed().as_str());
    let mut tape = Tape::begin(&log, rig.clock.clone(), rig.random.random()).await?;
    tape.frames(9000).await?;
    let ballast = fill(disk.path(), STORE_FREE)?;
    let mut archiver = rig.archiver(&config, &data, &[])?;
    rig.pause(FULL_FOR).await;
    let (before, freed) = (commits(&store), rig.now());
    let through = ssmd_transport::log::covered(&log)?.map_or(0, |(_, n)| n);
    let covered = tape.fed.iter().filter(|entry| entry.id.n <= through);
    let unreadable = if before > 0 { compare(&entries(&store).await?, covered).lost } else { 0 };
    std::fs::remove_file(ballast).map_err(|cause| Error::io("free disk", cause))?;
    rig.until("the archiver to go on", || Ok((commits(&store) > before).then_some(()))).await?;
    let after = rig.now().since(freed);
    tape.end().await?;
    archiver.stop(rig).await?;
    let Difference { lost, twice, changed } = compare(&entries(&store).await?, &tape.fed);
    let errors = number(&rig.verify(&store).await?, "errors");
    let value = format!(
        "{unreadable} covered entries lost while full, {lost} lost and {twice} twice in the end, {errors} errors, \
         {before} commits before, resumed after {:.2} s",
        after.as_secs_f64(),
    );
    Ok((value, unreadable + lost + twice + changed + errors == 0 && after <= RESUMES_WITHIN))
}

/// Fills a disk but for so many bytes.
fn fill(disk: &Path, free: usize) -> Result<std::path::PathBuf> {
    let path = disk.join("ballast");
    let failed = |cause| Error::io("fill disk", cause);
    let mut file = File::create(&path).map_err(failed)?;
    let block = vec![1; 64 * 1024];
    let blocks = (DISK_MIB as usize * 1024 * 1024 - free) / block.len();
    for _ in 0..blocks {
        file.write_all(&block).map_err(failed)?;
    }
    Ok(path)
}
