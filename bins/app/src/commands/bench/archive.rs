//! How fast a log becomes an archive, beside the compressor alone, and how fast the archive is given back.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::StoreSpec;
use ssmd_core::{
    Error, ErrorKind, Feed, FeedName, Journal, Metrics, Result, SessionId, Start, Store, Tasks, Wanted,
};
use ssmd_storage::archive::Options;
use ssmd_storage::segment::PART_BYTES_MAX;
use ssmd_storage::{Archive, ArchiveFeed, Archiver, Compression, Selection, Speed, line};
use ssmd_transport::log::LogReader;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::figure::{Figure, median, quantile};
use super::ground::Ground;
use super::recorder::{self, CHANNELS, FEED, Recorder, SYMBOLS};

/// Frames of the recording: some 100 MB.
const FRAMES: u64 = 400_000;
/// How long recording them may take.
const RECORD_TIME_MAX: Duration = Duration::from_secs(120);
/// Rounds, of which the median counts; archiver and compressor take turns.
const ROUNDS: usize = 11;
/// Frames taken at once by whoever replays.
const TAKEN: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// Archiving and replay of one recording.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let log = record(ground).await?;
    let plain = Arc::new(lines(&log).await?);
    let (mut walls, mut cores, mut archivers, mut bares) = (vec![], vec![], vec![], vec![]);
    let (mut line_cpu, mut bare_line_cpu, mut parts_line_cpu) = (vec![], vec![], vec![]);
    let lines = plain.iter().filter(|byte| **byte == b'\n').count() as f64;
    for _ in 0..ROUNDS {
        let bare = compress(ground, Arc::clone(&plain), stream).await?;
        let parts = compress(ground, Arc::clone(&plain), in_parts).await?;
        let archiver = archive(ground, &log).await?;
        walls.push(100.0 * bare.seconds / archiver.seconds);
        cores.push(100.0 * bare.cpu / archiver.cpu);
        line_cpu.push(archiver.cpu * 1e9 / lines);
        bare_line_cpu.push(bare.cpu * 1e9 / lines);
        parts_line_cpu.push(parts.cpu * 1e9 / lines);
        archivers.push(plain.len() as f64 / 1e6 / archiver.seconds);
        bares.push(plain.len() as f64 / 1e6 / bare.seconds);
    }
    let (mut rates, mut by_cpu, mut frames) = (vec![], vec![], 0);
    for _ in 0..ROUNDS {
        let (began, cpu) = (ground.clock().elapsed(), ground.cpu_seconds());
        frames = replay(ground).await?;
        let Took { seconds, cpu } = took(ground, began, cpu)?;
        rates.push(frames as f64 / seconds);
        by_cpu.push(frames as f64 / cpu);
    }
    if frames < FRAMES {
        return Err(Error::new(ErrorKind::Bug, "bench").detail("the archive lost frames"));
    }
    Ok(vec![
        Figure::least("archive_seal", median(&mut cores), 80.0, "% of zstd")
            .beside("by_wall_clock", median(&mut walls))
            .beside("cpu_ns_per_line", median(&mut line_cpu))
            .beside("zstd_cpu_ns_per_line", median(&mut bare_line_cpu))
            .beside("zstd_in_parts_cpu_ns_per_line", median(&mut parts_line_cpu))
            .beside("least_cpu", 100.0 * quantile(&mut bare_line_cpu, 0.0) / quantile(&mut line_cpu, 0.0))
            .beside("mb_per_second", median(&mut archivers))
            .beside("zstd_mb_per_second", median(&mut bares))
            .beside("worst", quantile(&mut cores, 0.0))
            .beside("best", quantile(&mut cores, 1.0)),
        Figure::least("replay_raw", median(&mut rates), 2_000_000.0, "frames/s")
            .beside("per_cpu_second", median(&mut by_cpu))
            .beside("line_bytes", plain.len() as f64 / frames as f64),
    ])
}

/// Records a simulated market as fast as it talks.
async fn record(ground: &Ground) -> Result<LogReader> {
    let clock = ground.clock();
    let mut tasks = Tasks::new();
    let environment = recorder::environment(&recorder::simulate(SYMBOLS, CHANNELS, None, &mut tasks).await?)?;
    let folder = ground.fresh("recording")?;
    let plain = |log| Arc::new(log) as Arc<dyn Journal>;
    let recorder = Recorder::start(&environment, &folder, false, &plain, Arc::clone(&clock)).await?;
    let done = || recorder.status.figures().frames >= FRAMES;
    ground.until("record simulated market", RECORD_TIME_MAX, done).await?;
    recorder.stop().await?;
    tasks.stop(recorder::STOP_TIME_MAX, Arc::clone(&clock)).await?;
    LogReader::open(&folder, clock)
}

