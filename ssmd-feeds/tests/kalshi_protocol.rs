//! Kalshi's protocol against a venue in memory: what is wanted becomes so, whatever is lost or refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use ssmd_core::{ErrorKind, FrameKind, Symbol, Topic, Wanted};
use ssmd_feeds::Protocol;
use ssmd_feeds::kalshi::KalshiProtocol;

fn protocol() -> KalshiProtocol {
    KalshiProtocol::new("ws://127.0.0.1:1")
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

fn commands(send: &mut Vec<Bytes>) -> Vec<Value> {
    send.drain(..).map(|frame| serde_json::from_slice(&frame).unwrap()).collect()
}

fn names(command: &Value) -> Vec<String> {
    let names = command["params"]["market_tickers"].as_array().cloned().unwrap_or_default();
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn hear(protocol: &mut KalshiProtocol, frame: &Value, now: Duration, send: &mut Vec<Bytes>) {
    let kind = protocol.heard(frame.to_string().as_bytes(), now, send).unwrap();
    assert_eq!(kind, FrameKind::Control, "{frame}");
}

/// The other side: keeps subscriptions, numbers them, and refuses markets that do not exist.
#[derive(Default)]
struct Venue {
    on: BTreeMap<String, (u64, BTreeSet<String>)>,
    last_sid: u64,
    sequence: u64,
}

impl Venue {
    /// What it says to a command, before any of it is lost.
    fn hear(&mut self, command: &Value) -> Vec<Value> {
        let (id, params) = (&command["id"], &command["params"]);
        let sid = params["sids"][0].as_u64();
        let channel = self.on.iter().find(|(_, (ours, _))| Some(*ours) == sid).map(|(name, _)| name.clone());
        let error = |code: u64, msg: &str| {
            vec![json!({"id": id, "type": "error", "msg": {"code": code, "msg": msg}})]
        };
        self.sequence += 1;
        let sequence = self.sequence;
        let ok = |sid: u64, markets: &BTreeSet<String>| json!({"id": id, "sid": sid, "seq": sequence, "type": "ok", "msg": {"market_tickers": markets}});
        match command["cmd"].as_str().unwrap() {
            "subscribe" => {
                let name = params["channels"][0].as_str().unwrap().to_owned();
                if self.on.contains_key(&name) {
                    return error(6, "Already subscribed");
                }
                if names(command).iter().any(|name| name.starts_with("BAD")) {
                    return error(16, "Market not found");
                }
                self.last_sid += 1;
                self.on.insert(name.clone(), (self.last_sid, names(command).into_iter().collect()));
                vec![json!({"id": id, "type": "subscribed", "msg": {"channel": name, "sid": self.last_sid}})]
            }
            "list_subscriptions" => {
                let all: Vec<_> =
                    self.on.iter().map(|(name, (sid, _))| json!({"channel": name, "sid": sid})).collect();
                vec![json!({"id": id, "type": "ok", "msg": all})]
            }
            "unsubscribe" => match channel {
                Some(channel) => {
                    self.on.remove(&channel);
                    vec![json!({"id": id, "sid": sid, "seq": sequence, "type": "unsubscribed"})]
                }
                None => error(7, "Unknown subscription ID"),
            },
            _ => {
                let Some(channel) = channel else { return error(7, "Unknown subscription ID") };
                let (sid, markets) = self.on.get_mut(&channel).unwrap();
                match params["action"].as_str().unwrap() {
                    "add_markets" => {
                        if let Some(bad) = names(command).iter().find(|name| name.starts_with("BAD")) {
                            let msg = json!({"code": 16, "msg": "Market not found", "market_ticker": bad});
                            return vec![json!({"id": id, "type": "error", "msg": msg})];
                        }
                        markets.extend(names(command));
                        vec![ok(*sid, markets)]
                    }
                    "delete_markets" => {
                        markets.retain(|name| !names(command).contains(name));
                        assert!(!markets.is_empty(), "a subscription without markets may mean all of them");
                        vec![ok(*sid, markets)]
                    }
                    _ => {
                        let snapshot = |name: String| json!({"type": "orderbook_snapshot", "sid": *sid, "seq": sequence, "msg": {"market_ticker": name}});
                        let mut said = vec![ok(*sid, markets)];
                        said.extend(names(command).into_iter().map(snapshot));
                        said
                    }
                }
            }
        }
    }

    fn markets(&self, channel: &str) -> Vec<&str> {
        self.on
            .get(channel)
            .map_or_else(Vec::new, |(_, markets)| markets.iter().map(String::as_str).collect())
    }
}

/// Lets both talk until neither has anything to say; gives what was commanded.
fn talk(
    protocol: &mut KalshiProtocol,
    venue: &mut Venue,
    now: Duration,
    send: &mut Vec<Bytes>,
) -> Vec<Value> {
    let mut all = Vec::new();
    while !send.is_empty() {
        for command in commands(send) {
            for frame in venue.hear(&command) {
                protocol.heard(frame.to_string().as_bytes(), now, send).unwrap();
            }
            all.push(command);
        }
    }
    all
}

#[test]
fn the_first_command_of_a_channel_waits_for_none_and_the_rest_for_it_alone() {
    let markets: Vec<_> = (0..600).map(|at| format!("KXA-{at:03}")).collect();
    let topics: Vec<_> = ["orderbook_delta", "trade"]
        .iter()
        .flat_map(|channel| markets.iter().map(move |market| (*channel, market.as_str())))
        .chain([("market_lifecycle_v2", "")])
        .collect();
    let (mut protocol, mut send, mut venue) = (protocol(), Vec::new(), Venue::default());
    protocol.want(&wanted(&topics), seconds(0), &mut send);
    let first = commands(&mut send);
    let shown: Vec<_> =
        first.iter().map(|c| (c["params"]["channels"][0].as_str().unwrap(), names(c).len())).collect();
    assert_eq!(shown, [("trade", 250), ("orderbook_delta", 250), ("market_lifecycle_v2", 0)]);
    assert_eq!(first[1]["params"]["use_yes_price"], json!(false));
    assert!(first[0]["params"].get("use_yes_price").is_none());
    assert!(first[2]["params"].get("market_tickers").is_none());
    for command in &first {
        for frame in venue.hear(command) {
            hear(&mut protocol, &frame, seconds(0), &mut send);
        }
    }
    let rest = talk(&mut protocol, &mut venue, seconds(0), &mut send);
    assert_eq!(rest.iter().map(|c| names(c).len()).collect::<Vec<_>>(), [250, 100, 250, 100]);
    assert!(rest.iter().all(|c| c["params"]["action"] == "add_markets"));
    let ids: BTreeSet<_> = first.iter().chain(&rest).map(|c| c["id"].as_u64().unwrap()).collect();
    assert!(ids.len() == 7 && !ids.contains(&0));
    assert_eq!(venue.markets("orderbook_delta").len(), 600);
    assert_eq!(protocol.missing(), Default::default());
}

#[test]
fn what_is_new_is_added_before_what_is_over_is_left_and_neighbours_stay() {
    let (mut protocol, mut send, mut venue) = (protocol(), Vec::new(), Venue::default());
    let topics =
        |markets: &[&'static str]| wanted(&markets.iter().map(|m| ("trade", *m)).collect::<Vec<_>>());
    protocol.want(&topics(&["OLD-1", "OLD-2", "STAYS"]), seconds(0), &mut send);
    talk(&mut protocol, &mut venue, seconds(0), &mut send);
    protocol.want(&topics(&["NEW-1", "NEW-2", "STAYS"]), seconds(1), &mut send);
    let moved = talk(&mut protocol, &mut venue, seconds(1), &mut send);
    let shown: Vec<_> = moved.iter().map(|c| (c["params"]["action"].as_str().unwrap(), names(c))).collect();
    let strings = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    assert_eq!(
        shown,
        [("add_markets", strings(["NEW-1", "NEW-2"])), ("delete_markets", strings(["OLD-1", "OLD-2"]))]
    );
    protocol.want(&topics(&[]), seconds(2), &mut send);
    let left = talk(&mut protocol, &mut venue, seconds(2), &mut send);
    assert_eq!(left.len(), 1);
    assert_eq!((left[0]["cmd"].as_str(), venue.on.len()), (Some("unsubscribe"), 0));
}

#[test]
fn a_market_that_cannot_be_had_stops_no_other_and_is_told() {
    let (mut protocol, mut send, mut venue) = (protocol(), Vec::new(), Venue::default());
    let markets: Vec<_> = (0..40).map(|at| format!("KXA-{at:03}")).collect();
    let mut topics: Vec<_> = markets.iter().map(|market| ("trade", market.as_str())).collect();
    topics.push(("trade", "BAD-1"));
    protocol.want(&wanted(&topics), seconds(0), &mut send);
    let mut all = talk(&mut protocol, &mut venue, seconds(0), &mut send);
    for second in 1..10 {
        protocol.beat(seconds(second), &mut send);
        all.extend(talk(&mut protocol, &mut venue, seconds(second), &mut send));
    }
    assert_eq!(venue.markets("trade").len(), 40);
    assert!(all.len() < 20, "{} commands", all.len());
    let missing = protocol.missing();
    assert_eq!(missing.refused, [("trade BAD-1".to_owned(), "Market not found".to_owned())]);
    assert_eq!(missing.topics, 1);
    (10..59).for_each(|second| protocol.beat(seconds(second), &mut send));
    assert_eq!(commands(&mut send), [Value::Null; 0]);
    protocol.beat(seconds(75), &mut send);
    assert_eq!(commands(&mut send).len(), 1, "it may be listed by now");
}

/// A refusal takes nothing out of the subscription, so data goes on until the market is left.
#[test]
fn markets_whose_leaving_was_refused_are_left_again_until_the_venue_says_that_they_are_gone() {
    for (code, is_final) in [(27, false), (10, false), (17, false), (18, false), (16, true)] {
        let (mut protocol, mut send, mut venue) = (protocol(), Vec::new(), Venue::default());
        protocol.want(&wanted(&[("trade", "A"), ("trade", "B")]), seconds(0), &mut send);
        talk(&mut protocol, &mut venue, seconds(0), &mut send);
        protocol.want(&wanted(&[("trade", "B")]), seconds(1), &mut send);
        let mut left = Vec::new();
        for (second, refused) in (1..20).zip([true, true].into_iter().chain(std::iter::repeat(false))) {
            for command in commands(&mut send) {
                assert_eq!(
                    (&command["params"]["action"], names(&command)),
                    (&json!("delete_markets"), vec!["A".to_owned()])
                );
                left.push(second);
                let msg = json!({"code": code, "msg": "words"});
                let error = json!({"id": command["id"], "type": "error", "msg": msg});
                let said = if refused || is_final { vec![error] } else { venue.hear(&command) };
                said.iter().for_each(|frame| hear(&mut protocol, frame, seconds(second), &mut send));
            }
            protocol.beat(seconds(second + 1), &mut send);
        }
        let expected: &[u64] = match code {
            16 => &[1],
            27 => &[1, 3],
            _ => &[1, 2, 4],
        };
        assert_eq!((code, left.as_slice()), (code, expected));
        assert_eq!(venue.markets("trade") == ["B"], !is_final, "{code}");
        assert_eq!(protocol.missing(), Default::default());
    }
}

#[test]
fn broken_books_are_asked_for_together_until_their_snapshots_come() {
    let (mut protocol, mut send, mut venue) = (protocol(), Vec::new(), Venue::default());
    let markets: Vec<_> = (0..600).map(|at| format!("KXA-{at:03}")).collect();
    let topics: Vec<_> = markets.iter().map(|market| ("orderbook_delta", market.as_str())).collect();
    protocol.want(&wanted(&topics), seconds(0), &mut send);
    talk(&mut protocol, &mut venue, seconds(0), &mut send);
    for market in &markets {
        protocol.resync(&Symbol::new(market).unwrap(), seconds(1), &mut send);
    }
    protocol.resync(&Symbol::new("KXNOT-WANTED").unwrap(), seconds(1), &mut send);
    let asked = talk(&mut protocol, &mut venue, seconds(1), &mut send);
    assert_eq!(asked.iter().map(|c| names(c).len()).collect::<Vec<_>>(), [1, 250, 250, 99]);
    assert!(asked.iter().all(|c| c["params"]["action"] == "get_snapshot"));
    // A snapshot that does not come is asked for again.
    protocol.resync(&Symbol::new("KXA-001").unwrap(), seconds(2), &mut send);
    let mut lost = commands(&mut send);
    for second in 3..30 {
        protocol.beat(seconds(second), &mut send);
        lost.extend(commands(&mut send));
    }
    assert_eq!(lost.len(), 3);
    assert!(lost.iter().all(|command| names(command) == ["KXA-001"]));
}

#[test]
fn what_ends_a_connection_is_an_error_and_the_rest_is_not() {
    let says = |code: u64, id: u64| {
        let mut protocol = protocol();
        protocol.want(&wanted(&[("trade", "A")]), seconds(0), &mut Vec::new());
        let frame = json!({"id": id, "type": "error", "msg": {"code": code, "msg": "words"}});
        protocol
            .heard(frame.to_string().as_bytes(), seconds(0), &mut Vec::new())
            .map_err(|error| error.kind())
    };
    assert_eq!(says(9, 1), Err(ErrorKind::Denied));
    for code in [10, 17, 25] {
        assert_eq!(says(code, 0), Err(ErrorKind::Closed));
    }
    for code in [1, 8, 16, 26, 27, 99] {
        assert_eq!((says(code, 1), says(code, 77)), (Ok(FrameKind::Control), Ok(FrameKind::Control)));
    }
}

#[test]
fn what_cannot_be_asked_for_is_told() {
    let (mut protocol, mut send) = (protocol(), Vec::new());
    let topics = [("trade", ""), ("fill", "A"), ("trade:10", "A"), ("market_lifecycle_v2", "A")];
    protocol.want(&wanted(&topics), seconds(0), &mut send);
    assert_eq!(commands(&mut send).len(), 1);
    assert_eq!((protocol.missing().topics, protocol.missing().refused.len()), (4, 3));
}

#[test]
fn frames_are_told_apart_wherever_their_keys_stand() {
    use FrameKind::{Control, Data, Unknown};
    let mut protocol = protocol();
    for (frame, kind) in [
        (r#"{"type":"orderbook_delta","sid":1,"seq":1,"msg":{}}"#, Data),
        ("{\"type\":\"ticker\",\"sid\":1,\"msg\":{}}\n", Data),
        (r#"{"sid":1,"seq":1,"msg":{},"type":"trade"}"#, Data),
        (r#"{"type":"event_fee_update"}"#, Data),
        (r#"{"type":"subscribed"}"#, Control),
        (r#"{"id":4,"sid":1,"seq":2,"type":"ok","msg":{"market_tickers":["A"]}}"#, Control),
        (r#"{"id":4,"type":"unsubscribed"}"#, Control),
        (r#"{"type":"fill"}"#, Unknown),
        (r#"["ticker"]"#, Unknown),
        ("{}", Unknown),
        ("", Unknown),
    ] {
        assert_eq!(protocol.heard(frame.as_bytes(), seconds(0), &mut Vec::new()).unwrap(), kind, "{frame}");
    }
}

const CHANNELS: [&str; 2] = ["orderbook_delta", "trade"];
const MARKETS: [&str; 3] = ["A", "B", "C"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]
    #[test]
    fn what_is_wanted_becomes_so_whatever_was_lost(
        turns in prop::collection::vec((any::<u8>(), any::<bool>(), any::<bool>(), any::<bool>()), 1..60),
    ) {
        let mut all: Vec<_> = CHANNELS.iter().flat_map(|channel| MARKETS.map(|market| (*channel, market))).collect();
        all.push(("market_lifecycle_v2", ""));
        let (mut protocol, mut send, mut venue) = (protocol(), Vec::new(), Venue::default());
        let (mut second, mut topics) = (0, Vec::new());
        let calm = std::iter::repeat_n((0, false, false, false), 250);
        for (mask, change, hears, answers) in turns.into_iter().chain(calm) {
            second += 1;
            let now = seconds(second);
            let is_calm = mask == 0 && !change;
            if change {
                topics = all.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, t)| *t).collect();
                protocol.want(&wanted(&topics), now, &mut send);
            } else if mask % 7 == 1 {
                protocol.resync(&Symbol::new("A").unwrap(), now, &mut send);
            }
            protocol.beat(now, &mut send);
            while !send.is_empty() {
                for command in commands(&mut send) {
                    if !(hears || is_calm) {
                        continue;
                    }
                    for frame in venue.hear(&command) {
                        if answers || is_calm {
                            protocol.heard(frame.to_string().as_bytes(), now, &mut send).unwrap();
                        }
                    }
                }
            }
        }
        let expected: BTreeSet<_> = topics.iter().copied().collect();
        let mut on = BTreeSet::new();
        for (channel, (_, markets)) in &venue.on {
            match markets.is_empty() {
                true => on.insert((channel.as_str(), "")),
                false => markets.iter().all(|market| on.insert((channel.as_str(), market.as_str()))),
            };
        }
        prop_assert_eq!(on, expected);
        prop_assert_eq!(protocol.missing(), Default::default());
    }
}
