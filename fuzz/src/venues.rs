//! What a venue, or whoever sits between, may send: frames to protocols and decoders, bodies to listings.
//!
//! A decoder's target follows from the table of venues alone. A venue's protocol takes a line in [`PROTOCOLS`] and its
//! listing one in [`LISTINGS`]; their seeds are the frames of `ssmd-feeds/testdata/NAME`.

use std::collections::HashSet;
use std::mem::discriminant;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::{Decode, Frame, FrameKind, Output, Result, SessionId, Symbol, Timestamp, Wanted};
use ssmd_feeds::kalshi::KalshiProtocol;
use ssmd_feeds::kraken::KrakenProtocol;
use ssmd_feeds::kraken_futures::KrakenFuturesProtocol;
use ssmd_feeds::listing::{Listed, Listing};
use ssmd_feeds::polymarket::PolymarketProtocol;
use ssmd_feeds::{Protocol, VENUES, VenueInfo, kalshi, kraken, kraken_futures, polymarket};

use crate::bound::{Bound, bounded};
use crate::{Target, records, seeds};

/// How to begin a connection of each venue.
const PROTOCOLS: &[(&str, RunProtocol)] = &[
    ("kraken", |venue, case| protocol(KrakenProtocol::new(URL, venue.words.starter.depth), venue, case)),
    ("kraken-futures", |venue, case| protocol(KrakenFuturesProtocol::new(URL), venue, case)),
    ("kalshi", |venue, case| protocol(KalshiProtocol::new(URL), venue, case)),
    ("polymarket", |venue, case| protocol(PolymarketProtocol::new(URL), venue, case)),
];

/// Venues' listings: the target's name, how a body is read, and bodies with a pattern before them.
const LISTINGS: &[(&str, ParseListing, &[&str])] = &[
    ("kraken_pairs", pairs, seeds::PAIRS),
    ("kraken_futures_instruments", kraken_futures::universe::parse_instruments, seeds::INSTRUMENTS),
    ("kalshi_markets", |body| Ok(kalshi::universe::parse_markets(body)?.listing), seeds::KALSHI_MARKETS),
    ("polymarket_markets", tokens, seeds::POLYMARKET_MARKETS),
];

/// Runs a case on a connection that was just made.
type RunProtocol = fn(&VenueInfo, &[u8]);
type ParseListing = fn(&[u8]) -> Result<Listing>;

const URL: &str = "ws://localhost";
/// Frames of one case. Enough for a snapshot, its updates and what follows a broken book.
pub(crate) const FRAMES_MAX: usize = 64;
/// The most bytes of a case of frames.
const FRAMES_BYTES_MAX: usize = 16 * 1024;
const LISTING_BYTES_MAX: usize = 8 * 1024;
/// What a connection may send in answer to one frame: a batch of subscriptions of each channel that is wanted.
const SENT_MAX: usize = 64;
/// What some venues want to hear now and then, and is no JSON.
const PING: &[u8] = b"PING";
/// What a decoder keeps of books grows with what all frames said, and each frame's records come on top.
const DECODER: Bound = Bound { fixed: 64 * 1024, each: 256 };

/// The targets of every venue.
pub(crate) fn targets() -> Vec<Target> {
    let decoders = VENUES.iter().map(|venue| {
        let about =
            "frames, a line each, to a decoder: untouched output on error, the last record of each kind carried by both codecs";
        frames_target(venue, "decode", about, move |case| decode((venue.decoder)(), case))
    });
    let protocols = PROTOCOLS.iter().map(|(name, run)| {
        let venue = VENUES
            .iter()
            .copied()
            .find(|venue| venue.words.name == *name)
            .expect("it is in the table of venues");
        let about = "frames, a line each, to a subscribed connection: answers are JSON, and few";
        frames_target(venue, "protocol", about, move |case| run(venue, case))
    });
    let listings = LISTINGS.iter().map(|&(name, parse, bodies)| Target {
        name: name.to_owned(),
        about: "the body of a listing and a pattern: what is meant is listed, sorted, each one once",
        bytes_max: LISTING_BYTES_MAX,
        run: Box::new(move |case| listing(parse, case)),
        seeds: Box::new(|| bodies.iter().map(|body| body.as_bytes().to_vec()).collect()),
        recorded: Vec::new(),
    });
    decoders.chain(protocols).chain(listings).collect()
}

fn frames_target(
    venue: &'static VenueInfo,
    what: &str,
    about: &'static str,
    run: impl Fn(&[u8]) + Send + Sync + std::panic::RefUnwindSafe + 'static,
) -> Target {
    let name = venue.words.name;
    Target {
        name: format!("{}_{what}", name.replace('-', "_")),
        about,
        bytes_max: FRAMES_BYTES_MAX,
        run: Box::new(run),
        seeds: Box::new(|| seeds::frames(name)),
        recorded: vec![name],
    }
}

