//! One listener: a connection that subscribes, and the bounded queue behind it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, EventLoop};
use ssmd_core::{
    Clock, Delivery, Error, ErrorKind, Filter, Message, Result, Subject, Subscription, Tasks, Transport,
};

use super::link::{Failed, Link};
use super::{MqttOptions, SUBSCRIPTIONS_MAX, incoming};
use crate::memory::MemoryTransport;

const OPERATION: &str = "subscribe to mqtt";

/// Requests of a listener: one subscription, and those of its later connections.
const REQUESTS_MAX: usize = 16;

/// A place among the listeners, given back at the end.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: Arc<AtomicUsize>) -> Result<Self> {
        let more = |open| (open < SUBSCRIPTIONS_MAX).then_some(open + 1);
        match open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self(open)),
            Err(_) => {
                Err(Error::new(ErrorKind::Full, OPERATION).with("subscriptions_max", SUBSCRIPTIONS_MAX))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct MqttSubscription {
    queue: Box<dyn Subscription>,
    _reader: Tasks,
    _place: Place,
}

#[async_trait]
impl Subscription for MqttSubscription {
    async fn next(&mut self) -> Result<Delivery> {
        self.queue.next().await
    }
}

/// A connection's side of a listener.
struct Reader {
    client: AsyncClient,
    events: EventLoop,
    topic: String,
    quality: QoS,
    filter: Filter,
    /// Only its listener is here: it bounds what waits, and counts what is lost.
    queue: MemoryTransport,
    clock: Arc<dyn Clock>,
}

pub(super) async fn subscribe(
    link: &Link,
    options: &MqttOptions,
    filter: &Filter,
    open: Arc<AtomicUsize>,
) -> Result<Box<dyn Subscription>> {
    let place = Place::take(open)?;
    let (client, events) = AsyncClient::new(link.options(), REQUESTS_MAX);
    let queue = MemoryTransport::bounded(options.queue_messages_max);
    let listener = queue.subscribe(&Filter::all()).await?;
    let mut reader = Reader {
        client,
        events,
        topic: topic(filter),
        quality: options.quality.qos(),
        filter: filter.clone(),
        queue,
        clock: Arc::clone(&options.clock),
    };
    reader.begin().await?;
    let mut tasks = Tasks::new();
    tasks.spawn("listen to mqtt", async move { match reader.run().await {} });
    Ok(Box::new(MqttSubscription { queue: listener, _reader: tasks, _place: place }))
}

impl Reader {
    /// Connects, subscribes, and waits until the broker has said yes.
    async fn begin(&mut self) -> Result<()> {
        self.ask().await?;
        loop {
            match self.events.poll().await.map(incoming) {
                Ok(Some(Packet::SubAck(answer))) => {
                    let yes = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
                    if answer.return_codes.iter().all(yes) {
                        return Ok(());
                    }
                    let said = format!("{:?}", answer.return_codes);
                    return Err(Error::new(ErrorKind::Denied, OPERATION)
                        .detail(said)
                        .with("topic", &self.topic));
                }
                Ok(Some(Packet::Publish(publish))) => self.heard(publish).await,
                Ok(_) => {}
                Err(cause) => return Err(Failed::of(&cause).error(OPERATION)),
            }
        }
    }

    async fn ask(&mut self) -> Result<()> {
        let asked = self.client.subscribe(&self.topic, self.quality).await;
        asked.map_err(|_| Error::new(ErrorKind::Bug, OPERATION).detail("a filter that is no topic filter"))
    }

    /// Reads for ever; after a broken connection it subscribes anew.
    async fn run(mut self) -> Infallible {
        let mut wait = super::link::WAITS.0;
        loop {
            match self.events.poll().await.map(incoming) {
                Ok(Some(Packet::Publish(publish))) => self.heard(publish).await,
                Ok(Some(Packet::ConnAck(_))) => {
                    wait = super::link::WAITS.0;
                    if let Err(error) = self.ask().await {
                        tracing::error!(report = error.report(), "a listener hears nothing any more");
                    }
                }
                Ok(_) => {}
                Err(cause) => {
                    let failed = Failed::of(&cause).error(OPERATION);
                    tracing::warn!(filter = %self.filter, report = failed.report(), "what is published meanwhile is not heard");
                    self.clock.sleep(wait).await;
                    wait = (wait * 2).min(super::link::WAITS.1);
                }
            }
        }
    }

    async fn heard(&mut self, publish: Publish) {
        let Some(message) = message(publish) else { return };
        // `a/#` is also `a`, which `a.>` is not.
        if self.filter.matches(&message.subject)
            && let Err(error) = self.queue.publish(vec![message]).await
        {
            tracing::error!(report = error.report(), "a listener's queue has ended");
        }
    }
}

/// A message as it was published; `None` if somebody else published it, to a topic that is no subject.
fn message(publish: Publish) -> Option<Message> {
    let topic = std::str::from_utf8(&publish.topic).ok()?;
    // A topic with a dot is not one of ours, and must not look like one.
    let subject = (!topic.contains('.')).then(|| topic.replace('/', "."))?.parse::<Subject>().ok()?;
    let headers = publish.properties.map(|properties| properties.user_properties).unwrap_or_default();
    Some(Message { subject, headers, payload: publish.payload })
}

/// What a broker calls a filter.
fn topic(filter: &Filter) -> String {
    let tokens = filter.as_str().split('.').map(|token| match token {
        "*" => "+",
        ">" => "#",
        token => token,
    });
    tokens.collect::<Vec<_>>().join("/")
}
