//! One client's WebSocket: hands what it says to the exchange, and sends what the exchange queued for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use ssmd_core::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

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
    /// It is gone; these recorded frames were taken for it and not sent.
    Gone { client: Connection, unsent: Vec<Utf8Bytes> },
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
    pub(super) log: Sender,
    pub(super) counts: Arc<Counts>,
    /// Notified when any connection took something from its queue.
    pub(super) room: Arc<tokio::sync::Notify>,
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
    let mut batch = VecDeque::new();
    tokio::select! {
        biased;
        () = outbox.cut_off() => {}
        ended = converse(&mut socket, client, &outbox, &mut batch, &shared) => {
            tracing::debug!(client, ?ended, "simulated connection ended");
        }
    }
    let unsent = batch.into_iter().filter_map(|wire| match wire {
        Wire::Played(text) => Some(text),
        Wire::Said(_) | Wire::Close => None,
    });
    // The exchange outlives its connections unless it failed, and then nobody needs to know.
    let _ = shared.events.send(Event::Gone { client, unsent: unsent.collect() }).await;
}

async fn converse<S>(
    socket: &mut WebSocketStream<S>,
    client: Connection,
    outbox: &Outbox,
    batch: &mut VecDeque<Wire>,
    shared: &Shared,
) -> Result<(), WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            biased;
            heard = socket.next() => match heard {
                None => return Ok(()),
                Some(Ok(Message::Text(text))) => {
                    if shared.events.send(Event::Heard { client, text }).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Ok(Message::Binary(_))) => return close(socket, CloseCode::Unsupported, shared).await,
                // The answer is queued by the socket itself.
                Some(Ok(Message::Ping(_))) => socket.flush().await?,
                Some(Ok(Message::Close(_))) => return drain(socket, shared).await,
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(WsError::Capacity(_))) => return close(socket, CloseCode::Size, shared).await,
                Some(Err(WsError::Utf8(_))) => return close(socket, CloseCode::Invalid, shared).await,
                Some(Err(WsError::Protocol(_))) => return close(socket, CloseCode::Protocol, shared).await,
                Some(Err(error)) => return Err(error),
            },
            () = outbox.filled() => {
                let bytes = outbox.take(batch);
                let mut sent = Vec::new();
                let result = send(socket, client, batch, shared, &mut sent).await;
                shared.log.send(sent).await;
                let closes = result?;
                outbox.sent(bytes);
                if closes {
                    return close(socket, CloseCode::Normal, shared).await;
                }
            }
        }
    }
}

/// Sends all of `batch` in few writes; says whether it ended with a Close.
async fn send<S>(
    socket: &mut WebSocketStream<S>,
    client: Connection,
    batch: &mut VecDeque<Wire>,
    shared: &Shared,
    sent: &mut Vec<Sent>,
) -> Result<bool, WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut closes = false;
    while let Some(wire) = batch.pop_front() {
        let text = match wire {
            Wire::Said(text) | Wire::Played(text) => text,
            Wire::Close => {
                closes = true;
                break;
            }
        };
        shared.counts.frames.fetch_add(1, Ordering::Relaxed);
        shared.counts.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
        if shared.log.is_on() {
            sent.push(Sent { at: shared.clock.now(), connection: client, text: text.clone() });
        }
        socket.feed(Message::Text(text)).await?;
    }
    socket.flush().await?;
    Ok(closes)
}

async fn close<S>(socket: &mut WebSocketStream<S>, code: CloseCode, shared: &Shared) -> Result<(), WsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.close(Some(CloseFrame { code, reason: Utf8Bytes::default() })).await?;
    drain(socket, shared).await
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
