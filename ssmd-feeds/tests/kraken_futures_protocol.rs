//! Kraken futures' protocol against a venue in memory: what is wanted becomes so, whatever is lost or refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use ssmd_core::{FrameKind, Symbol, Topic, Wanted};
use ssmd_feeds::Protocol;
use ssmd_feeds::kraken_futures::KrakenFuturesProtocol;

fn protocol() -> KrakenFuturesProtocol {
    KrakenFuturesProtocol::new("ws://127.0.0.1:1")
}

fn wanted(topics: &[(&str, &str)]) -> Wanted {
    let topic = |(channel, symbol): &(&str, &str)| Topic {
        channel: channel.parse().unwrap(),
        symbol: (!symbol.is_empty()).then(|| Symbol::new(symbol).unwrap()),
    };
    Wanted(topics.iter().map(topic).collect())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn requests(send: &mut Vec<Bytes>) -> Vec<Value> {
    send.drain(..).map(|frame| serde_json::from_slice(&frame).unwrap()).collect()
}

fn products(request: &Value) -> Vec<String> {
    let products = request["product_ids"].as_array().cloned().unwrap_or_default();
    products.iter().map(|product| product.as_str().unwrap().to_owned()).collect()
}

/// Says something about one product as the venue does.
fn say(
    protocol: &mut KrakenFuturesProtocol,
    event: &str,
    feed: &Value,
    product: &str,
    now: Duration,
    send: &mut Vec<Bytes>,
) {
    let mut frame = json!({"event": event, "feed": feed});
    if !product.is_empty() {
        frame["product_ids"] = json!([product]);
    }
    let kind = protocol.heard(frame.to_string().as_bytes(), now, send).unwrap();
    assert_eq!(kind, FrameKind::Control);
}

#[test]
fn requests_are_batched_and_bounded() {
    let names: Vec<_> = (0..700).map(|at| format!("PF_S{at}USD")).collect();
    let topics: Vec<_> = ["book", "ticker", "trade", "ticker_lite"]
        .iter()
        .flat_map(|channel| names.iter().map(move |name| (*channel, name.as_str())))
        .chain([("heartbeat", "")])
        .collect();
    let (mut protocol, mut send, mut asked) = (protocol(), Vec::new(), 0);
    protocol.want(&wanted(&topics), seconds(0), &mut send);
    for (second, expected) in [(0, 20), (1, 9), (2, 0)] {
        if second > 0 {
            protocol.beat(seconds(second), &mut send);
        }
        let sent = requests(&mut send);
        assert_eq!(sent.len(), expected, "{second}");
        for request in &sent {
            assert!(products(request).len() <= 100);
            assert_eq!(products(request).is_empty(), request["feed"] == "heartbeat");
            asked += products(request).len().max(1);
        }
    }
    assert_eq!((asked, protocol.missing().topics), (topics.len(), topics.len()));
}

#[test]
fn a_product_that_cannot_be_had_stops_no_other() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    protocol.want(&wanted(&[("book", "PF_A"), ("book", "PF_BAD")]), seconds(0), &mut send);
    assert_eq!(products(&requests(&mut send)[0]), ["PF_A", "PF_BAD"]);
    let error = br#"{"event":"error","message":"Invalid product id"}"#;
    let mut asked = Vec::new();
    for second in 1..60 {
        protocol.beat(seconds(second), &mut send);
        for request in requests(&mut send) {
            match products(&request).as_slice() {
                [one] if one == "PF_A" => {
                    say(&mut protocol, "subscribed", &request["feed"], one, seconds(second), &mut send);
                }
                _ => {
                    assert_eq!(
                        protocol.heard(error, seconds(second), &mut send).unwrap(),
                        FrameKind::Control
                    );
                }
            }
            asked.push((second, products(&request)));
        }
    }
    let alone: Vec<_> = asked.iter().map(|(second, products)| (*second, products.join(" "))).collect();
    let expected = [(11, "PF_A"), (11, "PF_BAD"), (23, "PF_BAD"), (37, "PF_BAD"), (55, "PF_BAD")];
    assert_eq!(alone, expected.map(|(second, name)| (second, name.to_owned())));
    let missing = protocol.missing();
    assert_eq!(missing.topics, 1);
    let words = "no answer; about some request the venue said: Invalid product id";
    assert_eq!(missing.refused, [("book PF_BAD".to_owned(), words.to_owned())]);
}

