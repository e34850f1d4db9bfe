//! The sessions of one capture: what each shall carry, made so as shares and what they want change.
//!
//! What moves to another session is left where it was only when the other one has it, so nothing is missed for it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ssmd_core::{BoxFuture, Limits, SessionId, Tasks, Topic, Wanted};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::spread::spread;
use super::{CaptureOptions, CaptureStatus, RESYNCS_MAX, Resync};
use crate::budget::ConnectBudget;
use crate::shares::{Declared, Shares};
use crate::supervise::{Backoff, Ids, Place, Supervisor, Told, Twins};

/// How often is looked whether a session has what moves to it.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long both carry it after that: first answers, such as books, follow confirmations.
const OVERLAP: Duration = Duration::from_secs(2);

/// What sessions need.
pub(super) struct Context {
    pub(super) options: CaptureOptions,
    pub(super) status: Arc<CaptureStatus>,
    /// Weak, since what hears events ends when no session is left.
    pub(super) events: mpsc::WeakSender<Told>,
    pub(super) budget: Arc<ConnectBudget>,
    pub(super) ids: Ids,
}

/// Every session of a capture.
pub(super) struct Sessions {
    context: Context,
    random: StdRng,
    /// By their number in the journal. Those that have ended leave it to others.
    open: Vec<Session>,
    moving: Moving,
    /// Lets those who hear events go on while no session is left, and new ones are about to come.
    hold: Option<mpsc::Sender<Told>>,
}

/// One session, or several that hear the same.
struct Session {
    /// Whose topics it carries; `None` once it shall end.
    share: Option<usize>,
    /// What it shall carry in the end.
    target: Wanted,
    /// Whether some of that is carried elsewhere for now.
    gains: bool,
    /// What it shall carry now.
    wanted: watch::Sender<Arc<Wanted>>,
    resyncs: Vec<mpsc::Sender<Resync>>,
    stop: CancellationToken,
    heir: Heir,
}

/// Who has all that a session carried which is not needed any more, once that is so.
pub(crate) type Heir = Arc<OnceLock<SessionId>>;

/// Whether anything is on its way from one session to another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moving {
    Nothing,
    /// It is, and has been where it shall be since then.
    Something(Option<Duration>),
    /// Old sessions must end before there is room for new ones.
    Room,
}

impl Session {
    /// Sets what it carries now.
    fn send(&self, now: Wanted) {
        self.wanted.send_if_modified(|carried| {
            let differs = **carried != now;
            if differs {
                *carried = Arc::new(now);
            }
            differs
        });
    }
}

impl Sessions {
    pub(super) fn new(context: Context) -> Self {
        let random = StdRng::seed_from_u64(context.options.seed);
        context.status.set_categories(&context.options.shares);
        Self { context, random, open: Vec::new(), moving: Moving::Nothing, hold: None }
    }

    /// How many there are, all twins counted.
    pub(super) fn count(&self) -> usize {
        self.open.len() * self.twins()
    }

    /// How many hear the same.
    fn twins(&self) -> usize {
        1 + self.context.options.twins.len()
    }

    /// What each share carries, or shall.
    pub(super) fn carried(&self, shares: usize) -> Vec<Wanted> {
        let mut carried = vec![Wanted::default(); shares];
        for session in &self.open {
            if let Some(share) = session.share.and_then(|share| carried.get_mut(share)) {
                share.0.extend(session.target.0.iter().cloned());
            }
        }
        carried
    }

    /// Other shares are declared. One of the same category, the first for the first, goes on with what its sessions
    /// carry; the sessions of one that is gone end when others have that.
    pub(super) fn declare(&mut self, declared: &Declared) {
        let (before, after) = (named(&self.context.options.shares), named(&declared.shares));
        for session in &mut self.open {
            let name = session.share.and_then(|share| before.get(share));
            session.share = name.and_then(|name| after.iter().position(|other| other == name));
        }
        let options = &mut self.context.options;
        (options.feed, options.shares) = (Arc::clone(&declared.feed), declared.shares.clone());
        self.context.status.set_categories(&options.shares);
        for (number, session) in self.open.iter().enumerate() {
            self.context.status.set_share(number * self.twins()..(number + 1) * self.twins(), session.share);
        }
    }

