//! Commands: their form, and those that have no answer yet.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use ssmd_core::Symbol;

use super::channel::Stream;

/// An answer takes a round trip; one that is missing for this long is not coming.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How much longer to wait for the rest of an answer that was an error about one of several markets.
const REST_TIME_MAX: Duration = Duration::from_secs(2);

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe,
    Add,
    Delete,
    Unsubscribe,
    /// Asks for snapshots.
    Snapshots,
    /// Asks what is subscribed.
    List,
}

/// A command that has no answer yet.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) verb: Verb,
    pub(super) stream: Stream,
    pub(super) names: Vec<Symbol>,
    since: Duration,
}

/// The commands of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Commands {
    last: u64,
    pending: BTreeMap<u64, Command>,
}

#[derive(Serialize)]
struct Frame<'a> {
    id: u64,
    cmd: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Params<'a>>,
}

#[derive(Default, Serialize)]
struct Params<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sids: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    market_tickers: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_yes_price: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_initial_snapshot: Option<bool>,
}

impl Commands {
    /// Sends a command, about the subscription `sid` where it is about one.
    pub(super) fn send(
        &mut self,
        verb: Verb,
        stream: Stream,
        sid: Option<u64>,
        names: Vec<Symbol>,
        now: Duration,
        send: &mut Vec<Bytes>,
    ) {
        // 0 means that there is no number.
        self.last += 1;
        let update = |action| Params { sids: sid.into_iter().collect(), action, ..Params::default() };
        let (cmd, params) = match verb {
            Verb::Subscribe => ("subscribe", Some(subscribe(stream))),
            Verb::Add => ("update_subscription", Some(update(Some("add_markets")))),
            Verb::Delete => ("update_subscription", Some(update(Some("delete_markets")))),
            Verb::Snapshots => ("update_subscription", Some(update(Some("get_snapshot")))),
            Verb::Unsubscribe => ("unsubscribe", Some(update(None))),
            Verb::List => ("list_subscriptions", None),
        };
        let told = match verb {
            Verb::Unsubscribe | Verb::List => Vec::new(),
            _ => names.iter().map(Symbol::as_str).collect(),
        };
        let params = params.map(|params| Params { market_tickers: told, ..params });
        send.extend(serde_json::to_vec(&Frame { id: self.last, cmd, params }).map(Bytes::from));
        self.pending.insert(self.last, Command { verb, stream, names, since: now });
    }

    /// The command with this number, which has been answered.
    pub(super) fn answered(&mut self, id: u64) -> Option<Command> {
        self.pending.remove(&id)
    }

    /// The channel that a command is about.
    pub(super) fn stream(&self, id: u64) -> Option<Stream> {
        self.pending.get(&id).map(|command| command.stream)
    }

    /// Takes one market out of a command that has others, about which the venue may still say something.
    pub(super) fn spare(&mut self, id: u64, name: &str, now: Duration) -> bool {
        let Some(command) = self.pending.get_mut(&id) else { return false };
        let before = command.names.len();
        command.names.retain(|other| other.as_str() != name);
        let is_shorter = command.names.len() < before && !command.names.is_empty();
        if is_shorter {
            command.since = command.since.min((now + REST_TIME_MAX).saturating_sub(ANSWER_TIME_MAX));
        }
        is_shorter
    }

    /// What is not answered in time.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<Command> {
        let late = |command: &Command| now.saturating_sub(command.since) >= ANSWER_TIME_MAX;
        self.pending.extract_if(.., |_, command| late(command)).map(|(_, command)| command).collect()
    }

    /// Whether an answer to such a command is awaited.
    pub(super) fn awaits(&self, verb: Verb) -> bool {
        self.pending.values().any(|command| command.verb == verb)
    }

    /// Forgets that snapshots were asked for, if all that were have come.
    pub(super) fn all_came(&mut self, is_awaited: impl Fn(&Symbol) -> bool) {
        self.pending
            .retain(|_, command| command.verb != Verb::Snapshots || command.names.iter().any(&is_awaited));
    }
}

/// The scale of the no side's prices is asked for in words, since what the venue does without them will change.
fn subscribe(stream: Stream) -> Params<'static> {
    Params {
        channels: vec![stream.name()],
        use_yes_price: (stream == Stream::Book).then_some(false),
        send_initial_snapshot: (stream == Stream::Ticker).then_some(true),
        ..Params::default()
    }
}
