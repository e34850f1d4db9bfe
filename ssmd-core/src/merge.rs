//! Twins: connections that hear the same, merged into one stream of records.
//!
//! A pure function of a journal's entries, in their order, and of what they decode to: the same live and over an
//! archive. Trades are told once, each symbol's in the venue's order; of each book one connection leads, and another
//! takes over where its book is provably the same, with a [`Switch`] record; everything else comes from one
//! connection of the group, the leading one. A hole of one that another covers is no gap. Sessions without a twin
//! pass through as they are.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::entry::note;
use crate::record::Switch;
use crate::{
    Body, Entry, EntryKind, Evidence, FrameKind, Gap, GapCause, Header, Origin, Output, Record, SessionId,
    Symbol,
};

mod keyed;
mod numbered;

use keyed::Keyed;
use numbered::Numbered;

/// How long a hole waits for another connection to fill it: longer than any of them may lag.
const HOLD_MAX: Duration = Duration::from_secs(10);
/// A connection that is behind another by so much is left.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// The most that waits for one symbol's trades, or for one book.
const HELD_MAX: usize = 8192;
/// More symbols of one group are not merged: their records come from the leading connection.
const MARKETS_MAX: usize = 65_536;
/// A symbol that nothing was heard of for so long makes room for another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// What tells records of one venue apart, whichever connection heard them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeRules {
    /// How trades are told apart.
    pub trades: TradeIdentity,
    /// The channel that gaps in trades name.
    pub trade_channel: &'static str,
    /// How the states of a book are told apart.
    pub books: BookIdentity,
    /// The channel that gaps in books name.
    pub book_channel: &'static str,
}

/// How trades are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradeIdentity {
    /// The venue's ids are numbers that follow one another, symbol by symbol.
    Number,
    /// The venue numbers the messages of each symbol, the same on every connection.
    Sequence,
    /// By the venue's id and all that is said of the trade. They have no order but that in which they come.
    Id,
}

/// How the states of a book are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookIdentity {
    /// The venue numbers the changes of each book, the same on every connection.
    Sequence,
    /// By the change that led to it: venue time, levels and checksum.
    Change,
}

/// Merges the twins of one feed.
#[derive(Debug)]
pub struct Merger {
    rules: MergeRules,
    shards: HashMap<(Origin, SessionId), usize>,
    groups: BTreeMap<(Origin, usize), Group>,
    /// What the entry at hand said by itself; kept for its memory.
    said: Vec<Output>,
}

impl Merger {
    /// A merger that has heard nothing.
    pub fn new(rules: MergeRules) -> Self {
        Self { rules, shards: HashMap::new(), groups: BTreeMap::new(), said: Vec::new() }
    }

    /// Takes the next entry with all that it decoded to, and leaves in `out` what is told of it: nothing, the same,
    /// or also what was waiting for it.
    pub fn take(&mut self, entry: &Entry, out: &mut Vec<Output>) {
        let origin = entry.id.origin;
        match entry.kind {
            EntryKind::Frame(_) | EntryKind::Gap | EntryKind::Close => {}
            EntryKind::Open => return self.opened(entry),
            EntryKind::Epoch => {
                self.shards.retain(|(of, _), _| *of != origin);
                return self.groups.retain(|(of, _), _| *of != origin);
            }
            EntryKind::Tick => {
                let groups = self.groups.iter_mut().filter(|((of, _), _)| *of == origin);
                return groups.for_each(|(_, group)| group.settle_all(entry.elapsed, out));
            }
            EntryKind::Roll => return,
        }
        let Some(shard) = self.shards.get(&(origin, entry.session)) else { return };
        let Some(group) = self.groups.get_mut(&(origin, *shard)) else { return };
        std::mem::swap(out, &mut self.said);
        match entry.kind {
            EntryKind::Gap => group.gap(entry, &mut self.said, out),
            EntryKind::Close => {
                self.shards.remove(&(origin, entry.session));
                group.closed(entry, out);
            }
            _ => group.frame(entry, &mut self.said, out),
        }
    }

