//! A log, a relay, a broker, and an archiver that reads from the broker, polled in turn on one clock that is set.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ssmd_core::{
    Cache, Clock, Day, Entry, EntryId, EntryKind, EnvironmentName, ErrorKind, FeedName, FrameKind, Journal,
    ManualClock, Metrics, Origin, Positions, SessionId, Start, Timestamp,
};
use ssmd_transport::memory::{MemoryCache, MemoryJournal};
use ssmd_transport::relay::{Healed, Healing, Keys, Options, Relay, Summary, Watermark};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Mode};

pub(crate) const ORIGIN: Origin = Origin::from_bytes([7; 16]);
const MAX: NonZeroUsize = NonZeroUsize::new(16).expect("positive");

type Process<T> = Pin<Box<dyn Future<Output = T>>>;

/// What the archiver was given.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    pub(crate) numbers: Vec<u64>,
    /// Holes that it was told of.
    pub(crate) lost: Vec<u64>,
}

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) metrics: Metrics,
    pub(crate) log: Arc<MemoryJournal>,
    /// Numbers of the log's last entry and of its first one.
    pub(crate) last: u64,
    pub(crate) broker: Arc<Broker>,
    cache: Arc<dyn Cache>,
    pub(crate) stop: CancellationToken,
    relay: Option<Process<Summary>>,
    pub(crate) summary: Option<Summary>,
    archiver: Option<Process<()>>,
    watermark: Process<()>,
    pub(crate) archive: Arc<Mutex<Archive>>,
    archived: watch::Sender<Positions>,
    pub(crate) trims: bool,
}

pub(crate) fn feed() -> FeedName {
    FeedName::new("kraken").unwrap()
}

fn keys() -> Keys {
    Keys::new(&EnvironmentName::new("test").unwrap(), &feed())
}

pub(crate) fn options() -> Options {
    Options {
        batch: NonZeroUsize::new(8).unwrap(),
        window_entries: 64,
        window_bytes: 64 * 1024,
        ..Options::default()
    }
}

