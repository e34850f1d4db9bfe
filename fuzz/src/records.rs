//! Records in both codecs, as a broker, a file or a stranger may hand them out.

use ssmd_core::codec::{capnp, json};
use ssmd_core::{FeedName, Record};

use crate::bound::{Bound, bounded};

pub(crate) fn json(case: &[u8]) {
    let Ok((feed, record)) = bounded(Bound::PARSER, case.len(), || json::decode(case)) else { return };
    carried_by_json(&record, &feed);
    carried_by_capnp(&record);
}

pub(crate) fn capnp(case: &[u8]) {
    let records = bounded(Bound::PARSER, case.len(), || capnp::Records::new(case).collect::<Vec<_>>());
    assert!(records.len() <= case.len() / 8 + 1, "each message has its framing, or ends all");
    for record in records.into_iter().flatten() {
        both_codecs_carry(&record);
    }
    let alone = capnp::decode(case);
    if let Ok(Some(length)) = capnp::frame_bytes(case) {
        assert!(length >= 8 && (alone.is_err() || length == case.len()));
    }
}

/// Any record goes through either codec and comes back the same.
pub(crate) fn both_codecs_carry(record: &Record) {
    carried_by_json(record, &FeedName::new("fuzz").expect("it is one"));
    carried_by_capnp(record);
}

fn carried_by_json(record: &Record, feed: &FeedName) {
    let mut line = Vec::new();
    json::encode(record, feed, &mut line);
    assert!(!line.contains(&b'\n'), "a line is a line");
    let (feed_again, again) = json::decode(&line).expect("what is written is read");
    assert_eq!((&feed_again, &again), (feed, record));
    let mut twice = Vec::new();
    json::encode(&again, feed, &mut twice);
    assert!(line == twice, "and written the same");
}

fn carried_by_capnp(record: &Record) {
    let mut message = Vec::new();
    capnp::encode(record, &mut message).expect("it is not too long");
    let again = capnp::decode(&message).expect("what is written is read");
    assert_eq!(&again, record);
    let mut twice = Vec::new();
    capnp::encode(&again, &mut twice).expect("it is as long as before");
    assert!(message == twice, "and written the same");
}
