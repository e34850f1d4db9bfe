//! What can be traded, as REST lists it, and which of it a configuration means. Pure functions.

use serde::Deserialize;
use serde_json::value::RawValue;
use ssmd_core::record::Instrument;
use ssmd_core::{Decimal, Error, ErrorKind, Result, Symbol};

use crate::decoding::shown;
use crate::pattern::{is_pattern, matches};

/// Where REST lists the instruments, all in one answer.
pub const INSTRUMENTS_PATH: &str = "/derivatives/api/v3/instruments";

/// One product.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Its name as the WebSocket writes it: `PF_XBTUSD`.
    pub symbol: Symbol,
    /// Whether orders can be placed on it: indices and what has expired are listed too.
    pub tradable: bool,
    /// What it is.
    pub instrument: Instrument,
}

/// A listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Products {
    /// What could be read.
    pub products: Vec<Product>,
    /// Rows that could not be read: their name, as far as there is one, and why. They are no reason to lose the
    /// others.
    pub bad: Vec<(String, String)>,
}

/// Reads the body of `instruments`.
///
/// # Errors
/// `Invalid` if it is no listing; `Unavailable` if the venue says that it cannot answer now.
pub fn parse_instruments(body: &[u8]) -> Result<Products> {
    let listing: Listing<'_> = serde_json::from_slice(body)
        .map_err(|cause| Error::new(ErrorKind::Invalid, "read instruments").because(cause))?;
    if listing.result != "success" {
        let first = listing.errors.into_iter().next();
        let words = listing.error.or(first.and_then(|error| error.message)).unwrap_or(listing.result);
        let kind = if may_pass(&words) { ErrorKind::Unavailable } else { ErrorKind::Invalid };
        return Err(Error::new(kind, "ask instruments").with("answer", shown(&words)));
    }
    let rows = listing.instruments.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "read instruments").detail("neither instruments nor an error")
    })?;
    let mut products = Products::default();
    for row in rows {
        match product(row) {
            Ok(product) => products.products.push(product),
            Err(why) => products.bad.push((name(row), why)),
        }
    }
    Ok(products)
}

/// The products that are meant: those written out as they are, and of those that can be traded all that match a
/// pattern, in which `*` stands for any text. Sorted, each one once.
///
/// # Errors
/// `Invalid` for a text that can be no product, one in small letters among them: the venue would take it and
/// answer with another name.
pub fn select(products: &[Product], wanted: &[String]) -> Result<Vec<Symbol>> {
    let mut symbols = Vec::new();
    for text in wanted {
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(Error::new(ErrorKind::Invalid, "read product")
                .with("symbol", shown(text))
                .hint(format!("write it as the venue does: {}", shown(&text.to_ascii_uppercase()))));
        }
        if is_pattern(text) {
            let meant = products.iter().filter(|p| p.tradable && matches(text, p.symbol.as_str()));
            symbols.extend(meant.map(|product| product.symbol.clone()));
        } else {
            symbols.push(Symbol::new(text)?);
        }
    }
    symbols.sort();
    symbols.dedup();
    Ok(symbols)
}

#[derive(Deserialize)]
struct Listing<'a> {
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

fn product(row: &RawValue) -> Result<Product, String> {
    let row: Row = serde_json::from_str(row.get()).map_err(|error| shown(&error.to_string()))?;
    // Listings of 2021 are in small letters, answers on the WebSocket never.
    let symbol = Symbol::new(&row.symbol.to_ascii_uppercase()).map_err(|error| error.to_string())?;
    let size_increment = row.size_precision.and_then(|digits| {
        let tens = 10_i128.checked_pow(digits.min(0).unsigned_abs())?;
        Decimal::new(tens, digits.max(0).unsigned_abs()).ok()
    });
    Ok(Product {
        symbol,
        tradable: row.tradeable && !row.is_expired,
        instrument: Instrument {
            base: row.base,
            quote: row.quote,
            price_increment: row.tick_size,
            size_precision: row.size_precision.and_then(|digits| u32::try_from(digits).ok()),
            size_increment,
            ..Instrument::default()
        },
    })
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
    use super::*;

    const BODY: &[u8] = br#"{"result":"success","instruments":[
        {"symbol":"PF_XBTUSD","tradeable":true,"tickSize":1,"contractValueTradePrecision":4,"base":"BTC","quote":"USD"},
        {"symbol":"pi_xbtusd","tradeable":true,"tickSize":0.5},
        {"symbol":"PF_PEPEUSD","tradeable":true,"contractValueTradePrecision":-3,"isExpired":false},
        {"symbol":"FI_XBTUSD_210730","tradeable":true,"isExpired":true},
        {"symbol":"in_xbtusd","tradeable":false},
        {"symbol":"ODD"},17]}"#;

    fn names(wanted: &[&str]) -> Vec<String> {
        let products = parse_instruments(BODY).unwrap().products;
        let wanted: Vec<_> = wanted.iter().map(|text| (*text).to_owned()).collect();
        select(&products, &wanted).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pattern_means_what_can_be_traded_and_a_name_means_itself() {
        assert_eq!(names(&["*"]), ["PF_PEPEUSD", "PF_XBTUSD", "PI_XBTUSD"]);
        assert_eq!(names(&["PF_*", "PF_XBTUSD"]), ["PF_PEPEUSD", "PF_XBTUSD"]);
        assert_eq!(names(&["*XBT*", "IN_XBTUSD"]), ["IN_XBTUSD", "PF_XBTUSD", "PI_XBTUSD"]);
        let error = select(&[], &["pf_*".to_owned()]).unwrap_err();
        assert_eq!(error.hint_text(), Some("write it as the venue does: PF_*"));
    }

    #[test]
    fn steps_are_exact_and_bad_rows_are_told() {
        let listing = parse_instruments(BODY).unwrap();
        let steps = |at: usize| listing.products[at].instrument.size_increment.unwrap().to_string();
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
