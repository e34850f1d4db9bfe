//! What libechidna is given to read: whole frames that it is known to read rightly, in runs.
//!
//! libechidna believes what it reads: it does not join fragments, drops binary messages, ends the process at a long
//! ping, never answers a goodbye and checks no text. The guard reads the frames' heads first (RFC 6455 §5), keeps
//! what libechidna would get wrong, and refuses what the protocol forbids. It knows no socket and no C++.

use bytes::{BufMut, Bytes, BytesMut};
use ssmd_core::entry::FRAME_BYTES_MAX;
use ssmd_core::{Error, ErrorKind, Result};

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// The most bytes a head can have: two, and eight of length. A server masks nothing.
const HEAD_BYTES_MAX: usize = 10;
/// The longest payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Pings in one run. libechidna answers each into a buffer of 64 KiB, and ends the process when that is full.
const PINGS_IN_A_RUN: usize = 64;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// What stands next in the bytes of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Whole, unmasked frames: unfragmented texts in UTF-8, pings of at most 125 bytes (at most 64), pongs.
    Frames(Bytes),
    /// One binary message as the frame of a text, since libechidna knows no other message.
    Binary(Bytes),
    /// The other side says goodbye: with a code and a reason, where it gives them. Nothing comes after it.
    Goodbye(Option<(u16, String)>),
}

/// Cuts bytes of the other side into runs.
#[derive(Debug, Default)]
pub struct Guard {
    /// What was received and not given out.
    buffer: BytesMut,
    /// A message of which not all fragments have come.
    joined: Option<Joined>,
    /// What is wrong behind the run that was given out last.
    fault: Option<Error>,
    ended: bool,
    /// Messages, pings and pongs that were given out.
    whole: u64,
}

/// Fragments of one message.
#[derive(Debug)]
struct Joined {
    payload: BytesMut,
    binary: bool,
}

/// The head of a frame that is here as a whole.
#[derive(Clone, Copy)]
struct Head {
    last: bool,
    opcode: u8,
    /// Bytes before the payload.
    bytes: usize,
    payload: usize,
}

/// What one frame is for the run before it.
enum Step {
    /// It is not here as a whole.
    Wait,
    /// It belongs to the run.
    Take { bytes: usize, ping: bool },
    /// The run ends before it.
    Stop(Head),
}

impl Guard {
    /// Where received bytes are appended, with room for one read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// The next run, if one is here. To be asked again until there is none.
    ///
    /// # Errors
    /// `Corrupt` for what the protocol forbids, once what came before it was given out. Nothing comes after it.
    pub fn next_run(&mut self) -> Result<Option<Run>> {
        loop {
            if let Some(fault) = self.fault.take() {
                self.ended = true;
                return Err(fault);
            }
            if self.ended {
                return Ok(None);
            }
            let (mut length, mut pings, mut whole) = (0, 0, 0);
            let stop = loop {
                match self.step(length) {
                    Ok(Step::Take { bytes, ping }) if pings + usize::from(ping) <= PINGS_IN_A_RUN => {
                        length += bytes;
                        whole += 1;
                        pings += usize::from(ping);
                    }
                    Ok(Step::Stop(head)) => break Some(head),
                    Ok(Step::Wait | Step::Take { .. }) => break None,
                    Err(fault) => {
                        self.fault = Some(fault);
                        break None;
                    }
                }
            };
            if length > 0 {
                self.whole += whole;
                return Ok(Some(Run::Frames(self.buffer.split_to(length).freeze())));
            }
            match stop {
                Some(head) => match self.special(head) {
                    Ok(None) => {}
                    Ok(run) => return Ok(run),
                    Err(fault) => self.fault = Some(fault),
                },
                None if self.fault.is_some() => {}
                None => return Ok(None),
            }
        }
    }

    /// How many bytes wait for the rest of their frame or message.
    pub fn waiting(&self) -> usize {
        self.buffer.len() + self.joined.as_ref().map_or(0, |joined| joined.payload.len())
    }

