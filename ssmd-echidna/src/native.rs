//! Native: libechidna connects, waits for events and reads frames, on a thread of its own for each connection.
//!
//! TLS is ours, since libechidna checks no host name: then its connection is one end of a pipe, and the bytes behind
//! the other end go through rustls.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use cxx::UniquePtr;
use futures_util::task::AtomicWaker;
use ssmd_core::{BoxFuture, Clock, Error, ErrorKind, Result};
use ssmd_feeds::dial::{GOODBYE_TIME_MAX, Reached, Received, SEND_BYTES_MAX, Socket, WRITE_TIME_MAX};
use tokio::net::UnixStream;

use crate::ffi::{self, Events, foreign};
use crate::framed::{check_text, stalled_for_too_long};
use crate::link::{Link, Stamp};

/// Bytes of messages that may wait for [`Socket::receive`]. Above, nothing is read, and the kernel's window closes.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes read between two looks at what is to be written.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Starts the thread of a connection, and waits until hands are shaken.
pub(crate) async fn shake(link: Link, reached: Reached, clock: Arc<dyn Clock>) -> Result<Native> {
    let broken = |cause| Error::io("shake hands", cause);
    let mut through: Option<BoxFuture<'static, ()>> = None;
    let connection = match reached {
        Reached::Plain(tcp) => OwnedFd::from(tcp.into_std().map_err(broken)?),
        Reached::Tls(mut tls) => {
            let (ours, theirs) = ffi::socket_pair().map_err(broken)?;
            let mut pipe = UnixStream::from_std(ours.into()).map_err(broken)?;
            // It ends when either side does; what the other end sees then is an end.
            through = Some(Box::pin(async move {
                let _ = tokio::io::copy_bidirectional(&mut pipe, &mut *tls).await;
            }));
            theirs
        }
    };
    let wake = ffi::new_event().map_err(broken)?;
    let shared = Arc::new(Shared {
        state: Mutex::new(State::default()),
        room: Condvar::new(),
        waker: AtomicWaker::new(),
        wake,
    });
    let theirs = Arc::clone(&shared);
    let stamps = Arc::clone(&clock);
    let thread = std::thread::Builder::new().name("echidna".to_owned());
    let started = thread.spawn(move || run(link, connection, &theirs, &*stamps));
    // From here on, dropping it ends the thread.
    let mut native = Native { shared, clock, through, stalled: None, leaving: None };
    started.map_err(broken)?;
    std::future::poll_fn(|context| native.poll_open(context)).await?;
    Ok(native)
}

/// What the thread of a connection and the owner of its socket share.
struct Shared {
    state: Mutex<State>,
    /// There may be room for messages again.
    room: Condvar,
    /// Who awaits what the thread does.
    waker: AtomicWaker,
    /// Wakes the thread.
    wake: File,
}

#[derive(Default)]
struct State {
    open: bool,
    messages: VecDeque<Received>,
    /// Bytes of those messages.
    waiting: usize,
    /// What comes after them.
    end: Option<Error>,
    commands: VecDeque<Command>,
    /// Bytes of commands, and of what has been written from them into no socket.
    unsent: usize,
    bytes: u64,
    whole: u64,
    leaving: bool,
    closing: bool,
    /// The socket was dropped.
    stopped: bool,
}

enum Command {
    Send(Bytes),
    Ping,
    Close,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_thread(&self) {
        // It fails only if it would overflow, and then the thread is awake.
        let _ = (&self.wake).write(&1_u64.to_ne_bytes());
    }
}

/// The thread of a connection.
fn run(link: Link, connection: OwnedFd, shared: &Shared, clock: &dyn Clock) {
    let end = match Connection::new(link, connection, shared) {
        Ok(mut thread) => thread.serve(shared, clock),
        Err(error) => Some(error),
    };
    let mut state = shared.state();
    state.end = end;
    state.stopped = true;
    drop(state);
    shared.waker.wake();
}

struct Connection {
    link: Link,
    stream: File,
    events: UniquePtr<Events>,
    open: bool,
    /// Why nothing can be written any more.
    broken: Option<Error>,
}

