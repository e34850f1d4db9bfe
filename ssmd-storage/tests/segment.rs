//! The file formats: golden files, bounds, and damage.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap too")]

mod common;

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use proptest::prelude::*;
use ssmd_core::*;
use ssmd_storage::chain::Chain;
use ssmd_storage::segment::{SEGMENT_BYTES_MAX, Sealed, SegmentReader, SegmentWriter};
use ssmd_storage::{Commit, Compression, Object};

/// Compares with a golden file; `UPDATE_EXPECT=1` rewrites it.
fn check_golden(name: &str, text: &str) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{}", path.display());
}

fn seal(entries: &[Entry], compression: Compression) -> Sealed {
    let mut writer = SegmentWriter::begin(&feed(), &entries[0], compression).unwrap();
    for entry in &entries[1..] {
        assert!(writer.push(entry).unwrap());
    }
    writer.finish().unwrap()
}

fn read(body: Bytes) -> Result<Vec<Entry>> {
    let mut reader = SegmentReader::open(body)?;
    let mut entries = Vec::new();
    while reader.read(&mut entries)? {}
    Ok(entries)
}

#[test]
fn a_segment_is_the_golden_one() {
    let mut recording = Recording::new(0xa1);
    recording.open();
    recording.frame("{\"channel\":\"heartbeat\"}");
    recording.advance(Duration::from_nanos(123));
    recording.frame("{\"price\":1.50,\"price\":1E5}\n");
    recording.frame(" [1,\r\n2] ");
    recording.frame("not \"json\"");
    recording.frame(vec![0xff, 0x00]);
    recording.frame("");
    recording.frame("x".repeat(1024 * 1024 + 3));
    recording.tick();
    recording.gap(&gap(GapCause::Silence));
    recording.close();
    let large = recording.entries.iter().position(|entry| entry.more).unwrap();
    recording.entries[large].payload.truncate(3);
    for compression in [Compression::default(), Compression::Gzip] {
        let sealed = seal(&recording.entries, compression);
        let mut text = String::new();
        match compression {
            Compression::Gzip => {
                flate2::read::GzDecoder::new(&sealed.body[..]).read_to_string(&mut text).unwrap();
            }
            Compression::Zstd(_) => {
                text = String::from_utf8(zstd::decode_all(&sealed.body[..]).unwrap()).unwrap();
            }
        }
        check_golden("segment.jsonl", &text);
        assert_eq!(sealed.object.plain_bytes, text.len() as u64);
        assert_eq!(read(sealed.body).unwrap(), recording.entries);
    }
}

