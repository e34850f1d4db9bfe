//! What one Polymarket change costs, from bytes to records, beside a typed parse of the same bytes.
//!
//! Frames have the form, the digits and the sizes of captured ones: two tokens of one market, a hundred levels, one
//! level of each changed in each message. Every hash is right, or the bench stops. Each message has two entries, and
//! figures are those of a message: the limit of 0.4 µs an entry is 0.8 µs here.

use std::cell::Cell;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use serde::Deserialize;
use sha1::{Digest, Sha1};
use ssmd_core::{Decimal, Decode, Frame, FrameKind, Output, SessionId, Timestamp};
use ssmd_feeds::Protocol;
use ssmd_feeds::polymarket::{Hashes, PolymarketDecode, PolymarketProtocol};

/// Changes that are decoded again and again, each run behind a book of its own.
const CHANGES: u64 = 2_000;
/// Levels a side.
const LEVELS: u64 = 50;
/// A busy market: three tokens were heard to change thirty times a second.
const BETWEEN: Duration = Duration::from_millis(30);

const MARKET: &str = "0xd23bf61367002265932ce5ae32052aac970c889da8518a2487b5e8a5f1e0693b";
const TOKENS: [&str; 2] = [
    "114602688616062054693464639818826590702731982636255124778328943187816056373369",
    "112222688616062054693464639818826590702731982636255124778328943187816056373368",
];
const TRADE: &str = r#"{"market":"0xd23bf61367002265932ce5ae32052aac970c889da8518a2487b5e8a5f1e0693b","asset_id":"114602688616062054693464639818826590702731982636255124778328943187816056373369","price":"0.62","size":"31.74","fee_rate_bps":"0","side":"SELL","timestamp":"1788786353325","event_type":"last_trade_price","transaction_hash":"0xdfcc917bc39862f94f76f4d17224f87026c4d2c1b1b211a1e6e479059c59a5e9"}"#;

fn main() {
    println!("limit, a message of two changes: 0.8 µs with sampled hashes, or 1.3 times a typed parse");
    divan::main();
}

/// What a decoder must read of a change at least, in the types that a record has.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "market")]
    _market: &'a str,
    #[serde(borrow, rename = "price_changes")]
    _changes: Vec<TypedChange<'a>>,
    #[serde(rename = "timestamp")]
    _timestamp: &'a str,
}

#[derive(Deserialize)]
struct TypedChange<'a> {
    #[serde(rename = "asset_id")]
    _asset_id: &'a str,
    #[serde(rename = "price")]
    _price: Decimal,
    #[serde(rename = "size")]
    _size: Decimal,
    #[serde(rename = "side")]
    _side: &'a str,
    #[serde(rename = "hash")]
    _hash: &'a str,
    #[serde(rename = "best_bid")]
    _best_bid: Decimal,
    #[serde(rename = "best_ask")]
    _best_ask: Decimal,
}

#[divan::bench(name = "price_change_of_two_sampled_limit_800_ns")]
fn sampled(bencher: Bencher<'_, '_>) {
    run(bencher, Hashes::Sampled, &frames(), 2);
}

#[divan::bench(name = "price_change_of_two_every_hash_checked")]
fn always(bencher: Bencher<'_, '_>) {
    run(bencher, Hashes::Always, &frames(), 2);
}

#[divan::bench(name = "price_change_of_two_typed_parse_by_serde_json")]
fn typed(bencher: Bencher<'_, '_>) {
    let frames = frames();
    let payload = &frames[frames.len() - 1].payload;
    bencher.counter(BytesCount::new(payload.len())).bench_local(|| {
        serde_json::from_slice::<Typed<'_>>(payload).is_ok_and(|parsed| parsed._changes.len() == 2)
    });
}

#[divan::bench(name = "price_change_of_two_bare_parse_by_serde_json")]
fn bare(bencher: Bencher<'_, '_>) {
    let frames = frames();
    let payload = &frames[frames.len() - 1].payload;
    bencher
        .counter(BytesCount::new(payload.len()))
        .bench_local(|| serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok());
}

#[divan::bench(name = "last_trade_price")]
fn trade(bencher: Bencher<'_, '_>) {
    run(bencher, Hashes::Always, &[frame(0, TRADE.to_owned())], 1);
}

#[divan::bench(name = "book_of_a_hundred_levels")]
fn book(bencher: Bencher<'_, '_>) {
    let frames: Vec<_> = (0..10).map(|n| frame(n, format!("[{}]", Book::new(0).full(n)))).collect();
    run(bencher, Hashes::Always, &frames, 1);
}

#[divan::bench(name = "what_capture_pays_a_frame")]
fn heard(bencher: Bencher<'_, '_>) {
    let frames = frames();
    let frame = &frames[frames.len() - 1];
    let (mut protocol, mut send) = (PolymarketProtocol::new("ws://localhost"), Vec::new());
    bencher.bench_local(|| protocol.heard(&frame.payload, Duration::ZERO, &mut send));
}

