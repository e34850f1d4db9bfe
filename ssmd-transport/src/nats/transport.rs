//! NATS core as transport: whoever listens now hears it, and nothing is kept.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Subscriber};
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use ssmd_core::{
    Delivery, Error, ErrorKind, Filter, Message, Result, Subject, Subscription, Tasks, Transport,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::connect::Connection;

/// The most messages that wait for one listener: a second of a very busy feed.
const QUEUE_MESSAGES_MAX: usize = 65_536;
/// The most payload that waits for one listener, in bytes. One message waits even if it is larger.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most listeners of one transport: each is a task.
const LISTENERS_MAX: usize = 1024;
/// How long the server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What the server and its clients tell one another under such subjects is no message.
const INNER: [&str; 2] = ["_INBOX.", "$"];

/// NATS core as transport.
///
/// A listener that is too slow loses its oldest messages, and is told how many. What is sent while a listener's
/// connection is away is gone and is not counted; the connection is made again, and the log says so. A message that
/// is larger than the server takes, and a header that does not come back as it is (line breaks, white space at its
/// ends), are refused as `Invalid`. At [`LISTENERS_MAX`] listeners a further one is refused as `Full`.
pub struct NatsTransport {
    connection: Connection,
    messages_max: usize,
    listeners: Arc<AtomicUsize>,
    ended: CancellationToken,
}

impl Connection {
    /// NATS core over this connection.
    pub fn transport(&self) -> NatsTransport {
        self.transport_bounded(QUEUE_MESSAGES_MAX)
    }

    /// NATS core over this connection, with queues of at most `messages_max` messages for each listener.
    pub fn transport_bounded(&self, messages_max: usize) -> NatsTransport {
        let (listeners, ended) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        NatsTransport { connection: self.clone(), messages_max, listeners, ended }
    }
}

impl NatsTransport {
    /// How many listen now.
    pub fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }

    /// Ends the transport: nothing more is published, and listeners end when they have read what came for them.
    pub fn close(&self) {
        self.ended.cancel();
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        if self.ended.is_cancelled() {
            return Err(Error::new(ErrorKind::Unavailable, operation).detail("the transport has ended"));
        }
        if !self.connection.is_connected() {
            return Err(Error::new(ErrorKind::Unavailable, operation).detail("the connection is away"));
        }
        Ok(())
    }
}

impl Drop for NatsTransport {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Transport for NatsTransport {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        let operation = "publish to NATS";
        self.check(operation)?;
        let client = &self.connection.client;
        for message in batch {
            let subject = message.subject.as_str().to_owned();
            let headers = to_headers(&message.headers)?;
            let sent = match headers {
                Some(headers) => client.publish_with_headers(subject, headers, message.payload).await,
                None => client.publish(subject, message.payload).await,
            };
            sent.map_err(|cause| {
                let too_large = cause.kind() == async_nats::client::PublishErrorKind::MaxPayloadExceeded;
                let kind = if too_large { ErrorKind::Invalid } else { ErrorKind::Unavailable };
                Error::new(kind, operation).with("subject", &message.subject).because(cause)
            })?;
        }
        Ok(())
    }

    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        let operation = "subscribe to NATS";
        self.check(operation)?;
        let listeners = Listening::enter(&self.listeners)?;
        let failed =
            |cause| Error::new(ErrorKind::Unavailable, operation).with("filter", filter).because(cause);
        let heard = self.connection.client.subscribe(filter.as_str().to_owned()).await.map_err(failed)?;
        // The server has taken the subscription when it has answered what was sent behind it.
        self.connection.echo().await?;
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            changed: Notify::new(),
            messages_max: self.messages_max,
        });
        let mut tasks = Tasks::new();
        tasks.spawn(
            "nats listener",
            listen(self.connection.clone(), heard, queue.clone(), self.ended.clone()),
        );
        Ok(Box::new(Listener { queue, _tasks: tasks, _listening: listeners }))
    }

    async fn flush(&self) -> Result<()> {
        let operation = "flush NATS";
        let late = self.connection.clock.sleep(ANSWER_WITHIN);
        tokio::select! {
            biased;
            flushed = self.connection.client.flush() => {
                flushed.map_err(|cause| Error::new(ErrorKind::Unavailable, operation).because(cause))
            }
            () = late => Err(Error::new(ErrorKind::Unavailable, operation).detail("no answer in time")),
        }
    }
}

