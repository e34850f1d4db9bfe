//! Play files: frames as JSON lines `{"t":<ns or null>,"raw":"<text>"}`, with `"c":<connection>` or not.
//!
//! Plain, gzip (of several members) or zstd (of several frames), told apart by their first bytes. A frame that is no
//! text stands in `"b64"` instead of `"raw"`. Other fields are passed over.

use std::io::{BufRead, BufReader, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use ssmd_core::entry::{FRAME_BYTES_MAX, Joiner};
use ssmd_core::{Error, ErrorKind, Frame, FrameKind, Result, Timestamp};

use crate::read::EntryReader;

/// The longest line of a play file, in bytes: a frame of control characters becomes six bytes for each of its own.
pub const PLAY_LINE_BYTES_MAX: usize = 6 * FRAME_BYTES_MAX + 1024;

/// One line of a play file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// When it was received, if that is known.
    pub at: Option<Timestamp>,
    /// The connection's number, if there is one.
    pub connection: Option<u64>,
    /// The frame.
    pub payload: Bytes,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    t: Option<i64>,
    #[serde(default)]
    c: Option<u64>,
    raw: Option<String>,
    b64: Option<String>,
}

/// Reads a play file, line by line.
pub struct PlayReader {
    source: Box<dyn BufRead + Send>,
    line: usize,
    buffer: Vec<u8>,
}

impl PlayReader {
    /// Begins to read, and finds out how the file is compressed.
    ///
    /// # Errors
    /// As the operating system's.
    pub fn new(source: impl Read + Send + 'static) -> Result<Self> {
        let failed = |cause| Error::io("read play file", cause);
        let mut source = BufReader::with_capacity(128 * 1024, source);
        let magic = source.fill_buf().map_err(failed)?;
        let source: Box<dyn BufRead + Send> = if magic.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::new(MultiGzDecoder::new(source)))
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(source).map_err(failed)?))
        } else {
            Box::new(source)
        };
        Ok(Self { source, line: 0, buffer: Vec::new() })
    }

    /// The next line; `None` at the end. Empty lines are passed over.
    ///
    /// # Errors
    /// `Invalid`, with the line's number, for a line that is none; `Corrupt` for damage that the compression
    /// notices.
    #[expect(clippy::should_implement_trait, reason = "it is no iterator: an error does not end it")]
    pub fn next(&mut self) -> Result<Option<Played>> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let mut limited = self.source.by_ref().take(PLAY_LINE_BYTES_MAX as u64 + 1);
            let read = limited.read_until(b'\n', &mut self.buffer).map_err(|cause| {
                Error::new(ErrorKind::Corrupt, "read play file").with("line", self.line).because(cause)
            })?;
            if read == 0 {
                return Ok(None);
            }
            if read > PLAY_LINE_BYTES_MAX {
                return Err(self.invalid("the line is too long"));
            }
            if self.buffer.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return self.parse().map(Some);
            }
        }
    }

    fn parse(&self) -> Result<Played> {
        let line: Line = serde_json::from_slice(&self.buffer).map_err(|cause| {
            self.invalid("it is no line of a play file")
                .because(cause)
                .hint("a line is {\"t\":<ns or null>,\"raw\":\"<text>\"}")
        })?;
        let payload: Bytes = match (line.raw, line.b64) {
            (Some(raw), None) => raw.into(),
            (None, Some(text)) => {
                BASE64.decode(text).map_err(|cause| self.invalid("not base64").because(cause))?.into()
            }
            _ => return Err(self.invalid("it needs raw")),
        };
        if payload.len() > FRAME_BYTES_MAX {
            return Err(self.invalid("the frame is too long"));
        }
        Ok(Played { at: line.t.map(Timestamp::from_nanos), connection: line.c, payload })
    }

    fn invalid(&self, detail: &'static str) -> Error {
        Error::new(ErrorKind::Invalid, "read play file").detail(detail).with("line", self.line)
    }
}

/// Writes one line of a play file.
///
/// # Errors
/// As the operating system's.
pub fn write(played: &Played, out: &mut impl Write) -> Result<()> {
    let failed = |cause| Error::io("write play file", cause);
    let time = played.at.map_or("null".to_owned(), |at| at.nanos().to_string());
    write!(out, "{{\"t\":{time}").map_err(failed)?;
    if let Some(connection) = played.connection {
        write!(out, ",\"c\":{connection}").map_err(failed)?;
    }
    match std::str::from_utf8(&played.payload) {
        Ok(text) => {
            out.write_all(b",\"raw\":").map_err(failed)?;
            serde_json::to_writer(&mut *out, text).map_err(|cause| failed(cause.into()))?;
        }
        Err(_) => write!(out, ",\"b64\":\"{}\"", BASE64.encode(&played.payload)).map_err(failed)?,
    }
    out.write_all(b"}\n").map_err(failed)
}

/// Writes the frames that a reader gives as a play file, the session as the connection's number, and says how many
/// they were. Frames that we sent are left out unless `sent`.
///
/// # Errors
/// `Corrupt` for a damaged archive, as the operating system's for writing.
pub async fn export(mut entries: EntryReader, sent: bool, out: &mut impl Write) -> Result<u64> {
    let mut joiners = std::collections::BTreeMap::<_, Joiner>::new();
    let mut frames = 0;
    while let Some(batch) = entries.next_batch().await? {
        for entry in &batch {
            let joined = joiners.entry(entry.id.origin).or_default().push(entry)?;
            if let Some(frame) = joined.filter(|frame| sent || frame.kind != FrameKind::Sent) {
                write(&Played::from(frame), out)?;
                frames += 1;
            }
        }
    }
    Ok(frames)
}

impl From<Frame> for Played {
    fn from(frame: Frame) -> Self {
        Self { at: Some(frame.received), connection: Some(frame.session.0), payload: frame.payload }
    }
}
