//! The compressors of segments. Owns their memory, which has to stay the same however many segments are sealed.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::write::GzEncoder;
use ssmd_core::{Error, ErrorKind, Result};
use zstd::stream::raw::{self, CParameter, InBuffer, Operation, OutBuffer};

use super::OBJECT_BYTES_MAX;
use crate::layout::Compression;

/// The room that is made for an object, at once. Memory that nobody has written to is none; but a buffer that grows
/// is many of them, in the heap of each thread that had to do with it, and heaps seldom shrink.
const ROOM_BYTES: usize = OBJECT_BYTES_MAX as usize;
/// Objects below this size are copied out of that room.
const SMALL_BYTES: usize = 1024 * 1024;
/// At least so much room is left before each step of compression, in bytes.
const STEP_BYTES: usize = 128 * 1024;

/// Compressors that have nothing to do. One takes 3.5 MB, which would stay in the heap of the thread that freed it.
static IDLE: Mutex<Vec<raw::Encoder<'static>>> = Mutex::new(Vec::new());
/// More of them are not kept: archivers of this process that work at the same time.
const IDLE_MAX: usize = 4;

/// Compresses one object.
pub(super) enum Encoder {
    Zstd(raw::Encoder<'static>, Vec<u8>),
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
                let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut encoder = idle.map_or_else(|| raw::Encoder::new(level), Ok).map_err(broken)?;
                encoder.reinit().map_err(broken)?;
                encoder.set_parameter(CParameter::CompressionLevel(level)).map_err(broken)?;
                encoder.set_parameter(CParameter::ChecksumFlag(true)).map_err(broken)?;
                Ok(Self::Zstd(encoder, room))
            }
            Compression::Zstd(level) => {
                Err(Error::new(ErrorKind::Invalid, "begin segment").with("level", level))
            }
        }
    }

    /// # Errors
    /// `Bug` if the compressor fails, which it does not in memory.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes).map_err(broken),
            Self::Zstd(encoder, room) => {
                let mut input = InBuffer::around(bytes);
                while input.pos() < bytes.len() {
                    step(room, |output| encoder.run(&mut input, output))?;
                }
                Ok(())
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
            Self::Zstd(mut encoder, mut room) => {
                while step(&mut room, |output| encoder.finish(output, true))? > 0 {}
                let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE_MAX {
                    idle.push(encoder);
                }
                room
            }
        };
        Ok(if body.len() < SMALL_BYTES { Bytes::copy_from_slice(&body) } else { body.into() })
    }
}

/// Lets a compressor write behind what it wrote before.
fn step(
    room: &mut Vec<u8>,
    work: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> std::io::Result<usize>,
) -> Result<usize> {
    room.reserve(STEP_BYTES);
    let end = room.len();
    work(&mut OutBuffer::around_pos(room, end)).map_err(broken)
}

fn broken(cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Bug, "write segment").because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(plain: &[u8], level: i32) -> Bytes {
        let mut encoder = Encoder::new(Compression::Zstd(level)).unwrap();
        plain.chunks(16 * 1024).for_each(|chunk| encoder.write(chunk).unwrap());
        encoder.finish().unwrap()
    }

    #[test]
    fn a_used_compressor_gives_the_bytes_of_a_new_one_and_of_the_streaming_one() {
        // Some 9 MB: the window of 2 MiB turns over, and each part is like the ones before but not the same.
        let line = |n: u64| format!("{{\"n\":{n},\"price\":{}.{}}}\n", n * 7919 % 6133, n * n % 9973);
        let text: String = (0..250_000).map(line).collect();
        for level in [3, 1, 9, 3] {
            for plain in [text.as_bytes(), &text.as_bytes()[3_000_000..], &text.as_bytes()[..100_000], b""] {
                let mut new = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
                new.include_checksum(true).unwrap();
                plain.chunks(256 * 1024).for_each(|chunk| new.write_all(chunk).unwrap());
                assert!(compressed(plain, level) == new.finish().unwrap(), "level {level}");
            }
        }
    }
}
