//! Real Polymarket frames: every hash is right, nothing makes the decoder panic, and it is deterministic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::recorded::{count, frames, gaps, mutate, records, shared};
use proptest::prelude::*;
use ssmd_core::environment::SymbolFilters;
use ssmd_core::{
    Body, BookSide, Decode, DecodeCounts, Frame, FrameKind, Gap, GapCause, OrderBook, Output, RecordType,
    Symbol, Timestamp,
};
use ssmd_feeds::Protocol;
use ssmd_feeds::polymarket::universe::{Market, parse_clob_market, parse_market, parse_page, select};
use ssmd_feeds::polymarket::{Hashes, PolymarketDecode, PolymarketProtocol};

const FILES: [&str; 5] = [
    "session-2026-09-07-opentape.jsonl",
    "book+price_change-negrisk-polyarb-2026-06.jsonl",
    "book+price_change+bba+ltp-polytrader-2026-03.jsonl",
    "book-ssmd-2026-02.jsonl",
    "last_trade_price-ssmd-2026-02.jsonl",
];
/// The token of the session whose changes were followed by hand.
const TOKEN: &str = "114602688616062054693464639818826590702731982636255124778328943187816056373369";

fn recorded(file: &str) -> Option<Vec<Frame>> {
    shared(&format!("polymarket/play/{file}")).map(|path| frames(&path))
}

fn decode(hashes: Hashes, frames: &[Frame]) -> (Vec<Output>, DecodeCounts) {
    let (mut decoder, mut out) = (PolymarketDecode::new(hashes), Vec::new());
    for frame in frames {
        if let Err(error) = decoder.decode(frame, &mut out) {
            panic!("frame {}: {error}", frame.index);
        }
    }
    (out, decoder.counts())
}

/// A file, what it holds, and how many books and changes fit their hashes.
type Expected<'a> = (&'a str, &'a [(RecordType, usize)], u64);

/// Two changes of the session share a millisecond with later ones, which carry their hash. The first change in the
/// second file is contained in the books before it, as are two of the third.
#[test]
fn every_captured_frame_is_known_and_every_hash_is_right() {
    use RecordType::{BookDelta, BookSnapshot, Quote, Trade};
    let expected: [Expected<'_>; 5] = [
        (FILES[0], &[(BookSnapshot, 6), (BookDelta, 114), (Trade, 2)], 6 + 112),
        (FILES[1], &[(BookSnapshot, 3), (BookDelta, 6)], 3 + 6),
        (FILES[2], &[(BookSnapshot, 2), (BookDelta, 2), (Quote, 2), (Trade, 2)], 2),
        (FILES[3], &[(BookSnapshot, 7)], 7),
        (FILES[4], &[(Trade, 7)], 0),
    ];
    for (file, expected, verified) in expected {
        let Some(frames) = recorded(file) else { return };
        let (out, counts) = decode(Hashes::Always, &frames);
        println!("{file}: {counts:?}");
        assert_eq!((counts.frames, counts.malformed, counts.unknown), (frames.len() as u64, 0, 0));
        for (kind, expected) in expected {
            assert_eq!(count(&out, *kind), *expected, "{kind:?} of {file}");
        }
        assert_eq!((counts.books_verified, counts.books_failed), (verified, 0), "{file}");
        assert_eq!(gaps(&out), [] as [&Gap; 0], "{file}");
        assert!(out.iter().all(|output| matches!(output, Output::Record(_))), "{file}");
    }
}

#[test]
fn sampled_hashes_give_the_same_records() {
    for file in FILES {
        let Some(frames) = recorded(file) else { return };
        let [always, sampled] = [Hashes::Always, Hashes::Sampled].map(|hashes| decode(hashes, &frames));
        assert_eq!(always.0, sampled.0);
        assert_eq!(always.1.books_failed, sampled.1.books_failed);
    }
}

