//! The one socket loop: a venue's [`Protocol`] over a [`Dial`], as a [`Feed`].
//!
//! It stamps and numbers frames, keeps the protocol's times, and ends a connection that has died. It knows no
//! venue and no journal; reconnecting is not its task.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use ssmd_core::{
    BoxFuture, Clock, Decode, Error, ErrorKind, Feed, FeedName, Frame, FrameKind, Frames, Limits, Result,
    Session, SessionId, Symbol, Timestamp, Wanted,
};
use tokio::sync::watch;

use crate::dial::{Dial, Received, Socket, public_url};
use crate::venue::{Missing, Protocol};

/// What a [`WsFeed`] needs beside its venue's protocol.
#[derive(Clone, Debug)]
pub struct WsOptions {
    /// The feed's name.
    pub name: FeedName,
    /// What the venue allows.
    pub limits: Limits,
    /// What proves that a connection lives.
    pub liveness: Liveness,
    /// Opens connections.
    pub dial: Arc<dyn Dial>,
    /// Where sessions say what is wanted and not so.
    pub subscriptions: Subscriptions,
}

/// What proves that a connection lives, for [`Protocol::silence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// A whole message, or a large one under way: for venues that promise heartbeats. A socket that answers pings
    /// and says nothing else is dead.
    Messages,
    /// A message, a ping or an answer to ours, or a large message under way: for venues that may have nothing to
    /// say. We ping them at every beat.
    Bytes,
    /// As [`Liveness::Bytes`], and data: for venues that answer pings also while their data is frozen. Longer than
    /// this without data is death, while anything that is wanted is confirmed. Only for what never falls quiet.
    Data(Duration),
}

/// Bytes within [`Protocol::silence`] that prove that a large message is under way, and not a slow drip.
const UNDER_WAY_BYTES: u64 = 64 * 1024;
/// How often the signs of life are looked at, at least: what is added to a silence before it is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long [`Frames::close`] waits for the other side to close too.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(3);
/// Messages taken off the socket at once before a connection is given up.
const LOOK_BATCH: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");
/// Messages taken off the socket at once, while closing.
const CLOSE_BATCH: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not zero");

/// Makes decoders.
pub type MakeDecoder = Arc<dyn Fn() -> Box<dyn Decode> + Send + Sync>;
/// Asks a venue what exists and is wanted.
pub type AskUniverse = Arc<dyn Fn() -> BoxFuture<'static, Result<Wanted>> + Send + Sync>;

/// What is learned beside a connection while it is open, such as what REST says of its books: texts, each kept as a
/// control frame among those of the connection. They are no sign of life, and its protocol does not hear them.
pub type Asides = Arc<dyn Fn(watch::Receiver<Arc<Wanted>>) -> BoxStream<'static, Bytes> + Send + Sync>;

/// A venue that speaks WebSocket.
pub struct WsFeed<P> {
    options: WsOptions,
    protocol: P,
    decoder: MakeDecoder,
    universe: AskUniverse,
    asides: Option<Asides>,
}

impl<P: Protocol> WsFeed<P> {
    /// A feed whose connections each run on a clone of `protocol`.
    pub fn new(options: WsOptions, protocol: P, decoder: MakeDecoder, universe: AskUniverse) -> Self {
        Self { options, protocol, decoder, universe, asides: None }
    }

    /// The same feed, each of whose connections keeps what is learned beside it.
    pub fn with_asides(self, asides: Option<Asides>) -> Self {
        Self { asides, ..self }
    }
}

impl<P> fmt::Debug for WsFeed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsFeed").field("options", &self.options).finish_non_exhaustive()
    }
}

#[async_trait]
impl<P: Protocol> Feed for WsFeed<P> {
    fn name(&self) -> &FeedName {
        &self.options.name
    }

    fn limits(&self) -> Limits {
        self.options.limits
    }

    async fn universe(&self) -> Result<Wanted> {
        (self.universe)().await
    }

    fn session(&self) -> Arc<dyn Session> {
        let (options, protocol) = (self.options.clone(), self.protocol.clone());
        Arc::new(WsSession { options, protocol, asides: self.asides.clone() })
    }

    fn decoder(&self) -> Box<dyn Decode> {
        (self.decoder)()
    }
}

/// Opens connections to one venue.
struct WsSession<P> {
    options: WsOptions,
    protocol: P,
    asides: Option<Asides>,
}

