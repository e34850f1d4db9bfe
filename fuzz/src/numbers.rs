//! Exact numbers, and the book that is kept in them.

use std::collections::BTreeMap;

use ssmd_core::decimal::{SCALE_MAX, TEXT_BYTES_MAX};
use ssmd_core::record::Level;
use ssmd_core::{BookSide, Decimal, OrderBook};

use crate::bound::{Bound, bounded};

/// Two numbers with a space between them.
pub(crate) fn decimal(case: &[u8]) {
    let at = case.iter().position(|byte| *byte == b' ').unwrap_or(case.len());
    let (a, b) = (parsed(&case[..at]), parsed(case.get(at + 1..).unwrap_or_default()));
    let (Some(a), Some(b)) = (a, b) else { return };
    if let Some(sum) = a.checked_add(b) {
        assert_eq!(sum.scale(), a.scale().max(b.scale()), "{a} + {b} = {sum} keeps the digits");
        comes_back(sum.checked_sub(b), a, b);
        assert_eq!(b.checked_add(a), Some(sum));
    }
    if let Some(difference) = a.checked_sub(b) {
        comes_back(difference.checked_add(b), a, b);
        assert_eq!(difference.is_negative(), a < b);
        assert_eq!(difference.is_zero(), a == b);
    }
}

/// What `b` was added to and taken from is `a` again. Where `b` has more digits behind the point, `a` with as many may be
/// too long to be held, and is refused then.
fn comes_back(again: Option<Decimal>, a: Decimal, b: Decimal) {
    match again {
        Some(again) => assert_eq!(again, a, "exact with {b}"),
        None => assert!(a.scale() < b.scale(), "{a} is refused after {b} came and went"),
    }
}

fn parsed(text: &[u8]) -> Option<Decimal> {
    let number = bounded(Bound::PARSER, text.len(), || Decimal::parse(text)).ok()?;
    assert!(text.len() <= TEXT_BYTES_MAX && number.scale() <= SCALE_MAX);
    let printed = number.to_string();
    let again: Decimal = printed.parse().expect("what is printed is read");
    assert_eq!((again.mantissa(), again.scale()), (number.mantissa(), number.scale()), "digit by digit");
    if !text.iter().any(|byte| matches!(byte, b'e' | b'E')) && !number.is_zero() {
        assert_eq!(printed.as_bytes(), text, "plain digits are kept as they are");
    }
    assert!(serde_json::from_slice::<serde_json::Value>(text).is_ok(), "what is read is a JSON number");
    let json = serde_json::to_string(&number).expect("a number is JSON");
    assert_eq!(json, printed);
    let from_json: Decimal = serde_json::from_str(&json).expect("it was written");
    assert_eq!((from_json.mantissa(), from_json.scale()), (number.mantissa(), number.scale()));
    Some(number)
}

/// Steps of four bytes: what happens and on which side, the price, its scale, the size. The plain map has the whole
/// truth, the book the same without what was cut off.
pub(crate) fn book(case: &[u8]) {
    let mut book = OrderBook::new();
    let mut plain: [BTreeMap<Decimal, Decimal>; 2] = [BTreeMap::new(), BTreeMap::new()];
    for step in case.chunks_exact(4) {
        let [what, price, scale, size] = [step[0], step[1], step[2], step[3]].map(u32::from);
        let at = (what & 1) as usize;
        let side = if at == 0 { BookSide::Bid } else { BookSide::Ask };
        let decimal = |digits: u32, scale: u32| Decimal::new(digits.into(), scale % 3).expect("it is small");
        let (price, size) = (decimal(price, scale), decimal(size, scale >> 2));
        match what >> 1 & 7 {
            0..=4 => {
                book.apply(side, Level { price, size });
                plain[at].remove(&price);
                if !size.is_zero() {
                    plain[at].insert(price, size);
                }
            }
            5 => {
                let before = plain[at].get(&price).copied().unwrap_or(Decimal::ZERO);
                let total = book.add(side, price, size).expect("small numbers have a sum");
                assert_eq!(Some(total), before.checked_add(size));
                plain[at].remove(&price);
                if !total.is_zero() {
                    plain[at].insert(price, total);
                }
            }
            6 => {
                let depth = (step[3] % 16) as usize;
                book.truncate(depth);
                plain.iter_mut().enumerate().for_each(|(at, side)| cut(side, at == 0, depth));
            }
            _ => {
                book.clear();
                plain.iter_mut().for_each(BTreeMap::clear);
            }
        }
        same(&book, &plain);
    }
}

/// The best are the highest of the bids and the lowest of the asks.
fn cut(side: &mut BTreeMap<Decimal, Decimal>, bids: bool, depth: usize) {
    while side.len() > depth {
        let worst = if bids { side.pop_first() } else { side.pop_last() };
        assert!(worst.is_some());
    }
}

fn same(book: &OrderBook, plain: &[BTreeMap<Decimal, Decimal>; 2]) {
    let levels = |side| book.levels(side).map(|level| (level.price, level.size)).collect::<Vec<_>>();
    let listed = |(&price, &size): (&Decimal, &Decimal)| (price, size);
    assert_eq!(levels(BookSide::Bid), plain[0].iter().rev().map(listed).collect::<Vec<_>>());
    assert_eq!(levels(BookSide::Ask), plain[1].iter().map(listed).collect::<Vec<_>>());
    assert_eq!(book.is_empty(), plain.iter().all(BTreeMap::is_empty));
    let best = |level: Option<(&Decimal, &Decimal)>| level.map(|(price, _)| *price);
    let quote = book.quote();
    assert_eq!((quote.bid, quote.ask), (best(plain[0].last_key_value()), best(plain[1].first_key_value())));
}
