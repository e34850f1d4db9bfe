//! Values as whole documents: sections and items on lines of their own, so that a difference is one of lines.

use saphyr_parser::ScalarStyle;

use super::render::{flow, is_escaped, scalar};
use super::value::Value;

/// How long a list in brackets may be, in characters.
const LIST_CHARS_MAX: usize = 90;
/// How far what is inside is moved.
const STEP: usize = 2;

/// A value as a document, the same bytes for the same value.
pub fn lines(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Map(entries) if !entries.is_empty() => map(entries, 0, &mut out),
        value => out.push_str(&format!("{}\n", flow(value, ScalarStyle::Plain))),
    }
    out
}

fn map(entries: &[(String, Value)], indent: usize, out: &mut String) {
    for (key, value) in entries {
        pad(indent, out);
        out.push_str(&scalar(key, ScalarStyle::Plain));
        out.push(':');
        behind(value, indent, out);
    }
}

/// A value behind its key.
fn behind(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            map(entries, indent + STEP, out);
        }
        Value::List(items) if !is_short(value, items) => {
            out.push('\n');
            items.iter().for_each(|value| item(value, indent + STEP, out));
        }
        Value::Text(text) if is_literal(text) => {
            out.push_str(" |\n");
            for line in text.lines() {
                pad(indent + STEP, out);
                out.push_str(line);
                out.push('\n');
            }
        }
        value => out.push_str(&format!(" {}\n", flow(value, ScalarStyle::Plain))),
    }
}

fn item(value: &Value, indent: usize, out: &mut String) {
    pad(indent, out);
    out.push_str("- ");
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            let mut inner = String::new();
            map(entries, indent + STEP, &mut inner);
            // Its first key stands behind the hyphen.
            out.push_str(inner.trim_start_matches(' '));
        }
        value => out.push_str(&format!("{}\n", flow(value, ScalarStyle::Plain))),
    }
}

fn is_short(list: &Value, items: &[Value]) -> bool {
    let plain = |item: &Value| matches!(item, Value::Text(_) | Value::Word(_));
    items.iter().all(plain) && flow(list, ScalarStyle::Plain).chars().count() <= LIST_CHARS_MAX
}

/// Whether text can stand line by line as it is.
fn is_literal(text: &str) -> bool {
    let line = |line: &str| !line.is_empty() && !line.ends_with(' ') && !line.chars().any(is_escaped);
    text.ends_with('\n') && !text.starts_with(' ') && text.lines().all(line) && !text.contains('\r')
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[test]
    fn a_document_is_written_line_by_line_and_says_what_it_was_made_of() {
        let map = |entries: &[(&str, Value)]| {
            Value::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
        };
        let value = map(&[
            ("kind", "ConfigMap".into()),
            ("data", map(&[("a.yaml", "b: 1\nc:\n  - \"x\"\n".into())])),
            ("odd", Value::List(vec![" a\n".into(), "a \n".into(), "a\n\n".into(), "\u{85}\n".into()])),
            ("list", Value::List(vec![map(&[("name", "x".into()), ("of", map(&[("z", true.into())]))])])),
            ("short", Value::List(vec!["a".into(), Value::Word("1".into())])),
            ("none", Value::List(Vec::new())),
            ("- no: #list", map(&[])),
        ]);
        let text = lines(&value);
        assert_eq!(
            text,
            "kind: ConfigMap\ndata:\n  a.yaml: |\n    b: 1\n    c:\n      - \"x\"\n\
             odd: [\" a\\n\", \"a \\n\", \"a\\n\\n\", \"\\U00000085\\n\"]\n\
             list:\n  - name: x\n    of:\n      z: true\nshort: [a, 1]\nnone: []\n\"- no: #list\": {}\n"
        );
        assert_eq!(read(&text).unwrap(), value);
    }
}
