//! The Environment document: one YAML file that declares everything that runs.
//!
//! Owns its types, how it is read, and everything that can be wrong with it. It knows no venue: what feeds there
//! are and what each of them knows comes as a [`Vocabulary`]. It reads no file and no clock, and resolves no
//! secret before somebody asks.
//!
//! A document is read in three steps, each of which finds all it can: the bytes (`source`), the YAML (`tree`),
//! the meaning (`read`). One that extends others is made one tree with them between the last two (`extend`). All problems come at once, each with its [`Code`], its place and what was expected.

mod access;
mod backends;
mod codes;
mod compare;
mod declared;
mod document;
mod edit;
mod extend;
mod feed;
mod fields;
mod json_schema;
mod node;
mod place;
mod problem;
mod read;
mod schedule;
mod schema;
mod secret;
mod section;
mod shares;
mod source;
mod sources;
mod spec;
mod storage;
mod store;
mod symbols;
mod tree;
mod url;
mod values;
mod vocabulary;

use std::collections::BTreeMap;
use std::time::Duration;

pub use codes::{CODES, Code, Explanation};
pub use compare::{Change, compare};
pub use declared::{Declared, DeclaredValue, Setting, SourceLine};
pub use edit::{Edit, Step, Value, document_name, edit, lines, read as read_yaml};
pub use extend::{Document, EXTENDS_MAX, Find, Resolved};
pub use fields::{FIELDS, LATER, Later};
pub use json_schema::json_schema;
pub use place::{Finding, Place};
pub use problem::{PROBLEMS_MAX, Problem, Problems, Span};
pub use schema::{Field, Type};
pub use secret::{Secret, SecretText};
pub use shares::Share;
pub use source::DOCUMENT_BYTES_MAX;
pub use spec::{
    AlertsSpec, BucketSpec, CacheSpec, ClientKind, ClientSpec, DialerSpec, EntitlementSpec, GatewaySpec,
    JetStreamSpec, RecordFormat, RecordStreamSpec, S3Spec, ScheduleSpec, SecretSpec, ShardSpec, ShardsSpec,
    StorageSpec, SymbolDepth, SymbolDetail, SymbolsSpec, TimeOfDay, TlsSpec, TransportSpec, Window,
};
pub use tree::NESTING_MAX;
pub use vocabulary::{ChannelWords, FeedWords, OptionWords, Starter, Vocabulary, nearest};

use crate::{Channel, Decimal, EnvironmentName, Error, ErrorKind, FeedName, Result, Symbol};

/// The value of `apiVersion`.
pub const API_VERSION: &str = "ssmd/v1";
/// The value of `kind`.
pub const KIND: &str = "Environment";
/// The store of a document that names none.
pub const STORE_DEFAULT: &str = "file:./ssmd-data/store";
/// The journal of a document that names none.
pub const JOURNAL_DEFAULT: &str = "local";

/// A whole environment, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `metadata.name`.
    pub name: EnvironmentName,
    /// The rest of `metadata`: words for people and other programs.
    pub about: About,
    /// `spec.feeds`, in the order of the document; those that are not enabled too.
    pub feeds: Vec<FeedSpec>,
    /// `spec.journal`.
    pub journal: JournalSpec,
    /// `spec.store`.
    pub store: StoreSpec,
    /// `spec.storage`, which stands instead of `spec.store`.
    pub storage: Option<StorageSpec>,
    /// `spec.transport`.
    pub transport: TransportSpec,
    /// `spec.cache`.
    pub cache: CacheSpec,
    /// `spec.schedule`; `None`: it runs always.
    pub schedule: Option<ScheduleSpec>,
    /// `spec.secrets`. Whatever refers to one of a variable or a file holds that already.
    pub secrets: BTreeMap<String, SecretSpec>,
    /// `spec.clients`, and those that a line of `spec.entitlements` says all about.
    pub clients: Vec<ClientSpec>,
    /// `spec.entitlements`.
    pub entitlements: Vec<EntitlementSpec>,
    /// `spec.gateway`.
    pub gateway: Option<GatewaySpec>,
    /// `spec.alerts`.
    pub alerts: AlertsSpec,
}

/// Words about an environment, which change nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `metadata.description`.
    pub description: Option<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// One feed of an environment. What is `None` is the venue's own default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSpec {
    /// The venue's name in the table of feeds.
    pub name: FeedName,
    /// Whether it is recorded.
    pub enabled: bool,
    /// The WebSocket address.
    pub url: Option<String>,
    /// The WebSocket address of every second of the sessions that hear the same.
    pub twin_url: Option<String>,
    /// The REST address.
    pub rest: Option<String>,
    /// What to subscribe to. `*` is expanded already.
    pub channels: Vec<Channel>,
    /// Symbols, or patterns of them in which `*` stands for anything: then the venue's universe is asked.
    pub symbols: Vec<String>,
    /// What the document says about some of the symbols, by the venue's names.
    pub details: BTreeMap<String, SymbolDetail>,
    /// What of the venue's universe is wanted.
    pub filters: SymbolFilters,
    /// Whether the universe, where it is asked, is asked again and again.
    pub sync: bool,
    /// A part of every subject behind the feed's name.
    pub category: Option<String>,
    /// How the symbols are spread over sessions.
    pub shards: Option<ShardsSpec>,
    /// How many sessions hear the same.
    pub redundancy: u32,
    /// Levels a side of books, where a channel does not say.
    pub depth: Option<u32>,
    /// Whose sockets are used.
    pub dialer: DialerSpec,
    /// Allows `ws://` and `http://` to other machines than this one.
    pub allow_plaintext: bool,
    /// The venue's credentials, by the venue's names for them. Empty for venues that need none.
    pub keys: BTreeMap<String, Secret>,
}

