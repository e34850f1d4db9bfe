//! The table of keys.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::schema::{Field, Type, WEEKDAYS, field};

pub(super) const ROOT: &str = "";
pub(super) const METADATA: &str = "metadata";
pub(super) const SPEC: &str = "spec";
pub(super) const FEED: &str = "spec.feeds.<feed>";
pub(super) const SYMBOLS: &str = "spec.feeds.<feed>.symbols";
pub(super) const SYMBOL: &str = "spec.feeds.<feed>.symbols[]";
pub(super) const FILTER: &str = "spec.feeds.<feed>.symbols.filters[]";
pub(super) const SHARD: &str = "spec.feeds.<feed>.shards[]";
/// The key under which credentials are named: whatever else stands there is kept out of messages.
pub(super) const KEYS: &str = "keys";
pub(super) const SECRET: &str = "<secret>";
pub(super) const SCHEDULE: &str = "spec.schedule";
pub(super) const MARKET_HOURS: &str = "spec.schedule.market_hours";
pub(super) const TRANSPORT: &str = "spec.transport";
pub(super) const TRANSPORT_NATS: &str = "spec.transport.nats";
pub(super) const TRANSPORT_MQTT: &str = "spec.transport.mqtt";
pub(super) const JOURNAL: &str = "spec.journal";
pub(super) const JOURNAL_NATS: &str = "spec.journal.nats";
pub(super) const JETSTREAM: &str = "spec.jetstream";
pub(super) const CACHE: &str = "spec.cache";
pub(super) const CACHE_REDIS: &str = "spec.cache.redis";
pub(super) const CACHE_NATS: &str = "spec.cache.nats";
pub(super) const STORAGE: &str = "spec.storage";
pub(super) const BUCKET: &str = "spec.storage.<kind>";
pub(super) const CLIENT: &str = "spec.clients[]";
pub(super) const ENTITLEMENT: &str = "spec.entitlements[]";
pub(super) const GATEWAY: &str = "spec.gateway";
pub(super) const ALERTS: &str = "spec.alerts";

/// The longest text of a description, a label or a name for people, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// The longest path of a file, in bytes.
const PATH_BYTES_MAX: usize = 4096;
const TEXT: Type = Type::Text(TEXT_BYTES_MAX);
const SYMBOL_LIST: Type = Type::ListOf(&Type::AnyOf(&[Type::Symbol, Type::Section(SYMBOL)]));
const SYMBOL_CHOICE: Type = Type::AnyOf(&[SYMBOL_LIST, Type::Section(SYMBOLS)]);
const NATS: Type = Type::Address(&["nats", "tls", "ws", "wss"]);
const CLIENT_TYPE: Type = Type::Word(&["display", "non-display", "trading"]);
const DAYS: Type = Type::ListOf(&Type::Word(WEEKDAYS));
/// The most sessions or shards of one feed: more is a slip of the keyboard, and a ban at the venue.
const SHARDS_MAX: u64 = 64;

const NATS_URL: Field = field("", "url", NATS).or("`$NATS_URL`").says("nats://127.0.0.1:4222", "The server.");
const STREAM: &str = "The JetStream stream. Letters, digits, `-`, `_` and `.`.";
const CREDENTIALS: Field = field("", "credentials", Type::Secret)
    .or("none")
    .says("{ secret: nats }", "What the server wants to be shown: a secret by name.");
const LOGIN: Field = field("", "credentials", Type::Secret).or("none").says(
    "{ secret: redis }",
    "What the server wants to be shown: a secret by name, of the form `user:password`, or a password alone.",
);
const RETENTION_HOURS: Field = field("", "retention_hours", Type::Whole(1, 24 * 366))
    .or("`24`")
    .says("24", "How long entries are kept.");
