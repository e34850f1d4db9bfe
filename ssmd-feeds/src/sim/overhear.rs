//! A simulated venue without sockets and without waiting: what one client of it would hear.

use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Error, ErrorKind, Result, Symbol, Timestamp};

use super::venue::{self, Connection, Opened, Outgoing, Setup};

/// The only client.
const CLIENT: Connection = 1;
/// When it connects.
const BEGIN: Timestamp = Timestamp::from_nanos(1_785_552_833_316_423_800);
/// The time between two events of the market.
const BETWEEN: Duration = Duration::from_millis(10);
/// Events that may pass without a message for each that is asked for.
const EVENTS_MAX: usize = 1_000;

/// The first frames that a client of `venue` hears after these requests, `count` of them that `is` true of and all
/// that come between. The same seed gives the same frames.
///
/// # Errors
/// `Unsupported` for an unknown venue, `Invalid` for symbols that it cannot list, `NotFound` if the requests bring too
/// few such frames.
pub fn overhear(
    venue: &str,
    seed: u64,
    symbols: Vec<Symbol>,
    requests: &[String],
    count: usize,
    is: impl Fn(&str) -> bool,
) -> Result<Vec<Bytes>> {
    let Opened { mut venue, .. } = venue::open(
        venue,
        &Setup { seed, symbols, plays: false, closing: Default::default(), public_key: None },
    )?;
    let (mut frames, mut found, mut out, mut now) = (Vec::new(), 0, Outgoing::default(), BEGIN);
    venue.opened(CLIENT, now, &mut out);
    requests.iter().for_each(|request| venue.heard(CLIENT, request, now, &mut out));
    for _ in 0..count * EVENTS_MAX {
        for (_, said) in out.iter_mut() {
            for frame in said.drain(..) {
                found += usize::from(is(&frame));
                frames.push(Bytes::from(frame));
                if found == count {
                    return Ok(frames);
                }
            }
        }
        now = now.saturating_add(BETWEEN);
        venue.step(now, &mut out);
    }
    Err(Error::new(ErrorKind::NotFound, "overhear simulated venue")
        .with("found", found)
        .with("wanted", count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_says_the_same_and_what_nobody_asked_for_is_not_said() {
        let symbols = venue::symbols("kalshi", 1).unwrap();
        let requests = [format!(
            r#"{{"id":1,"cmd":"subscribe","params":{{"channels":["ticker"],"market_tickers":["{}"]}}}}"#,
            symbols[0]
        )];
        let ticker = |frame: &str| frame.contains(r#""type":"ticker""#);
        let hear = || overhear("kalshi", 7, symbols.clone(), &requests, 20, ticker).unwrap();
        assert_eq!(hear(), hear());
        assert_eq!(hear().len(), 21);
        let none = overhear("kalshi", 7, symbols.clone(), &[], 1, ticker);
        assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
