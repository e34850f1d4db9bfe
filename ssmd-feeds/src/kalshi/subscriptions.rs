//! What is subscribed and what shall be: the table that commands and answers change until both are the same.
//!
//! A channel has one subscription (`sid`) on a connection; markets are added to it and taken out of it. Commands are
//! numbered and go out without waiting for one another, but for the first of a channel, whose answer tells the `sid`.
//! After an answer that did not come, the venue is asked what there is.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::{Error, ErrorKind, Result, Symbol, Wanted};

use super::channel::{Stream, parse_channel};
use super::commands::{ANSWER_TIME_MAX, Command, Commands, Verb};
use super::line::{Line, Lines, REFUSED_FOR, Rest, backoff};
use super::wire::{Envelope, Problem, Subscribed};
use crate::decoding::shown;
use crate::venue::Missing;

/// Markets in one command: the first is tried with all of them; what failed is tried in smaller parts, so that a market
/// that cannot be had keeps no other from being asked for.
const MARKETS_PER_COMMAND: [usize; 4] = [250, 30, 4, 1];
/// Commands that go out in one beat, a second long; the venue names no bound.
const COMMANDS_PER_BEAT: usize = 50;
/// How long no command goes out after the venue said that there were too many.
const PAUSE: Duration = Duration::from_secs(2);

/// The table of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    commands: Commands,
    channels: BTreeMap<Stream, Channel>,
    /// Books whose snapshot was asked for, and when; `None` if it still has to be.
    broken: BTreeMap<Symbol, Option<Duration>>,
    /// What cannot be asked for at all, with the reason.
    impossible: Vec<(String, String)>,
    /// Commands since the last beat.
    sent: usize,
    paused: Duration,
}

/// One channel.
#[derive(Clone, Debug, Default)]
struct Channel {
    state: State,
    /// A channel of the whole venue is wanted.
    wanted: bool,
    lines: Lines,
    refused: Option<String>,
    failures: u32,
    not_before: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Off,
    Asked,
    On(u64),
    Leaving(u64),
    /// Nobody knows; the venue is asked.
    Doubt,
}

impl Table {
    /// Takes what shall be so, and asks for it.
    pub(super) fn want(&mut self, wanted: &Wanted, now: Duration, send: &mut Vec<Bytes>) {
        self.impossible.clear();
        for channel in self.channels.values_mut() {
            channel.wanted = false;
            channel.lines.0.values_mut().for_each(|line| line.wanted = false);
        }
        for topic in &wanted.0 {
            match parse_channel(&topic.channel) {
                Err(error) => self.impossible.push((topic.to_string(), error.to_string())),
                Ok(stream) => {
                    let channel = self.channels.entry(stream).or_default();
                    match &topic.symbol {
                        Some(symbol) if stream.has_markets() => {
                            channel.lines.0.entry(symbol.clone()).or_default().wanted = true;
                        }
                        None if stream.has_markets() => {
                            let words = "this channel needs a symbol".to_owned();
                            self.impossible.push((topic.to_string(), words));
                        }
                        _ => channel.wanted = true,
                    }
                }
            }
        }
        self.channels.values_mut().for_each(|channel| channel.lines.sweep());
        self.ask(now, send);
    }

    /// Asks for a fresh snapshot of one book.
    pub(super) fn resync(&mut self, symbol: &Symbol, now: Duration, send: &mut Vec<Bytes>) {
        let lines = self.channels.get(&Stream::Book).map(|channel| &channel.lines.0);
        if lines.and_then(|lines| lines.get(symbol)).is_some_and(|line| line.wanted) {
            self.broken.entry(symbol.clone()).or_default();
            self.ask_snapshots(now, send);
        }
    }

    /// A snapshot has come.
    pub(super) fn snapshot(&mut self, frame: &[u8], now: Duration, send: &mut Vec<Bytes>) {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            market_ticker: std::borrow::Cow<'a, str>,
        }
        if self.broken.is_empty() {
            return;
        }
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(frame) else { return };
        let named = envelope.msg.and_then(|msg| serde_json::from_str::<Named<'_>>(msg.get()).ok());
        if named.is_some_and(|named| self.broken.remove(named.market_ticker.as_ref()).is_some()) {
            self.commands.all_came(|symbol| self.broken.contains_key(symbol));
            self.ask_snapshots(now, send);
        }
    }

    /// Gives up commands that were not answered, and asks for whatever is due.
    pub(super) fn beat(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        self.sent = 0;
        for command in self.commands.expired(now) {
            self.expire(&command, now);
        }
        self.ask(now, send);
    }