impl Connection {
    fn new(link: Link, connection: OwnedFd, shared: &Shared) -> Result<Self> {
        let events = ffi::new_events("set up libechidna", &connection, &shared.wake)?;
        Ok(Self { link, stream: connection.into(), events, open: false, broken: None })
    }

    /// Serves the connection to its end; `None` if the socket was dropped.
    fn serve(&mut self, shared: &Shared, clock: &dyn Clock) -> Option<Error> {
        loop {
            if let Err(error) = self.obey(shared).and_then(|()| self.write(shared)) {
                return Some(error);
            }
            let ready = match self.events.pin_mut().wait() {
                Ok(ready) => ready,
                Err(cause) => return Some(foreign("receive")(cause)),
            };
            if shared.state().stopped {
                return None;
            }
            if ready.readable || ready.ended {
                match self.read(shared, clock) {
                    Ok(true) => return None,
                    // libechidna watches an ended connection no more, and this one has nothing left.
                    Ok(false) if ready.ended => return Some(self.link.closed()),
                    Ok(false) => {}
                    Err(error) => return Some(error),
                }
            }
        }
    }

    /// Takes over what was queued.
    fn obey(&mut self, shared: &Shared) -> Result<()> {
        let commands = std::mem::take(&mut shared.state().commands);
        for command in commands {
            match command {
                Command::Send(text) => self.link.send(&text)?,
                Command::Ping => self.link.ping()?,
                Command::Close => self.link.close()?,
            }
        }
        Ok(())
    }

    fn write(&mut self, shared: &Shared) -> Result<()> {
        while !self.link.output().is_empty() {
            if self.broken.is_some() {
                self.link.output().clear();
                break;
            }
            match self.stream.write(self.link.output()) {
                Ok(written) => drop(self.link.output().split_to(written)),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    self.events.pin_mut().want_write().map_err(foreign("send"))?;
                    break;
                }
                // What the other side sent before it closed is worth more than what it can no longer be told.
                Err(cause) => self.broken = Some(Error::io("send", cause)),
            }
        }
        let left = self.link.output().len();
        let mut state = shared.state();
        state.unsent = left + state.commands.iter().map(Command::bytes).sum::<usize>();
        drop(state);
        shared.waker.wake();
        Ok(())
    }

    /// Reads what is there; true if the socket was dropped meanwhile.
    fn read(&mut self, shared: &Shared, clock: &dyn Clock) -> Result<bool> {
        let mut left = READ_BYTES_MAX;
        let mut messages = VecDeque::new();
        loop {
            let read = match ffi::read_some(&self.stream, self.link.buffer()) {
                Ok(0) => return Err(self.broken.take().unwrap_or_else(|| self.link.closed())),
                Ok(read) => read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(_) if self.link.is_leaving() => return Err(self.link.closed()),
                Err(cause) => return Err(Error::io("receive", cause)),
            };
            let stamp = Stamp::now(clock);
            if !self.open {
                self.open = self.link.shake(clock.now())?;
            }
            let fault = if self.open { self.link.read(stamp, &mut messages).err() } else { None };
            let stopped = self.give(shared, &mut messages, read);
            if let Some(fault) = fault {
                // The answer to a goodbye, as far as it can still leave.
                let _ = self.write(shared);
                return Err(fault);
            }
            if stopped {
                return Ok(true);
            }
            left = left.saturating_sub(read);
            if left == 0 {
                // The connection stays readable, so nothing is forgotten.
                self.obey(shared)?;
                self.write(shared)?;
                left = READ_BYTES_MAX;
            }
        }
    }

    /// Gives messages out, and waits until there is room for more; true if the socket was dropped.
    fn give(&self, shared: &Shared, messages: &mut VecDeque<Received>, read: usize) -> bool {
        let mut state = shared.state();
        state.bytes += read as u64;
        state.whole = self.link.whole();
        state.open |= self.open;
        state.leaving |= self.link.is_leaving();
        state.waiting += messages.iter().map(|message| message.payload.len()).sum::<usize>();
        state.messages.append(messages);
        shared.waker.wake();
        while state.waiting > WAITING_BYTES_MAX && !state.stopped {
            state = shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.stopped
    }
}

