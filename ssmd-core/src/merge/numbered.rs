//! Trades or a book whose messages the venue numbers, the same on every connection: the next number is the next, and
//! a hole is one if nobody has it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{BEHIND_MAX, HELD_MAX, HOLD_MAX, Moment, TradeIdentity, hole, seen, switch};
use crate::{Body, Evidence, GapCause, Output, Record, SessionId, Symbol};

/// One symbol's trades, or its book.
#[derive(Debug)]
pub(super) struct Numbered {
    channel: &'static str,
    /// How trades are numbered; `None` for a book, of which one connection leads.
    trades: Option<TradeIdentity>,
    /// The last number that was told, and its frame.
    last: Option<(u64, Evidence)>,
    leader: Option<SessionId>,
    /// Whose place the leader has taken, why, and the last frame from there.
    left: Option<(GapCause, Evidence)>,
    held: BTreeMap<u64, Held>,
    /// The highest number that each open connection has said.
    reached: Vec<(SessionId, u64)>,
    /// Whether the next hole was told already, as part of something larger.
    told: bool,
    /// Whether a book has a hole, so that only a snapshot can go on.
    broken: bool,
}

#[derive(Debug)]
struct Held {
    at: Duration,
    record: Record,
}

impl Held {
    fn is_snapshot(&self) -> bool {
        matches!(self.record.body, Body::BookSnapshot(_))
    }
}

impl Numbered {
    pub(super) fn trades(channel: &'static str, numbers: TradeIdentity) -> Self {
        Self { trades: Some(numbers), ..Self::book(channel) }
    }

    pub(super) fn book(channel: &'static str) -> Self {
        Self {
            channel,
            trades: None,
            last: None,
            leader: None,
            left: None,
            held: BTreeMap::new(),
            reached: Vec::new(),
            told: false,
            broken: false,
        }
    }

    fn number(&self, record: &Record) -> Option<u64> {
        match (self.trades, &record.body) {
            (Some(TradeIdentity::Number), Body::Trade(trade)) => trade.id.as_deref()?.parse().ok(),
            _ => record.header.sequence,
        }
    }

    /// Takes what one connection said. A record without a number, which the venue does not promise, is told as it is.
    pub(super) fn take(&mut self, record: Record, now: Moment<'_>, out: &mut Vec<Output>) {
        let Some(number) = self.number(&record) else { return out.push(Output::Record(record)) };
        let session = record.header.session;
        match self.reached.iter_mut().find(|(of, _)| *of == session) {
            Some((_, reached)) => *reached = number.max(*reached),
            None => self.reached.push((session, number)),
        }
        let held = Held { at: now.now, record };
        let known = self.last.as_ref().is_some_and(|(last, _)| number <= *last);
        if known && !(self.broken && held.is_snapshot()) {
            return;
        }
        match self.held.get_mut(&number) {
            // What the leader says is told by the leader.
            Some(known) if self.leader == Some(session) || held.is_snapshot() => {
                *known = Held { at: known.at, ..held };
            }
            Some(_) => {}
            None => drop(self.held.insert(number, held)),
        }
    }

    pub(super) fn closed(&mut self, session: SessionId, cause: GapCause) {
        self.reached.retain(|(of, _)| *of != session);
        if self.leader == Some(session) {
            self.leader = None;
            self.left = self.last.clone().map(|(_, from)| (cause, from));
        }
    }

    pub(super) fn restart(&mut self) {
        self.held.clear();
        self.reached.clear();
        (self.leader, self.left, self.told) = (None, None, true);
        self.broken = self.trades.is_none() && self.last.is_some();
    }

    /// Tells all that can be told now.
    pub(super) fn settle(&mut self, symbol: &Symbol, now: Moment<'_>, out: &mut Vec<Output>) {
        while let Some((first, held)) = self.held.first_key_value() {
            let first = *first;
            let Some((last, from)) = self.last.clone().filter(|_| !self.broken) else {
                if !self.begin(symbol, now, out) {
                    return;
                }
                continue;
            };
            if first <= last {
                self.held.remove(&first);
            } else if first == last + 1 {
                let session = held.record.header.session;
                if self.trades.is_none() && self.leader != Some(session) && !self.follow(first, now) {
                    return;
                }
                self.tell(first, out);
            } else if self.may_be_filled(Some(last), now) {
                return;
            } else if self.trades.is_none() {
                self.broken = true;
            } else {
                if !std::mem::take(&mut self.told) {
                    let hole_of = (GapCause::TradeId, Some(from), Some(first - last - 1));
                    out.push(self.hole(first, symbol, hole_of));
                }
                self.tell(first, out);
            }
        }
    }

