//! Frames to decode, and the real ones of `SSMD_SHARED_DATA`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssmd_core::{Body, Frame, FrameKind, Gap, Output, Record, RecordType, SessionId, Timestamp};

/// A file of the folder of captured data; `None`, said aloud, where there is none and none must be.
pub fn shared(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SSMD_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let path = root.join(file);
    if path.is_file() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{} is missing", path.display());
    println!("no data at {}: nothing is tested", path.display());
    None
}

/// The frames of a play file, plain or gzip; `"k"` marks those that we sent.
pub fn frames(path: &Path) -> Vec<Frame> {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    match bytes.starts_with(&[0x1f, 0x8b]) {
        true => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
        false => (&bytes[..]).read_to_string(&mut text).unwrap(),
    };
    let frame = |(index, line): (usize, &str)| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let kind = if line["k"].is_null() { FrameKind::Data } else { FrameKind::Sent };
        let payload = line["raw"].as_str().unwrap();
        Frame { kind, ..frame(index as u64, line["t"].as_i64().unwrap_or(0), payload.as_bytes()) }
    };
    text.lines().enumerate().map(frame).collect()
}

/// A frame of session 1.
pub fn frame(index: u64, received: i64, payload: &[u8]) -> Frame {
    Frame {
        received: Timestamp::from_nanos(received),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index,
        kind: FrameKind::Data,
        binary: false,
        payload: payload.to_vec().into(),
        source: None,
    }
}

/// The records of what a decoder gave.
pub fn records(out: &[Output]) -> impl Iterator<Item = &Record> {
    out.iter().filter_map(|output| match output {
        Output::Record(record) => Some(record),
        Output::Resync(_) => None,
    })
}

/// How many records of one type there are.
pub fn count(out: &[Output], kind: RecordType) -> usize {
    records(out).filter(|record| record.body.record_type() == kind).count()
}

/// The gaps.
pub fn gaps(out: &[Output]) -> Vec<&Gap> {
    let gap = |record: &'_ Record| matches!(record.body, Body::Gap(_));
    let gaps = records(out).filter(|record| gap(record));
    gaps.filter_map(|record| if let Body::Gap(gap) = &record.body { Some(gap) } else { None }).collect()
}

/// A change of a few bytes: the kind of damage that finds the edges of a parser.
pub fn mutate(payload: &[u8], changes: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    for &(at, what, byte) in changes {
        let at = at % bytes.len().max(1);
        match what % 4 {
            0 if !bytes.is_empty() => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => bytes.truncate(bytes.len() - usize::from(byte).min(bytes.len()) / 4),
        }
    }
    bytes
}
