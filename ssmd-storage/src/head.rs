//! The head of a chain, in a cache that compares and swaps: keeps archivers of several hosts apart where a store cannot.
//!
//! A commit goes through steps, each of which anybody may find half done:
//!
//! 1. the head is moved to its number, which gives the turn: who finds that another one has it waits for a moment;
//! 2. a *bid* is put into the store, and every bid under this number is read: a higher one ends this try; the latest
//!    commit that was *meant* by a bid is the one to be made, else one's own;
//! 3. that it is meant is put into the store, with its bytes, and every bid is read again: a higher one ends this try;
//! 4. the head is read again: if the turn is another one's, all begins anew;
//! 5. the commit is put, and the bids are removed.
//!
//! Nobody holds a lock and no clock decides: a head that was lost or is older than the commits, and a turn whose owner
//! is dead, are taken over. Bids rise, and whoever makes a commit has left word of it before he looked for higher bids:
//! so whoever bids later finds that word and makes the same commit, even if the cache has forgotten both of them.
//! `docs/decisions/0062-head.md` says why that holds.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use ssmd_core::{Cache, Clock, Error, ErrorKind, Expect, Origin, PutMode, Result, Store};

use crate::chain::NextCommit;
use crate::commit::Commit;
use crate::layout::{Bid, bids_prefix, sha256};

/// How long the owner of a turn is given to make his commit before another one takes it. Taking it too early costs work,
/// never a commit.
const GRACE: Duration = Duration::from_secs(3);
/// How often to look meanwhile.
const POLL: Duration = Duration::from_millis(100);

/// Where the heads of one feed's chains are, and who moves them here.
#[derive(Clone)]
pub struct Head {
    cache: Arc<dyn Cache>,
    prefix: String,
    shown: String,
    /// Nobody else's.
    by: u64,
    /// The highest term that was bid here or seen.
    term: Arc<AtomicU64>,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("cache", &self.shown)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What a head says: whose turn it is to make which commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Turn {
    /// The number of the commit.
    n: u64,
    /// Rises with each turn.
    term: u64,
    /// Whose.
    by: u64,
}

/// What came of looking for a commit in the store.
enum There {
    Nothing,
    Ours,
    Theirs,
}

/// The store with the commit that is to be made.
struct Making<'a> {
    store: &'a dyn Store,
    next: &'a NextCommit,
    /// The hash of its bytes.
    own: String,
}

impl Head {
    /// The heads in this cache whose keys begin with `prefix`, which names the environment and the feed; `shown` says to
    /// people where that is.
    pub fn new(cache: Arc<dyn Cache>, prefix: impl Into<String>, shown: impl Into<String>) -> Self {
        let (prefix, shown, term) = (prefix.into(), shown.into(), Arc::new(AtomicU64::new(0)));
        Self { cache, prefix, shown, by: rand::random(), term }
    }

    /// The key of an origin's head.
    fn key(&self, origin: Origin) -> String {
        format!("{}.head.{origin}", self.prefix)
    }

