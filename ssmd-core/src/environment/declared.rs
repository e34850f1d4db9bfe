//! What an environment declares, as a tree without places in bytes: for showing, comparing and editing.

use std::fmt::Write as _;

use super::edit::{Value as Edited, render};
use super::fields::FIELDS;
use super::node::{self, Node, plain_type};
use super::sources::Sources;

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The value.
    pub value: DeclaredValue,
    /// Where it stands; `None` for a default, which stands nowhere.
    pub place: Option<SourceLine>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredValue {
    /// Text, a number or a truth; for a default also words about it, such as "the venue's own".
    Scalar {
        /// As it is meant, without quotes.
        text: String,
        /// Whether it is text, and no number or truth.
        is_text: bool,
    },
    /// A list.
    List(Vec<Declared>),
    /// A map, in the order of the document.
    Map(Vec<(String, Declared)>),
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The document's number in [`Resolved::documents`](super::Resolved).
    pub document: usize,
    /// The line, from 1.
    pub line: usize,
}

/// One value that is not itself made of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its path, `.` between the keys.
    pub path: String,
    /// The value on one line, as a document could have it.
    pub value: String,
    /// Where it stands; `None` for a default.
    pub place: Option<SourceLine>,
}

impl Declared {
    pub(super) fn of(root: &Node<'_>, sources: &Sources) -> Self {
        let mut declared = convert(root, sources);
        add_defaults(&mut declared, "");
        declared
    }

    /// The value at a path of keys.
    pub fn get(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |at, key| at.entries().iter().find(|(found, _)| found == key).map(|(_, v)| v))
    }

    /// Its keys and their values; none if it is no map.
    pub fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            DeclaredValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Its items; none if it is no list.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            DeclaredValue::List(items) => items,
            _ => &[],
        }
    }

    /// Its text, if it is a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            DeclaredValue::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The name of a list's item: its text, or what it has under `name` or `client_id`.
    pub fn name(&self) -> Option<&str> {
        self.text().or_else(|| ["name", "client_id"].iter().find_map(|key| self.get(&[key])?.text()))
    }

    /// The value as an edit can write it, without defaults.
    pub fn to_value(&self) -> Edited {
        match &self.value {
            DeclaredValue::Scalar { text, is_text: true } => Edited::Text(text.clone()),
            DeclaredValue::Scalar { text, .. } => Edited::Word(text.clone()),
            DeclaredValue::List(items) => Edited::List(items.iter().map(Self::to_value).collect()),
            DeclaredValue::Map(entries) => Edited::Map(
                entries
                    .iter()
                    .filter(|(_, value)| value.place.is_some())
                    .map(|(key, value)| (key.clone(), value.to_value()))
                    .collect(),
            ),
        }
    }

    /// The value on one line. A default is told in words.
    pub fn shown(&self) -> String {
        match (&self.value, self.place) {
            (DeclaredValue::Scalar { text, .. }, None) => text.clone(),
            _ => render(&self.to_value()),
        }
    }

    /// Every value with its path, in the order of the document. Lists of plain values are one value.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        self.collect(&mut String::new(), &mut settings);
        settings
    }

    fn collect(&self, path: &mut String, settings: &mut Vec<Setting>) {
        let length = path.len();
        match &self.value {
            DeclaredValue::Map(entries) if !self.is_secret() => {
                for (key, value) in entries {
                    path.push_str(if length == 0 { "" } else { "." });
                    path.push_str(key);
                    value.collect(path, settings);
                    path.truncate(length);
                }
            }
            DeclaredValue::List(items) if items.iter().any(|item| item.text().is_none()) => {
                for (at, item) in items.iter().enumerate() {
                    // A name stands for itself: its place in the list means nothing.
                    let _ = match item.name() {
                        Some(name) => write!(path, "[{name}]"),
                        None => write!(path, "[{at}]"),
                    };
                    match item.text() {
                        Some(_) => settings.push(item.setting(path)),
                        None => item.collect(path, settings),
                    }
                    path.truncate(length);
                }
            }
            _ => settings.push(self.setting(path)),
        }
    }

    fn setting(&self, path: &str) -> Setting {
        Setting { path: path.to_owned(), value: self.shown(), place: self.place }
    }

    /// Whether this is `{ env: X }`, `{ file: X }` or `{ secret: X }`: one value, not a section.
    fn is_secret(&self) -> bool {
        matches!(self.entries(), [(key, value)] if matches!(key.as_str(), "env" | "file" | "secret") && value.text().is_some())
    }
}

fn convert(node: &Node<'_>, sources: &Sources) -> Declared {
    let value = match &node.value {
        node::Value::Scalar { text, plain } => DeclaredValue::Scalar {
            text: text.clone().into_owned(),
            is_text: !plain || plain_type(text) == "text",
        },
        node::Value::List(items) => {
            DeclaredValue::List(items.iter().map(|item| convert(item, sources)).collect())
        }
        node::Value::Map(entries) => DeclaredValue::Map(
            entries
                .iter()
                .map(|(key, node)| {
                    let mut value = convert(node, sources);
                    // A section stands where its key stands.
                    if !matches!(value.value, DeclaredValue::Scalar { .. }) {
                        value.place = Some(place(key.span.start, sources));
                    }
                    (key.text.clone().into_owned(), value)
                })
                .collect(),
        ),
        node::Value::Refused => DeclaredValue::Map(Vec::new()),
    };
    Declared { value, place: Some(place(node.span.start, sources)) }
}

fn place(at: usize, sources: &Sources) -> SourceLine {
    let (source, base) = sources.of(at);
    SourceLine { document: sources.number(at), line: source.line(at - base) }
}

/// Adds what holds where a section says nothing, as the table of fields has it.
fn add_defaults(declared: &mut Declared, section: &str) {
    let DeclaredValue::Map(entries) = &mut declared.value else { return };
    for field in FIELDS.iter().filter(|field| field.section == section) {
        let Some(default) = field.default.filter(|default| !default.starts_with("none")) else { continue };
        if entries.iter().all(|(key, _)| key != field.key) {
            let text = literal(default).unwrap_or(default).to_owned();
            let value = DeclaredValue::Scalar { text, is_text: true };
            entries.push((field.key.to_owned(), Declared { value, place: None }));
        }
    }
    for (key, value) in entries {
        let inner = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        add_defaults(value, known_section(&inner, section));
    }
}

/// A default that is a value, and no words about one.
fn literal(default: &str) -> Option<&str> {
    let value = default.strip_prefix('`')?.strip_suffix('`')?;
    (!value.contains('`')).then_some(value)
}

/// The section's name in the table, where it may stand for any key: `spec.feeds.<feed>`.
fn known_section<'s>(inner: &'s str, outer: &str) -> &'s str {
    if FIELDS.iter().any(|field| field.section == inner) {
        return inner;
    }
    let any = |section: &'static str| {
        let rest = section.strip_prefix(outer)?.strip_prefix('.')?;
        (rest.starts_with('<') && rest.ends_with('>') && !rest.contains('.')).then_some(section)
    };
    FIELDS.iter().find_map(|field| any(field.section)).unwrap_or(inner)
}
