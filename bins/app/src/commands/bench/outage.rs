//! What a broker that is away costs: the memory that the connector needs meanwhile, and how fast the shared journal
//! has everything once the broker is back.

use std::time::Duration;

use ssmd_core::{EnvironmentName, Error, ErrorKind, FeedName, Journal, Result, Tasks};
use ssmd_transport::nats::{self, JournalSpec, NatsJournal, StreamSpec};

use super::figure::{Figure, quantile};
use super::ground::Ground;
use super::memory::{last, resident_mb};
use super::recorder::{self, CHANNELS, FEED, SYMBOLS};
use super::restart::{Program, beside, log, write};
use super::servers::{again, server, tool};

/// Frames a second.
const RATE: f64 = 20_000.0;
/// How long everything runs before the broker goes, for caches that fill.
const WARM_UP_SECONDS: u32 = 10;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked at how far the copy is: each look reads headers, which costs the server something.
const COPY_LOOK_EVERY: Duration = Duration::from_millis(200);
/// The copy has caught up when it is so many entries behind: a tenth of a second of the feed.
const NEAR: u64 = 2000;
/// How long the broker may take to answer after its start.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// How much more memory an outage may need, in MiB.
const GROWTH_MIB: f64 = 32.0;
/// How many times faster than the feed the copy must catch up.
const DRAIN: f64 = 5.0;

/// A connector that relays a busy market, while its broker dies and comes back.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let seconds = if ground.soak() { 600 } else { 20 };
    let (clock, program) = (ground.clock(), tool("nats-server/nats-server"));
    let store = ground.fresh("outage-store")?.display().to_string();
    let arguments = |port: u16| {
        ["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd", &store].map(String::from).to_vec()
    };
    let Some((mut broker, port)) = server(ground, &program, arguments).await? else {
        return Ok(Vec::new());
    };
    let url = format!("nats://127.0.0.1:{port}");
    let mut tasks = Tasks::new();
    let document = recorder::simulate(SYMBOLS, CHANNELS, Some(RATE), &mut tasks).await?;
    let document = format!("{document}  journal: {{ nats: {{ url: \"{url}\" }} }}\n");
    let folder = ground.fresh("outage")?;
    let (config, data) = (write(&folder, &document)?, folder.join("data"));
    let connector = beside("ssmd-connector", &config, &data)?;
    let log = log(ground, &data).await?;
    let before = most_mib(ground, &connector, WARM_UP_SECONDS).await?;
    broker.kill()?;
    let (first, began) = (last(&log).await?, clock.elapsed());
    let away = most_mib(ground, &connector, seconds).await?;
    let missed = last(&log).await? - first;
    let feed = missed as f64 / (clock.elapsed() - began).as_secs_f64();
    let _broker = again(ground, &program, port, arguments(port)).await?;
    let (back, journal) = (clock.elapsed(), shared(ground, &url).await?);
    let mut drain = Drain::default();
    let deadline = back + BACK_WITHIN + Duration::from_secs(u64::from(seconds));
    while clock.elapsed() < deadline && !drain.is_done() {
        // While the server finds what it has, it may not say.
        if let Ok(copied) = copied(&journal).await {
            drain.look(clock.elapsed(), copied, last(&log).await?);
        }
        clock.sleep(COPY_LOOK_EVERY).await;
    }
    let draining = resident_mb(connector.id())?;
    drop(connector);
    tasks.stop(recorder::STOP_TIME_MAX, clock).await?;
    let growth = Figure::most("outage_growth", away - before, GROWTH_MIB, "MiB");
    let growth = growth.beside("resident_before", before).beside("seconds", f64::from(seconds));
    let copied = drain.per_second();
    let figure = Figure::least("outage_drain", copied / feed.max(1.0), DRAIN, "x the feed");
    let figure = figure.beside("entries_per_second", copied).beside("frames_per_second", feed);
    let figure =
        figure.beside("seconds", drain.seconds()).beside("resumed_after_seconds", drain.resumed(back));
    let figure = figure.beside("resident_at_end", mib(draining)).beside("behind", drain.behind as f64);
    Ok(vec![growth.beside("frames_per_second", feed), figure])
}

