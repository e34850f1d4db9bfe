//! What a YAML text says, without how it says it; and what an edit makes of it.

use super::{Edit, Step, invalid, not_found};
use crate::Result;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, whatever it looks like: it is quoted where it must be.
    Text(String),
    /// A number, `true`, `false` or `null`: written as it is.
    Word(String),
    /// A list.
    List(Vec<Value>),
    /// A map, in order.
    Map(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Word(truth.to_string())
    }
}

impl From<&serde_json::Value> for Value {
    /// Keys come in the order of their bytes.
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::String(text) => Self::Text(text.clone()),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            serde_json::Value::Object(entries) => {
                let mut entries: Vec<_> =
                    entries.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Self::Map(entries)
            }
            word => Self::Word(word.to_string()),
        }
    }
}

impl Value {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(found, _)| found == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Makes the edit here.
    pub(super) fn change(&mut self, edit: &Edit) -> Result<()> {
        match edit {
            Edit::Set(path, value) => self.set(path, value),
            Edit::Append(path, values) => match self.at(path)? {
                Self::List(items) => {
                    items.extend_from_slice(values);
                    Ok(())
                }
                _ => Err(invalid("not a list")),
            },
            Edit::Remove(path) => {
                let Some((last, holder)) = path.split_last() else {
                    return Err(invalid("the whole document"));
                };
                match (self.at(holder)?, last) {
                    (Self::Map(entries), Step::Key(key)) => {
                        let at = entries.iter().position(|(found, _)| found == key);
                        entries.remove(at.ok_or_else(|| not_found(path))?);
                    }
                    (Self::List(items), &Step::Index(at)) if at < items.len() => drop(items.remove(at)),
                    _ => return Err(not_found(path)),
                }
                Ok(())
            }
        }
    }

    fn set(&mut self, path: &[Step], value: &Self) -> Result<()> {
        let Some((first, rest)) = path.split_first() else {
            *self = value.clone();
            return Ok(());
        };
        match (self, first) {
            (Self::Map(entries), Step::Key(key)) => {
                let at = entries.iter().position(|(found, _)| found == key).unwrap_or_else(|| {
                    entries.push((key.clone(), Self::Map(Vec::new())));
                    entries.len() - 1
                });
                entries[at].1.set(rest, value)
            }
            (Self::List(items), &Step::Index(at)) if at < items.len() => items[at].set(rest, value),
            _ => Err(not_found(path)),
        }
    }

    fn at(&mut self, path: &[Step]) -> Result<&mut Self> {
        path.iter().try_fold(self, |value, step| {
            match (value, step) {
                (Self::Map(entries), Step::Key(key)) => {
                    entries.iter_mut().find(|(found, _)| found == key).map(|(_, value)| value)
                }
                (Self::List(items), &Step::Index(at)) => items.get_mut(at),
                _ => None,
            }
            .ok_or_else(|| not_found(path))
        })
    }
}
