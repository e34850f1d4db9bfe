//! What every [`Transport`] promises.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::support::{Case, POLLS, Stop, able, attempt, ensure, equal, noise, refused};
use crate::{Delivery, ErrorKind, Filter, Message, Result, Subscription, Transport};

/// Makes the transport of one case, and does to it what the trait cannot say. The defaults mean "cannot".
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens a fresh transport. Called once, before anything else.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn open(&mut self) -> Result<Arc<dyn Transport>>;

    /// A second handle to the open transport, as another process would have it.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn observe(&mut self) -> Result<Option<Arc<dyn Transport>>> {
        Ok(None)
    }

    /// Ends the open transport while handles to it are alive. Says whether it can.
    ///
    /// # Errors
    /// As the backend's own; the case fails.
    async fn close(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// How many listeners the open transport has now; `None` if it cannot tell.
    fn listeners(&self) -> Option<usize> {
        None
    }

    /// More small messages than a listener's queue surely holds; `None` if that would take too long.
    fn overflow_messages(&self) -> Option<u64> {
        None
    }
}

/// The harness of a transport without further abilities.
pub struct Plain(pub Arc<dyn Transport>);

#[async_trait]
impl Harness for Plain {
    async fn open(&mut self) -> Result<Arc<dyn Transport>> {
        Ok(self.0.clone())
    }
}

/// The list of promises, handed to another macro: the one place where they are named.
#[doc(hidden)]
#[macro_export]
macro_rules! __transport_promises {
    ($then:ident [$($with:tt)*]) => {
        $crate::$then! { [$($with)*]
            messages_come_back_identical
            messages_keep_their_order
            each_message_comes_at_most_once
            every_listener_gets_every_message
            filters_match_tokens_and_wildcards
            a_listener_hears_from_when_subscribe_returns
            nothing_is_kept_for_later_listeners
            publishing_to_nobody_is_no_error
            a_dropped_publish_sends_a_first_part
            a_slow_listener_is_told_exactly_how_many_it_lost
            a_slow_listener_does_not_disturb_others
            a_dropped_next_loses_nothing
            a_waiting_listener_wakes_up
            a_dropped_subscription_stops_listening
            flush_resolves_when_everything_has_left
            a_closed_transport_ends_its_listeners
            other_processes_hear_what_is_published
        }
    };
}
crate::__transport_promises!(__conformance_promises[Harness]);

/// One test for each promise of [`Transport`]: `transport_conformance!(module_name, async { harness })`.
///
/// See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! transport_conformance {
    ($module:ident, $make:expr) => {
        $crate::transport_conformance!($module, $make, |_: &str, _: &$crate::conformance::Verdict| {});
    };
    ($module:ident, $make:expr, $told:expr) => {
        $crate::__transport_promises! { __conformance_tests [transport, $module, $make, $told] }
    };
}

fn message(subject: &str, payload: impl Into<Bytes>) -> Case<Message> {
    Ok(Message { subject: subject.parse()?, headers: Vec::new(), payload: payload.into() })
}

/// Messages that say their number: `from..to`.
fn numbered(subject: &str, from: u64, to: u64) -> Case<Vec<Message>> {
    (from..to).map(|at| message(subject, at.to_string())).collect()
}

fn number(message: &Message) -> Case<u64> {
    let text = std::str::from_utf8(&message.payload).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Stop::Broken(format!("not published: {message:?}")))
}

async fn subscribe(transport: &dyn Transport, filter: &str) -> Case<Box<dyn Subscription>> {
    let filter: Filter = filter.parse()?;
    Ok(transport.subscribe(&filter).await?)
}

async fn next_message(subscription: &mut dyn Subscription) -> Case<Message> {
    match subscription.next().await? {
        Delivery::Message(message) => Ok(message),
        Delivery::Lost(count) => Err(Stop::Broken(format!("a listener that kept up lost {count}"))),
    }
}

/// The numbers of the next `count` messages.
async fn heard(subscription: &mut dyn Subscription, count: usize) -> Case<Vec<u64>> {
    let mut numbers = Vec::with_capacity(count);
    while numbers.len() < count {
        numbers.push(number(&next_message(subscription).await?)?);
    }
    Ok(numbers)
}

