//! From a record to the builders of the schema's generated code.

use crate::record::{
    Audit, Bar, Book, Funding, Instrument, Level, Lifecycle, Quote, Side, Stage, Status, Switch, Ticker,
    Trade, TradingStatus,
};
use crate::schema::ssmd_capnp as schema;
use crate::{Body, Decimal, Evidence, Gap, GapCause, Record};

/// Room for everything in a record but its texts and levels: the largest, a ticker, takes 75 words.
const FIXED_WORDS: usize = 128;
/// A level: two pointers and two decimals of three words.
const LEVEL_WORDS: usize = 8;

/// At least as many words as the record's message has.
pub(super) fn words_max(record: &Record) -> usize {
    // A text ends in a zero byte and fills whole words.
    let text = |text: &str| text.len() / 8 + 1;
    let optional = |value: &Option<String>| value.as_deref().map_or(0, text);
    let evidence = |side: &Evidence| optional(&side.shown);
    let symbol = |symbol: &Option<crate::Symbol>| symbol.as_ref().map_or(0, |symbol| text(symbol.as_str()));
    let body = match &record.body {
        Body::Trade(trade) => optional(&trade.id) + optional(&trade.order_type),
        Body::BookSnapshot(book) | Body::BookDelta(book) => (book.bids.len() + book.asks.len()) * LEVEL_WORDS,
        Body::Status(status) => text(&status.word) + text(&status.detail),
        Body::Instrument(instrument) => {
            optional(&instrument.base) + optional(&instrument.quote) + optional(&instrument.status)
        }
        Body::Gap(gap) => {
            let sides = gap.from.as_ref().map_or(0, evidence) + gap.to.as_ref().map_or(0, evidence);
            optional(&gap.channel) + symbol(&gap.symbol) + text(&gap.detail) + sides
        }
        Body::Audit(audit) => text(&audit.check) + text(&audit.found),
        Body::Switch(switch) => evidence(&switch.from) + evidence(&switch.to) + text(&switch.detail),
        Body::Lifecycle(life) => {
            text(&life.word) + optional(&life.group) + optional(&life.title) + optional(&life.outcome)
        }
        Body::Quote(_) | Body::Ticker(_) | Body::Bar(_) | Body::Funding(_) => 0,
    };
    FIXED_WORDS + symbol(&record.header.symbol) + body
}

/// Writes the decimals that are there; what is not stays null.
macro_rules! put_decimals {
    ($to:ident: $($init:ident = $value:expr),+ $(,)?) => {
        $(if let Some(number) = Option::<Decimal>::from($value) {
            put_decimal($to.reborrow().$init(), number);
        })+
    };
}

/// Writes the texts that are there; what is not stays null.
macro_rules! put_texts {
    ($to:ident: $($set:ident = $value:expr),+ $(,)?) => {
        $(if let Some(text) = $value {
            $to.$set(text.as_str());
        })+
    };
}

/// Sets the member of a union that is not `none`, if there is something to set.
macro_rules! put_present {
    ($to:ident: $($get:ident.$set:ident = $value:expr),+ $(,)?) => {
        $(if let Some(value) = $value {
            $to.reborrow().$get().$set(value);
        })+
    };
}

pub(super) fn record(record: &Record, mut to: schema::record::Builder<'_>) {
    let header = &record.header;
    to.set_version(super::VERSION);
    to.set_received(header.received.nanos());
    to.set_session(header.session.0);
    to.set_index(header.index);
    put_texts!(to: set_symbol = &header.symbol);
    put_present!(to:
        get_venue_time.set_nanos = header.venue_time.map(|time| time.nanos()),
        get_sequence.set_number = header.sequence,
    );
    if let Some(source) = header.source {
        let origin = u128::from_be_bytes(source.origin.to_bytes());
        let mut entry = to.reborrow().get_source().init_entry();
        entry.set_origin_high((origin >> 64) as u64);
        entry.set_origin_low(origin as u64);
        entry.set_n(source.n);
    }
    put_body(&record.body, to.get_body());
}

