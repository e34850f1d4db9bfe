//! The books of one connection. The venue tells changes of sizes, records tell new sizes: so every book is kept, and
//! what would make a size negative, or has nothing to change, shows that something was lost.

use std::time::Duration;

use ssmd_core::name::SYMBOL_BYTES_MAX;
use ssmd_core::record::{Book, Level};
use ssmd_core::{BookSide, Decimal, OrderBook, Symbol, Timestamp};

use crate::decoding::BySymbol;

/// More books on one connection are hostile, or closed long ago.
const BOOKS_MAX: usize = 100_000;
/// A broken book whose request was lost on the way is asked for again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Every book of a connection.
#[derive(Default)]
pub(super) struct Books(BySymbol<Market>);

struct Market {
    symbol: Symbol,
    sid: Option<u64>,
    state: State,
    book: OrderBook,
}

#[derive(Clone, Copy)]
enum State {
    /// As the venue has it.
    Live,
    /// Something is missing; a snapshot was asked for.
    Broken { asked: Timestamp },
}

/// What a change did.
pub(super) enum Change {
    /// There is so much at this price now.
    Done(Symbol, Decimal),
    /// It shows that something is missing, for this reason.
    Breaks(Symbol, &'static str),
    /// The book is broken, and was told so.
    Ignored,
    /// The same, and it is time to ask for it again.
    Overdue(Symbol),
}

impl Books {
    /// Whether a book of that name can be kept; to be asked before anything is remembered of its frame.
    ///
    /// # Errors
    /// Words, for a name that can be none and for too many books.
    pub(super) fn check(&mut self, name: &str) -> Result<(), String> {
        let has_room = self.0.len() < BOOKS_MAX && (1..=SYMBOL_BYTES_MAX).contains(&name.len());
        if has_room || self.0.contains_key(name) {
            return Ok(());
        }
        self.symbol(name).map(drop)
    }

    /// Takes a snapshot; gives the market's name.
    ///
    /// # Errors
    /// Words, for a name that can be none and for too many books.
    pub(super) fn replace(&mut self, name: &str, sid: Option<u64>, book: &Book) -> Result<Symbol, String> {
        let symbol = self.symbol(name)?;
        let market = self.0.entry(symbol.clone()).or_insert_with(|| Market::new(symbol.clone()));
        market.sid = sid;
        market.state = State::Live;
        market.book.replace(&book.bids, &book.asks);
        Ok(symbol)
    }

    /// Takes a change.
    ///
    /// # Errors
    /// Words, for a name that can be none and for too many books.
    pub(super) fn change(
        &mut self,
        name: &str,
        sid: Option<u64>,
        (side, price, change): (BookSide, Decimal, Decimal),
        now: Timestamp,
    ) -> Result<Change, String> {
        let Some(market) = self.0.get_mut(name) else {
            let symbol = self.symbol(name)?;
            let state = State::Broken { asked: now };
            let broken = Market { symbol: symbol.clone(), sid, state, book: OrderBook::new() };
            self.0.insert(symbol.clone(), broken);
            return Ok(Change::Breaks(symbol, "a change of a book that nobody has told"));
        };
        let symbol = market.symbol.clone();
        if let State::Broken { asked } = &mut market.state {
            if now.since(*asked) < ASK_AGAIN {
                return Ok(Change::Ignored);
            }
            *asked = now;
            return Ok(Change::Overdue(symbol));
        }
        match market.book.add(side, price, change) {
            Ok(size) => Ok(Change::Done(symbol, size)),
            Err(_) => {
                market.state = State::Broken { asked: now };
                Ok(Change::Breaks(symbol, "a change would leave less than nothing"))
            }
        }
    }

    /// Something is missing in a subscription: every book of it is broken but `spared`, which has just begun anew.
    /// Gives those that were whole, in order.
    pub(super) fn break_all(&mut self, sid: u64, spared: Option<&str>, now: Timestamp) -> Vec<Symbol> {
        let mut broken = Vec::new();
        for (symbol, market) in &mut self.0 {
            let is_whole = matches!(market.state, State::Live) && market.sid == Some(sid);
            if is_whole && spared != Some(symbol.as_str()) {
                market.state = State::Broken { asked: now };
                broken.push(symbol.clone());
            }
        }
        broken.sort();
        broken
    }

    /// Markets that a subscription has left: their books, if it is the one of books.
    pub(super) fn forget(&mut self, sid: u64, names: &[String]) {
        for name in names {
            if self.0.get(name.as_str()).is_some_and(|market| market.sid.is_none_or(|of| of == sid)) {
                self.0.remove(name.as_str());
            }
        }
    }

    /// Every book of a subscription that is over.
    pub(super) fn forget_all(&mut self, sid: u64) {
        self.0.retain(|_, market| market.sid != Some(sid));
    }

    fn symbol(&mut self, name: &str) -> Result<Symbol, String> {
        if let Some((symbol, _)) = self.0.get_key_value(name) {
            return Ok(symbol.clone());
        }
        if self.0.len() >= BOOKS_MAX {
            // Markets that have closed have empty books.
            self.0.retain(|_, market| !market.book.is_empty());
            if self.0.len() >= BOOKS_MAX {
                return Err(format!("more than {BOOKS_MAX} books"));
            }
        }
        Symbol::new(name).map_err(|error| error.to_string())
    }
}

impl Market {
    fn new(symbol: Symbol) -> Self {
        Self { symbol, sid: None, state: State::Live, book: OrderBook::new() }
    }
}

/// Puts the best level first.
pub(super) fn best_first(levels: &mut [Level], side: BookSide) {
    // The venue has the best level last, so mostly this is all there is to do.
    levels.reverse();
    let in_order = |a: &Level, b: &Level| match side {
        BookSide::Bid => a.price >= b.price,
        BookSide::Ask => a.price <= b.price,
    };
    if levels.is_sorted_by(in_order) {
        return;
    }
    levels.sort_by(|a, b| match side {
        BookSide::Bid => b.price.cmp(&a.price),
        BookSide::Ask => a.price.cmp(&b.price),
    });
}
