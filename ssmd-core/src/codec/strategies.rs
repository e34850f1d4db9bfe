//! Every record there can be, for property tests: any digits, any text, every value present or absent.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::record::{
    Audit, Bar, Book, Funding, Instrument, Level, Lifecycle, Quote, Side, Stage, Status, Switch, Ticker,
    Trade, TradingStatus,
};
use crate::{
    Body, Decimal, EntryId, Evidence, Gap, GapCause, Header, Origin, Record, SessionId, Symbol, Timestamp,
};

pub(super) fn record() -> impl Strategy<Value = Record> {
    (header(), body()).prop_map(|(header, body)| Record { header, body })
}

pub(super) fn decimal() -> impl Strategy<Value = Decimal> {
    let wire = (-1_000_000_000_i128..1_000_000_000, 0..10_u32);
    let extreme = (-(1_i128 << 96) + 1..(1_i128 << 96), 0..=crate::decimal::SCALE_MAX);
    prop_oneof![wire, extreme].prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale).unwrap())
}

fn header() -> impl Strategy<Value = Header> {
    let source = (any::<[u8; 16]>(), any::<u64>())
        .prop_map(|(bytes, n)| EntryId { origin: Origin::from_bytes(bytes), n });
    let parts = (of(symbol()), of(time()), time(), of(any::<u64>()), any::<u64>(), any::<u64>(), of(source));
    parts.prop_map(|(symbol, venue_time, received, sequence, session, index, source)| Header {
        symbol,
        venue_time,
        received,
        sequence,
        session: SessionId(session),
        index,
        source,
    })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        trade().prop_map(Body::Trade),
        quote().prop_map(Body::Quote),
        ticker().prop_map(|ticker| Body::Ticker(Box::new(ticker))),
        book().prop_map(Body::BookSnapshot),
        book().prop_map(Body::BookDelta),
        bar().prop_map(|bar| Body::Bar(Box::new(bar))),
        (select(&TradingStatus::ALL[..]), text(), text())
            .prop_map(|((status, _), word, detail)| Body::Status(Status { status, word, detail })),
        instrument().prop_map(|instrument| Body::Instrument(Box::new(instrument))),
        (decimal(), of(decimal()), of(time())).prop_map(|(rate, predicted, next)| Body::Funding(Funding {
            rate,
            predicted,
            next
        })),
        gap().prop_map(Body::Gap),
        (text(), text()).prop_map(|(check, found)| Body::Audit(Audit { check, found })),
        (cause(), evidence(), evidence(), text())
            .prop_map(|(cause, from, to, detail)| Body::Switch(Switch { cause, from, to, detail })),
        lifecycle().prop_map(|life| Body::Lifecycle(Box::new(life))),
    ]
}

fn trade() -> impl Strategy<Value = Trade> {
    let side = of(select(&[Side::Buy, Side::Sell][..]));
    (decimal(), decimal(), side, of(text()), of(text()))
        .prop_map(|(price, size, side, id, order_type)| Trade { price, size, side, id, order_type })
}

fn quote() -> impl Strategy<Value = Quote> {
    (of(decimal()), of(decimal()), of(decimal()), of(decimal()))
        .prop_map(|(bid, bid_size, ask, ask_size)| Quote { bid, bid_size, ask, ask_size })
}

fn ticker() -> impl Strategy<Value = Ticker> {
    let numbers = proptest::array::uniform10(of(decimal()));
    (quote(), numbers, of(any::<u64>())).prop_map(|(quote, numbers, trades)| {
        let [last, volume, vwap, low, high, change, change_percent, open_interest, mark_price, index_price] =
            numbers;
        Ticker {
            quote,
            last,
            volume,
            vwap,
            low,
            high,
            change,
            change_percent,
            trades,
            open_interest,
            mark_price,
            index_price,
        }
    })
}

fn lifecycle() -> impl Strategy<Value = Lifecycle> {
    let texts = proptest::array::uniform3(of(text()));
    (select(&Stage::ALL[..]), text(), texts, of(time()), of(time()), of(decimal())).prop_map(
        |((stage, _), word, [group, title, outcome], opens, closes, value)| Lifecycle {
            stage,
            word,
            group,
            title,
            opens,
            closes,
            outcome,
            value,
        },
    )
}

fn book() -> impl Strategy<Value = Book> {
    let levels = || vec((decimal(), decimal()).prop_map(|(price, size)| Level { price, size }), 0..40);
    (levels(), levels(), of(any::<u32>()), of(any::<u32>())).prop_map(|(bids, asks, depth, checksum)| Book {
        bids,
        asks,
        depth,
        checksum,
    })
}

fn bar() -> impl Strategy<Value = Bar> {
    let prices = proptest::array::uniform5(decimal());
    (time(), any::<u64>(), prices, of(decimal()), of(any::<u64>())).prop_map(
        |(begin, seconds, [open, high, low, close, volume], vwap, trades)| Bar {
            begin,
            seconds,
            open,
            high,
            low,
            close,
            volume,
            vwap,
            trades,
        },
    )
}

fn instrument() -> impl Strategy<Value = Instrument> {
    let texts = proptest::array::uniform3(of(text()));
    let digits = proptest::array::uniform2(of(any::<u32>()));
    let numbers = proptest::array::uniform4(of(decimal()));
    (texts, digits, numbers).prop_map(|(texts, digits, numbers)| {
        let [base, quote, status] = texts;
        let [price_precision, size_precision] = digits;
        let [price_increment, size_increment, size_min, cost_min] = numbers;
        Instrument {
            base,
            quote,
            status,
            price_precision,
            size_precision,
            price_increment,
            size_increment,
            size_min,
            cost_min,
        }
    })
}

fn gap() -> impl Strategy<Value = Gap> {
    let sides = (of(evidence()), of(evidence()));
    (cause(), of(text()), of(symbol()), sides, of(any::<u64>()), text()).prop_map(
        |(cause, channel, symbol, (from, to), missing, detail)| Gap {
            cause,
            channel,
            symbol,
            from,
            to,
            missing,
            detail,
        },
    )
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (time(), any::<u64>(), any::<u64>(), of(text())).prop_map(|(at, session, index, shown)| Evidence {
        at,
        session: SessionId(session),
        index,
        shown,
    })
}

fn cause() -> impl Strategy<Value = GapCause> {
    select(&GapCause::ALL[..]).prop_map(|(cause, _)| cause)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_nanos)
}

fn symbol() -> impl Strategy<Value = Symbol> {
    any::<String>().prop_filter_map("empty", |text| Symbol::new(&text).ok())
}

/// Any text: quotes, control characters, emoji, nothing at all.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z\"\\\\\\x00-\\x1f]{0,300}"]
}
