//! The commits of one origin as what they add up to, and the next one of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use ssmd_core::{Error, ErrorKind, FeedName, ObjectPath, Origin, Result, Store, Timestamp};

use crate::commit::{
    CHECKPOINT_EVERY, COMMIT_BYTES_MAX, Checkpoint, Commit, InForce, Lost, Object, Previous, VERSION,
};
use crate::coverage::Coverage;
use crate::layout::{COMMITS, commit_path, commits_prefix, parse_commit_path};

/// What the commits of one origin add up to.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The feed.
    pub feed: FeedName,
    /// The log whose entries they commit.
    pub origin: Origin,
    /// The number of the last commit; 0 if there is none.
    pub commits: u64,
    /// Every object that counts, by its first number.
    pub objects: BTreeMap<u64, Object>,
    /// Every known loss, by its first number.
    pub lost: BTreeMap<u64, Lost>,
    /// Which numbers are there.
    pub coverage: Coverage,
    last: Option<Previous>,
}

/// Commits fetched at a time while a chain is loaded.
const FETCHES: usize = 8;
/// How often one commit is asked for. A chain is loaded whole or not at all: if one answer in five is lost and each
/// commit were asked for once, a chain of a hundred would never be loaded.
const FETCH_ATTEMPTS: u32 = 8;

impl Chain {
    /// A chain without commits.
    pub fn empty(feed: FeedName, origin: Origin) -> Self {
        Self {
            feed,
            origin,
            commits: 0,
            objects: BTreeMap::new(),
            lost: BTreeMap::new(),
            coverage: Coverage::new(),
            last: None,
        }
    }

    /// The wanted objects, and those before them back to where their sessions opened: what a decoder must hear to
    /// know the books of the wanted ones.
    pub fn with_beginnings(&self, wanted: impl Fn(&Object) -> bool) -> Vec<Object> {
        let mut found: Vec<Object> = Vec::new();
        let mut open: BTreeSet<u64> = BTreeSet::new();
        for object in self.objects.values().rev() {
            if wanted(object) {
                open.extend(&object.sessions);
            } else if !object.sessions.iter().any(|session| open.contains(session)) {
                continue;
            }
            found.push(object.clone());
        }
        found.reverse();
        found
    }

    /// Loads the chain of an origin from its last checkpoint on; `None` if it has no commits.
    ///
    /// # Errors
    /// `Corrupt` if a commit is missing, unreadable, or not the successor of the one before; the store's own.
    pub async fn load(store: &dyn Store, origin: Origin) -> Result<Option<Self>> {
        let Some(last) = last_commit(store, origin).await? else { return Ok(None) };
        let mut from = last - last % CHECKPOINT_EVERY;
        let mut chain = loop {
            if from == 0 {
                break None;
            }
            let (commit, bytes) = fetch(store, origin, from).await?;
            if let Some(chain) = Self::from_checkpoint(commit, &bytes)? {
                break Some(chain);
            }
            from -= CHECKPOINT_EVERY.min(from);
        };
        let first = chain.as_ref().map_or(1, |chain| chain.commits + 1);
        let commits = futures_util::stream::iter(first..=last).map(|n| fetch(store, origin, n));
        let mut commits = commits.buffered(FETCHES);
        while let Some((commit, bytes)) = commits.try_next().await? {
            let so_far = chain.get_or_insert_with(|| Self::empty(commit.feed.clone(), origin));
            so_far.apply(commit, &bytes)?;
        }
        Ok(chain)
    }

    /// Adds the next commit to what is known.
    ///
    /// # Errors
    /// `Corrupt` if it is not the successor, or does not add up; then the chain is as it was.
    pub fn apply(&mut self, commit: Commit, bytes: &[u8]) -> Result<()> {
        if let Some((_, why)) = self.faults(&commit).into_iter().next() {
            return Err(Error::new(ErrorKind::Corrupt, "follow commits")
                .detail(why)
                .with("origin", self.origin)
                .with("n", commit.n));
        }
        self.force(commit, bytes)
    }

