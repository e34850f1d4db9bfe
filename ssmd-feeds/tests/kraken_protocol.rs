//! Kraken's protocol against a venue in memory: what is wanted becomes so, whatever is lost or refused on the way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use ssmd_core::{FrameKind, Symbol, Topic, Wanted};
use ssmd_feeds::Protocol;
use ssmd_feeds::kraken::KrakenProtocol;

fn protocol() -> KrakenProtocol {
    KrakenProtocol::new("ws://127.0.0.1:1", None)
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

/// The requests that were sent, without pings.
fn requests(send: &mut Vec<Bytes>) -> Vec<Value> {
    let frames = send.drain(..).map(|frame| serde_json::from_slice(&frame).unwrap());
    frames.filter(|frame: &Value| frame["method"] != "ping").collect()
}

/// Answers a request as the venue does, once for each symbol; `error` refuses it.
fn answer(
    protocol: &mut KrakenProtocol,
    request: &Value,
    error: Option<&str>,
    now: Duration,
    send: &mut Vec<Bytes>,
) {
    let symbols = request["params"]["symbol"].as_array().cloned().unwrap_or_else(|| vec![Value::Null]);
    for symbol in symbols {
        let mut frame =
            json!({"method": request["method"], "success": error.is_none(), "req_id": request["req_id"]});
        match error {
            Some(error) => {
                frame["error"] = error.into();
                frame["symbol"] = symbol;
            }
            None => {
                frame["result"] = request["params"].clone();
                frame["result"]["symbol"] = symbol;
            }
        }
        let kind = protocol.heard(frame.to_string().as_bytes(), now, send).unwrap();
        assert_eq!(kind, FrameKind::Control);
    }
}

#[test]
fn requests_are_batched_bounded_and_spaced() {
    let symbols: Vec<_> = (0..250).map(|at| format!("S{at}/USD")).collect();
    let topics: Vec<_> = ["book", "ticker:bbo", "trade", "ohlc:5"]
        .iter()
        .flat_map(|channel| symbols.iter().map(move |symbol| (*channel, symbol.as_str())))
        .collect();
    let (mut protocol, mut send, mut all) = (protocol(), Vec::new(), Vec::new());
    protocol.want(&wanted(&topics), seconds(0), &mut send);
    let first = requests(&mut send);
    assert_eq!(first.len(), 4);
    all.extend(first);
    for second in 1..=2 {
        protocol.beat(seconds(second), &mut send);
        let more = requests(&mut send);
        assert_eq!(more.len(), 4);
        all.extend(more);
    }
    assert_eq!(protocol.missing().topics, 1000);
    let mut asked = BTreeMap::<&str, usize>::new();
    for request in &all {
        let params = &request["params"];
        let count = params["symbol"].as_array().unwrap().len();
        assert!(count <= 100);
        *asked.entry(params["channel"].as_str().unwrap()).or_default() += count;
        match params["channel"].as_str().unwrap() {
            "book" => assert_eq!((&params["depth"], &params["snapshot"]), (&json!(10), &json!(true))),
            "ticker" => assert_eq!(params["event_trigger"], "bbo"),
            "trade" => assert_eq!(params["snapshot"], false),
            _ => assert_eq!(params["interval"], 5),
        }
    }
    assert_eq!(asked.values().copied().collect::<Vec<_>>(), [250; 4]);
    all.iter().for_each(|request| answer(&mut protocol, request, None, seconds(3), &mut send));
    assert_eq!(protocol.missing().topics, 0);
    assert_eq!(requests(&mut send), [Value::Null; 0]);
}

#[test]
fn a_refused_symbol_is_told_with_the_venues_words_and_not_asked_again() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    protocol.want(&wanted(&[("book", "XBT/USD")]), seconds(0), &mut send);
    let request = requests(&mut send).remove(0);
    answer(&mut protocol, &request, Some("Currency pair not supported XBT/USD"), seconds(0), &mut send);
    (1..100).for_each(|second| protocol.beat(seconds(second), &mut send));
    assert_eq!(requests(&mut send), [Value::Null; 0]);
    let missing = protocol.missing();
    assert_eq!(missing.topics, 1);
    assert_eq!(
        missing.refused,
        [("book XBT/USD".to_owned(), "Currency pair not supported XBT/USD".to_owned())]
    );
}

#[test]
fn what_cannot_be_asked_for_is_told() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    let topics = [
        ("book", ""),
        ("book:10", "A/B"),
        ("book:25", "A/B"),
        ("level3", "A/B"),
        ("status", ""),
        ("instrument", ""),
    ];
    protocol.want(&wanted(&topics), seconds(0), &mut send);
    assert_eq!(protocol.missing().refused.len(), 3);
    let channels: Vec<_> = requests(&mut send).iter().map(|r| r["params"]["channel"].clone()).collect();
    assert_eq!(channels, ["book", "instrument"]);
}

