//! Kraken's commands and its answers to them, keys in the venue's (alphabetical) order.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;
use ssmd_core::Timestamp;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::encode;
use super::listing::{DEPTHS, INTERVALS, Topic};

/// A command that can be carried out. `id` is the client's `req_id`.
pub(super) enum Command {
    Ping { id: Option<u64> },
    Subscribe { id: Option<u64>, asks: Vec<(String, Ask)> },
    Unsubscribe { id: Option<u64>, asks: Vec<(String, Ask)> },
}

/// A command that cannot.
#[derive(Debug)]
pub(super) struct Refusal {
    method: String,
    id: Option<u64>,
    error: &'static str,
}

/// The channels of this endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Channel {
    Book,
    Trade,
    Ticker,
    Ohlc,
    Instrument,
}

/// What is asked for one symbol (`instrument` has none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Pair { topic: Topic, snapshot: bool },
    Instrument { snapshot: bool },
}

impl Ask {
    pub(super) fn channel(self) -> Channel {
        match self {
            Self::Instrument { .. } => Channel::Instrument,
            Self::Pair { topic, .. } => match topic {
                Topic::Book(_) => Channel::Book,
                Topic::Trade => Channel::Trade,
                Topic::Ticker { .. } => Channel::Ticker,
                Topic::Ohlc(_) => Channel::Ohlc,
            },
        }
    }

    /// Whether both mean the same stream, snapshot or not.
    pub(super) fn same_topic(self, other: Self) -> bool {
        match (self, other) {
            (Self::Pair { topic: a, .. }, Self::Pair { topic: b, .. }) => a == b,
            (Self::Instrument { .. }, Self::Instrument { .. }) => true,
            _ => false,
        }
    }
}

#[derive(Deserialize)]
struct Request {
    method: String,
    #[serde(default)]
    params: Option<Params>,
    #[serde(default)]
    req_id: Option<u64>,
}

#[derive(Deserialize)]
struct Params {
    channel: String,
    #[serde(default)]
    symbol: Vec<String>,
    depth: Option<u32>,
    interval: Option<u32>,
    snapshot: Option<bool>,
    event_trigger: Option<String>,
}

/// Reads a command.
pub(super) fn read(text: &str) -> Result<Command, Refusal> {
    let request: Request = serde_json::from_str(text).map_err(|_| {
        // As much of it as can be read goes back, so that the client knows which command was meant.
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let method = value.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        let id = value.get("req_id").and_then(Value::as_u64);
        Refusal { method, id, error: "Malformed request" }
    })?;
    let id = request.req_id;
    let refuse = |error| Refusal { method: request.method.clone(), id, error };
    if request.method == "ping" {
        return Ok(Command::Ping { id });
    }
    if !["subscribe", "unsubscribe"].contains(&request.method.as_str()) {
        return Err(refuse("Unsupported method"));
    }
    let asks = asks(request.params.ok_or_else(|| refuse("Malformed request"))?).map_err(refuse)?;
    Ok(match request.method.as_str() {
        "subscribe" => Command::Subscribe { id, asks },
        _ => Command::Unsubscribe { id, asks },
    })
}

fn asks(params: Params) -> Result<Vec<(String, Ask)>, &'static str> {
    let on = params.snapshot.unwrap_or(true);
    let (topic, snapshot) = match params.channel.as_str() {
        "book" => {
            let depth = params.depth.unwrap_or(DEPTHS[0]);
            if !DEPTHS.contains(&depth) {
                return Err("Subscription depth not supported");
            }
            (Topic::Book(depth), on)
        }
        "trade" => (Topic::Trade, params.snapshot.unwrap_or(false)),
        "ticker" => match params.event_trigger.as_deref() {
            None | Some("trades") => (Topic::Ticker { bbo: false }, on),
            Some("bbo") => (Topic::Ticker { bbo: true }, on),
            Some(_) => return Err("Event trigger not supported"),
        },
        "ohlc" => {
            let interval = params.interval.unwrap_or(INTERVALS[0]);
            if !INTERVALS.contains(&interval) {
                return Err("Subscription ohlc interval not supported");
            }
            (Topic::Ohlc(interval), on)
        }
        "instrument" => return Ok(vec![(String::new(), Ask::Instrument { snapshot: on })]),
        "executions" | "balances" | "level3" => {
            return Err("Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com");
        }
        _ => return Err("Channel not supported"),
    };
    if params.symbol.is_empty() {
        return Err("Symbol(s) not specified");
    }
    Ok(params.symbol.into_iter().map(|symbol| (symbol, Ask::Pair { topic, snapshot })).collect())
}

