//! How to talk to Kraken: requests, answers, pings, and what a frame is without decoding it.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use ssmd_core::{FrameKind, Result, Symbol, Timestamp, Wanted};

use super::HEARTBEAT;
use super::subscriptions::{Table, is_rate};
use super::wire::Answer;
use crate::decoding::object;
use crate::venue::{Handshake, Missing, Protocol};

/// How often what is due is looked at.
const BEAT: Duration = Duration::from_secs(1);
/// Heartbeats come about every second once anything is subscribed, and pongs while nothing is, so this is five
/// that did not come; half a second is left to notice it within six.
const SILENCE: Duration = Duration::from_millis(5500);
/// How often to ping while heartbeats come: the venue closes a link that is idle for about a minute.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How often to ping while nothing is subscribed, since then nothing else need come.
const PING_EVERY_ALONE: Duration = Duration::from_secs(2);
/// Channels of market data that are decoded.
const DATA_CHANNELS: [&str; 5] = ["book", "trade", "ticker", "ohlc", "instrument"];

/// One connection to Kraken spot, WebSocket v2.
#[derive(Clone, Debug)]
pub struct KrakenProtocol {
    url: String,
    depth: Option<u32>,
    table: Table,
    pinged: Option<Duration>,
}

impl KrakenProtocol {
    /// A connection to `url`; `depth` is that of books whose channel says none.
    pub fn new(url: impl Into<String>, depth: Option<u32>) -> Self {
        Self { url: url.into(), depth, table: Table::default(), pinged: None }
    }
}

impl Protocol for KrakenProtocol {
    fn handshake(&self, _now: Timestamp) -> Result<Handshake> {
        Ok(Handshake { url: self.url.clone(), headers: Vec::new() })
    }

    fn want(&mut self, wanted: &Wanted, now: Duration, send: &mut Vec<Bytes>) {
        self.table.want(wanted, self.depth, now, send);
    }

    fn heard(&mut self, frame: &[u8], now: Duration, send: &mut Vec<Bytes>) -> Result<FrameKind> {
        if let Some(kind) = kind_at_sight(frame) {
            return Ok(kind);
        }
        let Some(envelope) = object::<Envelope<'_>>(frame).ok().flatten() else {
            return Ok(FrameKind::Unknown);
        };
        if !envelope.method.is_empty() {
            if let Ok(answer) = serde_json::from_slice::<Answer<'_>>(frame) {
                self.table.answered(&answer, now, send);
            }
            return Ok(FrameKind::Control);
        }
        Ok(match envelope.channel.as_ref() {
            "heartbeat" | "status" => FrameKind::Control,
            channel if DATA_CHANNELS.contains(&channel) => FrameKind::Data,
            "" => {
                let Some(words) = envelope.error.or(envelope.old_error) else {
                    return Ok(FrameKind::Unknown);
                };
                if is_rate(&words) {
                    self.table.slow_down(now);
                }
                FrameKind::Control
            }
            _ => FrameKind::Unknown,
        })
    }

    fn resync(&mut self, symbol: &Symbol, now: Duration, send: &mut Vec<Bytes>) {
        self.table.restart(symbol, now, send);
    }

    fn beat(&mut self, now: Duration, send: &mut Vec<Bytes>) {
        self.table.beat(now, send);
        let every = if self.table.is_any_on() { PING_EVERY } else { PING_EVERY_ALONE };
        if self.pinged.is_none_or(|pinged| now.saturating_sub(pinged) >= every) {
            self.pinged = Some(now);
            let id = self.table.next_id();
            send.push(Bytes::from(format!(r#"{{"method":"ping","req_id":{id}}}"#)));
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

/// What can be told from the first bytes as the venue writes them: market data names its channel and then its
/// type, which no answer does.
fn kind_at_sight(frame: &[u8]) -> Option<FrameKind> {
    let rest = frame.strip_prefix(b"{\"channel\":\"")?;
    if frame == HEARTBEAT {
        return Some(FrameKind::Control);
    }
    let is_data = |channel: &str| {
        rest.strip_prefix(channel.as_bytes()).is_some_and(|rest| rest.starts_with(b"\",\"type\":\""))
    };
    DATA_CHANNELS.iter().any(|channel| is_data(channel)).then_some(FrameKind::Data)
}

/// What tells answers, data and the rest apart. `Error` is the form that the rate limit uses.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    channel: Cow<'a, str>,
    #[serde(borrow, default)]
    method: Cow<'a, str>,
    error: Option<Cow<'a, str>>,
    #[serde(rename = "Error")]
    old_error: Option<Cow<'a, str>>,
    #[serde(rename = "data")]
    _data: Option<IgnoredAny>,
}