    /// Makes the sessions of each share carry what is dealt to it. Topics stay where they are; new sessions are
    /// started for what fits nowhere. What the venue lets no session carry is given back.
    pub(super) fn carry(&mut self, dealt: Vec<Wanted>, tasks: &mut Tasks) -> Vec<Topic> {
        let (mut unplaced, mut new) = (Vec::new(), Vec::new());
        let mut room = self.room();
        for (share, wanted) in dealt.into_iter().enumerate() {
            let its: Vec<usize> =
                (0..self.open.len()).filter(|at| self.open[*at].share == Some(share)).collect();
            // There is always one session: a recording wants nothing, and a venue may say something unasked.
            if its.is_empty() && wanted.0.is_empty() && share > 0 {
                continue;
            }
            let Some(most) = NonZeroUsize::new(its.len() + room) else {
                unplaced.extend(wanted.0);
                continue;
            };
            let limits = Limits { sessions: most, ..self.context.options.feed.limits() };
            let carried = its.iter().map(|at| std::mem::take(&mut self.open[*at].target)).collect();
            let (mut parts, left) = spread(carried, &wanted, limits);
            unplaced.extend(left);
            let more = parts.split_off(its.len());
            room -= more.len();
            its.into_iter().zip(parts).for_each(|(at, part)| self.open[at].target = part);
            new.extend(more.into_iter().map(|part| (share, part)));
        }
        for session in self.open.iter_mut().filter(|session| session.share.is_none()) {
            session.target = Wanted::default();
        }
        for (share, part) in new {
            self.start(share, part, tasks);
        }
        self.send(!unplaced.is_empty());
        unplaced
    }

    /// How many more may be opened, those that hear the same counted as one.
    fn room(&self) -> usize {
        let open = (0..self.open.len()).filter(|at| !self.is_free(*at)).count();
        (self.context.options.feed.limits().sessions.get() / self.twins()).max(1).saturating_sub(open)
    }

    /// Whether a session is not needed any more, and has ended.
    fn is_free(&self, at: usize) -> bool {
        let numbers = at * self.twins()..(at + 1) * self.twins();
        self.open[at].share.is_none() && self.context.status.has_ended(numbers)
    }

    /// Tells each session what to carry from now on: also what another one does not have yet.
    fn send(&mut self, full: bool) {
        let leaves = |session: &Session| {
            let others = |topic: &&Topic| !session.target.0.contains(topic);
            session.wanted.borrow().0.iter().filter(others).cloned().collect::<BTreeSet<_>>()
        };
        let leave: Vec<BTreeSet<Topic>> = self.open.iter().map(leaves).collect();
        let wanted: BTreeSet<&Topic> = self.open.iter().flat_map(|session| &session.target.0).collect();
        let kept: Vec<BTreeSet<Topic>> = leave
            .into_iter()
            .map(|topics| topics.into_iter().filter(|topic| wanted.contains(topic)).collect())
            .collect();
        let moves: BTreeSet<Topic> = kept.iter().flatten().cloned().collect();
        let old = |at: &usize| self.open[*at].share.is_none() && !self.is_free(*at);
        let (old, needless): (Vec<_>, Vec<_>) =
            (0..self.open.len()).filter(old).partition(|at| !self.open[*at].stop.is_cancelled());
        for (session, kept) in self.open.iter_mut().zip(kept) {
            session.gains = session.target.0.iter().any(|topic| moves.contains(topic));
            let mut now = session.target.clone();
            now.0.extend(kept);
            session.send(now);
        }
        self.hold = None;
        self.moving = match moves.is_empty() && old.is_empty() {
            true => Moving::Nothing,
            false => Moving::Something(None),
        };
        if full && (!old.is_empty() || !needless.is_empty()) {
            // There is no room for both: what the old ones carry is missing until there is, and that is a gap.
            self.hold = self.context.events.upgrade();
            self.moving = Moving::Room;
            old.into_iter().for_each(|at| self.open[at].stop.cancel());
        }
    }

    /// Whoever hears events may end with the last session.
    pub(super) fn stop(&mut self) {
        self.hold = None;
    }

    /// Whether something waits for sessions that end.
    pub(super) fn makes_room(&self) -> bool {
        self.moving == Moving::Room
    }

