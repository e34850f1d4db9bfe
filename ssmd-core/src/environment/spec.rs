//! What an environment says beyond its feeds: plain values, as they are after reading.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::Secret;
use crate::{FeedName, Timestamp};

/// When an environment starts and ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// IANA's name of the zone of every time in it.
    pub timezone: String,
    /// When it starts and when it ends; `None`: it runs always.
    pub running: Option<Window>,
    /// When silence is a fault; `None`: always.
    pub market_hours: Option<Window>,
}

/// A stretch of a day, on some days of the week. An end before the start is on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it begins.
    pub start: TimeOfDay,
    /// When it ends.
    pub end: TimeOfDay,
    /// On which days it begins, from Monday.
    pub days: [bool; 7],
}

/// A time of day: minutes since midnight, below 1440.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(pub(super) u16);

impl TimeOfDay {
    /// Minutes since midnight.
    pub fn minutes(self) -> u16 {
        self.0
    }
}

/// Where records are told as they are decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TransportSpec {
    /// Inside the process.
    #[default]
    Memory,
    /// NATS core.
    Nats {
        /// The server; `None`: `$NATS_URL`.
        url: Option<String>,
        /// The JetStream stream that keeps records for those who come late; `None`: nothing is kept.
        stream: Option<RecordStreamSpec>,
        /// How records are written.
        format: RecordFormat,
        /// TLS beyond what the address says.
        tls: TlsSpec,
        /// What the server wants to be shown.
        credentials: Option<Secret>,
    },
    /// MQTT 5.
    Mqtt {
        /// The broker.
        url: String,
        /// MQTT's quality of service, 0 to 2.
        qos: u8,
        /// How records are written.
        format: RecordFormat,
        /// TLS beyond what the address says; a certificate only with `ca`.
        tls: TlsSpec,
        /// What the broker wants to be shown.
        credentials: Option<Secret>,
    },
}

impl TransportSpec {
    /// How records are written for those who listen.
    pub fn format(&self) -> RecordFormat {
        match self {
            Self::Memory => RecordFormat::Json,
            Self::Nats { format, .. } | Self::Mqtt { format, .. } => *format,
        }
    }
}

/// A stream that keeps derived records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordStreamSpec {
    /// Its name.
    pub name: String,
    /// How long records are kept, in hours.
    pub retention_hours: u32,
    /// The most that records may take, in bytes.
    pub max_bytes: Option<u64>,
    /// On how many servers.
    pub replicas: u8,
}

/// How records are written for those who listen. Its word is a part of every subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecordFormat {
    /// JSON, one object a message.
    #[default]
    Json,
    /// Cap'n Proto, one message of `schema/ssmd.capnp` a message.
    Capnp,
}

impl RecordFormat {
    const ALL: [Self; 2] = [Self::Json, Self::Capnp];

    /// The one of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word() == word)
    }

    /// Its word in documents and subjects.
    pub fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Capnp => "capnp",
        }
    }
}

/// Files of TLS, in PEM form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSpec {
    /// Who may vouch for the server; `None`: the system's own list.
    pub ca: Option<String>,
    /// What this side shows: its certificate and the certificate's key.
    pub identity: Option<(String, String)>,
}

/// Where the latest value of each symbol is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CacheSpec {
    /// Inside the process.
    #[default]
    Memory,
    /// Redis.
    Redis {
        /// The server; `None`: `$REDIS_URL`.
        url: Option<String>,
        /// TLS beyond what the address says; a certificate only with `ca`.
        tls: TlsSpec,
        /// What the server wants to be shown.
        credentials: Option<Secret>,
    },
    /// NATS KV.
    Nats {
        /// The server; `None`: `$NATS_URL`.
        url: Option<String>,
        /// The bucket; `None`: `ssmd-` and the environment's name.
        bucket: Option<String>,
        /// TLS beyond what the address says.
        tls: TlsSpec,
        /// What the server wants to be shown.
        credentials: Option<Secret>,
    },
}

/// A journal in NATS JetStream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamSpec {
    /// The server; `None`: `$NATS_URL`.
    pub url: Option<String>,
    /// The stream; `None`: `ssmd-` and the environment's name.
    pub stream: Option<String>,
    /// How long entries are kept, in hours.
    pub retention_hours: u32,
    /// The most that entries may take, in bytes.
    pub max_bytes: Option<u64>,
    /// On how many servers.
    pub replicas: u8,
    /// TLS beyond what the address says.
    pub tls: TlsSpec,
    /// What the server wants to be shown.
    pub credentials: Option<Secret>,
}

/// The buckets of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSpec {
    /// What was heard.
    pub raw: Option<BucketSpec>,
    /// What was decoded of it.
    pub normalized: Option<BucketSpec>,
}

