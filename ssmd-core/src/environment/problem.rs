//! What is wrong with a document, where, and what to write instead; for people and for programs.

use std::fmt;

use serde::Serialize;

use super::codes::Code;
use super::source::clean;
use super::sources::{Sources, local};
use crate::{Error, ErrorKind};

/// How many problems are told one by one; the rest are counted. More than anybody reads.
pub const PROBLEMS_MAX: usize = 100;

/// Everything that is wrong with one environment, in the order of its documents; as an error never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// What the document is called: a path as the user wrote it.
    pub source: String,
    /// The problems.
    pub problems: Vec<Problem>,
    /// How many more there are beyond [`PROBLEMS_MAX`].
    pub omitted: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of problem it is.
    pub code: Code,
    /// The document that it stands in: the one that was read, or one that this one extends.
    pub file: String,
    /// What is wrong, in lower-case words.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The same place in bytes of that document.
    pub span: Span,
    /// What was expected there.
    pub expected: Option<String>,
    /// The right spelling that is nearest to what was found.
    pub nearest: Option<String>,
    #[serde(skip)]
    excerpt: Excerpt,
}

/// A stretch of a document, in bytes: `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte behind its last.
    pub end: usize,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// The source line of a problem, ready to print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The line, cut.
    pub(super) text: String,
    /// How many characters stand before the caret.
    pub(super) indent: usize,
    /// How many carets there are.
    pub(super) width: usize,
}

/// A problem before its place is worked out.
pub(super) struct Draft {
    code: Code,
    span: Span,
    message: String,
    expected: Option<String>,
    nearest: Option<String>,
}

impl Draft {
    pub(super) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), expected: None, nearest: None }
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn nearest(mut self, nearest: Option<&str>) -> Self {
        self.nearest = nearest.map(str::to_owned);
        self
    }

    /// The same problem in a document that begins at `base`.
    pub(super) fn shifted(mut self, base: usize) -> Self {
        self.span = Span::new(self.span.start + base, self.span.end + base);
        self
    }
}

/// Collects the problems of one environment. Spans count over all of its documents.
pub(super) struct Log<'s> {
    sources: &'s Sources,
    problems: Told,
    notes: Told,
    hidden: Vec<Span>,
}

/// Problems up to the bound, and how many more there were.
#[derive(Default)]
struct Told {
    /// Each with its place over all documents.
    problems: Vec<(Span, Problem)>,
    omitted: usize,
}

impl Told {
    fn add(&mut self, draft: Draft, sources: &Sources) {
        if self.problems.len() == PROBLEMS_MAX {
            self.omitted += 1;
            return;
        }
        let (source, base) = sources.of(draft.span.start);
        let (line, column) = source.place(draft.span.start - base);
        // What the document calls its feeds and clients also stands among what was expected.
        let shown = |text: String| clean(&text).collect();
        let problem = Problem {
            code: draft.code,
            file: source.name().to_owned(),
            message: shown(draft.message),
            line,
            column,
            span: source.within(local(draft.span, base)),
            expected: draft.expected.map(shown),
            nearest: draft.nearest.map(shown),
            excerpt: Excerpt::default(),
        };
        self.problems.push((draft.span, problem));
    }

    fn finish(mut self, sources: &Sources, hidden: &[Span]) -> Problems {
        self.problems.sort_by_key(|(span, problem)| (span.start, problem.code));
        for (span, problem) in &mut self.problems {
            let (source, base) = sources.of(span.start);
            let hidden: Vec<_> =
                hidden.iter().filter(|span| span.end > base).map(|span| local(*span, base)).collect();
            problem.excerpt = source.excerpt(problem.span, &hidden);
        }
        Problems {
            source: sources.names().next().unwrap_or_default().to_owned(),
            problems: self.problems.into_iter().map(|(_, problem)| problem).collect(),
            omitted: self.omitted,
        }
    }
}

impl<'s> Log<'s> {
    pub(super) fn new(sources: &'s Sources) -> Self {
        Self { sources, problems: Told::default(), notes: Told::default(), hidden: Vec::new() }
    }

    pub(super) fn add(&mut self, draft: Draft) {
        self.problems.add(draft, self.sources);
    }

    /// What is right and not built yet.
    pub(super) fn note(&mut self, draft: Draft) {
        self.notes.add(draft, self.sources);
    }

    /// Keeps a stretch of the documents out of every line that is shown: it may be a secret.
    pub(super) fn hide(&mut self, span: Span) {
        self.hidden.push(span);
    }

    /// The line of a place, for messages that point at a second one.
    pub(super) fn line(&self, at: usize) -> usize {
        let (source, base) = self.sources.of(at);
        source.line(at - base)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.problems.is_empty()
    }

    /// What is wrong, and what is right and not built yet.
    pub(super) fn finish(self) -> (Problems, Problems) {
        (self.problems.finish(self.sources, &self.hidden), self.notes.finish(self.sources, &self.hidden))
    }
}

impl Problems {
    /// All of it as one JSON object: `source`, `problems` (each with `code`, `file`, `message`, `line`, `column`,
    /// `span`, `expected`, `nearest`) and `omitted`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    /// How many problems there are, told or counted.
    pub fn count(&self) -> usize {
        self.problems.len() + self.omitted
    }
}

impl Problem {
    /// It in one line, for a list: what is wrong, where, and its code.
    pub fn line(&self) -> String {
        format!("{} (line {}, {})", self.message, self.line, self.code)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            problem.write_block(f)?;
            f.write_str("\n")?;
        }
        if self.omitted > 0 {
            writeln!(f, "and {} more, not shown", self.omitted)?;
        }
        let plural = if self.count() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural} in {}", self.count(), self.source)
    }
}

impl Problem {
    fn write_block(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Excerpt { text, indent, width } = &self.excerpt;
        let margin = self.line.to_string().len();
        writeln!(f, "error[{}]: {}", self.code, self.message)?;
        writeln!(f, "{:margin$}--> {}:{}:{}", "", self.file, self.line, self.column)?;
        writeln!(f, "{:margin$} |", "")?;
        if !text.is_empty() {
            writeln!(f, "{} | {text}", self.line)?;
            write!(f, "{:margin$} | {:indent$}{:^<width$}", "", "", "")?;
            match &self.expected {
                Some(expected) => writeln!(f, " expected {expected}")?,
                None => f.write_str("\n")?,
            }
        } else if let Some(expected) = &self.expected {
            writeln!(f, "{:margin$} = expected {expected}", "")?;
        }
        match &self.nearest {
            Some(nearest) => writeln!(f, "{:margin$} = did you mean `{nearest}`?", ""),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Error::new(ErrorKind::Invalid, "read environment")
            .with("document", &problems.source)
            .with("problems", problems.count())
            .because(problems)
    }
}
