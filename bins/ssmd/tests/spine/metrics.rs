//! What daemons show at `/metrics` is true while they run.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{Clock, ManualClock, SystemClock, Timestamp, metrics};
use ssmd_transport::log::{Log, Options};
use tempfile::tempdir;

use crate::rig::{Running, environment, free_port, ssmd, text_of, until};

/// Every sample of a page, by its name and labels.
pub(crate) type Samples = BTreeMap<String, f64>;

/// The page of a daemon, once it serves one.
pub(crate) fn scrape(port: u16) -> Option<Samples> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let samples = page.lines().filter(|line| line.starts_with("ssmd_")).filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Some(samples.collect())
}

/// The sum over all labels, `None` where there is no sample.
fn total(samples: &Samples, name: &str) -> Option<f64> {
    let of_name = |sample: &str| sample.split('{').next() == Some(name);
    let found: Vec<_> =
        samples.iter().filter(|(sample, _)| of_name(sample)).map(|(_, value)| *value).collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

/// How many calls of a kind of backend went well; those that took time were timed.
pub(crate) fn ok(page: &Samples, backend: &str, operation: &str) -> f64 {
    let labels = format!("backend=\"{backend}\",operation=\"{operation}\"");
    let sample = |name: String| page.get(&name).copied().unwrap_or(0.0);
    let counted = sample(format!("{}{{{labels},result=\"ok\"}}", metrics::BACKEND_CALLS.name));
    let timed = sample(format!("{}_count{{{labels}}}", metrics::BACKEND_SECONDS.name));
    counted.min(timed)
}

/// Scrapes until more calls than so many of each of these went well.
pub(crate) fn until_ok(port: u16, calls: &[(&str, &str, f64)]) -> Samples {
    until(&format!("more calls than {calls:?}"), || {
        let page = scrape(port)?;
        calls.iter().all(|(backend, operation, than)| ok(&page, backend, operation) > *than).then_some(page)
    })
}

/// Scrapes until all of these have moved.
fn until_moved(port: u16, names: &[&str]) -> Samples {
    let mut still = Vec::new();
    let mut page = Samples::new();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        until("metrics that move", || {
            page = scrape(port)?;
            still = names.iter().filter(|name| total(&page, name).unwrap_or(0.0) <= 0.0).copied().collect();
            still.is_empty().then_some(())
        });
    }));
    assert!(found.is_ok(), "{still:?} did not move in {page:#?}");
    page
}

/// A log whose first entry is two minutes old, so that what comes next ends the archive's first segment.
fn old_log(folder: &Path) {
    let past = SystemClock::new().now().nanos() - 120_000_000_000;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_nanos(past)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let feed = "kraken".parse().unwrap();
        let log = Log::open(&folder.join("log/kraken"), &feed, Options::default(), clock).await.unwrap();
        log.close().await.unwrap();
    });
}

