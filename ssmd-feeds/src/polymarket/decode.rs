//! What the venue's frames mean: records of one session, its books held against the venue's hashes.
//!
//! It looks at the payload alone, not at what the protocol made of it, so that recordings of others decode too; of what
//! we sent, only at which tokens were left.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use ssmd_core::record::{self, Instrument, Level, Quote, Side, Trade};
use ssmd_core::{
    Body, BookSide, Decimal, Decode, DecodeCounts, DecodeError, Evidence, Frame, FrameKind, Gap, GapCause,
    Header, Output, Record, Symbol, Timestamp,
};

use super::audit::{Claim, Failure, Market, Token, Verdict};
use super::channel::Hashes;
use super::hash::Hash;
use super::rest::{LATE_MAX, RestBook};
use super::wire::{
    BestBidAsk, Book, EventType, Glance, LastPrice, LastTradePrice, MarketResolved, NewMarket, PriceChange,
    RestOnly, TickSizeChange, best_first, glance, glance_inside,
};
use super::{lifecycle, scan};
use crate::decoding::{self, BySymbol, evidence, header, malformed, shown};

/// More tokens on one connection are hostile: it has 500 at most.
const TOKENS_MAX: usize = 10_000;
/// From so many tokens on, those that are over are forgotten with the next request.
const SWEEP_FROM: usize = 2_000;
/// A suspicion waits for another message of its token until the venue's time is so much later, however late messages
/// arrive; where the venue says no time,
const SUSPICION_MILLIS: u64 = 1_000;
/// for so long.
const SUSPICION_MAX: Duration = Duration::from_secs(5);
/// A book that was asked for after so long without any message, and differs, shows that messages were lost.
const SILENT: Duration = Duration::from_secs(5);

/// Decodes the frames of one connection to the venue, from its first to its last.
#[derive(Default)]
pub struct PolymarketDecode {
    hashes: Hashes,
    tokens: Vec<Token>,
    /// Where in `tokens` a symbol is.
    places: BySymbol<usize>,
    markets: Vec<Market>,
    /// Where in `markets` a condition is.
    conditions: BySymbol<usize>,
    /// Tokens with suspicions, since when, and which time the venue said.
    suspected: VecDeque<(Duration, u64, usize)>,
    /// Tokens of which REST knows more than was heard, and since when.
    asked: VecDeque<(Duration, usize)>,
    /// When a message came last that shows that data flows.
    heard: Duration,
    counts: DecodeCounts,
    /// Kept for its memory: the text under a hash.
    text: Vec<u8>,
    /// Kept for its memory: what one message changes.
    groups: Vec<Group>,
    /// Kept for its memory: the tokens of one message's changes.
    changed: Vec<usize>,
}

/// What one message changes of one token.
struct Group {
    token: usize,
    /// Whether it is contained in the last book.
    contained: bool,
    levels: record::Book,
    claim: Claim,
}

