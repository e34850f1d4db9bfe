//! The journal in JetStream while its server is killed, refuses messages, takes small ones only, or has another idea of
//! the stream.

#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/nats.rs"]
#[allow(dead_code, reason = "each test file uses its part of it")]
mod server;
#[allow(dead_code, reason = "each test file uses its part of it")]
mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use server::Server;
use ssmd_core::{
    Entries, Entry, EnvironmentName, ErrorKind, FeedName, Journal, Origin, Positions, Start, SystemClock,
};
use ssmd_transport::nats::{self, Connection, JournalSpec, NatsJournal, Options, StreamSpec};
use ssmd_transport::relay::{Healed, Healing, Keys};
use support::{entry, in_time, numbers};

const ORIGIN: Origin = Origin::from_bytes([9; 16]);

fn spec() -> JournalSpec {
    let environment = EnvironmentName::new("dev").unwrap();
    let stream = StreamSpec::of(&environment);
    JournalSpec { environment, feed: FeedName::new("kraken").unwrap(), stream }
}

async fn connect(server: &Server) -> Connection {
    nats::connect(&Options::new(server.url()), Arc::new(SystemClock::new())).await.unwrap()
}

async fn open(server: &Server) -> NatsJournal {
    connect(server).await.journal(&spec()).await.unwrap()
}

/// Changes the stream behind the journal's back.
async fn limit_messages(server: &Server, bytes: i32) {
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut config = context.get_stream(spec().stream.name).await.unwrap().cached_info().config.clone();
    config.max_message_size = bytes;
    context.update_stream(config).await.unwrap();
}

async fn read(reader: &mut dyn Entries, count: usize) -> Vec<Entry> {
    let mut read = Vec::new();
    while read.len() < count {
        read.extend(in_time(reader.next(NonZeroUsize::MAX)).await.unwrap());
    }
    read
}

fn entries(ns: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    ns.into_iter().map(|n| entry(ORIGIN, n)).collect()
}

#[tokio::test]
async fn a_server_that_is_killed_again_and_again_costs_nothing_and_disturbs_no_order() {
    const ROUNDS: u64 = 4;
    const EACH: u64 = 2000;
    let Some(mut server) = Server::start("") else { return };
    let journal = open(&server).await;
    let mut live = journal.read(Start::Oldest).await.unwrap();
    let mut pending = Vec::new();
    for round in 0..ROUNDS {
        for n in round * EACH..(round + 1) * EACH {
            pending.push(journal.append(entries([n + 1])).await.unwrap());
        }
        // Some of it is under way.
        pending.remove((round * EACH / 2) as usize).await.unwrap();
        server.kill();
        pending.push(journal.append(entries([(round + 1) * EACH])).await.unwrap());
        server.restart();
    }
    for batch in pending {
        in_time(batch).await.unwrap();
    }
    let must = entries(1..=ROUNDS * EACH);
    assert!(read(&mut *live, must.len()).await == must, "a reader that was there all the time");
    let mut late = journal.read(Start::Oldest).await.unwrap();
    assert!(read(&mut *late, must.len()).await == must, "a reader that came late");
    let bounds = journal.bounds().await.unwrap();
    assert_eq!(bounds.origins.get(&ORIGIN), Some(&(1, ROUNDS * EACH)));
}

#[tokio::test]
async fn messages_that_are_refused_in_the_middle_come_in_order_in_the_end() {
    let Some(server) = Server::start("") else { return };
    let journal = open(&server).await;
    journal.append(entries(1..=3)).await.unwrap().await.unwrap();
    let mut live = journal.read(Start::After(Positions::from([(ORIGIN, 3)]))).await.unwrap();
    // Entry 100 alone is larger than what the stream takes now: those behind it are stored, it is not.
    limit_messages(&server, 8192).await;
    let mut batch = entries(4..=300);
    batch[96].payload = vec![b'x'; 20_000].into();
    let pending = journal.append(batch.clone()).await.unwrap();
    assert_eq!(read(&mut *live, 96).await, batch[..96]);
    // What comes behind is held back, for this reader and for one that begins now.
    let mut late = journal.read(Start::Oldest).await.unwrap();
    assert_eq!(numbers(&read(&mut *late, 99).await), (1..=99).collect::<Vec<_>>());
    assert_eq!(journal.bounds().await.unwrap().origins.get(&ORIGIN), Some(&(1, 99)));
    limit_messages(&server, -1).await;
    in_time(pending).await.unwrap();
    assert!(read(&mut *live, 201).await == batch[96..], "the reader that saw it");
    assert!(read(&mut *late, 201).await == batch[96..], "the reader that began in between");
    assert_eq!(journal.bounds().await.unwrap().origins.get(&ORIGIN), Some(&(1, 300)));
}

#[tokio::test]
async fn entries_larger_than_the_server_takes_come_in_parts_and_back_whole() {
    let Some(mut server) = Server::start("max_payload: 8192") else { return };
    let journal = open(&server).await;
    let mut large = entries(1..=3);
    large[1].payload =
        (0..ssmd_core::entry::PAYLOAD_BYTES_MAX).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    journal.append(large.clone()).await.unwrap().await.unwrap();
    let mut reader = journal.read(Start::Oldest).await.unwrap();
    assert!(read(&mut *reader, 3).await == large);
    drop((reader, journal));
    server.kill();
    server.restart();
    let journal = open(&server).await;
    assert_eq!(journal.bounds().await.unwrap().origins.get(&ORIGIN), Some(&(1, 3)));
    journal.append(entries([2, 4])).await.unwrap().await.unwrap();
    let mut reader = journal.read(Start::After(Positions::from([(ORIGIN, 1)]))).await.unwrap();
    assert_eq!(numbers(&read(&mut *reader, 3).await), [2, 3, 4]);
}

