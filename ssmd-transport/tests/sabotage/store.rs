//! A tiny store in memory, and how it may be broken.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::conformance::store::Harness;
use ssmd_core::{BoxStream, Error, ErrorKind, ObjectMeta, ObjectPath, PutMode, Result, Store, Timestamp};
use tokio::task::yield_now;

use crate::sabotage;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    LosesZeroBytes,
    DropsEmpty,
    CutsLarge,
    IgnoresCreate,
    CreatesInTwoSteps,
    KnowsOnlyItsOwn,
    KeepsTheOldTail,
    ShowsPutsLate,
    WritesInTwoSteps,
    CutsThenWrites,
    RestartsEmpty,
    RangeEndsEarly,
    ClampsRanges,
    AbsentIsEmpty,
    ListsLengthsPlusOne,
    ListsTextPrefixes,
    ListsOnlyBelow,
    EmptyListIsAnError,
    ModifiedGoesBack,
    KeepsDeleted,
    DeleteOfAbsentFails,
}

type Objects = Arc<Mutex<BTreeMap<String, (Bytes, i64)>>>;

struct Tiny {
    objects: Objects,
    /// Puts that are not visible yet.
    pending: Mutex<Vec<(String, Bytes)>>,
    /// What this handle created.
    created: Mutex<BTreeSet<String>>,
    fault: Fault,
}

fn missing(path: &ObjectPath) -> Error {
    Error::new(ErrorKind::NotFound, "get object").with("path", path)
}

impl Tiny {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn write(&self, path: &ObjectPath, body: Bytes) {
        let mut objects = self.objects.lock().unwrap();
        let modified = objects.values().map(|(_, modified)| modified + 1).max().unwrap_or(0);
        let modified = if self.is(Fault::ModifiedGoesBack) { -modified } else { modified };
        objects.insert(path.to_string(), (body, modified));
    }

    fn read(&self, path: &ObjectPath) -> Option<Bytes> {
        self.objects.lock().unwrap().get(path.as_str()).map(|(body, _)| body.clone())
    }

    async fn check_absent(&self, path: &ObjectPath) -> Result<()> {
        let exists = match self.fault {
            Fault::KnowsOnlyItsOwn => !self.created.lock().unwrap().insert(path.to_string()),
            _ => self.read(path).is_some(),
        };
        if self.is(Fault::CreatesInTwoSteps) {
            yield_now().await;
        }
        match exists && !self.is(Fault::IgnoresCreate) {
            true => Err(Error::new(ErrorKind::AlreadyExists, "put object").with("path", path)),
            false => Ok(()),
        }
    }

    fn broken_body(&self, path: &ObjectPath, body: Bytes) -> Bytes {
        match self.fault {
            Fault::LosesZeroBytes => body.iter().copied().filter(|byte| *byte != 0).collect(),
            Fault::CutsLarge => body.slice(..body.len().min(8 * 1024 * 1024)),
            Fault::KeepsTheOldTail => {
                let old = self.read(path).unwrap_or_default();
                let tail = old.get(body.len()..).unwrap_or_default();
                [&body, tail].concat().into()
            }
            _ => body,
        }
    }
}

