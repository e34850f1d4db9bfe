//! A document's meaning: the tree to an [`Environment`], with everything that is wrong on the way.

use super::codes::Code;
use super::fields::{METADATA, ROOT, SPEC};
use super::node::{Node, Value};
use super::problem::{Draft, Log, Span};
use super::secret::{self, Known};
use super::section::{self, Section};
use super::source::quote;
use super::vocabulary::Vocabulary;
use super::{API_VERSION, About, Environment, FeedSpec, KIND, STORE_DEFAULT, StoreSpec};
use super::{access, backends, feed, schedule, storage, store};
use crate::{EnvironmentName, ErrorKind};

/// Reads the whole document. `None` if something that must be there is not or is wrong; then the log says what.
pub(super) fn root(node: &Node<'_>, words: &Vocabulary, log: &mut Log<'_>) -> Option<Environment> {
    let at = match &node.value {
        Value::Map(entries) => entries.first().map_or(node.span, |(key, _)| key.span),
        _ => node.span,
    };
    let root = Section::open(node, ROOT, "", at, log)?;
    fixed(&root, "apiVersion", API_VERSION, Code::ApiVersion, log);
    fixed(&root, "kind", KIND, Code::Kind, log);
    root.text("extends", log);
    let metadata = root.get("metadata").and_then(|(key, node)| metadata(node, key.span, log));
    let (name, about) = metadata.map_or((None, None), |(name, about)| (name, Some(about)));
    let spec = root.get("spec").and_then(|(key, node)| Section::open(node, SPEC, "spec", key.span, log));
    let spec = spec?;
    let secrets = spec.get("secrets").map(|(_, node)| secret::read_known(node, "spec.secrets", log));
    let secrets = secrets.unwrap_or_default();
    let (declared, feeds) = feeds(&spec, words, &secrets, log);
    let (clients, entitlements) = access::read(&spec, &declared, &feeds, log);
    let store = match spec.value("store") {
        Some(node) => store_spec(node, log),
        None => StoreSpec::parse(STORE_DEFAULT).ok(),
    };
    let journal = backends::journal(&spec, &secrets, log);
    let storage = storage::read(&spec, name.as_ref().map(EnvironmentName::as_str), &secrets, log);
    let transport = backends::transport(&spec, &secrets, log);
    if let Some(name) = &name {
        backends::apart(&spec, name, (&journal, &transport), log);
    }
    let cache = backends::cache(&spec, &secrets, log);
    let schedule = schedule::read(&spec, log);
    let gateway = access::gateway(&spec, log);
    let alerts = access::alerts(&spec, log);
    let secrets = secrets.into_iter().filter_map(|(name, spec)| Some((name, spec?))).collect();
    let (name, store, about) = (name?, store?, about.unwrap_or_default());
    Some(Environment {
        name,
        about,
        feeds,
        journal,
        store,
        storage,
        transport,
        cache,
        schedule,
        secrets,
        clients,
        entitlements,
        gateway,
        alerts,
    })
}

fn fixed(root: &Section<'_, '_>, key: &str, expected: &'static str, code: Code, log: &mut Log<'_>) {
    let Some(node) = root.value(key) else { return };
    let Some(found) = section::text(node, &format!("`{key}`"), log) else { return };
    if found != expected {
        let message = format!("`{key}` is {}", quote(found));
        log.add(Draft::new(code, node.span, message).expected(format!("`{expected}`")));
    }
}

fn metadata(node: &Node<'_>, at: Span, log: &mut Log<'_>) -> Option<(Option<EnvironmentName>, About)> {
    let section = Section::open(node, METADATA, "metadata", at, log)?;
    let about = About {
        description: section.text("description", log),
        labels: section.texts("labels", log),
        annotations: section.texts("annotations", log),
    };
    Some((section.value("name").and_then(|node| environment_name(node, log)), about))
}

fn environment_name(node: &Node<'_>, log: &mut Log<'_>) -> Option<EnvironmentName> {
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

/// The feeds' names as they stand there, and the feeds that could be read.
fn feeds(
    spec: &Section<'_, '_>,
    words: &Vocabulary,
    secrets: &Known,
    log: &mut Log<'_>,
) -> (Vec<String>, Vec<FeedSpec>) {
    spec.exclude("feed", "feeds", log);
    spec.require("symbols", "feed", log);
    let Some((key, node)) = spec.get("feeds") else {
        if !spec.has("feed") && !spec.nearly("feeds") {
            let message = "`feeds` is missing in `spec`";
            log.add(Draft::new(Code::MissingKey, spec.span(), message).expected("`feeds: { kraken: … }`"));
        }
        let feed = feed::alone(spec, words, log);
        return (feed.iter().map(|feed| feed.name.to_string()).collect(), feed.into_iter().collect());
    };
    let entries = section::map(node, "`spec.feeds`", log);
    if entries.is_some_and(<[_]>::is_empty) {
        section::empty(key.span, "`spec.feeds`", log);
    }
    let entries = entries.unwrap_or_default();
    let feeds = entries.iter().filter_map(|(key, node)| feed::read(key, node, words, secrets, log)).collect();
    (entries.iter().map(|(key, _)| key.text.clone().into_owned()).collect(), feeds)
}

fn store_spec(node: &Node<'_>, log: &mut Log<'_>) -> Option<StoreSpec> {
    let text = section::text(node, "`spec.store`", log)?;
    store::read(text)
        .map_err(|(kind, why)| {
            // Before an `@` there may be a key.
            let secret = text.contains('@');
            if secret {
                node.hide(log);
            }
            let code = if kind == ErrorKind::Unsupported { Code::NotBuiltYet } else { Code::Store };
            let message =
                format!("{} is no store: {why}", if secret { "`…`".to_owned() } else { quote(text) });
            let expected =
                format!("`file:` and a path, as in `{STORE_DEFAULT}`, `s3://` and a bucket, or `storage`");
            log.add(Draft::new(code, node.span, message).expected(expected));
        })
        .ok()
}
