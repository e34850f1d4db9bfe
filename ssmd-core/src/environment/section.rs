//! Reading one section: its keys against the table of fields, its values against their types. Every function
//! reports what is wrong and gives `None`; none of them stops at the first problem. What is `None` because it is
//! wrong and what is `None` because it is not there need not be told apart: a document with one problem gives no
//! environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::codes::Code;
use super::fields;
use super::node::{Key, Node, Value};
use super::problem::{Draft, Log, Span};
use super::schema::{Field, Type};
use super::source::quote;
use super::spec::TimeOfDay;
use super::url::{self, UrlFault};
use super::values::{self, Fault, Read};
use super::vocabulary::{nearest, one_of};
use crate::{Decimal, Timestamp};

/// A map whose keys have been checked.
pub(super) struct Section<'n, 't> {
    entries: &'n [(Key<'t>, Node<'t>)],
    section: &'static str,
    path: String,
    span: Span,
}

impl<'n, 't> Section<'n, 't> {
    /// Takes a map of the section `section`, which is called `path` and is asked for at `at`. The document itself
    /// has the empty path.
    pub(super) fn open(
        node: &'n Node<'t>,
        section: &'static str,
        path: &str,
        at: Span,
        log: &mut Log<'_>,
    ) -> Option<Self> {
        let shown = if path.is_empty() { "the document".to_owned() } else { format!("`{path}`") };
        let entries = map(node, &shown, log)?;
        // A key that is missing and one that nearly is it are one problem.
        let mut meant = Vec::new();
        for (key, _) in entries {
            match fields::find(section, &key.text) {
                Some(field) if field.later => log.note(not_built(key, &shown)),
                Some(_) => {}
                None => log.add(refused_key(key, section, &shown, &mut meant)),
            }
        }
        for field in fields::fields(section).filter(|field| field.default.is_none()) {
            let stands = entries.iter().any(|(key, _)| key.text == field.key);
            if !stands && !meant.contains(&field.key) {
                let message = format!("`{}` is missing in {shown}", field.key);
                let expected = format!("`{}: {}`", field.key, field.example);
                log.add(Draft::new(Code::MissingKey, at, message).expected(expected));
            }
        }
        Some(Self { entries, section, path: path.to_owned(), span: at })
    }