/// Writes answers.
pub(super) struct Answer {
    now: String,
}

impl Answer {
    /// Answers given at `now`.
    pub(super) fn at(now: Timestamp) -> Self {
        Self { now: encode::micros(now) }
    }

    pub(super) fn pong(&self, id: Option<u64>) -> Utf8Bytes {
        let mut text = String::from(r#"{"method":"pong""#);
        push_id(&mut text, id);
        self.close(text)
    }

    pub(super) fn subscribed(&self, id: Option<u64>, symbol: &str, ask: Ask) -> Utf8Bytes {
        self.done("subscribe", id, symbol, ask, true)
    }

    pub(super) fn unsubscribed(&self, id: Option<u64>, symbol: &str, ask: Ask) -> Utf8Bytes {
        self.done("unsubscribe", id, symbol, ask, false)
    }

    pub(super) fn refused(&self, refusal: &Refusal) -> Utf8Bytes {
        self.error(&refusal.method, refusal.id, refusal.error, None)
    }

    pub(super) fn error(
        &self,
        method: &str,
        id: Option<u64>,
        error: &str,
        symbol: Option<&str>,
    ) -> Utf8Bytes {
        let mut text = format!(r#"{{"error":{}"#, json(error));
        if !method.is_empty() {
            push(&mut text, format_args!(r#","method":{}"#, json(method)));
        }
        push_id(&mut text, id);
        text.push_str(r#","success":false"#);
        if let Some(symbol) = symbol.filter(|symbol| !symbol.is_empty()) {
            push(&mut text, format_args!(r#","symbol":{}"#, json(symbol)));
        }
        self.close(text)
    }

    fn done(&self, method: &str, id: Option<u64>, symbol: &str, ask: Ask, starts: bool) -> Utf8Bytes {
        let (snapshot, name) = match ask {
            Ask::Pair { snapshot, .. } => (snapshot, Some(symbol)),
            Ask::Instrument { snapshot } => (snapshot, None),
        };
        let (channel, detail) = match ask {
            Ask::Instrument { .. } => ("instrument", String::new()),
            Ask::Pair { topic: Topic::Book(depth), .. } => ("book", format!(r#","depth":{depth}"#)),
            Ask::Pair { topic: Topic::Trade, .. } => ("trade", String::new()),
            Ask::Pair { topic: Topic::Ticker { bbo }, .. } => {
                ("ticker", format!(r#","event_trigger":"{}""#, if bbo { "bbo" } else { "trades" }))
            }
            Ask::Pair { topic: Topic::Ohlc(interval), .. } => ("ohlc", format!(r#","interval":{interval}"#)),
        };
        let mut text = format!(r#"{{"method":"{method}""#);
        push_id(&mut text, id);
        push(&mut text, format_args!(r#","result":{{"channel":"{channel}"{detail}"#));
        if starts {
            push(&mut text, format_args!(r#","snapshot":{snapshot}"#));
        }
        if let Some(symbol) = name {
            push(&mut text, format_args!(r#","symbol":{}"#, json(symbol)));
        }
        if starts && channel == "ohlc" {
            text.push_str(r#","warnings":["timestamp is deprecated, use interval_begin"]"#);
        }
        text.push_str(r#"},"success":true"#);
        self.close(text)
    }

    fn close(&self, mut text: String) -> Utf8Bytes {
        push(&mut text, format_args!(r#","time_in":"{now}","time_out":"{now}"}}"#, now = self.now));
        text.into()
    }
}

fn push_id(text: &mut String, id: Option<u64>) {
    if let Some(id) = id {
        push(text, format_args!(r#","req_id":{id}"#));
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
}

/// Foreign text as a JSON string.
fn json(text: &str) -> Value {
    Value::from(text)
}
