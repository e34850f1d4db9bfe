//! The market through a real MQTT broker, as somebody sees it who has nothing but `mosquitto_sub`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::rig::{PATIENCE, Running, environment, free_port, run, ssmd, text_of, until};
use crate::server::Server;

/// A mosquitto that keeps nothing on disk; `None` where there is none.
pub(crate) fn mosquitto(folder: &TempDir) -> Option<Server> {
    let path = folder.path().join("mosquitto.conf");
    Server::start("mosquitto", "running", |port| {
        let lines = format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n");
        std::fs::write(&path, lines).unwrap();
        let mut command = Command::new("mosquitto");
        command.arg("-v").arg("-c").arg(&path);
        command
    })
}

/// Somebody who listens to a topic.
struct Listener {
    child: Child,
    lines: Receiver<String>,
}

impl Listener {
    fn start(broker: &Server, topic: &str) -> Self {
        Self::shown(broker, topic, "%t %r %p")
    }

    fn shown(broker: &Server, topic: &str, form: &str) -> Self {
        let port = broker.port.to_string();
        let arguments = ["-p", &port, "-V", "5", "-F", form, "-t", topic];
        let mut child = Command::new("mosquitto_sub").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines }
    }

    /// The next message: its topic, whether it was retained, and what it says.
    fn next(&self) -> (String, bool, Value) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        let mut parts = line.splitn(3, ' ');
        let mut part = || parts.next().unwrap().to_owned();
        let (topic, retained, payload) = (part(), part(), part());
        (topic, retained == "1", serde_json::from_str(&payload).unwrap())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn somebody_with_only_mosquitto_sub_sees_the_market_and_its_latest_values() {
    let folder = tempdir().unwrap();
    let Some(broker) = mosquitto(&folder) else { return };
    let config = environment(folder.path(), free_port(), "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    std::fs::write(&config, text + &format!("  transport: {{ mqtt: {{ url: \"{url}\", qos: 1 }} }}\n"))
        .unwrap();
    let listener = Listener::start(&broker, "test/kraken/json/#");
    let data = text_of(folder.path());
    let up = Running::start(&mut ssmd(&["up", "--sim", "-c", &config, "--data", &data, "--json"]));
    let mut kinds = std::collections::BTreeSet::new();
    until("every kind of record", || {
        let (topic, _, record) = listener.next();
        let kind = record["type"].as_str().unwrap();
        let symbol = if record["symbol"].is_null() { "_" } else { "BTC~2FUSD" };
        assert_eq!(topic, format!("test/kraken/json/{kind}/{symbol}"), "{record}");
        kinds.insert(kind.to_owned());
        ["ticker", "trade", "book_snapshot", "book_delta"]
            .iter()
            .all(|kind| kinds.contains(*kind))
            .then_some(())
    });
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
    // Nothing is told any more; who comes now hears the last of each, and no changes of books.
    for kind in ["ticker", "trade", "book_snapshot"] {
        let topic = format!("test/kraken/json/{kind}/+");
        let (_, retained, record) = Listener::start(&broker, &topic).next();
        assert!(retained, "{record}");
        assert_eq!((record["type"].as_str(), record["symbol"].as_str()), (Some(kind), Some("BTC/USD")));
    }
    let late = Listener::start(&broker, "test/kraken/json/+/BTC~2FUSD");
    let heard: Vec<_> = (0..3).map(|_| late.next().0).collect();
    assert!(!heard.iter().any(|topic| topic.contains("book_delta")), "{heard:?}");
}

#[test]
fn records_go_as_capnp_where_the_document_says_so() {
    let folder = tempdir().unwrap();
    let Some(broker) = mosquitto(&folder) else { return };
    let config = environment(folder.path(), free_port(), "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    std::fs::write(
        &config,
        text + &format!("  transport: {{ mqtt: {{ url: \"{url}\", format: capnp }} }}\n"),
    )
    .unwrap();
    let listener = Listener::shown(&broker, "test/kraken/capnp/trade/BTC~2FUSD", "%x");
    let data = text_of(folder.path());
    let up = Running::start(&mut ssmd(&["up", "--sim", "-c", &config, "--data", &data, "--json"]));
    let line = listener.lines.recv_timeout(PATIENCE).unwrap();
    let digits: Vec<_> = line.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
    let bytes: Vec<_> = digits.iter().map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
    let record = ssmd_core::codec::capnp::decode(&bytes).unwrap();
    assert_eq!(record.header.symbol.unwrap().as_str(), "BTC/USD");
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
}

#[test]
fn a_broker_that_is_away_stops_no_recording() {
    let folder = tempdir().unwrap();
    let config = environment(folder.path(), free_port(), "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "  transport: { mqtt: { url: \"mqtt://127.0.0.1:1\" } }\n").unwrap();
    let data = text_of(folder.path());
    let arguments = ["up", "--sim", "--for", "2s", "-c", &config, "--data", &data, "--json"];
    let (ended, said) = Running::start(&mut ssmd(&arguments)).end();
    assert!(ended.success(), "{said}");
    assert_eq!(said.matches("records are not told to the broker until it is back").count(), 1, "{said}");
}

#[test]
fn check_online_makes_a_round_trip_with_the_servers() {
    let folder = tempdir().unwrap();
    let Some(broker) = mosquitto(&folder) else { return };
    let Some(redis) = crate::redis::redis() else { return };
    let config = environment(folder.path(), free_port(), "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    let check = |mqtt: u16, redis: u16| {
        let servers = format!(
            "  transport: {{ mqtt: {{ url: \"mqtt://127.0.0.1:{mqtt}\" }} }}\n  cache: {{ redis: {{ url: \"redis://127.0.0.1:{redis}\" }} }}\n"
        );
        std::fs::write(&config, format!("{text}{servers}")).unwrap();
        // The venue is not there, so the check as a whole fails.
        let checked = run(&["check", &config, "--online"]);
        assert!(!checked.status.success());
        String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap()
    };
    let said = check(broker.port, redis.port);
    assert!(said.contains("an MQTT 5 broker answers in "), "{said}");
    assert!(said.contains("a value is compared and set, read and removed"), "{said}");
    assert_eq!(said.matches("error[E0302]").count(), 1, "the venue alone: {said}");
    let said = check(1, 1);
    assert_eq!(said.matches("error[E0302]").count(), 3, "{said}");
}
