//! Proves an archive: every commit, every object, every line, every session, every book. Damage is reported, and
//! the proof goes on behind it.

mod environments;
mod objects;
mod report;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use ssmd_core::{Decode, ErrorKind, FeedName, ObjectPath, Origin, Result, Store};

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
/// The store's own, where it cannot answer. Damage is no error, it is in the report.
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
    for (origin, last) in listed.commits {
        let chain = follow(&*store, origin, last, &mut declared, &mut report).await?;
        chains.extend(chain.filter(|chain| feed.is_none_or(|feed| chain.feed == *feed)));
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

/// Follows the commits of one origin from the first to the last.
async fn follow(
    store: &dyn Store,
    origin: Origin,
    last: u64,
    declared: &mut EnvironmentCheck,
    report: &mut Report,
) -> Result<Option<Chain>> {
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
    Ok(chain)
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
