//! `ssmd sim`: the exchange simulator as a program of its own.

use std::sync::Arc;

use ssmd_core::{Clock, Result, Symbol, SystemClock};
use ssmd_feeds::sim::{self, FaultScript, Sim, SimOptions, Source};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::exit::Exit;
use crate::output::Outcome;

/// Symbols of the model where none are named.
const SYMBOLS: usize = 8;

/// Serves until it is done or told to stop.
pub(super) async fn run(args: cli::Sim) -> Outcome {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let source = if args.play.is_empty() {
        let symbols = if args.symbols.is_empty() {
            sim::symbols(&args.feed, SYMBOLS)?
        } else {
            args.symbols.iter().map(|symbol| Symbol::new(symbol)).collect::<Result<_>>()?
        };
        Source::Model { seed: args.seed, symbols, rate: Some(f64::from(args.rate)) }
    } else {
        let speed = match args.speed {
            cli::Speed::Times(times) => sim::Speed::Times(f64::from(times)),
            cli::Speed::Max => sim::Speed::Max,
        };
        Source::Play { files: args.play, speed }
    };
    let options = SimOptions {
        venue: args.feed,
        source,
        listen: args.listen,
        anywhere: false,
        log: args.log,
        exit_when_done: args.exit_when_done,
    };
    let stop = CancellationToken::new();
    let failed = |cause| ssmd_core::Error::io("listen for signals", cause);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let script = args.faults.as_deref().map(FaultScript::open).transpose()?;
    let mut sim = Sim::bind(options, clock).await?;
    if let Some(script) = script {
        sim = sim.with_faults(script, args.ledger.as_deref())?;
    }
    if let Some(key) = &args.public_key {
        sim = sim.with_public_key(key)?;
    }
    let address = sim.address();
    tracing::info!("listening: ws://{address}/v2 and http://{address}");
    let running = sim.run(stop.clone());
    tokio::pin!(running);
    let summary = tokio::select! {
        biased;
        summary = &mut running => summary?,
        _ = terminate.recv() => { stop.cancel(); running.await? }
        _ = interrupt.recv() => { stop.cancel(); running.await? }
    };
    tracing::info!(connections = summary.connections, frames = summary.frames, bytes = summary.bytes, "done");
    Ok(Exit::Ok)
}
