//! A document as a tree whose every node knows its place.

use std::borrow::Cow;

use super::problem::{Log, Span};

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) value: Value<'t>,
    pub(super) span: Span,
}

/// What a value is, before anybody says what it should be.
#[derive(Debug)]
pub(super) enum Value<'t> {
    /// A scalar; `plain` if it stands without quotes, so that its text may mean a number, a truth or nothing.
    Scalar { text: Cow<'t, str>, plain: bool },
    /// A list.
    List(Vec<Node<'t>>),
    /// A map, in the order of the document, without duplicate keys.
    Map(Vec<(Key<'t>, Node<'t>)>),
    /// Something refused already: no second problem about it.
    Refused,
}

/// A key and its place.
#[derive(Clone, Debug)]
pub(super) struct Key<'t> {
    pub(super) text: Cow<'t, str>,
    pub(super) span: Span,
}

impl<'t> Key<'t> {
    /// The key as a value, for rules about texts.
    pub(super) fn node(&self) -> Node<'t> {
        Node { value: Value::Scalar { text: self.text.clone(), plain: false }, span: self.span }
    }
}

impl Node<'_> {
    /// What it is, for people.
    pub(super) fn what(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, plain: true } => plain_type(text),
            Value::Scalar { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Refused => "nothing",
        }
    }

    /// Its text, if it is text: quoted, or plain and neither a number nor a truth nor nothing.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain } => (!plain || plain_type(text) == "text").then_some(text),
            _ => None,
        }
    }

    /// Whether it would be text if it stood in quotes, and is a number or a truth without them.
    pub(super) fn is_other_text(&self) -> bool {
        self.plain().is_some_and(|text| matches!(plain_type(text), "a number" | "true or false"))
    }

    /// Its text without regard to its type, if it is a plain scalar.
    pub(super) fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    /// Whether it says `null`, in words: nothing at all behind a colon is an oversight.
    pub(super) fn is_null(&self) -> bool {
        self.plain().is_some_and(|text| !text.is_empty() && plain_type(text) == "nothing")
    }

    /// Keeps every scalar in it out of what is shown. As deep as a document may nest, so the stack suffices.
    pub(super) fn hide(&self, log: &mut Log<'_>) {
        match &self.value {
            Value::Scalar { .. } => log.hide(self.span),
            Value::List(items) => items.iter().for_each(|item| item.hide(log)),
            Value::Map(entries) => entries.iter().for_each(|(_, node)| node.hide(log)),
            Value::Refused => {}
        }
    }
}

/// The type that YAML 1.2's core schema gives a plain scalar.
pub(super) fn plain_type(text: &str) -> &'static str {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => "nothing",
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => "true or false",
        _ if is_number(text) => "a number",
        _ => "text",
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    if let Some(rest) = text.strip_prefix("0x") {
        return digits(rest, 16);
    }
    if let Some(rest) = text.strip_prefix("0o") {
        return digits(rest, 8);
    }
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let named = matches!(bare, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    named || (bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') && bare.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_2() {
        for (text, what) in [
            ("", "nothing"),
            ("~", "nothing"),
            ("true", "true or false"),
            ("NO", "text"),
            ("on", "text"),
            ("10", "a number"),
            ("-1.5e3", "a number"),
            ("0x1F", "a number"),
            (".inf", "a number"),
            ("inf", "text"),
            ("nan", "text"),
            ("1INCH/USD", "text"),
            (".", "text"),
            ("71321045679252212594626385532706912750332728571942532289631379312455583992563", "a number"),
        ] {
            assert_eq!(plain_type(text), what, "{text}");
        }
    }
}
