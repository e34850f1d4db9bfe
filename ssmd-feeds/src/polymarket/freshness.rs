//! Whether data still flows: the venue answers pings while its data stands still.
//!
//! When nothing was heard for a while, two tokens are left and asked for again. Their books must come: if none does,
//! the stream is frozen. If they come and have changed since the last such question, though nothing was heard in
//! between, it is frozen, too. It owns no requests: the table of subscriptions sends them.

use std::collections::BTreeMap;
use std::time::Duration;

use ssmd_core::Symbol;

use super::hash::Hash;

/// Without any data for this long the venue is asked; each time that it answers and nothing has changed, the next
/// question waits twice as long, up to [`QUIET_MAX`].
const QUIET: Duration = Duration::from_secs(10);
/// The longest wait.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Tokens that are asked about: the market of one may just have closed.
pub(super) const TOKENS: usize = 2;

/// Watches one connection.
#[derive(Clone, Debug)]
pub(super) struct Freshness {
    /// When data came last, or a question was answered.
    quiet_since: Duration,
    wait: Duration,
    question: Option<Question>,
    /// The hashes that were answered since data came last.
    answers: BTreeMap<Symbol, Hash>,
    frozen: Option<&'static str>,
}

/// A question that is not answered yet.
#[derive(Clone, Debug)]
struct Question {
    since: Duration,
    /// Whose book did not come yet.
    tokens: Vec<Symbol>,
    /// Whether any came.
    answered: bool,
}

impl Freshness {
    /// Data came at `now`, or is expected from then on.
    pub(super) fn new(now: Duration) -> Self {
        Self { quiet_since: now, wait: QUIET, question: None, answers: BTreeMap::new(), frozen: None }
    }

    /// Whether a book that comes may be an answer.
    pub(super) fn is_asking(&self) -> bool {
        self.question.is_some()
    }

    /// A book came that was asked for; false if that was no question of ours.
    pub(super) fn book(&mut self, token: &str, hash: Hash, now: Duration) -> bool {
        let Some(question) = &mut self.question else { return false };
        let Some(at) = question.tokens.iter().position(|asked| asked.as_str() == token) else { return false };
        let before = self.answers.insert(question.tokens.swap_remove(at), hash);
        if before.is_some_and(|before| before != hash) {
            self.frozen = Some("books change, and no change is told");
        }
        question.answered = true;
        if question.tokens.is_empty() {
            self.answered(now);
        }
        true
    }

    fn answered(&mut self, now: Duration) {
        self.question = None;
        self.quiet_since = now;
        self.wait = (self.wait * 2).min(QUIET_MAX);
    }

    /// Whether it is time to ask.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let Some(question) = &self.question else {
            return now.saturating_sub(self.quiet_since) >= self.wait;
        };
        if now.saturating_sub(question.since) >= ANSWER_TIME_MAX {
            if !question.answered {
                self.frozen = Some("books are asked for and do not come");
            }
            self.answered(now);
        }
        false
    }

    /// These tokens are left and asked for again.
    pub(super) fn asks(&mut self, tokens: Vec<Symbol>, now: Duration) {
        self.question = Some(Question { since: now, tokens, answered: false });
    }

    /// Why the stream is frozen, if it is.
    pub(super) fn frozen(&self) -> Option<&'static str> {
        self.frozen
    }
}
