//! What fails of one feed is told, and touches no other.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tempfile::tempdir;

use crate::metrics::scrape;
use crate::rig::{
    Running, dialer, environment_of, free_port, json, output, run, ssmd, store_of, text_of, until,
};

fn status(data: &str) -> Option<Value> {
    serde_json::from_slice(&run(&["status", "--data", data, "--json"]).stdout).ok()
}

/// No file may be larger than a mebibyte. Then the log of the busy feed cannot be written any more.
fn with_small_files(arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    let script = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_ssmd")]).args(arguments).env("SSMD_LOG", "warn");
    for name in ["SSMD_DATA", "SSMD_STORE", "SSMD_CONFIG", "SSMD_ENV"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn a_feed_whose_log_cannot_be_written_touches_no_other() {
    let (folder, busy, quiet, health) = (tempdir().unwrap(), free_port(), free_port(), free_port());
    let data = text_of(&folder.path().join("data"));
    let market = "KXFED-26DEC31-T0001";
    let sim = |feed: &str, port: u16, symbols: &str, rate: &str| {
        let at = format!("127.0.0.1:{port}");
        Running::start(&mut ssmd(&[
            "sim",
            "--feed",
            feed,
            "--listen",
            &at,
            "--symbols",
            symbols,
            "--rate",
            rate,
        ]))
    };
    let _sims = [sim("kraken", busy, "BTC/USD", "2000"), sim("kalshi", quiet, market, "20")];
    let document = folder.path().join("environment.yaml");
    let feed = |name: &str, port: u16, symbol: &str, channels: &str| {
        let dialer = dialer();
        format!(
            "    {name}:\n      url: ws://127.0.0.1:{port}\n      symbols: [{symbol}]\n      channels: {channels}\n      {dialer}\n"
        )
    };
    let feeds = feed("kraken", busy, "BTC/USD", "[book, trade]")
        + &feed("kalshi", quiet, market, "[trade, orderbook_delta]");
    let text = "apiVersion: ssmd/v1\nkind: Environment\nmetadata: { name: test }\nspec:\n  feeds:\n";
    std::fs::write(&document, text.to_owned() + &feeds).unwrap();
    let listen = format!("127.0.0.1:{health}");
    let up = ["up", "-c", &text_of(&document), "--data", &data, "--listen", &listen];
    let up = Running::start(&mut with_small_files(&up));
    let of = |status: &Value, name: &str| {
        status["feeds"].as_array().unwrap().iter().find(|feed| feed["feed"] == name).unwrap().clone()
    };
    let failed = until("a feed that has failed", || {
        let status = status(&data)?;
        of(&status, "kraken")["failed"].is_string().then_some(status)
    });
    assert!(of(&failed, "kalshi")["failed"].is_null(), "{failed}");
    assert!(failed["problems"].to_string().contains("kraken: it is not recorded any more"), "{failed}");
    let heard = of(&failed, "kalshi")["frames"].as_u64().unwrap() + 40;
    let later = until("frames of the other", || {
        status(&data).filter(|status| of(status, "kalshi")["frames"].as_u64().unwrap() >= heard)
    });
    assert_eq!(of(&later, "kalshi")["sessions"], 1, "{later}");
    let page = scrape(health).unwrap();
    let count =
        |feed: &str| page[&format!("ssmd_connector_errors_total{{feed=\"{feed}\",error_type=\"failed\"}}")];
    assert_eq!((count("kraken") >= 1.0, count("kalshi")), (true, 0.0));
    up.signal("TERM");
    let (ended, said) = up.end();
    assert!(ended.code() == Some(1) && said.contains("it is not recorded any more"), "{said}");
    // All of the other is in the archive, and of the one that failed what its log had taken.
    let store = store_of(Path::new(&data));
    let counted = json(&["replay", "--store", &store, "--feed", "kalshi", "--format", "none"]);
    assert!(counted["frames"].as_u64().unwrap() >= heard, "{counted}");
}

/// REST that refuses until it is told otherwise, and then lists nothing.
fn rest(listener: TcpListener, well: Arc<AtomicBool>) {
    for mut client in listener.incoming().flatten() {
        let well = well.load(Ordering::SeqCst);
        std::thread::spawn(move || answer(&mut client, well));
    }
}

fn answer(client: &mut TcpStream, well: bool) {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match client.read(&mut buffer) {
            Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let (status, body) = match well {
        true => ("200 OK", r#"{"cursor":"","markets":[]}"#),
        false => ("503 Service Unavailable", r#"{"error":"maintenance"}"#),
    };
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}", body.len());
    let _ = client.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
}

#[test]
fn a_venue_that_does_not_say_what_there_is_is_shown_with_its_words_until_it_does() {
    let (folder, well) = (tempdir().unwrap(), Arc::new(AtomicBool::new(false)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(&well);
    std::thread::spawn(move || rest(listener, shared));
    let more = format!("channels: [trade]\n      rest: http://{address}");
    let config = environment_of(folder.path(), free_port(), "kalshi", "KXFED-*", &more);
    let data = text_of(&folder.path().join("data"));
    let up = Running::start(ssmd(&["up", "-c", &config, "--data", &data]).env("SSMD_LOG", "warn"));
    let refused =
        until("a refusal", || status(&data).filter(|status| status["feeds"][0]["listing_error"].is_string()));
    let why = refused["feeds"][0]["listing_error"].as_str().unwrap();
    assert!(why.contains("503"), "{refused}");
    let said = output(1, &["status", "--data", &data]);
    assert!(said.contains("the venue has not said what there is:") && said.contains("503"), "{said}");
    well.store(true, Ordering::SeqCst);
    until("an answer", || status(&data).filter(|status| status["feeds"][0]["listing_error"].is_null()));
    up.signal("TERM");
    assert!(up.end().0.success());
}
