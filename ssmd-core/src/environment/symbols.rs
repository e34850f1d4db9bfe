//! Which symbols a feed, or a share of it, means: a list of them, or what of the venue's universe is wanted.

use std::collections::{BTreeMap, HashMap};

use super::codes::Code;
use super::fields::{self, FILTER, SYMBOL, SYMBOLS};
use super::node::{Node, Value};
use super::problem::{Draft, Log, Span};
use super::section::{self, Section};
use super::source::quote;
use super::spec::{SymbolDepth, SymbolDetail, SymbolsSpec};
use super::vocabulary::{FeedWords, one_of};
use super::{SymbolFilters, values};
use crate::Symbol;

/// More levels than any venue has.
const DEPTH_MAX: u64 = 100_000;

/// Reads what stands under the key `symbols`, which is called `path`.
pub(super) fn read(
    node: &Node<'_>,
    at: Span,
    path: &str,
    feed: Option<&FeedWords>,
    log: &mut Log<'_>,
) -> SymbolsSpec {
    let Value::Map(_) = node.value else {
        return Names::new(feed).read(node, path, log);
    };
    let Some(section) = Section::open(node, SYMBOLS, path, at, log) else { return SymbolsSpec::default() };
    let mut symbols = match section.value("names") {
        Some(node) => Names::new(feed).read(node, &section.path("names"), log),
        None => SymbolsSpec { names: vec!["*".to_owned()], ..SymbolsSpec::default() },
    };
    symbols.sync = section.truth("sync", log).unwrap_or(true);
    symbols.filters = filters(&section, log);
    symbols
}

/// The names and patterns that stand there, and where.
pub(super) fn written<'n>(node: &'n Node<'_>) -> Vec<(&'n str, Span)> {
    let entry = |node: &'n Node<'_>, wanted: &str| match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == wanted).map(|(_, node)| node),
        _ => None,
    };
    let list = entry(node, "names").unwrap_or(node);
    let Value::List(items) = &list.value else { return Vec::new() };
    let name = |item: &'n Node<'_>| entry(item, "name").unwrap_or(item);
    items.iter().map(name).filter_map(|item| Some((item.text()?, item.span))).collect()
}

fn filters(section: &Section<'_, '_>, log: &mut Log<'_>) -> SymbolFilters {
    let mut filters = SymbolFilters::default();
    let mut seen: HashMap<(&str, Option<String>), usize> = HashMap::new();
    for item in section.sections("filters", log) {
        let keys: Vec<_> =
            fields::fields(FILTER).map(|field| field.key).filter(|key| item.has(key)).collect();
        let [key] = keys[..] else {
            if keys.len() > 1 || item.is_empty() {
                let message = format!("a filter with {} keys", keys.len());
                let expected = "one condition an item: `[{ category: … }, { close_within: … }]`";
                log.add(Draft::new(Code::Filter, item.span(), message).expected(expected));
            }
            continue;
        };
        let word = match key {
            "close_within" => {
                filters.close_within = item.duration(key, log);
                None
            }
            "volume" => {
                filters.volume_min = item.decimal(key, log);
                None
            }
            _ => item.text(key, log),
        };
        match key {
            "category" => filters.category.extend(word.clone()),
            "series" => filters.series.extend(word.clone()),
            "status" => filters.status.extend(word.clone()),
            _ => {}
        }
        // Several words mean any of them; of two lengths of time only one can hold.
        if let Some(first) = seen.insert((key, word), item.span().start) {
            let message = format!("this filter on `{key}` stands twice, first on line {}", log.line(first));
            log.add(Draft::new(Code::Duplicate, item.span(), message).expected("each once"));
        }
    }
    filters
}

/// Reads a list of symbols: each stands once, and so does each of our own names.
struct Names<'w> {
    feed: Option<&'w FeedWords>,
    seen: HashMap<String, usize>,
    internal: HashMap<String, usize>,
    details: BTreeMap<String, SymbolDetail>,
}

impl<'w> Names<'w> {
    fn new(feed: Option<&'w FeedWords>) -> Self {
        Self { feed, seen: HashMap::new(), internal: HashMap::new(), details: BTreeMap::new() }
    }

