//! The dialers side by side: how many frames a second each takes off a socket, at what cost, and how soon.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{Clock, Error, ErrorKind, Result};
use ssmd_echidna::{EchidnaDialer, Mode};
use ssmd_feeds::dial::{Dial, Dialer};
use ssmd_feeds::venue::Handshake;
use tokio_tungstenite::tungstenite;

use super::blast::{Blast, Load, encode};
use super::figure::{Figure, median, quantile};
use super::ground::Ground;
use super::market::Market;

/// Levels of each frame: with four it has about 300 bytes.
const LEVELS: usize = 4;
/// Frames of a round.
const FRAMES: u64 = 2_000_000;
/// Rounds, in which the dialers take turns, so that all see the same machine.
const ROUNDS: usize = 3;
/// Frames that are sent one by one, to see how soon each arrives, and the time between two of them.
const PACED: u64 = 60_000;
const PACE: Duration = Duration::from_micros(50);
/// What capture takes off a socket at once.
const BATCH: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");
/// What a dialer must take: what `receive` promises of the whole way to the disk.
const LIMIT: f64 = 500_000.0;

type Named = (&'static str, Arc<dyn Dial>);

/// Every dialer that was built.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let mut market = Market::new()?;
    let first = market.snapshot();
    let load = Load { first, then: market.updates(LEVELS)?, frames: FRAMES, apart: false };
    let dialers = built()?;
    let mut rounds: Vec<_> = dialers.iter().map(|_| (Vec::new(), Vec::new())).collect();
    for _ in 0..ROUNDS {
        for ((_, dial), (rates, costs)) in dialers.iter().zip(&mut rounds) {
            let (rate, cost) = flood(ground, dial, &load).await?;
            rates.push(rate);
            costs.push(cost);
        }
    }
    let mut figures = Vec::new();
    for ((id, dial), (mut rates, mut costs)) in dialers.into_iter().zip(rounds) {
        let mut delays = paced(ground, &dial).await?;
        figures.push(
            Figure::least(id, median(&mut rates), LIMIT, "frames/s")
                .beside("cpu_us", median(&mut costs))
                .beside("p50_us", quantile(&mut delays, 0.5))
                .beside("p99_us", quantile(&mut delays, 0.99)),
        );
    }
    Ok(figures)
}

fn built() -> Result<Vec<Named>> {
    let dialer = Dialer::new(ssmd_feeds::tls::client_config(None)?, false);
    let mut dialers: Vec<Named> = vec![("dialer_rust", Arc::new(dialer.clone()))];
    for (id, mode) in [("dialer_echidna_framed", Mode::Framed), ("dialer_echidna_native", Mode::Native)] {
        match EchidnaDialer::new(dialer.clone(), mode) {
            Ok(dial) => dialers.push((id, Arc::new(dial))),
            Err(error) => tracing::warn!(%error, "left out"),
        }
    }
    Ok(dialers)
}

/// Frames a second, and µs of this process's CPU time for each, the sender's share included.
async fn flood(ground: &Ground, dial: &Arc<dyn Dial>, load: &Load) -> Result<(f64, f64)> {
    let (clock, cpu) = (ground.clock(), ground.cpu_seconds());
    let blast = Blast::start(load.clone(), Arc::clone(&clock))?;
    receive(dial, blast.address, load.frames, &clock, |_, _| {}).await?;
    let seconds = clock.elapsed().saturating_sub(blast.began()).as_secs_f64();
    let cpu = ground.cpu_seconds() - cpu;
    blast.end().await?;
    Ok((load.frames as f64 / seconds, cpu * 1e6 / load.frames as f64))
}

/// µs from just before a frame is written to its stamp, for frames that come one by one.
async fn paced(ground: &Ground, dial: &Arc<dyn Dial>) -> Result<Vec<f64>> {
    let clock = ground.clock();
    let failed = |cause| Error::io("start load", cause);
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let sender = std::thread::Builder::new().name("ssmd-bench-load".to_owned());
    let times = Arc::clone(&clock);
    let thread = sender.spawn(move || send_paced(&listener, &*times)).map_err(failed)?;
    let mut delays = Vec::with_capacity(PACED as usize);
    let add = |payload: &[u8], elapsed: Duration| {
        let sent = std::str::from_utf8(payload).ok().and_then(|text| text.trim().parse().ok());
        delays.push(elapsed.saturating_sub(Duration::from_nanos(sent.unwrap_or(0))).as_secs_f64() * 1e6);
    };
    receive(dial, address, PACED, &clock, add).await?;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    match joined {
        Ok(Ok(sent)) => sent.map_err(|cause| Error::io("send load", cause))?,
        _ => return Err(Error::new(ErrorKind::Bug, "send load")),
    }
    Ok(delays)
}

/// Frames whose payload is the time at which each is written, padded to about 300 bytes.
fn send_paced(listener: &TcpListener, clock: &dyn Clock) -> std::io::Result<()> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut socket = tungstenite::accept(stream).map_err(std::io::Error::other)?;
    let stream = socket.get_mut();
    let began = clock.elapsed();
    for n in 0..PACED {
        let due = began + PACE * u32::try_from(n).unwrap_or(u32::MAX);
        while clock.elapsed() < due {
            std::thread::yield_now();
        }
        let frame = encode(&format!("{:>300}", clock.elapsed().as_nanos()).into());
        stream.write_all(&frame)?;
    }
    // The client has them all before the connection ends.
    let _ = socket.read();
    Ok(())
}

/// Takes `frames` off a socket and shows each to `look`.
async fn receive(
    dial: &Arc<dyn Dial>,
    address: SocketAddr,
    frames: u64,
    clock: &Arc<dyn Clock>,
    mut look: impl FnMut(&[u8], Duration),
) -> Result<()> {
    let handshake = Handshake { url: format!("ws://{address}/v2"), headers: Vec::new() };
    let mut socket = dial.open(&handshake, Arc::clone(clock)).await?;
    let (mut left, mut out) = (frames, Vec::new());
    while left > 0 {
        out.clear();
        socket.receive(BATCH, &mut out).await?;
        out.iter().for_each(|message| look(&message.payload, message.elapsed));
        left = left.saturating_sub(out.len() as u64);
    }
    Ok(())
}
