//! Environments that extend another: which documents make one environment, and how they become one tree.
//!
//! Maps merge key by key, everything else replaces: a list stands for the whole list. `null` takes away what the
//! extended document has there. The name is never inherited: two environments of one name would share subjects.
//! Reads no file: whoever calls brings what finds documents.

use super::codes::Code;
use super::declared::Declared;
use super::node::{Key, Node, Value};
use super::problem::{Draft, Log, Problems, Span};
use super::read;
use super::source::quote;
use super::sources::Sources;
use super::tree;
use super::vocabulary::Vocabulary;
use super::{API_VERSION, Checked, Environment, KIND};
use crate::{Error, ErrorKind, Result};

/// How many documents may make one environment. Each is read twice, and nobody can follow more.
pub const EXTENDS_MAX: usize = 8;

/// The key.
const EXTENDS: &str = "extends";

/// The text of a document and what it is called.
#[derive(Clone, Debug)]
pub struct Document {
    /// What messages call it: a path as the user wrote it.
    pub name: String,
    /// The same for two documents that are one: a canonical path.
    pub id: String,
    /// What it says.
    pub text: Vec<u8>,
}

impl Document {
    /// A document that no other one can extend.
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        let name = name.into();
        Self { id: name.clone(), name, text: text.into() }
    }
}

/// Finds the document that another one extends: what `extends` says, and the document that says it.
pub type Find<'f> = dyn FnMut(&str, &Document) -> Result<Document> + 'f;

/// An environment, checked, with everything that its documents declare and where each value stands.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What it means.
    pub environment: Environment,
    /// What is declared, defaults included.
    pub declared: Declared,
    /// Every place where it asks for what is not built yet.
    pub later: Problems,
    /// The documents it is made of, the one that was asked for first, then what each extends.
    pub documents: Vec<String>,
}

impl Resolved {
    /// Reads a document and those that it extends, and checks all of it.
    ///
    /// # Errors
    /// Everything that is wrong, each problem with the document that it stands in.
    pub fn read(document: Document, words: &Vocabulary, find: &mut Find<'_>) -> Result<Self, Problems> {
        let (sources, faults) = gather(document, find);
        let mut log = Log::new(&sources);
        let complete = faults.is_empty();
        faults.into_iter().for_each(|fault| log.add(fault));
        // What could not be read says nothing, so nothing can be missing in what it makes.
        let Some(root) = complete.then(|| root(&sources, &mut log)).flatten() else {
            return Err(log.finish().0);
        };
        match read::root(&root, words, &mut log) {
            Some(environment) if log.is_empty() => Ok(Self {
                environment,
                declared: Declared::of(&root, &sources),
                later: log.finish().1,
                documents: sources.names().map(str::to_owned).collect(),
            }),
            _ => Err(log.finish().0),
        }
    }

    /// What it means, and what of it is not built yet.
    pub fn checked(self) -> Checked {
        Checked { environment: self.environment, later: self.later }
    }
}

/// What [`Environment::parse`] finds: it is given one document, and there are no others.
pub(super) fn alone(_: &str, _: &Document) -> Result<Document> {
    Err(Error::new(ErrorKind::Unsupported, "find document").detail("this one was read without its folder"))
}

/// Every document that makes the environment, or why there is one that cannot be had.
pub(super) fn gather(first: Document, find: &mut Find<'_>) -> (Sources, Vec<Draft>) {
    let mut sources = Sources::default();
    let mut seen: Vec<Document> = Vec::new();
    let mut next = first;
    loop {
        let (number, faults) = sources.add(&next.name, &next.text);
        if !faults.is_empty() {
            return (sources, faults);
        }
        next.text = Vec::new();
        seen.push(next);
        let Some((reference, span)) = reference(&sources, number) else { return (sources, Vec::new()) };
        let document = &seen[number];
        let fault = match find(&reference, document) {
            Err(error) => Err(error.to_string()),
            Ok(found) => match seen.iter().position(|document| document.id == found.id) {
                Some(at) => {
                    let names = seen[at..].iter().map(|document| document.name.as_str());
                    let circle: Vec<_> = names.chain([seen[at].name.as_str()]).collect();
                    Err(format!("a circle: {}", circle.join(" → ")))
                }
                None if seen.len() == EXTENDS_MAX => Err(format!("more than {EXTENDS_MAX} documents")),
                None => Ok(found),
            },
        };
        next = match fault {
            Ok(found) => found,
            Err(why) => {
                let message = format!("{} cannot be extended: {why}", quote(&reference));
                let expected = "the path of a document, or the name of one beside this";
                return (sources, vec![Draft::new(Code::Extends, span, message).expected(expected)]);
            }
        };
    }
}

