//! What one Kalshi frame costs, from bytes to records, beside parses of the same bytes.
//!
//! Each figure stands beside its limit in the name of its bench. Frames have the form, the newline at the end and the digits of
//! captured ones; all of their numbers follow, or the bench stops.

use std::cell::Cell;
use std::time::Duration;

use divan::Bencher;
use divan::counter::BytesCount;
use serde::Deserialize;
use ssmd_core::{Decimal, Decode, Frame, FrameKind, Output, SessionId, Timestamp};
use ssmd_feeds::Protocol;
use ssmd_feeds::kalshi::{KalshiDecode, KalshiProtocol};

/// Changes of one book that are decoded again and again, each run behind a snapshot of its own.
const CHANGES: u64 = 1_000;
/// Levels a side of the book.
const LEVELS: u64 = 80;

const TRADE: &str = r#"{"type":"trade","sid":2,"msg":{"trade_id":"07219259-5ed9-b201-cae0-f1823a26c295","market_ticker":"KXBTC15M-26SEP070015-15","yes_price_dollars":"0.5600","no_price_dollars":"0.4400","count_fp":"12.94","taker_side":"no","taker_outcome_side":"no","taker_book_side":"ask","ts":1788754456,"ts_ms":1788754456008}}"#;
const TICKER: &str = r#"{"type":"ticker","sid":1,"msg":{"market_ticker":"KXBTC15M-26JUL191145-45","market_id":"6a958fdf-4723-4333-9531-57111fbc51d3","price_dollars":"0.9990","yes_bid_dollars":"0.4200","yes_ask_dollars":"0.4300","volume_fp":"2233487.48","open_interest_fp":"618700.14","dollar_volume":1116743,"dollar_open_interest":309350,"yes_bid_size_fp":"14.00","yes_ask_size_fp":"84.11","last_trade_size_fp":"0.11","ts":1784475900,"ts_ms":1784475900544,"time":"2026-07-19T15:45:00.544125Z"}}"#;

fn main() {
    println!("limit, a change of a book: 0.55 µs, or 1.3 times a typed parse of the same bytes");
    divan::main();
}

#[divan::bench(name = "delta_limit_550_ns")]
fn delta(bencher: Bencher<'_, '_>) {
    let frames: Vec<_> =
        std::iter::once(frame(&snapshot())).chain((0..CHANGES).map(|n| frame(&change(n)))).collect();
    run(bencher, &frames);
}

/// What serde takes to read the same fields, without knowing what they mean.
#[divan::bench(name = "delta_typed_parse_by_serde_json")]
fn delta_typed(bencher: Bencher<'_, '_>) {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "parsing is all that is measured")]
    struct Message<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        sid: u64,
        seq: u64,
        #[serde(borrow)]
        msg: Delta<'a>,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "parsing is all that is measured")]
    struct Delta<'a> {
        market_ticker: &'a str,
        price_dollars: Decimal,
        delta_fp: Decimal,
        side: &'a str,
        ts: &'a str,
        ts_ms: u64,
    }
    let text = change(1);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| serde_json::from_slice::<Message<'_>>(text.as_bytes()).is_ok());
}

#[divan::bench(name = "delta_bare_parse_by_serde_json")]
fn delta_bare(bencher: Bencher<'_, '_>) {
    let text = change(1);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| serde_json::from_slice::<serde::de::IgnoredAny>(text.as_bytes()).is_ok());
}

#[divan::bench(name = "trade")]
fn trade(bencher: Bencher<'_, '_>) {
    run(bencher, &[frame(TRADE)]);
}

#[divan::bench(name = "ticker")]
fn ticker(bencher: Bencher<'_, '_>) {
    run(bencher, &[frame(TICKER)]);
}

#[divan::bench(name = "what_capture_pays_a_frame")]
fn heard(bencher: Bencher<'_, '_>) {
    let frame = frame(&change(1));
    let (mut protocol, mut send) = (KalshiProtocol::new("ws://localhost"), Vec::new());
    bencher.bench_local(|| protocol.heard(&frame.payload, Duration::ZERO, &mut send));
}

/// Frames without numbers are decoded again and again; those that have some start anew with their confirmation.
fn run(bencher: Bencher<'_, '_>, frames: &[Frame]) {
    let begin = frame(r#"{"id":1,"type":"subscribed","msg":{"channel":"orderbook_delta","sid":1}}"#);
    let (mut decoder, mut out) = (KalshiDecode::new(), Vec::with_capacity(16));
    let at = Cell::new(frames.len() - 1);
    let bytes = frames[frames.len() - 1].payload.len();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        out.clear();
        at.set((at.get() + 1) % frames.len());
        if at.get() == 0 && frames.len() > 1 && decoder.decode(&begin, &mut out).is_err() {
            return false;
        }
        decoder.decode(&frames[at.get()], &mut out).is_ok()
    });
    assert!(out.iter().all(|output| matches!(output, Output::Record(_))));
    assert_eq!((decoder.counts().books_failed, decoder.counts().malformed), (0, 0));
}

fn snapshot() -> String {
    let side = |from: u64| {
        (0..LEVELS)
            .map(|at| format!(r#"["0.{:04}","1000000.00"]"#, (from + at) * 50))
            .collect::<Vec<_>>()
            .join(",")
    };
    format!(
        r#"{{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{{"market_ticker":"KXBTC15M-26JUL191145-45","market_id":"6a958fdf-4723-4333-9531-57111fbc51d3","yes_dollars_fp":[{}],"no_dollars_fp":[{}]}}}}"#,
        side(1),
        side(1)
    )
}

fn change(number: u64) -> String {
    let (price, side) = ((LEVELS - number % 20) * 50, if number.is_multiple_of(2) { "yes" } else { "no" });
    let sign = if number % 4 < 2 { "-" } else { "" };
    format!(
        r#"{{"type":"orderbook_delta","sid":1,"seq":{},"msg":{{"market_ticker":"KXBTC15M-26JUL191145-45","market_id":"6a958fdf-4723-4333-9531-57111fbc51d3","price_dollars":"0.{price:04}","delta_fp":"{sign}54.25","side":"{side}","ts":"2026-07-19T15:45:00.544125Z","ts_ms":1784475900544}}}}"#,
        number + 2
    )
}

fn frame(payload: &str) -> Frame {
    Frame {
        received: Timestamp::from_nanos(1_784_475_900_544_000_000),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index: 0,
        kind: FrameKind::Data,
        binary: false,
        payload: format!("{payload}\n").into(),
        source: None,
    }
}
