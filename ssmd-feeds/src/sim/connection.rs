//! One client's WebSocket: hands what it says to the exchange, and sends what the exchange queued for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use ssmd_core::Clock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use super::faults::Port;
use super::log::{Sender, Sent};
use super::outbox::{Outbox, Wire};
use super::venue::Connection;

/// The largest command, in bytes: room for every symbol of a venue in one subscribe.
pub(super) const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Frames are gathered into writes of about so many bytes.
const WRITE_BYTES: usize = 256 << 10;
/// What a client has to answer our Close with its own, and to close.
pub(super) const CLOSE_MAX: Duration = Duration::from_secs(10);

/// What the exchange hears about its clients.
#[derive(Debug)]
pub(super) enum Event {
    /// A client connected.
    Opened { client: Connection, outbox: Arc<Outbox> },
    /// It sent a text frame.
    Heard { client: Connection, text: Utf8Bytes },
    /// It is gone, with a Close frame of its own or without; these recorded frames were taken for it and not sent.
    Gone { client: Connection, goodbye: bool, unsent: Vec<Utf8Bytes> },
}

/// What was sent by all connections together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Text frames.
    pub(super) frames: AtomicU64,
    /// Bytes in them.
    pub(super) bytes: AtomicU64,
    /// WebSocket connections, so far.
    pub(super) connections: AtomicU64,
    /// Connections refused since too many were open.
    pub(super) refused: AtomicU64,
}

/// What every connection shares.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) log: Sender<Sent>,
    pub(super) counts: Arc<Counts>,
    /// Notified when any connection took something from its queue.
    pub(super) room: Arc<tokio::sync::Notify>,
    /// What shall go wrong outside of connections.
    pub(super) port: Arc<Port>,
}

/// How sockets are set up.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(COMMAND_BYTES_MAX))
        .max_frame_size(Some(COMMAND_BYTES_MAX))
        .read_buffer_size(16 << 10)
        .write_buffer_size(WRITE_BYTES)
}

/// Serves one client until it is gone.
pub(super) async fn serve<S>(mut socket: WebSocketStream<S>, shared: Shared)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let client = shared.counts.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let outbox = Arc::new(Outbox::new(shared.room.clone()));
    if shared.events.send(Event::Opened { client, outbox: outbox.clone() }).await.is_err() {
        return;
    }
    let (mut batch, mut sent, mut goodbye) = (VecDeque::new(), Vec::new(), false);
    tokio::select! {
        biased;
        () = outbox.cut_off() => {}
        ended = converse(&mut socket, client, &outbox, (&mut batch, &mut sent), &shared) => {
            tracing::debug!(client, ?ended, "simulated connection ended");
            goodbye = matches!(ended, Ok(true));
        }
    }
    shared.log.send(sent).await;
    let unsent = batch.into_iter().filter_map(Wire::played).collect();
    // The exchange outlives its connections unless it failed, and then nobody needs to know.
    let _ = shared.events.send(Event::Gone { client, goodbye, unsent }).await;
}

/// Says whether the client ended it with a goodbye.
async fn converse<S>(
    socket: &mut WebSocketStream<S>,
    client: Connection,
    outbox: &Outbox,
    (batch, sent): (&mut VecDeque<Wire>, &mut Vec<Sent>),
    shared: &Shared,
) -> Result<bool, WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            biased;
            heard = socket.next() => match heard {
                None => return Ok(false),
                Some(Ok(Message::Text(text))) => {
                    if shared.events.send(Event::Heard { client, text }).await.is_err() {
                        return Ok(false);
                    }
                }
                Some(Ok(Message::Binary(_))) => return close(socket, CloseCode::Unsupported, shared).await,
                // The answer is queued by the socket itself.
                Some(Ok(Message::Ping(_))) => socket.flush().await?,
                Some(Ok(Message::Close(_))) => return drain(socket, shared).await.map(|()| true),
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(WsError::Capacity(_))) => return close(socket, CloseCode::Size, shared).await,
                Some(Err(WsError::Utf8(_))) => return close(socket, CloseCode::Invalid, shared).await,
                Some(Err(WsError::Protocol(_))) => return close(socket, CloseCode::Protocol, shared).await,
                Some(Err(error)) => return Err(error),
            },
            () = outbox.filled() => {
                let bytes = outbox.take(batch);
                let result = send(socket, client, outbox, batch, shared, sent).await;
                shared.log.send(std::mem::take(sent)).await;
                let last = result?;
                outbox.taken(bytes);
                match last {
                    None => {}
                    Some(Wire::Close) => return close(socket, CloseCode::Normal, shared).await,
                    Some(Wire::Drip(text, every)) => return drip(socket, &text, every, shared).await,
                    Some(Wire::Stall) => return ignore(socket.get_mut()).await,
                    Some(_) => return Ok(false),
                }
            }
        }
    }
}

