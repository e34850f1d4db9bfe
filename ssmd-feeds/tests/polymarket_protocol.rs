//! Polymarket's protocol against a venue in memory: what is wanted becomes so, whichever books are lost; and a stream
//! that stands still is noticed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use ssmd_core::{ErrorKind, FrameKind, Symbol, Topic, Wanted};
use ssmd_feeds::Protocol;
use ssmd_feeds::polymarket::PolymarketProtocol;

fn protocol() -> PolymarketProtocol {
    PolymarketProtocol::new("ws://127.0.0.1:1")
}

fn wanted<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Wanted {
    let topic = |token: &str| Topic {
        channel: "market".parse().unwrap(),
        symbol: (!token.is_empty()).then(|| Symbol::new(token).unwrap()),
    };
    Wanted(tokens.into_iter().map(topic).collect())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What was sent, without pings.
fn requests(send: &mut Vec<Bytes>) -> Vec<Value> {
    let frames = send.drain(..).filter(|frame| &**frame != b"PING");
    frames.map(|frame| serde_json::from_slice(&frame).unwrap()).collect()
}

fn tokens(request: &Value) -> Vec<String> {
    let tokens = request["assets_ids"].as_array().unwrap();
    tokens.iter().map(|token| token.as_str().unwrap().to_owned()).collect()
}

fn book(token: &str, state: u64) -> Value {
    json!({"market": "0x1", "asset_id": token, "timestamp": "1", "hash": format!("{state:040x}"), "bids": [],
        "asks": [], "tick_size": "0.01", "event_type": "book", "last_trade_price": "0.5"})
}

fn hear(protocol: &mut PolymarketProtocol, frame: &Value, now: Duration) {
    let kind = protocol.heard(frame.to_string().as_bytes(), now, &mut Vec::new()).unwrap();
    assert_eq!(kind, FrameKind::Data);
}

#[test]
fn the_first_request_opens_the_channel_and_later_ones_are_operations() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    protocol.want(&wanted(["1", "2"]), seconds(0), &mut send);
    let opening = json!({"type": "market", "assets_ids": ["1", "2"], "custom_feature_enabled": true,
        "initial_dump": true, "level": 2});
    assert_eq!(requests(&mut send), [opening]);
    hear(&mut protocol, &json!([book("1", 0), book("2", 0)]), seconds(0));
    protocol.want(&wanted(["2", "3"]), seconds(1), &mut send);
    let leaves = json!({"operation": "unsubscribe", "assets_ids": ["1"]});
    let asks = json!({"operation": "subscribe", "assets_ids": ["3"], "custom_feature_enabled": true});
    assert_eq!(requests(&mut send), [leaves, asks]);
    assert_eq!(protocol.missing().topics, 1);
}

#[test]
fn requests_are_batched_and_bounded() {
    let names: Vec<_> = (0..1_500).map(|at| at.to_string()).collect();
    let (mut protocol, mut send, mut asked) = (protocol(), Vec::new(), 0);
    protocol.want(&wanted(names.iter().map(String::as_str)), seconds(0), &mut send);
    for (second, expected) in [(0, 10), (1, 5), (2, 0)] {
        if second > 0 {
            protocol.beat(seconds(second), &mut send);
        }
        let sent = requests(&mut send);
        assert_eq!(sent.len(), expected, "{second}");
        assert!(sent.iter().all(|request| tokens(request).len() == 100));
        asked += sent.len() * 100;
    }
    assert_eq!((asked, protocol.missing().topics), (1_500, 1_500));
}

#[test]
fn a_token_without_a_book_is_asked_for_again_and_stops_no_other() {
    let (mut protocol, mut send, mut asked) = (protocol(), Vec::new(), Vec::new());
    protocol.want(&wanted(["1", "2"]), seconds(0), &mut send);
    requests(&mut send);
    hear(&mut protocol, &json!([book("1", 0)]), seconds(0));
    for second in 1..80 {
        // Something else is heard all the time.
        hear(&mut protocol, &json!({"event_type": "last_trade_price"}), seconds(second));
        protocol.beat(seconds(second), &mut send);
        asked.extend(requests(&mut send).iter().map(|request| (second, tokens(request).join(" "))));
    }
    let twice = [11, 11, 23, 23, 37, 37, 55, 55].map(|second| (second, "2".to_owned()));
    assert_eq!(asked, twice, "each time it is left and asked for");
    let missing = protocol.missing();
    assert_eq!((missing.topics, missing.refused.len()), (1, 1));
    assert!(missing.refused[0].1.starts_with("no book came"));
    let complaint = protocol.heard(b"INVALID OPERATION", seconds(80), &mut send).unwrap();
    assert_eq!(complaint, FrameKind::Control);
    assert!(protocol.missing().refused[0].1.ends_with("INVALID OPERATION"));
}

