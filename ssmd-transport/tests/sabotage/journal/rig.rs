//! The rig: a queue in front of a journal in memory, which can hold durability back, restart and be observed.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::conformance::journal::Harness;
use ssmd_core::entry::PAYLOAD_BYTES_MAX;
use ssmd_core::{
    Bounds, Entries, Entry, EntryId, Error, ErrorKind, Journal, Pending, Positions, Result, Start,
};
use ssmd_transport::memory::MemoryJournal;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, yield_now};

use super::reader::Reader;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    LosesMore,
    MendsText,
    CutsLarge,
    QueuesBeforeTheOversized,
    RefusesEmpty,
    SwapsCalls,
    ResolvesOneCallEarly,
    ResolvesAtOnce,
    DropsWithoutRoom,
    DropsWithPending,
    QueuesThenYields,
    OverwritesWithRepeats,
    RefusesSkips,
    NumbersOriginsTogether,
    ForgetsTheLastOverARestart,
    QueuesAPartWhenFull,
    TakesWhenClosed,
    OldestIsTheSecond,
    NewestIsOldest,
    AfterIsAt,
    UnnamedFromTheirNewest,
    RemovedIsOldest,
    GivesMoreThanMax,
    YieldsAfterTaking,
    PassesOverHoles,
    TellsHolesTwice,
    HolesEndBehind,
    TellsOneHole,
    EndsAtAHole,
    NeverWakes,
    ShowsWhatIsQueued,
    SharesOneReader,
    EndsBeforeAllIsRead,
    OthersSeeThePast,
    BoundsEndBehind,
    BoundsTellWhatIsQueued,
    BoundsKeepTheFirst,
    IncarnationChanges,
    IncarnationIsFixed,
}

/// Batches that wait for durability before an append waits for room.
const QUEUE_BATCHES: usize = 16;

/// The hard cap of the journal, in bytes.
const JOURNAL_BYTES: usize = 8 * 1024 * 1024;

type Batch = (Vec<Entry>, oneshot::Sender<Result<()>>);

#[derive(Default)]
pub(crate) struct Stage {
    held: bool,
    pub(crate) queue: VecDeque<Batch>,
    /// A batch that a fault delays until the next call.
    late: Option<Batch>,
    pub(crate) overwritten: BTreeMap<EntryId, Entry>,
    pub(crate) closed: bool,
    highest: u64,
    pub(crate) readers: u64,
}

pub(crate) struct Rig {
    pub(crate) inner: Arc<MemoryJournal>,
    pub(crate) stage: Mutex<Stage>,
    released: watch::Sender<()>,
    tasks: Mutex<JoinSet<()>>,
    asked: AtomicU64,
    shared_reader: tokio::sync::OnceCell<Arc<tokio::sync::Mutex<Box<dyn Entries>>>>,
    fault: Fault,
}

