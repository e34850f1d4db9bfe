//! The check of one book: levels applied in the venue's order, cut to the depth, digits against the checksum.
//!
//! <https://docs.kraken.com/api/docs/guides/spot-ws-book-v2> documents all of it.

use std::num::NonZeroU64;

use ssmd_core::record::{Book, Level};
use ssmd_core::{BookSide, Evidence, OrderBook};

/// The depths that can be subscribed.
pub(super) const DEPTHS: [u32; 5] = [10, 25, 100, 500, 1000];
/// The depth if a request names none.
pub(super) const DEPTH_DEFAULT: u32 = 10;
/// How many levels of a side the checksum covers, whatever the depth.
const CHECKED_LEVELS: usize = 10;

/// The venue's checksum of a book: CRC-32 over the digits of its ten best asks, then of its ten best bids.
///
/// The digits are those of the wire without point and leading zeros, so prices and sizes must have been read with
/// all their digits.
pub fn checksum(book: &OrderBook) -> u32 {
    let mut digits = Digits::default();
    digits.write(book, BookSide::Ask);
    digits.write(book, BookSide::Bid);
    digits.checksum()
}

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There was nothing to check: no snapshot yet, or no checksum.
    Unchecked,
    /// An update came where the snapshot must come that follows a confirmed subscription.
    Unpromised,
    /// The book is the venue's.
    Verified,
    /// It is not; it stays so until the next snapshot.
    Failed {
        /// The checksum of the levels that we have.
        computed: u32,
    },
}

/// One book of one connection.
#[derive(Default)]
pub(super) struct BookAudit {
    book: OrderBook,
    digits: Digits,
    /// Whether a snapshot came and nothing failed since.
    live: bool,
    /// Whether a subscription was confirmed, so that a snapshot must come next.
    promised: bool,
    /// Whether something was wrong, and no checksum was right since: what is wrong now is part of the same gap.
    broken: bool,
    /// The depth that was asked for, or that the venue confirmed.
    asked: Option<u32>,
    /// The depth that the book is cut to.
    depth: Option<u32>,
    /// The last frame whose checksum was right.
    pub(super) good: Option<Evidence>,
}

impl BookAudit {
    /// Takes the depth of a subscription.
    pub(super) fn subscribed(&mut self, depth: u32) {
        self.asked = Some(depth);
    }

    /// The venue has confirmed a subscription. The snapshot may have been faster.
    pub(super) fn confirmed(&mut self) {
        self.promised = !self.live;
    }

    /// Whether something wrong is news, and not part of a gap that was told already.
    pub(super) fn breaks(&mut self) -> bool {
        !std::mem::replace(&mut self.broken, true)
    }

    /// Forgets the levels: what comes next belongs to another subscription.
    pub(super) fn unsubscribed(&mut self) {
        self.live = false;
        self.promised = false;
        self.book.clear();
    }

    /// The depth of what comes now, where it is known.
    pub(super) fn depth(&self) -> Option<u32> {
        if self.live { self.depth } else { self.asked }
    }

    /// Starts anew. The depth is the one asked for, and at least what the snapshot itself shows.
    pub(super) fn snapshot(&mut self, given: &Book) -> Verdict {
        let levels = given.bids.len().max(given.asks.len());
        let shown = DEPTHS.iter().copied().find(|depth| *depth as usize >= levels).unwrap_or(DEPTHS[4]);
        self.depth = Some(self.asked.map_or(shown, |asked| asked.max(shown)));
        self.book.replace(&given.bids, &given.asks);
        self.live = true;
        self.promised = false;
        self.digits.stale = [true; 2];
        self.check(given.checksum)
    }

    /// Changes levels, in the order given: one price may occur twice.
    pub(super) fn update(&mut self, given: &Book) -> Verdict {
        if !self.live {
            let promised = std::mem::take(&mut self.promised);
            return if promised { Verdict::Unpromised } else { Verdict::Unchecked };
        }
        for (side, levels) in [(BookSide::Bid, &given.bids), (BookSide::Ask, &given.asks)] {
            self.digits.stale[side as usize] |= !levels.is_empty();
            levels.iter().for_each(|level| self.book.apply(side, *level));
        }
        self.check(given.checksum)
    }

