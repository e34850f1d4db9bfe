//! What each share of a feed wants: those that the document lists, or the one that every other feed is.

use std::collections::BTreeMap;

use super::spec::{ShardsSpec, SymbolDetail};
use super::{FeedSpec, SymbolFilters};

/// One share of a feed, as the document says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// A part of its subjects.
    pub category: Option<&'a str>,
    /// Names or patterns of them.
    pub symbols: &'a [String],
    /// What is said about some of them, by name.
    pub details: &'a BTreeMap<String, SymbolDetail>,
    /// What of the venue's universe is wanted.
    pub filters: &'a SymbolFilters,
    /// Whether the universe, where it is asked, is asked again and again.
    pub sync: bool,
}

impl Share<'_> {
    /// A feed that wants what this share wants, and is in everything else as `spec`.
    pub fn alone(&self, spec: &FeedSpec) -> FeedSpec {
        FeedSpec {
            category: self.category.map(str::to_owned),
            symbols: self.symbols.to_vec(),
            details: self.details.clone(),
            filters: self.filters.clone(),
            sync: self.sync,
            shards: None,
            ..spec.clone()
        }
    }
}

impl FeedSpec {
    /// What it wants: the shares that the document lists, in their order, and behind them what the feed itself wants
    /// beside them; for every other feed that alone. A symbol that several mean is the first one's.
    pub fn shares(&self) -> Vec<Share<'_>> {
        let own = Share {
            category: self.category.as_deref(),
            symbols: &self.symbols,
            details: &self.details,
            filters: &self.filters,
            sync: self.sync,
        };
        let Some(ShardsSpec::Listed(listed)) = &self.shards else { return vec![own] };
        let listed = listed.iter().map(|shard| Share {
            category: shard.category.as_deref().or(own.category),
            symbols: &shard.symbols.names,
            details: &shard.symbols.details,
            filters: &shard.symbols.filters,
            sync: shard.symbols.sync,
        });
        let rest = (!own.symbols.is_empty() || !own.filters.is_empty()).then_some(own);
        listed.chain(rest).collect()
    }

    /// Over how many sessions the symbols are spread evenly; 1 where shares are listed.
    pub fn split(&self) -> u32 {
        match self.shards {
            Some(ShardsSpec::Count(count)) => count,
            _ => 1,
        }
    }
}
