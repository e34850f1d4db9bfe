//! Edits of a YAML text that leave everything else as it is, byte for byte: comments, order, quotes, blank lines.
//!
//! Each edit is worked out from the places that the parser gives, written as few replaced stretches, and read back:
//! unless the new text says exactly what was asked for, it is refused. Knows YAML, and no environment; what a
//! document may not have (anchors, aliases, tags, several documents) it does not edit.
//!
//! Comments stay, except for those that stand in what is removed or replaced, and those behind it on its line.

mod layout;
mod lines;
mod patch;
mod render;
#[cfg(test)]
mod tests;
mod value;

use layout::{Node, Shape};
pub use lines::lines;
use patch::Patches;
pub(super) use render::render;
pub use value::Value;

use crate::{Error, ErrorKind, Result};

/// What all of this is, in errors.
const OPERATION: &str = "edit document";

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a map.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

/// One change of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Makes this the value at a path. The last keys of the path need not be there yet.
    Set(Vec<Step>, Value),
    /// Puts these items behind the last one of the list at a path.
    Append(Vec<Step>, Vec<Value>),
    /// Takes away the key or the item at a path.
    Remove(Vec<Step>),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

/// Makes the edits, one after the other, and gives the new text.
///
/// # Errors
/// `NotFound` for a path that is not there, `Invalid` for an edit that does not fit what stands there or for a text
/// that is no YAML, `Unsupported` for a form of YAML that is not edited (anchors, aliases, tags, block scalars and
/// explicit keys at the very place). Then nothing is changed.
pub fn edit(text: &str, edits: &[Edit]) -> Result<String> {
    let mut text = text.to_owned();
    for edit in edits {
        text = one(&text, edit)?;
    }
    Ok(text)
}

/// What a document calls itself, whatever else it says: its `metadata.name`.
pub fn document_name(text: &str) -> Option<String> {
    let root = layout::parse(text).ok()?;
    let path = ["metadata", "name"].map(Step::from);
    match root.descend(&path) {
        (Node { shape: Shape::Scalar { text, .. }, .. }, []) => Some(text.clone()),
        _ => None,
    }
}

/// What a YAML text of one document says, whatever it is about.
///
/// # Errors
/// `Invalid` for a text that is no YAML, `Unsupported` for anchors, aliases and tags.
pub fn read(text: &str) -> Result<Value> {
    layout::parse(text).map(|root| root.value())
}

fn one(text: &str, edit: &Edit) -> Result<String> {
    let root = layout::parse(text)?;
    let mut wanted = root.value();
    wanted.change(edit)?;
    let mut patches = Patches::new(text);
    match edit {
        Edit::Set(path, value) => set(&root, path, value, &mut patches)?,
        Edit::Append(path, values) => append(&root, path, values, &mut patches)?,
        Edit::Remove(path) => remove(&root, path, &mut patches)?,
    }
    let edited = patches.apply();
    // The proof: whatever the patches did, the text now says what it said, and the edit.
    match read(&edited) {
        Ok(value) if value == wanted => Ok(edited),
        _ => Err(unsupported("this place is written in a form that cannot be edited safely")),
    }
}

fn set(root: &Node, path: &[Step], value: &Value, patches: &mut Patches<'_>) -> Result<()> {
    let (node, rest) = root.descend(path);
    match rest {
        [] => patches.replace(root, path, node, value),
        [Step::Key(key), more @ ..] => patches.insert_key(node, key, &nest(more, value)?),
        [Step::Index(_), ..] => Err(not_found(path)),
    }
}

/// The value inside the keys that are not there yet.
fn nest(path: &[Step], value: &Value) -> Result<Value> {
    path.iter().rev().try_fold(value.clone(), |value, step| match step {
        Step::Key(key) => Ok(Value::Map(vec![(key.clone(), value)])),
        Step::Index(_) => Err(invalid("an item of a list that is not there")),
    })
}

fn append(root: &Node, path: &[Step], values: &[Value], patches: &mut Patches<'_>) -> Result<()> {
    match root.descend(path) {
        (node, []) if matches!(node.shape, Shape::List { .. }) => patches.append(node, values),
        (_, []) => Err(invalid("not a list")),
        _ => Err(not_found(path)),
    }
}

fn remove(root: &Node, path: &[Step], patches: &mut Patches<'_>) -> Result<()> {
    let Some((last, holder)) = path.split_last() else { return Err(invalid("the whole document")) };
    let (node, []) = root.descend(holder) else { return Err(not_found(path)) };
    let at = node.position(last).ok_or_else(|| not_found(path))?;
    match &node.shape {
        // Nothing at all would be `null`.
        Shape::List { items, .. } if items.len() == 1 => {
            patches.replace(root, holder, node, &Value::List(Vec::new()))
        }
        Shape::Map { entries, .. } if entries.len() == 1 => {
            patches.replace(root, holder, node, &Value::Map(Vec::new()))
        }
        _ => patches.remove(node, at),
    }
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, OPERATION).detail(detail)
}

fn unsupported(detail: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, OPERATION).detail(detail).hint("change this place with a text editor")
}

fn not_found(path: &[Step]) -> Error {
    let shown: Vec<_> = path.iter().map(Step::to_string).collect();
    Error::new(ErrorKind::NotFound, OPERATION).with("path", shown.join("."))
}
