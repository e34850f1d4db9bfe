//! Real Kalshi frames decode whole; damaged ones never make the decoder panic; any order of numbers is judged rightly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::recorded::{frame, frames, mutate, records, shared};
use proptest::prelude::*;
use ssmd_core::record::Side;
use ssmd_core::{Body, Decode, DecodeCounts, Frame, FrameKind, Output, RecordType};
use ssmd_feeds::Protocol;
use ssmd_feeds::kalshi::{KalshiDecode, KalshiProtocol};

const FILES: [(&str, RecordType, usize); 3] = [
    ("ticker-ssmd-2026-02.jsonl", RecordType::Ticker, 7),
    ("trade-ssmd-2026-02.jsonl", RecordType::Trade, 7),
    ("market_lifecycle_v2-determined+settled-2026-07.jsonl", RecordType::Lifecycle, 2),
];

fn recorded(file: &str) -> Option<Vec<Frame>> {
    shared(&format!("kalshi/play/{file}")).map(|path| frames(&path))
}

fn decode(frames: &[Frame]) -> (Vec<Output>, DecodeCounts) {
    let (mut decoder, mut out) = (KalshiDecode::new(), Vec::new());
    for frame in frames {
        if let Err(error) = decoder.decode(frame, &mut out) {
            panic!("frame {}: {error}", frame.index);
        }
    }
    (out, decoder.counts())
}

#[test]
fn every_captured_frame_is_known() {
    for (file, kind, expected) in FILES {
        let Some(frames) = recorded(file) else { return };
        let (out, counts) = decode(&frames);
        println!("{file}: {counts:?}");
        assert_eq!((counts.frames, counts.malformed, counts.unknown), (frames.len() as u64, 0, 0));
        assert_eq!(
            records(&out).filter(|record| record.body.record_type() == kind).count(),
            expected,
            "{file}"
        );
    }
}

/// The captured trades say everything twice, in both forms; the numbers were added up by hand.
#[test]
fn captured_trades_have_the_sides_and_sizes_that_they_say() {
    let Some(frames) = recorded(FILES[1].0) else { return };
    let (out, _) = decode(&frames);
    let trades: Vec<_> = records(&out)
        .filter_map(|record| match &record.body {
            Body::Trade(trade) => Some(trade),
            _ => None,
        })
        .collect();
    let total = trades
        .iter()
        .try_fold("0.00".parse().unwrap(), |sum: ssmd_core::Decimal, trade| sum.checked_add(trade.size));
    assert_eq!(total.unwrap().to_string(), "557.00");
    assert_eq!(trades.iter().filter(|trade| trade.side == Some(Side::Sell)).count(), 1);
    assert_eq!(trades[0].price.to_string(), "0.7700");
}

/// Frames were taken out of this capture: what is missing between the others is found by their numbers.
#[test]
fn holes_in_the_captures_are_found_with_what_is_missing() {
    let Some(frames) = recorded(FILES[1].0) else { return };
    let (out, _) = decode(&frames);
    let missing: Vec<_> = records(&out)
        .filter_map(|record| match &record.body {
            Body::Gap(gap) => gap.missing,
            _ => None,
        })
        .collect();
    assert_eq!(missing, [37, 1, 1, 1], "numbers 10 48 50 51 53 54 56");
}

#[test]
fn the_protocol_and_the_decoder_agree_about_real_frames() {
    for (file, ..) in FILES {
        let Some(frames) = recorded(file) else { return };
        let mut protocol = KalshiProtocol::new("ws://localhost");
        for frame in &frames {
            let kind = protocol.heard(&frame.payload, Duration::ZERO, &mut Vec::new()).unwrap();
            assert_eq!(kind, FrameKind::Data, "{:?}", frame.payload);
        }
    }
}

