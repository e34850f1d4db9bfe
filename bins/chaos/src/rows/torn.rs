//! R12: a log's segment that ends anywhere. `ssmd-transport/tests/log_damage.rs` tries more kinds of damage; this
//! prints the figure.

use std::num::NonZeroUsize;
use std::path::Path;

use rand::RngExt;
use ssmd_core::{Entry, EntryKind, Error, ErrorKind, Journal, Result, Start};
use ssmd_transport::log::{Log, Options};

use crate::broken;
use crate::rig::{Outcome, Rig};
use crate::tape::{Tape, feed};

/// Frames in the segment; it is torn at each of its bytes.
const FRAMES: usize = 1;
const BATCH: NonZeroUsize = NonZeroUsize::new(1024).expect("positive");

/// R12: the longest valid prefix must be there, and nothing else but holes that are named.
pub(crate) async fn every_byte(rig: &mut Rig) -> Result<Outcome> {
    let (mut tried, mut failures) = (0, Vec::new());
    for round in 0..rig.rounds {
        let sound = rig.path(&format!("sound-{round}"));
        let mut tape = Tape::begin(&sound, rig.clock.clone(), rig.random.random()).await?;
        tape.frames(FRAMES).await?;
        tape.end().await?;
        let all = {
            let log = Log::open(&sound, &feed(), Options::default(), rig.clock.clone()).await?;
            let all = drain(&log).await?;
            log.close().await?;
            all
        };
        let segment = segment_of(&sound)?;
        let bytes = std::fs::read(&segment).map_err(|cause| Error::io("read segment", cause))?;
        let name = segment.file_name().ok_or_else(|| broken("read segment", "no name"))?.to_owned();
        let mark = std::fs::read(sound.join("durable")).map_err(|cause| Error::io("read mark", cause))?;
        for length in 0..=bytes.len() {
            for garbage in [0, rig.random.random_range(1..200)] {
                let mut torn = bytes[..length].to_vec();
                torn.extend((0..garbage).map(|_| rig.random.random::<u8>()));
                let place = rig.path("torn");
                let made = std::fs::create_dir(&place)
                    .and_then(|()| std::fs::write(place.join(&name), &torn))
                    .and_then(|()| std::fs::write(place.join("durable"), &mark));
                made.map_err(|cause| Error::io("tear log", cause))?;
                tried += 1;
                if let Err(error) = recovers(rig, &place, &all).await {
                    failures.push(format!("cut at {length}, {garbage} bytes behind: {}", error.report()));
                }
                std::fs::remove_dir_all(&place).map_err(|cause| Error::io("clear log", cause))?;
            }
        }
    }
    failures.iter().take(10).for_each(|failure| eprintln!("{failure}"));
    let value = format!("{} failures of {tried} torn segments", failures.len());
    Ok(Outcome::Ran { value, ok: failures.is_empty() })
}

/// Opens a torn log and checks that it holds a prefix of what it held, a new epoch, and takes more.
async fn recovers(rig: &Rig, place: &Path, before: &[Entry]) -> Result<()> {
    let log = Log::open(place, &feed(), Options::default(), rig.clock.clone()).await?;
    let entries = drain(&log).await?;
    let (epoch, kept) = entries.split_last().ok_or_else(|| broken("recover log", "nothing is there"))?;
    let is_prefix = kept.len() <= before.len() && kept == &before[..kept.len()];
    if !is_prefix || epoch.kind != EntryKind::Epoch {
        return Err(broken("recover log", "something was invented"));
    }
    if epoch.id.n <= before.last().map_or(0, |last| last.id.n) {
        return Err(broken("recover log", "a number that was acknowledged is given again"));
    }
    log.close().await
}

/// Everything that is durable now; holes are passed over.
async fn drain(log: &Log) -> Result<Vec<Entry>> {
    let mut reader = log.read(Start::Oldest).await?;
    let (mut all, last) = (Vec::<Entry>::new(), log.durable());
    while all.last().is_none_or(|entry| entry.id.n < last) {
        match reader.next(BATCH).await {
            Ok(batch) => all.extend(batch),
            Err(error) if error.kind() == ErrorKind::Hole => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn segment_of(log: &Path) -> Result<std::path::PathBuf> {
    let listed = std::fs::read_dir(log).map_err(|cause| Error::io("list log", cause))?;
    let mut segments: Vec<_> = listed
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    segments.sort();
    segments.into_iter().next().ok_or_else(|| broken("list log", "no segment"))
}
