//! The documents of one environment, laid end to end: a place in any of them is one number, so that whoever reads
//! the merged tree need not know which document a value stands in.

use super::problem::{Draft, Span};
use super::source::Source;

/// Documents and where each begins.
#[derive(Default)]
pub(super) struct Sources(Vec<(usize, Source)>);

impl Sources {
    /// Adds a document; gives its number, and the faults that keep it from being read as YAML.
    pub(super) fn add(&mut self, name: &str, text: &[u8]) -> (usize, Vec<Draft>) {
        let (source, faults) = Source::read(name, text);
        // One place more than there are bytes: the end of a document is not the start of the next.
        let base = self.0.last().map_or(0, |(base, last)| base + last.bytes() + 1);
        self.0.push((base, source));
        (self.0.len() - 1, faults.into_iter().map(|fault| fault.shifted(base)).collect())
    }

    /// A document and where it begins.
    pub(super) fn get(&self, number: usize) -> (&Source, usize) {
        let (base, source) = &self.0[number];
        (source, *base)
    }

    /// The number of the document that a place is in.
    pub(super) fn number(&self, at: usize) -> usize {
        self.0.partition_point(|(base, _)| *base <= at).saturating_sub(1)
    }

    /// The document that a place is in, and where it begins.
    pub(super) fn of(&self, at: usize) -> (&Source, usize) {
        self.get(self.number(at))
    }

    /// How many documents there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// What the documents are called, the one that was asked for first.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, source)| source.name())
    }
}

/// A stretch as the document that begins at `base` counts it.
pub(super) fn local(span: Span, base: usize) -> Span {
    Span::new(span.start.saturating_sub(base), span.end.saturating_sub(base))
}
