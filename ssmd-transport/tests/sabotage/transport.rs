//! The transport in memory, and how it may be broken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::conformance::transport::Harness;
use ssmd_core::{Delivery, Error, ErrorKind, Filter, Message, Result, Subscription, Transport};
use ssmd_transport::memory::MemoryTransport;
use tokio::task::yield_now;

use crate::sabotage;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    LosesHeaders,
    MendsText,
    ReversesBatches,
    SendsTwice,
    GivesEachToOne,
    WildcardsMatchMore,
    ListensLate,
    KeepsTheLast,
    RefusesWithoutListeners,
    SendsTheLastFirst,
    LosesSilently,
    TellsOneTooFew,
    WaitsForTheSlow,
    YieldsAfterTaking,
    NeverWakes,
    ListensForEver,
    FlushForgets,
    NeverEnds,
    EndsAtOnce,
    TellsOnlyItsOwn,
}

const QUEUE_MESSAGES: usize = 1000;

struct Faulty {
    inner: Arc<MemoryTransport>,
    kept: Arc<Mutex<Kept>>,
    fault: Fault,
}

#[derive(Default)]
struct Kept {
    last: Option<Message>,
    published: u64,
    subscribed: u64,
    closed: bool,
    /// Subscriptions that were not dropped.
    for_ever: Vec<Box<dyn Subscription>>,
}

impl Faulty {
    fn broken(&self, mut batch: Vec<Message>) -> Vec<Message> {
        match self.fault {
            Fault::LosesHeaders => batch.iter_mut().for_each(|message| message.headers.clear()),
            Fault::MendsText => batch.iter_mut().for_each(|message| {
                message.payload = Bytes::from(String::from_utf8_lossy(&message.payload).into_owned());
            }),
            Fault::ReversesBatches => batch.reverse(),
            Fault::SendsTwice => batch = batch.iter().flat_map(|m| [m.clone(), m.clone()]).collect(),
            Fault::FlushForgets => batch.truncate(64),
            _ => {}
        }
        batch
    }
}

#[async_trait]
impl Transport for Faulty {
    async fn publish(&self, batch: Vec<Message>) -> Result<()> {
        let batch = self.broken(batch);
        {
            let mut kept = self.kept.lock().unwrap();
            kept.published += batch.len() as u64;
            kept.last = batch.last().cloned().or(kept.last.take());
        }
        match self.fault {
            Fault::RefusesWithoutListeners if self.inner.listeners() == 0 => {
                return Err(Error::new(ErrorKind::Unavailable, "publish"));
            }
            Fault::SendsTheLastFirst => {
                for message in batch.into_iter().rev() {
                    self.inner.publish(vec![message]).await?;
                    yield_now().await;
                }
                return Ok(());
            }
            Fault::WaitsForTheSlow if self.kept.lock().unwrap().published > QUEUE_MESSAGES as u64 => {
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        self.inner.publish(batch).await
    }

    async fn subscribe(&self, filter: &Filter) -> Result<Box<dyn Subscription>> {
        let asked = match self.fault {
            Fault::WildcardsMatchMore => filter.as_str().replace('*', ">").parse().unwrap_or(filter.clone()),
            _ => filter.clone(),
        };
        let inner = self.inner.subscribe(&asked).await?;
        let mut kept = self.kept.lock().unwrap();
        kept.subscribed += 1;
        let mut ready = VecDeque::new();
        if self.fault == Fault::KeepsTheLast {
            ready.extend(kept.last.clone().filter(|message| filter.matches(&message.subject)));
        }
        let at = kept.subscribed;
        let kept = self.kept.clone();
        Ok(Box::new(Listens { inner: Some(inner), ready, kept, at, heard: 0, fault: self.fault }))
    }

    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }
}

struct Listens {
    inner: Option<Box<dyn Subscription>>,
    ready: VecDeque<Message>,
    kept: Arc<Mutex<Kept>>,
    /// Which subscription of the transport it is, from 1.
    at: u64,
    heard: u64,
    fault: Fault,
}

impl Listens {
    async fn inner(&mut self) -> Result<Delivery> {
        let Some(inner) = &mut self.inner else { return Err(Error::new(ErrorKind::Closed, "listen")) };
        let mut next = inner.next();
        if self.fault != Fault::NeverWakes {
            return next.await;
        }
        let waker = std::task::Waker::noop();
        std::future::poll_fn(|_| next.as_mut().poll(&mut std::task::Context::from_waker(waker))).await
    }
}

#[async_trait]
impl Subscription for Listens {
    async fn next(&mut self) -> Result<Delivery> {
        if let Some(message) = self.ready.pop_front() {
            return Ok(Delivery::Message(message));
        }
        if self.fault == Fault::EndsAtOnce && self.kept.lock().unwrap().closed {
            return Err(Error::new(ErrorKind::Closed, "listen"));
        }
        loop {
            let delivery = self.inner().await;
            self.heard += 1;
            match (self.fault, delivery) {
                (Fault::ListensLate, _) if self.heard == 1 => {}
                (Fault::GivesEachToOne, Ok(_)) if self.heard % 20 != self.at % 20 => {}
                (Fault::LosesSilently, Ok(Delivery::Lost(_))) => {}
                (Fault::TellsOneTooFew, Ok(Delivery::Lost(count))) => return Ok(Delivery::Lost(count - 1)),
                (Fault::NeverEnds, Err(_)) => std::future::pending().await,
                (Fault::YieldsAfterTaking, delivery) => {
                    yield_now().await;
                    return delivery;
                }
                (_, delivery) => return delivery,
            }
        }
    }
}

impl Drop for Listens {
    fn drop(&mut self) {
        if self.fault == Fault::ListensForEver {
            self.kept.lock().unwrap().for_ever.extend(self.inner.take());
        }
    }
}

struct FaultyHarness {
    inner: Arc<MemoryTransport>,
    kept: Arc<Mutex<Kept>>,
    fault: Fault,
}

impl FaultyHarness {
    fn new(fault: Fault) -> Self {
        Self { inner: Arc::new(MemoryTransport::bounded(QUEUE_MESSAGES)), kept: Arc::default(), fault }
    }