impl Rig {
    fn new(inner: Arc<MemoryJournal>, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            inner,
            stage: Mutex::default(),
            released: watch::Sender::new(()),
            tasks: Mutex::default(),
            asked: AtomicU64::new(0),
            shared_reader: tokio::sync::OnceCell::new(),
            fault,
        })
    }

    /// What a fault makes of a batch before it is queued.
    async fn broken(&self, mut batch: Vec<Entry>) -> Result<Vec<Entry>> {
        let bounds = self.inner.bounds().await?;
        let last = |entry: &Entry| bounds.origins.get(&entry.id.origin).map_or(0, |(_, last)| *last);
        match self.fault {
            Fault::LosesMore => batch.iter_mut().for_each(|entry| entry.more = false),
            Fault::MendsText => batch.iter_mut().for_each(|entry| {
                entry.payload = Bytes::from(String::from_utf8_lossy(&entry.payload).into_owned());
            }),
            Fault::CutsLarge => batch.iter_mut().for_each(|entry| {
                entry.payload.truncate(PAYLOAD_BYTES_MAX - 1);
            }),
            Fault::RefusesSkips => batch.retain(|entry| entry.id.n <= last(entry) + 2),
            Fault::NumbersOriginsTogether => {
                let highest = &mut self.stage.lock().unwrap().highest;
                batch.retain(|entry| {
                    let new = entry.id.n > *highest;
                    *highest = entry.id.n.max(*highest);
                    new
                });
            }
            Fault::OverwritesWithRepeats => {
                let overwritten = &mut self.stage.lock().unwrap().overwritten;
                let mut seen: Vec<EntryId> = Vec::new();
                for entry in &batch {
                    if entry.id.n <= last(entry) || seen.contains(&entry.id) {
                        overwritten.insert(entry.id, entry.clone());
                    }
                    seen.push(entry.id);
                }
            }
            _ => {}
        }
        Ok(batch)
    }

    async fn store(&self, (batch, done): Batch) -> Result<()> {
        let stored = match self.inner.append(batch).await {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        // Whoever appended may not want to know.
        let _ = done.send(stored);
        Ok(())
    }

    async fn check(&self, batch: &[Entry]) -> Result<()> {
        let oversized = batch.iter().position(|entry| entry.payload.len() > PAYLOAD_BYTES_MAX);
        if let Some(at) = oversized {
            if self.fault == Fault::QueuesBeforeTheOversized {
                self.inner.append(batch[..at].to_vec()).await?.await?;
            }
            return Err(Error::new(ErrorKind::Invalid, "append to rig"));
        }
        if batch.is_empty() && self.fault == Fault::RefusesEmpty {
            return Err(Error::new(ErrorKind::Invalid, "append to rig"));
        }
        Ok(())
    }

    /// Waits for room while durability is held back; then `None` if the batch was queued.
    async fn queue(&self, batch: Vec<Entry>) -> std::result::Result<Vec<Entry>, Pending> {
        let mut released = self.released.subscribe();
        loop {
            {
                let mut stage = self.stage.lock().unwrap();
                if !stage.held {
                    return Ok(batch);
                }
                if stage.queue.len() < QUEUE_BATCHES {
                    let (done, pending) = Pending::new();
                    stage.queue.push_back((batch, done));
                    return Err(if self.fault == Fault::ResolvesAtOnce { Pending::ready() } else { pending });
                }
            }
            if self.fault == Fault::DropsWithoutRoom {
                return Err(Pending::ready());
            }
            released.changed().await.unwrap();
        }
    }

    /// The faults that delay a batch; gives it back if it shall be stored now.
    async fn delayed(&self, batch: Vec<Entry>) -> Result<std::result::Result<Vec<Entry>, Pending>> {
        let (done, pending) = Pending::new();
        match self.fault {
            Fault::ResolvesOneCallEarly => {
                let before = self.stage.lock().unwrap().late.replace((batch, done));
                if let Some(before) = before {
                    self.store(before).await?;
                }
                Ok(Err(Pending::ready()))
            }
            Fault::SwapsCalls => {
                let before = self.stage.lock().unwrap().late.take();
                match before {
                    Some(before) => {
                        self.store((batch, done)).await?;
                        self.store(before).await?;
                    }
                    None => self.stage.lock().unwrap().late = Some((batch, done)),
                }
                Ok(Err(pending))
            }
            Fault::DropsWithPending => {
                let inner = self.inner.clone();
                self.tasks.lock().unwrap().spawn(async move {
                    if !done.is_closed() {
                        let stored = inner.append(batch).await.map(drop);
                        let _ = done.send(stored);
                    }
                });
                Ok(Err(pending))
            }
            _ => Ok(Ok(batch)),
        }
    }

    async fn release(&self) -> Result<()> {
        loop {
            let batch = self.stage.lock().unwrap().queue.pop_front();
            match batch {
                Some(batch) => self.store(batch).await?,
                None => break,
            }
        }
        self.stage.lock().unwrap().held = false;
        self.released.send_replace(());
        Ok(())
    }

    /// What a fault makes of a reader's start.
    async fn start(&self, start: Start) -> Result<Start> {
        let origins = self.inner.bounds().await?.origins;
        Ok(match (self.fault, start) {
            (Fault::OldestIsTheSecond, Start::Oldest) => {
                Start::After(origins.into_iter().map(|(origin, (first, _))| (origin, first)).collect())
            }
            (Fault::NewestIsOldest, Start::Newest) => Start::Oldest,
            (Fault::AfterIsAt, Start::After(positions)) => {
                let before = |(origin, n): (_, u64)| (origin, n.saturating_sub(1));
                Start::After(positions.into_iter().map(before).collect())
            }
            (Fault::UnnamedFromTheirNewest, Start::After(named)) => {
                let mut positions: Positions =
                    origins.into_iter().map(|(origin, (_, last))| (origin, last)).collect();
                positions.extend(named);
                Start::After(positions)
            }
            (_, start) => start,
        })
    }
}

/// The rig as a journal: a handle, so that dropping handles does not drop the rig.
struct Handle(Arc<Rig>);

#[async_trait]
impl Journal for Handle {
    async fn append(&self, batch: Vec<Entry>) -> Result<Pending> {
        let rig = &self.0;
        rig.check(&batch).await?;
        let batch = match rig.queue(rig.broken(batch).await?).await {
            Ok(batch) => batch,
            Err(queued) => return Ok(queued),
        };
        let batch = match rig.delayed(batch).await? {
            Ok(batch) => batch,
            Err(delayed) => return Ok(delayed),
        };
        let last = batch.last().cloned();
        let appended = rig.inner.append(batch).await;
        match (rig.fault, appended) {
            (Fault::QueuesThenYields, appended) => {
                yield_now().await;
                appended
            }
            (Fault::TakesWhenClosed, Err(_)) => Ok(Pending::ready()),
            (Fault::QueuesAPartWhenFull, Err(error)) => {
                rig.inner.append(last.into_iter().collect()).await?.await?;
                Err(error)
            }
            (_, appended) => appended,
        }
    }

