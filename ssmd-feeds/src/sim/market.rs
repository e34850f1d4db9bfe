//! A seeded market: two ladders of price levels that move by inserts, changes, removals and trades.
//!
//! All numbers are integers in the pair's own units; there is no clock and no float, so the same seed gives the
//! same market event for event. Knows no venue's format.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::Timestamp;

/// Levels that a ladder starts with: somewhat more than the deepest view (1,000) that a venue offers.
const LEVELS: usize = 1100;
/// Below this many levels, far ones are added, beyond every view.
const LEVELS_MIN: usize = 1040;
/// Above this many levels, the farthest are removed.
const LEVELS_MAX: usize = 1200;
/// How far apart levels are at most, in ticks.
const GAP_TICKS_MAX: i64 = 6;
/// How many past trades are remembered: what a trade snapshot shows.
const TRADES_KEPT: usize = 50;
/// Events before anybody looks, so that a market has a past.
const PREROLL_EVENTS: usize = 500;

/// One side of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Who wants to buy; the best is the highest.
    Bid,
    /// Who wants to sell; the best is the lowest.
    Ask,
}

/// A price and how much is there, in ticks and lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) price: i64,
    pub(super) qty: i64,
}

/// What happened to one level. `rank` counts from the best, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Its quantity changed.
    Set { rank: usize, level: Level },
    /// It is new; those from `rank` on moved one further.
    Insert { rank: usize, level: Level },
    /// It is gone; those behind it moved one nearer.
    Remove { rank: usize, price: i64 },
}

/// A trade, as the taker saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) id: u64,
    pub(super) buy: bool,
    pub(super) price: i64,
    pub(super) qty: i64,
    pub(super) at: Timestamp,
}

/// One side's levels, the best last, so that what changes most moves least.
#[derive(Debug)]
pub(super) struct Ladder {
    side: Side,
    levels: Vec<Level>,
}

impl Ladder {
    /// Which side it is.
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// How many levels there are.
    pub(super) fn len(&self) -> usize {
        self.levels.len()
    }

    /// The level at `rank`.
    pub(super) fn get(&self, rank: usize) -> Option<Level> {
        self.levels.len().checked_sub(rank + 1).map(|at| self.levels[at])
    }

    /// The best levels first, `count` at most.
    pub(super) fn best(&self, count: usize) -> impl Iterator<Item = Level> + '_ {
        self.levels.iter().rev().take(count).copied()
    }

    /// `price` made comparable: the higher the better on both sides.
    fn key(&self, price: i64) -> i64 {
        match self.side {
            Side::Bid => price,
            Side::Ask => -price,
        }
    }

    /// The price `ticks` worse than `price`.
    fn behind(&self, price: i64, ticks: i64) -> i64 {
        match self.side {
            Side::Bid => price - ticks,
            Side::Ask => price + ticks,
        }
    }

    /// Sets the quantity at a price; 0 removes it.
    fn put(&mut self, level: Level) -> Option<Change> {
        let key = self.key(level.price);
        let at = self.levels.partition_point(|other| self.key(other.price) < key);
        let there = self.levels.get(at).is_some_and(|other| other.price == level.price);
        match (there, level.qty) {
            (true, 0) => {
                let rank = self.levels.len() - 1 - at;
                self.levels.remove(at);
                Some(Change::Remove { rank, price: level.price })
            }
            (true, _) => {
                self.levels[at] = level;
                Some(Change::Set { rank: self.levels.len() - 1 - at, level })
            }
            (false, 0) => None,
            (false, _) => {
                self.levels.insert(at, level);
                Some(Change::Insert { rank: self.levels.len() - 1 - at, level })
            }
        }
    }
}

/// Hears each change of a level, with the ladder as it is after it.
pub(super) type Watch<'a> = dyn FnMut(Change, &Ladder) + 'a;

/// One pair's market.
#[derive(Debug)]
pub(super) struct Market {
    rng: StdRng,
    start: i64,
    lot: i64,
    /// Bids.
    pub(super) bids: Ladder,
    /// Asks.
    pub(super) asks: Ladder,
    /// The last trades, oldest first.
    pub(super) trades: VecDeque<Fill>,
    last_id: u64,
}