fn list(from: u64, to: u64) -> Vec<u64> {
    (from..to).collect()
}

async fn messages_come_back_identical(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let mut subscription = subscribe(&*transport, ">").await?;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut messages = vec![
        message("dev.kraken.json.trade.BTC~2FUSD", "{\"a\":1}\n")?,
        message("one", Bytes::new())?,
        message("dev.binary", every_byte)?,
        message("dev.large", noise(1, 256 * 1024))?,
    ];
    messages[0].headers = vec![header("ssmd-session", "1"), header("ssmd-index", "18446744073709551615")];
    messages[1].headers = vec![header("z", "spaces and : and = inside"), header("a", "~2F")];
    transport.publish(messages.clone()).await?;
    for mut must in messages {
        let mut got = next_message(&mut *subscription).await?;
        // A header is found by its name; their order means nothing.
        must.headers.sort();
        got.headers.sort();
        equal("message", got, must)?;
    }
    Ok(())
}

async fn messages_keep_their_order(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let mut subscription = subscribe(&*transport, "dev.>").await?;
    let mut at = 0;
    for size in (1..=5).cycle().take(50) {
        let subject = format!("dev.{}", at % 3);
        transport.publish(numbered(&subject, at, at + size)?).await?;
        at += size;
    }
    equal("messages in order", heard(&mut *subscription, at as usize).await?, list(0, at))
}

/// What tells a listener that everything published before it has come.
const END: u64 = 1_000_000;

async fn each_message_comes_at_most_once(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let mut subscriptions = Vec::new();
    for filter in ["dev.a", "dev.*", ">"] {
        subscriptions.push(subscribe(&*transport, filter).await?);
    }
    transport.publish(numbered("dev.a", 0, 20)?).await?;
    transport.publish(numbered("dev.a", END, END + 1)?).await?;
    for subscription in &mut subscriptions {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&END) {
            numbers.extend(heard(&mut **subscription, 1).await?);
        }
        numbers.pop();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        equal("different messages among those heard", numbers.len(), count)?;
    }
    Ok(())
}

async fn every_listener_gets_every_message(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let mut subscriptions = Vec::new();
    for _ in 0..20 {
        subscriptions.push(subscribe(&*transport, "dev.a").await?);
    }
    transport.publish(numbered("dev.a", 0, 30)?).await?;
    for subscription in &mut subscriptions {
        equal("messages", heard(&mut **subscription, 30).await?, list(0, 30))?;
    }
    Ok(())
}

async fn filters_match_tokens_and_wildcards(harness: &mut dyn Harness) -> Case {
    const END_SUBJECT: &str = "the-end";
    let transport = harness.open().await?;
    let subjects = [
        "dev",
        "dev.kraken",
        "dev.kraken.json",
        "dev.kraken.json.trade.BTC~2FUSD",
        "dev.kalshi",
        "devel.kraken",
    ];
    for filter in [
        "dev",
        "dev.*",
        "dev.>",
        ">",
        "*",
        "*.kraken",
        "dev.*.json",
        "*.*",
        "dev.kraken.json.trade.BTC~2FUSD",
    ] {
        let matches: Filter = filter.parse()?;
        let mut subscription = subscribe(&*transport, filter).await?;
        let mut end = subscribe(&*transport, END_SUBJECT).await?;
        let mut must = Vec::new();
        for subject in subjects.into_iter().chain([END_SUBJECT]) {
            let sent = message(subject, "x")?;
            if matches.matches(&sent.subject) {
                must.push(sent.clone());
            }
            transport.publish(vec![sent]).await?;
        }
        next_message(&mut *end).await?;
        let mut got = Vec::new();
        while got.len() < must.len() {
            got.push(next_message(&mut *subscription).await?);
        }
        equal(filter, got, must)?;
        let more = attempt(subscription.next(), POLLS).await;
        ensure(more.is_none(), || format!("{filter} does not match, and got {more:?}"))?;
    }
    Ok(())
}