#[test]
fn books_of_the_captures_are_never_crossed() {
    for file in &FILES[..3] {
        let Some(frames) = recorded(file) else { return };
        let (out, _) = decode(Hashes::Always, &frames);
        let mut books: BTreeMap<&Symbol, OrderBook> = BTreeMap::new();
        for record in records(&out) {
            let symbol = record.header.symbol.as_ref().unwrap();
            match &record.body {
                Body::BookSnapshot(book) => books.entry(symbol).or_default().replace(&book.bids, &book.asks),
                Body::BookDelta(delta) => {
                    let Some(book) = books.get_mut(symbol) else { continue };
                    for (side, levels) in [(BookSide::Bid, &delta.bids), (BookSide::Ask, &delta.asks)] {
                        levels.iter().for_each(|level| book.apply(side, *level));
                    }
                }
                _ => {}
            }
            assert!(books.values().all(|book| !book.is_crossed()), "{symbol}");
        }
    }
}

/// What is lost is known with the next change of the token, and told by the one behind that: it might have been of
/// the same millisecond.
#[test]
fn one_lost_change_is_one_gap_for_each_token_with_true_bounds_and_one_request() {
    let Some(mut frames) = recorded(FILES[0]) else { return };
    let lost = 20;
    frames.remove(lost);
    for hashes in [Hashes::Always, Hashes::Sampled] {
        frames.iter_mut().for_each(|frame| frame.elapsed = Duration::from_millis(2_600 * frame.index));
        let (out, counts) = decode(hashes, &frames);
        let found = gaps(&out);
        assert_eq!((found.len(), counts.books_failed), (2, 2), "both tokens of the market");
        for gap in found {
            assert_eq!(gap.cause, GapCause::Checksum);
            let (from, to) = (gap.from.as_ref().unwrap(), gap.to.as_ref().unwrap());
            let sampled = u64::from(hashes == Hashes::Sampled);
            assert!(((lost as u64 - 1 - sampled)..lost as u64).contains(&from.index), "{gap:?}");
            assert!((lost as u64 + 1..=lost as u64 + 1 + sampled).contains(&to.index), "{gap:?}");
            assert_eq!(to.shown.as_ref().unwrap().len(), 40);
        }
        let resyncs = out.iter().filter(|output| matches!(output, Output::Resync(_))).count();
        assert_eq!(resyncs, 2);
        // The books around the next trade repair both.
        if hashes == Hashes::Always {
            assert_eq!(counts.books_verified, 6 + 112 - 2 * (47 - 20 + 1));
        }
        assert_eq!(count(&out, RecordType::BookDelta), 112, "what comes until then is a record all the same");
    }
}

