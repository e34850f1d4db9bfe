//! Round trips and refusals. The form itself is pinned by the golden files in `testdata/records`.

use proptest::prelude::*;

use super::super::strategies;
use super::*;
use crate::ErrorKind;

fn kraken() -> FeedName {
    FeedName::new("kraken").unwrap()
}

fn quote(fields: &str) -> String {
    format!(r#"{{"type":"quote","feed":"kraken","received_ns":"5","session":1,"index":2{fields}}}"#)
}

proptest! {
    #[test]
    fn records_come_back_whole(record in strategies::record()) {
        let mut line = Vec::new();
        encode(&record, &kraken(), &mut line);
        prop_assert!(!line.contains(&b'\n'));
        let (feed, again) = decode(&line).unwrap();
        prop_assert_eq!(feed, kraken());
        // Decimals are equal by value, so their digits are compared as text.
        prop_assert_eq!(format!("{again:?}"), format!("{record:?}"));
        prop_assert_eq!(again, record);
    }

    #[test]
    fn both_forms_say_the_same(record in strategies::record()) {
        let (mut message, mut line, mut again) = (Vec::new(), Vec::new(), Vec::new());
        crate::codec::capnp::encode(&record, &mut message).unwrap();
        encode(&record, &kraken(), &mut line);
        encode(&crate::codec::capnp::decode(&message).unwrap(), &kraken(), &mut again);
        prop_assert_eq!(line, again);
    }

    #[test]
    fn random_lines_never_panic(line in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(line.as_bytes());
        let _ = decode(&bytes);
        let _ = decode(quote(&format!(",\"bid\":{line}")).as_bytes());
    }
}

#[test]
fn absent_is_absent_and_never_zero() {
    let (_, record) = decode(quote("").as_bytes()).unwrap();
    assert_eq!(
        (&record.header.symbol, record.header.venue_time, record.header.sequence),
        (&None, None, None)
    );
    assert_eq!(record.body, Body::Quote(Quote::default()));
    let mut line = Vec::new();
    encode(&record, &kraken(), &mut line);
    let expected = r#"{"type":"quote","feed":"kraken","received":0,"received_ns":"5","session":1,"index":2}"#;
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

#[test]
fn escapes_and_line_breaks_are_read() {
    let line = quote(",\"symbol\":\"\\u0042TC\\/USD\"") + "\r\n";
    let (_, record) = decode(line.as_bytes()).unwrap();
    assert_eq!(record.header.symbol.unwrap().as_str(), "BTC/USD");
}

#[test]
fn what_is_wrong_is_named() {
    for (fields, kind, said) in [
        (",\"ts\":1", ErrorKind::Invalid, "a time without its nanoseconds"),
        (",\"ts\":1,\"ts_ns\":\"2000000\"", ErrorKind::Invalid, "name two times"),
        (",\"ts_ns\":\"soon\"", ErrorKind::Invalid, "not a number of nanoseconds"),
        (",\"bid\":1e99", ErrorKind::Invalid, "decimal"),
        (",\"bid\":[]", ErrorKind::Invalid, "decimal"),
        (",\"index\":3", ErrorKind::Invalid, "duplicate field"),
        (",\"source\":\"x\"", ErrorKind::Invalid, "entry id"),
        (",\"symbol\":\"\"", ErrorKind::Invalid, "symbol"),
    ] {
        let error = decode(quote(fields).as_bytes()).unwrap_err();
        assert_eq!(error.kind(), kind, "{fields}");
        assert!(error.report().contains(said), "{fields}: {}", error.report());
    }
    let unknown = quote("").replace("\"quote\"", "\"rumour\"");
    assert_eq!(decode(unknown.as_bytes()).unwrap_err().kind(), ErrorKind::Unsupported);
    let deep = quote(&format!(",\"x\":{}", "[".repeat(400_000)));
    assert_eq!(decode(deep.as_bytes()).unwrap_err().kind(), ErrorKind::Invalid);
}
