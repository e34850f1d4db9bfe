//! The market through a real nats-server, as somebody sees it who has nothing but a NATS client.

use std::path::Path;

use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use serde_json::Value;
use ssmd_core::{Clock, SystemClock, codec};
use tempfile::tempdir;
use tokio::runtime::Runtime;

use crate::nats_server::Server;
use crate::rig::{PATIENCE, Running, environment, free_port, ssmd, text_of, until};

/// What a whole market tells.
const KINDS: [&str; 4] = ["ticker", "trade", "book_snapshot", "book_delta"];

fn document(folder: &Path, more: &str) -> String {
    let config = environment(folder, free_port(), "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + more).unwrap();
    config
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = future => done,
        () = SystemClock::new().sleep(PATIENCE) => panic!("nothing came within {PATIENCE:?}"),
    }
}

/// The next record that a subscription hears; its subject says what it is.
async fn next(heard: &mut async_nats::Subscriber) -> Value {
    let message = in_time(heard.next()).await.unwrap();
    let record: Value = serde_json::from_slice(&message.payload).unwrap();
    let symbol = if record["symbol"].is_null() { "_" } else { "BTC~2FUSD" };
    let kind = record["type"].as_str().unwrap();
    assert_eq!(message.subject.as_str(), format!("test.kraken.json.{kind}.{symbol}"), "{record}");
    record
}

fn received(record: &Value) -> i64 {
    record["received_ns"].as_str().unwrap().parse().unwrap()
}

/// Reads until every kind of record was received after this time.
async fn every_kind(heard: &mut async_nats::Subscriber, after: i64) -> i64 {
    let (mut missing, mut last) = (KINDS.to_vec(), 0);
    while !missing.is_empty() {
        let record = next(heard).await;
        last = last.max(received(&record));
        // A book begins anew only where one was lost: after the first time none may come.
        let is_new = received(&record) > after;
        missing.retain(|kind| !(is_new && record["type"] == *kind || after > 0 && *kind == "book_snapshot"));
    }
    last
}

async fn latest(bucket: &jetstream::kv::Store, kind: &str) -> Option<Value> {
    // `~` is no letter of a key of NATS KV.
    let found = bucket.get(format!("kraken.{kind}.BTC=7E2FUSD")).await.ok()??;
    serde_json::from_slice(&found).ok()
}

#[test]
fn somebody_with_only_a_nats_client_sees_the_market_and_who_comes_late_replays_it() {
    let Some(mut server) = Server::start("") else { return };
    let folder = tempdir().unwrap();
    let config = document(
        folder.path(),
        &format!(
            "  transport: {{ type: nats, url: \"{0}\", stream: test-records }}\n  cache: {{ nats: {{ url: \"{0}\", bucket: test }} }}\n",
            server.url()
        ),
    );
    let data = text_of(folder.path());
    let runtime = runtime();
    let _inside = runtime.enter();
    let client = runtime.block_on(async_nats::connect(server.url())).unwrap();
    let mut heard = runtime.block_on(client.subscribe("test.kraken.json.>")).unwrap();
    runtime.block_on(client.flush()).unwrap();
    let up = Running::start(ssmd(&["up", "--sim", "-c", &config, "--data", &data]).env("SSMD_LOG", "error"));
    let before = runtime.block_on(every_kind(&mut heard, 0));
    let context = jetstream::new(client);
    let bucket = until("the bucket", || runtime.block_on(context.get_key_value("test")).ok());
    for kind in ["ticker", "trade", "book"] {
        until(kind, || runtime.block_on(latest(&bucket, kind)));
    }

    // A server that dies is told again when it is back, and the bucket goes on.
    server.kill();
    server.restart();
    runtime.block_on(every_kind(&mut heard, before));
    let newer =
        |kind: &str| runtime.block_on(latest(&bucket, kind)).filter(|record| received(record) > before);
    until("a newer trade in the bucket", || newer("trade"));

    // A bucket that is deleted comes back.
    runtime.block_on(context.delete_key_value("test")).unwrap();
    let bucket = until("the bucket again", || runtime.block_on(context.get_key_value("test")).ok());
    for kind in ["ticker", "trade", "book"] {
        let record = until(kind, || runtime.block_on(latest(&bucket, kind)));
        assert_eq!(record["symbol"], "BTC/USD");
    }
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");

    // Nothing is told any more; who comes now hears all of it, in the order of the log.
    runtime.block_on(async {
        let stream = context.get_stream("test-records").await.unwrap();
        let config = consumer::pull::Config {
            ack_policy: consumer::AckPolicy::None,
            filter_subject: "test.kraken.json.trade.*".to_owned(),
            ..consumer::pull::Config::default()
        };
        let late = stream.create_consumer(config).await.unwrap();
        let kept = late.cached_info().num_pending;
        assert!(kept > 10, "{kept}");
        let mut messages = late.fetch().max_messages(10_000).messages().await.unwrap();
        let mut sources = Vec::new();
        while let Some(message) = messages.next().await {
            let record: Value = serde_json::from_slice(&message.unwrap().payload).unwrap();
            let source = record["source"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned();
            sources.push(source.parse::<u64>().unwrap());
        }
        // A server that was away is told the last one of each subject once more.
        assert!(sources.is_sorted(), "{sources:?}");
        for kind in ["ticker", "trade", "book_snapshot"] {
            let subject = format!("test.kraken.json.{kind}.BTC~2FUSD");
            let last = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&last.payload).unwrap()["type"], kind);
        }
    });
}

#[test]
fn records_go_as_capnp_where_the_document_says_so() {
    let Some(server) = Server::start("") else { return };
    let folder = tempdir().unwrap();
    let nats = format!("  transport: {{ nats: {{ url: \"{}\", format: capnp }} }}\n", server.url());
    let config = document(folder.path(), &nats);
    let data = text_of(folder.path());
    let runtime = runtime();
    let up = runtime.block_on(async {
        let client = async_nats::connect(server.url()).await.unwrap();
        let mut heard = client.subscribe("test.>").await.unwrap();
        client.flush().await.unwrap();
        let up =
            Running::start(ssmd(&["up", "--sim", "-c", &config, "--data", &data]).env("SSMD_LOG", "error"));
        let mut missing = KINDS.to_vec();
        while !missing.is_empty() {
            let message = in_time(heard.next()).await.unwrap();
            let record = codec::capnp::decode(&message.payload).unwrap();
            let kind = record.body.record_type().word();
            let symbol = record.header.symbol.map_or_else(|| "_".to_owned(), |symbol| symbol.token());
            assert_eq!(message.subject.as_str(), format!("test.kraken.capnp.{kind}.{symbol}"));
            missing.retain(|missing| *missing != kind);
        }
        // Without a stream nothing is kept.
        let kept = jetstream::new(client).query_account().await.unwrap();
        assert_eq!(kept.streams, 0);
        up
    });
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
}

#[test]
fn a_nats_server_that_is_away_stops_no_recording() {
    let folder = tempdir().unwrap();
    let away = "{ nats: { url: \"nats://127.0.0.1:1\" } }";
    let config = document(folder.path(), &format!("  transport: {away}\n  cache: {away}\n"));
    let data = text_of(folder.path());
    let arguments = ["up", "--sim", "--for", "2s", "-c", &config, "--data", &data, "--json"];
    let (ended, said) = Running::start(&mut ssmd(&arguments)).end();
    assert!(ended.success(), "{said}");
    for warning in
        ["records are not told to the broker until it is back", "the cache keeps nothing until it is back"]
    {
        assert_eq!(said.matches(warning).count(), 1, "{said}");
    }
}