    fn opened(&mut self, entry: &Entry) {
        let Ok(open) = note::decode::<note::Open>(&entry.payload) else { return };
        let (Some(shard), Some(_)) = (open.shard, open.twin) else { return };
        let key = (entry.id.origin, shard);
        let rules = self.rules;
        self.groups.entry(key).or_insert_with(|| Group::new(rules)).opened(entry);
        self.shards.insert((entry.id.origin, entry.session), shard);
    }
}

/// The connections that hear the same, and what is known of what they hear.
#[derive(Debug)]
struct Group {
    rules: MergeRules,
    /// Those that are open, in the order in which they opened.
    open: Vec<Member>,
    /// Who tells what cannot be merged.
    voice: Option<SessionId>,
    /// Whose place it has taken, why, and the last frame from there.
    left: Option<(GapCause, Evidence)>,
    /// The last frame that any of them received.
    last: Option<Evidence>,
    /// Whether all that is said of holes from here on is news: nobody is open, or nobody has said anything yet.
    dark: bool,
    places: HashMap<Symbol, usize>,
    markets: Vec<Market>,
    /// The markets that the entry at hand is about; kept for its memory.
    touched: Vec<usize>,
}

/// An open connection.
#[derive(Clone, Debug)]
struct Member {
    session: SessionId,
    /// Since when.
    since: Duration,
    last: Option<Evidence>,
}

#[derive(Debug)]
struct Market {
    symbol: Symbol,
    trades: Lane,
    book: Lane,
    heard: Duration,
}

/// One symbol's trades, or its book.
#[derive(Debug)]
enum Lane {
    Numbered(Numbered),
    Keyed(Keyed),
}

/// Now, and who is open now.
#[derive(Clone, Copy)]
struct Moment<'a> {
    now: Duration,
    open: &'a [Member],
}

impl Moment<'_> {
    fn is_open(&self, session: SessionId) -> bool {
        self.open.iter().any(|member| member.session == session)
    }
}

impl Group {
    fn new(rules: MergeRules) -> Self {
        Self {
            rules,
            open: Vec::new(),
            voice: None,
            left: None,
            last: None,
            dark: true,
            places: HashMap::new(),
            markets: Vec::new(),
            touched: Vec::new(),
        }
    }

    fn opened(&mut self, entry: &Entry) {
        self.open.push(Member { session: entry.session, since: entry.elapsed, last: None });
        self.voice.get_or_insert(entry.session);
    }

    fn closed(&mut self, entry: &Entry, out: &mut Vec<Output>) {
        let Some(at) = self.open.iter().position(|member| member.session == entry.session) else { return };
        let gone = self.open.remove(at);
        let close = note::decode::<note::Close>(&entry.payload);
        let cause = close.ok().and_then(|close| GapCause::from_word(&close.cause));
        let cause = cause.unwrap_or(GapCause::Disconnect);
        for market in &mut self.markets {
            for lane in [&mut market.trades, &mut market.book] {
                lane.closed(gone.session, cause, entry.elapsed);
            }
        }
        if self.voice == Some(gone.session) {
            self.voice = self.open.first().map(|member| member.session);
            let left = gone.last.map(|last| (cause, last));
            self.left = left.or(self.left.take());
        }
        self.settle_all(entry.elapsed, out);
        if self.open.is_empty() {
            self.dark = true;
            self.left = None;
            for market in &mut self.markets {
                market.trades.restart();
                market.book.restart();
            }
        }
    }

    /// What capture says of a connection. A hole of all of them is told once, from the last frame of any.
    fn gap(&mut self, entry: &Entry, said: &mut Vec<Output>, out: &mut Vec<Output>) {
        for output in said.drain(..) {
            let Output::Record(Record { header, body: Body::Gap(mut gap) }) = output else { continue };
            if gap.cause == GapCause::Overflow {
                // The journal was full, for whoever had something to say.
                self.lost(entry.session, &gap, entry.elapsed);
            } else if !std::mem::take(&mut self.dark) {
                continue;
            } else if let Some(last) = &self.last {
                gap.from = Some(last.clone());
            }
            out.push(Output::Record(Record { header, body: Body::Gap(gap) }));
        }
    }

