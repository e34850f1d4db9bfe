//! What Kraken's frames mean: records of one session, its books audited, its trade ids counted.
//!
//! It looks at the payload alone, not at what the protocol made of it, so that recordings of others decode too.

use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::record::{Bar, Book, Instrument, Quote, Status, Ticker, Trade};
use ssmd_core::{
    Body, Decimal, Decode, DecodeCounts, DecodeError, Evidence, Frame, FrameKind, Gap, GapCause, Output,
    Record, Symbol, Timestamp,
};

use super::audit::{BookAudit, DEPTH_DEFAULT, Verdict};
use super::wire::{
    Answer, BarEntry, BookEntry, Envelope, Instruments, PairEntry, Request, StatusEntry, TickerEntry,
    TradeEntry,
};
use super::{scan, trading_status};
use crate::decoding::{self, BySymbol, evidence, header, malformed, shown};

/// More symbols on one connection are hostile; the venue lists about 1,500.
const SYMBOLS_MAX: usize = 10_000;

/// Decodes the frames of one Kraken connection, from its first to its last.
#[derive(Default)]
pub struct KrakenDecode {
    markets: Vec<Market>,
    /// Where in `markets` a symbol is.
    places: BySymbol<usize>,
    counts: DecodeCounts,
}

/// What is remembered about one symbol.
struct Market {
    symbol: Symbol,
    book: BookAudit,
    trade: Option<LastTrade>,
}

struct LastTrade {
    id: u64,
    seen: Evidence,
}

impl KrakenDecode {
    /// A decoder that has heard nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Decode for KrakenDecode {
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

impl KrakenDecode {
    fn frame(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        if frame.kind == FrameKind::Sent {
            self.sent(&frame.payload);
            return Ok(());
        }
        if let Some((snapshot, entry)) = scan::book(&frame.payload) {
            let at = self.known(&entry.symbol)?;
            self.book(frame, snapshot, at, entry, out);
            return Ok(());
        }
        if &*frame.payload == super::HEARTBEAT {
            return Ok(());
        }
        let Some(envelope) = decoding::object::<Envelope<'_>>(&frame.payload).map_err(malformed)? else {
            return Err(DecodeError::Unknown("an array".to_owned()));
        };
        if !envelope.method.is_empty() {
            return self.answer(&frame.payload);
        }
        match envelope.channel.as_ref() {
            "heartbeat" => Ok(()),
            "book" => self.books(frame, is_snapshot(&envelope)?, data(envelope.data)?, out),
            "trade" => {
                is_snapshot(&envelope)?;
                self.trades(frame, data(envelope.data)?, out)
            }
            "ticker" => {
                is_snapshot(&envelope)?;
                self.tickers(frame, data(envelope.data)?, out)
            }
            "ohlc" => {
                is_snapshot(&envelope)?;
                self.bars(frame, envelope.timestamp.0, data(envelope.data)?, out)
            }
            "instrument" => {
                is_snapshot(&envelope)?;
                self.instruments(frame, data(envelope.data)?, out)
            }
            "status" => {
                statuses(frame, data(envelope.data)?, out);
                Ok(())
            }
            "" if envelope.is_error() => Ok(()),
            "" => Err(DecodeError::Unknown("no channel".to_owned())),
            other => Err(DecodeError::Unknown(shown(other))),
        }
    }

    /// A request of ours says the depth before the venue confirms it. Whatever else we sent means nothing here.
    fn sent(&mut self, payload: &[u8]) {
        let Ok(Request { method, params: Some(params) }) = serde_json::from_slice(payload) else { return };
        if method == "subscribe" && params.channel == "book" {
            for symbol in &params.symbol {
                if let Ok(at) = self.known(symbol) {
                    self.markets[at].book.subscribed(params.depth.unwrap_or(DEPTH_DEFAULT));
                }
            }
        }
    }

    /// Only what is confirmed for books and trades changes how their frames are judged.
    fn answer(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let answer: Answer<'_> = serde_json::from_slice(payload).map_err(malformed)?;
        let Some(result) = answer.result.filter(|_| answer.success) else { return Ok(()) };
        let Some(symbol) = &result.symbol else { return Ok(()) };
        let at = self.known(symbol)?;
        let market = &mut self.markets[at];
        match (answer.method.as_ref(), result.channel.as_ref()) {
            ("subscribe", "book") => {
                market.book.subscribed(result.depth.unwrap_or(DEPTH_DEFAULT));
                if result.snapshot.unwrap_or(true) {
                    market.book.confirmed();
                }
            }
            ("unsubscribe", "book") => market.book.unsubscribed(),
            ("unsubscribe", "trade") => market.trade = None,
            _ => {}
        }
        Ok(())
    }

