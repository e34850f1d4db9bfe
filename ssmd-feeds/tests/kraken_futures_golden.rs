//! Kraken futures' frames in, expected records beside them. `UPDATE_EXPECT=1` rewrites what is expected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::Path;

use common::golden::{self, testdata};
use common::recorded::shared;
use ssmd_feeds::kraken_futures::KrakenFuturesDecode;

fn check(given: &Path, expected: &str) {
    golden::check("kraken-futures", KrakenFuturesDecode::new(), given, expected);
}

#[test]
fn every_type_of_frame() {
    check(&testdata("kraken-futures", "frames.jsonl"), "records.jsonl");
}

#[test]
fn recorded_answers_and_one_of_each_feed() {
    let file = "kraken-futures/play/info+acks+alerts+ticker+trade+candles-bytex-2026-09.jsonl";
    let Some(path) = shared(file) else { return };
    check(&path, "records-of-recorded-answers.jsonl");
}

#[test]
fn recorded_funding_has_its_exponents_and_signs() {
    let Some(path) = shared("kraken-futures/play/ticker-ssmd-2026-02.jsonl") else { return };
    check(&path, "records-of-recorded-tickers.jsonl");
}

#[test]
fn recorded_frames_of_old_lack_what_came_later() {
    let file = "kraken-futures/play/ticker+trade+liquidation+book-tardis-2019-2023.jsonl";
    let Some(path) = shared(file) else { return };
    check(&path, "records-of-old-frames.jsonl");
}
