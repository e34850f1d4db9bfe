//! Scripted faults: what a simulator does wrong on purpose, and its ledger of what a client could know of it.
//!
//! It stands between what the venue says and what goes on the wire. A fault is *pending* until a frame shows it or
//! the client knows again what the venue meant; then it has a row in the ledger.

mod ledger;
mod script;
pub(super) mod witness;
mod yaml;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::Timestamp;
use ssmd_core::entry::FRAME_BYTES_MAX;
use tokio_tungstenite::tungstenite::Utf8Bytes;

pub(super) use ledger::Row;
use ledger::{Hole, Injected};
pub use script::FaultScript;
use script::{Kind, Rule, When};
use witness::{Evidence, Place, Topic, Witness, wrong_digit};

use super::outbox::{Outbox, Wire};
use super::venue::Connection;

/// Faults of one connection that may still show; the oldest are taken for harmless beyond that.
const PENDING_MAX: usize = 4096;
/// How often a silent connection with pings pings.
const PING_EVERY: Duration = Duration::from_millis(500);
/// A message that no venue sends.
const UNKNOWN: &str = r#"{"channel":"no_such_channel","type":"update","data":[]}"#;

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) elapsed: Duration,
    pub(super) at: Timestamp,
}

/// What the port shall do wrong.
#[derive(Debug, Default)]
pub(super) struct Port {
    /// Connects to refuse.
    pub(super) refusals: AtomicU64,
    /// Answers of REST to spoil.
    pub(super) spoilt: AtomicU64,
}

impl Port {
    /// One less; whether there was any.
    pub(super) fn takes(count: &AtomicU64) -> bool {
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The answer with a wrong digit, if it is one that has sizes and its turn.
    pub(super) fn spoil(&self, body: Bytes) -> Bytes {
        if self.spoilt.load(Ordering::Relaxed) == 0 {
            return body;
        }
        let wrong = std::str::from_utf8(&body).ok().and_then(|text| wrong_digit(text, &["\"size\":\""], 0));
        match wrong {
            Some(wrong) if Self::takes(&self.spoilt) => wrong.into(),
            _ => body,
        }
    }
}

/// A script at work.
pub(super) struct Faults {
    rules: Vec<Armed>,
    rng: StdRng,
    victims: BTreeMap<Connection, Victim>,
    port: Arc<Port>,
    began: Option<Duration>,
    injected: u64,
    hole: Option<Hole>,
    /// Rows that are complete.
    rows: Vec<Row>,
}

struct Armed {
    rule: Rule,
    matched: u64,
    fired: u64,
}

/// One connection.
struct Victim {
    outbox: Arc<Outbox>,
    witness: Box<dyn Witness>,
    opened: Duration,
    state: State,
    frames: u64,
    first: Option<Place>,
    last: Option<Place>,
    pending: Vec<(Injected, Topic)>,
    late: Vec<Late>,
    /// What ends the connection if its client leaves now, without a goodbye.
    fatal: Option<(Injected, Evidence)>,
    /// Rows whose evidence is on its way.
    shown: Vec<Row>,
}

enum State {
    Open,
    /// Everything waits.
    Held {
        until: Duration,
        first: (Wire, Topic),
        rest: Vec<Wire>,
    },
    /// Nothing is said.
    Silent {
        until: Option<Duration>,
        injected: Injected,
        ping: Option<Duration>,
    },
    /// Nothing can be said any more.
    Dead,
}

/// A frame that others overtake.
struct Late {
    left: u64,
    topic: Topic,
    wire: Wire,
}

impl Faults {
    pub(super) fn new(script: FaultScript, port: Arc<Port>) -> Self {
        let armed = |rule| Armed { rule, matched: 0, fired: 0 };
        let mut faults = Self {
            rules: script.rules.into_iter().map(armed).collect(),
            rng: StdRng::seed_from_u64(script.seed),
            victims: BTreeMap::new(),
            port,
            began: None,
            injected: 0,
            hole: None,
            rows: Vec::new(),
        };
        faults.refuse_after(0, Timestamp::default());
        for armed in faults.rules.iter().filter(|armed| armed.rule.kind == Kind::WrongRest) {
            faults.port.spoilt.fetch_add(armed.rule.times, Ordering::Relaxed);
        }
        faults
    }

