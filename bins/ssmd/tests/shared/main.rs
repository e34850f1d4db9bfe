//! Programs that share a journal through a real nats-server: what breaks is the server, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod damage;
mod hosts;
#[path = "../../../../ssmd-transport/tests/support/nats.rs"]
#[allow(dead_code, reason = "each test program uses its part of it")]
mod nats_server;
mod one_edit;
mod outages;
#[allow(dead_code, reason = "each test program uses its part of it")]
#[path = "../spine/redis.rs"]
mod redis;
#[path = "../spine/rig.rs"]
#[allow(dead_code, reason = "each test program uses its part of it")]
mod rig;
#[path = "../../../../ssmd-transport/tests/support/server.rs"]
mod server;
#[path = "../../../../ssmd-storage/tests/servers/mod.rs"]
mod servers;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nats_server::Server;
use rig::{Running, ended, environment, free_port, json, run, ssmd, store_of, text_of, until};
use serde_json::Value;
use ssmd_core::{EnvironmentName, FeedName, Journal, Origin, SystemClock};
use ssmd_transport::nats::{self, JournalSpec, StreamSpec};
use tempfile::tempdir;

/// An environment that records a simulated venue and shares its journal.
fn shared(folder: &Path, port: u16, server: &Server) -> String {
    let path = environment(folder, port, "BTC/USD", 10);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(&format!("  journal: {{ nats: {{ url: \"{}\" }} }}\n", server.url()));
    std::fs::write(&path, text).unwrap();
    path
}

fn binary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ssmd")).with_file_name(name)
}

/// A command with the keys of the buckets here.
fn keyed(mut command: Command) -> Command {
    for name in ["AWS_ACCESS_KEY_ID", "S3_ACCESS_KEY_ID"] {
        command.env(name, servers::ACCESS_KEY_ID);
    }
    for name in ["AWS_SECRET_ACCESS_KEY", "S3_SECRET_ACCESS_KEY"] {
        command.env(name, servers::SECRET_ACCESS_KEY);
    }
    command
}

/// Runs it with those keys, expects success and one JSON value.
fn keyed_json(arguments: &[&str]) -> Value {
    let output = ended(&mut keyed(ssmd(arguments)));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {said}"))
}

#[expect(clippy::disallowed_methods, reason = "programs are broken for lengths of the real time")]
fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// What the only feed of the process of this role says, once it is so.
fn until_feed(data: &str, role: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let status = run(&["status", "--data", data, "--json"]);
        let first = serde_json::Deserializer::from_slice(&status.stdout).into_iter::<Value>().next()?.ok()?;
        let all = if first.is_array() { first.as_array()?.clone() } else { vec![first] };
        let feed = all.iter().find(|process| process["role"] == role)?["feeds"][0].clone();
        so(&feed).then_some(feed)
    })
}

fn number(feed: &Value, field: &str) -> u64 {
    feed[field].as_u64().unwrap_or(0)
}

/// What happens to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Frozen,
}

/// Breaks the server until the log is well ahead of it, and waits until the copy has caught up.
fn break_the_server(server: &mut Server, fault: Fault, data: &str, role: &str) {
    until_feed(data, role, "a copy", |feed| {
        number(feed, "durable") > 500 && number(feed, "relay_behind") < 100
    });
    match fault {
        Fault::Killed => server.kill(),
        Fault::Frozen => server.signal("STOP"),
    }
    until_feed(data, role, "a log ahead of the copy", |feed| number(feed, "relay_behind") > 1500);
    match fault {
        Fault::Killed => server.restart(),
        Fault::Frozen => server.signal("CONT"),
    }
    until_feed(data, role, "the copy", |feed| number(feed, "relay_behind") < 300);
}

/// What is archived is whole, and nothing is missing in it.
fn prove(store: &str) -> u64 {
    let report = json(&["verify", "--store", store, "--json"]);
    for field in ["errors", "books_failed", "gaps", "holes"] {
        assert_eq!(report[field], 0, "{field} of {report}");
    }
    let gaps = json(&["gaps", "--store", store, "--json"]);
    assert_eq!(gaps, Value::Array(Vec::new()));
    number(&report, "entries")
}

