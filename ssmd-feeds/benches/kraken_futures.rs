//! What one Kraken futures frame costs, from bytes to records, beside a bare parse of the same bytes.
//!
//! Each figure stands beside its limit in the name of its bench. Frames have the form and the digits of captured
//! ones; all of their numbers follow, or the bench stops.

use std::cell::Cell;
use std::time::Duration;

use divan::Bencher;
use divan::counter::BytesCount;
use ssmd_core::{Decode, Frame, FrameKind, Output, SessionId, Timestamp};
use ssmd_feeds::Protocol;
use ssmd_feeds::kraken_futures::{KrakenFuturesDecode, KrakenFuturesProtocol};

/// Changes of one book that are decoded again and again, each run behind a snapshot of its own.
const CHANGES: u64 = 1_000;

const TRADE: &str = r#"{"feed":"trade","product_id":"PF_XBTUSD","uid":"16dc1852-127b-40c9-acbb-5916ce98ee04","side":"sell","type":"fill","seq":96905,"time":1770920339688,"qty":0.0003,"price":65368.0}"#;
const TICKER: &str = r#"{"time":1790359997224,"product_id":"PF_XBTUSD","funding_rate":0.912482213835,"funding_rate_prediction":1.3232500286425,"relative_funding_rate":0.00001089345,"relative_funding_rate_prediction":0.00001575425,"next_funding_rate_time":1790362800000,"leverage":"100x","premium":0.0,"feed":"ticker","bid":84001.0,"ask":84002.0,"bid_size":0.0273,"ask_size":0.006,"volume":4237.2723,"dtm":0,"index":83995.76,"last":83997.0,"change":-0.22,"suspended":false,"tag":"perpetual","pair":"XBT:USD","openInterest":2189.7813,"markPrice":84004.11362574516,"maturityTime":0,"post_only":false,"volumeQuote":356641614.007}"#;

fn main() {
    println!("limit, a change of a book: 0.55 µs");
    divan::main();
}

#[divan::bench(name = "book_limit_550_ns")]
fn book(bencher: Bencher<'_, '_>) {
    let snapshot = r#"{"feed":"book_snapshot","product_id":"PF_XBTUSD","seq":200000000,"bids":[],"asks":[]}"#;
    let frames: Vec<_> =
        [frame(snapshot)].into_iter().chain((1..=CHANGES).map(|n| frame(&change(n)))).collect();
    run(bencher, &frames);
}

#[divan::bench(name = "book_bare_parse_by_serde_json")]
fn book_bare(bencher: Bencher<'_, '_>) {
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
    let (mut protocol, mut send) = (KrakenFuturesProtocol::new("ws://localhost"), Vec::new());
    bencher.bench_local(|| protocol.heard(&frame.payload, Duration::ZERO, &mut send));
}

fn run(bencher: Bencher<'_, '_>, frames: &[Frame]) {
    let (mut decoder, mut out) = (KrakenFuturesDecode::new(), Vec::with_capacity(16));
    let at = Cell::new(frames.len() - 1);
    let bytes = frames[frames.len() - 1].payload.len();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        out.clear();
        at.set((at.get() + 1) % frames.len());
        decoder.decode(&frames[at.get()], &mut out).is_ok()
    });
    assert!(out.iter().all(|output| matches!(output, Output::Record(_))));
    assert_eq!((decoder.counts().books_failed, decoder.counts().malformed), (0, 0));
}

fn change(number: u64) -> String {
    format!(
        r#"{{"feed":"book","product_id":"PF_XBTUSD","side":"sell","seq":{},"price":84001.0,"qty":1.0273,"timestamp":1790359997224}}"#,
        200_000_000 + number
    )
}

fn frame(payload: &str) -> Frame {
    Frame {
        received: Timestamp::from_nanos(1_790_359_997_224_000_000),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index: 0,
        kind: FrameKind::Data,
        binary: false,
        payload: payload.to_owned().into(),
        source: None,
    }
}