    async fn read(&self, start: Start) -> Result<Box<dyn Entries>> {
        let rig = &self.0;
        let inner = match rig.inner.read(rig.start(start.clone()).await?).await {
            Err(_) if rig.fault == Fault::RemovedIsOldest => rig.inner.read(Start::Oldest).await?,
            inner => inner?,
        };
        let inner = Arc::new(tokio::sync::Mutex::new(inner));
        rig.stage.lock().unwrap().readers += 1;
        let inner = match rig.fault {
            Fault::SharesOneReader => rig.shared_reader.get_or_init(|| async { inner }).await.clone(),
            _ => inner,
        };
        Ok(Box::new(Reader::new(rig.clone(), inner, rig.fault)))
    }

    async fn bounds(&self) -> Result<Bounds> {
        let rig = &self.0;
        let mut bounds = rig.inner.bounds().await?;
        match rig.fault {
            Fault::BoundsEndBehind => bounds.origins.values_mut().for_each(|(_, last)| *last += 1),
            Fault::BoundsKeepTheFirst => bounds.origins.values_mut().for_each(|(first, _)| *first = 1),
            Fault::BoundsTellWhatIsQueued => {
                for entry in rig.stage.lock().unwrap().queue.iter().flat_map(|(batch, _)| batch) {
                    let known = bounds.origins.entry(entry.id.origin).or_insert((entry.id.n, entry.id.n));
                    known.1 = entry.id.n;
                }
            }
            Fault::IncarnationChanges => {
                bounds.incarnation = rig.asked.fetch_add(1, Ordering::Relaxed).to_string();
            }
            Fault::IncarnationIsFixed => bounds.incarnation = "1".into(),
            _ => {}
        }
        Ok(bounds)
    }
}

pub(crate) struct RigHarness {
    rig: Arc<Rig>,
    fault: Fault,
}

impl RigHarness {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { rig: Rig::new(Arc::new(MemoryJournal::bounded(JOURNAL_BYTES)), fault), fault }
    }

    fn handle(&self) -> Arc<dyn Journal> {
        Arc::new(Handle(self.rig.clone()))
    }

    /// A copy of all entries but the last `without`.
    async fn copy(&self, without: usize) -> Result<Arc<MemoryJournal>> {
        let copy = Arc::new(MemoryJournal::bounded(JOURNAL_BYTES));
        let mut reader = self.rig.inner.read(Start::Oldest).await?;
        let all = NonZeroUsize::MAX;
        let waker = std::task::Waker::noop();
        let mut entries = Vec::new();
        while let std::task::Poll::Ready(Ok(batch)) =
            reader.next(all).as_mut().poll(&mut std::task::Context::from_waker(waker))
        {
            entries.extend(batch);
        }
        entries.truncate(entries.len().saturating_sub(without));
        copy.append(entries).await?.await?;
        Ok(copy)
    }
}

#[async_trait]
impl Harness for RigHarness {
    async fn open(&mut self) -> Result<Arc<dyn Journal>> {
        Ok(self.handle())
    }

    async fn restart(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        let inner = match self.fault {
            Fault::ForgetsTheLastOverARestart => self.copy(1).await?,
            _ => self.rig.inner.clone(),
        };
        self.rig = Rig::new(inner, self.fault);
        Ok(Some(self.handle()))
    }

    async fn recreate(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        *self = Self::new(self.fault);
        Ok(Some(self.handle()))
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Journal>>> {
        if self.fault == Fault::OthersSeeThePast {
            return Ok(Some(self.copy(0).await?));
        }
        Ok(Some(self.handle()))
    }

    async fn hold(&mut self, held: bool) -> Result<bool> {
        if held {
            self.rig.stage.lock().unwrap().held = true;
        } else {
            self.rig.release().await?;
        }
        Ok(true)
    }

    async fn trim(&mut self, below: EntryId) -> Result<bool> {
        self.rig.inner.trim(&Positions::from([(below.origin, below.n)]));
        Ok(true)
    }

    async fn close(&mut self) -> Result<bool> {
        self.rig.stage.lock().unwrap().closed = true;
        self.rig.inner.close();
        Ok(true)
    }

    fn overflow_bytes(&self) -> Option<u64> {
        Some(2 * JOURNAL_BYTES as u64)
    }
}
