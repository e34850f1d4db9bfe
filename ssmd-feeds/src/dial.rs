//! Opens WebSockets: the seam [`Dial`], and the implementation of it in Rust.
//!
//! It knows TCP, TLS, the WebSocket handshake and their deadlines. It knows no venue, and reads no frame.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use ssmd_core::entry::FRAME_BYTES_MAX;
use ssmd_core::{Clock, Error, ErrorKind, Result, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};

use crate::venue::Handshake;
use crate::wire::{Wire, WsSocket};

/// Opens WebSocket connections.
#[async_trait]
pub trait Dial: Send + Sync + fmt::Debug {
    /// Connects, proves who the other side is, and shakes hands.
    ///
    /// # Errors
    /// `Denied` if the other side refused (context `status`) or is not who it must be, `Unavailable` if it cannot
    /// be reached or asks to come back later ([`Error::wait`] tells when), `Timeout` if a deadline passed,
    /// `Invalid` if the handshake cannot work, `ws://` to another machine among that.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    async fn open(&self, handshake: &Handshake, clock: Arc<dyn Clock>) -> Result<Box<dyn Socket>>;
}

/// One open WebSocket. Dropping it closes the connection without a goodbye.
///
/// Only [`Socket::receive`] does I/O: what was queued to be sent leaves while it is awaited.
#[async_trait]
pub trait Socket: Send {
    /// Waits for text or binary messages and adds those that are ready to `out`: at least one, at most `max`.
    /// Each is stamped in the poll that took it off the socket; those that came with one read have one stamp.
    /// Fragments are put together, pings are answered.
    ///
    /// # Errors
    /// The end of the connection: `Closed`, `Corrupt` for what the protocol forbids (invalid UTF-8, oversize),
    /// `Timeout` if what was queued could not be written in time. Every message that arrived before was given
    /// out; `out` is as it was. After an error it must not be called again.
    ///
    /// # Cancel safety
    /// Safe: dropping the future loses nothing that arrived and nothing that was queued.
    async fn receive(&mut self, max: NonZeroUsize, out: &mut Vec<Received>) -> Result<()>;

    /// Queues a text message.
    ///
    /// # Errors
    /// `Full` if more than [`SEND_BYTES_MAX`] wait, `Invalid` if it is not UTF-8, `Closed` after a close of ours.
    fn send(&mut self, text: Bytes) -> Result<()>;

    /// Queues a ping, whose answer counts in [`Socket::bytes`].
    ///
    /// # Errors
    /// As for [`Socket::send`].
    fn ping(&mut self) -> Result<()>;

    /// Queues a close. [`Socket::receive`] gives what still arrives until the other side has closed too.
    fn close(&mut self);

    /// How many bytes have been received in all, those of pings and of unfinished messages included.
    fn bytes(&self) -> u64;

    /// How many messages, pings and answers to pings have been received whole; `None` if that is not known. It tells
    /// an answer from a message that drips for ever.
    fn whole(&self) -> Option<u64> {
        None
    }
}

/// One message off a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Wall clock in the poll that took it off the socket.
    pub received: Timestamp,
    /// Monotonic time in the same poll.
    pub elapsed: Duration,
    /// Whether it travelled as a binary message.
    pub binary: bool,
    /// Its bytes.
    pub payload: Bytes,
}

/// The most bytes that may wait to be sent. Commands are small; a peer that does not read them is broken.
pub const SEND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a name lookup and a TCP connect may take together.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the TLS handshake may take.
pub const TLS_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the WebSocket handshake may take, slow drips included.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long bytes may wait to be written before the connection counts as dead.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the other side may take to end the connection once both have said goodbye.
pub const GOODBYE_TIME_MAX: Duration = Duration::from_secs(2);

/// How many bytes one read may take: large enough that reading is no bottleneck at 500,000 frames a second, small
/// enough that clearing the buffer before each read costs little when frames come one at a time.
pub const READ_BYTES: usize = 64 * 1024;
/// Before the first keepalive probe, and between probes.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const USER_TIME_MAX: Duration = Duration::from_secs(15);

/// Dials with tokio, rustls and tungstenite.
#[derive(Clone)]
pub struct Dialer {
    tls: Arc<rustls::ClientConfig>,
    allow_plaintext: bool,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("allow_plaintext", &self.allow_plaintext).finish_non_exhaustive()
    }
}

impl Dialer {
    /// A dialer that trusts whom `tls` trusts. `allow_plaintext` allows `ws://` to other machines than this one.
    pub fn new(tls: Arc<rustls::ClientConfig>, allow_plaintext: bool) -> Self {
        Self { tls, allow_plaintext }
    }

    /// Connects and, for `wss://`, proves who the other side is: all that comes before the first byte of HTTP.
    ///
    /// # Errors
    /// As for [`Dial::open`].
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub async fn reach(&self, target: &Target, clock: &Arc<dyn Clock>) -> Result<Reached> {
        let connect = |address| async move { TcpStream::connect(address).await };
        let tcp = self.connect(target, clock, connect).await?;
        self.prove(target, tcp, clock).await
    }

