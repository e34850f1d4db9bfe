//! The check of one token's book: levels applied in the venue's order, best prices and the venue's hash against them.
//!
//! Changes of one millisecond are told one after another, and each carries the hash of the book after the last of
//! them. So a claim that does not hold is a suspicion until the next message of the token: only then is it known
//! whether the millisecond was over.

use std::time::Duration;

use ssmd_core::record::Level;
use ssmd_core::{BookSide, Decimal, Evidence, OrderBook, Symbol};

use super::hash::{self, Begun, FORMS, Form, Hash};
use super::rest::{Claims, RestBook};
use super::wire::LastPrice;

/// Prices of last trades that are tried, the latest first.
const LAST_PRICES_MAX: usize = 4;
/// Digits after the point of a last trade's price, at least.
const LAST_PRICE_SCALE: u32 = 3;
/// Prices of what one millisecond may have traded, for each token: a sweep of more levels is found by trying every price.
const TRADED_MAX: usize = 64;
/// Every price of a last trade there can be, in thousandths.
const LAST_PRICES: std::ops::RangeInclusive<i128> = 0..=1000;

/// What the hash of a book holds beside its levels: the same for all tokens of a market.
pub(super) struct Market {
    /// The condition that it is about.
    pub(super) name: String,
    /// Known once a hash was right.
    form: Option<Form>,
    /// The step of prices now and before, where it was told.
    ticks: [Option<Decimal>; 2],
    /// What the last trade's price may be, the likeliest first; `None` where nothing was traded.
    last_prices: Vec<Option<Decimal>>,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There was nothing to check against.
    Unchecked,
    /// The book is the venue's.
    Verified,
    /// It is not.
    Failed,
}

impl Market {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), form: None, ticks: [None; 2], last_prices: Vec::new() }
    }

    /// A book that was asked for says it.
    pub(super) fn told(&mut self, tick: Option<Decimal>, last: LastPrice) {
        if let Some(tick) = tick {
            self.tick(tick);
        }
        match last {
            LastPrice::Untold => {}
            LastPrice::Never => self.likely(None),
            LastPrice::Price(price) => self.likely(Some(price)),
        }
    }

    /// Prices have this step now.
    pub(super) fn tick(&mut self, tick: Decimal) {
        let same = |known: Decimal| known == tick && known.scale() == tick.scale();
        if !self.ticks[0].is_some_and(same) {
            self.ticks = [Some(tick), self.ticks[0]];
        }
    }

    /// Something was traded at this price.
    pub(super) fn traded(&mut self, price: Decimal) {
        self.likely(Some(at_scale(price)));
    }

    fn likely(&mut self, last: Option<Decimal>) {
        let at = self.last_prices.iter().position(|known| *known == last);
        if at == Some(0) {
            return;
        }
        if let Some(at) = at {
            self.last_prices.remove(at);
        }
        self.last_prices.insert(0, last);
        self.last_prices.truncate(LAST_PRICES_MAX);
    }

    /// Whether `said` is the hash of the book that was begun. A last trade may have had one of the prices `also`, of
    /// this token or of its opposite, or, if `any`, every price.
    fn verify(&mut self, begun: &Begun, said: Hash, also: &[Decimal], any: bool) -> Verdict {
        let ([Some(tick), _], Some(_)) = (self.ticks, said.0) else { return Verdict::Unchecked };
        let fits = |form: Form, tick: Decimal, last| begun.finish(form, tick, last) == said;
        let known = self.last_prices.iter().copied();
        let Some(form) = self.form else {
            for last in known {
                if let Some(form) = FORMS.into_iter().find(|form| fits(*form, tick, last)) {
                    self.form = Some(form);
                    return Verdict::Verified;
                }
            }
            return Verdict::Unchecked;
        };
        let opposite = |price: Decimal| Decimal::new(1, 0).ok()?.checked_sub(price);
        let also = also.iter().flat_map(|price| [Some(*price), opposite(*price)]).flatten().map(at_scale);
        let all = LAST_PRICES.filter(|_| any).filter_map(|n| Decimal::new(n, LAST_PRICE_SCALE).ok());
        let likely = known.chain(also.map(Some));
        let mut found = likely.chain(all.map(Some)).find(|last| fits(form, tick, *last));
        if found.is_none() && any {
            // Nothing was traded yet, or the step has just changed.
            let before = self.ticks[1].unwrap_or(tick);
            let once = std::iter::once(None).chain(self.last_prices.iter().copied());
            found = once.into_iter().find(|last| fits(form, before, *last) || fits(form, tick, *last));
        }
        match found {
            Some(last) => {
                self.likely(last);
                Verdict::Verified
            }
            None => Verdict::Failed,
        }
    }
}

