//! Cases to begin with: written here, or made of those by our own writers; [`recorded`] reads frames from recordings.
#![allow(clippy::missing_panics_doc, reason = "what is written here can be written")]

use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::codec::{capnp, json};
use ssmd_core::{
    Day, Decode, Entry, EntryId, EntryKind, FeedName, Frame, FrameKind, Output, Record, SessionId, Timestamp,
};
use ssmd_feeds::kraken::KrakenDecode;
use ssmd_storage::{Commit, Coverage, Object, line, play::PlayReader};
use ssmd_transport::log::format::{self, Header, Tip};

use crate::archive::COMMON;
use crate::log::ORIGIN;

/// Frames as Kraken documents them, a line each; checksums are those of no book, so that books also break.
const FRAMES: &[&str] = &[
    r#"{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},"success":true,"req_id":1}"#,
    r#"{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":9.8,"qty":1.00000000},{"price":9.7,"qty":2.5}],"asks":[{"price":9.9,"qty":0.10000000}],"checksum":1}]}"#,
    r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[{"price":9.9,"qty":0}],"checksum":7,"timestamp":"2026-08-01T12:00:00.000001Z"}]}"#,
    r#"{"channel":"trade","type":"update","data":[{"symbol":"ETH/USD","side":"buy","price":0.5117,"qty":40.0,"ord_type":"limit","trade_id":4665905,"timestamp":"2026-08-01T12:00:00Z"}]}"#,
    r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":9.8,"bid_qty":1,"ask":9.9,"ask_qty":2,"last":9.8,"volume":3,"vwap":9.85,"low":9,"high":10,"change":-0.1,"change_pct":-1.1}]}"#,
    r#"{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","open":1,"high":2,"low":1,"close":2,"trades":3,"volume":4,"vwap":1.5,"interval_begin":"2026-08-01T12:00:00Z","interval":1,"timestamp":"2026-08-01T12:01:00Z"}]}"#,
    r#"{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[{"symbol":"BTC/USD","base":"BTC","quote":"USD","status":"online","qty_precision":8,"price_precision":1,"price_increment":0.1,"qty_increment":0.00000001,"qty_min":0.00005,"cost_min":"0.5"}]}}"#,
    r#"{"channel":"status","type":"update","data":[{"version":"2.0.0","system":"online","api_version":"v2","connection_id":12}]}"#,
    r#"{"channel":"heartbeat"}"#,
    r#"{"method":"pong","req_id":3,"time_in":"2026-08-01T12:00:00Z","time_out":"2026-08-01T12:00:00Z"}"#,
    r#"{"error":"Currency pair not supported","method":"subscribe","success":false,"symbol":"X","req_id":2}"#,
    r#"{"Error":"Exceeded msg rate"}"#,
    r#"{"channel":"executions","type":"update","data":[{}]}"#,
    "[[[[[[[[{\"a\":1e999}]]]]]]]]",
];
const ORIGIN_TEXT: &str = "09090909090909090909090909090909";

/// The frames above, each alone and all together.
pub fn frames() -> Vec<Vec<u8>> {
    let alone = FRAMES.iter().map(|frame| frame.as_bytes().to_vec());
    alone.chain([FRAMES.join("\n").into_bytes()]).collect()
}

/// Frames of recordings, a few consecutive ones in each case; `None` if they are not on this machine. They are read
/// from the folder that `SSMD_SHARED_DATA` names, beside this workspace if it names none.
pub fn recorded() -> Option<Vec<Vec<u8>>> {
    let root = std::env::var_os("SSMD_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let mut files: Vec<_> = std::fs::read_dir(root.join("kraken/play"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let mut reader = PlayReader::new(BufReader::new(std::fs::File::open(file).ok()?)).ok()?;
        let mut frames = Vec::new();
        while let (true, Ok(Some(played))) = (frames.len() < RECORDED_MAX, reader.next()) {
            frames.push(played.payload);
        }
        let together = frames.chunks(RECORDED_TOGETHER).map(|frames| frames.join(&b'\n'));
        cases.extend(together.filter(|case| case.len() <= crate::CASE_BYTES_MAX));
    }
    (!cases.is_empty()).then_some(cases)
}

/// Frames that are taken of each recording, and how many of them make a case.
const RECORDED_MAX: usize = 160;
const RECORDED_TOGETHER: usize = 8;

