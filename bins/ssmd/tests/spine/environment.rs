//! Documents as an operator meets them: what is declared and not built yet, what only the world can say, what a
//! code means.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::nats_server::Server;
use crate::rig::{Running, free_port, json, output, run, ssmd, text_of, until};

/// Writes a document of a feed of Kraken, with `more` behind its keys.
fn document(folder: &Path, more: &str) -> String {
    let path = folder.join("environment.yaml");
    let text = format!(
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: test }}\nspec:\n  feeds:\n    kraken:\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    text_of(&path)
}

#[test]
fn what_is_not_built_yet_is_checked_and_told_and_does_not_start() {
    let folder = tempdir().unwrap();
    let file = document(
        folder.path(),
        "      symbols: [BTC/USD]\n  storage: { normalized: { bucket: ssmd-test-normalized } }\n",
    );
    let said = output(0, &["check", &file]);
    assert!(said.contains("✓ feed kraken: ticker, trade, book for 1 symbol\n"), "{said}");
    assert!(said.contains("○ `normalized` in `spec.storage` is not built yet (line 8, E0105)\n"), "{said}");
    assert_eq!(json(&["check", &file, "--json"])["later"][0]["line"], 8);

    let data = text_of(&folder.path().join("data"));
    let up = run(&["up", "--sim", "--for", "1s", "-c", &file, "--data", &data]);
    let told = String::from_utf8_lossy(&up.stderr).into_owned();
    assert_eq!(up.status.code(), Some(78), "{told}");
    assert!(told.contains("error[E0105]") && told.contains(":8:14"), "{told}");
    assert!(!Path::new(&data).exists(), "nothing was begun");
}

#[test]
fn a_category_is_a_part_of_every_subject_of_its_feed() {
    let folder = tempdir().unwrap();
    let data = text_of(&folder.path().join("data"));
    let file = document(folder.path(), "      symbols: [BTC/USD]\n      category: crypto\n");
    let up = Running::start(&mut ssmd(&["up", "--sim", "-c", &file, "--data", &data]));
    let tail = |filter: &str| Running::start(&mut ssmd(&["tail", filter, "--data", &data]));
    let first = |tail: &mut Running| BufReader::new(tail.stdout()).lines().next().map(Result::unwrap);
    let record = until("a record of the category", || first(&mut tail("test.kraken.crypto.json.trade.>")));
    assert!(record.contains("BTC/USD"), "{record}");
    // Both are there while records go on.
    let mut without = tail("test.kraken.json.>");
    until("more records", || first(&mut tail("*.*.crypto.json.*.BTC~2FUSD")));
    up.signal("TERM");
    assert!(up.end().0.success());
    assert_eq!(first(&mut without), None);
}

