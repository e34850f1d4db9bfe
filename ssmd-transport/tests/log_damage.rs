//! Torn tails, flipped bits and hostile directories: the longest valid prefix, no panic, nothing invented.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(dead_code, reason = "each test file uses its part of it")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use ssmd_core::{Entry, EntryKind, ErrorKind, Journal};
use ssmd_transport::log::format::{self, HEADER_BYTES, Header, Stop};
use ssmd_transport::log::{Options, inspect};
use support::*;

/// A small log, closed in order: an epoch entry and these numbers.
const LAST: u64 = 7;

struct Sample {
    entries: Vec<Entry>,
    bytes: Bytes,
    /// Where each entry ends in the segment.
    ends: Vec<usize>,
    mark: Vec<u8>,
    name: String,
}

impl Sample {
    async fn new() -> Self {
        let dir = tempdir();
        let log = open(dir.path(), Options::default()).await.unwrap();
        append(&log, 2..=LAST).await;
        log.close().await.unwrap();
        let (entries, errors) = drain(&log).await;
        assert!(errors.is_empty() && entries.len() as u64 == LAST, "{errors:?}");
        let path = files(dir.path(), ".log").remove(0);
        let bytes: Bytes = fs::read(&path).unwrap().into();
        let mut ends = Vec::new();
        for entry in &entries {
            let from = ends.last().copied().unwrap_or(HEADER_BYTES);
            ends.push(from + format::ENTRY_BYTES + entry.payload.len());
        }
        assert_eq!(ends.last(), Some(&bytes.len()));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Self { entries, bytes, ends, mark: fs::read(dir.path().join("durable")).unwrap(), name }
    }

    /// How many entries lie wholly below `length`.
    fn whole(&self, length: usize) -> usize {
        self.ends.iter().filter(|end| **end <= length).count()
    }

    /// A log directory with this segment in it, and the watermark, if it is to be there.
    fn place(&self, dir: &Path, segment: &[u8], with_mark: bool) {
        fs::write(dir.join(&self.name), segment).unwrap();
        if with_mark {
            fs::write(dir.join("durable"), &self.mark).unwrap();
        }
    }
}

/// Opens a damaged log for writing and checks everything that can be said of it.
async fn recovers(sample: &Sample, segment: &[u8], valid: usize, with_mark: bool, what: &str) {
    let dir = tempdir();
    sample.place(dir.path(), segment, with_mark);
    let opened = open(dir.path(), Options::default()).await;
    if valid < HEADER_BYTES && !with_mark {
        assert_eq!(opened.err().map(|error| error.kind()), Some(ErrorKind::Corrupt), "{what}");
        return;
    }
    let log = opened.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let whole = sample.whole(valid);
    let end = if whole == 0 { HEADER_BYTES.min(valid) } else { sample.ends[whole - 1] };
    let (entries, errors) = drain(&log).await;
    let (epoch, kept) = entries.split_last().unwrap();
    assert_eq!(kept, &sample.entries[..whole], "{what}");
    assert_eq!(epoch.kind, EntryKind::Epoch, "{what}");
    let note: ssmd_core::entry::note::Epoch = ssmd_core::entry::note::decode(&epoch.payload).unwrap();
    assert_eq!(note.cut_bytes, (segment.len() - if valid < HEADER_BYTES { 0 } else { end }) as u64, "{what}");
    let intact = segment.len() == end && whole == sample.entries.len();
    assert_eq!(note.clean, with_mark && intact, "{what}");
    // What was acknowledged, and is gone, is a hole: its numbers are never given again.
    let next = if with_mark { LAST + 1 } else { whole as u64 + 1 };
    assert_eq!(epoch.id.n, next, "{what}");
    let holes = errors.iter().filter(|error| error.kind() == ErrorKind::Hole).count();
    assert_eq!(holes, errors.len(), "{what}: {errors:?}");
    assert_eq!(holes, usize::from(whole > 0 && next > whole as u64 + 1), "{what}");
    assert_eq!(log.position().next, next + 1, "{what}");
    append(&log, [next + 1]).await;
    assert_eq!(log.durable(), next + 1, "{what}");
}

#[tokio::test]
async fn a_segment_cut_at_any_byte_gives_its_longest_valid_prefix() {
    let sample = Sample::new().await;
    for length in 0..=sample.bytes.len() {
        for with_mark in [true, false] {
            let what = format!("cut at {length}, mark {with_mark}");
            recovers(&sample, &sample.bytes[..length], length, with_mark, &what).await;
        }
    }
}

