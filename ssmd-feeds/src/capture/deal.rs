//! Which share has which symbol. Pure functions.

use std::collections::BTreeMap;

use ssmd_core::{Symbol, Topic, Wanted};

/// What each share has of what the shares want, in their order: a symbol that several want is the first one's, and so
/// is a topic of the whole venue.
pub(super) fn by_name(answers: &[Wanted]) -> Vec<Wanted> {
    // Topics of the whole venue have their channel in the place of a symbol.
    let mut taken: BTreeMap<Result<&Symbol, &Topic>, usize> = BTreeMap::new();
    let mut dealt = Vec::with_capacity(answers.len());
    for (share, wanted) in answers.iter().enumerate() {
        let mut mine = Wanted::default();
        for topic in &wanted.0 {
            if *taken.entry(topic.symbol.as_ref().ok_or(topic)).or_insert(share) == share {
                mine.0.insert(topic.clone());
            }
        }
        dealt.push(mine);
    }
    dealt
}

/// What each of `shares` has of what is wanted: a symbol stays where it is carried already, a new one goes where the
/// fewest are. Topics of the whole venue are the first one's.
///
/// With `even`, as few symbols are moved as make the shares even again: none has two more than another.
pub(super) fn evenly(wanted: &Wanted, carried: &[Wanted], shares: usize, even: bool) -> Vec<Wanted> {
    let mut of_symbol: BTreeMap<&Symbol, Vec<&Topic>> = BTreeMap::new();
    let mut dealt = vec![Wanted::default(); shares];
    for topic in &wanted.0 {
        match &topic.symbol {
            Some(symbol) => of_symbol.entry(symbol).or_default().push(topic),
            None => drop(dealt[0].0.insert(topic.clone())),
        }
    }
    let mut known: BTreeMap<&Symbol, usize> = BTreeMap::new();
    for (share, carried) in carried.iter().enumerate().take(shares) {
        for symbol in carried.0.iter().filter_map(|topic| topic.symbol.as_ref()) {
            known.entry(symbol).or_insert(share);
        }
    }
    let mut symbols: Vec<Vec<&Symbol>> = vec![Vec::new(); shares];
    let (stay, come): (Vec<&Symbol>, Vec<&Symbol>) =
        of_symbol.keys().partition(|symbol| known.contains_key(*symbol));
    stay.into_iter().for_each(|symbol| symbols[known[symbol]].push(symbol));
    for symbol in come {
        let share = least(&symbols);
        symbols[share].push(symbol);
    }
    let mut moves = even;
    while moves {
        let (most, least) = (most(&symbols), least(&symbols));
        moves = symbols[most].len() > symbols[least].len() + 1;
        if moves {
            let moved = symbols[most].pop();
            symbols[least].extend(moved);
        }
    }
    for (share, symbols) in dealt.iter_mut().zip(&symbols) {
        share.0.extend(symbols.iter().flat_map(|symbol| &of_symbol[symbol]).map(|topic| Topic::clone(topic)));
    }
    dealt
}

/// The first of those with the fewest.
fn least(symbols: &[Vec<&Symbol>]) -> usize {
    (0..symbols.len()).min_by_key(|share| symbols[*share].len()).unwrap_or(0)
}

