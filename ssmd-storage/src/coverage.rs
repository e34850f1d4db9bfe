//! Which numbers of one origin are there: a set of intervals with exact arithmetic.
//!
//! Knows nothing of objects and commits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A set of entry numbers, kept as disjoint intervals that do not touch, both ends included.
///
/// Serialized as `[[first, last], …]` in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<u64, u64>);

impl Coverage {
    /// Nothing is covered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds every number from `first` to `last`; nothing if `last` is below `first`.
    pub fn insert(&mut self, first: u64, last: u64) {
        if last < first {
            return;
        }
        let (mut low, mut high) = (first, last);
        if let Some((&before, &end)) = self.0.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            low = before;
            high = high.max(end);
        }
        while let Some((&start, &end)) = self.0.range(low..=high.saturating_add(1)).next() {
            self.0.remove(&start);
            high = high.max(end);
        }
        self.0.insert(low, high);
    }

    /// Takes out every number from `first` to `last`.
    pub fn remove(&mut self, first: u64, last: u64) {
        if last < first {
            return;
        }
        let from = self.0.range(..=first).next_back().map_or(first, |(&start, _)| start);
        let touched: Vec<_> = self.0.range(from..=last).map(|(&start, &end)| (start, end)).collect();
        for (start, end) in touched.into_iter().filter(|(_, end)| *end >= first) {
            self.0.remove(&start);
            if start < first {
                self.0.insert(start, first - 1);
            }
            if end > last {
                self.0.insert(last + 1, end);
            }
        }
    }

    /// Whether `n` is covered.
    pub fn contains(&self, n: u64) -> bool {
        self.0.range(..=n).next_back().is_some_and(|(_, &end)| end >= n)
    }

    /// Whether any number from `first` to `last` is covered.
    pub fn overlaps(&self, first: u64, last: u64) -> bool {
        self.0.range(..=last).next_back().is_some_and(|(_, &end)| end >= first)
    }

    /// The intervals, in rising order.
    pub fn intervals(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&first, &last)| (first, last))
    }

    /// What is missing between 1 and the last number that is covered.
    pub fn holes(&self) -> Vec<(u64, u64)> {
        let mut next = 1;
        let mut holes = Vec::new();
        for (first, last) in self.intervals() {
            if first > next {
                holes.push((next, first - 1));
            }
            next = last.saturating_add(1);
        }
        holes
    }

    /// The highest number that is covered.
    pub fn last(&self) -> Option<u64> {
        self.0.values().next_back().copied()
    }

    /// How many numbers are covered.
    pub fn count(&self) -> u64 {
        self.intervals().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(u64, u64)> for Coverage {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(intervals: I) -> Self {
        let mut coverage = Self::new();
        intervals.into_iter().for_each(|(first, last)| coverage.insert(first, last));
        coverage
    }
}

impl Serialize for Coverage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.intervals())
    }
}

impl<'de> Deserialize<'de> for Coverage {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let intervals = Vec::<(u64, u64)>::deserialize(deserializer)?;
        let ordered = intervals.windows(2).all(|pair| pair[1].0 > pair[0].1.saturating_add(1));
        if !ordered || intervals.iter().any(|(first, last)| *first == 0 || last < first) {
            return Err(serde::de::Error::custom("intervals must rise, stay apart and begin at 1 or later"));
        }
        Ok(Self(intervals.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_of_its_numbers(steps in prop::collection::vec((any::<bool>(), 1u64..60, 0u64..12), 0..40)) {
            let mut coverage = Coverage::new();
            let mut model = BTreeSet::new();
            for (add, first, more) in steps {
                if add {
                    coverage.insert(first, first + more);
                    model.extend(first..=first + more);
                } else {
                    coverage.remove(first, first + more);
                    model.retain(|n| !(first..=first + more).contains(n));
                }
                prop_assert_eq!(coverage.overlaps(first, first + more), model.range(first..=first + more).next().is_some());
            }
            prop_assert_eq!(coverage.count(), model.len() as u64);
            prop_assert!((0..80).all(|n| coverage.contains(n) == model.contains(&n)));
            let intervals: Vec<_> = coverage.intervals().collect();
            prop_assert!(intervals.windows(2).all(|pair| pair[1].0 > pair[0].1 + 1));
            let last = model.last().copied().unwrap_or(0);
            let missing: BTreeSet<u64> = coverage.holes().into_iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(missing, (1..=last).filter(|n| !model.contains(n)).collect::<BTreeSet<_>>());
            let text = serde_json::to_string(&coverage).unwrap();
            prop_assert_eq!(serde_json::from_str::<Coverage>(&text).unwrap(), coverage);
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        let mut coverage = Coverage::new();
        coverage.insert(u64::MAX, u64::MAX);
        coverage.insert(1, u64::MAX - 1);
        assert_eq!(coverage.intervals().collect::<Vec<_>>(), [(1, u64::MAX)]);
        coverage.remove(2, u64::MAX);
        assert_eq!(coverage.intervals().collect::<Vec<_>>(), [(1, 1)]);
        for text in ["[[2,1]]", "[[0,1]]", "[[1,2],[3,4]]", "[[5,6],[1,2]]"] {
            assert!(serde_json::from_str::<Coverage>(text).is_err(), "{text}");
        }
    }
}
