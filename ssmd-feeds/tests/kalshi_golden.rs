//! Kalshi frames in, expected records beside them. `UPDATE_EXPECT=1` rewrites what is expected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::Path;

use common::golden::{self, testdata};
use common::recorded::{frame, shared};
use ssmd_core::{Decode, Output};
use ssmd_feeds::kalshi::KalshiDecode;

fn check(given: &Path, expected: &str) {
    golden::check("kalshi", KalshiDecode::new(), given, expected);
}

#[test]
fn every_type_of_frame() {
    check(&testdata("kalshi", "frames.jsonl"), "records.jsonl");
}

#[test]
fn recorded_tickers_of_february() {
    let Some(path) = shared("kalshi/play/ticker-ssmd-2026-02.jsonl") else { return };
    check(&path, "records-of-recorded-tickers.jsonl");
}

#[test]
fn recorded_trades_of_february() {
    let Some(path) = shared("kalshi/play/trade-ssmd-2026-02.jsonl") else { return };
    check(&path, "records-of-recorded-trades.jsonl");
}

#[test]
fn recorded_ends_of_markets() {
    let Some(path) = shared("kalshi/play/market_lifecycle_v2-determined+settled-2026-07.jsonl") else {
        return;
    };
    check(&path, "records-of-recorded-lives.jsonl");
}

/// The venue changed how it writes numbers: what is said in both ways is the same record, digit for digit.
#[test]
fn both_wire_forms_of_a_message_are_the_same_record() {
    let pairs = [
        (
            r#"{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"A","yes":[[7,3195],[8,1253]],"no":[[85,1]]}}"#,
            r#"{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"A","yes_dollars_fp":[["0.0700","3195.00"],["0.0800","1253.00"]],"no_dollars_fp":[["0.8500","1.00"]]}}"#,
        ),
        (
            r#"{"type":"orderbook_delta","sid":1,"seq":2,"msg":{"market_ticker":"A","price":85,"delta":-1,"side":"no"}}"#,
            r#"{"type":"orderbook_delta","sid":1,"seq":2,"msg":{"market_ticker":"A","price_dollars":"0.8500","delta_fp":"-1.00","side":"no"}}"#,
        ),
        (
            r#"{"type":"trade","sid":2,"seq":1,"msg":{"trade_id":"x","market_ticker":"A","yes_price":77,"no_price":23,"count":75,"taker_side":"yes","ts":1770897981}}"#,
            r#"{"type":"trade","sid":2,"seq":1,"msg":{"trade_id":"x","market_ticker":"A","yes_price_dollars":"0.7700","no_price_dollars":"0.2300","count_fp":"75.00","taker_outcome_side":"yes","ts":1770897981}}"#,
        ),
        (
            r#"{"type":"ticker","sid":3,"msg":{"market_ticker":"A","price":14,"yes_bid":4,"yes_ask":95,"volume":13446,"open_interest":892,"ts":1770897976}}"#,
            r#"{"type":"ticker","sid":3,"msg":{"market_ticker":"A","price_dollars":"0.1400","yes_bid_dollars":"0.0400","yes_ask_dollars":"0.9500","volume_fp":"13446.00","open_interest_fp":"892.00","ts":1770897976}}"#,
        ),
        (
            r#"{"type":"market_lifecycle_v2","sid":4,"seq":1,"msg":{"market_ticker":"A","event_type":"determined","result":"yes","settlement_value":100}}"#,
            r#"{"type":"market_lifecycle_v2","sid":4,"seq":1,"msg":{"market_ticker":"A","event_type":"determined","result":"yes","settlement_value":"1.0000"}}"#,
        ),
    ];
    let (mut old, mut new) = (KalshiDecode::new(), KalshiDecode::new());
    for (index, (before, after)) in pairs.into_iter().enumerate() {
        let told = |decoder: &mut KalshiDecode, text: &str| {
            let mut out = Vec::new();
            decoder.decode(&frame(index as u64, 1, text.as_bytes()), &mut out).unwrap();
            let [Output::Record(record)] = out.as_slice() else { panic!("{out:?}") };
            serde_json::to_string(record).unwrap()
        };
        assert_eq!(told(&mut old, before), told(&mut new, after));
    }
}
