//! Transport, journal and cache: the name of a section chooses the backend.

use super::codes::Code;
use super::fields::{self, CACHE, JOURNAL, TRANSPORT};
use super::node::Value;
use super::problem::{Draft, Log};
use super::secret::{self, Known};
use super::section::{self, Section};
use super::spec::{CacheSpec, JetStreamSpec, RecordFormat, RecordStreamSpec, TlsSpec, TransportSpec};
use super::vocabulary::one_of;
use super::{JOURNAL_DEFAULT, JournalSpec, Secret};
use crate::EnvironmentName;

/// The word for the transport and the cache inside the process.
const MEMORY: &str = "memory";
/// How long a stream keeps what it holds unless it is told otherwise.
pub(super) const RETENTION_HOURS: u32 = 24;

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
        stream: record_stream(&nats, log),
        format: format(&nats, log),
        tls: tls(&nats, log),
        credentials: credentials(&nats, secrets, log),
    });
    let mqtt = section.section("mqtt", log).map(|mqtt| {
        let url = mqtt.address("url", &[], log).unwrap_or_default();
        TransportSpec::Mqtt {
            tls: tls_of(&mqtt, &url, "mqtts", log),
            url,
            qos: mqtt.whole("qos", log).unwrap_or(0),
            format: format(&mqtt, log),
            credentials: credentials(&mqtt, secrets, log),
        }
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
    let stream = record_stream(section, log);
    let (format, tls) = (RecordFormat::default(), TlsSpec::default());
    if kind == Some("nats") {
        return Some(TransportSpec::Nats { url, stream, format, tls, credentials: None });
    }
    if kind == Some("mqtt") {
        section.require("type", "url", log);
        section.exclude("stream", "type", log);
        return Some(TransportSpec::Mqtt { url: url?, qos: 0, format, tls, credentials: None });
    }
    None
}

/// The stream that keeps records, if one is named.
fn record_stream(section: &Section<'_, '_>, log: &mut Log<'_>) -> Option<RecordStreamSpec> {
    for key in ["retention_hours", "max_bytes", "replicas"] {
        section.require(key, "stream", log);
    }
    Some(RecordStreamSpec {
        name: section.id("stream", log)?,
        retention_hours: section.whole("retention_hours", log).unwrap_or(RETENTION_HOURS),
        max_bytes: section.bytes("max_bytes", log),
        replicas: section.whole("replicas", log).unwrap_or(1),
    })
}

/// Reports a stream of records that is the journal's too: each would undo what the other declares.
pub(super) fn apart(
    spec: &Section<'_, '_>,
    name: &EnvironmentName,
    (journal, transport): (&JournalSpec, &TransportSpec),
    log: &mut Log<'_>,
) {
    let TransportSpec::Nats { stream: Some(records), .. } = transport else { return };
    let JournalSpec::JetStream(JetStreamSpec { stream, .. }) = journal else { return };
    let is_same =
        stream.as_ref().map_or_else(|| records.name == format!("ssmd-{name}"), |name| *name == records.name);
    if is_same && let Some((key, _)) = spec.get("transport") {
        let message = format!("the stream of {} is the journal's too", spec.shown("transport"));
        log.add(Draft::new(Code::Conflict, key.span, message).expected("a stream of its own"));
    }
}

fn format(section: &Section<'_, '_>, log: &mut Log<'_>) -> RecordFormat {
    section.word("format", log).and_then(RecordFormat::of_word).unwrap_or_default()
}

fn tls(section: &Section<'_, '_>, log: &mut Log<'_>) -> TlsSpec {
    section.require("cert", "key", log);
    section.require("key", "cert", log);
    TlsSpec { ca: section.text("ca", log), identity: section.text("cert", log).zip(section.text("key", log)) }
}

/// As [`tls`], where the address alone says whether TLS is spoken.
fn tls_of(section: &Section<'_, '_>, url: &str, scheme: &str, log: &mut Log<'_>) -> TlsSpec {
    if let Some((key, _)) = section.get("ca")
        && !url.starts_with(&format!("{scheme}://"))
    {
        let message = format!("{} stands beside an address without TLS", section.shown("ca"));
        log.add(Draft::new(Code::Conflict, key.span, message).expected(format!("`url: {scheme}://…`")));
    }
    section.require("cert", "ca", log);
    tls(section, log)
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
        tls: tls(section, log),
        credentials: credentials(section, secrets, log),
    }
}

/// Reads `spec.cache`.
pub(super) fn cache(spec: &Section<'_, '_>, secrets: &Known, log: &mut Log<'_>) -> CacheSpec {
    if !spec.has("cache") || spec.is_word("cache", MEMORY, Code::Backend, log) {
        return CacheSpec::Memory;
    }
    let Some(section) = spec.section("cache", log) else { return CacheSpec::Memory };
    let redis = section.section("redis", log).map(|redis| {
        let url = redis.address("url", &[], log);
        CacheSpec::Redis {
            tls: tls_of(&redis, url.as_deref().unwrap_or("rediss://"), "rediss", log),
            url,
            credentials: credentials(&redis, secrets, log),
        }
    });
    let nats = section.section("nats", log).map(|nats| CacheSpec::Nats {
        url: nats.address("url", &[], log),
        bucket: nats.id("bucket", log),
        tls: tls(&nats, log),
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
