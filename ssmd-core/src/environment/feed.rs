//! One feed of a document, checked against what its venue knows.

use std::collections::{BTreeMap, HashMap};

use super::codes::Code;
use super::fields::{self, FEED, KEYS, SHARD};
use super::node::{Key, Node, Value};
use super::problem::{Draft, Log, Span};
use super::secret::{self, Known};
use super::section::{self, Section};
use super::source::quote;
use super::spec::{DialerSpec, ShardSpec, ShardsSpec, SymbolsSpec};
use super::symbols;
use super::vocabulary::{FeedWords, OptionWords, Vocabulary, nearest, one_of};
use super::{FeedSpec, Secret};
use crate::{Channel, FeedName};

/// Stands for every channel that needs no options.
const EVERYTHING: &str = "*";
/// The most shares of one feed.
const SHARDS_MAX: u64 = 64;

/// Reads the feed under `key`.
pub(super) fn read(
    key: &Key<'_>,
    node: &Node<'_>,
    words: &Vocabulary,
    secrets: &Known,
    log: &mut Log<'_>,
) -> Option<FeedSpec> {
    let feed = known(&key.text, key.span, words, log);
    let shown = feed.map_or_else(|| quote(&key.text).replace('`', ""), |feed| feed.name.to_owned());
    let section = Section::open(node, FEED, &format!("spec.feeds.{shown}"), key.span, log)?;
    let allow_plaintext = section.truth("allow_plaintext", log);
    // Where what `allow_plaintext` meant to say is not known, it is not the place to complain.
    let strict = !section.has("allow_plaintext") || allow_plaintext == Some(false);
    let mut address = |key, plain| {
        let local: &[&str] = if strict { &[plain] } else { &[] };
        section.address(key, local, log)
    };
    let (url, rest) = (address("url", "ws"), address("rest", "http"));
    let twin_url = address("twin_url", "ws");
    let SymbolsSpec { names, details, sync, filters } = match section.get("symbols") {
        Some((key, node)) => symbols::read(node, key.span, &section.path("symbols"), feed, log),
        None => {
            none_named(&section, log);
            SymbolsSpec { sync: true, ..SymbolsSpec::default() }
        }
    };
    let redundancy = section.whole("redundancy", log).unwrap_or(1);
    section.require("twin_url", "redundancy", log);
    let keys = section.value(KEYS).map(|node| keys(node, feed, &section.path(KEYS), secrets, log));
    let shards = shards(&section, feed, log);
    let feed = feed?;
    let depth = section
        .value("depth")
        .and_then(|node| symbols::depth(node, Some(feed), &section.shown("depth"), log));
    let channels = match section.value("channels") {
        Some(node) => channels(node, feed, &section.path("channels"), log),
        None => starters(feed),
    };
    Some(FeedSpec {
        enabled: section.truth("enabled", log).unwrap_or(true),
        url,
        twin_url,
        rest,
        channels,
        symbols: names,
        details,
        filters,
        sync,
        category: section.name("category", log),
        shards,
        redundancy,
        depth,
        dialer: dialer(&section, log),
        allow_plaintext: allow_plaintext.unwrap_or(false),
        keys: keys.unwrap_or_default(),
        ..FeedSpec::new(FeedName::new(feed.name).ok()?)
    })
}

/// The environment of one feed, as `spec.feed` and `spec.symbols` spell it.
pub(super) fn alone(spec: &Section<'_, '_>, words: &Vocabulary, log: &mut Log<'_>) -> Option<FeedSpec> {
    let node = spec.value("feed")?;
    let name = section::text(node, &spec.shown("feed"), log)?;
    let feed = known(name, node.span, words, log)?;
    let Some((key, node)) = spec.get("symbols") else {
        let message = "`symbols` is missing in `spec`, beside `feed`";
        log.add(Draft::new(Code::MissingKey, node.span, message).expected("`symbols: { sync: true }`"));
        return None;
    };
    let symbols = symbols::read(node, key.span, &spec.path("symbols"), Some(feed), log);
    Some(FeedSpec {
        channels: starters(feed),
        depth: feed.starter.depth,
        symbols: symbols.names,
        details: symbols.details,
        filters: symbols.filters,
        sync: symbols.sync,
        ..FeedSpec::new(FeedName::new(feed.name).ok()?)
    })
}

fn known<'w>(name: &str, span: Span, words: &'w Vocabulary, log: &mut Log<'_>) -> Option<&'w FeedWords> {
    let feed = words.feed(name);
    if feed.is_none() {
        let known = || words.feeds.iter().map(|feed| feed.name);
        let message = format!("unknown feed {}", quote(name));
        log.add(
            Draft::new(Code::UnknownFeed, span, message)
                .expected(one_of(known()))
                .nearest(nearest(name, known())),
        );
    }
    feed
}

fn starters(feed: &FeedWords) -> Vec<Channel> {
    feed.starter.channels.iter().filter_map(|name| name.parse().ok()).collect()
}

fn dialer(section: &Section<'_, '_>, log: &mut Log<'_>) -> DialerSpec {
    section.word("dialer", log).and_then(DialerSpec::of_word).unwrap_or_default()
}

