//! What can be traded, as REST `AssetPairs` lists it. Pure functions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::record::{Instrument, TradingStatus};
use ssmd_core::{Decimal, Error, ErrorKind, Result, Symbol};

use crate::listing::{Listed, Listing};

/// Where REST lists the pairs, all in one answer.
pub const PAIRS_PATH: &str = "/0/public/AssetPairs";

/// Reads the body of `AssetPairs`.
///
/// # Errors
/// `Invalid` if it is no listing; `Unavailable` if the venue says so instead (HTTP 200 does not mean success).
pub fn parse_pairs(body: &[u8]) -> Result<Listing> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|cause| Error::new(ErrorKind::Invalid, "read AssetPairs").because(cause))?;
    if let Some(words) = answer.error.first() {
        let passing = words.starts_with("EService") || words.contains("Rate limit");
        let kind = if passing { ErrorKind::Unavailable } else { ErrorKind::Invalid };
        let shown: String = words.chars().take(120).collect();
        return Err(Error::new(kind, "ask AssetPairs").with("answer", shown));
    }
    let rows = answer.result.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "read AssetPairs").detail("neither a result nor an error")
    })?;
    let mut listing = Listing::default();
    for (name, row) in rows {
        match pair(row) {
            Ok(pair) => listing.listed.push(pair),
            Err(why) => listing.bad.push((name, why)),
        }
    }
    Ok(listing)
}

/// A pair on which orders can be placed, of whatever kind.
fn is_tradable(status: TradingStatus) -> bool {
    use TradingStatus::{LimitOnly, Online, PostOnly, ReduceOnly};
    matches!(status, Online | PostOnly | LimitOnly | ReduceOnly)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    error: Vec<String>,
    #[serde(borrow)]
    result: Option<BTreeMap<String, &'a RawValue>>,
}

#[derive(Deserialize)]
struct Row {
    wsname: Option<String>,
    status: Option<String>,
    pair_decimals: Option<u32>,
    lot_decimals: Option<u32>,
    tick_size: Option<Decimal>,
    ordermin: Option<Decimal>,
    costmin: Option<Decimal>,
}

fn pair(row: &RawValue) -> Result<Listed, String> {
    let row: Row = serde_json::from_str(row.get()).map_err(|error| error.to_string())?;
    let name_of_old = row.wsname.ok_or("it has no name on the WebSocket")?;
    let (base, quote) = name_of_old.split_once('/').ok_or("its WebSocket name is not BASE/QUOTE")?;
    let (base, quote) = (modern(base), modern(quote));
    // A listing of before 2022 says nothing of a status, which means that all can be traded.
    let tradable = row.status.as_deref().is_none_or(|word| is_tradable(super::trading_status(word)));
    let symbol = Symbol::new(&format!("{base}/{quote}")).map_err(|error| error.to_string())?;
    let instrument = Instrument {
        base: Some(base.to_owned()),
        quote: Some(quote.to_owned()),
        status: row.status,
        price_precision: row.pair_decimals,
        size_precision: row.lot_decimals,
        price_increment: row.tick_size,
        size_increment: None,
        size_min: row.ordermin,
        cost_min: row.costmin,
    };
    Ok(Listed::new(symbol, tradable, instrument))
}

/// REST still uses the codes of the first WebSocket; the second one refuses them.
fn modern(code: &str) -> &str {
    match code {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use ssmd_core::Timestamp;

    use super::*;

    const BODY: &[u8] = br#"{"error":[],"result":{
        "XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT\/USD","pair_decimals":1,"lot_decimals":8,
            "tick_size":"0.1","ordermin":"0.00005","costmin":"0.5","status":"online"},
        "XDGUSD":{"altname":"XDGUSD","wsname":"XDG/USD","status":"post_only"},
        "ETHXBT":{"altname":"ETHXBT","wsname":"ETH/XBT"},
        "OLDUSD":{"altname":"OLDUSD","wsname":"OLD/USD","status":"cancel_only"},
        "NEWUSD":{"altname":"NEWUSD","wsname":"NEW/USD","status":"a new word"},
        "DARK.d":{"altname":"DARK.d"},
        "ODD":{"altname":"ODD","wsname":"ODD"},
        "BAD":17}}"#;

    fn names(wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<_> = wanted.iter().map(|text| (*text).to_owned()).collect();
        let meant = parse_pairs(BODY).unwrap().select(&wanted, &Default::default(), Timestamp::from_nanos(0));
        meant.unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pairs_have_the_names_of_the_websocket_and_bad_rows_are_told() {
        let pairs = parse_pairs(BODY).unwrap();
        assert_eq!(
            pairs.bad.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["BAD", "DARK.d", "ODD"]
        );
        let bitcoin = pairs.listed.iter().find(|pair| pair.symbol.as_str() == "BTC/USD").unwrap();
        assert_eq!(bitcoin.instrument.price_increment.unwrap().to_string(), "0.1");
    }

    #[test]
    fn patterns_mean_what_can_be_traded_and_names_mean_themselves() {
        assert_eq!(names(&["*"]), ["BTC/USD", "DOGE/USD", "ETH/BTC"]);
        assert_eq!(names(&["*/USD"]), ["BTC/USD", "DOGE/USD"]);
        assert_eq!(names(&["BTC/*", "B*C/*D", "OLD/USD", "BTC/USD"]), ["BTC/USD", "OLD/USD"]);
        assert_eq!(names(&["X*"]), [""; 0]);
    }

    #[test]
    fn an_error_in_a_good_answer_is_an_error() {
        let busy = parse_pairs(br#"{"error":["EService:Busy"]}"#).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Unavailable);
        for body in [&br#"{"error":["EQuery:Unknown asset pair"]}"#[..], b"{}", b"<html>", b"", b"[1]"] {
            assert_eq!(parse_pairs(body).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
