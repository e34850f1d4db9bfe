//! Names, checked once at the edge: feeds, symbols, subjects, and the encoding that keeps foreign text harmless.
//!
//! A symbol is whatever a venue calls it, so it is hostile: spaces, slashes, control characters, 10 KB of them.
//! [`encode`] makes of any such text a token that is safe in a subject, a path, a topic and a label, never the
//! same for two texts.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result};

/// The longest symbol that is accepted, in bytes. Real ones are below 80; a longer one is a fault or an attack.
pub const SYMBOL_BYTES_MAX: usize = 16 * 1024;
/// The longest token that [`encode`] gives, in bytes; longer ones are replaced by a hash.
pub const TOKEN_BYTES_MAX: usize = 192;
/// The longest feed or environment name, in bytes.
pub const NAME_BYTES_MAX: usize = 48;

/// Encodes foreign text as one token: `[A-Za-z0-9_-]` stay, every other byte becomes `~HH`.
///
/// Injective: two different texts never give the same token. Reversible by [`decode`], except for texts whose
/// token would be longer than [`TOKEN_BYTES_MAX`]: those become `~~` and the SHA-256 of the text, so their full
/// name must be kept elsewhere.
pub fn encode(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            token.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(token, "~{byte:02X}");
        }
        if token.len() > TOKEN_BYTES_MAX {
            return hashed(text);
        }
    }
    token
}

/// `~~` cannot come from [`encode`]'s escapes, since `~` is always followed by a hexadecimal digit there.
fn hashed(text: &str) -> String {
    let mut token = String::from("~~");
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// The text that [`encode`] made this token of, or `None` for a hashed or malformed token.
pub fn decode(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'~' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
        bytes.push(high * 16 + low);
    }
    let text = String::from_utf8(bytes).ok()?;
    (encode(&text) == token).then_some(text)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What a venue's WebSocket calls something that is traded: `BTC/USD`, `PF_XBTUSD`, a Kalshi ticker.
///
/// Foreign text, kept as it came. Cheap to clone. Use [`Symbol::token`] wherever it meets a path or a subject.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// Takes a venue's name.
    ///
    /// # Errors
    /// `Invalid` if it is empty or longer than [`SYMBOL_BYTES_MAX`].
    pub fn new(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > SYMBOL_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "read symbol").with("bytes", text.len()));
        }
        Ok(Self(text.into()))
    }

    /// The venue's own spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The spelling for subjects, paths, topics and labels; see [`encode`].
    pub fn token(&self) -> String {
        encode(&self.0)
    }
}

impl std::borrow::Borrow<str> for Symbol {
    /// So that maps by symbol can be asked with the text of a frame.
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Symbol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

/// Makes a name type of ours: lower case, digits and hyphens, starting with a letter, bounded.
macro_rules! plain_name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes the name.
            ///
            /// # Errors
            /// `Invalid` unless it is a lower-case letter followed by lower-case letters, digits and hyphens, at
            /// most [`NAME_BYTES_MAX`] bytes in all.
            pub fn new(text: &str) -> Result<Self> {
                check_plain(text, concat!("read ", $what)).map(|()| Self(text.into()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        text_serde!($name);
    };
}

macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

plain_name!(
    /// The name of a feed, with hyphens: `kraken-futures`.
    FeedName,
    "feed name"
);
plain_name!(
    /// The name of an environment: `prod`.
    EnvironmentName,
    "environment name"
);
text_serde!(Symbol);
text_serde!(Subject);
text_serde!(Filter);

fn check_plain(text: &str, operation: &'static str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts_well = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    if starts_well && text.len() <= NAME_BYTES_MAX && text.bytes().all(plain) {
        return Ok(());
    }
    let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
    Err(Error::new(ErrorKind::Invalid, operation)
        .with("name", shown)
        .hint("use a lower-case letter, then lower-case letters, digits and hyphens"))
}

/// Where a message goes: tokens joined by dots, `prod.kraken.json.ticker.BTC~2FUSD`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The longest subject, in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Joins tokens that are safe already.
    ///
    /// # Errors
    /// `Invalid` if a token is empty or holds anything but `[A-Za-z0-9_~-]`, or the whole is too long.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let text = tokens.into_iter().collect::<Vec<_>>().join(".");
        text.parse()
    }

    /// The subject's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens, in order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

fn is_token(token: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'~');
    !token.is_empty() && token.bytes().all(safe)
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > Self::BYTES_MAX || !text.split('.').all(is_token) {
            let shown: String = text.chars().take(80).collect();
            return Err(Error::new(ErrorKind::Invalid, "read subject").with("subject", shown));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which subjects a subscriber wants: a subject in which `*` stands for one token and a last `>` for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter(Arc<str>);

impl Filter {
    /// Every subject.
    pub fn all() -> Self {
        Self(">".into())
    }

    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `subject` is wanted.
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut tokens = subject.tokens();
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let tokens: Vec<_> = text.split('.').collect();
        let last = tokens.len() - 1;
        let fits =
            |(at, token): (usize, &&str)| is_token(token) || *token == "*" || (*token == ">" && at == last);
        if text.len() > Subject::BYTES_MAX || !tokens.iter().enumerate().all(fits) {
            let shown: String = text.chars().take(80).collect();
            return Err(Error::new(ErrorKind::Invalid, "read filter").with("filter", shown));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn foreign_names_become_harmless_tokens() {
        assert_eq!(encode("BTC/USD"), "BTC~2FUSD");
        assert_eq!(encode("KX.Y"), "KX~2EY");
        assert_eq!(encode("KXBTCD-26FEB07-T98000"), "KXBTCD-26FEB07-T98000");
        assert_eq!(encode("~2F"), "~7E2F");
        assert_eq!(encode("..").as_str(), "~2E~2E");
        assert!(encode(&"x".repeat(10_000)).starts_with("~~"));
        assert_eq!(decode("~2f"), None);
        assert_eq!(decode("~~00"), None);
        assert!(Symbol::new("").is_err());
    }

    #[test]
    fn filters_match_as_nats_does() {
        let subject: Subject = "prod.kraken.json.ticker.BTC~2FUSD".parse().unwrap();
        for (filter, wanted) in [
            (">", true),
            ("prod.>", true),
            ("prod.kraken.json.ticker.BTC~2FUSD", true),
            ("prod.*.json.*.BTC~2FUSD", true),
            ("prod.kraken.json.ticker", false),
            ("prod.kraken.json.ticker.BTC~2FUSD.>", false),
            ("*", false),
        ] {
            assert_eq!(filter.parse::<Filter>().unwrap().matches(&subject), wanted, "{filter}");
        }
        for filter in ["", "a..b", "a.>.b", "a.b*", "a b"] {
            assert!(filter.parse::<Filter>().is_err(), "{filter}");
        }
        for subject in ["", "a.", ".a", "a.*", "a.>", "a\r\nb", "a/b"] {
            assert!(subject.parse::<Subject>().is_err(), "{subject}");
        }
    }

    proptest! {
        #[test]
        fn encoding_is_injective_safe_and_reversible(a in ".{0,120}", b in ".{0,120}") {
            let token = encode(&a);
            prop_assert!(token.is_empty() || is_token(&token));
            prop_assert!(token.len() <= TOKEN_BYTES_MAX + 2);
            prop_assert_eq!(a == b, token == encode(&b));
            if !token.starts_with("~~") {
                prop_assert_eq!(decode(&token), Some(a));
            }
        }

        #[test]
        fn decoding_never_panics(token in ".{0,80}") {
            if let Some(text) = decode(&token) {
                prop_assert_eq!(encode(&text), token);
            }
        }
    }
}