/// A place in a store that speaks S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Spec {
    /// The bucket's name.
    pub bucket: String,
    /// What every object's name begins with there, without slashes around it.
    pub prefix: Option<String>,
    /// Who keeps it: `https://…` or `http://…`; `None`: AWS.
    pub endpoint: Option<String>,
    /// The region, as the endpoint calls it; `None`: `us-east-1`.
    pub region: Option<String>,
    /// Whether `http://` may leave this machine.
    pub allow_plaintext: bool,
    /// `access_key_id` and `secret_access_key`; without them `$AWS_ACCESS_KEY_ID` and `$AWS_SECRET_ACCESS_KEY`.
    pub keys: BTreeMap<String, Secret>,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSpec {
    /// Its name.
    pub bucket: String,
    /// Who keeps it: `https://…` or `http://…`; `None`: AWS.
    pub endpoint: Option<String>,
    /// The region, as the endpoint calls it.
    pub region: Option<String>,
    /// Whether `http://` may leave this machine.
    pub allow_plaintext: bool,
    /// `access_key_id` and `secret_access_key`.
    pub keys: BTreeMap<String, Secret>,
    /// How many days objects are kept; `None`: for ever.
    pub retention_days: Option<u32>,
}

/// Who may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSpec {
    /// Its identifier.
    pub id: String,
    /// A name for people; `None`: its identifier.
    pub name: Option<String>,
    /// What it does with the data.
    pub kind: ClientKind,
    /// How many connections it may have at once; `None`: no limit.
    pub devices: Option<u32>,
}

/// What a client does with the data, as exchanges ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKind {
    /// People look at it.
    #[default]
    Display,
    /// Programs compute with it.
    NonDisplay,
    /// Programs trade on it.
    Trading,
}

impl ClientKind {
    /// Every kind with its word in documents.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Display, "display"), (Self::NonDisplay, "non-display"), (Self::Trading, "trading")];

    /// Its word in documents.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }
}

/// What a client may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntitlementSpec {
    /// Whose: the identifier of a client.
    pub client_id: String,
    /// Of which feeds; empty: of all.
    pub feeds: Vec<FeedName>,
    /// Which symbols, by the venue's name or by ours, or patterns of either.
    pub symbols: Vec<String>,
    /// Which records, by the words of documents; empty: all.
    pub data_types: Vec<&'static str>,
    /// From when on no longer.
    pub expires_at: Option<Timestamp>,
}

/// The door for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewaySpec {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How many clients at once.
    pub connections_max: u32,
}

/// When someone must come; `None` asks nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertsSpec {
    /// A session is away for longer.
    pub disconnected: Option<Duration>,
    /// The archive is further behind.
    pub archiver_lag: Option<Duration>,
    /// The journal is fuller, in percent of what it may take.
    pub journal_percent: Option<u8>,
    /// No frame for longer, in market hours.
    pub silent: Option<Duration>,
    /// Who is told.
    pub webhook: Option<String>,
}

/// How a secret of the document stands under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSpec {
    /// A variable or a file.
    Here(Secret),
    /// A secret of Kubernetes.
    Mounted {
        /// Whether it is a sealed one.
        sealed: bool,
        /// Its name there.
        name: String,
    },
}

/// Whose sockets a feed uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DialerSpec {
    /// Ours.
    #[default]
    Rust,
    /// Those of libechidna, over TCP and TLS of ours.
    Echidna,
    /// Those of libechidna, with its own TCP and events.
    EchidnaNative,
}

impl DialerSpec {
    const ALL: [Self; 3] = [Self::Rust, Self::Echidna, Self::EchidnaNative];

    /// The one of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialer| dialer.word() == word)
    }

    /// Its word in documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Echidna => "echidna",
            Self::EchidnaNative => "echidna-native",
        }
    }
}

/// What is said about one symbol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolDetail {
    /// Our own name for it.
    pub internal: Option<String>,
    /// How much of its book is wanted; `None`: as the feed's channels say.
    pub depth: Option<SymbolDepth>,
}

/// How much of a book is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolDepth {
    /// Best prices, no book.
    L1,
    /// The book, as deep as the feed's.
    L2,
    /// So many levels a side.
    Levels(u32),
}

/// How the symbols of a feed are spread over sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardsSpec {
    /// Over so many.
    Count(u32),
    /// As the document says.
    Listed(Vec<ShardSpec>),
}

/// One share of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSpec {
    /// A part of its subjects; `None`: the feed's.
    pub category: Option<String>,
    /// Its symbols.
    pub symbols: SymbolsSpec,
}

/// Which symbols are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolsSpec {
    /// Names or patterns of them.
    pub names: Vec<String>,
    /// What is said about some of them, by name.
    pub details: BTreeMap<String, SymbolDetail>,
    /// Whether the venue is asked again and again.
    pub sync: bool,
    /// Which part of what the patterns name.
    pub filters: super::SymbolFilters,
}
