//! What the venue's frames mean: records of one session, the numbers of its subscriptions followed.
//!
//! It looks at the payload, and at our own commands where those say how to read the answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use ssmd_core::record::{Book, Level, Lifecycle, Quote, Stage, Ticker, Trade};
use ssmd_core::{
    Body, BookSide, Decimal, Decode, DecodeCounts, DecodeError, Frame, FrameKind, Gap, GapCause, Header,
    Output, Record, Symbol,
};

use super::books::{Books, Change, best_first};
use super::channel::Stream;
use super::sequence::{Seen, Sequences, Verdict, gap};
use super::wire::{
    self, Command, Delta, Envelope, Event, Kind, Market, Message, Outcome, Snapshot, Subscribed,
};
use super::{numbers, scan};
use crate::decoding::{self, evidence, header, malformed, shown};

/// More commands of ours that are not answered are not remembered.
const LEAVING_MAX: usize = 1_000;

/// Decodes the frames of one connection to Kalshi, from its first to its last.
#[derive(Default)]
pub struct KalshiDecode {
    books: Books,
    sequences: Sequences,
    /// Markets that we leave, by the command that says so.
    leaving: BTreeMap<u64, Vec<String>>,
    /// Whether we asked for the no side at prices of yes.
    no_at_yes_prices: bool,
    counts: DecodeCounts,
}

impl KalshiDecode {
    /// A decoder that has heard nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Decode for KalshiDecode {
    fn decode(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let before = out.len();
        let result = self.frame(frame, out);
        decoding::count(&mut self.counts, &result, before, out);
        result
    }

    fn counts(&self) -> DecodeCounts {
        self.counts
    }
}