    pub(super) fn opened(
        &mut self,
        client: Connection,
        outbox: Arc<Outbox>,
        witness: Box<dyn Witness>,
        now: Duration,
    ) {
        self.began.get_or_insert(now);
        let victim = Victim {
            outbox,
            witness,
            opened: now,
            state: State::Open,
            frames: 0,
            first: None,
            last: None,
            pending: Vec::new(),
            late: Vec::new(),
            fatal: None,
            shown: Vec::new(),
        };
        self.victims.insert(client, victim);
    }

    /// Turns what is said to a client into what goes on its wire.
    pub(super) fn wire(
        &mut self,
        client: Connection,
        frames: impl IntoIterator<Item = Wire>,
        now: Moment,
    ) -> Vec<Wire> {
        let mut out = Vec::new();
        frames.into_iter().for_each(|wire| self.say(client, wire, now, &mut out));
        out
    }

    /// What is due now: ends of delays and of silences, pings; and rows whose evidence has left.
    pub(super) fn due(&mut self, now: Moment) -> Vec<(Connection, Vec<Wire>)> {
        let clients: Vec<_> = self.victims.keys().copied().collect();
        let mut all = Vec::new();
        for client in clients {
            let mut out = Vec::new();
            self.wake(client, now, &mut out);
            if !out.is_empty() {
                all.push((client, out));
            }
            if let Some(victim) = self.victims.get_mut(&client) {
                let sent = victim.outbox.frames();
                self.rows.extend(victim.shown.extract_if(.., |row| row.is_within(sent)));
            }
        }
        all
    }

    /// Whether nothing waits for its time.
    pub(super) fn is_idle(&self) -> bool {
        self.victims.values().all(|victim| !matches!(victim.state, State::Held { .. }))
    }

    /// A client has gone, with a goodbye of its own or without.
    pub(super) fn gone(&mut self, client: Connection, goodbye: bool, at: Timestamp) {
        let Some(mut victim) = self.victims.remove(&client) else { return };
        let sent = victim.outbox.frames();
        for row in victim.shown.drain(..) {
            // What was said and did not leave any more shows nothing.
            let row = if row.is_within(sent) { row } else { row.without_evidence() };
            self.rows.push(row);
        }
        let fatal = victim.fatal.take();
        let of_fatal = |injected: &Injected| fatal.as_ref().is_some_and(|(f, _)| f.id == injected.id);
        for (injected, topic) in victim.pending.drain(..) {
            if !of_fatal(&injected) {
                self.rows.push(injected.row(&topic));
            }
        }
        match (fatal, victim.last) {
            (Some((injected, evidence)), Some(from)) if !goodbye => {
                let hole = Hole { from, evidence, injected };
                // The client may have come back before its old connection was seen to be gone.
                let next = self.victims.range_mut(client + 1..).find_map(|(_, v)| Some((v.first?, v)));
                match next {
                    Some((to, victim)) => victim.shown.push(hole.ends(to)),
                    None => {
                        let before = self.hole.replace(hole);
                        self.rows.extend(before.map(|hole| hole.injected.row(&Topic::default())));
                    }
                }
            }
            (Some((injected, _)), _) => self.rows.push(injected.row(&Topic::default())),
            (None, _) => {}
        }
        self.refuse_after(client, at);
    }

    /// Rows that are complete.
    pub(super) fn rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// The rows of what will never show.
    pub(super) fn finish(&mut self) -> Vec<Row> {
        let hole = self.hole.take();
        self.rows.extend(hole.map(|hole| hole.injected.row(&Topic::default())));
        self.rows()
    }