fn protocol(mut protocol: impl Protocol, venue: &VenueInfo, case: &[u8]) {
    let mut twin = protocol.clone();
    let wanted = wanted(venue);
    let (mut sent, mut twins) = (Vec::new(), Vec::new());
    protocol.want(&wanted, Duration::ZERO, &mut sent);
    twin.want(&wanted, Duration::ZERO, &mut twins);
    for (at, (frame, _)) in frames(case).filter(|(_, kind)| *kind != FrameKind::Sent).enumerate() {
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
        if at % 16 == 15 {
            let symbol = symbol(venue.words.starter.symbols[0]);
            protocol.resync(&symbol, now, &mut sent);
            twin.resync(&symbol, now, &mut twins);
        }
    }
    assert_eq!(sent, twins, "the same frames bring about the same");
    for text in sent {
        let is_json = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
        assert!(is_json || &*text == PING, "{text:?} is no JSON");
    }
}

fn decode(mut decoder: Box<dyn Decode>, case: &[u8]) {
    let mut out = Vec::new();
    let mut count = 0;
    bounded(DECODER, case.len(), || {
        for (index, (payload, kind)) in frames(case).enumerate() {
            count += 1;
            let frame = frame(index as u64, payload, kind);
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
    // One record of each kind: the codecs have targets of their own, and this one more executions.
    let mut kinds = HashSet::new();
    for output in out.iter().rev() {
        match output {
            Output::Record(record) if kinds.insert(discriminant(&record.body)) => {
                records::both_codecs_carry(record);
            }
            Output::Record(_) => {}
            Output::Resync(symbol) => assert!(!symbol.as_str().is_empty()),
        }
    }
}

/// The pattern stands before the first line feed, the body behind it.
fn listing(parse: ParseListing, case: &[u8]) {
    let at = case.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (pattern, body) = case.split_at(at);
    let Ok(listing) = bounded(Bound::PARSER, case.len(), || parse(body)) else { return };
    let pattern = format!("{}*", String::from_utf8_lossy(pattern));
    let meant = listing.select(std::slice::from_ref(&pattern), &Default::default(), Timestamp::from_nanos(0));
    let meant = meant.expect("a pattern needs no symbol");
    assert!(meant.windows(2).all(|two| two[0] < two[1]), "sorted, each one once");
    let listed = |symbol: &Symbol| listing.listed.iter().any(|listed| listed.symbol == *symbol);
    assert!(meant.iter().all(listed), "nothing is meant that is not listed");
}

fn pairs(body: &[u8]) -> Result<Listing> {
    let listing = kraken::universe::parse_pairs(body)?;
    for pair in &listing.listed {
        let names = (pair.instrument.base.as_deref(), pair.instrument.quote.as_deref());
        let (Some(base), Some(quote)) = names else { panic!("a pair of nothing") };
        assert_eq!(pair.symbol.as_str(), format!("{base}/{quote}"));
    }
    Ok(listing)
}

fn tokens(body: &[u8]) -> Result<Listing> {
    let page = polymarket::universe::parse_page(body)?;
    let listed: Vec<Listed> = page.markets.into_iter().flat_map(|market| market.tokens).collect();
    Ok(Listing { listed, bad: page.bad })
}

fn wanted(venue: &VenueInfo) -> Wanted {
    let starter = &venue.words.starter;
    let channels: Vec<_> = starter.channels.iter().map(|text| text.parse().expect("a channel")).collect();
    let symbols: Vec<_> = starter.symbols.iter().map(|text| symbol(text)).collect();
    Wanted::product(&channels, &symbols)
}

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).expect("a symbol")
}

/// Lines; one that begins with `>` is what we sent.
fn frames(case: &[u8]) -> impl Iterator<Item = (&[u8], FrameKind)> {
    case.split(|byte| *byte == b'\n').take(FRAMES_MAX).map(|line| match line.strip_prefix(b">") {
        Some(sent) => (sent, FrameKind::Sent),
        None => (line, FrameKind::Data),
    })
}

fn frame(index: u64, payload: &[u8], kind: FrameKind) -> Frame {
    Frame {
        received: Timestamp::from_nanos(1_785_641_750_295_158_100),
        elapsed: Duration::ZERO,
        session: SessionId(1),
        index,
        kind,
        binary: false,
        payload: Bytes::copy_from_slice(payload),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_venue_has_its_targets() {
        for venue in VENUES {
            let name = venue.words.name;
            assert!(PROTOCOLS.iter().any(|(known, _)| *known == name), "{name} has no line in PROTOCOLS");
            assert!(!seeds::frames(name).is_empty(), "{name} has no frames in ssmd-feeds/testdata");
        }
    }
}
