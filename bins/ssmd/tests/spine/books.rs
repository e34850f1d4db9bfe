//! The audit of books, of what runs and of its archive; and what a venue lists.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::rig::{self, Running, day_of, free_port, output, ssmd, store_of, text_of, until};

fn sum(books: &Value, field: &str) -> u64 {
    books.as_array().unwrap().iter().map(|book| book[field].as_u64().unwrap()).sum()
}

#[test]
fn books_are_audited_while_they_are_recorded_and_in_the_archive() {
    let folder = tempdir().unwrap();
    let (data, store) = (text_of(folder.path()), store_of(folder.path()));
    let script = text_of(&folder.path().join("faults.yaml"));
    std::fs::write(&script, "faults:\n  - { fault: bad_checksum, after: 50, symbol: BTC/USD }\n").unwrap();
    let up = ["up", "--sim", "--data", &data, "--json", "--faults", &script];
    let running = Running::start(&mut ssmd(&up));
    let books = until("a book that was resynced and verified again", || {
        let output = rig::run(&["books", "--data", &data, "--json"]);
        let books: Value = serde_json::from_slice(&output.stdout).ok()?;
        let of = |symbol: &str| books.as_array()?.iter().find(|book| book["symbol"] == symbol).cloned();
        let (btc, eth) = (of("BTC/USD")?, of("ETH/USD")?);
        let whole = btc["resynced"] == 1 && btc["state"] == "verified" && eth["state"] == "verified";
        whole.then_some(books)
    });
    assert_eq!((sum(&books, "failed"), sum(&books, "resynced")), (1, 1), "{books}");
    let shown = output(0, &["books", "--data", &data, "--feed", "kraken", "--symbol", "ETH/USD"]);
    assert!(
        shown.starts_with("kraken  ETH/USD  verified   since 20") && shown.lines().count() == 1,
        "{shown}"
    );
    let refused = rig::run(&["books", "--data", &data, "--feed", "nowhere"]);
    assert_eq!(refused.status.code(), Some(1));
    let resync = |symbol: &str| {
        let mut socket = UnixStream::connect(folder.path().join("up.sock")).unwrap();
        let request = json!({"command": "resync", "feed": "kraken", "symbol": symbol});
        socket.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    assert_eq!(resync("ETH/USD"), json!({"ok": true}));
    let unknown = resync("ETH/USDT");
    assert!(unknown["error"].as_str().unwrap().contains("does not record this symbol"), "{unknown}");
    running.signal("TERM");
    assert!(running.end().0.success());

    let day = day_of(&store);
    let archived = rig::json(&["books", "--store", &store, "--day", &day, "--json"]);
    assert!(archived.as_array().unwrap().iter().all(|book| book["state"] == "down"), "{archived}");
    assert_eq!((sum(&archived, "failed"), sum(&archived, "resynced")), (1, 1), "{archived}");
    let counted = rig::json(&["replay", "--store", &store, "--format", "none"]);
    assert_eq!(sum(&archived, "verified"), counted["books_verified"].as_u64().unwrap());
    assert!(sum(&archived, "verified") >= sum(&books, "verified"));
}

#[test]
fn what_a_venue_lists_is_shown() {
    for (feed, symbols, some) in [
        ("kraken", "BTC/USD,ETH/EUR,SOL/USD", "*/USD"),
        ("kraken-futures", "PF_XBTUSD,PF_ETHUSD,PF_SOLUSD", "PF_XBTUSD,PF_S*"),
    ] {
        let port = free_port();
        let at = format!("127.0.0.1:{port}");
        let running =
            Running::start(&mut ssmd(&["sim", "--feed", feed, "--listen", &at, "--symbols", symbols]));
        until("a simulator", || std::net::TcpStream::connect(&at).ok());
        let rest = format!("http://{at}");
        let show = ["feed", "show", feed, "--universe", "--rest", &rest];
        let all = rig::json(&[&show[..], &["--json"]].concat());
        assert_eq!(all.as_array().unwrap().len(), 3, "{all}");
        assert_eq!(all[0]["tradable"], true, "{all}");
        assert!(!all[0]["instrument"]["price_increment"].is_null(), "{all}");
        let shown = output(0, &[&show[..], &["--symbols", some]].concat());
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(shown.contains("price step "), "{shown}");
        drop(running);
    }
    let output = rig::run(&["feed", "show", "kraken", "--universe", "--rest", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
}
