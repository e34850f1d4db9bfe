//! Trades or a book without common numbers: one connection leads, and another takes over where it provably has said
//! the same.
//!
//! What is told is remembered for a while. A connection that says something of it is behind the leader and whole from
//! there on; one that said before what the leader says now is ahead of it. What is ahead waits, so that nothing is
//! missing when the leader is lost.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::{BEHIND_MAX, HELD_MAX, HOLD_MAX, Moment, hole, seen, switch};
use crate::record::Book;
use crate::{Body, BookSide, Evidence, GapCause, OrderBook, Output, Record, SessionId, Symbol, Timestamp};

/// How long is remembered what was told: longer than a connection may lag.
const REMEMBERED_FOR: Duration = Duration::from_secs(15);
/// The most records of one venue time that are told apart although they say the same.
const SAME_TIME_MAX: usize = 1024;

/// One symbol's trades, or its book.
#[derive(Debug)]
pub(super) struct Keyed {
    channel: &'static str,
    is_book: bool,
    leader: Option<SessionId>,
    /// Why and since when nobody leads.
    lost: Option<(GapCause, Duration)>,
    /// Whether what waited then was looked through for the book as it was told.
    sought: bool,
    /// Whose place the leader has taken, why, and the last frame from there.
    left: Option<(GapCause, Evidence)>,
    last: Option<Evidence>,
    told: Told,
    /// The book as it was told, the venue's time of its last change, and when that was heard.
    book: OrderBook,
    told_time: Option<Timestamp>,
    told_at: Duration,
    lines: Vec<Line>,
}

/// One connection.
#[derive(Debug)]
struct Line {
    session: SessionId,
    /// Whether what waits follows what was told, without a hole.
    whole: bool,
    /// Since when it has no hole.
    since: Duration,
    /// Whether its book is broken until its next snapshot.
    broken: bool,
    /// Whether it has ended; what it said before the leader is kept until the leader has said it, or has ended too.
    gone: bool,
    ahead: VecDeque<Item>,
    dating: Dating,
}

#[derive(Debug)]
struct Item {
    key: Option<u64>,
    at: Duration,
    record: Record,
}

impl Item {
    fn snapshot(&self) -> Option<&Book> {
        match &self.record.body {
            Body::BookSnapshot(book) => Some(book),
            _ => None,
        }
    }
}

/// What was told in the last while, by its keys.
#[derive(Debug, Default)]
struct Told {
    keys: HashSet<u64>,
    order: VecDeque<(u64, Duration)>,
    /// When something was told first, and how much since then.
    begun: Option<Duration>,
    count: usize,
}

impl Told {
    fn add(&mut self, key: u64, now: Duration) {
        while let Some((first, at)) = self.order.front().copied()
            && (at + REMEMBERED_FOR < now || self.order.len() >= HELD_MAX)
        {
            self.order.pop_front();
            self.keys.remove(&first);
        }
        self.begun.get_or_insert(now);
        if self.keys.insert(key) {
            self.count += 1;
            self.order.push_back((key, now));
        }
    }

    /// Whether all is remembered that was told since it began: then what is not remembered was never told.
    fn is_complete(&self, now: Duration) -> bool {
        self.count < HELD_MAX && self.begun.is_none_or(|begun| now < begun + REMEMBERED_FOR)
    }

    /// What is told from here on does not follow what was told before.
    fn restart(&mut self) {
        (self.begun, self.count) = (None, 0);
    }
}

/// Gives records their keys: what they say, when the venue says that it was, and, of those that are alike in that,
/// which one it is.
#[derive(Debug, Default)]
struct Dating {
    time: Option<Timestamp>,
    same: Vec<u64>,
}