#[test]
fn what_is_refused_by_name_is_not_asked_again() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    protocol.want(&wanted(&[("ticker", "PF_A")]), seconds(0), &mut send);
    requests(&mut send);
    say(&mut protocol, "subscribed_failed", &json!("ticker"), "PF_A", seconds(0), &mut send);
    (1..100).for_each(|second| protocol.beat(seconds(second), &mut send));
    assert_eq!(requests(&mut send), [Value::Null; 0]);
    let refused = protocol.missing().refused;
    assert_eq!(refused, [("ticker PF_A".to_owned(), "refused without words".to_owned())]);
}

#[test]
fn what_cannot_be_asked_for_is_told() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    let topics = [("book", ""), ("open_orders", "PF_A"), ("book:10", "PF_A"), ("heartbeat", "PF_A")];
    protocol.want(&wanted(&topics), seconds(0), &mut send);
    assert_eq!(requests(&mut send), [json!({"event": "subscribe", "feed": "heartbeat"})]);
    assert_eq!(protocol.missing().topics, 4);
    assert_eq!(protocol.missing().refused.len(), 3);
    say(&mut protocol, "subscribed", &json!("heartbeat"), "", seconds(0), &mut send);
    assert_eq!(protocol.missing().topics, 3);
}

#[test]
fn frames_are_told_apart_wherever_their_keys_stand() {
    use FrameKind::{Control, Data, Unknown};
    let mut protocol = protocol();
    for (frame, kind) in [
        (r#"{"product_id":"PF_A","feed":"trade","seq":1}"#, Data),
        (r#"{"feed":"book","product_ids":["PF_A"],"event":"subscribed"}"#, Control),
        (r#"{"candle":{},"feed":"candles_trade_1h"}"#, Data),
        (r#"{"feed":"heartbeat","time":1}"#, Control),
        (r#"{"event":"heartbeat"}"#, Control),
        (r#"{"feed":"fills"}"#, Unknown),
        (r#"{"event":"new"}"#, Unknown),
        (r#"["book"]"#, Unknown),
        ("{}", Unknown),
        ("", Unknown),
    ] {
        assert_eq!(protocol.heard(frame.as_bytes(), seconds(0), &mut Vec::new()).unwrap(), kind, "{frame}");
    }
}

/// The other side: answers in order, or loses a request or an answer.
#[derive(Default)]
struct Venue {
    on: BTreeSet<(String, String)>,
}

impl Venue {
    /// What it says to a request, before any of it is lost.
    fn hear(&mut self, request: &Value) -> Vec<(String, Value, String)> {
        let (event, feed) = (request["event"].as_str().unwrap(), &request["feed"]);
        let answer = |product: String| {
            let place = (feed.as_str().unwrap().to_owned(), product.clone());
            let done = match event {
                "subscribe" => self.on.insert(place),
                _ => self.on.remove(&place),
            };
            (format!("{event}d{}", if done { "" } else { "_failed" }), feed.clone(), product)
        };
        products(request).into_iter().map(answer).collect()
    }
}

const CHANNELS: [&str; 2] = ["book", "trade"];
const PRODUCTS: [&str; 3] = ["PF_A", "PF_B", "PF_C"];

proptest! {
    #[test]
    fn what_is_wanted_becomes_so_whatever_was_lost(
        turns in prop::collection::vec((any::<u8>(), any::<bool>(), any::<bool>(), any::<bool>()), 1..60),
    ) {
        let all: Vec<_> = CHANNELS.iter().flat_map(|channel| PRODUCTS.map(|product| (*channel, product))).collect();
        let (mut protocol, mut send, mut venue) = (protocol(), Vec::new(), Venue::default());
        let (mut second, mut topics) = (0, Vec::new());
        let calm = std::iter::repeat_n((0, false, false, false), 200);
        for (mask, change, hears, answers) in turns.into_iter().chain(calm) {
            second += 1;
            let now = seconds(second);
            let is_calm = mask == 0 && !change;
            if change {
                topics = all.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, t)| *t).collect();
                protocol.want(&wanted(&topics), now, &mut send);
            } else if mask % 7 == 1 {
                protocol.resync(&Symbol::new("PF_A").unwrap(), now, &mut send);
            }
            protocol.beat(now, &mut send);
            while !send.is_empty() {
                for request in requests(&mut send) {
                    if !(hears || is_calm) {
                        continue;
                    }
                    for (event, feed, product) in venue.hear(&request) {
                        if answers || is_calm {
                            say(&mut protocol, &event, &feed, &product, now, &mut send);
                        }
                    }
                }
            }
        }
        let expected: BTreeSet<_> = topics.iter().map(|(c, p)| ((*c).to_owned(), (*p).to_owned())).collect();
        prop_assert_eq!(&venue.on, &expected);
        prop_assert_eq!(protocol.missing(), Default::default());
    }
}
