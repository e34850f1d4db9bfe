//! The border to C++. What crosses it is plain data that was lent for the call; C++ never calls into Rust, and its
//! exceptions become errors.
#![allow(unsafe_code, reason = "this is the border to C++")]
#![allow(unreachable_pub, reason = "what the bridge generates is public in its module")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bytes::BufMut;
use bytes::BytesMut;
use cxx::UniquePtr;
use ssmd_core::{Error, ErrorKind, Result};

#[cxx::bridge(namespace = "ssmd::echidna")]
mod bridge {
    /// Where a text stands in the frames that were read.
    #[derive(Clone, Copy)]
    struct Text {
        offset: u64,
        length: u64,
    }

    /// What a wait ended with.
    struct Ready {
        readable: bool,
        writable: bool,
        ended: bool,
        woken: bool,
    }

    unsafe extern "C++" {
        include!("ssmd-echidna/src/bridge.hpp");

        type WebSocket;
        fn new_websocket() -> Result<UniquePtr<WebSocket>>;
        fn request(
            self: Pin<&mut WebSocket>,
            path: &str,
            host: &str,
            origin: &str,
            out: &mut Vec<u8>,
        ) -> Result<bool>;
        fn answer(self: Pin<&mut WebSocket>, answer: &[u8]) -> Result<bool>;
        fn frames(
            self: Pin<&mut WebSocket>,
            frames: &[u8],
            texts: &mut Vec<Text>,
            out: &mut Vec<u8>,
        ) -> Result<bool>;
        fn send(self: Pin<&mut WebSocket>, opcode: u8, payload: &[u8], out: &mut Vec<u8>) -> Result<bool>;
        fn complaint(self: &WebSocket) -> String;

        type Events;
        fn new_events(connection: i32, wake: i32, error: &mut i32) -> Result<UniquePtr<Events>>;
        fn wait(self: Pin<&mut Events>) -> Result<Ready>;
        fn want_write(self: Pin<&mut Events>) -> Result<()>;

        fn connect(address: &str, port: u16) -> Result<i32>;
        fn new_event() -> i32;
        fn socket_pair(one: &mut i32, other: &mut i32) -> bool;
        /// # Safety
        /// `into` must be good for writes of `length` bytes.
        unsafe fn read_some(connection: i32, into: *mut u8, length: usize) -> i64;
    }
}

pub(crate) use bridge::{Events, Text, WebSocket, new_websocket};

// SAFETY: a WebSocket has no thread of its own and shares nothing with another one; libechidna keeps no state beside
// it, and OpenSSL's random numbers may be asked for by any thread. It is used through `Pin<&mut _>` alone.
unsafe impl Send for WebSocket {}

/// An error of C++ on this side.
pub(crate) fn foreign(operation: &'static str) -> impl Fn(cxx::Exception) -> Error {
    move |cause| Error::new(ErrorKind::Bug, operation).because(cause)
}

/// Takes the only handle of a descriptor that C++ has made.
fn owned(descriptor: i32) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(-descriptor));
    }
    // SAFETY: it was just made for us, and C++ has forgotten it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The events of a connection, and of an event that wakes.
pub(crate) fn new_events(
    operation: &'static str,
    connection: &impl AsRawFd,
    wake: &impl AsRawFd,
) -> Result<UniquePtr<Events>> {
    let mut error = 0;
    let events = bridge::new_events(connection.as_raw_fd(), wake.as_raw_fd(), &mut error);
    let events = events.map_err(foreign(operation))?;
    match events.is_null() {
        false => Ok(events),
        true => Err(Error::io(operation, io::Error::from_raw_os_error(error))),
    }
}

/// Connects to an address by libechidna. Blocks.
pub(crate) fn connect(address: std::net::SocketAddr) -> io::Result<std::net::TcpStream> {
    let made = bridge::connect(&address.ip().to_string(), address.port()).map_err(io::Error::other)?;
    owned(made).map(Into::into)
}

/// An event that threads wake each other by: eight bytes written wake.
pub(crate) fn new_event() -> io::Result<File> {
    owned(bridge::new_event()).map(Into::into)
}

/// Two ends of a pipe that does not block.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut one, mut other) = (-1, -1);
    if !bridge::socket_pair(&mut one, &mut other) {
        return Err(io::Error::last_os_error());
    }
    Ok((owned(one)?, owned(other)?))
}

/// Appends what is there to read to `buffer`, as far as it has room, and gives how much that was.
pub(crate) fn read_some(connection: &impl AsRawFd, buffer: &mut BytesMut) -> io::Result<usize> {
    let room = buffer.chunk_mut();
    // SAFETY: the room is `buffer`'s own, and `buffer` is borrowed until this returns.
    let read = unsafe { bridge::read_some(connection.as_raw_fd(), room.as_mut_ptr(), room.len()) };
    if read < 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(-read).unwrap_or(i32::MAX)));
    }
    let read = usize::try_from(read).expect("it is not below zero");
    // SAFETY: `read` wrote as many bytes into the room, which were no more than it has.
    unsafe { buffer.advance_mut(read) };
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A descriptor that is none.
    struct Closed;

    impl AsRawFd for Closed {
        fn as_raw_fd(&self) -> i32 {
            -1
        }
    }

    #[test]
    fn what_cplusplus_throws_and_refuses_is_an_error() {
        let wake = new_event().unwrap();
        let (one, _) = socket_pair().unwrap();
        // An errno, and an exception with libechidna's own words.
        let refused = new_events("watch", &Closed, &wake).map(drop).unwrap_err();
        assert_eq!((refused.kind(), refused.operation()), (ErrorKind::Io, "watch"));
        assert!(refused.report().contains("Bad file descriptor"), "{}", refused.report());
        let thrown = new_events("watch", &one, &Closed).map(drop).unwrap_err();
        assert_eq!((thrown.kind(), thrown.operation()), (ErrorKind::Bug, "watch"));
        assert!(thrown.report().contains("libechidna watches no connection"), "{}", thrown.report());
        let unread = read_some(&Closed, &mut BytesMut::with_capacity(8)).unwrap_err();
        assert_eq!(unread.raw_os_error(), Some(9));
    }
}