/// Listings with a pattern before them.
pub fn pairs() -> Vec<Vec<u8>> {
    texts(&[
        "BTC/\n{\"error\":[],\"result\":{\"XXBTZUSD\":{\"altname\":\"XBTUSD\",\"wsname\":\"XBT\\/USD\",\"pair_decimals\":1,\
         \"lot_decimals\":8,\"tick_size\":\"0.1\",\"ordermin\":\"0.00005\",\"costmin\":\"0.5\",\"status\":\"online\"},\
         \"XDGUSD\":{\"altname\":\"XDGUSD\",\"wsname\":\"XDG/USD\"},\"BAD\":17}}",
        "\n{\"error\":[\"EService:Busy\"]}",
        "*\n{\"result\":{}}",
    ])
}

/// Environment documents, good and bad.
pub fn environments() -> Vec<Vec<u8>> {
    let mut cases = texts(&[
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata: { name: dev }\nspec:\n  feeds:\n    kraken:\n      channels: [book:25, trade]\n      symbols: [BTC/USD]\n",
        "apiVersion: ssmd/v1\nkind: Environment\nmetadata:\n  name: dev\nspec:\n  journal: local\n  store: \"file:./a\"\n  feeds:\n    kraken:\n      channels: [\"*\"]\n      symbols: [\"*/USD\"]\n      depth: 10\n      url: ws://127.0.0.1:9/\n",
        include_str!("../../ssmd-core/testdata/environment/full.yaml"),
        include_str!("../../ssmd-core/testdata/environment/given/kraken.yaml"),
        "a: &a [*a, *a]\nb: {? x : y}\n--- !!binary x\n",
        "spec: {feeds: {kraken: {symbols: [\"\\u0000\", 'é', |\n  x\n]}}}",
    ]);
    cases.push([b"\xef\xbb\xbf".as_slice(), &cases[0]].concat());
    cases
}

/// Requests.
pub fn requests() -> Vec<Vec<u8>> {
    texts(&[
        "{\"command\":\"status\"}\n",
        "{\"command\":\"tail\",\"filter\":\"prod.*.json.>\"}",
        "{\"command\":\"resync\",\"feed\":\"kraken\",\"symbol\":\"BTC/USD\"}",
        "{\"command\":\"stop\",\"x\":1}",
    ])
}

/// A few entries of every kind, asked for with checksums made right and as they are.
pub fn log_entries() -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    let seed = format::seed(ORIGIN);
    for (n, (kind, ..)) in (1..).zip(EntryKind::ALL) {
        let payload = Bytes::from_static(FRAMES[n as usize % FRAMES.len()].as_bytes());
        let mut entry = entry(n, kind, payload);
        entry.id.origin = ORIGIN;
        format::encode(&entry, seed, &mut bytes);
    }
    let with = |head: [u8; 3], bytes: &[u8]| [&head, bytes].concat();
    vec![with([0, 255, 7], &bytes), with([1, 255, 200], &bytes), with([1, 3, 0], &bytes[..bytes.len() - 9])]
}

/// A header with evidence of a last entry and one without.
pub fn log_headers() -> Vec<Vec<u8>> {
    let last = format::LastEntry { at: Timestamp::from_nanos(5), session: SessionId(1), index: 2 };
    [None, Some(last)]
        .into_iter()
        .map(|last| {
            let header = Header {
                origin: ORIGIN,
                feed: feed(),
                first: 12,
                epoch: 2,
                created: Timestamp::from_nanos(9),
                before: Tip { n: 11, session: 1, day: COMMON.day, last },
            };
            [&[1], header.encode().as_slice()].concat()
        })
        .collect()
}

/// A version of an environment, whole and with its hash left out.
pub fn versions() -> Vec<Vec<u8>> {
    let document = "{\"apiVersion\":\"ssmd/v1\"}".to_owned();
    let version = ssmd_storage::environments::Version {
        ssmd: "environment".to_owned(),
        v: ssmd_storage::environments::VERSION,
        environment: "dev".parse().expect("it is a name"),
        valid_from: Timestamp::from_nanos(7),
        who: "me@here".to_owned(),
        how: "file".to_owned(),
        by: "ssmd".to_owned(),
        sha256: ssmd_storage::layout::sha256(document.as_bytes()),
        document,
    };
    let whole = version.encode().expect("it is small");
    let document = [&whole[..whole.len() - 77], b"}"].concat();
    vec![[&[0], whole.as_slice()].concat(), [&[1], document.as_slice()].concat()]
}

