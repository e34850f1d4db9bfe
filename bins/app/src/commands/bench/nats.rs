//! What the relay and a reader of the shared journal take of what the NATS client can do, through a real server that the
//! row starts: the bare client's loop, and ours, in turns.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, StorageType};
use bytes::Bytes;
use futures_util::StreamExt;
use ssmd_core::{
    Entry, EntryId, EntryKind, EnvironmentName, Error, ErrorKind, FeedName, FrameKind, Journal, Metrics,
    Result, SessionId, Start,
};
use ssmd_transport::log::{self, Log};
use ssmd_transport::memory::MemoryCache;
use ssmd_transport::nats::{self, Connection, JournalSpec, NatsJournal, StreamSpec, WINDOW_MESSAGES};
use ssmd_transport::relay::{Keys, Options, Relay};
use tokio_util::sync::CancellationToken;

use super::figure::{Figure, median};
use super::ground::Ground;
use super::servers::{PAYLOAD_BYTES, ROUNDS, SHARE, rate, server, tool};

/// Entries of a round; a test only sees that the row runs.
const ENTRIES: usize = if cfg!(test) { 500 } else { 50_000 };
/// Entries appended to the log, and read from the journal, at once.
const ENTRIES_AT_ONCE: NonZeroUsize = NonZeroUsize::new(512).expect("it is not zero");
/// How long a round may take.
const ROUND_TIME_MAX: Duration = Duration::from_secs(120);
/// The bare client's stream and its only subject.
const BARE: &str = "bare";
/// Messages that the server sends ahead, and their bytes: as many as our reader lets it.
const AHEAD: (usize, usize) = (2000, 8 * 1024 * 1024);

/// A log copied into JetStream, in files, until the last entry is acknowledged, and a journal read; beside them messages
/// of the same payload published and read by the bare client.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let folder = ground.fresh("nats")?;
    let store = folder.join("store").display().to_string();
    let arguments = |port: u16| {
        ["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", &store].map(String::from).to_vec()
    };
    let Some((_server, port)) = server(ground, &tool("nats-server/nats-server"), arguments).await? else {
        return Ok(Vec::new());
    };
    let url = format!("nats://127.0.0.1:{port}");
    let connection = nats::connect(&nats::Options::new(&url), ground.clock()).await?;
    let client = async_nats::connect(&url).await.map_err(|cause| failed().because(cause))?;
    let context = jetstream::new(client);
    let config = Config {
        name: BARE.to_owned(),
        subjects: vec![BARE.to_owned()],
        storage: StorageType::File,
        ..Config::default()
    };
    context.create_stream(config).await.map_err(|cause| failed().because(cause))?;
    let (mut relayed, mut published) = (Vec::new(), Vec::new());
    let (mut cpu, mut cpu_bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // A feed of its own: a relay that starts looks at the end of every log that its feed ever had.
        let spec = journal(round)?;
        let log = fill(ground, &spec.feed, round).await?;
        let began = ground.cpu_seconds();
        published.push(rate(ground, ENTRIES, publish_bare(&context)).await?);
        let between = ground.cpu_seconds();
        let relay = relay(ground, &connection, &spec, log).await?;
        relayed.push(rate(ground, ENTRIES, copy(relay)).await?);
        cpu_bare.push((between - began) * 1e6 / ENTRIES as f64);
        cpu.push((ground.cpu_seconds() - between) * 1e6 / ENTRIES as f64);
    }
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let spec = journal(0)?;
    let journal = connection.journal(&spec).await?;
    for _ in 0..ROUNDS {
        bare.push(rate(ground, ENTRIES, read_bare(&context, &spec.stream.name)).await?);
        ours.push(rate(ground, ENTRIES, read(&journal)).await?);
    }
    let relayed = compared("nats_relay", &mut relayed, &mut published);
    let relayed = relayed.beside("cpu_us", median(&mut cpu)).beside("bare_cpu_us", median(&mut cpu_bare));
    Ok(vec![relayed, compared("nats_read", &mut ours, &mut bare)])
}

/// The journal of a round's feed. All are in one stream.
fn journal(round: usize) -> Result<JournalSpec> {
    let environment = EnvironmentName::new("bench")?;
    let stream = StreamSpec::of(&environment);
    Ok(JournalSpec { environment, feed: FeedName::new(&format!("kraken-{round}"))?, stream })
}

fn compared(id: &'static str, ours: &mut [f64], bare: &mut [f64]) -> Figure {
    let (ours, bare) = (median(ours), median(bare));
    let figure = Figure::least(id, 100.0 * ours / bare.max(1.0), SHARE, "% of bare");
    figure.beside("messages_per_second", ours).beside("bare_messages_per_second", bare)
}