    /// Looks the host up and tries each of its addresses with `connect`, which makes one connection.
    ///
    /// # Errors
    /// As for [`Dial::open`].
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub async fn connect<F, W>(
        &self,
        target: &Target,
        clock: &Arc<dyn Clock>,
        connect: F,
    ) -> Result<TcpStream>
    where
        F: Fn(SocketAddr) -> W + Send + Sync,
        W: Future<Output = std::io::Result<TcpStream>> + Send,
    {
        let connecting = async {
            let addresses = tokio::net::lookup_host((target.host.as_str(), target.port))
                .await
                .map_err(|cause| Error::new(ErrorKind::Unavailable, "look up host").because(cause))?;
            let mut last = Error::new(ErrorKind::Unavailable, "look up host").detail("it has no address");
            for address in addresses {
                self.allowed(target, address)?;
                match connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(cause) => last = Error::io("connect", cause).with("address", address),
                }
            }
            Err(last)
        };
        let stream = within(clock, CONNECT_TIME_MAX, "connect", connecting).await?;
        tune(&stream).map_err(|cause| Error::io("set up socket", cause))?;
        Ok(stream)
    }

    /// TLS under the target's name, where it asks for it.
    ///
    /// # Errors
    /// As for [`Dial::open`].
    ///
    /// # Cancel safety
    /// Dropping the future closes `tcp`.
    pub async fn prove(&self, target: &Target, tcp: TcpStream, clock: &Arc<dyn Clock>) -> Result<Reached> {
        if !target.secure {
            return Ok(Reached::Plain(tcp));
        }
        let name = rustls::pki_types::ServerName::try_from(target.host.clone())
            .map_err(|cause| Error::new(ErrorKind::Invalid, "read address").because(cause))?;
        let connecting = async {
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            connector.connect(name, tcp).await.map_err(untrusted)
        };
        Ok(Reached::Tls(Box::new(within(clock, TLS_TIME_MAX, "prove identity", connecting).await?)))
    }

    fn allowed(&self, target: &Target, address: SocketAddr) -> Result<()> {
        if target.secure || self.allow_plaintext || address.ip().is_loopback() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "connect")
            .detail("plain text leaves this machine")
            .with("address", address)
            .hint("use wss://, or set allow_plaintext: true"))
    }

    async fn shake<S>(&self, request: Request, stream: S, clock: Arc<dyn Clock>) -> Result<Box<dyn Socket>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(SEND_BYTES_MAX)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let shaking = async {
            let shaken = client_async_with_config(request, Wire::new(stream), Some(config)).await;
            shaken.map_err(|cause| refused(cause, clock.now()))
        };
        let (stream, _) = within(&clock, HANDSHAKE_TIME_MAX, "shake hands", shaking).await?;
        Ok(Box::new(WsSocket::new(stream, clock)))
    }
}

#[async_trait]
impl Dial for Dialer {
    async fn open(&self, handshake: &Handshake, clock: Arc<dyn Clock>) -> Result<Box<dyn Socket>> {
        let opening = async {
            let (request, target) = request(handshake)?;
            match self.reach(&target, &clock).await? {
                Reached::Plain(tcp) => Box::pin(self.shake(request, tcp, clock)).await,
                Reached::Tls(tls) => Box::pin(self.shake(request, tls, clock)).await,
            }
        };
        Box::pin(opening).await.map_err(|error| explained(error, handshake))
    }
}

/// Why a handshake came to nothing, for people: with the address, and with what to look at where a key was refused.
pub fn explained(error: Error, handshake: &Handshake) -> Error {
    let error = error.with("url", public_url(&handshake.url));
    let is_signed = !handshake.headers.is_empty() && error.context("status") == Some("401");
    if is_signed && error.hint_text().is_none() {
        return error.hint("is the key known to the venue, not expired, and the right one for this address?");
    }
    error
}

/// A URL for people: without query and user, which may hold secrets.
pub fn public_url(url: &str) -> String {
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => shown.chars().take(120).collect(),
    }
}

/// Whom to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether by TLS.
    pub secure: bool,
}

