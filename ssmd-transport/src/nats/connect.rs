//! The connection: addresses, what is shown to the server, TLS, and whether the server can be used at all.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::AccountErrorKind;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use ssmd_core::environment::SecretText;
use ssmd_core::name::encode;
use ssmd_core::{Clock, Error, ErrorKind, Result};
use tokio::sync::watch;

/// The oldest server that is accepted. Older ones let any user of JetStream purge any account (CVE-2025-30215), and
/// 2.9 ignores `filter_subjects` without a word.
pub const SERVER_MIN: (u64, u64, u64) = (2, 10, 27);

/// How long the first connection may take, TLS and authentication included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a request to the server's API may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How often the server is asked for a sign of life; two that are missed end the connection.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect again.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where the server is and what it is shown.
#[derive(Clone, Debug)]
pub struct Options {
    /// One address, or several of one cluster with commas between them: `nats://a:4222,nats://b:4222`. `tls://`
    /// asks for TLS.
    pub url: String,
    /// Who connects: what the server's list of connections calls it, and where its answers go (`_INBOX.NAME.…`, the
    /// name encoded as a token), so that permissions can keep services from hearing one another's.
    pub name: String,
    /// What the server is shown.
    pub auth: Auth,
    /// TLS beyond what the address says.
    pub tls: Tls,
}

impl Options {
    /// The server at this address, without authentication.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), name: "ssmd".into(), auth: Auth::None, tls: Tls::default() }
    }
}

/// What the server is shown.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nothing.
    #[default]
    None,
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: SecretText,
    },
    /// A token.
    Token(SecretText),
    /// The seed of an nkey; the server has its public key.
    Nkey(SecretText),
    /// The text of a credentials file: a JWT and the seed of its nkey.
    Credentials(SecretText),
}

impl Auth {
    /// Tells by its form what a secret is: the text of a credentials file, the seed of a user's nkey, `USER:PASSWORD`,
    /// else a token.
    pub fn of(secret: &SecretText) -> Self {
        let text = secret.expose();
        if text.contains("-----BEGIN NATS USER JWT-----") {
            return Self::Credentials(secret.clone());
        }
        if text.starts_with("SU") && text.len() == 58 && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Self::Nkey(secret.clone());
        }
        match text.split_once(':') {
            Some((user, password)) => {
                Self::Password { user: user.to_owned(), password: SecretText::from(password.to_owned()) }
            }
            None => Self::Token(secret.clone()),
        }
    }
}

/// TLS. The files are read anew for every connection, so a renewed certificate is used from the next one on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether a server without TLS is refused; an address `tls://` or a file below says so too.
    pub required: bool,
    /// Who may vouch for the server, in PEM, instead of the system's own list.
    pub authorities: Option<PathBuf>,
    /// What this side shows: its certificate and the certificate's key, both in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A connection that mends itself. Cheap to clone; the last clone's end closes it.
#[derive(Clone)]
pub struct Connection {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    /// Counts how often the connection was lost or made again: what was under way when it changes may be lost.
    pub(super) changes: watch::Receiver<u64>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.client.server_info();
        f.debug_struct("Connection")
            .field("server", &info.server_name)
            .field("version", &info.version)
            .finish()
    }
}

/// Connects, and looks at the server: one that is too old is refused.
///
/// Lost connections are made again for as long as the connection lives, with pauses of up to 5 s.
///
/// # Errors
/// `Invalid` for an address or a secret that cannot be read, `Unavailable` and `Timeout` if the server cannot be
/// reached, `Denied` if it refuses what it was shown or its certificate does not hold, `Unsupported` below
/// [`SERVER_MIN`]. No error holds anything of a secret.
pub async fn connect(options: &Options, clock: Arc<dyn Clock>) -> Result<Connection> {
    let servers = servers(&options.url)?;
    let (tell, changes) = watch::channel(0);
    let refused_before = AtomicBool::new(false);
    let with = authenticate(ConnectOptions::new(), &options.auth)?;
    let with = secure(with, &options.tls)
        .name(&options.name)
        .custom_inbox_prefix(format!("_INBOX.{}", encode(&options.name)))
        .connection_timeout(CONNECT_WITHIN)
        .request_timeout(Some(REQUEST_WITHIN))
        .ping_interval(PING_EVERY)
        .max_reconnects(None)
        .reconnect_delay_callback(pause)
        .event_callback(move |event| {
            let lost = matches!(event, Event::Disconnected | Event::Connected | Event::Closed);
            if lost {
                tell.send_modify(|count| *count += 1);
            }
            match event {
                Event::Connected => tracing::info!("connected to NATS"),
                Event::Disconnected => tracing::warn!("the connection to NATS was lost"),
                // A publisher without permission hears of it here alone.
                Event::ServerError(error) if !refused_before.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(%error, "NATS refuses something; further errors are told at debug level");
                }
                other => tracing::debug!(event = %other, "NATS"),
            }
            std::future::ready(())
        });
    let client = with.connect(servers).await.map_err(|cause| refused(&options.url, cause))?;
    let info = client.server_info();
    check_version(&info.version)?;
    tracing::info!(server = %info.server_name, version = %info.version, "connected to NATS");
    Ok(Connection { client, clock, changes })
}

impl Connection {
    /// The server's version, as it says it.
    pub fn version(&self) -> String {
        self.client.server_info().version
    }

    /// The most bytes that the server takes in one message, headers included.
    pub fn payload_bytes_max(&self) -> usize {
        self.client.max_payload()
    }

