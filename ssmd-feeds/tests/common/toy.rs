//! A venue, a journal and a decoder small enough to see through.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::{
    Bounds, Decode, DecodeCounts, DecodeError, Entries, Entry, EntryKind, Error, ErrorKind, Frame, FrameKind,
    Journal, Limits, Output, Pending, Result, Start, Symbol, Timestamp, Topic, Wanted,
};
use ssmd_feeds::venue::{Handshake, Missing, Protocol};
use ssmd_feeds::ws::{Liveness, Subscriptions, WsFeed, WsOptions};
use tokio::sync::watch;

use super::{dialer, soon};

/// Subscribes with `+topic` and unsubscribes with `-topic`, which the venue confirms in the same words.
#[derive(Clone, Debug)]
pub struct Toy {
    pub url: String,
    pub heartbeat: Duration,
    pub silence: Duration,
    /// What a beat sends.
    pub alive: Option<&'static str>,
    pub asked: BTreeSet<Topic>,
    pub confirmed: usize,
    pub sessions: NonZeroUsize,
    pub session_age: Option<Duration>,
    pub subscriptions: Subscriptions,
}

impl Toy {
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            heartbeat: Duration::from_secs(3600),
            silence: Duration::from_secs(7200),
            alive: Some("alive?"),
            asked: BTreeSet::new(),
            confirmed: 0,
            sessions: NonZeroUsize::MAX,
            session_age: None,
            subscriptions: Subscriptions::default(),
        }
    }

    pub fn feed(self, liveness: Liveness, symbols: &[&str], topics_per_session: usize) -> WsFeed<Self> {
        self.feed_with(liveness, symbols, topics_per_session, 1000)
    }

    pub fn feed_with(
        self,
        liveness: Liveness,
        symbols: &[&str],
        topics_per_session: usize,
        connects: u32,
    ) -> WsFeed<Self> {
        let wanted = wanted(symbols);
        self.feed_of(liveness, topics_per_session, connects, move || Ok(wanted.clone()))
    }

    /// A feed whose universe is what `universe` says when it is asked.
    pub fn feed_of(
        self,
        liveness: Liveness,
        topics_per_session: usize,
        connects: u32,
        universe: impl Fn() -> Result<Wanted> + Send + Sync + 'static,
    ) -> WsFeed<Self> {
        let options = WsOptions {
            name: "toy".parse().unwrap(),
            limits: Limits {
                topics_per_session: NonZeroUsize::new(topics_per_session).unwrap(),
                sessions: self.sessions,
                session_age: self.session_age,
                connects,
                connects_window: Duration::from_secs(600),
            },
            liveness,
            dial: dialer(),
            subscriptions: self.subscriptions.clone(),
        };
        let decoder = || -> Box<dyn Decode> { Box::new(ToyDecoder(DecodeCounts::default())) };
        let universe = move || -> ssmd_core::BoxFuture<'static, Result<Wanted>> {
            Box::pin(std::future::ready(universe()))
        };
        WsFeed::new(options, self, Arc::new(decoder), Arc::new(universe))
    }
}

pub fn wanted(symbols: &[&str]) -> Wanted {
    let symbols: Vec<_> = symbols.iter().map(|symbol| Symbol::new(symbol).unwrap()).collect();
    Wanted::product(&["trade".parse().unwrap()], &symbols)
}

impl Protocol for Toy {
    fn handshake(&self, _now: Timestamp) -> Result<Handshake> {
        Ok(Handshake { url: format!("{}?key=secret", self.url), headers: Vec::new() })
    }

    fn want(&mut self, wanted: &Wanted, _now: Duration, send: &mut Vec<Bytes>) {
        send.extend(self.asked.difference(&wanted.0).map(|topic| format!("-{topic}").into()));
        send.extend(wanted.0.difference(&self.asked).map(|topic| format!("+{topic}").into()));
        self.asked.clone_from(&wanted.0);
    }

    fn heard(&mut self, frame: &[u8], _now: Duration, send: &mut Vec<Bytes>) -> Result<FrameKind> {
        Ok(match frame {
            [b'+', ..] => {
                self.confirmed += 1;
                FrameKind::Control
            }
            b"beat" => FrameKind::Control,
            b"who?" => {
                send.push("me".into());
                FrameKind::Control
            }
            b"go away" => return Err(Error::new(ErrorKind::Denied, "hear").detail("it said go away")),
            b"break" => panic!("on purpose"),
            [b'?', ..] => FrameKind::Unknown,
            _ => FrameKind::Data,
        })
    }

    fn resync(&mut self, symbol: &Symbol, _now: Duration, send: &mut Vec<Bytes>) {
        send.push(format!("again {symbol}").into());
    }