    /// Waits until it is time to look at what moves; for ever while nothing does.
    pub(super) fn moves(&self) -> BoxFuture<'static, ()> {
        match self.moving {
            Moving::Nothing => Box::pin(std::future::pending()),
            _ => self.context.options.clock.sleep(LOOK_EVERY),
        }
    }

    /// Lets sessions leave what others have by now, and ends those that carry nothing any more. Whether there is
    /// room now for what had none.
    pub(super) fn look(&mut self) -> bool {
        match self.moving {
            Moving::Nothing => {}
            Moving::Room => return self.room() > 0,
            Moving::Something(since) => {
                let now = self.context.options.clock.elapsed();
                let arrived = (0..self.open.len()).all(|at| !self.open[at].gains || self.has_all(at));
                let since = arrived.then(|| since.unwrap_or(now));
                self.moving = Moving::Something(since);
                if since.is_some_and(|since| now.saturating_sub(since) >= OVERLAP) {
                    self.leave();
                    self.moving = Moving::Nothing;
                }
            }
        }
        false
    }

    /// Whether a session, and each that hears the same, has confirmed all that it shall carry.
    fn has_all(&self, at: usize) -> bool {
        let status = &self.context.status;
        let confirmed = |session: Option<SessionId>| {
            let missing = session.map(|session| status.missing_of(session).unwrap_or_default());
            // What the venue refuses here it refuses everywhere.
            missing.is_some_and(|missing| missing.topics <= missing.refused.len())
        };
        (at * self.twins()..(at + 1) * self.twins()).all(|number| confirmed(status.session(number)))
    }

    fn leave(&mut self) {
        let heirs = (0..self.open.len()).filter(|at| self.open[*at].share.is_some());
        let arrived: Vec<usize> = heirs.filter(|at| self.has_all(*at)).collect();
        let gained = arrived.iter().find(|at| self.open[**at].gains).or(arrived.first());
        let heir = gained.and_then(|at| self.context.status.session(at * self.twins()));
        for session in &mut self.open {
            session.gains = false;
            session.send(session.target.clone());
            if session.share.is_none() && !session.stop.is_cancelled() {
                if let Some(heir) = heir {
                    let _ = session.heir.set(heir);
                }
                session.stop.cancel();
            }
        }
    }

    /// Asks the sessions that carry a symbol, or the one that is meant, to get its book anew.
    pub(super) fn resync(&self, asked: &Resync) {
        let symbol = &asked.symbol;
        for session in &self.open {
            let wants = session.wanted.borrow().0.iter().any(|topic| topic.symbol.as_ref() == Some(symbol));
            for resync in session.resyncs.iter().filter(|_| wants) {
                if resync.try_send(asked.clone()).is_err() {
                    tracing::warn!(%symbol, "a resync was dropped; too many wait, or the session has ended");
                }
            }
        }
    }

    fn start(&mut self, share: usize, target: Wanted, tasks: &mut Tasks) {
        let Context { options, status, events, budget, ids } = &self.context;
        // Without anybody who hears them, the capture is at its end.
        let Some(events) = events.upgrade() else { return };
        let (wanted, receiver) = watch::channel(Arc::new(target.clone()));
        let feeds: Vec<_> = std::iter::once(&options.feed).chain(&options.twins).map(Arc::clone).collect();
        let twins = (feeds.len() > 1).then(|| Twins::new(feeds.len()));
        let at = (0..self.open.len()).find(|at| self.is_free(*at)).unwrap_or(self.open.len());
        let category = options.shares.categories().get(share).copied().flatten().map(str::to_owned);
        let (stop, heir) = (tasks.token().child_token(), Heir::default());
        let mut resyncs = Vec::new();
        for (number, feed) in feeds.iter().enumerate() {
            let (resync, asked) = mpsc::channel(RESYNCS_MAX);
            resyncs.push(resync);
            status.add_shard(at * feeds.len() + number, share, receiver.clone());
            let supervisor = Supervisor {
                shard: at * feeds.len() + number,
                twins: twins.as_ref().map(|twins| Place { twins: Arc::clone(twins), number }),
                category: category.clone(),
                feed: options.feed.name().clone(),
                session: feed.session(),
                wanted: receiver.clone(),
                events: events.clone(),
                resync: asked,
                budget: Arc::clone(budget),
                ids: ids.clone(),
                clock: Arc::clone(&options.clock),
                metrics: options.metrics.clone(),
                status: Arc::clone(status),
                backoff: Backoff::new(self.random.random()),
                age: feed.limits().session_age,
                connections: 0,
                reserved: None,
                turn: None,
                stop: stop.clone(),
                heir: Arc::clone(&heir),
            };
            tasks.spawn("session", supervisor.run());
        }
        let session = Session { share: Some(share), target, gains: false, wanted, resyncs, stop, heir };
        match self.open.get_mut(at) {
            Some(place) => *place = session,
            None => self.open.push(session),
        }
    }
}

/// Each share by what it has in common with one that is declared later: its category, and which of those it is.
fn named(shares: &Shares) -> Vec<(Option<&str>, usize)> {
    let categories = shares.categories();
    let earlier = |at: usize| categories[..at].iter().filter(|other| **other == categories[at]).count();
    (0..categories.len()).map(|at| (categories[at], earlier(at))).collect()
}
