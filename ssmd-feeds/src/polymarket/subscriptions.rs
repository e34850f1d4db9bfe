//! Which tokens are subscribed and which shall be: the table that requests and books change until both are the same.
//!
//! The venue acknowledges nothing. A token is on once its book came; one whose book does not come is asked for again,
//! by itself, since the venue ignores a second request for a token that is on: it is left first.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use ssmd_core::{Symbol, Wanted};

use super::channel::parse_channel;
use super::universe::{Named, named};
use crate::venue::Missing;

/// Tokens in one request: their books come back in one frame, some kilobytes each.
const TOKENS_PER_REQUEST: usize = 100;
/// Requests that go out in one beat, a second long. The venue names no bound.
const REQUESTS_PER_BEAT: usize = 10;
/// A book takes a round trip; one that is missing for this long is not coming.
const BOOK_TIME_MAX: Duration = Duration::from_secs(10);
/// The wait before a first repetition; it doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a repetition: a token whose market has closed has no book.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// A token that is started anew again within this time is so more and more seldom.
const RESTART_CALM: Duration = Duration::from_secs(60);

/// The table of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    lines: BTreeMap<Symbol, Line>,
    /// What cannot be asked for at all, with the reason.
    impossible: Vec<(String, String)>,
    /// Tokens that wait for their book.
    awaited: usize,
    /// Requests since the last beat.
    requests: usize,
    /// Whether the request went out that opens the channel; later ones have another form.
    opened: bool,
    /// What the venue complained about last, without saying which request it meant.
    complaint: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    wanted: bool,
    state: State,
    /// Leave it and ask again, for a fresh book.
    restart: bool,
    /// Books that did not come in a row.
    failures: u32,
    not_before: Duration,
    /// How often it was started anew without a minute between, and when it may be again.
    restarts: u32,
    restart_not_before: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Off,
    Asked {
        since: Duration,
    },
    On,
}

/// What a token needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Unsubscribe,
    Cycle,
    Subscribe,
}

/// The request that opens the channel.
#[derive(Serialize)]
struct Opening<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    assets_ids: &'a [&'a str],
    custom_feature_enabled: bool,
    initial_dump: bool,
    level: u8,
}

/// Later requests.
#[derive(Serialize)]
struct Operation<'a> {
    operation: &'static str,
    assets_ids: &'a [&'a str],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    custom_feature_enabled: bool,
}

impl Table {
    /// Takes what shall be so, and asks for it.
    pub(super) fn want(&mut self, wanted: &Wanted, now: Duration, send: &mut Vec<Bytes>) {
        self.impossible.clear();
        self.lines.values_mut().for_each(|line| line.wanted = false);
        for topic in &wanted.0 {
            let refuse = |words: String| (topic.to_string(), words);
            match (parse_channel(&topic.channel), &topic.symbol) {
                (Ok(_), Some(name)) if named(name.as_str()).ok() != Some(Named::Token) => {
                    self.impossible.push(refuse("not listed: the venue knows no such market".to_owned()));
                }
                (Ok(_), Some(token)) => self.lines.entry(token.clone()).or_default().wanted = true,
                (Ok(_), None) => {
                    self.impossible.push(refuse("this channel needs a token".to_owned()));
                }
                (Err(error), _) => self.impossible.push(refuse(error.to_string())),
            }
        }
        self.lines.retain(|_, line| line.wanted || line.may_be_on());
        self.ask(now, send);
    }

    /// Asks for a fresh book.
    pub(super) fn restart(&mut self, token: &Symbol, now: Duration, send: &mut Vec<Bytes>) {
        if let Some(line) = self.lines.get_mut(token) {
            line.restart = true;
            self.ask(now, send);
        }
    }

    /// Leaves tokens that are on and asks for them again, at once.
    pub(super) fn cycle(&mut self, tokens: &[Symbol], now: Duration, send: &mut Vec<Bytes>) {
        self.request(Step::Cycle, tokens, now, send);
    }

    /// Gives up books that did not come, and asks for whatever is due.
    pub(super) fn beat(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        self.requests = 0;
        for line in self.lines.values_mut() {
            if line.expire(now) {
                self.awaited -= 1;
            }
        }
        self.ask(now, send);
    }

    /// A book came.
    pub(super) fn book(&mut self, token: &str) {
        let Some(line) = self.lines.get_mut(token) else { return };
        if matches!(line.state, State::Asked { .. }) {
            self.awaited -= 1;
        }
        // One that nobody waits for says nothing: the venue sends books around trades, too.
        if line.state != State::Off {
            (line.state, line.failures, line.not_before) = (State::On, 0, Duration::ZERO);
        }
    }

    /// The venue refused something.
    pub(super) fn complaint(&mut self, words: String) {
        self.complaint = Some(words);
    }

    /// Whether the books that come must be looked at.
    pub(super) fn awaits_books(&self) -> bool {
        self.awaited > 0
    }

