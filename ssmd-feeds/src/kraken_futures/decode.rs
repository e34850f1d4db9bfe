//! What the venue's frames mean: records of one session, the numbers of its books and trades followed.
//!
//! It looks at the payload alone, not at what the protocol made of it, so that recordings of others decode too.

use serde::Deserialize;
use ssmd_core::record::{Bar, Book, Funding, Level, Quote, Side, Status, Ticker, Trade, TradingStatus};
use ssmd_core::{
    Body, Decimal, Decode, DecodeCounts, DecodeError, Frame, FrameKind, Header, Output, Record, Symbol,
    Timestamp,
};

use super::channel::Stream;
use super::sequence::{BookSequence, Seen, TradeSequence, Verdict, gap, unpromised};
use super::wire::{self, BookDelta, BookSnapshot, Candles, Envelope, Event, TradeSnapshot, feed_at_sight};
use crate::decoding::{self, BySymbol, header, malformed, shown};

/// More products on one connection are hostile; the venue lists about 300.
const PRODUCTS_MAX: usize = 10_000;

/// Decodes the frames of one connection to Kraken futures, from its first to its last.
#[derive(Default)]
pub struct KrakenFuturesDecode {
    products: Vec<Product>,
    /// Where in `products` a symbol is.
    places: BySymbol<usize>,
    counts: DecodeCounts,
}

/// What is remembered about one product.
struct Product {
    symbol: Symbol,
    book: BookSequence,
    trades: TradeSequence,
    /// What tickers said last about trading and funding: they repeat it, records need not.
    status: Option<Status>,
    funding: Option<Funding>,
}

impl KrakenFuturesDecode {
    /// A decoder that has heard nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Decode for KrakenFuturesDecode {
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

impl KrakenFuturesDecode {
    fn frame(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        if frame.kind == FrameKind::Sent {
            return Ok(());
        }
        let payload = &*frame.payload;
        if let Some(feed) = feed_at_sight(payload) {
            return self.data(feed, frame, out);
        }
        let Some(envelope) = decoding::object::<Envelope<'_>>(payload).map_err(malformed)? else {
            return Err(DecodeError::Unknown("an array".to_owned()));
        };
        match envelope.event.as_ref() {
            "" => self.data(&envelope.feed, frame, out),
            "subscribed" => self.subscribed(payload),
            "unsubscribed" => self.unsubscribed(payload),
            event if wire::is_event(event) => Ok(()),
            event => Err(DecodeError::Unknown(shown(event))),
        }
    }

    fn data(&mut self, feed: &str, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        match feed {
            "book" => self.book_delta(frame, out),
            "book_snapshot" => self.book_snapshot(frame, out),
            "trade" => self.trade(frame, out),
            "trade_snapshot" => self.trade_snapshot(frame, out),
            "ticker" => self.ticker(frame, out),
            "ticker_lite" => self.ticker_lite(frame, out),
            "heartbeat" => Ok(()),
            "" => Err(DecodeError::Unknown("no feed".to_owned())),
            other => match wire::bar_seconds(other) {
                Some(seconds) => self.bar(frame, seconds, out),
                None => Err(DecodeError::Unknown(shown(other))),
            },
        }
    }

    /// What is confirmed begins with a snapshot, which may have been faster.
    fn subscribed(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let event: Event<'_> = read(payload)?;
        if Stream::from_name(&event.feed) == Some(Stream::Book) {
            for product in &event.product_ids {
                self.known(product)?.book.confirmed();
            }
        }
        Ok(())
    }

    /// What was left and is asked for again begins anew.
    fn unsubscribed(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let event: Event<'_> = read(payload)?;
        for product in &event.product_ids {
            let Some(at) = self.places.get(product.as_ref()) else { continue };
            let product = &mut self.products[*at];
            match Stream::from_name(&event.feed) {
                Some(Stream::Book) => product.book.forget(),
                Some(Stream::Trade) => product.trades.forget(),
                Some(Stream::Ticker) => (product.status, product.funding) = (None, None),
                _ => {}
            }
        }
        Ok(())
    }