impl Connection {
    /// Asks the server for an answer, behind everything that was sent before over this connection.
    ///
    /// # Errors
    /// `Unavailable` if none comes in time.
    pub(super) async fn echo(&self) -> Result<()> {
        let unavailable = || Error::new(ErrorKind::Unavailable, "ask NATS");
        let asked = async {
            let inbox = self.client.new_inbox();
            let mut answer =
                self.client.subscribe(inbox.clone()).await.map_err(|cause| unavailable().because(cause))?;
            let sent = self.client.publish(inbox, "".into()).await;
            sent.map_err(|cause| unavailable().because(cause))?;
            answer.next().await.map(drop).ok_or_else(unavailable)
        };
        tokio::select! {
            biased;
            answered = asked => answered,
            () = self.clock.sleep(ANSWER_WITHIN) => Err(unavailable().detail("no answer in time")),
        }
    }
}

/// Counts a listener for as long as it lives.
struct Listening(Arc<AtomicUsize>);

impl Listening {
    fn enter(listeners: &Arc<AtomicUsize>) -> Result<Self> {
        let room = |count| (count < LISTENERS_MAX).then_some(count + 1);
        listeners.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).map_err(|_| {
            Error::new(ErrorKind::Full, "subscribe to NATS").with("listeners_max", LISTENERS_MAX)
        })?;
        Ok(Self(listeners.clone()))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What waits for one listener.
struct Queue {
    state: Mutex<Waiting>,
    changed: Notify,
    messages_max: usize,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    lost: u64,
    ended: bool,
}

impl Queue {
    fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, message: Message) {
        self.change(|waiting| {
            waiting.bytes += message.payload.len();
            waiting.messages.push_back(message);
            while waiting.messages.len() > self.messages_max
                || waiting.bytes > QUEUE_BYTES_MAX && waiting.messages.len() > 1
            {
                waiting.pop();
                waiting.lost += 1;
            }
        });
        self.changed.notify_one();
    }

    fn end(&self) {
        self.change(|waiting| waiting.ended = true);
        self.changed.notify_one();
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.payload.len();
        Some(message)
    }
}

/// Moves what comes into the listener's queue, so that the client's own, which does not count what it drops, stays
/// empty.
async fn listen(
    connection: Connection,
    mut heard: Subscriber,
    queue: Arc<Queue>,
    ended: CancellationToken,
) -> Result<()> {
    loop {
        tokio::select! {
            biased;
            message = heard.next() => match message {
                Some(message) => take(&queue, message),
                None => break,
            },
            () = ended.cancelled() => {
                // What was sent before the end is here once the server has answered; if it does not, no more comes.
                let _ = connection.echo().await;
                while let Some(Some(message)) = heard.next().now_or_never() {
                    take(&queue, message);
                }
                break;
            }
        }
    }
    queue.end();
    Ok(())
}

fn take(queue: &Queue, message: async_nats::Message) {
    let text = message.subject.as_str();
    if INNER.iter().any(|inner| text.starts_with(inner)) {
        return;
    }
    // What is published past us may have subjects that none of ours has: no filter of ours speaks of them.
    let Ok(subject) = text.parse::<Subject>() else { return };
    let headers = message.headers.as_ref().map(from_headers).unwrap_or_default();
    queue.push(Message { subject, headers, payload: message.payload });
}

fn to_headers(headers: &[(String, String)]) -> Result<Option<HeaderMap>> {
    if headers.is_empty() {
        return Ok(None);
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let invalid =
            || Error::new(ErrorKind::Invalid, "publish to NATS").with("header", name.escape_debug());
        let read = HeaderValue::from_str(value).ok().filter(|_| value.trim() == value);
        let name = HeaderName::from_str(name).map_err(|_| invalid())?;
        map.append(name, read.ok_or_else(invalid)?);
    }
    Ok(Some(map))
}

fn from_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let each = headers.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    each.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

struct Listener {
    queue: Arc<Queue>,
    /// Ends the task, and with it the subscription, when the listener is dropped.
    _tasks: Tasks,
    _listening: Listening,
}

#[async_trait]
impl Subscription for Listener {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            let given = self.queue.change(|waiting| {
                if waiting.lost > 0 {
                    return Some(Ok(Delivery::Lost(std::mem::take(&mut waiting.lost))));
                }
                if let Some(message) = waiting.pop() {
                    return Some(Ok(Delivery::Message(message)));
                }
                waiting.ended.then(|| Err(Error::new(ErrorKind::Closed, "listen to NATS")))
            });
            match given {
                Some(given) => return given,
                None => self.queue.changed.notified().await,
            }
        }
    }
}
