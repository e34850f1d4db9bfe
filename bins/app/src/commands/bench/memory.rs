//! What connector and archiver keep in memory while a busy venue talks.

use std::time::Duration;

use ssmd_core::{Error, ErrorKind, Journal, Result, Tasks};
use ssmd_transport::log::LogReader;

use super::figure::{Figure, quantile};
use super::ground::Ground;
use super::recorder::{self, CHANNELS, SYMBOLS};
use super::restart::{beside, log, write};

/// Frames a second.
const RATE: f64 = 20_000.0;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much more the last quarter of a run may need than the second, in MB: what allocators keep in hand.
const FLAT_MB: f64 = 4.0;

/// Two figures, and whether they stand still.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let seconds = if ground.soak() { 600 } else { 20 };
    let clock = ground.clock();
    let mut tasks = Tasks::new();
    let document = recorder::simulate(SYMBOLS, CHANNELS, Some(RATE), &mut tasks).await?;
    let folder = ground.fresh("memory")?;
    let config = write(&folder, &document)?;
    let data = folder.join("data");
    let connector = beside("ssmd-connector", &config, &data)?;
    let archiver = beside("ssmd-archiver", &config, &data)?;
    let log = log(ground, &data).await?;
    let (first, began) = (last(&log).await?, clock.elapsed());
    let (mut connected, mut archived) = (Vec::new(), Vec::new());
    for _ in 0..seconds {
        clock.sleep(LOOK_EVERY).await;
        connected.push(resident_mb(connector.id())?);
        archived.push(resident_mb(archiver.id())?);
    }
    let rate = (last(&log).await? - first) as f64 / (clock.elapsed() - began).as_secs_f64();
    drop((connector, archiver));
    tasks.stop(recorder::STOP_TIME_MAX, clock).await?;
    let mut figures = Vec::new();
    let rows = [
        ("memory_connector", "growth_connector", connected, 48.0),
        ("memory_archiver", "growth_archiver", archived, 96.0),
    ];
    for (id, growth_id, mut samples, limit) in rows {
        let growth = growth(&samples);
        let peak = quantile(&mut samples, 1.0);
        let figure = Figure::most(id, peak, limit, "MB").beside("frames_per_second", rate);
        figures.push(figure.beside("seconds", f64::from(seconds)));
        if ground.soak() {
            figures.push(Figure::most(growth_id, growth, FLAT_MB, "MB"));
        }
    }
    Ok(figures)
}

/// How much more the last quarter needed than the second; the first is for caches that fill.
fn growth(samples: &[f64]) -> f64 {
    let quarter = samples.len() / 4;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    mean(&samples[3 * quarter..]) - mean(&samples[quarter..2 * quarter])
}

/// How many entries a log has had.
///
/// # Errors
/// The log's.
pub(super) async fn last(log: &LogReader) -> Result<u64> {
    Ok(log.bounds().await?.origins.values().map(|(_, last)| *last).max().unwrap_or_default())
}

/// The resident memory of a process, in MB of 10^6 bytes.
///
/// # Errors
/// `Unavailable` if it has ended.
pub(super) fn resident_mb(process: u32) -> Result<f64> {
    let failed = |cause| Error::io("read memory of program", cause).with("process", process);
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).map_err(failed)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0 / 1e6).ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, "read memory of program")
            .detail("it has ended")
            .with("process", process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_compares_the_second_quarter_with_the_last() {
        assert_eq!(growth(&[9.0, 1.0, 2.0, 5.0]), 4.0);
        assert_eq!(growth(&[1.0; 40]), 0.0);
    }

    #[test]
    fn this_process_needs_memory() {
        assert!(resident_mb(std::process::id()).unwrap() > 0.1);
        assert_eq!(resident_mb(u32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
