//! YAML to a tree, without what YAML can do beyond maps, lists and scalars: anchors, aliases, tags, several
//! documents. Iterative, so that no nesting can exhaust the stack.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::codes::Code;
use super::fields::is_secret;
use super::node::{Key, Node, Value};
use super::problem::{Draft, Log, Span};
use super::source::{Source, quote};

/// How deep maps and lists may nest. The deepest place of a document that means something is 6.
pub const NESTING_MAX: usize = 32;

/// Reads the one root of a document that begins at `base`. `None` if there is none, or if what follows cannot be
/// read.
pub(super) fn parse<'t>(source: &'t Source, base: usize, log: &mut Log<'_>) -> Option<Node<'t>> {
    let offsets = Offsets::new(source, base);
    let mut builder = Builder { open: Vec::new(), root: None, documents: 0 };
    for event in Parser::new_from_str(source.text()) {
        let (event, span) = match event {
            Ok((event, span)) => (event, offsets.span(span)),
            Err(fault) => {
                if builder.is_in_keys() {
                    // What stands there cannot be told from a secret.
                    log.hide(Span::new(0, usize::MAX));
                }
                log.add(syntax_draft(&fault, &offsets));
                return None;
            }
        };
        if !builder.take(event, span, log) {
            return None;
        }
    }
    if builder.root.is_none() {
        let message = "the document is empty";
        let start = Span::new(base, base);
        log.add(Draft::new(Code::OneDocument, start, message).expected("`apiVersion: ssmd/v1`"));
    }
    builder.root
}

fn syntax_draft(fault: &ScanError, offsets: &Offsets<'_>) -> Draft {
    let at = offsets.byte(fault.marker().index());
    let span = Span::new(at, at + 1);
    // The parser's own bound, which it reaches before it shows the first of nested brackets.
    if fault.info() == "recursion limit exceeded" {
        return too_deep(span);
    }
    if fault.info().contains("anchor") {
        let message = "`&` and `*` start an anchor and an alias here";
        return Draft::new(Code::Alias, span, message).expected("quotes around text that starts so: `\"*\"`");
    }
    Draft::new(Code::Syntax, span, format!("not YAML: {}", fault.info()))
}

fn too_deep(span: Span) -> Draft {
    Draft::new(Code::TooDeep, span, format!("nested deeper than {NESTING_MAX} levels"))
}

/// Turns the parser's offsets, which count characters, into bytes.
pub(super) struct Offsets<'t> {
    text: &'t str,
    start: usize,
    /// The byte of every [`Offsets::STEP`]th character; empty if characters are bytes.
    steps: Vec<usize>,
}

impl<'t> Offsets<'t> {
    const STEP: usize = 64;

    pub(super) fn new(source: &'t Source, base: usize) -> Self {
        let text = source.text();
        let steps = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().step_by(Self::STEP).map(|(at, _)| at).collect(),
        };
        Self { text, start: base + source.start(), steps }
    }

    fn byte(&self, index: usize) -> usize {
        let at = if self.steps.is_empty() {
            index
        } else {
            match self.steps.get(index / Self::STEP) {
                Some(&near) => {
                    let rest = &self.text[near..];
                    let skipped = rest.char_indices().nth(index % Self::STEP);
                    near + skipped.map_or(rest.len(), |(at, _)| at)
                }
                None => self.text.len(),
            }
        };
        self.start + at.min(self.text.len())
    }

    /// In the document, without the white space that the parser counts to the end of some nodes.
    pub(super) fn span(&self, span: saphyr_parser::Span) -> Span {
        let (start, end) = (self.byte(span.start.index()), self.byte(span.end.index()));
        let shown = self.text[start - self.start..end.max(start) - self.start].trim_end();
        Span::new(start, start + shown.len())
    }
}

/// A map or a list that is not closed yet.
enum Open<'t> {
    List {
        span: Span,
        items: Vec<Node<'t>>,
    },
    Map {
        span: Span,
        entries: Vec<(Key<'t>, Node<'t>)>,
        seen: HashMap<Cow<'t, str>, usize>,
        key: Pending<'t>,
    },
}