impl KalshiDecode {
    fn frame(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let payload = &*frame.payload;
        if frame.kind == FrameKind::Sent {
            self.sent(payload);
            return Ok(());
        }
        if let Some(delta) = scan::delta(payload) {
            return self.delta(delta, frame, out);
        }
        if let Some(kind) = wire::kind_at_sight(payload).and_then(Kind::of) {
            return self.message(kind, frame, out);
        }
        let Some(envelope) = decoding::object::<Envelope<'_>>(payload).map_err(malformed)? else {
            return Err(DecodeError::Unknown("an array".to_owned()));
        };
        match Kind::of(&envelope.kind) {
            Some(kind) => self.message(kind, frame, out),
            None if envelope.kind.is_empty() => Err(DecodeError::Unknown("no type".to_owned())),
            None => Err(DecodeError::Unknown(shown(&envelope.kind))),
        }
    }

    fn message(&mut self, kind: Kind, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        match kind {
            Kind::Delta => self.delta(read(frame)?, frame, out),
            Kind::Snapshot => self.snapshot(frame, out),
            Kind::Ticker => ticker(frame, out),
            Kind::Trade => self.trade(frame, out),
            Kind::Market => self.market(frame, out),
            Kind::Event => self.event(frame, out),
            Kind::RawOnly => self.raw_only(frame, out),
            Kind::Answer => self.answer(frame, out),
        }
    }

    fn delta(
        &mut self,
        Message { sid, seq, msg }: Message<Delta<'_>>,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) -> Result<(), DecodeError> {
        let price = msg.price().ok_or_else(|| unseen("price"))?;
        let change = msg.change().ok_or_else(|| unseen("size"))?;
        let (side, price) = self.place(msg.side, price)?;
        self.books.check(&msg.market_ticker).map_err(DecodeError::Malformed)?;
        let verdict = self.follow((sid, seq), Stream::Book, None, frame, out);
        if matches!(verdict, Verdict::Stale) {
            return Ok(());
        }
        let changed = self.books.change(&msg.market_ticker, sid, (side, price, change), frame.received);
        match changed.map_err(DecodeError::Malformed)? {
            Change::Done(symbol, size) => {
                self.counts.books_verified += u64::from(matches!(verdict, Verdict::Followed));
                let levels = vec![Level { price, size }];
                let (bids, asks) = match side {
                    BookSide::Bid => (levels, Vec::new()),
                    BookSide::Ask => (Vec::new(), levels),
                };
                let header = Header { sequence: seq, ..header(frame, Some(symbol), msg.at()) };
                out.push(record(header, Body::BookDelta(Book { bids, asks, depth: None, checksum: None })));
            }
            Change::Breaks(symbol, why) => {
                self.counts.books_failed += 1;
                out.push(broken(frame, seq, &symbol, why));
                out.push(Output::Resync(symbol));
            }
            Change::Overdue(symbol) => out.push(Output::Resync(symbol)),
            Change::Ignored => {}
        }
        Ok(())
    }

    fn snapshot(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let Message { sid, seq, msg } = read::<Message<&serde_json::value::RawValue>>(frame)?;
        let snapshot = Snapshot::read(msg.get()).map_err(malformed)?;
        let (at, name) = (snapshot.at(), snapshot.market_ticker.clone());
        let (yes, no) = snapshot.sides();
        let bids = self.side(Outcome::Yes, yes)?;
        let asks = self.side(Outcome::No, no)?;
        self.books.check(&name).map_err(DecodeError::Malformed)?;
        if matches!(self.follow((sid, seq), Stream::Book, Some(&name), frame, out), Verdict::Stale) {
            return Ok(());
        }
        let book = Book { bids, asks, depth: None, checksum: None };
        let symbol = self.books.replace(&name, sid, &book).map_err(DecodeError::Malformed)?;
        let header = Header { sequence: seq, ..header(frame, Some(symbol), at) };
        out.push(record(header, Body::BookSnapshot(book)));
        Ok(())
    }

    /// One side of a snapshot, as levels of yes, best first.
    fn side(&self, outcome: Outcome, mut levels: Vec<Level>) -> Result<Vec<Level>, DecodeError> {
        for level in &mut levels {
            level.price = self.place(outcome, level.price)?.1;
            if level.size.is_negative() {
                return Err(DecodeError::Malformed("a size below zero".to_owned()));
            }
        }
        best_first(&mut levels, if outcome == Outcome::Yes { BookSide::Bid } else { BookSide::Ask });
        Ok(levels)
    }

    /// Where a price of an outcome stands in the book of yes: who bids for no asks for the rest of a dollar.
    fn place(&self, outcome: Outcome, price: Decimal) -> Result<(BookSide, Decimal), DecodeError> {
        let out_of_range = || DecodeError::Malformed("a price that is not between 0 and 1".to_owned());
        let rest = numbers::complement(price).filter(|rest| !rest.is_negative()).ok_or_else(out_of_range)?;
        if price.is_negative() {
            return Err(out_of_range());
        }
        Ok(match outcome {
            Outcome::Yes => (BookSide::Bid, price),
            Outcome::No if self.no_at_yes_prices => (BookSide::Ask, price),
            Outcome::No => (BookSide::Ask, rest),
        })
    }

    fn trade(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let Message { sid, seq, msg } = read::<Message<wire::Trade<'_>>>(frame)?;
        let trade = Trade {
            price: msg.price().ok_or_else(|| unseen("price"))?,
            size: msg.size().ok_or_else(|| unseen("size"))?,
            side: msg.side(),
            id: msg.trade_id.as_deref().map(str::to_owned),
            order_type: None,
        };
        let header = header(frame, Some(symbol(&msg.market_ticker)?), msg.at());
        self.follow((sid, seq), Stream::Trade, None, frame, out);
        out.push(record(Header { sequence: seq, ..header }, Body::Trade(trade)));
        Ok(())
    }

    fn market(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let Message { sid, seq, msg } = read::<Message<Market<'_>>>(frame)?;
        let at = msg.settled_ts.any().or(msg.determination_ts.any());
        let header = header(frame, Some(symbol(&msg.market_ticker)?), at);
        let metadata = msg.additional_metadata.as_ref();
        let life = Lifecycle {
            stage: stage(&msg.event_type),
            word: shown(&msg.event_type),
            group: metadata.and_then(|metadata| owned(&metadata.event_ticker)),
            title: metadata.and_then(|metadata| owned(&metadata.title)),
            opens: msg.open_ts.any(),
            closes: msg.close_ts.any(),
            outcome: owned(&msg.result),
            value: msg.settlement_value.map(|worth| worth.0),
        };
        self.follow((sid, seq), Stream::Lifecycle, None, frame, out);
        out.push(record(Header { sequence: seq, ..header }, Body::Lifecycle(Box::new(life))));
        Ok(())
    }

    fn event(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let Message { sid, seq, msg } = read::<Message<Event<'_>>>(frame)?;
        let header = header(frame, Some(symbol(&msg.event_ticker)?), None);
        let life = Lifecycle {
            stage: Stage::Listed,
            word: "event_lifecycle".to_owned(),
            group: owned(&msg.series_ticker),
            title: owned(&msg.title),
            opens: None,
            closes: None,
            outcome: None,
            value: None,
        };
        self.follow((sid, seq), Stream::Lifecycle, None, frame, out);
        out.push(record(Header { sequence: seq, ..header }, Body::Lifecycle(Box::new(life))));
        Ok(())
    }

    fn raw_only(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let Envelope { sid, seq, .. } = read(frame)?;
        self.follow((sid, seq), Stream::Lifecycle, None, frame, out);
        Ok(())
    }

    /// Answers have numbers too, but for the one that a subscription begins with.
    fn answer(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let envelope: Envelope<'_> = read(frame)?;
        if envelope.kind == "subscribed" {
            // Older ones have no `msg`.
            let Some(msg) = envelope.msg else { return Ok(()) };
            let subscribed: Subscribed<'_> = serde_json::from_str(msg.get()).map_err(malformed)?;
            let stream = Stream::from_name(&subscribed.channel);
            self.sequences.begin(subscribed.sid, stream, frame);
            return Ok(());
        }
        let Some(sid) = envelope.sid else { return Ok(()) };
        let stream = self.sequences.stream(sid);
        self.follow_as((sid, envelope.seq), stream, None, frame, out);
        match envelope.kind.as_ref() {
            "ok" => {
                let left = self.leaving.remove(&envelope.id).unwrap_or_default();
                self.books.forget(sid, &left);
            }
            "unsubscribed" => {
                self.sequences.end(sid);
                self.books.forget_all(sid);
            }
            _ => {}
        }
        Ok(())
    }

    /// What we asked for says how to read what comes.
    fn sent(&mut self, payload: &[u8]) {
        let Ok(Some(command)) = decoding::object::<Command<'_>>(payload) else { return };
        if let Some(at_yes_prices) = command.params.use_yes_price {
            self.no_at_yes_prices = at_yes_prices;
        }
        if command.params.action.as_deref() == Some("delete_markets") {
            let names = command.params.market_tickers.iter().map(|name| name.clone().into_owned()).collect();
            self.leaving.insert(command.id, names);
            if self.leaving.len() > LEAVING_MAX {
                self.leaving.pop_first();
            }
        }
    }

    fn follow(
        &mut self,
        (sid, seq): (Option<u64>, Option<u64>),
        stream: Stream,
        spared: Option<&str>,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) -> Verdict {
        match sid {
            Some(sid) => self.follow_as((sid, seq), Some(stream), spared, frame, out),
            None => Verdict::Unchecked,
        }
    }

    /// Takes a number. What is missing before it is a gap, and books that may have changed meanwhile are broken.
    fn follow_as(
        &mut self,
        (sid, seq): (u64, Option<u64>),
        stream: Option<Stream>,
        spared: Option<&str>,
        frame: &Frame,
        out: &mut Vec<Output>,
    ) -> Verdict {
        let Some(seq) = seq else { return Verdict::Unchecked };
        let seen = Seen::new(seq, frame);
        let verdict = self.sequences.take(sid, stream, seen);
        if let Verdict::Jumped(last) = verdict {
            let header = Header { sequence: Some(seq), ..header(frame, None, None) };
            out.push(record(header, Body::Gap(gap(stream, last, seen))));
            let books = self.books.break_all(sid, spared, frame.received);
            self.counts.books_failed += books.len() as u64;
            out.extend(books.into_iter().map(Output::Resync));
        }
        verdict
    }
}

