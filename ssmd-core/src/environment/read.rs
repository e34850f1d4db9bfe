//! A document's meaning: the tree to an [`Environment`], with everything that is wrong on the way.

use super::codes::Code;
use super::feed;
use super::node::{Node, Value};
use super::problem::{Draft, Log, Span};
use super::schema::{JOURNAL, METADATA, ROOT, SPEC, STORE};
use super::section::{self, Section};
use super::source::quote;
use super::store;
use super::vocabulary::{Vocabulary, nearest};
use super::{
    API_VERSION, Environment, FeedSpec, JOURNAL_DEFAULT, JournalSpec, KIND, STORE_DEFAULT, StoreSpec,
};
use crate::{EnvironmentName, ErrorKind};

/// Reads the whole document. `None` if something that must be there is not or is wrong; then the log says what.
pub(super) fn root(node: &Node<'_>, words: &Vocabulary, log: &mut Log<'_>) -> Option<Environment> {
    let at = match &node.value {
        Value::Map(entries) => entries.first().map_or(node.span, |(key, _)| key.span),
        _ => node.span,
    };
    let root = Section::open(node, ROOT, "the document", at, log)?;
    fixed(&root, "apiVersion", API_VERSION, Code::ApiVersion, log);
    fixed(&root, "kind", KIND, Code::Kind, log);
    if let Some(node) = root.value("extends") {
        section::text(node, "`extends`", log);
    }
    let name = root.get("metadata").and_then(|(key, node)| metadata(node, key.span, log));
    let spec = root.get("spec").and_then(|(key, node)| Section::open(node, SPEC, "`spec`", key.span, log));
    let spec = spec?;
    let feeds = spec.get("feeds").and_then(|(key, node)| feeds(node, key.span, words, log));
    let journal = match spec.value("journal") {
        Some(node) => journal(node, log),
        None => Some(JournalSpec::Local),
    };
    let store = match spec.value("store") {
        Some(node) => store_spec(node, log),
        None => StoreSpec::parse(STORE_DEFAULT).ok(),
    };
    Some(Environment { name: name?, feeds: feeds?, journal: journal?, store: store? })
}

fn fixed(root: &Section<'_, '_>, key: &str, expected: &'static str, code: Code, log: &mut Log<'_>) {
    let Some(node) = root.value(key) else { return };
    let Some(found) = section::text(node, &format!("`{key}`"), log) else { return };
    if found != expected {
        let message = format!("`{key}` is {}", quote(found));
        log.add(Draft::new(code, node.span, message).expected(format!("`{expected}`")));
    }
}

fn metadata(node: &Node<'_>, at: Span, log: &mut Log<'_>) -> Option<EnvironmentName> {
    let section = Section::open(node, METADATA, "`metadata`", at, log)?;
    let node = section.value("name")?;
    let text = section::text(node, "`metadata.name`", log)?;
    EnvironmentName::new(text)
        .map_err(|_| {
            let expected =
                "a lower-case letter, then lower-case letters, digits and hyphens, at most 48 bytes";
            let message = format!("{} cannot be the name of an environment", quote(text));
            log.add(Draft::new(Code::Name, node.span, message).expected(expected));
        })
        .ok()
}

fn feeds(node: &Node<'_>, at: Span, words: &Vocabulary, log: &mut Log<'_>) -> Option<Vec<FeedSpec>> {
    let entries = section::map(node, "`spec.feeds`", log)?;
    if entries.is_empty() {
        section::empty(at, "`spec.feeds`", log);
        return None;
    }
    // Every feed is read before one missing makes the whole `None`.
    let feeds: Vec<_> = entries.iter().map(|(key, node)| feed::read(key, node, words, log)).collect();
    feeds.into_iter().collect()
}

fn journal(node: &Node<'_>, log: &mut Log<'_>) -> Option<JournalSpec> {
    if let Value::Map(_) = node.value {
        section::refuse_later(node, JOURNAL, "`spec.journal`", log);
        return None;
    }
    let text = section::text(node, "`spec.journal`", log)?;
    if text == JOURNAL_DEFAULT {
        return Some(JournalSpec::Local);
    }
    let message = format!("unknown journal {}", quote(text));
    log.add(
        Draft::new(Code::Journal, node.span, message)
            .expected(format!("`{JOURNAL_DEFAULT}`"))
            .nearest(nearest(text, [JOURNAL_DEFAULT])),
    );
    None
}

fn store_spec(node: &Node<'_>, log: &mut Log<'_>) -> Option<StoreSpec> {
    if let Value::Map(_) = node.value {
        section::refuse_later(node, STORE, "`spec.store`", log);
        return None;
    }
    let text = section::text(node, "`spec.store`", log)?;
    store::read(text)
        .map_err(|(kind, why)| {
            let code = if kind == ErrorKind::Unsupported { Code::NotBuiltYet } else { Code::Store };
            let message = format!("{} is no store: {why}", quote(text));
            let expected = format!("`file:` and a path, as in `{STORE_DEFAULT}`");
            log.add(Draft::new(code, node.span, message).expected(expected));
        })
        .ok()
}
