//! A whole venue on one machine: ten thousand symbols on fifty connections, recorded and decoded by the connector.
//! The simulator that sends is in this process, the connector in one of its own.

use std::num::NonZeroUsize;
use std::time::Duration;

use ssmd_core::{EntryKind, Journal, Result, Start, Tasks};
use ssmd_transport::log::LogReader;

use super::figure::{Figure, quantile};
use super::ground::Ground;
use super::memory::{last, resident_mb};
use super::recorder;
use super::restart::{beside, log, write};

/// Symbols of the venue.
const SYMBOLS: usize = 10_000;
/// All that is told of a symbol: nine topics, so that fifty connections carry them, each 90 % full.
const CHANNELS: &str = "book, trade, ticker, ohlc:1, ohlc:5, ohlc:15, ohlc:30, ohlc:60, ohlc:240";
/// Connections that it takes.
const CONNECTIONS: f64 = 50.0;
/// Messages a second that are asked of the simulator: a little more than must come, since it does not catch up.
const RATE: f64 = 51_000.0;
/// Messages a second that must come.
const RATE_LEAST: f64 = 50_000.0;
/// The most that the connector may have resident, in MB.
const MEMORY_MOST: f64 = 128.0;
/// How long connecting and subscribing may take, and the first books, before the rate counts.
const SETTLE: u32 = 30;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Entries read at once.
const ENTRIES: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// Memory, rate, connections and holes.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let seconds = if ground.soak() { 120 } else { 20 };
    let clock = ground.clock();
    let mut tasks = Tasks::new();
    let document = recorder::simulate(SYMBOLS, CHANNELS, Some(RATE), &mut tasks).await?;
    let folder = ground.fresh("universe")?;
    let config = write(&folder, &document)?;
    let data = folder.join("data");
    let connector = beside("ssmd-connector", &config, &data)?;
    let log = log(ground, &data).await?;
    let mut resident = Vec::new();
    for _ in 0..SETTLE {
        clock.sleep(LOOK_EVERY).await;
        resident.push(resident_mb(connector.id())?);
    }
    let (first, began) = (last(&log).await?, clock.elapsed());
    for _ in 0..seconds {
        clock.sleep(LOOK_EVERY).await;
        resident.push(resident_mb(connector.id())?);
    }
    let rate = (last(&log).await? - first) as f64 / (clock.elapsed() - began).as_secs_f64();
    drop(connector);
    tasks.stop(recorder::STOP_TIME_MAX, clock).await?;
    let Counted { opened, gaps } = count(&log).await?;
    let ended = resident.last().copied().unwrap_or_default();
    Ok(vec![
        Figure::most("universe_memory", quantile(&mut resident, 1.0), MEMORY_MOST, "MB")
            .beside("at_the_end", ended),
        Figure::least("universe_frames", rate, RATE_LEAST, "frames/s").beside("seconds", f64::from(seconds)),
        Figure::least("universe_connections", opened, CONNECTIONS, "").beside("symbols", SYMBOLS as f64),
        Figure::most("universe_gaps", gaps, 0.0, "gaps"),
    ])
}

/// What the log says of the run.
struct Counted {
    opened: f64,
    gaps: f64,
}

async fn count(log: &LogReader) -> Result<Counted> {
    let (end, mut reached) = (last(log).await?, 0);
    let mut entries = log.read(Start::Oldest).await?;
    let mut counted = Counted { opened: 0.0, gaps: 0.0 };
    while reached < end {
        for entry in entries.next(ENTRIES).await? {
            reached = entry.id.n;
            counted.opened += f64::from(u8::from(entry.kind == EntryKind::Open));
            counted.gaps += f64::from(u8::from(entry.kind == EntryKind::Gap));
        }
    }
    Ok(counted)
}
