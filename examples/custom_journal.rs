//! A journal of your own: implement the trait, run the suite, pass it to the pipeline.
//!
//! This one keeps its entries in a `Vec`. What makes it a journal is that it keeps the promises in the trait's docs,
//! which the conformance suite checks one by one.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::num::NonZeroUsize;
use std::sync::Arc;

use async_trait::async_trait;
use ssmd_core::conformance::Verdict;
use ssmd_core::conformance::journal::{self, Plain};
use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::journal::hole;
use ssmd_core::{
    Bounds, Clock, Entries, Entry, EntryId, EntryKind, Error, ErrorKind, FrameKind, Journal, Metrics, Origin,
    Pending, Positions, Result, SessionId, Start, SystemClock,
};
use ssmd_storage::{Archiver, MemoryStore, archive};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Keeps entries in a `Vec`: durable for as long as the process lives.
struct VecJournal {
    entries: watch::Sender<Vec<Entry>>,
    incarnation: String,
}

impl VecJournal {
    fn new() -> Self {
        Self { entries: watch::Sender::new(Vec::new()), incarnation: Origin::new_random().to_string() }
    }
}

#[async_trait]
impl Journal for VecJournal {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        if batch.iter().any(|entry| entry.payload.len() > PAYLOAD_BYTES_MAX) {
            return Err(Error::new(ErrorKind::Invalid, "append").detail("payload too large"));
        }
        self.entries.send_modify(|entries| {
            for entry in batch {
                let mut same_origin = entries.iter().filter(|known| known.id.origin == entry.id.origin);
                if same_origin.all(|known| known.id.n < entry.id.n) {
                    entries.push(entry);
                }
            }
        });
        Ok(Pending::ready())
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let entries = self.entries.subscribe();
        let (next, positions) = match start {
            Start::Oldest => (0, Positions::new()),
            Start::Newest => {
                let known = entries.borrow();
                (known.len(), known.iter().map(|entry| (entry.id.origin, entry.id.n)).collect())
            }
            Start::After(positions) => (0, positions),
        };
        Ok(Box::new(Reader { entries, next, positions }))
    }

    async fn bounds(&self) -> Result<Bounds> {
        let mut origins = BTreeMap::new();
        for Entry { id, .. } in self.entries.borrow().iter() {
            origins.entry(id.origin).or_insert((id.n, id.n)).1 = id.n;
        }
        Ok(Bounds { origins, incarnation: self.incarnation.clone() })
    }
}

struct Reader {
    entries: watch::Receiver<Vec<Entry>>,
    next: usize,
    /// The last number given out, or told to be missing, of each origin.
    positions: Positions,
}

#[async_trait]
impl Entries for Reader {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Entry>> {
        loop {
            let next = self.next;
            self.entries
                .wait_for(|entries| entries.len() > next)
                .await
                .map_err(|_| Error::new(ErrorKind::Closed, "read journal"))?;
            let mut given = Vec::new();
            let known = self.entries.borrow();
            while given.len() < max.get()
                && let Some(entry) = known.get(self.next)
            {
                let position = self.positions.get(&entry.id.origin).copied();
                let after = position.unwrap_or(entry.id.n - 1);
                if entry.id.n > after + 1 {
                    if given.is_empty() {
                        self.positions.insert(entry.id.origin, entry.id.n - 1);
                        return Err(hole(entry.id.origin, after + 1, entry.id.n - 1));
                    }
                    break;
                }
                self.next += 1;
                if entry.id.n == after + 1 {
                    self.positions.insert(entry.id.origin, entry.id.n);
                    given.push(entry.clone());
                }
            }
            if !given.is_empty() {
                return Ok(given);
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn StdError>> {
    // Run the suite. In a crate's tests, `ssmd_core::journal_conformance!` makes a test of each promise.
    let outcomes = journal::suite(|| async { Plain(Arc::new(VecJournal::new())) }).await;
    let mut broken = 0;
    for outcome in &outcomes {
        println!("{:<60} {}", outcome.promise, outcome.verdict);
        broken += usize::from(matches!(outcome.verdict, Verdict::Broken(_)));
    }
    if broken > 0 {
        return Err(format!("{broken} promises are broken").into());
    }

    // Pass it to the pipeline: what is in it is archived, as from any other journal.
    let (clock, journal): (Arc<dyn Clock>, _) = (Arc::new(SystemClock::new()), Arc::new(VecJournal::new()));
    let (origin, at) = (Origin::new_random(), clock.now());
    let entry = |n| Entry {
        id: EntryId { origin, n },
        day: at.day(),
        at,
        elapsed: clock.elapsed(),
        session: SessionId(1),
        index: n - 1,
        kind: EntryKind::Frame(FrameKind::Data),
        binary: false,
        more: false,
        payload: format!("{{\"hello\":{n}}}").into(),
    };
    journal.append((1..=100).map(entry).collect()).await?.await?;
    let locks = tempfile::tempdir()?;
    let archiver = Archiver {
        feed: "custom".parse()?,
        journal,
        store: Arc::new(MemoryStore::new()),
        clock: clock.clone(),
        metrics: Metrics::new(),
        options: archive::Options::new(locks.path()),
        covered: Arc::new(|_, _| Ok(())),
    };
    let stop = CancellationToken::new();
    stop.cancel();
    let summary = archiver.run(stop).await?;
    println!("archived {} entries in {} commit", summary.entries, summary.commits);
    assert_eq!(summary.entries, 100);
    Ok(())
}