    fn refuse_after(&mut self, client: Connection, at: Timestamp) {
        for index in 0..self.rules.len() {
            let Armed { rule, fired, .. } = &mut self.rules[index];
            let times = rule.times;
            if rule.kind == Kind::Refuse && rule.connection.unwrap_or(1) == client && *fired == 0 {
                *fired = 1;
                self.port.refusals.fetch_add(times, Ordering::Relaxed);
                let injected = self.inject(Kind::Refuse, client, 0, at);
                self.rows.push(injected.row(&Topic::default()));
            }
        }
    }

    fn inject(&mut self, kind: Kind, connection: Connection, frame: u64, at: Timestamp) -> Injected {
        self.injected += 1;
        Injected { id: self.injected, fault: kind.word(), connection, frame, at }
    }

    fn wake(&mut self, client: Connection, now: Moment, out: &mut Vec<Wire>) {
        let Some(victim) = self.victims.get_mut(&client) else { return };
        let over = match &mut victim.state {
            State::Held { until, .. } => now.elapsed >= *until,
            State::Silent { until, ping, .. } => {
                if let Some(next) = ping.as_mut().filter(|next| now.elapsed >= **next) {
                    *next = now.elapsed + PING_EVERY;
                    out.push(Wire::Ping);
                }
                until.is_some_and(|until| now.elapsed >= until)
            }
            State::Open | State::Dead => false,
        };
        if !over {
            return;
        }
        let fatal = victim.fatal.take();
        match std::mem::replace(&mut victim.state, State::Open) {
            State::Held { first: (wire, topic), rest, .. } => {
                self.rows.extend(fatal.map(|(injected, _)| injected.row(&topic)));
                self.send(client, wire, &topic, now, out);
                rest.into_iter().for_each(|wire| self.say(client, wire, now, out));
            }
            State::Silent { injected, .. } => {
                if !victim.pending.iter().any(|(pending, _)| pending.id == injected.id) {
                    self.rows.push(injected.row(&Topic::default()));
                }
            }
            State::Open | State::Dead => {}
        }
    }

    /// One frame that the venue says.
    fn say(&mut self, client: Connection, wire: Wire, now: Moment, out: &mut Vec<Wire>) {
        let Some(victim) = self.victims.get_mut(&client) else { return out.push(wire) };
        let Some(text) = wire.text().cloned() else { return out.push(wire) };
        if let State::Held { rest, .. } = &mut victim.state {
            return rest.push(wire);
        }
        if matches!(victim.state, State::Dead) {
            return;
        }
        let topic = victim.witness.topic(&text);
        victim.witness.told(&text);
        if let State::Silent { injected, .. } = &victim.state {
            let injected = injected.clone();
            let known = victim.pending.iter().any(|(p, t)| p.id == injected.id && *t == topic);
            if !known && victim.witness.is_data(&topic) {
                self.pend(client, injected, &topic);
            }
            return;
        }
        match self.choose(client, &topic, &text, now.elapsed) {
            None => self.send(client, wire, &topic, now, out),
            Some((kind, spoilt)) => {
                let frame = self.victims.get(&client).map_or(0, |victim| victim.frames + 1);
                let injected = self.inject(kind, client, frame, now.at);
                self.happen(client, kind, injected, wire, spoilt, &topic, now, out);
            }
        }
    }