/// The price as books tell it: with three digits after the point at least.
fn at_scale(price: Decimal) -> Decimal {
    let missing = LAST_PRICE_SCALE.saturating_sub(price.scale());
    Decimal::new(price.mantissa() * 10_i128.pow(missing), price.scale() + missing).unwrap_or(price)
}

/// What the venue says of a book after a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    /// When.
    pub(super) millis: Option<u64>,
    pub(super) hash: Hash,
    /// The best prices; the inner `None` is a side without levels, the outer one that it does not say.
    pub(super) bests: [Option<Option<Decimal>>; 2],
}

impl Claim {
    /// Whether the best prices are those of the book, where they are said.
    fn agrees(&self, book: &OrderBook) -> Option<bool> {
        let agrees = |side: BookSide| {
            let said = self.bests[side as usize]?;
            Some(said == book.best(side).map(|level| level.price))
        };
        match (agrees(BookSide::Bid), agrees(BookSide::Ask)) {
            (Some(bid), Some(ask)) => Some(bid && ask),
            (one, other) => one.or(other),
        }
    }
}

/// A claim that did not hold yet.
struct Suspicion {
    since: Duration,
    /// Whether a hash was not the book's, and not only best prices.
    by_hash: bool,
    claim: Claim,
    /// The first frame of the millisecond that did not hold.
    seen: Evidence,
}

/// One token of one connection.
pub(super) struct Token {
    pub(super) symbol: Symbol,
    /// Where its market is; none until a message names it.
    pub(super) market: usize,
    /// The step of its prices that was told last.
    pub(super) tick: Option<Decimal>,
    /// The last frame after which its book was the venue's, and the hash that said so.
    pub(super) good: Option<(Evidence, Hash)>,
    book: OrderBook,
    /// Whether a book came and nothing failed since.
    live: bool,
    /// Whether something was wrong, and nothing was right since: what is wrong now is part of the same gap.
    broken: bool,
    /// The last book: what is told behind it and happened before is in it.
    floor: (u64, Hash),
    /// When its hash was computed last.
    checked: Option<Duration>,
    /// Levels that were changed since.
    changes: usize,
    /// When it was left, if it was not asked for since.
    left: Option<Duration>,
    suspicion: Option<Suspicion>,
    /// Prices at which something may have been traded in the millisecond that was told last: one trade may change
    /// several levels, each in a message of its own.
    traded: Vec<Decimal>,
    /// Which one that is.
    traded_in: Option<u64>,
    /// What the venue said of it lately.
    pub(super) claims: Claims,
    /// What REST said of it, until the socket has come as far.
    pub(super) rest: Option<RestBook>,
}

/// How soon a token must be asked for again that was left, for a book to be one that goes on.
const CYCLE_MAX: Duration = Duration::from_secs(1);
/// How often hashes are computed that are sampled, at most,
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// at most once for one change of so many levels, since a hash takes as long as its levels are many,
const SAMPLE_LEVELS: usize = 4;
/// and at least, where levels change.
const SAMPLE_MAX: Duration = Duration::from_secs(5);

