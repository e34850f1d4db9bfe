//! The shortest way through a change: the exact form that the venue sends, and nothing else.
//!
//! Nearly all frames are changes. Whatever differs from the usual form in a single byte is left to serde
//! ([`super::wire`]), which gives the same for everything that is read here; a property test over mutated frames holds
//! the two against each other.

use std::borrow::Cow;

use ssmd_core::record::Side;

use super::hash::Hash;
use super::wire::{Bounded, CHANGES_MAX, Change, PriceChange, Time};
use crate::scan::Cursor;

/// A change of levels. `None` is not a refusal.
pub(super) fn price_change(frame: &[u8]) -> Option<PriceChange<'_>> {
    let frame = frame.strip_suffix(END)?;
    let mut cursor = Cursor::behind(b"{\"market\":\"", frame)?;
    let market = cursor.text()?;
    cursor.literal(b",\"price_changes\":[")?;
    let mut changes = Vec::with_capacity(2);
    loop {
        changes.push(change(&mut cursor)?);
        match cursor.byte()? {
            b',' if changes.len() < CHANGES_MAX => {}
            b']' => break,
            _ => return None,
        }
    }
    cursor.literal(b",\"timestamp\":\"")?;
    let timestamp = Time::parse(cursor.text()?)?;
    let (asset_id, hash) = (Cow::Borrowed(""), Hash::default());
    let (market, price_changes) = (Cow::Borrowed(market), Bounded(changes));
    cursor.is_done().then_some(PriceChange { market, asset_id, hash, timestamp, price_changes })
}

/// Every change ends so, and nothing else.
const END: &[u8] = b",\"event_type\":\"price_change\"}";

fn change<'a>(cursor: &mut Cursor<'a>) -> Option<Change<'a>> {
    cursor.literal(b"{\"asset_id\":\"")?;
    let asset_id = Cow::Borrowed(cursor.text()?);
    cursor.literal(b",\"price\":\"")?;
    let price = cursor.number(b'"')?;
    cursor.literal(b",\"size\":\"")?;
    let size = cursor.number(b'"')?;
    let side = match cursor.literal(b",\"side\":\"BUY\"") {
        Some(()) => Side::Buy,
        None => cursor.literal(b",\"side\":\"SELL\"").map(|()| Side::Sell)?,
    };
    cursor.literal(b",\"hash\":\"")?;
    let hash = Hash::parse(cursor.text()?);
    cursor.literal(b",\"best_bid\":\"")?;
    let best_bid = Some(cursor.number(b'"')?);
    cursor.literal(b",\"best_ask\":\"")?;
    let best_ask = Some(cursor.number(b'"')?);
    cursor.literal(b"}")?;
    Some(Change { asset_id, price, size, side, hash, best_bid, best_ask })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: &str = r#"{"market":"0xd23b","price_changes":[{"asset_id":"1146","price":"0.62","size":"35150.79","side":"BUY","hash":"a56b83d16b7e0a1f7d6e0f0b8c3f6a1f0e5d4c3b","best_bid":"0.62","best_ask":"0.63"},{"asset_id":"1122","price":"0.38","size":"0","side":"SELL","hash":"0x","best_bid":"0","best_ask":"1"}],"timestamp":"1788786353240","event_type":"price_change"}"#;

    fn shown(message: &PriceChange<'_>) -> String {
        let change = |c: &Change<'_>| {
            format!(
                "{} {} {} {:?} {} {:?} {:?}",
                c.asset_id, c.price, c.size, c.side, c.hash, c.best_bid, c.best_ask
            )
        };
        let changes: Vec<_> = message.price_changes.0.iter().map(change).collect();
        format!(
            "{} {} {:?} {:?} {changes:?}",
            message.market, message.asset_id, message.hash, message.timestamp
        )
    }

    #[test]
    fn the_venues_own_form_is_read_here() {
        assert_eq!(price_change(FRAME.as_bytes()).unwrap().price_changes.0.len(), 2);
        assert!(price_change(FRAME.replace(',', ", ").as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn what_is_read_here_is_read_by_serde_in_the_same_way(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = FRAME.as_bytes().to_vec();
            for (at, what, byte) in changes {
                let at = at.index(bytes.len());
                let byte = if what % 2 == 0 { b"0123456789.\"\\,{}[] e-"[usize::from(byte) % 21] } else { byte };
                match what % 3 {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Some(here) = price_change(&bytes) {
                let there: PriceChange<'_> = serde_json::from_slice(&bytes).unwrap();
                prop_assert_eq!(shown(&here), shown(&there));
            }
        }
    }
}
