//! The exchange itself: one task that owns the venue, the source of its frames and every client's queue.
//!
//! Everything that a client gets passes through [`Exchange::wire`]: what the venue says on one side of it, what
//! goes on the wire on the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ssmd_core::{Clock, Result};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::connection::Event;
use super::faults::{Faults, Moment, Row};
use super::log::Sender;
use super::outbox::{Outbox, Wire};
use super::player::Player;
use super::venue::{Connection, Outgoing, SimVenue};

/// What may wait for one client, in bytes, before it is cut off: a minute of a busy venue.
pub(super) const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Above this, sources without a pace of their own wait for the client.
const QUEUE_BYTES_FULL: usize = 1 << 20;
/// How long an unpaced model waits for a client that takes nothing, before it cuts it off.
pub(super) const STALL_MAX: Duration = Duration::from_secs(5);
/// Messages made between two looks at the clients.
const TURN_MESSAGES: usize = 512;
/// Market events between two looks at the clients, messages or not.
const TURN_EVENTS: usize = 4096;
/// Kraken says something at least once a second.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How exactly a heartbeat comes.
const HEARTBEAT_CHECK: Duration = Duration::from_millis(50);
/// A client without subscriptions that says nothing for so long is closed, as the venue does.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A paced model that was kept from its work longer than this does not catch up.
const LATE_MAX: Duration = Duration::from_secs(1);
/// A paced model looks at its clock no more often than this.
const PACE_MIN: Duration = Duration::from_millis(1);
/// What clients have to take what waits for them and close, when the play is over.
const DONE_MAX: Duration = Duration::from_secs(30);
/// What they have when the simulator is told to stop.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Where frames come from.
pub(super) enum Frames {
    /// The venue's market, with so many messages a second, or as many as clients take.
    Model(Pace),
    /// A recording; whether its end is the simulator's.
    Play { player: Player, exit: bool },
}

/// Messages owed by a model.
pub(super) struct Pace {
    rate: Option<f64>,
    owed: f64,
    at: Duration,
}

impl Pace {
    /// So many messages a second; `None` for as many as clients take.
    pub(super) fn new(rate: Option<f64>) -> Self {
        Self { rate, owed: 0.0, at: Duration::ZERO }
    }
}

/// The exchange.
pub(super) struct Exchange {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) venue: Box<dyn SimVenue>,
    pub(super) frames: Frames,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) room: Arc<Notify>,
    /// Cancelled when no more connections are wanted.
    pub(super) closing: CancellationToken,
    pub(super) clients: BTreeMap<Connection, Client>,
    pub(super) out: Outgoing,
    /// Whether anybody has listened yet.
    pub(super) listened: bool,
    /// Clients cut off since they were too slow.
    pub(super) cut: u64,
    /// What goes wrong on purpose.
    pub(super) faults: Option<Faults>,
    /// Where it is written down.
    pub(super) ledger: Sender<Row>,
}

/// One client, as the exchange sees it.
pub(super) struct Client {
    outbox: Arc<Outbox>,
    /// It has subscribed at least once, so it gets recorded frames.
    listens: bool,
    /// When something was last said to it, or heard from it.
    active: Duration,
    /// How much waited for it when last seen, and when it last took something.
    stalled: (usize, Duration),
}

/// What there is to wait for.
enum Wait {
    /// Nothing: there is more to do.
    Nothing,
    /// A client that must take something first.
    Room,
    /// The files.
    Files,
    /// So much time.
    Time(Duration),
}

