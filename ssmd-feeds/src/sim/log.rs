//! Files of JSON lines: what was sent, `{"t":<ns>,"c":<connection from 1>,"raw":"<text>"}` a text frame; and the
//! ledger of faults.
//!
//! Each is written by one blocking task behind a bounded queue; complete when [`Lines::write`] has returned.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use ssmd_core::{Error, ErrorKind, Result, Timestamp};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How many batches of lines may wait for the disk; then sending waits.
const QUEUE_BATCHES_MAX: usize = 64;
/// The size of the writes, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// One text frame that was sent.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sent {
    #[serde(rename = "t")]
    pub(super) at: Timestamp,
    #[serde(rename = "c")]
    pub(super) connection: u64,
    #[serde(rename = "raw", serialize_with = "text")]
    pub(super) text: Utf8Bytes,
}

fn text<S: Serializer>(text: &Utf8Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// Where lines are put. Cheap to clone; without a file it takes nothing.
#[derive(Clone, Debug)]
pub(super) struct Sender<T>(Option<mpsc::Sender<Vec<T>>>);

impl<T: Send> Sender<T> {
    /// Whether anybody reads it.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands on a batch; waits while the disk is behind.
    pub(super) async fn send(&self, batch: Vec<T>) {
        if let Some(queue) = &self.0
            && !batch.is_empty()
        {
            // The writer ends early only if it failed, and then its error ends the simulator.
            let _ = queue.send(batch).await;
        }
    }
}

/// A file of lines.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Creates the file, or empties it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path)
            .map_err(|cause| Error::io("create file", cause).with("path", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Starts it: where to put lines, and the future that writes them until every sender is gone.
    pub(super) fn start<T: Serialize + Send + 'static>(
        log: Option<Self>,
    ) -> (Sender<T>, impl Future<Output = Result<()>> + Send) {
        let (sender, queue) = match log.is_some() {
            true => {
                let (sender, queue) = mpsc::channel(QUEUE_BATCHES_MAX);
                (Sender(Some(sender)), Some(queue))
            }
            false => (Sender(None), None),
        };
        let writing = async move {
            let (Some(log), Some(queue)) = (log, queue) else { return Ok(()) };
            tokio::task::spawn_blocking(move || log.write(queue))
                .await
                .unwrap_or_else(|cause| Err(Error::new(ErrorKind::Bug, "write lines").because(cause)))
        };
        (sender, writing)
    }

    fn write<T: Serialize>(self, mut queue: mpsc::Receiver<Vec<T>>) -> Result<()> {
        let path = self.path;
        let failed = |cause| Error::io("write lines", cause).with("path", path.display());
        let mut file = BufWriter::with_capacity(WRITE_BYTES, self.file);
        while let Some(batch) = queue.blocking_recv() {
            for line in batch {
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