    /// The first rule that this frame meets, and the frame's text if the fault changes it.
    fn choose(
        &mut self,
        client: Connection,
        topic: &Topic,
        text: &str,
        now: Duration,
    ) -> Option<(Kind, Option<Utf8Bytes>)> {
        let Self { rules, rng, victims, began, .. } = self;
        let victim = victims.get(&client)?;
        for armed in rules {
            let rule = &armed.rule;
            let of_connection = !rule.kind.is_of_frame();
            let meets = rule.connection.is_none_or(|connection| connection == client)
                && rule.symbol.as_ref().is_none_or(|symbol| *symbol == topic.symbol)
                && match &rule.channel {
                    Some(channel) => *channel == topic.channel,
                    None => of_connection || victim.witness.is_data(topic),
                };
            let late = rule.until.is_some_and(|until| began.is_some_and(|began| now >= began + until));
            if !meets || late || armed.fired >= rule.times || rule.when == When::Gone {
                continue;
            }
            let spoilt = match rule.kind {
                Kind::Corrupt => victim.witness.corrupt(text, rng.random()).map(Utf8Bytes::from),
                Kind::BadChecksum => victim.witness.bad_checksum(text).map(Utf8Bytes::from),
                Kind::Malformed => Some(text[..text.floor_char_boundary(text.len() / 2)].into()),
                _ => None,
            };
            if spoilt.is_none() && matches!(rule.kind, Kind::Corrupt | Kind::BadChecksum) {
                continue;
            }
            armed.matched += 1;
            let fires = match rule.when {
                When::After(count) => armed.matched > count,
                When::Every(count) => armed.matched.is_multiple_of(count),
                When::Chance(chance) => rng.random_bool(chance),
                When::At(time) => now.saturating_sub(victim.opened) >= time,
                When::Gone => false,
            };
            if fires {
                armed.fired += 1;
                return Some((rule.kind, spoilt));
            }
        }
        None
    }

