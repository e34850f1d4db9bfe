//! One feed of a document, checked against what its venue knows.

use std::collections::{BTreeMap, HashMap};

use super::codes::Code;
use super::node::{Key, Node, Value};
use super::problem::{Draft, Log};
use super::schema::{FEED, KEYS, SYMBOL, SYMBOLS};
use super::section::{self, Section};
use super::source::quote;
use super::url::{self, UrlFault};
use super::vocabulary::{FeedWords, OptionWords, Vocabulary, nearest, one_of};
use super::{FeedSpec, Secret, SymbolFilters};
use crate::{Channel, FeedName, Symbol};

/// Stands for every channel that needs no options.
const EVERYTHING: &str = "*";

/// Reads the feed under `key`.
pub(super) fn read(
    key: &Key<'_>,
    node: &Node<'_>,
    words: &Vocabulary,
    log: &mut Log<'_>,
) -> Option<FeedSpec> {
    let feed = words.feed(&key.text);
    if feed.is_none() {
        let known = || words.feeds.iter().map(|feed| feed.name);
        let message = format!("unknown feed {}", quote(&key.text));
        log.add(
            Draft::new(Code::UnknownFeed, key.span, message)
                .expected(one_of(known()))
                .nearest(nearest(&key.text, known())),
        );
    }
    let shown = Shown(feed.map_or_else(|| quote(&key.text).replace('`', ""), |feed| feed.name.to_owned()));
    let section = Section::open(node, FEED, &shown.section(), key.span, log)?;
    let symbols = section.value("symbols").and_then(|node| symbols(node, &shown, log));
    let plaintext = section.value("allow_plaintext");
    let allow_plaintext = match plaintext {
        Some(node) => section::truth(node, &shown.key("allow_plaintext"), log),
        None => Some(false),
    };
    let mut address = |key, plain, secure| match section.value(key) {
        // What `allow_plaintext` meant to say is not known, so this is not the place to complain.
        Some(node) => {
            check_address(node, &shown.key(key), (plain, secure), allow_plaintext.unwrap_or(true), log)
                .map(Some)
        }
        None => Some(None),
    };
    let url = address("url", "ws", "wss");
    let rest = address("rest", "http", "https");
    let keys = match section.value(KEYS) {
        Some(node) => keys(node, feed, &shown, log),
        None => Some(BTreeMap::new()),
    };
    let feed = feed?;
    let channels = section.value("channels").and_then(|node| channels(node, feed, &shown, log));
    let depth = match section.value("depth") {
        Some(node) => depth(node, feed, &shown, log).map(Some),
        None => Some(None),
    };
    Some(FeedSpec {
        name: FeedName::new(feed.name).ok()?,
        url: url?,
        rest: rest?,
        channels: channels?,
        symbols: symbols?,
        depth: depth?,
        allow_plaintext: allow_plaintext?,
        filters: SymbolFilters::default(),
        keys: keys?,
    })
}

/// How messages call the parts of one feed.
struct Shown(String);

impl Shown {
    fn section(&self) -> String {
        format!("`spec.feeds.{}`", self.0)
    }

    fn key(&self, key: &str) -> String {
        format!("`spec.feeds.{}.{key}`", self.0)
    }
}

fn check_address(
    node: &Node<'_>,
    shown: &str,
    (plain, secure): (&str, &str),
    allow_plaintext: bool,
    log: &mut Log<'_>,
) -> Option<String> {
    let text = section::text(node, shown, log)?;
    let draft = match url::check(text, plain, secure, allow_plaintext) {
        Ok(()) => return Some(text.to_owned()),
        Err(UrlFault::Form(why)) => {
            if text.contains('@') {
                node.hide(log);
            }
            Draft::new(Code::Url, node.span, format!("{shown} is not an address: {why}"))
                .expected(format!("`{secure}://host/path`"))
        }
        Err(UrlFault::Plaintext) => {
            let message = format!("{shown} is `{plain}://` to another machine");
            let expected = format!("`{secure}://`, or `allow_plaintext: true`");
            Draft::new(Code::Plaintext, node.span, message).expected(expected)
        }
    };
    log.add(draft);
    None
}

