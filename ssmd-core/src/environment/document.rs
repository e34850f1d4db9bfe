//! An environment as a document again: in one form whatever form it was written in, and its hash.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::backends::RETENTION_HOURS;
use super::spec::{
    BucketSpec, CacheSpec, JetStreamSpec, RecordFormat, RecordStreamSpec, ScheduleSpec, SecretSpec,
    ShardsSpec, StorageSpec, SymbolDepth, SymbolDetail, TlsSpec, TransportSpec, Window,
};
use super::symbols::show_filters;
use super::values::show_duration;
use super::{
    API_VERSION, DialerSpec, Environment, FeedSpec, JournalSpec, KIND, STORE_DEFAULT, Secret, SymbolFilters,
};

/// Keys that are put in where they say something: what is absent means the default.
#[derive(Default)]
struct Keys(Map<String, Value>);

impl Keys {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        };
        if !empty {
            self.0.insert(key.to_owned(), value);
        }
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.put(key, value);
        self
    }

    fn tls(self, tls: &TlsSpec) -> Self {
        let identity = tls.identity.as_ref();
        self.with("ca", tls.ca.clone())
            .with("cert", identity.map(|(cert, _)| cert.as_str()))
            .with("key", identity.map(|(_, key)| key.as_str()))
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

impl Environment {
    /// The whole environment as a document, with its defaults left out and its references resolved: read again, it
    /// says the same. Keys are those of `docs/environment.md`. It holds no secret, only their names.
    pub fn document(&self) -> Value {
        let about = &self.about;
        let metadata = Keys::default()
            .with("name", self.name.as_str())
            .with("description", about.description.clone())
            .with("labels", json!(about.labels))
            .with("annotations", json!(about.annotations));
        let feeds: Map<_, _> = self.feeds.iter().map(|spec| (spec.name.to_string(), feed(spec))).collect();
        let store = self.store.to_string();
        let (clients, entitlements) = (clients(self), entitlements(self));
        let spec = Keys::default()
            .with("feeds", feeds)
            .with("journal", journal(&self.journal))
            .with("store", (store != STORE_DEFAULT).then_some(store))
            .with("storage", self.storage.as_ref().map(storage))
            .with("transport", transport(&self.transport))
            .with("cache", cache(&self.cache))
            .with("schedule", self.schedule.as_ref().map(schedule))
            .with("secrets", secrets(self))
            .with("clients", clients)
            .with("entitlements", entitlements)
            .with("gateway", gateway(self))
            .with("alerts", alerts(self));
        json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": metadata.done(),
            "spec": spec.done(),
        })
    }

    /// [`Environment::document`] on one line, the same for documents that say the same.
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        canonical(&self.document(), &mut text);
        text
    }

    /// The SHA-256 of [`Environment::canonical`], in hexadecimal digits: the same for documents that say the same,
    /// however they are written and in whatever order their keys stand.
    ///
    /// A key that a later version adds changes no hash of a document without it.
    pub fn hash(&self) -> String {
        Sha256::digest(self.canonical().as_bytes()).iter().fold(
            String::with_capacity(64),
            |mut hash, byte| {
                // Writing to a `String` cannot fail.
                let _ = write!(hash, "{byte:02x}");
                hash
            },
        )
    }
}

