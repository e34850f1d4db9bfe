//! Proves an archive: every commit, every object, every line, every session, every book. Damage is reported, and
//! the proof goes on behind it.

mod environments;
mod objects;
mod report;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt;
use ssmd_core::environment::nearest;
use ssmd_core::{Decode, Error, ErrorKind, FeedName, ObjectPath, Origin, Result, Store};

use crate::chain::{self, Chain};
use crate::layout::{COMMITS, RAW, parse_commit_path};
pub use report::{Problem, Report};

use environments::EnvironmentCheck;
use objects::OriginCheck;

/// Makes the decoder of one session.
pub type MakeDecoder = Arc<dyn Fn() -> Box<dyn Decode> + Send + Sync>;

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Objects checked.
    pub done: u64,
    /// Objects that there are to check.
    pub of: u64,
}

/// Verifies every feed of a store, or one.
///
/// `decoders` makes decoders for a feed; without one its frames are not decoded. `progress` is called after each
/// object.
///
/// # Errors
/// The store's own, where it cannot answer; `NotFound` for a feed of which nothing was archived. Damage is no error,
/// it is in the report.
pub async fn verify(
    store: Arc<dyn Store>,
    feed: Option<&FeedName>,
    decoders: impl Fn(&FeedName) -> Option<MakeDecoder>,
    mut progress: impl FnMut(Progress),
) -> Result<Report> {
    let mut report = Report::default();
    let listed = list(&*store, &mut report).await?;
    let mut declared = EnvironmentCheck::all(&*store, &mut report).await?;
    let mut chains = Vec::new();
    let (mut others, mut unreadable) = (BTreeSet::new(), false);
    for (origin, last) in listed.commits {
        match follow(&*store, (origin, last), feed, &mut declared, &mut report).await? {
            Followed::Chain(chain) => chains.push(chain),
            Followed::Other(other) => drop(others.insert(other)),
            Followed::Unreadable => unreadable = true,
        }
    }
    if let Some(feed) = feed.filter(|_| chains.is_empty() && !unreadable) {
        return Err(unknown_feed(feed, others.iter()));
    }
    let of = chains.iter().map(|chain| chain.objects.len() as u64).sum();
    let mut orphans = listed.objects;
    let mut done = 0;
    for chain in &chains {
        count_chain(chain, &mut report);
        let mut check = OriginCheck::new(chain, decoders(&chain.feed));
        for object in chain.objects.values() {
            orphans.remove(&object.path);
            (check, report) = check.object(store.clone(), object.clone(), report).await?;
            done += 1;
            progress(Progress { done, of });
        }
        check.finish(&mut report);
    }
    let foreign = |path: &str| feed.is_some_and(|feed| !path.starts_with(&format!("{RAW}/{feed}/")));
    report.orphans = orphans.into_keys().filter(|path| !foreign(path)).collect();
    Ok(report)
}

/// What lies in a store.
struct Listed {
    /// The last commit of each origin.
    commits: BTreeMap<Origin, u64>,
    /// Raw objects and their lengths.
    objects: BTreeMap<String, u64>,
}

async fn list(store: &dyn Store, report: &mut Report) -> Result<Listed> {
    let mut found = Listed { commits: BTreeMap::new(), objects: BTreeMap::new() };
    let (commits, raw): (ObjectPath, ObjectPath) = (COMMITS.parse()?, RAW.parse()?);
    let mut listed = store.list(Some(&commits));
    while let Some(meta) = listed.try_next().await? {
        match parse_commit_path(&meta.path) {
            Some((origin, n)) => {
                let last = found.commits.entry(origin).or_default();
                *last = n.max(*last);
            }
            None => report.problem("unexpected_object", "it is no commit's name", meta.path),
        }
    }
    let mut listed = store.list(Some(&raw));
    while let Some(meta) = listed.try_next().await? {
        found.objects.insert(meta.path.to_string(), meta.bytes);
    }
    Ok(found)
}

/// The error for a feed that an archive does not have, with those that it has.
pub fn unknown_feed<'a>(feed: &FeedName, known: impl Iterator<Item = &'a FeedName>) -> Error {
    let known: Vec<_> = known.map(FeedName::as_str).collect();
    let hint = match known.as_slice() {
        [] => "the archive is empty".to_owned(),
        known => {
            let meant = nearest(feed.as_str(), known.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`? "));
            format!("{meant}the archive holds: {}", known.join(", "))
        }
    };
    Error::new(ErrorKind::NotFound, "find feed").with("feed", feed).hint(hint)
}

/// What came of following the commits of an origin.
enum Followed {
    /// They are of a feed that is verified.
    Chain(Chain),
    /// They are of another feed, and were not read.
    Other(FeedName),
    /// Not one of them can be read.
    Unreadable,
}

/// Follows the commits of one origin from the first to the last, if they are of `feed`.
async fn follow(
    store: &dyn Store,
    (origin, last): (Origin, u64),
    feed: Option<&FeedName>,
    declared: &mut EnvironmentCheck,
    report: &mut Report,
) -> Result<Followed> {
    let mut chain: Option<Chain> = None;
    let mut broken = false;
    for n in 1..=last {
        let (commit, bytes) = match chain::fetch(store, origin, n).await {
            Ok(fetched) => fetched,
            Err(error) if is_damage(error.kind()) => {
                report.problem("commit_unreadable", error.report(), format!("commits/{origin}/{n:012}.json"));
                broken = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        if chain.is_none() && feed.is_some_and(|feed| commit.feed != *feed) {
            return Ok(Followed::Other(commit.feed));
        }
        report.commits += 1;
        let chain = chain.get_or_insert_with(|| Chain::empty(commit.feed.clone(), origin));
        if broken {
            chain.resume_before(&commit);
        }
        broken = false;
        for (code, why) in chain.faults(&commit) {
            report.problem(code, why, format!("commits/{origin}/{n:012}.json"));
        }
        declared.commit(&commit, report);
        chain.force(commit, &bytes)?;
    }
    Ok(chain.map_or(Followed::Unreadable, Followed::Chain))
}

/// Whether an error says something about the archive, and not about the way to it.
pub(crate) fn is_damage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::NotFound)
}

fn count_chain(chain: &Chain, report: &mut Report) {
    if !report.feeds.contains(&chain.feed) {
        report.feeds.push(chain.feed.clone());
    }
    for (first, last) in chain.coverage.holes() {
        report.holes += 1;
        let known = chain.lost.values().any(|lost| lost.first <= first && last <= lost.last);
        if !known {
            let why = format!("entries {first} to {last} are in no object and not known to be lost");
            report.problem("hole", why, chain.origin);
        }
    }
    for lost in chain.lost.values() {
        report.lost += lost.last - lost.first + 1;
    }
}