/// A message that was read, with the tokens that it is about.
enum Message<'a> {
    Book(Book<'a>, usize),
    PriceChange(PriceChange<'a>, Vec<usize>),
    Trade(LastTradePrice<'a>, usize),
    Tick(TickSizeChange<'a>, usize),
    Best(BestBidAsk<'a>, Symbol),
    New(NewMarket<'a>, Vec<Symbol>),
    Resolved(MarketResolved<'a>, Vec<Symbol>),
}

/// What we sent.
#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow, default)]
    operation: Cow<'a, str>,
    #[serde(borrow, default)]
    assets_ids: Vec<Cow<'a, str>>,
}

impl Message<'_> {
    /// The venue's time.
    fn millis(&self) -> Option<u64> {
        match self {
            Self::Book(book, _) => book.timestamp.0,
            Self::PriceChange(change, _) => change.timestamp.0,
            Self::Trade(trade, _) => trade.timestamp.0,
            Self::Tick(tick, _) => tick.timestamp.0,
            Self::Best(best, _) => best.timestamp.0,
            Self::New(market, _) => market.timestamp.0,
            Self::Resolved(market, _) => market.timestamp.0,
        }
    }
}

impl PolymarketDecode {
    /// A decoder that has heard nothing yet.
    pub fn new(hashes: Hashes) -> Self {
        Self { hashes, ..Self::default() }
    }
}

impl Decode for PolymarketDecode {
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

impl PolymarketDecode {
    fn frame(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        if frame.kind == FrameKind::Sent {
            self.sent(frame, out);
            return Ok(());
        }
        if let Some(message) = scan::price_change(&frame.payload) {
            let message = self.price_change_of(message)?;
            self.message(frame, message, out);
            self.heard = frame.elapsed;
            return Ok(());
        }
        let mut flows = false;
        match glance(&frame.payload).map_err(malformed)? {
            Glance::Beat | Glance::Complaint(_) => {
                self.expire(frame, None, out);
                return Ok(());
            }
            Glance::RestBook => return self.rest_book(frame, out),
            Glance::Unknown(what) => return Err(DecodeError::Unknown(shown(&what))),
            Glance::One(event) => {
                let message = self.read(event, &frame.payload)?;
                self.message(frame, message, out);
                flows = event.is_flow();
            }
            Glance::Many(all) => {
                let mut messages = Vec::with_capacity(all.len());
                for raw in all {
                    match glance_inside(raw).map_err(malformed)? {
                        Glance::One(event) => {
                            messages.push(self.read(event, raw.get().as_bytes())?);
                            flows |= event.is_flow();
                        }
                        Glance::Unknown(what) => return Err(DecodeError::Unknown(shown(&what))),
                        _ => return Err(DecodeError::Unknown("an error among messages".to_owned())),
                    }
                }
                messages.into_iter().for_each(|message| self.message(frame, message, out));
            }
        }
        if flows {
            self.heard = frame.elapsed;
        }
        Ok(())
    }

    /// What was left is not followed any more, until it is asked for again.
    fn sent(&mut self, frame: &Frame, out: &mut Vec<Output>) {
        let Ok(sent) = serde_json::from_slice::<Sent<'_>>(&frame.payload) else { return };
        if self.tokens.len() >= SWEEP_FROM {
            self.sweep(frame.elapsed);
        }
        for token in &sent.assets_ids {
            let Some(at) = self.places.get(token.as_ref()).copied() else { continue };
            match sent.operation.as_ref() {
                "unsubscribe" => self.tokens[at].leave(frame.elapsed),
                _ if self.tokens[at].ask(frame.elapsed) => {
                    self.confirm(frame, at, None, out);
                    self.tokens[at].forget();
                }
                _ => {}
            }
        }
    }

    /// Reads one message whole, so that one that cannot be read changes nothing.
    fn read<'a>(&mut self, event: EventType, payload: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        Ok(match event {
            EventType::Book => {
                let book: Book<'_> = parse(payload)?;
                let at = self.known(&book.asset_id, &book.market)?;
                Message::Book(book, at)
            }
            EventType::PriceChange => self.price_change_of(parse(payload)?)?,
            EventType::LastTradePrice => {
                let trade: LastTradePrice<'_> = parse(payload)?;
                let at = self.known(&trade.asset_id, &trade.market)?;
                Message::Trade(trade, at)
            }
            EventType::TickSizeChange => {
                let tick: TickSizeChange<'_> = parse(payload)?;
                let at = self.known(&tick.asset_id, &tick.market)?;
                Message::Tick(tick, at)
            }
            EventType::BestBidAsk => {
                let best: BestBidAsk<'_> = parse(payload)?;
                let symbol = symbol(&best.asset_id)?;
                Message::Best(best, symbol)
            }
            EventType::NewMarket => {
                let market: NewMarket<'_> = parse(payload)?;
                let symbols = market.assets_ids.0.iter().map(|id| symbol(id)).collect::<Result<_, _>>()?;
                Message::New(market, symbols)
            }
            EventType::MarketResolved => {
                let market: MarketResolved<'_> = parse(payload)?;
                let symbols = market.assets_ids.0.iter().map(|id| symbol(id)).collect::<Result<_, _>>()?;
                Message::Resolved(market, symbols)
            }
        })
    }

    fn price_change_of<'a>(&mut self, message: PriceChange<'a>) -> Result<Message<'a>, DecodeError> {
        let mut tokens = std::mem::take(&mut self.changed);
        tokens.clear();
        for change in &message.price_changes.0 {
            let token = if change.asset_id.is_empty() { &message.asset_id } else { &change.asset_id };
            tokens.push(self.known(token, &message.market)?);
        }
        Ok(Message::PriceChange(message, tokens))
    }

    fn message(&mut self, frame: &Frame, message: Message<'_>, out: &mut Vec<Output>) {
        self.expire(frame, message.millis(), out);
        match message {
            Message::Book(book, at) => self.book(frame, &book, at, out),
            Message::PriceChange(message, tokens) => {
                self.price_change(frame, &message, &tokens, out);
                self.changed = tokens;
            }
            Message::Trade(trade, at) => self.trade(frame, &trade, at, out),
            Message::Tick(tick, at) => self.tick(frame, &tick, at, out),
            Message::Best(best, symbol) => {
                let bests = bests(best.best_bid, best.best_ask).map(Option::flatten);
                let quote = Quote { bid: bests[0], ask: bests[1], ..Quote::default() };
                let header = header(frame, Some(symbol), best.timestamp.timestamp());
                out.push(record(header, Body::Quote(quote)));
            }
            Message::New(market, symbols) => lifecycle::listed(frame, &market, symbols, out),
            Message::Resolved(market, symbols) => lifecycle::resolved(frame, &market, symbols, out),
        }
    }

    fn book(&mut self, frame: &Frame, book: &Book<'_>, at: usize, out: &mut Vec<Output>) {
        let millis = book.timestamp.0;
        self.confirm(frame, at, millis, out);
        let asked = book.tick_size.is_some() || book.last_trade_price != LastPrice::Untold;
        let Self { tokens, markets, text, .. } = self;
        let token = &mut tokens[at];
        let market = &mut markets[token.market];
        if !asked && millis.is_some() && token.contains(millis, Hash(None)) {
            return;
        }
        let silent = asked && frame.elapsed.saturating_sub(self.heard) >= SILENT;
        let before = token.levels().filter(|_| silent).cloned();
        market.told(book.tick_size, book.last_trade_price);
        let levels = record::Book {
            bids: best_first(&book.bids),
            asks: best_first(&book.asks),
            depth: None,
            checksum: None,
        };
        token.claims.heard(millis, book.hash);
        let claim = Claim { millis, hash: book.hash, ..Claim::default() };
        let verdict = token.replace(market, (&levels.bids, &levels.asks), claim, text);
        let lost = before.is_some_and(|before| token.levels() != Some(&before));
        if lost {
            let detail = "the book has changed while nothing was heard".to_owned();
            let failure = Failure { seen: evidence(frame, None), hash: book.hash, detail };
            out.push(gap(frame, GapCause::Silence, token, failure));
        }
        let time = book.timestamp.timestamp();
        let header = header(frame, Some(token.symbol.clone()), time);
        if book.tick_size.is_some() && book.tick_size != token.tick {
            token.tick = book.tick_size;
            out.push(record(header.clone(), instrument(book.tick_size)));
        }
        out.push(record(header, Body::BookSnapshot(levels)));
        match verdict {
            Verdict::Unchecked => {}
            Verdict::Verified => {
                self.counts.books_verified += 1;
                self.tokens[at].good = Some((evidence(frame, None), book.hash));
            }
            Verdict::Failed => {
                let detail = format!("the levels do not give the hash {}", book.hash);
                let seen = evidence(frame, None);
                self.tokens[at].forget();
                self.fail(frame, at, Failure { seen, hash: book.hash, detail }, out);
            }
        }
    }

    fn price_change(
        &mut self,
        frame: &Frame,
        message: &PriceChange<'_>,
        tokens: &[usize],
        out: &mut Vec<Output>,
    ) {
        let millis = message.timestamp.0;
        let mut groups = std::mem::take(&mut self.groups);
        for (change, at) in message.price_changes.0.iter().zip(tokens) {
            let hash = if change.hash.0.is_some() { change.hash } else { message.hash };
            let known = groups.iter().position(|group| group.token == *at);
            let which = known.unwrap_or_else(|| {
                self.confirm(frame, *at, millis, out);
                let contained = self.tokens[*at].contains(millis, hash);
                if !contained {
                    self.tokens[*at].begin(millis);
                }
                groups.push(Group {
                    token: *at,
                    contained,
                    levels: record::Book::default(),
                    claim: Claim::default(),
                });
                groups.len() - 1
            });
            let group = &mut groups[which];
            group.claim.millis = millis;
            group.claim.hash = hash;
            group.claim.bests = bests(change.best_bid, change.best_ask);
            if group.contained {
                continue;
            }
            let level = Level { price: change.price, size: change.size };
            let (side, levels) = match change.side {
                Side::Buy => (BookSide::Bid, &mut group.levels.bids),
                Side::Sell => (BookSide::Ask, &mut group.levels.asks),
            };
            if levels.is_empty() {
                // Most messages change one level of a token, and records may be kept.
                levels.reserve_exact(1);
            }
            levels.push(level);
            self.tokens[*at].apply(side, level);
        }
        for group in groups.drain(..).filter(|group| !group.contained) {
            self.changed(frame, message.timestamp.timestamp(), group, out);
        }
        self.groups = groups;
    }

    /// Checks a token after all changes of a message, and tells them.
    fn changed(&mut self, frame: &Frame, time: Option<Timestamp>, group: Group, out: &mut Vec<Output>) {
        let Self { tokens, markets, text, .. } = self;
        let token = &mut tokens[group.token];
        let market = &mut markets[token.market];
        let due = self.hashes == Hashes::Always || token.is_due(frame.elapsed);
        let (millis, hash) = (group.claim.millis, group.claim.hash);
        token.claims.heard(millis, hash);
        let seen = || evidence(frame, None);
        let (verdict, news) = token.check(market, group.claim, frame.elapsed, due, seen, text);
        if news {
            self.suspected.push_back((frame.elapsed, millis.unwrap_or(0), group.token));
        }
        if verdict == Verdict::Verified {
            self.counts.books_verified += 1;
            if due {
                token.good = Some((evidence(frame, None), hash));
            }
        }
        let header = header(frame, Some(token.symbol.clone()), time);
        out.push(record(header, Body::BookDelta(group.levels)));
    }

    fn trade(&mut self, frame: &Frame, trade: &LastTradePrice<'_>, at: usize, out: &mut Vec<Output>) {
        let token = &self.tokens[at];
        self.markets[token.market].traded(trade.price);
        let header = header(frame, Some(token.symbol.clone()), trade.timestamp.timestamp());
        let id = Some(&trade.transaction_hash).filter(|id| !id.is_empty());
        let body = Body::Trade(Trade {
            price: trade.price,
            size: trade.size,
            side: Some(trade.side),
            id: id.map(|id| id.clone().into_owned()),
            order_type: None,
        });
        out.push(record(header, body));
    }

    /// Levels move to the new step without a message of their own, so the book begins anew.
    fn tick(&mut self, frame: &Frame, tick: &TickSizeChange<'_>, at: usize, out: &mut Vec<Output>) {
        self.confirm(frame, at, None, out);
        let token = &mut self.tokens[at];
        self.markets[token.market].tick(tick.new_tick_size);
        token.tick = Some(tick.new_tick_size);
        let header = header(frame, Some(token.symbol.clone()), tick.timestamp.timestamp());
        out.push(record(header.clone(), lifecycle::changed(&tick.market)));
        out.push(record(header, instrument(token.tick)));
        if token.levels().is_some() {
            token.forget();
            out.push(Output::Resync(token.symbol.clone()));
        }
    }

    /// Holds a token's book against what REST says of it, or does so once the socket has come as far.
    fn rest_book(&mut self, frame: &Frame, out: &mut Vec<Output>) -> Result<(), DecodeError> {
        let (book, only): (Book<'_>, RestOnly<'_>) = (parse(&frame.payload)?, parse(&frame.payload)?);
        self.expire(frame, None, out);
        let Some(at) = self.places.get(book.asset_id.as_ref()).copied() else { return Ok(()) };
        let Some(rest) = RestBook::new(&book, &only, frame.elapsed, &mut self.text) else { return Ok(()) };
        if !self.compare(frame, at, &rest, false, out) {
            if self.asked.len() == TOKENS_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back((rest.received, at));
            self.tokens[at].rest = Some(rest);
        }
        Ok(())
    }

    /// Whether nothing more is to be said of what REST says.
    fn compare(&self, frame: &Frame, at: usize, rest: &RestBook, late: bool, out: &mut Vec<Output>) -> bool {
        let token = &self.tokens[at];
        let Some(levels) = token.levels() else { return true };
        let Some((differs, found)) = rest.compare(levels, &token.claims, late) else { return late };
        out.push(record(header(frame, Some(token.symbol.clone()), None), found));
        if differs {
            out.push(Output::Resync(token.symbol.clone()));
        }
        true
    }

    /// Decides suspicions that nothing was heard about any more, and what REST said and the socket did not. `time` is the
    /// venue's.
    fn expire(&mut self, frame: &Frame, time: Option<u64>, out: &mut Vec<Output>) {
        let late = |(since, _): &mut (Duration, usize)| frame.elapsed.saturating_sub(*since) >= LATE_MAX;
        while let Some((since, at)) = self.asked.pop_front_if(late) {
            if let Some(rest) = self.tokens[at].rest.take_if(|rest| rest.received == since) {
                self.compare(frame, at, &rest, true, out);
            }
        }
        let over = |(since, millis, _): &mut (Duration, u64, usize)| match time {
            Some(time) => time >= millis.saturating_add(SUSPICION_MILLIS),
            None => frame.elapsed.saturating_sub(*since) >= SUSPICION_MAX,
        };
        while let Some((since, _, at)) = self.suspected.pop_front_if(over) {
            if self.tokens[at].is_suspected_since(since) {
                self.confirm(frame, at, None, out);
            }
        }
    }

    /// Decides what a token was suspected of, if the next message is of another millisecond.
    fn confirm(&mut self, frame: &Frame, at: usize, next: Option<u64>, out: &mut Vec<Output>) {
        let reached = |rest: &mut RestBook| next.is_some_and(|next| next > rest.millis);
        if let Some(rest) = self.tokens[at].rest.take_if(reached) {
            self.compare(frame, at, &rest, true, out);
        }
        let Self { tokens, markets, text, .. } = self;
        let token = &mut tokens[at];
        if let Some(failure) = token.confirm(&mut markets[token.market], next, text) {
            self.fail(frame, at, failure, out);
        }
    }

    fn fail(&mut self, frame: &Frame, at: usize, failure: Failure, out: &mut Vec<Output>) {
        self.counts.books_failed += 1;
        let token = &mut self.tokens[at];
        if token.breaks() {
            out.push(gap(frame, GapCause::Checksum, token, failure));
        }
        out.push(Output::Resync(token.symbol.clone()));
    }

    /// Forgets tokens that are over and markets without tokens: markets roll on for as long as a connection lives.
    fn sweep(&mut self, now: Duration) {
        let places = keep(&mut self.tokens, |_, token| !token.is_over(now));
        let stays = |at: &mut usize| places[*at].map(|place| *at = place).is_some();
        self.places.retain(|_, at| stays(at));
        self.suspected.retain_mut(|(_, _, at)| stays(at));
        self.asked.retain_mut(|(_, at)| stays(at));
        let mut used = vec![false; self.markets.len()];
        self.tokens.iter().for_each(|token| used[token.market] = true);
        let places = keep(&mut self.markets, |at, _| used[at]);
        self.conditions.retain(|_, at| places[*at].map(|place| *at = place).is_some());
        self.tokens.iter_mut().for_each(|token| token.market = places[token.market].unwrap_or_default());
    }

    /// Where a token is remembered, from now on.
    fn known(&mut self, text: &str, condition: &str) -> Result<usize, DecodeError> {
        if let Some(at) = self.places.get(text) {
            return Ok(*at);
        }
        let at = self.tokens.len();
        if at == TOKENS_MAX {
            return Err(DecodeError::Malformed(format!("more than {TOKENS_MAX} tokens")));
        }
        let (symbol, condition) = (symbol(text)?, symbol(condition)?);
        let market = *self.conditions.entry(condition).or_insert_with_key(|condition| {
            self.markets.push(Market::new(condition.as_str()));
            self.markets.len() - 1
        });
        self.places.insert(symbol.clone(), at);
        self.tokens.push(Token::new(symbol, market));
        Ok(at)
    }
}

