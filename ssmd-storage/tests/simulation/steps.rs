//! The scheduler: at each step chance picks who goes on, or what breaks.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::model::Broken;
use crate::process::Process;
use crate::random::Random;
use crate::store::Outcome;
use crate::world::World;
use crate::{Run, Sabotage};

/// Rounds after the last fault in which everything must have come to rest.
const ROUNDS_MAX: u64 = 1000;
/// Changes of the disk between a step's beginning and a death in it, at most.
const CHANGES_MAX: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillCapture,
    CutPower,
    Disk,
    Sync,
    KillArchiver,
    KillRelay,
    Broker,
    Clock,
    Store,
}

/// Faults by how often they happen.
const FAULTS: [Fault; 12] = [
    Fault::KillCapture,
    Fault::KillCapture,
    Fault::CutPower,
    Fault::CutPower,
    Fault::Disk,
    Fault::Disk,
    Fault::Sync,
    Fault::KillArchiver,
    Fault::KillRelay,
    Fault::Broker,
    Fault::Clock,
    Fault::Store,
];

impl World {
    /// Runs the plan to its end and says what became of it.
    pub(crate) fn run(mut self) -> Run {
        let mut broken = None;
        let mut done = 0;
        for step in 0..self.plan.steps {
            done = step + 1;
            if let Err(why) = self.step(step).and_then(|()| self.check()) {
                broken = Some(why);
                break;
            }
        }
        if broken.is_none() && self.plan.settles {
            broken = self.settle().err();
        }
        Run {
            broken,
            steps: done,
            faults: self.faults,
            trace: self.trace.finish(),
            elapsed: self.elapsed,
            entries: self.model.entries() as u64,
            commits: self.model.commits(),
            power_cuts: self.powered_off,
        }
    }

    fn step(&mut self, step: u64) -> Result<(), Broken> {
        let mut random = Random::new(self.plan.seed, step);
        self.disk.reseed(Random::new(random.number(), 0));
        let is_fault = random.percent(7);
        if is_fault && !self.plan.without.contains(&step) {
            let fault = FAULTS[random.below(FAULTS.len() as u64) as usize];
            self.faults.push((step, format!("{fault:?}")));
            self.note(step, &format!("{fault:?}"));
            return self.fault(fault, &mut random);
        }
        let what = random.below(100);
        self.note(step, &what.to_string());
        match what {
            0..15 => self.pass_time(&mut random),
            15..33 => {
                let (capture, model) = (&mut self.capture, &mut self.model);
                capture.as_mut().map_or(Ok(()), |capture| capture.append(&mut random, model))?;
            }
            33..52 => self.write()?,
            52..60 => self.run_relay()?,
            60..76 => drop(self.run_archiver((what % 2) as usize)?),
            76..92 => drop(self.store.serve((what % 2) as usize, Outcome::Fine, &mut random)),
            92..99 => self.restart(&mut random)?,
            _ => self.close()?,
        }
        Ok(())
    }

    fn pass_time(&mut self, random: &mut Random) {
        let millis = match random.below(10) {
            0 => 1000 * random.below(100),
            1..4 => random.below(5000),
            _ => random.below(200),
        };
        self.advance(Duration::from_millis(millis + 1));
    }

