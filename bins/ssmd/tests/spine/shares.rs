//! A feed whose symbols are shared out between sessions: evenly, or by a list of shares with categories, and shared
//! out otherwise while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::rig::{Running, dialer, free_port, json, output, run, ssmd, store_of, text_of, until};

/// A recorder beside a simulated venue, and its document.
pub(crate) struct World {
    folder: TempDir,
    feed: &'static str,
    document: PathBuf,
    data: String,
    port: u16,
    _sim: Running,
}

impl World {
    pub(crate) fn new(feed: &'static str, symbols: &str) -> Self {
        let (folder, port) = (tempdir().unwrap(), free_port());
        let listen = format!("127.0.0.1:{port}");
        let sim = ["sim", "--feed", feed, "--listen", &listen, "--symbols", symbols, "--rate", "400"];
        let sim = Running::start(&mut ssmd(&sim));
        let document = folder.path().join("environment.yaml");
        let data = text_of(&folder.path().join("data"));
        Self { document, data, folder, feed, port, _sim: sim }
    }

    /// Puts a document in its place, as editors do; `keys` are those of the feed.
    pub(crate) fn declare(&self, keys: &str) {
        let (feed, port, dialer) = (self.feed, self.port, dialer());
        let text = format!(
            "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: test }}\nspec:\n  feeds:\n    {feed}:\n      \
             url: ws://127.0.0.1:{port}\n      rest: http://127.0.0.1:{port}\n      {dialer}\n      {keys}\n"
        );
        let new = self.folder.path().join(".environment.yaml.swp");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.document).unwrap();
    }

    pub(crate) fn start(&self) -> Running {
        let document = text_of(&self.document);
        let up = ["up", "-c", &document, "--data", &self.data];
        Running::start(ssmd(&up).env("SSMD_LOG", "warn"))
    }

    /// Waits until each share has so many symbols, all of them confirmed, on so many connections.
    pub(crate) fn until(&self, shares: &[(Option<&str>, u64, u64)]) -> Value {
        until("the shares", || {
            let said = run(&["status", "--data", &self.data, "--json"]);
            let status: Value = serde_json::from_slice(&said.stdout).ok()?;
            let feed = &status["feeds"][0];
            let is = |(shard, (category, symbols, sessions)): (&Value, &(Option<&str>, u64, u64))| {
                shard["category"].as_str() == *category
                    && shard["symbols"] == *symbols
                    && shard["sessions"] == *sessions
                    && shard["sessions_wanted"] == *sessions
            };
            let shards = feed["shards"].as_array()?;
            let so = shards.len() == shares.len()
                && shards.iter().zip(shares).all(is)
                && feed["sessions"] == shares.iter().map(|(.., sessions)| sessions).sum::<u64>()
                && feed["subscriptions_missing"] == 0
                && status["healthy"] == true;
            so.then_some(status)
        })
    }

    /// What a filter of subjects finds first.
    fn heard(&self, filter: &str) -> Value {
        until("a record", || {
            let mut tail = Running::start(&mut ssmd(&["tail", filter, "--data", &self.data]));
            let line = BufReader::new(tail.stdout()).lines().next()?.unwrap();
            Some(serde_json::from_str(&line).unwrap())
        })
    }

    /// Where the venue is.
    pub(crate) fn venue(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn stop(&self, up: Running) {
        up.signal("TERM");
        let (ended, said) = up.end();
        assert!(ended.success(), "{said}");
    }

    /// Ends the recorder and proves that nothing is wrong with what it recorded.
    fn end(&self, up: Running) {
        self.stop(up);
        let report = json(&["verify", "--store", &self.store(), "--json"]);
        for field in ["errors", "books_failed", "gaps", "malformed", "unknown", "holes", "lost"] {
            assert_eq!(report[field], 0, "{field} of {report}");
        }
    }

    pub(crate) fn store(&self) -> String {
        store_of(self.data.as_ref())
    }

    /// Entries of the archive of one kind: which session, and what they say.
    pub(crate) fn entries(&self, wanted: &str) -> Vec<(u64, Value)> {
        let lines = output(0, &["cat", "--store", &self.store(), "--format", "entries", "--sent"]);
        let read = |line: &str| {
            let entry: Value = serde_json::from_str(line).unwrap();
            let said = match (entry.get("raw"), entry["str"].as_str()) {
                (Some(raw), _) => raw.clone(),
                (None, Some(text)) => serde_json::from_str(text).unwrap_or_default(),
                (None, None) => Value::Null,
            };
            (entry["k"] == wanted).then(|| (entry["s"].as_u64().unwrap(), said))
        };
        lines.lines().filter_map(read).collect()
    }

    /// For each symbol, on which sessions it was subscribed, in their order.
    fn subscribed(&self, symbols: &[&str]) -> BTreeMap<String, Vec<u64>> {
        let mut places = BTreeMap::<String, Vec<u64>>::new();
        for (session, sent) in self.entries("sent") {
            let text = sent.to_string();
            for symbol in
                symbols.iter().filter(|symbol| text.contains(**symbol) && text.contains("\"subscribe\""))
            {
                let its = places.entry((*symbol).to_owned()).or_default();
                if its.last() != Some(&session) {
                    its.push(session);
                }
            }
        }
        places
    }

    /// The numbers of each symbol's trades, as they are replayed.
    pub(crate) fn trades(&self) -> BTreeMap<String, Vec<u64>> {
        let replay = ["replay", "--store", &self.store(), "--speed", "max", "--format", "json"];
        let mut trades = BTreeMap::<String, Vec<u64>>::new();
        for line in output(0, &replay).lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["type"] == "trade" {
                let symbol = record["symbol"].as_str().unwrap().to_owned();
                trades.entry(symbol).or_default().push(record["id"].as_str().unwrap().parse().unwrap());
            }
        }
        trades
    }
}

