//! How to talk to the venue: requests, answers, and what a frame is without decoding it.

use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{FrameKind, Result, Symbol, Timestamp, Wanted};

use super::channel::Stream;
use super::subscriptions::Table;
use super::wire::{Envelope, Event, bar_seconds, feed_at_sight, is_event};
use crate::decoding::object;
use crate::venue::{Handshake, Missing, Protocol};

/// How often what is due is looked at, and the socket pinged: the venue wants a ping at least every minute.
const BEAT: Duration = Duration::from_secs(1);
/// Every ping is answered, so this is five answers that did not come.
const SILENCE: Duration = Duration::from_secs(5);

/// One connection to Kraken futures, WebSocket v1.
#[derive(Clone, Debug)]
pub struct KrakenFuturesProtocol {
    url: String,
    table: Table,
}

impl KrakenFuturesProtocol {
    /// A connection to `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), table: Table::default() }
    }
}

impl Protocol for KrakenFuturesProtocol {
    fn handshake(&self, _now: Timestamp) -> Result<Handshake> {
        Ok(Handshake { url: self.url.clone(), headers: Vec::new() })
    }

    fn want(&mut self, wanted: &Wanted, now: Duration, send: &mut Vec<Bytes>) {
        self.table.want(wanted, now, send);
    }

    fn heard(&mut self, frame: &[u8], now: Duration, send: &mut Vec<Bytes>) -> Result<FrameKind> {
        if let Some(kind) = feed_at_sight(frame).and_then(kind) {
            return Ok(kind);
        }
        let Some(envelope) = object::<Envelope<'_>>(frame).ok().flatten() else {
            return Ok(FrameKind::Unknown);
        };
        if envelope.event.is_empty() {
            return Ok(kind(&envelope.feed).unwrap_or(FrameKind::Unknown));
        }
        if !is_event(&envelope.event) {
            return Ok(FrameKind::Unknown);
        }
        if let Ok(event) = serde_json::from_slice::<Event<'_>>(frame) {
            self.table.heard(&envelope.event, &event, now, send);
        }
        Ok(FrameKind::Control)
    }

    fn resync(&mut self, symbol: &Symbol, now: Duration, send: &mut Vec<Bytes>) {
        self.table.restart(Stream::Book, symbol, now, send);
    }

    fn beat(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        self.table.beat(now, send);
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

/// What frames of a feed are, if that can be told from its name.
fn kind(feed: &str) -> Option<FrameKind> {
    match feed {
        "heartbeat" => Some(FrameKind::Control),
        "ticker" | "ticker_lite" | "trade" | "trade_snapshot" | "book" | "book_snapshot" => {
            Some(FrameKind::Data)
        }
        other => bar_seconds(other).map(|_| FrameKind::Data),
    }
}
