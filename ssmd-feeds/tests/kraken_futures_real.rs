//! Real Kraken futures frames: every number follows, nothing makes the decoder panic, and it is deterministic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::recorded::{count, frame, frames, gaps, mutate, records, shared};
use proptest::prelude::*;
use ssmd_core::{
    Body, BookSide, Decode, DecodeCounts, Frame, FrameKind, GapCause, OrderBook, Output, RecordType, Symbol,
    Timestamp,
};
use ssmd_feeds::Protocol;
use ssmd_feeds::kraken_futures::universe::parse_instruments;
use ssmd_feeds::kraken_futures::{KrakenFuturesDecode, KrakenFuturesProtocol};

const FILES: [&str; 5] = [
    "book+trade+ticker_lite-2021-cryptofeed.jsonl.gz",
    "info+acks+alerts+ticker+trade+candles-bytex-2026-09.jsonl",
    "ticker+trade+liquidation+book-tardis-2019-2023.jsonl",
    "ticker-ssmd-2026-02.jsonl",
    "trade-ssmd-2026-02.jsonl",
];
/// The changes of books in the first file.
const DELTAS: usize = 4_942;

fn recorded(file: &str) -> Option<Vec<Frame>> {
    shared(&format!("kraken-futures/play/{file}")).map(|path| frames(&path))
}

fn decode(frames: &[Frame]) -> (Vec<Output>, DecodeCounts) {
    let (mut decoder, mut out) = (KrakenFuturesDecode::new(), Vec::new());
    for frame in frames {
        if let Err(error) = decoder.decode(frame, &mut out) {
            panic!("frame {}: {error}", frame.index);
        }
    }
    (out, decoder.counts())
}

#[test]
fn every_captured_frame_is_known_and_every_change_follows() {
    use RecordType::{Bar, BookDelta, BookSnapshot, Funding, Quote, Status, Ticker, Trade};
    let expected: [(&str, &[(RecordType, usize)]); 5] = [
        (FILES[0], &[(BookSnapshot, 6), (BookDelta, DELTAS), (Trade, 602), (Quote, 67)]),
        (FILES[1], &[(Ticker, 1), (Status, 1), (Funding, 1), (Trade, 4), (Bar, 1)]),
        (FILES[2], &[(BookSnapshot, 1), (BookDelta, 2), (Trade, 4), (Ticker, 3), (Status, 3), (Funding, 2)]),
        (FILES[3], &[(Ticker, 7), (Status, 2), (Funding, 2)]),
        (FILES[4], &[(Trade, 7)]),
    ];
    for (file, expected) in expected {
        let Some(frames) = recorded(file) else { return };
        let (out, counts) = decode(&frames);
        println!("{file}: {counts:?}");
        assert_eq!((counts.frames, counts.malformed, counts.unknown), (frames.len() as u64, 0, 0));
        for (kind, expected) in expected {
            assert_eq!(count(&out, *kind), *expected, "{kind:?} of {file}");
        }
        let verified = if file == FILES[0] { DELTAS as u64 } else { 0 };
        let cut = if file == FILES[2] { 1 } else { 0 };
        assert_eq!((counts.books_verified, counts.books_failed), (verified, cut), "{file}");
    }
}

/// Frames were taken out of these captures by those who made them: what is missing is found.
#[test]
fn holes_in_the_captures_are_found_with_what_is_missing() {
    for (file, expected) in [
        (FILES[0], &[][..]),
        (FILES[2], &[("book", "PI_LTCUSD", 1_057)]),
        (FILES[4], &[("trade", "PF_ETHUSD", 1), ("trade", "PF_ETHUSD", 1)]),
    ] {
        let Some(frames) = recorded(file) else { return };
        let (out, _) = decode(&frames);
        let found: Vec<_> = gaps(&out)
            .into_iter()
            .map(|gap| {
                assert_eq!(gap.cause, GapCause::Sequence);
                let channel = gap.channel.as_deref().unwrap();
                (channel, gap.symbol.as_ref().unwrap().as_str(), gap.missing.unwrap())
            })
            .collect();
        assert_eq!(found, expected, "{file}");
    }
}

#[test]
fn books_of_the_capture_are_never_crossed_and_lose_only_what_they_have() {
    let Some(frames) = recorded(FILES[0]) else { return };
    let (out, _) = decode(&frames);
    let mut books: BTreeMap<&Symbol, OrderBook> = BTreeMap::new();
    for record in records(&out) {
        let symbol = record.header.symbol.as_ref().unwrap();
        match &record.body {
            Body::BookSnapshot(book) => {
                books.entry(symbol).or_default().replace(&book.bids, &book.asks);
            }
            Body::BookDelta(delta) => {
                let book = books.get_mut(symbol).unwrap();
                for (side, levels) in [(BookSide::Bid, &delta.bids), (BookSide::Ask, &delta.asks)] {
                    for level in levels {
                        let there = book.levels(side).any(|other| other.price == level.price);
                        assert!(there || !level.size.is_zero(), "{symbol} {level:?}");
                        book.apply(side, *level);
                    }
                }
                let best = |side| book.levels(side).next().map(|level| level.price);
                assert!(best(BookSide::Bid) < best(BookSide::Ask), "{symbol} {:?}", record.header.sequence);
            }
            _ => {}
        }
    }
    assert_eq!(books.len(), 6);
}

