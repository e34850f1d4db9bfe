//! How two environments differ in what they mean: not in the order of lists, in comments, or in whether a default is
//! written out.

use super::declared::{Declared, DeclaredValue};
use super::vocabulary::Vocabulary;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What differs: `feed`, `symbol`, `channel`, or `key` for everything else.
    pub what: &'static str,
    /// Where: a path of keys, a list's items by their names.
    pub path: String,
    /// What the first says, on one line; `None` if it says nothing.
    pub from: Option<String>,
    /// What the second says.
    pub to: Option<String>,
}

/// What says which document it is, and not what it means.
const IDENTITY: [&str; 4] = ["apiVersion", "kind", "extends", "metadata.name"];

/// Stands for every channel of a feed.
const EVERYTHING: &str = "*";

/// Every difference, in the order of the first, then what only the second has.
pub fn compare(first: &Declared, second: &Declared, words: &Vocabulary) -> Vec<Change> {
    let mut comparison = Comparison { words, changes: Vec::new() };
    comparison.values("", first, second);
    comparison.changes
}

struct Comparison<'w> {
    words: &'w Vocabulary,
    changes: Vec<Change>,
}

impl Comparison<'_> {
    fn values(&mut self, path: &str, first: &Declared, second: &Declared) {
        match (&first.value, &second.value) {
            (DeclaredValue::Map(a), DeclaredValue::Map(b)) => self.maps(path, a, b),
            (DeclaredValue::List(a), DeclaredValue::List(b)) => self.lists(path, a, b),
            _ => {
                let (from, to) = (first.shown(), second.shown());
                if from != to {
                    self.add(path, Some(from), Some(to));
                }
            }
        }
    }

    fn maps(&mut self, path: &str, first: &[(String, Declared)], second: &[(String, Declared)]) {
        let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, a) in first {
            let path = join(key);
            if IDENTITY.contains(&path.as_str()) {
                continue;
            }
            match second.iter().find(|(found, _)| found == key) {
                Some((_, b)) => self.values(&path, a, b),
                None => self.add(&path, Some(a.shown()), None),
            }
        }
        for (key, b) in second.iter().filter(|(key, _)| first.iter().all(|(found, _)| found != key)) {
            let path = join(key);
            if !IDENTITY.contains(&path.as_str()) {
                self.add(&path, None, Some(b.shown()));
            }
        }
    }

    fn lists(&mut self, path: &str, first: &[Declared], second: &[Declared]) {
        let (first, second) = (self.items(path, first), self.items(path, second));
        let index = |items: &[Item]| -> std::collections::HashMap<String, usize> {
            items.iter().enumerate().map(|(at, item)| (item.name.clone(), at)).collect()
        };
        let (in_first, in_second) = (index(&first), index(&second));
        for item in &first {
            match in_second.get(&item.name) {
                Some(&at) => self.maps(&format!("{path}[{}]", item.name), &item.more, &second[at].more),
                None => self.add(path, Some(item.shown.clone()), None),
            }
        }
        for item in second.iter().filter(|item| !in_first.contains_key(&item.name)) {
            self.add(path, None, Some(item.shown.clone()));
        }
    }

    /// A list's items under their names; `*` as the channels that it stands for.
    fn items(&self, path: &str, items: &[Declared]) -> Vec<Item> {
        let feed = path.strip_prefix("spec.feeds.").and_then(|rest| rest.strip_suffix(".channels"));
        if let ([only], Some(feed)) = (items, feed.and_then(|feed| self.words.feed(feed)))
            && only.text() == Some(EVERYTHING)
        {
            return feed.channels.iter().map(|channel| Item::plain(channel.name)).collect();
        }
        items.iter().map(Item::of).collect()
    }

    fn add(&mut self, path: &str, from: Option<String>, to: Option<String>) {
        self.changes.push(Change { what: what(path), path: path.to_owned(), from, to });
    }
}

/// An item of a list. Plain text is an item of that name and nothing more.
struct Item {
    name: String,
    shown: String,
    more: Vec<(String, Declared)>,
}

impl Item {
    fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), shown: name.to_owned(), more: Vec::new() }
    }

    fn of(item: &Declared) -> Self {
        let Some(name) = item.name() else {
            let shown = item.shown();
            return Self { name: shown.clone(), shown, more: Vec::new() };
        };
        let more = item.entries().iter().filter(|(_, value)| value.text() != Some(name));
        Self {
            more: more.cloned().collect(),
            shown: item.text().map_or_else(|| item.shown(), str::to_owned),
            name: name.to_owned(),
        }
    }
}

fn what(path: &str) -> &'static str {
    let Some(rest) = path.strip_prefix("spec.feeds.") else { return "key" };
    match rest.split_once('.').map(|(_, key)| key) {
        None => "feed",
        Some("symbols") => "symbol",
        Some("channels") => "channel",
        Some(_) => "key",
    }
}