    /// Hears an answer.
    ///
    /// # Errors
    /// The venue said that this connection cannot go on.
    pub(super) fn heard(
        &mut self,
        envelope: &Envelope<'_>,
        now: Duration,
        send: &mut Vec<Bytes>,
    ) -> Result<()> {
        match envelope.kind.as_ref() {
            "subscribed" => {
                let told = envelope.msg.and_then(|msg| serde_json::from_str(msg.get()).ok());
                let command = self.commands.answered(envelope.id);
                if let Some(told) = told {
                    self.subscribed(&told, command);
                }
            }
            "unsubscribed" => {
                let command = self.commands.answered(envelope.id);
                self.unsubscribed(envelope.sid, command.as_ref());
            }
            "ok" => self.done(envelope),
            _ => self.failed(envelope, now)?,
        }
        self.ask(now, send);
        Ok(())
    }

    /// What is wanted and not so.
    pub(super) fn missing(&self) -> Missing {
        let mut missing = Missing { topics: self.impossible.len(), refused: self.impossible.clone() };
        for (stream, channel) in &self.channels {
            let off = !matches!(channel.state, State::On(_));
            let lacks = channel.lines.0.iter().filter(|(_, line)| line.wanted && !line.is_on());
            missing.topics += usize::from(channel.wanted && off);
            missing.topics += lacks.clone().count();
            if let Some(words) = channel.refused.as_ref().filter(|_| off) {
                missing.refused.push((stream.name().to_owned(), words.clone()));
            }
            missing.refused.extend(lacks.filter_map(|(symbol, line)| {
                Some((format!("{} {symbol}", stream.name()), line.refused.clone()?))
            }));
        }
        missing
    }

    fn subscribed(&mut self, told: &Subscribed<'_>, command: Option<Command>) {
        let Some(stream) = Stream::from_name(&told.channel) else { return };
        let channel = self.channels.entry(stream).or_default();
        channel.begin(told.sid);
        if let Some(command) = command.filter(|command| command.stream == stream) {
            command.names.iter().for_each(|name| channel.lines.settle(name, true));
        }
    }

    /// Nothing of the subscription is left.
    fn unsubscribed(&mut self, sid: Option<u64>, command: Option<&Command>) {
        let asked = command.map(|command| command.stream);
        for (stream, channel) in &mut self.channels {
            let is_it = match (sid, channel.state) {
                (Some(sid), State::On(ours) | State::Leaving(ours)) => sid == ours,
                (Some(_), _) => false,
                (None, _) => asked == Some(*stream),
            };
            if is_it {
                channel.end(State::Off);
            }
        }
    }

    fn done(&mut self, envelope: &Envelope<'_>) {
        let Some(command) = self.commands.answered(envelope.id) else { return };
        if command.verb == Verb::List {
            let told: Option<Vec<Subscribed<'_>>> =
                envelope.msg.and_then(|msg| serde_json::from_str(msg.get()).ok());
            return self.listed(&told.unwrap_or_default());
        }
        let Some(channel) = self.channels.get_mut(&command.stream) else { return };
        if let (Verb::Subscribe, Some(sid)) = (command.verb, envelope.sid) {
            channel.begin(sid);
        }
        match command.verb {
            Verb::Subscribe | Verb::Add => {
                let names = names(envelope);
                for name in &command.names {
                    let taken = names.as_ref().is_none_or(|names| names.contains(&name.as_str()));
                    channel.lines.settle(name, taken);
                }
            }
            Verb::Delete => command.names.iter().for_each(|name| channel.lines.settle(name, false)),
            Verb::Snapshots | Verb::Unsubscribe | Verb::List => {}
        }
        channel.lines.sweep();
    }