async fn a_listener_hears_from_when_subscribe_returns(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    for round in 0..20 {
        let mut subscription = subscribe(&*transport, "dev.a").await?;
        transport.publish(numbered("dev.a", round, round + 1)?).await?;
        equal("messages", heard(&mut *subscription, 1).await?, vec![round])?;
    }
    Ok(())
}

async fn nothing_is_kept_for_later_listeners(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let mut earlier = subscribe(&*transport, "dev.a").await?;
    transport.publish(numbered("dev.a", 0, 5)?).await?;
    transport.flush().await?;
    equal("messages", heard(&mut *earlier, 5).await?, list(0, 5))?;
    let mut later = subscribe(&*transport, "dev.a").await?;
    transport.publish(numbered("dev.a", 5, 6)?).await?;
    equal("the first message of a later listener", heard(&mut *later, 1).await?, vec![5])
}

async fn publishing_to_nobody_is_no_error(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    transport.publish(Vec::new()).await?;
    transport.publish(numbered("dev.a", 0, 5)?).await?;
    let mut subscription = subscribe(&*transport, "dev.a").await?;
    transport.publish(Vec::new()).await?;
    transport.publish(numbered("dev.b", 0, 5)?).await?;
    transport.publish(numbered("dev.a", 5, 6)?).await?;
    equal("messages", heard(&mut *subscription, 1).await?, vec![5])
}

async fn a_dropped_publish_sends_a_first_part(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    for polls in 0..6 {
        let mut subscription = subscribe(&*transport, "dev.a").await?;
        let sent = attempt(transport.publish(numbered("dev.a", 0, 50)?), polls).await.transpose()?;
        transport.publish(numbered("dev.a", END, END + 1)?).await?;
        let mut numbers = Vec::new();
        while numbers.last() != Some(&END) {
            numbers.extend(heard(&mut *subscription, 1).await?);
        }
        numbers.pop();
        let part = list(0, numbers.len() as u64);
        equal("messages of a dropped publish", &numbers, &part)?;
        ensure(sent.is_none() || numbers.len() == 50, || format!("{} of 50 were sent", numbers.len()))?;
    }
    Ok(())
}

/// Reads until message `end`; gives how many came and how many were lost, after checking their order.
async fn count(subscription: &mut dyn Subscription, from: u64, end: u64) -> Case<(u64, u64)> {
    let (mut received, mut lost, mut last) = (0, 0, None);
    loop {
        match subscription.next().await? {
            Delivery::Lost(count) => {
                ensure(count > 0, || "told of a loss of none".into())?;
                lost += count;
            }
            Delivery::Message(message) => {
                let number = number(&message)?;
                ensure(number >= from && Some(number) > last, || format!("{number} came after {last:?}"))?;
                last = Some(number);
                received += 1;
            }
        }
        if last == Some(end) || received + lost > end - from {
            return Ok((received, lost));
        }
    }
}

async fn a_slow_listener_is_told_exactly_how_many_it_lost(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let sent = able(harness.overflow_messages(), "overflow a listener")?;
    let mut subscription = subscribe(&*transport, "dev.a").await?;
    for round in 0..2 {
        let (from, to) = (round * sent, (round + 1) * sent);
        for start in (from..to).step_by(100) {
            transport.publish(numbered("dev.a", start, to.min(start + 100))?).await?;
        }
        transport.flush().await?;
        let (received, lost) = count(&mut *subscription, from, to - 1).await?;
        ensure(lost > 0, || format!("lost nothing of {sent}: the queue has no bound"))?;
        equal("messages received and lost", received + lost, sent)?;
        let more = attempt(subscription.next(), POLLS).await;
        ensure(more.is_none(), || format!("more than was sent: {more:?}"))?;
    }
    transport.publish(numbered("dev.a", END, END + 1)?).await?;
    equal("messages after a loss", heard(&mut *subscription, 1).await?, vec![END])
}