    fn read(mut self, node: &Node<'_>, path: &str, log: &mut Log<'_>) -> SymbolsSpec {
        let items = section::list(node, &format!("`{path}`"), log).unwrap_or_default();
        let shown = format!("an item of `{path}`");
        let mut names = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let name = match item.value {
                Value::Map(_) => self.described(item, &format!("{path}[{at}]"), log),
                _ => section::text(item, &shown, log).and_then(|text| self.once(text, item.span, log)),
            };
            names.extend(name);
        }
        SymbolsSpec { names, details: self.details, sync: true, filters: SymbolFilters::default() }
    }

    /// A name or a pattern, for the first time.
    fn once(&mut self, text: &str, span: Span, log: &mut Log<'_>) -> Option<String> {
        if Symbol::new(text).is_err() || text.trim() != text || text.chars().any(char::is_control) {
            let message = format!("{} cannot be a symbol", quote(text));
            let expected = "the venue's own name for it, without white space around it";
            log.add(Draft::new(Code::Symbol, span, message).expected(expected));
            return None;
        }
        if let Some(first) = self.seen.get(text) {
            let message =
                format!("symbol {} is listed twice, first on line {}", quote(text), log.line(*first));
            log.add(Draft::new(Code::DuplicateSymbol, span, message).expected("each symbol once"));
            return None;
        }
        self.seen.insert(text.to_owned(), span.start);
        Some(text.to_owned())
    }

    /// A symbol with what is said about it.
    fn described(&mut self, node: &Node<'_>, path: &str, log: &mut Log<'_>) -> Option<String> {
        let section = Section::open(node, SYMBOL, path, node.span, log)?;
        let internal = section.id("internal", log);
        if let Some((internal, (_, node))) = internal.as_ref().zip(section.get("internal"))
            && let Some(first) = self.internal.insert(internal.clone(), node.span.start)
        {
            let message = format!(
                "internal name {} is given twice, first on line {}",
                quote(internal),
                log.line(first)
            );
            log.add(Draft::new(Code::DuplicateInternal, node.span, message).expected("each name once"));
        }
        let depth = section.value("depth").and_then(|node| self.depth(node, &section.shown("depth"), log));
        let named = section.value("name")?;
        let text = section::text(named, &section.shown("name"), log)?;
        let name = self.once(text, named.span, log)?;
        if name.contains('*') {
            let message = format!("{} is a pattern, not a symbol", quote(&name));
            let expected = "the name of one symbol; patterns stand in the list without a map";
            log.add(Draft::new(Code::Symbol, named.span, message).expected(expected));
            return None;
        }
        self.details.insert(name.clone(), SymbolDetail { internal, depth });
        Some(name)
    }

    fn depth(&self, node: &Node<'_>, shown: &str, log: &mut Log<'_>) -> Option<SymbolDepth> {
        if node.text().is_some() {
            let word = section::word(node, shown, &["l1", "l2"], log)?;
            return Some(if word == "l1" { SymbolDepth::L1 } else { SymbolDepth::L2 });
        }
        depth(node, self.feed, shown, log).map(SymbolDepth::Levels)
    }
}

/// Reads a number of levels that the venue has.
pub(super) fn depth(
    node: &Node<'_>,
    feed: Option<&FeedWords>,
    shown: &str,
    log: &mut Log<'_>,
) -> Option<u32> {
    let depth = section::whole(node, shown, (0, DEPTH_MAX), log)?;
    let depth = u32::try_from(depth).ok()?;
    let feed = feed?;
    if feed.depths.contains(&depth) {
        return Some(depth);
    }
    let expected = match feed.depths {
        [] => "no `depth`: this venue's books have none to choose".to_owned(),
        depths => one_of(depths),
    };
    let message = format!("feed `{}` has no books of depth {depth}", feed.name);
    log.add(Draft::new(Code::Depth, node.span, message).expected(expected));
    None
}

/// Filters as they stand in a document.
pub(super) fn show_filters(filters: &SymbolFilters) -> Vec<serde_json::Value> {
    let SymbolFilters { category, series, status, close_within, volume_min } = filters;
    let words = [("category", category), ("series", series), ("status", status)];
    let mut shown: Vec<_> = words
        .iter()
        .flat_map(|(key, words)| words.iter().map(move |word| serde_json::json!({ *key: word })))
        .collect();
    shown.extend(
        close_within.map(|within| serde_json::json!({ "close_within": values::show_duration(within) })),
    );
    shown.extend(volume_min.map(|least| serde_json::json!({ "volume": least.to_string() })));
    shown
}