    /// How many messages, pings and pongs have been given out.
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Looks at the frame that begins `at` bytes on.
    fn step(&mut self, at: usize) -> Result<Step> {
        let bytes = &self.buffer[at..];
        let Some(head) = head(bytes)? else { return Ok(Step::Wait) };
        check_order(head, self.joined.is_some())?;
        let joined = self.joined.as_ref().map_or(0, |joined| joined.payload.len());
        if joined + head.payload > FRAME_BYTES_MAX && head.opcode < CLOSE {
            return Err(forbidden(format!("a message of more than {FRAME_BYTES_MAX} bytes")));
        }
        let whole = head.bytes + head.payload;
        if bytes.len() < whole {
            // So that one large message is one allocation.
            let missing = whole - bytes.len();
            self.buffer.reserve(missing);
            return Ok(Step::Wait);
        }
        match head.opcode {
            TEXT if head.last => check_text(&bytes[head.bytes..whole])?,
            PING | PONG => {}
            _ => return Ok(Step::Stop(head)),
        }
        Ok(Step::Take { bytes: whole, ping: head.opcode == PING })
    }

    /// Takes the first frame, which is here as a whole and belongs to no run.
    fn special(&mut self, head: Head) -> Result<Option<Run>> {
        let mut frame = self.buffer.split_to(head.bytes + head.payload);
        if head.opcode == CLOSE {
            self.ended = true;
            return goodbye(&frame[head.bytes..]).map(|said| Some(Run::Goodbye(said)));
        }
        if head.opcode == BINARY && head.last {
            frame[0] = FIN | TEXT;
            self.whole += 1;
            return Ok(Some(Run::Binary(frame.freeze())));
        }
        let new = || Joined { payload: BytesMut::new(), binary: head.opcode == BINARY };
        let joined = self.joined.get_or_insert_with(new);
        joined.payload.extend_from_slice(&frame[head.bytes..]);
        if !head.last {
            return Ok(None);
        }
        self.whole += 1;
        let Joined { payload, binary } = self.joined.take().expect("it was just there");
        if binary {
            return Ok(Some(Run::Binary(text_frame(&payload))));
        }
        check_text(&payload)?;
        Ok(Some(Run::Frames(text_frame(&payload))))
    }
}

/// Reads a head; `None` if it is not here as a whole.
fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & RESERVED != 0 {
        return Err(forbidden("bits of an extension that was not asked for"));
    }
    if second & MASKED != 0 {
        return Err(forbidden("a masked frame from a server"));
    }
    let (bytes, payload) = match second & !MASKED {
        126 => match rest.first_chunk() {
            Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (HEAD_BYTES_MAX, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    let payload = usize::try_from(payload).ok().filter(|payload| *payload <= FRAME_BYTES_MAX);
    let payload =
        payload.ok_or_else(|| forbidden(format!("a frame of more than {FRAME_BYTES_MAX} bytes")))?;
    let (last, opcode) = (first & FIN != 0, first & 0x0F);
    match opcode {
        CONTINUATION | TEXT | BINARY => {}
        CLOSE | PING | PONG if !last => return Err(forbidden("a fragment of a control frame")),
        CLOSE | PING | PONG if payload > CONTROL_BYTES_MAX => {
            return Err(forbidden("a control frame of more than 125 bytes"));
        }
        CLOSE | PING | PONG => {}
        _ => return Err(forbidden("a reserved opcode")),
    }
    Ok(Some(Head { last, opcode, bytes, payload }))
}

fn check_order(head: Head, joining: bool) -> Result<()> {
    match head.opcode {
        CONTINUATION if !joining => Err(forbidden("a fragment of no message")),
        TEXT | BINARY if joining => Err(forbidden("a message inside of another")),
        _ => Ok(()),
    }
}

fn check_text(payload: &[u8]) -> Result<()> {
    std::str::from_utf8(payload).map(drop).map_err(|cause| forbidden("invalid UTF-8").because(cause))
}

fn goodbye(payload: &[u8]) -> Result<Option<(u16, String)>> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(forbidden("a goodbye of one byte")) };
    };
    check_text(reason)?;
    Ok(Some((u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned())))
}

/// `payload` as the frame of a text that a server sends.
fn text_frame(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES_MAX + payload.len());
    frame.put_u8(FIN | TEXT);
    match payload.len() {
        short @ ..126 => frame.put_u8(short as u8),
        length @ ..=0xFFFF => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.extend_from_slice(payload);
    frame.freeze()
}

fn forbidden(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, "receive").detail(format!("the protocol forbids {}", what.into()))
}
