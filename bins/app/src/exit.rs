//! Exit codes, in one table. `docs/cli.md` prints it, and a test compares the two.

use std::process::ExitCode;

use ssmd_core::{Error, ErrorKind};

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to.
    Ok,
    /// It failed; standard error says why.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// `verify` found damage; `grep` found nothing; `bench --strict` saw a limit missed; `--skip-damaged` passed over something.
    Found,
    /// Something else is needed that is not there: a venue, a store, a running recorder.
    Unavailable,
    /// Somebody else holds what this needs alone: a log, a port. Later it may work.
    Busy,
    /// The environment document, or a name in it, is wrong.
    Config,
}

impl Exit {
    /// Every code with its number and meaning.
    pub const TABLE: [(Self, u8, &'static str); 7] = [
        (Self::Ok, 0, "it did what it was asked to"),
        (Self::Failed, 1, "it failed; standard error says why. For `env diff`: the two differ"),
        (Self::Usage, 2, "the command line makes no sense; for `env diff`: one of the two is not there"),
        (
            Self::Found,
            3,
            "`verify` found damage; `grep` found nothing; `bench --strict` saw a limit missed; `--skip-damaged` passed over something",
        ),
        (Self::Unavailable, 69, "something it needs is not there: a venue, a store, a running recorder"),
        (Self::Busy, 75, "somebody else holds what it needs alone: a log, a port; try later"),
        (Self::Config, 78, "the environment document is wrong; every problem is printed"),
    ];

    /// The number the shell sees.
    pub fn number(self) -> u8 {
        Self::TABLE.iter().find(|(exit, ..)| *exit == self).map_or(1, |(_, number, _)| *number)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// What reads a value of the command line that the parser of the whole does not judge: a store may hold a key, which it
/// would show; a pattern may be a plain text; a time ends before another one.
const VALUES: [&str; 4] = ["read store", "read pattern", "read record type", "read time span"];

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Invalid | ErrorKind::Unsupported if VALUES.contains(&error.operation()) => Self::Usage,
            ErrorKind::Unavailable | ErrorKind::Timeout => Self::Unavailable,
            ErrorKind::Conflict => Self::Busy,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_have_the_same_table() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        let Ok(docs) = std::fs::read_to_string(docs) else { return println!("no docs beside this crate") };
        let rows = Exit::TABLE.map(|(_, number, meaning)| format!("| {number} | {meaning} |\n"));
        assert!(docs.contains(&rows.concat()), "docs/cli.md must have\n{}", rows.concat());
    }
}