    /// The value of a key and where the key stands.
    pub(super) fn get(&self, key: &str) -> Option<(&'n Key<'t>, &'n Node<'t>)> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(key, node)| (key, node))
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &str) -> Option<&'n Node<'t>> {
        self.get(key).map(|(_, node)| node)
    }

    /// Whether a key stands there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether there is no key at all.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Its keys, as they stand there.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.text.as_ref())
    }

    /// Whether an unknown key nearly is this one: then that is the problem.
    pub(super) fn nearly(&self, key: &str) -> bool {
        let unknown = self.keys().filter(|found| fields::find(self.section, found).is_none());
        let known = || fields::fields(self.section).map(|field| field.key);
        unknown.into_iter().any(|found| nearest(found, known()) == Some(key))
    }

    /// Where the section is asked for.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// The whole path of a key, bare.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The whole path of a key, for messages.
    pub(super) fn shown(&self, key: &str) -> String {
        format!("`{}`", self.path(key))
    }

    /// Reports two keys of which one says what the other says.
    pub(super) fn exclude(&self, key: &str, other: &str, log: &mut Log<'_>) {
        if let (Some((key, _)), true) = (self.get(key), self.has(other)) {
            let message = format!("{} stands beside {}", self.shown(&key.text), self.shown(other));
            log.add(Draft::new(Code::Conflict, key.span, message).expected("one of the two"));
        }
    }

    /// Reports a key that means nothing without another.
    pub(super) fn require(&self, key: &str, other: &str, log: &mut Log<'_>) {
        if let (Some((key, _)), false) = (self.get(key), self.has(other)) {
            let message = format!("{} stands without {}", self.shown(&key.text), self.shown(other));
            log.add(Draft::new(Code::Conflict, key.span, message).expected(format!("`{other}` beside it")));
        }
    }

    /// A section below a key.
    pub(super) fn section(&self, key: &str, log: &mut Log<'_>) -> Option<Section<'n, 't>> {
        let (at, node) = self.get(key)?;
        let section = sections(&fields::find(self.section, key)?.kind)?;
        Self::open(node, section, &self.path(key), at.span, log)
    }

    /// The sections of a list below a key.
    pub(super) fn sections(&self, key: &str, log: &mut Log<'_>) -> Vec<Section<'n, 't>> {
        let Some((_, node)) = self.get(key) else { return Vec::new() };
        let Some(section) = fields::find(self.section, key).and_then(|field| sections(&field.kind)) else {
            return Vec::new();
        };
        let items = list(node, &self.shown(key), log).unwrap_or_default();
        let mut open = |(at, item): (usize, &'n Node<'t>)| {
            Self::open(item, section, &format!("{}[{at}]", self.path(key)), item.span, log)
        };
        items.iter().enumerate().filter_map(&mut open).collect()
    }

    /// Whether `key` is `word` as text, where a section could stand too.
    pub(super) fn is_word(&self, key: &str, word: &str, code: Code, log: &mut Log<'_>) -> bool {
        let Some(node) = self.value(key) else { return false };
        if matches!(node.value, Value::Map(_)) {
            return false;
        }
        if let Some(found) = text(node, &self.shown(key), log).filter(|found| *found != word) {
            let forms = fields::find(self.section, key)
                .and_then(|field| sections(&field.kind))
                .map(|section| fields::fields(section).map(|field| field.key).collect::<Vec<_>>());
            let forms = forms.unwrap_or_default();
            let maps = forms.iter().map(|form| format!("{{ {form}: … }}"));
            let draft = Draft::new(code, node.span, format!("unknown {} {}", last(key), quote(found)));
            let expected = one_of(std::iter::once(word.to_owned()).chain(maps));
            log.add(draft.expected(expected).nearest(nearest(found, [word])));
        }
        true
    }

    fn kind(&self, key: &str) -> Option<&'static Type> {
        fields::find(self.section, key).map(|field: &'static Field| &field.kind)
    }

    /// A scalar as `read` reads it.
    fn parsed<T>(&self, key: &str, log: &mut Log<'_>, read: impl Fn(&str) -> Read<T>) -> Option<T> {
        let node = self.value(key)?;
        let shown = self.shown(key);
        let expected = self.kind(key)?.to_string();
        let text = node.text().or_else(|| wrong_type(node, &shown, &expected, log))?;
        reported(read(text), node, &shown, log)
    }

    /// A number as `read` reads it: with or without quotes.
    fn number<T>(&self, key: &str, log: &mut Log<'_>, read: impl Fn(&str) -> Read<T>) -> Option<T> {
        let node = self.value(key)?;
        let shown = self.shown(key);
        let text = node.plain().filter(|_| node.what() == "a number").or_else(|| node.text());
        let expected = self.kind(key)?.to_string();
        let text = text.or_else(|| wrong_type(node, &shown, &expected, log))?;
        reported(read(text), node, &shown, log)
    }

    /// Text for people.
    pub(super) fn text(&self, key: &str, log: &mut Log<'_>) -> Option<String> {
        let Some(Type::Text(most)) = self.kind(key) else { return None };
        self.parsed(key, log, |text| values::text(text, *most))
    }

    /// A lower-case name.
    pub(super) fn name(&self, key: &str, log: &mut Log<'_>) -> Option<String> {
        self.parsed(key, log, values::name)
    }

    /// What another system calls something.
    pub(super) fn id(&self, key: &str, log: &mut Log<'_>) -> Option<String> {
        self.parsed(key, log, values::id)
    }

    /// A duration.
    pub(super) fn duration(&self, key: &str, log: &mut Log<'_>) -> Option<Duration> {
        self.parsed(key, log, values::duration)
    }

    /// A time of day.
    pub(super) fn time_of_day(&self, key: &str, log: &mut Log<'_>) -> Option<TimeOfDay> {
        self.parsed(key, log, values::time_of_day)
    }

    /// A time zone.
    pub(super) fn zone(&self, key: &str, log: &mut Log<'_>) -> Option<String> {
        self.parsed(key, log, values::zone)
    }

    /// A moment.
    pub(super) fn moment(&self, key: &str, log: &mut Log<'_>) -> Option<Timestamp> {
        self.parsed(key, log, values::moment)
    }

    /// Where to listen.
    pub(super) fn listen(&self, key: &str, log: &mut Log<'_>) -> Option<SocketAddr> {
        self.parsed(key, log, values::listen)
    }

    /// A size in bytes.
    pub(super) fn bytes(&self, key: &str, log: &mut Log<'_>) -> Option<u64> {
        self.number(key, log, values::bytes)
    }

    /// An exact number.
    pub(super) fn decimal(&self, key: &str, log: &mut Log<'_>) -> Option<Decimal> {
        self.number(key, log, values::decimal)
    }

    /// `true` or `false`.
    pub(super) fn truth(&self, key: &str, log: &mut Log<'_>) -> Option<bool> {
        truth(self.value(key)?, &self.shown(key), log)
    }

    /// A whole number in the range of its type.
    pub(super) fn whole<T: TryFrom<u64>>(&self, key: &str, log: &mut Log<'_>) -> Option<T> {
        let Some(Type::Whole(least, most)) = self.kind(key) else { return None };
        let number = whole(self.value(key)?, &self.shown(key), (*least, *most), log)?;
        T::try_from(number).ok()
    }

    /// Days to keep something; `Some(None)` is for ever.
    pub(super) fn days(&self, key: &str, log: &mut Log<'_>) -> Option<Option<u32>> {
        let node = self.value(key)?;
        match node.plain() {
            Some("-1") => Some(None),
            _ => whole(node, &self.shown(key), (1, 36_500), log).map(|days| u32::try_from(days).ok()),
        }
    }

    /// One of the words of its type.
    pub(super) fn word(&self, key: &str, log: &mut Log<'_>) -> Option<&'static str> {
        let Some(Type::Word(words)) = self.kind(key) else { return None };
        word(self.value(key)?, &self.shown(key), words, log)
    }

    /// The words of a list.
    pub(super) fn words(
        &self,
        key: &str,
        words: &[&'static str],
        log: &mut Log<'_>,
    ) -> Option<Vec<&'static str>> {
        let shown = format!("an item of {}", self.shown(key));
        let mut found = Vec::new();
        for item in list(self.value(key)?, &self.shown(key), log)? {
            match word(item, &shown, words, log) {
                Some(again) if found.contains(&again) => {
                    let message = format!("`{again}` stands twice in {}", self.shown(key));
                    log.add(Draft::new(Code::Duplicate, item.span, message).expected("each once"));
                }
                word => found.extend(word),
            }
        }
        Some(found)
    }

    /// Names with text.
    pub(super) fn texts(&self, key: &str, log: &mut Log<'_>) -> BTreeMap<String, String> {
        let Some(Type::MapOf(Type::Text(most))) = self.kind(key) else { return BTreeMap::new() };
        let Some(node) = self.value(key) else { return BTreeMap::new() };
        let mut texts = BTreeMap::new();
        for (name, node) in map(node, &self.shown(key), log).unwrap_or_default() {
            let shown = format!("{} of {}", quote(&name.text), self.shown(key));
            let read = text(node, &shown, log).map(|text| values::text(text, *most));
            if let Some(text) = read.and_then(|read| reported(read, node, &shown, log)) {
                texts.insert(name.text.clone().into_owned(), text);
            }
        }
        texts
    }

    /// An address with one of the schemes of its type; those in `open` only to this machine.
    pub(super) fn address(&self, key: &str, open: &[&str], log: &mut Log<'_>) -> Option<String> {
        let schemes = match self.kind(key)? {
            Type::Address(schemes) => schemes.to_vec(),
            Type::AnyOf(types) => types
                .iter()
                .flat_map(|kind| if let Type::Address(schemes) = kind { *schemes } else { &[] })
                .copied()
                .collect(),
            _ => return None,
        };
        address(self.value(key)?, &self.shown(key), &schemes, open, log)
    }
}