#[tokio::test]
async fn garbage_from_any_byte_on_gives_the_longest_valid_prefix() {
    let sample = Sample::new().await;
    for length in 0..=sample.bytes.len() {
        for garbage in [&[0_u8; 300][..], &[0xFF; 70], &sample.bytes[HEADER_BYTES..sample.ends[1]]] {
            let segment = [&sample.bytes[..length], garbage].concat();
            if segment.starts_with(&sample.bytes[..(length + 1).min(sample.bytes.len())])
                && length < sample.bytes.len()
            {
                // The garbage goes on as the log did, by chance: then more of it is valid.
                continue;
            }
            recovers(&sample, &segment, length, length % 2 == 0, &format!("garbage from {length}")).await;
        }
    }
}

#[tokio::test]
async fn no_flipped_bit_passes() {
    let sample = Sample::new().await;
    let header = Header::decode(&sample.bytes).unwrap();
    for at in 0..sample.bytes.len() {
        for bit in 0..8 {
            let mut damaged = sample.bytes.to_vec();
            damaged[at] ^= 1 << bit;
            if at < HEADER_BYTES {
                assert!(Header::decode(&damaged).is_err(), "bit {bit} of byte {at}");
                continue;
            }
            let scan =
                format::scan(&Bytes::from(damaged).slice(HEADER_BYTES..), header.origin, 0, usize::MAX);
            let whole = sample.whole(at);
            assert_eq!(scan.entries, sample.entries[..whole], "bit {bit} of byte {at}");
            assert_ne!(scan.stop, Stop::End, "bit {bit} of byte {at}");
        }
    }
}

#[tokio::test]
async fn readers_name_damage_and_go_on_behind_it() {
    let sample = Sample::new().await;
    for at in HEADER_BYTES..sample.bytes.len() {
        let dir = tempdir();
        let mut damaged = sample.bytes.to_vec();
        damaged[at] ^= 0x10;
        sample.place(dir.path(), &damaged, true);
        let (entries, errors) = drain(&reader(dir.path())).await;
        let whole = sample.whole(at);
        assert_eq!(errors.len(), 1, "byte {at}: {errors:?}");
        let error = &errors[0];
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
        let offset = if whole == 0 { HEADER_BYTES } else { sample.ends[whole - 1] };
        assert_eq!(error.context("offset"), Some(&*offset.to_string()), "byte {at}");
        assert_eq!(error.context("before"), Some(&*whole.to_string()), "byte {at}");
        assert!(error.context("path").unwrap().ends_with(&sample.name), "byte {at}");
        for entry in &entries {
            assert_eq!(entry, &sample.entries[entry.id.n as usize - 1], "byte {at}");
        }
        assert_eq!(numbers(&entries[..whole]), (1..=whole as u64).collect::<Vec<_>>(), "byte {at}");
        if (offset + 8..sample.ends[whole]).contains(&at) && whole + 1 < sample.entries.len() {
            // Its length is whole, so only this one entry is lost.
            assert_eq!(entries.len(), sample.entries.len() - 1, "byte {at}");
            assert_eq!(error.context("after"), Some(&*(whole + 2).to_string()), "byte {at}");
        }
    }
}

#[tokio::test]
async fn damage_in_a_sealed_segment_does_not_hide_the_next_one() {
    let dir = tempdir();
    let log = open(dir.path(), Options { segment_bytes: 1, ..Options::default() }).await.unwrap();
    for n in 2..=6 {
        append(&log, [n]).await;
    }
    let segments = files(dir.path(), ".log");
    assert_eq!(segments.len(), 6);
    let whole = fs::read(&segments[2]).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    for damaged in [&flipped[..], &whole[..HEADER_BYTES], b"garbage"] {
        fs::write(&segments[2], damaged).unwrap();
        for journal in [&log as &dyn Journal, &reader(dir.path())] {
            let (entries, errors) = drain(journal).await;
            assert_eq!(numbers(&entries), [1, 2, 4, 5, 6]);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!(errors[0].kind(), ErrorKind::Corrupt);
            assert!(
                errors[0].context("path").is_some() && errors[0].context("before") == Some("2"),
                "{errors:?}"
            );
        }
    }
    fs::write(&segments[2], &whole).unwrap();
    log.close().await.unwrap();
    drop(log);
    fs::write(&segments[2], b"garbage").unwrap();
    let log = open(dir.path(), Options::default()).await.unwrap();
    assert_eq!(log.position().next, 8, "a damaged old segment does not keep the log from being written");
}

