//! Polymarket's frames in, expected records beside them. `UPDATE_EXPECT=1` rewrites what is expected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::Path;

use common::golden::{self, testdata};
use common::recorded::shared;
use ssmd_feeds::polymarket::{Hashes, PolymarketDecode};

fn check(given: &Path, expected: &str) {
    golden::check("polymarket", PolymarketDecode::new(Hashes::Always), given, expected);
}

#[test]
fn every_type_of_frame() {
    check(&testdata("polymarket", "frames.jsonl"), "records.jsonl");
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