/// Reads an address; `open` are the schemes that are for this machine only.
pub(super) fn address(
    node: &Node<'_>,
    shown: &str,
    schemes: &[&str],
    open: &[&str],
    log: &mut Log<'_>,
) -> Option<String> {
    let text = text(node, shown, log)?;
    let expected = |schemes: &mut dyn Iterator<Item = &&str>| {
        one_of(schemes.map(|scheme| format!("{scheme}://host")).collect::<Vec<_>>())
    };
    let draft = match url::check(text, schemes, open) {
        Ok(()) => return Some(text.to_owned()),
        Err(UrlFault::Form(why)) => {
            if text.contains('@') {
                node.hide(log);
            }
            Draft::new(Code::Url, node.span, format!("{shown} is not an address: {why}"))
                .expected(expected(&mut schemes.iter()))
        }
        Err(UrlFault::Plaintext(scheme)) => {
            let message = format!("{shown} is `{scheme}://` to another machine");
            let secure = expected(&mut schemes.iter().filter(|scheme| !open.contains(scheme)));
            Draft::new(Code::Plaintext, node.span, message).expected(secure)
        }
    };
    log.add(draft);
    None
}

/// The section that a type holds, itself or in a list.
fn sections(kind: &Type) -> Option<&'static str> {
    match kind {
        Type::Section(section) | Type::ListOf(Type::Section(section)) => Some(section),
        Type::AnyOf(kinds) => kinds.iter().find_map(sections),
        _ => None,
    }
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// What was read, or a problem that says why not.
pub(super) fn reported<T>(read: Read<T>, node: &Node<'_>, shown: &str, log: &mut Log<'_>) -> Option<T> {
    read.map_err(|Fault { code, why, expected, nearest }| {
        let draft = Draft::new(code, node.span, format!("{shown} {why}"));
        log.add(draft.expected(expected).nearest(nearest.as_deref()));
    })
    .ok()
}

