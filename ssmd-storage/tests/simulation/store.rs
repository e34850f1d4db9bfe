//! A store whose every operation waits until the scheduler serves it, well or badly.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use ssmd_core::{BoxStream, Error, ErrorKind, ObjectMeta, ObjectPath, PutMode, Result, Store, Timestamp};
use tokio::sync::oneshot;

use crate::random::Random;

/// How the scheduler serves an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Fine,
    /// Refused, without an effect.
    Refused,
    /// Done, and the answer is lost.
    Unanswered,
    /// No answer; done at some later time, perhaps after the client has tried again or died.
    Late,
}

/// How a store breaks its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    Nothing,
    /// Objects are promised, and put after the commit that names them.
    Order,
    /// Creating replaces what is there.
    Create,
}

enum Operation {
    Put(ObjectPath, Bytes, PutMode),
    Get(ObjectPath, Option<Range<u64>>),
    List(Option<ObjectPath>),
    Delete(ObjectPath),
}

enum Answer {
    Done,
    Bytes(Bytes),
    Listed(Vec<ObjectMeta>),
}

struct Waiting {
    client: usize,
    operation: Operation,
    answer: Option<oneshot::Sender<Result<Answer>>>,
}

struct State {
    objects: BTreeMap<ObjectPath, Bytes>,
    waiting: Vec<Waiting>,
    /// Commits that were put since the last look.
    commits: Vec<(ObjectPath, Bytes)>,
    deferred: Vec<(ObjectPath, Bytes)>,
    breaks: Breaks,
}

/// The store, for everyone.
#[derive(Clone)]
pub(crate) struct SimStore(Arc<Mutex<State>>);

impl SimStore {
    pub(crate) fn new(breaks: Breaks) -> Self {
        let (objects, waiting) = (BTreeMap::new(), Vec::new());
        Self(Arc::new(Mutex::new(State { objects, waiting, commits: vec![], deferred: vec![], breaks })))
    }

    /// The store as one client sees it; `None` is served at once.
    pub(crate) fn client(&self, client: Option<usize>) -> Arc<dyn Store> {
        Arc::new(Client { store: self.clone(), client })
    }

    /// Serves one operation that this client waits for, if there is one.
    pub(crate) fn serve(&self, client: usize, outcome: Outcome, random: &mut Random) -> bool {
        let mut state = self.state();
        let mine: Vec<usize> = (0..state.waiting.len()).filter(|at| state.waiting[*at].is(client)).collect();
        if mine.is_empty() {
            return false;
        }
        let at = mine[random.below(mine.len() as u64) as usize];
        if outcome == Outcome::Late {
            if let Some(answer) = state.waiting[at].answer.take() {
                let _ = answer.send(Err(Error::new(ErrorKind::Timeout, "test store")));
            }
            return true;
        }
        let Waiting { operation, answer, .. } = state.waiting.remove(at);
        let answered = match outcome {
            Outcome::Refused => Err(Error::new(ErrorKind::Unavailable, "test store")),
            Outcome::Unanswered => {
                let _ = state.perform(operation);
                Err(Error::new(ErrorKind::Timeout, "test store"))
            }
            Outcome::Fine | Outcome::Late => state.perform(operation),
        };
        if let Some(answer) = answer {
            let _ = answer.send(answered);
        }
        true
    }

    /// Serves one operation of which nobody awaits the answer any more.
    pub(crate) fn serve_late(&self, random: &mut Random) -> bool {
        let mut state = self.state();
        let late: Vec<usize> = (0..state.waiting.len()).filter(|at| state.waiting[*at].is_late()).collect();
        if late.is_empty() {
            return false;
        }
        let Waiting { operation, .. } = state.waiting.remove(late[random.below(late.len() as u64) as usize]);
        let _ = state.perform(operation);
        true
    }

    /// Forgets some of the operations of which nobody awaits the answer.
    pub(crate) fn forget(&self, random: &mut Random) {
        self.state().waiting.retain(|waiting| !waiting.is_late() || random.percent(50));
    }

    pub(crate) fn get(&self, path: &ObjectPath) -> Option<Bytes> {
        self.state().objects.get(path).cloned()
    }

    pub(crate) fn take_commits(&self) -> Vec<(ObjectPath, Bytes)> {
        std::mem::take(&mut self.state().commits)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is(&self, client: usize) -> bool {
        self.client == client && !self.is_late()
    }

    fn is_late(&self) -> bool {
        self.answer.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl State {
    fn perform(&mut self, operation: Operation) -> Result<Answer> {
        match operation {
            Operation::Put(path, body, mode) => self.put(path, body, mode).map(|()| Answer::Done),
            Operation::Get(path, range) => {
                let found = self.objects.get(&path);
                let body = found.ok_or_else(|| Error::new(ErrorKind::NotFound, "test store"))?;
                let range = range.unwrap_or(0..body.len() as u64);
                Ok(Answer::Bytes(body.slice(range.start as usize..range.end as usize)))
            }
            Operation::List(prefix) => {
                let prefix = prefix.map_or_else(String::new, |prefix| prefix.to_string());
                let below = |path: &&ObjectPath| path.as_str().starts_with(&prefix);
                let modified = Timestamp::from_nanos(0);
                let meta = |path: &ObjectPath| {
                    let bytes = self.objects[path].len() as u64;
                    ObjectMeta { path: path.clone(), bytes, modified }
                };
                Ok(Answer::Listed(self.objects.keys().filter(below).map(meta).collect()))
            }
            Operation::Delete(path) => {
                self.objects.remove(&path);
                Ok(Answer::Done)
            }
        }
    }

    fn put(&mut self, path: ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        let is_commit = path.as_str().starts_with("commits/");
        if self.breaks == Breaks::Order && !is_commit {
            self.deferred.push((path, body));
            return Ok(());
        }
        let exists = self.objects.contains_key(&path) && self.breaks != Breaks::Create;
        if mode == PutMode::Create && exists {
            return Err(Error::new(ErrorKind::AlreadyExists, "test store"));
        }
        if is_commit {
            self.commits.push((path.clone(), body.clone()));
        }
        self.objects.insert(path, body);
        Ok(())
    }
}

struct Client {
    store: SimStore,
    client: Option<usize>,
}

impl Client {
    async fn ask(&self, operation: Operation) -> Result<Answer> {
        let Some(client) = self.client else { return self.store.state().perform(operation) };
        let (answer, answered) = oneshot::channel();
        self.store.state().waiting.push(Waiting { client, operation, answer: Some(answer) });
        answered.await.map_err(|_| Error::new(ErrorKind::Closed, "test store"))?
    }
}

#[async_trait]
impl Store for Client {
    async fn put(&self, path: &ObjectPath, body: Bytes, mode: PutMode) -> Result<()> {
        self.ask(Operation::Put(path.clone(), body, mode)).await.map(drop)
    }

    async fn get(&self, path: &ObjectPath, range: Option<Range<u64>>) -> Result<Bytes> {
        match self.ask(Operation::Get(path.clone(), range)).await? {
            Answer::Bytes(bytes) => Ok(bytes),
            _ => Err(Error::new(ErrorKind::Bug, "test store")),
        }
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'_, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        let listed = async move {
            match self.ask(Operation::List(prefix)).await? {
                Answer::Listed(listed) => Ok(futures_util::stream::iter(listed.into_iter().map(Ok))),
                _ => Err(Error::new(ErrorKind::Bug, "test store")),
            }
        };
        futures_util::stream::once(listed).try_flatten().boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.ask(Operation::Delete(path.clone())).await.map(drop)
    }
}
