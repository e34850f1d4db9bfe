//! What is subscribed and what shall be: the table that requests and answers change until both are the same.
//!
//! Each place (a channel of a symbol) is off, asked for, on, or being left. Requests are batched, spaced and kept by
//! their id until each symbol in them is answered; what is refused for now or not answered is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use ssmd_core::{Symbol, Wanted};

use super::channel::{Params, Subscribed, parse_channel};
use super::wire::Answer;
use crate::venue::Missing;

/// Symbols in one request: an answer for each comes back, so a request is a burst of that many messages.
const SYMBOLS_PER_REQUEST: usize = 100;
/// The venue gives no figure and answers "Exceeded msg rate" to more; four a second has not been refused.
const REQUEST_EVERY: Duration = Duration::from_millis(250);
/// Requests that may go out at once after a pause.
const REQUEST_BURST: u32 = 4;
/// How long to send nothing after "Exceeded msg rate".
const RATE_PAUSE: Duration = Duration::from_secs(5);
/// An answer takes a round trip; one that is missing for this long is not coming.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The wait before a first repetition; it doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a repetition.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How much of the venue's words is kept, in characters.
const WORDS_CHARS_MAX: usize = 200;

/// The table of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    lines: BTreeMap<Place, Line>,
    pending: BTreeMap<u64, Request>,
    /// What cannot be asked for at all, with the reason.
    impossible: Vec<(String, String)>,
    last_id: u64,
    /// The earliest time of the next request, if none may go out early.
    next_request: Duration,
}

/// What the venue keeps one subscription for: a channel of a symbol, and for bars of an interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    channel: &'static str,
    minutes: u32,
    symbol: Option<Symbol>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    wanted: Option<Subscribed>,
    state: State,
    /// What was asked for without an answer: one of it may be on.
    doubts: BTreeSet<Subscribed>,
    /// Leave it and ask again, for a fresh snapshot.
    restart: bool,
    /// What was refused for good, with the venue's words.
    refused: Option<Box<(Subscribed, String)>>,
    /// Failures in a row that may pass.
    failures: u32,
    not_before: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Off,
    Asked(Subscribed),
    On(Subscribed),
    Leaving(Subscribed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Method {
    /// Before what is left, since requests are few and what is new is missed until it is asked for. They never
    /// concern the same place: one that is on with another option is left first, and asked for once that is answered.
    Subscribe,
    Unsubscribe,
}

impl Method {
    fn word(self) -> &'static str {
        match self {
            Self::Unsubscribe => "unsubscribe",
            Self::Subscribe => "subscribe",
        }
    }
}

/// A request that is not answered for these places yet.
#[derive(Clone, Debug)]
struct Request {
    method: Method,
    places: BTreeSet<Place>,
    sent: Duration,
}

#[derive(Serialize)]
struct Frame<'a> {
    method: &'static str,
    params: Params<'a>,
    req_id: u64,
}

impl Table {
    /// Takes what shall be so, and asks for it.
    pub(super) fn want(&mut self, wanted: &Wanted, depth: Option<u32>, now: Duration, send: &mut Vec<Bytes>) {
        self.impossible.clear();
        let mut places: BTreeMap<Place, Subscribed> = BTreeMap::new();
        for topic in &wanted.0 {
            let refuse = |words: String| (topic.to_string(), words);
            let subscribed = match parse_channel(&topic.channel, depth) {
                Ok(Some(subscribed)) => subscribed,
                Ok(None) => continue,
                Err(error) => {
                    self.impossible.push(refuse(error.to_string()));
                    continue;
                }
            };
            if topic.symbol.is_none() && subscribed.has_symbols() {
                self.impossible.push(refuse("this channel needs a symbol".to_owned()));
                continue;
            }
            let place = Place::new(subscribed, topic.symbol.clone());
            let other = *places.entry(place).or_insert(subscribed);
            if other != subscribed {
                let words = "one connection carries this channel of a symbol with one option only";
                self.impossible.push(refuse(words.to_owned()));
            }
        }
        let mut lines = std::mem::take(&mut self.lines);
        lines.values_mut().for_each(|line| line.wanted = None);
        for (place, subscribed) in places {
            lines.entry(place).or_default().want(subscribed);
        }
        // Collected, a map takes half of the memory that it takes filled in order.
        self.lines = lines.into_iter().filter(|(_, line)| !line.is_over()).collect();
        self.ask(now, send);
    }

    /// Asks for a fresh snapshot of one book.
    pub(super) fn restart(&mut self, symbol: &Symbol, now: Duration, send: &mut Vec<Bytes>) {
        let place = Place { channel: "book", minutes: 0, symbol: Some(symbol.clone()) };
        if let Some(line) = self.lines.get_mut(&place) {
            line.restart = true;
            self.ask(now, send);
        }
    }