async fn a_slow_listener_does_not_disturb_others(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let sent = able(harness.overflow_messages(), "overflow a listener")?;
    let _slow = subscribe(&*transport, "dev.a").await?;
    let mut quick = subscribe(&*transport, "dev.a").await?;
    for at in (0..sent).step_by(50) {
        transport.publish(numbered("dev.a", at, at + 50)?).await?;
        equal("messages", heard(&mut *quick, 50).await?, list(at, at + 50))?;
    }
    Ok(())
}

async fn a_dropped_next_loses_nothing(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let mut subscription = subscribe(&*transport, "dev.a").await?;
    let mut numbers = Vec::new();
    let mut keep = |delivery: Option<Delivery>| match delivery {
        None => Ok(()),
        Some(Delivery::Message(message)) => number(&message).map(|number| numbers.push(number)),
        Some(Delivery::Lost(count)) => Err(Stop::Broken(format!("lost {count}"))),
    };
    for at in 0..60 {
        keep(attempt(subscription.next(), at as usize % 4).await.transpose()?)?;
        transport.publish(numbered("dev.a", at, at + 1)?).await?;
        keep(attempt(subscription.next(), at as usize % 3).await.transpose()?)?;
    }
    let left = 60_usize.saturating_sub(numbers.len());
    numbers.extend(heard(&mut *subscription, left).await?);
    equal("messages", numbers, list(0, 60))
}

async fn a_waiting_listener_wakes_up(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let mut subscription = subscribe(&*transport, "dev.a").await?;
    for at in 0..20 {
        let publish = async {
            // The listener waits by now: `join` polls it first.
            tokio::task::yield_now().await;
            transport.publish(numbered("dev.a", at, at + 1)?).await?;
            Ok::<_, Stop>(())
        };
        let (heard, published) = tokio::join!(biased; heard(&mut *subscription, 1), publish);
        published?;
        equal("messages", heard?, vec![at])?;
    }
    Ok(())
}

async fn a_dropped_subscription_stops_listening(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let before = able(harness.listeners(), "tell how many listen")?;
    let (first, second) = (subscribe(&*transport, ">").await?, subscribe(&*transport, ">").await?);
    equal("listeners", harness.listeners(), Some(before + 2))?;
    drop(first);
    equal("listeners after one was dropped", harness.listeners(), Some(before + 1))?;
    transport.publish(numbered("dev.a", 0, 1)?).await?;
    drop(second);
    equal("listeners after both were dropped", harness.listeners(), Some(before))
}

async fn flush_resolves_when_everything_has_left(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let listener = harness.observe().await?.unwrap_or_else(|| transport.clone());
    transport.flush().await?;
    let mut subscription = subscribe(&*listener, "dev.a").await?;
    transport.publish(numbered("dev.a", 0, 100)?).await?;
    transport.flush().await?;
    // Nothing is left to be sent: the publisher may go.
    drop(transport);
    equal("messages", heard(&mut *subscription, 100).await?, list(0, 100))
}

async fn a_closed_transport_ends_its_listeners(harness: &mut dyn Harness) -> Case {
    let transport = harness.open().await?;
    let mut subscription = subscribe(&*transport, "dev.a").await?;
    let mut waiting = subscribe(&*transport, "dev.b").await?;
    ensure(attempt(waiting.next(), POLLS).await.is_none(), || "heard what was not published".into())?;
    transport.publish(numbered("dev.a", 0, 3)?).await?;
    transport.flush().await?;
    able(harness.close().await?.then_some(()), "close the transport under its handles")?;
    equal("messages", heard(&mut *subscription, 3).await?, list(0, 3))?;
    refused("next behind the end", subscription.next().await, ErrorKind::Closed)?;
    refused("next that waited", waiting.next().await, ErrorKind::Closed).map(drop)
}

async fn other_processes_hear_what_is_published(harness: &mut dyn Harness) -> Case {
    let ours = harness.open().await?;
    let other = able(harness.observe().await?, "be opened by another process")?;
    let mut subscription = subscribe(&*other, "dev.*").await?;
    ours.publish(numbered("dev.a", 0, 20)?).await?;
    equal("messages", heard(&mut *subscription, 20).await?, list(0, 20))
}
