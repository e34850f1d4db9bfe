//! Every key that a document may have, as one table. The reader, the messages and the docs' page all follow from
//! it, so none of them can say something else than the others.

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The section it stands in, `.` between the levels; empty for the document itself.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// What its value is.
    pub kind: &'static str,
    /// What holds without it; `None` if it must stand there.
    pub default: Option<&'static str>,
    /// How it may look.
    pub example: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

/// A key that has a meaning, and no code behind it yet: refused, never ignored.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    /// The section it stands in, as for [`Field::section`].
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
}

pub(super) const ROOT: &str = "";
pub(super) const METADATA: &str = "metadata";
pub(super) const SPEC: &str = "spec";
pub(super) const FEED: &str = "spec.feeds.<feed>";
pub(super) const SYMBOLS: &str = "spec.feeds.<feed>.symbols";
pub(super) const SYMBOL: &str = "spec.feeds.<feed>.symbols[]";
/// The key under which credentials are named: whatever else stands there is kept out of messages.
pub(super) const KEYS: &str = "keys";
pub(super) const JOURNAL: &str = "spec.journal";
pub(super) const STORE: &str = "spec.store";

const fn field(section: &'static str, key: &'static str, kind: &'static str) -> Field {
    Field { section, key, kind, default: None, example: "", meaning: "" }
}

impl Field {
    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn says(self, example: &'static str, meaning: &'static str) -> Self {
        Self { example, meaning, ..self }
    }

    /// The whole path of the key.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.key.to_owned() } else { format!("{}.{}", self.section, self.key) }
    }
}

/// Every key that may stand in a document.
pub const FIELDS: &[Field] = &[
    field(ROOT, "apiVersion", "`ssmd/v1`").says("ssmd/v1", "The version of the document's form."),
    field(ROOT, "kind", "`Environment`").says("Environment", "What the document declares."),
    field(ROOT, "metadata", "map").says("{ name: dev }", "What the environment is called."),
    field(ROOT, "spec", "map").says("{ feeds: … }", "What runs."),
    field(ROOT, "extends", "path or name").or("none").says(
        "base.yaml",
        "The document that this one builds on: a path relative to this document, or a name, which means `NAME.yaml` beside it.",
    ),
    field(METADATA, "name", "name").says(
        "prod-eu",
        "A lower-case letter, then lower-case letters, digits and hyphens, 48 bytes at most. It is the first part of every subject.",
    ),
    field(SPEC, "feeds", "map of feeds").says(
        "{ kraken: … }",
        "What is recorded: at least one feed, each under its name in `ssmd feed list`.",
    ),
    field(SPEC, "journal", "`local`").or("`local`").says(
        "local",
        "Where entries are journaled. `local`: the log in the data folder is the journal.",
    ),
    field(SPEC, "store", "`file:` and a path").or("`file:./ssmd-data/store`").says(
        "file:///var/lib/ssmd/store",
        "Where the archive is kept. A path that does not start with `/` is relative to the working directory.",
    ),
    field(FEED, "channels", "list of channels, or `[\"*\"]`").says(
        "[trade, \"book:25\", \"ticker:bbo\"]",
        "What to subscribe to: the venue's names, each with the venue's option behind a colon where it takes one. `[\"*\"]` means every channel, each with its default option.",
    ),
    field(FEED, "symbols", "list of symbols").says(
        "[\"BTC/USD\", \"ETH/*\"]",
        "The venue's own names, or patterns in which `*` stands for anything. With a pattern the venue is asked what there is.",
    ),
    field(FEED, "url", "`wss://` address").or("the venue's own").says(
        "wss://ws.kraken.com/v2",
        "The WebSocket address. `ws://` only on this machine, unless `allow_plaintext` says otherwise.",
    ),
    field(FEED, "rest", "`https://` address").or("the venue's own").says(
        "https://api.kraken.com",
        "The REST address. `http://` only on this machine, unless `allow_plaintext` says otherwise.",
    ),
    field(FEED, "depth", "whole number").or("the venue's own").says(
        "25",
        "Levels a side of books, where a channel does not say. One of the depths that the venue has.",
    ),
    field(FEED, "allow_plaintext", "`true` or `false`").or("`false`").says(
        "true",
        "Allows `ws://` and `http://` to other machines: everything, keys included, can then be read and changed on the way.",
    ),
    field(FEED, KEYS, "map of secrets").or("none").says(
        "{ api_key: { env: KALSHI_API_KEY } }",
        "The venue's credentials by name, each as `{ env: VARIABLE }` or `{ file: PATH }`. The document never holds a secret itself. Venues whose market data is public take none.",
    ),
];

const fn later(section: &'static str, key: &'static str) -> Later {
    Later { section, key }
}

/// Every key that is refused as "not built yet".
pub const LATER: &[Later] = &[
    later(METADATA, "annotations"),
    later(METADATA, "description"),
    later(METADATA, "labels"),
    later(SPEC, "alerts"),
    later(SPEC, "cache"),
    later(SPEC, "clients"),
    later(SPEC, "entitlements"),
    later(SPEC, "extends"),
    later(SPEC, "feed"),
    later(SPEC, "gateway"),
    later(SPEC, "jetstream"),
    later(SPEC, "schedule"),
    later(SPEC, "secrets"),
    later(SPEC, "storage"),
    later(SPEC, "symbols"),
    later(SPEC, "transport"),
    later(FEED, "category"),
    later(FEED, "enabled"),
    later(FEED, "redundancy"),
    later(FEED, "shards"),
    later(SYMBOLS, "filters"),
    later(SYMBOLS, "sync"),
    later(SYMBOL, "depth"),
    later(SYMBOL, "internal"),
    later(SYMBOL, "name"),
    later(JOURNAL, "max_bytes"),
    later(JOURNAL, "nats"),
    later(JOURNAL, "replicas"),
    later(JOURNAL, "retention_hours"),
    later(STORE, "s3"),
];

/// The fields of one section.
pub(super) fn fields(section: &str) -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(move |field| field.section == section)
}

/// Whether this key is one of a later version.
pub(super) fn is_later(section: &str, key: &str) -> bool {
    LATER.iter().any(|later| later.section == section && later.key == key)
}
