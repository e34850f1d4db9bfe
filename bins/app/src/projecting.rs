//! Journals to the cache: for each feed of an environment a decoder, and a projector behind it.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ssmd_core::environment::{Environment, FeedSpec, RecordFormat};
use ssmd_core::{
    Cache, Clock, DecodeCounts, Decoders, Delivery, Error, ErrorKind, FeedName, Filter, Journal, Merger,
    Message, Metrics, Output, Result, Start, Tasks, codec,
};
use ssmd_transport::project::{self, Projector};
use ssmd_transport::publish::Broker;
use tokio_util::sync::CancellationToken;

use crate::backends;
use crate::by_feed::ByFeed;
use crate::status::FeedStatus;

/// Entries decoded at once.
const ENTRIES_PER_BATCH: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// How long the rest may take to reach the cache: longer than a projector gives itself.
const STOPS_WITHIN: Duration = project::STOPS_WITHIN.saturating_mul(2);
/// How long a source that failed is left alone.
const WAIT_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What is projected.
pub(crate) enum Source {
    /// Frames, which are decoded here: from the oldest on, so that books are whole.
    Journal(Arc<dyn Journal>),
    /// Records that others decoded, from now on.
    Transport(Arc<dyn Broker>, Filter, RecordFormat),
}

/// Every feed of an environment, being projected.
pub(crate) struct Projections {
    /// Each ends after the cache has what is known.
    pub(crate) feeds: ByFeed<Projected>,
    cache: Arc<dyn Cache>,
    clock: Arc<dyn Clock>,
}

/// One feed, being projected. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Projected {
    projector: Projector,
    counts: Arc<Mutex<DecodeCounts>>,
    /// Whether its source is there.
    open: Arc<AtomicBool>,
}

impl Projections {
    /// No feeds yet.
    ///
    /// # Errors
    /// `Invalid` if the environment keeps no latest values; as [`backends::cache`].
    pub(crate) fn new(
        environment: &Environment,
        service: &str,
        (clock, metrics): (&Arc<dyn Clock>, &Metrics),
    ) -> Result<Self> {
        let cache = backends::cache(environment, service, (clock, metrics))?.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "open cache")
                .detail("the environment keeps the latest values nowhere")
                .hint(
                    "write `cache: { redis: { url: … } }` or `cache: { nats: { url: … } }` into its document",
                )
        })?;
        Ok(Self { feeds: ByFeed::new(clock, STOPS_WITHIN), cache, clock: Arc::clone(clock) })
    }

    /// Projects what the source holds and will hold, once `open` has it.
    pub(crate) fn project<F>(&mut self, spec: &FeedSpec, open: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Source>> + Send + 'static,
    {
        let projector = Projector::new(spec.name.clone(), Arc::clone(&self.cache), Arc::clone(&self.clock));
        let projected = Projected { projector, counts: Arc::default(), open: Arc::default() };
        let (open, mut tasks) = (open(), Tasks::new());
        let work =
            Work { feed: spec.name.clone(), projected: projected.clone(), clock: Arc::clone(&self.clock) };
        tasks.spawn("project", work.projected.projector.clone().run(tasks.token()));
        tasks.spawn("follow", work.run(open, tasks.token()));
        self.feeds.add(&spec.name, projected, tasks);
    }
}

impl Projected {
    /// Adds what is known of the cache to the feed's status.
    pub(crate) fn describe(&self, status: &mut FeedStatus) {
        let counts = *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        (status.records, status.unknown, status.malformed) =
            (counts.records, counts.unknown, counts.malformed);
        (status.books_verified, status.books_failed) = (counts.books_verified, counts.books_failed);
        status.cache_behind = Some(self.projector.behind() as u64);
    }

