//! The exchange simulator: a venue's real protocol, from the other side, on loopback.
//!
//! [`Sim`] serves a WebSocket and the REST that discovery needs on one port. Frames come from a seeded market
//! model or from recordings ([`Source`]). Pacing, queues, logging and HTTP know no venue; a venue is one folder
//! and one line in `venue.rs`. It opens no connection of its own and writes nothing but its log.

mod connection;
mod exchange;
mod faults;
mod kalshi;
mod kraken;
mod kraken_futures;
mod log;
mod market;
mod outbox;
mod overhear;
mod play;
mod player;
mod polymarket;
mod server;
mod venue;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ssmd_core::{Clock, Error, ErrorKind, Result, Symbol, Tasks, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use connection::{Counts, Shared};
use exchange::{Exchange, Frames, Pace};
pub use faults::FaultScript;
use faults::Faults;
use log::Lines;
pub use overhear::overhear;
pub use play::{LINE_BYTES_MAX, PlayFrame, PlayReader};
use player::Player;
pub use player::Speed;
use venue::{Opened, Outgoing, Setup};
pub use venue::{names, symbols};

/// Clients' words that may wait for the exchange; then clients wait.
const EVENTS_MAX: usize = 1024;
/// What tasks have to end after the last connection is gone.
const TASKS_STOP_MAX: Duration = Duration::from_secs(60);

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The venue: one of [`names`].
    pub venue: String,
    /// Where its frames come from.
    pub source: Source,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Whether `listen` may be an address that other machines can reach.
    pub anywhere: bool,
    /// Where to write every text frame that was sent.
    pub log: Option<PathBuf>,
    /// Whether the simulator ends when everything was played.
    pub exit_when_done: bool,
}

/// Where frames come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A seeded market model.
    Model {
        /// Everything random follows from it.
        seed: u64,
        /// What is listed; see [`symbols`].
        symbols: Vec<Symbol>,
        /// Messages a second, all symbols together; `None` for as many as clients take.
        rate: Option<f64>,
    },
    /// Recorded frames, as they are, once.
    Play {
        /// Play files, one after another.
        files: Vec<PathBuf>,
        /// How fast.
        speed: Speed,
    },
}

/// What a simulator did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimSummary {
    /// WebSocket connections.
    pub connections: u64,
    /// Text frames that were sent.
    pub frames: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Connections that were cut off since they were too slow.
    pub cut: u64,
    /// Connections that were refused since too many were open.
    pub refused: u64,
}

/// A simulator that listens.
#[derive(Debug)]
pub struct Sim {
    options: SimOptions,
    clock: Arc<dyn Clock>,
    listener: TcpListener,
    address: SocketAddr,
    log: Option<Lines>,
    faults: Option<FaultScript>,
    ledger: Option<Lines>,
    public_key: Option<Vec<u8>>,
    closing: BTreeMap<Symbol, Timestamp>,
}

