//! Standard output of commands, and how a command ends.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;
use ssmd_core::environment::Problems;
use ssmd_core::{Error, ErrorKind};

use crate::exit::Exit;

/// How a command ends.
pub(crate) type Outcome = Result<Exit, Stopped>;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Something failed.
    Failed(Error),
    /// The environment document is wrong.
    Document(Box<Problems>),
    /// Whoever read our output has seen enough.
    Unread,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Problems> for Stopped {
    fn from(problems: Problems) -> Self {
        Self::Document(Box::new(problems))
    }
}

impl Stopped {
    /// Says on standard error what happened, and gives the exit code.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Failed(error) => {
                eprintln!("error: {}", error.report());
                Exit::from(&error)
            }
            Self::Document(problems) => {
                eprintln!("{problems}");
                Exit::Config
            }
            Self::Unread => Exit::Ok,
        }
    }
}

/// Standard output, buffered. A reader that went away, as `head` does, is no error.
pub(crate) struct Out(BufWriter<StdoutLock<'static>>);

/// Room for a few hundred lines.
const BUFFER_BYTES: usize = 256 * 1024;

impl Out {
    /// Standard output.
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()))
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// `Unread` if nobody reads any more.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.0.write_all(bytes).map_err(stopped)
    }

    /// Writes a line.
    ///
    /// # Errors
    /// `Unread` if nobody reads any more.
    pub(crate) fn line(&mut self, line: impl std::fmt::Display) -> Result<(), Stopped> {
        writeln!(self.0, "{line}").map_err(stopped)
    }

    /// Writes a value as one line of JSON.
    ///
    /// # Errors
    /// `Unread` if nobody reads any more.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Stopped> {
        let text = serde_json::to_string(value)
            .map_err(|cause| Error::new(ErrorKind::Bug, "write JSON").because(cause))?;
        self.line(text)
    }

    /// Hands everything over.
    ///
    /// # Errors
    /// `Unread` if nobody reads any more.
    pub(crate) fn flush(&mut self) -> Result<(), Stopped> {
        self.0.flush().map_err(stopped)
    }
}

fn stopped(cause: io::Error) -> Stopped {
    match cause.kind() {
        io::ErrorKind::BrokenPipe => Stopped::Unread,
        _ => Stopped::Failed(Error::io("write to standard output", cause)),
    }
}
