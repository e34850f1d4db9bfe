//! Whether a text is one JSON value: the check of every archived frame, so it is made to be fast.
//!
//! The grammar is serde_json's for a value that is ignored (RFC 8259; escapes of lone surrogates pass), and a test
//! holds the two against each other. Compact JSON is recognized many bytes at a time; in what else there is, strings
//! and numbers are looked at eight bytes at a time.

mod compact;

use serde::de::IgnoredAny;

/// Levels of nesting that are followed here, a bit each. What nests deeper is left to serde_json, which says the
/// same more slowly.
const LEVELS_MAX: u32 = 64;

/// Whether these bytes are one JSON value on one line, without white space around it. Linear, and not recursive
/// however deep they nest.
pub(crate) fn is_line(bytes: &[u8]) -> bool {
    compact::is_surely_value(bytes)
        || memchr::memchr2(b'\n', b'\r', bytes).is_none() && std::str::from_utf8(bytes).is_ok_and(is_value)
}

/// Whether `text` is one JSON value, with white space around it or not.
fn is_value(text: &str) -> bool {
    Scan { bytes: text.as_bytes(), at: 0 }
        .document()
        .unwrap_or_else(|| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    /// `None` if it nests too deep to be judged here.
    fn document(&mut self) -> Option<bool> {
        // The innermost level in the lowest bit: whether it is an object.
        let (mut objects, mut levels) = (0_u64, 0);
        loop {
            self.space();
            let open = self.peek();
            let is_value = match open {
                b'"' => self.string(),
                b'-' | b'0'..=b'9' => self.number(),
                b'{' | b'[' => {
                    self.at += 1;
                    self.space();
                    // An opening bracket and its closing one are two apart in ASCII.
                    if self.peek() == open + 2 {
                        self.at += 1;
                        true
                    } else {
                        if levels == LEVELS_MAX {
                            return None;
                        }
                        levels += 1;
                        objects = objects << 1 | u64::from(open == b'{');
                        if open == b'{' && !self.key() {
                            return Some(false);
                        }
                        continue;
                    }
                }
                b't' => self.word(b"true"),
                b'f' => self.word(b"false"),
                b'n' => self.word(b"null"),
                _ => false,
            };
            if !is_value {
                return Some(false);
            }
            loop {
                self.space();
                if levels == 0 {
                    return Some(self.at == self.bytes.len());
                }
                let in_object = objects & 1 == 1;
                let next = self.peek();
                self.at += 1;
                if next == b',' {
                    if in_object && !self.key() {
                        return Some(false);
                    }
                    break;
                }
                if next != if in_object { b'}' } else { b']' } {
                    return Some(false);
                }
                levels -= 1;
                objects >>= 1;
            }
        }
    }

    /// The next byte; zero, which is no part of any JSON, at the end.
    #[inline]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or_default()
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// The name of a member, and its colon.
    #[inline]
    fn key(&mut self) -> bool {
        self.space();
        if self.peek() != b'"' || !self.string() {
            return false;
        }
        self.space();
        let colon = self.peek() == b':';
        self.at += 1;
        colon
    }

    #[inline]
    fn word(&mut self, word: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(word);
        self.at += word.len();
        found
    }

    /// A string, from its first quote.
    #[inline]
    fn string(&mut self) -> bool {
        self.at += 1;
        loop {
            self.skip(ends_run_of_text);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return true;
                }
                b'\\' if self.escape() => {}
                _ => return false,
            }
        }
    }

    fn escape(&mut self) -> bool {
        let rest = &self.bytes[self.at + 1..];
        match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                true
            }
            Some(b'u') => {
                self.at += 6;
                rest.get(1..5).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            }
            _ => false,
        }
    }

    #[inline]
    fn number(&mut self) -> bool {
        self.at += usize::from(self.peek() == b'-');
        if self.peek() == b'0' {
            self.at += 1;
        } else if !self.digits() {
            return false;
        }
        if self.peek() == b'.' {
            self.at += 1;
            if !self.digits() {
                return false;
            }
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), b'+' | b'-'));
            return self.digits();
        }
        true
    }

    /// One digit or more.
    #[inline]
    fn digits(&mut self) -> bool {
        let before = self.at;
        self.skip(ends_run_of_digits);
        self.at > before
    }

    /// Goes to the first byte that `ends` marks with its highest bit. Behind the end there are zeros.
    #[inline]
    fn skip(&mut self, ends: impl Fn(u64) -> u64) {
        loop {
            let rest = &self.bytes[self.at..];
            let word = match rest.first_chunk::<8>() {
                Some(bytes) => *bytes,
                None => {
                    let mut bytes = [0; 8];
                    bytes[..rest.len()].copy_from_slice(rest);
                    bytes
                }
            };
            let marks = ends(u64::from_le_bytes(word));
            if marks != 0 {
                self.at += marks.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
    }
}

/// The same byte eight times.
pub(crate) const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Marks quotes, backslashes and control characters. As below, the lowest mark is right; those above it may be
/// wrong, since a borrow or a carry runs upwards from a byte that is marked itself.
#[inline]
fn ends_run_of_text(word: u64) -> u64 {
    let (quote, backslash) = (word ^ eight(b'"'), word ^ eight(b'\\'));
    let zero = |word: u64| word.wrapping_sub(eight(1)) & !word;
    let control = word.wrapping_sub(eight(0x20)) & !word;
    (zero(quote) | zero(backslash) | control) & eight(0x80)
}

/// Marks everything but digits.
#[inline]
fn ends_run_of_digits(word: u64) -> u64 {
    let below = word.wrapping_sub(eight(b'0')) & !word;
    let above = word.wrapping_add(eight(0x7F - b'9')) | word;
    (below | above) & eight(0x80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serde_says(text: &str) -> bool {
        serde_json::from_str::<IgnoredAny>(text).is_ok()
    }

    #[track_caller]
    fn agree(text: &str) {
        assert_eq!(is_value(text), serde_says(text), "{text:?}");
        let one_line = !text.contains(['\n', '\r']);
        assert_eq!(is_line(text.as_bytes()), one_line && serde_says(text), "{text:?}");
    }

    /// Says the same of the text where the places of a block are others, in and behind members and elements.
    #[track_caller]
    fn agree_anywhere(text: &str) {
        for before in 0..70 {
            let name = "x".repeat(before);
            agree(&format!("{{\"{name}\":{text},\"y\":[{text},{text}]}}"));
        }
    }

    #[test]
    fn agrees_about_every_corner() {
        let corners = [
            "",
            " ",
            "1",
            " 1 ",
            "-",
            "-0",
            "-01",
            "00",
            "1.",
            ".1",
            "1.5",
            "1e",
            "1e+",
            "1E-5",
            "1e5.5",
            "0e0",
            "0.0e00",
            "1e400",
            "tru",
            "true",
            "truex",
            "nul",
            "null",
            "false",
            "\"",
            "\"\"",
            "\"a",
            "\"\\",
            "\"\\\"",
            "\"\\u12\"",
            "\"\\u123g\"",
            "\"\\uD800\"",
            "\"\\x\"",
            "\"\u{7f}\u{80}é\u{10FFFF}\"",
            "\"\u{1f}\"",
            "\"12345678\"",
            "\"1234567\\n\"",
            "\"\u{0}\"",
            "[]",
            "[ ]",
            "[,]",
            "[1,]",
            "[1 2]",
            "[1]]",
            "[}",
            "{]",
            "{}",
            "{ }",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{\"a\" : [ {} , [] ] }",
            "{1:2}",
            "{\"a\":1}{",
            "[1,2",
            "{\"a\"",
            "{\"a\":",
            "12345678",
            "123456789",
            "1234567x",
            "1\u{0}",
        ];
        corners.into_iter().for_each(agree);
        corners.into_iter().for_each(agree_anywhere);
    }

    #[test]
    fn compact_json_is_recognized_at_once() {
        for text in ["{}", "[]", "{\"a\":[{\"b\":-0.5,\"c\":true},null,[false,\"é\",120]],\"d\":{}}"] {
            assert!(compact::is_surely_value(text.as_bytes()), "{text}");
            for before in 0..130 {
                let text = format!("{{\"{}\":{text}}}", "x".repeat(before));
                assert!(compact::is_surely_value(text.as_bytes()), "{text}");
            }
        }
    }

    #[test]
    fn agrees_about_every_byte_at_every_place_of_a_word() {
        for byte in 0..=0x7F_u8 {
            for place in 0..18 {
                for text in [["\"", "abcdefghijklmnopq", "\""].concat(), "1".repeat(18)] {
                    let mut bytes = text.into_bytes();
                    bytes[place] = byte;
                    agree(std::str::from_utf8(&bytes).unwrap());
                }
            }
        }
    }

    #[test]
    fn agrees_about_depth() {
        for levels in [63, 64, 65, 66, 1000, 200_000] {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let inner = if open == "[" { "" } else { "{}" };
                agree(&[open.repeat(levels).as_str(), inner, close.repeat(levels).as_str()].concat());
                agree(&[open.repeat(levels).as_str(), inner, close.repeat(levels - 1).as_str()].concat());
            }
        }
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?",
            "\"([ -!#-\\[\\]-~é]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,20}\"",
            "true|false|null",
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            let space = "[ \t]{0,2}";
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..5), space).prop_map(|(values, space)| format!(
                    "[{space}{}{space}]",
                    values.join(&format!("{space},"))
                )),
                (prop::collection::vec(("[a-z]{0,12}", inner), 0..5), space).prop_map(|(members, space)| {
                    let members: Vec<_> =
                        members.iter().map(|(key, value)| format!("\"{key}\"{space}:{value}")).collect();
                    format!("{{{space}{}{space}}}", members.join(&format!(",{space}")))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn accepts_what_is_json(text in value()) {
            prop_assert!(serde_says(&text) && is_value(&text), "{}", text);
        }

        #[test]
        fn agrees_about_what_is_nearly_json(text in value(), at in any::<prop::sample::Index>(), byte in 0_u8..0x80) {
            for cut in [false, true] {
                let mut bytes = text.clone().into_bytes();
                let at = at.index(bytes.len());
                if cut {
                    let _ = bytes.remove(at);
                } else {
                    bytes[at] = byte;
                }
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    prop_assert_eq!(is_value(text), serde_says(text), "{:?}", text);
                }
            }
        }

        #[test]
        fn agrees_about_what_is_nearly_compact(
            texts in prop::collection::vec(value(), 1..8), at in any::<prop::sample::Index>(),
            byte in prop::sample::select(b"{}[]:,\"\\ 019.-+eEtfnaz\n\0\x7F".to_vec()), cut in any::<bool>(),
        ) {
            let texts: Vec<_> = texts
                .iter()
                .map(|text| serde_json::from_str::<serde_json::Value>(text).map_or("1".to_owned(), |v| v.to_string()))
                .collect();
            let text = format!("{{\"a\":[{}]}}", texts.join(","));
            agree(&text);
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            if cut {
                let _ = bytes.remove(at);
            } else {
                bytes[at] = byte;
            }
            if let Ok(text) = std::str::from_utf8(&bytes) {
                agree(text);
            }
        }

        #[test]
        fn agrees_about_anything(text in "[\\[\\]{}:,\"\\\\0-9eE.+-tfn \u{0}-\u{1f}é]{0,24}|.{0,40}") {
            prop_assert_eq!(is_value(&text), serde_says(&text), "{:?}", text);
        }
    }
}