    fn frame(&mut self, entry: &Entry, said: &mut Vec<Output>, out: &mut Vec<Output>) {
        if entry.kind != EntryKind::Frame(FrameKind::Sent) && !entry.more {
            self.heard(entry, out);
        }
        let broken: Vec<Symbol> = said.iter().filter_map(broken).cloned().collect();
        let mut touched = std::mem::take(&mut self.touched);
        for output in said.drain(..) {
            let record = match output {
                Output::Resync(symbol) => {
                    if let Some(at) = self.place(&symbol, entry.elapsed) {
                        self.markets[at].book.broke(entry.session, GapCause::Protocol, entry.elapsed);
                        touched.push(at);
                    }
                    out.push(Output::Resync(symbol));
                    continue;
                }
                Output::Record(record) => record,
            };
            if let Body::Gap(gap) = &record.body {
                let lanes = [self.rules.trade_channel, self.rules.book_channel];
                if gap.channel.as_deref().is_none_or(|channel| lanes.contains(&channel)) {
                    self.lost(entry.session, gap, entry.elapsed);
                    continue;
                }
            }
            let is_book = matches!(record.body, Body::BookSnapshot(_) | Body::BookDelta(_));
            let place = match &record.header.symbol {
                Some(symbol) if is_book && broken.contains(symbol) => continue,
                Some(symbol) if is_book || matches!(record.body, Body::Trade(_)) => {
                    self.place(symbol, entry.elapsed)
                }
                _ => None,
            };
            match place {
                Some(at) => {
                    let (market, now) =
                        (&mut self.markets[at], Moment { now: entry.elapsed, open: &self.open });
                    let lane = if is_book { &mut market.book } else { &mut market.trades };
                    lane.take(record, now, out);
                    touched.push(at);
                }
                None if self.voice == Some(entry.session) => out.push(Output::Record(record)),
                None => {}
            }
        }
        touched.dedup();
        // Places may have become fewer on the way.
        let count = self.markets.len();
        for at in touched.drain(..).filter(|at| *at < count) {
            self.settle(at, entry.elapsed, out);
        }
        self.touched = touched;
    }

    /// Something was received.
    fn heard(&mut self, entry: &Entry, out: &mut Vec<Output>) {
        let seen = Evidence { at: entry.at, session: entry.session, index: entry.index, shown: None };
        if self.voice == Some(entry.session)
            && let Some((cause, from)) = self.left.take()
        {
            let header = Header::of_entry(entry, None);
            out.push(switch(header, cause, from, seen.clone()));
        }
        if let Some(member) = self.open.iter_mut().find(|member| member.session == entry.session) {
            member.last = Some(seen.clone());
        }
        self.last = Some(seen);
        self.dark = false;
    }

    /// One connection has a hole.
    fn lost(&mut self, session: SessionId, gap: &Gap, now: Duration) {
        let of = |channel: &str| gap.channel.as_deref().is_none_or(|named| named == channel);
        let (trades, books) = (of(self.rules.trade_channel), of(self.rules.book_channel));
        let all = gap.symbol.is_none();
        let one = gap.symbol.as_ref().and_then(|symbol| self.place(symbol, now));
        let markets = self.markets.iter_mut().enumerate();
        for (_, market) in markets.filter(|(at, _)| all || one == Some(*at)) {
            if trades {
                market.trades.broke(session, gap.cause, now);
            }
            if books {
                market.book.broke(session, gap.cause, now);
            }
        }
    }

    fn settle(&mut self, at: usize, now: Duration, out: &mut Vec<Output>) {
        let (market, now) = (&mut self.markets[at], Moment { now, open: &self.open });
        market.trades.settle(&market.symbol, now, out);
        market.book.settle(&market.symbol, now, out);
    }