/// The names of all objects under a store's `raw`.
fn objects(folder: &Path) -> BTreeSet<String> {
    names(&folder.join("store/raw"))
}

/// Copies a folder with all that is in it.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        match item.file_type().unwrap().is_dir() {
            true => copy_folder(&item.path(), &to),
            false => drop(std::fs::copy(item.path(), to).unwrap()),
        }
    }
}

/// The names of all files in a folder and those below it.
fn names(folder: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(folder).unwrap() {
            let item = item.unwrap();
            if item.file_type().unwrap().is_dir() {
                folders.push(item.path());
            } else {
                found.insert(item.file_name().into_string().unwrap());
            }
        }
    }
    found
}

#[test]
fn a_server_that_dies_loses_nothing_and_the_copy_gives_the_same_archive() {
    let Some(mut server) = Server::start("") else { return };
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let (data, port) = (text_of(here.path()), free_port());
    let config = shared(here.path(), port, &server);
    let listen = format!("127.0.0.1:{port}");
    let _venue =
        Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD", "--rate", "500"]));
    let up = Running::start(ssmd(&["up", "-c", &config, "--data", &data]).env("SSMD_LOG", "error"));
    let rounds: u64 = std::env::var("SSMD_KILLS").map_or(2, |text| text.parse().unwrap());
    for round in 0..rounds {
        let fault = if round.is_multiple_of(2) { Fault::Killed } else { Fault::Frozen };
        break_the_server(&mut server, fault, &data, "up");
    }
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
    let entries = prove(&store_of(here.path()));
    assert!(entries > 2000, "{entries}");

    // A machine with the same environment and no log: the same names and commits come of the copy.
    let elsewhere = text_of(there.path());
    let archived = Command::new(binary("ssmd-archiver"))
        .args(["-c", &config, "--data", &elsewhere, "--listen", "127.0.0.1:0", "--once"])
        .output()
        .unwrap();
    assert!(archived.status.success(), "{}", String::from_utf8_lossy(&archived.stderr));
    assert_eq!(prove(&store_of(there.path())), entries);
    assert_eq!(objects(there.path()), objects(here.path()));
    println!(
        "R04-R06-lost-or-twice 0 (target 0): {entries} entries, nats-server killed or frozen {rounds} times"
    );
}

#[test]
fn what_the_server_removed_before_it_was_archived_is_healed_from_the_log() {
    let Some(mut server) = Server::start("") else { return };
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let (data, elsewhere, port) = (text_of(here.path()), text_of(there.path()), free_port());
    let config = shared(here.path(), port, &server);
    let listen = format!("127.0.0.1:{port}");
    let _venue =
        Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD", "--rate", "500"]));
    let start = |name: &str, data: &str, more: &[&str]| {
        let mut command = Command::new(binary(name));
        command.args(["-c", &config, "--data", data, "--listen", "127.0.0.1:0"]).args(more);
        Running::start(command.env("SSMD_LOG", "error"))
    };
    let connector = start("ssmd-connector", &data, &[]);
    break_the_server(&mut server, Fault::Killed, &data, "connector");
    let origin = ssmd_transport::log::inspect(&here.path().join("log/kraken")).unwrap().origin;
    forget(&server, origin, 1000);
    let (ended, said) = start("ssmd-archiver", &elsewhere, &["--once"]).end();
    assert!(ended.success(), "{said}");
    let report = json(&["verify", "--store", &store_of(there.path()), "--json"]);
    assert_eq!(
        (&report["errors"], &report["lost"], &report["holes"]),
        (&0.into(), &0.into(), &0.into()),
        "{report}"
    );
    assert!(number(&report, "entries") > 2000, "{report}");
    connector.signal("TERM");
    let (ended, said) = connector.end();
    assert!(ended.success(), "{said}");
}

/// Lets the server forget everything below this number.
fn forget(server: &Server, origin: Origin, below: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(remove(server, origin, below));
}