    fn write(&mut self) -> Result<(), Broken> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        capture.write(&mut self.model)?;
        if capture.stepper.has_ended() {
            self.capture = None;
            self.disk.revive();
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Broken> {
        let Some(capture) = &mut self.capture else { return Ok(()) };
        let log = std::sync::Arc::clone(&capture.log);
        let mut closing = Process::new(async move { log.close().await });
        let _ = closing.run();
        capture.write(&mut self.model)?;
        self.capture = None;
        self.disk.revive();
        Ok(())
    }

    /// Starts again what is not there.
    fn restart(&mut self, random: &mut Random) -> Result<(), Broken> {
        if self.capture.is_none() && !random.percent(30) {
            self.open_capture()?;
        }
        if self.relay.is_none() {
            self.start_relay();
        }
        for host in 0..2 {
            if self.archivers[host].is_none() && !random.percent(30) {
                self.start_archiver(host);
            }
        }
        Ok(())
    }

    fn fault(&mut self, fault: Fault, random: &mut Random) -> Result<(), Broken> {
        let host = random.below(2) as usize;
        match fault {
            Fault::KillCapture => self.die(random, false),
            Fault::CutPower => self.die(random, true),
            Fault::Disk => {
                self.disk.set_full(!self.disk.is_full());
                Ok(())
            }
            Fault::Sync => {
                self.disk.fail_next_sync();
                if random.percent(50) { self.die(random, false) } else { self.write() }
            }
            Fault::KillArchiver => {
                self.archivers[host] = None;
                self.store.forget(random);
                Ok(())
            }
            Fault::KillRelay => {
                self.relay = None;
                Ok(())
            }
            Fault::Broker => {
                self.lose_broker(random);
                Ok(())
            }
            Fault::Clock => {
                self.step_clock(host, random);
                Ok(())
            }
            Fault::Store => {
                let outcomes = [Outcome::Refused, Outcome::Unanswered, Outcome::Late];
                let outcome = outcomes[random.below(3) as usize];
                self.store.serve(host, outcome, random);
                self.store.serve_late(random);
                Ok(())
            }
        }
    }

    /// Lets the process that writes the log die in the middle of what it does, alone or with its whole host.
    fn die(&mut self, random: &mut Random, power: bool) -> Result<(), Broken> {
        self.disk.die_after(random.below(CHANGES_MAX));
        match (&mut self.capture, random.below(8)) {
            (None, _) => self.open_capture()?,
            (Some(_), 0) => self.close()?,
            (Some(_), 1) if self.archivers[0].is_some() => drop(self.run_archiver(0)?),
            (Some(capture), _) => drop(capture.write(&mut self.model)?),
        }
        if power {
            // What readers saw is held against the watermark that they saw.
            self.check()?;
            self.powered_off += 1;
            self.kill_host();
            self.disk.cut_power();
        } else {
            self.capture = None;
            self.disk.revive();
        }
        Ok(())
    }

    fn step_clock(&mut self, host: usize, random: &mut Random) {
        use ssmd_core::{Clock, Timestamp};
        let most = if random.percent(10) { 90_000 } else { 100 };
        let by = (random.below(2 * most) as i64 - most as i64) * 1_000_000_000 + random.below(1000) as i64;
        let now = self.clocks[host].now().nanos();
        self.clocks[host].step(Timestamp::from_nanos(now.saturating_add(by)));
    }

    /// Nothing breaks any more: everything must come to rest, and be whole.
    fn settle(&mut self) -> Result<(), Broken> {
        self.disk.revive();
        self.disk.set_full(false);
        let mut random = Random::new(self.plan.seed, u64::MAX - 1);
        let mut stopped = [false; 2];
        for _ in 0..ROUNDS_MAX {
            if self.capture.is_none() {
                self.open_capture()?;
            }
            self.write()?;
            let is_quiet = self.capture.as_ref().is_some_and(|capture| !capture.has_work());
            if self.relay.is_none() {
                self.start_relay();
            }
            self.run_relay()?;
            let durable = self.capture.as_ref().map_or(0, |capture| capture.log.durable());
            let is_copied = self.copied_through() >= durable || self.is_log_empty();
            for (host, stopped) in stopped.iter_mut().enumerate() {
                if self.archivers[host].is_none() && !*stopped {
                    self.start_archiver(host);
                }
                if let Some(archiver) = self.archivers[host].as_ref().filter(|_| is_quiet && is_copied) {
                    archiver.stop.cancel();
                }
                let stopping = self.archivers[host].as_ref().is_some_and(|a| a.stop.is_cancelled());
                *stopped |= self.run_archiver(host)? && stopping;
                while self.store.serve(host, Outcome::Fine, &mut random) {}
            }
            while self.store.serve_late(&mut random) {}
            self.check()?;
            if stopped == [true; 2] {
                return self.verify(durable);
            }
            self.advance(Duration::from_millis(500));
        }
        let capture = self.capture.as_ref().map(|capture| (capture.log.durable(), capture.has_work()));
        let (copied, committed) = (self.copied_through(), self.model.committed());
        Err(format!("no rest: log {capture:?}, copied {copied}, committed {committed}, stopped {stopped:?}"))
    }

    fn verify(&mut self, durable: u64) -> Result<(), Broken> {
        if self.model.committed() != durable {
            return Err(format!("{} of {durable} entries are archived", self.model.committed()));
        }
        self.check_broker()?;
        let store = self.store.client(None);
        let mut verifying =
            Process::new(async move { ssmd_storage::verify(store, None, |_| None, |_| {}).await });
        let report = verifying.run().ok_or("verifying waits for something")?.map_err(|e| e.report())?;
        (report.objects, report.entries, report.commits).hash(&mut self.trace);
        if report.errors > 0 && self.sabotage() == Sabotage::None {
            return Err(format!("verify: {:?}", report.problems));
        }
        Ok(())
    }
}
