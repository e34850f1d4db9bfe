//! Bad documents with what is said about them beside them. `UPDATE_EXPECT=1` rewrites what is expected.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ssmd_core::environment::{CODES, Code, Environment, PROBLEMS_MAX, Problems};

use crate::words::{WORDS, parse};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/environment/bad")
}

/// Compares a file with what it should hold, or writes it if `UPDATE_EXPECT` is set.
pub(crate) fn check(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(expected == actual, "{} differs; UPDATE_EXPECT=1 rewrites it\n{actual}", path.display());
}

fn documents() -> Vec<(String, PathBuf, Problems)> {
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let problems = Environment::parse(&std::fs::read(&path).unwrap(), &name, &WORDS).expect_err(&name);
        documents.push((name, path, problems));
    }
    documents
}

#[test]
fn bad_documents_say_what_is_wrong() {
    for (_, path, problems) in documents() {
        check(&path.with_extension("txt"), &format!("{problems}\n"));
    }
}

#[test]
fn every_code_but_the_largest_has_a_document() {
    let seen: BTreeSet<_> =
        documents().iter().flat_map(|(_, _, found)| found.problems.iter().map(|p| p.code.as_str())).collect();
    let missing: Vec<_> =
        // What only the world can say, no document causes by itself.
        CODES.iter().map(|row| row.code.as_str()).filter(|code| *code < "E03" && !seen.contains(code)).collect();
    assert_eq!(missing, ["E0001"], "no document in testdata/environment/bad causes these");
}

#[test]
fn problems_are_json_for_programs() {
    let problems = parse(
        "apiVersion: ssmd/v2\nkind: Environment\nmetadata: { name: dev }\nspec: { feeds: { krakn: {} } }\n",
    )
    .unwrap_err();
    let json = problems.to_json();
    assert_eq!(json["source"], "env.yaml");
    assert_eq!(json["omitted"], 0);
    assert_eq!(json["problems"][0]["code"], "E0106");
    assert_eq!(json["problems"][0]["line"], 1);
    assert_eq!(json["problems"][0]["column"], 13);
    assert_eq!(json["problems"][0]["span"]["start"], 12);
    assert_eq!(json["problems"][0]["span"]["end"], 19);
    assert_eq!(json["problems"][0]["expected"], "`ssmd/v1`");
    let unknown = problems.problems.iter().position(|problem| problem.code == Code::UnknownFeed).unwrap();
    assert_eq!(json["problems"][unknown]["nearest"], "kraken");
}

#[test]
fn problems_beyond_the_bound_are_counted() {
    let keys: String = (0..1000).map(|n| format!("key{n}: 1\n")).collect();
    let problems = parse(keys).unwrap_err();
    assert_eq!(problems.problems.len(), PROBLEMS_MAX);
    assert_eq!(problems.count(), 1004);
    assert!(problems.to_string().ends_with("and 904 more, not shown\n1004 problems in env.yaml"));
}

#[test]
fn an_error_keeps_the_problems() {
    let error = ssmd_core::Error::from(parse("").unwrap_err());
    assert_eq!(error.kind(), ssmd_core::ErrorKind::Invalid);
    assert_eq!(error.context("document"), Some("env.yaml"));
    assert!(error.report().contains("E0010"), "{}", error.report());
}