    /// How long the server takes to answer, over this connection and behind all that was sent over it before.
    ///
    /// # Errors
    /// `Unavailable` if no answer comes within 5 s.
    pub async fn round_trip(&self) -> Result<Duration> {
        let began = self.clock.elapsed();
        self.echo().await?;
        Ok(self.clock.elapsed().saturating_sub(began))
    }

    /// Whether the server has JetStream for this user.
    ///
    /// # Errors
    /// `Unsupported` if it says that it has none, `Unavailable` if it does not answer.
    pub async fn check_jetstream(&self) -> Result<()> {
        let answer = async_nats::jetstream::new(self.client.clone()).query_account().await;
        answer.map(drop).map_err(|cause| {
            let none = matches!(
                cause.kind(),
                AccountErrorKind::JetStream(_) | AccountErrorKind::JetStreamUnavailable
            );
            let kind = if none { ErrorKind::Unsupported } else { ErrorKind::Unavailable };
            Error::new(kind, "ask for JetStream").because(cause).hint("start nats-server with `-js`")
        })
    }

    /// How often the connection was lost or made again.
    pub(super) fn changes(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }
}

fn servers(url: &str) -> Result<Vec<ServerAddr>> {
    let read = |one: &str| {
        // What is wrong is not quoted: a password may stand in it.
        one.trim().parse::<ServerAddr>().map_err(|_| {
            Error::new(ErrorKind::Invalid, "read address of NATS").hint("write it as nats://host:4222")
        })
    };
    url.split(',').map(read).collect()
}

fn authenticate(with: ConnectOptions, auth: &Auth) -> Result<ConnectOptions> {
    let invalid =
        |what: &'static str| Error::new(ErrorKind::Invalid, "read credentials of NATS").detail(what);
    match auth {
        Auth::None => Ok(with),
        Auth::Password { user, password } => {
            Ok(with.user_and_password(user.clone(), password.expose().to_owned()))
        }
        Auth::Token(token) => Ok(with.token(token.expose().to_owned())),
        Auth::Nkey(seed) => Ok(with.nkey(seed.expose().to_owned())),
        // The cause could quote the text: it is left out.
        Auth::Credentials(text) => {
            with.credentials(text.expose()).map_err(|_| invalid("no credentials of a user"))
        }
    }
}

fn secure(mut with: ConnectOptions, tls: &Tls) -> ConnectOptions {
    with = with.require_tls(tls.required || tls.authorities.is_some() || tls.identity.is_some());
    if let Some(path) = &tls.authorities {
        with = with.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &tls.identity {
        with = with.add_client_certificate(certificate.clone(), key.clone());
    }
    with
}

/// 100 ms, twice as long each time, at most [`RECONNECT_PAUSE_MAX`].
fn pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.min(8)).unwrap_or(8);
    RECONNECT_PAUSE_MAX.min(Duration::from_millis(50) * 2_u32.pow(doublings))
}

fn refused(url: &str, cause: async_nats::ConnectError) -> Error {
    let kind = match cause.kind() {
        ConnectErrorKind::Authentication
        | ConnectErrorKind::AuthorizationViolation
        | ConnectErrorKind::Tls => ErrorKind::Denied,
        ConnectErrorKind::ServerParse => ErrorKind::Invalid,
        ConnectErrorKind::TimedOut => ErrorKind::Timeout,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "connect to NATS").with("server", without_secrets(url)).because(cause)
}

/// The addresses without user and password.
fn without_secrets(url: &str) -> String {
    let bare = |one: &str| match (one.split_once("://"), one.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => one.to_owned(),
    };
    url.split(',').map(bare).collect::<Vec<_>>().join(",")
}

/// Refuses a server below [`SERVER_MIN`].
fn check_version(version: &str) -> Result<()> {
    let (major, minor, patch) = SERVER_MIN;
    if parse_version(version).is_some_and(|found| found >= SERVER_MIN) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "connect to NATS")
        .detail("the server is too old")
        .with("version", version)
        .with("needed", format!("{major}.{minor}.{patch}"))
        .hint("update nats-server: older ones lose data without a word, and let any user purge any account"))
}

/// `2.10.27`, with anything behind a hyphen left out.
fn parse_version(version: &str) -> Option<(u64, u64, u64)> {
    let plain = version.trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(|part| part.parse::<u64>().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_too_old_or_say_nonsense_are_refused() {
        for good in ["2.10.27", "2.11.0", "v2.14.1", "3.0.0-beta.1"] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in ["2.9.10", "2.10.26", "1.99.99", "", "new", "2.10"] {
            assert_eq!(check_version(bad).unwrap_err().kind(), ErrorKind::Unsupported, "{bad}");
        }
    }

    #[test]
    fn a_secret_is_told_by_its_form() {
        let of = |text: &str| Auth::of(&SecretText::from(text.to_owned()));
        assert!(matches!(of("me:pass:word"), Auth::Password { user, password }
            if user == "me" && password.expose() == "pass:word"));
        assert!(matches!(of("s3cr3t"), Auth::Token(_)));
        assert!(matches!(of("SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY"), Auth::Nkey(_)));
        assert!(matches!(of("-----BEGIN NATS USER JWT-----\nx"), Auth::Credentials(_)));
    }

    #[test]
    fn addresses_are_shown_without_secrets() {
        assert_eq!(without_secrets("nats://u:p@a:1,tls://b,c@d"), "nats://a:1,tls://b,d");
        let error = servers("nats://u:canary@ho st").unwrap_err();
        assert!(!error.report().contains("canary"), "{}", error.report());
    }
}