const MAX_BYTES: Field = field("", "max_bytes", Type::Bytes).or("no limit").says(
    "10GB",
    "The most that may be kept: a number of bytes, or one with its unit (`KB`, `MB`, `GB`, `TB` of 1000; `KiB`, `MiB`, `GiB`, `TiB` of 1024).",
);
const REPLICAS: Field = field("", "replicas", Type::Whole(1, 5)).or("`1`").says("3", "On how many servers.");
const RECORD_FORMAT: Field = field("", "format", Type::Word(&["json", "capnp"])).or("`json`").says(
    "capnp",
    "How records are written, which is a part of every subject: `json`, or `capnp` ([records](formats/records.md)).",
);
const CA: Field = field("", "ca", Type::Text(PATH_BYTES_MAX))
    .or("the system's own list")
    .says("/etc/ssmd/ca.pem", "The file that says who may vouch for the server, in PEM. It asks for TLS.");
const CERT: Field = field("", "cert", Type::Text(PATH_BYTES_MAX)).or("none").says(
    "/etc/ssmd/client.pem",
    "The certificate that is shown to the server: a file in PEM, read anew for each connection. Only together with `key`.",
);
const CERT_OF_START: Field = field("", "cert", Type::Text(PATH_BYTES_MAX)).or("none").says(
    "/etc/ssmd/client.pem",
    "The certificate that is shown to the server: a file in PEM, read at the start. Only together with `key` and `ca`.",
);
const KEY: Field = field("", "key", Type::Text(PATH_BYTES_MAX))
    .or("none")
    .says("/etc/ssmd/client.key", "The file of the certificate's key, in PEM. Only together with `cert`.");

const fn of(section: &'static str, field: Field) -> Field {
    Field { section, ..field }
}