impl FeedSpec {
    /// A feed of which nothing is said: neither channels nor symbols, the rest as it is by default.
    pub fn new(name: FeedName) -> Self {
        Self {
            name,
            enabled: true,
            url: None,
            twin_url: None,
            rest: None,
            channels: Vec::new(),
            symbols: Vec::new(),
            details: BTreeMap::new(),
            filters: SymbolFilters::default(),
            sync: true,
            category: None,
            shards: None,
            redundancy: 1,
            depth: None,
            dialer: DialerSpec::default(),
            allow_plaintext: false,
            keys: BTreeMap::new(),
        }
    }
}

/// What of a venue's universe is wanted, where symbols are not named one by one: what all of these fit. What is empty
/// or `None` leaves nothing out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolFilters {
    /// One of the venue's categories, in any case of letters.
    pub category: Vec<String>,
    /// One of the venue's series, in any case of letters.
    pub series: Vec<String>,
    /// One of the venue's words for the state of an instrument. Without it, what can be traded.
    pub status: Vec<String>,
    /// Trading ends within this time from now.
    pub close_within: Option<Duration>,
    /// At least this was traded, in the venue's unit.
    pub volume_min: Option<Decimal>,
}

impl SymbolFilters {
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where entries are journaled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JournalSpec {
    /// The local log is the journal.
    #[default]
    Local,
    /// NATS JetStream.
    JetStream(JetStreamSpec),
}

/// Where the archive is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSpec {
    /// A directory: the path as it stands in the document, relative to the working directory.
    File(String),
    /// A bucket.
    S3(S3Spec),
}

/// A document without problems, and what of it nothing carries out yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it says.
    pub environment: Environment,
    /// Every place where it asks for what is not built yet, as [`Code::NotBuiltYet`].
    pub later: Problems,
}

impl Checked {
    /// The environment, to be started.
    ///
    /// # Errors
    /// All that is not built yet: what runs would not be what the document says.
    pub fn to_start(self) -> Result<Environment, Problems> {
        if self.later.count() == 0 { Ok(self.environment) } else { Err(self.later) }
    }
}

impl Environment {
    /// Reads a whole document, checks all of it, and says what of it is not built yet.
    ///
    /// `source_name` is what messages call the document, a file's path as the user wrote it. A document that
    /// extends another one is a problem here: [`Resolved::read`] finds the other one.
    ///
    /// # Errors
    /// Everything that is wrong with it, at least one problem, in the order of the document.
    pub fn check(text: &[u8], source_name: &str, words: &Vocabulary) -> Result<Checked, Problems> {
        let document = Document::new(source_name, text);
        Resolved::read(document, words, &mut extend::alone).map(|resolved| resolved.checked())
    }

    /// Reads a whole document and checks all of it, whether all of it is built or not.
    ///
    /// # Errors
    /// As [`Environment::check`].
    pub fn parse(text: &[u8], source_name: &str, words: &Vocabulary) -> Result<Self, Problems> {
        Self::check(text, source_name, words).map(|checked| checked.environment)
    }

    /// An environment of which nothing is said but its name.
    pub fn new(name: EnvironmentName) -> Self {
        Self {
            name,
            about: About::default(),
            feeds: Vec::new(),
            journal: JournalSpec::Local,
            store: StoreSpec::File(store::PATH_DEFAULT.to_owned()),
            storage: None,
            transport: TransportSpec::Memory,
            cache: CacheSpec::Memory,
            schedule: None,
            secrets: BTreeMap::new(),
            clients: Vec::new(),
            entitlements: Vec::new(),
            gateway: None,
            alerts: AlertsSpec::default(),
        }
    }

    /// The feeds that are recorded.
    pub fn enabled(&self) -> impl Iterator<Item = &FeedSpec> {
        self.feeds.iter().filter(|feed| feed.enabled)
    }

    /// The environment of somebody who has no document: one feed with what its table offers as a start, journal
    /// and store by default, and the name `dev`.
    ///
    /// # Errors
    /// `Bug` if the feed's table holds names that no document may hold.
    pub fn builtin(words: &FeedWords) -> Result<Self> {
        let build = || -> Result<Self> {
            let start = &words.starter;
            for symbol in start.symbols {
                Symbol::new(symbol)?;
            }
            let feed = FeedSpec {
                channels: start.channels.iter().map(|name| name.parse()).collect::<Result<_>>()?,
                symbols: start.symbols.iter().map(|&symbol| symbol.to_owned()).collect(),
                depth: start.depth,
                ..FeedSpec::new(FeedName::new(words.name)?)
            };
            Ok(Self { feeds: vec![feed], ..Self::new(EnvironmentName::new("dev")?) })
        };
        build().map_err(|cause| {
            Error::new(ErrorKind::Bug, "make the built-in environment")
                .with("feed", words.name)
                .because(cause)
        })
    }
}
