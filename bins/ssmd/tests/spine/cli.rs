//! What commands print, to the letter: files in `tests/golden`, rewritten with `UPDATE_EXPECT=1`; and the fields of
//! what they print as JSON, held against `docs/cli.md`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::rig::{Running, free_port, json, output, run, ssmd, store_of, text_of, until};

/// Every command that has a help text of its own.
const COMMANDS: [&str; 44] = [
    "up",
    "init",
    "check",
    "explain",
    "env",
    "env validate",
    "env list",
    "env use",
    "env create",
    "env show",
    "env diff",
    "env promote",
    "env schema",
    "env apply",
    "env status",
    "env history",
    "feed",
    "feed list",
    "feed show",
    "feed add",
    "feed remove",
    "feed enable",
    "feed disable",
    "symbol",
    "symbol list",
    "symbol map",
    "symbol add",
    "symbol remove",
    "symbol validate",
    "sim",
    "tail",
    "status",
    "journal",
    "journal ls",
    "journal inspect",
    "ls",
    "cat",
    "grep",
    "gaps",
    "books",
    "verify",
    "replay",
    "import",
    "completions",
];

#[test]
fn helps_are_as_they_were_read_and_approved() {
    let mut text = transcript(&["--help"], &[]);
    for command in COMMANDS {
        let arguments: Vec<_> = command.split(' ').chain(["--help"]).collect();
        text += &transcript(&arguments, &[]);
    }
    golden("help.txt", &text);
}

#[test]
fn checks_say_what_is_declared_or_everything_that_is_wrong() {
    let mut text = String::new();
    for name in ["good", "misspelled", "no-yaml", "empty"] {
        let file = text_of(&folder().join(format!("{name}.yaml")));
        text += &transcript(&["check", &file], &[]);
        text += &transcript(&["check", &file, "--json"], &[]);
    }
    text += &transcript(&["feed", "list"], &[]);
    text += &transcript(&["feed", "show", "kraken-futures"], &[]);
    text += &transcript(&["feed", "show", "krakn"], &[]);
    golden("check.txt", &text);
}

/// An archive of two days, of which the second goes on in the middle of a session.
fn imported() -> (TempDir, String) {
    let data = tempdir().unwrap();
    let store = store_of(data.path());
    let play = text_of(&folder().join("tiny.play.jsonl"));
    let said = json(&["import", "--store", &store, "--feed", "kraken", "--json", &play]);
    let origin = said["origin"].as_str().unwrap().replace('-', "");
    (data, origin)
}

#[test]
fn an_archive_is_listed_proved_and_read() {
    let (data, origin) = imported();
    let (root, store) = (text_of(data.path()), store_of(data.path()));
    let hide = [(root.as_str(), "DIR"), (origin.as_str(), "ORIGIN"), (&origin[..8], "ORIGIN")];
    let second = ["--day", "2026-08-02"];
    let seconds = ["--from", "2026-08-01T23:59:59.3Z", "--to", "2026-08-02T00:00:01.05Z"];
    let mut text = String::new();
    for (command, rest) in [
        ("ls", &[][..]),
        ("ls", &["--json"]),
        ("ls", &["--feed", "kraken", "--day", "2026-08-01"]),
        ("verify", &[]),
        ("verify", &["--json"]),
        ("gaps", &[]),
        ("gaps", &["--day", "2026-08-01"]),
        ("gaps", &["--from", "2026-08-02", "--to", "2026-08-03", "--json"]),
        ("books", &[]),
        ("books", &["--day", "2026-08-01"]),
        ("books", &["--day", "2026-08-02", "--symbol", "BTC/USD", "--json"]),
        ("cat", &second),
        ("cat", &[&second[..], &["--format", "play"]].concat()),
        ("cat", &seconds),
        ("grep", &["trade_id"]),
        ("grep", &["-F", "[", "--count", "--day", "2026-08-02"]),
        ("grep", &["no such text"]),
        ("replay", &second),
        ("replay", &[&seconds[..], &["--type", "trade,gap"]].concat()),
        ("replay", &[&second[..], &["--format", "none"]].concat()),
    ] {
        text += &transcript(&[&[command, "--store", &store], rest].concat(), &hide);
    }
    golden("archive.txt", &text);
}