#[async_trait]
impl Store for Tiny {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        if mode == PutMode::Create {
            self.check_absent(path).await?;
        }
        let body = self.broken_body(path, body);
        match self.fault {
            Fault::DropsEmpty if body.is_empty() => return Ok(()),
            Fault::ShowsPutsLate => {
                let before =
                    std::mem::replace(&mut *self.pending.lock().unwrap(), vec![(path.to_string(), body)]);
                for (path, body) in before {
                    self.write(&path.parse()?, body);
                }
                return Ok(());
            }
            Fault::WritesInTwoSteps => {
                self.write(path, body.slice(..body.len() / 2));
                yield_now().await;
            }
            Fault::CutsThenWrites => {
                self.write(path, Bytes::new());
                yield_now().await;
            }
            _ => {}
        }
        self.write(path, body);
        Ok(())
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        let found = match self.read(path) {
            None if self.is(Fault::AbsentIsEmpty) => Bytes::new(),
            found => found.ok_or_else(|| missing(path))?,
        };
        let Some(Range { start, end }) = range else { return Ok(found) };
        let len = found.len() as u64;
        let end = if self.is(Fault::ClampsRanges) { end.min(len) } else { end };
        if start > end || end > len {
            return Err(Error::new(ErrorKind::Invalid, "get object").with("range", format!("{start}..{end}")));
        }
        let end = if self.is(Fault::RangeEndsEarly) { end - 1 } else { end };
        Ok(found.slice(start as usize..end as usize))
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        let matches = |path: &str| {
            let Some(prefix) = prefix else { return true };
            let Some(rest) = path.strip_prefix(prefix.as_str()) else { return false };
            match self.fault {
                Fault::ListsTextPrefixes => true,
                Fault::ListsOnlyBelow => rest.starts_with('/'),
                _ => rest.is_empty() || rest.starts_with('/'),
            }
        };
        let more = u64::from(self.is(Fault::ListsLengthsPlusOne));
        let objects = self.objects.lock().unwrap();
        let mut found: Vec<Result<ObjectMeta>> = Vec::new();
        for (path, (body, modified)) in objects.iter().filter(|(path, _)| matches(path)) {
            let bytes = body.len() as u64 + more;
            let modified = Timestamp::from_nanos(*modified);
            found.push(path.parse().map(|path| ObjectMeta { path, bytes, modified }));
        }
        if found.is_empty() && self.is(Fault::EmptyListIsAnError) {
            found.push(Err(Error::new(ErrorKind::NotFound, "list objects")));
        }
        Box::pin(Listed(found.into_iter()))
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        if self.is(Fault::KeepsDeleted) {
            return Ok(());
        }
        let removed = self.objects.lock().unwrap().remove(path.as_str());
        match removed {
            None if self.is(Fault::DeleteOfAbsentFails) => Err(missing(path)),
            _ => Ok(()),
        }
    }
}

struct Listed(std::vec::IntoIter<Result<ObjectMeta>>);

impl futures_core::Stream for Listed {
    type Item = Result<ObjectMeta>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

struct TinyHarness {
    objects: Objects,
    fault: Fault,
}

impl TinyHarness {
    fn new(fault: Fault) -> Self {
        Self { objects: Objects::default(), fault }
    }

    fn store(&self) -> Arc<dyn Store> {
        let objects = self.objects.clone();
        Arc::new(Tiny { objects, pending: Mutex::default(), created: Mutex::default(), fault: self.fault })
    }
}

#[async_trait]
impl Harness for TinyHarness {
    async fn open(&mut self) -> Result<Arc<dyn Store>> {
        Ok(self.store())
    }

    async fn restart(&mut self) -> Result<Option<Arc<dyn Store>>> {
        if self.fault == Fault::RestartsEmpty {
            self.objects.lock().unwrap().clear();
        }
        Ok(Some(self.store()))
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Store>>> {
        Ok(Some(self.store()))
    }
}

sabotage! { store, TinyHarness, Fault;
    an_object_comes_back_identical: [LosesZeroBytes]
    an_empty_object_is_an_object: [DropsEmpty]
    a_large_object_comes_back_identical: [CutsLarge]
    create_refuses_what_exists_and_changes_nothing: [IgnoresCreate]
    exactly_one_of_many_creates_wins: [CreatesInTwoSteps, IgnoresCreate]
    exactly_one_of_many_creates_wins_across_processes: [KnowsOnlyItsOwn]
    overwrite_replaces_the_whole_object: [KeepsTheOldTail]
    a_put_is_visible_to_everyone_when_it_returns: [ShowsPutsLate]
    no_part_of_an_object_is_ever_visible: [WritesInTwoSteps, CutsThenWrites]
    a_dropped_put_leaves_the_old_or_the_new: [WritesInTwoSteps, CutsThenWrites]
    what_was_put_survives_a_restart: [RestartsEmpty]
    a_range_gives_its_bytes: [RangeEndsEarly]
    a_range_outside_is_invalid: [ClampsRanges]
    an_absent_object_is_not_found: [AbsentIsEmpty]
    list_gives_every_object_with_its_length: [ListsLengthsPlusOne]
    list_matches_whole_segments: [ListsTextPrefixes]
    list_of_an_objects_own_path_gives_it: [ListsOnlyBelow]
    list_of_nothing_is_empty: [EmptyListIsAnError]
    modified_does_not_go_back: [ModifiedGoesBack]
    delete_removes: [KeepsDeleted]
    delete_of_what_is_absent_is_no_error: [DeleteOfAbsentFails]
}
