//! Environments as a time series: each that was applied is a version, an object of its own that is never
//! overwritten.
//!
//! A recorder keeps its versions in a store beside its logs, where they are durable before they are used; an archiver
//! copies them into the archive before it commits anything that was received under them. So the archive can say what
//! was declared at any time. A version is valid from its moment until the next one's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use ssmd_core::environment::Environment;
use ssmd_core::{
    Day, EnvironmentName, Error, ErrorKind, ObjectMeta, ObjectPath, PutMode, Result, Store, Timestamp,
};

use crate::commit::{InForce, is_whole, seal};
use crate::layout::{ENVIRONMENTS, environment_path, sha256};
use crate::object::create_alone;
use crate::verify::is_damage;

/// The version of the format.
pub const VERSION: u32 = 1;
/// The most bytes of a version: a document of 10 MiB whose every character is escaped.
pub const VERSION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest name of who or how, in characters.
const WORDS_CHARS_MAX: usize = 200;

/// One environment, as it was applied. Its bytes end in a field `check`, as those of a commit do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Always `environment`.
    pub ssmd: String,
    /// Always [`VERSION`].
    pub v: u32,
    /// The environment's name.
    pub environment: EnvironmentName,
    /// When it was applied. It ends when the next one begins.
    pub valid_from: Timestamp,
    /// Who applied it: user and host.
    pub who: String,
    /// What made it apply: `start`, `file`, `signal`, `apply`.
    pub how: String,
    /// What applied it: name and version.
    pub by: String,
    /// The SHA-256 of the document's bytes, in hexadecimal: equal environments have equal hashes.
    pub sha256: String,
    /// The document in its canonical form (see [`Environment::canonical`]); secrets stand in it by name.
    pub document: String,
}

/// A version and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What it says.
    pub version: Version,
    /// Its path.
    pub path: ObjectPath,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Who applies an environment, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// User and host.
    pub who: String,
    /// `start`, `file`, `signal`, `apply`.
    pub how: String,
}

impl Version {
    /// The version's bytes.
    ///
    /// # Errors
    /// `Invalid` if they would be more than [`VERSION_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self)
            .map_err(|cause| Error::new(ErrorKind::Bug, "write environment").because(cause))?;
        let bytes = seal(bytes);
        if bytes.len() > VERSION_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "write environment").with("bytes", bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads a version.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are none, or its document is not the one that its hash says; `Unsupported` for a later
    /// form.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Form {
            ssmd: String,
            v: u32,
        }
        if bytes.len() > VERSION_BYTES_MAX || !is_whole(bytes) {
            return Err(corrupt("its bytes are not those that were written"));
        }
        let unreadable = |cause: serde_json::Error| corrupt("it is not readable").because(cause);
        let form: Form = serde_json::from_slice(bytes).map_err(unreadable)?;
        if form.ssmd != "environment" {
            return Err(corrupt("it is no environment"));
        }
        if form.v != VERSION {
            return Err(Error::new(ErrorKind::Unsupported, "read environment")
                .with("version", form.v)
                .hint("read it with a later ssmd"));
        }
        let version: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        if sha256(version.document.as_bytes()) != version.sha256 {
            return Err(corrupt("its document is not the one that its hash says"));
        }
        Ok(version)
    }

    /// Where it lies: a function of its content.
    ///
    /// # Errors
    /// `Invalid` before 1970.
    pub fn path(&self) -> Result<ObjectPath> {
        environment_path(&self.environment, self.valid_from, &self.sha256)
    }
}

impl Recorded {
    fn new(version: Version) -> Result<Self> {
        Ok(Self { path: version.path()?, bytes: version.encode()?.into(), version })
    }

    fn read(path: ObjectPath, bytes: Bytes) -> Result<Self> {
        let version = Version::decode(&bytes).map_err(|error| error.with("path", &path))?;
        if version.path().ok().as_ref() != Some(&path) {
            return Err(corrupt("it is another one than its name says").with("path", path));
        }
        Ok(Self { version, path, bytes })
    }

    /// How a commit names it.
    pub fn named(&self) -> InForce {
        InForce { path: self.path.to_string(), sha256: sha256(&self.bytes) }
    }
}

