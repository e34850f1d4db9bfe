//! The shortest way through a change of a book: the exact form that the venue sends, and nothing else.
//!
//! Nearly all frames are changes. Whatever differs from the usual form in a single byte is left to serde
//! ([`super::wire`]), which gives the same for everything that is read here; a property test over mutated frames holds
//! the two against each other.

use std::borrow::Cow;

use super::numbers::{Millis, Time};
use super::wire::{Delta, Message, Outcome};
use crate::scan::Cursor;

/// A change of one level, with the newline that ends the venue's frames or without it. `None` is not a refusal.
pub(super) fn delta(frame: &[u8]) -> Option<Message<Delta<'_>>> {
    let frame = frame.strip_suffix(b"\n").unwrap_or(frame);
    let mut cursor = Cursor::behind(b"{\"type\":\"orderbook_delta\",\"sid\":", frame)?;
    let sid = Some(cursor.whole()?);
    cursor.literal(b",\"seq\":")?;
    let seq = Some(cursor.whole()?);
    cursor.literal(b",\"msg\":{\"market_ticker\":\"")?;
    let market_ticker = Cow::Borrowed(cursor.text()?);
    if cursor.literal(b",\"market_id\":\"").is_some() {
        cursor.text()?;
    }
    cursor.literal(b",\"price_dollars\":\"")?;
    let price_dollars = Some(cursor.number(b'"')?);
    cursor.literal(b",\"delta_fp\":\"")?;
    let delta_fp = Some(cursor.number(b'"')?);
    cursor.literal(b",\"side\":\"")?;
    let side = match cursor.text()? {
        "yes" => Outcome::Yes,
        "no" => Outcome::No,
        _ => return None,
    };
    let ts = match cursor.literal(b",\"ts\":\"") {
        Some(()) => Time::Fine(crate::time::parse(cursor.text()?)?),
        None => Time::None,
    };
    let ts_ms = match cursor.literal(b",\"ts_ms\":") {
        Some(()) => Millis::of(cursor.whole()?)?,
        None => Millis::default(),
    };
    cursor.literal(b"}}")?;
    let msg = Delta { market_ticker, price_dollars, price: None, delta_fp, delta: None, side, ts, ts_ms };
    cursor.is_done().then_some(Message { sid, seq, msg })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim;

    const FRAME: &str = r#"{"type":"orderbook_delta","sid":1,"seq":17,"msg":{"market_ticker":"KXBTC15M-26JUL191145-45","market_id":"6a958fdf-4723","price_dollars":"0.9600","delta_fp":"-54.25","side":"yes","ts":"2026-07-19T15:45:00.544125Z","ts_ms":1784475900544}}"#;

    fn shown(message: &Message<Delta<'_>>) -> String {
        let Message { sid, seq, msg } = message;
        format!(
            "{sid:?} {seq:?} {} {:?} {:?} {:?} {:?}",
            msg.market_ticker,
            msg.price(),
            msg.change(),
            msg.side,
            msg.at()
        )
    }

    fn check(frame: &[u8]) -> Result<bool, TestCaseError> {
        let Some(here) = delta(frame) else { return Ok(false) };
        let there: Message<Delta<'_>> = serde_json::from_slice(frame).unwrap();
        prop_assert_eq!(shown(&here), shown(&there));
        Ok(true)
    }

    #[test]
    fn the_venues_own_forms_are_read_here() {
        let no_ts = FRAME.replace(r#""ts":"2026-07-19T15:45:00.544125Z","#, "");
        for (frame, is_read) in [
            (FRAME.to_owned(), true),
            (no_ts, true),
            (FRAME.replace("yes", "no"), true),
            (FRAME.replace(r#","ts_ms":1784475900544"#, ""), true),
            (FRAME.replace(r#""market_id":"6a958fdf-4723","#, ""), true),
            (FRAME.replace(',', ", "), false),
            (format!("{FRAME}\n"), true),
            (format!("{FRAME}\n\n"), false),
            (format!("{FRAME} "), false),
            (FRAME.replace("0.9600", ""), false),
        ] {
            assert_eq!(check(frame.as_bytes()).unwrap(), is_read, "{frame}");
        }
    }

    /// The bench measures these frames: they have the form of the venue's, newline and all.
    #[test]
    fn every_change_that_the_simulator_says_is_read_here() {
        let symbols = sim::symbols("kalshi", 1).unwrap();
        let request = format!(
            r#"{{"id":1,"cmd":"subscribe","params":{{"channels":["orderbook_delta"],"market_tickers":["{}"]}}}}"#,
            symbols[0]
        );
        let is = |frame: &str| frame.contains(r#""type":"orderbook_delta""#);
        let said = sim::overhear("kalshi", 1, symbols, &[request], 100, is).unwrap();
        assert!(said.iter().all(|frame| frame.ends_with(b"}\n")), "{said:?}");
        let changes = said.iter().filter(|frame| is(&String::from_utf8_lossy(frame)));
        assert_eq!(changes.filter(|frame| check(frame).unwrap()).count(), 100);
    }

    proptest! {
        #[test]
        fn what_is_read_here_is_read_by_serde_in_the_same_way(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = format!("{FRAME}\n").into_bytes();
            for (at, what, byte) in changes {
                let at = at.index(bytes.len());
                let byte = if what % 2 == 0 { b"0123456789.\"\\,{}[] e-\n"[usize::from(byte) % 22] } else { byte };
                match what % 3 {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            check(&bytes)?;
        }
    }
}
