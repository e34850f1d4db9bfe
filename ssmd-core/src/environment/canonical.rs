//! The canonical form of an environment: what it means, as one line of JSON that is a document itself.
//!
//! Two documents that mean the same have the same canonical form, however they are written: without comments, keys
//! and sets sorted, what has the value of its default left out where the document left it out. Secrets stand in it
//! by name only, as in every document.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{API_VERSION, Environment, FeedSpec, JOURNAL_DEFAULT, JournalSpec, KIND};

impl Environment {
    /// The canonical form. [`Environment::parse`] reads it back to an equal environment, but
    /// for the order of feeds, channels and symbols, which means nothing.
    pub fn canonical(&self) -> String {
        // Taken apart whole, so that a new field cannot be forgotten here.
        let Self { name, feeds, journal, store } = self;
        let JournalSpec::Local = journal;
        let feeds: BTreeMap<&str, _> = feeds.iter().map(|spec| (spec.name.as_str(), feed(spec))).collect();
        let document = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": { "name": name.as_str() },
            "spec": { "feeds": feeds, "journal": JOURNAL_DEFAULT, "store": store.to_string() },
        });
        document.to_string()
    }
}

fn feed(spec: &FeedSpec) -> BTreeMap<&'static str, Value> {
    let FeedSpec { name: _, url, rest, channels, symbols, depth, allow_plaintext, keys } = spec;
    let fields = [
        ("channels", Some(sorted(channels.iter().map(ToString::to_string)))),
        ("symbols", Some(sorted(symbols.iter().cloned()))),
        ("url", url.clone().map(Value::from)),
        ("rest", rest.clone().map(Value::from)),
        ("depth", depth.map(Value::from)),
        ("allow_plaintext", allow_plaintext.then_some(true.into())),
        ("keys", (!keys.is_empty()).then(|| json!(keys))),
    ];
    fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn sorted(texts: impl Iterator<Item = String>) -> Value {
    let mut texts: Vec<_> = texts.collect();
    texts.sort();
    texts.into()
}
