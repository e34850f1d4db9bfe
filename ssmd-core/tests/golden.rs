//! The formats of records, pinned: `testdata/records/*.json` are lines as users see them, and beside each is the
//! hexadecimal text of the Cap'n Proto message of the same record. A change here changes what archives hold.
//!
//! `UPDATE_EXPECT=1` writes the messages anew, and the lines as they are written now.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ssmd_core::codec::{capnp, json};
use ssmd_core::{RecordType, Result};

/// How many bytes of a message stand on one line of its file.
const BYTES_A_LINE: usize = 32;

#[test]
fn formats_are_what_they_were() {
    let mut types = BTreeSet::new();
    for path in lines() {
        let line = std::fs::read_to_string(&path).unwrap();
        let (feed, record) = json::decode(line.as_bytes()).unwrap();
        types.insert(record.body.record_type());
        let mut written = Vec::new();
        json::encode(&record, &feed, &mut written);
        written.push(b'\n');
        expect(&path, &String::from_utf8(written).unwrap());

        let mut message = Vec::new();
        capnp::encode(&record, &mut message).unwrap();
        let beside = path.with_extension("capnp.hex");
        expect(&beside, &hex(&message));
        let kept = std::fs::read_to_string(&beside).unwrap();
        let again = capnp::decode(&bytes(&kept)).unwrap();
        assert_eq!(format!("{again:?}"), format!("{record:?}"), "{}", beside.display());
    }
    let missing: Vec<_> = RecordType::ALL.iter().filter(|(kind, _)| !types.contains(kind)).collect();
    assert!(missing.is_empty(), "no golden file for {missing:?}");
}

#[test]
fn a_file_of_records_is_read_to_its_end() {
    let mut stream = Vec::new();
    let mut count = 0;
    for path in lines() {
        let (_, record) = json::decode(&std::fs::read(path).unwrap()).unwrap();
        capnp::encode(&record, &mut stream).unwrap();
        count += 1;
    }
    let records: Result<Vec<_>> = capnp::Records::new(&stream).collect();
    assert_eq!(records.unwrap().len(), count);
}

fn lines() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/records");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}

fn expect(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(kept, text, "{} (UPDATE_EXPECT=1 rewrites it)", path.display());
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(BYTES_A_LINE) {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    text
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
