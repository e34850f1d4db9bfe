//! One WebSocket of libechidna without a socket: bytes in, messages and bytes out.
//!
//! Everything that libechidna is given passes the [`Guard`]. Payloads are slices of the memory that was read into:
//! libechidna says where they stand, nobody copies them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cxx::UniquePtr;
use rand::TryRng;
use rand::rngs::SysRng;
use ssmd_core::{Clock, Error, ErrorKind, Result, Timestamp};
use ssmd_feeds::dial::{Received, SEND_BYTES_MAX, Target};
use ssmd_feeds::venue::Handshake;

use crate::answer;
use crate::ffi::{self, WebSocket, foreign};
use crate::guard::{Guard, Run};

const RECEIVE: &str = "receive";
const SEND: &str = "send";
/// Longer payloads never go through libechidna, whose buffer holds 64 KiB.
const LIBRARY_BYTES_MAX: usize = 32 * 1024;
/// More answers to pings do not wait to be written: who reads none needs none.
const ANSWERS_BYTES_MAX: usize = 256 * 1024;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
/// The longest part of a goodbye that is shown, in characters.
const GOODBYE_CHARS_MAX: usize = 125;

pub(crate) struct Link {
    websocket: UniquePtr<WebSocket>,
    guard: Guard,
    /// What is to be written.
    output: BytesMut,
    /// What libechidna has just written, and where it has just found texts. Kept for their memory.
    written: Vec<u8>,
    texts: Vec<ffi::Text>,
    open: bool,
    /// Whether we were asked to say goodbye.
    closing: bool,
    /// Whether a goodbye of ours was written, of ourselves or as an answer.
    said_goodbye: bool,
    goodbye: Option<String>,
}

/// When bytes were read.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    received: Timestamp,
    elapsed: Duration,
}

impl Stamp {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { received: clock.now(), elapsed: clock.elapsed() }
    }
}

impl Link {
    /// A link whose request waits to be written, and whom to reach.
    pub(crate) fn new(handshake: &Handshake) -> Result<(Self, Target)> {
        let (request, target) = ssmd_feeds::dial::request(handshake)?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let host = header("host").unwrap_or_default();
        answer::check_part("path", path)?;
        answer::check_part("host", host)?;
        let mut link = Self {
            websocket: ffi::new_websocket().map_err(foreign("set up libechidna"))?,
            guard: Guard::default(),
            output: BytesMut::new(),
            written: Vec::new(),
            texts: Vec::new(),
            open: false,
            closing: false,
            said_goodbye: false,
            goodbye: None,
        };
        let asked = link.websocket.pin_mut().request(path, host, "-", &mut link.written);
        if !asked.map_err(foreign("shake hands"))? {
            return Err(link.complaint("shake hands"));
        }
        let written = std::str::from_utf8(&link.written)
            .map_err(|cause| Error::new(ErrorKind::Bug, "shake hands").because(cause))?;
        let names = handshake.headers.iter().map(|(name, _)| name.as_str());
        let ours = names.filter_map(|name| Some((name, request.headers().get(name)?.as_bytes())));
        link.output.extend_from_slice(&answer::request(written, ours));
        Ok((link, target))
    }