#[test]
fn symbols_are_split_evenly_and_sessions_stay_when_others_are_declared() {
    let symbols = ["BTC/USD", "ETH/USD", "SOL/USD"];
    let world = World::new("kraken", &symbols.join(","));
    let declare = |symbols: &str, shards: u32| {
        world.declare(&format!("channels: [book, trade]\n      symbols: {symbols}\n      shards: {shards}"));
    };
    let share = |symbols| (None, symbols, 1);
    declare("[BTC/USD, ETH/USD]", 2);
    let up = world.start();
    world.until(&[share(1), share(1)]);
    let said = output(0, &["status", "--data", &world.data]);
    assert!(said.contains("kraken: share 2: 1 symbol, 1 of 1 connection\n"), "{said}");
    declare("[BTC/USD, ETH/USD, SOL/USD]", 2);
    world.until(&[share(2), share(1)]);
    declare("[BTC/USD, ETH/USD, SOL/USD]", 3);
    world.until(&[share(1), share(1), share(1)]);
    declare("[BTC/USD, ETH/USD, SOL/USD]", 1);
    let status = world.until(&[share(3)]);
    assert_eq!(status["feeds"][0]["reconnects"], 0, "{status}");
    world.end(up);

    // A symbol comes where the fewest are; what moves is the one that must.
    let expected = [("BTC/USD", vec![1]), ("ETH/USD", vec![2, 1]), ("SOL/USD", vec![1, 3, 1])];
    let session_of_first = world.subscribed(&symbols)["BTC/USD"][0];
    let mut places = world.subscribed(&symbols);
    if session_of_first == 2 {
        // Two connections open at once: either may be the first.
        let other = |session: &mut u64| *session = [0, 2, 1, 3][*session as usize];
        places.values_mut().flatten().for_each(other);
    }
    assert_eq!(places, expected.map(|(symbol, sessions)| (symbol.to_owned(), sessions)).into());
    assert_eq!(world.entries("open").len(), 3, "no connection was opened twice");
    // What moved was left only when the other session had it: no trade is missing.
    for (symbol, numbers) in world.trades() {
        let (first, last) = (*numbers.iter().min().unwrap(), *numbers.iter().max().unwrap());
        let heard: BTreeSet<u64> = numbers.into_iter().collect();
        assert_eq!(heard.len() as u64, last - first + 1, "{symbol}: {first} to {last}");
        assert!(heard.len() > 10, "{symbol}: {heard:?}");
    }
}