/// The last of those with the most.
fn most(symbols: &[Vec<&Symbol>]) -> usize {
    (0..symbols.len()).max_by_key(|share| symbols[*share].len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn wanted(symbols: &BTreeSet<u8>) -> Wanted {
        let symbols: Vec<_> = symbols.iter().map(|n| Symbol::new(&format!("S{n}")).unwrap()).collect();
        let channels = ["book", "trade"].map(|name| name.parse().unwrap());
        let mut wanted = Wanted::product(&channels, &symbols);
        wanted.0.insert(Topic { channel: "status".parse().unwrap(), symbol: None });
        wanted
    }

    /// Where each symbol is; every topic is in exactly one share, and all those of a symbol in the same.
    fn places(dealt: &[Wanted], wanted: &Wanted) -> BTreeMap<Symbol, usize> {
        let mut places = BTreeMap::new();
        for (share, has) in dealt.iter().enumerate() {
            for topic in &has.0 {
                let Some(symbol) = topic.symbol.clone() else {
                    assert_eq!(share, 0, "what is about the whole venue is the first share's");
                    continue;
                };
                assert_eq!(*places.entry(symbol).or_insert(share), share, "a symbol is in two shares");
            }
        }
        assert_eq!(dealt.iter().map(|has| has.0.len()).sum::<usize>(), wanted.0.len());
        assert!(dealt.iter().all(|has| has.0.is_subset(&wanted.0)));
        places
    }

    fn sizes(places: &BTreeMap<Symbol, usize>, shares: usize) -> Vec<usize> {
        (0..shares).map(|share| places.values().filter(|of| **of == share).count()).collect()
    }

    proptest! {
        /// Symbols come and go as they like: none that stays is ever moved, and what comes goes where the fewest are.
        #[test]
        fn no_symbol_moves_because_others_come_or_go(
            shares in 1..9_usize,
            answers in prop::collection::vec(prop::collection::btree_set(0..60_u8, 0..40), 1..12),
        ) {
            let mut dealt = Vec::new();
            let mut before: Option<BTreeMap<Symbol, usize>> = None;
            for answer in &answers {
                let wanted = wanted(answer);
                dealt = evenly(&wanted, &dealt, shares, false);
                let now = places(&dealt, &wanted);
                let Some(old) = before.replace(now.clone()) else {
                    let sizes = sizes(&now, shares);
                    prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
                    continue;
                };
                for (symbol, share) in &now {
                    prop_assert!(old.get(symbol).is_none_or(|was| was == share), "{symbol} has moved");
                }
                // A share that got something has no more than another one, but for what stayed.
                let sizes = sizes(&now, shares);
                let got: BTreeSet<usize> =
                    now.iter().filter(|(symbol, _)| !old.contains_key(*symbol)).map(|(_, share)| *share).collect();
                let least = *sizes.iter().min().unwrap();
                prop_assert!(got.iter().all(|share| sizes[*share] <= least + 1), "{sizes:?}, {got:?} got some");
            }
        }

        /// Another number of shares moves as few as it must.
        #[test]
        fn another_number_of_shares_moves_as_few_symbols_as_it_must(
            symbols in prop::collection::btree_set(0..60_u8, 0..50),
            counts in prop::collection::vec(1..9_usize, 2..6),
        ) {
            let wanted = wanted(&symbols);
            let mut dealt = evenly(&wanted, &[], counts[0], true);
            for pair in counts.windows(2) {
                let (old, from, to) = (places(&dealt, &wanted), pair[0], pair[1]);
                dealt = evenly(&wanted, &dealt, to, true);
                let now = places(&dealt, &wanted);
                let moved = now.iter().filter(|(symbol, share)| old[*symbol] != **share).count();
                let (before, after) = (sizes(&old, from), sizes(&now, to));
                prop_assert!(after.iter().max().unwrap() - after.iter().min().unwrap() <= 1, "{after:?}");
                // What a share that is gone had, or what the new ones have: no more.
                let must: usize = match to < from {
                    true => before[to..].iter().sum(),
                    false => after[from..].iter().sum(),
                };
                prop_assert!(moved <= must, "{moved} moved of {must}: {before:?} {after:?}");
            }
        }

        /// What shares that overlap want: each symbol is the first one's that wants it.
        #[test]
        fn the_first_share_that_wants_a_symbol_has_it(
            answers in prop::collection::vec(prop::collection::btree_set(0..30_u8, 0..20), 1..6),
        ) {
            let wanted: Vec<_> = answers.iter().map(wanted).collect();
            let all = wanted.iter().fold(Wanted::default(), |mut all, one| {
                all.0.extend(one.0.clone());
                all
            });
            for (symbol, share) in places(&by_name(&wanted), &all) {
                let first = wanted.iter().position(|one| one.0.iter().any(|topic| topic.symbol.as_ref() == Some(&symbol)));
                prop_assert_eq!(first, Some(share));
            }
        }
    }
}
