//! What it costs to validate an environment of 5,000 symbols: what an edit waits for before it is applied.

use std::fmt::Write as _;
use std::hint::black_box;

use ssmd_core::environment::Environment;
use ssmd_core::{Error, ErrorKind, Result};

use super::figure::{Figure, median, quantile};
use super::ground::Ground;

/// How many symbols the document describes.
const SYMBOLS: usize = 5_000;
/// Rounds, of which the median counts.
const ROUNDS: usize = 101;
/// What was promised, in milliseconds.
const LIMIT_MS: f64 = 100.0;

/// One document, from its bytes to an environment; its hash beside it.
pub(super) async fn run(ground: &Ground) -> Result<Vec<Figure>> {
    let (text, words, clock) = (document(), ssmd_feeds::vocabulary(), ground.clock());
    let (mut rounds, mut hashes) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        let began = clock.elapsed();
        let checked = Environment::check(black_box(text.as_bytes()), "bench", &words)?;
        rounds.push((clock.elapsed() - began).as_secs_f64() * 1e3);
        if checked.environment.feeds.iter().all(|feed| feed.symbols.len() != SYMBOLS) {
            return Err(Error::new(ErrorKind::Bug, "bench").detail("a symbol was lost"));
        }
        let began = clock.elapsed();
        black_box(checked.environment.hash());
        hashes.push((clock.elapsed() - began).as_secs_f64() * 1e3);
    }
    let figure = Figure::most("environment_check", median(&mut rounds), LIMIT_MS, "ms")
        .beside("p99", quantile(&mut rounds, 0.99))
        .beside("hash", median(&mut hashes))
        .beside("KB", text.len() as f64 / 1e3);
    Ok(vec![figure])
}

/// Every symbol with a name of our own and a depth, and an entitlement to some of them.
fn document() -> String {
    let mut text = String::from(
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata: { name: bench }\nspec:\n  feeds:\n    kraken:\n      symbols:\n",
    );
    for n in 0..SYMBOLS {
        // Writing to a `String` cannot fail.
        let _ =
            write!(text, "        - name: ABC{n}/USD\n          internal: ABC{n}USD\n          depth: l2\n");
    }
    text + "  entitlements:\n    - { client_id: bot, type: trading, feeds: [kraken], symbols: [\"ABC1*\", ABC7USD] }\n"
}