    fn book_snapshot(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let BookSnapshot { product_id, timestamp, seq, bids, asks } = read(&frame.payload)?;
        let product = self.known(&product_id)?;
        product.book.snapshot(Seen::new(seq, frame));
        let header = numbered(frame, &product.symbol, timestamp.0, seq);
        let book = Book { bids, asks, depth: None, checksum: None };
        out.push(record(header, Body::BookSnapshot(book)));
        Ok(())
    }

    fn book_delta(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let delta: BookDelta<'_> = read(&frame.payload)?;
        let product = self.known(&delta.product_id)?;
        let header = || numbered(frame, &product.symbol, delta.timestamp.0, delta.seq);
        let seen = Seen::new(delta.seq, frame);
        let verdict = product.book.delta(seen);
        match verdict {
            Verdict::Jumped(last) => {
                out.push(record(header(), Body::Gap(gap("book", &product.symbol, last, seen))));
            }
            Verdict::Unpromised { news: true } => {
                let gap = unpromised(&product.symbol, product.book.good(), seen);
                out.push(record(header(), Body::Gap(gap)));
            }
            _ => {}
        }
        if !matches!(verdict, Verdict::Contained) {
            let levels = vec![Level { price: delta.price, size: delta.qty }];
            let (bids, asks) = match delta.side {
                Side::Buy => (levels, Vec::new()),
                Side::Sell => (Vec::new(), levels),
            };
            out.push(record(header(), Body::BookDelta(Book { bids, asks, depth: None, checksum: None })));
        }
        match verdict {
            Verdict::Followed => self.counts.books_verified += 1,
            Verdict::Jumped(_) | Verdict::Unpromised { .. } => {
                out.push(Output::Resync(product.symbol.clone()));
                self.counts.books_failed += 1;
            }
            Verdict::Unchecked | Verdict::Contained => {}
        }
        Ok(())
    }

    fn trade(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let trade: wire::Trade<'_> = read(&frame.payload)?;
        let product = self.known(&trade.product_id)?;
        product.trades(frame, &[trade], out);
        Ok(())
    }

    /// The venue tells the newest first; records are in the order in which it happened.
    fn trade_snapshot(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let mut snapshot: TradeSnapshot<'_> = read(&frame.payload)?;
        snapshot.trades.sort_by_key(|trade| trade.seq);
        self.known(&snapshot.product_id)?.trades(frame, &snapshot.trades, out);
        Ok(())
    }

    fn ticker(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let ticker: wire::Ticker<'_> = read(&frame.payload)?;
        let product = self.known(&ticker.product_id)?;
        let header = header(frame, Some(product.symbol.clone()), ticker.time.0);
        let summary = Ticker {
            quote: quote(&ticker),
            last: price(ticker.last),
            volume: ticker.volume,
            vwap: None,
            low: price(ticker.low),
            high: price(ticker.high),
            change: None,
            change_percent: ticker.change.0,
            trades: None,
            open_interest: ticker.open_interest,
            mark_price: price(ticker.mark_price.0),
            index_price: price(ticker.index.0),
        };
        out.push(record(header.clone(), Body::Ticker(Box::new(summary))));
        let status = status(&ticker).filter(|status| product.status.as_ref() != Some(status));
        if let Some(status) = status {
            product.status = Some(status.clone());
            out.push(record(header.clone(), Body::Status(status)));
        }
        let funding = funding(&ticker).filter(|funding| product.funding.as_ref() != Some(funding));
        if let Some(funding) = funding {
            product.funding = Some(funding.clone());
            out.push(record(header, Body::Funding(funding)));
        }
        Ok(())
    }

    fn ticker_lite(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let ticker: wire::Ticker<'_> = read(&frame.payload)?;
        let symbol = self.known(&ticker.product_id)?.symbol.clone();
        out.push(record(header(frame, Some(symbol), ticker.time.0), Body::Quote(quote(&ticker))));
        Ok(())
    }