fn shards(section: &Section<'_, '_>, feed: Option<&FeedWords>, log: &mut Log<'_>) -> Option<ShardsSpec> {
    let node = section.value("shards")?;
    if !matches!(node.value, Value::List(_)) {
        let count = section::whole(node, &section.shown("shards"), (1, SHARDS_MAX), log)?;
        return u32::try_from(count).ok().map(ShardsSpec::Count);
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let items = section::list(node, &section.shown("shards"), log)?;
    if items.is_empty() || items.len() as u64 > SHARDS_MAX {
        let message = format!("{} has {} items", section.shown("shards"), items.len());
        let expected = format!("1 to {SHARDS_MAX} shares, or a number");
        log.add(Draft::new(Code::Range, node.span, message).expected(expected));
        return None;
    }
    let mut shards = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let path = format!("{}[{at}]", section.path("shards"));
        let Some(share) = Section::open(item, SHARD, &path, item.span, log) else { continue };
        let Some((key, node)) = share.get("symbols") else { continue };
        let symbols = symbols::read(node, key.span, &share.path("symbols"), feed, log);
        for (name, span) in symbols::written(node) {
            // What two patterns with filters have in common is not known here: the first share has it.
            if name.contains('*') && !symbols.filters.is_empty() {
                continue;
            }
            if let Some(first) = seen.insert(name, span.start) {
                let message =
                    format!("symbol {} is in two shares, first on line {}", quote(name), log.line(first));
                log.add(Draft::new(Code::DuplicateSymbol, span, message).expected("each symbol once"));
            }
        }
        shards.push(ShardSpec { category: share.name("category", log), symbols });
    }
    Some(ShardsSpec::Listed(shards))
}

/// Only a feed whose shares all say what they want says nothing itself.
fn none_named(section: &Section<'_, '_>, log: &mut Log<'_>) {
    let listed = section.value("shards").is_some_and(|node| matches!(node.value, Value::List(_)));
    if listed || section.nearly("symbols") {
        return;
    }
    if let Some(field) = fields::find(FEED, "symbols") {
        let message = format!("`symbols` is missing in `{}`", section.path("").trim_end_matches('.'));
        let expected = format!("`symbols: {}`", field.example);
        log.add(Draft::new(Code::MissingKey, section.span(), message).expected(expected));
    }
}

fn channels(node: &Node<'_>, feed: &FeedWords, path: &str, log: &mut Log<'_>) -> Vec<Channel> {
    let shown = format!("`{path}`");
    let items = section::list(node, &shown, log).unwrap_or_default();
    if let [only] = items
        && only.text() == Some(EVERYTHING)
    {
        return feed.channels.iter().filter_map(|channel| channel.name.parse().ok()).collect();
    }
    let mut channels = Vec::with_capacity(items.len());
    let mut seen = HashMap::new();
    for item in items {
        let Some(channel) = section::text(item, &format!("an item of {shown}"), log)
            .and_then(|text| channel(text, item, feed, log))
        else {
            continue;
        };
        // A session carries one depth a symbol, so `book` twice is a duplicate whatever the depths are.
        let once = match feed.channel(&channel.name).map(|words| words.option) {
            Some(OptionWords::Depth) => channel.name.to_string(),
            _ => channel.to_string(),
        };
        if let Some(first) = seen.insert(once, item.span.start) {
            let message = format!(
                "channel {} is listed twice, first on line {}",
                quote(&channel.name),
                log.line(first)
            );
            log.add(Draft::new(Code::DuplicateChannel, item.span, message).expected("each channel once"));
        }
        channels.push(channel);
    }
    channels
}

fn channel(text: &str, item: &Node<'_>, feed: &FeedWords, log: &mut Log<'_>) -> Option<Channel> {
    let (name, option) = match text.split_once(':') {
        Some((name, option)) => (name, Some(option)),
        None => (text, None),
    };
    let Some(words) = feed.channel(name) else {
        let known = || feed.channels.iter().map(|channel| channel.name);
        let alone = if name == EVERYTHING {
            "`*` beside other channels".to_owned()
        } else {
            format!("unknown channel {}", quote(name))
        };
        log.add(
            Draft::new(Code::UnknownChannel, item.span, format!("{alone} of feed `{}`", feed.name))
                .expected(format!("{}, or `[\"*\"]` alone", one_of(known())))
                .nearest(nearest(name, known())),
        );
        return None;
    };
    let Some(option) = option else { return text.parse().ok() };
    let allowed = feed.options(words);
    if allowed.iter().any(|word| word == option) {
        return text.parse().ok();
    }
    let expected = match allowed.as_slice() {
        [] => format!("`{name}`: this channel takes no option"),
        words => one_of(words.iter().map(|word| format!("{name}:{word}"))),
    };
    let message = format!("{} is no option of channel `{name}`", quote(option));
    let right = nearest(option, allowed.iter().map(String::as_str)).map(|word| format!("{name}:{word}"));
    log.add(Draft::new(Code::ChannelOption, item.span, message).expected(expected).nearest(right.as_deref()));
    None
}

/// Reads the credentials, also of a feed that does not exist: whatever stands there may be a secret.
fn keys(
    node: &Node<'_>,
    feed: Option<&FeedWords>,
    path: &str,
    secrets: &Known,
    log: &mut Log<'_>,
) -> BTreeMap<String, Secret> {
    let names = feed.map(|feed| feed.keys);
    secret::read_map(node, names, "no `keys`: this venue needs none", path, secrets, log)
}
