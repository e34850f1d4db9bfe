//! Reading an archive: what it holds, and its entries in order, each object checked against its hash.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use ssmd_core::{
    Day, Entries, Entry, Error, ErrorKind, FeedName, ObjectPath, Origin, Result, Store, Tasks, Timestamp,
};
use tokio::sync::mpsc;

use crate::chain::{self, Chain};
use crate::commit::Object;
use crate::layout::sha256;
use crate::segment::{OBJECT_BYTES_MAX, SegmentReader};

/// An archive as its commits were when it was opened.
#[derive(Clone)]
pub struct Archive {
    store: Arc<dyn Store>,
    chains: BTreeMap<Origin, Chain>,
}

/// Which entries are wanted; whatever is `None` is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// First and last day, both included.
    pub days: Option<(Day, Day)>,
    /// Entries stamped at this moment or later.
    pub from: Option<Timestamp>,
    /// Entries stamped before this moment.
    pub to: Option<Timestamp>,
    /// Entries of one log.
    pub origin: Option<Origin>,
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// One day.
    pub fn day(day: Day) -> Self {
        Self { days: Some((day, day)), ..Self::default() }
    }

    /// Whether an entry is one of those.
    pub fn contains(&self, entry: &Entry) -> bool {
        self.origin.is_none_or(|wanted| wanted == entry.id.origin)
            && self.days.is_none_or(|(first, last)| (first..=last).contains(&entry.day))
            && self.contains_time(entry.at)
    }

    fn wants_object(&self, origin: Origin, object: &Object) -> bool {
        self.origin.is_none_or(|wanted| wanted == origin)
            && self.days.is_none_or(|(first, last)| (first..=last).contains(&object.day))
            && self.from.is_none_or(|from| object.latest >= from)
            && self.to.is_none_or(|to| object.earliest < to)
    }

    /// Whether it is about this moment.
    pub fn contains_time(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }

    fn is_whole(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

impl Archive {
    /// Opens an archive.
    ///
    /// # Errors
    /// `Corrupt` for damaged commits, the store's own.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self> {
        let (archive, damaged) = Self::open_sound(store).await?;
        damaged.into_iter().next().map_or(Ok(archive), Err)
    }

    /// Opens what is sound of an archive: logs whose commits are damaged are not in it. An error says of each why.
    ///
    /// # Errors
    /// The store's own.
    pub async fn open_sound(store: Arc<dyn Store>) -> Result<(Self, Vec<Error>)> {
        let (mut chains, mut damaged) = (BTreeMap::new(), Vec::new());
        for origin in chain::origins(&*store).await? {
            match Chain::load(&*store, origin).await {
                Ok(chain) => chains.extend(chain.map(|chain| (origin, chain))),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let named = error.context("origin").is_some();
                    damaged.push(if named { error } else { error.with("origin", origin) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok((Self { store, chains }, damaged))
    }

    /// Its store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The commits of every origin.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values()
    }

    /// Every feed in it.
    pub fn feeds(&self) -> Vec<FeedName> {
        let feeds: BTreeSet<_> = self.chains.values().map(|chain| chain.feed.clone()).collect();
        feeds.into_iter().collect()
    }

    /// Every day of a feed on which it holds anything.
    pub fn days(&self, feed: &FeedName) -> Vec<Day> {
        let days: BTreeSet<_> =
            self.of(feed).flat_map(|chain| chain.objects.values()).map(|o| o.day).collect();
        days.into_iter().collect()
    }

    /// The objects that hold what is wanted: by the origin's first moment, then by number.
    pub fn segments(&self, feed: &FeedName, selection: &Selection) -> Vec<(Origin, Object)> {
        let wanted = |chain: &Chain| {
            let objects = chain.objects.values();
            objects.filter(|object| selection.wants_object(chain.origin, object)).cloned().collect()
        };
        self.gather(feed, wanted)
    }

    /// What [`Archive::segments`] finds, and before it what a decoder must hear to know what is going on then: back
    /// to the beginnings of the sessions that are open.
    pub fn segments_with_beginnings(&self, feed: &FeedName, selection: &Selection) -> Vec<(Origin, Object)> {
        self.gather(feed, |chain| {
            chain.with_beginnings(|object| selection.wants_object(chain.origin, object))
        })
    }

    fn gather(&self, feed: &FeedName, objects: impl Fn(&Chain) -> Vec<Object>) -> Vec<(Origin, Object)> {
        let mut chains: Vec<_> = self.of(feed).collect();
        chains
            .sort_by_key(|chain| (chain.objects.values().next().map(|object| object.earliest), chain.origin));
        let of = |chain: &Chain| objects(chain).into_iter().map(|object| (chain.origin, object)).collect();
        chains.into_iter().flat_map(|chain| -> Vec<_> { of(chain) }).collect()
    }

    /// Reads what is wanted, in the order of [`Archive::segments`]; at the end the reader says `Closed`.
    pub fn entries(&self, feed: &FeedName, selection: Selection) -> EntryReader {
        let segments = self.segments(feed, &selection);
        EntryReader::start(self.store.clone(), segments, selection)
    }

    /// Reads these objects, whole; at the end the reader says `Closed`.
    pub fn read(&self, segments: Vec<(Origin, Object)>) -> EntryReader {
        EntryReader::start(self.store.clone(), segments, Selection::all())
    }

    pub(crate) fn of(&self, feed: &FeedName) -> impl Iterator<Item = &Chain> {
        let feed = feed.clone();
        self.chains.values().filter(move |chain| chain.feed == feed)
    }
}

/// Batches read ahead: with one that is being filled, a few megabytes.
const AHEAD: usize = 4;

/// A reader of archived entries. Dropping it ends its task.
pub struct EntryReader {
    batches: mpsc::Receiver<Result<Vec<Entry>>>,
    ready: std::vec::IntoIter<Entry>,
    _tasks: Tasks,
}

impl EntryReader {
    fn start(store: Arc<dyn Store>, segments: Vec<(Origin, Object)>, selection: Selection) -> Self {
        let (send, batches) = mpsc::channel(AHEAD);
        let mut tasks = Tasks::new();
        tasks.spawn("read archive", async move {
            for (origin, object) in segments {
                let failed = match read_object(&store, origin, object, &selection, &send).await {
                    Ok(true) => continue,
                    Ok(false) => break,
                    Err(error) => error,
                };
                if send.send(Err(failed)).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        Self { batches, ready: Vec::new().into_iter(), _tasks: tasks }
    }

    /// All entries that were read together and not given out yet: the fastest way through an archive. `None` at
    /// the end.
    ///
    /// # Errors
    /// `Corrupt` for a damaged object, once; the next call goes on behind it. The store's own.
    ///
    /// # Cancel safety
    /// Safe: dropping the future loses no entry.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<Entry>>> {
        if self.ready.len() > 0 {
            return Ok(Some(std::mem::take(&mut self.ready).collect()));
        }
        self.batches.recv().await.transpose()
    }
}

#[async_trait]
impl Entries for EntryReader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        while self.ready.len() == 0 {
            let batch = self.batches.recv().await.transpose()?;
            let end = || Error::new(ErrorKind::Closed, "read archive").detail("there is no more");
            self.ready = batch.ok_or_else(end)?.into_iter();
        }
        Ok(self.ready.by_ref().take(max.get()).collect())
    }
}

/// Sends the entries of one object; `false` if nobody listens any more.
async fn read_object(
    store: &Arc<dyn Store>,
    origin: Origin,
    object: Object,
    selection: &Selection,
    send: &mpsc::Sender<Result<Vec<Entry>>>,
) -> Result<bool> {
    let body = fetch(&**store, &object).await?;
    let (send, selection) = (send.clone(), selection.clone());
    let read = tokio::task::spawn_blocking(move || {
        check(&object, &body)?;
        let mut reader = SegmentReader::open(body).map_err(|error| name(error, &object))?;
        if reader.header().origin != origin || reader.header().first != object.first {
            return Err(damaged(&object, "it is another one than its commit says"));
        }
        let mut next = object.first;
        loop {
            let mut batch = Vec::new();
            let more = reader.read(&mut batch).map_err(|error| name(error, &object))?;
            next += batch.len() as u64;
            if !selection.is_whole() {
                batch.retain(|entry| selection.contains_time(entry.at));
            }
            if !batch.is_empty() && send.blocking_send(Ok(batch)).is_err() {
                return Ok(false);
            }
            if !more {
                break;
            }
        }
        if next == object.last + 1 {
            Ok(true)
        } else {
            Err(damaged(&object, "entries are missing at its end"))
        }
    });
    read.await.map_err(|cause| Error::new(ErrorKind::Bug, "read archive").because(cause))?
}

/// Gets an object that a commit names.
pub(crate) async fn fetch(store: &dyn Store, object: &Object) -> Result<bytes::Bytes> {
    if object.bytes > OBJECT_BYTES_MAX {
        return Err(damaged(object, "its commit says that it is larger than a segment may be"));
    }
    let path: ObjectPath = object.path.parse()?;
    store.get(&path, None).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => damaged(object, "it is missing").because(error),
        _ => name(error, object),
    })
}

fn check(object: &Object, body: &[u8]) -> Result<()> {
    if body.len() as u64 != object.bytes || sha256(body) != object.sha256 {
        return Err(damaged(object, "its bytes are not those that were committed"));
    }
    Ok(())
}

fn damaged(object: &Object, detail: &'static str) -> Error {
    name(Error::new(ErrorKind::Corrupt, "read object").detail(detail), object)
}

fn name(error: Error, object: &Object) -> Error {
    error.with("path", &object.path)
}
