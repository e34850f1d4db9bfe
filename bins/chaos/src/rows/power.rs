//! R02 and R03: power cuts, on an ext4 disk that is shut down without writing anything more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use serde_json::Value;
use ssmd_core::{Clock, Entry, EntryKind, Error, FrameKind, Result, SessionId, Tasks, Timestamp};
use ssmd_transport::log::covered;

use super::connector::exchange;
use crate::disk::Disk;
use crate::record::{compare, entries};
use crate::rig::{Outcome, Rig, free_port, number};
use crate::tail::Tail;
use crate::tape::{Tape, feed};

/// The disk's size: what the longest form writes, and room.
const DISK_MIB: u64 = 512;
const FRAMES_A_ROUND: usize = 900;
/// Messages a second of the simulated market.
const RATE: u32 = if cfg!(debug_assertions) { 3000 } else { 20_000 };
/// What may be lost of a feed, beside what two syncs and a wait for a processor take: the pause between syncs, and the
/// way to the disk. Two, since one is in flight at a time: what comes while one runs is in the next one, and a cut may
/// come into that.
const LOST_MS_MAX: f64 = 10.0;
/// How long the measuring of the disk's own sync rests. A stall that it comes to late is measured short by as much.
const PROBE_EVERY: Duration = Duration::from_millis(5);
const PROBE_STOPS_WITHIN: Duration = Duration::from_secs(10);

fn no_disk(error: &Error) -> Outcome {
    Outcome::NotRun(format!("no ext4 on a loop device here, which root could mount ({})", error.report()))
}

/// R02: the archiver's store loses power, its log does not. What the log was told is archived must be readable.
pub(crate) async fn store(rig: &mut Rig) -> Result<Outcome> {
    let disk = match Disk::ext4(rig, "disk", DISK_MIB) {
        Ok(disk) => disk,
        Err(error) => return Ok(no_disk(&error)),
    };
    let (data, store) = (rig.path("data"), disk.path().join("store"));
    let config = rig.environment("environment.yaml", 1, &store)?;
    let log = data.join("log").join(feed().as_str());
    let mut tape = Tape::begin(&log, rig.clock.clone(), rig.random.random()).await?;
    let (mut lost, mut damage, mut told) = (0, 0, 0);
    for _ in 0..rig.rounds {
        tape.frames(FRAMES_A_ROUND).await?;
        let knife = disk.knife()?;
        let archiver = rig.archiver(&config, &data, &[])?;
        let time = rig.between(60, 400);
        rig.pause(time).await;
        knife.cut()?;
        drop(archiver);
        disk.restart()?;
        let through = covered(&log)?.map_or(0, |(_, n)| n);
        told += u32::from(through > 0);
        let fed = tape.fed.iter().filter(|entry| entry.id.n <= through);
        if through > 0 {
            lost += compare(&entries(&store).await?, fed).lost;
            damage += number(&rig.verify(&store).await?, "errors");
        }
    }
    tape.end().await?;
    rig.archive_rest(&config, &data).await?;
    let after = compare(&entries(&store).await?, &tape.fed);
    damage += number(&rig.verify(&store).await?, "errors");
    let value = format!(
        "{lost} covered entries lost, {damage} damage, {} lost and {} twice when all was archived; {} cuts, {told} of \
         them after the log was told, {} entries",
        after.lost,
        after.twice,
        rig.rounds,
        tape.fed.len(),
    );
    Ok(Outcome::Ran { value, ok: lost == 0 && damage == 0 && after.none() })
}

/// What the cuts of R03 have cost.
#[derive(Default)]
struct Cost {
    /// Entries that a reader of the log had been shown and that are gone.
    durable: u64,
    /// The worst cut, in milliseconds of the feed, and what was allowed for it.
    worst: (f64, f64),
    /// Cuts that cost more than they may.
    beyond: u32,
    seen: usize,
}

