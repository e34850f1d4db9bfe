//! Polymarket's frames in, expected records beside them. `UPDATE_EXPECT=1` rewrites what is expected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::golden::{self, testdata};
use common::recorded::{frame, gaps, shared};
use ssmd_core::{Decode, Frame, FrameKind, GapCause, Symbol};
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

/// A frame that came, or one that we sent, so many seconds after the first.
fn at(second: u64, kind: FrameKind, text: &str) -> Frame {
    Frame { kind, elapsed: Duration::from_secs(second), ..frame(second, 1, text.as_bytes()) }
}

fn book(token: &str, bids: &str) -> String {
    format!(
        r#"{{"market":"0x{token}","asset_id":"{token}","timestamp":"1","hash":"","bids":{bids},"asks":[],"tick_size":"0.01","event_type":"book","last_trade_price":""}}"#
    )
}

/// The venue tells of them whatever was asked for, so they show nothing about the books.
#[test]
fn a_book_that_changed_while_only_new_markets_were_told_of_is_a_silence() {
    let mut decoder = PolymarketDecode::new(Hashes::Sampled);
    let new_market = r#"{"id":"1","market":"0x2","assets_ids":["8","9"],"question":"?","slug":"s","outcomes":["Yes","No"],"timestamp":"2","event_type":"new_market"}"#;
    let changed = book("1", r#"[{"price":"0.4","size":"10"}]"#);
    let mut out = Vec::new();
    for (second, text) in [(0, book("1", "[]").as_str()), (4, new_market), (8, new_market), (9, &changed)] {
        decoder.decode(&at(second, FrameKind::Data, text), &mut out).unwrap();
    }
    let found: Vec<_> = gaps(&out).into_iter().map(|gap| gap.cause).collect();
    assert_eq!(found, [GapCause::Silence]);
}

/// Markets roll on for as long as a connection lives, and a message may name a token that nobody asked for.
#[test]
fn tokens_that_were_left_make_room_for_others() {
    let mut decoder = PolymarketDecode::new(Hashes::Sampled);
    let mut out = Vec::new();
    let stays = [(FrameKind::Data, book("stays", "[]"))];
    let rolls = (0..10_100).flat_map(|token| {
        let asks = |operation: &str| format!(r#"{{"operation":"{operation}","assets_ids":["{token}"]}}"#);
        let other = format!(
            r#"{{"market":"0x{token}","price_changes":[{{"asset_id":"{token}-other","price":"0.5","size":"1","side":"BUY","hash":""}}],"timestamp":"2","event_type":"price_change"}}"#
        );
        [
            (FrameKind::Sent, asks("subscribe")),
            (FrameKind::Data, book(&token.to_string(), "[]")),
            (FrameKind::Data, other),
            (FrameKind::Sent, asks("unsubscribe")),
        ]
    });
    for (second, (kind, text)) in (0..).zip(stays.into_iter().chain(rolls)) {
        out.clear();
        let frame = at(second * 2, kind, &text);
        decoder.decode(&frame, &mut out).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    // What was not left is still known: that it changed unheard is told.
    let changed = book("stays", r#"[{"price":"0.4","size":"10"}]"#);
    decoder.decode(&at(90_000, FrameKind::Data, &changed), &mut out).unwrap();
    let found: Vec<_> =
        gaps(&out).into_iter().map(|gap| (gap.cause, gap.symbol.as_ref().map(Symbol::as_str))).collect();
    assert_eq!(found, [(GapCause::Silence, Some("stays"))]);
}
