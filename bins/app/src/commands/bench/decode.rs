//! What one book frame costs, from bytes to a record: of Kraken with the book and its checksum, of Kraken futures
//! with the numbers that must follow.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use ssmd_core::{Decimal, Decode, Error, ErrorKind, Frame, FrameKind, Result, SessionId};
use ssmd_feeds::kraken::KrakenDecode;
use ssmd_feeds::kraken_futures::KrakenFuturesDecode;

use super::figure::{Figure, median};
use super::ground::Ground;
use super::market::Market;

/// Rounds, of which the median counts.
const ROUNDS: usize = 1001;
/// Frames a round: a millisecond's work, so that most rounds lie between two turns of the scheduler.
const FRAMES: usize = 1000;

/// A change of a futures' book may take so many times what serde_json takes to read its fields.
const TYPED_PARSES: f64 = 1.3;

/// One level and ten, and one of futures.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let one = measure(ground, 1)?;
    let ten = measure(ground, 10)?;
    let [futures, typed, bare] = futures(ground)?;
    Ok(vec![
        Figure::most("decode_1_level", one, 0.9, "µs/frame").beside("hoped", 0.6),
        Figure::most("decode_10_levels", ten, 2.8, "µs/frame").beside("hoped", 1.9),
        Figure::most("decode_futures_book", futures, (typed * TYPED_PARSES).max(0.55), "µs/frame")
            .beside("typed_parse", typed)
            .beside("bare_parse", bare),
    ])
}

/// A change of a futures' book.
#[derive(Deserialize)]
#[expect(dead_code, reason = "reading it is what is measured")]
struct Change<'a> {
    feed: &'a str,
    product_id: &'a str,
    side: &'a str,
    seq: u64,
    price: Decimal,
    qty: Decimal,
    timestamp: u64,
}

/// What a change of a futures' book takes, what serde_json takes for its fields, and to read over it.
fn futures(ground: &Ground) -> Result<[f64; 3]> {
    let change = |number: usize| {
        let rest = r#""price":84001.0,"qty":1.0273,"timestamp":1790359997224"#;
        let ids = r#""feed":"book","product_id":"PF_XBTUSD","side":"sell""#;
        frame(format!(r#"{{{ids},"seq":{number},{rest}}}"#).into())
    };
    let snapshot = r#"{"feed":"book_snapshot","product_id":"PF_XBTUSD","seq":200000000,"bids":[],"asks":[]}"#;
    let snapshot = frame(Bytes::from_static(snapshot.as_bytes()));
    let changes: Vec<_> = (1..=FRAMES).map(|number| change(200_000_000 + number)).collect();
    let mut decoder = KrakenFuturesDecode::new();
    let mut out = Vec::with_capacity(16);
    let bad = |error: ssmd_core::DecodeError| Error::new(ErrorKind::Bug, "bench").detail(error.to_string());
    let clock = ground.clock();
    let mut rounds: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        decoder.decode(&snapshot, &mut out).map_err(bad)?;
        let began = clock.elapsed();
        for change in &changes {
            out.clear();
            decoder.decode(black_box(change), black_box(&mut out)).map_err(bad)?;
        }
        let decoded = clock.elapsed();
        let typed = changes.iter().filter(|change| {
            black_box(serde_json::from_slice::<Change<'_>>(black_box(&change.payload))).is_ok()
        });
        let typed = typed.count();
        let parsed = clock.elapsed();
        let bare = changes.iter().filter(|change| {
            serde_json::from_slice::<serde::de::IgnoredAny>(black_box(&change.payload)).is_ok()
        });
        let bare = bare.count();
        let read = clock.elapsed();
        if (typed, bare) != (FRAMES, FRAMES) {
            return Err(Error::new(ErrorKind::Bug, "bench").detail("a frame was not read"));
        }
        for (round, took) in rounds.iter_mut().zip([decoded - began, parsed - decoded, read - parsed]) {
            round.push(took.as_secs_f64() * 1e6 / FRAMES as f64);
        }
    }
    let counts = decoder.counts();
    if counts.books_failed > 0 || counts.books_verified < (ROUNDS * FRAMES) as u64 {
        return Err(Error::new(ErrorKind::Bug, "bench").detail("a change did not follow"));
    }
    Ok(rounds.map(|mut round| median(&mut round)))
}

fn measure(ground: &Ground, levels: usize) -> Result<f64> {
    let mut market = Market::new()?;
    let snapshot = frame(market.snapshot());
    let updates = market.updates(levels)?.map(frame);
    let mut decoder = KrakenDecode::new();
    let mut out = Vec::with_capacity(16);
    let bad = |error: ssmd_core::DecodeError| Error::new(ErrorKind::Bug, "bench").detail(error.to_string());
    decoder.decode(&snapshot, &mut out).map_err(bad)?;
    let clock = ground.clock();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = clock.elapsed();
        for at in 0..FRAMES {
            out.clear();
            decoder.decode(black_box(&updates[at % 2]), black_box(&mut out)).map_err(bad)?;
        }
        rounds.push((clock.elapsed() - began).as_secs_f64() * 1e6 / FRAMES as f64);
    }
    let counts = decoder.counts();
    if counts.books_failed > 0 || counts.books_verified < (ROUNDS * FRAMES) as u64 {
        return Err(Error::new(ErrorKind::Bug, "bench").detail("a book was not verified"));
    }
    Ok(median(&mut rounds))
}

fn frame(payload: Bytes) -> Frame {
    Frame {
        received: ssmd_core::Timestamp::from_nanos(1_785_552_833_316_423_800),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index: 0,
        kind: FrameKind::Data,
        binary: false,
        payload,
        source: None,
    }
}