    fn books(
        &mut self,
        frame: &Frame,
        snapshot: bool,
        entries: Vec<BookEntry<'_>>,
        out: &mut Vec<Output>,
    ) -> Result<(), DecodeError> {
        let known = entries.iter().map(|entry| self.known(&entry.symbol)).collect::<Result<Vec<_>, _>>()?;
        for (at, entry) in known.into_iter().zip(entries) {
            self.book(frame, snapshot, at, entry, out);
        }
        Ok(())
    }

    fn book(
        &mut self,
        frame: &Frame,
        snapshot: bool,
        at: usize,
        entry: BookEntry<'_>,
        out: &mut Vec<Output>,
    ) {
        let Market { symbol, book: audit, .. } = &mut self.markets[at];
        let mut book = Book { bids: entry.bids, asks: entry.asks, depth: None, checksum: entry.checksum };
        let before = audit.depth();
        let verdict = if snapshot { audit.snapshot(&book) } else { audit.update(&book) };
        book.depth = audit.depth().or(before);
        let said = entry.checksum.map(|checksum| checksum.to_string());
        let failed = match verdict {
            Verdict::Unchecked => None,
            Verdict::Verified => {
                audit.good = Some(evidence(frame, None));
                None
            }
            Verdict::Unpromised => {
                Some((GapCause::Protocol, "an update came where a snapshot must come".to_owned()))
            }
            Verdict::Failed { computed } => {
                let said = said.as_deref().unwrap_or_default();
                Some((GapCause::Checksum, format!("the levels give {computed}, the venue says {said}")))
            }
        };
        self.counts.books_verified += u64::from(verdict == Verdict::Verified);
        self.counts.books_failed += u64::from(matches!(verdict, Verdict::Failed { .. }));
        let news = (failed.is_some() && audit.breaks()).then(|| audit.good.clone());
        let symbol = symbol.clone();
        let header = header(frame, Some(symbol.clone()), entry.timestamp.0);
        let body = if snapshot { Body::BookSnapshot(book) } else { Body::BookDelta(book) };
        out.push(Output::Record(Record { header, body }));
        let Some((cause, detail)) = failed else { return };
        if let Some(from) = news {
            let gap = Gap {
                cause,
                channel: Some("book".to_owned()),
                symbol: Some(symbol.clone()),
                from,
                to: Some(evidence(frame, said)),
                missing: None,
                detail,
            };
            let header = decoding::header(frame, Some(symbol.clone()), entry.timestamp.0);
            out.push(Output::Record(Record { header, body: Body::Gap(gap) }));
        }
        out.push(Output::Resync(symbol));
    }

    fn trades(
        &mut self,
        frame: &Frame,
        entries: Vec<TradeEntry<'_>>,
        out: &mut Vec<Output>,
    ) -> Result<(), DecodeError> {
        let known = entries.iter().map(|entry| self.known(&entry.symbol)).collect::<Result<Vec<_>, _>>()?;
        // In the order of their ids, since a snapshot need not be in that order.
        let mut ids: Vec<_> =
            known.iter().zip(&entries).map(|(at, entry)| (entry.trade_id, *at, entry.timestamp.0)).collect();
        ids.sort_by_key(|(id, ..)| *id);
        for (id, at, time) in ids {
            if let Some(gap) = self.markets[at].trade_gap(frame, id) {
                let header = header(frame, gap.symbol.clone(), time);
                out.push(Output::Record(Record { header, body: Body::Gap(gap) }));
            }
        }
        for (at, entry) in known.into_iter().zip(entries) {
            let header = header(frame, Some(self.markets[at].symbol.clone()), entry.timestamp.0);
            let body = Body::Trade(Trade {
                price: entry.price,
                size: entry.qty,
                side: Some(entry.side),
                id: Some(entry.trade_id.to_string()),
                order_type: entry.ord_type.map(|word| word.into_owned()),
            });
            out.push(Output::Record(Record { header, body }));
        }
        Ok(())
    }

