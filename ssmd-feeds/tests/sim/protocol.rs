//! Answers, errors and REST, as the venue gives them.

use serde_json::{Value, json};
use ssmd_core::ErrorKind;
use ssmd_feeds::sim::Sim;

use crate::support::{Running, model, shared, subscribe};

fn fits(answer: &Value, expected: Value) {
    let mut answer = answer.clone();
    let object = answer.as_object_mut().unwrap();
    for time in ["time_in", "time_out"] {
        let text = object.remove(time).unwrap();
        assert_eq!(text.as_str().unwrap().len(), "2026-08-01T02:53:53.184174Z".len());
    }
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn commands_are_answered_as_the_venue_answers() {
    let sim = Running::start(model(3, Some(0.001))).await;
    let mut client = sim.client().await;
    let status = client.json().await;
    assert_eq!((&status["channel"], &status["type"]), (&json!("status"), &json!("update")));
    assert!(status["data"][0]["connection_id"].is_u64());
    client.say(&subscribe("book", &["BTC/USD", "XBT/USD"], json!({ "depth": 25 }))).await;
    let result = json!({ "channel": "book", "depth": 25, "snapshot": true, "symbol": "BTC/USD" });
    let subscribed = json!({ "method": "subscribe", "req_id": 1, "result": result, "success": true });
    fits(&client.json().await, subscribed);
    let snapshot = client.json().await;
    assert_eq!((&snapshot["channel"], &snapshot["type"]), (&json!("book"), &json!("snapshot")));
    assert_eq!(snapshot["data"][0]["asks"].as_array().unwrap().len(), 25);
    let refused = |error: &str, symbol: &str| json!({ "error": error, "method": "subscribe", "req_id": 1, "success": false, "symbol": symbol });
    fits(&client.json().await, refused("Currency pair not supported XBT/USD", "XBT/USD"));
    client.say(&subscribe("book", &["BTC/USD"], json!({}))).await;
    fits(&client.json().await, refused("Already subscribed", "BTC/USD"));
    client
        .say(r#"{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":10}}"#)
        .await;
    let error = json!({ "error": "Subscription Not Found", "method": "unsubscribe", "success": false, "symbol": "BTC/USD" });
    fits(&client.json().await, error);
    client
        .say(r#"{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":25}}"#)
        .await;
    let result = json!({ "channel": "book", "depth": 25, "symbol": "BTC/USD" });
    fits(&client.json().await, json!({ "method": "unsubscribe", "result": result, "success": true }));
    sim.stopped().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words() {
    let sim = Running::start(model(1, Some(0.001))).await;
    let mut client = sim.client().await;
    client.json().await;
    let deep = "[".repeat(100_000);
    let book = |depth: u32| subscribe("book", &["BTC/USD"], json!({ "depth": depth }));
    for (command, error, method) in [
        ("{oops", "Malformed request", json!(null)),
        ("", "Malformed request", json!(null)),
        (deep.as_str(), "Malformed request", json!(null)),
        (r#"{"method":"subscribe","params":{"channel":7}}"#, "Malformed request", json!("subscribe")),
        (r#"{"method":"dance"}"#, "Unsupported method", json!("dance")),
        (&book(27), "Subscription depth not supported", json!("subscribe")),
        (&subscribe("nope", &["BTC/USD"], json!({})), "Channel not supported", json!("subscribe")),
        (
            &subscribe("executions", &[], json!({})),
            "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com",
            json!("subscribe"),
        ),
    ] {
        client.say(command).await;
        let answer = client.json().await;
        assert_eq!((&answer["error"], &answer["method"]), (&json!(error), &method));
        assert_eq!(answer["success"], false);
    }
    sim.stopped().await;
}

#[tokio::test]
async fn every_channel_begins_with_its_snapshot() {
    let sim = Running::start(model(2, Some(0.001))).await;
    let mut client = sim.client().await;
    client.json().await;
    for (channel, more, fields) in [
        (
            "ticker",
            json!({}),
            "symbol bid bid_qty ask ask_qty last volume vwap low high change change_pct trades timestamp",
        ),
        ("trade", json!({ "snapshot": true }), "symbol side price qty ord_type trade_id timestamp"),
        (
            "ohlc",
            json!({ "interval": 5 }),
            "symbol open high low close trades volume vwap interval_begin interval timestamp",
        ),
    ] {
        client.say(&subscribe(channel, &["ETH/USD"], more)).await;
        assert_eq!(client.json().await["result"]["channel"], channel);
        let snapshot = client.json().await;
        assert_eq!((&snapshot["channel"], &snapshot["type"]), (&json!(channel), &json!("snapshot")));
        let first = snapshot["data"][0].as_object().unwrap();
        for field in fields.split(' ') {
            assert!(first.contains_key(field), "{channel} has no {field}");
        }
        assert_eq!(first.len(), fields.split(' ').count());
    }
    client.say(&subscribe("instrument", &[], json!({}))).await;
    assert_eq!(client.json().await["result"], json!({ "channel": "instrument", "snapshot": true }));
    let pairs = client.json().await["data"]["pairs"].clone();
    assert_eq!((&pairs[1]["symbol"], &pairs[1]["price_precision"]), (&json!("ETH/USD"), &json!(2)));
    assert_eq!(client.hear().await.unwrap(), r#"{"channel":"heartbeat"}"#, "when there is nothing else");
    sim.stopped().await;
}

#[tokio::test]
async fn rest_lists_what_there_is() {
    let sim = Running::start(model(20, None)).await;
    let (head, body) = sim.get("/0/public/AssetPairs").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("application/json"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let result = body["result"].as_object().unwrap();
    assert_eq!((body["error"].as_array().unwrap().len(), result.len()), (0, 20));
    for (key, wsname, base) in
        [("XXBTZUSD", "XBT/USD", "XXBT"), ("XDGUSD", "XDG/USD", "XXDG"), ("XETHXXBT", "ETH/XBT", "XETH")]
    {
        assert_eq!((&result[key]["wsname"], &result[key]["base"]), (&json!(wsname), &json!(base)));
    }
    if let Some(kraken) = shared() {
        let real = std::fs::read(kraken.join("rest/AssetPairs-excerpt5-bytex-2026-09.json")).unwrap();
        let real: Value = serde_json::from_slice(&real).unwrap();
        for (name, pair) in real["result"].as_object().unwrap() {
            for (field, value) in pair.as_object().unwrap() {
                let ours = &result["XXBTZUSD"][field];
                let same = std::mem::discriminant(ours) == std::mem::discriminant(value);
                assert!(same || field.ends_with("_limit"), "{name} has {field}: {value}, ours {ours}");
            }
        }
    }
    let (_, one) = sim.get("/0/public/AssetPairs?pair=XBTUSD").await;
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap()["result"].as_object().unwrap().len(), 1);
    for (path, status, text) in [
        ("/0/public/AssetPairs?pair=NOPE", "200", r#"{"error":["EQuery:Unknown asset pair"]}"#),
        ("/0/public/Nope", "200", r#"{"error":["EGeneral:Unknown method"]}"#),
        ("/0/public/SystemStatus", "200", r#""status":"online""#),
        ("/v2", "426", "websocket"),
        ("/nowhere", "404", "not found"),
    ] {
        let (head, body) = sim.get(path).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && body.contains(text), "{head}\n{body}");
    }
    let answer = sim.http("DELETE / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    sim.stopped().await;
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    let clock = std::sync::Arc::new(ssmd_core::SystemClock::new());
    let mut open = model(1, None);
    open.listen = "0.0.0.0:0".parse().unwrap();
    assert_eq!(Sim::bind(open, clock.clone()).await.unwrap_err().kind(), ErrorKind::Denied);
    let mut unknown = model(1, None);
    unknown.venue = "nope".into();
    assert_eq!(Sim::bind(unknown, clock.clone()).await.unwrap_err().kind(), ErrorKind::Unsupported);
    for (count, rate) in [(0, None), (1, Some(0.0)), (1, Some(f64::NAN))] {
        let error = Sim::bind(model(count, rate), clock.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let missing = crate::support::play(vec!["/no/such/file".into()]);
    assert_eq!(Sim::bind(missing, clock).await.unwrap_err().kind(), ErrorKind::NotFound);
}