    /// Everything that is wrong with `commit` as the next one, as a code and words.
    pub(crate) fn faults(&self, commit: &Commit) -> Vec<(&'static str, &'static str)> {
        let mut faults = Vec::new();
        let mut check = |right: bool, code, why| {
            if !right {
                faults.push((code, why));
            }
        };
        check(commit.feed == self.feed, "commit_feed", "it is of another feed");
        check(commit.origin == self.origin, "commit_origin", "it is of another origin");
        check(commit.n == self.commits + 1, "commit_number", "it is not the next one");
        check(commit.previous == self.last, "commit_chain", "it does not follow the commit before it");
        let after = self.coverage_after(commit);
        check(after.is_some(), "commit_objects", "its objects do not fit those before");
        let adds_up = after.is_none_or(|after| after == commit.coverage);
        check(adds_up, "commit_coverage", "its coverage does not add up");
        let listed = commit.checkpoint.as_ref().is_none_or(|listed| *listed == self.checkpoint_after(commit));
        check(listed, "commit_checkpoint", "its checkpoint does not add up");
        faults
    }

    /// Takes a commit as it is, faults and all.
    pub(crate) fn force(&mut self, commit: Commit, bytes: &[u8]) -> Result<()> {
        self.commits = commit.n;
        self.last = Some(commit.reference(bytes)?);
        self.coverage = self.coverage_after(&commit).unwrap_or(commit.coverage);
        if !commit.removed.is_empty() {
            self.objects.retain(|_, object| !commit.removed.contains(&object.path));
        }
        self.objects.extend(commit.added.into_iter().map(|object| (object.first, object)));
        self.lost.extend(commit.lost.into_iter().map(|lost| (lost.first, lost)));
        Ok(())
    }

    /// Goes on before `commit` although some before it could not be read: takes its word for what they were.
    pub(crate) fn resume_before(&mut self, commit: &Commit) {
        self.commits = commit.n - 1;
        self.last = commit.previous.clone();
        self.coverage = commit.coverage.clone();
        for object in &commit.added {
            self.coverage.remove(object.first, object.last);
        }
        let removed = self.objects.values().filter(|object| commit.removed.contains(&object.path));
        for object in removed {
            self.coverage.insert(object.first, object.last);
        }
    }

    /// The number through which everything is committed or known to be lost: reading goes on behind it.
    pub fn position(&self) -> u64 {
        let lost = self.lost.values().map(|lost| lost.last).max();
        self.coverage.last().max(lost).unwrap_or(0)
    }

    /// The next commit, which adds and removes these, received under these environments.
    ///
    /// # Errors
    /// `Bug` if they do not fit what is there.
    pub fn next(
        &self,
        added: Vec<Object>,
        removed: Vec<String>,
        lost: Vec<Lost>,
        environments: Vec<InForce>,
        made_at: Timestamp,
    ) -> Result<NextCommit> {
        let mut commit = Commit {
            ssmd: "commit".to_owned(),
            v: VERSION,
            feed: self.feed.clone(),
            origin: self.origin,
            n: self.commits + 1,
            previous: self.last.clone(),
            made_at,
            by: concat!("ssmd ", env!("CARGO_PKG_VERSION")).to_owned(),
            added,
            removed,
            lost,
            coverage: Coverage::new(),
            environments,
            checkpoint: None,
        };
        commit.coverage = self
            .coverage_after(&commit)
            .ok_or_else(|| Error::new(ErrorKind::Bug, "make commit").detail("its objects do not fit"))?;
        let mut bytes = commit.encode()?;
        if commit.n.is_multiple_of(CHECKPOINT_EVERY) {
            commit.checkpoint = Some(self.checkpoint_after(&commit));
            match commit.encode() {
                Ok(with) => bytes = with,
                Err(_) => commit.checkpoint = None,
            }
        }
        Ok(NextCommit { path: commit_path(self.origin, commit.n)?, bytes: bytes.into(), commit })
    }

