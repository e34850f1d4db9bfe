//! The watermark: how far the log is durable, told to other processes through a small file.
//!
//! The file holds two slots. The writer fills them in turn, each with a higher sequence and a checksum over all of
//! it, after the data's sync; a reader takes the valid slot with the highest sequence. A slot that is read while it
//! is written fails its checksum, and then the other, which is older, counts: a reader may see too little for a
//! moment, never too much. That the data behind a mark can be read needs no more than this order: the file system's
//! cache is one for all processes, the data was written to it (and synced) before the mark was.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crc32c::crc32c;
use ssmd_core::{Day, ErrorKind, Origin, Result, SessionId, Timestamp};

use super::disk::Disk;
use super::files;
use super::format::{LastEntry, Tip, array, i64_at, u16_at, u32_at, u64_at};

pub(super) const NAME: &str = "durable";
const MAGIC: [u8; 8] = *b"ssmdmark";
const VERSION: u16 = 1;
const SLOT_BYTES: usize = 128;
/// Each slot is in a disk block of its own, so that a torn block costs one of them.
const SLOT_STRIDE: usize = 4096;
const FILE_BYTES: usize = 2 * SLOT_STRIDE;
const CLEAN: u16 = 1;
const HAS_LAST: u16 = 2;

/// How far a log is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) origin: Origin,
    pub(super) epoch: u64,
    /// Where the log stands; `tip.n` is the watermark.
    pub(super) tip: Tip,
    /// The segment that ends the durable part, and where in it that part ends. 0 if there is none yet.
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// Whether the log was closed in order here.
    pub(super) clean: bool,
}

impl Mark {
    fn encode(&self, sequence: u64) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        let flags = if self.clean { CLEAN } else { 0 } | if self.tip.last.is_some() { HAS_LAST } else { 0 };
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(10, &flags.to_le_bytes());
        put(12, &self.tip.day.days().to_le_bytes());
        put(16, &sequence.to_le_bytes());
        put(24, &self.origin.to_bytes());
        put(40, &self.epoch.to_le_bytes());
        put(48, &self.tip.n.to_le_bytes());
        put(56, &self.segment.to_le_bytes());
        put(64, &self.offset.to_le_bytes());
        put(72, &self.tip.session.to_le_bytes());
        if let Some(last) = self.tip.last {
            put(80, &last.at.nanos().to_le_bytes());
            put(88, &last.session.0.to_le_bytes());
            put(96, &last.index.to_le_bytes());
        }
        let crc = crc32c(&out[..SLOT_BYTES - 4]);
        out[SLOT_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(slot: &[u8]) -> Option<(u64, Self)> {
        let slot = slot.get(..SLOT_BYTES)?;
        let whole = slot[..8] == MAGIC
            && u16_at(slot, 8) == VERSION
            && crc32c(&slot[..SLOT_BYTES - 4]) == u32_at(slot, SLOT_BYTES - 4);
        if !whole {
            return None;
        }
        let flags = u16_at(slot, 10);
        let last = LastEntry {
            at: Timestamp::from_nanos(i64_at(slot, 80)),
            session: SessionId(u64_at(slot, 88)),
            index: u64_at(slot, 96),
        };
        let tip = Tip {
            n: u64_at(slot, 48),
            session: u64_at(slot, 72),
            day: Day::from_days(u32_at(slot, 12).cast_signed()),
            last: (flags & HAS_LAST != 0).then_some(last),
        };
        let mark = Self {
            origin: Origin::from_bytes(array(slot, 24)),
            epoch: u64_at(slot, 40),
            tip,
            segment: u64_at(slot, 56),
            offset: u64_at(slot, 64),
            clean: flags & CLEAN != 0,
        };
        Some((u64_at(slot, 16), mark))
    }
}

/// The watermark file.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    path: PathBuf,
    sequence: u64,
}

impl MarkFile {
    /// Opens the file, if there is one.
    pub(super) fn open(dir: &Path, write: bool) -> Result<Option<Self>> {
        let path = dir.join(NAME);
        match files::open(&path, write) {
            Ok(file) => Ok(Some(Self { file, path, sequence: 0 })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a file with this mark in the place of what may be there. Durable when this returns.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, mark: &Mark) -> Result<Self> {
        let mut bytes = vec![0; FILE_BYTES];
        bytes[..SLOT_BYTES].copy_from_slice(&mark.encode(1));
        let path = dir.join(NAME);
        files::replace(disk, dir, "durable.tmp", &path, &bytes)?;
        Ok(Self { file: files::open(&path, true)?, path, sequence: 1 })
    }

    /// The latest mark, or `None` if both slots are damaged.
    pub(super) fn load(&mut self) -> Result<Option<Mark>> {
        let bytes = files::read(&self.file, &self.path, 0, FILE_BYTES)?;
        let slots = bytes.chunks(SLOT_STRIDE).filter_map(Mark::decode);
        let Some((sequence, mark)) = slots.max_by_key(|(sequence, _)| *sequence) else { return Ok(None) };
        self.sequence = sequence;
        Ok(Some(mark))
    }

    /// Tells other processes of a new mark. Not synced: after a power cut the mark may be too low.
    pub(super) fn store(&mut self, disk: &dyn Disk, mark: &Mark) -> io::Result<()> {
        self.sequence += 1;
        let slot = if self.sequence % 2 == 1 { 0 } else { SLOT_STRIDE as u64 };
        disk.write_all_at(&self.file, &self.path, &mark.encode(self.sequence), slot)
    }

    /// Makes the last mark durable.
    pub(super) fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.sync_all(&self.file, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::disk::System;

    fn mark(n: u64) -> Mark {
        let last = LastEntry { at: Timestamp::from_nanos(n as i64), session: SessionId(3), index: n };
        let tip = Tip { n, session: 3, day: Day::from_days(20_000), last: Some(last) };
        let origin = Origin::from_bytes([9; 16]);
        Mark { origin, epoch: 2, tip, segment: 1, offset: n * 100, clean: n.is_multiple_of(2) }
    }

    #[test]
    fn a_torn_slot_leaves_the_older_mark() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = MarkFile::create(&System, dir.path(), &mark(1)).unwrap();
        for n in 2..10 {
            file.store(&System, &mark(n)).unwrap();
            let mut reader = MarkFile::open(dir.path(), false).unwrap().unwrap();
            assert_eq!(reader.load().unwrap(), Some(mark(n)));
        }
        let path = dir.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..SLOT_BYTES {
            for (slot, other) in [(0, 8), (SLOT_STRIDE, 9)] {
                let mut torn = whole.clone();
                torn[slot + at] ^= 0x40;
                std::fs::write(&path, &torn).unwrap();
                let mut reader = MarkFile::open(dir.path(), false).unwrap().unwrap();
                assert_eq!(reader.load().unwrap(), Some(mark(other)), "byte {at} of slot at {slot}");
            }
        }
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(MarkFile::open(dir.path(), false).unwrap().unwrap().load().unwrap(), None);
    }
}
