//! Symbols that are quiet beyond their own habit: worth a look, and no gap.
//!
//! A symbol is told once when nothing came for ten times the interval that 99 of 100 of its messages keep, and for
//! a minute at least, once a hundred intervals are known. Time is that of the journal's entries, so that the
//! same journal tells the same.

use std::collections::HashMap;
use std::time::Duration;

use ssmd_core::record::{Audit, Stage};
use ssmd_core::{Body, Entry, EntryKind, Header, Record, SessionId, Symbol, Timestamp};

/// How many times its usual interval a symbol may be quiet.
const TIMES: u32 = 10;
/// Nobody is told of less.
const QUIET_MIN: Duration = Duration::from_secs(60);
/// Intervals that make a habit.
const HABIT_MIN: u64 = 100;
/// Intervals in classes that double, from a millisecond: the last is some six days.
const CLASSES: usize = 30;
/// More symbols are hostile; those beyond are not watched.
const SYMBOLS_MAX: usize = 50_000;

/// Watches the symbols of one journal.
#[derive(Debug, Default)]
pub struct Quiet {
    symbols: HashMap<Symbol, Habit>,
}

#[derive(Debug, Default)]
struct Habit {
    /// `None` after a connection ended: what was not heard is a gap.
    last: Option<Timestamp>,
    /// Who heard it last.
    session: Option<SessionId>,
    intervals: [u32; CLASSES],
    known: u64,
    told: bool,
}

impl Quiet {
    /// Takes a record of market data.
    pub fn heard(&mut self, record: &Record) {
        let Some(symbol) = &record.header.symbol else { return };
        match &record.body {
            Body::Gap(_) | Body::Audit(_) | Body::Instrument(_) | Body::Status(_) => return,
            // A market that has ended has nothing more to say, and venues empty its book first.
            Body::Lifecycle(life) => {
                if matches!(life.stage, Stage::Closed | Stage::Determined | Stage::Settled) {
                    self.symbols.remove(symbol);
                }
                return;
            }
            Body::BookSnapshot(book) if book.bids.is_empty() && book.asks.is_empty() => {
                self.symbols.remove(symbol);
                return;
            }
            _ => {}
        }
        if !self.symbols.contains_key(symbol) {
            if self.symbols.len() == SYMBOLS_MAX {
                return;
            }
            self.symbols.insert(symbol.clone(), Habit::default());
        }
        if let Some(habit) = self.symbols.get_mut(symbol) {
            habit.session = Some(record.header.session);
            habit.heard(record.header.received);
        }
    }

    /// Takes an entry: ticks say what time it is, and ends of connections that nothing could be heard. What is told
    /// comes with the session that heard the symbol last.
    pub fn entry(&mut self, entry: &Entry, out: &mut Vec<(Option<SessionId>, Record)>) {
        match entry.kind {
            EntryKind::Tick => {
                let late = self.symbols.iter_mut().filter_map(|(symbol, habit)| {
                    let (quiet, usual) = habit.tell(entry.at)?;
                    Some((habit.session, audit(entry, symbol, quiet, usual)))
                });
                out.extend(late);
            }
            EntryKind::Open | EntryKind::Close | EntryKind::Epoch => {
                self.symbols.values_mut().for_each(|habit| habit.last = None);
            }
            EntryKind::Frame(_) | EntryKind::Roll | EntryKind::Gap => {}
        }
    }
}

impl Habit {
    fn heard(&mut self, at: Timestamp) {
        // A message may hold several records, and clocks may go back: neither is an interval.
        if let Some(interval) = self.last.map(|last| at.since(last)).filter(|interval| !interval.is_zero()) {
            let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
            let class = &mut self.intervals[(millis.ilog2() as usize).min(CLASSES - 1)];
            *class = class.saturating_add(1);
            self.known += 1;
        }
        self.last = Some(at);
        self.told = false;
    }

    /// How long it is quiet and what is usual, if that is news.
    fn tell(&mut self, now: Timestamp) -> Option<(Duration, Duration)> {
        let quiet = now.since(self.last.filter(|_| !self.told && self.known >= HABIT_MIN)?);
        if quiet < QUIET_MIN {
            return None;
        }
        let usual = self.usual();
        (quiet >= usual.saturating_mul(TIMES)).then(|| {
            self.told = true;
            (quiet, usual)
        })
    }