impl Command {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(text) => text.len(),
            Self::Ping | Self::Close => 0,
        }
    }
}

/// A WebSocket on a thread of libechidna's.
pub(crate) struct Native {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// Carries bytes between the thread and TLS.
    through: Option<BoxFuture<'static, ()>>,
    /// Runs while something queued does not leave.
    stalled: Option<BoxFuture<'static, ()>>,
    /// Runs once the other side has said goodbye, until it ends the connection.
    leaving: Option<BoxFuture<'static, ()>>,
}

impl Native {
    fn poll_through(&mut self, context: &mut Context<'_>) {
        if self.through.as_mut().is_some_and(|through| through.as_mut().poll(context).is_ready()) {
            self.through = None;
        }
    }

    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.shared.waker.register(context.waker());
        self.poll_through(context);
        let mut state = self.shared.state();
        // What was received with the answer is given out first.
        if state.open {
            return Poll::Ready(Ok(()));
        }
        match state.end.take() {
            Some(end) if end.kind() == ErrorKind::Closed => {
                let ended = Error::new(ErrorKind::Unavailable, "shake hands");
                Poll::Ready(Err(ended.detail("the connection ended")))
            }
            Some(end) => Poll::Ready(Err(end)),
            None => Poll::Pending,
        }
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        max: NonZeroUsize,
        out: &mut Vec<Received>,
    ) -> Poll<Result<()>> {
        self.shared.waker.register(context.waker());
        self.poll_through(context);
        let mut state = self.shared.state();
        if !state.messages.is_empty() {
            let count = state.messages.len().min(max.get());
            let before = out.len();
            out.extend(state.messages.drain(..count));
            state.waiting -= out[before..].iter().map(|message| message.payload.len()).sum::<usize>();
            self.shared.room.notify_one();
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = state.end.take() {
            return Poll::Ready(Err(end));
        }
        let (unsent, leaving) = (state.unsent > 0, state.leaving);
        drop(state);
        let clock = &self.clock;
        if !unsent {
            self.stalled = None;
        } else if self
            .stalled
            .get_or_insert_with(|| clock.sleep(WRITE_TIME_MAX))
            .as_mut()
            .poll(context)
            .is_ready()
        {
            return Poll::Ready(Err(stalled_for_too_long()));
        }
        if leaving {
            let leaving = self.leaving.get_or_insert_with(|| clock.sleep(GOODBYE_TIME_MAX));
            if leaving.as_mut().poll(context).is_ready() {
                let error = Error::new(ErrorKind::Closed, "receive");
                return Poll::Ready(Err(error.detail("the other side said goodbye and stayed")));
            }
        }
        Poll::Pending
    }

    fn queue(&mut self, command: Command) -> Result<()> {
        let mut state = self.shared.state();
        if state.closing {
            return Err(Error::new(ErrorKind::Closed, "send").detail("the goodbye was said"));
        }
        if state.unsent + command.bytes() > SEND_BYTES_MAX {
            return Err(Error::new(ErrorKind::Full, "send"));
        }
        state.closing = matches!(command, Command::Close);
        // To who has gone nothing is said; the end that tells so comes behind what was said before.
        if !state.leaving && !state.stopped {
            state.unsent += command.bytes();
            state.commands.push_back(command);
            drop(state);
            self.shared.wake_thread();
        }
        Ok(())
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        self.shared.room.notify_one();
        self.shared.wake_thread();
    }
}

#[async_trait]
impl Socket for Native {
    async fn receive(&mut self, max: NonZeroUsize, out: &mut Vec<Received>) -> Result<()> {
        std::future::poll_fn(|context| self.poll_receive(context, max, out)).await
    }

    fn send(&mut self, text: Bytes) -> Result<()> {
        check_text(&text)?;
        self.queue(Command::Send(text))
    }

    fn ping(&mut self) -> Result<()> {
        self.queue(Command::Ping)
    }

    fn close(&mut self) {
        // It fails only if the connection is closing already, which is what is asked for.
        let _ = self.queue(Command::Close);
    }

    fn bytes(&self) -> u64 {
        self.shared.state().bytes
    }

    fn whole(&self) -> Option<u64> {
        Some(self.shared.state().whole)
    }
}
