//! One reader: a pull consumer, made anew wherever it broke off, and the chains of its origins.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use ssmd_core::journal::hole;
use ssmd_core::{Entries, Entry, Error, ErrorKind, Origin, Positions, Result};

use super::chain::{Chain, Step};
use super::journal::Shared;
use super::wire::{self, Assembly};

/// Messages that the server sends ahead, and their bytes.
const AHEAD_MESSAGES: usize = 2000;
const AHEAD_BYTES: usize = 8 * 1024 * 1024;
/// How long one request for messages stands, and how often the server says that it does.
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the server keeps a consumer that nobody asks.
const INACTIVE: Duration = Duration::from_secs(60);
/// How long something is held while what is before it may still come: a living writer sends again within seconds.
const HELD: Duration = Duration::from_secs(30);
/// The pause before a consumer is made again.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Reader {
    shared: Arc<Shared>,
    messages: Option<pull::Stream>,
    /// The stream's sequence from which on to read, and the consumer's of the next message.
    from: u64,
    expected: u64,
    /// Whether the server had nothing more when it sent the last message.
    at_end: bool,
    origins: BTreeMap<Origin, Subject>,
    positions: Positions,
    ready: VecDeque<Given>,
    /// Since when something has been held, by the monotonic clock.
    held_since: Option<Duration>,
}

/// One origin's messages.
struct Subject {
    assembly: Assembly,
    chain: Chain<Entry>,
}

/// What waits to be given out.
enum Given {
    Entry(Entry),
    Trouble(Error),
}

impl Reader {
    pub(super) async fn open(shared: Arc<Shared>, from: u64, positions: Positions) -> Result<Self> {
        let mut reader = Self {
            shared,
            messages: None,
            from,
            expected: 1,
            at_end: false,
            origins: BTreeMap::new(),
            positions,
            ready: VecDeque::new(),
            held_since: None,
        };
        reader.messages = Some(reader.consume().await?);
        Ok(reader)
    }