#[test]
fn what_is_too_fast_or_unanswered_is_asked_again() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    protocol.want(&wanted(&[("trade", "A/B"), ("ticker", "A/B")]), seconds(0), &mut send);
    let first = requests(&mut send);
    answer(&mut protocol, &first[0], Some("EService:Unavailable"), seconds(0), &mut send);
    assert_eq!(
        protocol.heard(br#"{"Error":"Exceeded msg rate"}"#, seconds(0), &mut send).unwrap(),
        FrameKind::Control
    );
    let mut again = Vec::new();
    for second in 1..20 {
        protocol.beat(seconds(second), &mut send);
        for request in requests(&mut send) {
            again.push(second);
            answer(&mut protocol, &request, None, seconds(second), &mut send);
        }
    }
    // The refused one after the pause, the other one when its answer is overdue and the wait after that is over.
    assert!(again.len() == 2 && again[0] >= 5 && again[1] >= 11, "{again:?}");
    assert_eq!(protocol.missing().topics, 0);
}

#[test]
fn a_change_of_depth_leaves_with_the_old_one() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    for depth in ["10", "25"] {
        protocol.want(&wanted(&[(&format!("book:{depth}"), "A/B")]), seconds(1), &mut send);
        let request = requests(&mut send).remove(0);
        answer(&mut protocol, &request, None, seconds(1), &mut send);
        if depth == "25" {
            assert_eq!(
                (&request["method"], &request["params"]["depth"]),
                (&json!("unsubscribe"), &json!(10))
            );
            let request = requests(&mut send).remove(0);
            assert_eq!((&request["method"], &request["params"]["depth"]), (&json!("subscribe"), &json!(25)));
        }
    }
}

#[test]
fn a_resync_touches_one_book_only() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    protocol.want(&wanted(&[("book", "A/B"), ("book", "C/D"), ("trade", "A/B")]), seconds(0), &mut send);
    for request in requests(&mut send) {
        answer(&mut protocol, &request, None, seconds(0), &mut send);
    }
    protocol.resync(&Symbol::new("A/B").unwrap(), seconds(9), &mut send);
    for method in ["unsubscribe", "subscribe"] {
        let sent = requests(&mut send);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0]["method"], method);
        assert_eq!(sent[0]["params"]["channel"], "book");
        assert_eq!(sent[0]["params"]["symbol"], json!(["A/B"]));
        answer(&mut protocol, &sent[0], None, seconds(9), &mut send);
    }
    assert_eq!(requests(&mut send), [Value::Null; 0]);
    assert_eq!(protocol.missing().topics, 0);
}

#[test]
fn pings_prove_life_until_heartbeats_do() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    let pings = |protocol: &mut KrakenProtocol, from: u64, send: &mut Vec<Bytes>| {
        send.clear();
        (from..from + 60).for_each(|second| protocol.beat(seconds(second), send));
        send.iter().filter(|frame| frame.starts_with(b"{\"method\":\"ping\",\"req_id\":")).count()
    };
    assert_eq!(pings(&mut protocol, 1, &mut send), 30);
    protocol.want(&wanted(&[("trade", "A/B")]), seconds(61), &mut send);
    let request = requests(&mut send).remove(0);
    answer(&mut protocol, &request, None, seconds(61), &mut send);
    assert_eq!(pings(&mut protocol, 62, &mut send), 2);
    assert!(protocol.silence() <= seconds(6));
}