/// A first commit and a later one with everything in it.
pub fn commits() -> Vec<Vec<u8>> {
    let object = Object {
        path: "raw/kraken/a.jsonl.zst".to_owned(),
        bytes: 4,
        sha256: "0".repeat(64),
        first: 1,
        last: 2,
        day: Day::from_days(20_000),
        entries: 2,
        frames: 1,
        sessions: vec![1],
        earliest: Timestamp::from_nanos(1),
        latest: Timestamp::from_nanos(2),
        plain_bytes: 9,
    };
    let mut coverage = Coverage::new();
    coverage.insert(1, 2);
    let lost = ssmd_storage::commit::Lost { first: 3, last: 4, noticed: Timestamp::from_nanos(3) };
    let mut commit = Commit {
        ssmd: "commit".to_owned(),
        v: ssmd_storage::commit::VERSION,
        feed: feed(),
        origin: COMMON.origin,
        n: 1,
        previous: None,
        made_at: Timestamp::from_nanos(7),
        by: "ssmd".to_owned(),
        added: vec![object.clone()],
        removed: Vec::new(),
        lost: Vec::new(),
        coverage,
        environments: Vec::new(),
        checkpoint: None,
    };
    let first = commit.encode().expect("it is small");
    commit.n = 2;
    commit.previous = Some(commit.reference(&first).expect("it has a path"));
    commit.removed.push(object.path.clone());
    commit.lost.push(lost);
    commit.environments.push(ssmd_storage::commit::InForce {
        path: "environments/dev/0000000000000000001-0123456789abcdef.json".to_owned(),
        sha256: "00".repeat(32),
    });
    let checkpoint = ssmd_storage::commit::Checkpoint { objects: vec![object], lost: vec![lost] };
    commit.checkpoint = Some(checkpoint);
    let second = commit.encode().expect("it is small");
    // What is made right ends before the hash.
    let document = |bytes: &[u8]| [&bytes[..bytes.len() - 77], b"}"].concat();
    vec![
        [&[0], first.as_slice()].concat(),
        [&[1], document(&first).as_slice()].concat(),
        [&[1], document(&second).as_slice()].concat(),
    ]
}

/// Lines of every form.
pub fn lines() -> Vec<Vec<u8>> {
    let payloads: [&[u8]; 8] =
        [b"{\"a\":1}", b"{}\n", b" [1]\r\n", b"{\n}", b"", b"\xff\x00", b"01", FRAMES[2].as_bytes()];
    let mut cases: Vec<_> = payloads
        .into_iter()
        .map(|payload| written(&entry(12, EntryKind::Frame(FrameKind::Data), Bytes::from_static(payload))))
        .collect();
    cases.iter_mut().for_each(|line| line.truncate(line.len() - 1));
    cases.extend(texts(&[
        "{\"i\":1,\"t\":1,\"e\":2,\"n\":3,\"s\":4,\"k\":\"gap\",\"more\":true,\"bin\":true,\"b64\":\"AA==\"}",
        "{\"t\":-9223372036854775808,\"e\":18446744073709551615,\"n\":1,\"s\":1,\"i\":1,\"k\":\"\\u0064ata\",\"pre\":\" \",\"raw\":1e5}",
    ]));
    cases
}

/// A segment as it comes and packed in both ways.
pub fn segments() -> Vec<Vec<u8>> {
    let mut plain = format!(
        "{{\"ssmd\":\"raw\",\"v\":1,\"feed\":\"kraken\",\"origin\":\"{ORIGIN_TEXT}\",\"day\":\"2024-10-04\",\"first\":12}}\n"
    )
    .into_bytes();
    for (n, frame) in (12..).zip(&FRAMES[..4]) {
        let payload = Bytes::from_static(frame.as_bytes());
        plain.extend(written(&entry(n, EntryKind::Frame(FrameKind::Data), payload)));
    }
    let packed = zstd::bulk::compress(&plain, 3).expect("memory does not fail");
    packings(&plain, packed)
}

/// Play files, likewise.
pub fn plays() -> Vec<Vec<u8>> {
    let plain = b"{\"t\":5,\"raw\":\"{\\\"a\\\":1}\"}\n\n{\"t\":null,\"c\":3,\"raw\":\"\\u0000\\ud83d\\ude00\"}\n{\"b64\":\"/w==\",\"x\":[]}\n";
    let packed = zstd::bulk::compress(plain, 3).expect("memory does not fail");
    packings(plain, packed)
}