#[test]
fn a_commit_is_the_golden_one() {
    let origin = Origin::from_bytes([0xa1; 16]);
    let object = |first: u64, last: u64| Object {
        path: format!("raw/test/2026/08/01/03/00-{first}-{last}.jsonl.zst"),
        bytes: 1234,
        sha256: "ab".repeat(32),
        first,
        last,
        day: Timestamp::from_nanos(START).day(),
        entries: last - first + 1,
        frames: 5,
        sessions: vec![1, 2],
        earliest: Timestamp::from_nanos(START),
        latest: Timestamp::from_nanos(START + 1),
        plain_bytes: 5678,
    };
    let mut chain = Chain::empty(feed(), origin);
    let mut text = String::new();
    let made = Timestamp::from_nanos(START + 2);
    let lost = ssmd_storage::commit::Lost { first: 11, last: 12, noticed: made };
    let first = vec![object(1, 10)];
    let merged = vec![object(1, 20)];
    let removed = vec![first[0].path.clone(), object(13, 20).path];
    let steps =
        [(first, vec![], vec![]), (vec![object(13, 20)], vec![], vec![lost]), (merged, removed, vec![])];
    for (added, removed, lost) in steps {
        let mut commit = chain.next(added, removed, lost, vec![], made).unwrap().commit;
        commit.by = "ssmd test".to_owned();
        let bytes = commit.encode().unwrap();
        assert_eq!(Commit::decode(&bytes).unwrap(), commit);
        chain.apply(commit, &bytes).unwrap();
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    check_golden("commits.jsonl", &text);
    assert!(
        chain.next(vec![object(5, 6)], vec![], vec![], vec![], made).is_err(),
        "nothing is committed twice"
    );
}

#[test]
fn commits_of_a_later_ssmd_are_read_or_refused() {
    let chain = Chain::empty(feed(), Origin::from_bytes([1; 16]));
    let bytes = chain.next(vec![], vec![], vec![], vec![], Timestamp::from_nanos(0)).unwrap().bytes;
    let text = std::str::from_utf8(&bytes).unwrap();
    let remade = |from: &str, to: &str| {
        let document = text.split(",\"check\"").next().unwrap().replace(from, to);
        let check = ssmd_storage::layout::sha256(document.as_bytes());
        Commit::decode(format!("{document},\"check\":\"{check}\"}}\n").as_bytes())
    };
    assert!(remade("\"n\":1", "\"n\":1,\"later\":{}").is_ok());
    assert_eq!(remade("\"v\":1", "\"v\":2").unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(remade("\"n\":1", "\"n\":2").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(remade("\"commit\"", "\"raw\"").unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn checkpoints_shorten_the_way() {
    let store = ssmd_storage::MemoryStore::new();
    let mut chain = Chain::empty(feed(), Origin::from_bytes([1; 16]));
    for n in 1..=600u64 {
        let lost = ssmd_storage::commit::Lost { first: n, last: n, noticed: Timestamp::from_nanos(0) };
        let next = chain.next(vec![], vec![], vec![lost], vec![], Timestamp::from_nanos(0)).unwrap();
        // What lies before the last checkpoint is not read.
        if n >= 512 {
            store.put(&next.path, next.bytes.clone(), PutMode::Create).await.unwrap();
        }
        assert_eq!(next.commit.checkpoint.is_some(), n % 256 == 0);
        chain.apply(next.commit, &next.bytes).unwrap();
    }
    let loaded = Chain::load(&store, chain.origin).await.unwrap().unwrap();
    assert_eq!((loaded.commits, loaded.position(), &loaded.lost), (600, 600, &chain.lost));
}

#[test]
fn a_segment_ends_before_it_is_too_large() {
    let mut recording = Recording::new(1);
    for _ in 0..70 {
        recording.frame("x".repeat(1024 * 1024));
    }
    let mut writer = SegmentWriter::begin(&feed(), &recording.entries[0], Compression::Zstd(1)).unwrap();
    let taken = recording.entries[1..].iter().take_while(|entry| writer.push(entry).unwrap()).count();
    let sealed = writer.finish().unwrap();
    assert_eq!((taken, sealed.object.entries), (63, 64));
    assert!(sealed.object.plain_bytes <= SEGMENT_BYTES_MAX);
    assert!(SegmentWriter::begin(&feed(), &recording.entries[0], Compression::Zstd(99)).is_err());
}

#[test]
fn damage_and_bombs_are_errors() {
    let sealed = seal(&recording(2, 20).entries, Compression::default());
    for length in 0..sealed.body.len() {
        assert!(read(sealed.body.slice(..length)).is_err(), "cut to {length}");
    }
    let twice = [&sealed.body[..], &sealed.body[..]].concat();
    assert!(read(twice.into()).is_err());
    let plain = zstd::decode_all(&sealed.body[..]).unwrap();
    let header = plain.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    for rest in [vec![b'\n'; 1], vec![b' '; 200_000_000], b"{}\n".repeat(10)] {
        let bomb = zstd::encode_all(&[header, &rest[..]].concat()[..], 1).unwrap();
        assert_eq!(read(bomb.into()).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let later = zstd::encode_all(&b"{\"ssmd\":\"raw\",\"v\":2,\"feed\":\"a\",\"origin\":\"01010101010101010101010101010101\",\"day\":\"2026-08-01\",\"first\":1}\n"[..], 1).unwrap();
    assert_eq!(read(later.into()).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn what_ends_at_the_border_of_two_frames_is_missed_by_nothing() {
    // Zstandard and gzip do not notice a missing last frame: the figures of the commit do.
    let entries = recording(3, 20).entries;
    let whole = seal(&entries, Compression::default());
    let part = seal(&entries[..40], Compression::default());
    assert_eq!(read(part.body.clone()).unwrap().len(), 40);
    assert_ne!(part.object.sha256, whole.object.sha256);
    assert_ne!(part.object.path, whole.object.path);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_entries_come_back_and_give_the_same_bytes(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4000), 1..200)
    ) {
        let mut recording = Recording::new(4);
        payloads.into_iter().for_each(|payload| recording.frame(payload));
        let (first, second) = (seal(&recording.entries, Compression::default()), seal(&recording.entries, Compression::default()));
        prop_assert_eq!(&first.body, &second.body);
        prop_assert_eq!(read(first.body).unwrap(), recording.entries);
    }

    #[test]
    fn reading_what_is_no_segment_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(bytes.clone().into());
        let _ = Commit::decode(&bytes);
        if let Ok(body) = zstd::encode_all(&bytes[..], 1) {
            let _ = read(body.into());
        }
    }
}
