//! Documents that load, and what they mean.

use std::path::Path;

use ssmd_core::environment::{
    Checked, ClientKind, Code, Environment, JournalSpec, RecordFormat, RecordStreamSpec, Secret, SecretSpec,
    StoreSpec, SymbolDepth, TlsSpec, TransportSpec,
};

use crate::words::{WORDS, parse};

/// The least that must load, comments included.
pub(crate) const LEAST: &str = r#"apiVersion: ssmd/v1
kind: Environment
metadata: { name: dev }
spec:
  feeds:
    kraken:
      url: wss://ws.kraken.com/v2     # default: the venue's own
      rest: https://api.kraken.com    # default: the venue's own
      channels: [ticker, trade, book]
      symbols: ["BTC/USD", "ETH/USD"]
      depth: 10
  journal: local                      # later { nats: { url: nats://127.0.0.1:4222 } }
  store: file:./ssmd-data/store       # `file:` + a path, relative to the working directory; file:/// too; later { s3: { … } }
"#;

fn feed(keys: &str) -> String {
    format!(
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata: {{ name: dev }}\nspec: {{ feeds: {{ {keys} }} }}\n"
    )
}

#[test]
fn the_least_document_says_what_the_built_in_one_says() {
    let mut environment = parse(LEAST).unwrap();
    assert_eq!(environment.feeds[0].url.take().as_deref(), Some("wss://ws.kraken.com/v2"));
    assert_eq!(environment.feeds[0].rest.take().as_deref(), Some("https://api.kraken.com"));
    assert_eq!(environment, Environment::builtin(WORDS.feed("kraken").unwrap()).unwrap());
}

#[test]
fn a_byte_order_mark_and_line_ends_of_windows_change_nothing() {
    let marked = format!("\u{feff}{}", LEAST.replace('\n', "\r\n"));
    assert_eq!(parse(marked).unwrap(), parse(LEAST).unwrap());
}

#[test]
fn journal_and_store_have_documented_defaults() {
    let environment = parse(feed("kraken: { channels: [trade], symbols: [BTC/USD] }")).unwrap();
    assert_eq!(environment.journal, JournalSpec::Local);
    assert_eq!(environment.store, StoreSpec::File("./ssmd-data/store".into()));
    let feed = &environment.feeds[0];
    assert_eq!((&feed.url, &feed.rest, feed.depth, feed.allow_plaintext), (&None, &None, None, false));
    assert_eq!(feed.symbols, ["BTC/USD"]);
}