async fn remove(server: &Server, origin: Origin, below: u64) {
    let connection =
        nats::connect(&nats::Options::new(server.url()), Arc::new(SystemClock::new())).await.unwrap();
    let environment = EnvironmentName::new("test").unwrap();
    let (feed, stream) = (FeedName::new("kraken").unwrap(), StreamSpec::of(&environment));
    let journal = connection.journal(&JournalSpec { environment, feed, stream }).await.unwrap();
    journal.trim(&[(origin, below)].into()).await.unwrap();
    let (first, _) = journal.bounds().await.unwrap().origins[&origin];
    assert_eq!(first, below);
}

#[test]
fn connector_and_archiver_in_two_folders_lose_nothing_while_the_server_dies() {
    let Some(mut server) = Server::start("") else { return };
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let (data, elsewhere, port) = (text_of(here.path()), text_of(there.path()), free_port());
    let config = shared(here.path(), port, &server);
    let listen = format!("127.0.0.1:{port}");
    let _venue =
        Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD", "--rate", "500"]));
    let start = |name: &str, data: &str| {
        let mut command = Command::new(binary(name));
        command.args(["-c", &config, "--data", data, "--listen", "127.0.0.1:0"]).env("SSMD_LOG", "error");
        Running::start(&mut command)
    };
    let connector = start("ssmd-connector", &data);
    until_feed(&data, "connector", "a copy", |feed| number(feed, "durable") > 100);
    let archiver = start("ssmd-archiver", &elsewhere);
    break_the_server(&mut server, Fault::Killed, &data, "connector");
    connector.signal("TERM");
    let (ended, said) = connector.end();
    assert!(ended.success(), "{said}");
    archiver.signal("TERM");
    let (ended, said) = archiver.end();
    assert!(ended.success(), "{said}");

    let log = ssmd_transport::log::inspect(&here.path().join("log/kraken")).unwrap();
    assert_eq!(prove(&store_of(there.path())), log.durable);

    // The next connector hears from the bucket what is archived, and its log may forget that.
    let connector = start("ssmd-connector", &data);
    let is_told = || ssmd_transport::log::inspect(&here.path().join("log/kraken")).ok();
    until("the watermark", || is_told().filter(|now| now.covered >= log.durable));
    connector.signal("TERM");
    let (ended, said) = connector.end();
    assert!(ended.success(), "{said}");
}

#[test]
fn one_archiver_elsewhere_makes_the_archive_of_every_feed() {
    let Some(server) = Server::start("") else { return };
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let config = shared(here.path(), free_port(), &server);
    let feeds =
        "feeds:\n    kraken-futures:\n      symbols: [PF_XBTUSD]\n      channels: [ticker, trade, book]\n";
    let text = std::fs::read_to_string(&config).unwrap().replacen("feeds:\n", feeds, 1);
    std::fs::write(&config, text).unwrap();
    let (data, elsewhere) = (text_of(here.path()), text_of(there.path()));
    let status = json(&["up", "--sim", "--for", "4s", "-c", &config, "--data", &data, "--json"]);
    let durable: u64 = status["feeds"].as_array().unwrap().iter().map(|feed| number(feed, "durable")).sum();
    let archived = Command::new(binary("ssmd-archiver"))
        .args(["-c", &config, "--data", &elsewhere, "--listen", "127.0.0.1:0", "--once"])
        .output()
        .unwrap();
    assert!(archived.status.success(), "{}", String::from_utf8_lossy(&archived.stderr));
    let report = json(&["verify", "--store", &store_of(there.path()), "--json"]);
    assert_eq!(
        (&report["errors"], &report["holes"], number(&report, "entries")),
        (&0.into(), &0.into(), durable)
    );
    assert_eq!(objects(there.path()), objects(here.path()));
    let listed = json(&["ls", "--store", &store_of(there.path()), "--json"]);
    let listed: BTreeSet<_> = listed.as_array().unwrap().iter().map(|day| day["feed"].as_str()).collect();
    assert_eq!(listed, BTreeSet::from([Some("kraken"), Some("kraken-futures")]));
}
