//! `ssmd up --sim`: a simulator for each feed of the environment, and the feed's addresses pointed at it.

use std::net::SocketAddr;
use std::sync::Arc;

use ssmd_core::environment::Environment;
use ssmd_core::{Clock, Result, Symbol, Tasks};
use ssmd_feeds::sim::{self, Sim, SimOptions, Source};

/// Symbols of the model where the document names patterns.
const SYMBOLS: usize = 8;

/// Starts the simulators and rewrites the addresses of the feeds.
///
/// # Errors
/// `NotFound` for a feed that cannot be simulated.
pub(crate) async fn start(
    environment: &mut Environment,
    rate: u32,
    seed: u64,
    tasks: &mut Tasks,
    clock: &Arc<dyn Clock>,
) -> Result<()> {
    for feed in &mut environment.feeds {
        let patterns = feed.symbols.iter().any(|symbol| symbol.contains('*'));
        let symbols = if patterns {
            sim::symbols(feed.name.as_str(), SYMBOLS)?
        } else {
            feed.symbols.iter().map(|symbol| Symbol::new(symbol)).collect::<Result<_>>()?
        };
        let options = SimOptions {
            venue: feed.name.to_string(),
            source: Source::Model { seed, symbols, rate: Some(f64::from(rate)) },
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            anywhere: false,
            log: None,
            exit_when_done: false,
        };
        let sim = Sim::bind(options, Arc::clone(clock)).await?;
        let address = sim.address();
        feed.url = Some(format!("ws://{address}"));
        feed.rest = Some(format!("http://{address}"));
        let stop = tasks.token();
        tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    }
    Ok(())
}