impl Dating {
    fn key(&mut self, record: &Record) -> Option<u64> {
        let time = record.header.venue_time?;
        if self.time != Some(time) {
            self.time = Some(time);
            self.same.clear();
        }
        let mut hasher = DefaultHasher::new();
        time.hash(&mut hasher);
        match &record.body {
            Body::Trade(trade) => {
                (&trade.id, trade.price, trade.size, trade.side.map(|side| side as u8)).hash(&mut hasher);
            }
            Body::BookDelta(book) | Body::BookSnapshot(book) => {
                matches!(record.body, Body::BookDelta(_)).hash(&mut hasher);
                book.checksum.hash(&mut hasher);
                for levels in [&book.bids, &book.asks] {
                    levels.len().hash(&mut hasher);
                    levels.iter().for_each(|level| (level.price, level.size).hash(&mut hasher));
                }
            }
            _ => return None,
        }
        let said = hasher.finish();
        let before = self.same.iter().filter(|known| **known == said).count();
        if self.same.len() >= SAME_TIME_MAX {
            return None;
        }
        self.same.push(said);
        before.hash(&mut hasher);
        Some(hasher.finish())
    }
}

impl Line {
    /// Keeps what the leader has not said.
    fn wait(&mut self, item: Item, is_book: bool) {
        let is_snapshot = item.snapshot().is_some();
        let full = self.ahead.len() >= HELD_MAX;
        if self.whole && (item.key.is_none() || full) || full && !is_book {
            self.ahead.clear();
            (self.whole, self.broken) = (false, is_book && !is_snapshot);
            if self.broken {
                return;
            }
        } else if !self.whole && is_book {
            // The leader may say it later, however far it is behind, and then this one is whole from there on.
            let old = |first: &mut Item| first.at + REMEMBERED_FOR < item.at;
            while self.ahead.len() >= HELD_MAX || self.ahead.front_mut().is_some_and(old) {
                self.ahead.pop_front();
            }
        }
        self.ahead.push_back(item);
    }

    /// Goes on behind the first snapshot that is this book, of the time of what was told last or later, among the items
    /// from that place on. Where a venue says no time of a snapshot, it must have been heard later than any connection
    /// may lag.
    fn meets(&mut self, book: &OrderBook, (told, heard): (Option<Timestamp>, Duration), from: usize) -> bool {
        let is_later = |item: &Item| match item.record.header.venue_time {
            None => told.is_none() || heard + BEHIND_MAX < item.at,
            time => time >= told,
        };
        let is_it = |item: &Item| {
            is_later(item)
                && item.snapshot().is_some_and(|given| {
                    let mut shown = OrderBook::new();
                    shown.replace(&given.bids, &given.asks);
                    shown == *book
                })
        };
        let Some(at) = self.ahead.iter().skip(from).position(is_it) else { return false };
        self.ahead.drain(..=from + at);
        self.whole = true;
        true
    }
}

impl Keyed {
    pub(super) fn trades(channel: &'static str) -> Self {
        Self { is_book: false, ..Self::book(channel) }
    }

    pub(super) fn book(channel: &'static str) -> Self {
        Self {
            channel,
            is_book: true,
            leader: None,
            lost: None,
            sought: false,
            left: None,
            last: None,
            told: Told::default(),
            book: OrderBook::new(),
            told_time: None,
            told_at: Duration::ZERO,
            lines: Vec::new(),
        }
    }

    /// Takes what one connection said.
    pub(super) fn take(&mut self, record: Record, now: Moment<'_>, out: &mut Vec<Output>) {
        let at = self.line(record.header.session, now);
        let line = &mut self.lines[at];
        let leads = self.leader == Some(line.session);
        let is_snapshot = matches!(record.body, Body::BookSnapshot(_));
        line.broken &= !is_snapshot;
        if line.broken {
            return;
        }
        let item = Item { key: line.dating.key(&record), at: now.now, record };
        if item.key.is_some_and(|key| self.told.keys.contains(&key)) {
            // What waits here was said before this, and the leader has missed it.
            let missed = (line.whole || self.told.is_complete(now.now)) && !self.is_book;
            let late = std::mem::take(&mut line.ahead);
            line.whole = true;
            late.into_iter().filter(|_| missed).for_each(|item| self.tell(item, out));
        } else if leads {
            self.tell(item, out);
        } else if self.last.is_none() && self.leader.is_none() && (is_snapshot || !self.is_book) {
            self.leader = Some(line.session);
            self.tell(item, out);
        } else {
            line.wait(item, self.is_book);
        }
    }