    /// Begins with the first trade, or with a snapshot of the book; false if there is none, or if a connection may
    /// still bring an earlier trade: one that has said nothing yet may have heard what this one has not.
    fn begin(&mut self, symbol: &Symbol, now: Moment<'_>, out: &mut Vec<Output>) -> bool {
        if self.trades.is_some() && self.may_be_filled(None, now) {
            return false;
        }
        let fits = |held: &Held| self.trades.is_some() || held.is_snapshot();
        let Some(number) = self.held.iter().find(|(_, held)| fits(held)).map(|(number, _)| *number) else {
            while self.held.len() > HELD_MAX {
                self.held.pop_first();
            }
            return false;
        };
        self.held = self.held.split_off(&number);
        self.follow_of(number, GapCause::Sequence);
        if let Some((last, from)) = self.last.take()
            && !std::mem::take(&mut self.told)
        {
            let missing = number.checked_sub(last + 1);
            out.push(self.hole(number, symbol, (GapCause::Sequence, Some(from), missing)));
        }
        self.broken = false;
        self.tell(number, out);
        true
    }

    /// Whether a book goes on with what another connection than the leader has: the leader is gone, has missed it,
    /// or is behind. The numbers follow, so both have the same book.
    fn follow(&mut self, number: u64, now: Moment<'_>) -> bool {
        let Some(held) = self.held.get(&number) else { return false };
        let leader = self.leader.filter(|leader| now.is_open(*leader));
        let cause = match leader {
            None => GapCause::Disconnect,
            Some(leader) if self.reached(leader).is_some_and(|reached| reached > number) => {
                GapCause::Sequence
            }
            Some(_) if held.at + BEHIND_MAX <= now.now => GapCause::Silence,
            Some(_) => return false,
        };
        self.follow_of(number, cause);
        true
    }

    fn follow_of(&mut self, number: u64, cause: GapCause) {
        if self.left.is_none() && self.leader.is_some() {
            self.left = self.last.clone().map(|(_, from)| (cause, from));
        }
        self.leader = self.held.get(&number).map(|held| held.record.header.session);
    }

    fn reached(&self, session: SessionId) -> Option<u64> {
        self.reached.iter().find(|(of, _)| *of == session).map(|(_, reached)| *reached)
    }

    /// Whether a connection may still bring what comes after `last`, or before all that is held.
    fn may_be_filled(&self, last: Option<u64>, now: Moment<'_>) -> bool {
        let is_last = |reached| last.is_some_and(|last| reached <= last);
        let behind = |session| self.reached(session).is_none_or(is_last);
        let oldest = self.held.values().map(|held| held.at).min();
        // A book whose hole was told goes on with a snapshot, whoever has one.
        !(self.told && self.trades.is_none())
            && self.held.len() < HELD_MAX
            && oldest.is_some_and(|at| now.now < at + HOLD_MAX)
            && now.open.iter().any(|member| behind(member.session))
    }

    fn hole(
        &self,
        number: u64,
        symbol: &Symbol,
        (cause, from, missing): (GapCause, Option<Evidence>, Option<u64>),
    ) -> Output {
        let cause = if self.trades == Some(TradeIdentity::Number) { cause } else { GapCause::Sequence };
        let header = &self.held[&number].record.header;
        hole(header, symbol, self.channel, (cause, from, missing))
    }

    fn tell(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(Held { record, .. }) = self.held.remove(&number) else { return };
        let frame = seen(&record.header);
        if let (Some((cause, from)), None) = (self.left.take(), self.trades)
            && from.session != frame.session
        {
            out.push(switch(record.header.clone(), cause, from, frame.clone()));
        }
        self.last = Some((number, frame));
        self.told = false;
        out.push(Output::Record(record));
    }
}
