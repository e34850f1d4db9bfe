//! MQTT 5 as a transport: dots of a subject are slashes of a topic, headers are user properties.
//!
//! Every token of a subject is of `[A-Za-z0-9_~-]`, so no symbol can reach another topic, be a wildcard or a topic of
//! the broker's own (`$SYS`). Each subscription is a connection of its own, with a bounded queue: a slow listener
//! loses its oldest messages and is told how many.
//!
//! What it does not promise, whatever the quality of service: sessions are clean, so what is under way when a
//! connection breaks is gone, at the publisher's side and at the listener's, and no one counts it. QoS 1 and 2 let the
//! broker slow the publisher down, and make a broker queue more for a listener; a broker at its own bound drops without
//! telling. QoS 1 may hand a message over twice. A broker is no store: one that crashes forgets retained messages,
//! unless it is told to keep them.

mod link;
mod listen;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event};
use ssmd_core::{Clock, Error, ErrorKind, Filter, Message, Result, Subject, Subscription, Tasks, Transport};
use tokio::sync::{Mutex, watch};

use crate::login::Login;
use crate::publish::Broker;
use link::Link;

/// The most subscriptions of one transport: each is a connection.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// The largest payload, in bytes: what NATS takes from us too. Brokers may take less; the error says so.
pub const PAYLOAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Messages that wait to be sent; more wait in their callers.
const REQUESTS_MAX: usize = 1024;

/// How surely a message is handed over, from hop to hop. See the module about what none of them promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// QoS 0: sent, no answer.
    #[default]
    AtMostOnce,
    /// QoS 1: the broker acknowledges.
    AtLeastOnce,
    /// QoS 2: in two steps.
    ExactlyOnce,
}

impl Quality {
    /// The quality of this number, 0 to 2.
    pub fn of(number: u8) -> Option<Self> {
        [Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce].get(usize::from(number)).copied()
    }

    fn qos(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce => QoS::AtLeastOnce,
            Self::ExactlyOnce => QoS::ExactlyOnce,
        }
    }
}

/// Where a broker is, who we are to it, and how messages go.
#[derive(Clone)]
pub struct MqttOptions {
    /// `mqtt://host[:port]`, or `mqtts://` for TLS.
    pub url: String,
    /// The user and password.
    pub login: Option<Login>,
    /// Whom to trust instead of the system's certificates, in PEM form.
    pub ca: Option<Vec<u8>>,
    /// What is shown to the broker: a certificate and its key, both in PEM form. Only together with `ca`.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// How surely messages are handed over.
    pub quality: Quality,
    /// Which messages the broker keeps, the last of each topic, for those who come later.
    pub retained: fn(&Subject) -> bool,
    /// The most messages that wait for one listener.
    pub queue_messages_max: usize,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl MqttOptions {
    /// A broker at this address: QoS 0, nothing retained.
    pub fn new(url: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            url: url.to_owned(),
            login: None,
            ca: None,
            identity: None,
            quality: Quality::default(),
            retained: |_| false,
            queue_messages_max: crate::memory::QUEUE_MESSAGES_MAX,
            clock,
        }
    }
}

impl fmt::Debug for MqttOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttOptions").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a broker said of itself when it let us in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MqttBroker {
    /// The largest packet that it takes, in bytes; `None` is MQTT's own bound.
    pub packet_bytes_max: Option<u32>,
    /// Whether it keeps retained messages.
    pub retains: bool,
    /// How long one answer took.
    pub latency: Duration,
}

/// Live fan-out through an MQTT broker.
///
/// Made without a connection, which is then made and kept in the background: while there is none, publishing is
/// refused as `Unavailable` and nothing waits.
pub struct MqttTransport {
    link: Link,
    options: MqttOptions,
    client: AsyncClient,
    connected: watch::Receiver<link::State>,
    /// One flush at a time: its answer has no name.
    flushing: Mutex<()>,
    open: Arc<AtomicUsize>,
    /// Ends with the transport.
    _connection: Tasks,
}

impl fmt::Debug for MqttTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttTransport").field("options", &self.options).finish_non_exhaustive()
    }
}

impl MqttTransport {
    /// A transport that begins to connect. Needs a Tokio runtime.
    ///
    /// # Errors
    /// `Invalid` if the address is of no use.
    pub fn new(options: MqttOptions) -> Result<Self> {
        let link = Link::new(&options)?;
        let (client, events) = AsyncClient::new(link.options(), REQUESTS_MAX);
        let (tell, connected) = watch::channel(link::State::default());
        let mut tasks = Tasks::new();
        let publishing = link::run(events, tell, options.quality, Arc::clone(&options.clock));
        tasks.spawn("publish to mqtt", async move { match publishing.await {} });
        Ok(Self {
            link,
            options,
            client,
            connected,
            flushing: Mutex::default(),
            open: Arc::default(),
            _connection: tasks,
        })
    }

