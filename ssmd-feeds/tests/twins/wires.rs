//! Wires between a recorder and a venue, which are cut at random or made longer; never two at the same time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How much later than sent what a long wire carries arrives.
const LONG: Duration = Duration::from_secs(5);
/// What a subscription takes.
const SUBSCRIBED: Duration = Duration::from_millis(1500);
/// The recorder says no more than this at once if it asks for nothing: pings and answers to them.
const PING_BYTES: usize = 40;
/// Both connections carry data for so long before one is cut. What is cut may be as late as a long wire is, and what
/// was under way on it is lost: the other one must have been there already when that was sent.
const BOTH: Duration = LONG.saturating_add(SUBSCRIBED);
/// Pieces under way on one wire.
const PIECES_MAX: usize = 100_000;

/// Every wire there is.
pub(crate) struct Wires {
    listener: TcpListener,
    venue: SocketAddr,
    random: StdRng,
    clock: Arc<dyn Clock>,
    open: Arc<Mutex<Vec<Wire>>>,
}

/// One connection.
#[derive(Clone)]
struct Wire {
    /// When the recorder asked for something last.
    asked: Arc<Mutex<Duration>>,
    delay: Arc<AtomicU64>,
    cut: CancellationToken,
}

impl Wires {
    pub(crate) async fn listen(venue: SocketAddr, seed: u64, clock: Arc<dyn Clock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, venue, random: StdRng::seed_from_u64(seed), clock, open: Arc::default() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Carries, and cuts one of two wires now and then; half of the time the other one is long for a while before.
    /// How many were cut in `time`, and what came of the end, which they still carry.
    pub(crate) async fn cut<T>(self, time: Duration, ending: impl Future<Output = T>) -> (usize, T) {
        let Self { listener, venue, mut random, clock, open } = self;
        let (wires, now) = (Arc::clone(&open), Arc::clone(&clock));
        let accept = async move {
            let mut carried = JoinSet::new();
            loop {
                let (recorder, _) = listener.accept().await.unwrap();
                let asked = Arc::new(Mutex::new(now.elapsed()));
                let wire = Wire { asked, delay: Arc::default(), cut: CancellationToken::new() };
                wires.lock().unwrap().push(wire.clone());
                carried.spawn(carry(recorder, venue, wire, Arc::clone(&wires), Arc::clone(&now)));
            }
        };
        let mut count = 0;
        let end = clock.elapsed() + time;
        let cut = async {
            loop {
                clock.sleep(Duration::from_millis(random.random_range(100..1500))).await;
                let both: Vec<Wire> = open.lock().unwrap().clone();
                let ready = |wire: &Wire| clock.elapsed() >= *wire.asked.lock().unwrap() + BOTH;
                if both.len() != 2 || !both.iter().all(ready) {
                    continue;
                }
                let which = random.random_range(0..2_usize);
                let lags = random.random_bool(0.5);
                // The one that is left is behind when the other one is cut, and must come to it before the end.
                if clock.elapsed() + LONG * 3 > end {
                    return;
                }
                if lags {
                    lengthen(&both[1 - which], &*clock).await;
                }
                both[which].cut.cancel();
                count += 1;
                if lags {
                    clock.sleep(LONG + SUBSCRIBED).await;
                }
                both[1 - which].delay.store(0, Ordering::Relaxed);
            }
        };
        let work = async {
            cut.await;
            clock.sleep(end.saturating_sub(clock.elapsed())).await;
            ending.await
        };
        let ended = tokio::select! {
            () = accept => panic!("it accepts for ever"),
            ended = work => ended,
        };
        (count, ended)
    }
}

/// Makes a wire long, step by step, so that it is never silent for long.
async fn lengthen(wire: &Wire, clock: &dyn Clock) {
    let step = LONG / 10;
    for _ in 0..10 {
        wire.delay.fetch_add(step.as_millis() as u64, Ordering::Relaxed);
        clock.sleep(step / 2).await;
    }
}

/// Carries both ways until it is cut, or either side ends.
async fn carry(
    recorder: TcpStream,
    venue: SocketAddr,
    wire: Wire,
    open: Arc<Mutex<Vec<Wire>>>,
    clock: Arc<dyn Clock>,
) {
    let venue = TcpStream::connect(venue).await.unwrap();
    let (mut from_recorder, mut to_recorder) = recorder.into_split();
    let (mut from_venue, mut to_venue) = venue.into_split();
    let (pieces, mut arrived) = mpsc::channel::<(Duration, Vec<u8>)>(PIECES_MAX);
    let up = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from_recorder.read(&mut buffer).await?;
            if read == 0 {
                return Ok::<(), std::io::Error>(());
            }
            if read > PING_BYTES {
                *wire.asked.lock().unwrap() = clock.elapsed();
            }
            to_venue.write_all(&buffer[..read]).await?;
        }
    };
    let heard = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from_venue.read(&mut buffer).await?;
            if read == 0 {
                return Ok::<(), std::io::Error>(());
            }
            let delay = Duration::from_millis(wire.delay.load(Ordering::Relaxed));
            let _ = pieces.send((clock.elapsed() + delay, buffer[..read].to_vec())).await;
        }
    };
    let down = async {
        while let Some((at, piece)) = arrived.recv().await {
            clock.sleep(at.saturating_sub(clock.elapsed())).await;
            to_recorder.write_all(&piece).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::select! {
        () = wire.cut.cancelled() => {}
        _ = up => {}
        _ = heard => {}
        _ = down => {}
    }
    open.lock().unwrap().retain(|known| !Arc::ptr_eq(&known.delay, &wire.delay));
}
