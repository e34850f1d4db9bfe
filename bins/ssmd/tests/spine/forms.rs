//! A venue that writes a known message in a form that nobody has seen: it is kept as it came, counted, and alarmed.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::metrics::scrape;
use crate::rig::{
    Running, day_of, dialer, environment_of, free_port, output, run, ssmd, store_of, text_of, until,
};

const TOKEN: &str = "114602688616062054693464639818826590702731982636255124778328943187816056373369";

/// One venue: a symbol, channels, a message that is understood, messages of known types in forms never seen, and one of
/// no known type.
struct Forms {
    feed: &'static str,
    symbol: &'static str,
    channels: &'static str,
    known: &'static str,
    strange: &'static [&'static str],
    unknown: &'static str,
}

const KALSHI: Forms = Forms {
    feed: "kalshi",
    symbol: "KXSOLD-26FEB1217-T79.9999",
    channels: "[ticker, trade, orderbook_delta]",
    known: "{\"type\":\"trade\",\"sid\":2,\"seq\":1,\"msg\":{\"trade_id\":\"t1\",\"market_ticker\":\"KXSOLD-26FEB1217-T79.9999\",\"yes_price_dollars\":\"0.7700\",\"count_fp\":\"1.00\",\"taker_side\":\"yes\",\"ts_ms\":1770930000000}}\n",
    strange: &[
        "{\"type\":\"orderbook_snapshot\",\"sid\":1,\"seq\":1,\"msg\":{\"market_ticker\":\"KXSOLD-26FEB1217-T79.9999\",\"yes_levels_v3\":[{\"price\":\"0.4000\",\"size\":\"10.00\"}]}}\n",
        "{\"type\":\"orderbook_delta\",\"sid\":1,\"seq\":2,\"msg\":{\"market_ticker\":\"KXSOLD-26FEB1217-T79.9999\",\"price_dollars\":{\"value\":\"0.4000\"},\"delta_fp\":\"1.00\",\"side\":\"yes\"}}\n",
        "{\"type\":\"trade\",\"sid\":2,\"seq\":2,\"msg\":{\"trade_id\":\"t2\",\"market_ticker\":\"KXSOLD-26FEB1217-T79.9999\",\"yes_price_micros\":770000,\"count_fp\":\"1.00\"}}\n",
        "{\"type\":\"ticker\",\"sid\":3,\"msg\":{\"market_ticker\":\"KXSOLD-26FEB1217-T79.9999\",\"price_dollars\":[\"0.7700\"],\"yes_bid_dollars\":\"0.7600\",\"yes_ask_dollars\":\"0.7800\"}}\n",
    ],
    unknown: "{\"type\":\"orderbook_delta_v3\",\"sid\":1,\"seq\":3,\"msg\":{}}\n",
};
const POLYMARKET: Forms = Forms {
    feed: "polymarket",
    symbol: TOKEN,
    channels: "[market]",
    known: "{\"event_type\":\"last_trade_price\",\"asset_id\":\"114602688616062054693464639818826590702731982636255124778328943187816056373369\",\"market\":\"0xabababababababababababababababababababababababababababababababab\",\"price\":\"0.5\",\"size\":\"2\",\"side\":\"BUY\",\"fee_rate_bps\":\"0\",\"timestamp\":\"1788790000000\"}",
    strange: &[
        "{\"event_type\":\"last_trade_price\",\"asset_id\":\"114602688616062054693464639818826590702731982636255124778328943187816056373369\",\"market\":\"0xabababababababababababababababababababababababababababababababab\",\"price\":{\"value\":\"0.5\"},\"size\":\"2\",\"side\":\"BUY\",\"timestamp\":\"1788790000001\"}",
        "{\"event_type\":\"price_change\",\"market\":\"0xabababababababababababababababababababababababababababababababab\",\"timestamp\":\"1788790000002\",\"price_changes\":[{\"asset_id\":\"114602688616062054693464639818826590702731982636255124778328943187816056373369\",\"price\":[\"0.5\"],\"size\":\"3\",\"side\":\"BUY\",\"hash\":\"00\",\"best_bid\":\"0.5\",\"best_ask\":\"0.6\"}]}",
        "{\"event_type\":\"book\",\"asset_id\":\"114602688616062054693464639818826590702731982636255124778328943187816056373369\",\"market\":\"0xabababababababababababababababababababababababababababababababab\",\"timestamp\":\"1788790000003\",\"hash\":\"00\",\"bids\":{\"0.5\":\"3\"},\"asks\":{}}",
    ],
    unknown: "{\"event_type\":\"book_v2\",\"asset_id\":\"1\",\"timestamp\":\"1788790000004\"}",
};
const KRAKEN: Forms = Forms {
    feed: "kraken",
    symbol: "BTC/USD",
    channels: "[ticker, trade]",
    known: "{\"channel\":\"trade\",\"type\":\"update\",\"data\":[{\"symbol\":\"BTC/USD\",\"side\":\"buy\",\"price\":63387.6,\"qty\":0.00958197,\"ord_type\":\"market\",\"trade_id\":7,\"timestamp\":\"2026-08-01T23:59:59.000000Z\"}]}",
    strange: &[
        "{\"channel\":\"trade\",\"type\":\"update\",\"data\":[{\"symbol\":\"BTC/USD\",\"side\":\"buy\",\"price\":{\"value\":63387.6},\"qty\":0.00958197,\"ord_type\":\"market\",\"trade_id\":8,\"timestamp\":\"2026-08-01T23:59:59.000000Z\"}]}",
    ],
    unknown: "{\"channel\":\"trade_v3\",\"type\":\"update\",\"data\":[]}",
};
const FUTURES: Forms = Forms {
    feed: "kraken-futures",
    symbol: "PF_XBTUSD",
    channels: "[trade]",
    known: "{\"feed\":\"trade\",\"product_id\":\"PF_XBTUSD\",\"uid\":\"u1\",\"side\":\"buy\",\"type\":\"fill\",\"seq\":1,\"time\":1790360000001,\"qty\":1.5,\"price\":84000.0}",
    strange: &[
        "{\"feed\":\"trade\",\"product_id\":\"PF_XBTUSD\",\"uid\":\"u2\",\"side\":\"buy\",\"type\":\"fill\",\"seq\":2,\"time\":1790360000002,\"qty\":[1.5],\"price\":{\"value\":84000.0}}",
    ],
    unknown: "{\"feed\":\"trade_v2\",\"product_id\":\"PF_XBTUSD\"}",
};