impl Market {
    /// A market around `start` ticks, with typical quantities of `lot` units.
    pub(super) fn new(seed: u64, start: i64, lot: i64, now: Timestamp) -> Self {
        let mut market = Self {
            rng: StdRng::seed_from_u64(seed),
            start,
            lot: lot.max(1),
            bids: Ladder { side: Side::Bid, levels: Vec::with_capacity(LEVELS_MAX + 1) },
            asks: Ladder { side: Side::Ask, levels: Vec::with_capacity(LEVELS_MAX + 1) },
            trades: VecDeque::with_capacity(TRADES_KEPT + 1),
            last_id: 1_000_000,
        };
        for side in [Side::Bid, Side::Ask] {
            market.fill(side, LEVELS, &mut |_, _| {});
        }
        let mut fills = Vec::new();
        for _ in 0..PREROLL_EVENTS {
            market.step(now, &mut fills, &mut |_, _| {});
        }
        market
    }

    /// The price of the last trade, or where the market began.
    pub(super) fn last(&self) -> i64 {
        self.trades.back().map_or(self.start, |fill| fill.price)
    }

    /// Lets one thing happen: `watch` hears what changed in the book, `fills` gets the trades.
    ///
    /// Within one event removals and changes come before inserts.
    pub(super) fn step(&mut self, now: Timestamp, fills: &mut Vec<Fill>, watch: &mut Watch<'_>) {
        let side = if self.rng.random_bool(0.5) { Side::Bid } else { Side::Ask };
        match self.rng.random_range(0..100_u32) {
            0..45 => self.change(side, watch),
            45..63 => self.remove(side, watch),
            63..90 => self.insert(side, watch),
            90..93 => self.replace(side, watch),
            _ => self.trade(now, fills, watch),
        }
        for side in [Side::Bid, Side::Ask] {
            if self.ladder(side).len() < LEVELS_MIN {
                self.fill(side, LEVELS, watch);
            }
            while self.ladder(side).len() > LEVELS_MAX {
                let worst = self.ladder(side).levels[0];
                self.put(side, Level { qty: 0, ..worst }, watch);
            }
        }
    }

    fn change(&mut self, side: Side, watch: &mut Watch<'_>) {
        let (level, qty) = (self.pick(side), self.qty());
        if qty != level.qty {
            self.put(side, Level { qty, ..level }, watch);
        }
    }

    fn remove(&mut self, side: Side, watch: &mut Watch<'_>) {
        let level = self.pick(side);
        self.put(side, Level { qty: 0, ..level }, watch);
    }

    fn insert(&mut self, side: Side, watch: &mut Watch<'_>) {
        let (bid, ask) = (self.best(Side::Bid), self.best(Side::Ask));
        let spread = ask - bid;
        let inside = spread > 1 && (spread > GAP_TICKS_MAX || self.rng.random_bool(0.3));
        let price = if inside {
            self.rng.random_range(bid + 1..ask)
        } else {
            let near = self.pick(side).price;
            let ticks = self.rng.random_range(1..=GAP_TICKS_MAX);
            self.ladder(side).behind(near, ticks)
        };
        let qty = self.qty();
        self.put(side, Level { price: price.max(1), qty }, watch);
    }

    /// Somebody leaves a price and comes back to it at once: the same price twice on one side of one event.
    fn replace(&mut self, side: Side, watch: &mut Watch<'_>) {
        let (level, qty) = (self.pick(side), self.qty());
        self.put(side, Level { qty: 0, ..level }, watch);
        self.put(side, Level { qty, ..level }, watch);
    }

    fn trade(&mut self, now: Timestamp, fills: &mut Vec<Fill>, watch: &mut Watch<'_>) {
        // The farther from where it began, the more the market wants back.
        let drift = (self.best(Side::Ask) - self.start) * 100 / self.start;
        let buy = self.rng.random_range(0..100_i64) >= (50 + drift).clamp(10, 90);
        let side = if buy { Side::Ask } else { Side::Bid };
        let whole = match self.rng.random_range(0..100_u32) {
            0..65 => 0,
            65..92 => 1,
            _ => self.rng.random_range(2..=4),
        };
        for _ in 0..whole {
            let best = self.best_level(side);
            self.take(side, best, best.qty, now, fills, watch);
        }
        if whole == 0 {
            let best = self.best_level(side);
            let qty = self.rng.random_range(1..=best.qty);
            self.take(side, best, qty, now, fills, watch);
        }
    }