fn entry(n: u64) -> Entry {
    Entry {
        id: EntryId { origin: ORIGIN, n },
        day: Day::from_days(20_000),
        at: Timestamp::from_nanos(1_700_000_000_000_000_000),
        elapsed: Duration::from_nanos(n),
        session: SessionId(1),
        index: n,
        kind: EntryKind::Frame(FrameKind::Data),
        binary: false,
        more: false,
        payload: format!("payload {n}").into(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_nanos(1_700_000_000_000_000_000));
        let cache: Arc<dyn Cache> = Arc::new(MemoryCache::new(Arc::new(clock.clone())));
        let (archived, told) = watch::channel(Positions::new());
        let watermark = Watermark {
            cache: Arc::clone(&cache),
            keys: keys(),
            clock: Arc::new(clock.clone()),
            archived: told,
        };
        let watermark = Box::pin(async move { watermark.run(CancellationToken::new()).await.unwrap() });
        let mut world = Self {
            clock,
            metrics: Metrics::new(),
            log: Arc::new(MemoryJournal::new()),
            last: 0,
            broker: Broker::new(),
            cache,
            stop: CancellationToken::new(),
            relay: None,
            summary: None,
            archiver: None,
            watermark,
            archive: Arc::default(),
            archived,
            trims: true,
        };
        world.start_relay();
        world
    }

    pub(crate) fn start_relay(&mut self) {
        let (log, trims) = (Arc::clone(&self.log), self.trims);
        let relay = Relay {
            feed: feed(),
            source: Arc::clone(&self.log) as Arc<dyn Journal>,
            target: Arc::clone(&self.broker) as Arc<dyn Journal>,
            cache: Arc::clone(&self.cache),
            keys: keys(),
            clock: Arc::new(self.clock.clone()),
            metrics: self.metrics.clone(),
            options: options(),
            covered: Arc::new(move |origin, n| {
                if trims {
                    log.trim(&Positions::from([(origin, n + 1)]));
                }
                Ok(())
            }),
        };
        let stop = self.stop.clone();
        self.relay = Some(Box::pin(async move { relay.run(stop).await.unwrap() }));
    }

    pub(crate) fn kill_relay(&mut self) {
        self.relay = None;
    }

    /// Begins to archive from behind what is archived.
    pub(crate) fn start_archiver(&mut self) {
        let healing = Healing {
            cache: Arc::clone(&self.cache),
            keys: keys(),
            clock: Arc::new(self.clock.clone()),
            waits: Duration::from_secs(3600),
            stop: CancellationToken::new(),
        };
        let journal = Healed::new(Arc::clone(&self.broker) as Arc<dyn Journal>, healing);
        let archiver = Archiver {
            journal,
            clock: self.clock.clone(),
            archive: Arc::clone(&self.archive),
            archived: self.archived.clone(),
        };
        self.archiver = Some(Box::pin(archiver.run()));
    }

    pub(crate) fn kill_archiver(&mut self) {
        self.archiver = None;
    }

    /// So many more entries in the log.
    pub(crate) fn append(&mut self, count: u64) {
        let batch: Vec<_> = (self.last + 1..=self.last + count).map(entry).collect();
        self.last += count;
        let mut appending = self.log.append(batch);
        assert!(poll(&mut appending).is_some());
    }

    /// Lets everybody go on for this long.
    pub(crate) fn pass(&mut self, time: Duration) {
        const STEP: Duration = Duration::from_millis(25);
        for _ in 0..time.as_millis() / STEP.as_millis() {
            for _ in 0..4 {
                if let Some(summary) = self.relay.as_mut().and_then(poll) {
                    self.relay = None;
                    self.summary = Some(summary);
                }
                if let Some(archiver) = &mut self.archiver {
                    poll(archiver);
                }
                poll(&mut self.watermark);
            }
            self.clock.advance(STEP);
        }
    }

    /// Lets everybody go on until this is so.
    pub(crate) fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        for _ in 0..4000 {
            if so(self) {
                return;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!(
            "not within 400 s: {what}; the broker has {:?}, the archive {:?}",
            self.broker.numbers(),
            self.archive
        );
    }

    /// The broker is well; waits until all of the log is archived.
    pub(crate) fn settle(&mut self) {
        self.broker.set(Mode::Up);
        if self.relay.is_none() {
            self.start_relay();
        }
        if self.archiver.is_none() {
            self.start_archiver();
        }
        self.until("all is archived", |world| world.position() == world.last);
    }

    pub(crate) fn position(&self) -> u64 {
        self.archived.borrow().get(&ORIGIN).copied().unwrap_or(0)
    }

    pub(crate) fn until_copied(&mut self) {
        self.until("all is copied", |world| world.broker.numbers().last() == Some(&world.last));
    }
}

fn poll<F: Future + ?Sized>(process: &mut Pin<Box<F>>) -> Option<F::Output> {
    match process.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

struct Archiver {
    journal: Healed,
    clock: ManualClock,
    archive: Arc<Mutex<Archive>>,
    archived: watch::Sender<Positions>,
}

impl Archiver {
    async fn run(self) {
        loop {
            let _ended = self.read().await;
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    async fn read(&self) -> ssmd_core::Result<()> {
        let position = self.archived.borrow().get(&ORIGIN).copied().unwrap_or(0);
        let mut entries = self.journal.read(Start::After([(ORIGIN, position)].into())).await?;
        loop {
            let last = match entries.next(MAX).await {
                Ok(batch) => {
                    let mut archive = self.archive.lock().unwrap();
                    for read in &batch {
                        assert_eq!(*read, entry(read.id.n));
                    }
                    archive.numbers.extend(batch.iter().map(|entry| entry.id.n));
                    batch.last().map(|entry| entry.id.n)
                }
                Err(error) if error.kind() == ErrorKind::Hole => {
                    let number = |name| error.context(name).unwrap().parse::<u64>().unwrap();
                    self.archive.lock().unwrap().lost.extend(number("from")..=number("to"));
                    Some(number("to"))
                }
                Err(error) => return Err(error),
            };
            self.archived.send_modify(|archived| archived.extend(last.map(|last| (ORIGIN, last))));
        }
    }
}
