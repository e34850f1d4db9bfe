//! A recorder that is stopped while the venue is away, and one that is killed: each hole is known once.

use serde_json::Value;
use tempfile::tempdir;

use crate::rig::{
    Running, day_of, environment, free_port, json, output, run, ssmd, store_of, text_of, until,
};

/// Waits until the recorder's only feed is as it must be.
fn until_feed(data: &str, what: &str, so: impl Fn(&Value) -> bool) {
    until(what, || {
        let status = run(&["status", "--data", data, "--json"]);
        let mut values = serde_json::Deserializer::from_slice(&status.stdout).into_iter::<Value>();
        let mut first = values.next()?.ok()?;
        if first.is_array() {
            first = first[0].take();
        }
        so(&first["feeds"][0]).then_some(())
    });
}

#[test]
fn holes_across_a_stop_and_a_crash_are_in_the_ledger_once() {
    let folder = tempdir().unwrap();
    let (port, data) = (free_port(), text_of(folder.path()));
    let config = environment(folder.path(), port, "BTC/USD", 10);
    let listen = format!("127.0.0.1:{port}");
    let sim =
        || Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD", "--rate", "500"]));
    let up = || Running::start(ssmd(&["up", "-c", &config, "--data", &data]).env("SSMD_LOG", "error"));
    let frames = |feed: &Value| feed["frames"].as_u64().is_some_and(|frames| frames > 200);

    let (venue, recorder) = (sim(), up());
    until_feed(&data, "frames", frames);
    drop(venue);
    until_feed(&data, "the session's end", |feed| feed["sessions"] == 0);
    recorder.signal("TERM");
    let (ended, said) = recorder.end();
    assert!(ended.success(), "{said}");

    let (venue, recorder) = (sim(), up());
    until_feed(&data, "frames", frames);
    // Dropping kills it.
    drop(recorder);
    output(0, &["up", "-c", &config, "--data", &data, "--for", "3s"]);
    drop(venue);

    let store = store_of(folder.path());
    let report = json(&["verify", "--store", &store, "--json"]);
    assert_eq!((&report["errors"], &report["books_failed"]), (&0.into(), &0.into()), "{report}");
    let gaps = json(&["gaps", "--store", &store, "--feed", "kraken", "--day", &day_of(&store), "--json"]);
    let causes: Vec<_> = gaps.as_array().unwrap().iter().map(|gap| gap["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["disconnect", "crash"], "{gaps:#}");
    for (gap, (from, to)) in gaps.as_array().unwrap().iter().zip([(1, 2), (2, 3)]) {
        assert_eq!((&gap["from"]["session"], &gap["to"]["session"]), (&from.into(), &to.into()), "{gaps:#}");
        assert!(gap["from"]["at"].as_i64().unwrap() < gap["to"]["at"].as_i64().unwrap(), "{gaps:#}");
    }
}
