//! Environments that extend another: what is merged, what is said about each document, and what differs.

use ssmd_core::environment::{Change, Document, EXTENDS_MAX, Problems, Resolved, compare};
use ssmd_core::{Error, ErrorKind, Result};

use crate::words::WORDS;

const BASE: &str = "apiVersion: ssmd/v1
kind: Environment
metadata: { name: base }
spec:
  feeds:
    kraken:
      channels: [ticker, trade]
      symbols: [BTC/USD, ETH/USD]
      depth: 10
  store: file:./base
";

fn resolve(documents: &[(&str, &str)]) -> Result<Resolved, Problems> {
    let document = |name: &str| -> Result<Document> {
        let found = documents.iter().find(|(found, _)| *found == name);
        let (name, text) = found.ok_or_else(|| Error::new(ErrorKind::NotFound, "read document"))?;
        Ok(Document::new(*name, *text))
    };
    Resolved::read(document(documents[0].0).unwrap(), &WORDS, &mut |reference, _| document(reference))
}

fn over(spec: &str) -> Result<Resolved, Problems> {
    let top = format!(
        "extends: base.yaml\napiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: top }}\n{spec}\n"
    );
    resolve(&[("top.yaml", &top), ("base.yaml", BASE)])
}

fn codes(problems: &Problems) -> Vec<(&str, &str, usize)> {
    problems.problems.iter().map(|p| (p.code.as_str(), p.file.as_str(), p.line)).collect()
}

#[test]
fn maps_merge_lists_replace_and_null_takes_away() {
    let resolved = over(
        "spec:\n  feeds:\n    kraken:\n      symbols: [SOL/USD]\n      depth: null\n    kalshi:\n      channels: [trade]\n      symbols: [A]",
    )
    .unwrap();
    let environment = &resolved.environment;
    assert_eq!(environment.name.as_str(), "top");
    let kraken = &environment.feeds[0];
    assert_eq!(kraken.symbols, ["SOL/USD"]);
    assert_eq!(kraken.channels.len(), 2);
    assert_eq!(kraken.depth, None);
    assert_eq!(environment.feeds[1].name.as_str(), "kalshi");
    assert_eq!(environment.store.to_string(), "file:./base");
    assert_eq!(resolved.documents, ["top.yaml", "base.yaml"]);
}

#[test]
fn every_value_says_where_it_stands() {
    let resolved = over("spec:\n  feeds:\n    kraken:\n      symbols: [SOL/USD]").unwrap();
    let settings = resolved.declared.settings();
    let place = |path: &str| {
        let setting =
            settings.iter().find(|setting| setting.path == path).unwrap_or_else(|| panic!("{path}"));
        let place = setting.place.map(|place| (resolved.documents[place.document].as_str(), place.line));
        (setting.value.as_str(), place)
    };
    assert_eq!(place("metadata.name"), ("top", Some(("top.yaml", 4))));
    assert_eq!(place("spec.feeds.kraken.symbols"), ("[SOL/USD]", Some(("top.yaml", 8))));
    assert_eq!(place("spec.feeds.kraken.channels"), ("[ticker, trade]", Some(("base.yaml", 7))));
    assert_eq!(place("spec.feeds.kraken.depth"), ("10", Some(("base.yaml", 9))));
    assert_eq!(place("spec.feeds.kraken.url"), ("the venue's own", None));
    assert_eq!(place("spec.journal"), ("local", None));
}

#[test]
fn a_problem_names_the_document_that_it_stands_in() {
    let base = BASE.replace("depth: 10", "depht: 10").replace("[ticker, trade]", "[tickr]");
    let top = "extends: base.yaml\napiVersion: ssmd/v1\nkind: Environment\nmetadata: { name: Top }\nspec: { feeds: { krakn: { channels: [trade], symbols: [X] } } }\n";
    let problems = resolve(&[("top.yaml", top), ("base.yaml", &base)]).unwrap_err();
    assert_eq!(
        codes(&problems),
        [
            ("E0201", "top.yaml", 4),
            ("E0202", "top.yaml", 5),
            ("E0203", "base.yaml", 7),
            ("E0101", "base.yaml", 9)
        ]
    );
    assert_eq!(problems.source, "top.yaml");
    let shown = problems.to_string();
    assert!(shown.contains("--> base.yaml:9:7\n  |\n9 |       depht: 10\n  |       ^^^^^"), "{shown}");
    let offset = base.find("depht").unwrap();
    assert_eq!(problems.problems[3].span.start, offset);
}

#[test]
fn a_circle_is_shown() {
    let document = |extends: &str| BASE.replace("kind:", &format!("extends: {extends}\nkind:"));
    let (a, b, c) = (document("b.yaml"), document("c.yaml"), document("b.yaml"));
    let problems = resolve(&[("a.yaml", &a), ("b.yaml", &b), ("c.yaml", &c)]).unwrap_err();
    assert_eq!(codes(&problems), [("E0020", "c.yaml", 2)]);
    let message = &problems.problems[0].message;
    assert!(message.ends_with("a circle: b.yaml → c.yaml → b.yaml"), "{message}");

    let itself = document("a.yaml");
    let problems = resolve(&[("a.yaml", &itself)]).unwrap_err();
    assert!(problems.problems[0].message.ends_with("a circle: a.yaml → a.yaml"));
}

