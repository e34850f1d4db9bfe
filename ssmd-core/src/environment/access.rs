//! Who may see what, through which door, and when someone must come.

use std::collections::{BTreeMap, HashSet};

use super::FeedSpec;
use super::codes::Code;
use super::fields::DATA_TYPES;
use super::node::Node;
use super::problem::{Draft, Log};
use super::section::{self, Section};
use super::source::quote;
use super::spec::{AlertsSpec, ClientKind, ClientSpec, EntitlementSpec, GatewaySpec};
use super::vocabulary::{nearest, one_of};
use crate::{FeedName, Symbol};

/// Stands for every feed and every symbol.
const EVERYTHING: &str = "*";
/// How many clients may be connected unless the document says otherwise.
const CONNECTIONS_MAX: u32 = 1000;
/// How many pairs of names are compared to find entitlements that match nothing. Beyond that, which no document
/// reaches that people wrote, the rule looks no further: it finds slips, and guards nothing.
const COMPARED_MAX: usize = 20_000_000;

/// Reads `spec.clients` and `spec.entitlements`. `declared` are the feeds' names as they stand in the document;
/// `feeds` are those that could be read.
pub(super) fn read(
    spec: &Section<'_, '_>,
    declared: &[String],
    feeds: &[FeedSpec],
    log: &mut Log<'_>,
) -> (Vec<ClientSpec>, Vec<EntitlementSpec>) {
    let mut clients = Clients::default();
    for section in spec.sections("clients", log) {
        clients.define(&section, log);
    }
    let lines = spec.sections("entitlements", log);
    for section in lines.iter().filter(|section| section.has("name") || section.has("type")) {
        clients.define(section, log);
    }
    // Of thousands of symbols it is not made for nobody.
    let mut universe = Universe::new(if lines.is_empty() { &[] } else { feeds });
    let lines = lines.iter().filter_map(|section| {
        let client_id = clients.known(section, log);
        let line = Line { section, declared };
        let (feeds, whole) = line.feeds(log);
        let symbols = line.symbols(&feeds, whole, &mut universe, log);
        let data_types = section.words("data_types", DATA_TYPES, log).unwrap_or_default();
        let expires_at = section.moment("expires_at", log);
        Some(EntitlementSpec { client_id: client_id?, feeds, symbols, data_types, expires_at })
    });
    let entitlements = lines.collect();
    (clients.all, entitlements)
}

/// Clients as they are found.
#[derive(Default)]
struct Clients {
    all: Vec<ClientSpec>,
    lines: BTreeMap<String, usize>,
}

impl Clients {
    fn define(&mut self, section: &Section<'_, '_>, log: &mut Log<'_>) {
        let (name, devices) = (section.text("name", log), section.whole("devices", log));
        let kind = section.word("type", log).unwrap_or(ClientKind::Display.word());
        let kind =
            ClientKind::ALL.iter().find(|(_, word)| *word == kind).map_or_else(Default::default, |row| row.0);
        let Some((id, node)) = section.id("client_id", log).zip(section.value("client_id")) else { return };
        if let Some(first) = self.lines.get(&id) {
            let message =
                format!("client {} is defined twice, first on line {}", quote(&id), log.line(*first));
            log.add(Draft::new(Code::DuplicateClient, node.span, message).expected("each client once"));
            return;
        }
        self.lines.insert(id.clone(), node.span.start);
        self.all.push(ClientSpec { id, name, kind, devices });
    }

    /// The client of a line that may refer to one that is defined elsewhere.
    fn known(&self, section: &Section<'_, '_>, log: &mut Log<'_>) -> Option<String> {
        let node = section.value("client_id")?;
        let id = node.text()?;
        if self.lines.contains_key(id) {
            return Some(id.to_owned());
        }
        if section.has("name") || section.has("type") {
            return None;
        }
        section.id("client_id", log)?;
        let known = || self.lines.keys().map(String::as_str);
        let expected = match self.lines.is_empty() {
            true => "a client of `spec.clients`, or `type` beside it".to_owned(),
            false => format!("{}, or `type` beside it", one_of(known())),
        };
        let message = format!("client {} is referenced in entitlements but not defined", quote(id));
        let draft = Draft::new(Code::UnknownClient, node.span, message);
        log.add(draft.expected(expected).nearest(nearest(id, known())));
        None
    }
}

/// One line of `spec.entitlements`.
struct Line<'s, 'n, 't> {
    section: &'s Section<'n, 't>,
    declared: &'s [String],
}