    /// Gives up requests that were not answered, and asks for whatever is due.
    pub(super) fn beat(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        let late = |request: &Request| now.saturating_sub(request.sent) >= ANSWER_TIME_MAX;
        let expired: Vec<_> = self.pending.iter().filter(|(_, r)| late(r)).map(|(id, _)| *id).collect();
        for request in expired.iter().filter_map(|id| self.pending.remove(id)) {
            for place in &request.places {
                if let Some(line) = self.lines.get_mut(place) {
                    line.unanswered(now);
                }
            }
        }
        self.ask(now, send);
    }

    /// Hears an answer.
    pub(super) fn answered(&mut self, answer: &Answer<'_>, now: Duration, send: &mut Vec<Bytes>) {
        let method = match answer.method.as_ref() {
            "subscribe" => Method::Subscribe,
            "unsubscribe" => Method::Unsubscribe,
            _ => return,
        };
        let words =
            (!answer.success).then(|| words(answer.error.as_deref().unwrap_or("refused without words")));
        if words.as_deref().is_some_and(is_rate) {
            self.slow_down(now);
        }
        let mut is_due = false;
        for place in self.places(method, answer) {
            let Some(line) = self.lines.get_mut(&place) else { continue };
            line.answered(method, words.as_deref(), now);
            is_due |= line.step(now).is_some();
            if line.is_over() {
                self.lines.remove(&place);
            }
        }
        if is_due {
            self.ask(now, send);
        }
    }

    /// The venue wants fewer requests.
    pub(super) fn slow_down(&mut self, now: Duration) {
        self.next_request = self.next_request.max(now + RATE_PAUSE + REQUEST_EVERY * REQUEST_BURST);
    }

    /// A number that no request had.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether anything is subscribed: then the venue sends heartbeats.
    pub(super) fn is_any_on(&self) -> bool {
        self.lines.values().any(|line| matches!(line.state, State::On(_)))
    }

    /// What is wanted and not so.
    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing { topics: self.impossible.len(), refused: self.impossible.clone() };
        for (place, line) in &self.lines {
            let Some(wanted) = line.wanted else { continue };
            missing.topics += usize::from(line.state != State::On(wanted));
            if let Some(refused) = &line.refused {
                missing.refused.push((place.to_string(), refused.1.clone()));
            }
        }
        missing
    }

    /// The places that an answer is about; they are no longer pending.
    fn places(&mut self, method: Method, answer: &Answer<'_>) -> Vec<Place> {
        let result = answer.result.as_ref();
        let symbol = answer.symbol.as_deref().or_else(|| result.and_then(|result| result.symbol.as_deref()));
        let named = |place: &Place| place.symbol.as_ref().map(Symbol::as_str) == symbol;
        let id = answer.req_id.filter(|id| self.pending.contains_key(id)).or_else(|| {
            // An answer without our number: the oldest request that it fits.
            let fits = |request: &Request| request.method == method && request.places.iter().any(named);
            self.pending.iter().find(|(_, request)| fits(request)).map(|(id, _)| *id)
        });
        if let Some(request) = id.and_then(|id| self.pending.get_mut(&id)) {
            let all = symbol.is_none() && !answer.success;
            let places: Vec<_> = request.places.iter().filter(|place| all || named(place)).cloned().collect();
            request.places.retain(|place| !places.contains(place));
            self.pending.retain(|_, request| !request.places.is_empty());
            return places;
        }
        // An answer that comes after we gave it up; only a success says what it is about.
        let channel = result.map_or("", |result| result.channel.as_ref());
        self.lines.keys().filter(|place| place.channel == channel && named(place)).cloned().collect()
    }

    /// Sends as many requests as may go out now; the rest waits for the next beat.
    fn ask(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        let mut due: BTreeMap<(Method, Subscribed), Vec<Place>> = BTreeMap::new();
        for (place, line) in &self.lines {
            if let Some(step) = line.step(now) {
                due.entry(step).or_default().push(place.clone());
            }
        }
        for ((method, subscribed), places) in due {
            for places in places.chunks(SYMBOLS_PER_REQUEST) {
                if self.next_request > now + REQUEST_EVERY * (REQUEST_BURST - 1) {
                    return;
                }
                self.next_request = self.next_request.max(now) + REQUEST_EVERY;
                self.request(method, subscribed, places, now, send);
            }
        }
    }

    fn request(
        &mut self,
        method: Method,
        subscribed: Subscribed,
        places: &[Place],
        now: Duration,
        send: &mut Vec<Bytes>,
    ) {
        let symbols = places.iter().filter_map(|place| place.symbol.as_ref()).map(Symbol::as_str).collect();
        let params = subscribed.params(symbols, method == Method::Subscribe);
        let req_id = self.next_id();
        let frame = Frame { method: method.word(), params, req_id };
        send.extend(serde_json::to_vec(&frame).map(Bytes::from));
        self.pending.insert(req_id, Request { method, places: places.iter().cloned().collect(), sent: now });
        for place in places {
            let Some(line) = self.lines.get_mut(place) else { continue };
            line.state = match method {
                Method::Subscribe => State::Asked(subscribed),
                Method::Unsubscribe => State::Leaving(subscribed),
            };
        }
    }
}