    fn check(&mut self, said: Option<u32>) -> Verdict {
        self.book.truncate(self.depth.unwrap_or(DEPTHS[4]) as usize);
        let Some(said) = said else { return Verdict::Unchecked };
        for side in [BookSide::Ask, BookSide::Bid] {
            if self.digits.stale[side as usize] {
                self.digits.write(&self.book, side);
            }
        }
        let computed = self.digits.checksum();
        if computed == said {
            self.broken = false;
            return Verdict::Verified;
        }
        self.unsubscribed();
        Verdict::Failed { computed }
    }
}

/// The digits under the checksum. Only those of levels that changed are written again.
#[derive(Default)]
struct Digits {
    sides: [SideDigits; 2],
    stale: [bool; 2],
}

#[derive(Default)]
struct SideDigits {
    text: Vec<u8>,
    levels: Vec<Written>,
}

/// A level whose text is there. Ten thousand books have twenty each.
#[derive(Clone, Copy)]
struct Written {
    /// The mantissas of price and size; none where one does not fit, and is written anew each time.
    mantissas: Option<(NonZeroU64, u64)>,
    /// Where its text ends.
    end: u32,
}

impl Digits {
    fn write(&mut self, book: &OrderBook, side: BookSide) {
        self.sides[side as usize].write(book.levels(side).take(CHECKED_LEVELS));
        self.stale[side as usize] = false;
    }

    fn checksum(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.sides[BookSide::Ask as usize].text);
        crc.update(&self.sides[BookSide::Bid as usize].text);
        crc.finalize()
    }
}

impl SideDigits {
    fn write<'a>(&mut self, levels: impl Iterator<Item = &'a Level>) {
        let (mut count, mut start) = (0, 0);
        for level in levels {
            let mantissas = short(level);
            match self.levels.get(count) {
                Some(old) if mantissas.is_some() && old.mantissas == mantissas => start = old.end as usize,
                _ => start = self.change(count, start, level, mantissas),
            }
            count += 1;
        }
        self.levels.truncate(count);
        self.text.truncate(start);
    }

    /// Writes one level's text in its place if it is as long as what stands there; else at the end, behind which
    /// all levels are written anew. Gives where the text ends.
    fn change(
        &mut self,
        at: usize,
        start: usize,
        level: &Level,
        mantissas: Option<(NonZeroU64, u64)>,
    ) -> usize {
        let mut text = Text::default();
        text.push(level.size.mantissa());
        text.push(level.price.mantissa());
        let end = start + text.as_bytes().len();
        let written = Written { mantissas, end: end as u32 };
        if self.levels.get(at).is_some_and(|level| level.end == written.end) {
            self.text[start..end].copy_from_slice(text.as_bytes());
            self.levels[at] = written;
        } else {
            self.text.truncate(start);
            self.text.extend_from_slice(text.as_bytes());
            self.levels.truncate(at);
            if self.levels.capacity() == 0 {
                self.levels.reserve_exact(CHECKED_LEVELS);
            }
            self.levels.push(written);
        }
        end
    }
}

/// What tells a level from another, for the prices and sizes that there are.
fn short(level: &Level) -> Option<(NonZeroU64, u64)> {
    let price = u64::try_from(level.price.mantissa()).ok().and_then(NonZeroU64::new)?;
    Some((price, u64::try_from(level.size.mantissa()).ok()?))
}

/// The text of a level, written from its end: without point and leading zeros, the digits of a number are those of
/// its mantissa.
struct Text {
    bytes: [u8; LEVEL_DIGITS_MAX],
    at: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; LEVEL_DIGITS_MAX], at: LEVEL_DIGITS_MAX }
    }
}