#[test]
fn a_wrong_digit_in_any_book_or_change_is_found() {
    let Some(frames) = recorded(FILES[0]) else { return };
    for (at, from, to) in
        [(0, r#""price":"0.33""#, r#""price":"0.34""#), (2, r#""size":"0""#, r#""size":"1""#)]
    {
        let mut frames = frames.clone();
        let text = std::str::from_utf8(&frames[at].payload).unwrap().replacen(from, to, 1);
        assert_ne!(text.as_bytes(), &*frames[at].payload);
        frames[at].payload = text.into();
        let (out, counts) = decode(Hashes::Always, &frames);
        // A first book of unknown form proves nothing; the books that come around a trade do.
        assert!(counts.books_failed > 0 || at == 0, "{counts:?}");
        assert!(gaps(&out).iter().all(|gap| gap.symbol.is_some()));
    }
}

#[test]
fn the_protocol_and_the_decoder_agree_about_real_frames() {
    for file in FILES {
        let Some(frames) = recorded(file) else { return };
        let mut protocol = PolymarketProtocol::new("ws://localhost");
        for frame in &frames {
            let kind = protocol.heard(&frame.payload, Duration::ZERO, &mut Vec::new()).unwrap();
            let expected = if frame.payload.is_empty() { FrameKind::Control } else { FrameKind::Data };
            assert_eq!(kind, expected, "{:?}", frame.payload);
        }
    }
}

#[test]
fn the_tick_size_is_told_where_a_book_says_it() {
    let Some(frames) = recorded(FILES[0]) else { return };
    let (out, _) = decode(Hashes::Always, &frames);
    let ticks: Vec<_> = records(&out)
        .filter_map(|record| match &record.body {
            Body::Instrument(instrument) => instrument.price_increment.map(|tick| tick.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(ticks, ["0.01", "0.01"]);
    let of_token = records(&out).filter(|record| record.header.symbol.as_ref().unwrap().as_str() == TOKEN);
    assert_eq!(of_token.count(), 1 + 3 + 57 + 2);
}

#[test]
fn recorded_listings_are_read() {
    let read =
        |file: &str| shared(&format!("polymarket/rest/{file}")).map(|path| std::fs::read(path).unwrap());
    let Some(body) = read("gamma-markets-categories50-polycopy-2026-04.json") else { return };
    let page = parse_page(&body).unwrap();
    assert_eq!((page.markets.len(), page.bad.len()), (50, 0));
    let now = "2026-04-01T00:00:00Z".parse::<Timestamp>().unwrap();
    let meant = |patterns: &[&str], filters: &SymbolFilters| {
        let patterns: Vec<_> = patterns.iter().map(|text| (*text).to_owned()).collect();
        select(&page.markets, &patterns, filters, now).unwrap().len()
    };
    assert_eq!(meant(&[], &SymbolFilters::default()), 100);
    assert_eq!(meant(&["*ceasefire*"], &SymbolFilters::default()) % 2, 0);
    let iran = SymbolFilters { category: vec!["iran".to_owned()], ..SymbolFilters::default() };
    let fomc = SymbolFilters { series: vec!["FOMC".to_owned()], ..SymbolFilters::default() };
    println!("iran {}, fomc {}", meant(&[], &iran), meant(&[], &fomc));
    assert!((2..100).contains(&meant(&[], &iran)) && (2..100).contains(&meant(&[], &fomc)));
    for file in ["gamma-binary-market-polyarb-2026-06.json", "gamma-feed-market-polyarb-2026-06.json"] {
        let market = parse_market(&read(file).unwrap()).unwrap().unwrap();
        assert_eq!(market.tokens.len(), 2);
        assert!(market.tokens.iter().all(|token| token.tradable && token.closes.is_some()));
    }
    let resolved = parse_page(&read("gamma-market-negrisk-resolved-polycopy-2026.json").unwrap()).unwrap();
    assert!(resolved.markets.iter().flat_map(|market| &market.tokens).all(|token| !token.tradable));
    let body: serde_json::Value =
        serde_json::from_slice(&read("clob-markets-page-nautilus.json").unwrap()).unwrap();
    let rows = body["data"].as_array().unwrap();
    let markets: Vec<Market> =
        rows.iter().map(|row| parse_clob_market(row.to_string().as_bytes()).unwrap()).collect();
    let tradable = markets.iter().filter(|market| market.tokens.iter().any(|token| token.tradable));
    assert_eq!((markets.len(), tradable.count()), (100, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
    #[test]
    fn damaged_frames_never_panic_and_leave_nothing_behind(
        start in 0_usize..400,
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..5),
    ) {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/polymarket/frames.jsonl");
        let mut all = frames(own.as_ref());
        for file in FILES {
            let Some(frames) = recorded(file) else { break };
            all.extend(frames.into_iter().skip(start % 7).step_by(3));
        }
        let mut decoder = PolymarketDecode::new(Hashes::Always);
        let mut protocol = PolymarketProtocol::new("ws://localhost");
        let mut out = Vec::new();
        for frame in &mut all {
            if frame.index as usize % 3 == start % 3 {
                frame.payload = mutate(&frame.payload, &changes).into();
            }
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
}
