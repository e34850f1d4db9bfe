//! R05: connectors that die.

use std::path::Path;
use std::time::Duration;

use ssmd_core::entry::note;
use ssmd_core::{Entry, EntryKind, Evidence, FrameKind, Gap, GapCause, Result, Timestamp};

use crate::process::Process;
use crate::record::{compare, entries};
use crate::rig::{Outcome, Rig, free_port, number, p99_and_max};
use crate::tail::Tail;
use crate::tape::feed;

/// Messages a second of the simulated market.
const RATE: u32 = if cfg!(debug_assertions) { 3000 } else { 20_000 };
/// Within this the first frame must be there again.
const FIRST_FRAME_WITHIN_MS: f64 = 1000.0;

/// A simulated exchange at this rate.
pub(crate) async fn exchange(rig: &Rig, port: u16, rate: u32, more: &[&str]) -> Result<Process> {
    let (listen, rate) = (format!("127.0.0.1:{port}"), rate.to_string());
    let common = ["sim", "--listen", &listen, "--symbols", "BTC/USD,ETH/USD", "--rate", &rate];
    let sim = rig.start("ssmd", &[&common[..], more].concat())?;
    rig.until("the simulator", || Ok(std::net::TcpStream::connect(&listen).ok())).await?;
    Ok(sim)
}

/// R05: `kill -9` of the connector, again and again, each time started anew at once.
pub(crate) async fn killed(rig: &mut Rig) -> Result<Outcome> {
    let (data, store, port) = (rig.path("data"), rig.path("store"), free_port()?);
    let config = rig.environment("environment.yaml", port, &store)?;
    let sim = exchange(rig, port, RATE, &[]).await?;
    let log = data.join("log").join(feed().as_str());
    let tail = Tail::watch(&log, rig.clock.clone(), Vec::new());
    let mut starts = Vec::new();
    for _ in 0..rig.rounds {
        starts.push(rig.now());
        let connector = rig.connector(&config, &data)?;
        let time = rig.between(20, 700);
        rig.pause(time).await;
        connector.kill()?;
    }
    starts.push(rig.now());
    let mut last = rig.connector(&config, &data)?;
    rig.pause(Duration::from_millis(700)).await;
    last.stop(rig).await?;
    drop(sim);
    let durable = tail.stop().await?;
    rig.archive_rest(&config, &data).await?;
    judge(rig, &store, &durable, &starts).await
}

async fn judge(rig: &Rig, store: &Path, durable: &[Entry], starts: &[Timestamp]) -> Result<Outcome> {
    let report = rig.verify(store).await?;
    let archived = entries(store).await?;
    let difference = compare(&archived, durable);
    let restarts = restarts(&archived);
    let untrue = restarts.iter().filter(|restart| !restart.told).count();
    let first_frames = first_frames(&archived, starts);
    let measured = first_frames.len();
    let (p99, most) = p99_and_max(first_frames);
    let errors = number(&report, "errors");
    let value = format!(
        "{} of {} durable entries not archived, {} twice, {} changed, {errors} errors; {} kills, {} holes with frames \
         on both sides, {untrue} without a gap of true bounds; restart to first frame p99 {p99:.0} ms, most {most:.0} ms \
         of {measured}",
        difference.lost,
        durable.len(),
        difference.twice,
        difference.changed,
        rig.rounds,
        restarts.len(),
    );
    let ok = difference.none() && errors == 0 && untrue == 0 && p99 <= FIRST_FRAME_WITHIN_MS && measured > 0;
    Ok(Outcome::Ran { value, ok })
}

/// A hole between two frames that different epochs received.
struct Restart {
    /// Whether a gap says so, from the last frame before to the first frame behind.
    told: bool,
}

fn restarts(archived: &[Entry]) -> Vec<Restart> {
    let (mut last, mut epoch, mut gaps, mut found) = (None, false, Vec::new(), Vec::new());
    for entry in archived {
        match entry.kind {
            EntryKind::Epoch => epoch = true,
            EntryKind::Gap => gaps.extend(note::decode::<Gap>(&entry.payload).ok()),
            EntryKind::Frame(kind) if kind != FrameKind::Sent => {
                if let Some(last) = last.filter(|_| epoch) {
                    let is_it =
                        |gap: &Gap| gap.cause == GapCause::Crash && at(&gap.from, last) && at(&gap.to, entry);
                    found.push(Restart { told: gaps.iter().any(is_it) });
                }
                (last, epoch) = (Some(entry), false);
                gaps.clear();
            }
            _ => {}
        }
    }
    found
}

fn at(evidence: &Option<Evidence>, frame: &Entry) -> bool {
    let is = |evidence: &Evidence| (evidence.at, evidence.session, evidence.index);
    evidence.as_ref().map(is) == Some((frame.at, frame.session, frame.index))
}

/// How long after each start its first frame came, for those that lived to receive one.
pub(crate) fn first_frames(archived: &[Entry], starts: &[Timestamp]) -> Vec<Duration> {
    let received: Vec<_> = archived
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::Frame(kind) if kind != FrameKind::Sent))
        .map(|entry| entry.at)
        .collect();
    let next = starts[1..].iter().copied().chain([Timestamp::from_nanos(i64::MAX)]);
    let first = |(start, next): (&Timestamp, Timestamp)| {
        received.iter().find(|at| (*start..next).contains(*at)).map(|at| at.since(*start))
    };
    starts.iter().zip(next).filter_map(first).collect()
}