    fn tickers(
        &mut self,
        frame: &Frame,
        entries: Vec<TickerEntry<'_>>,
        out: &mut Vec<Output>,
    ) -> Result<(), DecodeError> {
        for entry in entries {
            let header = header(frame, Some(self.symbol(&entry.symbol)?), entry.timestamp.0);
            // A market where nobody bids or nothing was ever traded says 0 for a price that does not exist.
            let price = |price: Option<Decimal>| price.filter(|price| !price.is_zero());
            let (bid, ask) = (price(entry.bid), price(entry.ask));
            let ticker = Ticker {
                quote: Quote {
                    bid,
                    bid_size: entry.bid_qty.filter(|_| bid.is_some()),
                    ask,
                    ask_size: entry.ask_qty.filter(|_| ask.is_some()),
                },
                last: price(entry.last),
                volume: entry.volume,
                vwap: price(entry.vwap),
                low: price(entry.low),
                high: price(entry.high),
                change: entry.change,
                change_percent: entry.change_pct,
                trades: entry.trades,
                open_interest: None,
                mark_price: None,
                index_price: None,
            };
            out.push(Output::Record(Record { header, body: Body::Ticker(Box::new(ticker)) }));
        }
        Ok(())
    }

    fn bars(
        &mut self,
        frame: &Frame,
        sent: Option<Timestamp>,
        entries: Vec<BarEntry<'_>>,
        out: &mut Vec<Output>,
    ) -> Result<(), DecodeError> {
        for entry in entries {
            let header = header(frame, Some(self.symbol(&entry.symbol)?), sent);
            let bar = Bar {
                begin: entry.interval_begin,
                seconds: u64::from(entry.interval) * 60,
                open: entry.open,
                high: entry.high,
                low: entry.low,
                close: entry.close,
                volume: entry.volume,
                vwap: entry.vwap,
                trades: entry.trades,
            };
            out.push(Output::Record(Record { header, body: Body::Bar(Box::new(bar)) }));
        }
        Ok(())
    }

    fn instruments(
        &mut self,
        frame: &Frame,
        listed: Instruments<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), DecodeError> {
        for pair in listed.pairs {
            let header = header(frame, Some(self.symbol(&pair.symbol)?), None);
            if let Some(word) = &pair.status {
                let status =
                    Status { status: trading_status(word), word: word.clone(), detail: String::new() };
                out.push(Output::Record(Record { header: header.clone(), body: Body::Status(status) }));
            }
            out.push(Output::Record(Record { header, body: Body::Instrument(Box::new(instrument(pair))) }));
        }
        Ok(())
    }

    /// Where the market of a symbol is remembered, from now on.
    fn known(&mut self, text: &str) -> Result<usize, DecodeError> {
        if let Some(at) = self.places.get(text) {
            return Ok(*at);
        }
        let at = self.markets.len();
        if at == SYMBOLS_MAX {
            return Err(DecodeError::Malformed(format!("more than {SYMBOLS_MAX} symbols")));
        }
        let symbol = Symbol::new(text).map_err(|error| DecodeError::Malformed(error.to_string()))?;
        self.places.insert(symbol.clone(), at);
        self.markets.push(Market { symbol, book: BookAudit::default(), trade: None });
        Ok(at)
    }

    fn symbol(&mut self, text: &str) -> Result<Symbol, DecodeError> {
        self.known(text).map(|at| self.markets[at].symbol.clone())
    }
}

impl Market {
    /// Takes a trade id. Ids are contiguous per symbol, so one that is not the next after the last shows a hole;
    /// an older one is a trade that was sent again.
    fn trade_gap(&mut self, frame: &Frame, id: u64) -> Option<Gap> {
        let seen = || evidence(frame, Some(id.to_string()));
        let Some(last) = &mut self.trade else {
            self.trade = Some(LastTrade { id, seen: seen() });
            return None;
        };
        let ahead = id.checked_sub(last.id).filter(|ahead| *ahead > 0)?;
        let from = std::mem::replace(last, LastTrade { id, seen: seen() }).seen;
        (ahead > 1).then(|| Gap {
            cause: GapCause::TradeId,
            channel: Some("trade".to_owned()),
            symbol: Some(self.symbol.clone()),
            from: Some(from),
            to: Some(seen()),
            missing: Some(ahead - 1),
            detail: String::new(),
        })
    }
}