/// Sends all of `batch` in few writes; says what came last if nothing can follow.
async fn send<S>(
    socket: &mut WebSocketStream<S>,
    client: Connection,
    outbox: &Outbox,
    batch: &mut VecDeque<Wire>,
    shared: &Shared,
    sent: &mut Vec<Sent>,
) -> Result<Option<Wire>, WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut frames, mut last) = (0, None);
    while let Some(wire) = batch.pop_front() {
        let text = match wire {
            Wire::Said(text) | Wire::Played(text) => text,
            Wire::Ping => {
                socket.feed(Message::Ping(Bytes::new())).await?;
                continue;
            }
            Wire::Raw(bytes) => {
                // The client may leave before it has read all of this, and not before it has what came earlier.
                socket.flush().await?;
                outbox.sent(std::mem::take(&mut frames));
                let frame = Frame::message(bytes, OpCode::Data(Data::Text), true);
                socket.feed(Message::Frame(frame)).await?;
                continue;
            }
            Wire::Close | Wire::Cut | Wire::Stall | Wire::Drip(..) => {
                last = Some(wire);
                break;
            }
        };
        frames += 1;
        shared.counts.frames.fetch_add(1, Ordering::Relaxed);
        shared.counts.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
        if shared.log.is_on() {
            sent.push(Sent { at: shared.clock.now(), connection: client, text: text.clone() });
        }
        socket.feed(Message::Text(text)).await?;
    }
    socket.flush().await?;
    outbox.sent(frames);
    Ok(last)
}

/// Sends the beginning of a frame byte by byte, until the client has gone.
async fn drip<S>(
    socket: &mut WebSocketStream<S>,
    text: &str,
    every: Duration,
    shared: &Shared,
) -> Result<bool, WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A text frame with a length of two bytes, which promises more than will ever come.
    let promised = [0x81, 126, 0xff, 0xff];
    let filler = std::iter::repeat(&b' ');
    let mut bytes = promised.iter().chain(text.as_bytes()).chain(filler);
    let (mut reader, mut writer) = tokio::io::split(socket.get_mut());
    let gone = ignore(&mut reader);
    tokio::pin!(gone);
    loop {
        tokio::select! {
            biased;
            gone = &mut gone => return gone,
            () = shared.clock.sleep(every) => {
                let byte = bytes.next().copied().unwrap_or(b' ');
                writer.write_all(&[byte]).await?;
                writer.flush().await?;
            }
        }
    }
}

/// Reads and answers nothing, until the client has gone.
async fn ignore<S: AsyncRead + Unpin>(stream: &mut S) -> Result<bool, WsError> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(false)
}

async fn close<S>(socket: &mut WebSocketStream<S>, code: CloseCode, shared: &Shared) -> Result<bool, WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.close(Some(CloseFrame { code, reason: Utf8Bytes::default() })).await?;
    drain(socket, shared).await.map(|()| false)
}

/// Reads on until the client has closed too, so that it gets everything that was sent.
async fn drain<S>(socket: &mut WebSocketStream<S>, shared: &Shared) -> Result<(), WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = shared.clock.sleep(CLOSE_MAX);
    let drained = async {
        socket.flush().await?;
        while let Some(heard) = socket.next().await {
            heard?;
        }
        Ok(())
    };
    tokio::select! {
        result = drained => result,
        () = deadline => Ok(()),
    }
}
