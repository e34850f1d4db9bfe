//! Where in a text each key and each value stands.

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::super::node::plain_type;
use super::super::problem::Span;
use super::super::source::Source;
use super::super::tree::{NESTING_MAX, Offsets};
use super::{Step, Value, invalid, unsupported};
use crate::Result;

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    /// From its first byte to behind its last, without comments and white space around it.
    pub(super) span: Span,
    pub(super) shape: Shape,
}

/// What stands there.
#[derive(Debug)]
pub(super) enum Shape {
    Scalar { text: String, style: ScalarStyle },
    List { flow: bool, items: Vec<Node> },
    Map { flow: bool, entries: Vec<(Key, Node)> },
}

/// A key and its place.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) span: Span,
}

impl Node {
    /// What it says.
    pub(super) fn value(&self) -> Value {
        match &self.shape {
            Shape::Scalar { text, style } => {
                let is_word = *style == ScalarStyle::Plain && plain_type(text) != "text";
                if is_word { Value::Word(text.clone()) } else { Value::Text(text.clone()) }
            }
            Shape::List { items, .. } => Value::List(items.iter().map(Self::value).collect()),
            Shape::Map { entries, .. } => {
                Value::Map(entries.iter().map(|(key, node)| (key.text.clone(), node.value())).collect())
            }
        }
    }

    /// The deepest value on the path, and the steps that are not there.
    pub(super) fn descend<'n, 'p>(&'n self, path: &'p [Step]) -> (&'n Self, &'p [Step]) {
        let (mut node, mut rest) = (self, path);
        while let Some((step, more)) = rest.split_first()
            && let Some(at) = node.position(step)
            && let Some(child) = node.child(at)
        {
            (node, rest) = (child, more);
        }
        (node, rest)
    }

    /// Which of its children a step means.
    pub(super) fn position(&self, step: &Step) -> Option<usize> {
        match (&self.shape, step) {
            (Shape::Map { entries, .. }, Step::Key(key)) => {
                entries.iter().position(|(found, _)| found.text == *key)
            }
            (Shape::List { items, .. }, &Step::Index(at)) => (at < items.len()).then_some(at),
            _ => None,
        }
    }

    /// Its value of that number.
    pub(super) fn child(&self, at: usize) -> Option<&Self> {
        match &self.shape {
            Shape::Scalar { .. } => None,
            Shape::List { items, .. } => items.get(at),
            Shape::Map { entries, .. } => entries.get(at).map(|(_, node)| node),
        }
    }

    /// The places of its children, keys included.
    pub(super) fn children(&self) -> Vec<Span> {
        match &self.shape {
            Shape::Scalar { .. } => Vec::new(),
            Shape::List { items, .. } => items.iter().map(|item| item.span).collect(),
            Shape::Map { entries, .. } => {
                entries.iter().map(|(key, node)| Span::new(key.span.start, node.span.end)).collect()
            }
        }
    }

    /// Whether it stands in brackets or braces.
    pub(super) fn is_flow(&self) -> bool {
        matches!(self.shape, Shape::List { flow: true, .. } | Shape::Map { flow: true, .. })
    }

    /// Whether it is a list or a map that stands on lines of its own.
    pub(super) fn is_block(&self) -> bool {
        matches!(self.shape, Shape::List { flow: false, .. } | Shape::Map { flow: false, .. })
    }
}

/// A list or a map that is not closed yet.
struct Open {
    start: usize,
    flow: bool,
    map: bool,
    key: Option<Key>,
    entries: Vec<(Option<Key>, Node)>,
}