fn run(bencher: Bencher<'_, '_>, hashes: Hashes, frames: &[Frame], entries: usize) {
    let (mut decoder, mut out) = (PolymarketDecode::new(hashes), Vec::with_capacity(16));
    let (at, round) = (Cell::new(frames.len() - 1), Cell::new(0_u32));
    let mut frames = frames.to_vec();
    let all = BETWEEN * frames.len() as u32;
    let bytes = frames[frames.len() - 1].payload.len();
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(entries)).bench_local(|| {
        out.clear();
        at.set((at.get() + 1) % frames.len());
        if at.get() == 0 {
            round.set(round.get() + 1);
        }
        let frame = &mut frames[at.get()];
        frame.elapsed = all * round.get() + BETWEEN * at.get() as u32;
        decoder.decode(frame, &mut out).is_ok()
    });
    assert!(out.iter().all(|output| matches!(output, Output::Record(_))));
    assert_eq!((decoder.counts().books_failed, decoder.counts().malformed), (0, 0));
}

/// The books of both tokens, then changes of one level after another.
fn frames() -> Vec<Frame> {
    let mut books = [0, 1].map(Book::new);
    let full: Vec<_> = books.iter().map(|book| book.full(0)).collect();
    let mut frames = vec![frame(0, format!("[{}]", full.join(",")))];
    for n in 1..=CHANGES {
        let changes: Vec<_> = books.iter_mut().map(|book| book.change(n)).collect();
        let text = format!(
            r#"{{"market":"{MARKET}","price_changes":[{}],"timestamp":"{}","event_type":"price_change"}}"#,
            changes.join(","),
            time(n)
        );
        frames.push(frame(n, text));
    }
    frames
}

/// One token's book; the second token's mirrors the first's.
struct Book {
    token: usize,
    /// Sizes in hundredths, from the price 0.5 of the first token downwards and upwards.
    sizes: [Vec<u64>; 2],
}

impl Book {
    fn new(token: usize) -> Self {
        let sizes = |side: u64| (0..LEVELS).map(|at| 10_000 + at * 1_237 + side * 3).collect();
        Self { token, sizes: [sizes(0), sizes(1)] }
    }

    fn level(&self, side: usize, at: usize) -> [String; 2] {
        let thousandths = if side == 0 { 500 - at as u64 } else { 501 + at as u64 };
        let thousandths = if self.token == 0 { thousandths } else { 1_000 - thousandths };
        let size = self.sizes[side][at];
        [number(thousandths, 3), number(size, 2)]
    }

    /// Bids and asks as text, the best last.
    fn text(&self) -> [String; 2] {
        let sides = if self.token == 0 { [0, 1] } else { [1, 0] };
        sides.map(|side| {
            let level = |at: usize| {
                let [price, size] = self.level(side, at);
                format!(r#"{{"price":"{price}","size":"{size}"}}"#)
            };
            (0..LEVELS as usize).rev().map(level).collect::<Vec<_>>().join(",")
        })
    }

    fn hash(&self, n: u64) -> String {
        let [bids, asks] = self.text();
        let (token, time) = (TOKENS[self.token], time(n));
        let text = format!(
            r#"{{"market":"{MARKET}","asset_id":"{token}","timestamp":"{time}","hash":"","bids":[{bids}],"asks":[{asks}],"min_order_size":"5","tick_size":"0.001","neg_risk":false,"last_trade_price":"0.501"}}"#
        );
        Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn full(&self, n: u64) -> String {
        let [bids, asks] = self.text();
        let (token, time, hash) = (TOKENS[self.token], time(n), self.hash(n));
        format!(
            r#"{{"market":"{MARKET}","asset_id":"{token}","timestamp":"{time}","hash":"{hash}","bids":[{bids}],"asks":[{asks}],"tick_size":"0.001","event_type":"book","last_trade_price":"0.501"}}"#
        )
    }

    fn change(&mut self, n: u64) -> String {
        let (side, at) = ((n % 2) as usize, (n * 7 % LEVELS) as usize);
        self.sizes[side][at] += 1 + n % 97;
        let [price, size] = self.level(side, at);
        let (bid, ask) = if self.token == 0 { ("0.5", "0.501") } else { ("0.499", "0.5") };
        let word = if (side == 0) == (self.token == 0) { "BUY" } else { "SELL" };
        let (token, hash) = (TOKENS[self.token], self.hash(n));
        format!(
            r#"{{"asset_id":"{token}","price":"{price}","size":"{size}","side":"{word}","hash":"{hash}","best_bid":"{bid}","best_ask":"{ask}"}}"#
        )
    }
}

fn number(units: u64, scale: u32) -> String {
    let (whole, rest) = (units / 10_u64.pow(scale), units % 10_u64.pow(scale));
    match rest {
        0 => whole.to_string(),
        _ => format!("{whole}.{rest:0>width$}", width = scale as usize).trim_end_matches('0').to_owned(),
    }
}

fn time(n: u64) -> u64 {
    1_788_786_290_337 + n
}

fn frame(index: u64, payload: String) -> Frame {
    Frame {
        received: Timestamp::from_nanos(1_788_786_290_400_000_000),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index,
        kind: FrameKind::Data,
        binary: false,
        payload: payload.into(),
        source: None,
    }
}