fn failed() -> Error {
    Error::new(ErrorKind::Unavailable, "bench nats")
}

/// A new log with the entries of a round.
async fn fill(ground: &Ground, feed: &FeedName, round: usize) -> Result<Arc<Log>> {
    let folder = ground.fresh(&format!("nats-log-{round}"))?;
    let log = Log::open(&folder, feed, log::Options::default(), ground.clock()).await?;
    let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let (first, now) = (log.position(), ground.clock().now());
    let entries = (first.next..).zip(0..ENTRIES as u64).map(|(n, index)| Entry {
        id: EntryId { origin: log.origin(), n },
        day: first.day,
        at: now,
        elapsed: Duration::from_nanos(index),
        session: SessionId(first.next_session),
        index,
        kind: EntryKind::Frame(FrameKind::Data),
        binary: false,
        more: false,
        payload: payload.clone(),
    });
    for batch in entries.collect::<Vec<_>>().chunks(ENTRIES_AT_ONCE.get()) {
        log.append(batch.to_vec()).await?.await?;
    }
    Ok(Arc::new(log))
}

async fn relay(ground: &Ground, connection: &Connection, spec: &JournalSpec, log: Arc<Log>) -> Result<Relay> {
    Ok(Relay {
        feed: spec.feed.clone(),
        source: log,
        target: Arc::new(connection.journal(spec).await?),
        cache: Arc::new(MemoryCache::new(ground.clock())),
        keys: Keys::new(&spec.environment, &spec.feed),
        clock: ground.clock(),
        metrics: Metrics::new(),
        options: Options { drains_within: ROUND_TIME_MAX, ..Options::default() },
        covered: Arc::new(|_, _| Ok(())),
    })
}

/// Copies what the log holds; stopping begins at once, and it is copied to its end then.
async fn copy(relay: Relay) -> Result<()> {
    let stop = CancellationToken::new();
    stop.cancel();
    let summary = relay.run(stop).await?;
    let whole = summary.copied >= ENTRIES as u64;
    if whole {
        Ok(())
    } else {
        Err(failed().detail("not everything was copied").with("copied", summary.copied))
    }
}

/// Publishes with as many messages under way as our journal has.
async fn publish_bare(context: &jetstream::Context) -> Result<()> {
    let payload = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let mut acks = VecDeque::with_capacity(WINDOW_MESSAGES);
    for _ in 0..ENTRIES {
        if acks.len() == WINDOW_MESSAGES {
            acknowledged(acks.pop_front()).await?;
        }
        acks.push_back(
            context.publish(BARE, payload.clone()).await.map_err(|cause| failed().because(cause))?,
        );
    }
    while !acks.is_empty() {
        acknowledged(acks.pop_front()).await?;
    }
    Ok(())
}

async fn acknowledged(ack: Option<jetstream::context::PublishAckFuture>) -> Result<()> {
    match ack {
        Some(ack) => ack.await.map(drop).map_err(|cause| failed().because(cause)),
        None => Ok(()),
    }
}

async fn read(journal: &NatsJournal) -> Result<()> {
    let (mut entries, mut count) = (journal.read(Start::Oldest).await?, 0);
    while count < ENTRIES {
        count += entries.next(ENTRIES_AT_ONCE).await?.len();
    }
    Ok(())
}

/// Reads the messages that our journal made, as the client gives them.
async fn read_bare(context: &jetstream::Context, stream: &str) -> Result<()> {
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer: PullConsumer =
        context.create_consumer_on_stream(config, stream).await.map_err(|cause| failed().because(cause))?;
    let messages = consumer.stream().max_messages_per_batch(AHEAD.0).max_bytes_per_batch(AHEAD.1);
    let mut messages = messages.messages().await.map_err(|cause| failed().because(cause))?;
    for _ in 0..ENTRIES {
        let message = messages.next().await.ok_or_else(failed)?;
        message.map_err(|cause| failed().because(cause))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_loads_run_through_a_real_server() {
        let parent = tempfile::tempdir().unwrap();
        // A machine may keep its temporary files in memory, which is refused.
        let Ok(ground) = Ground::take(Some(parent.path()), false) else { return };
        let figures = run(&ground).await.unwrap();
        if figures.is_empty() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "run scripts/install-test-tools");
            return println!("skipped: there is no nats-server; scripts/install-test-tools gets one");
        }
        let measured =
            figures.iter().all(|figure| !figure.to_string().contains(" bare_messages_per_second 0"));
        assert!(figures.len() == 2 && measured);
    }
}