/// Every key that may stand in a document.
pub const FIELDS: &[Field] = &[
    field(ROOT, "apiVersion", Type::Fixed("ssmd/v1")).says("ssmd/v1", "The version of the document's form."),
    field(ROOT, "kind", Type::Fixed("Environment")).says("Environment", "What the document declares."),
    field(ROOT, "metadata", Type::Section(METADATA)).says("{ name: dev }", "What the environment is called."),
    field(ROOT, "spec", Type::Section(SPEC)).says("{ feeds: … }", "What runs."),
    field(ROOT, "extends", TEXT).or("none").says(
        "base.yaml",
        "The document that this one builds on: a path relative to this document, or a name, which means `NAME.yaml` beside it.",
    ),
    // What it is called.
    field(METADATA, "name", Type::Environment).says(
        "prod-eu",
        "A lower-case letter, then lower-case letters, digits and hyphens, 48 bytes at most. It is the first part of every subject.",
    ),
    field(METADATA, "description", TEXT).or("none").says("\"the recorder at home\"", "A word for people."),
    field(METADATA, "labels", Type::MapOf(&TEXT)).or("none").says(
        "{ team: research }",
        "Whatever helps to find it: names with text. They change nothing.",
    ),
    field(METADATA, "annotations", Type::MapOf(&TEXT)).or("none").says(
        "{ ticket: \"OPS-7\" }",
        "Notes of other programs: names with text. They change nothing.",
    ),
    // What runs.
    field(SPEC, "feeds", Type::Feeds(FEED)).or("the one feed of `feed`").says(
        "{ kraken: … }",
        "What is recorded: at least one feed, each under its name in `ssmd feed list`.",
    ),
    field(SPEC, "feed", Type::Feed).or("none; `feeds` says it").says(
        "kalshi",
        "Another spelling for an environment of one feed: its name here, its `symbols` beside it. Not together with `feeds`.",
    ),
    field(SPEC, "symbols", SYMBOL_CHOICE).or("none; each feed says its own").says(
        "{ sync: true }",
        "The symbols of the feed that `feed` names, as in `spec.feeds.<feed>.symbols`. Only together with `feed`.",
    ),
    field(SPEC, "schedule", Type::Section(SCHEDULE)).or("it runs always").later().says(
        "{ timezone: UTC, startup: \"00:10\", teardown: \"00:00\" }",
        "When it starts and ends by itself. Without it a day rolls without closing a socket.",
    ),
    field(SPEC, "transport", Type::AnyOf(&[Type::Word(&["memory"]), Type::Section(TRANSPORT)])).or("`memory`").says(
        "{ nats: { url: nats://127.0.0.1:4222 } }",
        "Where records are told as they are decoded. `memory`: inside the process, for `ssmd tail`.",
    ),
    field(SPEC, "journal", Type::AnyOf(&[Type::Word(&["local"]), Type::Section(JOURNAL)])).or("`local`").says(
        "local",
        "Where entries are journaled. `local`: the log in the data folder is the journal. `{ nats: … }`: the log is copied to JetStream, where other machines read it.",
    ),
    field(SPEC, "jetstream", Type::Section(JETSTREAM)).or("none").says(
        "{ retention_hours: 24, max_bytes: 10GB }",
        "Another spelling of `journal: { nats: … }`. Not together with `journal`.",
    ),
    field(SPEC, "cache", Type::AnyOf(&[Type::Word(&["memory"]), Type::Section(CACHE)])).or("`memory`").says(
        "{ redis: { url: redis://127.0.0.1:6379 } }",
        "Where the latest value of each symbol is kept.",
    ),
    field(SPEC, "store", Type::Store).or("`file:./ssmd-data/store`").says(
        "file:///var/lib/ssmd/store",
        "Where the archive is kept. A path that does not start with `/` is relative to the working directory.",
    ),
    field(SPEC, "storage", Type::Section(STORAGE)).or("`store` says it").says(
        "{ raw: { bucket: ssmd-dev-raw } }",
        "The buckets of the archive, instead of `store`.",
    ),
    field(SPEC, "secrets", Type::MapOf(&Type::AnyOf(&[Type::Secret, Type::Mounted]))).or("none").says(
        "{ kalshi: { file: kalshi.pem }, nats: sealed-secret/nats-creds }",
        "Secrets under names of their own, for whoever refers to them by `{ secret: NAME }`: `{ env: VARIABLE }`, `{ file: PATH }`, or Kubernetes' `sealed-secret/NAME` and `secret/NAME`.",
    ),
    field(SPEC, "clients", Type::ListOf(&Type::Section(CLIENT))).or("none").later().says(
        "[{ client_id: bot, type: trading }]",
        "Who may be served.",
    ),
    field(SPEC, "entitlements", Type::ListOf(&Type::Section(ENTITLEMENT))).or("none").later().says(
        "[{ client_id: bot, feeds: [kraken], symbols: [\"*\"] }]",
        "What each client may see. Nobody sees what no line allows.",
    ),
    field(SPEC, "gateway", Type::Section(GATEWAY)).or("none").later().says(
        "{ listen: 127.0.0.1:9700 }",
        "The door for clients: WebSocket and REST.",
    ),
    field(SPEC, "alerts", Type::Section(ALERTS)).or("none").later().says(
        "{ silent: 60s }",
        "When someone must come.",
    ),
    // A feed.
    field(FEED, "enabled", Type::Truth).or("`true`").says("false", "Whether it is recorded."),
    field(FEED, "channels", Type::ListOf(&Type::Channel)).or("the venue's start").says(
        "[trade, \"book:25\", \"ticker:bbo\"]",
        "What to subscribe to: the venue's names, each with the venue's option behind a colon where it takes one. `[\"*\"]` means every channel, each with its default option. Without it: the venue's start, for Kraken `ticker`, `trade` and `book`.",
    ),
    field(FEED, "symbols", SYMBOL_CHOICE).or("none; only beside a list of `shards`").says(
        "[\"BTC/USD\", \"ETH/*\"]",
        "The venue's own names, or patterns in which `*` stands for anything; with a pattern the venue is asked what there is. An item may be a map that says more about one symbol, and a map instead of the list says what of the venue's universe is wanted. Beside a list of `shards`: what of it no share takes is one more share, the last.",
    ),
    field(FEED, "url", Type::Address(&["wss", "ws"])).or("the venue's own").says(
        "wss://ws.kraken.com/v2",
        "The WebSocket address. `ws://` only on this machine, unless `allow_plaintext` says otherwise.",
    ),
    field(FEED, "rest", Type::Address(&["https", "http"])).or("the venue's own").says(
        "https://api.kraken.com",
        "The REST address. `http://` only on this machine, unless `allow_plaintext` says otherwise.",
    ),
    field(FEED, "depth", Type::Whole(1, 100_000)).or("the venue's own").says(
        "25",
        "Levels a side of books, where a channel does not say. One of the depths that the venue has.",
    ),
    field(FEED, "category", Type::Name).or("none").says(
        "crypto",
        "A part of every subject behind the feed's name: `prod.kalshi.crypto.json.trade.KXBTC15M-…`. A lower-case letter, then lower-case letters, digits and hyphens.",
    ),
    field(FEED, "shards", Type::AnyOf(&[Type::Whole(1, SHARDS_MAX), Type::ListOf(&Type::Section(SHARD))]))
        .or("as many as the venue's limits ask for")
        .says(
            "4",
            "How many shares the symbols are split into, evenly, each with a session of its own, or more where the venue's limits ask for them; or a list that says which share has which symbols and category. A symbol that several of them mean is the first one's.",
        ),
    field(FEED, "redundancy", Type::Whole(1, 4)).or("`1`").says(
        "2",
        "How many sessions hear the same, for each share of the symbols. Each is archived; live records are [merged](reliability.md#two-connections).",
    ),
    field(FEED, "twin_url", Type::Address(&["wss", "ws"])).or("none").says(
        "wss://ws.kraken.com/v2",
        "With `redundancy`: the WebSocket address of every second of the sessions that hear the same. Without it: `url`.",
    ),
    field(FEED, "dialer", Type::Word(&["rust", "echidna", "echidna-native"])).or("`rust`").says(
        "rust",
        "Whose sockets: ours, or those of libechidna, in a build that has it ([how](libechidna.md)).",
    ),
    field(FEED, "allow_plaintext", Type::Truth).or("`false`").says(
        "true",
        "Allows `ws://` and `http://` to other machines: everything, keys included, can then be read and changed on the way.",
    ),
    field(FEED, KEYS, Type::MapOf(&Type::Secret)).or("none").says(
        "{ api_key: { env: KALSHI_API_KEY } }",
        "The venue's credentials by name, each as `{ env: VARIABLE }`, `{ file: PATH }` or `{ secret: NAME }`. The document never holds a secret itself. Venues whose market data is public take none.",
    ),
    // Symbols.
    field(SYMBOL, "name", Type::Symbol).says("BTC/USD", "The venue's own name. No pattern."),
    field(SYMBOL, "internal", Type::Id).or("none").says("BTCUSD", "Our own name for it. Each stands once."),
    field(SYMBOL, "depth", Type::AnyOf(&[Type::Word(&["l1", "l2"]), Type::Whole(1, 100_000)]))
        .or("as the feed's channels say")
        .says(
            "l2",
            "`l1`: the feed's channels without the book. `l2`: with the book, also where no channel says so. A number: the book with so many levels, one of the depths that the venue has.",
        ),
    field(SYMBOLS, "sync", Type::Truth).or("`true`").says(
        "true",
        "Whether the venue is asked again and again, so that what is listed later is recorded too. `false`: once, at start.",
    ),
    field(SYMBOLS, "names", Type::ListOf(&Type::AnyOf(&[Type::Symbol, Type::Section(SYMBOL)])))
        .or("`[\"*\"]`")
        .says(
            "[\"KXBTC*\"]",
            "Names, which are wanted whatever the filters say, and patterns, of which is wanted what fits the filters.",
        ),
    field(SYMBOLS, "filters", Type::ListOf(&Type::Section(FILTER))).or("none").says(
        "[{ category: crypto }, { close_within: 7d }]",
        "Only symbols that fit. Each item is one condition; several on the same key mean any of them, different keys mean all.",
    ),
    field(FILTER, "category", TEXT).or("any").says("crypto", "In this category of the venue."),
    field(FILTER, "series", TEXT).or("any").says("KXBTCD", "In this series of the venue."),
    field(FILTER, "status", TEXT).or("any").says("open", "In this state, in the venue's words."),
    field(FILTER, "close_within", Type::Duration).or("any").says("7d", "Closing within this time from now."),
    field(FILTER, "volume", Type::Decimal).or("any").says("1000", "With at least this volume, in the venue's unit."),
    field(SHARD, "category", Type::Name).or("the feed's").says("crypto", "As `category` of the feed, for this share."),
    field(SHARD, "symbols", SYMBOL_CHOICE).says("[\"KXBTC*\"]", "As `symbols` of the feed: the share's own."),
    // When.
    field(SCHEDULE, "timezone", Type::Zone).or("`UTC`").says("UTC", "Of every time in this section. IANA's name."),
    field(SCHEDULE, "startup", Type::TimeOfDay).or("never; it runs always").says(
        "\"00:10\"",
        "When it starts. Only together with `teardown`.",
    ),
    field(SCHEDULE, "teardown", Type::TimeOfDay).or("never").says(
        "\"00:00\"",
        "When it ends, in order: stop, drain, commit, verify. Only together with `startup`.",
    ),
    field(SCHEDULE, "days", DAYS).or("every day").says("[mon, tue, wed, thu, fri]", "The days on which it starts."),
    field(SCHEDULE, "market_hours", Type::Section(MARKET_HOURS)).or("always open").says(
        "{ open: \"09:30\", close: \"16:00\" }",
        "When silence is a fault. A close before the open is on the next day.",
    ),
    field(MARKET_HOURS, "open", Type::TimeOfDay).says("\"09:30\"", "When the market opens."),
    field(MARKET_HOURS, "close", Type::TimeOfDay).says("\"16:00\"", "When it closes."),
    field(MARKET_HOURS, "days", DAYS).or("every day").says("[mon, tue, wed, thu, fri]", "The days on which it opens."),
    // Backends.
    field(TRANSPORT, "nats", Type::Section(TRANSPORT_NATS)).or("another one").says("{ url: nats://… }", "NATS core."),
    field(TRANSPORT, "mqtt", Type::Section(TRANSPORT_MQTT)).or("another one").says("{ url: mqtt://… }", "MQTT 5."),
    field(TRANSPORT, "type", Type::Word(&["nats", "mqtt"])).or("none").says(
        "nats",
        "Another spelling: the kind here, its keys beside it.",
    ),
    field(TRANSPORT, "url", Type::AnyOf(&[NATS, Type::Address(&["mqtt", "mqtts"])])).or("none").says(
        "nats://127.0.0.1:4222",
        "With `type`: the server.",
    ),
    field(TRANSPORT, "stream", Type::Id).or("none").says("ssmd-kalshi", "With `type: nats`: as `nats.stream`."),
    of(TRANSPORT_NATS, NATS_URL),
    field(TRANSPORT_NATS, "stream", Type::Id).or("none; nothing is kept").says(
        "ssmd-kalshi",
        "The JetStream stream that keeps the records for those who come late: another one than the journal's. Letters, digits, `-` and `_`.",
    ),
    field(TRANSPORT_NATS, "retention_hours", Type::Whole(1, 24 * 366)).or("`24`").says(
        "24",
        "With `stream`: how long it keeps records.",
    ),
    of(TRANSPORT_NATS, MAX_BYTES),
    of(TRANSPORT_NATS, REPLICAS),
    of(TRANSPORT_NATS, RECORD_FORMAT),
    of(TRANSPORT_NATS, CA),
    of(TRANSPORT_NATS, CERT),
    of(TRANSPORT_NATS, KEY),
    of(TRANSPORT_NATS, CREDENTIALS),
    field(TRANSPORT_MQTT, "url", Type::Address(&["mqtts", "mqtt"])).says("mqtt://127.0.0.1:1883", "The broker."),
    field(TRANSPORT_MQTT, "qos", Type::Whole(0, 2)).or("`0`").says("1", "MQTT's quality of service."),
    of(TRANSPORT_MQTT, RECORD_FORMAT),
    of(TRANSPORT_MQTT, CA),
    of(TRANSPORT_MQTT, CERT_OF_START),
    of(TRANSPORT_MQTT, KEY),
    of(TRANSPORT_MQTT, LOGIN),
    field(JOURNAL, "nats", Type::Section(JOURNAL_NATS)).says("{ url: nats://… }", "NATS JetStream."),
    of(JOURNAL_NATS, NATS_URL),
    field(JOURNAL_NATS, "stream", Type::Id).or("`ssmd-` and the environment's name").says("ssmd-dev", STREAM),
    of(JOURNAL_NATS, RETENTION_HOURS),
    of(JOURNAL_NATS, MAX_BYTES),
    of(JOURNAL_NATS, REPLICAS),
    of(JOURNAL_NATS, CA),
    of(JOURNAL_NATS, CERT),
    of(JOURNAL_NATS, KEY),
    of(JOURNAL_NATS, CREDENTIALS),
    of(JETSTREAM, NATS_URL),
    field(JETSTREAM, "stream", Type::Id).or("`ssmd-` and the environment's name").says("ssmd-dev", STREAM),
    of(JETSTREAM, RETENTION_HOURS),
    of(JETSTREAM, MAX_BYTES),
    of(JETSTREAM, REPLICAS),
    of(JETSTREAM, CA),
    of(JETSTREAM, CERT),
    of(JETSTREAM, KEY),
    of(JETSTREAM, CREDENTIALS),
    field(CACHE, "redis", Type::Section(CACHE_REDIS)).or("another one").says("{ url: redis://… }", "Redis."),
    field(CACHE, "nats", Type::Section(CACHE_NATS)).or("another one").says("{ bucket: ssmd }", "NATS KV."),
    field(CACHE_REDIS, "url", Type::Address(&["rediss", "redis"])).or("`$REDIS_URL`").says(
        "redis://127.0.0.1:6379",
        "The server.",
    ),
    of(CACHE_REDIS, CA),
    of(CACHE_REDIS, CERT_OF_START),
    of(CACHE_REDIS, KEY),
    of(CACHE_REDIS, LOGIN),
    of(CACHE_NATS, NATS_URL),
    field(CACHE_NATS, "bucket", Type::Id).or("`ssmd-` and the environment's name").says("ssmd-dev", "The bucket of NATS KV."),
    of(CACHE_NATS, CA),
    of(CACHE_NATS, CERT),
    of(CACHE_NATS, KEY),
    of(CACHE_NATS, CREDENTIALS),
    // Buckets.
    field(STORAGE, "raw", Type::Section(BUCKET)).or("none").says("{ bucket: ssmd-dev-raw }", "What was heard, byte for byte."),
    field(STORAGE, "normalized", Type::Section(BUCKET)).or("none").later().says(
        "{ bucket: ssmd-dev-normalized }",
        "What was decoded of it. It can be made again.",
    ),
    field(BUCKET, "bucket", Type::Bucket).says(
        "ssmd-prod-raw",
        "`ssmd-`, the environment's name if it shares the store with others, and `raw` or `normalized`.",
    ),
    field(BUCKET, "endpoint", Type::Endpoint).or("AWS'").says(
        "s3.homelab.local",
        "Who keeps it. Without a scheme: `https://`. `http://` only on this machine, unless `allow_plaintext` says otherwise.",
    ),
    field(BUCKET, "region", Type::Id).or("`us-east-1`").says("garage", "The region, as the endpoint calls it."),
    field(BUCKET, "allow_plaintext", Type::Truth).or("`false`").says(
        "true",
        "Whether the endpoint may be `http://` on another machine: everybody on the way can read and change what is sent.",
    ),
    field(BUCKET, KEYS, Type::MapOf(&Type::Secret)).or("`$AWS_ACCESS_KEY_ID` and `$AWS_SECRET_ACCESS_KEY`").says(
        "{ access_key_id: { env: S3_KEY }, secret_access_key: { env: S3_SECRET } }",
        "`access_key_id` and `secret_access_key`, each a secret by name.",
    ),
    field(BUCKET, "retention_days", Type::Days).or("`-1`").says(
        "-1",
        "How long objects are kept; `-1` is for ever. Another number is read and checked, and not built yet.",
    ),
    // Secrets.
    field(SECRET, "env", TEXT).or("another way").says("KALSHI_API_KEY", "The environment variable that holds it."),
    field(SECRET, "file", Type::Text(PATH_BYTES_MAX)).or("another way").says(
        "kalshi.pem",
        "The file that holds it. White space at its end is not part of it.",
    ),
    field(SECRET, "secret", Type::Id).or("another way").says("kalshi", "Its name in `spec.secrets`."),
    field(SECRET, "key", Type::Id).or("the key's own name").says(
        "api_key",
        "Together with `secret`, where that is one of Kubernetes: which of the secret's keys.",
    ),
    // Who may see what.
    field(CLIENT, "client_id", Type::Id).says("research-bot", "Its identifier. Each stands once."),
    field(CLIENT, "name", TEXT).or("its identifier").says("\"Research Bot\"", "A name for people."),
    field(CLIENT, "type", CLIENT_TYPE).or("`display`").says("non-display", "What it does with the data, in exchanges' words."),
    field(CLIENT, "devices", Type::Whole(1, 10_000)).or("no limit").says("2", "How many connections it may have at once."),
    field(ENTITLEMENT, "client_id", Type::Id).says(
        "research-bot",
        "Whose. A line with `name` or `type` says who that is; without them `clients`, or another line, does.",
    ),
    field(ENTITLEMENT, "name", TEXT).or("as in `clients`").says("\"Research Bot\"", "As in `clients`."),
    field(ENTITLEMENT, "type", CLIENT_TYPE).or("as in `clients`").says("trading", "As in `clients`."),
    field(ENTITLEMENT, "feeds", Type::ListOf(&Type::AnyOf(&[Type::Feed, Type::Fixed("*")]))).says(
        "[kraken]",
        "Of which feeds of this document. `\"*\"`: of all.",
    ),
    field(ENTITLEMENT, "symbols", Type::ListOf(&Type::Symbol)).or("`[\"*\"]`").says(
        "[BTCUSD, \"ETH*\"]",
        "Which symbols, by the venue's name or by ours, or patterns of either.",
    ),
    field(ENTITLEMENT, "data_types", Type::ListOf(&Type::Word(DATA_TYPES))).or("all").says("[trade, quote]", "Which records."),
    field(ENTITLEMENT, "expires_at", Type::Moment).or("never").says("2027-01-01", "From when on no longer."),
    // The door, and the bell.
    field(GATEWAY, "listen", Type::Listen).says("127.0.0.1:9700", "Where it listens."),
    field(GATEWAY, "connections_max", Type::Whole(1, 1_000_000)).or("`1000`").says("200", "How many clients at once."),
    field(ALERTS, "disconnected", Type::Duration).or("none").says("30s", "A session is away for longer."),
    field(ALERTS, "archiver_lag", Type::Duration).or("none").says("5m", "The archive is further behind."),
    field(ALERTS, "journal_percent", Type::Whole(1, 100)).or("none").says("80", "The journal is fuller."),
    field(ALERTS, "silent", Type::Duration).or("none").says("60s", "No frame for longer, in market hours."),
    field(ALERTS, "webhook", Type::Address(&["https", "http"])).or("none").says(
        "https://hooks.example.com/ssmd",
        "Who is told. `http://` only on this machine.",
    ),
];