fn put_body(body: &Body, to: schema::record::body::Builder<'_>) {
    match body {
        Body::Trade(trade) => put_trade(trade, to.init_trade()),
        Body::Quote(quote) => put_quote(quote, to.init_quote()),
        Body::Ticker(ticker) => put_ticker(ticker, to.init_ticker()),
        Body::BookSnapshot(book) => put_book(book, to.init_book_snapshot()),
        Body::BookDelta(book) => put_book(book, to.init_book_delta()),
        Body::Bar(bar) => put_bar(bar, to.init_bar()),
        Body::Status(status) => put_status(status, to.init_status()),
        Body::Instrument(instrument) => put_instrument(instrument, to.init_instrument()),
        Body::Funding(funding) => put_funding(funding, to.init_funding()),
        Body::Gap(gap) => put_gap(gap, to.init_gap()),
        Body::Audit(audit) => put_audit(audit, to.init_audit()),
        Body::Switch(switch) => put_switch(switch, to.init_switch()),
        Body::Lifecycle(life) => put_lifecycle(life, to.init_lifecycle()),
    }
}

fn put_trade(trade: &Trade, mut to: schema::trade::Builder<'_>) {
    put_decimals!(to: init_price = trade.price, init_size = trade.size);
    put_texts!(to: set_id = &trade.id, set_order_type = &trade.order_type);
    to.set_side(match trade.side {
        None => schema::Side::None,
        Some(Side::Buy) => schema::Side::Buy,
        Some(Side::Sell) => schema::Side::Sell,
    });
}

fn put_quote(quote: &Quote, mut to: schema::quote::Builder<'_>) {
    put_decimals!(to:
        init_bid = quote.bid, init_bid_size = quote.bid_size, init_ask = quote.ask, init_ask_size = quote.ask_size,
    );
}

fn put_ticker(ticker: &Ticker, mut to: schema::ticker::Builder<'_>) {
    put_quote(&ticker.quote, to.reborrow().init_quote());
    put_decimals!(to:
        init_last = ticker.last, init_volume = ticker.volume, init_vwap = ticker.vwap, init_low = ticker.low,
        init_high = ticker.high, init_change = ticker.change, init_change_percent = ticker.change_percent,
        init_open_interest = ticker.open_interest, init_mark_price = ticker.mark_price,
        init_index_price = ticker.index_price,
    );
    put_present!(to: get_trades.set_count = ticker.trades);
}

fn put_lifecycle(life: &Lifecycle, mut to: schema::lifecycle::Builder<'_>) {
    to.set_stage(match life.stage {
        Stage::Unknown => schema::Stage::Unknown,
        Stage::Listed => schema::Stage::Listed,
        Stage::Opened => schema::Stage::Opened,
        Stage::Paused => schema::Stage::Paused,
        Stage::Changed => schema::Stage::Changed,
        Stage::Closed => schema::Stage::Closed,
        Stage::Determined => schema::Stage::Determined,
        Stage::Settled => schema::Stage::Settled,
    });
    to.set_word(life.word.as_str());
    put_texts!(to: set_group = &life.group, set_title = &life.title, set_outcome = &life.outcome);
    put_present!(to:
        get_opens.set_nanos = life.opens.map(|time| time.nanos()),
        get_closes.set_nanos = life.closes.map(|time| time.nanos()),
    );
    put_decimals!(to: init_value = life.value);
}

fn put_book(book: &Book, mut to: schema::book::Builder<'_>) {
    // Levels come from a frame, which is far shorter than 2^32 bytes; `words_max` has checked it.
    put_levels(&book.bids, to.reborrow().init_bids(book.bids.len() as u32));
    put_levels(&book.asks, to.reborrow().init_asks(book.asks.len() as u32));
    put_present!(to: get_depth.set_levels = book.depth, get_checksum.set_value = book.checksum);
}

fn put_levels(levels: &[Level], mut to: capnp::struct_list::Builder<'_, schema::level::Owned>) {
    for (at, level) in (0..).zip(levels) {
        let mut to = to.reborrow().get(at);
        put_decimals!(to: init_price = level.price, init_size = level.size);
    }
}

fn put_bar(bar: &Bar, mut to: schema::bar::Builder<'_>) {
    to.set_begin(bar.begin.nanos());
    to.set_seconds(bar.seconds);
    put_decimals!(to:
        init_open = bar.open, init_high = bar.high, init_low = bar.low, init_close = bar.close,
        init_volume = bar.volume, init_vwap = bar.vwap,
    );
    put_present!(to: get_trades.set_count = bar.trades);
}