/// What a document says it extends, and where. What else is wrong with it is said when it is read.
fn reference(sources: &Sources, number: usize) -> Option<(String, Span)> {
    let (source, base) = sources.get(number);
    if !source.text().contains(EXTENDS) {
        return None;
    }
    let root = tree::parse(source, base, &mut Log::new(sources))?;
    let Value::Map(entries) = &root.value else { return None };
    let (_, node) = entries.iter().find(|(key, _)| key.text == EXTENDS)?;
    Some((node.text()?.to_owned(), node.span))
}

/// The one tree of all documents; `None` if one of them cannot be read.
pub(super) fn root<'s>(sources: &'s Sources, log: &mut Log<'_>) -> Option<Node<'s>> {
    let parse = |number| {
        let (source, base) = sources.get(number);
        tree::parse(source, base, log)
    };
    // Each is parsed before one missing makes the whole `None`.
    let roots: Vec<_> = (0..sources.count()).map(parse).collect();
    let roots: Option<Vec<_>> = roots.into_iter().collect();
    // From the bottom up: a chain reads as if the last but one had been written whole.
    roots?.into_iter().rev().reduce(|base, top| merge_root(top, base))
}

/// One tree of two, without what belongs to a document alone.
fn merge_root<'t>(mut top: Node<'t>, mut base: Node<'t>) -> Node<'t> {
    if let (Value::Map(entries), Value::Map(base)) = (&mut top.value, &mut base.value) {
        base.retain(|(key, _)| key.text != EXTENDS);
        base.retain_mut(|(key, node)| key.text != "metadata" || has_more_than_a_name(node));
        // A document of another version does not mean what this one means, whatever is laid over it.
        for (key, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            if base.iter().any(|(found, node)| found.text == key && node.text() != Some(expected)) {
                entries.retain(|(found, _)| found.text != key);
            }
        }
    }
    merge(top, base)
}

/// Takes the name out of `metadata`; whether there is anything else.
fn has_more_than_a_name(metadata: &mut Node<'_>) -> bool {
    let Value::Map(entries) = &mut metadata.value else { return true };
    entries.retain(|(key, _)| key.text != "name");
    !entries.is_empty()
}

/// As deep as a document may nest, so the stack suffices.
fn merge<'t>(top: Node<'t>, base: Node<'t>) -> Node<'t> {
    match (top.value, base.value) {
        (Value::Map(over), Value::Map(under)) => {
            Node { value: Value::Map(merge_entries(over, under)), span: top.span }
        }
        (value, _) => Node { value, span: top.span },
    }
}

type Entries<'t> = Vec<(Key<'t>, Node<'t>)>;

/// The keys of the extended document in its order, then those that are new.
fn merge_entries<'t>(over: Entries<'t>, under: Entries<'t>) -> Entries<'t> {
    let mut over: Vec<_> = over.into_iter().map(Some).collect();
    let mut entries = Vec::with_capacity(over.len().max(under.len()));
    for (key, node) in under {
        let same =
            over.iter_mut().find(|entry| entry.as_ref().is_some_and(|(found, _)| found.text == key.text));
        match same.and_then(Option::take) {
            Some((_, null)) if null.is_null() => {}
            Some((key, top)) => entries.push((key, merge(top, node))),
            None => entries.push((key, node)),
        }
    }
    entries.extend(over.into_iter().flatten());
    entries
}
