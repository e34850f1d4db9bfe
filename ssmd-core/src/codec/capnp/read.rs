//! From the readers of the schema's generated code to a record. Every value is foreign.

use capnp::NotInSchema;

use crate::record::{
    Audit, Bar, Book, Funding, Instrument, Level, Lifecycle, Quote, Side, Stage, Status, Switch, Ticker,
    Trade, TradingStatus,
};
use crate::schema::ssmd_capnp as schema;
use crate::{
    Body, Decimal, EntryId, Error, ErrorKind, Evidence, Gap, GapCause, Header, Origin, Record, SessionId,
    Symbol, Timestamp,
};

/// What is wrong with a message.
pub(super) enum Fault {
    /// Its pointers.
    Pointer(capnp::Error),
    /// It says what this version has no word for.
    Newer(&'static str, u16),
    /// A required field is null.
    Missing(&'static str),
    /// A text is not UTF-8.
    Text(std::str::Utf8Error),
    /// A value is out of bounds.
    Value(Error),
}

type Result<T> = std::result::Result<T, Fault>;

/// A struct, or `None` for a null pointer.
macro_rules! optional {
    ($from:ident.$has:ident.$get:ident, $read:expr) => {
        if $from.$has() { Some($read($from.$get()?)?) } else { None }
    };
}

/// A struct whose pointer must not be null.
macro_rules! required {
    ($from:ident.$has:ident.$get:ident, $read:expr) => {
        optional!($from.$has.$get, $read).ok_or(Fault::Missing(stringify!($get)))?
    };
}

/// The value of a union with `none`.
macro_rules! present {
    ($from:ident.$get:ident, $($union:ident)::+, $value:ident) => {{
        use $($union)::+::Which;
        match $from.$get().which() {
            Ok(Which::None(())) => None,
            Ok(Which::$value(value)) => Some(value),
            Err(NotInSchema(number)) => return Err(Fault::Newer(stringify!($get), number)),
        }
    }};
}

pub(super) fn record(from: schema::record::Reader<'_>) -> Result<Record> {
    match from.get_version() {
        super::VERSION => {}
        0 => return Err(Fault::Missing("version")),
        newer => return Err(Fault::Newer("version", newer)),
    }
    let header = Header {
        symbol: optional!(from.has_symbol.get_symbol, symbol),
        venue_time: present!(from.get_venue_time, schema::record::venue_time, Nanos)
            .map(Timestamp::from_nanos),
        received: Timestamp::from_nanos(from.get_received()),
        sequence: present!(from.get_sequence, schema::record::sequence, Number),
        session: SessionId(from.get_session()),
        index: from.get_index(),
        source: present!(from.get_source, schema::record::source, Entry).map(entry),
    };
    Ok(Record { header, body: body(from.get_body())? })
}

fn entry(from: schema::record::source::entry::Reader<'_>) -> EntryId {
    let origin = u128::from(from.get_origin_high()) << 64 | u128::from(from.get_origin_low());
    EntryId { origin: Origin::from_bytes(origin.to_be_bytes()), n: from.get_n() }
}

fn body(from: schema::record::body::Reader<'_>) -> Result<Body> {
    use schema::record::body::Which;
    let which = from.which().map_err(|NotInSchema(number)| Fault::Newer("body", number))?;
    // Every other body has a required field, which a null pointer cannot have.
    let null = matches!(which, Which::Quote(_) if !from.has_quote())
        || matches!(which, Which::Instrument(_) if !from.has_instrument());
    if null {
        return Err(Fault::Missing("body"));
    }
    Ok(match which {
        Which::Trade(from) => Body::Trade(trade(from?)?),
        Which::Quote(from) => Body::Quote(quote(from?)?),
        Which::Ticker(from) => Body::Ticker(Box::new(ticker(from?)?)),
        Which::BookSnapshot(from) => Body::BookSnapshot(book(from?)?),
        Which::BookDelta(from) => Body::BookDelta(book(from?)?),
        Which::Bar(from) => Body::Bar(Box::new(bar(from?)?)),
        Which::Status(from) => Body::Status(status(from?)?),
        Which::Instrument(from) => Body::Instrument(Box::new(instrument(from?)?)),
        Which::Funding(from) => Body::Funding(funding(from?)?),
        Which::Gap(from) => Body::Gap(gap(from?)?),
        Which::Audit(from) => Body::Audit(audit(from?)?),
        Which::Switch(from) => Body::Switch(switch(from?)?),
        Which::Lifecycle(from) => Body::Lifecycle(Box::new(lifecycle(from?)?)),
    })
}

fn trade(from: schema::trade::Reader<'_>) -> Result<Trade> {
    Ok(Trade {
        price: required!(from.has_price.get_price, decimal),
        size: required!(from.has_size.get_size, decimal),
        side: match from.get_side().map_err(|NotInSchema(number)| Fault::Newer("side", number))? {
            schema::Side::None => None,
            schema::Side::Buy => Some(Side::Buy),
            schema::Side::Sell => Some(Side::Sell),
        },
        id: optional!(from.has_id.get_id, text),
        order_type: optional!(from.has_order_type.get_order_type, text),
    })
}

fn quote(from: schema::quote::Reader<'_>) -> Result<Quote> {
    Ok(Quote {
        bid: optional!(from.has_bid.get_bid, decimal),
        bid_size: optional!(from.has_bid_size.get_bid_size, decimal),
        ask: optional!(from.has_ask.get_ask, decimal),
        ask_size: optional!(from.has_ask_size.get_ask_size, decimal),
    })
}

fn ticker(from: schema::ticker::Reader<'_>) -> Result<Ticker> {
    Ok(Ticker {
        quote: required!(from.has_quote.get_quote, quote),
        last: optional!(from.has_last.get_last, decimal),
        volume: optional!(from.has_volume.get_volume, decimal),
        vwap: optional!(from.has_vwap.get_vwap, decimal),
        low: optional!(from.has_low.get_low, decimal),
        high: optional!(from.has_high.get_high, decimal),
        change: optional!(from.has_change.get_change, decimal),
        change_percent: optional!(from.has_change_percent.get_change_percent, decimal),
        trades: present!(from.get_trades, schema::ticker::trades, Count),
        open_interest: optional!(from.has_open_interest.get_open_interest, decimal),
        mark_price: optional!(from.has_mark_price.get_mark_price, decimal),
        index_price: optional!(from.has_index_price.get_index_price, decimal),
    })
}

fn lifecycle(from: schema::lifecycle::Reader<'_>) -> Result<Lifecycle> {
    let stage = from.get_stage().map_err(|NotInSchema(number)| Fault::Newer("stage", number))?;
    Ok(Lifecycle {
        stage: match stage {
            schema::Stage::Unknown => Stage::Unknown,
            schema::Stage::Listed => Stage::Listed,
            schema::Stage::Opened => Stage::Opened,
            schema::Stage::Paused => Stage::Paused,
            schema::Stage::Changed => Stage::Changed,
            schema::Stage::Closed => Stage::Closed,
            schema::Stage::Determined => Stage::Determined,
            schema::Stage::Settled => Stage::Settled,
        },
        word: required!(from.has_word.get_word, text),
        group: optional!(from.has_group.get_group, text),
        title: optional!(from.has_title.get_title, text),
        opens: present!(from.get_opens, schema::lifecycle::opens, Nanos).map(Timestamp::from_nanos),
        closes: present!(from.get_closes, schema::lifecycle::closes, Nanos).map(Timestamp::from_nanos),
        outcome: optional!(from.has_outcome.get_outcome, text),
        value: optional!(from.has_value.get_value, decimal),
    })
}

fn book(from: schema::book::Reader<'_>) -> Result<Book> {
    Ok(Book {
        bids: required!(from.has_bids.get_bids, levels),
        asks: required!(from.has_asks.get_asks, levels),
        depth: present!(from.get_depth, schema::book::depth, Levels),
        checksum: present!(from.get_checksum, schema::book::checksum, Value),
    })
}

/// The traversal limit has bounded the list's length before it is read here.
fn levels(from: capnp::struct_list::Reader<'_, schema::level::Owned>) -> Result<Vec<Level>> {
    let level = |from: schema::level::Reader<'_>| {
        Ok(Level {
            price: required!(from.has_price.get_price, decimal),
            size: required!(from.has_size.get_size, decimal),
        })
    };
    from.iter().map(level).collect()
}

fn bar(from: schema::bar::Reader<'_>) -> Result<Bar> {
    Ok(Bar {
        begin: Timestamp::from_nanos(from.get_begin()),
        seconds: from.get_seconds(),
        open: required!(from.has_open.get_open, decimal),
        high: required!(from.has_high.get_high, decimal),
        low: required!(from.has_low.get_low, decimal),
        close: required!(from.has_close.get_close, decimal),
        volume: required!(from.has_volume.get_volume, decimal),
        vwap: optional!(from.has_vwap.get_vwap, decimal),
        trades: present!(from.get_trades, schema::bar::trades, Count),
    })
}

fn status(from: schema::status::Reader<'_>) -> Result<Status> {
    let status = match from.get_status().map_err(|NotInSchema(number)| Fault::Newer("status", number))? {
        schema::TradingStatus::Unknown => TradingStatus::Unknown,
        schema::TradingStatus::Online => TradingStatus::Online,
        schema::TradingStatus::CancelOnly => TradingStatus::CancelOnly,
        schema::TradingStatus::PostOnly => TradingStatus::PostOnly,
        schema::TradingStatus::LimitOnly => TradingStatus::LimitOnly,
        schema::TradingStatus::ReduceOnly => TradingStatus::ReduceOnly,
        schema::TradingStatus::Maintenance => TradingStatus::Maintenance,
        schema::TradingStatus::Closed => TradingStatus::Closed,
    };
    Ok(Status {
        status,
        word: required!(from.has_word.get_word, text),
        detail: required!(from.has_detail.get_detail, text),
    })
}

fn instrument(from: schema::instrument::Reader<'_>) -> Result<Instrument> {
    Ok(Instrument {
        base: optional!(from.has_base.get_base, text),
        quote: optional!(from.has_quote.get_quote, text),
        status: optional!(from.has_status.get_status, text),
        price_precision: present!(from.get_price_precision, schema::instrument::price_precision, Digits),
        size_precision: present!(from.get_size_precision, schema::instrument::size_precision, Digits),
        price_increment: optional!(from.has_price_increment.get_price_increment, decimal),
        size_increment: optional!(from.has_size_increment.get_size_increment, decimal),
        size_min: optional!(from.has_size_min.get_size_min, decimal),
        cost_min: optional!(from.has_cost_min.get_cost_min, decimal),
    })
}

fn funding(from: schema::funding::Reader<'_>) -> Result<Funding> {
    Ok(Funding {
        rate: required!(from.has_rate.get_rate, decimal),
        predicted: optional!(from.has_predicted.get_predicted, decimal),
        next: present!(from.get_next, schema::funding::next, Nanos).map(Timestamp::from_nanos),
    })
}

fn gap(from: schema::gap::Reader<'_>) -> Result<Gap> {
    Ok(Gap {
        cause: cause(from.get_cause())?,
        channel: optional!(from.has_channel.get_channel, text),
        symbol: optional!(from.has_symbol.get_symbol, symbol),
        from: optional!(from.has_from.get_from, evidence),
        to: optional!(from.has_to.get_to, evidence),
        missing: present!(from.get_missing, schema::gap::missing, Count),
        detail: required!(from.has_detail.get_detail, text),
    })
}

fn cause(from: std::result::Result<schema::Cause, NotInSchema>) -> Result<GapCause> {
    Ok(match from.map_err(|NotInSchema(number)| Fault::Newer("cause", number))? {
        schema::Cause::Planned => GapCause::Planned,
        schema::Cause::Crash => GapCause::Crash,
        schema::Cause::Disconnect => GapCause::Disconnect,
        schema::Cause::Silence => GapCause::Silence,
        schema::Cause::Refused => GapCause::Refused,
        schema::Cause::Protocol => GapCause::Protocol,
        schema::Cause::Checksum => GapCause::Checksum,
        schema::Cause::Sequence => GapCause::Sequence,
        schema::Cause::TradeId => GapCause::TradeId,
        schema::Cause::Overflow => GapCause::Overflow,
        schema::Cause::Lost => GapCause::Lost,
    })
}

fn evidence(from: schema::evidence::Reader<'_>) -> Result<Evidence> {
    Ok(Evidence {
        at: Timestamp::from_nanos(from.get_at()),
        session: SessionId(from.get_session()),
        index: from.get_index(),
        shown: optional!(from.has_shown.get_shown, text),
    })
}

fn audit(from: schema::audit::Reader<'_>) -> Result<Audit> {
    Ok(Audit {
        check: required!(from.has_check.get_check, text),
        found: required!(from.has_found.get_found, text),
    })
}

fn switch(from: schema::switch::Reader<'_>) -> Result<Switch> {
    Ok(Switch {
        cause: cause(from.get_cause())?,
        from: required!(from.has_from.get_from, evidence),
        to: required!(from.has_to.get_to, evidence),
        detail: required!(from.has_detail.get_detail, text),
    })
}

fn decimal(from: schema::decimal::Reader<'_>) -> Result<Decimal> {
    let mantissa = i128::from(from.get_high()) << 64 | i128::from(from.get_low());
    Decimal::new(mantissa, from.get_scale()).map_err(Fault::Value)
}

fn symbol(from: capnp::text::Reader<'_>) -> Result<Symbol> {
    Symbol::new(from.to_str()?).map_err(Fault::Value)
}

fn text(from: capnp::text::Reader<'_>) -> Result<String> {
    Ok(from.to_str()?.to_owned())
}

impl From<capnp::Error> for Fault {
    fn from(error: capnp::Error) -> Self {
        Self::Pointer(error)
    }
}

impl From<std::str::Utf8Error> for Fault {
    fn from(error: std::str::Utf8Error) -> Self {
        Self::Text(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let invalid = Self::new(ErrorKind::Invalid, "read record");
        match fault {
            Fault::Pointer(cause) => invalid.because(cause),
            Fault::Text(cause) => invalid.because(cause),
            Fault::Value(cause) => invalid.because(cause),
            Fault::Missing(field) => {
                invalid.detail("a required field is null").with("field", field.trim_start_matches("get_"))
            }
            Fault::Newer(field, number) => Self::new(ErrorKind::Unsupported, "read record")
                .with("field", field.trim_start_matches("get_"))
                .with("number", number)
                .hint("a newer version of ssmd wrote this record: use that version to read it"),
        }
    }
}
