//! The order book that auditors, gateway, builders and clients share: exact, at any depth.
//!
//! It knows prices and sizes, and nothing of venues: who cuts to a depth, who checks a checksum and who asks for a
//! fresh snapshot decides elsewhere.

use std::cmp::Ordering;

use crate::record::{Level, Quote};
use crate::{Decimal, Error, ErrorKind, Result};

/// One side of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BookSide {
    /// Buyers: the highest price is the best.
    Bid,
    /// Sellers: the lowest price is the best.
    Ask,
}

/// The levels of one instrument.
///
/// Each side is a sorted vector with the best level last: most changes happen near the best, so they move few
/// bytes. A change costs a binary search and the move; a snapshot costs one pass if its levels are in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderBook {
    /// Lowest price first.
    bids: Vec<Level>,
    /// Highest price first.
    asks: Vec<Level>,
}

impl OrderBook {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything and takes these levels, as if each were applied to an empty book in turn: levels of size
    /// zero are none, and the last of several levels with one price counts. Any order is right; best first or best
    /// last is fast.
    pub fn replace(&mut self, bids: &[Level], asks: &[Level]) {
        fill(&mut self.bids, bids, BookSide::Bid);
        fill(&mut self.asks, asks, BookSide::Ask);
    }

    /// Sets the total size at a price; zero removes the level. The digits of price and size are kept as given.
    pub fn apply(&mut self, side: BookSide, level: Level) {
        self.set(side, level);
    }

    /// Does what [`OrderBook::apply`] does, and gives the size that was there; `None` if there was no such level.
    pub fn set(&mut self, side: BookSide, level: Level) -> Option<Decimal> {
        let levels = self.side_mut(side);
        let found = find(levels, side, level.price);
        let before = found.ok().map(|at| levels[at].size);
        set(levels, found, level);
        before
    }

    /// Adds `change`, which may be negative, to the size at a price, and gives the new size; at zero the level is
    /// removed.
    ///
    /// # Errors
    /// `Invalid` if the size would become negative or too large to hold; the book is as it was.
    pub fn add(&mut self, side: BookSide, price: Decimal, change: Decimal) -> Result<Decimal> {
        let levels = self.side_mut(side);
        let found = find(levels, side, price);
        let before = found.map_or(Decimal::ZERO, |at| levels[at].size);
        let wrong = |detail: &'static str| {
            Error::new(ErrorKind::Invalid, "change book level")
                .detail(detail)
                .with("price", price)
                .with("size", before)
                .with("change", change)
        };
        let size = before.checked_add(change).ok_or_else(|| wrong("the size cannot be held"))?;
        if size.is_negative() {
            return Err(wrong("the size would be negative"));
        }
        set(levels, found, Level { price, size });
        Ok(size)
    }

    /// Keeps the best `depth` levels of each side.
    pub fn truncate(&mut self, depth: usize) {
        for levels in [&mut self.bids, &mut self.asks] {
            if levels.len() > depth {
                let beyond = levels.len() - depth;
                levels.drain(..beyond);
            }
        }
    }

    /// Forgets every level.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// One side's levels, best first.
    pub fn levels(&self, side: BookSide) -> impl DoubleEndedIterator<Item = &Level> + ExactSizeIterator {
        self.side(side).iter().rev()
    }

    /// The best level of a side.
    pub fn best(&self, side: BookSide) -> Option<Level> {
        self.side(side).last().copied()
    }

    /// The best prices and their sizes.
    pub fn quote(&self) -> Quote {
        let (bid, ask) = (self.best(BookSide::Bid), self.best(BookSide::Ask));
        Quote {
            bid: bid.map(|level| level.price),
            bid_size: bid.map(|level| level.size),
            ask: ask.map(|level| level.price),
            ask_size: ask.map(|level| level.size),
        }
    }

    /// The size at a price; `None` if there is no such level.
    pub fn size(&self, side: BookSide, price: Decimal) -> Option<Decimal> {
        let levels = self.side(side);
        find(levels, side, price).ok().map(|at| levels[at].size)
    }

    /// How many levels a side has.
    pub fn depth(&self, side: BookSide) -> usize {
        self.side(side).len()
    }

    /// Whether neither side has a level.
    pub fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }

    /// Whether a buyer bids as much as a seller asks, or more: no venue lets that stand.
    pub fn is_crossed(&self) -> bool {
        match (self.bids.last(), self.asks.last()) {
            (Some(bid), Some(ask)) => bid.price >= ask.price,
            _ => false,
        }
    }

    fn side(&self, side: BookSide) -> &Vec<Level> {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }

    fn side_mut(&mut self, side: BookSide) -> &mut Vec<Level> {
        match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        }
    }
}