#[test]
fn a_chain_ends() {
    let names: Vec<_> = (0..=EXTENDS_MAX).map(|n| format!("{n}.yaml")).collect();
    let texts: Vec<_> = (0..=EXTENDS_MAX)
        .map(|n| BASE.replace("kind:", &format!("extends: {}.yaml\nkind:", n + 1)))
        .collect();
    let last = BASE.to_owned();
    let chain = |length: usize| {
        let mut documents: Vec<_> = (0..length).map(|n| (names[n].as_str(), texts[n].as_str())).collect();
        documents[length - 1].1 = &last;
        resolve(&documents)
    };
    assert_eq!(chain(EXTENDS_MAX).unwrap().documents.len(), EXTENDS_MAX);
    assert_eq!(codes(&chain(EXTENDS_MAX + 1).unwrap_err())[0].0, "E0020");
}

#[test]
fn what_cannot_be_extended_is_said_at_its_place() {
    let top =
        "extends: basis.yaml\napiVersion: ssmd/v1\nkind: Environment\nmetadata: { name: top }\nspec: {}\n";
    assert_eq!(codes(&resolve(&[("top.yaml", top)]).unwrap_err()), [("E0020", "top.yaml", 1)]);
    let number = top.replace("basis.yaml", "7");
    assert_eq!(codes(&resolve(&[("top.yaml", &number)]).unwrap_err())[0], ("E0103", "top.yaml", 1));
    let broken = [("top.yaml", &*top.replace("basis", "base")), ("base.yaml", "spec: [\n")];
    let problems = resolve(&broken).unwrap_err();
    assert_eq!(problems.problems[0].file, "base.yaml");
    assert_eq!(problems.problems[0].code.as_str(), "E0005");
}

#[test]
fn a_name_is_not_inherited_and_a_version_is_not_hidden() {
    let top = "extends: base.yaml\napiVersion: ssmd/v1\nkind: Environment\n";
    let problems = resolve(&[("top.yaml", top), ("base.yaml", BASE)]).unwrap_err();
    assert_eq!(codes(&problems), [("E0102", "top.yaml", 2)], "{problems}");

    let base = BASE.replace("ssmd/v1", "ssmd/v2");
    let top = format!("{top}metadata: {{ name: top }}\n");
    let problems = resolve(&[("top.yaml", &top), ("base.yaml", &base)]).unwrap_err();
    assert_eq!(codes(&problems), [("E0106", "base.yaml", 1)]);
}

#[test]
fn nothing_is_taken_away_where_there_is_nothing() {
    let problems = over("spec:\n  feeds: { kraken: { url: null } }").unwrap_err();
    assert_eq!(codes(&problems), [("E0103", "top.yaml", 6)]);
    // An oversight is not a wish.
    let problems = over("spec:\n  feeds:\n    kraken:\n      depth:").unwrap_err();
    assert_eq!(codes(&problems), [("E0103", "top.yaml", 8)]);
}

fn shown(changes: &[Change]) -> Vec<String> {
    let show = |change: &Change| {
        let (from, to) = (change.from.as_deref().unwrap_or("-"), change.to.as_deref().unwrap_or("-"));
        format!("{} {} {from} {to}", change.what, change.path)
    };
    changes.iter().map(show).collect()
}

#[test]
fn what_means_the_same_does_not_differ() {
    let same = BASE
        .replace("[ticker, trade]", "[trade, \"ticker\"] # in another order")
        .replace("[BTC/USD, ETH/USD]", "\n      - ETH/USD\n      - 'BTC/USD'")
        .replace("  store:", "  journal: local\n  store:")
        .replace("name: base", "name: other");
    let (a, b) = (resolve(&[("a", BASE)]).unwrap(), resolve(&[("b", &same)]).unwrap());
    assert_eq!(shown(&compare(&a.declared, &b.declared, &WORDS)), [""; 0]);

    let all = BASE.replace("[ticker, trade]", "[\"*\"]");
    let each = BASE.replace("[ticker, trade]", "[ticker, trade, book, ohlc, instrument, status]");
    let (a, b) = (resolve(&[("a", &all)]).unwrap(), resolve(&[("b", &each)]).unwrap());
    assert_eq!(shown(&compare(&a.declared, &b.declared, &WORDS)), [""; 0]);
}

#[test]
fn what_differs_is_told_item_by_item() {
    let other = BASE
        .replace("[ticker, trade]", "[ticker, \"book:25\"]")
        .replace("[BTC/USD, ETH/USD]", "[ETH/USD, SOL/USD]")
        .replace("      depth: 10\n", "    kalshi: { channels: [trade], symbols: [A] }\n");
    let (a, b) = (resolve(&[("a", BASE)]).unwrap(), resolve(&[("b", &other)]).unwrap());
    assert_eq!(
        shown(&compare(&a.declared, &b.declared, &WORDS)),
        [
            "channel spec.feeds.kraken.channels trade -",
            "channel spec.feeds.kraken.channels - book:25",
            "symbol spec.feeds.kraken.symbols BTC/USD -",
            "symbol spec.feeds.kraken.symbols - SOL/USD",
            "key spec.feeds.kraken.depth 10 the venue's own",
            "feed spec.feeds.kalshi - { channels: [trade], symbols: [A] }",
        ]
    );
}