    fn beat(&mut self, _now: Duration, send: &mut Vec<Bytes>) {
        send.extend(self.alive.map(Bytes::from));
    }

    fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    fn silence(&self) -> Duration {
        self.silence
    }

    fn missing(&self) -> Missing {
        Missing { topics: self.asked.len().saturating_sub(self.confirmed), refused: Vec::new() }
    }
}

/// Asks for a resync of the symbol in `broken SYMBOL`.
struct ToyDecoder(DecodeCounts);

impl Decode for ToyDecoder {
    fn decode(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        self.0.frames += 1;
        match String::from_utf8_lossy(&frame.payload).split_once(' ') {
            Some(("broken", symbol)) => {
                self.0.books_failed += 1;
                out.push(Output::Resync(Symbol::new(symbol).unwrap()));
                Ok(())
            }
            Some(("malformed", _)) => {
                self.0.malformed += 1;
                Err(DecodeError::Malformed("as it says".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn counts(&self) -> DecodeCounts {
        self.0
    }
}

/// A journal in memory that a test can fill up.
#[derive(Debug, Default)]
pub struct ToyJournal {
    entries: watch::Sender<Vec<Entry>>,
    full: Mutex<bool>,
    failed: Mutex<bool>,
    stalled: watch::Sender<bool>,
}

impl ToyJournal {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub fn set_full(&self, full: bool) {
        *self.full.lock().unwrap() = full;
    }

    /// Appending takes until it is set free again.
    pub fn set_stalled(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Nothing appended from now on becomes durable.
    pub fn fail(&self) {
        *self.failed.lock().unwrap() = true;
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries.borrow().clone()
    }

    /// Waits until the entries are as they must be, and gives them.
    pub async fn until(&self, what: &str, so: impl Fn(&[Entry]) -> bool) -> Vec<Entry> {
        let mut entries = self.entries.subscribe();
        let waiting = entries.wait_for(|entries| so(entries));
        match tokio::time::timeout(super::LIMIT, waiting).await {
            Ok(entries) => entries.unwrap().clone(),
            Err(_) => panic!("{what} did not come; the journal holds {:#?}", lines(&self.entries())),
        }
    }

    /// Waits until a frame with this text is there.
    pub async fn until_text(&self, text: &str) -> Vec<Entry> {
        self.until(text, |entries| entries.iter().any(|entry| entry.payload == text)).await
    }
}

/// Entries as short lines: session, index, kind and payload.
pub fn lines(entries: &[Entry]) -> Vec<String> {
    let shown = |entry: &Entry| String::from_utf8_lossy(&entry.payload).chars().take(200).collect::<String>();
    let line = |e: &Entry| format!("{} {} {} {} {}", e.id.n, e.session, e.index, e.kind.word(), shown(e));
    entries.iter().map(line).collect()
}

/// The notes of one kind.
pub fn notes<T: serde::de::DeserializeOwned>(entries: &[Entry], kind: EntryKind) -> Vec<T> {
    let of_kind = entries.iter().filter(|entry| entry.kind == kind);
    of_kind.map(|entry| ssmd_core::entry::note::decode(&entry.payload).unwrap()).collect()
}

#[async_trait]
impl Journal for ToyJournal {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let mut stalled = self.stalled.subscribe();
        stalled.wait_for(|stalled| !stalled).await.unwrap();
        if *self.full.lock().unwrap() {
            return Err(Error::new(ErrorKind::Full, "append to journal"));
        }
        if *self.failed.lock().unwrap() {
            let (done, pending) = Pending::new();
            let _ = done.send(Err(Error::new(ErrorKind::Io, "sync")));
            return Ok(pending);
        }
        self.entries.send_modify(|entries| entries.extend(batch));
        Ok(Pending::ready())
    }

    async fn read(&self, _start: Start) -> Result<Box<dyn Entries>> {
        Ok(Box::new(ToyEntries { entries: self.entries.subscribe(), read: 0 }))
    }

    async fn bounds(&self) -> Result<Bounds> {
        let entries = self.entries.borrow();
        let mut bounds = Bounds::default();
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            bounds.origins.insert(first.id.origin, (first.id.n, last.id.n));
        }
        Ok(bounds)
    }
}

struct ToyEntries {
    entries: watch::Receiver<Vec<Entry>>,
    read: usize,
}

#[async_trait]
impl Entries for ToyEntries {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        let read = self.read;
        let entries = self.entries.wait_for(|entries| entries.len() > read).await;
        let entries = entries.map_err(|_| Error::new(ErrorKind::Closed, "read journal"))?;
        let batch: Vec<_> = entries.iter().skip(read).take(max.get()).cloned().collect();
        self.read += batch.len();
        Ok(batch)
    }
}

/// Waits until nothing else can run, so that what was told has been heard.
pub async fn settle() {
    soon("settle", async {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
