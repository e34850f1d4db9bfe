//! The local log: the bytes of a segment after whatever happened to the disk.

use bytes::Bytes;
use ssmd_core::Origin;
use ssmd_transport::log::format::{self, ENTRY_BYTES, HEADER_BYTES, Header, Scan, Stop};

use crate::bound::{Bound, bounded};

/// The log of every case.
pub(crate) const ORIGIN: Origin = Origin::from_bytes([7; 16]);
/// An entry takes 56 bytes there and less than three times that here.
const SCAN: Bound = Bound { fixed: 4 * 1024, each: 8 };

/// The first byte says whether checksums are made right, the second how many entries are asked for, the third which
/// byte of what was accepted is damaged afterwards.
pub(crate) fn scan(case: &[u8]) {
    let Some((&[repair, max, damaged], bytes)) = case.split_first_chunk() else { return };
    let mut bytes = bytes.to_vec();
    if repair & 1 == 1 {
        make_right(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    let scanned = bounded(SCAN, bytes.len(), || format::scan(&bytes, ORIGIN, 0, usize::from(max)));
    holds(&bytes, &scanned, usize::from(max));
    if scanned.valid > 0 {
        damage(&bytes, &scanned, usize::from(damaged) * scanned.valid / 256);
    }
}

fn holds(bytes: &Bytes, scanned: &Scan, max: usize) {
    let seed = format::seed(ORIGIN);
    let mut again = Vec::new();
    let mut last = 0;
    for entry in &scanned.entries {
        assert!(entry.id.n > last && entry.id.origin == ORIGIN, "numbers rise");
        last = entry.id.n;
        format::encode(entry, seed, &mut again);
    }
    assert!(again == bytes[..scanned.valid], "what is accepted is what would be written");
    assert!(scanned.entries.len() <= max);
    match scanned.stop {
        Stop::End => assert_eq!(scanned.valid, bytes.len()),
        Stop::Enough => assert_eq!(scanned.entries.len(), max),
        Stop::Short(needed) => assert!(scanned.valid + needed > bytes.len(), "what is short lacks something"),
        Stop::Damaged(why) => assert!(!why.is_empty()),
    }
    let prefix = bytes.slice(..scanned.valid);
    let rescanned = format::scan(&prefix, ORIGIN, 0, usize::MAX);
    assert_eq!((&rescanned.entries, rescanned.stop), (&scanned.entries, Stop::End), "a prefix is itself");
}

/// No entry of which a bit has changed is given. (A changed length moves the checksum's reach, and then it is right once
/// in 2^32 times; no case is built on that.)
fn damage(bytes: &Bytes, scanned: &Scan, at: usize) {
    let mut start = 0;
    let mut hit = 0;
    for entry in &scanned.entries {
        let end = start + ENTRY_BYTES + entry.payload.len();
        if at < end {
            break;
        }
        (start, hit) = (end, hit + 1);
    }
    if (4..8).contains(&(at - start)) {
        return;
    }
    let mut damaged = bytes[..scanned.valid].to_vec();
    damaged[at] ^= 1 << (at % 8);
    let rescanned = format::scan(&damaged.into(), ORIGIN, 0, usize::MAX);
    assert_eq!(rescanned.entries, scanned.entries[..hit], "a changed bit shows");
}

pub(crate) fn header(case: &[u8]) {
    let Some((&repair, bytes)) = case.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if repair & 1 == 1 && bytes.len() >= HEADER_BYTES {
        let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }
    let Ok(header) = bounded(SCAN, bytes.len(), || Header::decode(&bytes)) else { return };
    assert_eq!(header.encode()[..], bytes[..HEADER_BYTES], "what is accepted is what would be written");
    assert!(header.first > header.before.n);
}

/// Gives each entry, as far as lengths lead, the checksum that it should have.
fn make_right(bytes: &mut [u8]) {
    let seed = format::seed(ORIGIN);
    let mut at = 0;
    while let Some(length) = format::claimed_bytes(&bytes[at..]) {
        if bytes.len() - at < length {
            return;
        }
        let crc = crc32c::crc32c_append(seed, &bytes[at + 4..at + length]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        at += length;
    }
}
