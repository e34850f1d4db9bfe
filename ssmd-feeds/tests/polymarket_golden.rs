//! Polymarket's frames in, expected records beside them. `UPDATE_EXPECT=1` rewrites what is expected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::recorded::{frames, shared};
use ssmd_core::{Decode, Output};
use ssmd_feeds::polymarket::{Hashes, PolymarketDecode};

fn testdata(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/polymarket").join(file)
}

/// Decodes every frame and holds what comes out against `expected`, a line for each output.
fn check(given: &Path, expected: &str) {
    let expected = testdata(expected);
    let (mut decoder, mut text) = (PolymarketDecode::new(Hashes::Always), String::new());
    for frame in frames(given) {
        let (mut out, index) = (Vec::new(), frame.index);
        if let Err(error) = decoder.decode(&frame, &mut out) {
            assert_eq!(out, []);
            writeln!(text, r#"{{"frame":{index},"error":{}}}"#, serde_json::json!(error.to_string()))
                .unwrap();
        }
        for output in out {
            let (name, json) = match output {
                Output::Record(record) => ("record", serde_json::to_string(&record).unwrap()),
                Output::Resync(symbol) => ("resync", serde_json::to_string(&symbol.as_str()).unwrap()),
            };
            writeln!(text, r#"{{"frame":{index},"{name}":{json}}}"#).unwrap();
        }
    }
    writeln!(text, r#"{{"counts":{}}}"#, serde_json::to_string(&decoder.counts()).unwrap()).unwrap();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&expected, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&expected).unwrap();
    for (at, (given, wanted)) in text.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(given, wanted, "line {} of {}", at + 1, expected.display());
    }
    assert_eq!(text, wanted);
}

#[test]
fn every_type_of_frame() {
    check(&testdata("frames.jsonl"), "records.jsonl");
}

#[test]
fn recorded_trades_and_best_prices() {
    let file = "polymarket/play/book+price_change+bba+ltp-polytrader-2026-03.jsonl";
    let Some(path) = shared(file) else { return };
    check(&path, "records-of-recorded-types.jsonl");
}

#[test]
fn recorded_changes_of_two_tokens() {
    let file = "polymarket/play/book+price_change-negrisk-polyarb-2026-06.jsonl";
    let Some(path) = shared(file) else { return };
    check(&path, "records-of-recorded-changes.jsonl");
}
