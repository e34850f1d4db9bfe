//! The Environment document: one YAML file that declares everything that runs.
//!
//! Owns its types, how it is read, and everything that can be wrong with it. It knows no venue: what feeds there
//! are and what each of them knows comes as a [`Vocabulary`]. It reads no file and no clock, and resolves no
//! secret before somebody asks.
//!
//! A document is read in three steps, each of which finds all it can: the bytes (`source`), the YAML (`tree`),
//! the meaning (`read`). One that extends others is made one tree with them between the last two (`extend`). All problems come at once, each with its [`Code`], its place and what was expected.

mod codes;
mod compare;
mod declared;
mod edit;
mod extend;
mod feed;
mod node;
mod problem;
mod read;
mod schema;
mod secret;
mod section;
mod source;
mod sources;
mod store;
mod tree;
mod url;
mod vocabulary;

use std::collections::BTreeMap;

pub use codes::{CODES, Code, Explanation};
pub use compare::{Change, compare};
pub use declared::{Declared, DeclaredValue, Place, Setting};
pub use edit::{Edit, Step, Value, document_name, edit};
pub use extend::{Document, EXTENDS_MAX, Find, Resolved};
pub use problem::{PROBLEMS_MAX, Problem, Problems, Span};
pub use schema::{FIELDS, Field, LATER, Later};
pub use secret::{Secret, SecretText};
pub use source::DOCUMENT_BYTES_MAX;
pub use tree::NESTING_MAX;
pub use vocabulary::{ChannelWords, FeedWords, OptionWords, Starter, Vocabulary};

use crate::{Channel, EnvironmentName, Error, ErrorKind, FeedName, Result, Symbol};

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
    /// `spec.feeds`, in the order of the document.
    pub feeds: Vec<FeedSpec>,
    /// `spec.journal`.
    pub journal: JournalSpec,
    /// `spec.store`.
    pub store: StoreSpec,
}

/// One feed of an environment. What is `None` is the venue's own default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSpec {
    /// The venue's name in the table of feeds.
    pub name: FeedName,
    /// The WebSocket address.
    pub url: Option<String>,
    /// The REST address.
    pub rest: Option<String>,
    /// What to subscribe to. `*` is expanded already.
    pub channels: Vec<Channel>,
    /// Symbols, or patterns of them in which `*` stands for anything: then the venue's universe is asked.
    pub symbols: Vec<String>,
    /// Levels a side of books, where a channel does not say.
    pub depth: Option<u32>,
    /// Allows `ws://` and `http://` to other machines than this one.
    pub allow_plaintext: bool,
    /// The venue's credentials, by the venue's names for them. Empty for venues that need none.
    pub keys: BTreeMap<String, Secret>,
}

/// Where entries are journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalSpec {
    /// The local log is the journal.
    Local,
}

/// Where the archive is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSpec {
    /// A directory: the path as it stands in the document, relative to the working directory.
    File(String),
}

impl Environment {
    /// Reads a whole document and checks all of it.
    ///
    /// `source_name` is what messages call the document, a file's path as the user wrote it. A document that
    /// extends another one is a problem here: [`Resolved::read`] finds the other one.
    ///
    /// # Errors
    /// Everything that is wrong with it, at least one problem, in the order of the document.
    pub fn parse(text: &[u8], source_name: &str, words: &Vocabulary) -> Result<Self, Problems> {
        let document = Document::new(source_name, text);
        Resolved::read(document, words, &mut extend::alone).map(|resolved| resolved.environment)
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
            Ok(Self {
                name: EnvironmentName::new("dev")?,
                feeds: vec![FeedSpec {
                    name: FeedName::new(words.name)?,
                    url: None,
                    rest: None,
                    channels: start.channels.iter().map(|name| name.parse()).collect::<Result<_>>()?,
                    symbols: start.symbols.iter().map(|&symbol| symbol.to_owned()).collect(),
                    depth: start.depth,
                    allow_plaintext: false,
                    keys: BTreeMap::new(),
                }],
                journal: JournalSpec::Local,
                store: StoreSpec::parse(STORE_DEFAULT)?,
            })
        };
        build().map_err(|cause| {
            Error::new(ErrorKind::Bug, "make the built-in environment")
                .with("feed", words.name)
                .because(cause)
        })
    }
}