    fn listed(&mut self, told: &[Subscribed<'_>]) {
        for (stream, channel) in &mut self.channels {
            let sid = told.iter().find(|told| told.channel == stream.name()).map(|told| told.sid);
            match (channel.state, sid) {
                (State::Doubt, Some(sid)) => channel.begin(sid),
                (State::Doubt, None) => channel.end(State::Off),
                _ => {}
            }
        }
    }

    fn failed(&mut self, envelope: &Envelope<'_>, now: Duration) -> Result<()> {
        let problem: Problem<'_> = envelope
            .msg
            .and_then(|msg| serde_json::from_str(msg.get()).ok())
            .unwrap_or(Problem { code: 0, msg: "an error without words".into(), market_ticker: None });
        let ends = |kind| {
            let words = shown(&problem.msg);
            Error::new(kind, "subscribe").detail(words).with("code", problem.code)
        };
        if problem.code == AUTHENTICATION {
            return Err(ends(ErrorKind::Denied).hint("is the key still valid, and allowed to read?"));
        }
        if let Some(name) = problem.market_ticker.as_deref()
            && self.refuse_one(envelope.id, name, &problem, now)
        {
            return Ok(());
        }
        let Some(command) = self.commands.answered(envelope.id) else {
            // About no command: what was subscribed may be gone, or we read too slowly. Nothing short of a new
            // connection tells what was lost.
            let is_over = [CHANNEL, INTERNAL, OVERFLOW].contains(&problem.code);
            return if is_over { Err(ends(ErrorKind::Closed)) } else { Ok(()) };
        };
        self.refused(&command, &problem, now);
        Ok(())
    }

    /// An error about one market of a command says nothing about the others; whether they are told is.
    fn refuse_one(&mut self, id: u64, name: &str, problem: &Problem<'_>, now: Duration) -> bool {
        let Some(stream) = self.commands.stream(id) else { return false };
        let spared = self.commands.spare(id, name, now);
        if spared && let Some(channel) = self.channels.get_mut(&stream) {
            channel.lines.refuse(name, shown(&problem.msg), now);
        }
        spared
    }

    fn refused(&mut self, command: &Command, problem: &Problem<'_>, now: Duration) {
        let words = shown(&problem.msg);
        if problem.code == TOO_MANY {
            self.paused = now + PAUSE;
        }
        let Some(channel) = self.channels.get_mut(&command.stream) else { return };
        match (command.verb, problem.code) {
            (Verb::List, _) | (Verb::Snapshots, _) => {}
            (Verb::Unsubscribe, _) | (_, UNKNOWN_SID) | (Verb::Subscribe, ALREADY) => {
                channel.end(State::Doubt);
            }
            (Verb::Subscribe, _) if command.names.is_empty() || problem.code == UNKNOWN_CHANNEL => {
                channel.end(State::Off);
                channel.refused = Some(words);
                channel.not_before = now + REFUSED_FOR;
            }
            (Verb::Delete, code) => {
                let is_gone = code == NOT_FOUND && command.names.len() == 1;
                for name in &command.names {
                    match () {
                        () if is_gone => channel.lines.settle(name, false),
                        () if code == TOO_MANY => channel.lines.keep(name),
                        () => channel.lines.doubt(name, now),
                    }
                }
            }
            (Verb::Add, ALREADY) => command.names.iter().for_each(|name| channel.lines.settle(name, true)),
            (Verb::Subscribe | Verb::Add, code) => {
                if channel.state == State::Asked && command.verb == Verb::Subscribe {
                    channel.state = State::Off;
                }
                let is_last = command.names.len() == 1 || code == MARKETS;
                for name in &command.names {
                    match () {
                        () if code == TOO_MANY => channel.lines.settle(name, false),
                        () if is_last => channel.lines.refuse(name.as_str(), words.clone(), now),
                        () => channel.lines.fail(name),
                    }
                }
            }
        }
        channel.lines.sweep();
    }

    /// Nobody knows what became of a command that is not answered.
    fn expire(&mut self, command: &Command, now: Duration) {
        let Some(channel) = self.channels.get_mut(&command.stream) else { return };
        match command.verb {
            Verb::Subscribe => {
                channel.not_before = now + backoff(channel.failures);
                channel.failures += 1;
                if channel.state == State::Asked {
                    channel.state = State::Doubt;
                }
                command.names.iter().for_each(|name| channel.lines.doubt(name, now));
            }
            Verb::Unsubscribe => {
                if matches!(channel.state, State::Leaving(_)) {
                    channel.state = State::Doubt;
                }
            }
            Verb::Add | Verb::Delete => {
                command.names.iter().for_each(|name| channel.lines.doubt(name, now));
            }
            Verb::Snapshots | Verb::List => {}
        }
    }

    /// Sends as many commands as may go out now; the rest waits for the next beat.
    fn ask(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        if now < self.paused {
            return;
        }
        let is_doubtful = self.channels.values().any(|channel| channel.state == State::Doubt);
        if is_doubtful && !self.commands.awaits(Verb::List) && self.may_send() {
            self.commands.send(Verb::List, Stream::Book, None, Vec::new(), now, send);
        }
        let streams: Vec<Stream> = self.channels.keys().copied().collect();
        // What begins goes before what ends.
        for stream in &streams {
            self.begin(*stream, now, send);
        }
        for stream in &streams {
            self.leave(*stream, now, send);
        }
        self.ask_snapshots(now, send);
    }

    fn begin(&mut self, stream: Stream, now: Duration, send: &mut Vec<Bytes>) {
        loop {
            let Some(channel) = self.channels.get_mut(&stream) else { return };
            if self.sent >= COMMANDS_PER_BEAT {
                return;
            }
            let (verb, sid) = match channel.state {
                State::Off if now >= channel.not_before => (Verb::Subscribe, None),
                State::On(sid) => (Verb::Add, Some(sid)),
                _ => return,
            };
            let names = channel.lines.add_next(&MARKETS_PER_COMMAND, now);
            let whole = verb == Verb::Subscribe && channel.wanted;
            if names.is_empty() && !whole {
                return;
            }
            if verb == Verb::Subscribe {
                channel.state = State::Asked;
            }
            self.sent += 1;
            self.commands.send(verb, stream, sid, names, now, send);
        }
    }

    /// Leaves what is not wanted. A subscription without markets may mean all of them, so the last are left by
    /// leaving the subscription; and none are left before what is new is confirmed.
    fn leave(&mut self, stream: Stream, now: Duration, send: &mut Vec<Bytes>) {
        loop {
            let Some(channel) = self.channels.get_mut(&stream) else { return };
            let State::On(sid) = channel.state else { return };
            if self.sent >= COMMANDS_PER_BEAT || channel.wanted {
                return;
            }
            let (verb, names) = match channel.lines.rest() {
                Rest::Unknown => return,
                Rest::Something => (Verb::Delete, channel.lines.leave_next(&MARKETS_PER_COMMAND, now)),
                Rest::Nothing => {
                    channel.state = State::Leaving(sid);
                    (Verb::Unsubscribe, Vec::new())
                }
            };
            if verb == Verb::Delete && names.is_empty() {
                return;
            }
            self.sent += 1;
            self.commands.send(verb, stream, Some(sid), names, now, send);
        }
    }

    /// Asks for snapshots of broken books, as many at a time as go into one command.
    fn ask_snapshots(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        let Some(channel) = self.channels.get(&Stream::Book) else { return };
        let State::On(sid) = channel.state else { return };
        if self.broken.is_empty()
            || now < self.paused
            || !self.may_send()
            || self.commands.awaits(Verb::Snapshots)
        {
            return;
        }
        let lines = &channel.lines.0;
        self.broken.retain(|symbol, _| lines.get(symbol).is_some_and(|line| line.wanted));
        let due =
            |asked: &Option<Duration>| asked.is_none_or(|asked| now.saturating_sub(asked) >= ANSWER_TIME_MAX);
        let is_on = |symbol: &Symbol| lines.get(symbol).is_some_and(Line::is_on);
        let names: Vec<Symbol> = self
            .broken
            .iter_mut()
            .filter(|(symbol, asked)| due(asked) && is_on(symbol))
            .take(MARKETS_PER_COMMAND[0])
            .map(|(symbol, asked)| {
                *asked = Some(now);
                symbol.clone()
            })
            .collect();
        if !names.is_empty() {
            self.sent += 1;
            self.commands.send(Verb::Snapshots, Stream::Book, Some(sid), names, now, send);
        }
    }

    fn may_send(&self) -> bool {
        self.sent < COMMANDS_PER_BEAT
    }
}

impl Channel {
    /// The venue has it under this number.
    fn begin(&mut self, sid: u64) {
        self.state = State::On(sid);
        self.refused = None;
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }

    /// The venue does not have it, or nobody knows.
    fn end(&mut self, state: State) {
        self.state = state;
        self.lines.forget(state == State::Doubt);
    }
}

/// The venue's codes.
const ALREADY: u64 = 6;
const UNKNOWN_SID: u64 = 7;
const UNKNOWN_CHANNEL: u64 = 8;
const AUTHENTICATION: u64 = 9;
const CHANNEL: u64 = 10;
const NOT_FOUND: u64 = 16;
const INTERNAL: u64 = 17;
const OVERFLOW: u64 = 25;
const MARKETS: u64 = 26;
const TOO_MANY: u64 = 27;

/// The markets of a subscription as `ok` tells them, if it does.
fn names<'a>(envelope: &Envelope<'a>) -> Option<std::collections::HashSet<&'a str>> {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        market_tickers: Option<&'a RawValue>,
    }
    let told = envelope.msg.and_then(|msg| serde_json::from_str::<Told<'a>>(msg.get()).ok());
    let raw = told.and_then(|told| told.market_tickers).or(envelope.market_tickers)?;
    serde_json::from_str(raw.get()).ok()
}
