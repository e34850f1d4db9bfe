//! One error for every crate: what kind, during which operation, about what, because of what.
//!
//! An error is for the one who must act on it. `kind` decides what a program does next, the rest is for people.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// The result of everything that can fail in ssmd.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a program may do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing asked for does not exist.
    NotFound,
    /// A create found something under that name already.
    AlreadyExists,
    /// A compare-and-set lost: somebody else changed the value first.
    Conflict,
    /// The input is not of the form it must have.
    Invalid,
    /// The other side refused: wrong key, wrong rights, a lock held by someone else.
    Denied,
    /// The other side cannot be reached now; the same call may work later.
    Unavailable,
    /// The deadline passed; whether the call took effect is not known.
    Timeout,
    /// A bound was reached: a full disk, a full queue, a capped log.
    Full,
    /// Stored bytes are not what was written.
    Corrupt,
    /// Numbers are missing from an origin; the error names which.
    Hole,
    /// The connection, the journal or the task has ended.
    Closed,
    /// This backend cannot do that, and says so instead of pretending.
    Unsupported,
    /// The operating system refused a read or a write.
    Io,
    /// A promise inside ssmd was broken: please report it.
    Bug,
}

impl ErrorKind {
    /// Whether the same call, unchanged, may succeed later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout | Self::Full)
    }

    /// Its word in metrics: one of few, in lower case, without spaces.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Hole => "hole",
            Self::Closed => "closed",
            Self::Unsupported => "unsupported",
            Self::Io => "io",
            Self::Bug => "bug",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Conflict => "held or changed by someone else",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timed out",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Hole => "missing entries",
            Self::Closed => "closed",
            Self::Unsupported => "not supported",
            Self::Io => "input/output error",
            Self::Bug => "broken promise",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// An error with everything the one who must act on it needs.
///
/// `Display` prints one line (operation, kind, detail, context); the cause is in [`StdError::source`] and
/// [`Error::report`] prints the whole chain with the hint.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    detail: Option<Cow<'static, str>>,
    context: Vec<(&'static str, String)>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    hint: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error of `kind` that happened during `operation`, a short verb phrase such as `"open log"`.
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            detail: None,
            context: Vec::new(),
            cause: None,
            hint: None,
            retry_after: None,
        }))
    }

    /// An operating-system error, its kind taken from the `io::ErrorKind`.
    pub fn io(operation: &'static str, cause: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match cause.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::AlreadyExists => ErrorKind::AlreadyExists,
            Io::PermissionDenied => ErrorKind::Denied,
            Io::AddrInUse => ErrorKind::Conflict,
            Io::StorageFull | Io::QuotaExceeded => ErrorKind::Full,
            Io::TimedOut => ErrorKind::Timeout,
            Io::ConnectionRefused | Io::NetworkUnreachable | Io::HostUnreachable => ErrorKind::Unavailable,
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof => {
                ErrorKind::Closed
            }
            _ => ErrorKind::Io,
        };
        Self::new(kind, operation).because(cause)
    }

    /// Says what exactly is wrong, in a few lower-case words.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds one fact about what the operation was working on.
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Keeps the error underneath.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Says what the user can do about it.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says how long the other side asked us to wait.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// What a program may do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The value of one fact added by [`Error::with`].
    pub fn context(&self, name: &str) -> Option<&str> {
        self.0.context.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// What the user can do about it, where that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// How long the other side asked us to wait, if it did.
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The whole story on several lines: the error, every cause, the hint.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!("\n  because: {error}"));
            cause = error.source();
        }
        if let Some(hint) = &self.0.hint {
            text.push_str(&format!("\n  try: {hint}"));
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.operation, self.0.kind)?;
        if let Some(detail) = &self.0.detail {
            write!(f, ": {detail}")?;
        }
        for (at, (name, value)) in self.0.context.iter().enumerate() {
            let open = if at == 0 { " (" } else { ", " };
            write!(f, "{open}{name}={value}")?;
        }
        if self.0.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_one_line_and_reports_as_several() {
        let error = Error::io("open log", std::io::Error::from(std::io::ErrorKind::StorageFull))
            .with("path", "log/1")
            .with("n", 7)
            .hint("free some space");
        assert_eq!(error.kind(), ErrorKind::Full);
        assert_eq!(error.to_string(), "open log: full (path=log/1, n=7)");
        assert_eq!(
            error.report(),
            "open log: full (path=log/1, n=7)\n  because: no storage space\n  try: free some space"
        );
        assert_eq!(error.context("n"), Some("7"));
    }
}