/// Reads a text.
pub(super) fn parse(whole: &str) -> Result<Node> {
    let (source, faults) = Source::read("", whole.as_bytes());
    if !faults.is_empty() {
        return Err(invalid("control characters, tabs that indent, or too long"));
    }
    let offsets = Offsets::new(&source, 0);
    let (mut open, mut root): (Vec<Open>, Option<Node>) = (Vec::new(), None);
    for event in Parser::new_from_str(source.text()) {
        let (event, span) = event.map_err(|fault| invalid("not YAML").because(fault))?;
        let span = offsets.span(span);
        let node = match event {
            Event::Scalar(_, _, anchor, tag) if anchor != 0 || tag.is_some() => return Err(property()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if anchor != 0 || tag.is_some() =>
            {
                return Err(property());
            }
            Event::Alias(_) => return Err(property()),
            Event::Scalar(text, style, ..) => {
                let end = match style {
                    // The parser gives nothing the place of what follows.
                    ScalarStyle::Plain if text.is_empty() => span.start,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => closing_quote(whole, span.start),
                    _ => span.end,
                };
                Node {
                    span: Span::new(span.start, end),
                    shape: Shape::Scalar { text: text.into_owned(), style },
                }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                let map = matches!(event, Event::MappingStart(..));
                let flow = span.start < span.end;
                open.push(Open { start: span.start, flow, map, key: None, entries: Vec::new() });
                if open.len() > NESTING_MAX {
                    return Err(invalid("nested too deeply"));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(done) => done.close(whole),
                None => continue,
            },
            Event::DocumentStart(_) if root.is_some() => {
                return Err(unsupported("several documents in one file"));
            }
            _ => continue,
        };
        match open.last_mut() {
            Some(holder) => holder.take(node)?,
            None => root = Some(node),
        }
    }
    root.ok_or_else(|| invalid("an empty document"))
}

fn property() -> crate::Error {
    unsupported("anchors, aliases and tags are not edited")
}

impl Open {
    fn take(&mut self, node: Node) -> Result<()> {
        match (self.map, self.key.take()) {
            (true, None) => match node.shape {
                Shape::Scalar { text, .. } => {
                    if self.entries.iter().any(|(key, _)| key.as_ref().is_some_and(|key| key.text == text)) {
                        return Err(invalid(format!("the key `{text}` stands twice")));
                    }
                    self.key = Some(Key { text, span: node.span });
                }
                _ => return Err(unsupported("a key that is not text")),
            },
            (_, key) => self.entries.push((key, node)),
        }
        Ok(())
    }

    fn close(self, text: &str) -> Node {
        let Self { start, flow, map, entries, .. } = self;
        let last = entries.last().map_or(start, |(_, node)| node.span.end);
        let end = if flow { closing(text, last.max(start + 1)) } else { last };
        let span = Span::new(start, end);
        let shape = if map {
            let entries = entries.into_iter().filter_map(|(key, node)| Some((key?, node))).collect();
            Shape::Map { flow, entries }
        } else {
            Shape::List { flow, items: entries.into_iter().map(|(_, node)| node).collect() }
        };
        Node { span, shape }
    }
}

/// Behind the bracket or brace that closes what ends here. (The parser gives some the place of a comma before it.)
fn closing(text: &str, from: usize) -> usize {
    let mut comment = false;
    let bracket = text[from..].char_indices().find(|(_, c)| {
        comment = !matches!(c, '\n' | '\r') && (comment || *c == '#');
        !comment && matches!(c, ']' | '}')
    });
    bracket.map_or(text.len(), |(at, _)| from + at + 1)
}

/// Behind the quote that closes what is quoted here. (The parser counts comments behind it.)
fn closing_quote(text: &str, start: usize) -> usize {
    let mut rest = text[start..].char_indices().peekable();
    let Some((_, quote)) = rest.next() else { return start };
    while let Some((at, c)) = rest.next() {
        match c {
            '\\' if quote == '"' => drop(rest.next()),
            // Two of them are one in single quotes.
            '\'' if c == quote && rest.peek().is_some_and(|(_, next)| *next == quote) => drop(rest.next()),
            _ if c == quote => return start + at + 1,
            _ => {}
        }
    }
    text.len()
}
