//! The archive: commits, lines, segments and play files as a damaged or foreign store may hand them out.

use std::io::{Cursor, Write};

use bytes::Bytes;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use ssmd_core::entry::FRAME_BYTES_MAX;
use ssmd_core::{Day, Entry, EntryId, EntryKind, ErrorKind, FrameKind, Origin, SessionId, Timestamp};
use ssmd_storage::environments::Version;
use ssmd_storage::line::{self, Common, LINE_BYTES_MAX};
use ssmd_storage::play::{self, PLAY_LINE_BYTES_MAX, PlayReader};
use ssmd_storage::segment::{SEGMENT_BYTES_MAX, SegmentReader};
use ssmd_storage::{Commit, commit};

use crate::bound::{Bound, bounded};

pub(crate) const COMMON: Common = Common { origin: Origin::from_bytes([9; 16]), day: Day::from_days(20_000) };
/// A segment is read in blocks; a block holds at most a line, and is copied where the next one begins with its rest. The
/// entries of a block are held on top: a line has at least 40 bytes, and an entry less than four times that.
const SEGMENT: Bound = Bound { fixed: 4 * LINE_BYTES_MAX + 16 * 512 * 1024, each: 64 };
/// A line of a play file, the same while its buffer grows, and the frame in it.
const PLAY: Bound = Bound { fixed: 3 * PLAY_LINE_BYTES_MAX + 2 * FRAME_BYTES_MAX, each: 64 };
/// Lines of one play file: unpacked, a small file may be endless.
const PLAYED_MAX: usize = 10_000;

/// Bytes whose first one says whether the hash at their end is made right.
fn sealed(case: &[u8]) -> Option<Vec<u8>> {
    let (&repair, bytes) = case.split_first()?;
    let mut bytes = bytes.to_vec();
    if repair & 1 == 1 {
        let document = bytes.iter().rposition(|byte| *byte == b'}').unwrap_or(bytes.len());
        bytes.truncate(document);
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.extend_from_slice(format!(",\"check\":\"{hash}\"}}\n").as_bytes());
    }
    Some(bytes)
}

/// The first byte says whether the hash is made right.
pub(crate) fn version(case: &[u8]) {
    let Some(bytes) = sealed(case) else { return };
    match bounded(Bound::PARSER, bytes.len(), || Version::decode(&bytes)) {
        Ok(version) => {
            let again = version.encode().expect("it is no longer than it was");
            assert_eq!(Version::decode(&again).expect("it was one"), version);
            let path = version.path();
            assert_eq!(path.is_ok(), version.valid_from.nanos() >= 0, "{path:?}");
        }
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
            "a bad version is {error}"
        ),
    }
}

/// The first byte says whether the hash is made right.
pub(crate) fn commit(case: &[u8]) {
    let Some(bytes) = sealed(case) else { return };
    let decoded = match bounded(Bound::PARSER, bytes.len(), || Commit::decode(&bytes)) {
        Ok(decoded) => decoded,
        Err(error) => {
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported),
                "a bad commit is {kind:?}: {error}"
            );
            return;
        }
    };
    assert_eq!((decoded.v, decoded.n > 1), (commit::VERSION, decoded.previous.is_some()));
    let intervals: Vec<_> = decoded.coverage.intervals().collect();
    assert!(intervals.iter().all(|(first, last)| first <= last));
    assert!(intervals.windows(2).all(|two| two[0].1 < two[1].0), "intervals are apart");
    let again = decoded.encode().expect("it is no longer than it was");
    assert_eq!(
        Commit::decode(&again).expect("it was one"),
        decoded,
        "what is read is written and read the same"
    );
}

/// Any bytes as a line, and any bytes as the payload of one.
pub(crate) fn line(case: &[u8]) {
    let block = Bytes::copy_from_slice(case);
    match bounded(Bound::PARSER, case.len(), || line::read(&block, 0..block.len(), COMMON)) {
        Ok(entry) => round_trip(&entry),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
    round_trip(&Entry {
        id: EntryId { origin: COMMON.origin, n: 12 },
        day: COMMON.day,
        at: Timestamp::from_nanos(1_785_641_750_295_158_100),
        elapsed: std::time::Duration::from_nanos(55),
        session: SessionId(3),
        index: 4,
        kind: EntryKind::Frame(FrameKind::Data),
        binary: false,
        more: false,
        payload: block,
    });
}

fn round_trip(entry: &Entry) {
    let mut line = Vec::new();
    line::write(entry, &mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'), "a line is a line");
    assert!(serde_json::from_slice::<&RawValue>(&line).is_ok(), "a line is JSON");
    let line = Bytes::from(line);
    let again = line::read(&line, 0..line.len(), COMMON).expect("what is written is read");
    assert_eq!(&again, entry, "and is what was written");
}

/// The first byte says how the rest is packed: as it comes, with Zstandard, or with gzip.
pub(crate) fn segment(case: &[u8]) {
    let Some((&packing, bytes)) = case.split_first() else { return };
    let Some(body) = pack(packing, bytes) else { return };
    bounded(SEGMENT, body.len(), || read_segment(body));
}

fn read_segment(body: Bytes) {
    let fits = |kind| matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported);
    let mut reader = match SegmentReader::open(body) {
        Ok(reader) => reader,
        Err(error) => return assert!(fits(error.kind()), "a bad segment is {:?}", error.kind()),
    };
    let (origin, day, mut next) = (reader.header().origin, reader.header().day, reader.header().first);
    loop {
        let mut entries = Vec::new();
        match reader.read(&mut entries) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                assert!(fits(error.kind()), "a bad segment is {:?}", error.kind());
                break;
            }
        }
        for entry in entries {
            assert_eq!((entry.id.origin, entry.day, entry.id.n), (origin, day, next), "numbers are dense");
            next = next.saturating_add(1);
        }
    }
    assert!(reader.plain_bytes() <= SEGMENT_BYTES_MAX + LINE_BYTES_MAX as u64 + 512 * 1024);
}

/// The first byte says how the rest is packed.
pub(crate) fn play(case: &[u8]) {
    let Some((&packing, bytes)) = case.split_first() else { return };
    let Some(body) = pack(packing, bytes) else { return };
    bounded(PLAY, body.len(), || {
        let Ok(mut reader) = PlayReader::new(Cursor::new(body)) else { return };
        for _ in 0..PLAYED_MAX {
            match reader.next() {
                Ok(None) => return,
                Ok(Some(played)) => {
                    let mut line = Vec::new();
                    play::write(&played, &mut line).expect("memory does not fail");
                    let mut again = PlayReader::new(Cursor::new(line)).expect("it is plain");
                    assert_eq!(again.next().expect("it was written"), Some(played));
                    assert_eq!(again.next().expect("it ends"), None);
                }
                Err(error) if error.kind() == ErrorKind::Invalid => {}
                Err(error) => return assert_eq!(error.kind(), ErrorKind::Corrupt),
            }
        }
    });
}

/// As it comes for all but two in four of the first bytes.
fn pack(packing: u8, bytes: &[u8]) -> Option<Bytes> {
    match packing & 3 {
        1 => zstd::bulk::compress(bytes, 1).ok().map(Bytes::from),
        2 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).ok()?;
            encoder.finish().ok().map(Bytes::from)
        }
        _ => Some(Bytes::copy_from_slice(bytes)),
    }
}
