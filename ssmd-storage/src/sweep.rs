//! Removes what lost races and crashes left: raw objects that no commit names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use ssmd_core::{FeedName, ObjectPath, Result, Store, Timestamp};

use crate::layout::raw_prefix;
use crate::read::Archive;

/// Deletes the raw objects of a feed that no commit names and that were written at least `grace` before `now`, by
/// the store's clock, and says which. The commits are read after the listing, so an object that is committed in
/// the meantime stays; `grace` must be longer than an archiver takes from an object to its commit.
///
/// # Errors
/// `Corrupt` for damaged commits: then nothing is deleted. The store's own.
///
/// # Cancel safety
/// Dropping the future leaves the rest for the next time.
pub async fn sweep(
    store: Arc<dyn Store>,
    feed: &FeedName,
    now: Timestamp,
    grace: Duration,
) -> Result<Vec<ObjectPath>> {
    let prefix = raw_prefix(feed)?;
    let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
    let old = listed.into_iter().filter(|meta| now.since(meta.modified) >= grace);
    let archive = Archive::open(store.clone()).await?;
    let named: BTreeSet<&str> = archive
        .chains()
        .flat_map(|chain| chain.objects.values())
        .map(|object| object.path.as_str())
        .collect();
    let mut removed = Vec::new();
    for meta in old.filter(|meta| !named.contains(meta.path.as_str())) {
        store.delete(&meta.path).await?;
        removed.push(meta.path);
    }
    Ok(removed)
}
