//! The cache in memory, and how it may be broken.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ssmd_core::conformance::cache::Harness;
use ssmd_core::{Cache, Error, ErrorKind, Expect, ManualClock, Result, Timestamp, Versioned};
use ssmd_transport::memory::MemoryCache;
use tokio::task::yield_now;

use crate::sabotage;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    CutsAtZero,
    AbsentIsEmpty,
    GivesAnotherVersion,
    VersionsFollowTheValue,
    NeverReplaces,
    IgnoresAbsent,
    ConflictWrites,
    IgnoresVersions,
    ChecksThenPuts,
    FoldsCase,
    IgnoresTtl,
    ExpiredIsThere,
    FirstTtlStays,
    KeepsDeleted,
    DeleteOfAbsentFails,
    ScansBackwards,
    ScansSegments,
    ScansPatterns,
    SeesItsOwn,
}

struct Faulty {
    inner: Arc<MemoryCache>,
    ttls: Mutex<std::collections::BTreeMap<String, Duration>>,
    fault: Fault,
}

impl Faulty {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn key(&self, key: &str) -> String {
        if self.is(Fault::FoldsCase) { key.to_lowercase() } else { key.to_owned() }
    }

    /// Versions that are the same whenever the value is.
    fn shown(&self, mut found: Versioned) -> Versioned {
        if self.is(Fault::VersionsFollowTheValue) {
            found.version = found.value.iter().map(|byte| u64::from(*byte)).sum();
        }
        found
    }

    fn ttl(&self, key: &str, ttl: Option<Duration>) -> Option<Duration> {
        match self.fault {
            Fault::IgnoresTtl => None,
            Fault::FirstTtlStays => {
                let mut ttls = self.ttls.lock().unwrap();
                ttl.map(|ttl| *ttls.entry(key.to_owned()).or_insert(ttl)).or(ttls.get(key).copied())
            }
            _ => ttl,
        }
    }
}

#[async_trait]
impl Cache for Faulty {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        let found = self.inner.get(&self.key(key)).await?.map(|found| self.shown(found));
        match found {
            None if self.is(Fault::AbsentIsEmpty) => Ok(Some(Versioned { version: 0, value: Bytes::new() })),
            found => Ok(found),
        }
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect, ttl: Option<Duration>) -> Result<u64> {
        let key = &self.key(key);
        let found = self.inner.get(key).await?;
        let value = match self.fault {
            Fault::CutsAtZero => {
                value.slice(..value.iter().position(|byte| *byte == 0).unwrap_or(value.len()))
            }
            _ => value,
        };
        let expect = match (self.fault, expect) {
            (Fault::IgnoresAbsent, Expect::Absent) => Expect::Any,
            (Fault::IgnoresVersions, Expect::Version(_)) => Expect::Any,
            (Fault::ExpiredIsThere, Expect::Absent) if self.ttls.lock().unwrap().contains_key(key) => {
                return Err(Error::new(ErrorKind::Conflict, "put"));
            }
            (Fault::ChecksThenPuts, expect) => {
                yield_now().await;
                let version = found.as_ref().map(|found| found.version);
                match expect {
                    Expect::Absent if version.is_some() => {
                        return Err(Error::new(ErrorKind::Conflict, "put"));
                    }
                    Expect::Version(v) if version != Some(v) => {
                        return Err(Error::new(ErrorKind::Conflict, "put"));
                    }
                    _ => Expect::Any,
                }
            }
            (_, expect) => expect,
        };
        if self.is(Fault::NeverReplaces) && found.is_some() && expect == Expect::Any {
            return Ok(found.map_or(0, |found| found.version));
        }
        if self.is(Fault::ExpiredIsThere)
            && let Some(ttl) = ttl
        {
            self.ttls.lock().unwrap().insert(key.clone(), ttl);
        }
        let put = self.inner.put(key, value.clone(), expect, self.ttl(key, ttl)).await;
        match put {
            Err(error) if self.is(Fault::ConflictWrites) => {
                self.inner.put(key, value, Expect::Any, ttl).await?;
                Err(error)
            }
            Ok(_) if self.is(Fault::VersionsFollowTheValue) => {
                Ok(value.iter().map(|byte| u64::from(*byte)).sum())
            }
            Ok(version) if self.is(Fault::GivesAnotherVersion) => Ok(version + 1),
            put => put,
        }
    }

    async fn delete(&self, key: &str) -> Result<()> {
        match self.fault {
            Fault::KeepsDeleted => Ok(()),
            Fault::DeleteOfAbsentFails if self.inner.get(key).await?.is_none() => {
                Err(Error::new(ErrorKind::NotFound, "delete"))
            }
            _ => self.inner.delete(&self.key(key)).await,
        }
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>> {
        let asked = match self.fault {
            Fault::ScansPatterns => prefix.trim_end_matches(['*', '>', '?']),
            _ => prefix,
        };
        let mut found = self.inner.scan(asked).await?;
        match self.fault {
            Fault::ScansBackwards => found.reverse(),
            Fault::ScansSegments => {
                found.retain(|(key, _)| {
                    let rest = key.strip_prefix(prefix).unwrap_or_default();
                    prefix.is_empty() || prefix.ends_with('.') || rest.is_empty() || rest.starts_with('.')
                });
            }
            _ => {}
        }
        Ok(found.into_iter().map(|(key, value)| (key, self.shown(value))).collect())
    }
}