#[async_trait]
impl<P: Protocol> Session for WsSession<P> {
    async fn open(
        &self,
        id: SessionId,
        wanted: watch::Receiver<Arc<Wanted>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Box<dyn Frames>> {
        let protocol = self.protocol.clone();
        let handshake = protocol.handshake(clock.now())?;
        let socket = self.options.dial.open(&handshake, Arc::clone(&clock)).await?;
        let (beat, silence) = (protocol.heartbeat(), protocol.silence());
        let mut frames = WsFrames {
            id,
            url: public_url(&handshake.url),
            liveness: self.options.liveness,
            subscriptions: self.options.subscriptions.clone(),
            asides: self.asides.as_ref().map(|asides| asides(wanted.clone())),
            wanted: Some(wanted),
            topics: 0,
            next_index: 0,
            incoming: Vec::new(),
            commands: Vec::new(),
            ready: Vec::new(),
            end: None,
            beat: Timer::new(clock.as_ref(), beat),
            look: Timer::new(clock.as_ref(), silence.min(LOOK_EVERY)),
            silence,
            heard: Heard { at: clock.elapsed(), bytes: socket.bytes(), whole: socket.whole() },
            fresh: None,
            closing: false,
            protocol,
            socket,
            clock,
        };
        frames.want();
        Ok(Box::new(frames))
    }
}

/// One connection.
struct WsFrames<P> {
    id: SessionId,
    url: String,
    protocol: P,
    socket: Box<dyn Socket>,
    clock: Arc<dyn Clock>,
    liveness: Liveness,
    subscriptions: Subscriptions,
    /// `None` where there are none, or no more.
    asides: Option<BoxStream<'static, Bytes>>,
    /// `None` once nobody can change it any more.
    wanted: Option<watch::Receiver<Arc<Wanted>>>,
    /// How many topics are wanted.
    topics: usize,
    next_index: u64,
    incoming: Vec<Received>,
    commands: Vec<Bytes>,
    /// Frames that were heard or sent and not given out yet.
    ready: Vec<Frame>,
    /// The end, behind the frames that have to be given out first.
    end: Option<Error>,
    beat: Timer,
    /// When to look at the signs of life.
    look: Timer,
    silence: Duration,
    heard: Heard,
    /// When data last came, or began to be expected; `None` while none is.
    fresh: Option<Duration>,
    /// Whether we have said goodbye: nothing can be sent any more, and only the socket says when it is over.
    closing: bool,
}

/// The last sign of life.
struct Heard {
    at: Duration,
    /// What the socket had received when the silence began, or was last looked at.
    bytes: u64,
    whole: Option<u64>,
}

/// What the loop woke up for.
enum Event {
    Received(Result<()>),
    Wanted(bool),
    Beat,
    Look,
    Aside(Option<Bytes>),
}

impl<P: Protocol> WsFrames<P> {
    async fn wait(&mut self, max: NonZeroUsize) -> Event {
        tokio::select! {
            biased;
            changed = changed(&mut self.wanted) => Event::Wanted(changed),
            () = self.beat.due() => Event::Beat,
            () = self.look.due() => Event::Look,
            aside = aside(&mut self.asides) => Event::Aside(aside),
            received = self.socket.receive(max, &mut self.incoming) => Event::Received(received),
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Received(result) => {
                self.hear();
                self.ends(result);
            }
            Event::Wanted(true) => self.want(),
            Event::Wanted(false) => self.wanted = None,
            Event::Beat => self.beat(),
            Event::Look => self.look(),
            Event::Aside(Some(text)) => self.keep(FrameKind::Control, text),
            Event::Aside(None) => self.asides = None,
        }
    }

    /// Turns what the socket gave into frames, each followed by what the protocol answers to it.
    fn hear(&mut self) {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut control = false;
        if let Some(last) = incoming.last() {
            self.heard = Heard { at: last.elapsed, bytes: self.socket.bytes(), whole: self.socket.whole() };
        }
        self.ready.reserve(incoming.len());
        for message in incoming.drain(..) {
            let (kind, heard) = self.understand(&message);
            control |= kind == FrameKind::Control;
            if kind == FrameKind::Data && self.fresh.is_some() {
                self.fresh = Some(message.elapsed);
            }
            self.ready.push(Frame {
                received: message.received,
                elapsed: message.elapsed,
                session: self.id,
                index: self.next_index,
                kind,
                binary: message.binary,
                payload: message.payload,
                source: None,
            });
            self.next_index += 1;
            if self.closing {
                self.commands.clear();
                continue;
            }
            self.ends(heard);
            self.send();
        }
        self.incoming = incoming;
        if control {
            self.report();
        }
    }

    /// What the protocol makes of a frame. One that breaks it is kept as unknown, and ends this connection alone.
    fn understand(&mut self, message: &Received) -> (FrameKind, Result<()>) {
        let Self { protocol, commands, .. } = self;
        let hearing = || protocol.heard(&message.payload, message.elapsed, commands);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(hearing)) {
            Ok(Ok(kind)) => (kind, Ok(())),
            Ok(Err(end)) => (FrameKind::Control, Err(end)),
            Err(_) => {
                let bug = Error::new(ErrorKind::Bug, "hear").detail("the protocol broke on a frame");
                (FrameKind::Unknown, Err(bug))
            }
        }
    }

