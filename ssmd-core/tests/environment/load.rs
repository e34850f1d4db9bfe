//! Documents that load, and what they mean.

use ssmd_core::environment::{Environment, JournalSpec, Secret, StoreSpec};

use crate::words::{WORDS, parse};

/// The least that must load, comments included.
const LEAST: &str = r#"apiVersion: ssmd/v1
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
