//! What differs between the environment that runs and the one that is declared, and whether that can change while it
//! runs. Pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use ssmd_core::FeedName;
use ssmd_core::environment::{Environment, FeedSpec};

/// What becomes of a feed, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The feed is recorded from now on.
    Start,
    /// The feed is not recorded any more.
    Stop,
    /// Its connections close and open again: a planned gap.
    Reopen,
    /// The venue is asked anew what is meant.
    Ask,
    /// Its symbols are shared out anew: what moves to another connection is left when that one has it.
    Share,
    /// A channel or a symbol is subscribed.
    Add,
    /// A channel or a symbol is left.
    Remove,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The feed.
    pub feed: FeedName,
    /// What becomes of it.
    pub action: Action,
    /// What it is about: `feed`, `channel`, `symbol`, or the keys that make it reopen.
    pub what: String,
    /// The channel or the symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Change {
    /// Whether something that is heard now would not be heard any more, if only for a moment.
    pub fn is_destructive(&self) -> bool {
        matches!(self.action, Action::Stop | Action::Reopen | Action::Ask | Action::Remove)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feed, action, what, name } = self;
        match (action, name) {
            (Action::Start, _) => write!(f, "+ {feed}: the feed starts"),
            (Action::Stop, _) => write!(f, "- {feed}: the feed stops"),
            (Action::Reopen, _) => write!(f, "~ {feed}: {what} changes; its connections open anew"),
            (Action::Ask, _) => write!(f, "~ {feed}: {what} changes; the venue is asked anew what fits"),
            (Action::Share, _) => write!(f, "~ {feed}: {what} changes; symbols move between connections"),
            (Action::Add, name) => write!(f, "+ {feed}: {what} {}", name.as_deref().unwrap_or_default()),
            (Action::Remove, name) => write!(f, "- {feed}: {what} {}", name.as_deref().unwrap_or_default()),
        }
    }
}

/// Everything that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What can change while it runs.
    pub changes: Vec<Change>,
    /// What cannot, and why.
    pub refused: Vec<String>,
}

impl Difference {
    /// From the environment that runs to the one that is declared.
    pub(crate) fn between(runs: &Environment, declared: &Environment) -> Self {
        // Taken apart whole, so that a new field cannot be forgotten here. What is said about the environment, what is
        // named by others and what is not built yet changes nothing that runs.
        let Environment {
            name,
            about: _,
            feeds: _,
            journal,
            store,
            storage,
            transport,
            cache,
            schedule,
            secrets: _,
            clients: _,
            entitlements: _,
            gateway,
            alerts: _,
        } = declared;
        let mut difference = Self::default();
        let moved = "what is recorded already would stay behind";
        let restart = "it is set up at the start";
        for (key, same, why) in [
            ("metadata.name", runs.name == *name, "it is part of every subject"),
            ("spec.journal", runs.journal == *journal, moved),
            ("spec.store", runs.store == *store, moved),
            ("spec.storage", runs.storage == *storage, moved),
            ("spec.transport", runs.transport == *transport, restart),
            ("spec.cache", runs.cache == *cache, restart),
            ("spec.schedule", runs.schedule == *schedule, restart),
            ("spec.gateway", runs.gateway == *gateway, restart),
        ] {
            if !same {
                difference.refused.push(format!("`{key}` cannot change while it runs: {why}"));
            }
        }
        let recorded =
            |environment: &'_ Environment, name| environment.enabled().any(|feed| feed.name == name);
        for spec in declared.enabled() {
            match runs.enabled().find(|feed| feed.name == spec.name) {
                Some(before) => difference.feed(before, spec),
                None => difference.add(&spec.name, Action::Start, "feed", None),
            }
        }
        for before in runs.enabled().filter(|before| !recorded(declared, before.name.clone())) {
            difference.add(&before.name, Action::Stop, "feed", None);
        }
        difference
    }

