//! The live fan-out beyond this process: what is told inside it goes to a broker too.
//!
//! A publisher listens like anybody else, so it holds up nobody: when the broker is slower than the market, its
//! bounded queue loses the oldest messages, and they are counted. Of each subject that the broker retains it keeps the
//! last message itself, and tells them all again to a broker that came back: it may have forgotten them. So a listener
//! may hear the last message of a subject twice; what a record came from (`source`) tells it apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::metrics::{self, Counter};
use ssmd_core::{Clock, Delivery, ErrorKind, Message, Metrics, Result, Subject, Subscription, Transport};
use tokio_util::sync::CancellationToken;

/// How long a stopped publisher may take to tell what waits.
pub const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// The most subjects whose last message is kept to be told again: ten types of each of 100,000 symbols.
pub const SUBJECTS_MAX: usize = 1_000_000;

/// Messages that go at once.
const MESSAGES_PER_BATCH: usize = 256;
/// How long a broker that refused is left alone.
const WAIT_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// A broker, as a publisher needs it.
pub trait Broker: Transport {
    /// Changes with every connection: a broker that was away may have forgotten what it retained.
    fn connection(&self) -> u64;

    /// Whether it keeps the last message of this subject for those who come later.
    fn retains(&self, subject: &Subject) -> bool;
}

/// Tells a broker what a subscription hears.
pub struct Publisher {
    /// What it hears.
    pub heard: Box<dyn Subscription>,
    /// Whom it tells.
    pub broker: Arc<dyn Broker>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Metrics,
}

impl Publisher {
    /// Tells all that is heard until `stop`, and then what waits; or until the subscription ends.
    ///
    /// # Errors
    /// The subscription's, but for its end. A broker that fails is no error: records are told at most once.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut telling = Telling::new(self.broker, self.clock, &self.metrics);
        loop {
            // What waits goes first, also when it is to stop.
            let delivery = tokio::select! {
                biased;
                delivery = self.heard.next() => delivery,
                () = stop.cancelled() => return telling.end().await,
            };
            let mut batch = Vec::new();
            let mut delivery = Some(delivery);
            while let Some(next) = delivery.take() {
                match next {
                    Ok(Delivery::Message(message)) => batch.push(message),
                    Ok(Delivery::Lost(count)) => telling.lost(count),
                    Err(error) if error.kind() == ErrorKind::Closed => {
                        telling.tell(batch).await;
                        return telling.end().await;
                    }
                    Err(error) => return Err(error),
                }
                if batch.len() < MESSAGES_PER_BATCH {
                    delivery = tokio::select! {
                        biased;
                        more = self.heard.next() => Some(more),
                        () = std::future::ready(()) => None,
                    };
                }
            }
            telling.tell(batch).await;
        }
    }
}

struct Telling {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    /// The last message of each subject that the broker retains.
    last: BTreeMap<Subject, Message>,
    /// The connection that was told all of those.
    connection: u64,
    /// Whether the broker took the last batch; its failure is said once, not each time.
    told: bool,
    sent: Counter,
    missed: Counter,
}

impl Telling {
    fn new(broker: Arc<dyn Broker>, clock: Arc<dyn Clock>, metrics: &Metrics) -> Self {
        let counter = |word| metrics.counter(&metrics::PUBLISHED, &[word]);
        let connection = broker.connection();
        let (sent, missed) = (counter("sent"), counter("lost"));
        Self { broker, clock, last: BTreeMap::new(), connection, told: true, sent, missed }
    }

    fn lost(&self, count: u64) {
        if self.missed.get() == 0 {
            tracing::warn!(count, "the broker is slower than the market: the oldest messages are not told");
        }
        self.missed.add(count);
    }

    async fn tell(&mut self, batch: Vec<Message>) {
        let connection = self.broker.connection();
        let again = if connection == self.connection { Ok(()) } else { self.again().await };
        for message in &batch {
            let known = self.last.contains_key(&message.subject);
            if self.broker.retains(&message.subject) && (known || self.last.len() < SUBJECTS_MAX) {
                self.last.insert(message.subject.clone(), message.clone());
            }
        }
        match again {
            Ok(()) => self.connection = connection,
            Err(error) => return self.failed(&error, batch.len()).await,
        }
        if batch.is_empty() {
            return;
        }
        let count = batch.len();
        match self.broker.publish(batch).await {
            Ok(()) => {
                self.told = true;
                self.sent.add(count as u64);
            }
            Err(error) => self.failed(&error, count).await,
        }
    }

    /// Tells the last message of each subject once more.
    async fn again(&self) -> Result<()> {
        let mut all = self.last.values().cloned().peekable();
        while all.peek().is_some() {
            self.broker.publish(all.by_ref().take(MESSAGES_PER_BATCH).collect()).await?;
        }
        Ok(())
    }

    async fn failed(&mut self, error: &ssmd_core::Error, count: usize) {
        if self.told {
            tracing::warn!(report = error.report(), "records are not told to the broker until it is back");
        }
        self.told = false;
        self.missed.add(count as u64);
        self.clock.sleep(WAIT_AFTER_FAILURE).await;
    }

    /// Waits until what was told has left, for as long as that is worth waiting for.
    async fn end(self) -> Result<()> {
        tokio::select! {
            biased;
            flushed = self.broker.flush() => {
                if let Err(error) = flushed {
                    tracing::warn!(%error, "what was told last may not have reached the broker");
                }
            }
            () = self.clock.sleep(STOPS_WITHIN) => tracing::warn!("the broker did not take the last messages in time"),
        }
        Ok(())
    }
}