    /// Tries whether the cache compares and swaps, under a key of its own that it removes.
    ///
    /// # Errors
    /// `Unsupported` if it does not; the cache's own.
    pub async fn check(&self) -> Result<()> {
        let key = self.key(Origin::new_random());
        let put = |expect| self.cache.put(&key, Bytes::from_static(b"probe"), expect, Some(GRACE));
        let version = put(Expect::Absent).await?;
        let (twice, swapped) = (put(Expect::Absent).await, put(Expect::Version(version)).await);
        let stale = put(Expect::Version(version)).await;
        self.cache.delete(&key).await?;
        swapped?;
        for refused in [twice, stale] {
            match refused {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    return Err(Error::new(ErrorKind::Unsupported, "probe head")
                        .detail("a value was replaced that had been changed")
                        .with("cache", &self.shown));
                }
            }
        }
        Ok(())
    }

    /// Makes a commit, or the one that another archiver was about to make under its number; `false` if the number is
    /// another one's.
    ///
    /// # Errors
    /// The cache's and the store's own. Then nothing is known, and the same call may be made again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what the next call, of any archiver, finishes.
    pub(crate) async fn commit(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        next: &NextCommit,
    ) -> Result<bool> {
        let making = Making { store, next, own: sha256(&next.bytes) };
        let (origin, n) = (next.commit.origin, next.commit.n);
        // The turn of another one, and since when it was seen, on the monotonic clock.
        let mut seen: Option<(Turn, Duration)> = None;
        loop {
            let (turn, expect) = self.read(origin).await?;
            if let Some(theirs) = turn.as_ref().filter(|turn| turn.n >= n && turn.by != self.by) {
                match making.there().await? {
                    There::Nothing => {}
                    there => return Ok(matches!(there, There::Ours)),
                }
                let since = match &seen {
                    Some((before, since)) if before == theirs => *since,
                    _ => seen.insert((theirs.clone(), clock.elapsed())).1,
                };
                if clock.elapsed().saturating_sub(since) < GRACE {
                    clock.sleep(POLL).await;
                    continue;
                }
            }
            self.tell(turn.as_ref(), origin, n);
            let now = u64::try_from(clock.now().nanos()).unwrap_or(0);
            let term = self.rise(now.max(turn.map_or(0, |turn| turn.term.saturating_add(1))));
            match self.take(&making, (Turn { n, term, by: self.by }, expect)).await {
                Ok(Some(ours)) => return Ok(ours),
                Ok(None) => {}
                // Another archiver moved the head meanwhile.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A term that was never bid here, and is at least `least`.
    fn rise(&self, least: u64) -> u64 {
        let risen = |known: u64| known.saturating_add(1).max(least);
        let before = self.term.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| Some(risen(known)));
        risen(before.unwrap_or_else(|known| known))
    }

    /// Says what a head shows of what was lost.
    fn tell(&self, turn: Option<&Turn>, origin: Origin, n: u64) {
        let cache = &self.shown;
        match turn {
            Some(turn) if turn.n > n => {
                tracing::error!(%origin, n, head = turn.n, cache, "the store has lost commits that were made; going on behind those that are there");
            }
            Some(turn) if turn.n + 1 < n => {
                tracing::warn!(%origin, n, head = turn.n, cache, "the head is older than the commits; taken from them");
            }
            None if n > 1 => tracing::warn!(%origin, n, cache, "there is no head; taken from the commits"),
            _ => {}
        }
    }

    /// Takes the turn and makes a commit. `None` if there is a higher bid, or the turn is another one's.
    async fn take(&self, making: &Making<'_>, (turn, expect): (Turn, Expect)) -> Result<Option<bool>> {
        let origin = making.next.commit.origin;
        let value = serde_json::to_vec(&turn)
            .map_err(|cause| Error::new(ErrorKind::Bug, "write head").because(cause))?;
        self.cache.put(&self.key(origin), value.into(), expect, None).await?;
        let bid = Bid { n: turn.n, term: turn.term, by: turn.by, sha256: None };
        // First what was bid and then what was made: whoever makes a commit removes its bids afterwards.
        let bids = making.bid(&bid, Bytes::new()).await?;
        match making.there().await? {
            There::Nothing => {}
            there => return Ok(Some(matches!(there, There::Ours))),
        }
        if self.is_outbid(&bid, &bids) {
            return Ok(None);
        }
        let (digest, bytes) = match making.latest(&bids).await? {
            Latest::Gone => return Ok(None),
            Latest::Sound(digest, bytes) => (digest, bytes),
            Latest::Nothing => (making.own.clone(), making.next.bytes.clone()),
        };
        let meant = Bid { sha256: Some(digest), ..bid.clone() };
        let bids = making.bid(&meant, bytes.clone()).await?;
        match making.there().await? {
            There::Nothing => {}
            there => return Ok(Some(matches!(there, There::Ours))),
        }
        if self.is_outbid(&bid, &bids) || self.read(origin).await?.0 != Some(turn) {
            return Ok(None);
        }
        making.store.put(&making.next.path, bytes, PutMode::Overwrite).await?;
        for bid in bids.into_iter().filter(|bid| bid.n <= making.next.commit.n) {
            let path = bid.path(origin)?;
            if let Err(error) = making.store.delete(&path).await {
                // Whoever commits next removes it.
                tracing::debug!(%path, %error, "a bid stays");
            }
        }
        Ok(Some(meant.sha256.as_ref() == Some(&making.own)))
    }

    /// Whether one of these is higher; then the next one here is higher still.
    fn is_outbid(&self, bid: &Bid, bids: &[Bid]) -> bool {
        let highest = bids.iter().filter(|other| other.n == bid.n).map(|other| (other.term, other.by)).max();
        let outbid = highest.is_some_and(|highest| highest > (bid.term, bid.by));
        if outbid {
            self.rise(highest.map_or(0, |(term, _)| term));
        }
        outbid
    }

    async fn read(&self, origin: Origin) -> Result<(Option<Turn>, Expect)> {
        let Some(there) = self.cache.get(&self.key(origin)).await? else { return Ok((None, Expect::Absent)) };
        let turn = serde_json::from_slice(&there.value).ok();
        if turn.is_none() {
            tracing::warn!(%origin, cache = self.shown, "what is there is no head");
        }
        Ok((turn, Expect::Version(there.version)))
    }
}

/// What is to be finished.
enum Latest {
    Nothing,
    /// The bid was removed while it was looked at: the commit has been made.
    Gone,
    /// The hash and the bytes.
    Sound(String, Bytes),
}

impl Making<'_> {
    /// Puts a bid, and reads all of the origin.
    async fn bid(&self, bid: &Bid, body: Bytes) -> Result<Vec<Bid>> {
        let origin = self.next.commit.origin;
        self.store.put(&bid.path(origin)?, body, PutMode::Overwrite).await?;
        let prefix = bids_prefix(origin)?;
        let mut listed = self.store.list(Some(&prefix));
        let mut bids = Vec::new();
        while let Some(meta) = listed.try_next().await? {
            bids.extend(Bid::parse(&meta.path, origin));
        }
        Ok(bids)
    }

    /// Whether the store has a commit of this number.
    async fn there(&self) -> Result<There> {
        match self.store.get(&self.next.path, None).await {
            Ok(bytes) if sha256(&bytes) == self.own => Ok(There::Ours),
            Ok(_) => Ok(There::Theirs),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(There::Nothing),
            Err(error) => Err(error),
        }
    }

    /// The latest commit that was meant under this number and follows what is there.
    async fn latest(&self, bids: &[Bid]) -> Result<Latest> {
        let mut meant: Vec<_> = bids.iter().filter(|bid| bid.n == self.next.commit.n).collect();
        meant.sort_by_key(|bid| Reverse((bid.term, bid.by)));
        for bid in meant {
            let Some(digest) = &bid.sha256 else { continue };
            let path = bid.path(self.next.commit.origin)?;
            let bytes = match self.store.get(&path, None).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Latest::Gone),
                bytes => bytes?,
            };
            if sha256(&bytes) == *digest && self.follows(&bytes) {
                return Ok(Latest::Sound(digest.clone(), bytes));
            }
            // Only a store that lost or damaged objects has such.
            tracing::error!(%path, "what was meant to be committed cannot be; passed over");
        }
        Ok(Latest::Nothing)
    }

    /// Whether these bytes are a commit that can stand where the next one can.
    fn follows(&self, bytes: &[u8]) -> bool {
        let of = |commit: &Commit| (commit.feed.clone(), commit.origin, commit.n, commit.previous.clone());
        Commit::decode(bytes).is_ok_and(|commit| of(&commit) == of(&self.next.commit))
    }
}
