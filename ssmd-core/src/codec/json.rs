//! Records as JSON, for people and scripts: one flat object a line, numbers with exactly the venue's digits.
//!
//! What is absent is not there: no zero in its place, and no `null` but in gaps. Fields are only ever added, and a reader ignores
//! those that it does not know. Numbers of prices and sizes may have more digits than a float holds: read them as
//! decimals. Numbers of 64 bits (`sequence`, `session`, `index`, `trades`) are written as numbers; times in
//! nanoseconds are strings, since 2^53 is too small for them.
//!
//! | field | meaning |
//! | --- | --- |
//! | `type` | which record: `trade quote ticker book_snapshot book_delta bar status instrument funding gap audit switch lifecycle` |
//! | `feed` | the feed's name |
//! | `symbol` | the venue's name for what it is about; absent where it is about the whole venue |
//! | `ts`, `ts_ns` | when the venue says it happened: ms since 1970 as a number, ns as a string |
//! | `received`, `received_ns` | when the frame passed our socket, likewise |
//! | `sequence` | the venue's sequence number |
//! | `session`, `index` | the connection that heard it, and the frame's place in that connection |
//! | `source` | the frame's entry in its journal, `ORIGIN/N` |
//!
//! | type | its own fields; those in brackets may be absent |
//! | --- | --- |
//! | `trade` | `price`, `size`, \[`side`: `buy` or `sell`, the taker's\], \[`id`\], \[`order_type`\] |
//! | `quote` | \[`bid`\], \[`bid_size`\], \[`ask`\], \[`ask_size`\] |
//! | `ticker` | those of `quote`, and \[`last`\], \[`volume`\], \[`vwap`\], \[`low`\], \[`high`\], \[`change`\], \[`change_percent`\], \[`trades`\], \[`open_interest`\] |
//! | `book_snapshot`, `book_delta` | `bids`, `asks`: levels as `[price,size]`, in a delta the new total, 0 removes; \[`depth`\]: levels a side; \[`checksum`\] |
//! | `bar` | `begin`, `begin_ns`, `seconds`, `open`, `high`, `low`, `close`, `volume`, \[`vwap`\], \[`trades`\] |
//! | `status` | `status`: `online cancel_only post_only limit_only reduce_only maintenance closed unknown`, `word`: the venue's, `detail` |
//! | `instrument` | \[`base`\], \[`quote`\], \[`status`\], \[`price_precision`\], \[`size_precision`\], \[`price_increment`\], \[`size_increment`\], \[`size_min`\], \[`cost_min`\] |
//! | `funding` | `rate`, \[`predicted`\], \[`next`, `next_ns`\] |
//! | `gap` | `gap`: an object, as in the journal's gap entries, whose `from` and `to` may be `null` (see [`Gap`](crate::Gap)) |
//! | `audit` | `check`, `found` |
//! | `switch` | `switch`: an object with `cause`, `from`, `to`, \[`detail`\] (see [`Switch`](crate::record::Switch)) |
//! | `lifecycle` | `stage`: `listed opened paused changed closed determined settled unknown`, `word`: the venue's, \[`group`\], \[`title`\], \[`opens`, `opens_ns`\], \[`closes`, `closes_ns`\], \[`outcome`\], \[`value`\] |

mod line;
mod read;

use crate::record::{Bar, Book, Funding, Instrument, Lifecycle, Quote, Side, Status, Ticker, Trade};
use crate::{Body, FeedName, Header, Record, Result};
use line::Line;

/// Adds the line of one record to `out`, without a line break at its end.
pub fn encode(record: &Record, feed: &FeedName, out: &mut Vec<u8>) {
    let mut line = Line::begin(out, record.body.record_type().word());
    line.text("feed", feed.as_str());
    put_header(&record.header, &mut line);
    match &record.body {
        Body::Trade(trade) => put_trade(trade, &mut line),
        Body::Quote(quote) => put_quote(quote, &mut line),
        Body::Ticker(ticker) => put_ticker(ticker, &mut line),
        Body::BookSnapshot(book) | Body::BookDelta(book) => put_book(book, &mut line),
        Body::Bar(bar) => put_bar(bar, &mut line),
        Body::Status(status) => put_status(status, &mut line),
        Body::Instrument(instrument) => put_instrument(instrument, &mut line),
        Body::Funding(funding) => put_funding(funding, &mut line),
        Body::Gap(gap) => line.document("gap", gap),
        Body::Audit(audit) => {
            line.text("check", audit.check.as_str());
            line.text("found", audit.found.as_str());
        }
        Body::Switch(switch) => line.document("switch", switch),
        Body::Lifecycle(life) => put_lifecycle(life, &mut line),
    }
    line.end();
}

