//! What must be so: every entry that was offered, what of it is known to be there for good, and what the commits say.

use std::collections::{BTreeMap, BTreeSet};

use ssmd_core::{Entry, EntryKind, ObjectPath};
use ssmd_storage::Commit;
use ssmd_storage::commit::Previous;
use ssmd_storage::layout::sha256;
use ssmd_storage::segment::SegmentReader;
use ssmd_transport::log::format::{self, HEADER_BYTES, Header};

use crate::store::SimStore;

/// A broken promise, in words.
pub(crate) type Broken = String;

#[derive(Default)]
pub(crate) struct Model {
    /// Every entry that was appended under a number and may be the one that counts.
    offered: BTreeMap<u64, Vec<Entry>>,
    /// The entry that counts: it was acknowledged, recovered or read.
    fixed: BTreeMap<u64, Entry>,
    /// Every entry up to this number was acknowledged.
    acknowledged: u64,
    /// Every entry up to this number is in a committed object.
    committed: u64,
    commits: u64,
    last: Option<Previous>,
    names: BTreeSet<String>,
}

impl Model {
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    pub(crate) fn entries(&self) -> usize {
        self.fixed.len()
    }

    pub(crate) fn offer(&mut self, entry: &Entry) {
        self.offered.entry(entry.id.n).or_default().push(entry.clone());
    }

    /// Somebody has this entry: from now on it is the one of its number.
    pub(crate) fn fix(&mut self, entry: &Entry, who: &str) -> Result<(), Broken> {
        let n = entry.id.n;
        match self.fixed.get(&n) {
            Some(known) if known == entry => return Ok(()),
            Some(_) => return Err(format!("{who}: entry {n} is another one than before")),
            None => {}
        }
        let offered = self.offered.get(&n).is_some_and(|offered| offered.contains(entry));
        // The log writes its epochs itself.
        if !offered && entry.kind != EntryKind::Epoch {
            return Err(format!("{who}: entry {n} was never appended"));
        }
        self.fixed.insert(n, entry.clone());
        Ok(())
    }

    pub(crate) fn acknowledge(&mut self, batch: &[Entry]) -> Result<(), Broken> {
        for entry in batch {
            self.fix(entry, "acknowledged")?;
            self.acknowledged = self.acknowledged.max(entry.id.n);
        }
        Ok(())
    }

    /// A log was opened and holds these: a prefix of what was appended, and nothing is missing that anybody knows.
    pub(crate) fn recovered(&mut self, held: &[Entry]) -> Result<(), Broken> {
        let (Some(first), Some(last)) = (held.first(), held.last()) else {
            return Err("recovered: a log without an epoch".to_owned());
        };
        let (first, last) = (first.id.n, last.id.n);
        if first > self.committed + 1 {
            return Err(format!("recovered: the log begins at {first}, commits end at {}", self.committed));
        }
        if let Some(gap) = held.windows(2).find(|pair| pair[1].id.n != pair[0].id.n + 1) {
            return Err(format!("recovered: entry {} does not follow {}", gap[1].id.n, gap[0].id.n));
        }
        let known = self.fixed.keys().next_back().copied().unwrap_or(0);
        if last <= known {
            return Err(format!("recovered: the log ends at {last}, entry {known} was acknowledged or read"));
        }
        for entry in held {
            self.fix(entry, "recovered")?;
        }
        // What is not there now never comes back.
        self.offered.retain(|n, _| *n > last);
        Ok(())
    }

    /// A segment file was deleted.
    pub(crate) fn deleted(&self, content: Vec<u8>) -> Result<(), Broken> {
        let Ok(header) = Header::decode(&content) else { return Ok(()) };
        let bytes = bytes::Bytes::from(content).slice(HEADER_BYTES..);
        let held = format::scan(&bytes, header.origin, header.first - 1, usize::MAX).entries;
        let uncovered = held.iter().find(|entry| {
            entry.id.n > self.committed && self.fixed.get(&entry.id.n).is_some_and(|known| known == *entry)
        });
        uncovered.map_or(Ok(()), |entry| {
            Err(format!("deleted: entry {}, commits end at {}", entry.id.n, self.committed))
        })
    }

    /// A commit was put.
    pub(crate) fn commit(&mut self, path: &ObjectPath, bytes: &[u8], store: &SimStore) -> Result<(), Broken> {
        let commit = Commit::decode(bytes).map_err(|error| error.report())?;
        if commit.n != self.commits + 1 || commit.previous != self.last {
            return Err(format!("commit {path}: it does not follow commit {}", self.commits));
        }
        if !commit.lost.is_empty() || !commit.removed.is_empty() {
            return Err(format!("commit {path}: it says that something is lost: {:?}", commit.lost));
        }
        for object in &commit.added {
            if !self.names.insert(object.path.clone()) || object.first != self.committed + 1 {
                return Err(format!("commit {path}: entries from {} on are committed twice", object.first));
            }
            let at: ObjectPath = object.path.parse().map_err(|_| format!("commit {path}: a bad path"))?;
            let body = store.get(&at).ok_or_else(|| format!("commit {path}: {at} is not there"))?;
            if sha256(&body) != object.sha256 {
                return Err(format!("commit {path}: {at} has other bytes"));
            }
            let mut entries = Vec::new();
            let read = SegmentReader::open(body).and_then(|mut reader| {
                while reader.read(&mut entries)? {}
                Ok(())
            });
            read.map_err(|error| error.report())?;
            for entry in &entries {
                if entry.id.n != self.committed + 1 {
                    return Err(format!("commit {path}: entry {} in the wrong place", entry.id.n));
                }
                self.fix(entry, "committed")?;
                self.committed += 1;
            }
        }
        if commit.coverage.intervals().collect::<Vec<_>>() != [(1, self.committed)] {
            return Err(format!("commit {path}: its coverage is not what its objects hold"));
        }
        self.commits = commit.n;
        self.last = Some(commit.reference(bytes).map_err(|error| error.report())?);
        Ok(())
    }
}
