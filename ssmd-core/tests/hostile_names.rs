//! Names as an attacker would choose them: no two share a token, and none leaves its subject, path, topic or label.
//!
//! `SSMD_HOSTILE_NAMES` says how many; without it 100,000.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::HashMap;
use std::path::{Component, Path};

use ssmd_core::name::{TOKEN_BYTES_MAX, decode};
use ssmd_core::{Filter, ObjectPath, Subject, Symbol};

const NAMES: usize = 100_000;
/// What breaks out of paths, subjects, topics, labels, terminals and queries, and what looks like something else.
const PIECES: &[&str] = &[
    "/",
    "..",
    ".",
    "\\",
    "\0",
    "\r\n",
    "\n",
    "\t",
    " ",
    "*",
    ">",
    "+",
    "#",
    "$SYS",
    "\"",
    "'",
    "{",
    "}",
    "=",
    ",",
    "~",
    "~~",
    "~2F",
    "~2f",
    "%2F",
    "%00",
    "\u{1b}[2J",
    "\u{202e}",
    "\u{feff}",
    "\u{200b}",
    "é",
    "e\u{301}",
    "🦀",
    "CON",
    "BTC",
    "btc",
    "USD",
    "/USD",
    "XBT",
    "-",
    "_",
    "0",
    "1",
    "\u{7f}",
    "\u{85}",
    "\u{ffff}",
    "|",
    ";",
    "$(x)",
    "`",
];

#[test]
fn hostile_names_never_collide_and_never_escape() {
    let count = std::env::var("SSMD_HOSTILE_NAMES").ok().map_or(NAMES, |text| text.parse().unwrap());
    let mut random = Random(1);
    let mut names: HashMap<String, String> = HashMap::with_capacity(count);
    let mut last = String::new();
    while names.len() < count {
        let name = random.name(&last);
        let Ok(symbol) = Symbol::new(&name) else { continue };
        let token = symbol.token();
        is_harmless(&token, &name);
        last.clone_from(&token);
        if let Some(other) = names.insert(token, name.clone()) {
            assert_eq!(other, name, "two names with one token");
        }
    }
    println!("{} names, each with a token of its own", names.len());
}

fn is_harmless(token: &str, name: &str) {
    let subject = Subject::new(["prod", "kraken", "json", "trade", token]).unwrap();
    assert_eq!(subject.tokens().last(), Some(token));
    assert_eq!(subject.tokens().count(), 5, "{name:?} makes tokens of its own");
    let filter: Filter = subject.as_str().parse().unwrap();
    assert!(filter.matches(&subject) && !filter.as_str().contains(['*', '>']), "{name:?} is a wildcard");

    let path: ObjectPath = format!("raw/kraken/{token}/a").parse().unwrap();
    let parts: Vec<_> = Path::new(path.as_str()).components().collect();
    assert!(parts.len() == 4 && parts.iter().all(|part| matches!(part, Component::Normal(_))), "{name:?}");

    // A topic's levels and wildcards, a label's quotes and line breaks.
    assert!(!token.contains(['/', '+', '#', '$', '\0', '"', '\\', '\n', ' ']), "{name:?}");
    assert!(!token.is_empty() && token.len() <= TOKEN_BYTES_MAX);
    assert!(token.starts_with("~~") || decode(token).as_deref() == Some(name), "{name:?}");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Pieces, any characters, the token of the name before, or a name around the length at which tokens are hashed.
    fn name(&mut self, last: &str) -> String {
        match self.below(16) {
            0 => last.to_owned(),
            1 => format!("{last}{}", PIECES[self.below(PIECES.len())]),
            2 => {
                let piece = PIECES[self.below(PIECES.len())];
                format!("{}{}", piece.repeat(180 / piece.len() + self.below(20)), self.below(1_000_000))
            }
            3..6 => (0..=self.below(12))
                .map(|_| char::from_u32(self.next() as u32 & 0x1F_FFFF).unwrap_or('\u{fffd}'))
                .collect(),
            _ => (0..=self.below(7)).map(|_| PIECES[self.below(PIECES.len())]).collect(),
        }
    }
}
