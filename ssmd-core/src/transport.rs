//! A transport tells whoever listens, now; it keeps nothing.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Filter, Result, Subject};

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub subject: Subject,
    /// What is known about the payload; the payload itself is never edited to carry it.
    pub headers: Vec<(String, String)>,
    /// What.
    pub payload: Bytes,
}

/// Live fan-out.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends messages, in order, to whoever is subscribed now: each at most once to each. That nobody is, is no
    /// error. Subject, headers and payload arrive unchanged, except for the order of the headers. A slow listener
    /// holds up neither the publisher nor the other listeners.
    ///
    /// # Errors
    /// `Unavailable` if they could not be handed over; then none, some or all of them were sent.
    ///
    /// # Cancel safety
    /// Dropping the future may leave any first part of the batch sent.
    async fn publish(&self, batch: Vec<Message>) -> Result<()>;

    /// Listens, from when this returns, to every subject that `filter` matches.
    ///
    /// # Errors
    /// `Unavailable` if the other side cannot be reached; `Full` at the bound that the backend documents.
    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>>;

    /// Resolves when everything published before has left this process.
    ///
    /// # Errors
    /// `Unavailable` if that can no longer happen.
    async fn flush(&self) -> Result<()>;
}

/// One listener. Dropping it stops listening.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next message, or for the news that this listener was too slow and lost some: what it received
    /// and what it lost add up to what was sent.
    ///
    /// # Errors
    /// `Closed` when the transport has ended and all that waited for this listener was given out.
    ///
    /// # Cancel safety
    /// Safe: dropping the future loses no message.
    async fn next(&mut self) -> Result<Delivery>;
}

/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// This many messages did not fit into the listener's bounded queue and are gone.
    Lost(u64),
}