    fn bar(&mut self, frame: &Frame, seconds: u64, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let Candles { product_id, candle } = read(&frame.payload)?;
        let begin = candle.time.0.ok_or_else(|| DecodeError::Malformed("a bar without a time".to_owned()))?;
        let symbol = self.known(&product_id)?.symbol.clone();
        let bar = Bar {
            begin,
            seconds,
            open: candle.open,
            high: candle.high,
            low: candle.low,
            close: candle.close,
            volume: candle.volume,
            vwap: None,
            trades: None,
        };
        out.push(record(header(frame, Some(symbol), None), Body::Bar(Box::new(bar))));
        Ok(())
    }

    /// What is remembered about a product, from now on.
    fn known(&mut self, text: &str) -> Result<&mut Product, DecodeError> {
        let at = match self.places.get(text) {
            Some(at) => *at,
            None => self.remember(text)?,
        };
        Ok(&mut self.products[at])
    }

    fn remember(&mut self, text: &str) -> Result<usize, DecodeError> {
        let at = self.products.len();
        if at == PRODUCTS_MAX {
            return Err(DecodeError::Malformed(format!("more than {PRODUCTS_MAX} products")));
        }
        let symbol = Symbol::new(text).map_err(|error| DecodeError::Malformed(error.to_string()))?;
        self.places.insert(symbol.clone(), at);
        self.products.push(Product {
            symbol,
            book: BookSequence::default(),
            trades: TradeSequence::default(),
            status: None,
            funding: None,
        });
        Ok(at)
    }
}

impl Product {
    /// Takes the trades of one frame, in the order of their numbers.
    fn trades(&mut self, frame: &Frame, trades: &[wire::Trade<'_>], out: &mut Vec<Output>) {
        let (Some(first), Some(last)) = (trades.first(), trades.last()) else { return };
        let (lowest, highest) = (Seen::new(first.seq, frame), Seen::new(last.seq, frame));
        if let Some(from) = self.trades.take(lowest, highest) {
            let header = numbered(frame, &self.symbol, first.time.0, first.seq);
            out.push(record(header, Body::Gap(gap("trade", &self.symbol, from, lowest))));
        }
        for trade in trades {
            let body = Body::Trade(Trade {
                price: trade.price,
                size: trade.qty,
                side: Some(trade.side),
                id: trade.uid.as_deref().map(str::to_owned),
                order_type: trade.kind.as_deref().map(str::to_owned),
            });
            out.push(record(numbered(frame, &self.symbol, trade.time.0, trade.seq), body));
        }
    }
}

fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(payload).map_err(malformed)
}

fn record(header: Header, body: Body) -> Output {
    Output::Record(Record { header, body })
}

fn numbered(frame: &Frame, symbol: &Symbol, venue_time: Option<Timestamp>, sequence: u64) -> Header {
    Header { sequence: Some(sequence), ..header(frame, Some(symbol.clone()), venue_time) }
}

/// A product that nobody bids for, or that was never traded, has 0 for a price that does not exist.
fn price(price: Option<Decimal>) -> Option<Decimal> {
    price.filter(|price| !price.is_zero())
}

fn quote(ticker: &wire::Ticker<'_>) -> Quote {
    let (bid, ask) = (price(ticker.bid), price(ticker.ask));
    Quote {
        bid,
        bid_size: ticker.bid_size.filter(|_| bid.is_some()),
        ask,
        ask_size: ticker.ask_size.filter(|_| ask.is_some()),
    }
}

/// Trading as a ticker tells it: the venue has two flags and no words.
fn status(ticker: &wire::Ticker<'_>) -> Option<Status> {
    let suspended = ticker.suspended?;
    let (status, word) = match ticker.post_only {
        _ if suspended => (TradingStatus::Maintenance, "suspended"),
        Some(true) => (TradingStatus::PostOnly, "post_only"),
        _ => (TradingStatus::Online, "suspended=false"),
    };
    let detail = ticker.post_only.map_or_else(String::new, |flag| format!("post_only={flag}"));
    Some(Status { status, word: word.to_owned(), detail })
}

/// The relative rates are fractions per hour; `funding_rate` is an amount per contract and no rate at all.
fn funding(ticker: &wire::Ticker<'_>) -> Option<Funding> {
    Some(Funding {
        rate: ticker.relative_funding_rate.0?,
        predicted: ticker.relative_funding_rate_prediction.0,
        next: ticker.next_funding_rate_time.0,
    })
}
