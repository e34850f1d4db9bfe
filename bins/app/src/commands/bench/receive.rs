//! From a socket to the disk: how many frames a second, beside a receive loop that drops every frame.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ssmd_core::{DecodeCounts, Error, ErrorKind, Journal, Result, Tasks};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::blast::{Blast, Load};
use super::figure::{Figure, median, quantile};
use super::ground::Ground;
use super::market::{Market, SYMBOL};
use super::recorder::{self, Recorder};

/// Levels of each frame: with four it has about 300 bytes.
const LEVELS: usize = 4;
/// Frames of a round whose frames are written together.
const TOGETHER: u64 = 2_000_000;
/// Frames of a round where each is a write of its own.
const APART: u64 = 500_000;
/// Rounds, of which the median counts; bare and recorded take turns, so that both see the same machine.
const ROUNDS: usize = 3;
/// How long a round may take.
const ROUND_TIME_MAX: Duration = Duration::from_secs(120);

/// Together and apart, with and without the decoder, bare beside each.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let mut market = Market::new()?;
    let first = market.snapshot();
    let then = market.updates(LEVELS)?;
    let bytes = then[0].len() as f64;
    let together = Load { first, then, frames: TOGETHER, apart: false };
    let apart = Load { frames: APART, apart: true, ..together.clone() };
    let (mut raw, mut live, mut bare_together) = (Rounds::default(), Rounds::default(), Rounds::default());
    let (mut recorded_apart, mut bare_apart, mut share) = (Rounds::default(), Rounds::default(), vec![]);
    for _ in 0..ROUNDS {
        bare_together.add(bare(ground, &together).await?);
        raw.add(recorded(ground, &together, false).await?);
        live.add(recorded(ground, &together, true).await?);
        let (bare, recorded) = (bare(ground, &apart).await?, recorded(ground, &apart, false).await?);
        share.push(100.0 * recorded.rate / bare.rate);
        bare_apart.add(bare);
        recorded_apart.add(recorded);
    }
    Ok(vec![
        Figure::least("receive_raw", raw.rate(), 500_000.0, "frames/s")
            .beside("bare", bare_together.rate())
            .beside("cpu_us", raw.cpu())
            .beside("bare_cpu_us", bare_together.cpu())
            .beside("frame_bytes", bytes),
        Figure::least("receive_with_decoder", live.rate(), 250_000.0, "frames/s")
            .beside("bare", bare_together.rate())
            .beside("cpu_us", live.cpu()),
        Figure::least("receive_frame_per_write", median(&mut share), 80.0, "% of bare")
            .beside("bare", bare_apart.rate())
            .beside("recorded", recorded_apart.rate())
            .beside("cpu_us", recorded_apart.cpu())
            .beside("bare_cpu_us", bare_apart.cpu())
            .beside("worst", quantile(&mut share, 0.0))
            .beside("best", quantile(&mut share, 1.0)),
    ])
}

/// One round: frames a second, and µs of this process's CPU time for each frame, the sender's share included.
struct Round {
    rate: f64,
    cpu: f64,
}

impl Round {
    fn new(frames: u64, seconds: f64, cpu: f64) -> Self {
        Self { rate: frames as f64 / seconds, cpu: cpu * 1e6 / frames as f64 }
    }
}

#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    cpus: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, round: Round) {
        self.rates.push(round.rate);
        self.cpus.push(round.cpu);
    }

    fn rate(&mut self) -> f64 {
        median(&mut self.rates)
    }

    fn cpu(&mut self) -> f64 {
        median(&mut self.cpus)
    }
}

/// tokio-tungstenite reading frames and dropping them, on a worker as our sessions are. It makes the same reads as
/// they do: it clears its buffer before each one, which with one of its own choice, of 128 KiB, is most of what a
/// frame costs that comes alone.
async fn bare(ground: &Ground, load: &Load) -> Result<Round> {
    let (clock, cpu) = (ground.clock(), ground.cpu_seconds());
    let blast = Blast::start(load.clone(), Arc::clone(&clock))?;
    let (address, frames) = (blast.address, load.frames);
    let (tell, told) = oneshot::channel();
    let mut tasks = Tasks::new();
    tasks.spawn("bare loop", async move {
        drop_frames(address, frames).await?;
        // The bench waits for it.
        let _ = tell.send(clock.elapsed());
        Ok(())
    });
    tasks.wait().await?;
    let ended = told.await.map_err(|cause| Error::new(ErrorKind::Bug, "bench").because(cause))?;
    let seconds = ended.saturating_sub(blast.began()).as_secs_f64();
    let cpu = ground.cpu_seconds() - cpu;
    blast.end().await?;
    Ok(Round::new(load.frames, seconds, cpu))
}

async fn drop_frames(address: SocketAddr, frames: u64) -> Result<()> {
    let failed = |cause| Error::io("connect to load", cause);
    let broken = |cause| Error::new(ErrorKind::Io, "receive load").because(cause);
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let config = WebSocketConfig::default().read_buffer_size(ssmd_feeds::dial::READ_BYTES);
    let url = format!("ws://{address}/v2");
    let connected = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await;
    let (mut socket, _) = connected.map_err(broken)?;
    for _ in 0..frames {
        match socket.next().await {
            Some(message) => drop(message.map_err(broken)?),
            None => return Err(Error::new(ErrorKind::Closed, "receive load")),
        }
    }
    Ok(())
}

/// Until the last frame is durable, and decoded if `live`.
async fn recorded(ground: &Ground, load: &Load, live: bool) -> Result<Round> {
    let (clock, cpu) = (ground.clock(), ground.cpu_seconds());
    let folder = ground.fresh("receive")?;
    let blast = Blast::start(load.clone(), Arc::clone(&clock))?;
    let document = recorder::document(blast.address, "book", &[SYMBOL.to_owned()]);
    let environment = recorder::environment(&document)?;
    let plain = |log| Arc::new(log) as Arc<dyn Journal>;
    let recorder = Recorder::start(&environment, &folder, live, &plain, Arc::clone(&clock)).await?;
    let done = || {
        let figures = recorder.status.figures();
        // Every frame is a book, and the first may pass unchecked.
        let verified = |counts: &watch::Receiver<DecodeCounts>| counts.borrow().books_verified + 1;
        let decoded = recorder.counts.as_ref().is_none_or(|counts| verified(counts) >= load.frames);
        let kept = recorder.log.durable() > load.frames && decoded;
        figures.frames >= load.frames && (kept || figures.overflowed > 0)
    };
    ground.until("record load", ROUND_TIME_MAX, done).await?;
    let seconds = (clock.elapsed() - blast.began()).as_secs_f64();
    let cpu = ground.cpu_seconds() - cpu;
    let overflowed = recorder.status.figures().overflowed;
    recorder.stop().await?;
    blast.end().await?;
    if overflowed > 0 {
        // The disk did not keep up: that is no rate.
        return Ok(Round { rate: 0.0, cpu: 0.0 });
    }
    Ok(Round::new(load.frames, seconds, cpu))
}
