//! The whole path in one file: a simulated Kraken, capture, the local log, the archive, and the proof.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{Clock, Feed, Metrics, Result, Symbol, SystemClock, Tasks};
use ssmd_feeds::capture::{Capture, CaptureOptions};
use ssmd_feeds::sim::{Sim, SimOptions, Source};
use ssmd_feeds::{Dialer, OpenContext, Subscriptions};
use ssmd_storage::{Archiver, MemoryStore, archive, verify};
use ssmd_transport::log::{self, Log};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn StdError>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = tempfile::tempdir()?;
    let mut tasks = Tasks::new();
    let address = exchange(&mut tasks, &clock).await?;

    // A feed: what to record of the exchange, and how.
    let (feed, subscriptions) = kraken(address, &clock)?;

    // A log on disk, and a second of capture into it.
    let log = Log::open(folder.path(), feed.name(), log::Options::default(), clock.clone()).await?;
    let capture = Capture::new(CaptureOptions {
        next: log.position().next,
        subscriptions,
        ..CaptureOptions::new(feed.clone(), Arc::new(log.clone()), log.origin(), clock.clone())
    });
    let (_resync, resyncs) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let second = async {
        clock.sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    let (captured, ()) = tokio::join!(capture.run(stop.clone(), resyncs), second);
    println!("captured {} frames", captured?.figures.frames);

    // The archive: everything that is durable becomes committed segments.
    let store = Arc::new(MemoryStore::new());
    let archiver = Archiver {
        feed: feed.name().clone(),
        journal: Arc::new(log.clone()),
        store: store.clone(),
        clock: clock.clone(),
        metrics: Metrics::new(),
        options: archive::Options::new(folder.path()),
        covered: Arc::new(|_, _| Ok(())),
    };
    let summary = archiver.run(stop).await?;
    log.close().await?;
    println!("archived {} entries in {} objects", summary.entries, summary.objects);

    // The proof: every hash, every frame number, every book checksum.
    let report = verify::verify(store, None, |feed| ssmd_feeds::decoder(feed).ok(), |_| ()).await?;
    println!(
        "verified {} frames and {} books, {} errors",
        report.frames, report.books_verified, report.errors
    );
    assert_eq!((report.errors, report.books_failed), (0, 0));
    tasks.stop(Duration::from_secs(5), clock).await?;
    Ok(())
}

/// A simulated Kraken on loopback.
async fn exchange(tasks: &mut Tasks, clock: &Arc<dyn Clock>) -> Result<SocketAddr> {
    let symbols = vec![Symbol::new("BTC/USD")?, Symbol::new("ETH/USD")?];
    let options = SimOptions {
        venue: "kraken".into(),
        source: Source::Model { seed: 1, symbols, rate: Some(2000.0) },
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let sim = Sim::bind(options, clock.clone()).await?;
    let (address, stop) = (sim.address(), tasks.token());
    tasks.spawn("exchange", async move { sim.run(stop).await.map(drop) });
    Ok(address)
}

/// The feed. For the real Kraken, leave `url` and `rest` as `None`.
fn kraken(address: SocketAddr, clock: &Arc<dyn Clock>) -> Result<(Arc<dyn Feed>, Subscriptions)> {
    let spec = FeedSpec {
        url: Some(format!("ws://{address}/v2")),
        rest: Some(format!("http://{address}")),
        channels: vec!["ticker".parse()?, "trade".parse()?, "book".parse()?],
        symbols: vec!["BTC/USD".into(), "ETH/USD".into()],
        depth: Some(10),
        ..FeedSpec::new("kraken".parse()?)
    };
    let tls = ssmd_feeds::tls::client_config(None)?;
    let subscriptions = Subscriptions::default();
    let context = OpenContext {
        dial: Arc::new(Dialer::new(tls.clone(), spec.allow_plaintext)),
        tls,
        clock: clock.clone(),
        subscriptions: subscriptions.clone(),
    };
    Ok((ssmd_feeds::open(&spec, &context)?, subscriptions))
}