/// The versions of one store, in the order of time. Damaged ones are passed over, and told in the log.
#[derive(Clone, Debug, Default)]
pub struct History {
    versions: BTreeMap<(Timestamp, ObjectPath), Recorded>,
    /// Those that were read, damaged ones among them.
    known: BTreeSet<ObjectPath>,
}

impl History {
    /// Every version of a store.
    ///
    /// # Errors
    /// The store's own.
    pub async fn load(store: &dyn Store) -> Result<Self> {
        let mut history = Self::default();
        history.refresh(store).await?;
        Ok(history)
    }

    /// Reads those that are new.
    ///
    /// # Errors
    /// As for [`History::load`].
    pub async fn refresh(&mut self, store: &dyn Store) -> Result<()> {
        for path in list(store).await? {
            if self.known.contains(&path) {
                continue;
            }
            match fetch(store, &path).await {
                Ok(recorded) => self.add(recorded),
                Err(error) if !is_damage(error.kind()) => return Err(error),
                Err(error) => {
                    tell_damage(&error);
                    self.known.insert(path);
                }
            }
        }
        Ok(())
    }

    /// Adds one that is known from elsewhere.
    pub fn add(&mut self, recorded: Recorded) {
        self.known.insert(recorded.path.clone());
        self.versions.insert((recorded.version.valid_from, recorded.path.clone()), recorded);
    }

    /// All of them, the oldest first.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = &Recorded> {
        self.versions.values()
    }

    /// The versions of one environment.
    pub fn of(&self, name: &EnvironmentName) -> Self {
        let mut of = Self::default();
        let versions = self.versions().filter(|recorded| recorded.version.environment == *name);
        versions.cloned().for_each(|recorded| of.add(recorded));
        of
    }

    /// The one that holds until another is applied.
    pub fn current(&self) -> Option<&Recorded> {
        self.versions().next_back()
    }

    /// The one that held at this moment.
    pub fn at(&self, moment: Timestamp) -> Option<&Recorded> {
        self.versions().rfind(|recorded| recorded.version.valid_from <= moment)
    }

    /// Those that held at some moment from `from` to `to`, both included.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Vec<&Recorded> {
        let first = self.at(from).map_or(from, |recorded| recorded.version.valid_from);
        self.versions().filter(|recorded| (first..=to).contains(&recorded.version.valid_from)).collect()
    }

    /// Those that held at some moment of a UTC day. The last of them is what a job for that day uses.
    pub fn on(&self, day: Day) -> Vec<&Recorded> {
        let end = Timestamp::from_nanos(day.next().start().nanos() - 1);
        self.between(day.start(), end)
    }

    /// When a version ended; `None` if it still holds.
    pub fn valid_to(&self, recorded: &Recorded) -> Option<Timestamp> {
        let from = recorded.version.valid_from;
        self.versions().map(|next| next.version.valid_from).find(|next| *next > from)
    }
}

/// Makes an environment the one that holds from `now` on; durable when this returns. One that holds already is not
/// recorded again: then the answer is the version that is there.
///
/// # Errors
/// As for [`History::load`] and [`Store::put`]; then the one before still holds.
///
/// # Cancel safety
/// Dropping the future leaves the version there as a whole, or not at all.
pub async fn record(
    store: &dyn Store,
    environment: &Environment,
    applied: Applied,
    now: Timestamp,
) -> Result<Recorded> {
    hold(store, environment.name.clone(), environment.canonical(), applied, now).await
}

/// Makes an earlier version hold again, as one more.
///
/// # Errors
/// As for [`record`].
///
/// # Cancel safety
/// As for [`record`].
pub async fn restore(
    store: &dyn Store,
    earlier: &Version,
    applied: Applied,
    now: Timestamp,
) -> Result<Recorded> {
    hold(store, earlier.environment.clone(), earlier.document.clone(), applied, now).await
}

