//! WebSockets through the C++ library libechidna: a [`Dial`] for any venue.
//!
//! Owns the border to C++ and what guards it. It knows no venue and builds no libechidna: with the feature
//! `libechidna` an installed one is found (`docs/libechidna.md`), without it dialing is an error that says so.
//! There are two modes, see [`Mode`]; in both, everything that libechidna reads has passed the [`guard`].

pub mod answer;
pub mod guard;

#[cfg(feature = "libechidna")]
mod ffi;
#[cfg(feature = "libechidna")]
mod framed;
#[cfg(feature = "libechidna")]
mod link;
#[cfg(feature = "libechidna")]
mod native;

use std::sync::Arc;

use async_trait::async_trait;
use ssmd_core::environment::DialerSpec;
use ssmd_core::{Clock, Result};
use ssmd_feeds::dial::{Dial, Dialer, Socket};
use ssmd_feeds::venue::Handshake;

/// What a document means by `dialer`, made of one that reaches whom it reaches, and trusts whom it trusts.
///
/// # Errors
/// `Unsupported` for one of libechidna without the feature `libechidna`.
pub fn dial(spec: DialerSpec, dialer: Dialer) -> Result<Arc<dyn Dial>> {
    let mode = match spec {
        DialerSpec::Rust => return Ok(Arc::new(dialer)),
        DialerSpec::Echidna => Mode::Framed,
        DialerSpec::EchidnaNative => Mode::Native,
    };
    Ok(Arc::new(EchidnaDialer::new(dialer, mode)?))
}

/// How much of a connection is libechidna's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Its `WebSocketManager`, between memory and memory. TCP and TLS are ours, on the runtime's threads.
    #[default]
    Framed,
    /// Its `TCPHelper`, `EventManager` and `WebSocketManager`, on a thread for each connection. TLS is ours.
    Native,
}

/// Dials through libechidna.
#[derive(Clone, Debug)]
pub struct EchidnaDialer {
    #[cfg_attr(
        not(feature = "libechidna"),
        expect(dead_code, reason = "nothing is dialed without libechidna")
    )]
    dialer: Dialer,
    #[cfg_attr(
        not(feature = "libechidna"),
        expect(dead_code, reason = "nothing is dialed without libechidna")
    )]
    mode: Mode,
}

impl EchidnaDialer {
    /// A dialer that reaches whom `dialer` reaches, and trusts whom it trusts.
    ///
    /// # Errors
    /// `Unsupported` without the feature `libechidna`.
    pub fn new(dialer: Dialer, mode: Mode) -> Result<Self> {
        if cfg!(feature = "libechidna") { Ok(Self { dialer, mode }) } else { Err(not_built()) }
    }
}

fn not_built() -> ssmd_core::Error {
    ssmd_core::Error::new(ssmd_core::ErrorKind::Unsupported, "dial through libechidna")
        .detail("this program was built without it")
        .hint("build it with `--features libechidna` and LIBECHIDNA_DIR, see docs/libechidna.md")
}

#[cfg(not(feature = "libechidna"))]
#[async_trait]
impl Dial for EchidnaDialer {
    async fn open(&self, _: &Handshake, _: Arc<dyn Clock>) -> Result<Box<dyn Socket>> {
        Err(not_built())
    }
}

#[cfg(feature = "libechidna")]
#[async_trait]
impl Dial for EchidnaDialer {
    async fn open(&self, handshake: &Handshake, clock: Arc<dyn Clock>) -> Result<Box<dyn Socket>> {
        let opening = self.dial(handshake, clock);
        Box::pin(opening).await.map_err(|error| ssmd_feeds::dial::explained(error, handshake))
    }
}

#[cfg(feature = "libechidna")]
impl EchidnaDialer {
    async fn dial(&self, handshake: &Handshake, clock: Arc<dyn Clock>) -> Result<Box<dyn Socket>> {
        use ssmd_feeds::dial::{HANDSHAKE_TIME_MAX, Reached, within};

        let (link, target) = link::Link::new(handshake)?;
        let reached = match self.mode {
            Mode::Framed => self.dialer.reach(&target, &clock).await?,
            Mode::Native => {
                let tcp = self.dialer.connect(&target, &clock, connect).await?;
                self.dialer.prove(&target, tcp, &clock).await?
            }
        };
        let timer = Arc::clone(&clock);
        let shaking = async {
            let socket: Box<dyn Socket> = match (self.mode, reached) {
                (Mode::Framed, Reached::Plain(tcp)) => Box::new(framed::shake(link, tcp, clock).await?),
                (Mode::Framed, Reached::Tls(tls)) => Box::new(framed::shake(link, tls, clock).await?),
                (Mode::Native, reached) => Box::new(native::shake(link, reached, clock).await?),
            };
            Ok(socket)
        };
        within(&timer, HANDSHAKE_TIME_MAX, "shake hands", shaking).await
    }
}

/// Connects by libechidna, which blocks: on a thread that may.
#[cfg(feature = "libechidna")]
async fn connect(address: std::net::SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let connecting = tokio::task::spawn_blocking(move || ffi::connect(address));
    let stream = connecting.await.map_err(std::io::Error::other)??;
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream)
}
