//! What somebody meets on the first day: typing errors, documents that nobody chose, examples without accounts.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::tempdir;

use crate::environments::Place;
use crate::rig::{Running, free_port, json, output, run, ssmd, store_of, text_of, until};

#[test]
fn verifying_a_feed_that_is_not_there_proves_nothing() {
    let folder = tempdir().unwrap();
    let (data, store) = (text_of(folder.path()), store_of(folder.path()));
    output(0, &["up", "--sim", "--for", "2s", "--data", &data]);
    let whole = json(&["verify", "--store", &store, "--feed", "kraken", "--json"]);
    assert!(whole["objects"].as_u64() > Some(0) && whole["errors"] == 0, "{whole}");

    damage(&folder.path().join("store/raw"));
    let right = json_of(3, &["verify", "--data", &data, "--feed", "kraken", "--json"]);
    assert!(right["errors"].as_u64() > Some(0), "{right}");
    let said = failed(1, &["verify", "--store", &store, "--feed", "krakn"]);
    assert!(said.contains("the archive holds: kraken"), "{said}");
}

/// Changes one byte in the middle of some object.
fn damage(folder: &Path) {
    let mut path = folder.to_owned();
    while path.is_dir() {
        path = std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
    }
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Runs it, expects this exit code, and gives standard error.
fn failed(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "ssmd {arguments:?}\n{said}");
    said
}

fn json_of(code: i32, arguments: &[&str]) -> Value {
    serde_json::from_str(&output(code, arguments)).unwrap()
}

#[test]
fn holes_that_decoding_finds_are_in_the_status() {
    let folder = tempdir().unwrap();
    let (data, faults) = (text_of(folder.path()), folder.path().join("faults.yaml"));
    std::fs::write(&faults, "faults:\n  - { fault: drop, every: 5, channel: trade }\n").unwrap();
    let up = ["up", "--sim", "--sim-rate", "2000", "--faults", &text_of(&faults), "--data", &data];
    let mut up = Running::start(ssmd(&[&up[..], &["--json"]].concat()).env("SSMD_LOG", "warn"));
    let summary = up.stdout();
    until("a gap in the status", || {
        let said = run(&["status", "--data", &data, "--json"]);
        let status: Value = serde_json::from_slice(&said.stdout).ok()?;
        (status["feeds"][0]["gaps"].as_u64() > Some(2)).then_some(())
    });
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
    let status: Value = serde_json::from_reader(summary).unwrap();
    let known = json(&["gaps", "--data", &data, "--json"]);
    let gaps = status["feeds"][0]["gaps"].as_u64().unwrap();
    assert_eq!(gaps, known.as_array().unwrap().len() as u64, "{status}\n{known}");
    assert_eq!(status["feeds"][0]["gaps_today"], gaps, "{status}");
}

const DOCUMENT: &str = "apiVersion: ssmd/v1\nkind: Environment\nmetadata: { name: mine }\nspec:\n  feeds:\n    kraken: \
                        { symbols: [BTC/USD] }\n";

#[test]
fn a_document_that_nobody_chose_is_not_passed_over() {
    let place = Place::new();
    place.write("env.yaml", DOCUMENT);
    let up = ["up", "--sim", "--for", "1s"];
    let refused = place.run(&up);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("env use mine") && said.contains("-c env.yaml"), "{said}");
    assert!(!place.path("ssmd-data").exists(), "nothing is recorded");
    assert!(place.run(&[&up[..], &["-c", "env.yaml"]].concat()).status.success());
    assert!(place.run(&["env", "use", "mine"]).status.success());
    assert!(place.run(&up).status.success());
}

#[test]
fn readers_find_what_the_environment_of_their_folder_recorded() {
    let place = Place::new();
    place.write("env.yaml", &format!("{DOCUMENT}  store: file:./elsewhere\n"));
    assert!(place.run(&["env", "use", "mine"]).status.success());
    assert!(place.run(&["up", "--sim", "--for", "2s"]).status.success());
    for reader in ["ls", "verify"] {
        let read = place.run(&[reader]);
        assert!(read.status.success(), "{reader}: {}", String::from_utf8_lossy(&read.stderr));
        assert!(String::from_utf8_lossy(&read.stdout).contains("1 object") || reader == "ls");
    }
    let other = place.run(&["ls", "--store", "file:./nowhere"]);
    assert_eq!(other.status.code(), Some(69));
}

#[test]
fn stopping_before_anything_was_heard_leaves_nothing_undecoded() {
    let folder = tempdir().unwrap();
    let data = text_of(folder.path());
    output(0, &["up", "--sim", "--for", "1s", "--data", &data]);
    for _ in 0..2 {
        let again = run(&["up", "--sim", "--for", "0s", "--data", &data]);
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(again.status.success() && !said.contains("not everything was decoded"), "{said}");
    }
}