#[tokio::test]
async fn what_others_put_among_the_entries_is_passed_by_where_holes_are_healed() {
    let Some(server) = Server::start("") else { return };
    let journal = Arc::new(open(&server).await);
    let other = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(other);
    for n in 1..=50 {
        journal.append(entries([n])).await.unwrap().await.unwrap();
        let subject = format!("dev.kraken.log.{ORIGIN}");
        context.publish(subject, "none of ours".into()).await.unwrap().await.unwrap();
    }
    let clock = support::clock();
    let healing = Healing {
        cache: Arc::new(ssmd_transport::memory::MemoryCache::new(Arc::clone(&clock))),
        keys: Keys::new(&spec().environment, &spec().feed),
        clock,
        waits: Duration::from_secs(3600),
        stop: tokio_util::sync::CancellationToken::new(),
    };
    let mut plain = journal.read(Start::Oldest).await.unwrap();
    assert_eq!(numbers(&read(&mut *plain, 1).await), [1]);
    assert_eq!(in_time(plain.next(NonZeroUsize::MAX)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let healed = Healed::new(journal, healing);
    let mut reader = healed.read(Start::Oldest).await.unwrap();
    assert!(read(&mut *reader, 50).await == entries(1..=50));
}

/// A journal of 300 entries, and its server stopped and started again with a bit flipped in one of them.
async fn damaged(server: &mut Server, n: u64) -> NatsJournal {
    let journal = open(server).await;
    journal.append(entries(1..=3)).await.unwrap().await.unwrap();
    journal.append(entries(4..=300)).await.unwrap().await.unwrap();
    drop(journal);
    server.stop();
    let block = server.dir().join("store/jetstream/$G/streams/ssmd-dev/msgs/1.blk");
    let mut bytes = std::fs::read(&block).unwrap();
    let payload = format!("payload {n} ");
    let at = bytes.windows(payload.len()).position(|window| window == payload.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&block, bytes).unwrap();
    server.restart();
    open(server).await
}

#[tokio::test]
async fn an_origin_whose_first_message_is_damaged_is_seen() {
    let Some(mut server) = Server::start("") else { return };
    let journal = damaged(&mut server, 1).await;
    let bounds = journal.bounds().await.unwrap();
    assert_eq!(bounds.origins.get(&ORIGIN).map(|(_, last)| *last), Some(300), "{bounds:?}");
    let mut reader = journal.read(Start::After(Positions::from([(ORIGIN, 0)]))).await;
    let first = match &mut reader {
        Ok(reader) => in_time(reader.next(NonZeroUsize::MAX)).await.unwrap_err(),
        Err(_) => reader.err().unwrap(),
    };
    assert_eq!(first.context("origin"), Some(ORIGIN.to_string().as_str()), "a hole is told: {first:?}");
}

#[tokio::test]
async fn behind_a_last_message_that_is_damaged_writing_goes_on() {
    let Some(mut server) = Server::start("") else { return };
    let journal = damaged(&mut server, 300).await;
    let last = journal.bounds().await.unwrap().origins.get(&ORIGIN).map(|(_, last)| *last);
    assert!(last.is_some_and(|last| last >= 299), "{last:?}");
    in_time(journal.append(entries([300, 301])).await.unwrap()).await.unwrap();
    assert_eq!(journal.bounds().await.unwrap().origins.get(&ORIGIN), Some(&(1, 301)));
}

#[tokio::test]
async fn a_start_far_back_in_a_long_stream_is_found() {
    const LAST: u64 = 30_000;
    let Some(server) = Server::start("") else { return };
    let journal = open(&server).await;
    for from in (1..=LAST).step_by(1000) {
        drop(journal.append(entries(from..from + 1000)).await.unwrap());
    }
    journal.append(entries([LAST + 1])).await.unwrap().await.unwrap();
    for after in [0, 1, 9_999, 29_999, LAST] {
        let mut reader = journal.read(Start::After(Positions::from([(ORIGIN, after)]))).await.unwrap();
        let first = in_time(reader.next(NonZeroUsize::MIN)).await.unwrap();
        assert_eq!(numbers(&first), [after + 1]);
    }
}

#[tokio::test]
async fn a_stream_is_changed_where_that_loses_nothing_and_else_refused_with_the_command() {
    let Some(server) = Server::start("") else { return };
    let connection = connect(&server).await;
    drop(connection.journal(&spec()).await.unwrap());
    let with = |hours: u64| {
        let spec = spec();
        let stream = StreamSpec { max_age: Duration::from_secs(3600 * hours), ..spec.stream.clone() };
        JournalSpec { stream, ..spec }
    };
    let before = connection.journal(&with(48)).await.unwrap().bounds().await.unwrap().incarnation;
    let error = connection.journal(&with(12)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.hint_text().unwrap().ends_with("nats stream edit ssmd-dev --max-age=43200s"), "{error:?}");
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let config = context.get_stream("ssmd-dev").await.unwrap().cached_info().config.clone();
    assert_eq!(config.max_age, Duration::from_secs(48 * 3600));
    let after = connection.journal(&with(48)).await.unwrap().bounds().await.unwrap().incarnation;
    assert_eq!(before, after, "the stream is the same");
}

#[tokio::test]
async fn a_journal_whose_stream_is_made_anew_ends() {
    let Some(server) = Server::start("") else { return };
    let journal = open(&server).await;
    journal.append(entries(1..=3)).await.unwrap().await.unwrap();
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    context.delete_stream("ssmd-dev").await.unwrap();
    let pending = journal.append(entries([4])).await.unwrap();
    assert_eq!(in_time(pending).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(journal.append(entries([5])).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(journal.bounds().await.unwrap_err().kind(), ErrorKind::NotFound);
}