struct FaultyHarness {
    clock: ManualClock,
    inner: Arc<MemoryCache>,
    fault: Fault,
}

impl FaultyHarness {
    fn new(fault: Fault) -> Self {
        let clock = ManualClock::new(Timestamp::from_nanos(0));
        let inner = Arc::new(MemoryCache::new(Arc::new(clock.clone())));
        Self { clock, inner, fault }
    }

    fn cache(&self, inner: Arc<MemoryCache>) -> Arc<dyn Cache> {
        Arc::new(Faulty { inner, ttls: Mutex::default(), fault: self.fault })
    }
}

#[async_trait]
impl Harness for FaultyHarness {
    async fn open(&mut self) -> Result<Arc<dyn Cache>> {
        Ok(self.cache(self.inner.clone()))
    }

    async fn pass(&mut self, time: Duration) -> Result<bool> {
        self.clock.advance(time);
        Ok(true)
    }

    async fn observe(&mut self) -> Result<Option<Arc<dyn Cache>>> {
        let own = Arc::new(MemoryCache::new(Arc::new(self.clock.clone())));
        let seen = if self.fault == Fault::SeesItsOwn { own } else { self.inner.clone() };
        Ok(Some(self.cache(seen)))
    }
}

sabotage! { cache, FaultyHarness, Fault;
    values_come_back_identical: [CutsAtZero]
    an_absent_key_has_no_value: [AbsentIsEmpty]
    put_gives_the_version_that_get_shows: [GivesAnotherVersion]
    versions_change_with_every_write: [VersionsFollowTheValue]
    any_replaces_the_value: [NeverReplaces]
    absent_refuses_a_key_that_exists_and_changes_nothing: [IgnoresAbsent, ConflictWrites]
    a_version_refuses_any_other_and_changes_nothing: [IgnoresVersions, ConflictWrites]
    exactly_one_of_many_absent_puts_wins: [ChecksThenPuts, IgnoresAbsent]
    exactly_one_of_many_versioned_puts_wins: [ChecksThenPuts, IgnoresVersions]
    keys_do_not_disturb_one_another: [FoldsCase]
    a_value_is_gone_after_its_time_to_live: [IgnoresTtl]
    an_expired_key_is_absent: [IgnoresTtl, ExpiredIsThere]
    a_put_replaces_the_time_to_live: [FirstTtlStays]
    delete_removes: [KeepsDeleted]
    delete_of_what_is_absent_is_no_error: [DeleteOfAbsentFails]
    scan_gives_what_begins_with_the_prefix_in_order: [ScansBackwards, ScansSegments]
    scan_takes_the_prefix_as_it_is: [ScansPatterns]
    other_processes_see_every_write: [SeesItsOwn]
}