    /// Where received bytes are appended.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.guard.buffer()
    }

    /// What is to be written, from its beginning on.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Whether the other side has said goodbye.
    pub(crate) fn is_leaving(&self) -> bool {
        self.goodbye.is_some()
    }

    /// How many messages, pings and pongs have been read.
    pub(crate) fn whole(&self) -> u64 {
        self.guard.whole()
    }

    /// Reads the answer of the handshake, if it is here.
    pub(crate) fn shake(&mut self, now: Timestamp) -> Result<bool> {
        if !self.open {
            let Some(answer) = answer::take(self.guard.buffer(), now)? else { return Ok(false) };
            let opened = self.websocket.pin_mut().answer(answer.as_bytes());
            if !opened.map_err(foreign("shake hands"))? {
                return Err(answer::strange("it does not prove that it read our key"));
            }
            self.open = true;
        }
        Ok(true)
    }

    /// Reads what has been received; all whole messages go to `out`.
    pub(crate) fn read(&mut self, stamp: Stamp, out: &mut VecDeque<Received>) -> Result<()> {
        while let Some(run) = self.guard.next_run()? {
            match run {
                Run::Frames(frames) => self.frames(&frames, false, stamp, out)?,
                Run::Binary(frame) => self.frames(&frame, true, stamp, out)?,
                Run::Goodbye(said) => self.leave(said)?,
            }
        }
        Ok(())
    }

    fn frames(
        &mut self,
        frames: &Bytes,
        binary: bool,
        stamp: Stamp,
        out: &mut VecDeque<Received>,
    ) -> Result<()> {
        self.written.clear();
        self.texts.clear();
        let read = self.websocket.pin_mut().frames(frames, &mut self.texts, &mut self.written);
        if !read.map_err(foreign(RECEIVE))? {
            return Err(self.complaint(RECEIVE));
        }
        let Stamp { received, elapsed } = stamp;
        for text in &self.texts {
            let begin = usize::try_from(text.offset).expect("memory ends before that");
            let end = begin + usize::try_from(text.length).expect("memory ends before that");
            out.push_back(Received { received, elapsed, binary, payload: frames.slice(begin..end) });
        }
        if self.output.len() < ANSWERS_BYTES_MAX {
            self.output.extend_from_slice(&self.written);
        }
        Ok(())
    }

    fn leave(&mut self, said: Option<(u16, String)>) -> Result<()> {
        let code = said.as_ref().map(|(code, _)| code.to_be_bytes().to_vec()).unwrap_or_default();
        self.goodbye = Some(said.map_or_else(String::new, |(code, reason)| {
            let shown = reason.chars().filter(|c| !c.is_control()).take(GOODBYE_CHARS_MAX);
            format!("{code} {}", shown.collect::<String>()).trim_end().to_owned()
        }));
        self.say_goodbye(&code)
    }

    fn say_goodbye(&mut self, code: &[u8]) -> Result<()> {
        match std::mem::replace(&mut self.said_goodbye, true) {
            true => Ok(()),
            false => self.write(CLOSE, code),
        }
    }

    /// How the connection has ended, once it has.
    pub(crate) fn closed(&mut self) -> Error {
        let error = Error::new(ErrorKind::Closed, RECEIVE);
        match self.goodbye.take() {
            Some(said) if said.is_empty() => error.detail("the other side said goodbye"),
            Some(said) => error.detail(format!("the other side said goodbye: {said}")),
            None => error.detail("the connection ended without a goodbye"),
        }
    }

    /// Queues a text, which is UTF-8.
    pub(crate) fn send(&mut self, text: &[u8]) -> Result<()> {
        self.queue(TEXT, text)
    }

    /// Queues a ping.
    pub(crate) fn ping(&mut self) -> Result<()> {
        self.queue(PING, &[])
    }

    /// Queues a goodbye, once.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.closing = true;
        self.say_goodbye(&[])
    }

    fn queue(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        if self.closing {
            return Err(Error::new(ErrorKind::Closed, SEND).detail("the goodbye was said"));
        }
        if self.said_goodbye {
            // The other side reads no more; the end that tells so comes behind what it said before.
            return Ok(());
        }
        if self.output.len() + payload.len() > SEND_BYTES_MAX {
            return Err(Error::new(ErrorKind::Full, SEND));
        }
        self.write(opcode, payload)
    }

    fn write(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        if payload.len() > LIBRARY_BYTES_MAX {
            let mut mask = [0; 4];
            SysRng
                .try_fill_bytes(&mut mask)
                .map_err(|cause| Error::new(ErrorKind::Bug, SEND).because(cause))?;
            large_frame(opcode, payload, mask, &mut self.output);
            return Ok(());
        }
        self.written.clear();
        let queued = self.websocket.pin_mut().send(opcode, payload, &mut self.written);
        if !queued.map_err(foreign(SEND))? {
            return Err(self.complaint(SEND));
        }
        self.output.extend_from_slice(&self.written);
        Ok(())
    }

    /// libechidna did not do what it was asked for.
    fn complaint(&self, operation: &'static str) -> Error {
        let error = Error::new(ErrorKind::Bug, operation).detail("libechidna refused");
        match self.websocket.complaint() {
            words if words.is_empty() => error,
            words => error.with("words", words),
        }
    }
}

/// Appends the frame of a payload that libechidna has no room for, masked (RFC 6455 §5.3).
fn large_frame(opcode: u8, payload: &[u8], mask: [u8; 4], output: &mut BytesMut) {
    let length = payload.len() as u64;
    output.extend_from_slice(&[0x80 | opcode]);
    match u16::try_from(length) {
        Ok(length) => {
            output.extend_from_slice(&[0x80 | 126]);
            output.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            output.extend_from_slice(&[0x80 | 127]);
            output.extend_from_slice(&length.to_be_bytes());
        }
    }
    output.extend_from_slice(&mask);
    output.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}
