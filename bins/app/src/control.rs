//! The control socket in the data folder, through which other commands talk to what runs.
//!
//! A client sends one JSON line, a [`Request`], and reads JSON lines until the other side closes.
//! Whoever may write into the data folder may talk to it; it is bound to no network.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use ssmd_core::{
    Clock, Delivery, Error, ErrorKind, Filter, Result, Subscription, Symbol, SystemClock, Tasks,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::reload::{Answer, Apply};
use crate::status::{FeedBook, Status};

/// The longest request, in bytes: one with a document of 10 MiB, most of whose characters are not escaped.
const REQUEST_BYTES_MAX: u64 = 24 * 1024 * 1024;
/// How long a client may take to send its request, and what runs to answer the first line.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Names of the sockets, by the role of the process that listens.
pub(crate) const ROLES: [&str; 4] = ["up", "connector", "archiver", "cache"];

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// One line: a [`Status`].
    Status,
    /// Records as they are decoded, one line each, whose subjects match the filter.
    Tail {
        /// A subject filter.
        filter: String,
    },
    /// One line: an array of [`crate::status::FeedBook`].
    Books {
        /// Only this feed.
        #[serde(default)]
        feed: Option<String>,
    },
    /// Asks for a fresh start of one symbol's book.
    Resync {
        /// The feed.
        feed: String,
        /// The venue's name of the symbol.
        symbol: String,
    },
    /// Reads the document again and does what it says; one line: an [`Answer`].
    Apply {
        /// Says only what would change.
        #[serde(default)]
        dry_run: bool,
        /// A document to look at instead of the process's own; only with `dry_run`.
        #[serde(default)]
        document: Option<String>,
        /// Does it only if the document has this hash.
        #[serde(default)]
        expect: Option<String>,
    },
    /// Drains and stops, as SIGTERM does.
    Stop,
}

impl Request {
    /// Reads a request's line.
    ///
    /// # Errors
    /// `Invalid` if it is none.
    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line)
            .map_err(|cause| Error::new(ErrorKind::Invalid, "read control request").because(cause))
    }
}

/// What runs, as seen by the socket.
#[async_trait]
pub(crate) trait Controlled: Send + Sync {
    /// How it is doing.
    async fn status(&self) -> Status;
    /// Records as they are decoded.
    ///
    /// # Errors
    /// `Unsupported` if this process decodes nothing.
    async fn tail(&self, filter: &Filter) -> Result<Box<dyn Subscription>>;
    /// The audit of books.
    ///
    /// # Errors
    /// `NotFound` if there is no such feed.
    async fn books(&self, feed: Option<&str>) -> Result<Vec<FeedBook>>;
    /// Asks for a fresh start of one book.
    ///
    /// # Errors
    /// `NotFound` if there is no such feed.
    async fn resync(&self, feed: &str, symbol: Symbol) -> Result<()>;
    /// Reads the document again and does what it says.
    ///
    /// # Errors
    /// `Unavailable` if the process is stopping.
    async fn apply(&self, apply: Apply) -> Result<Answer>;
    /// Begins to stop.
    fn stop(&self);
}

/// Binds the socket of `role` in the data folder. A socket that nobody listens on is replaced.
///
/// # Errors
/// `Conflict` if another process of that role runs in the same folder.
pub(crate) async fn bind(data: &Path, role: &str) -> Result<UnixListener> {
    let failed = |cause| Error::io("open control socket", cause).with("folder", data.display());
    let (short, _folder) = short_path(data, role).map_err(failed)?;
    if UnixStream::connect(&short).await.is_ok() {
        return Err(Error::new(ErrorKind::Conflict, "open control socket")
            .detail(format!("another ssmd ({role}) runs in this folder"))
            .with("folder", data.display())
            .hint("stop it, or choose another folder with --data"));
    }
    match std::fs::remove_file(&short) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(failed(cause)),
        _ => UnixListener::bind(&short).map_err(failed),
    }
}

/// A socket's path may have about 100 bytes, a data folder's may be longer: go through the open folder.
fn short_path(data: &Path, role: &str) -> std::io::Result<(PathBuf, std::fs::File)> {
    let folder = std::fs::File::open(data)?;
    let direct = data.join(format!("{role}.sock"));
    if direct.as_os_str().len() < 100 {
        return Ok((direct, folder));
    }
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{role}.sock", folder.as_raw_fd())), folder))
}