    /// Whether there is anything to project; if not, why.
    ///
    /// # Errors
    /// The reason, for people.
    pub(crate) fn ready(&self, feed: &FeedName) -> std::result::Result<(), String> {
        let open = self.open.load(Ordering::Relaxed);
        if open { Ok(()) } else { Err(format!("no journal and no transport yet: {feed}")) }
    }
}

/// One feed's way from its source to its projector.
struct Work {
    feed: FeedName,
    projected: Projected,
    clock: Arc<dyn Clock>,
}

impl Work {
    async fn run(self, open: impl Future<Output = Result<Source>>, stop: CancellationToken) -> Result<()> {
        let source = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            source = open => source?,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            failed = self.follow(&source) => failed,
        }
    }

    /// Follows the source, again from its beginning after each failure: what is older than what the cache has
    /// changes nothing there.
    async fn follow(&self, source: &Source) -> Result<()> {
        let mut said = false;
        loop {
            let ended = match source {
                Source::Journal(journal) => self.decode(journal.as_ref(), &mut said).await,
                Source::Transport(transport, filter, format) => {
                    self.listen(transport, filter, *format, &mut said).await
                }
            };
            let Err(error) = ended else { continue };
            self.projected.open.store(false, Ordering::Relaxed);
            if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Closed) {
                return Err(error);
            }
            if !std::mem::replace(&mut said, true) {
                tracing::warn!(feed = %self.feed, report = error.report(), "nothing is projected until it is back");
            }
            self.clock.sleep(WAIT_AFTER_FAILURE).await;
        }
    }

    async fn decode(&self, journal: &dyn Journal, said: &mut bool) -> Result<()> {
        let make = ssmd_feeds::decoder(&self.feed)?;
        let mut decoders = Decoders::with(move || make());
        let (mut merger, mut outputs) = (Merger::new(ssmd_feeds::merge_rules(&self.feed)), Vec::new());
        let mut entries = journal.read(Start::Oldest).await?;
        self.opened(said);
        loop {
            match entries.next(ENTRIES_PER_BATCH).await {
                Ok(batch) => {
                    for entry in &batch {
                        // What cannot be decoded is counted, and told by the process that records.
                        if let Err(error) = decoders.push(entry, &mut outputs) {
                            tracing::debug!(entry = %entry.id, %error, "not decoded");
                        }
                        merger.take(entry, &mut outputs);
                        for output in outputs.drain(..) {
                            if let Output::Record(record) = output {
                                self.projected.projector.take(&record);
                            }
                        }
                    }
                    *self.projected.counts.lock().unwrap_or_else(PoisonError::into_inner) = decoders.counts();
                }
                Err(error) if error.kind() == ErrorKind::Hole => {
                    tracing::warn!(feed = %self.feed, report = error.report(), "the journal misses entries");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn listen(
        &self,
        transport: &Arc<dyn Broker>,
        filter: &Filter,
        format: RecordFormat,
        said: &mut bool,
    ) -> Result<()> {
        let mut heard = transport.subscribe(filter).await?;
        self.opened(said);
        loop {
            match heard.next().await? {
                Delivery::Message(message) => self.take(&message, format),
                Delivery::Lost(count) => {
                    tracing::warn!(feed = %self.feed, count, "records came faster than they could be taken");
                }
            }
        }
    }

    fn take(&self, message: &Message, format: RecordFormat) {
        let decoded = match format {
            RecordFormat::Json => codec::json::decode(&message.payload).map(|(_, record)| record),
            RecordFormat::Capnp => codec::capnp::decode(&message.payload),
        };
        let mut counts = self.projected.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match decoded {
            Ok(record) => {
                counts.records += 1;
                self.projected.projector.take(&record);
            }
            Err(error) => {
                if counts.malformed == 0 {
                    tracing::warn!(subject = %message.subject, %error, "no record of ours; further ones are counted");
                }
                counts.malformed += 1;
            }
        }
    }

    fn opened(&self, said: &mut bool) {
        self.projected.open.store(true, Ordering::Relaxed);
        *said = false;
    }
}
