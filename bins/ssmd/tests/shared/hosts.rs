//! Archivers on two hosts, and a bucket that creates twice: Garage. The head in NATS KV keeps them apart.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ssmd_core::{Cache, Expect, SystemClock};
use ssmd_transport::nats::{self, CacheSpec, StreamSpec};
use tempfile::tempdir;

use super::rig::{Running, ended, environment, free_port, ssmd, text_of, until};
use super::{Server, binary, keyed, keyed_json, number, pause, servers, until_feed};

/// An environment that records a simulated venue, shares its journal, and archives into a bucket.
fn document(folder: &Path, port: u16, store: &str, server: &Server) -> String {
    let config = environment(folder, port, "BTC/USD", 10);
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str(&format!("  store: \"{store}\"\n  journal: {{ nats: {{ url: \"{}\" }} }}\n", server.url()));
    std::fs::write(&config, text).unwrap();
    config
}

#[test]
fn archivers_on_two_hosts_that_die_and_freeze_make_one_chain_although_the_head_is_lost() {
    let Some(garage) = servers::garage() else { return };
    let Some(server) = Server::start("") else { return };
    let (here, one, two) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (data, port) = (text_of(here.path()), free_port());
    let store = garage.store(&garage.bucket(), garage.address);
    let config = document(here.path(), port, &store, &server);
    let listen = format!("127.0.0.1:{port}");
    let _venue =
        Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD", "--rate", "200"]));
    let daemon = |name: &str, data: &Path, more: &[&str]| {
        let mut command = keyed(Command::new(binary(name)));
        command.args(["-c", &config, "--data", &text_of(data), "--listen", "127.0.0.1:0"]).args(more);
        command.env("SSMD_LOG", "warn");
        command
    };
    let connector = Running::start(&mut daemon("ssmd-connector", here.path(), &[]));
    until_feed(&data, "connector", "a copy", |feed| number(feed, "durable") > 100);
    let origin = ssmd_transport::log::inspect(&here.path().join("log/kraken")).unwrap().origin;
    let head = Heads::new(&server, format!("test.kraken.head.{origin}"));

    let rounds = std::env::var("SSMD_KILLS").map_or(6, |text| text.parse::<u64>().unwrap());
    let mut first = None;
    let random = |below: u64| rand::random_range(0..below);
    for round in 0..rounds {
        let start = |data: &Path| Running::start(&mut daemon("ssmd-archiver", data, &["--once"]));
        let (dies, freezes) = (start(one.path()), start(two.path()));
        pause(random(2500));
        freezes.signal("STOP");
        first = head.lose(round, &server, first);
        pause(random(300));
        // Dropping kills it.
        drop(dies);
        freezes.signal("CONT");
        if round % 2 == 0 {
            pause(random(300));
            drop(freezes);
        } else {
            let (ended, said) = freezes.end();
            assert!(ended.success(), "round {round}: {said}");
        }
    }
    connector.signal("TERM");
    let (stopped, said) = connector.end();
    assert!(stopped.success(), "{said}");
    let durable = ssmd_transport::log::inspect(&here.path().join("log/kraken")).unwrap().durable;
    let last = ended(&mut daemon("ssmd-archiver", two.path(), &["--once"]));
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    let report = keyed_json(&["verify", "--store", &store, "--json"]);
    for field in ["errors", "books_failed", "gaps", "holes", "lost"] {
        assert_eq!(report[field], 0, "{field} of {report}");
    }
    assert_eq!(number(&report, "entries"), durable, "{report}");
    println!(
        "R11-hosts 0 (target 0): {durable} entries in {} commits, {rounds} rounds of two archivers, each killed or frozen, the head lost in each",
        report["commits"]
    );

    let online = ended(&mut keyed(ssmd(&["check", &config, "--online"])));
    let said = String::from_utf8_lossy(&online.stdout).into_owned();
    let line =
        "archivers are kept apart by the head of each chain in NATS KV (bucket ssmd-test), across hosts";
    assert!(said.contains(line), "{said}");
}

/// The bucket, for who breaks it.
struct Heads {
    runtime: tokio::runtime::Runtime,
    connection: nats::Connection,
    key: String,
}

impl Heads {
    fn new(server: &Server, key: String) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let options = nats::Options::new(server.url());
        let connect = async { nats::connect(&options, Arc::new(SystemClock::new())).await.unwrap() };
        let connection = runtime.block_on(connect);
        Self { runtime, connection, key }
    }

    async fn bucket(&self) -> nats::NatsCache {
        let StreamSpec { replicas, storage, .. } = StreamSpec::of(&"test".parse().unwrap());
        let spec = CacheSpec { bucket: "ssmd-test".to_owned(), replicas, storage };
        self.connection.cache(&spec).await.unwrap()
    }

    /// Removes the head, or the whole bucket, or puts back what an earlier call gave.
    fn lose(&self, round: u64, server: &Server, earlier: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match round % 3 {
            0 => self.remove(),
            1 => server_forgets(server, "KV_ssmd-test"),
            _ => return self.put_back(earlier),
        }
        earlier
    }

    fn remove(&self) {
        self.runtime.block_on(async { self.bucket().await.delete(&self.key).await.unwrap() });
    }

    /// Puts an earlier head in place of the one that is there, or keeps that for the next time.
    fn put_back(&self, earlier: Option<Vec<u8>>) -> Option<Vec<u8>> {
        self.runtime.block_on(async {
            let bucket = self.bucket().await;
            let Some(value) = &earlier else {
                return bucket.get(&self.key).await.unwrap().map(|head| head.value.to_vec());
            };
            bucket.put(&self.key, value.clone().into(), Expect::Any, None).await.unwrap();
            earlier
        })
    }
}

/// Removes a stream with all that is in it.
fn server_forgets(server: &Server, stream: &str) {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    write!(socket, "CONNECT {{}}\r\nSUB told 1\r\nPUB $JS.API.STREAM.DELETE.{stream} told 0\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(socket).lines();
    until("the stream is removed", || lines.next()?.unwrap().contains("\"success\"").then_some(()));
}