impl Place {
    fn new(subscribed: Subscribed, symbol: Option<Symbol>) -> Self {
        let minutes = match subscribed {
            Subscribed::Ohlc { minutes } => minutes,
            _ => 0,
        };
        Self { channel: subscribed.name(), minutes, symbol: symbol.filter(|_| subscribed.has_symbols()) }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.channel)?;
        if self.minutes > 0 {
            write!(f, ":{}", self.minutes)?;
        }
        self.symbol.as_ref().map_or(Ok(()), |symbol| write!(f, " {symbol}"))
    }
}

impl Line {
    fn want(&mut self, subscribed: Subscribed) {
        self.wanted = Some(subscribed);
        self.refused = self.refused.take().filter(|refused| refused.0 == subscribed);
    }

    /// Whether nothing is wanted, and nothing can be on.
    fn is_over(&self) -> bool {
        self.wanted.is_none() && self.state == State::Off && self.doubts.is_empty()
    }

    /// What to do next, if anything can be done now.
    fn step(&self, now: Duration) -> Option<(Method, Subscribed)> {
        if now < self.not_before {
            return None;
        }
        match self.state {
            State::Off if self.refused.is_some() => None,
            State::Off => match self.wanted {
                Some(wanted) => Some((Method::Subscribe, wanted)),
                None => self.doubts.first().map(|doubt| (Method::Unsubscribe, *doubt)),
            },
            State::On(on) if self.wanted != Some(on) || self.restart => Some((Method::Unsubscribe, on)),
            _ => None,
        }
    }

    /// `words` is why not.
    fn answered(&mut self, method: Method, words: Option<&str>, now: Duration) {
        let subscribed = match self.state {
            State::Asked(subscribed) | State::On(subscribed) | State::Leaving(subscribed) => subscribed,
            State::Off => match self.wanted {
                Some(wanted) => wanted,
                None => return,
            },
        };
        match (method, words) {
            (_, Some(words)) if may_pass(words) => return self.failed_for_now(now),
            (Method::Subscribe, None) => {
                self.state = State::On(subscribed);
                self.doubts.clear();
            }
            (Method::Subscribe, Some(ALREADY_SUBSCRIBED)) => {
                // Not by this request, but by one of those in doubt.
                self.restart |= self.doubts.len() > 1;
                self.state = State::On(self.doubts.pop_first().unwrap_or(subscribed));
            }
            (Method::Subscribe, Some(words)) => {
                self.state = State::Off;
                self.refused = Some(Box::new((subscribed, words.to_owned())));
            }
            (Method::Unsubscribe, None) => {
                self.state = State::Off;
                self.restart = false;
                self.doubts.clear();
            }
            // Refused: this is not subscribed.
            (Method::Unsubscribe, Some(_)) => {
                self.state = State::Off;
                self.restart = false;
                self.doubts.remove(&subscribed);
            }
        }
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }

    /// Nobody knows what became of the request: what was asked for may be on, what was left may be off.
    fn unanswered(&mut self, now: Duration) {
        match self.state {
            State::Asked(subscribed) => {
                self.doubts.insert(subscribed);
            }
            State::Leaving(_) => self.restart = true,
            State::Off | State::On(_) => {}
        }
        self.failed_for_now(now);
    }

    fn failed_for_now(&mut self, now: Duration) {
        self.state = match self.state {
            State::Asked(_) => State::Off,
            State::Leaving(subscribed) => {
                self.restart |= !self.doubts.is_empty();
                State::On(subscribed)
            }
            state => state,
        };
        self.not_before = now + (RETRY_FIRST * 2_u32.pow(self.failures.min(16))).min(RETRY_MAX);
        self.failures += 1;
    }
}

/// The venue's words for a place that is on.
const ALREADY_SUBSCRIBED: &str = "Already subscribed";

/// Whether the venue says that requests come too fast.
pub(super) fn is_rate(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("msg rate") || words.contains("rate limit") || words.contains("too many requests")
}

/// Whether the same request may work later; any other refusal is for good.
fn may_pass(words: &str) -> bool {
    is_rate(words) || words.starts_with("EService:") || words.starts_with("EGeneral:Internal")
}

fn words(text: &str) -> String {
    text.chars().take(WORDS_CHARS_MAX).collect()
}