/// JSON without white space, keys in the order of their bytes, whatever order the map keeps.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            out.push('{');
            for (at, (key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::from(key.as_str()));
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

fn feed(spec: &FeedSpec) -> Value {
    let channels: Vec<_> = spec.channels.iter().map(ToString::to_string).collect();
    Keys::default()
        .with("enabled", (!spec.enabled).then_some(false))
        .with("channels", channels)
        .with("symbols", symbols(&spec.symbols, Some(&spec.details), &spec.filters, spec.sync))
        .with("url", spec.url.clone())
        .with("twin_url", spec.twin_url.clone())
        .with("rest", spec.rest.clone())
        .with("depth", spec.depth)
        .with("category", spec.category.clone())
        .with("shards", spec.shards.as_ref().map(shards))
        .with("redundancy", (spec.redundancy != 1).then_some(spec.redundancy))
        .with("dialer", (spec.dialer != DialerSpec::Rust).then(|| spec.dialer.word()))
        .with("allow_plaintext", spec.allow_plaintext.then_some(true))
        .with("keys", keys(&spec.keys))
        .done()
}

fn symbols(
    names: &[String],
    details: Option<&std::collections::BTreeMap<String, SymbolDetail>>,
    filters: &SymbolFilters,
    sync: bool,
) -> Value {
    let named = |name: &String| match details.and_then(|details| details.get(name)) {
        Some(detail) => symbol(name, detail),
        None => Value::from(name.as_str()),
    };
    let list: Vec<_> = names.iter().map(named).collect();
    if sync && filters.is_empty() {
        return list.into();
    }
    Keys::default()
        .with("sync", (!sync).then_some(false))
        .with("names", (names != ["*"]).then_some(list))
        .with("filters", show_filters(filters))
        .done()
}

fn symbol(name: &str, detail: &SymbolDetail) -> Value {
    let depth = detail.depth.map(|depth| match depth {
        SymbolDepth::L1 => Value::from("l1"),
        SymbolDepth::L2 => Value::from("l2"),
        SymbolDepth::Levels(levels) => Value::from(levels),
    });
    Keys::default().with("name", name).with("internal", detail.internal.clone()).with("depth", depth).done()
}

fn shards(shards: &ShardsSpec) -> Value {
    match shards {
        ShardsSpec::Count(count) => Value::from(*count),
        ShardsSpec::Listed(shards) => shards
            .iter()
            .map(|shard| {
                let of = &shard.symbols;
                Keys::default()
                    .with("category", shard.category.clone())
                    .with("symbols", symbols(&of.names, Some(&of.details), &of.filters, of.sync))
                    .done()
            })
            .collect(),
    }
}

fn keys(keys: &std::collections::BTreeMap<String, Secret>) -> Value {
    json!(keys)
}

fn journal(journal: &JournalSpec) -> Value {
    match journal {
        JournalSpec::Local => Value::Null,
        JournalSpec::JetStream(JetStreamSpec {
            url,
            stream,
            retention_hours,
            max_bytes,
            replicas,
            tls,
            credentials,
        }) => {
            let nats = Keys::default()
                .with("url", url.clone())
                .with("stream", stream.clone())
                .with("retention_hours", *retention_hours)
                .with("max_bytes", *max_bytes)
                .with("replicas", *replicas)
                .tls(tls)
                .with("credentials", json!(credentials));
            json!({ "nats": nats.done() })
        }
    }
}

fn transport(transport: &TransportSpec) -> Value {
    match transport {
        TransportSpec::Memory => Value::Null,
        TransportSpec::Nats { url, stream, format, tls, credentials } => {
            let mut nats = Keys::default().with("url", url.clone());
            if let Some(RecordStreamSpec { name, retention_hours, max_bytes, replicas }) = stream {
                nats = nats
                    .with("stream", name.as_str())
                    .with(
                        "retention_hours",
                        (*retention_hours != RETENTION_HOURS).then_some(*retention_hours),
                    )
                    .with("max_bytes", *max_bytes)
                    .with("replicas", (*replicas != 1).then_some(*replicas));
            }
            let nats = nats.with("format", written(*format)).tls(tls).with("credentials", json!(credentials));
            json!({ "nats": nats.done() })
        }
        TransportSpec::Mqtt { url, qos, format, tls, credentials } => {
            let mqtt = Keys::default()
                .with("url", url.as_str())
                .with("qos", (*qos != 0).then_some(*qos))
                .with("format", written(*format))
                .tls(tls)
                .with("credentials", json!(credentials));
            json!({ "mqtt": mqtt.done() })
        }
    }
}

/// A format that is not the default.
fn written(format: RecordFormat) -> Option<&'static str> {
    (format != RecordFormat::default()).then_some(format.word())
}

