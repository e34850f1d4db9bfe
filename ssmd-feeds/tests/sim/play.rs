//! Recorded frames arrive as they were recorded.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use ssmd_feeds::sim::{Source, Speed};

use crate::support::{Running, logged, options, play, raws, recordings, shared, soon, subscribe};

fn acknowledged(text: &str) -> bool {
    text.contains(r#""req_id":1,"#) && text.contains(r#""method":"subscribe""#)
}

fn written(folder: &tempfile::TempDir, frames: &[String]) -> PathBuf {
    let path = folder.path().join("play.jsonl");
    let mut file = std::fs::File::create(&path).unwrap();
    for (at, raw) in frames.iter().enumerate() {
        writeln!(file, "{}", json!({ "t": at * 1000, "raw": raw })).unwrap();
    }
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_recordings_arrive_byte_for_byte_and_in_the_log() {
    let Some(kraken) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("sent.jsonl");
    let files = recordings(&kraken);
    let mut options = play(files.clone());
    options.log = Some(log.clone());
    options.exit_when_done = true;
    let sim = Running::start(options).await;
    let mut client = sim.client().await;
    client.say(&subscribe("book", &["BTC/USD", "NO/SUCH"], json!({ "depth": 10 }))).await;
    let heard = client.all().await;
    let played: Vec<_> = heard.iter().filter(|text| !acknowledged(text)).cloned().collect();
    assert_eq!(played, raws(&files));
    assert_eq!(heard.len() - played.len(), 2, "one acknowledgement a symbol");
    let summary = sim.ended().await.unwrap();
    assert_eq!((summary.connections, summary.frames), (1, heard.len() as u64));
    assert_eq!(logged(&log, 1), heard);
}

#[tokio::test]
async fn a_play_waits_for_a_subscription_and_keeps_every_kind_of_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut frames: Vec<String> =
        ["{\"a\":", "", " {\"x\" : 1}\n", "nonsense \u{1F600}\0\u{2028}", "[[[["].map(String::from).to_vec();
    frames.push("z".repeat(3 << 20));
    let mut options = play(vec![written(&folder, &frames)]);
    options.exit_when_done = true;
    let sim = Running::start(options).await;
    let mut client = sim.client().await;
    client.say(r#"{"method":"ping","req_id":4}"#).await;
    assert!(client.hear().await.unwrap().starts_with(r#"{"method":"pong","req_id":4,"time_in":""#));
    client.say(&subscribe("trade", &["X/Y"], json!({}))).await;
    assert!(acknowledged(&client.hear().await.unwrap()));
    assert_eq!(client.all().await, frames);
    sim.ended().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("sent.jsonl");
    let frames: Vec<_> =
        (0..20_000).map(|number| format!("{{\"n\":{number},\"pad\":\"{:>400}\"}}", 0)).collect();
    let mut options = play(vec![written(&folder, &frames)]);
    options.log = Some(log.clone());
    options.exit_when_done = true;
    let sim = Running::start(options).await;
    let mut last = Vec::new();
    for connection in 1..=4 {
        let mut client = sim.client().await;
        client.say(&subscribe("trade", &["X/Y"], json!({}))).await;
        assert!(acknowledged(&client.hear().await.unwrap()));
        if connection == 4 {
            last = client.all().await;
            break;
        }
        for _ in 0..100 {
            client.hear().await.unwrap();
        }
        client.leave().await;
    }
    let summary = sim.ended().await.unwrap();
    assert_eq!(summary.connections, 4);
    let sent: Vec<_> = (1..=4).flat_map(|connection| logged(&log, connection)).collect();
    let sent: Vec<_> = sent.into_iter().filter(|text| !acknowledged(text)).collect();
    assert!(sent == frames, "sent once, over all connections: {} of {}", sent.len(), frames.len());
    assert!(frames.ends_with(&last) && !last.is_empty());
}

#[tokio::test]
async fn two_listeners_hear_the_same_at_the_recorded_pace() {
    let folder = tempfile::tempdir().unwrap();
    let frames: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    let source = Source::Play { files: vec![written(&folder, &frames)], speed: Speed::Times(0.001) };
    let sim = Running::start(options(source)).await;
    let (mut one, mut two) = (sim.client().await, sim.client().await);
    for client in [&mut one, &mut two] {
        client.say(&subscribe("trade", &["X/Y"], json!({}))).await;
        assert!(acknowledged(&client.hear().await.unwrap()));
    }
    let first: usize = two.hear().await.unwrap().parse().unwrap();
    for number in first + 1..50 {
        assert_eq!(two.hear().await.unwrap(), number.to_string());
    }
    for number in 0..50 {
        assert_eq!(one.hear().await.unwrap(), number.to_string());
    }
    assert_eq!(one.hear().await.unwrap(), r#"{"channel":"heartbeat"}"#, "alive after the play");
    sim.stop.cancel();
    assert!(soon(one.all()).await.len() + soon(two.all()).await.len() < 10);
    assert_eq!(sim.ended().await.unwrap().connections, 2);
}