#[test]
fn what_cannot_be_done_is_said_with_a_way_out() {
    let (data, _) = imported();
    let (root, store) = (text_of(data.path()), store_of(data.path()));
    let empty = data.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (hide, empty) = ([(root.as_str(), "DIR")], format!("file:{}", empty.display()));
    let mut text = String::new();
    for arguments in [
        &["ls", "--store", &empty][..],
        &["verify", "--store", &empty],
        &["cat", "--store", &empty],
        &["ls", "--store", &format!("file:{root}")],
        &["ls", "--store", &format!("file:{root}/nothing")],
        &["ls", "--store", &root],
        &["ls", "--store", "http://localhost/archive"],
        &["cat", "--store", &store, "--day", "2020-01-01"],
        &["cat", "--store", &store, "--from", "2020-01-01", "--to", "2020-01-02"],
        &["cat", "--store", &store, "--from", "2026-08-02", "--to", "2026-08-01"],
        &["cat", "--store", &store, "--day", "yesterday"],
        &["cat", "--store", &store, "--from", "noon"],
        &["cat", "--store", &store, "--feed", "krakn"],
        &["grep", "--store", &store, "("],
        &["replay", "--store", &store, "--type", "trades"],
        &["status", "--data", &root],
        &["tail", "--data", &root],
        &["up", "--for", "soon"],
        &["up", "-c", &format!("{root}/none.yaml")],
        &["up", "-c", &root],
        &["check", &root],
        &["sim", "--feed", "polymarkt"],
        &["import", "--store", &store, "--feed", "kraken", &format!("{root}/none.jsonl")],
    ] {
        text += &transcript(arguments, &hide);
    }
    golden("errors.txt", &text);
}

#[test]
fn a_damaged_archive_is_found_out() {
    let (data, origin) = imported();
    let (root, store) = (text_of(data.path()), store_of(data.path()));
    let listed = json(&["ls", "--store", &store, "--feed", "kraken", "--day", "2026-08-02", "--json"]);
    let path = data.path().join("store").join(listed[0]["path"].as_str().unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let hide = [(root.as_str(), "DIR"), (origin.as_str(), "ORIGIN"), (&origin[..8], "ORIGIN")];
    let mut text = transcript(&["verify", "--store", &store], &hide);
    text += &transcript(&["gaps", "--store", &store], &hide);
    text += &transcript(&["cat", "--store", &store, "--day", "2026-08-02"], &hide);
    text += &transcript(&["cat", "--store", &store, "--skip-damaged"], &hide);
    for command in [&["replay", "--format", "none"][..], &["grep", "channel", "--count"]] {
        text += &transcript(&[command, &["--store", &store, "--skip-damaged"]].concat(), &hide);
    }
    golden("damage.txt", &text);
}

#[test]
fn a_log_with_damaged_commits_is_passed_over_if_told_so() {
    let (data, origin) = imported();
    let (root, store) = (text_of(data.path()), store_of(data.path()));
    // A second log of another feed, which stays sound.
    let play = text_of(&folder().join("tiny.play.jsonl"));
    output(0, &["import", "--store", &store, "--feed", "kraken-futures", &play]);
    let commit = data.path().join("store/commits").join(&origin).join("000000000001.json");
    std::fs::write(&commit, "{}").unwrap();
    let hide = [(root.as_str(), "DIR"), (origin.as_str(), "ORIGIN")];
    let mut text = transcript(&["cat", "--store", &store], &hide);
    text += &transcript(&["cat", "--store", &store, "--skip-damaged"], &hide);
    golden("damaged-commits.txt", &text);
}

#[test]
fn every_json_field_is_documented_and_every_documented_one_is_there() {
    let (data, _) = imported();
    let store = store_of(data.path());
    let play = text_of(&folder().join("tiny.play.jsonl"));
    let fresh = tempdir().unwrap();
    let recorded = text_of(&fresh.path().join("recorded"));
    let bad = text_of(&folder().join("misspelled.yaml"));
    let good = text_of(&folder().join("good.yaml"));
    let of = |arguments: &[&str]| vec![json(arguments)];
    let listen = format!("127.0.0.1:{}", free_port());
    let _sim = Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD"]));
    until("a simulator", || std::net::TcpStream::connect(&listen).ok());
    let rest = format!("http://{listen}");
    let checked =
        [json(&["check", &good, "--json"]), lines(&output(78, &["check", &bad, "--json"])).remove(0)];
    let day = ["--feed", "kraken", "--day", "2026-08-01", "--json"];
    for (section, values) in [
        ("A status", of(&["up", "--sim", "--for", "1s", "--data", &recorded, "--json"])),
        ("A version", of(&["env", "history", "--data", &recorded, "--json"])),
        ("A checked document", checked.to_vec()),
        ("An explanation", of(&["explain", "E0203", "--json"])),
        ("A feed", of(&["feed", "list", "--json"])),
        ("A journal", of(&["journal", "ls", "--data", &recorded, "--json"])),
        ("An entry", lines(&output(0, &["journal", "inspect", "--data", &recorded, "--json"]))),
        ("A day", of(&["ls", "--store", &store, "--json"])),
        ("A segment", of(&[&["ls", "--store", &store], &day[..]].concat())),
        ("A gap", of(&["gaps", "--store", &store, "--json"])),
        ("A book", of(&["books", "--store", &store, "--json"])),
        ("A listed instrument", of(&["feed", "show", "kraken", "--universe", "--rest", &rest, "--json"])),
        ("A verification", of(&["verify", "--store", &store, "--json"])),
        ("A count of what was decoded", of(&["replay", "--store", &store, "--format", "none"])),
        (
            "An import",
            of(&["import", "--store", &store_of(fresh.path()), "--feed", "kraken", "--json", &play]),
        ),
        ("A play file", lines(&output(0, &["cat", "--store", &store, "--format", "play"]))),
    ] {
        documented(section, &Value::Array(values));
    }
}

/// Holds the fields of what was printed against those that a section of `docs/cli.md` names.
pub(crate) fn documented(section: &str, value: &Value) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let Ok(docs) = std::fs::read_to_string(docs) else { return println!("no docs beside this crate") };
    let mut printed = BTreeSet::new();
    fields("", value, &mut printed);
    let (needed, optional) = named(&docs, section);
    let unknown: Vec<_> = printed.difference(&needed).filter(|field| !optional.contains(*field)).collect();
    let absent: Vec<_> = needed.difference(&printed).collect();
    assert!(unknown.is_empty(), "{section}: not in docs/cli.md: {unknown:?}");
    assert!(absent.is_empty(), "{section}: in docs/cli.md, but not printed: {absent:?}");
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The paths of all fields, as `feeds[].frames`; an array at the top is its elements.
pub(crate) fn fields(at: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                let inner = value.is_object() || value[0].is_object();
                if !inner {
                    found.insert(path.clone());
                }
                fields(&path, value, found);
            }
        }
        Value::Array(values) => {
            let path = if at.is_empty() { String::new() } else { format!("{at}[]") };
            values.iter().for_each(|value| fields(&path, value, found));
        }
        _ => {}
    }
}

