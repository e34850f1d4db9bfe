//! A quick yes for compact JSON: 62 bytes at a time, as sets of places instead of one token after the other.
//!
//! Each class of bytes (quotes, digits, brackets …) is a word of 64 bits, a bit a place. What may stand behind what
//! is then a shift and a comparison for all places at once; the only loop is over brackets, since what a comma
//! means depends on the bracket around it. Frames come compact, so this is the usual way; whatever it does not know
//! (white space between tokens, escapes, exponents, deep nesting) is left to the scan, as is everything wrong.

use std::sync::LazyLock;

use fearless_simd::prelude::*;
use fearless_simd::{Level, Simd, dispatch, u8x64};

/// Places that are looked at together.
const BLOCK: usize = 64;
/// How many of them are the last ones of the block before: as far back as a rule looks.
const BEHIND: usize = 2;
/// The other places.
const NEW: u64 = u64::MAX << BEHIND;
/// The first of them.
const FIRST: u64 = 1 << BEHIND;
/// The brackets around the root: none, under a mark that shows how many there are.
const ROOT: u64 = 1;

/// What this processor can do.
static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);

/// Whether `text` is an object or an array that is surely JSON, in UTF-8 and without control characters. `false`
/// means that it has to be looked at more closely.
pub(super) fn is_surely_value(text: &[u8]) -> bool {
    matches!(text, [b'{' | b'[', ..]) && dispatch!(*LEVEL, simd => scan(simd, text))
}

#[inline(always)]
fn scan<S: Simd>(simd: S, text: &[u8]) -> bool {
    let mut short = [0; BLOCK];
    let bytes = match short.get_mut(..text.len()) {
        Some(copy) => {
            copy.copy_from_slice(text);
            &short[..]
        }
        None => text,
    };
    let mut state = State { objects: ROOT, ..State::default() };
    let mut seen: u8x64<S> = [0; BLOCK].simd_into(simd);
    // How much of the text has been looked at.
    let mut done = 0;
    while done < text.len() {
        // The first block begins before the text, and the last one may end behind it: they lie beside their places.
        let from = done.saturating_sub(BEHIND).min(bytes.len() - BLOCK);
        let Some(block) = bytes[from..].first_chunk::<BLOCK>() else { return false };
        let block: u8x64<S> = (*block).simd_into(simd);
        seen |= block;
        let mut places = Places::of(block);
        let beside = done.abs_diff(from + BEHIND);
        if done == 0 {
            places = places.each(|places| places << beside);
            // At its beginning a value may stand, as behind a colon.
            places.colon |= FIRST >> 1;
        } else if beside > 0 {
            places = places.each(|places| places >> beside);
        }
        let rest = &text[done..];
        let there = if rest.len() >= BLOCK - BEHIND { NEW } else { ((1 << rest.len()) - 1) << BEHIND };
        if !state.takes(places, there, rest) {
            return false;
        }
        done += BLOCK - BEHIND;
    }
    let is_ascii = seen.simd_lt(0x80).to_bitmask() == u64::MAX;
    state.in_string == 0 && state.objects == ROOT && (is_ascii || std::str::from_utf8(text).is_ok())
}

/// Where in a block which bytes are.
struct Places {
    quote: u64,
    /// Backslashes and control characters.
    odd: u64,
    open: u64,
    close: u64,
    /// Of the brackets those of objects.
    curly: u64,
    colon: u64,
    comma: u64,
    digit: u64,
    zero: u64,
    minus: u64,
    dot: u64,
}

impl Places {
    #[inline(always)]
    fn of<S: Simd>(block: u8x64<S>) -> Self {
        let are = |byte: u8| block.simd_eq(byte).to_bitmask();
        // Square and curly brackets differ in this bit only.
        let curled = block | 0x20;
        Self {
            quote: are(b'"'),
            odd: (block.simd_eq(b'\\') | block.simd_lt(0x20)).to_bitmask(),
            open: curled.simd_eq(b'{').to_bitmask(),
            close: curled.simd_eq(b'}').to_bitmask(),
            curly: block.simd_ge(0x60).to_bitmask(),
            colon: are(b':'),
            comma: are(b','),
            digit: (block - b'0').simd_lt(10).to_bitmask(),
            zero: are(b'0'),
            minus: are(b'-'),
            dot: are(b'.'),
        }
    }

    #[inline(always)]
    fn each(self, change: impl Fn(u64) -> u64) -> Self {
        Self {
            quote: change(self.quote),
            odd: change(self.odd),
            open: change(self.open),
            close: change(self.close),
            curly: change(self.curly),
            colon: change(self.colon),
            comma: change(self.comma),
            digit: change(self.digit),
            zero: change(self.zero),
            minus: change(self.minus),
            dot: change(self.dot),
        }
    }
}

/// What goes on from one block to the next.
#[derive(Default)]
struct State {
    /// All places if a string goes on, none if not.
    in_string: u64,
    /// Of the next block's places: where a member's name goes on, where a fraction does, what is behind a name's
    /// last quote, what belongs to a word.
    name: u64,
    fraction: u64,
    named: u64,
    word: u64,
    /// The brackets that are open, the innermost in the lowest bit: whether it is an object's.
    objects: u64,
}