/// What the archive holds of it, before compression.
async fn lines(log: &LogReader) -> Result<Vec<u8>> {
    let last = log.bounds().await?.origins.values().map(|(_, last)| *last).max().unwrap_or_default();
    let mut entries = log.read(Start::Oldest).await?;
    let (mut lines, mut reached) = (Vec::new(), 0);
    while reached < last {
        for entry in entries.next(TAKEN).await? {
            line::write(&entry, &mut lines);
            reached = entry.id.n;
        }
    }
    Ok(lines)
}

struct Took {
    seconds: f64,
    cpu: f64,
}

/// The compressor alone.
async fn compress(
    ground: &Ground,
    plain: Arc<Vec<u8>>,
    how: fn(&[u8], i32) -> std::io::Result<usize>,
) -> Result<Took> {
    let Compression::Zstd(level) = Compression::default() else {
        return Err(Error::new(ErrorKind::Bug, "bench").detail("the archive's default is not zstd"));
    };
    let (began, cpu) = (ground.clock().elapsed(), ground.cpu_seconds());
    let compressed = tokio::task::spawn_blocking(move || how(&plain, level));
    let compressed = compressed.await.map_err(|cause| Error::new(ErrorKind::Bug, "bench").because(cause))?;
    compressed.map_err(|cause| Error::io("compress", cause))?;
    took(ground, began, cpu)
}

/// One stream, in pieces of the size that zstd asks for: what `zstd FILE` does.
fn stream(plain: &[u8], level: i32) -> std::io::Result<usize> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::with_capacity(plain.len()), level)?;
    encoder.include_checksum(true)?;
    plain.chunks(zstd::zstd_safe::CCtx::in_size()).try_for_each(|piece| encoder.write_all(piece))?;
    Ok(encoder.finish()?.len())
}

/// Parts of the size that a segment's have, each at once.
fn in_parts(plain: &[u8], level: i32) -> std::io::Result<usize> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    compressor.include_checksum(true)?;
    let mut part = Vec::with_capacity(zstd::zstd_safe::compress_bound(PART_BYTES_MAX));
    plain.chunks(PART_BYTES_MAX).map(|plain| compressor.compress_to_buffer(plain, &mut part)).sum()
}

/// The archiver: it reads the log, writes lines, compresses, hashes, puts and commits.
async fn archive(ground: &Ground, log: &LogReader) -> Result<Took> {
    let store = store(&ground.fresh("store")?)?;
    let stop = CancellationToken::new();
    // It archives what there is, and ends.
    stop.cancel();
    let archiver = Archiver {
        feed: FeedName::new(FEED)?,
        journal: Arc::new(log.clone()),
        store,
        clock: ground.clock(),
        metrics: Metrics::new(),
        options: Options::new(ground.folder()),
        covered: Arc::new(|_, _| Ok(())),
    };
    let (began, cpu) = (ground.clock().elapsed(), ground.cpu_seconds());
    archiver.run(stop).await?;
    took(ground, began, cpu)
}

fn took(ground: &Ground, began: Duration, cpu: f64) -> Result<Took> {
    let seconds = (ground.clock().elapsed() - began).as_secs_f64();
    Ok(Took { seconds, cpu: ground.cpu_seconds() - cpu })
}

fn store(folder: &Path) -> Result<Arc<dyn Store>> {
    ssmd_storage::open(&StoreSpec::File(folder.display().to_string()), Path::new("."))
}

/// Every frame of the archive, in order, taken and dropped.
async fn replay(ground: &Ground) -> Result<u64> {
    let archive = Archive::open(store(&ground.folder().join("store"))?).await?;
    let name = FeedName::new(FEED)?;
    let decoder = ssmd_feeds::decoder(&name)?;
    let feed = ArchiveFeed::new(archive, name, Selection::all(), Speed::Max, decoder);
    let (_wanted, wanted) = watch::channel(Arc::new(Wanted::default()));
    let mut replay = feed.session().open(SessionId(1), wanted, ground.clock()).await?;
    let mut frames = 0;
    loop {
        let taken = replay.next(TAKEN).await?.len();
        if taken == 0 {
            return Ok(frames);
        }
        frames += taken as u64;
    }
}