#[test]
fn a_broken_book_is_left_and_asked_for_alone_and_not_without_end() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    protocol.want(&wanted(["1", "2"]), seconds(0), &mut send);
    hear(&mut protocol, &json!([book("1", 0), book("2", 0)]), seconds(0));
    requests(&mut send);
    let (one, other) = (Symbol::new("1").unwrap(), Symbol::new("9").unwrap());
    protocol.resync(&other, seconds(1), &mut send);
    assert_eq!(requests(&mut send).len(), 0, "it is not wanted");
    let mut cycles = Vec::new();
    for tenth in 10..1_000_u32 {
        let now = Duration::from_millis(100) * tenth;
        hear(&mut protocol, &json!({"event_type": "last_trade_price"}), now);
        protocol.resync(&one, now, &mut send);
        if tenth % 10 == 0 {
            protocol.beat(now, &mut send);
        }
        let sent = requests(&mut send);
        if !sent.is_empty() {
            let words: Vec<_> = sent.iter().map(|request| request["operation"].as_str().unwrap()).collect();
            assert_eq!(words, ["unsubscribe", "subscribe"]);
            assert!(sent.iter().all(|request| tokens(request) == ["1"]));
            hear(&mut protocol, &book("1", u64::from(tenth)), now);
            cycles.push(tenth / 10);
        }
    }
    assert_eq!(cycles, [1, 2, 4, 8, 16, 32, 64], "seconds");
}

#[test]
fn pings_go_out_every_two_seconds_in_text() {
    let (mut protocol, mut send, mut pings) = (protocol(), Vec::new(), Vec::new());
    for second in 1..=10 {
        protocol.beat(seconds(second), &mut send);
        pings.extend(send.drain(..).map(|frame| (second, frame)));
    }
    let expected = [1, 3, 5, 7, 9].map(|second| (second, Bytes::from_static(b"PING")));
    assert_eq!(pings, expected);
    assert!(protocol.silence() < seconds(6) && protocol.silence() > 2 * seconds(2));
}

#[test]
fn what_cannot_be_asked_for_is_told() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    let mut topics = wanted(["", "1", "no-such-market"]);
    topics.0.insert(Topic { channel: "book".parse().unwrap(), symbol: Symbol::new("1").ok() });
    protocol.want(&topics, seconds(0), &mut send);
    let asked = requests(&mut send);
    assert_eq!(asked.iter().map(tokens).collect::<Vec<_>>(), [["1"]]);
    assert_eq!((protocol.missing().topics, protocol.missing().refused.len()), (4, 3));
    let unlisted =
        ("market no-such-market".to_owned(), "not listed: the venue knows no such market".to_owned());
    assert!(protocol.missing().refused.contains(&unlisted), "{:?}", protocol.missing());
}