fn put_status(status: &Status, mut to: schema::status::Builder<'_>) {
    to.set_status(match status.status {
        TradingStatus::Online => schema::TradingStatus::Online,
        TradingStatus::CancelOnly => schema::TradingStatus::CancelOnly,
        TradingStatus::PostOnly => schema::TradingStatus::PostOnly,
        TradingStatus::LimitOnly => schema::TradingStatus::LimitOnly,
        TradingStatus::ReduceOnly => schema::TradingStatus::ReduceOnly,
        TradingStatus::Maintenance => schema::TradingStatus::Maintenance,
        TradingStatus::Closed => schema::TradingStatus::Closed,
        TradingStatus::Unknown => schema::TradingStatus::Unknown,
    });
    to.set_word(status.word.as_str());
    to.set_detail(status.detail.as_str());
}

fn put_instrument(instrument: &Instrument, mut to: schema::instrument::Builder<'_>) {
    put_texts!(to:
        set_base = &instrument.base, set_quote = &instrument.quote, set_status = &instrument.status,
    );
    put_present!(to:
        get_price_precision.set_digits = instrument.price_precision,
        get_size_precision.set_digits = instrument.size_precision,
    );
    put_decimals!(to:
        init_price_increment = instrument.price_increment, init_size_increment = instrument.size_increment,
        init_size_min = instrument.size_min, init_cost_min = instrument.cost_min,
    );
}

fn put_funding(funding: &Funding, mut to: schema::funding::Builder<'_>) {
    put_decimals!(to: init_rate = funding.rate, init_predicted = funding.predicted);
    put_present!(to: get_next.set_nanos = funding.next.map(|time| time.nanos()));
}

fn put_gap(gap: &Gap, mut to: schema::gap::Builder<'_>) {
    to.set_cause(cause(gap.cause));
    put_texts!(to: set_channel = &gap.channel, set_symbol = &gap.symbol);
    to.set_detail(gap.detail.as_str());
    if let Some(from) = &gap.from {
        put_evidence(from, to.reborrow().init_from());
    }
    if let Some(after) = &gap.to {
        put_evidence(after, to.reborrow().init_to());
    }
    put_present!(to: get_missing.set_count = gap.missing);
}

fn put_evidence(evidence: &Evidence, mut to: schema::evidence::Builder<'_>) {
    to.set_at(evidence.at.nanos());
    to.set_session(evidence.session.0);
    to.set_index(evidence.index);
    put_texts!(to: set_shown = &evidence.shown);
}

fn put_audit(audit: &Audit, mut to: schema::audit::Builder<'_>) {
    to.set_check(audit.check.as_str());
    to.set_found(audit.found.as_str());
}

fn put_switch(switch: &Switch, mut to: schema::switch::Builder<'_>) {
    to.set_cause(cause(switch.cause));
    put_evidence(&switch.from, to.reborrow().init_from());
    put_evidence(&switch.to, to.reborrow().init_to());
    to.set_detail(switch.detail.as_str());
}

fn cause(cause: GapCause) -> schema::Cause {
    match cause {
        GapCause::Planned => schema::Cause::Planned,
        GapCause::Crash => schema::Cause::Crash,
        GapCause::Disconnect => schema::Cause::Disconnect,
        GapCause::Silence => schema::Cause::Silence,
        GapCause::Refused => schema::Cause::Refused,
        GapCause::Protocol => schema::Cause::Protocol,
        GapCause::Checksum => schema::Cause::Checksum,
        GapCause::Sequence => schema::Cause::Sequence,
        GapCause::TradeId => schema::Cause::TradeId,
        GapCause::Overflow => schema::Cause::Overflow,
        GapCause::Lost => schema::Cause::Lost,
    }
}

fn put_decimal(mut to: schema::decimal::Builder<'_>, number: Decimal) {
    let mantissa = number.mantissa();
    // The two halves of the two's complement.
    to.set_low(mantissa as u64);
    to.set_high((mantissa >> 64) as i64);
    to.set_scale(number.scale());
}
