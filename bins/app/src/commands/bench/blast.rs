//! A WebSocket server that costs next to nothing: it writes frames that were made before, as fast as the kernel
//! takes them. A simulator would need the core that the receiver is measured on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Clock, Error, ErrorKind, Result};
use tokio_tungstenite::tungstenite;

/// Bytes of one write when frames are written together.
const WRITE_BYTES: usize = 64 * 1024;

/// How a close frame of a client begins.
const CLOSE: u8 = 0x88;

/// What to send.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// The first frame.
    pub(super) first: Bytes,
    /// The frames after it, by turns.
    pub(super) then: [Bytes; 2],
    /// How many frames there are in all.
    pub(super) frames: u64,
    /// Whether each frame is a write of its own.
    pub(super) apart: bool,
}

/// A server that waits for its only client.
#[derive(Debug)]
pub(super) struct Blast {
    /// Where it listens.
    pub(super) address: SocketAddr,
    began: Arc<OnceLock<Duration>>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Blast {
    /// Listens; sends when a client has come.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn start(load: Load, clock: Arc<dyn Clock>) -> Result<Self> {
        let failed = |cause| Error::io("start load", cause);
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let began = Arc::new(OnceLock::new());
        let told = Arc::clone(&began);
        let thread = std::thread::Builder::new()
            .name("ssmd-bench-load".to_owned())
            .spawn(move || serve(&listener, &load, &told, &*clock))
            .map_err(failed)?;
        Ok(Self { address, began, thread })
    }

    /// When the first byte was sent; zero if none was.
    pub(super) fn began(&self) -> Duration {
        self.began.get().copied().unwrap_or_default()
    }

    /// Waits until everything was sent and the client has gone.
    ///
    /// # Errors
    /// `Io` if the client went away before.
    pub(super) async fn end(self) -> Result<()> {
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(sent)) => sent.map_err(|cause| Error::io("send load", cause)),
            _ => Err(Error::new(ErrorKind::Bug, "send load")),
        }
    }
}

fn serve(
    listener: &TcpListener,
    load: &Load,
    began: &OnceLock<Duration>,
    clock: &dyn Clock,
) -> std::io::Result<()> {
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut socket = tungstenite::accept(stream).map_err(std::io::Error::other)?;
    let stream = socket.get_mut();
    began.get_or_init(|| clock.elapsed());
    let sent = if load.apart { send_apart(stream, load) } else { send_together(stream, load) };
    sent?;
    // What the client still says is of no interest, but its goodbye is, and its end.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).is_ok_and(|read| read > 0 && rest[0] != CLOSE) {}
    Ok(())
}

fn send_apart(stream: &mut TcpStream, load: &Load) -> std::io::Result<()> {
    let frames = load.then.each_ref().map(encode);
    stream.write_all(&encode(&load.first))?;
    (1..load.frames).try_for_each(|at| stream.write_all(&frames[(at % 2) as usize]))
}

fn send_together(stream: &mut TcpStream, load: &Load) -> std::io::Result<()> {
    let frames = load.then.each_ref().map(encode);
    let pairs = WRITE_BYTES / (frames[0].len() + frames[1].len());
    let block = [&frames[1][..], &frames[0]].concat().repeat(pairs);
    stream.write_all(&encode(&load.first))?;
    let (in_block, after) = (2 * pairs as u64, load.frames - 1);
    (0..after / in_block).try_for_each(|_| stream.write_all(&block))?;
    (1..=after % in_block).try_for_each(|at| stream.write_all(&frames[(at % 2) as usize]))
}

/// A text frame as a server sends it.
pub(super) fn encode(payload: &Bytes) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => frame.push(short as u8),
        Ok(length) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}
