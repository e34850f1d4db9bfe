//! What a running process is told about its environment, and what it answers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use ssmd_core::Timestamp;
use ssmd_storage::environments::Recorded;
use tokio::sync::oneshot;

use crate::change::Change;

/// Orders on their way to the process; whoever gives more waits.
pub(crate) const ORDERS_MAX: usize = 16;

/// What the process shall do about its document.
pub(crate) enum Order {
    /// Read it again: `file` changed, or a `signal` came.
    Read(&'static str),
    /// Read it again, or look at another one, and say what would change or has changed.
    Apply(Apply, oneshot::Sender<Answer>),
}

/// What `ssmd env apply` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Apply {
    /// A document that is only looked at; without one the process's own.
    pub document: Option<String>,
    /// Do it only if the document is the one with this hash.
    pub expect: Option<String>,
    /// Say only what would change.
    pub dry_run: bool,
    /// The user who asks.
    pub user: Option<u32>,
}

/// A version of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionStatus {
    /// The SHA-256 of its canonical form.
    pub sha256: String,
    /// When it was applied.
    pub valid_from: Timestamp,
    /// By whom.
    pub who: String,
    /// Why: `start`, `file`, `signal`, `apply`.
    pub how: String,
}

impl From<&Recorded> for VersionStatus {
    fn from(recorded: &Recorded) -> Self {
        let version = &recorded.version;
        Self {
            sha256: version.sha256.clone(),
            valid_from: version.valid_from,
            who: version.who.clone(),
            how: version.how.clone(),
        }
    }
}

impl VersionStatus {
    /// The beginning of its hash, enough to tell versions apart.
    pub fn short(&self) -> &str {
        self.sha256.get(..12).unwrap_or(&self.sha256)
    }
}

/// What the process answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `up`, `connector` or `archiver`.
    pub role: String,
    /// The document that it was started with; none for the built-in environment.
    pub document: Option<String>,
    /// The hash of the document that was read; null if it is wrong.
    pub sha256: Option<String>,
    /// What differs from what ran before.
    pub changes: Vec<Change>,
    /// Why it cannot be done: everything that is wrong with the document, or what cannot change while it runs.
    pub refused: Vec<String>,
    /// Whether the document itself is wrong.
    pub invalid: bool,
    /// Whether what is declared is what runs now.
    pub applied: bool,
    /// The version that runs now.
    pub version: Option<VersionStatus>,
}

/// What is declared, as others see it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared(Arc<Mutex<State>>);

/// What is declared.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The document that the process was started with.
    pub document: Option<PathBuf>,
    /// The version that runs.
    pub version: Option<VersionStatus>,
    /// Why the document as it is now is not what runs.
    pub refused: Option<String>,
}

impl Declared {
    /// The state now.
    pub(crate) fn now(&self) -> State {
        self.lock().clone()
    }

    /// Changes it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
