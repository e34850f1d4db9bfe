//! What one message costs, from bytes to records, of every venue and type: with the book and its checksum, the numbers
//! that must follow, the hashes.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use ssmd_core::{Clock, Decode, Error, ErrorKind, Frame, FrameKind, Output, Result, SessionId, Timestamp};
use ssmd_feeds::kalshi::KalshiDecode;
use ssmd_feeds::kraken::KrakenDecode;
use ssmd_feeds::kraken_futures::KrakenFuturesDecode;
use ssmd_feeds::polymarket::{Hashes, PolymarketDecode};
use ssmd_feeds::sim;

use super::figure::{Figure, median};
use super::ground::Ground;
use super::market::Market;
use super::typed;

/// Rounds, of which the median counts.
const ROUNDS: usize = 1001;
/// Frames a round: a millisecond's work, so that most rounds lie between two turns of the scheduler.
const FRAMES: usize = 1000;
/// Rounds of each case of the table, of which the median counts too.
const CASE_ROUNDS: usize = 301;
/// A message with a limit may take so many times what serde_json takes to read its fields.
const TYPED_PARSES: f64 = 1.3;
/// Symbols that are heard of by turns.
const SYMBOLS: usize = 8;
/// The time between two messages: thirty a second of each of Polymarket's four markets, as a busy one was heard to send.
/// What is checked once a second is so often checked.
const BETWEEN: Duration = Duration::from_micros(8_333);

/// A simulated venue, and who decodes it.
struct Venue {
    name: &'static str,
    decoder: fn() -> Box<dyn Decode>,
}

/// Messages of one venue and type.
struct Case {
    id: &'static str,
    venue: &'static Venue,
    /// What asks for them; `SYMBOLS` stands for the list of symbols.
    request: &'static str,
    /// What is in each of them, and in no other message; at the beginning if it begins with a brace.
    mark: &'static str,
    /// Entries in each.
    entries: usize,
    /// What an entry may take, where something was promised, in nanoseconds.
    limit: Option<f64>,
    /// serde_json, into the fields.
    typed: fn(&[u8]) -> bool,
}

/// What a simulated venue says.
struct Said {
    /// Everything before the first message of a case.
    before: Vec<Frame>,
    /// All from that one on, and whether each is one of them.
    from: Vec<(Frame, bool)>,
}

/// How many rounds there are of: the decoder, serde_json into the fields, serde_json over the bytes, sonic-rs over them.
const KINDS: usize = 4;

/// Whether serde_json can read a message so.
fn reads<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> bool {
    black_box(serde_json::from_slice::<T>(black_box(payload))).is_ok()
}

/// Whether sonic-rs can walk through a message.
#[cfg(feature = "sonic")]
fn walks(payload: &[u8]) -> bool {
    black_box(sonic_rs::from_slice::<IgnoredAny>(black_box(payload))).is_ok()
}

/// A build without sonic-rs shows no such figure.
#[cfg(not(feature = "sonic"))]
fn walks(_: &[u8]) -> bool {
    true
}

const KRAKEN: &Venue = &Venue { name: "kraken", decoder: || Box::new(KrakenDecode::new()) };
const FUTURES: &Venue = &Venue { name: "kraken-futures", decoder: || Box::new(KrakenFuturesDecode::new()) };
const KALSHI: &Venue = &Venue { name: "kalshi", decoder: || Box::new(KalshiDecode::new()) };
/// Hashes of changes are sampled: `market:sampled`.
const POLYMARKET: &Venue =
    &Venue { name: "polymarket", decoder: || Box::new(PolymarketDecode::new(Hashes::Sampled)) };
/// The hash of every change is: `market`.
const EVERY_HASH: &Venue =
    &Venue { name: "polymarket", decoder: || Box::new(PolymarketDecode::new(Hashes::Always)) };
const MARKET: &str = r#"{"type":"market","assets_ids":SYMBOLS}"#;

