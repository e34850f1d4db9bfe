//! What one Kraken frame costs: decoding, the book, and its checksum, from bytes to records.
//!
//! Each figure stands beside its limit in the name of its bench. Frames have the form and the digits of captured
//! ones; all of their checksums are right, or the bench stops.

use std::cell::Cell;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use ssmd_core::record::Level;
use ssmd_core::{BookSide, Decimal, Decode, Frame, FrameKind, OrderBook, Output, SessionId, Timestamp};
use ssmd_feeds::Protocol;
use ssmd_feeds::kraken::{KrakenDecode, KrakenProtocol, checksum};

fn main() {
    println!(
        "limits, decode + book + checksum: 1 level 0.9 µs (hoped for 0.6), 10 levels 2.8 µs (hoped for 1.9)"
    );
    divan::main();
}

#[divan::bench(args = [10, 1000], name = "one_level_limit_900_ns_at_depth")]
fn one_level(bencher: Bencher<'_, '_>, depth: usize) {
    updates(bencher, depth, 1);
}

#[divan::bench(args = [10, 1000], name = "ten_levels_limit_2800_ns_at_depth")]
fn ten_levels(bencher: Bencher<'_, '_>, depth: usize) {
    updates(bencher, depth, 10);
}

/// The harder reading of the same limits: as many levels on each side.
#[divan::bench(args = [10, 1000], name = "one_level_a_side_limit_900_ns_at_depth")]
fn one_level_a_side(bencher: Bencher<'_, '_>, depth: usize) {
    updates(bencher, depth, 2);
}

#[divan::bench(args = [10, 1000], name = "ten_levels_a_side_at_depth")]
fn ten_levels_a_side(bencher: Bencher<'_, '_>, depth: usize) {
    updates(bencher, depth, 20);
}

#[divan::bench(args = [10, 1000], name = "snapshot_of_depth")]
fn snapshot(bencher: Bencher<'_, '_>, depth: usize) {
    let market = Market::new(depth);
    let frame = market.frame("snapshot", &market.levels(BookSide::Bid), &market.levels(BookSide::Ask));
    run(bencher, &[], &[frame]);
}

#[divan::bench(name = "ticker")]
fn ticker(bencher: Bencher<'_, '_>) {
    let text = r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":83744.2,"bid_qty":0.56251979,"ask":83744.3,"ask_qty":0.00044780,"last":83744.3,"volume":3156.84782110,"vwap":84174.6,"low":83163.6,"high":85247.4,"change":-429.3,"change_pct":-0.51,"trades":135262,"timestamp":"2026-09-25T17:48:26.844359Z"}]}"#;
    run(bencher, &[], &[frame(text.into())]);
}

#[divan::bench(name = "trade")]
fn trade(bencher: Bencher<'_, '_>) {
    let text = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":83744.3,"qty":0.00044780,"ord_type":"limit","trade_id":109116693,"timestamp":"2026-09-25T17:48:26.844359Z"}]}"#;
    run(bencher, &[], &[frame(text.into())]);
}

#[divan::bench(name = "what_capture_pays_a_frame")]
fn heard(bencher: Bencher<'_, '_>) {
    let mut market = Market::new(10);
    let frame = market.update(1, 0);
    let mut protocol = KrakenProtocol::new("ws://localhost", None);
    let mut send = Vec::new();
    bencher.bench_local(|| protocol.heard(&frame.payload, Duration::ZERO, &mut send));
}

/// Two frames that undo each other, so that the book is the same at every second one.
fn updates(bencher: Bencher<'_, '_>, depth: usize, levels: usize) {
    let mut market = Market::new(depth);
    let first = market.frame("snapshot", &market.levels(BookSide::Bid), &market.levels(BookSide::Ask));
    let frames = [market.update(levels, 1), market.update(levels, 2)];
    run(bencher, &[first], &frames);
}

fn run(bencher: Bencher<'_, '_>, before: &[Frame], frames: &[Frame]) {
    let mut decoder = KrakenDecode::new();
    let mut out = Vec::with_capacity(16);
    for frame in before.iter().chain(frames) {
        decoder.decode(frame, &mut out).expect("the frame is well-formed");
    }
    let at = Cell::new(0);
    bencher.counter(BytesCount::new(frames[0].payload.len())).bench_local(|| {
        out.clear();
        at.set((at.get() + 1) % frames.len());
        decoder.decode(&frames[at.get()], &mut out).is_ok()
    });
    assert!(out.iter().all(|output| matches!(output, Output::Record(_))));
    assert_eq!((decoder.counts().books_failed, decoder.counts().malformed), (0, 0));
}

/// A book around 63,000, one tick apart.
struct Market {
    book: OrderBook,
    depth: usize,
}

impl Market {
    fn new(depth: usize) -> Self {
        let mut market = Self { book: OrderBook::new(), depth };
        for at in 0..depth as i128 {
            market.book.apply(BookSide::Bid, level(630_049 - at, 1_876_947 + at * 7_919));
            market.book.apply(BookSide::Ask, level(630_050 + at, 55_006_860 + at * 104_729));
        }
        market
    }

    fn levels(&self, side: BookSide) -> Vec<Level> {
        self.book.levels(side).copied().collect()
    }

    /// Changes the sizes of the best levels: one ask, or half of them bids.
    fn update(&mut self, levels: usize, round: i128) -> Frame {
        assert!(levels <= 2 * self.depth);
        let changed = |side, count: usize| -> Vec<Level> {
            let prices = self.book.levels(side).take(count).map(|level| level.price);
            prices.map(|price| Level { price, size: decimal(208_665_551 + round * 777, 8) }).collect()
        };
        let (bids, asks) = (changed(BookSide::Bid, levels / 2), changed(BookSide::Ask, levels - levels / 2));
        bids.iter().for_each(|level| self.book.apply(BookSide::Bid, *level));
        asks.iter().for_each(|level| self.book.apply(BookSide::Ask, *level));
        self.frame("update", &bids, &asks)
    }

    fn frame(&self, kind: &str, bids: &[Level], asks: &[Level]) -> Frame {
        let text = format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{}],"asks":[{}],"checksum":{},"timestamp":"2026-08-01T02:53:53.646219Z"}}]}}"#,
            json(bids),
            json(asks),
            checksum(&self.book)
        );
        frame(text.into())
    }
}

fn json(levels: &[Level]) -> String {
    let mut text = String::new();
    for Level { price, size } in levels {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, r#"{comma}{{"price":{price},"qty":{size}}}"#).expect("writing to a string cannot fail");
    }
    text
}

fn level(price: i128, size: i128) -> Level {
    Level { price: decimal(price, 1), size: decimal(size, 8) }
}

fn decimal(mantissa: i128, scale: u32) -> Decimal {
    Decimal::new(mantissa, scale).expect("it fits")
}

fn frame(payload: Bytes) -> Frame {
    Frame {
        received: Timestamp::from_nanos(1_785_552_833_316_423_800),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index: 0,
        kind: FrameKind::Data,
        binary: false,
        payload,
        source: None,
    }
}
