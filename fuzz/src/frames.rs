//! Kraken: what a venue, or whoever sits between, may send.

use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Decode, Frame, FrameKind, Output, SessionId, Symbol, Timestamp, Wanted};
use ssmd_feeds::Protocol;
use ssmd_feeds::kraken::universe::parse_pairs;
use ssmd_feeds::kraken::{KrakenDecode, KrakenProtocol};

use crate::bound::{Bound, bounded};
use crate::records;

/// Frames of one case. Enough for a snapshot, its updates and what follows a broken book.
const FRAMES_MAX: usize = 64;
/// What a connection may send in answer to one frame: a batch of subscriptions of each channel that is wanted.
const SENT_MAX: usize = 64;
/// What a decoder keeps of books grows with what all frames said, and each frame's records come on top.
const DECODER: Bound = Bound { fixed: 64 * 1024, each: 256 };

pub(crate) fn protocol(case: &[u8]) {
    let mut protocol = KrakenProtocol::new("ws://localhost", Some(10));
    let mut twin = protocol.clone();
    let wanted = wanted();
    let (mut sent, mut twins) = (Vec::new(), Vec::new());
    protocol.want(&wanted, Duration::ZERO, &mut sent);
    twin.want(&wanted, Duration::ZERO, &mut twins);
    for (at, frame) in frames(case).enumerate() {
        let now = Duration::from_millis(250 * (at as u64 + 1));
        let before = sent.len();
        let heard = bounded(Bound::PARSER, case.len(), || protocol.heard(frame, now, &mut sent));
        assert_eq!(heard.is_ok(), twin.heard(frame, now, &mut twins).is_ok(), "it is deterministic");
        if heard.is_err() {
            return;
        }
        protocol.beat(now, &mut sent);
        twin.beat(now, &mut twins);
        assert!(sent.len() - before <= SENT_MAX, "{} frames in answer to one", sent.len() - before);
        assert!(protocol.missing().topics <= wanted.0.len());
        let symbol = Symbol::new("BTC/USD").expect("it is one");
        if at % 16 == 15 {
            protocol.resync(&symbol, now, &mut sent);
            twin.resync(&symbol, now, &mut twins);
        }
    }
    assert_eq!(sent, twins, "the same frames bring about the same");
    for text in sent {
        assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok(), "{text:?} is no JSON");
    }
}

pub(crate) fn decode(case: &[u8]) {
    let mut decoder = KrakenDecode::new();
    let mut out = Vec::new();
    let mut count = 0;
    bounded(DECODER, case.len(), || {
        for (index, payload) in frames(case).enumerate() {
            count += 1;
            let frame = frame(index as u64, payload);
            let (before, counts) = (out.len(), decoder.counts());
            let decoded = decoder.decode(&frame, &mut out);
            let after = decoder.counts();
            if decoded.is_err() {
                assert_eq!(out.len(), before, "an error leaves the output as it was");
                assert_eq!(after.records, counts.records);
                assert_eq!(after.malformed + after.unknown, counts.malformed + counts.unknown + 1);
            }
            let records = out[before..].iter().filter(|output| matches!(output, Output::Record(_))).count();
            assert_eq!(after.records, counts.records + records as u64, "records are counted");
        }
    });
    assert_eq!(decoder.counts().frames, count, "every frame is counted");
    for output in &out {
        match output {
            Output::Record(record) => records::both_codecs_carry(record),
            Output::Resync(symbol) => assert!(!symbol.as_str().is_empty()),
        }
    }
}

/// The pattern stands before the first line feed, the body behind it.
pub(crate) fn pairs(case: &[u8]) {
    let at = case.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (pattern, body) = case.split_at(at);
    let Ok(listing) = bounded(Bound::PARSER, case.len(), || parse_pairs(body)) else { return };
    for pair in &listing.listed {
        let names = (pair.instrument.base.as_deref(), pair.instrument.quote.as_deref());
        let (Some(base), Some(quote)) = names else { panic!("a pair of nothing") };
        assert_eq!(pair.symbol.as_str(), format!("{base}/{quote}"));
    }
    let pattern = format!("{}*", String::from_utf8_lossy(pattern));
    let meant = listing
        .select(std::slice::from_ref(&pattern), &Default::default(), Timestamp::from_nanos(0))
        .expect("a pattern needs no symbol");
    assert!(meant.windows(2).all(|two| two[0] < two[1]), "sorted, each one once");
    let listed = |symbol: &Symbol| listing.listed.iter().any(|pair| pair.symbol == *symbol);
    assert!(meant.iter().all(listed), "nothing is meant that is not listed");
}

fn wanted() -> Wanted {
    let channels = ["book:10", "trade", "ticker"].map(|text| text.parse().expect("a channel"));
    let symbols = ["BTC/USD", "ETH/USD"].map(|text| Symbol::new(text).expect("a symbol"));
    Wanted::product(&channels, &symbols)
}

fn frames(case: &[u8]) -> impl Iterator<Item = &[u8]> {
    case.split(|byte| *byte == b'\n').take(FRAMES_MAX)
}

fn frame(index: u64, payload: &[u8]) -> Frame {
    Frame {
        received: Timestamp::from_nanos(1_785_641_750_295_158_100),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index,
        kind: FrameKind::Data,
        binary: false,
        payload: Bytes::copy_from_slice(payload),
        source: None,
    }
}