impl Exchange {
    /// Runs until `stop`, or until the play is over if that is its end; then closes every connection.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<u64> {
        let ran = self.serve(stop).await;
        if let Some(faults) = &mut self.faults {
            let rows = faults.finish();
            self.ledger.send(rows).await;
        }
        ran.map(|()| self.cut)
    }

    async fn serve(&mut self, stop: CancellationToken) -> Result<()> {
        let mut deadline = None;
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.take(event);
            }
            let now = self.clock.elapsed();
            match deadline {
                None if stop.is_cancelled() => deadline = Some(self.close(now + STOP_MAX)),
                None if self.is_done() => deadline = Some(self.close(now + DONE_MAX)),
                Some(_) if self.clients.is_empty() && self.events.is_closed() => return Ok(()),
                Some(deadline) if now >= deadline => self.clients.values().for_each(|c| c.outbox.cut()),
                _ => {}
            }
            let wait = if deadline.is_none() { self.work(now) } else { Wait::Time(HEARTBEAT_CHECK) };
            self.deliver(now);
            self.do_wrong(now).await;
            self.keep_alive(now, deadline.is_some());
            if !self.pause(wait, &stop, deadline.is_some()).await? {
                return Ok(());
            }
        }
    }

    /// Faults that are due, and the rows of those that are over.
    async fn do_wrong(&mut self, elapsed: Duration) {
        let Some(faults) = &mut self.faults else { return };
        for (client, wires) in faults.due(Moment { elapsed, at: self.clock.now() }) {
            if let Some(client) = self.clients.get(&client) {
                client.outbox.push(wires);
            }
        }
        let rows = faults.rows();
        self.ledger.send(rows).await;
    }

    /// Waits; false if no client can come any more.
    async fn pause(&mut self, wait: Wait, stop: &CancellationToken, closing: bool) -> Result<bool> {
        let (files, room, time) = match wait {
            Wait::Nothing => {
                tokio::task::yield_now().await;
                return Ok(true);
            }
            Wait::Files => (true, false, HEARTBEAT_CHECK),
            Wait::Room => (false, true, HEARTBEAT_CHECK),
            Wait::Time(time) => (false, false, time.min(HEARTBEAT_CHECK)),
        };
        let frames = &mut self.frames;
        let read_on = async {
            match frames {
                Frames::Play { player, .. } if files => player.read_on().await,
                _ => std::future::pending().await,
            }
        };
        // Nobody to talk to: nothing happens until somebody comes.
        let sleep = async {
            match self.clients.is_empty() && !closing {
                true => std::future::pending().await,
                false => self.clock.sleep(time).await,
            }
        };
        let event = tokio::select! {
            biased;
            () = stop.cancelled(), if !closing => return Ok(true),
            event = self.events.recv() => event,
            read = read_on => return read.map(|()| true),
            () = self.room.notified(), if room => return Ok(true),
            () = sleep => return Ok(true),
        };
        let open = event.is_some();
        if let Some(event) = event {
            self.take(event);
        }
        Ok(open)
    }

    fn take(&mut self, event: Event) {
        let (now, at) = (self.clock.elapsed(), self.clock.now());
        match event {
            Event::Opened { client, outbox } => {
                if self.closing.is_cancelled() {
                    outbox.push([Wire::Close]);
                }
                if let (Some(faults), Some(witness)) = (&mut self.faults, self.venue.witness()) {
                    faults.opened(client, outbox.clone(), witness, now);
                }
                let new = Client { outbox, listens: false, active: now, stalled: (0, now) };
                self.clients.insert(client, new);
                self.venue.opened(client, at, &mut self.out);
            }
            Event::Heard { client, text } => {
                self.venue.heard(client, &text, at, &mut self.out);
                let first = !self.clients.values().any(|client| client.listens);
                let Some(heard) = self.clients.get_mut(&client) else { return };
                heard.active = now;
                if !heard.listens && self.venue.is_subscribed(client) {
                    heard.listens = true;
                    self.listened = true;
                    if let (true, Frames::Play { player, .. }) = (first, &mut self.frames) {
                        player.resume(now);
                    }
                }
            }
            Event::Gone { client, goodbye, unsent } => {
                if let Some(faults) = &mut self.faults {
                    faults.gone(client, goodbye, at);
                }
                self.gone(client, unsent);
            }
        }
        self.deliver(now);
    }

    fn gone(&mut self, client: Connection, mut unsent: Vec<Utf8Bytes>) {
        self.venue.gone(client);
        self.out.forget(client);
        let Some(gone) = self.clients.remove(&client) else { return };
        unsent.extend(gone.outbox.played());
        // Other listeners have these frames; without any, the next one gets them.
        if let Frames::Play { player, .. } = &mut self.frames
            && !self.clients.values().any(|client| client.listens)
        {
            player.hand_back(unsent);
        }
    }

    fn is_done(&self) -> bool {
        let Frames::Play { player, exit: true } = &self.frames else { return false };
        // Every listener must have taken all of it: one that goes before gives the rest back.
        let idle = self.faults.as_ref().is_none_or(Faults::is_idle);
        self.listened
            && player.is_done()
            && idle
            && self.clients.values().all(|client| client.outbox.bytes() == 0)
    }

    fn close(&mut self, deadline: Duration) -> Duration {
        self.closing.cancel();
        for client in self.clients.values() {
            client.outbox.push([Wire::Close]);
        }
        deadline
    }

    /// Lets the source go on.
    fn work(&mut self, now: Duration) -> Wait {
        match &self.frames {
            Frames::Model(_) => self.model(now),
            Frames::Play { .. } => self.play(now),
        }
    }

    fn model(&mut self, now: Duration) -> Wait {
        let Frames::Model(pace) = &mut self.frames else { return Wait::Nothing };
        let (passed, rate) = (now.saturating_sub(std::mem::replace(&mut pace.at, now)), pace.rate);
        if !self.venue.is_active() {
            return Wait::Time(HEARTBEAT_CHECK);
        }
        let budget = match rate {
            Some(rate) => {
                pace.owed += rate * passed.min(LATE_MAX).as_secs_f64();
                if pace.owed < 1.0 {
                    return Wait::Time(Duration::from_secs_f64((1.0 - pace.owed) / rate).max(PACE_MIN));
                }
                pace.owed.min(TURN_MESSAGES as f64) as usize
            }
            None if self.is_full(now) => return Wait::Room,
            None => TURN_MESSAGES,
        };
        let (at, mut said, mut events) = (self.clock.now(), 0, 0);
        while said < budget && events < TURN_EVENTS {
            said += self.venue.step(at, &mut self.out);
            events += 1;
        }
        if let Frames::Model(pace) = &mut self.frames
            && pace.rate.is_some()
        {
            pace.owed -= said as f64;
        }
        Wait::Nothing
    }

    fn play(&mut self, now: Duration) -> Wait {
        let listeners: Vec<_> =
            self.clients.iter().filter(|(_, client)| client.listens).map(|(number, _)| *number).collect();
        let Frames::Play { player, .. } = &mut self.frames else { return Wait::Nothing };
        if player.is_starved() {
            return Wait::Files;
        }
        if listeners.is_empty() || player.is_done() {
            return Wait::Time(HEARTBEAT_CHECK);
        }
        let queued = |client: &Connection| self.clients.get(client).map_or(0, |c| c.outbox.bytes());
        if listeners.iter().any(|client| queued(client) >= QUEUE_BYTES_FULL) {
            return Wait::Room;
        }
        let (mut frames, mut wait, mut bytes) = (Vec::new(), Wait::Nothing, 0);
        while frames.len() < TURN_MESSAGES && bytes < QUEUE_BYTES_FULL {
            match player.next(now) {
                Some(Ok(text)) => {
                    bytes += text.len();
                    frames.push(text);
                }
                Some(Err(time)) => {
                    wait = Wait::Time(time);
                    break;
                }
                None => break,
            }
        }
        for client in listeners {
            self.wire(client, frames.iter().cloned().map(Wire::Played), now);
        }
        wait
    }

    /// Whether a listener must take something before there is more; cuts off those that take nothing.
    fn is_full(&mut self, now: Duration) -> bool {
        let mut full = false;
        for client in self.clients.values_mut() {
            let bytes = client.outbox.bytes();
            if bytes < client.stalled.0 || bytes < QUEUE_BYTES_FULL {
                client.stalled = (bytes, now);
            } else if now.saturating_sub(client.stalled.1) > STALL_MAX && !client.outbox.is_cut() {
                client.outbox.cut();
                self.cut += 1;
            }
            client.stalled.0 = bytes;
            full |= bytes >= QUEUE_BYTES_FULL;
        }
        full
    }

    /// Queues what the venue said.
    fn deliver(&mut self, now: Duration) {
        let mut out = std::mem::take(&mut self.out);
        for (client, frames) in out.iter_mut() {
            self.wire(client, frames.drain(..).map(Wire::Said), now);
        }
        self.out = out;
    }

    /// Puts frames on the wire, in order: the one place between what is said and what is sent.
    fn wire(&mut self, client: Connection, frames: impl Iterator<Item = Wire>, now: Duration) {
        let number = client;
        let Some(client) = self.clients.get_mut(&client) else { return };
        client.active = now;
        match &mut self.faults {
            None => client.outbox.push(frames),
            Some(faults) => {
                let moment = Moment { elapsed: now, at: self.clock.now() };
                client.outbox.push(faults.wire(number, frames, moment));
            }
        }
        if client.outbox.bytes() > QUEUE_BYTES_MAX && !client.outbox.is_cut() {
            client.outbox.cut();
            self.cut += 1;
        }
    }

    /// Heartbeats for those who listen and hear nothing; an end for those who neither listen nor speak.
    fn keep_alive(&mut self, now: Duration, closing: bool) {
        let playing = matches!(&self.frames, Frames::Play { player, .. } if !player.is_done());
        let quiet = |client: &Client, limit| now.saturating_sub(client.active) >= limit;
        for (number, client) in &mut self.clients {
            let subscribed = self.venue.is_subscribed(*number);
            let idle = quiet(client, HEARTBEAT) && client.outbox.bytes() == 0;
            if subscribed && !playing && !closing && idle {
                if let Some(heartbeat) = self.venue.heartbeat(*number, self.clock.now()) {
                    self.out.say(*number, heartbeat);
                }
            } else if !subscribed && quiet(client, IDLE_MAX) {
                client.active = now;
                client.outbox.push([Wire::Close]);
            }
        }
        self.deliver(now);
    }
}
