//! The little of YAML that a script needs: a map of scalars and lists of maps of scalars, each with its line.
//!
//! Anchors, aliases, tags and several documents are refused, and so is a key that stands twice.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser};
use ssmd_core::{Error, ErrorKind, Result};

/// The longest script, in bytes: thousands of rules.
pub(super) const SCRIPT_BYTES_MAX: usize = 1 << 20;
/// A script is a map of lists of maps.
const NESTING_MAX: usize = 3;

/// A value and the line that it begins on, from 1.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// What is wrong on a line.
pub(super) fn wrong(line: usize, what: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, "read fault script").detail(what).with("line", line)
}

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Node> {
    if text.len() > SCRIPT_BYTES_MAX {
        return Err(wrong(1, format!("longer than {SCRIPT_BYTES_MAX} bytes")));
    }
    let (mut open, mut root, mut documents) = (Vec::<Open>::new(), None, 0);
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|fault| wrong(fault.marker().line(), format!("not YAML: {}", fault.info())))?;
        let line = span.start.line();
        let plain = |anchor: usize, tagged: bool| match (anchor, tagged) {
            (0, false) => Ok(()),
            _ => Err(wrong(line, "anchors and tags mean nothing here")),
        };
        let done = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(wrong(line, "a second document"));
                }
                None
            }
            Event::Alias(_) => return Err(wrong(line, "aliases mean nothing here")),
            Event::Scalar(text, _, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                Some(Node { line, value: Value::Scalar(text.into_owned()) })
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if open.len() == NESTING_MAX =>
            {
                plain(anchor, tag.is_some())?;
                return Err(wrong(line, "nested too deep"));
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                open.push(Open { line, value: Value::List(Vec::new()), key: None });
                None
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                open.push(Open { line, value: Value::Map(Vec::new()), key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop().map(|done| Node { line: done.line, value: done.value })
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
        };
        if let Some(node) = done {
            match open.last_mut() {
                Some(parent) => parent.take(node)?,
                None => root = Some(node),
            }
        }
    }
    root.ok_or_else(|| wrong(1, "the script is empty"))
}

/// A map or a list that has not ended.
struct Open {
    line: usize,
    value: Value,
    /// The key whose value comes next.
    key: Option<String>,
}

impl Open {
    fn take(&mut self, node: Node) -> Result<()> {
        match (&mut self.value, self.key.take(), node) {
            (Value::List(items), _, node) => items.push(node),
            (Value::Map(entries), Some(key), node) => entries.push((key, node)),
            (Value::Map(entries), None, Node { line, value: Value::Scalar(key) }) => {
                if entries.iter().any(|(there, _)| *there == key) {
                    return Err(wrong(line, format!("`{key}` stands twice")));
                }
                self.key = Some(key);
            }
            (_, _, node) => return Err(wrong(node.line, "a key must be a word")),
        }
        Ok(())
    }
}