fn cache(cache: &CacheSpec) -> Value {
    match cache {
        CacheSpec::Memory => Value::Null,
        CacheSpec::Redis { url, tls, credentials } => {
            let redis =
                Keys::default().with("url", url.clone()).tls(tls).with("credentials", json!(credentials));
            json!({ "redis": redis.done() })
        }
        CacheSpec::Nats { url, bucket, tls, credentials } => {
            let nats = Keys::default()
                .with("url", url.clone())
                .with("bucket", bucket.clone())
                .tls(tls)
                .with("credentials", json!(credentials));
            json!({ "nats": nats.done() })
        }
    }
}

fn storage(storage: &StorageSpec) -> Value {
    let bucket = |spec: &BucketSpec| {
        Keys::default()
            .with("bucket", spec.bucket.as_str())
            .with("endpoint", spec.endpoint.clone())
            .with("region", spec.region.clone())
            .with("allow_plaintext", spec.allow_plaintext.then_some(true))
            .with("keys", keys(&spec.keys))
            .with("retention_days", spec.retention_days)
            .done()
    };
    Keys::default()
        .with("raw", storage.raw.as_ref().map(bucket))
        .with("normalized", storage.normalized.as_ref().map(bucket))
        .done()
}

fn schedule(schedule: &ScheduleSpec) -> Value {
    let times = |keys: Keys, (from, to): (&str, &str), window: &Window| {
        keys.with(from, window.start.to_string())
            .with(to, window.end.to_string())
            .with("days", window.words())
    };
    let mut keys = Keys::default().with("timezone", schedule.timezone.as_str());
    if let Some(running) = &schedule.running {
        keys = times(keys, ("startup", "teardown"), running);
    }
    let hours = schedule.market_hours.as_ref();
    let hours = hours.map(|hours| times(Keys::default(), ("open", "close"), hours).done());
    keys.with("market_hours", hours).done()
}

fn secrets(environment: &Environment) -> Value {
    let shown = |secret: &SecretSpec| match secret {
        SecretSpec::Here(secret) => json!(secret),
        SecretSpec::Mounted { sealed, name } => {
            format!("{}secret/{name}", if *sealed { "sealed-" } else { "" }).into()
        }
    };
    environment
        .secrets
        .iter()
        .map(|(name, secret)| (name.clone(), shown(secret)))
        .collect::<Map<_, _>>()
        .into()
}

fn clients(environment: &Environment) -> Vec<Value> {
    let client = |client: &super::ClientSpec| {
        Keys::default()
            .with("client_id", client.id.as_str())
            .with("name", client.name.clone())
            .with("type", client.kind.word())
            .with("devices", client.devices)
            .done()
    };
    environment.clients.iter().map(client).collect()
}

fn entitlements(environment: &Environment) -> Vec<Value> {
    let line = |line: &super::EntitlementSpec| {
        let feeds: Vec<_> = match line.feeds.as_slice() {
            [] => vec!["*".to_owned()],
            feeds => feeds.iter().map(ToString::to_string).collect(),
        };
        Keys::default()
            .with("client_id", line.client_id.as_str())
            .with("feeds", feeds)
            .with("symbols", line.symbols.clone())
            .with("data_types", line.data_types.clone())
            .with("expires_at", line.expires_at.map(|at| at.to_string()))
            .done()
    };
    environment.entitlements.iter().map(line).collect()
}

fn gateway(environment: &Environment) -> Option<Value> {
    let gateway = environment.gateway?;
    let keys = Keys::default()
        .with("listen", gateway.listen.to_string())
        .with("connections_max", gateway.connections_max);
    Some(keys.done())
}

fn alerts(environment: &Environment) -> Value {
    let alerts = &environment.alerts;
    Keys::default()
        .with("disconnected", alerts.disconnected.map(show_duration))
        .with("archiver_lag", alerts.archiver_lag.map(show_duration))
        .with("journal_percent", alerts.journal_percent)
        .with("silent", alerts.silent.map(show_duration))
        .with("webhook", alerts.webhook.clone())
        .done()
}
