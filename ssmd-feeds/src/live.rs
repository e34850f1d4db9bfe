//! The live decoder: reads a journal behind its durable end, and tells whoever listens what the frames mean.
//!
//! It slows nothing down: capture does not know that it is there. What it publishes is derived and can be made
//! again from the journal.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ssmd_core::entry::note;
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

/// Turns a record into the messages that tell it, under the category of the share that it was heard for.
pub type MakeMessages = Arc<dyn Fn(&Record, Option<&str>, &mut Vec<Message>) + Send + Sync>;

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
    pub publish: Vec<(Arc<dyn Transport>, MakeMessages)>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Metrics,
}

/// Entries decoded at once.
const ENTRIES_PER_BATCH: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// Sessions that have ended whose category is still known.
const ENDED_MAX: usize = 256;
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
    categories: Categories,
    books: Arc<Mutex<Books>>,
    /// Gaps that decoding found; those that capture knew are entries.
    gaps: Arc<AtomicU64>,
    lags: Lags,
    outputs: Vec<Output>,
    /// For each transport, in their order.
    messages: Vec<Vec<Message>>,
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
            categories: Categories::default(),
            books: Arc::default(),
            gaps: Arc::default(),
            lags: Lags::new(&options.metrics, options.feed.name().as_str()),
            outputs: Vec::new(),
            messages: options.publish.iter().map(|_| Vec::new()).collect(),
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
        // A clock's tick is of no session; what it shows is asked of all that carry the symbol.
        let session = matches!(entry.kind, EntryKind::Frame(_)).then_some(entry.session);
        let live = entry.id.origin == origin && session.is_none_or(|session| session >= first);
        if entry.id.origin == origin {
            self.reached = entry.id.n;
        }
        self.merger.take(entry, &mut self.outputs);
        self.categories.take(entry);
        let mut audits = Vec::new();
        self.quiet.entry(entry, &mut audits);
        let audits = audits.into_iter().map(|(session, record)| (session, Output::Record(record)));
        for (of, output) in self.outputs.drain(..).map(|output| (None, output)).chain(audits) {
            match output {
                Output::Record(record) => {
                    self.quiet.heard(&record);
                    self.counters.record(record.body.record_type());
                    let category = self.categories.of(of.unwrap_or(record.header.session));
                    for ((_, make), messages) in self.options.publish.iter().zip(&mut self.messages) {
                        make(&record, category, messages);
                    }
                }
                Output::Resync(symbol) if live => {
                    if self.options.resync.try_send(Resync { symbol, session }).is_err() {
                        tracing::warn!(entry = %entry.id, "a resync was dropped; too many wait, or the capture has ended");
                    }
                }
                Output::Resync(_) => {}
            }
        }
    }

    async fn publish(&mut self) {
        for ((transport, _), messages) in self.options.publish.iter().zip(&mut self.messages) {
            if messages.is_empty() {
                continue;
            }
            match transport.publish(std::mem::take(messages)).await {
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
    }

    fn count(&mut self) {
        let (before, counts) = (*self.counts.borrow(), self.decoders.counts());
        self.counters.verified.add(counts.books_verified - before.books_verified);
        self.counters.failed.add(counts.books_failed - before.books_failed);
        self.counts.send_replace(counts);
    }
}

/// The category of each session's share, as its opening says.
#[derive(Default)]
struct Categories {
    known: HashMap<SessionId, String>,
    /// Those that have ended: what was heard of them may still wait in a merger.
    ended: VecDeque<SessionId>,
}

impl Categories {
    fn take(&mut self, entry: &Entry) {
        match entry.kind {
            EntryKind::Open => {
                let open = note::decode::<note::Open>(&entry.payload);
                if let Some(category) = open.ok().and_then(|open| open.category) {
                    self.known.insert(entry.session, category);
                }
            }
            EntryKind::Close if self.known.contains_key(&entry.session) => {
                self.ended.push_back(entry.session);
                if self.ended.len() > ENDED_MAX {
                    self.ended.pop_front().map(|oldest| self.known.remove(&oldest));
                }
            }
            _ => {}
        }
    }

    fn of(&self, session: SessionId) -> Option<&str> {
        self.known.get(&session).map(String::as_str)
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