/// The most that a program has resident in the next seconds.
async fn most_mib(ground: &Ground, program: &Program, seconds: u32) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..seconds {
        ground.clock().sleep(LOOK_EVERY).await;
        samples.push(mib(resident_mb(program.id())?));
    }
    Ok(quantile(&mut samples, 1.0))
}

fn mib(mb: f64) -> f64 {
    mb * 1e6 / f64::from(1 << 20)
}

/// The journal that the connector's relay writes, as soon as the server has found what it has.
async fn shared(ground: &Ground, url: &str) -> Result<NatsJournal> {
    let environment = EnvironmentName::new("bench")?;
    let stream = StreamSpec::of(&environment);
    let spec = JournalSpec { environment, feed: FeedName::new(FEED)?, stream };
    let clock = ground.clock();
    let deadline = clock.elapsed() + BACK_WITHIN;
    loop {
        let opened =
            async { nats::connect(&nats::Options::new(url), ground.clock()).await?.journal(&spec).await };
        match opened.await {
            Err(error) if error.kind() == ErrorKind::Unavailable && clock.elapsed() < deadline => {
                clock.sleep(LOOK_EVERY / 100).await;
            }
            opened => return opened,
        }
    }
}

/// The last number of the only origin that the shared journal has.
async fn copied(journal: &NatsJournal) -> Result<u64> {
    let last = journal.bounds().await?.origins.into_values().map(|(_, last)| last).max();
    last.ok_or_else(|| Error::new(ErrorKind::NotFound, "bench outage").detail("nothing was copied"))
}

/// How the copy catches up, look by look.
#[derive(Debug, Default)]
struct Drain {
    /// What the copy had when it was last seen to stand still, and when that was.
    still: Option<(u64, Duration)>,
    /// The same when it was last looked at, once it moves.
    moved: Option<(u64, Duration)>,
    /// How many entries the copy is behind the log.
    behind: u64,
}

impl Drain {
    fn look(&mut self, now: Duration, copied: u64, last: u64) {
        self.behind = last.saturating_sub(copied);
        match self.still {
            Some((before, _)) if copied > before => self.moved = Some((copied, now)),
            _ => self.still = Some((copied, now)),
        }
    }

    fn is_done(&self) -> bool {
        self.moved.is_some() && self.behind <= NEAR
    }

    /// From the last look at which nothing had moved to the last one.
    fn seconds(&self) -> f64 {
        let ends = self.still.zip(self.moved);
        ends.map_or(0.0, |((_, from), (_, to))| (to - from).as_secs_f64())
    }

    fn per_second(&self) -> f64 {
        let ends = self.still.zip(self.moved);
        ends.map_or(0.0, |((from, _), (to, _))| (to - from) as f64 / self.seconds().max(1e-3))
    }

    /// How long after the server's return nothing moved.
    fn resumed(&self, back: Duration) -> f64 {
        self.still.map_or(0.0, |(_, at)| at.saturating_sub(back).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_counted_from_when_it_moves_until_it_is_near() {
        let mut drain = Drain::default();
        for (second, copied, last) in [(1, 10_000, 100_000), (2, 10_000, 120_000), (3, 70_000, 140_000)] {
            drain.look(Duration::from_secs(second), copied, last);
            assert!(!drain.is_done());
        }
        drain.look(Duration::from_secs(5), 178_500, 180_000);
        assert!(drain.is_done());
        assert_eq!((drain.seconds(), drain.per_second(), drain.behind), (3.0, 56_166.666_666_666_664, 1500));
        assert_eq!(drain.resumed(Duration::from_secs(1)), 1.0);
    }

    #[test]
    fn what_never_moves_drains_nothing() {
        let mut drain = Drain::default();
        assert_eq!((drain.seconds(), drain.per_second()), (0.0, 0.0));
        drain.look(Duration::from_secs(1), 5, 6);
        drain.look(Duration::from_secs(2), 5, 6);
        assert!(!drain.is_done() && drain.per_second() == 0.0);
    }
}