/// A connection before its first byte of HTTP.
#[derive(Debug)]
pub enum Reached {
    /// In plain text.
    Plain(TcpStream),
    /// By TLS, with somebody we trust.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The request that a handshake means, and whom to send it to.
///
/// # Errors
/// `Invalid` for an address that cannot be dialed and for headers that HTTP does not know; no secret is shown.
pub fn request(handshake: &Handshake) -> Result<(Request, Target)> {
    let invalid = || Error::new(ErrorKind::Invalid, "read address");
    let uri: Uri = handshake.url.parse().map_err(|cause| invalid().because(cause))?;
    let secure = match uri.scheme_str() {
        Some("wss") => true,
        Some("ws") => false,
        _ => return Err(invalid().detail("it begins with neither wss:// nor ws://")),
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(invalid().detail("it names a user"));
    }
    let host = uri.host().ok_or_else(|| invalid().detail("it names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let mut request = uri.into_client_request().map_err(|cause| invalid().because(cause))?;
    for (name, value) in &handshake.headers {
        // The value may be a secret, so neither it nor an error about it is shown.
        let header = || invalid().detail("a header has a form that HTTP does not know").with("header", name);
        let value = HeaderValue::from_str(value).map_err(|_| header())?;
        request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| header())?, value);
    }
    Ok((request, Target { host, port, secure }))
}

/// Does `work`, for as long as `time` of the clock.
///
/// # Errors
/// What `work` returns; `Timeout` after `time`.
///
/// # Cancel safety
/// That of `work`.
pub async fn within<T>(
    clock: &Arc<dyn Clock>,
    time: Duration,
    operation: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        done = work => done,
        () = clock.sleep(time) => {
            Err(Error::new(ErrorKind::Timeout, operation).with("seconds", time.as_secs_f64()))
        }
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(USER_TIME_MAX))?;
    Ok(())
}

fn untrusted(cause: std::io::Error) -> Error {
    if cause.kind() == std::io::ErrorKind::InvalidData {
        return Error::new(ErrorKind::Denied, "prove identity")
            .detail("the other side is not who it must be")
            .because(cause);
    }
    Error::io("prove identity", cause)
}

fn refused(cause: tungstenite::Error, now: Timestamp) -> Error {
    const SHAKE: &str = "shake hands";
    match cause {
        tungstenite::Error::Http(response) => refusal(&response, now),
        tungstenite::Error::Io(cause) => Error::io(SHAKE, cause),
        other => Error::new(ErrorKind::Unavailable, SHAKE)
            .detail("the other side does not speak WebSocket")
            .because(other),
    }
}

/// The longest part of a refusal that is shown, in characters.
const REFUSAL_CHARS_MAX: usize = 200;

fn refusal(response: &Response, now: Timestamp) -> Error {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let refusal = Refusal {
        status: response.status().as_u16(),
        retry_after: header("retry-after"),
        date: header("date"),
        body: response.body().as_deref().unwrap_or_default(),
    };
    refusal.error(now)
}

/// An answer to a handshake other than 101.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Its status.
    pub status: u16,
    /// Its header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// Its header `Date`.
    pub date: Option<&'a str>,
    /// Its body, as far as it came with the head.
    pub body: &'a [u8],
}

impl Refusal<'_> {
    /// What it means, at the time `now`.
    pub fn error(&self, now: Timestamp) -> Error {
        let Self { status, retry_after: after, date, body } = *self;
        let kind = match status {
            429 | 500..=599 => ErrorKind::Unavailable,
            404 => ErrorKind::NotFound,
            300..=399 => ErrorKind::Unsupported,
            _ => ErrorKind::Denied,
        };
        let mut error = Error::new(kind, "shake hands").with("status", status);
        if let Some(seconds) =
            date.and_then(|date| clock_skew(date, now)).filter(|_| kind == ErrorKind::Denied)
        {
            let direction = if seconds > 0 { "ahead of" } else { "behind" };
            error = error.with("clock_skew_seconds", seconds).hint(format!(
                "signatures hold for seconds: this machine's clock is {} s {direction} the venue's",
                seconds.abs()
            ));
        }
        if !body.is_empty() {
            let text = String::from_utf8_lossy(body);
            let shown: String = text.chars().filter(|c| !c.is_control()).take(REFUSAL_CHARS_MAX).collect();
            error = error.detail(shown);
        }
        match after.and_then(|text| retry_after(text, now)) {
            Some(after) => error.retry_after(after),
            None => error,
        }
    }
}

/// A difference below this may be the way there and back.
const CLOCK_SKEW_SECONDS_MIN: i64 = 5;

/// By how much our clock is ahead of the other side's, where that is worth a word.
fn clock_skew(date: &str, now: Timestamp) -> Option<i64> {
    let since_epoch = httpdate::parse_http_date(date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let ahead = now.nanos() / 1_000_000_000 - i64::try_from(since_epoch.as_secs()).ok()?;
    (ahead.abs() >= CLOCK_SKEW_SECONDS_MIN).then_some(ahead)
}

/// The longest wait that another side may impose.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Reads a `Retry-After`, seconds or a date, capped.
pub(crate) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    let date = || {
        let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        let at = Timestamp::from_nanos(i64::try_from(since_epoch.as_nanos()).ok()?);
        Some(at.since(now))
    };
    Some(seconds.or_else(date)?.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_looks_after_a_connection_too() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIME_MAX));
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        }
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let now: Timestamp = "2026-08-01T12:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("999999999", Some(3600)),
            ("Sat, 01 Aug 2026 12:00:30 GMT", Some(30)),
            ("Saturday, 01-Aug-26 12:00:30 GMT", Some(30)),
            ("Sat Aug  1 12:00:30 2026", Some(30)),
            ("Sat, 01 Aug 2026 11:00:00 GMT", Some(0)),
            ("Fri, 01 Jan 2100 00:00:00 GMT", Some(3600)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
