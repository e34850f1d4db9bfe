//! Kraken frames in, expected records beside them. `UPDATE_EXPECT=1` rewrites what is expected.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use ssmd_core::{Decode, Frame, FrameKind, Output, SessionId, Timestamp};
use ssmd_feeds::kraken::KrakenDecode;

#[derive(Deserialize)]
struct Line {
    t: Option<i64>,
    raw: String,
    /// `sent` for what we sent.
    k: Option<String>,
}

/// Decodes every frame and holds what comes out against `expected`, a line for each output.
fn check(frames: &Path, expected: &str) {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kraken").join(expected);
    let (mut decoder, mut text) = (KrakenDecode::new(), String::new());
    for (index, line) in std::fs::read_to_string(frames).unwrap().lines().enumerate() {
        let line: Line = serde_json::from_str(line).unwrap();
        let frame = Frame {
            received: Timestamp::from_nanos(line.t.unwrap_or(0)),
            elapsed: Duration::ZERO,
            session: SessionId(1),
            index: index as u64,
            kind: if line.k.is_some() { FrameKind::Sent } else { FrameKind::Data },
            binary: false,
            payload: line.raw.into(),
            source: None,
        };
        let mut out = Vec::new();
        if let Err(error) = decoder.decode(&frame, &mut out) {
            assert_eq!(out, []);
            writeln!(text, r#"{{"frame":{index},"error":{}}}"#, serde_json::json!(error.to_string()))
                .unwrap();
        }
        for output in out {
            let (name, json) = match output {
                Output::Record(record) => ("record", serde_json::to_string(&record).unwrap()),
                Output::Resync(symbol) => ("resync", serde_json::to_string(&symbol).unwrap()),
            };
            writeln!(text, r#"{{"frame":{index},"{name}":{json}}}"#).unwrap();
        }
    }
    writeln!(text, r#"{{"counts":{}}}"#, serde_json::to_string(&decoder.counts()).unwrap()).unwrap();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&expected, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&expected).unwrap();
    for (at, (given, wanted)) in text.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(given, wanted, "line {} of {}", at + 1, expected.display());
    }
    assert_eq!(text, wanted);
}

#[test]
fn every_type_of_frame() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kraken/frames.jsonl"), "records.jsonl");
}

#[test]
fn recorded_status_answers_and_one_of_each_channel() {
    let root = std::env::var_os("SSMD_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let path = root.join("kraken/play/status+acks+errors+ticker+trade+ohlc-bytex-2026-09.jsonl");
    if !path.exists() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{} is missing", path.display());
        println!("no data at {}: nothing is tested", path.display());
        return;
    }
    check(&path, "records-of-recorded-answers.jsonl");
}