#[test]
fn each_symbol_has_as_much_of_its_book_as_is_declared() {
    let folder = tempdir().unwrap();
    let data = text_of(&folder.path().join("data"));
    let file = document(
        folder.path(),
        "      channels: [trade, book]\n      depth: 10\n      symbols:\n        - BTC/USD\n        \
         - { name: ETH/USD, depth: 25 }\n        - { name: SOL/USD, depth: l1 }\n",
    );
    output(0, &["up", "--sim", "--for", "3s", "-c", &file, "--data", &data]);
    let store = format!("file:{data}/store");
    let sent = output(0, &["cat", "--store", &store, "--sent"]);
    let asked = |depth: &str, symbol: &str| {
        sent.lines().any(|line| line.contains(&format!("\"depth\":{depth}")) && line.contains(symbol))
    };
    assert!(asked("10", "BTC/USD") && asked("25", "ETH/USD"), "{sent}");
    assert!(!asked("25", "BTC/USD") && !asked("10", "ETH/USD"), "{sent}");
    assert!(sent.contains("SOL/USD") && !asked("", "SOL/USD"), "{sent}");
    let report = json(&["verify", "--store", &store, "--json"]);
    assert!(report["books_verified"].as_u64().unwrap() > 0, "{report}");
    assert_eq!((&report["books_failed"], &report["errors"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn a_disabled_feed_is_not_recorded() {
    let folder = tempdir().unwrap();
    let data = text_of(&folder.path().join("data"));
    let two =
        "      symbols: [BTC/USD]\n      enabled: false\n    kraken-futures:\n      symbols: [PF_XBTUSD]\n";
    let file = document(folder.path(), two);
    let status = json(&["up", "--sim", "--for", "1s", "-c", &file, "--data", &data, "--json"]);
    let feeds: Vec<_> = status["feeds"].as_array().unwrap().iter().map(|feed| &feed["feed"]).collect();
    assert_eq!(feeds, ["kraken-futures"]);

    let none = document(folder.path(), "      symbols: [BTC/USD]\n      enabled: false\n");
    let up = run(&["up", "-c", &none, "--data", &data]);
    let told = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(!up.status.success() && told.contains("no feed of the environment is enabled"), "{told}");
}

/// A simulated venue that lists two symbols besides many others, and a document that points at it.
fn venue(symbols: &str, more: &str) -> (Running, TempDir, String) {
    let (folder, port) = (tempdir().unwrap(), free_port());
    let listen = format!("127.0.0.1:{port}");
    let sim = Running::start(&mut ssmd(&["sim", "--listen", &listen, "--symbols", "BTC/USD,ETH/USD"]));
    until("the simulator", || TcpStream::connect(&listen).ok());
    let root = folder.path().display();
    let file = document(
        folder.path(),
        &format!(
            "      url: ws://{listen}/v2\n      rest: http://{listen}\n      channels: [trade]\n      \
             symbols: {symbols}\n  store: file:{root}/{more}"
        ),
    );
    (sim, folder, file)
}

#[test]
fn the_world_is_asked_only_where_it_is_told_to() {
    let (_sim, folder, file) = venue("[BTC/USD, \"*/USD\"]", "a/b/store\n");
    let said = output(0, &["check", &file, "--online"]);
    assert!(said.contains("✓ feed kraken: the venue lists "), "{said}");
    assert!(said.contains(": an object is made only once; written and read in "), "{said}");
    assert!(!folder.path().join("a").exists(), "nothing of the probe stays");

    std::fs::create_dir(folder.path().join("a")).unwrap();
    let online = json(&["env", "validate", &file, "--online", "--json"]);
    assert_eq!(online["online"].as_array().unwrap().len(), 3, "{online}");
    assert_eq!(std::fs::read_dir(folder.path().join("a")).unwrap().count(), 0);
    assert_eq!(json(&["check", &file, "--json"])["online"].as_array().unwrap().len(), 0);
}

#[test]
fn nats_is_asked_for_one_round_trip_by_each_who_uses_it() {
    let Some(server) = Server::start("authorization { token: canary-5e1d }") else { return };
    let (url, folder) = (server.url(), tempdir().unwrap());
    let token = folder.path().join("token");
    let at = format!("{{ url: {url:?}, credentials: {{ file: {token:?} }} }}");
    let (_sim, _folder, file) = venue(
        "[BTC/USD]",
        &format!(
            "store\n  journal: {{ nats: {at} }}\n  transport: {{ nats: {at} }}\n  cache: {{ nats: {at} }}\n"
        ),
    );
    std::fs::write(&token, "canary-5e1d\n").unwrap();
    let said = output(0, &["check", &file, "--online"]);
    for used in ["journal", "transport", "cache"] {
        assert!(said.contains(&format!("✓ {used}: nats-server 2.")), "{said}");
    }
    assert!(said.contains("sync_interval"), "{said}");
    std::fs::write(&token, "canary-wrong").unwrap();
    let checked = run(&["check", &file, "--online"]);
    let said = String::from_utf8(checked.stdout).unwrap() + &String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(78), "{said}");
    assert!(said.contains("E0302") && said.contains("denied") && !said.contains("canary"), "{said}");
}

#[test]
fn what_the_world_lacks_is_told_at_its_place() {
    let secret = "store\n  secrets: { a: { env: SSMD_TEST_SECRET_THAT_NOBODY_SETS } }\n";
    let (sim, folder, file) = venue("[BTC/USD, { name: BTC/USDX }, \"*/NONE\"]", secret);
    // A file where the folder should be: also who may write everything cannot write there.
    std::fs::write(folder.path().join("store"), "").unwrap();
    let checked = run(&["check", &file, "--online"]);
    let (out, told) =
        (String::from_utf8(checked.stdout).unwrap(), String::from_utf8(checked.stderr).unwrap());
    assert_eq!(checked.status.code(), Some(78), "{told}");
    for (code, place, shown) in [
        ("E0301", ":10:34", "symbol `BTC/USDX` is not available on feed `kraken`"),
        ("E0301", ":10:46", "feed `kraken` lists nothing that fits `*/NONE` and the filters"),
        ("E0303", ":11:10", "cannot be written"),
        ("E0304", ":12:24", "secret `spec.secrets.a` cannot be read"),
    ] {
        assert!(told.contains(&format!("error[{code}]: ")) && told.contains(place), "{code} {place}\n{told}");
        assert!(told.contains(shown) && out.contains(shown), "{shown}\n{out}\n{told}");
    }
    assert!(told.contains("did you mean `BTC/USD`?"), "{told}");
    assert!(
        out.contains("✗ symbol `BTC/USDX` is not available on feed `kraken` (line 10, E0301)\n"),
        "{out}"
    );
    assert!(out.ends_with("has 4 errors; `ssmd explain CODE` says more\n"), "{out}");

    drop(sim);
    let silent = run(&["check", &file, "--online"]);
    let told = String::from_utf8(silent.stderr).unwrap();
    assert!(told.contains("error[E0302]") && told.contains(":8:13"), "{told}");
}

#[test]
fn keys_are_tried_where_the_world_is_asked() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ssmd-feeds/testdata/kalshi");
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("name"), "a-key\n").unwrap();
    let checked = |public: &str| {
        let listen = format!("127.0.0.1:{}", free_port());
        let market = "KXFED-26DEC31-T0001";
        let sim = ["sim", "--feed", "kalshi", "--listen", &listen, "--symbols", market, "--public-key"];
        let _sim = Running::start(ssmd(&sim).arg(keys.join(public)));
        until("the simulator", || TcpStream::connect(&listen).ok());
        let (root, keys) = (folder.path().display(), keys.display());
        let text = format!(
            "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: test }}\nspec:\n  store: file:{root}/store\n  \
             feeds:\n    kalshi:\n      url: ws://{listen}/trade-api/ws/v2\n      \
             rest: http://{listen}\n      channels: [trade]\n      symbols: [{market}]\n      \
             keys: {{ key_id: {{ file: {root}/name }}, private_key: {{ file: {keys}/key.pkcs8.pem }} }}\n"
        );
        let file = folder.path().join("environment.yaml");
        std::fs::write(&file, text).unwrap();
        let checked = run(&["check", file.to_str().unwrap(), "--online"]);
        (checked.status.code(), String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap())
    };
    let (code, told) = checked("key.public.pem");
    assert!(code == Some(0) && told.contains("✓ feed kalshi: the venue takes the keys\n"), "{told}");
    let (code, told) = checked("other.public.pem");
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains("error[E0305]: feed `kalshi` is not let in with its keys: ") && told.contains(":12:7"),
        "{told}"
    );
    assert!(told.contains("incorrect signature"), "{told}");
}

#[test]
fn every_code_has_a_page() {
    let page = output(0, &["explain", "e0203"]);
    assert!(page.starts_with("E0203: An unknown channel\n\n"), "{page}");
    assert!(page.ends_with("✗\n  channels: [trades]\n✓\n  channels: [trade]\n"), "{page}");
    let list = output(0, &["explain"]);
    let all = json(&["explain", "--json"]);
    assert_eq!(list.lines().count(), all.as_array().unwrap().len());
    assert_eq!(all[0], json(&["explain", "E0001", "--json"]));
    let unknown = run(&["explain", "E02O3"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean E0203?"));
}

#[test]
fn the_schema_is_the_one_of_the_docs() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/environment.schema.json");
    let Ok(docs) = std::fs::read_to_string(docs) else { return println!("no docs beside this crate") };
    assert!(output(0, &["env", "schema"]) == docs, "docs/environment.schema.json is another");
}