/// Records that an entitlement can name.
pub(super) const DATA_TYPES: &[&str] = &["trade", "quote", "ticker", "book", "bar", "status", "funding"];

/// A key that has a meaning, and is refused wherever it stands.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    /// The section it stands in, as for [`Field::section`].
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
}

/// Every key that is refused as "not built yet", also where nothing is to start.
pub const LATER: &[Later] = &[Later { section: SPEC, key: "extends" }];

/// Where the fields of each section stand: together, in the table. A document of thousands of symbols asks for
/// the same few fields thousands of times.
static SECTIONS: LazyLock<HashMap<&'static str, &'static [Field]>> = LazyLock::new(|| {
    FIELDS.chunk_by(|a, b| a.section == b.section).map(|fields| (fields[0].section, fields)).collect()
});

/// The fields of one section.
pub(super) fn fields(section: &str) -> impl Iterator<Item = &'static Field> + use<> {
    SECTIONS.get(section).copied().unwrap_or_default().iter()
}

/// Whether what stands under this key may be a secret, whatever it is.
pub(super) fn is_secret(key: &str) -> bool {
    matches!(key, KEYS | "secrets" | "credentials")
}

/// One field.
pub(super) fn find(section: &str, key: &str) -> Option<&'static Field> {
    fields(section).find(|field| field.key == key)
}

/// Whether this key is one of a later version.
pub(super) fn is_later(section: &str, key: &str) -> bool {
    LATER.iter().any(|later| later.section == section && later.key == key)
}
