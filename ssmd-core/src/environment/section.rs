//! Reading one section: its keys against the table of fields, its values against their types. Every function
//! reports what is wrong and gives `None`; none of them stops at the first problem.

use super::codes::Code;
use super::node::{Key, Node, Value};
use super::problem::{Draft, Log, Span};
use super::schema;
use super::source::quote;
use super::vocabulary::{nearest, one_of};

/// A map whose keys have been checked.
pub(super) struct Section<'n, 't> {
    entries: &'n [(Key<'t>, Node<'t>)],
}

impl<'n, 't> Section<'n, 't> {
    /// Takes a map of the section `section`, which stands at `at` and is called `shown`.
    pub(super) fn open(
        node: &'n Node<'t>,
        section: &'static str,
        shown: &str,
        at: Span,
        log: &mut Log<'_>,
    ) -> Option<Self> {
        let entries = map(node, shown, log)?;
        // A key that is missing and one that nearly is it are one problem.
        let mut meant = Vec::new();
        for (key, _) in entries {
            if schema::fields(section).all(|field| field.key != key.text) {
                log.add(refused_key(key, section, shown, &mut meant));
            }
        }
        for field in schema::fields(section).filter(|field| field.default.is_none()) {
            let stands = entries.iter().any(|(key, _)| key.text == field.key);
            if !stands && !meant.contains(&field.key) {
                let message = format!("`{}` is missing in {shown}", field.key);
                let expected = format!("`{}: {}`", field.key, field.example);
                log.add(Draft::new(Code::MissingKey, at, message).expected(expected));
            }
        }
        Some(Self { entries })
    }

    /// The value of a key and where the key stands.
    pub(super) fn get(&self, key: &str) -> Option<(&'n Key<'t>, &'n Node<'t>)> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(key, node)| (key, node))
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &str) -> Option<&'n Node<'t>> {
        self.get(key).map(|(_, node)| node)
    }
}

fn refused_key(key: &Key<'_>, section: &'static str, shown: &str, meant: &mut Vec<&'static str>) -> Draft {
    if schema::is_later(section, &key.text) {
        return not_built(key, shown);
    }
    let known = || schema::fields(section).map(|field| field.key);
    let right = nearest(&key.text, known());
    meant.extend(right);
    let message = format!("unknown key {} in {shown}", quote(&key.text));
    Draft::new(Code::UnknownKey, key.span, message).expected(one_of(known())).nearest(right)
}

fn not_built(key: &Key<'_>, shown: &str) -> Draft {
    let message = format!("{} in {shown} is not built yet", quote(&key.text));
    Draft::new(Code::NotBuiltYet, key.span, message).expected("a document without it")
}

/// Reports a map where a later version has one: its known keys as not built yet, the rest as unknown.
pub(super) fn refuse_later(node: &Node<'_>, section: &'static str, shown: &str, log: &mut Log<'_>) {
    let entries = map(node, shown, log).unwrap_or_default();
    for (key, _) in entries {
        if schema::is_later(section, &key.text) {
            log.add(not_built(key, shown));
        } else {
            let known = || schema::LATER.iter().filter(|l| l.section == section).map(|l| l.key);
            let message = format!("unknown key {} in {shown}", quote(&key.text));
            log.add(Draft::new(Code::UnknownKey, key.span, message).nearest(nearest(&key.text, known())));
        }
    }
    if entries.is_empty() && !matches!(node.value, Value::Refused) {
        empty(node.span, shown, log);
    }
}

/// A map, empty ones included.
pub(super) fn map<'n, 't>(
    node: &'n Node<'t>,
    shown: &str,
    log: &mut Log<'_>,
) -> Option<&'n [(Key<'t>, Node<'t>)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        _ => wrong_type(node, shown, "a map", log),
    }
}

/// A list with something in it.
pub(super) fn list<'n, 't>(node: &'n Node<'t>, shown: &str, log: &mut Log<'_>) -> Option<&'n [Node<'t>]> {
    match &node.value {
        Value::List(items) if items.is_empty() => {
            empty(node.span, shown, log);
            None
        }
        Value::List(items) => Some(items),
        _ => wrong_type(node, shown, "a list", log),
    }
}

/// Text, empty text included.
pub(super) fn text<'n>(node: &'n Node<'_>, shown: &str, log: &mut Log<'_>) -> Option<&'n str> {
    node.text().or_else(|| wrong_type(node, shown, "text", log))
}

/// `true` or `false`, in these spellings.
pub(super) fn truth(node: &Node<'_>, shown: &str, log: &mut Log<'_>) -> Option<bool> {
    match node.plain() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => wrong_type(node, shown, "`true` or `false`", log),
    }
}

/// A whole number in decimal digits.
pub(super) fn number(node: &Node<'_>, shown: &str, log: &mut Log<'_>) -> Option<u32> {
    let digits =
        node.plain().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.map(str::parse) {
        Some(Ok(number)) => Some(number),
        _ => wrong_type(node, shown, "a whole number, such as `10`", log),
    }
}

/// Reports an empty list or map.
pub(super) fn empty(span: Span, shown: &str, log: &mut Log<'_>) {
    log.add(Draft::new(Code::Empty, span, format!("{shown} is empty")).expected("at least one"));
}

/// Reports that a value is of another type.
pub(super) fn wrong_type<T>(node: &Node<'_>, shown: &str, expected: &str, log: &mut Log<'_>) -> Option<T> {
    if !matches!(node.value, Value::Refused) {
        let found = node.what();
        let quotes = if expected == "text" && node.is_other_text() { ": put it in quotes" } else { "" };
        let message = format!("{shown} is {found}");
        log.add(Draft::new(Code::WrongType, node.span, message).expected(format!("{expected}{quotes}")));
    }
    None
}
