//! The same, as a user types it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn ssmd(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssmd"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env_remove("SSMD_DATA");
    command.output().unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = ssmd(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn up_plays_a_script_and_gaps_shows_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let script = "faults:\n  - { fault: drop, every: 40 }\n  - { fault: close, at: 1s }\n";
    std::fs::write(folder.path().join("faults.yaml"), script).unwrap();
    let up = ["up", "--sim", "--for", "4s", "--data", "data", "--json"];
    json(folder.path(), &[&up[..], &["--faults", "faults.yaml", "--ledger", "ledger.jsonl"]].concat());
    let text = std::fs::read_to_string(folder.path().join("ledger.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown = rows.iter().filter(|row| row["evidence"] != "none");
    let gap = |row: &Value| format!("{} {} {} {}", row["channel"], row["symbol"], row["from"], row["to"]);
    let expected: BTreeSet<_> = shown.map(gap).collect();
    assert!(rows.iter().any(|row| row["evidence"] == "disconnect"), "{text}");
    let store = ["--store", "file:data/store", "--json"];
    let days = json(folder.path(), &[&["ls"], &store[..]].concat());
    let day = days[0]["day"].as_str().unwrap();
    let gaps = json(folder.path(), &[&["gaps", "--feed", "kraken", "--day", day], &store[..]].concat());
    assert_eq!(gaps.as_array().unwrap().len(), expected.len(), "{text}\n{gaps}");
}

#[test]
fn a_script_that_makes_no_sense_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("faults.yaml"), "faults:\n  - fault: dorp\n    every: 2\n").unwrap();
    let output = ssmd(folder.path(), &["sim", "--faults", "faults.yaml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("dorp") && said.contains("line"), "{said}");
}