/// The fields that a section's table names in its first column: those that are always there, and the others, which
/// a row calls optional.
pub(crate) fn named(docs: &str, section: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let heading = format!("### {section}\n");
    let from = docs.find(&heading).unwrap_or_else(|| panic!("docs/cli.md has no section {section}"));
    let text = &docs[from + heading.len()..];
    let text = &text[..text.find("\n#").unwrap_or(text.len())];
    let (mut needed, mut optional) = (BTreeSet::new(), BTreeSet::new());
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let (names, meaning) = row[2..].split_once(" | ").unwrap();
        let found = if meaning.starts_with("optional") { &mut optional } else { &mut needed };
        found.extend(names.split(", ").map(|name| name.trim_matches('`').to_owned()));
    }
    (needed, optional)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What was typed, what came out on which stream, and the exit code; without what differs from run to run.
fn transcript(arguments: &[&str], hide: &[(&str, &str)]) -> String {
    let output = run(arguments);
    let shown: Vec<_> = arguments.iter().map(|word| quoted(word)).collect();
    let mut text = format!("$ ssmd {}\n", shown.join(" "));
    text += &String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    text.extend(said.lines().map(|line| if line.is_empty() { "!\n".into() } else { format!("! {line}\n") }));
    text += &format!("= {}\n\n", output.status.code().unwrap());
    for (name, by) in hide {
        text = text.replace(name, by);
    }
    text = text.replace(&format!("{}/", folder().display()), "");
    for (pattern, by) in [
        ("-[0-9a-f]{16}\\.jsonl", "-HASH.jsonl"),
        ("\"sha256\":\"[0-9a-f]{64}\"", "\"sha256\":\"HASH\""),
        ("\"bytes\":[0-9]+", "\"bytes\":BYTES"),
        (" +[0-9.]+ k?B\\b", " BYTES"),
        ("\\([0-9.]+ k?B\\)", "(BYTES)"),
        ("(?m)^! 20[^ ]*Z", "! TIME"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, by).into_owned();
    }
    text
}

pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

pub(crate) fn golden(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(text.lines()).position(|(was, is)| was != is);
    let at = differs.unwrap_or_else(|| expected.lines().count().min(text.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
    assert!(
        expected == text,
        "{name} line {}:\n  was {}\n  is  {}\nif that is right: UPDATE_EXPECT=1 cargo test --workspace --test spine cli",
        at + 1,
        line(&expected),
        line(text)
    );
}