impl Text {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Puts a number before what is there.
    fn push(&mut self, mantissa: i128) {
        let Ok(mut rest) = u64::try_from(mantissa) else {
            let text = mantissa.to_string();
            self.at -= text.len();
            self.bytes[self.at..self.at + text.len()].copy_from_slice(text.as_bytes());
            return;
        };
        while rest >= 100 {
            let pair = (rest % 100) as usize * 2;
            rest /= 100;
            self.at -= 2;
            self.bytes[self.at..self.at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        }
        if rest >= 10 {
            self.digit(rest % 10);
            rest /= 10;
        }
        self.digit(rest);
    }

    fn digit(&mut self, digit: u64) {
        self.at -= 1;
        self.bytes[self.at] = b'0' + digit as u8;
    }
}

/// Two mantissas of 96 bits, with signs.
const LEVEL_DIGITS_MAX: usize = 2 * 30;
/// `00` to `99`.
const PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[number * 2] = b'0' + (number / 10) as u8;
        pairs[number * 2 + 1] = b'0' + (number % 10) as u8;
        number += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ssmd_core::Decimal;

    use super::*;

    fn levels(text: &str) -> Vec<Level> {
        let level = |pair: &str| {
            let (price, size) = pair.split_once(' ').unwrap();
            Level { price: price.parse().unwrap(), size: size.parse().unwrap() }
        };
        text.split(", ").map(level).collect()
    }

    #[test]
    fn the_documented_example_has_the_documented_checksum() {
        let asks = "45285.2 0.00100000, 45286.4 1.54571953, 45286.6 1.54571109, 45289.6 1.54560911, \
                    45290.2 0.15890660, 45291.8 1.54553491, 45294.7 0.04454749, 45296.1 0.35380000, \
                    45297.5 0.09945542, 45299.5 0.18772827";
        let bids = "45283.5 0.10000000, 45283.4 1.54582015, 45282.1 0.10000000, 45281.0 0.10000000, \
                    45280.3 1.54592586, 45279.0 0.07990000, 45277.6 0.03310103, 45277.5 0.30000000, \
                    45277.3 1.54602737, 45276.6 0.15445238";
        let mut book = OrderBook::new();
        book.replace(&levels(bids), &levels(asks));
        assert_eq!(checksum(&book), 3_310_070_434);
    }

    #[test]
    fn levels_pushed_out_of_the_depth_are_cut() {
        let mut audit = BookAudit::default();
        audit.subscribed(10);
        let bids: Vec<_> = (0..10).map(|at| format!("{}.0 1.0", 20 - at)).collect();
        let snapshot = Book { bids: levels(&bids.join(", ")), ..Book::default() };
        assert_eq!(audit.snapshot(&snapshot), Verdict::Unchecked);
        audit.update(&Book { bids: levels("21.0 1.0"), ..Book::default() });
        audit.update(&Book { bids: levels("21.0 0.0"), ..Book::default() });
        assert_eq!(audit.book.depth(BookSide::Bid), 9);
    }

    proptest! {
        #[test]
        fn digits_are_those_of_the_mantissas(small in any::<u64>(), large in -(1_i128 << 95)..1_i128 << 95) {
            for (price, size) in [(i128::from(small), large), (large, i128::from(small) % 1000), (0, large)] {
                let mut text = Text::default();
                text.push(size);
                text.push(price);
                prop_assert_eq!(std::str::from_utf8(text.as_bytes()).unwrap(), format!("{price}{size}"));
            }
        }

        #[test]
        fn what_is_kept_of_the_digits_equals_what_would_be_written_anew(
            changes in prop::collection::vec((any::<bool>(), 90_i128..115, 0_i128..3, 1_u32..26), 1..80)
        ) {
            let (mut book, mut digits) = (OrderBook::new(), Digits::default());
            for (is_bid, price, size, length) in changes {
                let side = if is_bid { BookSide::Bid } else { BookSide::Ask };
                let size = Decimal::new(size * 10_i128.pow(length), 8).unwrap();
                book.apply(side, Level { price: Decimal::new(price, 1).unwrap(), size });
                digits.write(&book, side);
                prop_assert_eq!(digits.checksum(), checksum(&book));
                let mut anew = Digits::default();
                anew.write(&book, side);
                prop_assert_eq!(&digits.sides[side as usize].text, &anew.sides[side as usize].text);
            }
        }
    }
}