fn statuses(frame: &Frame, entries: Vec<StatusEntry<'_>>, out: &mut Vec<Output>) {
    for entry in entries {
        let detail: Vec<_> = entry.more.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let status = Status {
            status: trading_status(&entry.system),
            word: entry.system.into_owned(),
            detail: detail.join(" "),
        };
        out.push(Output::Record(Record { header: header(frame, None, None), body: Body::Status(status) }));
    }
}

fn instrument(pair: PairEntry<'_>) -> Instrument {
    Instrument {
        base: pair.base,
        quote: pair.quote,
        status: pair.status,
        price_precision: pair.price_precision,
        size_precision: pair.qty_precision,
        price_increment: pair.price_increment,
        size_increment: pair.qty_increment,
        size_min: pair.qty_min,
        cost_min: pair.cost_min,
    }
}

fn is_snapshot(envelope: &Envelope<'_>) -> Result<bool, DecodeError> {
    match envelope.kind.as_ref() {
        "snapshot" => Ok(true),
        "update" => Ok(false),
        other => Err(DecodeError::Unknown(shown(&format!("{}/{other}", envelope.channel)))),
    }
}

fn data<'a, T: Deserialize<'a>>(data: Option<&'a RawValue>) -> Result<T, DecodeError> {
    let data = data.ok_or_else(|| DecodeError::Malformed("no data".to_owned()))?;
    serde_json::from_str(data.get()).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use ssmd_core::record::TradingStatus;

    use super::*;

    #[test]
    fn a_word_nobody_has_seen_is_never_online() {
        assert_eq!(trading_status("online"), TradingStatus::Online);
        assert_eq!(trading_status("Online"), TradingStatus::Unknown);
        assert_eq!(trading_status("delisted"), TradingStatus::Closed);
    }

    const CONFIRMED: &str = r#"{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},"success":true,"req_id":1}"#;

    /// A book message with a right checksum (that of no levels) or a wrong one.
    fn book(kind: &str, right: bool) -> String {
        let checksum = u32::from(!right);
        format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":{checksum}}}]}}"#
        )
    }

    /// The causes of gaps, with the indices of their bounds, and how often a snapshot is asked for.
    fn gaps(texts: &[String]) -> (Vec<(GapCause, Option<u64>, u64)>, usize) {
        let (mut decoder, mut out) = (KrakenDecode::new(), Vec::new());
        for (index, text) in texts.iter().enumerate() {
            let frame = Frame {
                received: Timestamp::default(),
                elapsed: Default::default(),
                session: ssmd_core::SessionId(1),
                index: index as u64,
                kind: FrameKind::Data,
                binary: false,
                payload: text.clone().into(),
                source: None,
            };
            decoder.decode(&frame, &mut out).unwrap();
        }
        let resyncs = out.iter().filter(|output| matches!(output, Output::Resync(_))).count();
        let gaps = out.into_iter().filter_map(|output| match output {
            Output::Record(Record { body: Body::Gap(gap), .. }) => {
                Some((gap.cause, gap.from.map(|from| from.index), gap.to.unwrap().index))
            }
            _ => None,
        });
        (gaps.collect(), resyncs)
    }

    #[test]
    fn a_lost_snapshot_left_the_book_unchecked_for_ever() {
        let confirmed = CONFIRMED.to_owned();
        let update = book("update", true);
        let (told, resyncs) = gaps(&[confirmed.clone(), update.clone(), update.clone()]);
        assert_eq!((told, resyncs), (vec![(GapCause::Protocol, None, 1)], 1));
        // A snapshot that was faster than the confirmation is one; without a confirmation nothing is promised.
        assert_eq!(gaps(&[book("snapshot", true), confirmed, update.clone()]), (vec![], 0));
        assert_eq!(gaps(&[update]), (vec![], 0));
    }

    #[test]
    fn a_snapshot_that_was_wrong_too_was_a_second_gap_in_the_first() {
        let [right, wrong] = [true, false].map(|right| book("snapshot", right));
        let update = book("update", false);
        let texts = [right.clone(), update.clone(), wrong, CONFIRMED.to_owned(), update.clone()];
        // Each failure asks again: what was asked for may be lost too.
        assert_eq!(gaps(&texts), (vec![(GapCause::Checksum, Some(0), 1)], 3));
        let texts = [right.clone(), update.clone(), right, update];
        assert_eq!(
            gaps(&texts),
            (vec![(GapCause::Checksum, Some(0), 1), (GapCause::Checksum, Some(2), 3)], 2)
        );
    }
}