#[test]
fn frames_are_told_apart_as_the_decoder_does() {
    use FrameKind::{Control, Data, Unknown};
    for (frame, kind) in [
        ("PONG", Control),
        ("", Control),
        ("[]", Control),
        ("INVALID OPERATION", Control),
        (r#"{"error":"no"}"#, Control),
        (r#"[{"event_type":"book"},{"event_type":"price_change"}]"#, Data),
        (r#"{"event_type":"new_market"}"#, Control),
        (r#"[{"event_type":"market_resolved"},{"event_type":"new_market"}]"#, Control),
        (r#"[{"event_type":"new_market"},{"event_type":"price_change"}]"#, Data),
        (r#"[{"event_type":"book"},{"event_type":"what"}]"#, Unknown),
        (r#"{"event_type":"what"}"#, Unknown),
        ("{}", Unknown),
        ("pang", Unknown),
        ("{", Unknown),
    ] {
        let heard = protocol().heard(frame.as_bytes(), seconds(0), &mut Vec::new());
        assert_eq!(heard.unwrap(), kind, "{frame}");
    }
}

/// Runs a connection that hears pongs alone, and answers questions about books as `answer` says. Gives the second in
/// which the connection is given up, and what was asked when.
fn quiet(until: u64, mut answer: impl FnMut(u64, &str) -> Option<u64>) -> (Option<u64>, Vec<(u64, String)>) {
    let (mut protocol, mut send, mut asked) = (protocol(), Vec::new(), Vec::new());
    protocol.want(&wanted(["1", "2", "3"]), seconds(0), &mut send);
    requests(&mut send);
    hear(&mut protocol, &json!([book("1", 0), book("2", 0), book("3", 0)]), seconds(0));
    for second in 1..=until {
        protocol.beat(seconds(second), &mut send);
        for request in requests(&mut send).iter().filter(|request| request["operation"] == "subscribe") {
            let books: Vec<_> = tokens(request)
                .iter()
                .filter_map(|token| Some(book(token, answer(second, token)?)))
                .collect();
            if !books.is_empty() {
                // The connection is given up by the next pong at the latest.
                let _given_up =
                    protocol.heard(json!(books).to_string().as_bytes(), seconds(second), &mut Vec::new());
            }
            asked.push((second, tokens(request).join(" ")));
        }
        if second % 3 == 1
            && let Err(error) = protocol.heard(b"PONG", seconds(second), &mut Vec::new())
        {
            assert_eq!(error.kind(), ErrorKind::Timeout);
            return (Some(second), asked);
        }
    }
    (None, asked)
}

#[test]
fn a_stream_that_answers_pings_alone_is_given_up() {
    let (given_up, asked) = quiet(60, |_, _| None);
    assert_eq!(asked[0], (10, "1 2".to_owned()));
    assert!(given_up.is_some_and(|second| second <= 19), "{given_up:?}");
}

#[test]
fn a_quiet_market_is_asked_more_and_more_seldom_and_never_given_up() {
    let (given_up, asked) = quiet(400, |_, _| Some(7));
    assert_eq!(given_up, None);
    let when: Vec<_> = asked.iter().map(|(second, _)| *second).collect();
    assert_eq!(when, [10, 30, 70, 130, 190, 250, 310, 370]);
    let (given_up, _) = quiet(400, |_, token| (token == "1").then_some(7));
    assert_eq!(given_up, None, "one of two may have closed");
}

#[test]
fn books_that_change_while_nothing_is_told_show_a_frozen_stream() {
    let (given_up, _) = quiet(60, |second, _| Some(second));
    assert!(given_up.is_some_and(|second| (30..=33).contains(&second)), "{given_up:?}");
}

/// The venue tells every connection of all its markets, sixteen a minute, also where its data stands still.
#[test]
fn new_markets_and_outcomes_do_not_hide_that_data_stands_still() {
    for kind in ["new_market", "market_resolved"] {
        let (mut protocol, mut send, mut asked) = (protocol(), Vec::new(), None);
        protocol.want(&wanted(["1", "2", "3"]), seconds(0), &mut send);
        requests(&mut send);
        hear(&mut protocol, &json!([book("1", 0), book("2", 0), book("3", 0)]), seconds(0));
        let given_up = (1..60).find(|second| {
            protocol.beat(seconds(*second), &mut send);
            if !requests(&mut send).is_empty() {
                asked.get_or_insert(*second);
            }
            let elsewhere = json!({"event_type": kind}).to_string();
            let frame = if second % 4 == 0 { elsewhere.as_str() } else { "PONG" };
            protocol.heard(frame.as_bytes(), seconds(*second), &mut Vec::new()).is_err()
        });
        assert_eq!((asked, given_up), (Some(10), Some(15)), "{kind}");
    }
}

/// The other side. It hears everything, but books may be lost, or there may be none.
#[derive(Default)]
struct Venue {
    on: BTreeSet<String>,
}

impl Venue {
    fn hear(&mut self, request: &Value) -> Vec<String> {
        let unsubscribe = request["operation"] == "unsubscribe";
        let mut books = Vec::new();
        for token in tokens(request) {
            if unsubscribe {
                self.on.remove(&token);
            } else if self.on.insert(token.clone()) {
                // A second request for a token that is on is ignored.
                books.push(token);
            }
        }
        books
    }
}

const TOKENS: [&str; 5] = ["1", "2", "3", "4", "5"];

proptest! {
    #[test]
    fn what_is_wanted_becomes_so_whichever_books_are_lost(
        turns in prop::collection::vec((any::<u8>(), any::<bool>(), any::<u8>()), 1..60),
    ) {
        let (mut protocol, mut send, mut venue) = (protocol(), Vec::new(), Venue::default());
        let (mut second, mut now_wanted) = (0, Vec::new());
        let calm = std::iter::repeat_n((0, false, 0xff), 700);
        let mut heard: BTreeMap<String, u64> = BTreeMap::new();
        for (mask, change, comes) in turns.into_iter().chain(calm) {
            second += 1;
            let now = seconds(second);
            if change {
                now_wanted = TOKENS.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, t)| *t).collect();
                protocol.want(&wanted(now_wanted.iter().copied()), now, &mut send);
            } else if mask % 7 == 1 {
                protocol.resync(&Symbol::new("1").unwrap(), now, &mut send);
            }
            protocol.beat(now, &mut send);
            hear(&mut protocol, &json!({"event_type": "best_bid_ask"}), now);
            for request in requests(&mut send) {
                for token in venue.hear(&request) {
                    let bit = token.parse::<u8>().unwrap();
                    if comes >> bit & 1 == 1 {
                        heard.insert(token.clone(), second);
                        hear(&mut protocol, &json!([book(&token, second)]), now);
                    }
                }
            }
        }
        let expected: BTreeSet<_> = now_wanted.iter().map(|token| (*token).to_owned()).collect();
        prop_assert_eq!(&venue.on, &expected);
        prop_assert_eq!(protocol.missing(), Default::default());
        prop_assert!(expected.iter().all(|token| heard.contains_key(token)));
    }
}
