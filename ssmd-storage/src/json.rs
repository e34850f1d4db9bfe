//! Whether bytes are one JSON value. Linear, with a bounded stack however deep they nest.

/// Whether `bytes` are exactly one JSON value in UTF-8, with white space around it or not.
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    // The parser skips over strings without looking at their encoding, so that is checked before.
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
}
