//! What one Kraken book frame costs: decoding, the book, and its checksum, from bytes to a record.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Decode, Error, ErrorKind, Frame, FrameKind, Result, SessionId};
use ssmd_feeds::kraken::KrakenDecode;

use super::figure::{Figure, median};
use super::ground::Ground;
use super::market::Market;

/// Rounds, of which the median counts.
const ROUNDS: usize = 1001;
/// Frames a round: a millisecond's work, so that most rounds lie between two turns of the scheduler.
const FRAMES: usize = 1000;

/// One level and ten.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let one = measure(ground, 1)?;
    let ten = measure(ground, 10)?;
    Ok(vec![
        Figure::most("decode_1_level", one, 0.9, "µs/frame").beside("hoped", 0.6),
        Figure::most("decode_10_levels", ten, 2.8, "µs/frame").beside("hoped", 1.9),
    ])
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
