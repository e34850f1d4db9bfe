//! The JSON Schema for editors accepts what loads and underlines what is wrong in shape.

use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};
use ssmd_core::environment::{Environment, json_schema};

use crate::words::{WORDS, parse};

/// A document as editors hand it to a schema. Small: maps, lists and scalars of the core schema of YAML 1.2.
fn json(text: &str) -> Value {
    let mut events = Parser::new_from_str(text).map(|event| event.unwrap().0);
    let first = events
        .find(|event| !matches!(event, Event::StreamStart | Event::DocumentStart(_) | Event::Nothing))
        .unwrap();
    value(first, &mut events)
}

fn value<'t>(event: Event<'t>, events: &mut impl Iterator<Item = Event<'t>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => {
            serde_json::from_str(&text).ok().filter(|value: &Value| !value.is_string()).unwrap_or(text.into())
        }
        Event::Scalar(text, ..) => text.into(),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next().unwrap() {
                    Event::SequenceEnd => return items.into(),
                    event => items.push(value(event, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = Map::new();
            loop {
                let key = match events.next().unwrap() {
                    Event::MappingEnd => return entries.into(),
                    event => value(event, events),
                };
                let next = events.next().unwrap();
                entries.insert(key.as_str().unwrap().to_owned(), value(next, events));
            }
        }
        other => panic!("{other:?}"),
    }
}

fn validator() -> jsonschema::Validator {
    let schema = json_schema(&WORDS);
    jsonschema::meta::validate(&schema).expect("it is a schema");
    jsonschema::validator_for(&schema).unwrap()
}

fn folder(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/environment").join(name);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[test]
fn what_loads_is_accepted() {
    let validator = validator();
    let mut documents: Vec<_> = folder("given").into_iter().chain(folder("")).collect();
    documents.push(("least".into(), crate::load::LEAST.into()));
    for (name, text) in documents {
        let environment = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
        for value in [json(&String::from_utf8(text).unwrap()), environment.document()] {
            let errors: Vec<_> =
                validator.iter_errors(&value).map(|e| format!("{} at {}", e, e.instance_path())).collect();
            assert!(errors.is_empty(), "{name}: {errors:#?}");
        }
    }
}

#[test]
fn what_is_wrong_in_shape_is_not() {
    let validator = validator();
    let shape = ["E0101", "E0102", "E0103", "E0104", "E0106", "E0107", "E0215", "E0216", "E0218"];
    let mut tried = 0;
    for (name, text) in folder("bad") {
        let problems = Environment::parse(&text, &name, &WORDS).unwrap_err();
        let codes: Vec<_> = problems.problems.iter().map(|problem| problem.code.as_str()).collect();
        if codes.iter().any(|code| *code < "E0100") || !codes.iter().any(|code| shape.contains(code)) {
            continue;
        }
        let text = String::from_utf8(text).unwrap();
        assert!(!validator.is_valid(&json(text.trim_start_matches('\u{feff}'))), "{name}: {codes:?}");
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}
