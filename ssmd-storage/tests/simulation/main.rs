//! The log, a relay, two archivers and a store in one deterministic simulation: `SSMD_SEEDS` says how many seeds.
//!
//! One scheduler decides who goes on and what breaks, so the same seed is the same run. A seed that fails is
//! shrunk and printed. `docs/decisions/0011-simulation.md` says why it is our own.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod capture;
mod disk;
mod model;
mod process;
mod random;
mod steps;
mod store;
mod watched;
mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ssmd_core::{Clock, SystemClock};

use disk::Lies;
use store::Breaks;
use watched::Cheats;
use world::World;

/// Seeds where nobody asks for more.
const SEEDS: u64 = 200;
/// Steps of a run before everything has to come to rest.
const STEPS: u64 = 500;

/// What is run.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    steps: u64,
    /// Steps at which nothing breaks although chance says so.
    without: BTreeSet<u64>,
    /// Whether it goes on after the last step until everything rests.
    settles: bool,
    sabotage: Sabotage,
}

impl Plan {
    fn new(seed: u64, sabotage: Sabotage) -> Self {
        Self { seed, steps: STEPS, without: BTreeSet::new(), settles: true, sabotage }
    }
}

/// What is made wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    None,
    AcknowledgesBeforeSync,
    KeepsTornTail,
    ReadsPastWatermark,
    CoversBeforeCommit,
    CommitsBeforePut,
    CommitsOverCommit,
}

impl Sabotage {
    fn lies(self) -> Lies {
        match self {
            Self::AcknowledgesBeforeSync => Lies::Sync,
            Self::KeepsTornTail => Lies::Cut,
            _ => Lies::None,
        }
    }

    fn cheats(self) -> Cheats {
        match self {
            Self::ReadsPastWatermark => Cheats::Watermark,
            Self::CoversBeforeCommit => Cheats::Cover,
            _ => Cheats::Never,
        }
    }

    fn breaks(self) -> Breaks {
        match self {
            Self::CommitsBeforePut => Breaks::Order,
            Self::CommitsOverCommit => Breaks::Create,
            _ => Breaks::Nothing,
        }
    }
}

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Run {
    broken: Option<String>,
    steps: u64,
    /// What broke, and at which steps.
    faults: Vec<(u64, String)>,
    trace: u64,
    elapsed: Duration,
    entries: u64,
    commits: u64,
    power_cuts: u64,
}

fn run(plan: &Plan) -> Run {
    let runtime = process::runtime();
    let _entered = runtime.enter();
    World::new(plan).run()
}

/// The smallest plan of this seed that still fails: as few steps, then as few faults as possible.
fn shrink(plan: &Plan) -> (Plan, Run) {
    let mut best = (plan.clone(), run(plan));
    let short = Plan { steps: best.1.steps, settles: false, ..plan.clone() };
    let again = run(&short);
    if again.broken.is_some() {
        best = (short, again);
    }
    for (step, _) in best.1.faults.clone().into_iter().rev() {
        let mut fewer = best.0.clone();
        fewer.without.insert(step);
        let again = run(&fewer);
        if again.broken.is_some() && again.faults.len() < best.1.faults.len() {
            fewer.steps = if fewer.settles { fewer.steps } else { again.steps };
            best = (fewer, again);
        }
    }
    best
}

fn describe(plan: &Plan, run: &Run) -> String {
    let why = run.broken.as_deref().unwrap_or("nothing");
    let faults: Vec<_> = run.faults.iter().map(|(step, fault)| format!("{fault} at {step}")).collect();
    format!("seed {} after {} steps with {:?}: {why}", plan.seed, run.steps, faults)
}

#[test]
fn nothing_breaks_what_is_promised() {
    let seeds = std::env::var("SSMD_SEEDS").ok().map_or(SEEDS, |text| text.parse().unwrap());
    let first: u64 = std::env::var("SSMD_SEED").ok().map_or(1, |text| text.parse().unwrap());
    let clock = SystemClock::new();
    let next = AtomicU64::new(first);
    let runs: Vec<(u64, Run)> = std::thread::scope(|scope| {
        let worker = || {
            let mut runs = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= first + seeds {
                    return runs;
                }
                let run = run(&Plan::new(seed, Sabotage::None));
                if let Some(why) = &run.broken {
                    println!("seed {seed}: {why}");
                }
                runs.push((seed, run));
            }
        };
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let failed: Vec<_> = runs.iter().filter(|(_, run)| run.broken.is_some()).collect();
    for (seed, _) in failed.iter().take(5) {
        let (plan, run) = shrink(&Plan::new(*seed, Sabotage::None));
        println!("{}", describe(&plan, &run));
    }
    let sum = |of: fn(&Run) -> u64| runs.iter().map(|(_, run)| of(run)).sum::<u64>();
    let (steps, wall) = (sum(|run| run.steps), clock.elapsed().as_secs_f64());
    let hours = runs.iter().map(|(_, run)| run.elapsed).sum::<Duration>().as_secs() / 3600;
    println!("R27 {} {seeds} seeds hold", runs.len() - failed.len());
    println!(
        "{steps} steps ({:.0}/s), {hours} simulated hours, {} entries, {} commits, {} faults, {} power cuts",
        steps as f64 / wall,
        sum(|run| run.entries),
        sum(|run| run.commits),
        sum(|run| run.faults.len() as u64),
        sum(|run| run.power_cuts),
    );
    let seeds: Vec<_> = failed.iter().map(|(seed, run)| (seed, run.broken.as_deref())).collect();
    assert!(seeds.is_empty(), "{seeds:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mut traces = BTreeSet::new();
    for seed in 1..=5 {
        let plan = Plan::new(seed, Sabotage::None);
        let (one, other) = (run(&plan), run(&plan));
        assert_eq!(one, other, "seed {seed}");
        traces.insert(one.trace);
    }
    assert_eq!(traces.len(), 5);
}

/// The first seed that catches a sabotage, shrunk.
fn caught(sabotage: Sabotage, by: &str) {
    let failing = (1..=SEEDS).map(|seed| Plan::new(seed, sabotage)).find(|plan| run(plan).broken.is_some());
    let plan = failing.expect("no seed catches it");
    let whole = run(&plan);
    let (plan, run) = shrink(&plan);
    println!("{sabotage:?}: {}", describe(&plan, &run));
    assert!(run.faults.len() <= whole.faults.len() && plan.steps <= whole.steps);
    let why = run.broken.unwrap();
    assert!(why.contains(by), "{why}");
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    caught(Sabotage::AcknowledgesBeforeSync, "recovered");
}

#[test]
fn a_torn_tail_that_is_kept_is_caught() {
    caught(Sabotage::KeepsTornTail, "corrupt");
}

#[test]
fn a_reader_behind_the_watermark_is_caught() {
    caught(Sabotage::ReadsPastWatermark, "watermark");
}

#[test]
fn a_cover_before_the_commit_is_caught() {
    caught(Sabotage::CoversBeforeCommit, "covered");
}

#[test]
fn a_commit_before_its_object_is_caught() {
    caught(Sabotage::CommitsBeforePut, "is not there");
}

#[test]
fn a_commit_over_another_is_caught() {
    caught(Sabotage::CommitsOverCommit, "commit");
}