    /// What 99 of 100 intervals are not above: the upper end of their class.
    fn usual(&self) -> Duration {
        let mut left = self.known - self.known / 100;
        let class = self.intervals.iter().position(|count| {
            left = left.saturating_sub(u64::from(*count));
            left == 0
        });
        Duration::from_millis(2 << class.unwrap_or(CLASSES - 1))
    }
}

fn audit(entry: &Entry, symbol: &Symbol, quiet: Duration, usual: Duration) -> Record {
    let header = Header::of_entry(entry, Some(symbol.clone()));
    let found = format!(
        "nothing for {:.0} s; 99 of 100 intervals are below {:.3} s",
        quiet.as_secs_f64(),
        usual.as_secs_f64()
    );
    Record { header, body: Body::Audit(Audit { check: "quiet".to_owned(), found }) }
}

#[cfg(test)]
mod tests {
    use ssmd_core::entry::note;
    use ssmd_core::record::Book;
    use ssmd_core::{EntryId, Origin};

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn entry(kind: EntryKind, millis: i64) -> Entry {
        Entry {
            id: EntryId { origin: Origin::from_bytes([1; 16]), n: 1 },
            day: at(millis).day(),
            at: at(millis),
            elapsed: Duration::ZERO,
            session: SessionId(0),
            index: 0,
            kind,
            binary: false,
            more: false,
            payload: note::encode(&()),
        }
    }

    fn hear(quiet: &mut Quiet, millis: i64) {
        hear_body(quiet, millis, Body::BookDelta(Book::default()));
    }

    fn hear_body(quiet: &mut Quiet, millis: i64, body: Body) {
        let header = Header {
            symbol: Some(Symbol::new("BTC/USD").unwrap()),
            venue_time: None,
            received: at(millis),
            sequence: None,
            session: SessionId(1),
            index: 0,
            source: None,
        };
        quiet.heard(&Record { header, body });
    }

    fn told(quiet: &mut Quiet, kind: EntryKind, seconds: i64) -> Vec<Timestamp> {
        let mut out = Vec::new();
        quiet.entry(&entry(kind, seconds * 1000), &mut out);
        out.into_iter().map(|(_, record)| record.header.received).collect()
    }

    #[test]
    fn a_symbol_is_told_once_when_it_is_quiet_beyond_its_habit() {
        let mut quiet = Quiet::default();
        (0..=100).for_each(|n| hear(&mut quiet, n * 100));
        assert_eq!(told(&mut quiet, EntryKind::Tick, 69), []);
        assert_eq!(told(&mut quiet, EntryKind::Tick, 70), [at(70_000)]);
        assert_eq!(told(&mut quiet, EntryKind::Tick, 71), []);
        hear(&mut quiet, 80_000);
        assert_eq!(told(&mut quiet, EntryKind::Tick, 139), []);
        assert_eq!(told(&mut quiet, EntryKind::Tick, 140), [at(140_000)]);
    }

    #[test]
    fn a_market_that_has_ended_is_not_quiet() {
        let mut quiet = Quiet::default();
        (0..=100).for_each(|n| hear(&mut quiet, n * 100));
        hear_body(&mut quiet, 10_100, Body::BookSnapshot(Book::default()));
        assert_eq!(told(&mut quiet, EntryKind::Tick, 1000), []);
    }

    #[test]
    fn a_slow_habit_a_short_one_and_a_lost_connection_are_none() {
        let mut slow = Quiet::default();
        (0..=100).for_each(|n| hear(&mut slow, n * 20_000));
        assert_eq!(told(&mut slow, EntryKind::Tick, 2000 + 300), []);
        assert_eq!(told(&mut slow, EntryKind::Tick, 2000 + 330), [at(2_330_000)]);
        let mut short = Quiet::default();
        (0..100).for_each(|n| hear(&mut short, n * 100));
        assert_eq!(told(&mut short, EntryKind::Tick, 1000), []);
        let mut lost = Quiet::default();
        (0..=100).for_each(|n| hear(&mut lost, n * 100));
        assert_eq!(told(&mut lost, EntryKind::Close, 20), []);
        assert_eq!(told(&mut lost, EntryKind::Tick, 1000), []);
    }
}