fn ticker(frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
    let Message { msg, .. } = read::<Message<wire::Ticker<'_>>>(frame)?;
    let prices = msg.prices().ok_or_else(|| unseen("price"))?;
    // Nobody can trade at 0 or at a dollar: the venue writes them where there is no price.
    let bid = prices.bid.filter(|price| !price.is_zero());
    let ask = prices.ask.filter(|price| *price < numbers::one());
    let quote = Quote {
        bid,
        bid_size: msg.yes_bid_size_fp.filter(|_| bid.is_some()),
        ask,
        ask_size: msg.yes_ask_size_fp.filter(|_| ask.is_some()),
    };
    let summary = Ticker {
        quote,
        last: prices.last.filter(|price| !price.is_zero()),
        volume: msg.volume(),
        open_interest: msg.open_interest(),
        ..Ticker::default()
    };
    let header = header(frame, Some(symbol(&msg.market_ticker)?), msg.at());
    out.push(record(header, Body::Ticker(Box::new(summary))));
    Ok(())
}

fn read<'a, T: Deserialize<'a>>(frame: &'a Frame) -> Result<T, DecodeError> {
    serde_json::from_slice(&frame.payload).map_err(malformed)
}

fn record(header: Header, body: Body) -> Output {
    Output::Record(Record { header, body })
}

fn symbol(name: &str) -> Result<Symbol, DecodeError> {
    Symbol::new(name).map_err(|error| DecodeError::Malformed(error.to_string()))
}

/// A number that is in no form that has been seen must be told, not left out.
fn unseen(what: &str) -> DecodeError {
    DecodeError::Malformed(format!("no {what} in a form that is known"))
}

/// An empty text is none.
fn owned(text: &Option<Cow<'_, str>>) -> Option<String> {
    text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// One book is broken by itself, and not by a number.
fn broken(frame: &Frame, seq: Option<u64>, symbol: &Symbol, why: &str) -> Output {
    let gap = Gap {
        cause: GapCause::Protocol,
        channel: Some(Stream::Book.name().to_owned()),
        symbol: Some(symbol.clone()),
        from: None,
        to: Some(evidence(frame, seq.map(|seq| seq.to_string()))),
        missing: None,
        detail: why.to_owned(),
    };
    let header = Header { sequence: seq, ..header(frame, Some(symbol.clone()), None) };
    record(header, Body::Gap(gap))
}

fn stage(word: &str) -> Stage {
    match word {
        "created" => Stage::Listed,
        "activated" => Stage::Opened,
        "deactivated" => Stage::Paused,
        "close_date_updated"
        | "metadata_updated"
        | "price_level_structure_updated"
        | "fractional_trading_updated" => Stage::Changed,
        "determined" => Stage::Determined,
        "settled" => Stage::Settled,
        _ => Stage::Unknown,
    }
}
