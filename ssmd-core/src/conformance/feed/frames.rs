//! Cases of [`Session::open`](crate::Session::open) and of [`Frames`].

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;

use super::super::support::{Case, POLLS, Stop, able, attempt, ensure, equal};
use super::Harness;
use crate::{
    Clock, ErrorKind, Feed, Frame, Frames, ManualClock, Result, SessionId, Symbol, Timestamp, Wanted,
};

/// A feed, and the clock that its connections go by.
pub(super) struct Bench {
    pub(super) feed: Arc<dyn Feed>,
    clock: ManualClock,
    wanted: watch::Sender<Arc<Wanted>>,
    completes: bool,
}

/// When the clock begins: 2026-08-01.
const BEGIN: Timestamp = Timestamp::from_nanos(1_785_542_400_000_000_000);

impl Bench {
    pub(super) async fn open(harness: &mut dyn Harness) -> Case<Self> {
        let clock = ManualClock::new(BEGIN);
        harness.clock(&clock);
        let feed = harness.open().await?;
        let universe = drive(&clock, feed.universe()).await?;
        let wanted = watch::Sender::new(Arc::new(universe));
        Ok(Self { feed, clock, wanted, completes: harness.completes() })
    }

    async fn connect(&self, id: u64) -> Case<Box<dyn Frames>> {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let session = self.feed.session();
        let opening = session.open(SessionId(id), self.wanted.subscribe(), clock);
        Ok(drive(&self.clock, opening).await?)
    }

    async fn next(&self, frames: &mut dyn Frames, max: usize) -> Result<Vec<Frame>> {
        let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        drive(&self.clock, frames.next(max)).await
    }

    /// The rest of a connection's frames, up to its end.
    async fn rest(&self, frames: &mut dyn Frames) -> Case<Vec<Frame>> {
        let mut all = Vec::new();
        loop {
            match self.next(frames, 64).await {
                Ok(batch) if !batch.is_empty() => all.extend(batch),
                end => {
                    self.check_end(end)?;
                    return Ok(all);
                }
            }
        }
    }

    fn check_end(&self, end: Result<Vec<Frame>>) -> Case {
        match end {
            Ok(batch) => ensure(batch.is_empty() && self.completes, || {
                format!("must end with an error, gave {} frames", batch.len())
            }),
            Err(error) if self.completes => Err(error.into()),
            Err(error) => ensure(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Timeout), || {
                format!("ended with {error:?}")
            }),
        }
    }

    pub(super) async fn all(&self, id: u64) -> Case<Vec<Frame>> {
        let mut frames = self.connect(id).await?;
        self.rest(&mut *frames).await
    }
}

/// Awaits a future, and moves the clock to its next sleeper whenever nothing else can go on.
async fn drive<T>(clock: &ManualClock, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        for _ in 0..POLLS {
            let polled = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
            if let Poll::Ready(output) = polled {
                return output;
            }
            tokio::task::yield_now().await;
        }
        advance(clock);
    }
}

/// Moves the clock to its next sleeper, if there is one.
fn advance(clock: &ManualClock) {
    if let Some(wake) = clock.next_wake() {
        clock.advance(wake.saturating_sub(clock.elapsed()));
    }
}

/// What of a frame does not depend on when, and for which session, it was received.
fn content(frames: &[Frame]) -> Vec<(u64, crate::FrameKind, bool, bytes::Bytes)> {
    frames.iter().map(|frame| (frame.index, frame.kind, frame.binary, frame.payload.clone())).collect()
}

fn check_dense(frames: &[Frame], from: u64) -> Case {
    for (frame, index) in frames.iter().zip(from..) {
        equal("index of a frame", frame.index, index)?;
    }
    Ok(())
}

pub(super) async fn the_name_and_the_limits_stay(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let (name, limits) = (bench.feed.name().clone(), bench.feed.limits());
    bench.all(1).await?;
    equal("name", bench.feed.name(), &name)?;
    equal("limits", bench.feed.limits(), limits)
}