    /// Waits until the broker has let us in, and says what it said.
    ///
    /// # Errors
    /// Why the first attempt failed: `Denied`, `Unavailable` or `Timeout`. Attempts go on all the same.
    pub async fn ready(&self) -> Result<MqttBroker> {
        let mut connected = self.connected.clone();
        let decided = |state: &link::State| state.broker.is_some() || state.failed.is_some();
        let state = connected.wait_for(decided).await.map_err(|_| ended())?.clone();
        match (state.broker, state.failed) {
            (Some(broker), _) => {
                let began = self.options.clock.elapsed();
                self.flush().await?;
                Ok(MqttBroker { latency: self.options.clock.elapsed().saturating_sub(began), ..broker })
            }
            (None, Some(failed)) => Err(failed.error("connect to mqtt")),
            (None, None) => Err(ended()),
        }
    }

    /// How many listen through this transport now.
    pub fn listeners(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn check(&self, message: &Message, broker: &MqttBroker) -> Result<()> {
        let max = broker.packet_bytes_max.map_or(PAYLOAD_BYTES_MAX, |max| max as usize);
        let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 5).sum();
        // What a packet has besides: its own head, the topic, lengths.
        let bytes = message.payload.len() + headers + message.subject.as_str().len() + 32;
        if message.payload.len() > PAYLOAD_BYTES_MAX || bytes > max {
            let error = Error::new(ErrorKind::Invalid, "publish to mqtt").detail("the message is too large");
            return Err(error.with("subject", &message.subject).with("bytes", bytes).with("bytes_max", max));
        }
        let long = |text: &String| text.len() > usize::from(u16::MAX);
        if message.headers.iter().any(|(name, value)| long(name) || long(value)) {
            return Err(Error::new(ErrorKind::Invalid, "publish to mqtt").detail("a header is too long"));
        }
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<()> {
        let topic = message.subject.as_str().replace('.', "/");
        let properties =
            PublishProperties { user_properties: message.headers, ..PublishProperties::default() };
        let (quality, retained) = (self.options.quality.qos(), (self.options.retained)(&message.subject));
        let sent =
            self.client.publish_bytes_with_properties(topic, quality, retained, message.payload, properties);
        let mut connected = self.connected.clone();
        tokio::select! {
            biased;
            sent = sent => sent.map_err(|_| ended()),
            // It waited for room, and there is nobody any more who makes some.
            lost = connected.wait_for(|state| state.broker.is_none()) => {
                let failed = lost.map_err(|_| ended())?.failed.clone();
                Err(failed.unwrap_or_default().error("publish to mqtt"))
            }
        }
    }
}

#[async_trait]
impl Transport for MqttTransport {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        let state = self.connected.borrow().clone();
        let Some(broker) = state.broker else {
            return Err(state.failed.unwrap_or_default().error("publish to mqtt"));
        };
        batch.iter().try_for_each(|message| self.check(message, &broker))?;
        for message in batch {
            self.send(message).await?;
        }
        Ok(())
    }

    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        // What was published before must not come behind the new listener.
        if self.connected.borrow().broker.is_some() {
            self.flush().await?;
        }
        listen::subscribe(&self.link, &self.options, filter, Arc::clone(&self.open)).await
    }

    /// Asks the broker for something that it answers behind all that was published before; with QoS 2 also until
    /// nothing is under way.
    async fn flush(&self) -> Result<()> {
        let operation = "flush mqtt";
        let _alone = self.flushing.lock().await;
        let mut connected = self.connected.clone();
        let before = connected.borrow_and_update().clone();
        if before.broker.is_none() {
            return Err(before.failed.unwrap_or_default().error(operation));
        }
        self.client.unsubscribe(link::FLUSH_TOPIC).await.map_err(|_| ended())?;
        let answered = |state: &link::State| state.broker.is_none() || state.answers != before.answers;
        let state = connected.wait_for(answered).await.map_err(|_| ended())?;
        if state.broker.is_none() || state.connection != before.connection {
            return Err(state.failed.clone().unwrap_or_default().error(operation));
        }
        Ok(())
    }
}

impl Broker for MqttTransport {
    fn connection(&self) -> u64 {
        self.connected.borrow().connection
    }

    fn retains(&self, subject: &Subject) -> bool {
        (self.options.retained)(subject)
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "use mqtt").detail("the connection has ended for good")
}

/// Whether an event is a packet that the broker sent.
fn incoming(event: Event) -> Option<Packet> {
    match event {
        Event::Incoming(packet) => Some(packet),
        Event::Outgoing(_) => None,
    }
}
