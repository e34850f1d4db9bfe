//! From a socket to the disk: how many frames a second, beside a receive loop that drops every frame.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use ssmd_core::{Error, ErrorKind, Journal, Result, Tasks};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::blast::{Blast, Load};
use super::figure::{Figure, median};
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
    let mut rates: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        rates[0].push(bare(ground, &together).await?);
        rates[1].push(recorded(ground, &together, false).await?);
        rates[2].push(recorded(ground, &together, true).await?);
        let bare = bare(ground, &apart).await?;
        let recorded = recorded(ground, &apart, false).await?;
        rates[3].push(bare);
        rates[4].push(recorded);
        rates[5].push(100.0 * recorded / bare);
    }
    let [bare_together, raw, live, bare_apart, recorded_apart, mut share] = rates;
    let [bare_together, raw, live, bare_apart, recorded_apart] =
        [bare_together, raw, live, bare_apart, recorded_apart].map(|mut rates| median(&mut rates));
    let (worst, best) = (super::figure::quantile(&mut share, 0.0), super::figure::quantile(&mut share, 1.0));
    Ok(vec![
        Figure::least("receive_raw", raw, 500_000.0, "frames/s")
            .beside("bare", bare_together)
            .beside("frame_bytes", bytes),
        Figure::least("receive_with_decoder", live, 250_000.0, "frames/s").beside("bare", bare_together),
        Figure::least("receive_frame_per_write", median(&mut share), 80.0, "% of bare")
            .beside("bare", bare_apart)
            .beside("recorded", recorded_apart)
            .beside("worst", worst)
            .beside("best", best),
    ])
}

/// tokio-tungstenite as it is, reading frames and dropping them, on a worker as our sessions are.
async fn bare(ground: &Ground, load: &Load) -> Result<f64> {
    let clock = ground.clock();
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
    blast.end().await?;
    Ok(load.frames as f64 / seconds)
}

async fn drop_frames(address: SocketAddr, frames: u64) -> Result<()> {
    let failed = |cause| Error::io("connect to load", cause);
    let broken = |cause| Error::new(ErrorKind::Io, "receive load").because(cause);
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let connected = tokio_tungstenite::client_async(format!("ws://{address}/v2"), stream).await;
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
async fn recorded(ground: &Ground, load: &Load, live: bool) -> Result<f64> {
    let clock = ground.clock();
    let folder = ground.fresh("receive")?;
    let blast = Blast::start(load.clone(), Arc::clone(&clock))?;
    let document = recorder::document(blast.address, "book", &[SYMBOL.to_owned()]);
    let environment = recorder::environment(&document)?;
    let plain = |log| Arc::new(log) as Arc<dyn Journal>;
    let recorder = Recorder::start(&environment, &folder, live, &plain, Arc::clone(&clock)).await?;
    let done = || {
        let figures = recorder.status.figures();
        let decoded = recorder.counts.as_ref().is_none_or(|counts| counts.borrow().frames >= load.frames);
        figures.frames >= load.frames && recorder.log.durable() > load.frames && decoded
    };
    ground.until("record load", ROUND_TIME_MAX, done).await?;
    let seconds = (clock.elapsed() - blast.began()).as_secs_f64();
    let (figures, counts) =
        (recorder.status.figures(), recorder.counts.as_ref().map(|counts| *counts.borrow()));
    recorder.stop().await?;
    blast.end().await?;
    let verified = counts.is_none_or(|counts| counts.books_verified >= load.frames);
    if figures.overflowed > 0 || !verified {
        return Err(Error::new(ErrorKind::Bug, "bench").detail("frames were lost, or their books are wrong"));
    }
    Ok(load.frames as f64 / seconds)
}
