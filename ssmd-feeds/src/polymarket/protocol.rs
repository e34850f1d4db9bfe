//! How to talk to the venue: requests, pings in text, and what a frame is without decoding it.

use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Error, ErrorKind, FrameKind, Result, Symbol, Timestamp, Wanted};

use super::freshness::{self, Freshness};
use super::subscriptions::Table;
use super::wire::{BookOf, EventType, Glance, glance, glance_inside};
use crate::decoding::shown;
use crate::venue::{Handshake, Missing, Protocol};

/// How often what is due is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// How often a ping goes out: the venue wants one every ten seconds, and answers each.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Two pings that are not answered.
const SILENCE: Duration = Duration::from_millis(5_500);
const PING: &[u8] = b"PING";

/// One connection to the market channel.
#[derive(Clone, Debug)]
pub struct PolymarketProtocol {
    url: String,
    table: Table,
    /// From the first request on.
    freshness: Option<Freshness>,
    next_ping: Duration,
}

impl PolymarketProtocol {
    /// A connection to `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), table: Table::default(), freshness: None, next_ping: Duration::ZERO }
    }

    /// Data came: books may be what was asked for.
    fn data(&mut self, frame: &[u8], event: Option<EventType>, now: Duration) {
        let asking = self.freshness.as_ref().is_some_and(Freshness::is_asking);
        let mut answers = false;
        let may_hold_books = matches!(event, None | Some(EventType::Book));
        if may_hold_books && (asking || self.table.awaits_books()) {
            answers = match event {
                Some(_) => serde_json::from_slice(frame).is_ok_and(|book| self.book(&book, now)),
                None => self.books(frame, now),
            };
        }
        if !answers {
            self.freshness = Some(Freshness::new(now));
        }
    }

    /// Hears all books of a frame; whether all of them are answers to a question.
    fn books(&mut self, frame: &[u8], now: Duration) -> bool {
        let Ok(Glance::Many(all)) = glance(frame) else { return false };
        let mut answers = true;
        for raw in all {
            let is_book = matches!(glance_inside(raw), Ok(Glance::One(EventType::Book)));
            let book = serde_json::from_str(raw.get()).ok().filter(|_| is_book);
            answers &= book.is_some_and(|book| self.book(&book, now));
        }
        answers
    }

    /// Hears a book; whether it is the answer to a question. One that comes around a trade is none.
    fn book(&mut self, book: &BookOf<'_>, now: Duration) -> bool {
        self.table.book(&book.asset_id);
        let freshness = self.freshness.as_mut().filter(|_| book.was_asked_for());
        freshness.is_some_and(|freshness| freshness.book(&book.asset_id, book.hash, now))
    }

    /// Tells the kind of a frame that holds several messages.
    fn many(&mut self, frame: &[u8], all: &[&serde_json::value::RawValue], now: Duration) -> FrameKind {
        let mut flows = false;
        for raw in all {
            let Ok(Glance::One(event)) = glance_inside(raw) else { return FrameKind::Unknown };
            flows |= event.is_flow();
        }
        // An empty list says that none of the tokens has a book.
        if !flows {
            return FrameKind::Control;
        }
        self.data(frame, None, now);
        FrameKind::Data
    }
}

impl Protocol for PolymarketProtocol {
    fn handshake(&self, _now: Timestamp) -> Result<Handshake> {
        Ok(Handshake { url: self.url.clone(), headers: Vec::new() })
    }

    fn want(&mut self, wanted: &Wanted, now: Duration, send: &mut Vec<Bytes>) {
        self.freshness.get_or_insert_with(|| Freshness::new(now));
        self.table.want(wanted, now, send);
    }

    fn heard(&mut self, frame: &[u8], now: Duration, _send: &mut Vec<Bytes>) -> Result<FrameKind> {
        let kind = match glance(frame) {
            Ok(Glance::One(event)) if !event.is_flow() => FrameKind::Control,
            Ok(Glance::One(event)) => {
                self.data(frame, Some(event), now);
                FrameKind::Data
            }
            Ok(Glance::Many(all)) => self.many(frame, &all, now),
            Ok(Glance::Beat) => FrameKind::Control,
            Ok(Glance::Complaint(words)) => {
                self.table.complaint(shown(&words));
                FrameKind::Control
            }
            Ok(Glance::RestBook | Glance::Unknown(_)) | Err(_) => FrameKind::Unknown,
        };
        match self.freshness.as_ref().and_then(Freshness::frozen) {
            Some(why) => Err(Error::new(ErrorKind::Timeout, "receive").detail(why)),
            None => Ok(kind),
        }
    }

    fn resync(&mut self, symbol: &Symbol, now: Duration, send: &mut Vec<Bytes>) {
        self.table.restart(symbol, now, send);
    }

    fn beat(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        if now >= self.next_ping {
            self.next_ping = now + PING_EVERY;
            send.push(Bytes::from_static(PING));
        }
        self.table.beat(now, send);
        let Some(freshness) = &mut self.freshness else { return };
        if freshness.is_due(now) {
            let tokens: Vec<_> = self.table.on().take(freshness::TOKENS).cloned().collect();
            if tokens.is_empty() {
                // Nothing is on, so nothing is expected.
                *freshness = Freshness::new(now);
                return;
            }
            self.table.cycle(&tokens, now, send);
            freshness.asks(tokens, now);
        }
    }

    fn heartbeat(&self) -> Duration {
        BEAT
    }

    fn silence(&self) -> Duration {
        SILENCE
    }

    fn missing(&self) -> Missing {
        self.table.missing()
    }
}