    /// Tokens that are on.
    pub(super) fn on(&self) -> impl Iterator<Item = &Symbol> {
        let is_on = |line: &Line| line.wanted && line.state == State::On && !line.restart;
        self.lines.iter().filter(move |(_, line)| is_on(line)).map(|(token, _)| token)
    }

    /// What is wanted and not so.
    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing { topics: self.impossible.len(), refused: self.impossible.clone() };
        for (token, line) in &self.lines {
            if !line.wanted || line.state == State::On {
                continue;
            }
            missing.topics += 1;
            if line.failures > 0 {
                let words = match &self.complaint {
                    Some(words) => format!("no book came; about some request the venue said: {words}"),
                    None => "no book came: its market may have closed".to_owned(),
                };
                missing.refused.push((format!("market {token}"), words));
            }
        }
        missing
    }

    /// Sends as many requests as may go out now; the rest waits for the next beat.
    fn ask(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        let mut due: BTreeMap<Step, Vec<Symbol>> = BTreeMap::new();
        for (token, line) in &self.lines {
            if let Some(step) = line.step(now) {
                due.entry(step).or_default().push(token.clone());
            }
        }
        for (step, tokens) in due {
            for tokens in tokens.chunks(TOKENS_PER_REQUEST) {
                if self.requests >= REQUESTS_PER_BEAT {
                    return;
                }
                self.request(step, tokens, now, send);
            }
        }
    }

    fn request(&mut self, step: Step, tokens: &[Symbol], now: Duration, send: &mut Vec<Bytes>) {
        let assets_ids: Vec<_> = tokens.iter().map(Symbol::as_str).collect();
        if step != Step::Subscribe {
            self.requests += 1;
            send.extend(operation("unsubscribe", &assets_ids));
        }
        if step != Step::Unsubscribe {
            self.requests += 1;
            send.extend(self.subscribe(&assets_ids));
        }
        for token in tokens {
            let Some(line) = self.lines.get_mut(token) else { continue };
            if std::mem::take(&mut line.restart) {
                line.restarted(now);
            }
            line.state = match step {
                Step::Unsubscribe => State::Off,
                Step::Cycle | Step::Subscribe => {
                    self.awaited += 1;
                    State::Asked { since: now }
                }
            };
            if !line.wanted {
                self.lines.remove(token);
            }
        }
    }

    fn subscribe(&mut self, assets_ids: &[&str]) -> Option<Bytes> {
        if std::mem::replace(&mut self.opened, true) {
            return operation("subscribe", assets_ids);
        }
        let opening = Opening {
            kind: "market",
            assets_ids,
            custom_feature_enabled: true,
            initial_dump: true,
            level: 2,
        };
        serde_json::to_vec(&opening).ok().map(Bytes::from)
    }
}

fn operation(operation: &'static str, assets_ids: &[&str]) -> Option<Bytes> {
    let custom_feature_enabled = operation == "subscribe";
    serde_json::to_vec(&Operation { operation, assets_ids, custom_feature_enabled }).ok().map(Bytes::from)
}

impl Line {
    /// Whether the venue may have it: what was asked for, also if no book came.
    fn may_be_on(&self) -> bool {
        self.state != State::Off || self.failures > 0
    }

    /// What to do next, if anything can be done now. What is asked for is left only when its book has come or is given
    /// up, so that the book cannot be taken for that of a later request.
    fn step(&self, now: Duration) -> Option<Step> {
        match self.state {
            State::Off if !self.wanted => self.may_be_on().then_some(Step::Unsubscribe),
            State::Off if now < self.not_before => None,
            State::Off if self.may_be_on() => Some(Step::Cycle),
            State::Off => Some(Step::Subscribe),
            State::On if !self.wanted => Some(Step::Unsubscribe),
            State::On if self.restart && self.restart_not_before.is_none_or(|at| now >= at) => {
                Some(Step::Cycle)
            }
            State::Asked { .. } | State::On => None,
        }
    }

    /// The first restart goes out at once; each of those that follow it waits twice as long.
    fn restarted(&mut self, now: Duration) {
        let calm = self.restart_not_before.is_none_or(|at| now >= at + RESTART_CALM);
        self.restarts = if calm { 0 } else { self.restarts + 1 };
        self.restart_not_before = Some(now + (RETRY_FIRST * 2_u32.pow(self.restarts.min(16))).min(RETRY_MAX));
    }

    /// Whether a book was given up. What is not wanted any more may be on all the same, so it is left.
    fn expire(&mut self, now: Duration) -> bool {
        let State::Asked { since } = self.state else { return false };
        if now.saturating_sub(since) < BOOK_TIME_MAX {
            return false;
        }
        self.state = if self.wanted { State::Off } else { State::On };
        self.not_before = now + (RETRY_FIRST * 2_u32.pow(self.failures.min(16))).min(RETRY_MAX);
        self.failures += 1;
        true
    }
}