#[test]
fn each_share_has_two_connections_where_that_is_declared() {
    let world = World::new("kraken", "BTC/USD,ETH/USD");
    world.declare(
        "channels: [book, trade]\n      symbols: [BTC/USD, ETH/USD]\n      shards: 2\n      redundancy: 2",
    );
    let up = world.start();
    let status = world.until(&[(None, 1, 2), (None, 1, 2)]);
    assert_eq!(status["feeds"][0]["sessions"], 4, "{status}");
    world.heard("test.kraken.json.trade.ETH~2FUSD");
    world.end(up);
    let opens = world.entries("open").into_iter().map(|(_, open)| {
        let twin = &open["twin"];
        assert_eq!(twin["of"], 2, "{open}");
        let topics: BTreeSet<_> =
            open["wanted"].as_array().unwrap().iter().map(|topic| topic.to_string()).collect();
        (open["shard"].as_u64().unwrap(), twin["number"].as_u64().unwrap(), topics)
    });
    let opens: BTreeSet<_> = opens.collect();
    let places: Vec<_> = opens.iter().map(|(shard, twin, _)| (*shard, *twin)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0), (1, 1)], "{opens:?}");
    let topics: Vec<_> = opens.iter().map(|(.., topics)| topics).collect();
    assert!(topics[0] == topics[1] && topics[2] == topics[3] && topics[0] != topics[2], "{opens:?}");
    // Both are merged: each trade is told once, and none is missing.
    for (symbol, numbers) in world.trades() {
        let expected: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "{symbol}");
    }
}

#[test]
fn each_share_of_a_list_has_its_own_symbols_and_its_category_in_subjects() {
    let markets =
        ["KXBTC15M-26DEC31-T0001", "KXETHD-26DEC31-T0001", "KXFED-26DEC31-T0001", "KXHIGHNY-26DEC31-T0001"];
    let [bitcoin, ether, fed, weather] = markets;
    let world = World::new("kalshi", &markets.join(","));
    let declare = |first: &str| {
        world.declare(&format!(
            "channels: [trade, orderbook_delta]\n      symbols: [\"*\"]\n      shards:\n{first}        \
             - {{ category: crypto, symbols: [\"KXBTC*\", {ether}] }}\n        \
             - category: weather\n          symbols: {{ filters: [{{ category: Climate and Weather }}] }}"
        ));
    };
    declare("");
    let said = output(0, &["check", world.document.to_str().unwrap()]);
    assert!(
        said.contains(
            "✓ feed kalshi: trade, orderbook_delta for 1 symbol and 3 patterns, filtered, in 3 shares\n"
        ),
        "{said}"
    );
    let up = world.start();
    let (crypto, weather_share) = ((Some("crypto"), 2, 1), (Some("weather"), 1, 1));
    // What no share takes is one more, under the feed's category: here it has none.
    world.until(&[crypto, weather_share, (None, 1, 1)]);
    let subject = |category: &str, market: &str| {
        let category = if category.is_empty() { String::new() } else { format!("{category}.") };
        format!("test.kalshi.{category}json.*.{market}")
    };
    for (category, market) in [("crypto", bitcoin), ("crypto", ether), ("weather", weather), ("", fed)] {
        assert_eq!(world.heard(&subject(category, market))["symbol"], market);
    }
    // A share that comes before the others takes from them what it wants; nothing else moves.
    declare("        - { category: ether, symbols: [\"KXETH*\"] }\n");
    let status = world.until(&[(Some("ether"), 1, 1), (Some("crypto"), 1, 1), weather_share, (None, 1, 1)]);
    assert_eq!(status["feeds"][0]["reconnects"], 0, "{status}");
    assert_eq!(world.heard(&subject("ether", ether))["symbol"], ether);
    assert_eq!(world.heard(&subject("crypto", bitcoin))["symbol"], bitcoin);
    let mut gone = Running::start(&mut ssmd(&["tail", &subject("crypto", ether), "--data", &world.data]));
    world.heard(&subject("ether", ether));
    world.end(up);
    assert_eq!(BufReader::new(gone.stdout()).lines().count(), 0, "it is told under its new category alone");
    assert_eq!(world.entries("open").len(), 4, "no connection was opened twice");
    let categories: BTreeSet<_> = world
        .entries("open")
        .into_iter()
        .map(|(_, open)| open["category"].as_str().map(str::to_owned))
        .collect();
    let expected = [Some("crypto"), Some("ether"), Some("weather"), None];
    assert_eq!(categories, expected.map(|category| category.map(str::to_owned)).into());
}