pub(super) async fn the_universe_can_be_asked_again(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    drop(attempt(bench.feed.universe(), 1).await);
    let again = drive(&bench.clock, bench.feed.universe()).await?;
    equal("universe", &again, &**bench.wanted.borrow())
}

pub(super) async fn frames_are_those_known(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let known = able(harness.known(), "tell which frames there are")?;
    let got: Vec<_> =
        bench.all(1).await?.into_iter().map(|frame| (frame.kind, frame.payload.to_vec())).collect();
    equal("number of frames", got.len(), known.len())?;
    for (got, known) in got.into_iter().zip(known) {
        equal("frame", got, known)?;
    }
    Ok(())
}

pub(super) async fn frames_are_numbered_from_zero_without_holes(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let frames = bench.all(1).await?;
    ensure(!frames.is_empty(), || "there are no frames to show anything".into())?;
    check_dense(&frames, 0)?;
    check_dense(&bench.all(2).await?, 0)
}

pub(super) async fn frames_carry_the_session_they_were_opened_for(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    if harness.keeps_recorded_sessions() {
        let sessions = |frames: Vec<Frame>| frames.iter().map(|frame| frame.session).collect::<Vec<_>>();
        let first = sessions(bench.all(7).await?);
        return equal("recorded sessions", sessions(bench.all(8).await?), first);
    }
    for id in [7, 1, 1_000_000] {
        for frame in bench.all(id).await? {
            equal("session of a frame", frame.session, SessionId(id))?;
        }
    }
    Ok(())
}

pub(super) async fn frames_are_stamped_by_the_clock(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    if harness.keeps_recorded_times() {
        let stamps = |frames: Vec<Frame>| frames.iter().map(|frame| frame.received).collect::<Vec<_>>();
        let first = stamps(bench.all(1).await?);
        bench.clock.advance(std::time::Duration::from_secs(3600));
        return equal("recorded receive times", stamps(bench.all(2).await?), first);
    }
    bench.clock.step(Timestamp::from_nanos(BEGIN.nanos() / 2));
    let mut frames = bench.connect(1).await?;
    let (mut now, mut elapsed) = (Timestamp::from_nanos(BEGIN.nanos() / 2), std::time::Duration::ZERO);
    loop {
        let batch = match bench.next(&mut *frames, 4).await {
            Ok(batch) if !batch.is_empty() => batch,
            end => return bench.check_end(end),
        };
        for frame in batch {
            let in_time = (now..=bench.clock.now()).contains(&frame.received);
            ensure(in_time, || format!("received {} is not between {now} and now", frame.received))?;
            let in_order = (elapsed..=bench.clock.elapsed()).contains(&frame.elapsed);
            ensure(in_order, || format!("elapsed {:?} is not between {elapsed:?} and now", frame.elapsed))?;
            (now, elapsed) = (frame.received, frame.elapsed);
        }
    }
}

pub(super) async fn every_connection_starts_from_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let first = content(&bench.all(1).await?);
    let mut dropped = bench.connect(2).await?;
    bench.next(&mut *dropped, 3).await?;
    drop(dropped);
    equal("frames of a later connection", content(&bench.all(3).await?), first)
}

pub(super) async fn connections_do_not_disturb_one_another(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let alone = content(&bench.all(1).await?);
    let (mut left, mut right) = (bench.connect(2).await?, bench.connect(3).await?);
    let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        of_left.extend(bench.next(&mut *left, 1).await.unwrap_or_default());
        of_right.extend(bench.next(&mut *right, 2).await.unwrap_or_default());
    }
    of_left.extend(bench.rest(&mut *left).await?);
    of_right.extend(bench.rest(&mut *right).await?);
    equal("frames of one of two", content(&of_left), alone.clone())?;
    equal("frames of the other", content(&of_right), alone)
}

pub(super) async fn next_gives_at_most_max(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let all = content(&bench.all(1).await?);
    let mut frames = bench.connect(1).await?;
    let mut got = Vec::new();
    for max in [1, 2, 3, 100].into_iter().cycle() {
        match bench.next(&mut *frames, max).await {
            Ok(batch) if !batch.is_empty() => {
                ensure(batch.len() <= max, || format!("gave {} of at most {max}", batch.len()))?;
                got.extend(batch);
            }
            end => {
                bench.check_end(end)?;
                break;
            }
        }
    }
    equal("frames", content(&got), all)
}

