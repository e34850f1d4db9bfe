//! Real Kraken frames: every checksum is right, nothing makes the decoder panic, and it is deterministic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::time::Duration;

use common::recorded::{count, frames, gaps, mutate, shared};
use proptest::prelude::*;
use ssmd_core::{Decode, DecodeCounts, Frame, FrameKind, Output, RecordType};
use ssmd_feeds::Protocol;
use ssmd_feeds::kraken::{KrakenDecode, KrakenProtocol};

const FILES: [&str; 4] = [
    "book-btcusd-depth10-crossbook-l2.jsonl.gz",
    "book-btcusd-depth25-crossbook-sample.jsonl.gz",
    "book-xrpusd-depth25-crossbook-sample.jsonl.gz",
    "status+acks+errors+ticker+trade+ohlc-bytex-2026-09.jsonl",
];

fn recorded(file: &str) -> Option<Vec<Frame>> {
    shared(&format!("kraken/play/{file}")).map(|path| frames(&path))
}

fn decode(frames: &[Frame]) -> (Vec<Output>, DecodeCounts) {
    let (mut decoder, mut out) = (KrakenDecode::new(), Vec::new());
    for frame in frames {
        if let Err(error) = decoder.decode(frame, &mut out) {
            panic!("frame {}: {error}", frame.index);
        }
    }
    (out, decoder.counts())
}

#[test]
fn every_checksum_of_the_captures_is_right() {
    let expected = [(5, 296), (1, 2051), (1, 1146), (0, 0)];
    let mut verified = 0;
    for (file, (snapshots, updates)) in FILES.into_iter().zip(expected) {
        let Some(frames) = recorded(file) else { return };
        let (out, counts) = decode(&frames);
        println!("{file}: {counts:?}");
        assert_eq!(counts.frames, frames.len() as u64);
        assert_eq!(count(&out, RecordType::BookSnapshot), snapshots);
        assert_eq!(count(&out, RecordType::BookDelta), updates);
        assert_eq!((counts.books_failed, counts.malformed, counts.unknown), (0, 0, 0));
        assert_eq!(counts.books_verified as usize, snapshots + updates);
        assert_eq!(count(&out, RecordType::Gap), 0);
        verified += counts.books_verified;
    }
    println!("{verified} checksums verified");
}

#[test]
fn without_the_cut_to_the_depth_some_checksums_would_be_wrong() {
    // The capture at depth 10, decoded as if 25 had been asked for: the test above tests something.
    let Some(mut frames) = recorded(FILES[0]) else { return };
    for frame in &mut frames {
        let text = String::from_utf8(frame.payload.to_vec()).unwrap();
        frame.payload = text.replace(r#""depth":10"#, r#""depth":25"#).into();
    }
    let (out, counts) = decode(&frames);
    assert!(counts.books_failed > 0);
    assert_eq!(out.iter().filter(|o| matches!(o, Output::Resync(_))).count() as u64, counts.books_failed);
    assert_eq!(count(&out, RecordType::Gap) as u64, counts.books_failed);
}

#[test]
fn the_depth_can_be_guessed_from_the_snapshot() {
    for file in FILES {
        let Some(frames) = recorded(file) else { return };
        let unsaid: Vec<_> = frames
            .into_iter()
            .filter(|frame| !frame.payload.starts_with(b"{\"method\":\"subscribe\""))
            .collect();
        assert_eq!(decode(&unsaid).1.books_failed, 0, "{file}");
    }
}

#[test]
fn one_lost_update_is_one_gap_with_true_bounds() {
    let Some(mut frames) = recorded(FILES[2]) else { return };
    let lost = frames
        .iter()
        .rposition(|f| f.payload.starts_with(b"{\"channel\":\"book\",\"type\":\"update\""))
        .unwrap()
        - 200;
    frames.remove(lost);
    let (out, counts) = decode(&frames);
    let gaps = gaps(&out);
    assert_eq!((gaps.len(), counts.books_failed), (1, 1));
    let (from, to) = (gaps[0].from.as_ref().unwrap(), gaps[0].to.as_ref().unwrap());
    assert!(from.index < lost as u64 && to.index > lost as u64, "{gaps:?}");
}

#[test]
fn the_protocol_and_the_decoder_agree_about_real_frames() {
    for file in FILES {
        let Some(frames) = recorded(file) else { return };
        let mut protocol = KrakenProtocol::new("ws://localhost", None);
        for frame in &frames {
            let kind = protocol.heard(&frame.payload, Duration::ZERO, &mut Vec::new()).unwrap();
            let is_data = frame.payload.windows(8).any(|part| part == b"\"type\":\"")
                && !frame.payload.starts_with(b"{\"channel\":\"status\"");
            assert_eq!(kind == FrameKind::Data, is_data, "{:?}", frame.payload);
            assert_ne!(kind, FrameKind::Unknown);
        }
    }
}

#[test]
fn decoding_twice_gives_the_same() {
    let Some(frames) = recorded(FILES[0]) else { return };
    assert_eq!(decode(&frames), decode(&frames));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
    #[test]
    fn damaged_frames_never_panic_and_leave_nothing_behind(
        start in 0_usize..400,
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..5),
    ) {
        let mut all = Vec::new();
        for file in FILES {
            let Some(frames) = recorded(file) else { return Ok(()) };
            all.extend(frames.into_iter().skip(start % 7).step_by(29));
        }
        let mut decoder = KrakenDecode::new();
        let mut protocol = KrakenProtocol::new("ws://localhost", None);
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
}
