//! Reads one JSON line: first what every record has, then what its type has. Every value is foreign.

use std::borrow::Cow;

use serde::Deserialize;

use super::line::to_millis;
use crate::record::{Bar, Book, Funding, Level, Lifecycle, Quote, Stage, Switch, Ticker};
use crate::{
    Body, Decimal, EntryId, Error, ErrorKind, FeedName, Gap, Header, Record, RecordType, Result, SessionId,
    Symbol, Timestamp,
};

pub(super) fn record(line: &[u8]) -> Result<(FeedName, Record)> {
    let fields: HeaderFields<'_> = fields(line)?;
    let kind = RecordType::from_word(&fields.kind.0).ok_or_else(|| {
        let shown: String = fields.kind.0.chars().take(WORD_CHARS_SHOWN).collect();
        Error::new(ErrorKind::Unsupported, "read record").detail("no such type").with("type", shown)
    })?;
    let header = Header {
        symbol: fields.symbol,
        venue_time: time("ts", fields.ts, fields.ts_ns)?,
        received: required("received", time("received", fields.received, fields.received_ns)?)?,
        sequence: fields.sequence,
        session: fields.session,
        index: fields.index,
        source: fields.source.map(|source| source.0.parse::<EntryId>()).transpose()?,
    };
    Ok((fields.feed, Record { header, body: body(kind, line)? }))
}

/// How much of a type's word an error shows.
const WORD_CHARS_SHOWN: usize = 40;

fn body(kind: RecordType, line: &[u8]) -> Result<Body> {
    Ok(match kind {
        RecordType::Trade => Body::Trade(fields(line)?),
        RecordType::Quote => Body::Quote(fields(line)?),
        RecordType::Ticker => Body::Ticker(Box::new(ticker(line)?)),
        RecordType::BookSnapshot => Body::BookSnapshot(book(line)?),
        RecordType::BookDelta => Body::BookDelta(book(line)?),
        RecordType::Bar => Body::Bar(Box::new(bar(line)?)),
        RecordType::Status => Body::Status(fields(line)?),
        RecordType::Instrument => Body::Instrument(fields(line)?),
        RecordType::Funding => Body::Funding(funding(line)?),
        RecordType::Gap => Body::Gap(fields::<GapFields>(line)?.gap),
        RecordType::Audit => Body::Audit(fields(line)?),
        RecordType::Switch => Body::Switch(fields::<SwitchFields>(line)?.switch),
        RecordType::Lifecycle => Body::Lifecycle(Box::new(lifecycle(line)?)),
    })
}

/// Text that is borrowed from the line unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct HeaderFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    feed: FeedName,
    symbol: Option<Symbol>,
    ts: Option<i64>,
    #[serde(borrow)]
    ts_ns: Option<Text<'a>>,
    received: Option<i64>,
    #[serde(borrow)]
    received_ns: Option<Text<'a>>,
    sequence: Option<u64>,
    session: SessionId,
    index: u64,
    #[serde(borrow)]
    source: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct TickerFields {
    last: Option<Decimal>,
    volume: Option<Decimal>,
    vwap: Option<Decimal>,
    low: Option<Decimal>,
    high: Option<Decimal>,
    change: Option<Decimal>,
    change_percent: Option<Decimal>,
    trades: Option<u64>,
    open_interest: Option<Decimal>,
    mark_price: Option<Decimal>,
    index_price: Option<Decimal>,
}

#[derive(Deserialize)]
struct LifecycleFields<'a> {
    stage: Stage,
    word: String,
    group: Option<String>,
    title: Option<String>,
    opens: Option<i64>,
    #[serde(borrow)]
    opens_ns: Option<Text<'a>>,
    closes: Option<i64>,
    #[serde(borrow)]
    closes_ns: Option<Text<'a>>,
    outcome: Option<String>,
    value: Option<Decimal>,
}

