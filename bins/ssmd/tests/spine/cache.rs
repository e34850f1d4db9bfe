//! The latest values in a real Redis, as somebody sees them who has nothing but `redis-cli`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::tempdir;

use crate::redis::{self, ask, redis};
use crate::rig::{Running, environment, free_port, ssmd, text_of, until};
use crate::server::Server;

/// The latest record of this kind, once there is one.
fn latest(server: &Server, kind: &str) -> Value {
    redis::latest(server, &format!("ssmd:test:kraken.{kind}.BTC~2FUSD"))
}

#[test]
fn the_latest_values_of_a_market_are_in_redis_and_come_back_after_it_was_emptied() {
    let Some(server) = redis() else { return };
    let (folder, port) = (tempdir().unwrap(), free_port());
    let config = environment(folder.path(), port, "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    let cache = format!("  cache: {{ redis: {{ url: \"redis://127.0.0.1:{}\" }} }}\n", server.port);
    std::fs::write(&config, text + &cache).unwrap();
    let data = text_of(folder.path());
    let up = Running::start(&mut ssmd(&["up", "--sim", "-c", &config, "--data", &data, "--json"]));
    let (ticker, trade, book) =
        (latest(&server, "ticker"), latest(&server, "trade"), latest(&server, "book"));
    assert_eq!(
        (&ticker["type"], &trade["type"], &book["type"]),
        (&"ticker".into(), &"trade".into(), &"book_snapshot".into())
    );
    assert_eq!((book["symbol"].as_str(), book["bids"].as_array().unwrap().len()), (Some("BTC/USD"), 10));
    until("a newer book", || (latest(&server, "book")["source"] != book["source"]).then_some(()));
    assert_eq!(ask(&server, &["FLUSHALL"]), "OK");
    for kind in ["ticker", "trade", "book"] {
        assert_eq!(latest(&server, kind)["symbol"], "BTC/USD");
    }
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
}

/// `ssmd-cache` on a machine of its own: an empty folder, and what the document names.
fn other_machine(config: &str, data: &str) -> Running {
    let program = Path::new(env!("CARGO_BIN_EXE_ssmd")).with_file_name("ssmd-cache");
    let mut command = Command::new(program);
    command.args(["-c", config, "--data", data, "--listen", "127.0.0.1:0"]).env("SSMD_LOG", "error");
    Running::start(&mut command)
}

/// What a recorder and a cache on two machines share: everything but the folder, and who names the cache.
fn another_machine_keeps_the_latest_values(shared: &str, books: bool) {
    let Some(server) = redis() else { return };
    let (here, there, port) = (tempdir().unwrap(), tempdir().unwrap(), free_port());
    let config = environment(here.path(), port, "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap() + shared;
    std::fs::write(&config, &text).unwrap();
    let other = text_of(&there.path().join("environment.yaml"));
    let cache = format!("  cache: {{ redis: {{ url: \"redis://127.0.0.1:{}\" }} }}\n", server.port);
    std::fs::write(&other, text + &cache).unwrap();
    let projecting = other_machine(&other, &text_of(there.path()));
    let data = text_of(here.path());
    let up = Running::start(ssmd(&["up", "--sim", "-c", &config, "--data", &data]).env("SSMD_LOG", "error"));
    let kinds = if books { &["ticker", "trade", "book"][..] } else { &["ticker", "trade"] };
    for kind in kinds {
        assert_eq!(latest(&server, kind)["symbol"], "BTC/USD");
    }
    let before = latest(&server, "trade");
    assert_eq!(ask(&server, &["FLUSHALL"]), "OK");
    for kind in kinds {
        assert_eq!(latest(&server, kind)["symbol"], "BTC/USD");
    }
    until("a newer trade", || (latest(&server, "trade")["source"] != before["source"]).then_some(()));
    for running in [projecting, up] {
        running.signal("TERM");
        let (ended, said) = running.end();
        assert!(ended.success(), "{said}");
    }
}

#[test]
fn another_machine_keeps_the_latest_values_of_a_shared_journal() {
    let Some(nats) = crate::nats_server::Server::start("") else { return };
    let journal = format!("  journal: {{ nats: {{ url: \"{}\" }} }}\n", nats.url());
    another_machine_keeps_the_latest_values(&journal, true);
}

#[test]
fn another_machine_keeps_the_latest_values_that_a_recorder_tells() {
    let Some(nats) = crate::nats_server::Server::start("") else { return };
    let told = format!("  transport: {{ nats: {{ url: \"{}\", format: capnp }} }}\n", nats.url());
    another_machine_keeps_the_latest_values(&told, false);
}

#[test]
fn a_cache_that_no_document_names_is_refused() {
    let folder = tempdir().unwrap();
    let config = environment(folder.path(), free_port(), "BTC/USD", 10);
    let (ended, said) = other_machine(&config, &text_of(folder.path())).end();
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(said.contains("into its document"), "{said}");
}

#[test]
fn a_redis_that_is_away_stops_no_recording() {
    let (folder, port) = (tempdir().unwrap(), free_port());
    let config = environment(folder.path(), port, "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "  cache: { redis: { url: \"redis://127.0.0.1:1\" } }\n").unwrap();
    let data = text_of(folder.path());
    let arguments = ["up", "--sim", "--for", "2s", "-c", &config, "--data", &data, "--json"];
    let (ended, said) = Running::start(&mut ssmd(&arguments)).end();
    assert!(ended.success(), "{said}");
    assert_eq!(said.matches("the cache keeps nothing until it is back").count(), 1, "{said}");
}
