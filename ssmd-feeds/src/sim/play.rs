//! Reads play files: JSON lines `{"t":<ns since the epoch or null>,"raw":"<frame text>"}`, optionally `"c"`, plain,
//! gzip or zstd, told apart by their first bytes.
//!
//! Knows nothing of venues: a frame may be malformed, unknown or empty, and is handed on as it is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use ssmd_core::{Error, ErrorKind, Result, Timestamp};

/// The longest line, in bytes: four times the largest frame that is kept whole (16 MiB), since JSON escapes grow
/// text. Anything longer is not a play file.
pub const LINE_BYTES_MAX: u64 = 64 << 20;

/// One recorded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayFrame {
    /// When it was received; `None` if nobody wrote it down.
    pub at: Option<Timestamp>,
    /// The connection it came on, from 1; `None` if nobody wrote it down.
    pub connection: Option<u64>,
    /// The frame's text, whatever it is.
    pub raw: String,
}

/// The frames of one play file, in order.
pub struct PlayReader {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    number: u64,
}

#[derive(Deserialize)]
struct Line {
    t: Option<i64>,
    c: Option<u64>,
    raw: String,
}

impl PlayReader {
    /// Opens a play file.
    ///
    /// # Errors
    /// Those of opening and reading a file, with its path.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |cause| Error::io("open play file", cause).with("path", path.display());
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let magic = file.fill_buf().map_err(failed)?;
        let lines: Box<dyn BufRead + Send> = if magic.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file)))
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(file).map_err(failed)?))
        } else {
            Box::new(file)
        };
        Ok(Self { path: path.to_owned(), lines, line: Vec::new(), number: 0 })
    }

    fn read(&mut self) -> Result<Option<PlayFrame>> {
        loop {
            self.line.clear();
            self.number += 1;
            let read = (&mut self.lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line);
            let read = read.map_err(|cause| self.at(Error::io("read play file", cause)))?;
            if read == 0 {
                return Ok(None);
            }
            if read as u64 == LINE_BYTES_MAX && !self.line.ends_with(b"\n") {
                return Err(self.at(Error::new(ErrorKind::Invalid, "read play file").detail("line too long")));
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_slice(&self.line).map_err(|cause| {
                self.at(Error::new(ErrorKind::Invalid, "read play file").because(cause)).hint(
                    "a play file has one JSON object a line: {\"t\":<nanoseconds or null>,\"raw\":\"<text>\"}",
                )
            })?;
            let at = line.t.map(Timestamp::from_nanos);
            return Ok(Some(PlayFrame { at, connection: line.c, raw: line.raw }));
        }
    }

    fn at(&self, error: Error) -> Error {
        error.with("path", self.path.display()).with("line", self.number)
    }
}

impl Iterator for PlayReader {
    type Item = Result<PlayFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &str =
        "{\"t\":7,\"raw\":\"{\\\"a\\\":1}\"}\n\n{\"t\":null,\"c\":2,\"raw\":\"\"}\n{\"raw\":\"{bad\\u0000\"}";

    fn frames(bytes: &[u8]) -> Result<Vec<PlayFrame>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        PlayReader::open(file.path())?.collect()
    }

    #[test]
    fn plain_gzip_and_zstd_read_alike() {
        let plain = frames(TEXT.as_bytes()).unwrap();
        let raws: Vec<_> = plain.iter().map(|frame| frame.raw.as_str()).collect();
        assert_eq!(raws, ["{\"a\":1}", "", "{bad\0"]);
        assert_eq!(plain[0].at, Some(Timestamp::from_nanos(7)));
        assert_eq!((plain[1].at, plain[1].connection), (None, Some(2)));
        let (head, tail) = TEXT.as_bytes().split_at(10);
        let mut gzip = Vec::new();
        for part in [head, tail] {
            let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            member.write_all(part).unwrap();
            gzip.extend(member.finish().unwrap());
        }
        assert_eq!(frames(&gzip).unwrap(), plain, "every member of a gzip file is read");
        let parts = [head, tail].map(|part| zstd::encode_all(part, 1).unwrap());
        assert_eq!(frames(&parts.concat()).unwrap(), plain, "every frame of a zstd file is read");
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = frames(b"{\"t\":1,\"raw\":\"x\"}\n{\"t\":2}\n").unwrap_err();
        assert_eq!((error.kind(), error.context("line")), (ErrorKind::Invalid, Some("2")));
    }
}
