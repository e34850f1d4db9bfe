//! Patterns of symbols: `*` stands for any text. They mean what a venue lists.

/// Whether this is no symbol but a pattern of them.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// The first part stands at the beginning, the last one at the end, the others in between in their order.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_needs_its_parts_apart() {
        for (pattern, text, fits) in [
            ("A*A", "A", false),
            ("A*A", "AA", true),
            ("*", "", true),
            ("A", "AB", false),
            ("**B*", "ABC", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