fn channels(node: &Node<'_>, feed: &FeedWords, shown: &Shown, log: &mut Log<'_>) -> Option<Vec<Channel>> {
    let shown = shown.key("channels");
    let items = section::list(node, &shown, log)?;
    if let [only] = items
        && only.text() == Some(EVERYTHING)
    {
        return feed.channels.iter().map(|channel| channel.name.parse().ok()).collect();
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
            Some(OptionWords::Depth) => channel.name.clone(),
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
    (channels.len() == items.len()).then_some(channels)
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

fn symbols(node: &Node<'_>, shown: &Shown, log: &mut Log<'_>) -> Option<Vec<String>> {
    let shown = shown.key("symbols");
    if let Value::Map(_) = node.value {
        section::refuse_later(node, SYMBOLS, &shown, log);
        return None;
    }
    let items = section::list(node, &shown, log)?;
    let item_shown = format!("an item of {shown}");
    let mut seen = HashMap::with_capacity(items.len());
    let mut symbols = Vec::with_capacity(items.len());
    for item in items {
        if let Value::Map(_) = item.value {
            section::refuse_later(item, SYMBOL, &item_shown, log);
            continue;
        }
        let Some(text) = section::text(item, &item_shown, log) else { continue };
        if Symbol::new(text).is_err() || text.trim() != text || text.chars().any(char::is_control) {
            let message = format!("{} cannot be a symbol", quote(text));
            let expected = "the venue's own name for it, without white space around it";
            log.add(Draft::new(Code::Symbol, item.span, message).expected(expected));
            continue;
        }
        if let Some(first) = seen.get(text) {
            let message =
                format!("symbol {} is listed twice, first on line {}", quote(text), log.line(*first));
            log.add(Draft::new(Code::DuplicateSymbol, item.span, message).expected("each symbol once"));
            continue;
        }
        seen.insert(text, item.span.start);
        symbols.push(text.to_owned());
    }
    (symbols.len() == items.len()).then_some(symbols)
}

fn depth(node: &Node<'_>, feed: &FeedWords, shown: &Shown, log: &mut Log<'_>) -> Option<u32> {
    let depth = section::number(node, &shown.key("depth"), log)?;
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

/// Reads the credentials, also of a feed that does not exist: whatever stands there may be a secret.
fn keys(
    node: &Node<'_>,
    feed: Option<&FeedWords>,
    shown: &Shown,
    log: &mut Log<'_>,
) -> Option<BTreeMap<String, Secret>> {
    let shown = shown.key(KEYS);
    let Some(entries) = section::map(node, &shown, log) else {
        node.hide(log);
        return None;
    };
    let mut keys = BTreeMap::new();
    for (key, node) in entries {
        if let Some(feed) = feed.filter(|feed| !feed.keys.contains(&key.text.as_ref())) {
            let known = || feed.keys.iter().copied();
            let message = format!("unknown key {} in {shown}", quote(&key.text));
            let expected = match feed.keys {
                [] => "no `keys`: this venue needs none".to_owned(),
                keys => one_of(keys),
            };
            log.add(
                Draft::new(Code::UnknownKey, key.span, message)
                    .expected(expected)
                    .nearest(nearest(&key.text, known())),
            );
        }
        if let Some(secret) = secret(node, &shown, log) {
            keys.insert(key.text.clone().into_owned(), secret);
        }
    }
    (keys.len() == entries.len()).then_some(keys)
}

/// Reads `{ env: X }` or `{ file: X }`.
fn secret(node: &Node<'_>, shown: &str, log: &mut Log<'_>) -> Option<Secret> {
    if let Value::Refused = node.value {
        return None;
    }
    if let Value::Map(entries) = &node.value
        && let [(key, value)] = entries.as_slice()
        && let Some(text) = value.text().filter(|text| !text.trim().is_empty() && !text.contains('\0'))
    {
        match key.text.as_ref() {
            "env" if !text.contains('=') => return Some(Secret::Env(text.to_owned())),
            "file" => return Some(Secret::File(text.to_owned())),
            _ => {}
        }
    }
    node.hide(log);
    let message = format!("a secret in {shown} is not named");
    let expected = "`{ env: VARIABLE }` or `{ file: PATH }`";
    log.add(Draft::new(Code::Secret, node.span, message).expected(expected));
    None
}
