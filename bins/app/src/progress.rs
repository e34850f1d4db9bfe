//! How far long work is, on a terminal's last line; nothing where standard error is a file.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// A line that says how much is done, and is gone when the work ends.
pub(crate) struct Progress {
    /// What is done, in one word; `None` draws nothing.
    verb: Option<&'static str>,
    done: AtomicU64,
    of: u64,
}

impl Progress {
    /// Of so many steps.
    pub(crate) fn new(verb: &'static str, of: u64) -> Self {
        Self { verb: std::io::stderr().is_terminal().then_some(verb), done: AtomicU64::new(0), of }
    }

    /// The same for a command whose results go to standard output: nothing is drawn between lines on a terminal.
    pub(crate) fn beside_output(verb: &'static str, of: u64) -> Self {
        let progress = Self::new(verb, of);
        let verb = progress.verb.filter(|_| !std::io::stdout().is_terminal());
        Self { verb, done: AtomicU64::new(0), of }
    }

    /// So many more steps are done.
    pub(crate) fn add(&self, steps: u64) {
        let before = self.done.fetch_add(steps, Ordering::Relaxed);
        if let Some(verb) = self.verb
            && (before == 0 || self.percent(before) != self.percent(before + steps))
        {
            eprint!("\r\x1b[K{verb} {} %", self.percent(before + steps));
            // A terminal that cannot be flushed shows the progress late.
            let _ = std::io::stderr().flush();
        }
    }

    fn percent(&self, done: u64) -> u64 {
        done.min(self.of) * 100 / self.of.max(1)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.verb.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_never_more_than_the_whole() {
        let progress = Progress::new("read", 300);
        assert_eq!([0, 1, 3, 299, 300, 900].map(|done| progress.percent(done)), [0, 0, 1, 99, 100, 100]);
        assert_eq!(Progress::new("read", 0).percent(5), 0);
    }
}
