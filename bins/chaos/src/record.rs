//! What an archive holds, held against what went into it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use ssmd_core::environment::StoreSpec;
use ssmd_core::{Entries, Entry, ErrorKind, Result};
use ssmd_storage::{Archive, Selection};

use crate::tape::feed;

const BATCH: NonZeroUsize = NonZeroUsize::new(4096).expect("positive");

/// How an archive differs from what went into it.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Entries that are not there.
    pub(crate) lost: u64,
    /// Entries that are there more than once.
    pub(crate) twice: u64,
    /// Entries that are not what they were.
    pub(crate) changed: u64,
}

impl Difference {
    /// Whether there is none.
    pub(crate) fn none(&self) -> bool {
        self.lost + self.twice + self.changed == 0
    }
}

/// Everything that a store holds, in the archive's order; each object is checked against its hash.
pub(crate) async fn entries(store: &Path) -> Result<Vec<Entry>> {
    let spec = StoreSpec::File(store.to_string_lossy().into_owned());
    let archive = Archive::open(ssmd_storage::open(&spec, Path::new("."))?).await?;
    let mut reader = archive.entries(&feed(), Selection::all());
    let mut all = Vec::new();
    loop {
        match reader.next(BATCH).await {
            Ok(batch) => all.extend(batch),
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(all),
            Err(error) => return Err(error),
        }
    }
}

/// Holds archived entries against what must be among them.
pub(crate) fn compare<'a>(archived: &[Entry], fed: impl IntoIterator<Item = &'a Entry>) -> Difference {
    let mut difference = Difference::default();
    let mut by_id = BTreeMap::new();
    for entry in archived {
        if by_id.insert(entry.id, entry).is_some() {
            difference.twice += 1;
        }
    }
    for entry in fed {
        match by_id.get(&entry.id) {
            None => difference.lost += 1,
            Some(found) if *found != entry => difference.changed += 1,
            Some(_) => {}
        }
    }
    difference
}