    /// The coverage after a commit; `None` if its objects do not fit those that are there.
    fn coverage_after(&self, commit: &Commit) -> Option<Coverage> {
        let mut coverage = self.coverage.clone();
        for path in &commit.removed {
            let object = self.objects.values().find(|object| object.path == *path)?;
            coverage.remove(object.first, object.last);
        }
        for object in &commit.added {
            if coverage.overlaps(object.first, object.last) {
                return None;
            }
            coverage.insert(object.first, object.last);
        }
        Some(coverage)
    }

    fn checkpoint_after(&self, commit: &Commit) -> Checkpoint {
        let stays = |object: &&Object| !commit.removed.contains(&object.path);
        let mut objects: BTreeMap<_, _> = self.objects.values().filter(stays).map(|o| (o.first, o)).collect();
        objects.extend(commit.added.iter().map(|object| (object.first, object)));
        let mut lost = self.lost.clone();
        lost.extend(commit.lost.iter().map(|lost| (lost.first, *lost)));
        Checkpoint { objects: objects.into_values().cloned().collect(), lost: lost.into_values().collect() }
    }

    fn from_checkpoint(mut commit: Commit, bytes: &[u8]) -> Result<Option<Self>> {
        let Some(checkpoint) = commit.checkpoint.take() else { return Ok(None) };
        let mut chain = Self::empty(commit.feed.clone(), commit.origin);
        chain.commits = commit.n;
        chain.last = Some(commit.reference(bytes)?);
        chain.coverage = commit.coverage;
        chain.objects = checkpoint.objects.into_iter().map(|object| (object.first, object)).collect();
        chain.lost = checkpoint.lost.into_iter().map(|lost| (lost.first, lost)).collect();
        Ok(Some(chain))
    }
}

/// A commit that is ready to be put.
#[derive(Clone, Debug)]
pub struct NextCommit {
    /// Where.
    pub path: ObjectPath,
    /// Its bytes.
    pub bytes: Bytes,
    /// What it says, to be applied to the chain once it is put.
    pub commit: Commit,
}

/// Every origin that has commits.
///
/// # Errors
/// The store's own.
pub async fn origins(store: &dyn Store) -> Result<Vec<Origin>> {
    let prefix: ObjectPath = COMMITS.parse()?;
    let mut origins = std::collections::BTreeSet::new();
    let mut listed = store.list(Some(&prefix));
    while let Some(meta) = listed.try_next().await? {
        origins.extend(parse_commit_path(&meta.path).map(|(origin, _)| origin));
    }
    Ok(origins.into_iter().collect())
}

async fn last_commit(store: &dyn Store, origin: Origin) -> Result<Option<u64>> {
    let prefix = commits_prefix(origin)?;
    let mut listed = store.list(Some(&prefix));
    let mut last = None;
    while let Some(meta) = listed.try_next().await? {
        last = last.max(parse_commit_path(&meta.path).map(|(_, n)| n));
    }
    Ok(last)
}

pub(crate) async fn fetch(store: &dyn Store, origin: Origin, n: u64) -> Result<(Commit, Bytes)> {
    let path = commit_path(origin, n)?;
    let mut got = store.get(&path, None).await;
    for _ in 1..FETCH_ATTEMPTS {
        match &got {
            Err(error) if error.kind().is_transient() => got = store.get(&path, None).await,
            _ => break,
        }
    }
    let bytes = got.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::new(ErrorKind::Corrupt, "follow commits")
            .detail("a commit is missing")
            .with("path", &path)
            .because(error),
        _ => error,
    })?;
    if bytes.len() > COMMIT_BYTES_MAX {
        return Err(Error::new(ErrorKind::Corrupt, "read commit").with("path", path));
    }
    let commit = Commit::decode(&bytes).map_err(|error| error.with("path", &path))?;
    if commit.origin != origin || commit.n != n {
        return Err(Error::new(ErrorKind::Corrupt, "read commit")
            .detail("it is another one than its name says")
            .with("path", path));
    }
    Ok((commit, bytes))
}