#[test]
fn every_metric_that_should_move_does() {
    let folder = tempdir().unwrap();
    old_log(folder.path());
    let (venue, first, second) = (free_port(), free_port(), free_port());
    let (config, data) = (environment(folder.path(), venue, "BTC/USD", 10), text_of(folder.path()));
    let at = |port: u16| format!("127.0.0.1:{port}");
    let sim = || {
        Running::start(&mut ssmd(&["sim", "--listen", &at(venue), "--symbols", "BTC/USD", "--rate", "500"]))
    };
    let daemon = |name: &str, port: u16| {
        let binary = Path::new(env!("CARGO_BIN_EXE_ssmd")).with_file_name(name);
        let mut command = Command::new(binary);
        Running::start(
            command.args(["-c", &config, "--data", &data, "--listen", &at(port)]).env("SSMD_LOG", "error"),
        )
    };
    let connector = daemon("ssmd-connector", first);
    // Connects are refused until the venue is there.
    let refused = until_moved(first, &[metrics::ERRORS.name, metrics::SUBSCRIPTIONS_MISSING.name]);
    assert_eq!(total(&refused, metrics::SUBSCRIPTIONS_MISSING.name), Some(3.0), "{refused:#?}");
    let running = sim();
    until_moved(first, &[metrics::RECORDS.name]);
    // The venue goes away and comes back: a reconnect and a gap.
    drop(running);
    let running = sim();
    let moved = [
        metrics::RECEIVED.name,
        metrics::RECEIVED_BYTES.name,
        metrics::SENT.name,
        metrics::JOURNALED.name,
        metrics::RECONNECTS.name,
        metrics::CONNECTS.name,
        "ssmd_connector_connect_seconds_count",
        metrics::SESSIONS.name,
        metrics::RECEIVE_LAG.name,
        metrics::LAG.name,
        "ssmd_connector_durable_seconds_count",
        metrics::GAPS.name,
        metrics::RECORDS.name,
        metrics::BOOKS_VERIFIED.name,
        metrics::LOG_BYTES.name,
        metrics::LOG_UNCOVERED.name,
    ];
    let page = until_moved(first, &moved);
    assert_eq!(total(&page, metrics::SESSIONS.name), Some(1.0));
    for still in [&metrics::OVERFLOW, &metrics::BOOKS_FAILED] {
        assert_eq!(total(&page, still.name), Some(0.0), "{} of {page:#?}", still.name);
    }
    until("every topic is confirmed", || {
        (total(&scrape(first)?, metrics::SUBSCRIPTIONS_MISSING.name)? == 0.0).then_some(())
    });

    let archiver = daemon("ssmd-archiver", second);
    let archived = [
        metrics::ARCHIVED_ENTRIES.name,
        metrics::ARCHIVED_BYTES.name,
        metrics::ARCHIVED_FILES.name,
        metrics::COMMITS.name,
        metrics::ARCHIVER_LAG.name,
    ];
    until_moved(second, &archived);
    for daemon in [connector, archiver] {
        daemon.signal("TERM");
        let (ended, said) = daemon.end();
        assert!(ended.success(), "{said}");
    }
    drop(running);
}

/// A recorder whose document says this, and the backends that are lost later: what it calls is counted, and so is what fails.
fn backends_are_counted<T>(more: &str, calls: &[(&str, &str)], servers: T) {
    let (folder, port) = (tempdir().unwrap(), free_port());
    let config = environment(folder.path(), free_port(), "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + more).unwrap();
    let (data, listen) = (text_of(folder.path()), format!("127.0.0.1:{port}"));
    let mut command = ssmd(&["up", "--sim", "-c", &config, "--data", &data, "--listen", &listen]);
    let _up = Running::start(command.env("SSMD_LOG", "error"));
    let calls: Vec<_> = calls.iter().map(|(backend, operation)| (*backend, *operation, 0.0)).collect();
    until_ok(port, &calls);
    drop(servers);
    until("calls that failed", || {
        let page = scrape(port)?;
        let failed = |backend: &str| {
            let call = format!("{}{{backend=\"{backend}\",", metrics::BACKEND_CALLS.name);
            page.iter().any(|(name, count)| {
                name.starts_with(&call) && !name.ends_with("result=\"ok\"}") && *count > 0.0
            })
        };
        (failed("transport") && failed("cache")).then_some(())
    });
}

#[test]
fn calls_of_mqtt_and_redis_are_counted_as_those_of_every_backend() {
    let folder = tempdir().unwrap();
    let (Some(mqtt), Some(redis)) = (crate::broker::mosquitto(&folder), crate::redis::redis()) else {
        return;
    };
    let more = format!(
        "  transport: {{ mqtt: {{ url: \"mqtt://127.0.0.1:{}\" }} }}\n  \
         cache: {{ redis: {{ url: \"redis://127.0.0.1:{}\" }} }}\n",
        mqtt.port, redis.port
    );
    backends_are_counted(&more, &[("transport", "publish"), ("cache", "put")], (mqtt, redis));
}

#[test]
fn calls_of_nats_are_counted_as_those_of_every_backend() {
    let Some(server) = crate::nats_server::Server::start("") else { return };
    let nats = format!("{{ nats: {{ url: \"{}\" }} }}", server.url());
    let more = format!("  journal: {nats}\n  transport: {nats}\n  cache: {nats}\n");
    let calls = [("journal", "append"), ("transport", "publish"), ("cache", "put")];
    backends_are_counted(&more, &calls, server);
}