#[test]
fn frames_are_told_apart_in_any_order_of_keys() {
    let mut protocol = protocol();
    for (frame, kind) in [
        (r#"{"channel":"book","type":"update","data":[]}"#, FrameKind::Data),
        (r#"{ "type":"update", "data":[{"method":"x"}], "channel":"bo\u006fk" }"#, FrameKind::Data),
        (r#"{"channel":"heartbeat"}"#, FrameKind::Control),
        (r#"{"type":"x","channel":"heartbeat"}"#, FrameKind::Control),
        (r#"{"channel":"status","type":"update","data":[]}"#, FrameKind::Control),
        (
            r#"{"channel":"executions","error":"ESession","method":"subscribe","success":false}"#,
            FrameKind::Control,
        ),
        (r#"{"method":"pong","req_id":1}"#, FrameKind::Control),
        (r#"{"method":"subscribe","success":"odd"}"#, FrameKind::Control),
        (r#"{"channel":"level3","type":"update"}"#, FrameKind::Unknown),
        (r#"{"channel":7}"#, FrameKind::Unknown),
        ("{}", FrameKind::Unknown),
        ("", FrameKind::Unknown),
        ("[[[[", FrameKind::Unknown),
    ] {
        assert_eq!(protocol.heard(frame.as_bytes(), seconds(0), &mut Vec::new()).unwrap(), kind, "{frame}");
    }
}

/// What the venue does with one request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Works,
    RequestLost,
    AnswerLost,
    TooFast,
    Busy,
}

/// A venue: one subscription for each channel of a symbol, with its option.
#[derive(Default)]
struct Venue(BTreeMap<(String, String), Value>);

impl Venue {
    fn hears(
        &mut self,
        request: &Value,
        fate: Fate,
        protocol: &mut KrakenProtocol,
        now: Duration,
        send: &mut Vec<Bytes>,
    ) {
        match fate {
            Fate::RequestLost => return,
            Fate::TooFast => drop(protocol.heard(br#"{"Error":"Exceeded msg rate"}"#, now, send)),
            Fate::Busy => answer(protocol, request, Some("EService:Unavailable"), now, send),
            Fate::Works | Fate::AnswerLost => {}
        }
        if matches!(fate, Fate::TooFast | Fate::Busy) {
            return;
        }
        for symbol in request["params"]["symbol"].as_array().unwrap() {
            let mut one = request.clone();
            one["params"]["symbol"] = json!([symbol]);
            let error = self.changes(&one, symbol.as_str().unwrap());
            if matches!(fate, Fate::Works) {
                answer(protocol, &one, error, now, send);
            }
        }
    }

    fn changes(&mut self, request: &Value, symbol: &str) -> Option<&'static str> {
        let params = &request["params"];
        let key = (params["channel"].as_str().unwrap().to_owned(), symbol.to_owned());
        let option = params["depth"].clone();
        match (request["method"].as_str().unwrap(), self.0.get(&key)) {
            ("subscribe", Some(_)) => return Some("Already subscribed"),
            ("subscribe", None) => drop(self.0.insert(key, option)),
            (_, Some(on)) if *on == option => drop(self.0.remove(&key)),
            (_, _) => return Some("Subscription Not Found"),
        }
        None
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Works), 1 => Just(Fate::RequestLost), 1 => Just(Fate::AnswerLost),
        1 => Just(Fate::TooFast), 1 => Just(Fate::Busy)
    ]
}

const CHANNELS: [&str; 4] = ["book:10", "book:25", "trade", "ticker"];
const SYMBOLS: [&str; 4] = ["A/B", "C/D", "E/F", "G/H"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn converges_to_what_is_wanted(
        rounds in prop::collection::vec((prop::collection::btree_set((0..4_usize, 0..4_usize), 0..12), 1..8_u64), 1..6),
        fates in prop::collection::vec(fate(), 1..60),
    ) {
        let (mut protocol, mut venue, mut send) = (protocol(), Venue::default(), Vec::new());
        let (mut now, mut fates) = (seconds(0), fates.into_iter());
        let mut last = BTreeSet::new();
        for (set, beats) in &rounds {
            // Two depths of one book are refused by themselves: leave the deeper one out.
            last = set.iter().filter(|(c, s)| *c != 1 || !set.contains(&(0, *s))).copied().collect();
            let topics: Vec<_> = last.iter().map(|(c, s)| (CHANNELS[*c], SYMBOLS[*s])).collect();
            protocol.want(&wanted(&topics), now, &mut send);
            for _ in 0..*beats {
                for request in requests(&mut send) {
                    venue.hears(&request, fates.next().unwrap_or(Fate::Works), &mut protocol, now, &mut send);
                }
                now += seconds(1);
                protocol.beat(now, &mut send);
            }
        }
        for _ in 0..300 {
            for request in requests(&mut send) {
                venue.hears(&request, Fate::Works, &mut protocol, now, &mut send);
            }
            now += seconds(1);
            protocol.beat(now, &mut send);
        }
        let is: BTreeSet<_> = venue.0.iter().map(|((c, s), depth)| (c.clone(), s.clone(), depth.as_u64())).collect();
        let shall: BTreeSet<_> = last
            .iter()
            .map(|(c, s)| {
                let (channel, depth) = CHANNELS[*c].split_once(':').unwrap_or((CHANNELS[*c], ""));
                (channel.to_owned(), SYMBOLS[*s].to_owned(), depth.parse().ok())
            })
            .collect();
        prop_assert_eq!(is, shall);
        prop_assert_eq!(protocol.missing().topics, 0);
    }

    #[test]
    fn survives_any_bytes(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = protocol().heard(&frame, seconds(0), &mut Vec::new());
    }
}
