//! A transport in memory: every listener has a bounded queue of its own, and loses the oldest when it is slow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ssmd_core::{Delivery, Error, ErrorKind, Filter, Message, Result, Subscription, Transport};
use tokio::sync::Notify;

/// The most messages that wait for one listener: a second of a very busy feed.
pub const QUEUE_MESSAGES_MAX: usize = 65_536;
/// The most payload that waits for one listener, in bytes. One message waits even if it is larger.
pub const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most listeners of one transport: each costs a filter match for every message.
pub const LISTENERS_MAX: usize = 4096;

/// Live fan-out within one process.
///
/// Publishing never waits: a listener that is too slow loses its oldest messages, and is told how many before it
/// gets the next one. The messages of one `publish` come to each listener without others in between. Dropping or
/// closing the transport ends its listeners once they have read what waits for them.
#[derive(Debug, Default)]
pub struct MemoryTransport {
    shared: Arc<Mutex<Listeners>>,
    limits: Limits,
}

impl MemoryTransport {
    /// A transport without listeners, with queues of [`QUEUE_MESSAGES_MAX`] and [`QUEUE_BYTES_MAX`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A transport whose listeners' queues hold at most `messages_max` messages.
    pub fn bounded(messages_max: usize) -> Self {
        let limits = Limits { messages_max: messages_max.max(1), ..Limits::default() };
        Self { shared: Arc::default(), limits }
    }

    /// How many listen now.
    pub fn listeners(&self) -> usize {
        lock(&self.shared).open.len()
    }

    /// Ends the transport: nothing more is published, and listeners end when they have read what waits for them.
    pub fn close(&self) {
        let mut listeners = lock(&self.shared);
        listeners.closed = true;
        for listener in std::mem::take(&mut listeners.open).into_values() {
            lock(&listener.queue).closed = true;
            listener.arrived.notify_one();
        }
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        let listeners = lock(&self.shared);
        if listeners.closed {
            return Err(ended("publish to memory transport"));
        }
        for message in batch.into_iter().map(Arc::new) {
            for listener in listeners.open.values() {
                if listener.filter.matches(&message.subject) {
                    lock(&listener.queue).push(message.clone(), self.limits);
                    listener.arrived.notify_one();
                }
            }
        }
        Ok(())
    }

    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        let operation = "subscribe to memory transport";
        let mut listeners = lock(&self.shared);
        if listeners.closed {
            return Err(ended(operation));
        }
        if listeners.open.len() >= LISTENERS_MAX {
            return Err(Error::new(ErrorKind::Full, operation).with("listeners_max", LISTENERS_MAX));
        }
        let id = listeners.next_id;
        listeners.next_id += 1;
        let listener = Arc::new(Listener {
            filter: filter.clone(),
            queue: Mutex::new(Queue::default()),
            arrived: Notify::new(),
        });
        listeners.open.insert(id, listener.clone());
        Ok(Box::new(MemorySubscription { id, listener, shared: self.shared.clone() }))
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn ended(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation).detail("the transport was closed")
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    messages_max: usize,
    bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages_max: QUEUE_MESSAGES_MAX, bytes_max: QUEUE_BYTES_MAX }
    }
}

#[derive(Debug, Default)]
struct Listeners {
    open: BTreeMap<u64, Arc<Listener>>,
    next_id: u64,
    closed: bool,
}

#[derive(Debug)]
struct Listener {
    filter: Filter,
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    /// Messages lost before the first of `messages`.
    lost: u64,
    closed: bool,
}

impl Queue {
    fn push(&mut self, message: Arc<Message>, limits: Limits) {
        self.bytes += cost(&message);
        self.messages.push_back(message);
        let is_over = |queue: &Self| {
            queue.messages.len() > limits.messages_max
                || (queue.bytes > limits.bytes_max && queue.messages.len() > 1)
        };
        while is_over(self) {
            self.pop();
            self.lost += 1;
        }
    }

    fn pop(&mut self) -> Option<Arc<Message>> {
        let message = self.messages.pop_front()?;
        self.bytes -= cost(&message);
        Some(message)
    }

    /// What the listener gets now, if there is anything.
    fn deliver(&mut self) -> Option<Result<Delivery>> {
        if self.lost > 0 {
            return Some(Ok(Delivery::Lost(std::mem::take(&mut self.lost))));
        }
        match self.pop() {
            Some(message) => Some(Ok(Delivery::Message(Arc::unwrap_or_clone(message)))),
            None if self.closed => Some(Err(Error::new(ErrorKind::Closed, "listen to memory transport"))),
            None => None,
        }
    }
}

fn cost(message: &Message) -> usize {
    let headers = message.headers.iter().map(|(name, value)| name.len() + value.len());
    message.payload.len() + headers.sum::<usize>()
}

struct MemorySubscription {
    id: u64,
    listener: Arc<Listener>,
    shared: Arc<Mutex<Listeners>>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            // The queue is looked at first each time, so a wake-up that a dropped future took along is not missed.
            if let Some(delivery) = lock(&self.listener.queue).deliver() {
                return delivery;
            }
            self.listener.arrived.notified().await;
        }
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        lock(&self.shared).open.remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
