//! How to talk to the venue: the signed handshake, commands, answers, and what a frame is without decoding it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Error, ErrorKind, FrameKind, Result, Symbol, Timestamp, Wanted};

use super::auth::{Keys, signed_path};
use super::subscriptions::Table;
use super::wire::{Envelope, Kind, kind_at_sight};
use crate::decoding::object;
use crate::venue::{Handshake, Missing, Protocol};

/// How often what is due is looked at, and the socket pinged.
const BEAT: Duration = Duration::from_secs(1);
/// Every ping is answered, and the venue pings every ten seconds itself: this is five answers that did not come.
const SILENCE: Duration = Duration::from_secs(5);
/// The path that is signed where the address has none.
pub(super) const PATH: &str = "/trade-api/ws/v2";

/// One connection to Kalshi, WebSocket v2.
#[derive(Clone, Debug)]
pub struct KalshiProtocol {
    url: String,
    keys: Option<Keys>,
    table: Table,
}

impl KalshiProtocol {
    /// A connection to `url` that is not signed: only a simulator on this machine lets that pass.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), keys: None, table: Table::default() }
    }

    pub(super) fn with_keys(self, keys: Option<Keys>) -> Self {
        Self { keys, ..self }
    }
}

impl Protocol for KalshiProtocol {
    fn handshake(&self, now: Timestamp) -> Result<Handshake> {
        let headers = match &self.keys {
            Some(keys) => keys.headers(signed_path(&self.url, PATH), now)?,
            None if is_local(&self.url) => Vec::new(),
            None => {
                return Err(Error::new(ErrorKind::Denied, "sign handshake")
                    .detail("this venue wants a key, for public data too")
                    .hint("keys: { key_id: { env: … }, private_key: { file: … } }"));
            }
        };
        Ok(Handshake { url: self.url.clone(), headers })
    }

    fn want(&mut self, wanted: &Wanted, now: Duration, send: &mut Vec<Bytes>) {
        self.table.want(wanted, now, send);
    }

    fn heard(&mut self, frame: &[u8], now: Duration, send: &mut Vec<Bytes>) -> Result<FrameKind> {
        let kind = match kind_at_sight(frame).and_then(Kind::of) {
            Some(kind) if kind != Kind::Answer => kind,
            _ => {
                let Some(envelope) = object::<Envelope<'_>>(frame).ok().flatten() else {
                    return Ok(FrameKind::Unknown);
                };
                match Kind::of(&envelope.kind) {
                    Some(Kind::Answer) => {
                        return self.table.heard(&envelope, now, send).map(|()| FrameKind::Control);
                    }
                    Some(kind) => kind,
                    None => return Ok(FrameKind::Unknown),
                }
            }
        };
        if kind == Kind::Snapshot {
            self.table.snapshot(frame, now, send);
        }
        Ok(FrameKind::Data)
    }

    fn resync(&mut self, symbol: &Symbol, now: Duration, send: &mut Vec<Bytes>) {
        self.table.resync(symbol, now, send);
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

/// Whether an address is on this machine, where nobody needs a key.
fn is_local(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_only_this_machine_is_asked() {
        let now = Timestamp::from_nanos(0);
        for (url, fits) in [
            ("ws://127.0.0.1:9", true),
            ("ws://[::1]:9/x", true),
            ("ws://localhost", true),
            ("wss://api.elections.kalshi.com/trade-api/ws/v2", false),
            ("wss://127.0.0.1.example.com", false),
            ("wss://localhost@example.com/", false),
        ] {
            assert_eq!(KalshiProtocol::new(url).handshake(now).is_ok(), fits, "{url}");
        }
    }
}