impl<'n, 't> Line<'_, 'n, 't> {
    fn items(&self, key: &str, log: &mut Log<'_>) -> Vec<(&'n str, &'n Node<'t>)> {
        let Some(node) = self.section.value(key) else { return Vec::new() };
        let shown = self.section.shown(key);
        let items = section::list(node, &shown, log).unwrap_or_default();
        let mut seen = HashSet::new();
        let mut texts = Vec::new();
        for item in items {
            let Some(text) = section::text(item, &format!("an item of {shown}"), log) else { continue };
            if seen.insert(text) {
                texts.push((text, item));
            } else {
                let message = format!("{} stands twice in {shown}", quote(text));
                log.add(Draft::new(Code::Duplicate, item.span, message).expected("each once"));
            }
        }
        texts
    }

    /// The feeds, and whether all of them are meant and exist.
    fn feeds(&self, log: &mut Log<'_>) -> (Vec<FeedName>, bool) {
        let items = self.items("feeds", log);
        if let [(EVERYTHING, _)] = items[..] {
            return (Vec::new(), true);
        }
        let mut feeds = Vec::new();
        let mut whole = !items.is_empty();
        for (text, item) in items {
            if self.declared.iter().any(|feed| feed == text) {
                feeds.extend(FeedName::new(text).ok());
                continue;
            }
            whole = false;
            let known = || self.declared.iter().map(String::as_str);
            let message = format!("feed {} is not a feed of this document", quote(text));
            let expected = if text == EVERYTHING { "`\"*\"` alone".to_owned() } else { one_of(known()) };
            let draft = Draft::new(Code::UndeclaredFeed, item.span, message);
            log.add(draft.expected(expected).nearest(nearest(text, known())));
        }
        (feeds, whole)
    }

    /// The symbols; each must be able to match something of the feeds, unless those are not known.
    fn symbols(
        &self,
        feeds: &[FeedName],
        whole: bool,
        universe: &mut Universe<'_>,
        log: &mut Log<'_>,
    ) -> Vec<String> {
        if !self.section.has("symbols") {
            return vec![EVERYTHING.to_owned()];
        }
        let mut symbols = Vec::new();
        for (text, item) in self.items("symbols", log) {
            if Symbol::new(text).is_err() || text.trim() != text || text.chars().any(char::is_control) {
                let message = format!("{} cannot be a symbol", quote(text));
                let expected = "a name or a pattern, without white space around it";
                log.add(Draft::new(Code::Symbol, item.span, message).expected(expected));
                continue;
            }
            if whole && !universe.may_match(text, feeds) {
                let message = format!("{} matches no symbol of {}", quote(text), universe.called(feeds));
                let near = universe.nearest(text, feeds);
                let draft = Draft::new(Code::NothingMatches, item.span, message);
                log.add(draft.expected("a symbol, an internal name, or a pattern of either").nearest(near));
            }
            symbols.push(text.to_owned());
        }
        symbols
    }
}

/// What there is to be entitled to.
struct Universe<'f> {
    feeds: Vec<Names<'f>>,
    compared: usize,
}

struct Names<'f> {
    feed: &'f FeedSpec,
    names: HashSet<&'f str>,
    patterns: Vec<String>,
    /// Filters and the venue decide what there is.
    open: bool,
}

