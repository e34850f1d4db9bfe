//! The main job, as a user does it: real programs, real sockets, real files, real frames.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod books;
mod broker;
mod cache;
mod cli;
mod connects;
mod deploy;
mod dialers;
mod environment;
mod environments;
mod failing;
mod first_day;
mod forms;
mod journal;
mod metrics;
mod nats;
#[path = "../../../../ssmd-transport/tests/support/nats.rs"]
#[allow(dead_code, reason = "it is shared")]
mod nats_server;
#[allow(dead_code, reason = "other tests use the rest")]
mod redis;
mod reload;
mod restart;
#[allow(dead_code, reason = "other tests use the rest")]
mod rig;
mod s3;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../../../ssmd-transport/tests/support/server.rs"]
mod server;
mod shares;
mod simplicity;
mod tls;
mod twins;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use rig::{
    Running, day_of, environment, environment_of, free_port, json, output, run, shared_data, ssmd, store_of,
    text_of, until,
};
use serde_json::Value;
use tempfile::tempdir;

#[test]
fn up_records_a_simulated_exchange_and_verify_proves_it() {
    let folder = tempdir().unwrap();
    let data = text_of(folder.path());
    let status = json(&["up", "--sim", "--for", "3s", "--data", &data, "--json"]);
    assert!(status["feeds"][0]["frames"].as_u64().unwrap() > 500, "{status}");
    assert_eq!(status["feeds"][0]["archived"], status["feeds"][0]["durable"], "{status}");

    let store = store_of(folder.path());
    let report = json(&["verify", "--store", &store, "--json"]);
    assert!(report["books_verified"].as_u64().unwrap() > 100, "{report}");
    for (field, expected) in
        [("books_failed", 0), ("errors", 0), ("gaps", 0), ("sessions", 1), ("unknown", 0)]
    {
        assert_eq!(report[field], expected, "{field} of {report}");
    }

    // A second run goes on where the first one ended, and says what it did not hear.
    output(0, &["up", "--sim", "--for", "2s", "--data", &data]);
    let again = json(&["verify", "--store", &store, "--json"]);
    for (field, expected) in [("books_failed", 0), ("errors", 0), ("gaps", 1), ("sessions", 2), ("holes", 0)]
    {
        assert_eq!(again[field], expected, "{field} of {again}");
    }
    let gaps = json(&["gaps", "--store", &store, "--feed", "kraken", "--day", &day_of(&store), "--json"]);
    assert_eq!(gaps[0]["cause"], "planned", "{gaps}");
    assert!(gaps[0]["from"]["at"].as_i64().unwrap() < gaps[0]["to"]["at"].as_i64().unwrap(), "{gaps}");
}

/// Real recordings: name, symbol, depth, and how many checksums there are to verify.
const RECORDINGS: [(&str, &str, u32, u64); 4] = [
    ("book-btcusd-depth10-crossbook-l2.jsonl.gz", "BTC/USD", 10, 301),
    ("book-btcusd-depth25-crossbook-sample.jsonl.gz", "BTC/USD", 25, 2052),
    ("book-xrpusd-depth25-crossbook-sample.jsonl.gz", "XRP/USD", 25, 1147),
    ("status+acks+errors+ticker+trade+ohlc-bytex-2026-09.jsonl", "BTC/USD", 10, 0),
];

#[test]
fn recorded_frames_come_back_byte_for_byte_with_every_checksum_verified() {
    let Some(shared) = shared_data() else { return };
    for (name, symbol, depth, books) in RECORDINGS {
        let folder = tempdir().unwrap();
        record(folder.path(), &shared.join("kraken/play").join(name), symbol, depth);
        let report = json(&["verify", "--store", &store_of(folder.path()), "--json"]);
        assert_eq!((&report["errors"], &report["books_failed"]), (&0.into(), &0.into()), "{name}: {report}");
        assert_eq!(report["books_verified"], books, "{name}: {report}");
    }
}