    async fn consume(&self) -> Result<pull::Stream> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.from },
            ack_policy: AckPolicy::None,
            filter_subject: self.shared.filter(),
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let unavailable = || Error::new(ErrorKind::Unavailable, "read journal");
        let consumer: PullConsumer =
            self.shared.stream.create_consumer(config).await.map_err(|cause| unavailable().because(cause))?;
        let messages =
            consumer.stream().max_messages_per_batch(AHEAD_MESSAGES).max_bytes_per_batch(AHEAD_BYTES);
        let messages = messages.expires(EXPIRES).heartbeat(HEARTBEAT).messages().await;
        messages.map_err(|cause| unavailable().because(cause))
    }

    /// Waits for the next message; makes the consumer again where it broke off.
    async fn message(&mut self) -> Result<jetstream::Message> {
        loop {
            if let Some(messages) = &mut self.messages {
                match messages.next().await {
                    Some(Ok(message)) => return Ok(message),
                    Some(Err(error)) => tracing::debug!(%error, "a consumer broke off"),
                    None => {}
                }
                self.messages = None;
            }
            match self.shared.check().await {
                Ok(_) => match self.consume().await {
                    Ok(messages) => {
                        self.expected = 1;
                        self.messages = Some(messages);
                        continue;
                    }
                    Err(error) => tracing::warn!(%error, "the journal in NATS cannot be read now"),
                },
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(Error::new(ErrorKind::Closed, "read journal").because(error));
                }
                Err(error) => tracing::warn!(%error, "the journal in NATS cannot be read now"),
            }
            self.shared.clock().sleep(PAUSE).await;
        }
    }

    /// Takes one message in. Nothing here waits.
    fn take(&mut self, message: jetstream::Message) {
        let Ok(info) = message.info() else { return };
        let (sequence, consumed, pending) = (info.stream_sequence, info.consumer_sequence, info.pending);
        if consumed != self.expected {
            // One before it went astray: it is asked for again.
            self.messages = None;
            return;
        }
        self.expected += 1;
        self.from = sequence + 1;
        self.at_end = pending == 0;
        let message = message.message;
        let Some(origin) = self.shared.origin(&message.subject) else { return };
        let headers = message.headers.unwrap_or_default();
        let Some(piece) = wire::read(origin, &headers, Some(message.payload)) else {
            self.ready.push_back(Given::Trouble(
                Error::new(ErrorKind::Corrupt, "read journal")
                    .detail("a message is damaged or none of ours")
                    .with("origin", origin)
                    .with("sequence", sequence),
            ));
            return;
        };
        let position = self.positions.get(&origin).copied();
        let begin = || Subject { assembly: Assembly::default(), chain: Chain::new(position) };
        let subject = self.origins.entry(origin).or_insert_with(begin);
        if let Some((link, entry)) = subject.assembly.push(piece) {
            let mut steps = VecDeque::new();
            subject.chain.push(link, entry, &mut steps);
            self.give(origin, steps);
        }
        self.note_held();
    }

    fn give(&mut self, origin: Origin, steps: VecDeque<Step<Entry>>) {
        self.ready.extend(steps.into_iter().map(|step| match step {
            Step::Hole(from, to) => Given::Trouble(hole(origin, from, to)),
            Step::Item(entry) => Given::Entry(entry),
        }));
    }

    fn note_held(&mut self) {
        let holds = self.origins.values().any(|subject| subject.chain.holds());
        let now = || self.shared.clock().elapsed();
        self.held_since = holds.then(|| self.held_since.unwrap_or_else(now));
    }

    /// Gives up waiting for what is before the held.
    fn release(&mut self) {
        let mut released = Vec::new();
        for (origin, subject) in &mut self.origins {
            let mut steps = VecDeque::new();
            subject.chain.release(&mut steps);
            released.push((*origin, steps));
        }
        for (origin, steps) in released {
            self.give(origin, steps);
        }
        self.held_since = None;
    }

    /// What can be given now: entries up to the first trouble, or that trouble alone.
    fn ready(&mut self, max: NonZeroUsize) -> Option<Result<Vec<Entry>>> {
        let mut entries = Vec::new();
        while entries.len() < max.get() {
            match self.ready.pop_front() {
                Some(Given::Entry(entry)) => entries.push(entry),
                Some(Given::Trouble(error)) if entries.is_empty() => return Some(Err(error)),
                Some(trouble) => {
                    self.ready.push_front(trouble);
                    break;
                }
                None => break,
            }
        }
        (!entries.is_empty()).then_some(Ok(entries))
    }

    /// Whether everything that is in the stream was read. Asked only once the journal has ended.
    async fn has_all(&self) -> bool {
        match self.shared.check().await {
            Ok(last) if self.from > last => true,
            Ok(last) => {
                // What is behind may be of other feeds.
                let filter = self.shared.filter();
                let next = self.shared.stream.get_first_raw_message_by_subject(filter, self.from).await;
                next.is_err() && self.from <= last
            }
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

#[async_trait]
impl Entries for Reader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        loop {
            if let Some(given) = self.ready(max) {
                return given;
            }
            let ended = self.shared.ended.clone();
            let held = self
                .held_since
                .map(|since| HELD.saturating_sub(self.shared.clock().elapsed().saturating_sub(since)));
            let clock = self.shared.clock().clone();
            let patience = async move {
                match held {
                    Some(left) => clock.sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = self.message() => self.take(message?),
                () = patience => self.release(),
                () = ended.cancelled() => {
                    if self.has_all().await {
                        return Err(Error::new(ErrorKind::Closed, "read journal"));
                    }
                    let message = self.message().await?;
                    self.take(message);
                }
            }
            // What has come already is taken along, so that a batch is one.
            while self.ready.len() < max.get()
                && let Some(messages) = &mut self.messages
                && let Some(Some(Ok(message))) = messages.next().now_or_never()
            {
                self.take(message);
            }
        }
    }
}
