//! A feed gives frames: a venue, a recording, a changing database.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Clock, Error, ErrorKind, FeedName, Frame, Record, Result, SessionId, Symbol};

/// A source of frames.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Its name.
    fn name(&self) -> &FeedName;

    /// What the venue allows.
    fn limits(&self) -> Limits;

    /// What exists and is wanted, asked anew at each call.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if the venue cannot say now; `Invalid` if what is configured cannot exist.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn universe(&self) -> Result<Wanted>;

    /// How to open connections.
    fn session(&self) -> Arc<dyn Session>;

    /// A new decoder for the frames of one session, from its first to its last.
    fn decoder(&self) -> Box<dyn Decode>;
}

/// What opens connections. Each one starts from nothing: no state survives a reconnect.
#[async_trait]
pub trait Session: Send + Sync {
    /// Opens one connection that converges to `wanted`, whenever that changes.
    ///
    /// Frames carry `id` and are stamped by `clock`. Their index starts at 0.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Timeout`: no connection was made, nothing was heard.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    async fn open(
        &self,
        id: SessionId,
        wanted: watch::Receiver<Arc<Wanted>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Box<dyn Frames>>;
}

/// One open connection. Dropping it closes it.
#[async_trait]
pub trait Frames: Send {
    /// Where it is connected to, for people; no secrets.
    fn url(&self) -> String;

    /// Waits for frames and gives those that are ready, at least one and at most `max`, in order, without holes.
    /// Frames that we sent are among them. An empty answer means that the feed is complete: it has no more and
    /// need not be opened again, as at the end of a recording; every later answer is empty too.
    ///
    /// # Errors
    /// The end of the connection, as the reason for it: `Closed` by the other side, `Timeout` for silence,
    /// `Corrupt` for what the socket layer refuses. Everything heard before has been given out.
    ///
    /// # Cancel safety
    /// Safe: dropping the future loses no frame.
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Frame>>;

    /// Asks for a fresh start of one symbol's book, which a decoder found broken. Other symbols do not notice.
    ///
    /// # Errors
    /// As for [`Frames::next`]. `Unsupported` where the feed cannot: a recording is what it is.
    async fn resync(&mut self, symbol: &Symbol) -> Result<()>;

    /// Tells the feed that every frame below this index is durable; CDC confirms its position here.
    ///
    /// # Errors
    /// As for [`Frames::next`].
    async fn durable(&mut self, below: u64) -> Result<()>;

    /// Closes in order: says goodbye and gives what still arrives until the other side has closed, at most for
    /// as long as the venue's protocol allows. After that [`Frames::next`] must not be called again.
    ///
    /// # Errors
    /// As for [`Frames::next`]; an orderly end is `Ok`.
    async fn close(&mut self) -> Result<Vec<Frame>>;
}

/// Makes records of one session's frames. Synchronous; reads no clock.
pub trait Decode: Send {
    /// Decodes the session's next frame onto `out`.
    ///
    /// # Errors
    /// What could not be decoded, and why; then `out` is as it was, and what follows is decoded as if the frame had
    /// not been there, except that it is counted. The frame stays in the journal all the same.
    fn decode(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError>;

    /// What it has counted since it was made.
    fn counts(&self) -> DecodeCounts;
}

/// What a decoder has to say.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every output is a record")]
pub enum Output {
    /// A fact.
    Record(Record),
    /// One symbol's book is broken and must be asked for again.
    Resync(Symbol),
}

/// Why a frame could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// It is not of the form that the venue documents.
    Malformed(String),
    /// It is well-formed, but of a type that the decoder does not know.
    Unknown(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "malformed frame: {why}"),
            Self::Unknown(what) => write!(f, "unknown frame type: {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// What a decoder has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeCounts {
    /// Frames taken.
    pub frames: u64,
    /// Records made.
    pub records: u64,
    /// Frames of an unknown type.
    pub unknown: u64,
    /// Frames that are not of the documented form.
    pub malformed: u64,
    /// Books whose integrity check passed, counted per check.
    pub books_verified: u64,
    /// Books whose integrity check failed.
    pub books_failed: u64,
}

impl std::ops::AddAssign for DecodeCounts {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.records += other.records;
        self.unknown += other.unknown;
        self.malformed += other.malformed;
        self.books_verified += other.books_verified;
        self.books_failed += other.books_failed;
    }
}

/// What a venue allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Topics that one connection may carry.
    pub topics_per_session: NonZeroUsize,
    /// Connections that may be open at a time.
    pub sessions: NonZeroUsize,
    /// The age at which the venue ends every connection, where it does: each is replaced before.
    pub session_age: Option<Duration>,
    /// Attempts to connect that one address may make in `connects_window`.
    pub connects: u32,
    /// The window of `connects`.
    pub connects_window: Duration,
}

/// A venue's channel and the venue's option for it, written `name` or `name:option`: `book:25`, `ticker:bbo`. Cheap
/// to clone: there is one for each topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// The venue's name for it.
    pub name: Arc<str>,
    /// The venue's option: a depth, an interval, a trigger.
    pub option: Option<Arc<str>>,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.option.as_ref().map_or(Ok(()), |option| write!(f, ":{option}"))
    }
}

impl FromStr for Channel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, option) = match text.split_once(':') {
            Some((name, option)) => (name, Some(option)),
            None => (text, None),
        };
        let fits = |part: &str| {
            !part.is_empty()
                && part.len() <= 64
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if !fits(name) || !option.is_none_or(fits) {
            let shown: String = text.chars().take(80).collect();
            return Err(Error::new(ErrorKind::Invalid, "read channel").with("channel", shown));
        }
        Ok(Self { name: name.into(), option: option.map(Arc::from) })
    }
}

/// One thing to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The channel.
    pub channel: Channel,
    /// The symbol; `None` for a channel that is about the whole venue.
    pub symbol: Option<Symbol>,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.channel, f)?;
        self.symbol.as_ref().map_or(Ok(()), |symbol| write!(f, " {symbol}"))
    }
}

/// All that one connection shall be subscribed to: a value that the protocol makes true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(pub BTreeSet<Topic>);

impl Wanted {
    /// Every channel for every symbol.
    pub fn product(channels: &[Channel], symbols: &[Symbol]) -> Self {
        let topic = |channel: &Channel, symbol: &Symbol| Topic {
            channel: channel.clone(),
            symbol: Some(symbol.clone()),
        };
        Self(channels.iter().flat_map(|c| symbols.iter().map(move |s| topic(c, s))).collect())
    }
}