/// Keeps some of all, and tells where each is from now on.
fn keep<T>(all: &mut Vec<T>, stays: impl Fn(usize, &T) -> bool) -> Vec<Option<usize>> {
    let (mut places, mut kept) = (Vec::with_capacity(all.len()), 0);
    let mut at = 0;
    all.retain(|one| {
        let stays = stays(at, one);
        places.push(stays.then_some(kept));
        kept += usize::from(stays);
        at += 1;
        stays
    });
    places
}

/// An empty side has 0 for its best bid, and 0 or 1 for its best ask: prices are between them.
fn bests(bid: Option<Decimal>, ask: Option<Decimal>) -> [Option<Option<Decimal>>; 2] {
    let one = Decimal::from_digits(1, 0);
    [
        bid.map(|bid| Some(bid).filter(|bid| !bid.is_zero())),
        ask.map(|ask| Some(ask).filter(|ask| !ask.is_zero() && Some(*ask) != one)),
    ]
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(payload).map_err(malformed)
}

/// More bytes in an id are none of the venue's, whose longest have 78.
const ID_BYTES_MAX: usize = 128;

fn symbol(text: &str) -> Result<Symbol, DecodeError> {
    if text.len() > ID_BYTES_MAX {
        return Err(DecodeError::Malformed("an id that is too long".to_owned()));
    }
    Symbol::new(text).map_err(|error| DecodeError::Malformed(error.to_string()))
}

pub(super) fn record(header: Header, body: Body) -> Output {
    Output::Record(Record { header, body })
}

pub(super) fn instrument(tick: Option<Decimal>) -> Body {
    Body::Instrument(Box::new(Instrument { price_increment: tick, ..Instrument::default() }))
}

fn gap(frame: &Frame, cause: GapCause, token: &Token, failure: Failure) -> Output {
    let shown = failure.hash.0.is_some().then(|| failure.hash.to_string());
    let from =
        token.good.as_ref().map(|(seen, hash)| Evidence { shown: Some(hash.to_string()), ..seen.clone() });
    let gap = Gap {
        cause,
        channel: Some("market".to_owned()),
        symbol: Some(token.symbol.clone()),
        from,
        to: Some(Evidence { shown, ..failure.seen }),
        missing: None,
        detail: failure.detail,
    };
    record(header(frame, gap.symbol.clone(), None), Body::Gap(gap))
}