#[test]
fn a_star_means_every_channel() {
    let environment = parse(feed(r#"kraken: { channels: ["*"], symbols: ["*"] }"#)).unwrap();
    let channels: Vec<_> = environment.feeds[0].channels.iter().map(ToString::to_string).collect();
    assert_eq!(channels, ["ticker", "trade", "book", "ohlc", "instrument", "status"]);
}

#[test]
fn feeds_keep_their_order_and_channels_their_options() {
    let environment = parse(feed(
        r#"kalshi: { channels: [trade], symbols: ["*"], keys: { api_key: { env: KEY }, private_key: { file: k.pem } } },
           kraken: { channels: ["ticker:bbo", "ohlc:1", "ohlc:5", "book:25"], symbols: [ETH/*], url: "ws://127.0.0.1:9000/v2" }"#,
    ))
    .unwrap();
    let names: Vec<_> = environment.feeds.iter().map(|feed| feed.name.as_str()).collect();
    assert_eq!(names, ["kalshi", "kraken"]);
    assert_eq!(environment.feeds[0].keys["api_key"], Secret::Env("KEY".into()));
    assert_eq!(environment.feeds[0].keys["private_key"], Secret::File("k.pem".into()));
    assert_eq!(environment.feeds[1].channels[3].option.as_deref(), Some("25"));
}

#[test]
fn what_means_the_same_has_one_canonical_form_which_is_a_document() {
    let keys = "keys: { api_key: { env: KEY }, private_key: { file: k.pem } }";
    let one = parse(feed(&format!(
        r#"kraken: {{ channels: ["book:25", trade], symbols: ["B/USD", "Ä\"\u00e9\U0001F600"], depth: 10, url: "ws://127.0.0.1:1/v2" }},
           kalshi: {{ channels: [trade], symbols: ["*"], {keys} }}"#
    )))
    .unwrap();
    let other = parse(feed(&format!(
        r#"kalshi: {{ symbols: ["*"], channels: [trade], {keys}, allow_plaintext: false }}, # The same.
           kraken: {{ url: "ws://127.0.0.1:1/v2", depth: 10, symbols: [B/USD, "Ä\"é😀"], channels: ["book:25", trade] }}"#
    )));
    let canonical = one.canonical();
    assert_eq!(other.unwrap().canonical(), canonical);
    assert_eq!(parse(&canonical).unwrap().canonical(), canonical);
    assert_eq!(
        parse(LEAST).unwrap().canonical(),
        "{\"apiVersion\":\"ssmd/v1\",\"kind\":\"Environment\",\"metadata\":{\"name\":\"dev\"},\"spec\":{\"feeds\":\
         {\"kraken\":{\"channels\":[\"ticker\",\"trade\",\"book\"],\"depth\":10,\"rest\":\"https://api.kraken.com\",\
         \"symbols\":[\"BTC/USD\",\"ETH/USD\"],\"url\":\"wss://ws.kraken.com/v2\"}}}}"
    );
}

/// The documents that were given as examples before there was a reader, word for word.
fn given(name: &str) -> Checked {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/environment/given/{name}.yaml"));
    let text = std::fs::read(path).unwrap();
    Environment::check(&text, "given.yaml", &WORDS).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_given_document_of_kraken_loads_word_for_word() {
    let Checked { environment, later } = given("kraken");
    assert_eq!(environment.name.as_str(), "prod");
    let feed = &environment.feeds[0];
    assert_eq!(feed.symbols, ["BTC/USD", "ETH/USD", "SOL/USD"]);
    assert_eq!(feed.channels.len(), 3, "the venue's start");
    let sol = &feed.details["SOL/USD"];
    assert_eq!((sol.internal.as_deref(), sol.depth), (Some("SOLUSD"), Some(SymbolDepth::L1)));
    let JournalSpec::JetStream(journal) = &environment.journal else { panic!("`jetstream` is a journal") };
    assert_eq!((journal.retention_hours, journal.max_bytes), (24, Some(10_000_000_000)));
    let storage = environment.storage.as_ref().unwrap();
    let (raw, normalized) = (storage.raw.as_ref().unwrap(), storage.normalized.as_ref().unwrap());
    assert_eq!((raw.bucket.as_str(), raw.retention_days), ("ssmd-prod-raw", None));
    assert_eq!(normalized.retention_days, Some(365));
    assert_eq!(environment.clients[0].kind, ClientKind::Trading);
    assert_eq!(environment.entitlements[0].symbols, ["BTCUSD", "ETHUSD"]);
    let lines: Vec<_> = later.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [26, 28, 34], "{later}");
}

#[test]
fn the_given_document_of_kalshi_loads_word_for_word() {
    let Checked { environment, later } = given("kalshi");
    let feed = &environment.feeds[0];
    assert_eq!((feed.name.as_str(), feed.sync), ("kalshi", true));
    assert_eq!(feed.filters.category, ["financials", "crypto"]);
    let schedule = environment.schedule.as_ref().unwrap();
    assert_eq!(schedule.timezone, "UTC");
    assert_eq!(schedule.running.map(|window| window.start.minutes()), Some(10));
    assert_eq!(
        environment.transport,
        TransportSpec::Nats {
            url: Some("nats://nats.ssmd.local:4222".into()),
            stream: Some(RecordStreamSpec {
                name: "ssmd-kalshi".into(),
                retention_hours: 24,
                max_bytes: None,
                replicas: 1
            }),
            format: RecordFormat::Json,
            tls: TlsSpec::default(),
            credentials: None
        }
    );
    let raw = environment.storage.as_ref().unwrap().raw.as_ref().unwrap();
    assert_eq!(raw.endpoint.as_deref(), Some("https://s3.homelab.local"));
    let sealed = SecretSpec::Mounted { sealed: true, name: "kalshi-creds".into() };
    assert_eq!(environment.secrets["kalshi"], sealed);
    assert!(given("kalshi").to_start().unwrap_err().to_string().contains("error[E0105]"), "{later}");
}

#[test]
fn what_is_not_built_yet_is_read_and_does_not_start() {
    let text = feed("kraken: { symbols: [BTC/USD], redundancy: 2 } }, alerts: { silent: 60s");
    let checked = Environment::check(text.as_bytes(), "env.yaml", &WORDS).unwrap();
    assert_eq!(checked.environment.feeds[0].redundancy, 2);
    let problems = checked.to_start().unwrap_err();
    assert!(problems.problems.iter().all(|problem| problem.code == Code::NotBuiltYet));
    assert_eq!(problems.count(), 1, "{problems}");
    let plain = feed("kraken: { enabled: false, symbols: [{ name: BTC/USD, internal: BTCUSD }] }");
    assert!(Environment::check(plain.as_bytes(), "env.yaml", &WORDS).unwrap().to_start().is_ok());
}

/// An environment that says something of everything.
pub(crate) const FULL: &str = include_str!("../../testdata/environment/full.yaml");

/// Holds an environment against the document that is made of it.
pub(crate) fn same(environment: &Environment) {
    let text = environment.document().to_string();
    let mut again = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let mut sorted = environment.clone();
    again.feeds.sort_by(|a, b| a.name.cmp(&b.name));
    sorted.feeds.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(again, sorted, "{text}");
    assert_eq!(again.hash(), environment.hash());
}

#[test]
fn a_document_made_of_an_environment_says_the_same() {
    let tls = "ca: ca.pem, cert: client.pem, key: client.key";
    let nats = format!(
        "nats: {{ stream: records, retention_hours: 2, max_bytes: 1GB, replicas: 3, format: capnp, {tls} }}"
    );
    let other = format!(
        "transport: {{ {nats} }}, cache: {{ nats: {{ bucket: b, {tls} }} }}, journal: {{ nats: {{ {tls} }} }}"
    );
    let third = "transport: { mqtt: { url: \"mqtts://b\", format: capnp, ca: a } }, cache: { redis: { url: \"rediss://r\", ca: a } }";
    for environment in [
        parse(LEAST),
        parse(FULL),
        Ok(given("kraken").environment),
        Ok(given("kalshi").environment),
        parse(with(&other)),
        parse(with(third)),
    ] {
        same(&environment.unwrap());
    }
}

/// A document of one feed, with more beside it.
fn with(more: &str) -> String {
    feed("kraken: { symbols: [BTC/USD] }").replace(" } } }\n", &format!(" }} }}, {more} }}\n"))
}

#[test]
fn what_contradicts_itself_in_a_backend_is_told() {
    for (more, told) in [
        ("transport: { nats: { retention_hours: 2 } }", "without `spec.transport.nats.stream`"),
        ("transport: { nats: { cert: a } }", "without `spec.transport.nats.key`"),
        ("transport: { mqtt: { url: \"mqtt://b\", ca: a } }", "beside an address without TLS"),
        ("cache: { redis: { url: \"redis://b\", ca: a } }", "beside an address without TLS"),
        ("transport: { nats: { stream: ssmd-dev } }, journal: { nats: {} }", "is the journal's too"),
    ] {
        let problems = parse(with(more)).unwrap_err().to_string();
        assert!(problems.contains("E0232") && problems.contains(told), "{more}\n{problems}");
    }
}

#[test]
fn a_hash_is_of_what_is_said_and_not_of_how() {
    let of = |text: &str| parse(text).unwrap().hash();
    let plain = of(&feed("kraken: { channels: [trade], symbols: [BTC/USD] }"));
    assert_eq!(
        plain,
        of(&feed("kraken: { symbols: [\"BTC/USD\"], enabled: true, redundancy: 1, channels: ['trade'] }"))
    );
    assert_ne!(plain, of(&feed("kraken: { channels: [trade], symbols: [BTC/USD], depth: 10 }")));
    assert_ne!(plain, of(&feed("kraken: { channels: [trade], symbols: [BTC/USD], enabled: false }")));
    // Written into every archive that this environment ever made: a change of this text is a change of all of them.
    assert_eq!(plain, "ac9b4bf38c16ba72c9f8affb63e80b31a06c80dcf1e7aec4d8dd92d3499e0fe8");
}
