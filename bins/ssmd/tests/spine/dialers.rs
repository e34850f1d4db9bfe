//! The main job through the sockets that a document names: those of `SSMD_TEST_DIALER`, ours without it.

use tempfile::tempdir;

#[cfg(not(feature = "libechidna"))]
use crate::rig::{dialer, run};
use crate::rig::{environment_of, free_port, json, store_of, text_of};

#[test]
fn what_a_dialer_brings_is_recorded_archived_and_proved() {
    let folder = tempdir().unwrap();
    let (data, store) = (text_of(folder.path()), store_of(folder.path()));
    for (feed, symbol) in [("kraken", "BTC/USD"), ("kraken-futures", "PF_XBTUSD")] {
        // The simulator's address takes the place of the document's.
        let file =
            environment_of(folder.path(), free_port(), feed, symbol, "channels: [ticker, trade, book]");
        let status = json(&["up", "--sim", "--for", "3s", "-c", &file, "--data", &data, "--json"]);
        assert!(status["feeds"][0]["frames"].as_u64().unwrap() > 500, "{status}");
        assert_eq!(status["feeds"][0]["archived"], status["feeds"][0]["durable"], "{status}");
        let report = json(&["verify", "--store", &store, "--feed", feed, "--json"]);
        assert!(report["books_verified"].as_u64().unwrap() > 100, "{report}");
        for (field, expected) in [
            ("books_failed", 0),
            ("errors", 0),
            ("gaps", 0),
            ("sessions", 1),
            ("unknown", 0),
            ("malformed", 0),
        ] {
            assert_eq!(report[field], expected, "{field} of {report}");
        }
    }
}

#[cfg(not(feature = "libechidna"))]
#[test]
fn a_dialer_that_was_not_built_is_told_with_its_feature() {
    let folder = tempdir().unwrap();
    let file = environment_of(folder.path(), free_port(), "kraken", "BTC/USD", "channels: [trade]");
    let text = std::fs::read_to_string(&file).unwrap();
    for word in ["echidna", "echidna-native"] {
        std::fs::write(&file, text.replace(&dialer(), &format!("dialer: {word}"))).unwrap();
        let data = text_of(&folder.path().join("data"));
        let up = run(&["up", "-c", &file, "--data", &data, "--for", "1s"]);
        let said = String::from_utf8_lossy(&up.stderr).into_owned();
        assert!(!up.status.success() && said.contains("--features libechidna"), "{said}");
    }
}
