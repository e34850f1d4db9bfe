//! What a verification found.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::Serialize;
use ssmd_core::{Day, DecodeCounts, FeedName};

/// Problems that a report describes; more are only counted.
const PROBLEMS_MAX: usize = 1000;

/// The result of a verification.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Objects that commits name.
    pub objects: u64,
    /// Commits read.
    pub commits: u64,
    /// Frames in readable objects, received and sent.
    pub frames: u64,
    /// Sessions.
    pub sessions: u64,
    /// Gaps: recorded ones and those that decoding found.
    pub gaps: u64,
    /// Books whose integrity check passed, counted per check.
    pub books_verified: u64,
    /// Books whose integrity check failed.
    pub books_failed: u64,
    /// Things that are not as they must be.
    pub errors: u64,
    /// Bytes of the objects.
    pub bytes: u64,
    /// Entries in readable objects.
    pub entries: u64,
    /// Entries that are known to be lost.
    pub lost: u64,
    /// Stretches of numbers that are missing.
    pub holes: u64,
    /// Frames of a type that the decoder does not know.
    pub unknown: u64,
    /// Frames that are not of the documented form.
    pub malformed: u64,
    /// Environments: versions that are whole, whether commits name them or not.
    pub environments: u64,
    /// Every feed.
    pub feeds: Vec<FeedName>,
    /// Every day.
    pub days: BTreeSet<Day>,
    /// Raw objects that no commit names.
    pub orphans: Vec<String>,
    /// The errors, the first thousand of them.
    pub problems: Vec<Problem>,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A word for programs.
    pub code: &'static str,
    /// What it is, for people.
    pub what: String,
    /// The object, the session or the entry.
    #[serde(rename = "where")]
    pub place: String,
}

impl Report {
    /// Adds a problem.
    pub(crate) fn problem(&mut self, code: &'static str, what: impl Into<String>, place: impl Display) {
        self.errors += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { code, what: what.into(), place: place.to_string() });
        }
    }

    /// Adds what decoders have counted.
    pub(crate) fn count(&mut self, counts: DecodeCounts) {
        self.books_verified += counts.books_verified;
        self.books_failed += counts.books_failed;
        self.unknown += counts.unknown;
        self.malformed += counts.malformed;
    }
}
