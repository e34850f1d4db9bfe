//! `docs/environment.md` says what the tables say. `UPDATE_EXPECT=1` rewrites its generated parts.

use std::fmt::Write as _;
use std::path::Path;

use ssmd_core::environment::{CODES, Environment, FIELDS, LATER};

use crate::golden::check;

#[test]
fn the_docs_say_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/environment.md");
    if !path.exists() {
        // The packaged crate has no docs beside it.
        return;
    }
    let page = std::fs::read_to_string(&path).unwrap();
    let page = with(&page, "fields", &fields());
    let page = with(&page, "later", &later());
    let page = with(&page, "codes", &codes());
    check(&path, &page);
}

/// The page with the part between `<!-- NAME -->` and `<!-- /NAME -->` replaced.
fn with(page: &str, name: &str, part: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = page.split_once(&open).unwrap_or_else(|| panic!("the page has no {open}"));
    let (_, after) = rest.split_once(&close).unwrap_or_else(|| panic!("the page has no {close}"));
    format!("{before}{open}\n{part}\n{close}{after}")
}

fn fields() -> String {
    let mut table = String::from("| key | what | default | example |\n| --- | --- | --- | --- |\n");
    for field in FIELDS {
        let default = field.default.unwrap_or("required");
        let (path, kind, example, meaning) = (field.path(), field.kind, field.example, field.meaning);
        let later = if field.later { " ○" } else { "" };
        writeln!(table, "| `{path}`{later} | {kind}. {meaning} | {default} | `{example}` |").unwrap();
    }
    table
}

fn later() -> String {
    let mut list = String::new();
    for key in LATER {
        let dot = if key.section.is_empty() { "" } else { "." };
        writeln!(list, "- `{}{dot}{}`", key.section, key.key).unwrap();
    }
    list
}

fn codes() -> String {
    let mut text = String::new();
    for row in CODES {
        writeln!(text, "### {}: {}\n\n{}\n", row.code, row.title, row.text).unwrap();
        writeln!(text, "```yaml\n# ✗\n{}\n# ✓\n{}\n```\n", row.bad, row.good).unwrap();
    }
    text.trim_end().to_owned() + "\n"
}

/// The documents that a part may stand in: as it is, at the root, in `spec`, in a feed of either venue. Keys of the
/// part replace those of the document.
fn documents(part: &str) -> Vec<String> {
    let key =
        |line: &str| line.split(':').next().unwrap_or_default().trim().trim_start_matches("? [").to_owned();
    let keys: Vec<_> =
        part.lines().filter(|line| !line.starts_with(' ')).map(|line| key(line).replace(']', "")).collect();
    let with = |indent: usize, frame: &str, lines: &[&str]| {
        // An environment of one feed has no `feeds`.
        let one = keys.iter().any(|key| key == "feed");
        let kept =
            lines.iter().filter(|line| !(keys.contains(&key(line)) || one && line.starts_with("feeds")));
        let all = kept.copied().chain(part.lines());
        all.fold(frame.to_owned(), |text, line| format!("{text}{:indent$}{line}\n", ""))
    };
    let head = "apiVersion: ssmd/v1\nkind: Environment\nmetadata: { name: dev }\nspec:\n";
    let spec = "feeds: { kraken: { channels: [trade], symbols: [BTC/USD] } }";
    let feed = ["channels: [trade]", "symbols: [\"*\"]"];
    vec![
        part.to_owned(),
        with(
            0,
            "",
            &[
                "apiVersion: ssmd/v1",
                "kind: Environment",
                "metadata: { name: dev }",
                &format!("spec: {{ {spec} }}"),
            ],
        ),
        with(2, head, &[spec]),
        with(6, &format!("{head}  feeds:\n    kraken:\n"), &feed),
        with(6, &format!("{head}  feeds:\n    kalshi:\n"), &feed),
    ]
}

/// What the pages show as wrong is wrong in that way, and what they show as right loads in its place.
#[test]
fn the_examples_of_every_code_are_true() {
    let bytes = ["E0001", "E0002", "E0003", "E0004"];
    for row in CODES.iter().filter(|row| !bytes.contains(&row.code.as_str())) {
        let online = row.code.as_str() >= "E03";
        let causes = |bad: &String| match crate::words::parse(bad) {
            Err(problems) => !online && problems.problems.iter().any(|problem| problem.code == row.code),
            Ok(_) => online,
        };
        let both: Vec<_> = documents(row.bad).into_iter().zip(documents(row.good)).collect();
        let wrong: Vec<_> = both.iter().filter(|(bad, _)| causes(bad)).collect();
        assert!(!wrong.is_empty(), "{}: nothing of this causes it:\n{}", row.code, both[2].0);
        let good: Vec<_> = wrong.iter().map(|(_, good)| crate::words::parse(good)).collect();
        let told: Vec<_> =
            good.iter().filter_map(|good| good.as_ref().err().map(ToString::to_string)).collect();
        assert!(good.iter().any(Result::is_ok), "{}: none of this loads:\n{}", row.code, told.join("\n"));
    }
}

/// Every ```yaml block of the docs that is a whole document loads; every block of one section does in its place.
#[test]
fn the_documents_of_the_docs_load() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/environment.md");
    let Ok(page) = std::fs::read_to_string(path) else { return };
    let (page, _) = page.split_once("## Codes").unwrap();
    let mut loaded = 0;
    for block in page.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let answers: Vec<_> = documents(block).iter().map(crate::words::parse).collect();
        let told: Vec<_> =
            answers.iter().filter_map(|answer| answer.as_ref().err().map(ToString::to_string)).collect();
        assert!(answers.iter().any(Result::is_ok), "{block}\n{}", told.join("\n"));
        loaded += 1;
    }
    assert!(loaded >= 8, "{loaded}");
}

#[test]
fn a_document_of_nothing_but_a_name_has_a_stable_hash() {
    let environment = Environment::new("dev".parse().unwrap());
    assert_eq!(environment.hash().len(), 64);
}