const CASES: [Case; 15] = [
    Case {
        id: "decode_kraken_trade",
        venue: KRAKEN,
        request: r#"{"method":"subscribe","params":{"channel":"trade","symbol":SYMBOLS,"snapshot":false}}"#,
        mark: r#"{"channel":"trade","type":"#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::Kraken<'_, typed::KrakenTrade<'_>>>(payload),
    },
    Case {
        id: "decode_kraken_ticker",
        venue: KRAKEN,
        request: r#"{"method":"subscribe","params":{"channel":"ticker","symbol":SYMBOLS}}"#,
        mark: r#"{"channel":"ticker","type":"#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::Kraken<'_, typed::KrakenTicker<'_>>>(payload),
    },
    Case {
        id: "decode_futures_book",
        venue: FUTURES,
        request: r#"{"event":"subscribe","feed":"book","product_ids":SYMBOLS}"#,
        mark: r#""feed":"book","product_id":"#,
        entries: 1,
        limit: Some(550.0),
        typed: |payload| reads::<typed::FuturesBook<'_>>(payload),
    },
    Case {
        id: "decode_futures_trade",
        venue: FUTURES,
        request: r#"{"event":"subscribe","feed":"trade","product_ids":SYMBOLS}"#,
        mark: r#"{"feed":"trade","product_id":"#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::FuturesTrade<'_>>(payload),
    },
    Case {
        id: "decode_futures_ticker",
        venue: FUTURES,
        request: r#"{"event":"subscribe","feed":"ticker","product_ids":SYMBOLS}"#,
        mark: r#""feed":"ticker","bid""#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::FuturesTicker<'_>>(payload),
    },
    Case {
        id: "decode_futures_ticker_lite",
        venue: FUTURES,
        request: r#"{"event":"subscribe","feed":"ticker_lite","product_ids":SYMBOLS}"#,
        mark: r#""feed":"ticker_lite","product_id""#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::FuturesTickerLite<'_>>(payload),
    },
    Case {
        id: "decode_kalshi_delta",
        venue: KALSHI,
        request: r#"{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":SYMBOLS}}"#,
        mark: r#""type":"orderbook_delta""#,
        entries: 1,
        limit: Some(550.0),
        typed: |payload| reads::<typed::Kalshi<'_, typed::KalshiDelta<'_>>>(payload),
    },
    Case {
        id: "decode_kalshi_snapshot",
        venue: KALSHI,
        request: r#"{"id":1,"cmd":"subscribe","params":{"channels":["orderbook_delta"],"market_tickers":SYMBOLS}}"#,
        mark: r#""type":"orderbook_snapshot""#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::Kalshi<'_, typed::KalshiSnapshot<'_>>>(payload),
    },
    Case {
        id: "decode_kalshi_trade",
        venue: KALSHI,
        request: r#"{"id":1,"cmd":"subscribe","params":{"channels":["trade"],"market_tickers":SYMBOLS}}"#,
        mark: r#""type":"trade""#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::Kalshi<'_, typed::KalshiTrade<'_>>>(payload),
    },
    Case {
        id: "decode_kalshi_ticker",
        venue: KALSHI,
        request: r#"{"id":1,"cmd":"subscribe","params":{"channels":["ticker"],"market_tickers":SYMBOLS}}"#,
        mark: r#""type":"ticker""#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::Kalshi<'_, typed::KalshiTicker<'_>>>(payload),
    },
    Case {
        id: "decode_polymarket_price_change",
        venue: POLYMARKET,
        request: MARKET,
        mark: r#""event_type":"price_change""#,
        entries: 2,
        limit: Some(400.0),
        typed: |payload| reads::<typed::PriceChange<'_>>(payload),
    },
    Case {
        id: "decode_polymarket_every_hash",
        venue: EVERY_HASH,
        request: MARKET,
        mark: r#""event_type":"price_change""#,
        entries: 2,
        limit: None,
        typed: |payload| reads::<typed::PriceChange<'_>>(payload),
    },
    Case {
        id: "decode_polymarket_book",
        venue: POLYMARKET,
        request: MARKET,
        mark: r#""event_type":"book"}"#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::PolymarketBook<'_>>(payload),
    },
    Case {
        id: "decode_polymarket_trade",
        venue: POLYMARKET,
        request: MARKET,
        mark: r#""event_type":"last_trade_price""#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::LastTradePrice<'_>>(payload),
    },
    Case {
        id: "decode_polymarket_best",
        venue: POLYMARKET,
        request: MARKET,
        mark: r#""event_type":"best_bid_ask""#,
        entries: 1,
        limit: None,
        typed: |payload| reads::<typed::BestBidAsk<'_>>(payload),
    },
];

/// Kraken's books, and everything else from the table.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let one = measure(ground, 1)?;
    let ten = measure(ground, 10)?;
    let mut figures = vec![
        Figure::most("decode_1_level", one, 0.9, "µs/frame").beside("hoped", 0.6),
        Figure::most("decode_10_levels", ten, 2.8, "µs/frame").beside("hoped", 1.9),
    ];
    for case in &CASES {
        figures.push(case.measure(&*ground.clock(), FRAMES, CASE_ROUNDS)?);
    }
    Ok(figures)
}

impl Case {
    /// Whether it is one of these messages.
    fn has(&self, text: &str) -> bool {
        if self.mark.starts_with('{') { text.starts_with(self.mark) } else { text.contains(self.mark) }
    }

    fn frames(&self, count: usize) -> Result<Said> {
        let symbols = sim::symbols(self.venue.name, SYMBOLS)?;
        let names: Vec<_> = symbols.iter().map(|symbol| format!("{:?}", symbol.as_str())).collect();
        let request = self.request.replace("SYMBOLS", &format!("[{}]", names.join(",")));
        // Of a venue's first words there is one a symbol.
        let count = if self.mark.contains("snapshot") { SYMBOLS } else { count };
        let mut said = sim::overhear(self.venue.name, 1, symbols, &[request], count, |text| self.has(text))?;
        let is = |payload: &Bytes| self.has(&String::from_utf8_lossy(payload));
        let first = said.iter().position(is).unwrap_or_default();
        let before = said.drain(..first).map(|payload| frame(payload, Duration::ZERO)).collect();
        let mut at = 0;
        let timed = |payload: Bytes| {
            let is = is(&payload);
            at += u32::from(is);
            (frame(payload, BETWEEN * at), is)
        };
        Ok(Said { before, from: said.into_iter().map(timed).collect() })
    }

