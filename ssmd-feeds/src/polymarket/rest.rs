//! A token's book held against the one that REST tells.
//!
//! REST is ahead of the socket or behind it. Behind, the hash of that moment is compared, which the venue said then;
//! ahead, the levels are, once the socket has come as far or nothing was heard for too long. What can be compared in
//! neither way is not judged.

use std::collections::VecDeque;
use std::time::Duration;

use ssmd_core::record::Audit;
use ssmd_core::{Body, BookSide, OrderBook};

use super::hash::{self, Form, Hash};
use super::wire::{Book, RestOnly, best_first};

/// Moments that are remembered of each token: a second of a very busy one.
const CLAIMS_MAX: usize = 32;
/// How long the socket may take to come as far as REST is.
pub(super) const LATE_MAX: Duration = Duration::from_secs(5);

/// What the venue said lately of one token's book: the last hash of each millisecond.
#[derive(Default)]
pub(super) struct Claims(VecDeque<(u64, Hash)>);

impl Claims {
    /// It said this.
    pub(super) fn heard(&mut self, millis: Option<u64>, hash: Hash) {
        let Some(millis) = millis else { return };
        match self.0.back_mut() {
            Some((last, known)) if *last == millis => *known = hash,
            Some((last, _)) if *last > millis => {}
            _ => {
                if self.0.len() == CLAIMS_MAX {
                    self.0.pop_front();
                }
                self.0.push_back((millis, hash));
            }
        }
    }

    /// Its hash of that millisecond.
    fn at(&self, millis: u64) -> Option<Hash> {
        self.0.iter().rev().find(|(at, _)| *at == millis).map(|(_, hash)| *hash)
    }

    /// Whether something that happened later was told.
    fn is_past(&self, millis: u64) -> bool {
        self.0.back().is_some_and(|(last, _)| *last > millis)
    }
}

/// What REST says of one token's book.
pub(super) struct RestBook {
    /// When that was the book.
    pub(super) millis: u64,
    /// When it was received.
    pub(super) received: Duration,
    hash: Hash,
    book: OrderBook,
    /// Whether its levels give its hash; `None` where the form of the hash is not known.
    is_right: Option<bool>,
}

impl RestBook {
    /// Reads it. `None` if it says no time.
    pub(super) fn new(
        said: &Book<'_>,
        only: &RestOnly<'_>,
        received: Duration,
        text: &mut Vec<u8>,
    ) -> Option<Self> {
        let millis = said.timestamp.0?;
        let mut book = OrderBook::new();
        book.replace(&best_first(&said.bids), &best_first(&said.asks));
        let form = Form::of(&only.min_order_size, only.neg_risk);
        let is_right = form.zip(said.tick_size).filter(|_| said.hash.0.is_some()).map(|(form, tick)| {
            let begun = hash::begin(&said.market, &said.asset_id, millis, &book, text);
            begun.finish(form, tick, said.last_trade_price.price()) == said.hash
        });
        Some(Self { millis, received, hash: said.hash, book, is_right })
    }

    /// Whether our book is another than the venue's, and what was found. `None` if that cannot be said, or will be
    /// once it is `late`.
    pub(super) fn compare(&self, here: &OrderBook, claims: &Claims, late: bool) -> Option<(bool, Body)> {
        if self.is_right == Some(false) {
            return Some((false, found(format!("the levels of REST do not give its hash {}", self.hash))));
        }
        let claimed = claims.at(self.millis).filter(|claimed| claimed.0.is_some() && self.hash.0.is_some());
        match claimed {
            Some(claimed) if claimed == self.hash => Some((false, self.equal())),
            Some(claimed) => {
                Some((true, found(format!("REST has the hash {}, the socket had {claimed}", self.hash))))
            }
            None if claims.is_past(self.millis) => None,
            None if *here == self.book => Some((false, self.equal())),
            None => late.then(|| (true, self.difference(here))),
        }
    }

    fn equal(&self) -> Body {
        let levels = |side| self.book.depth(side);
        found(format!("equal: {} bids, {} asks", levels(BookSide::Bid), levels(BookSide::Ask)))
    }

    fn difference(&self, here: &OrderBook) -> Body {
        let count = |side| {
            let missing =
                self.book.levels(side).filter(|level| here.size(side, level.price) != Some(level.size));
            let more = here.levels(side).filter(|level| self.book.size(side, level.price).is_none());
            missing.count() + more.count()
        };
        let (bids, asks) = (count(BookSide::Bid), count(BookSide::Ask));
        found(format!("REST has other levels: {bids} bids and {asks} asks differ"))
    }
}

fn found(found: String) -> Body {
    Body::Audit(Audit { check: "rest_book".to_owned(), found })
}