#[test]
fn one_lost_change_is_one_gap_with_true_bounds_and_one_request() {
    let Some(mut frames) = recorded(FILES[0]) else { return };
    let is_delta =
        |frame: &Frame| frame.payload.starts_with(b"{\"feed\":\"book\",\"product_id\":\"PI_ETHUSD\"");
    let lost = frames.iter().position(|frame| is_delta(frame) && frame.index > 1_000).unwrap();
    frames.remove(lost);
    let (out, counts) = decode(&frames);
    let found = gaps(&out);
    assert_eq!((found.len(), counts.books_failed, found[0].missing), (1, 1, Some(1)));
    let (from, to) = (found[0].from.as_ref().unwrap(), found[0].to.as_ref().unwrap());
    assert!(from.index < lost as u64 && to.index > lost as u64, "{found:?}");
    let shown = |evidence: &ssmd_core::Evidence| evidence.shown.as_ref().unwrap().parse::<u64>().unwrap();
    assert_eq!(shown(to) - shown(from), 2);
    let resyncs: Vec<_> = out.iter().filter(|output| matches!(output, Output::Resync(_))).collect();
    assert_eq!(resyncs, [&Output::Resync(Symbol::new("PI_ETHUSD").unwrap())]);
    assert!(counts.books_verified < DELTAS as u64 - 1, "nothing is verified until the next snapshot");
    assert_eq!(
        count(&out, RecordType::BookDelta),
        DELTAS - 1,
        "what comes until then is a record all the same"
    );
}

#[test]
fn the_protocol_and_the_decoder_agree_about_real_frames() {
    for file in FILES {
        let Some(frames) = recorded(file) else { return };
        let mut protocol = KrakenFuturesProtocol::new("ws://localhost");
        for frame in &frames {
            let kind = protocol.heard(&frame.payload, Duration::ZERO, &mut Vec::new()).unwrap();
            let is_event = frame.payload.starts_with(b"{\"event\":");
            let expected = if is_event { FrameKind::Control } else { FrameKind::Data };
            assert_eq!(kind, expected, "{:?}", frame.payload);
        }
    }
}

#[test]
fn decoding_twice_gives_the_same() {
    let Some(frames) = recorded(FILES[0]) else { return };
    assert_eq!(decode(&frames), decode(&frames));
}

#[test]
fn recorded_listings_are_read() {
    for (file, least, there) in [
        ("instruments-2021-07-cryptofeed.json", 20, "PI_XBTUSD"),
        ("instruments-excerpt5-bytex-2026-09.json", 5, "PF_DOGEUSD"),
        ("instruments-nautilus.json", 2, "PF_ETHUSD"),
    ] {
        let Some(path) = shared(&format!("kraken-futures/rest/{file}")) else { return };
        let listing = parse_instruments(&std::fs::read(path).unwrap()).unwrap();
        println!("{file}: {} products", listing.listed.len());
        assert_eq!(listing.bad, []);
        assert!(listing.listed.len() >= least);
        let all = listing.select(&["*".to_owned()], &Default::default(), Timestamp::from_nanos(0)).unwrap();
        let names: BTreeSet<_> = all.iter().map(Symbol::as_str).collect();
        assert!(names.contains(there), "{names:?}");
        assert!(
            names
                .iter()
                .all(|name| ["PF_", "FF_", "PI_", "FI_", "FV_"].iter().any(|kind| name.starts_with(kind))),
            "{names:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
    #[test]
    fn damaged_frames_never_panic_and_leave_nothing_behind(
        start in 0_usize..400,
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..5),
    ) {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/kraken-futures/frames.jsonl");
        let mut all = frames(own.as_ref());
        for file in FILES {
            let Some(frames) = recorded(file) else { break };
            all.extend(frames.into_iter().skip(start % 7).step_by(29));
        }
        let mut decoder = KrakenFuturesDecode::new();
        let mut protocol = KrakenFuturesProtocol::new("ws://localhost");
        let mut out = Vec::new();
        for frame in &mut all {
            frame.payload = mutate(&frame.payload, &changes).into();
            let before = out.len();
            let counts = decoder.counts();
            if decoder.decode(frame, &mut out).is_err() {
                prop_assert_eq!(out.len(), before);
                prop_assert_eq!(decoder.counts().records, counts.records);
            }
            let _ = protocol.heard(&frame.payload, Duration::ZERO, &mut Vec::new());
        }
        prop_assert_eq!(decoder.counts().frames, all.len() as u64);
    }

    #[test]
    fn any_order_of_numbers_is_judged_as_a_simple_count_would(
        numbers in prop::collection::vec((0_u64..12, any::<bool>()), 1..40),
    ) {
        let (mut decoder, mut last, mut verified, mut failed) = (KrakenFuturesDecode::new(), None, 0, 0);
        let mut out = Vec::new();
        for (index, (number, snapshot)) in numbers.into_iter().enumerate() {
            let snapshot = snapshot && number % 4 == 0;
            let text = match snapshot {
                true => format!(r#"{{"feed":"book_snapshot","product_id":"P","seq":{number},"bids":[],"asks":[]}}"#),
                false => format!(r#"{{"feed":"book","product_id":"P","side":"buy","seq":{number},"price":1,"qty":1}}"#),
            };
            decoder.decode(&frame(index as u64, 0, text.as_bytes()), &mut out).unwrap();
            match last {
                _ if snapshot => last = Some(number),
                Some(known) if number == known + 1 => (last, verified) = (Some(number), verified + 1),
                Some(known) if number > known => (last, failed) = (None, failed + 1),
                _ => {}
            }
            let counts = decoder.counts();
            prop_assert_eq!((counts.books_verified, counts.books_failed), (verified, failed));
        }
        prop_assert_eq!(gaps(&out).len() as u64, failed);
    }
}
