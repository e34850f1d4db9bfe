//! Frames in, expected records beside them. `UPDATE_EXPECT=1` rewrites what is expected.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ssmd_core::{Decode, Output};

use super::recorded::frames;

/// A file of a venue's own test data.
pub fn testdata(venue: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(venue).join(file)
}

/// Decodes every frame of `given` and holds what comes out against the venue's `expected`, a line for each output.
pub fn check(venue: &str, mut decoder: impl Decode, given: &Path, expected: &str) {
    let (expected, mut text) = (testdata(venue, expected), String::new());
    for frame in frames(given) {
        let (mut out, index) = (Vec::new(), frame.index);
        if let Err(error) = decoder.decode(&frame, &mut out) {
            assert_eq!(out, []);
            let error = serde_json::json!(error.to_string());
            writeln!(text, r#"{{"frame":{index},"error":{error}}}"#).unwrap();
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
