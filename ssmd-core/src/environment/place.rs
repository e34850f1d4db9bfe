//! Places in a document by the path of keys and items, for what is found after it was read: at a venue, in a store.

use super::codes::Code;
use super::extend::{self, Document, Find};
use super::node::{Node, Value};
use super::problem::{Draft, Log, Problems, Span};

/// How much of a message is shown, in characters.
const MESSAGE_CHARS_MAX: usize = 400;

/// A path from the root of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

impl Place {
    /// The path of these keys.
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    /// The value under a key of it.
    pub fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.to_owned()));
        self
    }

    /// An item of it, from 0.
    pub fn item(mut self, at: usize) -> Self {
        self.0.push(Step::Item(at));
        self
    }

    /// The span of what stands there; of the nearest thing above it, with how far that is, where nothing does.
    fn find(&self, root: &Node<'_>) -> (usize, Span) {
        let (mut node, mut span) = (root, root.span);
        for (at, step) in self.0.iter().enumerate() {
            let next = match (step, &node.value) {
                (Step::Key(name), Value::Map(entries)) => {
                    entries.iter().find(|(key, _)| key.text == *name).map(|(key, node)| {
                        // A map or a list is better shown by its key than by its first line.
                        let scalar = matches!(node.value, Value::Scalar { .. });
                        (node, if scalar { node.span } else { key.span })
                    })
                }
                (Step::Item(item), Value::List(items)) => items.get(*item).map(|node| (node, node.span)),
                _ => None,
            };
            match next {
                Some(found) => (node, span) = found,
                None => return (self.0.len() - at, span),
            }
        }
        (0, span)
    }
}

/// Something that is wrong with a document that reads well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of problem it is.
    pub code: Code,
    /// What is wrong, in lower-case words.
    pub message: String,
    /// Where it may stand: the place that exists is shown.
    pub places: Vec<Place>,
    /// What was expected there.
    pub expected: Option<String>,
    /// The right spelling that is nearest to what was found.
    pub nearest: Option<String>,
}

impl Problems {
    /// What was found, at its places in a document and in those that it extends.
    pub fn found(document: Document, find: &mut Find<'_>, findings: Vec<Finding>) -> Self {
        let (sources, _) = extend::gather(document, find);
        let root = extend::root(&sources, &mut Log::new(&sources));
        let mut log = Log::new(&sources);
        for finding in findings {
            let places = finding.places.iter().filter_map(|place| Some(place.find(root.as_ref()?)));
            let span = places.min_by_key(|(missing, _)| *missing).map_or(Span::default(), |(_, span)| span);
            // Foreign words may be in it: those of a venue, of a server.
            let message: String = finding.message.chars().take(MESSAGE_CHARS_MAX).collect();
            let draft = Draft::new(finding.code, span, message).nearest(finding.nearest.as_deref());
            log.add(match finding.expected {
                Some(expected) => draft.expected(expected),
                None => draft,
            });
        }
        log.finish().0
    }
}