/// Serves until `stop`, then removes the socket.
///
/// # Errors
/// None today: what fails concerns one client only.
pub(crate) async fn serve(
    listener: UnixListener,
    path: PathBuf,
    what: Arc<dyn Controlled>,
    stop: CancellationToken,
) -> Result<()> {
    let mut clients = Tasks::under(&stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = clients.next(), if !clients.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else { continue };
        let (what, stop) = (Arc::clone(&what), clients.token());
        clients.spawn("control client", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = answer(socket, what) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "control client");
                    }
                }
            }
            Ok(())
        });
    }
    // While the listener lives nobody else has bound the path. One that stays is replaced by the next start.
    let _ = std::fs::remove_file(path);
    Ok(())
}

async fn answer(socket: UnixStream, what: Arc<dyn Controlled>) -> Result<()> {
    let user = socket.peer_cred().ok().map(|peer| peer.uid());
    let (read, mut write) = socket.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(REQUEST_BYTES_MAX));
    read.read_line(&mut line).await.map_err(|cause| Error::io("read control request", cause))?;
    let reply = match Request::parse(&line) {
        Err(error) => Err(error),
        Ok(Request::Status) => Ok(json_line(&what.status().await)),
        Ok(Request::Stop) => {
            what.stop();
            Ok(json_line(&serde_json::json!({ "ok": true })))
        }
        Ok(Request::Books { feed }) => what.books(feed.as_deref()).await.map(|books| json_line(&books)),
        Ok(Request::Resync { feed, symbol }) => match Symbol::new(&symbol) {
            Err(error) => Err(error),
            Ok(symbol) => {
                what.resync(&feed, symbol).await.map(|()| json_line(&serde_json::json!({ "ok": true })))
            }
        },
        Ok(Request::Apply { dry_run, document, expect }) => {
            let apply = Apply { document, expect, dry_run, user };
            what.apply(apply).await.map(|answer| json_line(&answer))
        }
        Ok(Request::Tail { filter }) => match tail(what.as_ref(), &filter, &mut write).await {
            Ok(()) => return Ok(()),
            Err(error) => Err(error),
        },
    };
    let text = reply.unwrap_or_else(|error| json_line(&serde_json::json!({ "error": error.to_string() })));
    send(&mut write, text.as_bytes()).await
}

async fn tail(what: &dyn Controlled, filter: &str, write: &mut (impl AsyncWriteExt + Unpin)) -> Result<()> {
    let mut subscription = what.tail(&filter.parse()?).await?;
    loop {
        let mut line = match subscription.next().await? {
            Delivery::Message(message) => message.payload.to_vec(),
            Delivery::Lost(lost) => json_line(&serde_json::json!({ "lost": lost })).into_bytes(),
        };
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        if send(write, &line).await.is_err() {
            return Ok(());
        }
    }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> Result<()> {
    write.write_all(bytes).await.map_err(|cause| Error::io("answer control request", cause))
}

fn json_line(value: &impl Serialize) -> String {
    // The answers are plain JSON of ours; were one not, the client would see an empty line.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// Sends a request to the process of `role` in the data folder, and gives the lines of its answer.
///
/// # Errors
/// `Unavailable` if no such process runs there.
pub(crate) async fn ask(data: &Path, role: &str, request: &Request) -> Result<Lines<BufReader<UnixStream>>> {
    let absent = |cause: std::io::Error| {
        Error::new(ErrorKind::Unavailable, "talk to a running ssmd")
            .detail("nothing runs in this folder")
            .with("folder", data.display())
            .with("role", role)
            .because(cause)
            .hint("start one with `ssmd up`, or name its folder with --data")
    };
    let (path, _folder) = short_path(data, role).map_err(absent)?;
    let mut socket = UnixStream::connect(path).await.map_err(absent)?;
    let line = serde_json::to_string(request)
        .map_err(|cause| Error::new(ErrorKind::Bug, "write control request").because(cause))?;
    send(&mut socket, (line + "\n").as_bytes()).await?;
    Ok(BufReader::new(socket).lines())
}

/// Sends a request to the process of `role` in the data folder, and gives the one line of its answer.
///
/// # Errors
/// `Unavailable` if no such process runs there; `Timeout` if it does not answer `within` that time; what it refuses.
pub(crate) async fn ask_one(data: &Path, role: &str, request: &Request, within: Duration) -> Result<String> {
    let mut lines = ask(data, role, request).await?;
    let clock = SystemClock::new();
    let line = tokio::select! {
        line = lines.next_line() => line,
        () = clock.sleep(within) => {
            return Err(Error::new(ErrorKind::Timeout, "ask a running ssmd").with("role", role));
        }
    };
    let line = line.map_err(|cause| Error::io("read control answer", cause))?;
    let line = line.ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, "ask a running ssmd").detail("it ended").with("role", role)
    })?;
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    match serde_json::from_str::<Refused>(&line) {
        Ok(Refused { error }) => {
            Err(Error::new(ErrorKind::Invalid, "ask a running ssmd").with("role", role).detail(error))
        }
        Err(_) => Ok(line),
    }
}
