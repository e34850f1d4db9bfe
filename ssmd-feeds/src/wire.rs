//! One WebSocket of tungstenite as a [`Socket`]: reads in batches, queues writes, notices what stalls.

use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use ssmd_core::{BoxFuture, Clock, Error, ErrorKind, Result, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};

use crate::dial::{GOODBYE_TIME_MAX, Received, Socket, WRITE_TIME_MAX};

const RECEIVE: &str = "receive";
const SEND: &str = "send";

pub(crate) struct WsSocket<S> {
    stream: WebSocketStream<Wire<S>>,
    clock: Arc<dyn Clock>,
    /// Messages, pings and pongs that came.
    whole: u64,
    /// Whether something queued has not left yet.
    unsent: bool,
    /// Runs while something queued does not leave.
    stalled: Option<BoxFuture<'static, ()>>,
    /// What the other side said when it closed.
    goodbye: Option<String>,
    /// Runs once the other side has said goodbye, until it ends the connection.
    leaving: Option<BoxFuture<'static, ()>>,
    /// The end, found behind messages that had to be given out first.
    end: Option<Error>,
}

/// When a read gave bytes. Messages that one read gave have the same stamp: they were there together.
#[derive(Clone, Copy)]
struct Stamp {
    /// What had been received in all by then.
    bytes: u64,
    received: Timestamp,
    elapsed: Duration,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> WsSocket<S> {
    pub(crate) fn new(stream: WebSocketStream<Wire<S>>, clock: Arc<dyn Clock>) -> Self {
        let (whole, unsent, stalled) = (0, false, None);
        Self { stream, clock, whole, unsent, stalled, goodbye: None, leaving: None, end: None }
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        max: NonZeroUsize,
        out: &mut Vec<Received>,
    ) -> Poll<Result<()>> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(Err(end));
        }
        let stalled = self.poll_write(context);
        let before = out.len();
        let mut stamp = None;
        while out.len() - before < max.get() {
            match Pin::new(&mut self.stream).poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(next) => {
                    if let Err(end) = self.take(next, &mut stamp, out) {
                        self.end = Some(end);
                        break;
                    }
                }
            }
        }
        if out.len() > before {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = self.end.take() {
            return Poll::Ready(Err(end));
        }
        self.poll_end(context, stalled)
    }

    /// Writes what is queued; ready when that has been impossible for too long.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.unsent {
            return Poll::Pending;
        }
        if Pin::new(&mut self.stream).poll_flush(context).is_ready() {
            // An error is kept by the wire, or comes again from the read that follows.
            self.unsent = false;
            self.stalled = None;
            return Poll::Pending;
        }
        let clock = &self.clock;
        self.stalled.get_or_insert_with(|| clock.sleep(WRITE_TIME_MAX)).as_mut().poll(context)
    }

    fn take(
        &mut self,
        next: Option<Result<Message, tungstenite::Error>>,
        stamp: &mut Option<Stamp>,
        out: &mut Vec<Received>,
    ) -> Result<()> {
        self.whole += u64::from(matches!(next, Some(Ok(_))));
        let (binary, payload) = match next {
            Some(Ok(Message::Text(text))) => (false, text.into()),
            Some(Ok(Message::Binary(payload))) => (true, payload),
            Some(Ok(Message::Close(frame))) => {
                self.goodbye = Some(frame.map_or_else(String::new, goodbye));
                self.leaving = Some(self.clock.sleep(GOODBYE_TIME_MAX));
                self.unsent = true;
                return Ok(());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Err(cause)) => return Err(self.broken(cause)),
            None => return Err(self.closed()),
        };
        let bytes = self.bytes();
        let Stamp { received, elapsed, .. } = match stamp {
            Some(stamp) if stamp.bytes == bytes => *stamp,
            _ => *stamp.insert(Stamp { bytes, received: self.clock.now(), elapsed: self.clock.elapsed() }),
        };
        out.push(Received { received, elapsed, binary, payload });
        Ok(())
    }

    /// Nothing came: whether the connection has ended all the same.
    fn poll_end(&mut self, context: &mut Context<'_>, stalled: Poll<()>) -> Poll<Result<()>> {
        if self.stream.get_ref().broken.is_some() && self.leaving.is_none() {
            // What the other side sent before may be there already, and we may not have been woken for it yet.
            self.leaving = Some(self.clock.sleep(GOODBYE_TIME_MAX));
        }
        if stalled.is_ready() {
            return Poll::Ready(Err(Error::new(ErrorKind::Timeout, SEND)
                .detail("the other side does not read")
                .with("seconds", WRITE_TIME_MAX.as_secs())));
        }
        let left = self.leaving.as_mut().is_some_and(|leaving| leaving.as_mut().poll(context).is_ready());
        if !left {
            return Poll::Pending;
        }
        Poll::Ready(Err(match self.stream.get_mut().broken.take() {
            Some(cause) => Error::io(SEND, cause),
            None => self.closed(),
        }))
    }

    fn closed(&mut self) -> Error {
        let said = self.goodbye.take().filter(|said| !said.is_empty());
        let error = Error::new(ErrorKind::Closed, RECEIVE);
        match said {
            Some(said) => error.detail(format!("the other side said goodbye: {said}")),
            None => error.detail("the other side said goodbye"),
        }
    }

    fn broken(&mut self, cause: tungstenite::Error) -> Error {
        use tungstenite::error::ProtocolError;
        match cause {
            _ if self.goodbye.is_some() => self.closed(),
            tungstenite::Error::Io(cause) => Error::io(RECEIVE, cause),
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Error::new(ErrorKind::Closed, RECEIVE).detail("the connection ended without a goodbye")
            }
            other => Error::new(ErrorKind::Corrupt, RECEIVE).because(other),
        }
    }

    fn queue(&mut self, message: Message) -> Result<()> {
        self.unsent = true;
        Pin::new(&mut self.stream).start_send(message).map_err(|cause| match cause {
            tungstenite::Error::WriteBufferFull(_) => Error::new(ErrorKind::Full, SEND),
            other => Error::new(ErrorKind::Closed, SEND).because(other),
        })
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for WsSocket<S> {
    async fn receive(&mut self, max: NonZeroUsize, out: &mut Vec<Received>) -> Result<()> {
        std::future::poll_fn(|context| self.poll_receive(context, max, out)).await
    }

    fn send(&mut self, text: Bytes) -> Result<()> {
        let text =
            Utf8Bytes::try_from(text).map_err(|cause| Error::new(ErrorKind::Invalid, SEND).because(cause))?;
        self.queue(Message::Text(text))
    }

    fn ping(&mut self) -> Result<()> {
        self.queue(Message::Ping(Bytes::new()))
    }

    fn close(&mut self) {
        // It fails only if the connection is closing already, which is what is asked for.
        let _ = self.queue(Message::Close(None));
    }

    fn bytes(&self) -> u64 {
        self.stream.get_ref().bytes
    }

    fn whole(&self) -> Option<u64> {
        Some(self.whole)
    }
}

/// The longest part of a goodbye that is shown, in characters.
const GOODBYE_CHARS_MAX: usize = 125;

fn goodbye(frame: CloseFrame) -> String {
    let reason = frame.reason.chars().filter(|c| !c.is_control()).take(GOODBYE_CHARS_MAX);
    format!("{} {}", u16::from(frame.code), reason.collect::<String>()).trim_end().to_owned()
}

/// A stream that counts what it receives, and reads on after writing has failed: what the other side sent before
/// it closed is worth more than what we can no longer tell it.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    inner: S,
    bytes: u64,
    /// Why writing has failed. Nothing is written any more then.
    broken: Option<io::Error>,
    failed: bool,
}

impl<S> Wire<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, bytes: 0, broken: None, failed: false }
    }

    fn settle(&mut self, polled: Poll<io::Result<usize>>, wanted: usize) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(cause)) => {
                self.broken = Some(cause);
                self.failed = true;
                Poll::Ready(Ok(wanted))
            }
            other => other,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.bytes += (buffer.filled().len() - before) as u64;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.failed {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.settle(polled, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.inner).poll_flush(context).map(|flushed| flushed.map(|()| 0));
        self.settle(polled, 0).map(|flushed| flushed.map(|_| ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
