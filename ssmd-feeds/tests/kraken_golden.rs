//! Kraken frames in, expected records beside them. `UPDATE_EXPECT=1` rewrites what is expected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use common::golden::{self, testdata};
use common::recorded::shared;
use ssmd_feeds::kraken::KrakenDecode;

#[test]
fn every_type_of_frame() {
    let frames = testdata("kraken", "frames.jsonl");
    golden::check("kraken", KrakenDecode::new(), &frames, "records.jsonl");
}

#[test]
fn recorded_status_answers_and_one_of_each_channel() {
    let file = "kraken/play/status+acks+errors+ticker+trade+ohlc-bytex-2026-09.jsonl";
    let Some(path) = shared(file) else { return };
    golden::check("kraken", KrakenDecode::new(), &path, "records-of-recorded-answers.jsonl");
}