    fn feed(&mut self, before: &FeedSpec, after: &FeedSpec) {
        let FeedSpec {
            name,
            enabled: _,
            url,
            twin_url,
            rest,
            channels,
            symbols: _,
            details: _,
            filters,
            sync,
            category,
            shards,
            redundancy,
            depth,
            dialer,
            allow_plaintext,
            keys,
        } = after;
        // How deep the book of each named symbol is; its first share's word counts.
        let depths = |feed: &FeedSpec| {
            let mut depths = BTreeMap::new();
            for share in feed.shares() {
                for symbol in share.symbols {
                    let depth = share.details.get(symbol).and_then(|detail| detail.depth);
                    depths.entry(symbol.clone()).or_insert(depth);
                }
            }
            depths
        };
        let (was, is) = (depths(before), depths(after));
        let deep = is.iter().any(|(symbol, depth)| was.get(symbol).is_some_and(|was| was != depth));
        let asks = |feed: &FeedSpec| feed.shares().iter().any(|share| share.sync);
        let reopens = [
            ("url", before.url != *url),
            ("twin_url", before.twin_url != *twin_url),
            ("rest", before.rest != *rest),
            ("depth", before.depth != *depth || deep),
            ("sync", before.sync != *sync || asks(before) != asks(after)),
            ("category", before.category != *category),
            ("redundancy", before.redundancy != *redundancy),
            ("dialer", before.dialer != *dialer),
            ("allow_plaintext", before.allow_plaintext != *allow_plaintext),
            ("keys", before.keys != *keys),
        ];
        let reopens: Vec<_> = reopens.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect();
        if !reopens.is_empty() {
            self.add(name, Action::Reopen, &reopens.join(", "), None);
        }
        if before.filters != *filters {
            self.add(name, Action::Ask, "filters", None);
        }
        if before.shards != *shards {
            self.add(name, Action::Share, "shards", None);
        }
        let texts = |channels: &[ssmd_core::Channel]| channels.iter().map(ToString::to_string).collect();
        self.parts(name, "channel", &texts(&before.channels), &texts(channels));
        let set = |feed: &FeedSpec| feed.shares().iter().flat_map(|share| share.symbols).cloned().collect();
        self.parts(name, "symbol", &set(before), &set(after));
    }

    fn parts(&mut self, feed: &FeedName, what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) {
        for name in after.difference(before) {
            self.add(feed, Action::Add, what, Some(name));
        }
        for name in before.difference(after) {
            self.add(feed, Action::Remove, what, Some(name));
        }
    }

    fn add(&mut self, feed: &FeedName, action: Action, what: &str, name: Option<&String>) {
        self.changes.push(Change { feed: feed.clone(), action, what: what.to_owned(), name: name.cloned() });
    }

    /// The feeds to which this happens, each once.
    pub(crate) fn feeds(&self, action: Action) -> BTreeSet<FeedName> {
        let of = self.changes.iter().filter(|change| change.action == action);
        of.map(|change| change.feed.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str, rest: &str) -> Environment {
        let text =
            format!("apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: {name} }}\nspec: {rest}\n");
        Environment::parse(text.as_bytes(), "env.yaml", &ssmd_feeds::vocabulary()).unwrap()
    }

    fn said(before: &Environment, after: &Environment) -> Vec<String> {
        let difference = Difference::between(before, after);
        let changes = difference.changes.iter().map(ToString::to_string);
        changes.chain(difference.refused.iter().cloned()).collect()
    }

    #[test]
    fn every_difference_is_said_with_what_becomes_of_it() {
        let futures = "kraken-futures: { channels: [trade], symbols: [PF_XBTUSD] }";
        let before = environment(
            "dev",
            r#"{ feeds: { kraken: { channels: [trade, "book:10"], symbols: [BTC/USD, ETH/USD] } } }"#,
        );
        assert!(said(&before, &before).is_empty());
        let after = environment(
            "dev",
            &format!(
                r#"{{ feeds: {{ {futures}, kraken: {{ channels: [ticker, trade], symbols: [SOL/USD, BTC/USD], depth: 25,
                   url: "ws://127.0.0.1:1" }} }} }}"#
            ),
        );
        assert_eq!(
            said(&before, &after),
            [
                "+ kraken-futures: the feed starts",
                "~ kraken: url, depth changes; its connections open anew",
                "+ kraken: channel ticker",
                "- kraken: channel book:10",
                "+ kraken: symbol SOL/USD",
                "- kraken: symbol ETH/USD",
            ]
        );
        let gone = environment("dev", &format!("{{ feeds: {{ {futures} }} }}"));
        assert_eq!(said(&after, &gone), ["- kraken: the feed stops"]);
        let off = gone.clone().feeds.into_iter().map(|feed| FeedSpec { enabled: false, ..feed }).collect();
        let off = Environment { feeds: off, ..gone.clone() };
        assert_eq!(said(&off, &gone), ["+ kraken-futures: the feed starts"]);
        assert_eq!(said(&gone, &off), ["- kraken-futures: the feed stops"]);
        let moved = environment("prod", &format!("{{ feeds: {{ {futures} }}, store: \"file:/elsewhere\" }}"));
        assert_eq!(
            said(&gone, &moved),
            [
                "`metadata.name` cannot change while it runs: it is part of every subject",
                "`spec.store` cannot change while it runs: what is recorded already would stay behind",
            ]
        );
    }
}