async fn hold(
    store: &dyn Store,
    environment: EnvironmentName,
    document: String,
    applied: Applied,
    now: Timestamp,
) -> Result<Recorded> {
    let digest = sha256(document.as_bytes());
    let mut valid_from = now;
    if let Some(current) = current(store).await? {
        if current.version.sha256 == digest {
            return Ok(current);
        }
        // A clock that was set back does not change the order of what happened.
        let after = Timestamp::from_nanos(current.version.valid_from.nanos().saturating_add(1));
        valid_from = valid_from.max(after);
    }
    let short = |text: String| text.chars().take(WORDS_CHARS_MAX).collect();
    let recorded = Recorded::new(Version {
        ssmd: "environment".to_owned(),
        v: VERSION,
        environment,
        valid_from,
        who: short(applied.who),
        how: short(applied.how),
        by: concat!("ssmd ", env!("CARGO_PKG_VERSION")).to_owned(),
        sha256: digest,
        document,
    })?;
    store.put(&recorded.path, recorded.bytes.clone(), PutMode::Create).await?;
    Ok(recorded)
}

/// The version that holds until another is applied. Reads one object, however many there are, unless it is damaged.
///
/// # Errors
/// The store's own.
pub async fn current(store: &dyn Store) -> Result<Option<Recorded>> {
    let mut paths = list(store).await?;
    // The moment is the beginning of the name, with all its digits.
    paths.sort_by(|a, b| file_name(a).cmp(file_name(b)));
    while let Some(path) = paths.pop() {
        match fetch(store, &path).await {
            Ok(recorded) => return Ok(Some(recorded)),
            Err(error) if !is_damage(error.kind()) => return Err(error),
            Err(error) => tell_damage(&error),
        }
    }
    Ok(None)
}

fn file_name(path: &ObjectPath) -> &str {
    path.as_str().rsplit('/').next().unwrap_or_default()
}

/// What is declared must not keep from recording; `ssmd verify` tells it for as long as it lasts.
fn tell_damage(error: &Error) {
    tracing::error!(report = error.report(), "a version of the environment is damaged");
}

/// Where versions held, without what they say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    held: BTreeMap<(Timestamp, ObjectPath), InForce>,
    known: BTreeSet<ObjectPath>,
}

impl Timeline {
    /// Reads the versions that are new in `from`, and copies those that are not in `to`.
    pub(crate) async fn follow(&mut self, from: &dyn Store, to: &dyn Store) -> Result<()> {
        let new: Vec<_> = list(from).await?.into_iter().filter(|path| !self.known.contains(path)).collect();
        for path in new {
            match fetch(from, &path).await {
                Ok(recorded) => {
                    copy(&recorded, to).await?;
                    self.held.insert((recorded.version.valid_from, path.clone()), recorded.named());
                }
                Err(error) if !is_damage(error.kind()) => return Err(error),
                Err(error) => tell_damage(&error),
            }
            self.known.insert(path);
        }
        Ok(())
    }

    /// Those that held at some moment from `from` to `to`, both included.
    pub(crate) fn between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &InForce> {
        let before = self.held.iter().rfind(|((valid_from, _), _)| *valid_from <= from);
        let first = before.map_or(from, |((valid_from, _), _)| *valid_from);
        let of = self.held.iter().filter(move |((valid_from, _), _)| (first..=to).contains(valid_from));
        of.map(|(_, named)| named)
    }
}

/// Puts a version into another store; what lies there under its name and is another one has been damaged.
///
/// # Errors
/// The store's own.
pub async fn copy(recorded: &Recorded, to: &dyn Store) -> Result<()> {
    match create_alone(to, &recorded.path, recorded.bytes.clone()).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let there = to.get(&recorded.path, None).await?;
            if there == recorded.bytes {
                return Ok(());
            }
            tracing::warn!(path = %recorded.path, "replacing an environment that is not what its name says");
            to.put(&recorded.path, recorded.bytes.clone(), PutMode::Overwrite).await
        }
        put => put,
    }
}

/// The paths of all versions in a store.
pub(crate) async fn list(store: &dyn Store) -> Result<Vec<ObjectPath>> {
    let prefix: ObjectPath = ENVIRONMENTS.parse()?;
    let listed: Vec<ObjectMeta> = store.list(Some(&prefix)).try_collect().await?;
    let mut paths: Vec<_> = listed.into_iter().map(|meta| meta.path).collect();
    paths.sort();
    Ok(paths)
}

/// Reads a version and checks that it is the one that its name says.
pub(crate) async fn fetch(store: &dyn Store, path: &ObjectPath) -> Result<Recorded> {
    let bytes = store.get(path, None).await?;
    Recorded::read(path.clone(), bytes)
}

fn corrupt(detail: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "read environment").detail(detail)
}