#[test]
fn recorded_rest_answers_have_the_forms_that_are_documented() {
    let Some(path) = shared("kalshi/rest/markets-trades-opentape-2026-09.json") else { return };
    let body: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (mut decoder, mut out) = (KalshiDecode::new(), Vec::new());
    for (index, trade) in body["trades"].as_array().unwrap().iter().enumerate() {
        // REST says `ticker` where the WebSocket says `market_ticker`; the rest is the same.
        let mut msg = trade.clone();
        msg["market_ticker"] = msg["ticker"].take();
        let text = serde_json::json!({"type": "trade", "sid": 1, "seq": index + 1, "msg": msg}).to_string();
        decoder.decode(&frame(index as u64, 0, text.as_bytes()), &mut out).unwrap();
    }
    let sizes: Vec<_> = records(&out)
        .map(|record| match &record.body {
            Body::Trade(trade) => (trade.price.to_string(), trade.size.to_string(), trade.side),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("0.5600", "12.94", Side::Sell),
        ("0.9300", "0.25", Side::Buy),
        ("0.9400", "4.84", Side::Buy),
        ("0.9300", "10.00", Side::Buy),
    ];
    assert_eq!(sizes, expected.map(|(price, size, side)| (price.to_owned(), size.to_owned(), Some(side))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]
    #[test]
    fn damaged_frames_never_panic_and_leave_nothing_behind(
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..5),
    ) {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/kalshi/frames.jsonl");
        let mut all = frames(own.as_ref());
        for (file, ..) in FILES {
            let Some(frames) = recorded(file) else { break };
            all.extend(frames);
        }
        let (mut decoder, mut protocol) = (KalshiDecode::new(), KalshiProtocol::new("ws://localhost"));
        let mut out = Vec::new();
        for frame in &mut all {
            frame.payload = mutate(&frame.payload, &changes).into();
            let (before, counts) = (out.len(), decoder.counts());
            if decoder.decode(frame, &mut out).is_err() {
                prop_assert_eq!(out.len(), before);
                prop_assert_eq!(decoder.counts().records, counts.records);
            }
            let _ = protocol.heard(&frame.payload, Duration::ZERO, &mut Vec::new());
        }
        prop_assert_eq!(decoder.counts().frames, all.len() as u64);
    }

    /// A second opinion: what a client can know from numbers and changes alone, kept in the simplest way.
    #[test]
    fn any_order_of_numbers_is_judged_as_a_simple_count_would(
        messages in prop::collection::vec((0_u64..3, any::<bool>(), any::<bool>(), 1_i64..5), 1..60),
    ) {
        let (mut decoder, mut out) = (KalshiDecode::new(), Vec::new());
        let (mut number, mut last, mut gaps) = (0, None, 0);
        let mut books: BTreeMap<&str, Option<i64>> = BTreeMap::new();
        for (index, (step, snapshot, first, change)) in messages.into_iter().enumerate() {
            number += step;
            let name = if first { "A" } else { "B" };
            let (kind, msg) = match snapshot {
                true => ("orderbook_snapshot", format!(r#""yes":[[50,{change}]]"#)),
                false => ("orderbook_delta", format!(r#""price":50,"delta":{change},"side":"yes""#)),
            };
            let text = format!(r#"{{"type":"{kind}","sid":1,"seq":{number},"msg":{{"market_ticker":"{name}",{msg}}}}}"#);
            decoder.decode(&frame(index as u64, 0, text.as_bytes()), &mut out).unwrap();
            if last.is_some_and(|last| number <= last) {
                continue;
            }
            if last.is_some_and(|last| number > last + 1) {
                gaps += 1;
                books.values_mut().for_each(|book| *book = None);
            }
            last = Some(number);
            match (snapshot, books.get(name).copied()) {
                (true, _) => books.insert(name, Some(change)),
                (false, Some(Some(size))) => books.insert(name, Some(size + change)),
                (false, Some(None)) => None,
                (false, None) => {
                    gaps += 1;
                    books.insert(name, None)
                }
            };
        }
        let told: Vec<_> = records(&out).filter(|record| matches!(record.body, Body::Gap(_))).collect();
        prop_assert_eq!(told.len(), gaps);
        let mut known: BTreeMap<&str, Option<i64>> = BTreeMap::new();
        for record in records(&out) {
            let name = record.header.symbol.as_ref().map_or("", |symbol| symbol.as_str());
            match &record.body {
                Body::BookSnapshot(book) | Body::BookDelta(book) => {
                    known.insert(name, Some((book.bids[0].size.mantissa() / 100) as i64));
                }
                Body::Gap(gap) if gap.symbol.is_none() => known.values_mut().for_each(|book| *book = None),
                Body::Gap(_) => {
                    known.insert(name, None);
                }
                _ => {}
            }
        }
        prop_assert_eq!(known, books);
    }
}
