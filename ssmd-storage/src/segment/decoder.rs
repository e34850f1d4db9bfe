//! Unpacks the bytes of a segment, compressed in either way.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use ssmd_core::Result;
use zstd::stream::raw::{self, DParameter, InBuffer, Operation, OutBuffer};

use super::corrupt;

/// The largest window that a reader allows, as a power of two: 16 MiB, above what every sane level uses.
const WINDOW_LOG_MAX: u32 = 24;

/// Where the bytes come from.
pub(super) enum Decoder {
    Zstd {
        decoder: raw::Decoder<'static>,
        /// What was not taken yet.
        body: Bytes,
        /// Whether a frame has begun and not ended.
        within: bool,
    },
    Gzip(Box<MultiGzDecoder<bytes::buf::Reader<Bytes>>>),
}

impl Decoder {
    /// # Errors
    /// None but of a lack of memory.
    pub(super) fn new(body: Bytes) -> Result<Self> {
        if body.starts_with(&[0x1f, 0x8b]) {
            return Ok(Self::Gzip(Box::new(MultiGzDecoder::new(body.reader()))));
        }
        let failed = |cause| corrupt("it does not unpack").because(cause);
        let mut decoder = raw::Decoder::new().map_err(failed)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(failed)?;
        Ok(Self::Zstd { decoder, body, within: false })
    }

    /// Adds the next bytes to `out`: what its capacity has room for, or everything up to the end, which is reached
    /// when nothing is added.
    pub(super) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        let before = out.len();
        match self {
            Self::Gzip(decoder) => {
                let room = (out.capacity() - before) as u64;
                decoder.take(room).read_to_end(out)
            }
            Self::Zstd { decoder, body, within } => {
                let mut input = InBuffer::around(body);
                // A whole frame for which there is room is unpacked in one go, to where it is wanted.
                while out.len() < out.capacity() && (input.pos() < body.len() || *within) {
                    let (taken, end) = (input.pos(), out.len());
                    *within = decoder.run(&mut input, &mut OutBuffer::around_pos(out, end))? > 0;
                    if *within && input.pos() == taken && out.len() == end {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a frame has no end"));
                    }
                }
                let taken = input.pos();
                body.advance(taken);
                Ok(out.len() - before)
            }
        }
    }
}
