//! One connection to a broker: how it is made, how it is kept, and why it broke.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet};
use rumqttc::v5::{ConnectionError, EventLoop, MqttOptions as Client, StateError};
use rumqttc::{TlsConfiguration, Transport};
use ssmd_core::{Clock, Error, ErrorKind, Origin, Result};
use tokio::sync::watch;

use super::{MqttBroker, MqttOptions, PAYLOAD_BYTES_MAX, Quality, incoming};

/// What a flush asks the broker to forget: a topic that nobody listens to.
pub(super) const FLUSH_TOPIC: &str = "ssmd~flush";

/// Without a word for so long, the broker is asked for one; without an answer, the connection is dead.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long connecting, TLS and the login may take.
const CONNECT_SECONDS_MAX: u64 = 5;
/// The first and the longest wait between attempts to connect.
pub(super) const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// What a packet may have beside its payload: topic and headers.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// How connections of one transport are made.
#[derive(Clone)]
pub(super) struct Link {
    host: String,
    port: u16,
    options: MqttOptions,
}

impl Link {
    pub(super) fn new(options: &MqttOptions) -> Result<Self> {
        let invalid = || Error::new(ErrorKind::Invalid, "open mqtt").with("url", &options.url);
        let (scheme, rest) = options.url.split_once("://").ok_or_else(invalid)?;
        let default = match scheme {
            "mqtt" => 1883,
            "mqtts" => 8883,
            _ => return Err(invalid().hint("begin it with mqtt:// or mqtts://")),
        };
        let authority = rest.trim_end_matches('/');
        if authority.contains(['@', '/', '?', '#']) {
            return Err(invalid().detail("it has more than a host and a port"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| invalid())?),
            _ => (authority, default),
        };
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port, options: options.clone() })
    }

    /// What one connection is made with: a new client, whose session is clean.
    pub(super) fn options(&self) -> Client {
        let mut client = Client::new(format!("ssmd-{}", Origin::new_random()), &self.host, self.port);
        client.set_keep_alive(KEEP_ALIVE).set_clean_start(true).set_connection_timeout(CONNECT_SECONDS_MAX);
        let bytes_max = u32::try_from(PAYLOAD_BYTES_MAX + HEAD_BYTES_MAX).unwrap_or(u32::MAX);
        client.set_max_packet_size(Some(bytes_max));
        if let Some(login) = &self.options.login {
            client.set_credentials(login.user().unwrap_or_default(), login.password());
        }
        if self.options.url.starts_with("mqtts:") {
            let tls = match &self.options.ca {
                Some(ca) => TlsConfiguration::Simple {
                    ca: ca.clone(),
                    alpn: None,
                    client_auth: self.options.identity.clone(),
                },
                None => TlsConfiguration::default(),
            };
            client.set_transport(Transport::Tls(tls));
        }
        client
    }
}

/// How a connection is.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// What the broker said; `None` while there is no connection.
    pub(super) broker: Option<MqttBroker>,
    /// Why there is none.
    pub(super) failed: Option<Failed>,
    /// How many connections there were.
    pub(super) connection: u64,
    /// How many flushes the broker has answered.
    pub(super) answers: u64,
}

/// Why a connection broke, or could not be made.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    kind: ErrorKind,
    report: String,
}

impl Default for Failed {
    fn default() -> Self {
        Self { kind: ErrorKind::Unavailable, report: "not connected yet".to_owned() }
    }
}

impl Failed {
    pub(super) fn of(cause: &ConnectionError) -> Self {
        Self { kind: kind(cause), report: cause.to_string() }
    }

    pub(super) fn error(&self, operation: &'static str) -> Error {
        let error = Error::new(self.kind, operation).because(self.report.clone());
        match self.kind {
            ErrorKind::Denied => error.hint("look at `credentials`, and at the broker's list of users"),
            _ => error,
        }
    }
}

fn kind(cause: &ConnectionError) -> ErrorKind {
    use ConnectReturnCode as Code;
    match cause {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => match code {
            Code::BadUserNamePassword | Code::NotAuthorized | Code::Banned => ErrorKind::Denied,
            _ => ErrorKind::Unavailable,
        },
        _ => ErrorKind::Unavailable,
    }
}

/// What a broker says of itself.
fn broker(connected: &ConnAck) -> MqttBroker {
    let said = connected.properties.as_ref();
    MqttBroker {
        packet_bytes_max: said.and_then(|said| said.max_packet_size),
        retains: said.and_then(|said| said.retain_available).is_none_or(|available| available != 0),
        latency: Duration::ZERO,
    }
}

/// Keeps a connection for ever, and tells how it is.
pub(super) async fn run(
    mut events: EventLoop,
    tell: watch::Sender<State>,
    quality: Quality,
    clock: Arc<dyn Clock>,
) -> Infallible {
    let mut wait = WAITS.0;
    // Answers that are not told yet: a broker passes a message of QoS 2 on only with its second step.
    let mut answers = 0;
    loop {
        match events.poll().await.map(incoming) {
            Ok(Some(Packet::ConnAck(connected))) => {
                (wait, answers) = (WAITS.0, 0);
                tell.send_modify(|state| {
                    (state.broker, state.failed) = (Some(broker(&connected)), None);
                    state.connection += 1;
                });
            }
            Ok(Some(Packet::UnsubAck(_))) => answers += 1,
            Ok(_) => {}
            Err(cause) => {
                let failed = Failed::of(&cause);
                tracing::debug!(report = failed.report, "no connection to the mqtt broker");
                tell.send_modify(|state| (state.broker, state.failed) = (None, Some(failed)));
                clock.sleep(wait).await;
                wait = (wait * 2).min(WAITS.1);
            }
        }
        if answers > 0 && (quality != Quality::ExactlyOnce || events.state.inflight() == 0) {
            tell.send_modify(|state| state.answers += std::mem::take(&mut answers));
        }
    }
}
