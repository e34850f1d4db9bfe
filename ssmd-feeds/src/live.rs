//! The live decoder: reads a journal behind its durable end, and tells whoever listens what the frames mean.
//!
//! It slows nothing down: capture does not know that it is there. What it publishes is derived and can be made
//! again from the journal.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ssmd_core::metrics::{self, Counter};
use ssmd_core::{
    Body, Books, Clock, DecodeCounts, DecodeError, Decoders, Entries, Entry, EntryKind, ErrorKind, Feed,
    Journal, Merger, Message, Metrics, Origin, Output, Record, RecordType, Result, SessionId, Start,
    Transport,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::capture::Resync;
use crate::lag::{Lags, ReceiveLag};
use crate::quiet::Quiet;

/// Turns a record into the messages that tell it.
pub type MakeMessages = Arc<dyn Fn(&Record, &mut Vec<Message>) + Send + Sync>;

/// What a live decoder needs.
#[derive(Clone)]
pub struct LiveOptions {
    /// Whose frames they are.
    pub feed: Arc<dyn Feed>,
    /// Where they are.
    pub journal: Arc<dyn Journal>,
    /// Where to begin.
    pub start: Start,
    /// The sessions that can be asked to resync: those of this log, from this number on.
    pub live: (Origin, SessionId),
    /// Where goes which book must be asked for anew, and on which session; see [`crate::Capture::run`].
    pub resync: mpsc::Sender<Resync>,
    /// Where records go, and as what.
    pub publish: Option<(Arc<dyn Transport>, MakeMessages)>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// Entries decoded at once.
const ENTRIES_PER_BATCH: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// How long decoding goes on after a stop, to reach what was durable then.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Decodes one journal as it grows.
pub struct Live {
    options: LiveOptions,
    decoders: Decoders,
    merger: Merger,
    counts: watch::Sender<DecodeCounts>,
    counters: Counters,
    quiet: Quiet,
    books: Arc<Mutex<Books>>,
    /// Gaps that decoding found; those that capture knew are entries.
    gaps: Arc<AtomicU64>,
    lags: Lags,
    outputs: Vec<Output>,
    messages: Vec<Message>,
    /// The last entry of the live log that was decoded.
    reached: u64,
    /// Whether the transport took the last batch; its failure is logged once, not each time.
    told: bool,
}

impl Live {
    /// A decoder that has not begun.
    pub fn new(options: LiveOptions) -> Self {
        let reached = match &options.start {
            Start::After(reached) => reached.get(&options.live.0).copied().unwrap_or(0),
            Start::Oldest | Start::Newest => 0,
        };
        Self {
            decoders: Decoders::new(Arc::clone(&options.feed)),
            merger: Merger::new(crate::merge_rules(options.feed.name())),
            counts: watch::Sender::new(DecodeCounts::default()),
            counters: Counters::new(&options.metrics, options.feed.name().as_str()),
            quiet: Quiet::default(),
            books: Arc::default(),
            gaps: Arc::default(),
            lags: Lags::new(&options.metrics, options.feed.name().as_str()),
            outputs: Vec::new(),
            messages: Vec::new(),
            reached,
            told: true,
            options,
        }
    }

    /// What was decoded so far, told once per batch.
    pub fn counts(&self) -> watch::Receiver<DecodeCounts> {
        self.counts.subscribe()
    }

    /// The audit of books, as far as was decoded.
    pub fn books(&self) -> Arc<Mutex<Books>> {
        Arc::clone(&self.books)
    }

    /// How many gaps decoding found so far, beside those that capture wrote down.
    pub fn gaps(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.gaps)
    }

    /// How late frames come, connection by connection.
    pub fn receive_lag(&self) -> ReceiveLag {
        self.lags.shared()
    }

    /// Decodes until `stop`, and then what was durable at that moment; or until the journal ends.
    ///
    /// # Errors
    /// The journal's, when it is damaged or no longer has where to begin. A transport that fails is no error:
    /// records are told at most once.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut entries = self.options.journal.read(self.options.start.clone()).await?;
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return self.catch_up(entries.as_mut()).await,
                batch = entries.next(ENTRIES_PER_BATCH) => batch,
            };
            if !self.take(batch).await? {
                return Ok(());
            }
        }
    }

    async fn catch_up(&mut self, entries: &mut dyn Entries) -> Result<()> {
        let bounds = self.options.journal.bounds().await?;
        let last = bounds.origins.get(&self.options.live.0).map_or(0, |(_, last)| *last);
        let mut late = self.options.clock.sleep(STOP_TIME_MAX);
        while self.reached < last {
            let batch = tokio::select! {
                biased;
                () = &mut late => {
                    tracing::warn!(reached = self.reached, last, "not everything was decoded in time");
                    return Ok(());
                }
                batch = entries.next(ENTRIES_PER_BATCH) => batch,
            };
            if !self.take(batch).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Decodes one batch and tells what it means; false when the journal has ended.
    async fn take(&mut self, batch: Result<Vec<Entry>>) -> Result<bool> {
        match batch {
            Ok(batch) => {
                let shared = Arc::clone(&self.books);
                {
                    let mut books = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    batch.iter().for_each(|entry| self.decode(entry, &mut books));
                }
                self.publish().await;
                self.count();
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Hole => {
                tracing::error!(report = error.report(), "the journal misses entries");
                if let Some(to) = error.context("to").and_then(|to| to.parse().ok()) {
                    self.reached = self.reached.max(to);
                }
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Closed => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn decode(&mut self, entry: &Entry, books: &mut Books) {
        if let Err(error) = self.decoders.push(entry, &mut self.outputs) {
            let counter = match error {
                DecodeError::Malformed(_) => &self.counters.malformed,
                DecodeError::Unknown(_) => &self.counters.unknown,
            };
            // The first one is said aloud: so it shows that a venue writes something new.
            if counter.get() == 0 {
                tracing::warn!(entry = %entry.id, %error, "not decoded; the frame is kept, and the next ones are counted");
            } else {
                tracing::debug!(entry = %entry.id, %error, "not decoded");
            }
            counter.add(1);
        }
        if entry.kind != EntryKind::Gap {
            let is_gap =
                |output: &&Output| matches!(output, Output::Record(Record { body: Body::Gap(_), .. }));
            let found = self.outputs.iter().filter(is_gap).count();
            self.gaps.fetch_add(found as u64, Ordering::Relaxed);
        }
        books.take(entry, &self.outputs, self.decoders.checks(), true);
        self.lags.take(entry, &self.outputs);
        let (origin, first) = self.options.live;
        let live = entry.id.origin == origin && entry.session >= first;
        if entry.id.origin == origin {
            self.reached = entry.id.n;
        }
        self.merger.take(entry, &mut self.outputs);
        let mut audits = Vec::new();
        self.quiet.entry(entry, &mut audits);
        let audits = audits.into_iter().map(Output::Record);
        for output in self.outputs.drain(..).chain(audits) {
            match output {
                Output::Record(record) => {
                    self.quiet.heard(&record);
                    self.counters.record(record.body.record_type());
                    if let Some((_, make)) = &self.options.publish {
                        make(&record, &mut self.messages);
                    }
                }
                // When the channel is full, the book's next bad update asks again.
                Output::Resync(symbol) if live => {
                    let asked = Resync { symbol, session: Some(entry.session) };
                    drop(self.options.resync.try_send(asked));
                }
                Output::Resync(_) => {}
            }
        }
    }

    async fn publish(&mut self) {
        let Some((transport, _)) = &self.options.publish else { return };
        if self.messages.is_empty() {
            return;
        }
        match transport.publish(std::mem::take(&mut self.messages)).await {
            Ok(()) => self.told = true,
            Err(error) => {
                if self.told {
                    tracing::warn!(
                        report = error.report(),
                        "records are not told until the transport is back"
                    );
                }
                self.told = false;
            }
        }
    }

    fn count(&mut self) {
        let (before, counts) = (*self.counts.borrow(), self.decoders.counts());
        self.counters.verified.add(counts.books_verified - before.books_verified);
        self.counters.failed.add(counts.books_failed - before.books_failed);
        self.counts.send_replace(counts);
    }
}

struct Counters {
    records: Vec<(RecordType, Counter)>,
    malformed: Counter,
    unknown: Counter,
    verified: Counter,
    failed: Counter,
}

impl Counters {
    fn new(registry: &Metrics, feed: &str) -> Self {
        let record = |word| registry.counter(&metrics::RECORDS, &[feed, word]);
        let error = |word| registry.counter(&metrics::DECODE_ERRORS, &[feed, word]);
        Self {
            records: RecordType::ALL.iter().map(|(kind, word)| (*kind, record(word))).collect(),
            malformed: error("malformed"),
            unknown: error("unknown"),
            verified: registry.counter(&metrics::BOOKS_VERIFIED, &[feed]),
            failed: registry.counter(&metrics::BOOKS_FAILED, &[feed]),
        }
    }

    fn record(&self, kind: RecordType) {
        if let Some((_, counter)) = self.records.iter().find(|(k, _)| *k == kind) {
            counter.add(1);
        }
    }
}