    fn want(&mut self) {
        let Some(receiver) = &mut self.wanted else { return };
        let wanted = Arc::clone(&receiver.borrow_and_update());
        self.topics = wanted.0.len();
        self.protocol.want(&wanted, self.clock.elapsed(), &mut self.commands);
        self.send();
        self.report();
    }

    fn beat(&mut self) {
        let now = self.clock.elapsed();
        self.beat.again(self.clock.as_ref(), now);
        self.protocol.beat(now, &mut self.commands);
        self.send();
        if self.liveness != Liveness::Messages {
            let pinged = self.socket.ping();
            self.ends(pinged.or_else(closed_is_told_by_reading));
        }
        self.report();
    }

    /// Ends the connection if it has shown no life for too long.
    fn look(&mut self) {
        let now = self.clock.elapsed();
        if self.silent(now).is_some() {
            // What has arrived and was not taken yet is a sign of life too, however late we are.
            let waiting = self.socket.receive(LOOK_BATCH, &mut self.incoming).now_or_never();
            if let Some(received) = waiting {
                self.on(Event::Received(received));
            }
        }
        if let Some((detail, silent)) = self.silent(now) {
            let error = Error::new(ErrorKind::Timeout, "receive").detail(detail);
            self.ends(Err(error.with("seconds", silent.as_secs_f64())));
        }
        let next = (now + LOOK_EVERY).min(self.heard.at + self.silence);
        self.look.at(self.clock.as_ref(), now, next);
    }

    /// What has not come for too long, and for how long.
    fn silent(&mut self, now: Duration) -> Option<(&'static str, Duration)> {
        let (bytes, whole) = (self.socket.bytes(), self.socket.whole());
        let answers = self.liveness != Liveness::Messages && whole != self.heard.whole;
        // Where the socket cannot tell answers from parts of a message, any byte counts as one.
        let any = self.liveness != Liveness::Messages && whole.is_none();
        let enough = if any { 1 } else { UNDER_WAY_BYTES };
        if answers || bytes - self.heard.bytes >= enough {
            self.heard = Heard { at: now, bytes, whole };
        }
        let silent = now.saturating_sub(self.heard.at);
        if silent >= self.silence {
            return Some(("the connection fell silent", silent));
        }
        let Liveness::Data(bound) = self.liveness else { return None };
        if self.topics <= self.protocol.missing().topics {
            self.fresh = None;
            return None;
        }
        let stale = now.saturating_sub(*self.fresh.get_or_insert(now));
        (stale >= bound).then_some(("no data came; only signs of life", stale))
    }

    /// Sends what the protocol asked for, and records it in its place.
    fn send(&mut self) {
        if self.commands.is_empty() {
            return;
        }
        let mut commands = std::mem::take(&mut self.commands);
        for payload in commands.drain(..) {
            if let Err(error) = self.socket.send(payload.clone()) {
                // It never left, so it is no frame.
                self.ends(closed_is_told_by_reading(error));
                break;
            }
            self.keep(FrameKind::Sent, payload);
        }
        self.commands = commands;
    }

    /// Keeps a text that did not come off the socket.
    fn keep(&mut self, kind: FrameKind, payload: Bytes) {
        self.ready.push(Frame {
            received: self.clock.now(),
            elapsed: self.clock.elapsed(),
            session: self.id,
            index: self.next_index,
            kind,
            binary: false,
            payload,
            source: None,
        });
        self.next_index += 1;
    }

    /// The first reason for the end is the one that is told.
    fn ends(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.end.get_or_insert(error);
        }
    }

    fn report(&self) {
        self.subscriptions.set(self.id, self.protocol.missing());
    }

    fn give(&mut self, max: NonZeroUsize) -> Vec<Frame> {
        if self.ready.len() <= max.get() {
            return std::mem::take(&mut self.ready);
        }
        self.ready.drain(..max.get()).collect()
    }
}

#[async_trait]
impl<P: Protocol> Frames for WsFrames<P> {
    fn url(&self) -> String {
        self.url.clone()
    }

    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Frame>> {
        loop {
            if !self.ready.is_empty() {
                return Ok(self.give(max));
            }
            if let Some(end) = self.end.take() {
                return Err(end);
            }
            let event = self.wait(max).await;
            self.on(event);
        }
    }

    async fn resync(&mut self, symbol: &Symbol) -> Result<()> {
        self.protocol.resync(symbol, self.clock.elapsed(), &mut self.commands);
        self.send();
        Ok(())
    }

