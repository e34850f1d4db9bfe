//! Transport, journal and cache: the name of a section chooses the backend.

use super::codes::Code;
use super::fields::{self, CACHE, JOURNAL, TRANSPORT};
use super::node::Value;
use super::problem::{Draft, Log};
use super::secret::{self, Known};
use super::section::{self, Section};
use super::spec::{CacheSpec, JetStreamSpec, TransportSpec};
use super::vocabulary::one_of;
use super::{JOURNAL_DEFAULT, JournalSpec, Secret};

/// The word for the transport and the cache inside the process.
const MEMORY: &str = "memory";
/// How long a journal keeps entries unless it is told otherwise.
const RETENTION_HOURS: u32 = 24;

/// Reads `spec.transport`.
pub(super) fn transport(spec: &Section<'_, '_>, secrets: &Known, log: &mut Log<'_>) -> TransportSpec {
    if !spec.has("transport") || spec.is_word("transport", MEMORY, Code::Backend, log) {
        return TransportSpec::Memory;
    }
    let Some(section) = spec.section("transport", log) else { return TransportSpec::Memory };
    for kind in ["nats", "mqtt"] {
        section.exclude("url", kind, log);
        section.exclude("stream", kind, log);
    }
    if !section.has("nats") && !section.has("mqtt") {
        section.require("url", "type", log);
        section.require("stream", "type", log);
    }
    // Both are read, so that what is wrong in either is told even where only one can hold.
    let nats = section.section("nats", log).map(|nats| TransportSpec::Nats {
        url: nats.address("url", &[], log),
        stream: nats.id("stream", log),
        credentials: credentials(&nats, secrets, log),
    });
    let mqtt = section.section("mqtt", log).map(|mqtt| TransportSpec::Mqtt {
        url: mqtt.address("url", &[], log).unwrap_or_default(),
        qos: mqtt.whole("qos", log).unwrap_or(0),
        credentials: credentials(&mqtt, secrets, log),
    });
    let flat = flat(&section, log);
    one(&section, TRANSPORT, &["nats", "mqtt", "type"], log);
    nats.or(mqtt).or(flat).unwrap_or_default()
}

/// `{ type: nats, url: … }`.
fn flat(section: &Section<'_, '_>, log: &mut Log<'_>) -> Option<TransportSpec> {
    let kind = section.word("type", log);
    if !section.has("type") {
        return None;
    }
    let schemes = match kind {
        Some("mqtt") => &["mqtts", "mqtt"][..],
        _ => &["nats", "tls", "ws", "wss"],
    };
    let url = section
        .value("url")
        .and_then(|node| section::address(node, &section.shown("url"), schemes, &[], log));
    let stream = section.id("stream", log);
    if kind == Some("nats") {
        return Some(TransportSpec::Nats { url, stream, credentials: None });
    }
    if kind == Some("mqtt") {
        section.require("type", "url", log);
        section.exclude("stream", "type", log);
        return Some(TransportSpec::Mqtt { url: url?, qos: 0, credentials: None });
    }
    None
}

/// Reads `spec.journal`, or `spec.jetstream`, which is another spelling of `{ nats: … }`.
pub(super) fn journal(spec: &Section<'_, '_>, secrets: &Known, log: &mut Log<'_>) -> JournalSpec {
    spec.exclude("jetstream", "journal", log);
    if let Some(section) = spec.section("jetstream", log) {
        return JournalSpec::JetStream(jetstream(&section, secrets, log));
    }
    if !spec.has("journal") || spec.is_word("journal", JOURNAL_DEFAULT, Code::Journal, log) {
        return JournalSpec::Local;
    }
    let nats = spec.section("journal", log).and_then(|section| {
        one(&section, JOURNAL, &["nats"], log);
        section.section("nats", log)
    });
    nats.map_or(JournalSpec::Local, |nats| JournalSpec::JetStream(jetstream(&nats, secrets, log)))
}

fn jetstream(section: &Section<'_, '_>, secrets: &Known, log: &mut Log<'_>) -> JetStreamSpec {
    JetStreamSpec {
        url: section.address("url", &[], log),
        stream: section.id("stream", log),
        retention_hours: section.whole("retention_hours", log).unwrap_or(RETENTION_HOURS),
        max_bytes: section.bytes("max_bytes", log),
        replicas: section.whole("replicas", log).unwrap_or(1),
        credentials: credentials(section, secrets, log),
    }
}

/// Reads `spec.cache`.
pub(super) fn cache(spec: &Section<'_, '_>, secrets: &Known, log: &mut Log<'_>) -> CacheSpec {
    if !spec.has("cache") || spec.is_word("cache", MEMORY, Code::Backend, log) {
        return CacheSpec::Memory;
    }
    let Some(section) = spec.section("cache", log) else { return CacheSpec::Memory };
    let redis = section.section("redis", log).map(|redis| CacheSpec::Redis {
        url: redis.address("url", &[], log),
        credentials: credentials(&redis, secrets, log),
    });
    let nats = section.section("nats", log).map(|nats| CacheSpec::Nats {
        url: nats.address("url", &[], log),
        bucket: nats.id("bucket", log),
        credentials: credentials(&nats, secrets, log),
    });
    one(&section, CACHE, &["redis", "nats"], log);
    redis.or(nats).unwrap_or_default()
}

/// Reports what chooses no backend: none of these keys, or more than one.
fn one(section: &Section<'_, '_>, of: &'static str, keys: &[&'static str], log: &mut Log<'_>) {
    let found: Vec<_> = keys.iter().copied().filter(|key| section.has(key)).collect();
    if let [first, second, ..] = found[..] {
        section.exclude(second, first, log);
    }
    // Keys that are unknown are a problem already, and the likely reason.
    let known = |key: &str| fields::fields(of).any(|field| field.key == key);
    if found.is_empty() && section.keys().all(known) {
        let expected = one_of(keys.iter().map(|key| format!("{{ {key}: … }}")));
        let message = "no backend is chosen";
        log.add(Draft::new(Code::Backend, section.span(), message).expected(expected));
    }
}

fn credentials(section: &Section<'_, '_>, secrets: &Known, log: &mut Log<'_>) -> Option<Secret> {
    let node = section.value("credentials").filter(|node| !matches!(node.value, Value::Refused))?;
    secret::read(node, "credentials", &section.shown("credentials"), secrets, log)
}
