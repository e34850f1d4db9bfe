//! `ssmd up --sim`: a simulator for each feed of the environment, and the feed's addresses pointed at it.

use std::net::SocketAddr;
use std::sync::Arc;

use ssmd_core::environment::{Environment, FeedSpec, Share};
use ssmd_core::{Clock, Error, ErrorKind, Result, Symbol, Tasks};
use ssmd_feeds::sim::{self, FaultScript, Sim, SimOptions, Source};

use crate::cli::UpFaults;

/// Symbols of the model where the document names patterns, or markets by their slugs.
const SYMBOLS: usize = 8;

/// What to simulate.
#[derive(Clone, Debug)]
pub(crate) struct Simulate {
    /// Messages a second.
    pub(crate) rate: u32,
    /// Everything random follows from it.
    pub(crate) seed: u64,
    /// What goes wrong.
    pub(crate) wrong: UpFaults,
}

/// What the simulator of a feed lists: what the document names, and markets of the model for patterns and slugs.
fn listed(feed: &FeedSpec) -> Result<Vec<Symbol>> {
    let names_one = |symbol: &&String| {
        let is_token = symbol.bytes().all(|byte| byte.is_ascii_digit());
        !symbol.contains('*') && (is_token || feed.name.as_str() != "polymarket")
    };
    let shares = feed.shares();
    let symbols = shares.iter().flat_map(|share| share.symbols);
    let (named, others): (Vec<_>, Vec<_>) = symbols.partition(names_one);
    let named = named.into_iter().map(|symbol| Symbol::new(symbol)).collect::<Result<Vec<_>>>()?;
    let open = |share: &Share<'_>| share.symbols.is_empty() && !share.filters.is_empty();
    let of_model = match others.is_empty() && !shares.iter().any(open) {
        true => Vec::new(),
        false => sim::symbols(feed.name.as_str(), SYMBOLS)?,
    };
    let more: Vec<_> = named.into_iter().filter(|symbol| !of_model.contains(symbol)).collect();
    Ok(of_model.into_iter().chain(more).collect())
}

/// Starts the simulators and rewrites the addresses of the feeds.
///
/// # Errors
/// `NotFound` for a feed that cannot be simulated; a script that cannot be read; `Invalid` for a ledger of several
/// feeds.
pub(crate) async fn start(
    environment: &mut Environment,
    simulate: &Simulate,
    tasks: &mut Tasks,
    clock: &Arc<dyn Clock>,
) -> Result<()> {
    let Simulate { rate, seed, wrong } = simulate;
    let script = wrong.faults.as_deref().map(FaultScript::open).transpose()?;
    if wrong.ledger.is_some() && environment.enabled().count() != 1 {
        return Err(Error::new(ErrorKind::Invalid, "simulate")
            .detail("a ledger of faults is that of one feed")
            .hint("record one feed, or run `ssmd sim --faults --ledger` for each"));
    }
    for feed in environment.feeds.iter_mut().filter(|feed| feed.enabled) {
        let symbols = listed(feed)?;
        // The simulator lets in who does not sign, and keys are for the venue alone.
        feed.keys.clear();
        let options = SimOptions {
            venue: feed.name.to_string(),
            source: Source::Model { seed: *seed, symbols, rate: Some(f64::from(*rate)) },
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            anywhere: false,
            log: None,
            exit_when_done: false,
        };
        let mut sim = Sim::bind(options, Arc::clone(clock)).await?;
        if let Some(script) = &script {
            sim = sim.with_faults(script.clone(), wrong.ledger.as_deref())?;
        }
        let address = sim.address();
        feed.url = Some(format!("ws://{address}"));
        feed.rest = Some(format!("http://{address}"));
        let stop = tasks.token();
        tasks.spawn("simulator", async move { sim.run(stop).await.map(drop) });
    }
    Ok(())
}