/// The key whose value comes next.
enum Pending<'t> {
    /// The next node is a key.
    None,
    /// The next node is this key's value.
    Key(Key<'t>),
    /// The next node is the value of a key that was refused.
    Refused(Cow<'t, str>),
}

struct Builder<'t> {
    open: Vec<Open<'t>>,
    root: Option<Node<'t>>,
    documents: usize,
}

impl<'t> Builder<'t> {
    /// Takes the next event; `false` if nothing behind it can be read.
    fn take(&mut self, event: Event<'t>, span: Span, log: &mut Log<'_>) -> bool {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document in one file";
                    log.add(Draft::new(Code::OneDocument, span, message).expected("one document a file"));
                    return false;
                }
            }
            Event::Alias(_) => {
                log.add(Draft::new(Code::Alias, span, "an alias").expected("the value itself"));
                self.put(Node { value: Value::Refused, span }, log);
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_properties(anchor, tag.is_some(), span, log);
                let value = Value::Scalar { text, plain: style == ScalarStyle::Plain };
                self.put(Node { value, span }, log);
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_properties(anchor, tag.is_some(), span, log);
                self.open.push(Open::List { span, items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                refuse_properties(anchor, tag.is_some(), span, log);
                let (entries, seen, key) = (Vec::new(), HashMap::new(), Pending::None);
                self.open.push(Open::Map { span, entries, seen, key });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(log),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        if self.open.len() > NESTING_MAX {
            log.add(too_deep(span));
            return false;
        }
        true
    }

    fn close(&mut self, log: &mut Log<'_>) {
        let node = match self.open.pop() {
            Some(Open::List { span, items }) => Node { value: Value::List(items), span },
            Some(Open::Map { span, entries, .. }) => Node { value: Value::Map(entries), span },
            None => return,
        };
        self.put(node, log);
    }

    /// Puts a finished node where it belongs: the root, a list's next item, a key or a key's value.
    fn put(&mut self, node: Node<'t>, log: &mut Log<'_>) {
        let refused = match self.open.last_mut() {
            None => return self.root = Some(node),
            Some(Open::List { items, .. }) => return items.push(node),
            Some(Open::Map { entries, seen, key, .. }) => match std::mem::replace(key, Pending::None) {
                Pending::None => return *key = take_key(node, seen, log),
                Pending::Key(key) => {
                    // An empty block has no place of its own: the parser gives it that of what comes next.
                    let block =
                        matches!(&node.value, Value::Scalar { text, plain: false } if text.is_empty());
                    let node = match block && node.span.start >= node.span.end {
                        true => Node { span: key.span, ..node },
                        false => node,
                    };
                    return entries.push((key, node));
                }
                Pending::Refused(key) => key,
            },
        };
        // A credential that stands twice is one all the same.
        if is_secret(&refused) || self.is_in_keys() {
            node.hide(log);
        }
    }

    /// Whether what comes next stands somewhere under a key of secrets.
    fn is_in_keys(&self) -> bool {
        self.open.iter().any(
            |open| matches!(open, Open::Map { key: Pending::Key(Key { text, .. }), .. } if is_secret(text)),
        )
    }
}

fn take_key<'t>(node: Node<'t>, seen: &mut HashMap<Cow<'t, str>, usize>, log: &mut Log<'_>) -> Pending<'t> {
    let span = node.span;
    let text = match node.value {
        Value::Scalar { text, .. } => text,
        Value::Refused => return Pending::Refused(Cow::Borrowed("")),
        Value::List(_) | Value::Map(_) => {
            log.add(Draft::new(Code::Key, span, "a key that is not text").expected("a word and a colon"));
            return Pending::Refused(Cow::Borrowed(""));
        }
    };
    if let Some(first) = seen.get(&text) {
        let message = format!("key {} stands twice, first on line {}", quote(&text), log.line(*first));
        log.add(Draft::new(Code::DuplicateKey, span, message).expected("each key once"));
        return Pending::Refused(text);
    }
    seen.insert(text.clone(), span.start);
    Pending::Key(Key { text, span })
}

fn refuse_properties(anchor: usize, tagged: bool, span: Span, log: &mut Log<'_>) {
    if anchor != 0 {
        log.add(Draft::new(Code::Alias, span, "an anchor on this value").expected("a value without `&`"));
    }
    if tagged {
        log.add(Draft::new(Code::Tag, span, "a tag on this value").expected("a value without `!`"));
    }
}
