//! Proves environments: every version is whole, and those that commits name are there as they were named.

use std::collections::{BTreeMap, BTreeSet};

use ssmd_core::{Result, Store};

use super::is_damage;
use super::report::Report;
use crate::commit::{Commit, InForce};
use crate::environments;

/// The versions of a store.
pub(super) struct EnvironmentCheck {
    /// The hash of each by its path.
    whole: BTreeMap<String, String>,
    /// Those that are there and damaged: that is told once, not by each commit that names them.
    damaged: BTreeSet<String>,
    missing: BTreeSet<InForce>,
}

impl EnvironmentCheck {
    /// Reads every version.
    ///
    /// # Errors
    /// The store's own, where it cannot answer.
    pub(super) async fn all(store: &dyn Store, report: &mut Report) -> Result<Self> {
        let mut check = Self { whole: BTreeMap::new(), damaged: BTreeSet::new(), missing: BTreeSet::new() };
        for path in environments::list(store).await? {
            match environments::fetch(store, &path).await {
                Ok(recorded) => {
                    let named = recorded.named();
                    check.whole.insert(named.path, named.sha256);
                }
                Err(error) if is_damage(error.kind()) => {
                    report.problem("environment_unreadable", error.report(), &path);
                    check.damaged.insert(path.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        report.environments = check.whole.len() as u64;
        Ok(check)
    }

    /// Checks those that a commit names; each that is wrong is told once.
    pub(super) fn commit(&mut self, commit: &Commit, report: &mut Report) {
        for named in &commit.environments {
            let right = self.whole.get(&named.path) == Some(&named.sha256);
            if right || self.damaged.contains(&named.path) || !self.missing.insert(named.clone()) {
                continue;
            }
            let (code, why) = match self.whole.contains_key(&named.path) {
                true => ("environment_hash", "it is another one than commits name"),
                false => ("environment_missing", "commits name it, and it is not there"),
            };
            let first = format!("{why}; the first is commit {} of {}", commit.n, commit.origin);
            report.problem(code, first, &named.path);
        }
    }
}