    fn settle_all(&mut self, now: Duration, out: &mut Vec<Output>) {
        (0..self.markets.len()).for_each(|at| self.settle(at, now, out));
    }

    /// Where a symbol's market is, from now on; `None` if there are too many.
    fn place(&mut self, symbol: &Symbol, now: Duration) -> Option<usize> {
        if let Some(at) = self.places.get(symbol) {
            self.markets[*at].heard = now;
            return Some(*at);
        }
        if self.markets.len() >= MARKETS_MAX {
            self.markets.retain(|market| market.heard + FORGOTTEN_AFTER > now);
            let symbols = self.markets.iter().map(|market| market.symbol.clone());
            self.places = symbols.enumerate().map(|(at, symbol)| (symbol, at)).collect();
            if self.markets.len() >= MARKETS_MAX {
                return None;
            }
        }
        let MergeRules { trades, trade_channel, books, book_channel } = self.rules;
        let trades = match trades {
            TradeIdentity::Id => Lane::Keyed(Keyed::trades(trade_channel)),
            numbers => Lane::Numbered(Numbered::trades(trade_channel, numbers)),
        };
        let book = match books {
            BookIdentity::Sequence => Lane::Numbered(Numbered::book(book_channel)),
            BookIdentity::Change => Lane::Keyed(Keyed::book(book_channel)),
        };
        let at = self.markets.len();
        self.places.insert(symbol.clone(), at);
        self.markets.push(Market { symbol: symbol.clone(), trades, book, heard: now });
        Some(at)
    }
}

impl Lane {
    fn take(&mut self, record: Record, now: Moment<'_>, out: &mut Vec<Output>) {
        match self {
            Self::Numbered(lane) => lane.take(record, now, out),
            Self::Keyed(lane) => lane.take(record, now, out),
        }
    }

    fn settle(&mut self, symbol: &Symbol, now: Moment<'_>, out: &mut Vec<Output>) {
        match self {
            Self::Numbered(lane) => lane.settle(symbol, now, out),
            Self::Keyed(lane) => lane.settle(symbol, now, out),
        }
    }

    /// What a connection says from here on does not follow what it said before. Numbers show that by themselves.
    fn broke(&mut self, session: SessionId, cause: GapCause, now: Duration) {
        if let Self::Keyed(lane) = self {
            lane.broke(session, cause, now);
        }
    }

    fn closed(&mut self, session: SessionId, cause: GapCause, now: Duration) {
        match self {
            Self::Numbered(lane) => lane.closed(session, cause),
            Self::Keyed(lane) => lane.closed(session, cause, now),
        }
    }

    /// Nobody is open any more: what comes next begins anew, and the hole before it is told of all symbols together.
    fn restart(&mut self) {
        match self {
            Self::Numbered(lane) => lane.restart(),
            Self::Keyed(lane) => lane.restart(),
        }
    }
}

fn broken(output: &Output) -> Option<&Symbol> {
    match output {
        Output::Resync(symbol) => Some(symbol),
        Output::Record(_) => None,
    }
}

/// The frame behind a record.
fn seen(header: &Header) -> Evidence {
    Evidence { at: header.received, session: header.session, index: header.index, shown: None }
}

fn switch(header: Header, cause: GapCause, from: Evidence, to: Evidence) -> Output {
    let body = Body::Switch(Switch { cause, from, to, detail: String::new() });
    Output::Record(Record { header: Header { venue_time: None, sequence: None, ..header }, body })
}

/// A hole that nobody covers, which ends with the record of this header.
fn hole(
    header: &Header,
    symbol: &Symbol,
    channel: &str,
    (cause, from, missing): (GapCause, Option<Evidence>, Option<u64>),
) -> Output {
    let gap = Gap {
        cause,
        channel: Some(channel.to_owned()),
        symbol: Some(symbol.clone()),
        from,
        to: Some(seen(header)),
        missing,
        detail: "no connection of those that hear the same has it".to_owned(),
    };
    let header = Header { venue_time: None, sequence: None, ..header.clone() };
    Output::Record(Record { header, body: Body::Gap(gap) })
}