    async fn durable(&mut self, _below: u64) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<Vec<Frame>> {
        self.socket.close();
        self.closing = true;
        let mut late = self.clock.sleep(CLOSE_TIME_MAX);
        while self.end.is_none() {
            tokio::select! {
                biased;
                () = &mut late => break,
                received = self.socket.receive(CLOSE_BATCH, &mut self.incoming) => {
                    self.on(Event::Received(received));
                }
            }
        }
        Ok(std::mem::take(&mut self.ready))
    }
}

impl<P> Drop for WsFrames<P> {
    fn drop(&mut self) {
        self.subscriptions.remove(self.id);
    }
}

/// A socket that has closed says why when it is read; that it cannot be written any more is no news.
fn closed_is_told_by_reading(error: Error) -> Result<()> {
    if error.kind() == ErrorKind::Closed { Ok(()) } else { Err(error) }
}

/// Waits until what is wanted has changed (true), or nobody can change it any more (false, once).
async fn changed(wanted: &mut Option<watch::Receiver<Arc<Wanted>>>) -> bool {
    match wanted {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

/// Waits for what is learned beside the connection; `None` once there is no more of it.
async fn aside(asides: &mut Option<BoxStream<'static, Bytes>>) -> Option<Bytes> {
    match asides {
        Some(asides) => asides.next().await,
        None => std::future::pending().await,
    }
}

/// A deadline that moves on by its period, however late it was noticed.
struct Timer {
    period: Duration,
    deadline: Duration,
    sleep: BoxFuture<'static, ()>,
}

impl Timer {
    fn new(clock: &dyn Clock, period: Duration) -> Self {
        Self { period, deadline: clock.elapsed() + period, sleep: clock.sleep(period) }
    }

    async fn due(&mut self) {
        (&mut self.sleep).await;
    }

    /// One period after the last deadline, or after `now` if that has passed too.
    fn again(&mut self, clock: &dyn Clock, now: Duration) {
        let next = self.deadline + self.period;
        self.at(clock, now, if next > now { next } else { now + self.period });
    }

    fn at(&mut self, clock: &dyn Clock, now: Duration, deadline: Duration) {
        self.deadline = deadline;
        self.sleep = clock.sleep(deadline.saturating_sub(now));
    }
}

/// What every open session of a feed wants and does not have, and when what is wanted will be different. Clones share
/// it.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    missing: Arc<Mutex<BTreeMap<SessionId, Missing>>>,
    /// Nanoseconds since 1970; 0 is never.
    changes_at: Arc<AtomicI64>,
    /// Whose listing this is, and why each listing could not be had when it was asked for last.
    asker: u64,
    askers: Arc<AtomicU64>,
    unlisted: Arc<Mutex<BTreeMap<u64, String>>>,
}

impl Subscriptions {
    /// What all open sessions together miss; the same refusal from two sessions is there twice.
    pub fn missing(&self) -> Missing {
        let mut all = Missing::default();
        for missing in self.lock().values() {
            all.topics += missing.topics;
            all.refused.extend(missing.refused.iter().cloned());
        }
        all
    }

    /// The same sessions, of a feed that says by itself when it wants something else.
    pub(crate) fn beside(&self) -> Self {
        let asker = self.askers.fetch_add(1, Ordering::Relaxed) + 1;
        Self { asker, changes_at: Arc::default(), ..self.clone() }
    }

    /// Says whether the venue told what it lists when it was asked last, where what was known before holds meanwhile.
    pub(crate) fn set_listed(&self, listed: std::result::Result<(), &Error>) {
        let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        match listed {
            Ok(()) => drop(unlisted.remove(&self.asker)),
            Err(error) => drop(unlisted.insert(self.asker, error.to_string())),
        }
    }

    /// Why the venue did not tell what it lists when it was asked last, if it did not.
    pub(crate) fn unlisted(&self) -> Option<String> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner).values().next().cloned()
    }

    /// What one session misses; `None` if it is not open, or never says so.
    pub(crate) fn of(&self, id: SessionId) -> Option<Missing> {
        self.lock().get(&id).cloned()
    }

    /// When the universe should be asked again at the latest, where the feed knows: markets open at known times.
    pub fn changes_at(&self) -> Option<Timestamp> {
        Some(self.changes_at.load(Ordering::Relaxed)).filter(|at| *at != 0).map(Timestamp::from_nanos)
    }

    /// Says so.
    pub fn set_changes_at(&self, at: Timestamp) {
        self.changes_at.store(at.nanos(), Ordering::Relaxed);
    }

    fn set(&self, id: SessionId, missing: Missing) {
        self.lock().insert(id, missing);
    }

    fn remove(&self, id: SessionId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, Missing>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
