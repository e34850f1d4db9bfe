//! How what a feed wants is shared out between sessions, as its document says: evenly, or by name.
//!
//! Owns the way from a document's `shards` to feeds, one for each share. Who has which symbol while it runs is decided
//! where sessions are ([`crate::capture`]).

use std::num::NonZeroUsize;
use std::sync::Arc;

use ssmd_core::environment::FeedSpec;
use ssmd_core::{Error, ErrorKind, Feed, Result, Timestamp, Wanted};

use crate::venue::OpenContext;
use crate::ws::Subscriptions;

/// A feed as it is declared: how to talk to the venue, and who wants what of it. Cheap to clone.
#[derive(Clone)]
pub struct Declared {
    /// Opens the sessions of every share, which are alike.
    pub feed: Arc<dyn Feed>,
    /// Who wants what.
    pub shares: Shares,
}

/// How what is wanted is shared out.
#[derive(Clone)]
pub enum Shares {
    /// Over so many shares, each with as many symbols as the others, of all that the feed wants.
    Even {
        /// How many.
        count: NonZeroUsize,
        /// A part of the subjects of all of them.
        category: Option<String>,
    },
    /// Each wants something else. What several want is the first one's.
    Listed(Vec<Share>),
}

/// A share that says itself what it wants.
#[derive(Clone)]
pub struct Share {
    /// A part of its subjects.
    pub category: Option<String>,
    /// Says what it wants; its sessions are not used.
    pub feed: Arc<dyn Feed>,
    /// Whether it is asked again what it wants.
    pub sync: bool,
    /// Where it says when that will be different.
    pub subscriptions: Subscriptions,
}

impl Default for Shares {
    fn default() -> Self {
        Self::Even { count: NonZeroUsize::MIN, category: None }
    }
}

impl Shares {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Even { count, .. } => count.get(),
            Self::Listed(shares) => shares.len(),
        }
    }

    /// The category of each.
    pub fn categories(&self) -> Vec<Option<&str>> {
        match self {
            Self::Even { count, category } => vec![category.as_deref(); count.get()],
            Self::Listed(shares) => shares.iter().map(|share| share.category.as_deref()).collect(),
        }
    }
}

impl Shares {
    /// When what is wanted will be different, where feeds know; `subscriptions` are those of the feed itself.
    pub(crate) fn changes_at(&self, subscriptions: &Subscriptions) -> Option<Timestamp> {
        match self {
            Self::Even { .. } => subscriptions.changes_at(),
            Self::Listed(shares) => {
                let synced = shares.iter().filter(|share| share.sync);
                synced.filter_map(|share| share.subscriptions.changes_at()).min()
            }
        }
    }
}

impl Declared {
    /// What each share wants now, or what all of them want together if they share it evenly. One that is not asked
    /// again wants what is `known` of it.
    pub(crate) async fn universe(&self, known: &[Wanted]) -> Result<Vec<Wanted>> {
        let Shares::Listed(shares) = &self.shares else { return Ok(vec![self.feed.universe().await?]) };
        let mut answers = Vec::with_capacity(shares.len());
        for (at, share) in shares.iter().enumerate() {
            let answer = match known.get(at).filter(|_| !share.sync) {
                Some(known) => known.clone(),
                None => share.feed.universe().await?,
            };
            answers.push(answer);
        }
        Ok(answers)
    }
}

impl From<Arc<dyn Feed>> for Declared {
    /// A feed that nobody shares.
    fn from(feed: Arc<dyn Feed>) -> Self {
        Self { feed, shares: Shares::default() }
    }
}

/// Opens the feed that `spec` describes with all of its shares; no connection is made yet.
///
/// # Errors
/// As for [`crate::open`]; `Invalid` for more sessions than the venue lets be open.
pub fn declare(spec: &FeedSpec, context: &OpenContext) -> Result<Declared> {
    let mut shares = Vec::new();
    for (at, share) in spec.shares().into_iter().enumerate() {
        let spec = share.alone(spec);
        let subscriptions = match at {
            0 => context.subscriptions.clone(),
            _ => context.subscriptions.beside(),
        };
        let context = OpenContext { subscriptions: subscriptions.clone(), ..context.clone() };
        let feed = crate::open(&spec, &context)?;
        shares.push(Share { category: spec.category, feed, sync: share.sync, subscriptions });
    }
    let Some(first) = shares.first() else {
        return Err(Error::new(ErrorKind::Invalid, "open feed").detail("no shares").with("feed", &spec.name));
    };
    let feed = Arc::clone(&first.feed);
    let shares = if shares.len() == 1 {
        let count = NonZeroUsize::new(spec.split() as usize).unwrap_or(NonZeroUsize::MIN);
        Shares::Even { count, category: first.category.clone() }
    } else {
        Shares::Listed(shares)
    };
    let (asked, most) = (shares.count() * spec.redundancy as usize, feed.limits().sessions.get());
    if asked > most && shares.count() > 1 {
        return Err(Error::new(ErrorKind::Invalid, "open feed")
            .detail("more sessions than the venue lets be open")
            .with("feed", &spec.name)
            .with("shards", shares.count())
            .with("redundancy", spec.redundancy)
            .hint(format!("at most {most} sessions, those of every share and its twins together")));
    }
    Ok(Declared { feed, shares })
}
