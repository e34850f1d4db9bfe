//! What is subscribed and what shall be: the table that requests and answers change until both are the same.
//!
//! Requests have no number, and complaints do not say what they are about. So each place (a feed of a product) is
//! off, asked for, on, or being left, by what the venue says about that place alone; what it does not answer is
//! asked for again by itself, so that a product that cannot be had stops no other.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use ssmd_core::{Symbol, Wanted};

use super::channel::{Stream, parse_channel};
use super::wire::Event;
use crate::decoding::shown;
use crate::venue::Missing;

/// Products in one request: an answer for each comes back, so a request is a burst of that many messages.
const PRODUCTS_PER_REQUEST: usize = 100;
/// Requests that go out in one beat, a second long. The venue allows a hundred.
const REQUESTS_PER_BEAT: usize = 20;
/// An answer takes a round trip; one that is missing for this long is not coming.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The wait before a first repetition; it doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a repetition.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The table of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    lines: BTreeMap<Place, Line>,
    /// What cannot be asked for at all, with the reason.
    impossible: Vec<(String, String)>,
    /// Requests since the last beat.
    requests: usize,
    /// What the venue complained about last, without saying which request it meant.
    complaint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    stream: Stream,
    product: Option<Symbol>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    wanted: bool,
    state: State,
    /// It was asked for and not answered: it may be on.
    doubt: bool,
    /// Leave it and ask again, for a fresh snapshot.
    restart: bool,
    /// Why not, in the venue's words, if it was refused for good.
    refused: Option<String>,
    /// What was not answered in a row.
    failures: u32,
    not_before: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Off,
    Asked {
        since: Duration,
    },
    On,
    Leaving {
        since: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Before subscriptions, so that a place is free when it is asked for.
    Unsubscribe,
    Subscribe,
}

#[derive(Serialize)]
struct Request<'a> {
    event: &'static str,
    feed: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    product_ids: Vec<&'a str>,
}

impl Table {
    /// Takes what shall be so, and asks for it.
    pub(super) fn want(&mut self, wanted: &Wanted, now: Duration, send: &mut Vec<Bytes>) {
        self.impossible.clear();
        self.lines.values_mut().for_each(|line| line.wanted = false);
        for topic in &wanted.0 {
            let refuse = |words: String| (topic.to_string(), words);
            match parse_channel(&topic.channel) {
                Ok(stream) if stream.has_products() && topic.symbol.is_none() => {
                    self.impossible.push(refuse("this channel needs a symbol".to_owned()));
                }
                Ok(stream) => {
                    let product = topic.symbol.clone().filter(|_| stream.has_products());
                    self.lines.entry(Place { stream, product }).or_default().wanted = true;
                }
                Err(error) => self.impossible.push(refuse(error.to_string())),
            }
        }
        self.lines.retain(|_, line| !line.is_over());
        self.ask(now, send);
    }

    /// Asks for a fresh snapshot.
    pub(super) fn restart(&mut self, stream: Stream, symbol: &Symbol, now: Duration, send: &mut Vec<Bytes>) {
        let place = Place { stream, product: Some(symbol.clone()) };
        if let Some(line) = self.lines.get_mut(&place) {
            line.restart = true;
            self.ask(now, send);
        }
    }

    /// Gives up requests that were not answered, and asks for whatever is due.
    pub(super) fn beat(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        self.requests = 0;
        self.lines.values_mut().for_each(|line| line.expire(now));
        self.ask(now, send);
    }

    /// Hears an event.
    pub(super) fn heard(&mut self, name: &str, event: &Event<'_>, now: Duration, send: &mut Vec<Bytes>) {
        if matches!(name, "alert" | "error") {
            self.complaint = Some(shown(&event.message));
            return;
        }
        let Some(stream) = Stream::from_name(&event.feed) else { return };
        let of_venue = event.product_ids.is_empty().then_some(None);
        let products = event.product_ids.iter().map(|product| Symbol::new(product).ok());
        let mut is_due = false;
        for product in products.filter(Option::is_some).chain(of_venue) {
            let place = Place { stream, product };
            let Some(line) = self.lines.get_mut(&place) else { continue };
            line.answered(name, event);
            is_due |= line.step(now).is_some();
            if line.is_over() {
                self.lines.remove(&place);
            }
        }
        if is_due {
            self.ask(now, send);
        }
    }