    #[expect(clippy::too_many_arguments, reason = "all of it belongs to the one frame that goes wrong")]
    fn happen(
        &mut self,
        client: Connection,
        kind: Kind,
        injected: Injected,
        wire: Wire,
        spoilt: Option<Utf8Bytes>,
        topic: &Topic,
        now: Moment,
        out: &mut Vec<Wire>,
    ) {
        match kind {
            Kind::Drop | Kind::Refuse | Kind::WrongRest => self.pend(client, injected, topic),
            Kind::Duplicate { copies } => {
                self.send(client, wire.clone(), topic, now, out);
                self.pend(client, injected, topic);
                (0..copies).for_each(|_| self.send(client, wire.clone(), topic, now, out));
            }
            Kind::Reorder { by } => {
                if let Some(victim) = self.victims.get_mut(&client) {
                    victim.late.push(Late { left: by, topic: topic.clone(), wire });
                }
                self.pend(client, injected, topic);
            }
            Kind::Corrupt | Kind::BadChecksum | Kind::Malformed => {
                // It is known before the frame is seen, and shown by it at the earliest.
                if let Some(victim) = self.victims.get_mut(&client) {
                    victim.pending.push((injected, topic.clone()));
                }
                self.send(client, spoilt.map_or(wire, Wire::Said), topic, now, out);
            }
            Kind::Unknown => {
                self.rows.push(injected.row(&Topic::default()));
                self.send(client, Wire::Said(UNKNOWN.into()), &Topic::default(), now, out);
                self.send(client, wire, topic, now, out);
            }
            Kind::Oversize { bytes } if bytes <= FRAME_BYTES_MAX => {
                self.rows.push(injected.row(&Topic::default()));
                let text = format!(r#"{{"channel":"no_such_channel","pad":"{}"}}"#, "x".repeat(bytes));
                self.send(client, Wire::Said(text.into()), &Topic::default(), now, out);
                self.send(client, wire, topic, now, out);
            }
            Kind::Delay { time } => {
                let state =
                    State::Held { until: now.elapsed + time, first: (wire, topic.clone()), rest: Vec::new() };
                self.turn(client, state, injected, Evidence::Silence);
            }
            Kind::Silence { time, pings } => {
                let state = State::Silent {
                    until: time.map(|time| now.elapsed + time),
                    injected: injected.clone(),
                    ping: pings.then_some(now.elapsed),
                };
                self.turn(client, state, injected.clone(), Evidence::Silence);
                self.pend(client, injected, topic);
            }
            _ => self.end(client, kind, injected, wire, out),
        }
    }

    /// A fault that the connection does not survive.
    fn end(&mut self, client: Connection, kind: Kind, injected: Injected, wire: Wire, out: &mut Vec<Wire>) {
        let text = wire.text().cloned().unwrap_or_default();
        let (last, evidence) = match kind {
            Kind::InvalidUtf8 => {
                let mut bytes = Vec::from(text.as_bytes());
                bytes.insert(bytes.len() / 2, 0xff);
                (Wire::Raw(bytes.into()), Evidence::Protocol)
            }
            Kind::Oversize { bytes } => (Wire::Raw(vec![b' '; bytes].into()), Evidence::Protocol),
            Kind::SlowDrip { bytes_per_second } => {
                (Wire::Drip(text, Duration::from_secs(1) / bytes_per_second), Evidence::Silence)
            }
            Kind::Close { abrupt: true } => (Wire::Cut, Evidence::Disconnect),
            Kind::Close { abrupt: false } => (Wire::Close, Evidence::Disconnect),
            _ => (Wire::Stall, Evidence::Silence),
        };
        self.turn(client, State::Dead, injected, evidence);
        out.push(last);
    }

    fn turn(&mut self, client: Connection, state: State, injected: Injected, evidence: Evidence) {
        if let Some(victim) = self.victims.get_mut(&client) {
            victim.state = state;
            victim.fatal = Some((injected, evidence));
        }
    }

    /// Puts one frame on the wire, then those that waited for it.
    fn send(&mut self, client: Connection, wire: Wire, topic: &Topic, now: Moment, out: &mut Vec<Wire>) {
        self.put(client, wire, topic, now, out);
        let Some(victim) = self.victims.get_mut(&client) else { return };
        for late in victim.late.iter_mut().filter(|late| late.topic == *topic) {
            late.left = late.left.saturating_sub(1);
        }
        let ready: Vec<_> = victim.late.extract_if(.., |late| late.left == 0).collect();
        for late in ready {
            self.put(client, late.wire, &late.topic, now, out);
        }
    }

    fn put(&mut self, client: Connection, wire: Wire, topic: &Topic, now: Moment, out: &mut Vec<Wire>) {
        let Some(victim) = self.victims.get_mut(&client) else { return };
        victim.frames += 1;
        let place = Place { connection: client, frame: victim.frames, at: now.at };
        victim.first.get_or_insert(place);
        victim.last = Some(place);
        if let Some(hole) = self.hole.take() {
            victim.shown.push(hole.ends(place));
        }
        let shown = wire.text().map_or_else(Vec::new, |text| victim.witness.seen(text, place));
        out.push(wire);
        for shown in shown {
            let of_topic = victim.pending.extract_if(.., |(_, pending)| *pending == shown.topic);
            let mut rows: Vec<_> = of_topic.map(|(injected, topic)| injected.row(&topic)).collect();
            if rows.is_empty() {
                // The recording itself has a hole here.
                rows.push(Injected::recorded(place).row(&shown.topic));
            }
            victim.shown.extend(rows.into_iter().map(|row| row.shows(&shown, place)));
        }
        self.settle(client, topic);
    }

    fn pend(&mut self, client: Connection, injected: Injected, topic: &Topic) {
        let Some(victim) = self.victims.get_mut(&client) else { return };
        victim.pending.push((injected, topic.clone()));
        if victim.pending.len() > PENDING_MAX {
            let (oldest, topic) = victim.pending.remove(0);
            self.rows.push(oldest.row(&topic));
        }
        self.settle(client, topic);
    }

    /// Faults whose harm is over have shown nothing.
    fn settle(&mut self, client: Connection, topic: &Topic) {
        let Some(victim) = self.victims.get_mut(&client) else { return };
        let is_pending = victim.pending.iter().any(|(_, pending)| pending == topic);
        if is_pending && victim.witness.is_whole(topic) {
            let over = victim.pending.extract_if(.., |(_, pending)| pending == topic);
            self.rows.extend(over.map(|(injected, topic)| injected.row(&topic)));
        }
    }
}