#[test]
fn recorded_futures_come_back_byte_for_byte_with_every_number_followed() {
    let Some(shared) = shared_data() else { return };
    let play = shared.join("kraken-futures/play/book+trade+ticker_lite-2021-cryptofeed.jsonl.gz");
    let (folder, port) = (tempdir().unwrap(), free_port());
    let (feed, symbol, more) = ("kraken-futures", "PI_ETHUSD", "channels: [ticker_lite, trade, book]");
    let config = environment_of(folder.path(), port, feed, symbol, more);
    let (_, got) = record_feed(folder.path(), &play, feed, symbol, (port, &config));
    assert!(got[&1].len() > 5_000);
    let report = json(&["verify", "--store", &store_of(folder.path()), "--json"]);
    for (field, expected) in
        [("books_verified", 4_942), ("books_failed", 0), ("errors", 0), ("unknown", 0), ("malformed", 0)]
    {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
}

#[test]
fn recorded_trades_of_kalshi_come_back_byte_for_byte() {
    let Some(shared) = shared_data() else { return };
    let play = shared.join("kalshi/play/trade-ssmd-2026-02.jsonl");
    let (folder, port) = (tempdir().unwrap(), free_port());
    let (feed, symbol, more) =
        ("kalshi", "KXSOLD-26FEB1217-T79.9999", "channels: [ticker, trade, orderbook_delta]");
    let config = environment_of(folder.path(), port, feed, symbol, more);
    let (_, got) = record_feed(folder.path(), &play, feed, symbol, (port, &config));
    assert!(got[&1].len() >= 7, "{got:?}");
    let report = json(&["verify", "--store", &store_of(folder.path()), "--json"]);
    for (field, expected) in [("errors", 0), ("unknown", 0), ("malformed", 0)] {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
}

#[test]
fn recorded_tokens_come_back_byte_for_byte_with_every_hash_right() {
    let Some(shared) = shared_data() else { return };
    let play = shared.join("polymarket/play/session-2026-09-07-opentape.jsonl");
    let (folder, port) = (tempdir().unwrap(), free_port());
    let token = "114602688616062054693464639818826590702731982636255124778328943187816056373369";
    let (feed, more) = ("polymarket", "channels: [market]");
    let config = environment_of(folder.path(), port, feed, token, more);
    let (_, got) = record_feed(folder.path(), &play, feed, token, (port, &config));
    // Behind the recording itself come answers to pings.
    assert!(got[&1].len() >= 65);
    let report = json(&["verify", "--store", &store_of(folder.path()), "--json"]);
    for (field, expected) in
        [("books_verified", 118), ("books_failed", 0), ("errors", 0), ("unknown", 0), ("malformed", 0)]
    {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
}

#[test]
fn what_is_no_message_of_the_venue_is_kept_all_the_same() {
    let folder = tempdir().unwrap();
    let strange = [
        "",
        " ",
        "not json",
        "{\"channel\":\"book\",\"type\":\"update\",\"data\":[{\"symbol\":",
        "{\"channel\":\"future\",\"data\":[]}",
        "[[[[]]]]\n",
        "\r\n\t{\"channel\":\"trade\"} ",
        "{\"a\":1,\"a\":2,\"n\":1E400}",
        "ü\u{202e}\u{0}😀 \\u0000",
        "{\"channel\":\"heartbeat\"}",
    ];
    let lines = strange.map(|raw| serde_json::json!({ "t": null, "raw": raw }).to_string()).join("\n");
    let play = folder.path().join("strange.jsonl");
    std::fs::write(&play, lines).unwrap();
    let (_, got) = record(folder.path(), &play, "BTC/USD", 10);
    let heard: Vec<_> = got[&1].iter().filter(|raw| strange.contains(&raw.as_str())).collect();
    assert_eq!(heard, strange.iter().collect::<Vec<_>>());
    let report = json(&["verify", "--store", &store_of(folder.path()), "--json"]);
    assert_eq!(report["errors"], 0, "{report}");
    assert!(report["malformed"].as_u64().unwrap() > 0 && report["unknown"].as_u64().unwrap() > 0, "{report}");
}

/// Raw frames by connection.
type Raws = BTreeMap<u64, Vec<String>>;

/// Plays a file of Kraken spot.
fn record(folder: &Path, play: &Path, symbol: &str, depth: u32) -> (Raws, Raws) {
    let port = free_port();
    let config = environment(folder, port, symbol, depth);
    record_feed(folder, play, "kraken", symbol, (port, &config))
}

/// Plays a file to a recorder and holds what was received against what was sent.
fn record_feed(
    folder: &Path,
    play: &Path,
    feed: &str,
    symbol: &str,
    (port, config): (u16, &str),
) -> (Raws, Raws) {
    let (data, sent) = (text_of(folder), text_of(&folder.join("sent.jsonl")));
    // The recorder comes first, so its first connects are refused.
    let mut up = Running::start(
        ssmd(&["up", "-c", config, "--data", &data, "--until-idle", "2s", "--json"]).env("SSMD_LOG", "warn"),
    );
    let summary = up.stdout();
    let listen = format!("127.0.0.1:{port}");
    let sim = ["sim", "--feed", feed, "--play", &text_of(play), "--speed", "max", "--listen", &listen];
    output(0, &[&sim[..], &["--log", &sent, "--exit-when-done"]].concat());
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
    let status: Value = serde_json::from_reader(summary).unwrap();
    assert_eq!(status["feeds"][0]["archived"], status["feeds"][0]["durable"], "{status}");

    let store = store_of(folder);
    let day = day_of(&store);
    let cat = ["cat", "--store", &store, "--feed", feed, "--day", &day, "--format", "play"];
    let (sent, got) = (raws(&std::fs::read_to_string(sent).unwrap()), raws(&output(0, &cat)));
    assert!(!sent.is_empty());
    assert_eq!(sent, got);
    let with_ours = raws(&output(0, &[&cat[..], &["--sent"]].concat()));
    assert!(
        with_ours[&1].iter().any(|raw| raw.contains(symbol) && !got[&1].contains(raw)),
        "we asked for it"
    );
    assert!(with_ours[&1].len() > got[&1].len());
    (sent, got)
}

fn raws(lines: &str) -> Raws {
    let mut raws = Raws::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        raws.entry(line["c"].as_u64().unwrap()).or_default().push(line["raw"].as_str().unwrap().to_owned());
    }
    raws
}

#[test]
fn decoding_the_archive_equals_decoding_live() {
    let folder = tempdir().unwrap();
    let data = text_of(folder.path());
    let up = Running::start(ssmd(&["up", "--sim", "--data", &data]).env("SSMD_LOG", "warn"));
    let mut tail = until("a recorder to tail", || {
        let mut tail = Running::start(&mut ssmd(&["tail", "--data", &data]));
        let mut lines = BufReader::new(tail.stdout()).lines();
        // The first record shows that the tail is connected; before that the socket may not be there yet.
        lines.next().map(|first| (tail, vec![first.unwrap()], lines))
    });
    tail.1.extend(tail.2.by_ref().take(2000).map(Result::unwrap));
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
    tail.1.extend(tail.2.by_ref().map(Result::unwrap));
    let live = tail.1;
    assert!(live.iter().all(|line| !line.starts_with("{\"lost\"")), "the tail was too slow");

    let store = store_of(folder.path());
    let replay = [
        "replay",
        "--store",
        &store,
        "--feed",
        "kraken",
        "--day",
        &day_of(&store),
        "--speed",
        "max",
        "--format",
        "json",
    ];
    let archived = output(0, &replay);
    let archived: Vec<_> = archived.lines().collect();
    let from = archived.iter().position(|line| *line == live[0]).expect("the first live record is archived");
    let same = &archived[from..][..live.len().min(archived.len() - from)];
    assert_eq!(same, live.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn connector_and_archiver_do_the_same_in_two_processes() {
    let folder = tempdir().unwrap();
    let data = text_of(folder.path());
    let port = free_port();
    let config = environment(folder.path(), port, "BTC/USD", 10);
    let listen = format!("127.0.0.1:{port}");
    let sim =
        Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD", "--rate", "1000"]));
    let binary = |name: &str| Path::new(env!("CARGO_BIN_EXE_ssmd")).with_file_name(name);
    let common = ["-c", &config, "--data", &data, "--listen", "127.0.0.1:0"];
    let archiver = Running::start(std::process::Command::new(binary("ssmd-archiver")).args(common));
    let connector =
        std::process::Command::new(binary("ssmd-connector")).args(common).args(["--for", "3s"]).output();
    let connector = connector.unwrap();
    assert!(connector.status.success(), "{}", String::from_utf8_lossy(&connector.stderr));
    archiver.signal("TERM");
    let (ended, said) = archiver.end();
    assert!(ended.success(), "{said}");
    drop(sim);
    let report = json(&["verify", "--store", &store_of(folder.path()), "--json"]);
    assert!(report["books_verified"].as_u64().unwrap() > 500, "{report}");
    assert_eq!((&report["errors"], &report["books_failed"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn a_second_signal_ends_at_once_and_the_next_start_archives_the_rest() {
    let folder = tempdir().unwrap();
    let (data, port) = (text_of(folder.path()), free_port());
    let config = environment(folder.path(), port, "BTC/USD", 10);
    let listen = format!("127.0.0.1:{port}");
    let sim = Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD"]));
    let up = Running::start(ssmd(&["up", "-c", &config, "--data", &data]).env("SSMD_LOG", "warn"));
    let status = || {
        let said = run(&["status", "--data", &data, "--json"]);
        said.status.success().then(|| serde_json::from_slice::<Value>(&said.stdout).unwrap())
    };
    until("frames", || status().filter(|now| now["feeds"][0]["durable"].as_u64() > Some(100)));
    // A venue that hangs does not close, so the first signal alone would wait for it.
    sim.signal("STOP");
    up.signal("INT");
    until("the draining", || status().filter(|now| now["stopping"] == true));
    up.signal("INT");
    let (ended, said) = up.end();
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(said.contains("the next start archives it"), "{said}");
    drop(sim);
    output(0, &["up", "-c", &config, "--data", &data, "--for", "1s"]);
    let report = json(&["verify", "--store", &store_of(folder.path()), "--json"]);
    assert!(report["entries"].as_u64() > Some(100), "{report}");
    assert_eq!((&report["errors"], &report["books_failed"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn a_damaged_archive_does_not_stop_the_recording() {
    let folder = tempdir().unwrap();
    let (data, store) = (text_of(folder.path()), store_of(folder.path()));
    output(0, &["up", "--sim", "--for", "1s", "--data", &data]);
    let origin =
        std::fs::read_dir(folder.path().join("store/commits")).unwrap().next().unwrap().unwrap().path();
    let commit = std::fs::read_dir(origin).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&commit).unwrap();
    std::fs::write(&commit, &whole[1..]).unwrap();

    // It fails, but only at its end, and says so.
    let up = run(&["up", "--sim", "--for", "2s", "--data", &data]);
    let said = String::from_utf8(up.stderr).unwrap();
    assert_eq!(up.status.code(), Some(1), "{said}");
    assert!(said.contains("recording goes on"), "{said}");

    // What it recorded is in the log, and is archived once the commit is back.
    std::fs::write(&commit, whole).unwrap();
    output(0, &["up", "--sim", "--for", "1s", "--data", &data]);
    let report = json(&["verify", "--store", &store, "--json"]);
    for (field, expected) in [("errors", 0), ("sessions", 3), ("holes", 0), ("lost", 0), ("books_failed", 0)]
    {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
}

#[test]
fn a_second_recorder_in_the_same_folder_is_refused() {
    let folder = tempdir().unwrap();
    let data = text_of(folder.path());
    let up = Running::start(ssmd(&["up", "--sim", "--data", &data]).env("SSMD_LOG", "warn"));
    until("a recorder that answers", || run(&["status", "--data", &data]).status.success().then_some(()));
    let second = run(&["up", "--sim", "--for", "1s", "--data", &data]);
    assert_eq!(second.status.code(), Some(75), "{}", String::from_utf8_lossy(&second.stderr));
    up.signal("INT");
    assert!(up.end().0.success());
}

#[test]
fn play_files_are_imported_as_they_are() {
    let Some(shared) = shared_data() else { return };
    let folder = tempdir().unwrap();
    let store = store_of(folder.path());
    let play = shared.join("kraken/play").join(RECORDINGS[0].0);
    json(&["import", "--store", &store, "--feed", "kraken", "--json", &text_of(&play)]);
    let report = json(&["verify", "--store", &store, "--json"]);
    assert_eq!(
        (&report["errors"], &report["books_verified"]),
        (&0.into(), &RECORDINGS[0].3.into()),
        "{report}"
    );
    let day = day_of(&store);
    let found = output(
        0,
        &["grep", "-F", "heartbeat", "--count", "--store", &store, "--feed", "kraken", "--day", &day],
    );
    assert_eq!(found.trim(), "60");
}