    fn transport(&self, inner: Arc<MemoryTransport>) -> Arc<dyn Transport> {
        Arc::new(Faulty { inner, kept: self.kept.clone(), fault: self.fault })
    }
}

#[async_trait]
impl Harness for FaultyHarness {
    async fn open(&mut self) -> Result<Arc<dyn Transport>> {
        Ok(self.transport(self.inner.clone()))
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Transport>>> {
        let own = Arc::new(MemoryTransport::new());
        let heard = if self.fault == Fault::TellsOnlyItsOwn { own } else { self.inner.clone() };
        Ok(Some(self.transport(heard)))
    }

    async fn close(&mut self) -> Result<bool> {
        self.kept.lock().unwrap().closed = true;
        self.inner.close();
        Ok(true)
    }

    fn listeners(&self) -> Option<usize> {
        Some(self.inner.listeners())
    }

    fn overflow_messages(&self) -> Option<u64> {
        Some(3 * QUEUE_MESSAGES as u64)
    }
}

sabotage! { transport, FaultyHarness, Fault;
    messages_come_back_identical: [LosesHeaders, MendsText]
    messages_keep_their_order: [ReversesBatches]
    each_message_comes_at_most_once: [SendsTwice]
    every_listener_gets_every_message: [GivesEachToOne]
    filters_match_tokens_and_wildcards: [WildcardsMatchMore]
    a_listener_hears_from_when_subscribe_returns: [ListensLate]
    nothing_is_kept_for_later_listeners: [KeepsTheLast]
    publishing_to_nobody_is_no_error: [RefusesWithoutListeners]
    a_dropped_publish_sends_a_first_part: [SendsTheLastFirst]
    a_slow_listener_is_told_exactly_how_many_it_lost: [LosesSilently, TellsOneTooFew]
    a_slow_listener_does_not_disturb_others: [WaitsForTheSlow]
    a_dropped_next_loses_nothing: [YieldsAfterTaking]
    a_waiting_listener_wakes_up: [NeverWakes]
    a_dropped_subscription_stops_listening: [ListensForEver]
    flush_resolves_when_everything_has_left: [FlushForgets]
    a_closed_transport_ends_its_listeners: [NeverEnds, EndsAtOnce]
    other_processes_hear_what_is_published: [TellsOnlyItsOwn]
}