pub(super) async fn a_dropped_next_loses_no_frame(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let all = content(&bench.all(1).await?);
    let mut frames = bench.connect(1).await?;
    let mut got = Vec::new();
    for round in 0..2 * all.len() {
        let max = NonZeroUsize::new(1 + round % 3).unwrap_or(NonZeroUsize::MIN);
        let polls = round % 4;
        match attempt(frames.next(max), polls).await {
            Some(Ok(batch)) if !batch.is_empty() => got.extend(batch),
            // What was never polled waits for nothing. Time that went on twice without a poll in between would run
            // past the timers that a connection sets anew at each of them, up to its death.
            None if polls == 0 => {}
            // The time it waited for comes, so that the next one may take a frame and be dropped with it.
            None => advance(&bench.clock),
            Some(end) => {
                bench.check_end(end)?;
                return equal("frames", content(&got), all);
            }
        }
    }
    got.extend(bench.rest(&mut *frames).await?);
    equal("frames", content(&got), all)
}

pub(super) async fn the_end_comes_after_every_frame(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let mut frames = bench.connect(1).await?;
    let got = bench.rest(&mut *frames).await?;
    if let Some(known) = harness.known() {
        equal("frames before the end", got.len(), known.len())?;
    }
    let after = bench.next(&mut *frames, 1).await;
    bench.check_end(after)
}

pub(super) async fn resync_disturbs_no_frame(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let all = content(&bench.all(1).await?);
    let mut frames = bench.connect(1).await?;
    let mut got = bench.next(&mut *frames, 1).await?;
    match drive(&bench.clock, frames.resync(&Symbol::new("conformance")?)).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => {}
        answer => answer?,
    }
    got.extend(bench.rest(&mut *frames).await?);
    check_dense(&got, 0)?;
    // A venue is told, so frames that we sent may be among them now.
    let received = |frames: &[Frame]| {
        let received = frames.iter().filter(|frame| frame.kind != crate::FrameKind::Sent);
        received.map(|frame| frame.payload.clone()).collect::<Vec<_>>()
    };
    let of_all = all.into_iter().filter(|(_, kind, ..)| *kind != crate::FrameKind::Sent);
    equal("frames received", received(&got), of_all.map(|(.., payload)| payload).collect())
}

pub(super) async fn durable_disturbs_no_frame(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let all = content(&bench.all(1).await?);
    let mut frames = bench.connect(1).await?;
    let mut got = Vec::new();
    drive(&bench.clock, frames.durable(0)).await?;
    for _ in 0..3.min(all.len()) {
        got.extend(bench.next(&mut *frames, 1).await?);
        let below = got.len() as u64;
        drive(&bench.clock, frames.durable(below)).await?;
        drive(&bench.clock, frames.durable(below)).await?;
    }
    got.extend(bench.rest(&mut *frames).await?);
    equal("frames", content(&got), all)
}

pub(super) async fn close_is_orderly(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let all = bench.all(1).await?.len();
    for before in [0, 1, all] {
        let mut frames = bench.connect(1).await?;
        ensure(!frames.url().is_empty(), || "the url is empty".into())?;
        let mut got = Vec::new();
        while got.len() < before {
            got.extend(bench.next(&mut *frames, before - got.len()).await?);
        }
        got.extend(drive(&bench.clock, frames.close()).await?);
        check_dense(&got, 0)?;
        for frame in got.iter().filter(|_| !harness.keeps_recorded_sessions()) {
            equal("session of a frame", frame.session, SessionId(1))?;
        }
    }
    match bench.connect(2).await {
        Ok(frames) => drop(frames),
        Err(Stop::Broken(how)) => return Err(Stop::Broken(format!("no connection after a close: {how}"))),
        Err(stop) => return Err(stop),
    }
    Ok(())
}