#[test]
fn a_form_of_kalshi_never_seen_is_kept_counted_and_alarmed() {
    KALSHI.try_it();
}

#[test]
fn a_form_of_polymarket_never_seen_is_kept_counted_and_alarmed() {
    POLYMARKET.try_it();
}

#[test]
fn a_form_of_kraken_never_seen_is_kept_counted_and_alarmed() {
    KRAKEN.try_it();
    FUTURES.try_it();
}

impl Forms {
    fn try_it(&self) {
        let Self { feed, symbol, known, strange, unknown, .. } = self;
        let (folder, port, health) = (tempdir().unwrap(), free_port(), free_port());
        let all: Vec<_> = std::iter::once(known).chain(*strange).chain([unknown, known]).collect();
        let play = folder.path().join("strange.jsonl");
        let lines: Vec<_> = all.iter().map(|raw| json!({ "t": null, "raw": raw }).to_string()).collect();
        std::fs::write(&play, lines.join("\n")).unwrap();
        let config =
            environment_of(folder.path(), port, feed, symbol, &format!("channels: {}", self.channels));
        assert!(std::fs::read_to_string(&config).unwrap().contains(&dialer()));
        let (listen, data) = (format!("127.0.0.1:{port}"), text_of(folder.path()));
        let sim = ["sim", "--feed", feed, "--play", &text_of(&play), "--speed", "max", "--listen", &listen];
        let _sim = Running::start(&mut ssmd(&sim));
        let at = format!("127.0.0.1:{health}");
        let up = ["up", "-c", &config, "--data", &data, "--listen", &at];
        let up = Running::start(ssmd(&up).env("SSMD_LOG", "warn"));

        let status = until("an alarm", || {
            let said = run(&["status", "--data", &data, "--json"]);
            let status: Value = serde_json::from_slice(&said.stdout).ok()?;
            let alarmed = status["problems"].to_string().contains("in a form that is not known");
            (alarmed && said.status.code() == Some(1)).then_some(status)
        });
        let shown = &status["feeds"][0];
        assert_eq!((&shown["malformed"], &shown["unknown"]), (&json!(strange.len()), &json!(1)), "{status}");
        assert!(shown["undecoded_seconds"].as_f64().is_some(), "{status}");
        let said = output(1, &["status", "--data", &data]);
        assert!(
            said.contains(&format!("{} frames in a form that is not known", strange.len() + 1)),
            "{said}"
        );
        let page = scrape(health).unwrap();
        for (kind, count) in [("malformed", strange.len()), ("unknown", 1)] {
            let sample = format!("ssmd_decoder_errors_total{{feed=\"{feed}\",error_type=\"{kind}\"}}");
            assert_eq!(page.get(&sample), Some(&(count as f64)), "{sample} of {page:?}");
        }
        up.signal("TERM");
        let (ended, said) = up.end();
        assert!(ended.success() && said.contains("not decoded; the frame is kept"), "{said}");

        // Byte for byte, and in their order.
        let store = store_of(folder.path());
        let cat = ["cat", "--store", &store, "--feed", feed, "--day", &day_of(&store), "--format", "play"];
        let kept: Vec<_> = output(0, &cat)
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["raw"].as_str().unwrap().to_owned())
            .collect();
        let ours: BTreeSet<_> = all.iter().map(|raw| **raw).collect();
        let kept: Vec<_> = kept.iter().map(String::as_str).filter(|raw| ours.contains(raw)).collect();
        assert_eq!(kept, all.iter().map(|raw| **raw).collect::<Vec<_>>());
        let report = output(0, &["verify", "--store", &store, "--json"]);
        assert!(report.contains(&format!("\"unknown\":1,\"malformed\":{}", strange.len())), "{report}");
    }
}