fn refused_key(key: &Key<'_>, section: &'static str, shown: &str, meant: &mut Vec<&'static str>) -> Draft {
    if fields::is_later(section, &key.text) {
        return not_built(key, shown);
    }
    let known = || fields::fields(section).map(|field| field.key);
    let right = nearest(&key.text, known());
    meant.extend(right);
    let message = format!("unknown key {} in {shown}", quote(&key.text));
    Draft::new(Code::UnknownKey, key.span, message).expected(one_of(known())).nearest(right)
}

fn not_built(key: &Key<'_>, shown: &str) -> Draft {
    let message = format!("{} in {shown} is not built yet", quote(&key.text));
    Draft::new(Code::NotBuiltYet, key.span, message).expected("a document without it")
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

/// One of these words.
pub(super) fn word(
    node: &Node<'_>,
    shown: &str,
    words: &[&'static str],
    log: &mut Log<'_>,
) -> Option<&'static str> {
    let found = text(node, shown, log)?;
    let word = words.iter().find(|word| **word == found).copied();
    if word.is_none() {
        let draft = Draft::new(Code::Word, node.span, format!("{shown} is {}", quote(found)));
        log.add(draft.expected(one_of(words)).nearest(nearest(found, words.iter().copied())));
    }
    word
}

/// `true` or `false`, in these spellings.
pub(super) fn truth(node: &Node<'_>, shown: &str, log: &mut Log<'_>) -> Option<bool> {
    match node.plain() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => wrong_type(node, shown, "`true` or `false`", log),
    }
}

/// A whole number in decimal digits, from the first to the second of `range`.
pub(super) fn whole(
    node: &Node<'_>,
    shown: &str,
    (least, most): (u64, u64),
    log: &mut Log<'_>,
) -> Option<u64> {
    let is_whole = |text: &&str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let Some(text) = node.plain().filter(is_whole) else {
        return wrong_type(node, shown, "a whole number, such as `10`", log);
    };
    match text.parse().ok().filter(|number| (least..=most).contains(number)) {
        Some(number) => Some(number),
        None => {
            let draft = Draft::new(Code::Range, node.span, format!("{shown} is {}", quote(text)));
            log.add(draft.expected(format!("{least} to {most}")));
            None
        }
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
