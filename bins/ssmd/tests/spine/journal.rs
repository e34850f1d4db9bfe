//! What a journal holds, as `ssmd journal` shows it: of a log, and of the stream that it is copied to.

use serde_json::Value;
use tempfile::tempdir;

use crate::nats_server::Server;
use crate::rig::{environment, free_port, json, output, run, text_of};

#[test]
fn a_log_and_its_copy_are_listed_alike_and_their_entries_are_readable() {
    let Some(server) = Server::start("") else { return };
    let folder = tempdir().unwrap();
    let data = text_of(folder.path());
    let config = environment(folder.path(), free_port(), "BTC/USD", 10);
    let text = std::fs::read_to_string(&config).unwrap();
    let journal = format!("  journal: {{ nats: {{ url: \"{}\" }} }}\n", server.url());
    std::fs::write(&config, text + &journal).unwrap();

    // Looking makes no stream.
    let refused = run(&["journal", "ls", "-c", &config, "--data", &data]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the first recorder of the environment makes it"), "{said}");

    output(0, &["up", "--sim", "--for", "2s", "-c", &config, "--data", &data]);
    let here = json(&["journal", "ls", "--data", &data, "--local", "-c", &config, "--json"]);
    let there = json(&["journal", "ls", "-c", &config, "--json"]);
    let (log, copy) = (&here[0], &there[0]);
    assert_eq!(copy["journal"], "stream ssmd-test");
    for field in
        ["feed", "origin", "first", "last", "entries", "payload_bytes", "earliest", "latest", "holes"]
    {
        assert_eq!(log[field], copy[field], "{field}: {log} {copy}");
    }
    assert_ne!(log["incarnation"], copy["incarnation"]);
    assert_eq!((&log["first"], &log["holes"]), (&1.into(), &Value::Array(Vec::new())));
    assert_eq!(log["entries"], log["last"]);
    assert!(output(0, &["journal", "ls", "--data", &data, "--local"]).contains("0 holes"));

    let inspected = |more: &[&str]| -> Vec<Value> {
        let lines =
            output(0, &[&["journal", "inspect", "-c", &config, "--data", &data, "--json"], more].concat());
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let first = inspected(&["--from", "1", "--limit", "20"]);
    let numbers: Vec<_> = first.iter().map(|entry| entry["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert_eq!(first[0]["kind"], "epoch");
    assert_eq!(inspected(&["--local", "--from", "1", "--limit", "20"]), first);
    assert!(
        first
            .iter()
            .any(|entry| entry["kind"] == "sent" && entry["payload"].as_str().unwrap().contains("BTC/USD"))
    );
    let newest = inspected(&["--limit", "3", "--bytes", "8"]);
    assert_eq!(newest[2]["n"], log["last"]);
    assert!(newest.iter().all(|entry| entry["payload"].as_str().unwrap().len() <= 8), "{newest:?}");
    assert!(newest.iter().any(|entry| entry["cut"] == true), "{newest:?}");

    let origin = log["origin"].as_str().unwrap();
    let plain = output(0, &["journal", "inspect", "--data", &data, "--local", "--origin", &origin[..8]]);
    assert!(plain.contains(&format!("{}/", origin.replace('-', ""))), "{plain}");
    let wrong = run(&["journal", "inspect", "--data", &data, "--local", "--origin", "zz"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("`ssmd journal ls` lists what there is"));

    drop(server);
    let away = run(&["journal", "ls", "-c", &config]);
    assert_eq!(away.status.code(), Some(69), "{}", String::from_utf8_lossy(&away.stderr));
    let nothing = run(&["journal", "ls", "--data", "/nonexistent", "--local"]);
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("--data DIR"));
}