#[derive(Deserialize)]
struct BookFields {
    bids: Vec<(Decimal, Decimal)>,
    asks: Vec<(Decimal, Decimal)>,
    depth: Option<u32>,
    checksum: Option<u32>,
}

#[derive(Deserialize)]
struct BarFields<'a> {
    begin: Option<i64>,
    #[serde(borrow)]
    begin_ns: Option<Text<'a>>,
    seconds: u64,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    volume: Decimal,
    vwap: Option<Decimal>,
    trades: Option<u64>,
}

#[derive(Deserialize)]
struct FundingFields<'a> {
    rate: Decimal,
    predicted: Option<Decimal>,
    next: Option<i64>,
    #[serde(borrow)]
    next_ns: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct GapFields {
    gap: Gap,
}

#[derive(Deserialize)]
struct SwitchFields {
    switch: Switch,
}

fn ticker(line: &[u8]) -> Result<Ticker> {
    let quote: Quote = fields(line)?;
    let read: TickerFields = fields(line)?;
    Ok(Ticker {
        quote,
        last: read.last,
        volume: read.volume,
        vwap: read.vwap,
        low: read.low,
        high: read.high,
        change: read.change,
        change_percent: read.change_percent,
        trades: read.trades,
        open_interest: read.open_interest,
        mark_price: read.mark_price,
        index_price: read.index_price,
    })
}

fn lifecycle(line: &[u8]) -> Result<Lifecycle> {
    let fields: LifecycleFields<'_> = fields(line)?;
    let LifecycleFields { stage, word, group, title, outcome, value, .. } = fields;
    let opens = time("opens", fields.opens, fields.opens_ns)?;
    let closes = time("closes", fields.closes, fields.closes_ns)?;
    Ok(Lifecycle { stage, word, group, title, opens, closes, outcome, value })
}

fn book(line: &[u8]) -> Result<Book> {
    let BookFields { bids, asks, depth, checksum } = fields(line)?;
    let levels = |pairs: Vec<(Decimal, Decimal)>| {
        pairs.into_iter().map(|(price, size)| Level { price, size }).collect()
    };
    Ok(Book { bids: levels(bids), asks: levels(asks), depth, checksum })
}

fn bar(line: &[u8]) -> Result<Bar> {
    let fields: BarFields<'_> = fields(line)?;
    let BarFields { seconds, open, high, low, close, volume, vwap, trades, .. } = fields;
    let begin = required("begin", time("begin", fields.begin, fields.begin_ns)?)?;
    Ok(Bar { begin, seconds, open, high, low, close, volume, vwap, trades })
}

fn funding(line: &[u8]) -> Result<Funding> {
    let FundingFields { rate, predicted, next, next_ns } = fields(line)?;
    Ok(Funding { rate, predicted, next: time("next", next, next_ns)? })
}

fn fields<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|cause| Error::new(ErrorKind::Invalid, "read record").because(cause))
}

/// One moment in its two forms. The nanoseconds are the truth; milliseconds may be left out, but must not differ.
fn time(field: &'static str, millis: Option<i64>, nanos: Option<Text<'_>>) -> Result<Option<Timestamp>> {
    let invalid = |detail: &'static str| {
        Error::new(ErrorKind::Invalid, "read record").detail(detail).with("field", field)
    };
    let Some(nanos) = nanos else {
        return if millis.is_none() { Ok(None) } else { Err(invalid("a time without its nanoseconds")) };
    };
    let nanos: i64 = nanos
        .0
        .parse()
        .map_err(|cause: std::num::ParseIntError| invalid("not a number of nanoseconds").because(cause))?;
    let time = Timestamp::from_nanos(nanos);
    if millis.is_some_and(|millis| millis != to_millis(time)) {
        return Err(invalid("milliseconds and nanoseconds name two times"));
    }
    Ok(Some(time))
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T> {
    let missing =
        || Error::new(ErrorKind::Invalid, "read record").detail("a field is missing").with("field", field);
    value.ok_or_else(missing)
}
