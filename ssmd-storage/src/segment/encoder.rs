//! The compressors of segments. Owns their memory, which has to stay the same however many segments are sealed.

use std::io::{Cursor, Write};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::write::GzEncoder;
use ssmd_core::{Error, ErrorKind, Result};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::OBJECT_BYTES_MAX;
use crate::layout::Compression;

/// The room that is made for an object, at once. Memory that nobody has written to is none; but a buffer that grows
/// is many of them, in the heap of each thread that had to do with it, and heaps seldom shrink.
const ROOM_BYTES: usize = OBJECT_BYTES_MAX as usize;
/// Objects below this size are copied out of that room.
const SMALL_BYTES: usize = 1024 * 1024;

/// Compressors that have nothing to do. One takes megabytes, which would stay in the heap of the thread that freed it.
static IDLE: Mutex<Vec<Compressor<'static>>> = Mutex::new(Vec::new());
/// More of them are not kept: archivers of this process that work at the same time.
const IDLE_MAX: usize = 4;

/// Compresses one object, part by part. The same parts always give the same bytes.
pub(super) enum Encoder {
    /// Each part is a frame of its own, compressed where it lies: a stream would copy it into a ring, whose ends the
    /// compressor has to search apart, which takes it half as long again.
    Zstd(Compressor<'static>, Vec<u8>),
    /// All parts are one member.
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    /// # Errors
    /// `Invalid` for a level that there is not.
    pub(super) fn new(compression: Compression) -> Result<Self> {
        let levels = zstd::compression_level_range();
        let room = Vec::with_capacity(ROOM_BYTES);
        match compression {
            Compression::Gzip => Ok(Self::Gzip(GzEncoder::new(room, flate2::Compression::default()))),
            Compression::Zstd(level) if levels.contains(&level) && level <= 19 => {
                let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
                let mut compressor = idle.pop().unwrap_or_default();
                drop(idle);
                compressor.set_parameter(CParameter::CompressionLevel(level)).map_err(broken)?;
                compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(broken)?;
                Ok(Self::Zstd(compressor, room))
            }
            Compression::Zstd(level) => {
                Err(Error::new(ErrorKind::Invalid, "begin segment").with("level", level))
            }
        }
    }

    /// # Errors
    /// `Bug` if the compressor fails, which it does not in memory.
    pub(super) fn write(&mut self, part: &[u8]) -> Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(part).map_err(broken),
            Self::Zstd(compressor, room) => {
                room.reserve(compress_bound(part.len()));
                let end = room.len() as u64;
                let mut behind = Cursor::new(room);
                behind.set_position(end);
                compressor.compress_to_buffer(part, &mut behind).map(|_| ()).map_err(broken)
            }
        }
    }

    /// The object.
    ///
    /// # Errors
    /// As for [`Encoder::write`].
    pub(super) fn finish(self) -> Result<Bytes> {
        let body = match self {
            Self::Gzip(encoder) => encoder.finish().map_err(broken)?,
            Self::Zstd(compressor, room) => {
                let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE_MAX {
                    idle.push(compressor);
                }
                room
            }
        };
        Ok(if body.len() < SMALL_BYTES { Bytes::copy_from_slice(&body) } else { body.into() })
    }
}

fn broken(cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Bug, "write segment").because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART_BYTES: usize = 1024 * 1024;

    fn compressed(plain: &[u8], level: i32) -> Bytes {
        let mut encoder = Encoder::new(Compression::Zstd(level)).unwrap();
        plain.chunks(PART_BYTES).for_each(|part| encoder.write(part).unwrap());
        encoder.finish().unwrap()
    }

    #[test]
    fn a_used_compressor_gives_the_bytes_of_a_new_one() {
        // Some 9 MB, of which each part is like the ones before but not the same.
        let line = |n: u64| format!("{{\"n\":{n},\"price\":{}.{}}}\n", n * 7919 % 6133, n * n % 9973);
        let text: String = (0..250_000).map(line).collect();
        for level in [3, 1, 9, 3] {
            for plain in [text.as_bytes(), &text.as_bytes()[3_000_000..], &text.as_bytes()[..100_000], b"x"] {
                let mut expected = Vec::new();
                for part in plain.chunks(PART_BYTES) {
                    let mut new = Compressor::new(level).unwrap();
                    new.include_checksum(true).unwrap();
                    expected.extend(new.compress(part).unwrap());
                }
                assert!(compressed(plain, level) == expected, "level {level}");
                assert!(zstd::decode_all(&expected[..]).unwrap() == plain, "level {level}");
            }
        }
    }
}
