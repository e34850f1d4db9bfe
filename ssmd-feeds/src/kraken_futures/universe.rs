//! What can be traded, as REST lists it. Pure functions.

use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::record::Instrument;
use ssmd_core::{Decimal, Error, ErrorKind, Result, Symbol};

use crate::decoding::shown;
use crate::listing::{Listed, Listing};

/// Where REST lists the instruments, all in one answer.
pub const INSTRUMENTS_PATH: &str = "/derivatives/api/v3/instruments";

/// Reads the body of `instruments`.
///
/// # Errors
/// `Invalid` if it is no listing; `Unavailable` if the venue says that it cannot answer now.
pub fn parse_instruments(body: &[u8]) -> Result<Listing> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|cause| Error::new(ErrorKind::Invalid, "read instruments").because(cause))?;
    if answer.result != "success" {
        let first = answer.errors.into_iter().next();
        let words = answer.error.or(first.and_then(|error| error.message)).unwrap_or(answer.result);
        let kind = if may_pass(&words) { ErrorKind::Unavailable } else { ErrorKind::Invalid };
        return Err(Error::new(kind, "ask instruments").with("answer", shown(&words)));
    }
    let rows = answer.instruments.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "read instruments").detail("neither instruments nor an error")
    })?;
    let mut listing = Listing::default();
    for row in rows {
        match product(row) {
            Ok(product) => listing.listed.push(product),
            Err(why) => listing.bad.push((name(row), why)),
        }
    }
    Ok(listing)
}

/// Checks what a document names.
///
/// # Errors
/// `Invalid` for a text in small letters: the venue would take it and answer with another name.
pub fn check(symbols: &[String]) -> Result<()> {
    match symbols.iter().find(|text| text.bytes().any(|byte| byte.is_ascii_lowercase())) {
        None => Ok(()),
        Some(text) => Err(Error::new(ErrorKind::Invalid, "read product")
            .with("symbol", shown(text))
            .hint(format!("write it as the venue does: {}", shown(&text.to_ascii_uppercase())))),
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    result: String,
    /// One of the two forms in which REST says what is wrong.
    error: Option<String>,
    /// The other one.
    #[serde(default)]
    errors: Vec<Problem>,
    #[serde(borrow)]
    instruments: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Problem {
    message: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    symbol: String,
    tradeable: bool,
    #[serde(rename = "isExpired", default)]
    is_expired: bool,
    base: Option<String>,
    quote: Option<String>,
    #[serde(rename = "tickSize")]
    tick_size: Option<Decimal>,
    /// Digits after the point of a size; below zero, sizes are multiples of ten, a hundred …
    #[serde(rename = "contractValueTradePrecision")]
    size_precision: Option<i32>,
}

fn product(row: &RawValue) -> Result<Listed, String> {
    let row: Row = serde_json::from_str(row.get()).map_err(|error| shown(&error.to_string()))?;
    // Listings of 2021 are in small letters, answers on the WebSocket never.
    let symbol = Symbol::new(&row.symbol.to_ascii_uppercase()).map_err(|error| error.to_string())?;
    let size_increment = row.size_precision.and_then(|digits| {
        let tens = 10_i128.checked_pow(digits.min(0).unsigned_abs())?;
        Decimal::new(tens, digits.max(0).unsigned_abs()).ok()
    });
    let instrument = Instrument {
        base: row.base,
        quote: row.quote,
        price_increment: row.tick_size,
        size_precision: row.size_precision.and_then(|digits| u32::try_from(digits).ok()),
        size_increment,
        ..Instrument::default()
    };
    Ok(Listed::new(symbol, row.tradeable && !row.is_expired, instrument))
}

/// The name of a row that is no product.
fn name(row: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        symbol: String,
    }
    serde_json::from_str::<Named>(row.get()).map_or_else(|_| shown(row.get()), |named| shown(&named.symbol))
}

/// Whether the same question may be answered later.
fn may_pass(words: &str) -> bool {
    ["apiLimitExceeded", "Unavailable", "Server Error"].iter().any(|passing| words.contains(passing))
}

#[cfg(test)]
mod tests {
    use ssmd_core::Timestamp;

    use super::*;

    const BODY: &[u8] = br#"{"result":"success","instruments":[
        {"symbol":"PF_XBTUSD","tradeable":true,"tickSize":1,"contractValueTradePrecision":4,"base":"BTC","quote":"USD"},
        {"symbol":"pi_xbtusd","tradeable":true,"tickSize":0.5},
        {"symbol":"PF_PEPEUSD","tradeable":true,"contractValueTradePrecision":-3,"isExpired":false},
        {"symbol":"FI_XBTUSD_210730","tradeable":true,"isExpired":true},
        {"symbol":"in_xbtusd","tradeable":false},
        {"symbol":"ODD"},17]}"#;

    fn names(wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<_> = wanted.iter().map(|text| (*text).to_owned()).collect();
        let listing = parse_instruments(BODY).unwrap();
        let meant = listing.select(&wanted, &Default::default(), Timestamp::from_nanos(0)).unwrap();
        meant.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pattern_means_what_can_be_traded_and_a_name_means_itself() {
        assert_eq!(names(&["*"]), ["PF_PEPEUSD", "PF_XBTUSD", "PI_XBTUSD"]);
        assert_eq!(names(&["PF_*", "PF_XBTUSD"]), ["PF_PEPEUSD", "PF_XBTUSD"]);
        assert_eq!(names(&["*XBT*", "IN_XBTUSD"]), ["IN_XBTUSD", "PF_XBTUSD", "PI_XBTUSD"]);
        let error = check(&["PF_*".to_owned(), "pf_*".to_owned()]).unwrap_err();
        assert_eq!(error.hint_text(), Some("write it as the venue does: PF_*"));
    }

    #[test]
    fn steps_are_exact_and_bad_rows_are_told() {
        let listing = parse_instruments(BODY).unwrap();
        let steps = |at: usize| listing.listed[at].instrument.size_increment.unwrap().to_string();
        assert_eq!((steps(0).as_str(), steps(2).as_str()), ("0.0001", "1000"));
        let bad: Vec<_> = listing.bad.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(bad, ["ODD", "17"]);
    }

    #[test]
    fn both_forms_of_an_error_are_errors() {
        let kind = |body: &[u8]| parse_instruments(body).unwrap_err().kind();
        assert_eq!(kind(br#"{"result":"error","error":"apiLimitExceeded"}"#), ErrorKind::Unavailable);
        let body = br#"{"result":"error","errors":[{"code":1,"message":"Unavailable"}],"status":"X"}"#;
        assert_eq!(kind(body), ErrorKind::Unavailable);
        for body in [&br#"{"result":"error","error":"nope"}"#[..], b"{}", b"<html>", b"", b"[1]", b"[]"] {
            assert_eq!(kind(body), ErrorKind::Invalid);
        }
        assert_eq!(kind(br#"{"result":"success"}"#), ErrorKind::Invalid);
    }
}