/// How two prices of a side are ordered in its vector: worst first.
fn order(side: BookSide, a: Decimal, b: Decimal) -> Ordering {
    match side {
        BookSide::Bid => a.cmp(&b),
        BookSide::Ask => b.cmp(&a),
    }
}

/// Where the price is, or where it belongs: most changes happen near the best, so they are looked for from there, in
/// steps that double.
fn find(levels: &[Level], side: BookSide, price: Decimal) -> Result<usize, usize> {
    let (mut below, mut beyond, mut step) = (levels.len(), levels.len(), 1);
    while below > 0 {
        below = beyond.saturating_sub(step);
        match order(side, levels[below].price, price) {
            Ordering::Less => break,
            Ordering::Equal => return Ok(below),
            Ordering::Greater => (beyond, step) = (below, step * 2),
        }
    }
    let among = levels[below..beyond].binary_search_by(|level| order(side, level.price, price));
    among.map(|at| below + at).map_err(|at| below + at)
}

/// Puts a level where it was found or belongs; one of size zero is removed.
fn set(levels: &mut Vec<Level>, found: Result<usize, usize>, level: Level) {
    match found {
        Ok(at) if level.size.is_zero() => drop(levels.remove(at)),
        Ok(at) => levels[at] = level,
        Err(_) if level.size.is_zero() => {}
        Err(at) => levels.insert(at, level),
    }
}