/// Examples that need a server beside the venue.
const WITH_SERVERS: [&str; 4] = ["mqtt.yaml", "nats.yaml", "nats-s3.yaml", "s3.yaml"];

#[test]
fn every_example_records_a_simulated_exchange_without_an_account() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/environments");
    let files = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| !WITH_SERVERS.iter().any(|name| path.ends_with(name))).collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let folder = tempdir().unwrap();
        let data = text_of(folder.path());
        let mut command = ssmd(&["up", "--sim", "-c", &text_of(&file), "--data", &data]);
        command.env("SSMD_LOG", "warn").env_remove("KALSHI_API_KEY");
        let up = Running::start(&mut command);
        until(&format!("frames of every feed of {}", file.display()), || {
            let said = run(&["status", "--data", &data, "--json"]);
            let status: Value = serde_json::from_slice(&said.stdout).ok()?;
            let feeds = status["feeds"].as_array()?;
            let heard = |feed: &Value| feed["records"].as_u64() > Some(0);
            (!feeds.is_empty() && feeds.iter().all(heard)).then_some(())
        });
        up.signal("TERM");
        let (ended, said) = up.end();
        assert!(ended.success(), "{}: {said}", file.display());
    }
}

#[test]
fn a_market_is_simulated_by_its_slug_alone() {
    let place = Place::new();
    let slug = DOCUMENT.replace(
        "kraken: { symbols: [BTC/USD] }",
        "polymarket: { symbols: [bitcoin-above-100k-on-december-31] }",
    );
    assert_ne!(slug, DOCUMENT);
    place.write("slug.yaml", &slug);
    let up = place.run(&["up", "--sim", "-c", "slug.yaml", "--for", "3s", "--json"]);
    let said = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(up.status.success(), "{said}");
    let status: Value = serde_json::from_slice(&up.stdout).unwrap();
    assert_eq!(status["feeds"][0]["subscriptions_missing"], 0, "{status}");
}

#[test]
fn a_simulated_run_says_that_edits_are_not_applied() {
    let place = Place::new();
    place.write("env.yaml", DOCUMENT);
    let up = Running::start(place.command(&["up", "--sim", "-c", "env.yaml"]).env("SSMD_LOG", "error"));
    let look = |code: i32, text: &str| {
        let looked = place.run(&["env", "status"]);
        let out = String::from_utf8_lossy(&looked.stdout).into_owned();
        (looked.status.code() == Some(code) && out.contains(text)).then_some(out)
    };
    let same = until("it runs as declared", || look(0, "✓ up:"));
    assert!(same.contains("env.yaml") && !same.contains("built-in"), "{same}");
    place.write("env.yaml", &DOCUMENT.replace("BTC/USD", "DOGE/USD"));
    let differs = until("it differs", || look(1, "under --sim edits are not applied"));
    assert!(differs.contains("✗ up:") && differs.contains("DOGE/USD"), "{differs}");
    place.write("env.yaml", "nonsense: [");
    until("it is wrong", || look(1, "✗ up:"));
    place.write("env.yaml", DOCUMENT);
    until("it is the same again", || look(0, "✓ up:"));
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.success(), "{said}");
}

#[test]
fn a_taken_port_is_busy_and_a_refused_one_is_not() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    failed(75, &["sim", "--listen", &taken.local_addr().unwrap().to_string()]);
    failed(1, &["sim", "--listen", &format!("0.0.0.0:{}", free_port())]);
    failed(2, &["sim", "--rate", "0"]);
}

#[test]
fn an_empty_variable_is_none() {
    let place = Place::new();
    place.write("mine.yaml", DOCUMENT);
    let check = place.command(&["check", "mine.yaml"]).env("SSMD_ENV", "").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let status = place.command(&["status"]).env("SSMD_DATA", "").output().unwrap();
    assert_eq!(status.status.code(), Some(69), "{}", String::from_utf8_lossy(&status.stderr));
    let used = place.command(&["env", "use"]).env("SSMD_ENV", "mine.yaml").output().unwrap();
    assert!(String::from_utf8_lossy(&used.stdout).contains("using environment mine"));
}

#[test]
fn files_without_a_frame_are_not_imported() {
    let folder = tempdir().unwrap();
    let (empty, store) = (folder.path().join("empty.jsonl"), store_of(folder.path()));
    std::fs::write(&empty, "").unwrap();
    let said = failed(1, &["import", "--store", &store, "--feed", "kraken", &text_of(&empty)]);
    assert!(said.contains("no frame"), "{said}");
    let days = json_of(0, &["ls", "--store", &store, "--json"]);
    assert_eq!(days, Value::Array(Vec::new()), "nothing was added");
}