impl Token {
    pub(super) fn new(symbol: Symbol, market: usize) -> Self {
        Self {
            symbol,
            market,
            tick: None,
            good: None,
            book: OrderBook::new(),
            live: false,
            broken: false,
            floor: (0, Hash(None)),
            checked: None,
            changes: 0,
            left: None,
            suspicion: None,
            traded: Vec::new(),
            traded_in: None,
            claims: Claims::default(),
            rest: None,
        }
    }

    /// We have left it.
    pub(super) fn leave(&mut self, now: Duration) {
        self.left = Some(now);
    }

    /// We have asked for it; says whether it had been left for so long that what comes next begins anew.
    pub(super) fn ask(&mut self, now: Duration) -> bool {
        self.left.take().is_some_and(|left| now.saturating_sub(left) > CYCLE_MAX)
    }

    /// Whether it may be forgotten: it was left for good, or never had a book, as the other token of a market that was
    /// not asked for; and nothing about it is undecided.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        let over = match self.left {
            Some(left) => now.saturating_sub(left) > CYCLE_MAX,
            None => !self.live && !self.broken && self.floor == (0, Hash(None)),
        };
        over && self.suspicion.is_none() && self.rest.is_none()
    }

    /// Forgets the levels: what comes next begins anew.
    pub(super) fn forget(&mut self) {
        self.live = false;
        self.suspicion = None;
        self.book.clear();
    }

    /// The levels, if they are the venue's as far as is known.
    pub(super) fn levels(&self) -> Option<&OrderBook> {
        (self.live && self.left.is_none()).then_some(&self.book)
    }

    /// Whether a message of that time is contained in the last book. Those of its own millisecond are if they lead to
    /// the same state.
    pub(super) fn contains(&self, millis: Option<u64>, hash: Hash) -> bool {
        let (floor, last) = self.floor;
        millis.is_some_and(|millis| millis < floor || (millis == floor && hash.0.is_some() && hash == last))
    }

    /// Takes a whole book, and says whether its hash is that of its levels.
    pub(super) fn replace(
        &mut self,
        market: &mut Market,
        levels: (&[Level], &[Level]),
        claim: Claim,
        text: &mut Vec<u8>,
    ) -> Verdict {
        self.begin(claim.millis);
        self.traded.extend(best_prices(&self.book));
        self.book.replace(levels.0, levels.1);
        self.traded.extend(best_prices(&self.book));
        self.live = true;
        self.left = None;
        self.suspicion = None;
        self.floor = (claim.millis.unwrap_or(0), claim.hash);
        let verdict = self.hash(market, &claim, true, text);
        if verdict == Verdict::Unchecked {
            self.broken = false;
        }
        verdict
    }

    /// A message of that time begins.
    pub(super) fn begin(&mut self, millis: Option<u64>) {
        if millis.is_none() || millis != self.traded_in {
            self.traded.clear();
            self.traded_in = millis;
        }
    }

    /// Changes one level. Where the size falls, something may have been traded.
    pub(super) fn apply(&mut self, side: BookSide, level: Level) {
        self.changes += 1;
        let falls = self.live && self.book.set(side, level).is_some_and(|before| level.size < before);
        if falls && self.traded.len() < TRADED_MAX {
            self.traded.push(level.price);
        }
    }

    /// Whether its hash is due, if hashes are sampled.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let Some(checked) = self.checked else { return true };
        let since = now.saturating_sub(checked);
        let levels = self.book.depth(BookSide::Bid) + self.book.depth(BookSide::Ask);
        since >= SAMPLE_MAX || (since >= SAMPLE_EVERY && self.changes * SAMPLE_LEVELS >= levels)
    }

    /// Holds the book against what the venue says of it. What does not hold is suspected from now on; says whether
    /// that is new.
    pub(super) fn check(
        &mut self,
        market: &mut Market,
        claim: Claim,
        now: Duration,
        due: bool,
        seen: impl FnOnce() -> Evidence,
        text: &mut Vec<u8>,
    ) -> (Verdict, bool) {
        if !self.live {
            return (Verdict::Unchecked, false);
        }
        let agrees = claim.agrees(&self.book);
        let mut verdict = Verdict::Unchecked;
        let suspected = self.suspicion.as_ref().is_some_and(|known| known.by_hash || agrees.is_none());
        // Where best prices differ, levels of the same millisecond are still to come, or the hash will show it then.
        if agrees != Some(false) && (due || suspected) {
            if due {
                (self.checked, self.changes) = (Some(now), 0);
            }
            verdict = self.hash(market, &claim, false, text);
        }
        match (verdict, agrees) {
            (Verdict::Verified, _) => self.suspicion = None,
            (Verdict::Unchecked, Some(true)) => {
                verdict = Verdict::Verified;
                self.suspicion = None;
            }
            (Verdict::Failed, _) | (Verdict::Unchecked, Some(false)) => {
                let news = self.suspicion.is_none();
                let failed = verdict == Verdict::Failed;
                self.suspicion = Some(match self.suspicion.take() {
                    Some(before) => Suspicion { claim, by_hash: before.by_hash || failed, ..before },
                    None => Suspicion { since: now, by_hash: failed, claim, seen: seen() },
                });
                return (Verdict::Unchecked, news);
            }
            (Verdict::Unchecked, None) => {}
        }
        (verdict, false)
    }

    /// Whether it is suspected since then, and not since a later time.
    pub(super) fn is_suspected_since(&self, time: Duration) -> bool {
        self.suspicion.as_ref().is_some_and(|suspicion| suspicion.since == time)
    }

    /// Decides a suspicion, if there is one and the millisecond is over, that is, if the next message is of another
    /// one. `None` if there was nothing wrong.
    pub(super) fn confirm(
        &mut self,
        market: &mut Market,
        next: Option<u64>,
        text: &mut Vec<u8>,
    ) -> Option<Failure> {
        let over = |suspicion: &mut Suspicion| next.is_none() || suspicion.claim.millis != next;
        let Suspicion { claim, seen, .. } = self.suspicion.take_if(over)?;
        let verdict = match self.hash(market, &claim, true, text) {
            Verdict::Unchecked if claim.agrees(&self.book) == Some(false) => Verdict::Failed,
            verdict => verdict,
        };
        if verdict == Verdict::Verified {
            self.good = Some((seen, claim.hash));
            return None;
        }
        if verdict == Verdict::Unchecked {
            return None;
        }
        let detail = match claim.agrees(&self.book) {
            Some(false) => "the best prices are not those that the venue says".to_owned(),
            _ => format!("the levels do not give the hash {}", claim.hash),
        };
        self.forget();
        Some(Failure { seen, hash: claim.hash, detail })
    }

    /// Whether something wrong is news, and not part of a gap that was told already.
    pub(super) fn breaks(&mut self) -> bool {
        !std::mem::replace(&mut self.broken, true)
    }

    fn hash(&mut self, market: &mut Market, claim: &Claim, any: bool, text: &mut Vec<u8>) -> Verdict {
        let Some(millis) = claim.millis.filter(|_| claim.hash.0.is_some()) else { return Verdict::Unchecked };
        let begun = hash::begin(&market.name, self.symbol.as_str(), millis, &self.book, text);
        let verdict = market.verify(&begun, claim.hash, &self.traded, any);
        self.broken &= verdict != Verdict::Verified;
        verdict
    }
}

fn best_prices(book: &OrderBook) -> impl Iterator<Item = Decimal> {
    let best = [BookSide::Bid, BookSide::Ask].map(|side| book.best(side));
    best.into_iter().flatten().map(|level| level.price)
}

/// A book that is not the venue's.
pub(super) struct Failure {
    /// Where it showed.
    pub(super) seen: Evidence,
    /// What the venue said there.
    pub(super) hash: Hash,
    pub(super) detail: String,
}