/// R03: log and store lose power together, under a running feed.
pub(crate) async fn node(rig: &mut Rig) -> Result<Outcome> {
    let disk = match Disk::ext4(rig, "disk", DISK_MIB) {
        Ok(disk) => disk,
        Err(error) => return Ok(no_disk(&error)),
    };
    let (data, store, port) = (disk.path().join("data"), disk.path().join("store"), free_port()?);
    let config = rig.environment("environment.yaml", port, &store)?;
    let sent = rig.path("sent.jsonl");
    let mut sim = exchange(rig, port, RATE, &["--log", &sent.to_string_lossy()]).await?;
    let log = data.join("log").join(feed().as_str());
    let folder = data.to_string_lossy().into_owned();
    let (mut seen, mut cost) = (Vec::new(), Cost::default());
    for _ in 0..rig.rounds {
        let probe = Probe::start(disk.path(), Arc::clone(&rig.clock))?;
        let tail = Tail::watch(&log, rig.clock.clone(), seen);
        let knife = disk.knife()?;
        let round = Round { began: rig.clock.now(), sent_before: length(&sent)? };
        let up = rig.start("ssmd", &["up", "-c", &config, "--data", &folder])?;
        let time = rig.between(1200, 2600);
        rig.pause(time).await;
        let cut = knife.cut()?;
        drop(up);
        let machine = probe.stop(cut).await?;
        seen = tail.stop().await?;
        disk.restart()?;
        // What stands in the log when it is opened again is what the cut has left.
        rig.start("ssmd", &["up", "-c", &config, "--data", &folder, "--for", "300ms"])?
            .ends_well(rig)
            .await?;
        let archived = entries(&store).await?;
        let last = archived.iter().filter(|entry| is_received(entry) && entry.at <= cut).map(|e| e.at).max();
        let first_lost = round.first_sent(&sent, last)?.map_or(cut, |first| first.min(cut));
        cost.count(&archived, &seen, cut.since(first_lost), machine);
    }
    sim.stop(rig).await?;
    let report = rig.verify(&store).await?;
    let (errors, unlike) = (number(&report, "errors"), unlike_sent(&entries(&store).await?, &sent)?);
    let value = format!(
        "{} of {} durable entries lost, {} ms of feed lost at most ({} ms allowed: 10 ms, two syncs of the disk, a wait \
         for a processor), {} cuts beyond what is allowed, {unlike} sessions that are no prefix of what was sent, \
         {errors} errors; {} cuts at {RATE} messages/s",
        cost.durable,
        cost.seen,
        cost.worst.0.round(),
        cost.worst.1.round(),
        cost.beyond,
        rig.rounds,
    );
    let ok = cost.durable == 0 && cost.beyond == 0 && unlike == 0 && errors == 0 && cost.seen > 0;
    Ok(Outcome::Ran { value, ok })
}

impl Cost {
    /// `lost` is from the first frame that was sent and is not there to the cut.
    fn count(&mut self, archived: &[Entry], seen: &[Entry], lost: Duration, machine: Duration) {
        let difference = compare(archived, seen);
        self.durable += difference.lost + difference.changed;
        self.seen = seen.len();
        let lost = lost.as_secs_f64() * 1000.0;
        let allowed = LOST_MS_MAX + machine.as_secs_f64() * 1000.0;
        self.beyond += u32::from(lost > allowed);
        if lost > self.worst.0 {
            self.worst = (lost, allowed);
        }
    }
}

/// One time between two power cuts.
struct Round {
    began: Timestamp,
    /// Bytes of what the feed had sent before.
    sent_before: u64,
}

impl Round {
    /// When the feed said its first word of this round after `last`, which was received.
    fn first_sent(&self, sent: &Path, last: Option<Timestamp>) -> Result<Option<Timestamp>> {
        let after = last.unwrap_or_default().max(self.began);
        let failed = |cause| Error::io("read what was sent", cause);
        let mut file = File::open(sent).map_err(failed)?;
        file.seek(SeekFrom::Start(self.sent_before)).map_err(failed)?;
        let mut times = BufReader::new(file).lines().map_while(std::io::Result::ok).filter_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            Some(Timestamp::from_nanos(line["t"].as_i64()?))
        });
        Ok(times.find(|time| *time > after))
    }
}