fn packings(plain: &[u8], packed: Vec<u8>) -> Vec<Vec<u8>> {
    let with = |packing: u8, bytes: &[u8]| [&[packing], bytes].concat();
    vec![with(0, plain), with(1, plain), with(2, plain), with(0, &packed)]
}

/// Names, tokens, subjects with filters, paths.
pub fn names() -> Vec<Vec<u8>> {
    let long = format!("{}\n{}", "é/".repeat(70), "x".repeat(193));
    let mut cases = texts(&[
        "BTC/USD\nBTC~2FUSD",
        "~~0000\n..",
        "prod.kraken.json.trade.BTC~2FUSD\nprod.*.json.>",
        "raw/kraken/2026/08/01/a.jsonl.zst\n>",
        "../../etc\0\r\n#+",
        "kraken-futures\na.b",
    ]);
    cases.push(long.into_bytes());
    cases
}

/// Ids, times, days, channels and notes.
pub fn ids() -> Vec<Vec<u8>> {
    let id = format!("{ORIGIN_TEXT}/42");
    texts(&[
        &id,
        ORIGIN_TEXT,
        "2026-08-01T12:00:00.123456789+02:00",
        "2262-04-11T23:47:16.854775807Z",
        "2024-02-29",
        "book:25",
        "{\"epoch\":1,\"version\":\"0.1.0\",\"feed\":\"kraken\",\"clean\":true,\"cut_bytes\":3}",
        "{\"url\":\"wss://x\",\"wanted\":[\"trade A\"]}",
        "{\"cause\":\"closed\",\"frames\":3,\"bytes\":4,\"sha256\":\"00\"}",
        "{\"sessions\":{\"1\":{\"frames\":2,\"bytes\":3}}}",
        "{\"day\":\"2026-08-01\"}",
        "{\"cause\":\"checksum\",\"symbol\":\"A\",\"from\":{\"at\":1,\"session\":2,\"index\":3,\"shown\":\"x\"},\"to\":null}",
    ])
}

/// Numbers at the edges.
pub fn decimals() -> Vec<Vec<u8>> {
    texts(&[
        "0.00044780 1000000000000.00000001",
        "-1.5E+3 1e-28",
        "79228162514264337593543950335 0.1",
        "-0.0 0",
        "18446744073709551616 -18446744073709551615.5",
    ])
}

/// Changes of a book.
pub fn books() -> Vec<Vec<u8>> {
    vec![vec![0, 10, 0, 3, 1, 11, 0, 3, 0, 9, 1, 5, 10, 10, 0, 2, 12, 0, 0, 1, 14, 0, 0, 0], vec![1; 64]]
}

/// Records of the frames above.
pub fn json_records() -> Vec<Vec<u8>> {
    let write = |record: &Record| {
        let mut line = Vec::new();
        json::encode(record, &feed(), &mut line);
        line
    };
    records().iter().map(write).collect()
}

/// The same records.
pub fn capnp_records() -> Vec<Vec<u8>> {
    let write = |record: &Record| {
        let mut message = Vec::new();
        capnp::encode(record, &mut message).expect("it is small");
        message
    };
    let alone: Vec<_> = records().iter().map(write).collect();
    let together = alone.concat();
    alone.into_iter().chain([together]).collect()
}

fn records() -> Vec<Record> {
    let (mut decoder, mut out) = (KrakenDecode::new(), Vec::new());
    for (index, frame) in (0..).zip(FRAMES) {
        let entry = entry(index + 1, EntryKind::Frame(FrameKind::Data), Bytes::from_static(frame.as_bytes()));
        let frame = entry.frame().map(|frame| Frame { index, ..frame });
        // Some of the frames are no data on purpose.
        let _ = decoder.decode(&frame.expect("it is whole"), &mut out);
    }
    let records = out.into_iter().filter_map(|output| match output {
        Output::Record(record) => Some(record),
        Output::Resync(_) => None,
    });
    records.collect()
}

fn entry(n: u64, kind: EntryKind, payload: Bytes) -> Entry {
    Entry {
        id: EntryId { origin: COMMON.origin, n },
        day: COMMON.day,
        at: Timestamp::from_nanos(1_785_641_750_295_158_100),
        elapsed: Duration::from_nanos(55),
        session: SessionId(3),
        index: n,
        kind,
        binary: false,
        more: false,
        payload,
    }
}

fn written(entry: &Entry) -> Vec<u8> {
    let mut line = Vec::new();
    line::write(entry, &mut line);
    line
}

fn feed() -> FeedName {
    FeedName::new("kraken").expect("it is one")
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