    fn measure(&self, clock: &dyn Clock, count: usize, times: usize) -> Result<Figure> {
        let Said { before, from } = self.frames(count)?;
        // What comes between is decoded too, since it may say what these need, but not measured.
        let messages: Vec<_> = from.iter().filter(|(_, is)| *is).map(|(frame, _)| frame).collect();
        let runs: Vec<_> = from.chunk_by(|(_, one), (_, other)| one == other).collect();
        let entries = (messages.len() * self.entries) as f64;
        let wrong =
            |why: &str| Error::new(ErrorKind::Bug, "bench").detail(why.to_owned()).with("row", self.id);
        let mut out: Vec<Output> = Vec::with_capacity(16);
        let mut rounds: [Vec<f64>; KINDS] = Default::default();
        for _ in 0..times {
            let mut decoder = (self.venue.decoder)();
            for frame in &before {
                decoder.decode(frame, &mut out).map_err(|error| wrong(&error.to_string()))?;
            }
            let mut took = Duration::ZERO;
            for run in &runs {
                let began = clock.elapsed();
                for (frame, _) in *run {
                    out.clear();
                    decoder
                        .decode(black_box(frame), black_box(&mut out))
                        .map_err(|error| wrong(&error.to_string()))?;
                }
                if run[0].1 {
                    took += clock.elapsed() - began;
                }
            }
            let decoded = clock.elapsed();
            let typed = messages.iter().filter(|frame| (self.typed)(&frame.payload)).count();
            let parsed = clock.elapsed();
            let bare = messages.iter().filter(|frame| reads::<IgnoredAny>(&frame.payload)).count();
            let read = clock.elapsed();
            let walked = messages.iter().filter(|frame| walks(&frame.payload)).count();
            let ended = clock.elapsed();
            if [typed, bare, walked] != [messages.len(); 3] {
                return Err(wrong("a message was not read"));
            }
            let counts = decoder.counts();
            if counts.books_failed + counts.malformed + counts.unknown > 0
                || counts.records < messages.len() as u64
            {
                return Err(wrong("a message was not decoded"));
            }
            let times = [took, parsed - decoded, read - parsed, ended - read];
            for (round, took) in rounds.iter_mut().zip(times) {
                round.push(took.as_secs_f64() * 1e9 / entries);
            }
        }
        let [decoded, typed, bare, sonic] = rounds.map(|mut round| median(&mut round));
        let unit = if self.entries == 1 { "ns/message" } else { "ns/entry" };
        let figure = match self.limit {
            Some(limit) => Figure::most(self.id, decoded, limit.max(typed * TYPED_PARSES), unit),
            None => Figure::plain(self.id, decoded, unit),
        };
        let figure = figure.beside("typed_parse", typed).beside("bare_parse", bare);
        Ok(if cfg!(feature = "sonic") { figure.beside("sonic_parse", sonic) } else { figure })
    }
}

fn measure(ground: &Ground, levels: usize) -> Result<f64> {
    let mut market = Market::new()?;
    let snapshot = frame(market.snapshot(), Duration::ZERO);
    let updates = market.updates(levels)?.map(|payload| frame(payload, Duration::ZERO));
    let mut decoder = KrakenDecode::new();
    let mut out = Vec::with_capacity(16);
    let bad = |error: ssmd_core::DecodeError| Error::new(ErrorKind::Bug, "bench").detail(error.to_string());
    decoder.decode(&snapshot, &mut out).map_err(bad)?;
    let clock = ground.clock();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = clock.elapsed();
        for at in 0..FRAMES {
            out.clear();
            decoder.decode(black_box(&updates[at % 2]), black_box(&mut out)).map_err(bad)?;
        }
        rounds.push((clock.elapsed() - began).as_secs_f64() * 1e6 / FRAMES as f64);
    }
    let counts = decoder.counts();
    if counts.books_failed > 0 || counts.books_verified < (ROUNDS * FRAMES) as u64 {
        return Err(Error::new(ErrorKind::Bug, "bench").detail("a book was not verified"));
    }
    Ok(median(&mut rounds))
}

fn frame(payload: Bytes, elapsed: Duration) -> Frame {
    Frame {
        received: Timestamp::from_nanos(1_785_552_833_316_423_800),
        elapsed,
        session: SessionId(1),
        index: 0,
        kind: FrameKind::Data,
        binary: false,
        payload,
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use ssmd_core::SystemClock;

    use super::*;

    #[test]
    fn every_row_has_messages_that_are_read_and_decoded() {
        let clock = SystemClock::new();
        let wrong = CASES.iter().filter_map(|case| Some(case.measure(&clock, 50, 1).err()?.report()));
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
    }
}
