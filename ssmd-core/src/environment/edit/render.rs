//! Values as YAML.

use saphyr_parser::ScalarStyle;

use super::super::node::plain_type;
use super::value::Value;

/// How long a line with a list in brackets may be, in characters.
const LINE_CHARS_MAX: usize = 90;

/// A value on one line: `{ name: BTC/USD, depth: 10 }`.
pub(in super::super) fn render(value: &Value) -> String {
    flow(value, ScalarStyle::Plain)
}

/// The same, with texts quoted as `style` where that can be.
pub(super) fn flow(value: &Value, style: ScalarStyle) -> String {
    match value {
        Value::Text(text) => scalar(text, style),
        Value::Word(word) => word.clone(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| flow(item, style)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Map(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key, ScalarStyle::Plain), flow(value, style)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A key and its value on lines of their own, the first without its indentation and the last without its end.
pub(super) fn block(key: &str, value: &Value, indent: usize, step: usize, eol: &str) -> String {
    let key = scalar(key, ScalarStyle::Plain);
    let inner = indent + step;
    let lines: Vec<String> = match value {
        Value::Map(entries) if !entries.is_empty() => {
            entries.iter().map(|(key, value)| block(key, value, inner, step, eol)).collect()
        }
        Value::List(items) if inner + flow(value, ScalarStyle::Plain).chars().count() > LINE_CHARS_MAX => {
            items.iter().map(|item| format!("- {}", flow(item, ScalarStyle::Plain))).collect()
        }
        _ => return format!("{key}: {}", flow(value, ScalarStyle::Plain)),
    };
    lines.iter().fold(format!("{key}:"), |text, line| format!("{text}{eol}{:inner$}{line}", ""))
}

/// Text, without quotes where it needs none and `style` allows it.
pub(super) fn scalar(text: &str, style: ScalarStyle) -> String {
    let printable = text.chars().all(|c| !is_escaped(c));
    match style {
        ScalarStyle::Plain if is_plain(text) => text.to_owned(),
        ScalarStyle::SingleQuoted if printable => format!("'{}'", text.replace('\'', "''")),
        _ => double(text),
    }
}

fn double(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_escaped(c) => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What cannot stand in quotes as it is, or could not be seen there.
pub(super) fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether text can stand without quotes wherever it is put, for this reader and for those of older YAML.
fn is_plain(text: &str) -> bool {
    const OTHER_WORDS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];
    let mut rest = text.chars().peekable();
    let Some(first) = rest.next() else { return false };
    let mut last = first;
    let inside = std::iter::from_fn(|| {
        let c = rest.next()?;
        last = c;
        Some(
            c.is_alphanumeric() && c.is_ascii()
                || matches!(c, '_' | '-' | '.' | '/')
                || c == ':'
                    && rest
                        .peek()
                        .is_some_and(|next| next.is_ascii_alphanumeric() || matches!(next, '/' | '.')),
        )
    })
    .all(|allowed| allowed);
    let like_a_number = first.is_ascii_digit()
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"_:.-eExo".contains(&byte));
    first.is_ascii_alphanumeric()
        && inside
        && last != ':'
        && !like_a_number
        && plain_type(text) == "text"
        && OTHER_WORDS.iter().all(|word| !word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_they_must_be() {
        for (text, written) in [
            ("BTC/USD", "BTC/USD"),
            ("book:25", "book:25"),
            ("wss://ws.kraken.com/v2", "wss://ws.kraken.com/v2"),
            ("1INCH/USD", "1INCH/USD"),
            ("", "\"\""),
            ("*", "\"*\""),
            ("ETH/*", "\"ETH/*\""),
            ("10", "\"10\""),
            ("2026-01-01", "\"2026-01-01\""),
            ("12:30", "\"12:30\""),
            ("No", "\"No\""),
            ("null", "\"null\""),
            ("true", "\"true\""),
            ("a b", "\"a b\""),
            ("a:", "\"a:\""),
            ("a\"b\\c\n\u{7}", "\"a\\\"b\\\\c\\n\\U00000007\""),
        ] {
            assert_eq!(scalar(text, ScalarStyle::Plain), written);
        }
        assert_eq!(scalar("it's", ScalarStyle::SingleQuoted), "'it''s'");
        assert_eq!(scalar("a\nb", ScalarStyle::SingleQuoted), "\"a\\nb\"");
        assert_eq!(scalar("a", ScalarStyle::DoubleQuoted), "\"a\"");
    }

    #[test]
    fn sections_stand_on_lines_and_short_lists_in_brackets() {
        let value = Value::Map(vec![
            ("channels".into(), Value::List(vec!["trade".into(), "book:25".into()])),
            ("symbols".into(), Value::List((0..20).map(|n| Value::Text(format!("ABC{n}/USD"))).collect())),
        ]);
        let text = block("kraken", &value, 4, 2, "\n");
        assert!(
            text.starts_with(
                "kraken:\n      channels: [trade, book:25]\n      symbols:\n        - ABC0/USD\n"
            ),
            "{text}"
        );
    }
}