fn fill(levels: &mut Vec<Level>, given: &[Level], side: BookSide) {
    levels.clear();
    // Room for a few more: there are many books, and inserting into a full vector would double it.
    levels.reserve_exact(given.len() + given.len() / 4 + 1);
    levels.extend_from_slice(given);
    let ascending = |pair: &[Level]| order(side, pair[0].price, pair[1].price) == Ordering::Less;
    let descending = |pair: &[Level]| order(side, pair[0].price, pair[1].price) == Ordering::Greater;
    if levels.windows(2).all(descending) {
        levels.reverse();
    } else if !levels.windows(2).all(ascending) {
        // Stable, so that the last of several levels with one price is also the last of its run.
        levels.sort_by(|a, b| order(side, a.price, b.price));
        levels.reverse();
        levels.dedup_by(|later, kept| later.price == kept.price);
        levels.reverse();
    }
    levels.retain(|level| !level.size.is_zero());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn number(mantissa: i128, scale: u32) -> Decimal {
        Decimal::new(mantissa, scale).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Apply(BookSide, Level),
        Add(BookSide, Decimal, Decimal),
        Truncate(usize),
        Replace(Vec<Level>, Vec<Level>),
        Clear,
    }

    /// Few prices, so that they meet; several scales, so that equal values have different digits.
    fn price() -> impl Strategy<Value = Decimal> {
        (-5_i128..40, 0_u32..2).prop_map(|(value, zeros)| number(value * 10_i128.pow(zeros), 1 + zeros))
    }

    fn level() -> impl Strategy<Value = Level> {
        (price(), 0_i128..4).prop_map(|(price, size)| Level { price, size: number(size, 3) })
    }

    fn side() -> impl Strategy<Value = BookSide> {
        prop_oneof![Just(BookSide::Bid), Just(BookSide::Ask)]
    }

    fn step() -> impl Strategy<Value = Step> {
        let levels = || prop::collection::vec(level(), 0..30);
        prop_oneof![
            20 => (side(), level()).prop_map(|(side, level)| Step::Apply(side, level)),
            10 => (side(), price(), -3_i128..4).prop_map(|(s, p, c)| Step::Add(s, p, number(c, 3))),
            2 => (0_usize..20).prop_map(Step::Truncate),
            1 => (levels(), levels()).prop_map(|(bids, asks)| Step::Replace(bids, asks)),
            1 => Just(Step::Clear),
        ]
    }

    /// The obvious book: a map a side, by price.
    #[derive(Default)]
    struct Model([BTreeMap<Decimal, Level>; 2]);

    impl Model {
        fn apply(&mut self, side: BookSide, level: Level) {
            let map = &mut self.0[side as usize];
            map.remove(&level.price);
            if !level.size.is_zero() {
                map.insert(level.price, level);
            }
        }

        fn step(&mut self, step: &Step) {
            match step {
                Step::Apply(side, level) => self.apply(*side, *level),
                Step::Add(side, price, change) => {
                    let before = self.0[*side as usize].get(price).map_or(Decimal::ZERO, |level| level.size);
                    let size = before.checked_add(*change).unwrap();
                    if !size.is_negative() {
                        self.apply(*side, Level { price: *price, size });
                    }
                }
                Step::Truncate(depth) => {
                    while self.0[0].len() > *depth {
                        self.0[0].pop_first();
                    }
                    while self.0[1].len() > *depth {
                        self.0[1].pop_last();
                    }
                }
                Step::Replace(bids, asks) => {
                    *self = Self::default();
                    bids.iter().for_each(|level| self.apply(BookSide::Bid, *level));
                    asks.iter().for_each(|level| self.apply(BookSide::Ask, *level));
                }
                Step::Clear => *self = Self::default(),
            }
        }
    }

    fn digits(level: &Level) -> (i128, u32, i128, u32) {
        (level.price.mantissa(), level.price.scale(), level.size.mantissa(), level.size.scale())
    }

    proptest! {
        #[test]
        fn does_what_a_map_does(steps in prop::collection::vec(step(), 0..80)) {
            let (mut book, mut model) = (OrderBook::new(), Model::default());
            for step in &steps {
                match step {
                    Step::Apply(side, level) => book.apply(*side, *level),
                    Step::Add(side, price, change) => drop(book.add(*side, *price, *change)),
                    Step::Truncate(depth) => book.truncate(*depth),
                    Step::Replace(bids, asks) => book.replace(bids, asks),
                    Step::Clear => book.clear(),
                }
                model.step(step);
                let bids: Vec<_> = model.0[0].values().rev().map(digits).collect();
                let asks: Vec<_> = model.0[1].values().map(digits).collect();
                prop_assert_eq!(book.levels(BookSide::Bid).map(digits).collect::<Vec<_>>(), bids);
                prop_assert_eq!(book.levels(BookSide::Ask).map(digits).collect::<Vec<_>>(), asks);
                let crossed = model.0[0].last_key_value().zip(model.0[1].first_key_value());
                prop_assert_eq!(book.is_crossed(), crossed.is_some_and(|((bid, _), (ask, _))| bid >= ask));
            }
        }
    }

    #[test]
    fn a_refused_change_leaves_the_book_alone() {
        let mut book = OrderBook::new();
        book.add(BookSide::Bid, number(5, 1), number(10, 0)).unwrap();
        let before = book.clone();
        assert_eq!(
            book.add(BookSide::Bid, number(5, 1), number(-11, 0)).unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(book, before);
        assert_eq!(book.add(BookSide::Bid, number(5, 1), number(-10, 0)).unwrap(), Decimal::ZERO);
        assert!(book.is_empty());
        assert_eq!(book.quote(), Quote::default());
    }
}