impl State {
    /// Whether everything in `there` may follow what came before. `rest` begins at the first place of these.
    #[inline(always)]
    fn takes(&mut self, places: Places, there: u64, rest: &[u8]) -> bool {
        let strings = runs_between(places.quote & NEW) ^ self.in_string;
        self.in_string = (strings.cast_signed() >> 63).cast_unsigned();
        let outside = !(strings | places.quote) & (there | !NEW);
        let [open, close, colon, comma] =
            [places.open, places.close, places.colon, places.comma].map(|places| places & outside);
        let [digit, minus, dot] = [places.digit, places.minus, places.dot].map(|places| places & outside);
        let leads = open | colon | comma;
        let number = digit | minus | dot;
        let unknown = outside & NEW & !(leads | close | number | self.word);
        if places.odd & there != 0 || !self.words(unknown, leads << 1, rest) {
            return false;
        }
        let begins = number & !(number << 1);
        let quote = places.quote & strings & NEW;
        let mut wrong = self.number(digit, minus, dot, begins, places.zero);
        // A value stands behind an opening bracket, a colon or a comma; a comma and a closing bracket behind a value,
        // the latter also behind its opening one.
        wrong |= (quote | begins | open) & !(leads << 1);
        wrong |= comma & leads << 1;
        wrong |= close & (colon | comma) << 1;
        let Some(in_object) = self.brackets(open & NEW, close & NEW, places.curly, rest.len()) else {
            return false;
        };
        // In an object, what comes first and what follows a comma is a name, and only a name has a colon behind it.
        let (begun, went_on) = ((open & places.curly) << 1, (comma & in_object) << 1);
        wrong |= begun & !(quote | close) | went_on & !quote;
        let name_ends = behind_runs(strings & NEW, quote & (begun | went_on), &mut self.name);
        wrong |= colon ^ (name_ends << 1 | self.named);
        self.named = name_ends >> 63 << BEHIND;
        wrong & NEW == 0
    }

    /// Whether only `true`, `false` and `null` are in these places, each in one where a value may begin.
    #[inline(always)]
    fn words(&mut self, mut unknown: u64, begin: u64, rest: &[u8]) -> bool {
        self.word = 0;
        while unknown != 0 {
            let at = unknown.trailing_zeros();
            let here = rest.get(at as usize - BEHIND..).unwrap_or_default();
            let known = [&b"true"[..], b"false", b"null"].into_iter().find(|word| here.starts_with(word));
            let Some(known) = known.filter(|_| begin >> at & 1 == 1) else { return false };
            let letters = (1_u64 << known.len()) - 1;
            unknown &= !(letters << at);
            self.word = (u128::from(letters) << at >> 64) as u64 * FIRST;
        }
        true
    }

    /// Where numbers are none: a sign, digits, and a dot with digits on both sides; no zero before the first digit.
    #[inline(always)]
    fn number(&mut self, digit: u64, minus: u64, dot: u64, begins: u64, zero: u64) -> u64 {
        let leading = digit & (begins | minus << 1);
        let mut wrong = (minus | dot) << 1 & !digit;
        wrong |= minus & !begins;
        wrong |= dot & !(digit << 1);
        wrong |= (zero & leading) << 1 & digit;
        wrong | behind_runs(digit & NEW, dot << 1 & digit & NEW, &mut self.fraction) & dot
    }

    /// The places in objects, not in arrays in them; none if brackets do not match or the root ends too early.
    #[inline(always)]
    fn brackets(&mut self, open: u64, close: u64, curly: u64, rest: usize) -> Option<u64> {
        if self.objects.leading_zeros() < open.count_ones() {
            return None;
        }
        let end = if rest <= BLOCK - BEHIND { FIRST << (rest - 1) } else { 0 };
        let mut objects = self.objects;
        let mut in_object = (objects & 1).wrapping_neg();
        let (mut wrong, mut brackets) = (0, open | close);
        while brackets != 0 {
            let at = brackets.trailing_zeros();
            brackets &= brackets - 1;
            let (before, is_object, closes) = (objects, curly >> at & 1, close >> at & 1);
            objects = if closes == 1 { before >> 1 } else { before << 1 | is_object };
            wrong |= closes & (before ^ is_object);
            wrong |= u64::from(objects == ROOT) & !(end >> at);
            in_object ^= ((objects ^ before) & 1).wrapping_neg() << at;
        }
        self.objects = objects;
        (wrong & 1 == 0).then_some(in_object)
    }
}

/// The places from each first mark up to the one before the second.
#[inline(always)]
fn runs_between(mut marks: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        marks ^= marks << shift;
    }
    marks
}

/// The places behind those of `runs` in which one of `starts` is, or which go on from the block before.
#[inline(always)]
fn behind_runs(runs: u64, starts: u64, going_on: &mut u64) -> u64 {
    // A one that is added to a run's first place moves to the place behind its last one.
    let (sum, goes_on) = runs.overflowing_add(starts | *going_on);
    *going_on = u64::from(goes_on) << BEHIND;
    sum & !runs
}