fn length(file: &Path) -> Result<u64> {
    std::fs::metadata(file).map(|file| file.len()).map_err(|cause| Error::io("read what was sent", cause))
}

fn is_received(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Frame(kind) if kind != FrameKind::Sent)
}

/// Sessions whose frames are not the first ones of a connection, in order.
fn unlike_sent(archived: &[Entry], sent: &Path) -> Result<usize> {
    let text = std::fs::read_to_string(sent).map_err(|cause| Error::io("read what was sent", cause))?;
    let mut connections: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let raw = line["raw"].as_str().unwrap_or_default().to_owned();
        connections.entry(line["c"].as_u64().unwrap_or(0)).or_default().push(raw);
    }
    let mut sessions: BTreeMap<SessionId, Vec<&[u8]>> = BTreeMap::new();
    for entry in archived.iter().filter(|entry| is_received(entry)) {
        sessions.entry(entry.session).or_default().push(&entry.payload);
    }
    let mut left = connections.into_values();
    let begins_with = |sent: &[String], got: &[&[u8]]| {
        sent.len() >= got.len() && sent.iter().zip(got).all(|(sent, got)| sent.as_bytes() == *got)
    };
    Ok(sessions.values().filter(|got| !left.any(|sent| begins_with(&sent, got))).count())
}

/// Measures the disk's own `fdatasync` beside what is measured.
struct Probe {
    tasks: Tasks,
    syncs: Arc<Mutex<Syncs>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Syncs {
    /// What the last one took.
    last: Duration,
    /// The most that two in a row took.
    two: Duration,
    /// When the one that runs began.
    began: Option<Timestamp>,
    /// How long the measuring waited at most for a processor after its rest: so do the programs beside it.
    late: Duration,
}

impl Syncs {
    fn ended(&mut self, took: Duration) {
        self.two = self.two.max(self.last + took);
        self.last = took;
        self.began = None;
    }
}

impl Probe {
    fn start(disk: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let file = File::create(disk.join("probe")).map_err(|cause| Error::io("measure disk", cause))?;
        let syncs = Arc::new(Mutex::new(Syncs::default()));
        let mut tasks = Tasks::new();
        let (stop, said, time) = (tasks.token(), Arc::clone(&syncs), Arc::clone(&clock));
        tasks.spawn("measure disk", async move {
            let file = Arc::new(file);
            while !stop.is_cancelled() {
                let (file, before) = (Arc::clone(&file), time.elapsed());
                locked(&said).began = Some(time.now());
                let synced = tokio::task::spawn_blocking(move || {
                    (&*file).write_all(&[0; 4096]).and_then(|()| file.sync_data())
                });
                if !matches!(synced.await, Ok(Ok(()))) {
                    // The power is gone.
                    return Ok(());
                }
                let ended = time.elapsed();
                locked(&said).ended(ended.saturating_sub(before));
                time.sleep(PROBE_EVERY).await;
                let late = time.elapsed().saturating_sub(ended + PROBE_EVERY);
                let mut syncs = locked(&said);
                syncs.late = syncs.late.max(late);
            }
            Ok(())
        });
        Ok(Self { tasks, syncs, clock })
    }

    /// The most that two syncs in a row took, the one that the cut came into counted as far as it was, and the longest
    /// wait for a processor.
    async fn stop(self, cut: Timestamp) -> Result<Duration> {
        self.tasks.stop(PROBE_STOPS_WITHIN, self.clock).await?;
        let mut syncs = locked(&self.syncs);
        if let Some(began) = syncs.began {
            syncs.ended(cut.since(began));
        }
        Ok(syncs.two + syncs.late)
    }
}

fn locked(syncs: &Mutex<Syncs>) -> MutexGuard<'_, Syncs> {
    syncs.lock().unwrap_or_else(PoisonError::into_inner)
}
