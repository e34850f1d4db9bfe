//! The stretches of a text that an edit replaces.

use saphyr_parser::ScalarStyle;

use super::super::problem::Span;
use super::layout::{Key, Node, Shape};
use super::render::{block, flow};
use super::{Step, Value, invalid, unsupported};
use crate::Result;

/// What one level of a document is indented by where it does not say.
const INDENT: usize = 2;

/// Replaced stretches of one text.
pub(super) struct Patches<'t> {
    text: &'t str,
    eol: &'static str,
    list: Vec<(Span, String)>,
}

impl<'t> Patches<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let eol = match text.find(['\n', '\r']).map(|at| &text[at..]) {
            Some(rest) if rest.starts_with("\r\n") => "\r\n",
            Some(rest) if rest.starts_with('\r') => "\r",
            _ => "\n",
        };
        Self { text, eol, list: Vec::new() }
    }

    /// The text with all of it.
    pub(super) fn apply(mut self) -> String {
        // Stable: what is put at one place stays in the order in which it was put there.
        self.list.sort_by_key(|(span, _)| span.start);
        let (mut edited, mut done) = (String::with_capacity(self.text.len() + 64), 0);
        for (span, by) in &self.list {
            edited.push_str(&self.text[done..span.start]);
            edited.push_str(by);
            done = span.end;
        }
        edited + &self.text[done..]
    }

    /// Another value at the place of a node.
    pub(super) fn replace(&mut self, root: &Node, path: &[Step], node: &Node, value: &Value) -> Result<()> {
        if node.value() == *value {
            return Ok(());
        }
        let style = match &node.shape {
            Shape::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } => {
                return Err(unsupported("text after `|` or `>` is not edited"));
            }
            // The quotes of a text say nothing about what stands in a map.
            Shape::Scalar { style, .. } if matches!(value, Value::Text(_)) => *style,
            _ => ScalarStyle::Plain,
        };
        let written = flow(value, style);
        let is_nothing = node.span.start == node.span.end;
        let (true, Some(key)) = (node.is_block() || is_nothing, key_of(root, path)) else {
            self.put(node.span, written);
            return Ok(());
        };
        let colon = self.behind_colon(key)?;
        self.put(Span::new(colon, colon), format!(" {written}"));
        if node.is_block() {
            let lines = self.lines(node.span);
            if lines.start < colon {
                return Err(unsupported("a list or a map that begins on the line of its key"));
            }
            self.put(lines, String::new());
        }
        Ok(())
    }

    /// A new key behind the last one of a map.
    pub(super) fn insert_key(&mut self, node: &Node, key: &str, value: &Value) -> Result<()> {
        let Shape::Map { entries, flow: is_flow } = &node.shape else { return Err(invalid("not a map")) };
        if *is_flow {
            let written = flow(&Value::Map(vec![(key.to_owned(), value.clone())]), ScalarStyle::Plain);
            let inner =
                written.strip_prefix("{ ").and_then(|rest| rest.strip_suffix(" }")).unwrap_or(&written);
            return self.insert_flow(node, vec![inner.to_owned()]);
        }
        let Some((first, _)) = entries.first() else { return Err(invalid("an empty map")) };
        let indent = self.column(first.span.start);
        let nested = entries.iter().find(|(_, value)| matches!(&value.shape, Shape::Map { flow: false, .. }));
        let step = nested.map_or(INDENT, |(_, value)| self.column(value.span.start).saturating_sub(indent));
        let lines = block(key, value, indent, step.max(1), self.eol);
        self.insert_lines(node.span.end, indent, &lines);
        Ok(())
    }

    /// New items behind the last one of a list.
    pub(super) fn append(&mut self, node: &Node, values: &[Value]) -> Result<()> {
        let Shape::List { items, flow: is_flow } = &node.shape else { return Err(invalid("not a list")) };
        let style = match items.last().map(|item| &item.shape) {
            Some(Shape::Scalar {
                style: style @ (ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted),
                ..
            }) => *style,
            _ => ScalarStyle::Plain,
        };
        let written = values.iter().map(|value| flow(value, style)).collect::<Vec<_>>();
        match items.last() {
            _ if values.is_empty() => Ok(()),
            Some(last) if !is_flow => {
                let dash = self.dash(last)?;
                let gap = &self.text[dash + 1..last.span.start];
                let indent = self.column(dash);
                let lines: Vec<_> = written.iter().map(|item| format!("-{gap}{item}")).collect();
                let lines = lines.join(&format!("{}{:indent$}", self.eol, ""));
                self.insert_lines(node.span.end, indent, &lines);
                Ok(())
            }
            _ => self.insert_flow(node, written),
        }
    }

    /// Takes away one of several children.
    pub(super) fn remove(&mut self, node: &Node, at: usize) -> Result<()> {
        let children = node.children();
        if node.is_flow() {
            self.remove_flow(&children, at);
            return Ok(());
        }
        let start = self.child_start(node, at, &children)?;
        let child = Span::new(start, children[at].end);
        if self.is_first_on_line(start) {
            self.put(self.lines(child), String::new());
            return Ok(());
        }
        // `- a: 1` and `- - a`: what follows moves up to the dash.
        let Some(next) = children.get(at + 1) else {
            return Err(unsupported("this stands on the line of something else"));
        };
        let next = self.child_start(node, at + 1, &children).unwrap_or(next.start);
        let behind = self.line_break_end(self.line_end(child.end));
        if behind > next || !self.text[behind..next].trim().is_empty() {
            return Err(unsupported("a comment stands between this and what follows it"));
        }
        self.put(Span::new(start, next), String::new());
        Ok(())
    }

    fn remove_flow(&mut self, children: &[Span], at: usize) {
        let child = children[at];
        let end = self.line_end(child.end);
        let behind = self.text[child.end..end].trim_start();
        let behind = behind.strip_prefix(',').unwrap_or(behind).trim_start();
        let alone = self.is_first_on_line(child.start) && (behind.is_empty() || behind.starts_with('#'));
        let stretch = match (at.checked_sub(1).map(|before| children[before]), children.get(at + 1)) {
            _ if alone => self.lines(child),
            (_, Some(next)) => {
                let between = &self.text[child.end..next.start];
                match (between.find(['\n', '\r']), comma(between)) {
                    (Some(_), Some(comma)) => Span::new(child.start, child.end + comma + 1),
                    _ => Span::new(child.start, next.start),
                }
            }
            (Some(before), None) if !self.text[before.end..child.start].contains('#') => {
                Span::new(before.end, child.end)
            }
            _ => child,
        };
        self.put(stretch, String::new());
    }

    fn insert_flow(&mut self, node: &Node, written: Vec<String>) -> Result<()> {
        let (open, close) = (node.span.start + 1, node.span.end - 1);
        let children = node.children();
        let Some(last) = children.last() else {
            let all = written.join(", ");
            let spaced = if matches!(node.shape, Shape::Map { .. }) { format!(" {all} ") } else { all };
            let inside = &self.text[open..close];
            let replaced =
                if inside.trim().is_empty() { Span::new(open, close) } else { Span::new(open, open) };
            self.put(replaced, spaced);
            return Ok(());
        };
        let between = &self.text[last.end..close];
        let comma = comma(between).map(|at| last.end + at + 1);
        if between.contains(['\n', '\r']) && self.is_first_on_line(last.start) {
            if comma.is_none() {
                self.put(Span::new(last.end, last.end), ",".to_owned());
            }
            let indent = self.column(last.start);
            let lines = written.join(&format!(",{}{:indent$}", self.eol, ""));
            let end = if comma.is_some() { "," } else { "" };
            self.insert_lines(comma.unwrap_or(last.end), indent, &format!("{lines}{end}"));
            return Ok(());
        }
        let all = written.join(", ");
        match comma {
            Some(at) => self.put(Span::new(at, at), format!(" {all}")),
            None => self.put(Span::new(last.end, last.end), format!(", {all}")),
        }
        Ok(())
    }

    /// Lines behind the line that `behind` stands on, and a comment there.
    fn insert_lines(&mut self, behind: usize, indent: usize, lines: &str) {
        let end = self.line_end(behind);
        self.put(Span::new(end, end), format!("{}{:indent$}{lines}", self.eol, ""));
    }

    fn put(&mut self, span: Span, by: String) {
        self.list.push((span, by));
    }

    /// Where a child of a block begins: its key or its dash.
    fn child_start(&self, node: &Node, at: usize, children: &[Span]) -> Result<usize> {
        match node.child(at) {
            Some(item) if matches!(node.shape, Shape::List { .. }) => self.dash(item),
            _ => Ok(children[at].start),
        }
    }

    /// The dash of a block's item.
    fn dash(&self, item: &Node) -> Result<usize> {
        let before = &self.text[self.line_start(item.span.start)..item.span.start];
        match before.trim_end_matches(' ').strip_suffix('-') {
            Some(rest) => Ok(self.line_start(item.span.start) + rest.len()),
            None => Err(unsupported("an item that does not stand on the line of its dash")),
        }
    }

    fn behind_colon(&self, key: &Key) -> Result<usize> {
        let behind = &self.text[key.span.end..];
        let rest = behind.trim_start_matches(' ');
        if !rest.starts_with(':') {
            return Err(unsupported("a key without a colon behind it"));
        }
        Ok(key.span.end + behind.len() - rest.len() + 1)
    }

    /// The whole lines that a stretch touches, with the end of the last.
    fn lines(&self, span: Span) -> Span {
        Span::new(self.line_start(span.start), self.line_break_end(self.line_end(span.end)))
    }

    fn line_start(&self, at: usize) -> usize {
        let start = self.text[..at].rfind(['\n', '\r']).map_or(0, |found| found + 1);
        if start == 0 && self.text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { start }
    }

    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find(['\n', '\r']).map_or(self.text.len(), |found| at + found)
    }

    fn line_break_end(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        at + if rest.starts_with("\r\n") { 2 } else { usize::from(!rest.is_empty()) }
    }

    fn is_first_on_line(&self, at: usize) -> bool {
        self.text[self.line_start(at)..at].trim().is_empty()
    }

    fn column(&self, at: usize) -> usize {
        self.text[self.line_start(at)..at].chars().count()
    }
}

/// The key that a path ends in, if it ends in one.
fn key_of<'n>(root: &'n Node, path: &[Step]) -> Option<&'n Key> {
    let (last, holder) = path.split_last()?;
    let (node, _) = root.descend(holder);
    match &node.shape {
        Shape::Map { entries, .. } => entries.get(node.position(last)?).map(|(key, _)| key),
        _ => None,
    }
}

/// The first comma that is not part of a comment.
fn comma(between: &str) -> Option<usize> {
    let mut comment = false;
    between.char_indices().find_map(|(at, c)| {
        match c {
            '\n' | '\r' => comment = false,
            '#' => comment = true,
            ',' if !comment => return Some(at),
            _ => {}
        }
        None
    })
}
