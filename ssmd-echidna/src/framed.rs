//! Framed: TCP and TLS by us, on the runtime's own thread; libechidna reads and writes memory.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::{BoxFuture, Clock, Error, ErrorKind, Result};
use ssmd_feeds::dial::{GOODBYE_TIME_MAX, Received, Socket, WRITE_TIME_MAX};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;

use crate::link::{Link, Stamp};

/// Writes the request, and reads the answer.
pub(crate) async fn shake<S: AsyncRead + AsyncWrite + Send + Unpin>(
    mut link: Link,
    mut stream: S,
    clock: Arc<dyn Clock>,
) -> Result<Framed<S>> {
    let broken = |cause| Error::io("shake hands", cause);
    stream.write_all_buf(link.output()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut bytes = 0;
    loop {
        let read = stream.read_buf(link.buffer()).await.map_err(broken)?;
        bytes += read as u64;
        if link.shake(clock.now())? {
            break;
        }
        if read == 0 {
            return Err(Error::new(ErrorKind::Unavailable, "shake hands").detail("the connection ended"));
        }
    }
    let mut framed = Framed {
        link,
        stream,
        clock,
        bytes,
        messages: VecDeque::new(),
        end: None,
        broken: None,
        stalled: None,
        leaving: None,
    };
    framed.take_in();
    Ok(framed)
}

/// A WebSocket over a stream.
pub(crate) struct Framed<S> {
    link: Link,
    stream: S,
    clock: Arc<dyn Clock>,
    bytes: u64,
    /// Messages that were read and not given out.
    messages: VecDeque<Received>,
    /// What comes after them.
    end: Option<Error>,
    /// Why nothing can be written any more. What is still there to read is read first.
    broken: Option<Error>,
    /// Runs while something queued does not leave.
    stalled: Option<BoxFuture<'static, ()>>,
    /// Runs once the other side has said goodbye, or nothing can be written any more, until the connection ends.
    leaving: Option<BoxFuture<'static, ()>>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Framed<S> {
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        max: NonZeroUsize,
        out: &mut Vec<Received>,
    ) -> Poll<Result<()>> {
        let mut stalled = self.poll_write(context);
        while self.messages.is_empty() && self.end.is_none() {
            match poll_read_buf(Pin::new(&mut self.stream), context, self.link.buffer()) {
                Poll::Pending => return self.poll_end(context, stalled),
                Poll::Ready(Ok(0)) => {
                    self.end = Some(self.broken.take().unwrap_or_else(|| self.link.closed()));
                }
                Poll::Ready(Ok(read)) => {
                    self.bytes += read as u64;
                    self.take_in();
                    // Answers to pings, and to a goodbye.
                    stalled = self.poll_write(context);
                }
                Poll::Ready(Err(_)) if self.link.is_leaving() => self.end = Some(self.link.closed()),
                Poll::Ready(Err(cause)) => self.end = Some(Error::io("receive", cause)),
            }
        }
        if self.messages.is_empty() {
            return Poll::Ready(Err(self.end.take().expect("the loop ended")));
        }
        let count = self.messages.len().min(max.get());
        out.extend(self.messages.drain(..count));
        Poll::Ready(Ok(()))
    }

    /// Has libechidna read what was received.
    fn take_in(&mut self) {
        let stamp = Stamp::now(&*self.clock);
        if let Err(fault) = self.link.read(stamp, &mut self.messages) {
            self.end = Some(fault);
        }
        if self.link.is_leaving() && self.leaving.is_none() {
            self.leaving = Some(self.clock.sleep(GOODBYE_TIME_MAX));
        }
    }

    /// Writes what is queued; ready when that has been impossible for too long.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.broken.is_some() {
            self.link.output().clear();
        }
        while !self.link.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.link.output()) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    let _ = self.link.output().split_to(written);
                    self.stalled = None;
                }
                Poll::Ready(Ok(_)) => self.break_off(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Err(cause)) => self.break_off(cause),
                Poll::Pending => return self.poll_stalled(context),
            }
        }
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(_) => {
                self.stalled = None;
                Poll::Pending
            }
            Poll::Pending => self.poll_stalled(context),
        }
    }

    /// Writes what can be written at once; the rest leaves while [`Socket::receive`] is awaited.
    fn write_now(&mut self) {
        let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
    }

    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let clock = &self.clock;
        self.stalled.get_or_insert_with(|| clock.sleep(WRITE_TIME_MAX)).as_mut().poll(context)
    }

    fn break_off(&mut self, cause: std::io::Error) {
        self.broken = Some(Error::io("send", cause));
        self.link.output().clear();
    }

    /// Nothing came: whether the connection has ended all the same.
    fn poll_end(&mut self, context: &mut Context<'_>, stalled: Poll<()>) -> Poll<Result<()>> {
        if self.broken.is_some() && self.leaving.is_none() {
            // What the other side sent before may be there already, and we may not have been woken for it yet.
            self.leaving = Some(self.clock.sleep(GOODBYE_TIME_MAX));
        }
        if stalled.is_ready() {
            return Poll::Ready(Err(stalled_for_too_long()));
        }
        let left = self.leaving.as_mut().is_some_and(|leaving| leaving.as_mut().poll(context).is_ready());
        if !left {
            return Poll::Pending;
        }
        Poll::Ready(Err(self.broken.take().unwrap_or_else(|| self.link.closed())))
    }
}

/// What was queued did not leave.
pub(crate) fn stalled_for_too_long() -> Error {
    Error::new(ErrorKind::Timeout, "send")
        .detail("the other side does not read")
        .with("seconds", WRITE_TIME_MAX.as_secs())
}

/// Checks that a text can be sent.
pub(crate) fn check_text(text: &[u8]) -> Result<()> {
    let checked = std::str::from_utf8(text);
    checked.map(drop).map_err(|cause| Error::new(ErrorKind::Invalid, "send").because(cause))
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for Framed<S> {
    async fn receive(&mut self, max: NonZeroUsize, out: &mut Vec<Received>) -> Result<()> {
        std::future::poll_fn(|context| self.poll_receive(context, max, out)).await
    }

    fn send(&mut self, text: Bytes) -> Result<()> {
        check_text(&text)?;
        self.link.send(&text)?;
        self.write_now();
        Ok(())
    }

    fn ping(&mut self) -> Result<()> {
        self.link.ping()?;
        self.write_now();
        Ok(())
    }

    fn close(&mut self) {
        // It fails only if libechidna is broken, which the next read will say.
        let _ = self.link.close();
        self.write_now();
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn whole(&self) -> Option<u64> {
        Some(self.link.whole())
    }
}