/// Reads the line of one record, with or without a line break at its end.
///
/// # Errors
/// `Invalid` if it is no such line: no JSON, a field missing or of another form, two forms of one time that differ,
/// a number that [`Decimal`](crate::Decimal) cannot hold. `Unsupported` for a type of record that is not known.
pub fn decode(line: &[u8]) -> Result<(FeedName, Record)> {
    read::record(line)
}

fn put_header(header: &Header, line: &mut Line<'_>) {
    line.text("symbol", header.symbol.as_ref().map(|symbol| symbol.as_str()));
    line.time("ts", "ts_ns", header.venue_time);
    line.time("received", "received_ns", header.received);
    line.number("sequence", header.sequence);
    line.number("session", header.session.0);
    line.number("index", header.index);
    line.source("source", header.source);
}

fn put_trade(trade: &Trade, line: &mut Line<'_>) {
    line.decimal("price", trade.price);
    line.decimal("size", trade.size);
    line.text(
        "side",
        trade.side.map(|side| match side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }),
    );
    line.text("id", trade.id.as_deref());
    line.text("order_type", trade.order_type.as_deref());
}

fn put_quote(quote: &Quote, line: &mut Line<'_>) {
    line.decimal("bid", quote.bid);
    line.decimal("bid_size", quote.bid_size);
    line.decimal("ask", quote.ask);
    line.decimal("ask_size", quote.ask_size);
}

fn put_ticker(ticker: &Ticker, line: &mut Line<'_>) {
    put_quote(&ticker.quote, line);
    line.decimal("last", ticker.last);
    line.decimal("volume", ticker.volume);
    line.decimal("vwap", ticker.vwap);
    line.decimal("low", ticker.low);
    line.decimal("high", ticker.high);
    line.decimal("change", ticker.change);
    line.decimal("change_percent", ticker.change_percent);
    line.number("trades", ticker.trades);
    line.decimal("open_interest", ticker.open_interest);
    line.decimal("mark_price", ticker.mark_price);
    line.decimal("index_price", ticker.index_price);
}

fn put_lifecycle(life: &Lifecycle, line: &mut Line<'_>) {
    line.text("stage", life.stage.word());
    line.text("word", life.word.as_str());
    line.text("group", life.group.as_deref());
    line.text("title", life.title.as_deref());
    line.time("opens", "opens_ns", life.opens);
    line.time("closes", "closes_ns", life.closes);
    line.text("outcome", life.outcome.as_deref());
    line.decimal("value", life.value);
}

fn put_book(book: &Book, line: &mut Line<'_>) {
    line.levels("bids", &book.bids);
    line.levels("asks", &book.asks);
    line.number("depth", book.depth.map(u64::from));
    line.number("checksum", book.checksum.map(u64::from));
}

fn put_bar(bar: &Bar, line: &mut Line<'_>) {
    line.time("begin", "begin_ns", bar.begin);
    line.number("seconds", bar.seconds);
    line.decimal("open", bar.open);
    line.decimal("high", bar.high);
    line.decimal("low", bar.low);
    line.decimal("close", bar.close);
    line.decimal("volume", bar.volume);
    line.decimal("vwap", bar.vwap);
    line.number("trades", bar.trades);
}

fn put_status(status: &Status, line: &mut Line<'_>) {
    line.text("status", status.status.word());
    line.text("word", status.word.as_str());
    line.text("detail", status.detail.as_str());
}

fn put_instrument(instrument: &Instrument, line: &mut Line<'_>) {
    line.text("base", instrument.base.as_deref());
    line.text("quote", instrument.quote.as_deref());
    line.text("status", instrument.status.as_deref());
    line.number("price_precision", instrument.price_precision.map(u64::from));
    line.number("size_precision", instrument.size_precision.map(u64::from));
    line.decimal("price_increment", instrument.price_increment);
    line.decimal("size_increment", instrument.size_increment);
    line.decimal("size_min", instrument.size_min);
    line.decimal("cost_min", instrument.cost_min);
}

fn put_funding(funding: &Funding, line: &mut Line<'_>) {
    line.decimal("rate", funding.rate);
    line.decimal("predicted", funding.predicted);
    line.time("next", "next_ns", funding.next);
}

#[cfg(test)]
mod tests;