impl<'f> Universe<'f> {
    fn new(feeds: &'f [FeedSpec]) -> Self {
        let names = |feed: &'f FeedSpec| {
            let shares = feed.shares();
            let details = shares.iter().flat_map(|share| share.details.values());
            let internal = details.filter_map(|detail| detail.internal.as_deref());
            let symbols = shares.iter().flat_map(|share| share.symbols);
            let (patterns, names): (Vec<_>, Vec<_>) =
                symbols.map(String::as_str).partition(|name| name.contains('*'));
            let patterns: Vec<_> = patterns.into_iter().map(squeezed).collect();
            let open = patterns.iter().any(|pattern| pattern == EVERYTHING);
            Names { feed, names: names.into_iter().chain(internal).collect(), patterns, open }
        };
        Self { feeds: feeds.iter().map(names).collect(), compared: 0 }
    }

    fn of<'s>(&'s self, feeds: &'s [FeedName]) -> impl Iterator<Item = &'s Names<'f>> {
        self.feeds.iter().filter(move |names| feeds.is_empty() || feeds.contains(&names.feed.name))
    }

    /// Whether an entitlement to `text` can be one to anything. Where a feed has patterns, our own names for what
    /// they match are not known here: they are compared without what stands between letters and digits.
    fn may_match(&mut self, text: &str, feeds: &[FeedName]) -> bool {
        if text == EVERYTHING {
            return true;
        }
        let (pattern, bare) = (text.contains('*'), squeezed(text));
        let mut compared = self.compared;
        let found = self.of(feeds).any(|names| {
            let mut near = |name: &str| {
                compared += 1;
                compared > COMPARED_MAX || intersect(&bare, name)
            };
            names.open
                || names.names.contains(text)
                || names.patterns.iter().any(|name| near(name))
                || pattern && names.names.iter().any(|name| matches(text, name))
        });
        self.compared =
            compared + if pattern { self.feeds.iter().map(|names| names.names.len()).sum() } else { 0 };
        found || self.compared > COMPARED_MAX
    }

    fn called(&self, feeds: &[FeedName]) -> String {
        let names: Vec<_> = self.of(feeds).map(|names| format!("`{}`", names.feed.name)).collect();
        format!("feed {}", names.join(", "))
    }

    fn nearest(&self, text: &str, feeds: &[FeedName]) -> Option<&str> {
        let names = self.of(feeds).flat_map(|names| names.names.iter().copied());
        nearest(text, names)
    }
}

/// Letters, digits and `*` only.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric() || *c == '*').collect()
}

/// Whether `text` is of the form of `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether some text is of the form of both patterns: their beginnings agree and their ends agree. Where both have
/// a star, whatever stands between can be put into the other's star.
fn intersect(a: &str, b: &str) -> bool {
    match (a.contains('*'), b.contains('*')) {
        (false, false) => a == b,
        (false, true) => matches(b, a),
        (true, false) => matches(a, b),
        (true, true) => {
            let agree = |mut a: std::str::Chars<'_>, mut b: std::str::Chars<'_>, back: bool| loop {
                let next =
                    |chars: &mut std::str::Chars<'_>| if back { chars.next_back() } else { chars.next() };
                match (next(&mut a), next(&mut b)) {
                    (Some('*') | None, _) | (_, Some('*') | None) => return true,
                    (Some(x), Some(y)) if x != y => return false,
                    _ => {}
                }
            };
            agree(a.chars(), b.chars(), false) && agree(a.chars(), b.chars(), true)
        }
    }
}

/// Reads `spec.gateway`.
pub(super) fn gateway(spec: &Section<'_, '_>, log: &mut Log<'_>) -> Option<GatewaySpec> {
    let section = spec.section("gateway", log)?;
    let connections_max = section.whole("connections_max", log).unwrap_or(CONNECTIONS_MAX);
    Some(GatewaySpec { listen: section.listen("listen", log)?, connections_max })
}

/// Reads `spec.alerts`.
pub(super) fn alerts(spec: &Section<'_, '_>, log: &mut Log<'_>) -> AlertsSpec {
    let Some(section) = spec.section("alerts", log) else { return AlertsSpec::default() };
    if section.is_empty() {
        section::empty(section.span(), &spec.shown("alerts"), log);
    }
    AlertsSpec {
        disconnected: section.duration("disconnected", log),
        archiver_lag: section.duration("archiver_lag", log),
        journal_percent: section.whole("journal_percent", log),
        silent: section.duration("silent", log),
        webhook: section.address("webhook", &["http"], log),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_that_share_a_text_intersect() {
        for (a, b, both) in [
            ("BTC*", "*USD", true),
            ("BTC*", "ETH*", false),
            ("*EUR", "*USD", false),
            ("BTCUSD", "BTC*", true),
            ("BTCUSD", "ETH*", false),
            ("a*b*c", "ac*c", true),
        ] {
            assert_eq!((intersect(a, b), intersect(b, a)), (both, both), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn patterns_of_one_text_intersect(text in "[ab]{0,6}", cuts in prop::collection::vec((0_usize..7, 0_usize..7), 2)) {
            let star = |(from, to): (usize, usize)| {
                let (from, to) = (from.min(text.len()), to.min(text.len()));
                format!("{}*{}", &text[..from.min(to)], &text[from.max(to)..])
            };
            let (a, b) = (star(cuts[0]), star(cuts[1]));
            prop_assert!(matches(&a, &text) && matches(&b, &text) && intersect(&a, &b), "{a} {b} {text}");
        }
    }
}