    /// What is wanted and not so.
    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing { topics: self.impossible.len(), refused: self.impossible.clone() };
        for (place, line) in &self.lines {
            if !line.wanted {
                continue;
            }
            missing.topics += usize::from(line.state != State::On);
            let unanswered = line.failures > 0 && line.state != State::On;
            let complaint = self.complaint.as_ref().filter(|_| unanswered);
            let words = line.refused.clone().or_else(|| {
                complaint.map(|words| format!("no answer; about some request the venue said: {words}"))
            });
            missing.refused.extend(words.map(|words| (place.to_string(), words)));
        }
        missing
    }

    /// Sends as many requests as may go out now; the rest waits for the next beat. What failed before goes alone.
    fn ask(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        let mut due: BTreeMap<(Step, Stream), (Vec<Place>, Vec<Place>)> = BTreeMap::new();
        for (place, line) in &self.lines {
            if let Some(step) = line.step(now) {
                let (together, alone) = due.entry((step, place.stream)).or_default();
                let places = if line.failures == 0 { together } else { alone };
                places.push(place.clone());
            }
        }
        for ((step, stream), (together, alone)) in due {
            for places in together.chunks(PRODUCTS_PER_REQUEST).chain(alone.chunks(1)) {
                if self.requests == REQUESTS_PER_BEAT {
                    return;
                }
                self.requests += 1;
                self.request(step, stream, places, now, send);
            }
        }
    }

    fn request(
        &mut self,
        step: Step,
        stream: Stream,
        places: &[Place],
        now: Duration,
        send: &mut Vec<Bytes>,
    ) {
        let (event, state) = match step {
            Step::Subscribe => ("subscribe", State::Asked { since: now }),
            Step::Unsubscribe => ("unsubscribe", State::Leaving { since: now }),
        };
        let product_ids =
            places.iter().filter_map(|place| place.product.as_ref()).map(Symbol::as_str).collect();
        let request = Request { event, feed: stream.name(), product_ids };
        send.extend(serde_json::to_vec(&request).map(Bytes::from));
        for place in places {
            if let Some(line) = self.lines.get_mut(place) {
                line.state = state;
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.stream.name())?;
        self.product.as_ref().map_or(Ok(()), |product| write!(f, " {product}"))
    }
}

impl Line {
    /// Whether nothing is wanted, and nothing can be on.
    fn is_over(&self) -> bool {
        !self.wanted && self.state == State::Off && !self.doubt
    }

    /// What to do next, if anything can be done now.
    fn step(&self, now: Duration) -> Option<Step> {
        match self.state {
            _ if now < self.not_before => None,
            State::Off if self.wanted => self.refused.is_none().then_some(Step::Subscribe),
            State::Off => self.doubt.then_some(Step::Unsubscribe),
            State::On => (!self.wanted || self.restart).then_some(Step::Unsubscribe),
            State::Asked { .. } | State::Leaving { .. } => None,
        }
    }

    /// Answers come in the order of the requests, so one that does not fit is late, and says nothing new.
    fn answered(&mut self, name: &str, event: &Event<'_>) {
        match (name, self.state) {
            ("subscribed", State::Asked { .. } | State::Off) => {
                self.settle(State::On);
            }
            // Asked for twice, it may be on since the first time: then it must be left before it can begin anew.
            ("subscribed_failed", State::Asked { .. }) if self.doubt => {
                self.settle(State::On);
                self.restart = true;
            }
            ("subscribed_failed", State::Asked { .. }) => {
                self.settle(State::Off);
                let words = if event.message.is_empty() { "refused without words" } else { &event.message };
                self.refused = Some(shown(words));
            }
            ("unsubscribed" | "unsubscribed_failed", State::Leaving { .. } | State::On) => {
                self.settle(State::Off);
                self.restart = false;
            }
            _ => {}
        }
    }

    fn settle(&mut self, state: State) {
        self.state = state;
        self.doubt = false;
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }

    /// Nobody knows what became of a request that is not answered: what was asked for may be on, what was left
    /// may be off.
    fn expire(&mut self, now: Duration) {
        let since = match self.state {
            State::Asked { since } | State::Leaving { since } => since,
            State::Off | State::On => return,
        };
        if now.saturating_sub(since) < ANSWER_TIME_MAX {
            return;
        }
        match self.state {
            State::Leaving { .. } => (self.state, self.restart) = (State::On, true),
            _ => (self.state, self.doubt) = (State::Off, true),
        }
        self.not_before = now + (RETRY_FIRST * 2_u32.pow(self.failures.min(16))).min(RETRY_MAX);
        self.failures += 1;
    }
}
