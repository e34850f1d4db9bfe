//! The whole path in one file: a simulated Kraken, capture, the local log, the archive, and the proof.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{Clock, GapCause, Metrics, SessionId, Symbol, SystemClock, Tasks};
use ssmd_feeds::capture::{Capture, CaptureOptions};
use ssmd_feeds::sim::{Sim, SimOptions, Source};
use ssmd_feeds::{Dialer, OpenContext, Subscriptions};
use ssmd_storage::{Archiver, MemoryStore, archive, verify};
use ssmd_transport::log::{self, Log};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let folder = tempfile::tempdir()?;
    let (mut tasks, stop) = (Tasks::new(), tokio_util::sync::CancellationToken::new());

    // An exchange. For the real one, leave `url` and `rest` as `None`.
    let symbols = vec![Symbol::new("BTC/USD")?, Symbol::new("ETH/USD")?];
    let source = Source::Model { seed: 1, symbols, rate: Some(2000.0) };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = SimOptions {
        venue: "kraken".into(),
        source,
        listen,
        anywhere: false,
        log: None,
        exit_when_done: false,
    };
    let sim = Sim::bind(options, clock.clone()).await?;
    let address = sim.address();
    let sim_stop = tasks.token();
    tasks.spawn("exchange", async move { sim.run(sim_stop).await.map(drop) });

    // A feed: what to record of it.
    let spec = FeedSpec {
        name: "kraken".parse()?,
        url: Some(format!("ws://{address}/v2")),
        rest: Some(format!("http://{address}")),
        channels: vec!["ticker".parse()?, "trade".parse()?, "book".parse()?],
        symbols: vec!["BTC/USD".into(), "ETH/USD".into()],
        depth: Some(10),
        allow_plaintext: false,
        keys: Default::default(),
    };
    let tls = ssmd_feeds::tls::client_config(None)?;
    let subscriptions = Subscriptions::default();
    let context = OpenContext {
        dial: Arc::new(Dialer::new(tls.clone(), spec.allow_plaintext)),
        tls,
        clock: clock.clone(),
        subscriptions: subscriptions.clone(),
    };
    let feed = ssmd_feeds::open(&spec, &context)?;

    // A log on disk, and a second of capture into it.
    let log = Log::open(folder.path(), &spec.name, log::Options::default(), clock.clone()).await?;
    let position = log.position();
    let capture = Capture::new(CaptureOptions {
        feed,
        journal: Arc::new(log.clone()),
        origin: log.origin(),
        next: position.next,
        next_session: SessionId(position.next_session),
        day: position.day,
        last: None,
        last_cause: GapCause::Planned,
        clock: clock.clone(),
        metrics: Metrics::new(),
        subscriptions,
        seed: 1,
    });
    let (_resync, resyncs) = mpsc::channel(16);
    let second = async {
        clock.sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    let (captured, ()) = tokio::join!(capture.run(stop.clone(), resyncs), second);
    println!("captured {} frames", captured?.figures.frames);

    // The archive: everything that is durable becomes committed segments.
    let store = Arc::new(MemoryStore::new());
    let archiver = Archiver {
        feed: spec.name.clone(),
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