    /// What a connection says from here on does not follow what it said before.
    pub(super) fn broke(&mut self, session: SessionId, cause: GapCause, now: Duration) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.session == session) {
            line.ahead.clear();
            (line.whole, line.broken, line.since) = (false, self.is_book, now);
        }
        self.leave(session, cause, now);
    }

    pub(super) fn closed(&mut self, session: SessionId, cause: GapCause, now: Duration) {
        let waits = self.leader.is_some_and(|leader| leader != session);
        for line in self.lines.iter_mut().filter(|line| line.session == session) {
            line.gone = waits && line.whole;
        }
        self.lines.retain(|line| line.session != session || line.gone && !line.ahead.is_empty());
        self.leave(session, cause, now);
    }

    pub(super) fn restart(&mut self) {
        (self.leader, self.lost, self.left, self.last) = (None, None, None, None);
        self.told_time = None;
        self.told.restart();
        self.lines.clear();
        self.book.clear();
    }

    fn leave(&mut self, session: SessionId, cause: GapCause, now: Duration) {
        if self.leader == Some(session) {
            self.leader = None;
            (self.lost, self.sought) = (Some((cause, now)), false);
            self.left = self.last.clone().map(|last| (cause, last));
        }
    }

    /// Finds who goes on where the leader is lost, or behind.
    pub(super) fn settle(&mut self, symbol: &Symbol, now: Moment<'_>, out: &mut Vec<Output>) {
        let waits = |line: &Line| line.ahead.back().is_some_and(|last| now.now < last.at + HOLD_MAX);
        self.lines.retain(|line| !line.gone || waits(line));
        let Some((cause, since)) = self.lost else { return self.overtake(now.now, out) };
        while let Some(at) = (0..self.lines.len()).find(|at| self.is_whole(*at, since)) {
            self.follow(at, out);
            if !self.lines[at].gone {
                return;
            }
            self.lines.remove(at);
            (self.leader, self.lost) = (None, Some((cause, since)));
            self.left = self.last.clone().map(|last| (cause, last));
        }
        self.sought = true;
        // A connection that has no hole since before the leader was lost may come to what was told.
        let lines = &self.lines;
        let of = |session| lines.iter().find(|line| line.session == session);
        let may =
            |session, opened| of(session).map_or(opened < since, |line| !line.broken && line.since < since);
        let waits = now.open.iter().any(|member| may(member.session, member.since));
        if waits && now.now < since + HOLD_MAX {
            return;
        }
        let begins = |line: &Line| {
            if !self.is_book {
                return (!line.ahead.is_empty()).then_some(0);
            }
            // What came before the leader was lost may be older than what was told.
            let fits = |item: &Item| item.snapshot().is_some();
            let later = line.ahead.iter().position(|item| fits(item) && item.at >= since);
            later.or_else(|| line.ahead.iter().rposition(fits))
        };
        let first = lines.iter().enumerate().find_map(|(at, line)| Some((at, begins(line)?)));
        let Some((at, begin)) = first else { return self.ask_again(symbol, since, now.now, out) };
        self.lines[at].ahead.drain(..begin);
        let header = &self.lines[at].ahead[0].record.header;
        out.push(hole(header, symbol, self.channel, (cause, self.last.clone(), None)));
        self.follow(at, out);
    }

    /// Whether what a connection has ahead follows what was told.
    fn is_whole(&mut self, at: usize, lost: Duration) -> bool {
        let line = &mut self.lines[at];
        if line.whole {
            return true;
        }
        if !self.is_book {
            // What it was told of before, it was heard to say long ago, or there was nothing to say.
            return line.since + HOLD_MAX <= lost;
        }
        // What waited when the leader was lost is looked through once, then what comes.
        let from = if self.sought { line.ahead.len().saturating_sub(1) } else { 0 };
        line.meets(&self.book, (self.told_time, self.told_at), from)
    }

    /// Lets another connection lead, and tells what it has ahead.
    fn follow(&mut self, at: usize, out: &mut Vec<Output>) {
        let line = &mut self.lines[at];
        line.whole = true;
        (self.leader, self.lost) = (Some(line.session), None);
        for item in std::mem::take(&mut line.ahead) {
            self.tell(item, out);
        }
    }

    /// A connection that is whole and has said for a while what the leader has not said yet leads from there on.
    fn overtake(&mut self, now: Duration, out: &mut Vec<Output>) {
        let news = |line: &Line| {
            line.whole && !line.gone && line.ahead.front().is_some_and(|item| item.at + BEHIND_MAX <= now)
        };
        if let Some(at) = self.lines.iter().position(news) {
            self.left = self.last.clone().map(|last| (GapCause::Silence, last));
            if let Some(line) = self.lines.iter_mut().find(|line| Some(line.session) == self.leader) {
                line.whole = true;
            }
            self.follow(at, out);
        }
    }

    /// A book that nobody can go on with needs a snapshot.
    fn ask_again(&mut self, symbol: &Symbol, since: Duration, now: Duration, out: &mut Vec<Output>) {
        if !self.is_book || now < since + HOLD_MAX {
            return;
        }
        if let Some(line) = self.lines.iter_mut().find(|line| !line.broken) {
            line.ahead.clear();
            line.broken = true;
            out.push(Output::Resync(symbol.clone()));
        }
    }

    /// Where a connection's line is, from now on.
    fn line(&mut self, session: SessionId, now: Moment<'_>) -> usize {
        if let Some(at) = self.lines.iter().position(|line| line.session == session) {
            return at;
        }
        let member = now.open.iter().find(|member| member.session == session);
        self.lines.push(Line {
            session,
            whole: false,
            since: member.map_or(now.now, |member| member.since),
            broken: false,
            gone: false,
            ahead: VecDeque::new(),
            dating: Dating::default(),
        });
        self.lines.len() - 1
    }

    fn tell(&mut self, item: Item, out: &mut Vec<Output>) {
        let Item { key, at, record } = item;
        if let Some(key) = key {
            for line in 0..self.lines.len() {
                if Some(self.lines[line].session) != self.leader {
                    self.pass(line, (key, at), out);
                }
            }
            self.told.add(key, at);
        }
        let frame = seen(&record.header);
        if let Some((cause, from)) = self.left.take()
            && self.is_book
            && from.session != frame.session
        {
            out.push(switch(record.header.clone(), cause, from, frame.clone()));
        }
        (self.told_time, self.told_at) = (record.header.venue_time, at);
        match &record.body {
            Body::BookSnapshot(book) => {
                self.book.replace(&book.bids, &book.asks);
            }
            Body::BookDelta(book) => apply(&mut self.book, book),
            _ => {}
        }
        self.last = Some(frame);
        out.push(Output::Record(record));
    }

    /// Something is told, now. If a connection has it ahead, that is whole from there on, and what it has said before
    /// that was missed by the leader.
    fn pass(&mut self, line: usize, (key, now): (u64, Duration), out: &mut Vec<Output>) {
        let line = &mut self.lines[line];
        let Some(at) = line.ahead.iter().position(|item| item.key == Some(key)) else { return };
        let missed = (line.whole || self.told.is_complete(now)) && !self.is_book;
        line.whole = true;
        for item in line.ahead.drain(..=at).take(if missed { at } else { 0 }) {
            self.told.add(item.key.unwrap_or_default(), item.at);
            out.push(Output::Record(item.record));
        }
    }
}

fn apply(book: &mut OrderBook, given: &Book) {
    for (side, levels) in [(BookSide::Bid, &given.bids), (BookSide::Ask, &given.asks)] {
        levels.iter().for_each(|level| book.apply(side, *level));
    }
    if let Some(depth) = given.depth {
        book.truncate(depth as usize);
    }
}