impl Sim {
    /// Takes the port and creates the log. Clients can connect from now on; they are served by [`Sim::run`].
    ///
    /// # Errors
    /// `Invalid` for options that cannot work, `Unsupported` for an unknown venue, `Denied` for an address that
    /// other machines can reach, and what the system says about the port, the play files and the log.
    pub async fn bind(options: SimOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        if !options.listen.ip().is_loopback() && !options.anywhere {
            return Err(Error::new(ErrorKind::Denied, "bind simulator")
                .with("address", options.listen)
                .detail("not a loopback address")
                .hint("listen on 127.0.0.1: a simulator is for this machine alone"));
        }
        venue::open(&options.venue, &setup(&options, None, BTreeMap::new())?)?;
        if let Source::Play { files, .. } = &options.source {
            files.iter().try_for_each(|file| PlayReader::open(file).map(drop))?;
        }
        let taken = |cause| Error::io("bind simulator", cause).with("address", options.listen);
        let listener = TcpListener::bind(options.listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let log = options.log.as_deref().map(Lines::create).transpose()?;
        let (faults, ledger, public_key, closing) = (None, None, None, BTreeMap::new());
        Ok(Self { options, clock, listener, address, log, faults, ledger, public_key, closing })
    }

    /// Does wrong what `script` says, and writes down in `ledger` what a client could know of it: one JSON object a
    /// line (`docs/simulator.md`), complete when [`Sim::run`] has ended.
    ///
    /// # Errors
    /// What the system says about the ledger.
    pub fn with_faults(mut self, script: FaultScript, ledger: Option<&Path>) -> Result<Self> {
        self.faults = Some(script);
        self.ledger = ledger.map(Lines::create).transpose()?;
        Ok(self)
    }

    /// Lets in only who signs with the private half of this key (PEM), on venues where clients sign.
    ///
    /// # Errors
    /// `Invalid` if it is no such key, and what the system says about the file.
    pub fn with_public_key(mut self, file: &Path) -> Result<Self> {
        let failed = |cause| Error::io("read public key", cause).with("path", file.display());
        self.public_key = Some(std::fs::read(file).map_err(failed)?);
        venue::open(&self.options.venue, &setup(&self.options, self.public_key.clone(), BTreeMap::new())?)?;
        Ok(self)
    }

    /// Lets a market close then, as its venue does: Kalshi's book is told as empty, twice and unasked for, and REST
    /// lists the market as closed.
    ///
    /// # Errors
    /// `Unsupported` where the simulator knows no end of a market.
    pub fn with_closing(mut self, market: Symbol, at: Timestamp) -> Result<Self> {
        if self.options.venue != "kalshi" {
            return Err(Error::new(ErrorKind::Unsupported, "let a market close")
                .with("venue", &self.options.venue)
                .hint("only markets of kalshi close here"));
        }
        self.closing.insert(market, at);
        Ok(self)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled, or until everything was played if that was asked for; then sends what
    /// is queued and Close (1000) on every connection, waits a bounded time for clients to close, and completes
    /// the log.
    ///
    /// # Errors
    /// An unreadable play file, a log that cannot be written.
    pub async fn run(self, stop: CancellationToken) -> Result<SimSummary> {
        let setup = setup(&self.options, self.public_key.clone(), self.closing.clone())?;
        let Opened { venue, rest } = venue::open(&self.options.venue, &setup)?;
        if self.faults.is_some() && venue.witness().is_none() {
            return Err(no_witness(&self.options.venue));
        }
        let (log, writing) = Lines::start(self.log);
        let (ledger, writing_ledger) = Lines::start(self.ledger);
        let port = Arc::default();
        let faults = self.faults.map(|script| Faults::new(script, Arc::clone(&port)));
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let (room, counts) = (Arc::new(Notify::new()), Arc::new(Counts::default()));
        let (clock, closing) = (self.clock.clone(), CancellationToken::new());
        let shared =
            Shared { clock: clock.clone(), events, log, counts: counts.clone(), room: room.clone(), port };
        let mut tasks = Tasks::new();
        tasks.spawn("log of sent frames", writing);
        tasks.spawn("ledger of faults", writing_ledger);
        tasks.spawn("simulated venue", server::serve(self.listener, rest, shared, closing.clone()));
        let frames = match self.options.source {
            Source::Model { rate, .. } => Frames::Model(Pace::new(rate)),
            Source::Play { files, speed } => {
                let player = Player::start(files, speed, &mut tasks);
                Frames::Play { player, exit: self.options.exit_when_done }
            }
        };
        let (clients, out) = (BTreeMap::new(), Outgoing::default());
        let closed = closing.clone();
        let (events, listened, cut) = (heard, false, 0);
        let exchange = Exchange {
            clock,
            venue,
            frames,
            events,
            room,
            closing,
            clients,
            out,
            listened,
            cut,
            faults,
            ledger,
        };
        let running = exchange.run(stop);
        tokio::pin!(running);
        let ran = loop {
            tokio::select! {
                ran = &mut running => break ran,
                Some((_, ended)) = tasks.next() => if let Err(error) = ended { break Err(error) },
            }
        };
        closed.cancel();
        let stopped = tasks.stop(TASKS_STOP_MAX, self.clock).await;
        let cut = ran?;
        stopped?;
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        Ok(SimSummary {
            connections: read(&counts.connections),
            frames: read(&counts.frames),
            bytes: read(&counts.bytes),
            cut,
            refused: read(&counts.refused),
        })
    }
}

fn no_witness(venue: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "script faults")
        .detail("the simulator cannot tell yet what shows of a fault on this venue")
        .with("venue", venue)
        .hint("script faults on kraken or polymarket")
}

/// What the venue is made from: a play lists what the venue lists first, since nobody trades it.
fn setup(
    options: &SimOptions,
    public_key: Option<Vec<u8>>,
    closing: BTreeMap<Symbol, Timestamp>,
) -> Result<Setup> {
    match &options.source {
        Source::Model { seed, symbols, rate } => {
            let invalid = |detail| Err(Error::new(ErrorKind::Invalid, "set up simulator").detail(detail));
            if symbols.is_empty() {
                return invalid("no symbols");
            }
            if rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
                return invalid("the rate must be above zero");
            }
            Ok(Setup { seed: *seed, symbols: symbols.clone(), plays: false, closing, public_key })
        }
        Source::Play { .. } => {
            let symbols = venue::symbols(&options.venue, PLAY_SYMBOLS)?;
            Ok(Setup { seed: 0, symbols, plays: true, closing, public_key })
        }
    }
}

/// How many symbols REST lists beside a recording.
const PLAY_SYMBOLS: usize = 13;
