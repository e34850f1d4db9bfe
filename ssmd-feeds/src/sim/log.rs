//! The log of what was sent: one JSON line a text frame, `{"t":<ns>,"c":<connection from 1>,"raw":"<text>"}`.
//!
//! Written by one blocking task behind a bounded queue; complete when [`SentLog::write`] has returned.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use ssmd_core::{Error, ErrorKind, Result, Timestamp};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How many batches of sent frames may wait for the disk; then sending waits.
const QUEUE_BATCHES_MAX: usize = 64;
/// The size of the writes, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// One text frame that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Timestamp,
    pub(super) connection: u64,
    pub(super) text: Utf8Bytes,
}

/// Where connections put what they sent. Cheap to clone; without a log it takes nothing.
#[derive(Clone, Debug)]
pub(super) struct Sender(Option<mpsc::Sender<Vec<Sent>>>);

impl Sender {
    /// Whether anybody reads it.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands on a batch; waits while the disk is behind.
    pub(super) async fn send(&self, batch: Vec<Sent>) {
        if let Some(queue) = &self.0
            && !batch.is_empty()
        {
            // The writer ends early only if it failed, and then its error ends the simulator.
            let _ = queue.send(batch).await;
        }
    }
}

/// The log's file.
#[derive(Debug)]
pub(super) struct SentLog {
    path: PathBuf,
    file: File,
}

#[derive(Serialize)]
struct Line<'a> {
    t: i64,
    c: u64,
    raw: &'a str,
}

impl SentLog {
    /// Creates the file, or empties it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path)
            .map_err(|cause| Error::io("create log of sent frames", cause).with("path", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Starts it: where to put frames, and the future that writes them until every sender is gone.
    pub(super) fn start(log: Option<Self>) -> (Sender, impl Future<Output = Result<()>> + Send) {
        let (sender, queue) = match log.is_some() {
            true => {
                let (sender, queue) = mpsc::channel(QUEUE_BATCHES_MAX);
                (Sender(Some(sender)), Some(queue))
            }
            false => (Sender(None), None),
        };
        let writing = async move {
            let (Some(log), Some(queue)) = (log, queue) else { return Ok(()) };
            tokio::task::spawn_blocking(move || log.write(queue)).await.unwrap_or_else(|cause| {
                Err(Error::new(ErrorKind::Bug, "write log of sent frames").because(cause))
            })
        };
        (sender, writing)
    }

    fn write(self, mut queue: mpsc::Receiver<Vec<Sent>>) -> Result<()> {
        let path = self.path;
        let failed = |cause| Error::io("write log of sent frames", cause).with("path", path.display());
        let mut file = BufWriter::with_capacity(WRITE_BYTES, self.file);
        while let Some(batch) = queue.blocking_recv() {
            for sent in batch {
                let line = Line { t: sent.at.nanos(), c: sent.connection, raw: &sent.text };
                serde_json::to_writer(&mut file, &line).map_err(|cause| failed(cause.into()))?;
                file.write_all(b"\n").map_err(failed)?;
            }
            if queue.is_empty() {
                file.flush().map_err(failed)?;
            }
        }
        file.flush().map_err(failed)
    }
}
