//! S01: names that venues could send, through everything that a name becomes part of.

use std::collections::HashMap;
use std::path::{Component, Path};

use rand::RngExt;
use rand::rngs::StdRng;
use ssmd_core::{Filter, Metrics, ObjectPath, Result, Subject, Symbol, metrics, name};

use crate::rig::{Outcome, Rig};

/// Pieces that mean something to somebody.
const PIECES: [&str; 36] = [
    "BTC", "/", "USD", "..", ".", "~", "~2F", "~~", "*", ">", "#", "+", "$SYS", " ", "\0", "\r\n", "\n",
    "\\", "\"", "'", "{", "}", "=", ",", ";", "%2F", "%", "é", "\u{301}", "\u{202e}", "\u{200b}", "😀", "ﬁ",
    "-", "_", ":",
];
/// One name of so many is as long as a name may be.
const LONG_EVERY: u32 = 1000;
/// One name of so many goes through a whole page of metrics, which costs more than everything else.
const RENDERED_EVERY: usize = 1000;

/// S01: so many random names; no two different ones may meet, and none may leave its place.
pub(crate) async fn hostile(rig: &mut Rig) -> Result<Outcome> {
    let mut tokens: HashMap<String, String> = HashMap::new();
    let (mut escapes, mut collisions) = (0, 0);
    while tokens.len() < rig.rounds as usize {
        let text = random_name(&mut rig.random);
        let Ok(symbol) = Symbol::new(&text) else { continue };
        let token = symbol.token();
        let stays =
            stays(&token, &text) && (!tokens.len().is_multiple_of(RENDERED_EVERY) || one_label(&token));
        escapes += usize::from(!stays);
        if let Some(before) = tokens.get(&token) {
            collisions += usize::from(*before != text);
        } else {
            tokens.insert(token, text);
        }
    }
    let value = format!("{escapes} escapes, {collisions} collisions of {} different names", tokens.len());
    Ok(Outcome::Ran { value, ok: escapes == 0 && collisions == 0 })
}

fn random_name(random: &mut StdRng) -> String {
    if random.random_range(0..LONG_EVERY) == 0 {
        let piece = PIECES[random.random_range(0..PIECES.len())];
        return piece.repeat(random.random_range(1..=name::SYMBOL_BYTES_MAX / piece.len()));
    }
    let pieces = random.random_range(1..8);
    let mut text = String::new();
    for _ in 0..pieces {
        match random.random_range(0..3) {
            0 => text.push(random.random::<char>()),
            1 => text.push(char::from(random.random_range(0..128_u8))),
            _ => text.push_str(PIECES[random.random_range(0..PIECES.len())]),
        }
    }
    text
}

/// Whether a token is one token of a subject, one part of a path and of a topic, and says which name it is.
fn stays(token: &str, text: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'~');
    let plain = !token.is_empty() && token.len() <= name::TOKEN_BYTES_MAX && token.bytes().all(harmless);
    let subject = Subject::new(["prod", "kraken", "json", "trade", token]);
    let only = "prod.kraken.json.trade.*".parse::<Filter>();
    let in_subject = matches!((subject, only), (Ok(subject), Ok(filter)) if filter.matches(&subject)
        && subject.tokens().last() == Some(token));
    let path = format!("raw/kraken/{token}");
    let parts = Path::new(&path).components();
    let in_path = path.parse::<ObjectPath>().is_ok()
        && parts.clone().count() == 3
        && parts.clone().all(|part| matches!(part, Component::Normal(_)));
    let back = token.starts_with("~~") || name::decode(token).as_deref() == Some(text);
    plain && in_subject && in_path && back
}

/// Whether a page of metrics shows it as the one label that it is.
fn one_label(token: &str) -> bool {
    let metrics = Metrics::new();
    metrics.counter(&metrics::COMMITS, &[token]).add(1);
    let page = metrics.render();
    page.lines().filter(|line| line.contains(&format!("=\"{token}\"}} 1"))).count() == 1
}
