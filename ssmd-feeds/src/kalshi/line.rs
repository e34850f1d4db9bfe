//! The markets of one channel: what is wanted of each, and what is so.

use std::collections::BTreeMap;
use std::time::Duration;

use ssmd_core::Symbol;

/// How long a market that was refused is not asked for again: it may be listed by then.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(60);
/// The wait before a first repetition; it doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a repetition.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How long to wait after so many failures.
pub(super) fn backoff(failures: u32) -> Duration {
    (RETRY_FIRST * 2_u32.pow(failures.min(16))).min(RETRY_MAX)
}

/// Every market of a channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(pub(super) BTreeMap<Symbol, Line>);

/// One market.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) wanted: bool,
    state: State,
    /// It was asked for and not answered: it may be on.
    doubt: bool,
    /// Why not, in the venue's words.
    pub(super) refused: Option<String>,
    failures: u32,
    not_before: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Off,
    Asked,
    On,
    Leaving,
}

/// What stays of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Something,
    Nothing,
    /// What was asked for may be refused.
    Unknown,
}

impl Line {
    /// Whether the venue sends it.
    pub(super) fn is_on(&self) -> bool {
        self.state == State::On
    }

    /// With how many it is commanded together, after so many failures.
    fn size(&self, sizes: &[usize]) -> usize {
        sizes[(self.failures as usize).min(sizes.len() - 1)]
    }
}

impl Lines {
    /// Forgets markets that are neither wanted nor there.
    pub(super) fn sweep(&mut self) {
        self.0.retain(|_, line| line.wanted || line.state != State::Off || line.doubt);
    }

    /// The venue has a market, or it does not. What is on and was asked for is over.
    pub(super) fn settle(&mut self, name: &Symbol, on: bool) {
        let Some(line) = self.0.get_mut(name) else { return };
        line.state = if on { State::On } else { State::Off };
        line.doubt = false;
        line.failures = 0;
        line.not_before = Duration::ZERO;
        if on {
            line.refused = None;
        }
    }

    /// The venue will not have one, for these reasons.
    pub(super) fn refuse(&mut self, name: &str, words: String, now: Duration) {
        let Some(line) = self.0.get_mut(name) else { return };
        line.state = State::Off;
        line.doubt = false;
        line.refused = Some(words);
        line.not_before = now + REFUSED_FOR;
    }

    /// A command about several failed: the next one has fewer.
    pub(super) fn fail(&mut self, name: &Symbol) {
        let Some(line) = self.0.get_mut(name) else { return };
        line.state = State::Off;
        line.failures += 1;
    }

    /// Nobody knows whether it is on.
    pub(super) fn doubt(&mut self, name: &Symbol, now: Duration) {
        let Some(line) = self.0.get_mut(name) else { return };
        line.state = State::Off;
        line.doubt = true;
        line.not_before = now + backoff(line.failures);
        line.failures += 1;
    }

    /// It could not be left for now: it may still be on.
    pub(super) fn keep(&mut self, name: &Symbol) {
        let Some(line) = self.0.get_mut(name) else { return };
        line.state = State::Off;
        line.doubt = true;
    }

    /// The subscription is over, or nobody knows whether it is.
    pub(super) fn forget(&mut self, doubt: bool) {
        for line in self.0.values_mut() {
            line.doubt = doubt && (line.doubt || line.state != State::Off);
            line.state = State::Off;
        }
        self.sweep();
    }

    /// What stays of a subscription when all that is not wanted is left.
    pub(super) fn rest(&self) -> Rest {
        let has = |state| self.0.values().any(|line| line.wanted && line.state == state);
        match () {
            () if has(State::On) => Rest::Something,
            () if has(State::Asked) => Rest::Unknown,
            () => Rest::Nothing,
        }
    }

    /// The next markets to ask for together, which are asked for from now on. `sizes` says how many after so many
    /// failures.
    pub(super) fn add_next(&mut self, sizes: &[usize], now: Duration) -> Vec<Symbol> {
        let due = |line: &Line| line.wanted && line.state == State::Off && now >= line.not_before;
        let Some(size) = self.0.values().find(|line| due(line)).map(|line| line.size(sizes)) else {
            return Vec::new();
        };
        let together = |line: &Line| due(line) && line.size(sizes) == size;
        let lines = self.0.iter_mut().filter(|(_, line)| together(line)).take(size);
        lines
            .map(|(name, line)| {
                line.state = State::Asked;
                name.clone()
            })
            .collect()
    }

    /// The next markets to leave together, which are being left from now on. `sizes` says how many after so many
    /// failures.
    pub(super) fn leave_next(&mut self, sizes: &[usize], now: Duration) -> Vec<Symbol> {
        let due = |line: &Line| {
            let there = line.state == State::On || line.state == State::Off && line.doubt;
            !line.wanted && there && now >= line.not_before
        };
        let Some(size) = self.0.values().find(|line| due(line)).map(|line| line.size(sizes)) else {
            return Vec::new();
        };
        let together = |line: &Line| due(line) && line.size(sizes) == size;
        let lines = self.0.iter_mut().filter(|(_, line)| together(line)).take(size);
        lines
            .map(|(name, line)| {
                line.state = State::Leaving;
                name.clone()
            })
            .collect()
    }
}
