//! The table of keys as a JSON Schema, for editors: they complete keys and underline what cannot be. It accepts
//! every document that loads; what it cannot say (that a client is defined, that an entitlement matches something)
//! `ssmd check` says.

use serde_json::{Map, Value, json};

use super::fields::{self, FEED, FIELDS, FILTER, KEYS, ROOT, SECRET, SPEC};
use super::schema::{Field, Type};
use super::vocabulary::{FeedWords, OptionWords, Vocabulary};

/// The names of S3's credentials are those of buckets; a feed's are its venue's.
const LIST_OF_EVERYTHING: &str = "*";

/// The schema (draft 2020-12) of documents over these feeds.
pub fn json_schema(words: &Vocabulary) -> Value {
    let mut sections: Vec<&str> = FIELDS.iter().map(|field| field.section).collect();
    sections.dedup();
    let mut defs = Map::new();
    for section in sections.into_iter().filter(|section| !matches!(*section, ROOT | FEED | SECRET)) {
        defs.insert(name(section), object(section, words, None));
    }
    for feed in &words.feeds {
        defs.insert(feed_name(feed), object(FEED, words, Some(feed)));
    }
    defs.insert("secret".into(), secret());
    let mut schema = object(ROOT, words, None);
    if let Some(entries) = schema.as_object_mut() {
        entries.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        entries.insert("title".into(), "ssmd environment".into());
        entries.insert("$defs".into(), defs.into());
    }
    schema
}

fn object(section: &'static str, words: &Vocabulary, feed: Option<&FeedWords>) -> Value {
    let fields = || fields::fields(section);
    let properties: Map<_, _> =
        fields().map(|field| (field.key.to_owned(), property(field, words, feed))).collect();
    let required: Vec<_> = fields().filter(|field| field.default.is_none()).map(|field| field.key).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    match section {
        SPEC => schema["oneOf"] = json!([{ "required": ["feeds"] }, { "required": ["feed", "symbols"] }]),
        FILTER => schema["maxProperties"] = 1.into(),
        _ => {}
    }
    if section == FILTER {
        schema["minProperties"] = 1.into();
    }
    schema
}

fn property(field: &Field, words: &Vocabulary, feed: Option<&FeedWords>) -> Value {
    let mut schema = match (feed, field.key) {
        (Some(feed), "channels") => channels(feed),
        (Some(feed), "depth") => json!({ "enum": feed.depths }),
        (Some(feed), KEYS) => {
            let keys: Map<_, _> =
                feed.keys.iter().map(|key| ((*key).to_owned(), reference("secret"))).collect();
            json!({ "type": "object", "additionalProperties": false, "properties": keys })
        }
        _ => of(&field.kind, words),
    };
    let later = if field.later { " Not built yet: read and checked, and refused at start." } else { "" };
    let default = match field.default {
        Some(default) => format!(" Default: {default}."),
        None => String::new(),
    };
    if let Some(entries) = schema.as_object_mut() {
        entries.insert("description".into(), format!("{}{default}{later}", field.meaning).into());
    }
    schema
}

fn channels(feed: &FeedWords) -> Value {
    let mut names = vec![LIST_OF_EVERYTHING.to_owned()];
    for channel in feed.channels {
        names.push(channel.name.to_owned());
        if !matches!(channel.option, OptionWords::Nothing) {
            names
                .extend(feed.options(channel).into_iter().map(|option| format!("{}:{option}", channel.name)));
        }
    }
    json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": { "enum": names } })
}

fn of(kind: &Type, words: &Vocabulary) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match kind {
        Type::Fixed(text) => json!({ "const": text }),
        Type::Text(most) => json!({ "type": "string", "minLength": 1, "maxLength": most }),
        Type::Word(words) => json!({ "enum": words }),
        Type::Environment | Type::Name => text("^[a-z][a-z0-9-]{0,47}$"),
        Type::Id => text("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"),
        Type::Truth => json!({ "type": "boolean" }),
        Type::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Type::Days => json!({ "anyOf": [{ "const": -1 }, { "type": "integer", "minimum": 1 }] }),
        Type::Bytes => json!({ "anyOf": [
            { "type": "integer", "minimum": 1 },
            text("^[0-9]+ ?([KMGT]?B|[KMGT]iB)?$"),
        ] }),
        Type::Duration => text("^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"),
        Type::TimeOfDay => text("^([01][0-9]|2[0-3]):[0-5][0-9]$"),
        Type::Decimal => json!({ "anyOf": [{ "type": "number", "minimum": 0 }, text("^[0-9]") ] }),
        Type::Address(schemes) => text(&format!("^({})://", schemes.join("|"))),
        Type::Bucket => text("^ssmd-"),
        Type::Store => text("^(file:|s3://)"),
        Type::Mounted => text("^(sealed-)?secret/"),
        Type::Zone | Type::Moment | Type::Endpoint | Type::Listen | Type::Channel | Type::Symbol => {
            json!({ "type": "string", "minLength": 1 })
        }
        Type::Feed => json!({ "enum": words.feeds.iter().map(|feed| feed.name).collect::<Vec<_>>() }),
        Type::Secret => reference("secret"),
        Type::Section(section) => reference(&name(section)),
        Type::Feeds(_) => {
            let feeds: Map<_, _> =
                words.feeds.iter().map(|feed| (feed.name.to_owned(), reference(&feed_name(feed)))).collect();
            json!({ "type": "object", "additionalProperties": false, "minProperties": 1, "properties": feeds })
        }
        Type::MapOf(kind) => json!({ "type": "object", "additionalProperties": of(kind, words) }),
        Type::ListOf(kind) => json!({ "type": "array", "minItems": 1, "items": of(kind, words) }),
        Type::AnyOf(kinds) => {
            json!({ "anyOf": kinds.iter().map(|kind| of(kind, words)).collect::<Vec<_>>() })
        }
    }
}

fn secret() -> Value {
    let one = |key: &str| {
        let field = fields::find(SECRET, key);
        let meaning = field.map_or("", |field| field.meaning);
        json!({ key: { "type": "string", "minLength": 1, "description": meaning } })
    };
    let form = |keys: &[&str]| {
        let properties: Map<_, _> =
            keys.iter().flat_map(|key| one(key).as_object().cloned().unwrap_or_default()).collect();
        let required = &keys[..1];
        json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
    };
    json!({ "anyOf": [form(&["env"]), form(&["file"]), form(&["secret", "key"])] })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// `spec.feeds.<feed>.symbols[]` as a name that needs no escaping.
fn name(section: &str) -> String {
    section
        .trim_start_matches("spec.")
        .replace("feeds.<feed>.", "feed-")
        .replace("storage.<kind>", "bucket")
        .replace("[]", "-item")
        .replace('.', "-")
}

fn feed_name(feed: &FeedWords) -> String {
    format!("feed-{}", feed.name)
}