#[tokio::test]
async fn hostile_directories_give_clear_errors() {
    let refused = async |prepare: &dyn Fn(&Path), kind: ErrorKind| {
        let dir = tempdir();
        prepare(dir.path());
        let error = open(dir.path(), Options::default()).await.expect_err("must be refused");
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.context("path").is_some(), "{error:?}");
    };
    let name = |n: u64| format!("{n:020}.log");
    let write = |path: PathBuf, bytes: &[u8]| fs::write(path, bytes).unwrap();
    refused(&|dir| write(dir.join("letters.txt"), b"dear"), ErrorKind::Invalid).await;
    refused(&|dir| write(dir.join("x.log"), b""), ErrorKind::Invalid).await;
    refused(&|dir| write(dir.join("99999999999999999999.log"), b""), ErrorKind::Invalid).await;
    refused(&|dir| write(dir.join(name(0)), b""), ErrorKind::Corrupt).await;
    refused(&|dir| write(dir.join(name(1)), &[0xFF; 4096]), ErrorKind::Corrupt).await;
    refused(&|dir| fs::create_dir(dir.join(name(1))).unwrap(), ErrorKind::Invalid).await;
    let link = |dir: &Path| std::os::unix::fs::symlink("/etc/passwd", dir.join(name(1))).unwrap();
    refused(&link, ErrorKind::Invalid).await;
    let missing = tempdir();
    let error = ssmd_transport::log::LogReader::open(missing.path(), clock()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(inspect(missing.path()).err().unwrap().kind(), ErrorKind::NotFound);
    // Foreign files beside a log are nobody's business.
    let dir = tempdir();
    drop(open(dir.path(), Options::default()).await.unwrap());
    write(dir.path().join("notes.txt"), b"hello");
    drop(open(dir.path(), Options::default()).await.unwrap());
    let other = ssmd_core::FeedName::new("kalshi").unwrap();
    let error =
        ssmd_transport::log::Log::open(dir.path(), &other, Options::default(), clock()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let numbers = (any::<i64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<i32>());
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    let kind = 0..EntryKind::ALL.len();
    (numbers, kind, any::<bool>(), any::<bool>(), payload).prop_map(
        |((at, elapsed, session, index, day), kind, binary, more, payload)| Entry {
            at: ssmd_core::Timestamp::from_nanos(at),
            elapsed: std::time::Duration::from_nanos(elapsed),
            session: ssmd_core::SessionId(session),
            index,
            day: ssmd_core::Day::from_days(day),
            kind: EntryKind::ALL[kind].0,
            binary,
            more,
            payload: payload.into(),
            ..entry(ORIGIN, 1)
        },
    )
}

const ORIGIN: ssmd_core::Origin = ssmd_core::Origin::from_bytes([42; 16]);

proptest! {
    #[test]
    fn entries_come_back_as_they_were(
        mut entries in prop::collection::vec(any_entry(), 0..20),
        steps in prop::collection::vec(1..1000_u64, 20),
        max in 1..30_usize,
    ) {
        let mut bytes = Vec::new();
        let mut n = 0;
        for (entry, step) in entries.iter_mut().zip(steps) {
            n += step;
            entry.id.n = n;
            format::encode(entry, format::seed(ORIGIN), &mut bytes);
        }
        let bytes = Bytes::from(bytes);
        let scan = format::scan(&bytes, ORIGIN, 0, max);
        prop_assert_eq!(&scan.entries[..], &entries[..entries.len().min(max)]);
        prop_assert_eq!(scan.stop == Stop::End, entries.len() <= max);
        // In the log of another origin they are no entries, but garbage.
        let foreign = format::scan(&bytes, ssmd_core::Origin::from_bytes([1; 16]), 0, max);
        prop_assert!(foreign.entries.is_empty());
    }

    #[test]
    fn any_bytes_are_scanned_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), after in 0..format::N_MAX) {
        let bytes = Bytes::from(bytes);
        let scan = format::scan(&bytes, ORIGIN, after, 100);
        prop_assert!(scan.valid <= bytes.len());
        prop_assert!(scan.entries.is_empty(), "an entry was invented");
        prop_assert!(Header::decode(&bytes).is_err());
    }

    #[test]
    fn damage_costs_only_what_lies_behind_it(
        entries in prop::collection::vec(any_entry(), 1..12),
        at in any::<prop::sample::Index>(),
        patch in prop::collection::vec(any::<u8>(), 1..64),
        cut in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for (n, mut entry) in (1..).zip(entries) {
            entry.id.n = n;
            format::encode(&entry, format::seed(ORIGIN), &mut bytes);
            ends.push(bytes.len());
        }
        let at = at.index(bytes.len());
        let whole = bytes.clone();
        if cut { bytes.truncate(at); }
        let end = bytes.len().min(at + patch.len());
        if !cut { bytes[at..end].copy_from_slice(&patch[..end - at]); }
        let changed = whole.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(bytes.len());
        let scan = format::scan(&Bytes::from(bytes), ORIGIN, 0, usize::MAX);
        prop_assert_eq!(scan.entries.len(), ends.iter().filter(|end| **end <= changed).count());
    }
}