    fn take(
        &mut self,
        side: Side,
        level: Level,
        qty: i64,
        at: Timestamp,
        fills: &mut Vec<Fill>,
        watch: &mut Watch<'_>,
    ) {
        self.last_id += 1;
        let fill = Fill { id: self.last_id, buy: side == Side::Ask, price: level.price, qty, at };
        fills.push(fill);
        self.trades.push_back(fill);
        if self.trades.len() > TRADES_KEPT {
            self.trades.pop_front();
        }
        self.put(side, Level { qty: level.qty - qty, ..level }, watch);
    }

    /// Adds far levels until there are `count`.
    fn fill(&mut self, side: Side, count: usize, watch: &mut Watch<'_>) {
        while self.ladder(side).len() < count {
            let (ticks, qty) = (self.rng.random_range(1..=GAP_TICKS_MAX), self.qty());
            let ladder = self.ladder(side);
            let worst = ladder.levels.first().map_or(self.start, |level| level.price);
            let price = ladder.behind(worst, ticks);
            if price < 1 {
                return;
            }
            self.put(side, Level { price, qty }, watch);
        }
    }

    fn put(&mut self, side: Side, level: Level, watch: &mut Watch<'_>) {
        let ladder = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        if let Some(change) = ladder.put(level) {
            watch(change, ladder);
        }
    }

    fn ladder(&self, side: Side) -> &Ladder {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    fn best_level(&self, side: Side) -> Level {
        self.ladder(side).get(0).unwrap_or(Level { price: self.start, qty: self.lot })
    }

    fn best(&self, side: Side) -> i64 {
        self.best_level(side).price
    }

    /// A level, most often one near the best.
    fn pick(&mut self, side: Side) -> Level {
        let len = self.ladder(side).len();
        let range = match self.rng.random_range(0..100_u32) {
            0..70 => 10,
            70..92 => 30,
            92..97 => 120,
            _ => len,
        };
        let rank = self.rng.random_range(0..range.min(len).max(1));
        self.ladder(side).get(rank).unwrap_or_else(|| self.best_level(side))
    }

    /// A quantity, small ones more often, round ones now and then.
    fn qty(&mut self) -> i64 {
        match self.rng.random_range(0..10_u32) {
            0..6 => self.rng.random_range(1..=self.lot),
            6..8 => self.rng.random_range(1..=self.lot.saturating_mul(20)),
            _ => self.lot,
        }
    }
}

/// A seed from a name, by FNV-1a: the same on every machine and in every version.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(ladder: &Ladder) -> bool {
        ladder.levels.windows(2).all(|pair| ladder.key(pair[0].price) < ladder.key(pair[1].price))
            && ladder.levels.iter().all(|level| level.price > 0 && level.qty > 0)
    }

    #[test]
    fn books_stay_sane_and_trades_stay_contiguous() {
        for (seed, start, lot) in [(1, 630_000, 10_000_000), (2, 50_000, 3), (3, 900_000, 1)] {
            let mut market = Market::new(seed, start, lot, Timestamp::from_nanos(0));
            let (mut fills, mut changes) = (Vec::new(), 0_u64);
            let first = market.last_id + 1;
            for _ in 0..100_000 {
                market.step(Timestamp::from_nanos(1), &mut fills, &mut |_, _| changes += 1);
                assert!(market.best(Side::Bid) < market.best(Side::Ask));
            }
            assert!(sorted(&market.bids) && sorted(&market.asks));
            assert!(market.bids.len() >= LEVELS_MIN && market.asks.len() >= LEVELS_MIN);
            assert!(fills.iter().zip(first..).all(|(fill, id)| fill.id == id && fill.qty > 0));
            assert!(fills.len() > 5000 && changes > 70_000, "{} fills, {changes} changes", fills.len());
            let last = market.last();
            assert!((start / 2..start * 2).contains(&last), "{start} became {last}");
        }
    }

    #[test]
    fn the_same_seed_is_the_same_market() {
        let run = |seed| {
            let mut market = Market::new(seed, 100_000, 1000, Timestamp::from_nanos(0));
            let (mut fills, mut seen) = (Vec::new(), Vec::new());
            for _ in 0..5000 {
                market.step(Timestamp::from_nanos(1), &mut fills, &mut |change, _| seen.push(change));
            }
            (fills, seen)
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
