//! The Environment document: one YAML file that declares everything that runs.

use crate::{Channel, EnvironmentName, FeedName};

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
    /// What to subscribe to.
    pub channels: Vec<Channel>,
    /// Symbols, or patterns of them in which `*` stands for anything: then the venue's universe is asked.
    pub symbols: Vec<String>,
    /// Levels a side of books, where a channel does not say.
    pub depth: Option<u32>,
    /// Allows `ws://` and `http://` to other machines than this one.
    pub allow_plaintext: bool,
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
