//! Cases to begin with: written here, or made of those by our own writers; [`recorded`] reads frames from recordings.
#![allow(clippy::missing_panics_doc, reason = "what is written here can be written")]

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use ssmd_core::codec::{capnp, json};
use ssmd_core::{
    Day, Entry, EntryId, EntryKind, FeedName, Frame, FrameKind, Output, Record, SessionId, Timestamp,
};
use ssmd_storage::{Commit, Coverage, Object, line, play::PlayReader};
use ssmd_transport::log::format::{self, Header, Tip};

use crate::Target;
use crate::archive::COMMON;
use crate::log::ORIGIN;
use crate::venues::FRAMES_MAX;

const ORIGIN_TEXT: &str = "09090909090909090909090909090909";

/// The frames of a feed's golden test: each alone, and as many together as fit. What we sent begins with `>`.
pub fn frames(feed: &str) -> Vec<Vec<u8>> {
    let lines =
        golden(feed).into_iter().map(|line| if line.sent { format!(">{}", line.raw) } else { line.raw });
    let alone: Vec<_> = lines.map(String::into_bytes).collect();
    let together: Vec<_> = alone.chunks(FRAMES_MAX).map(|frames| frames.join(&b'\n')).collect();
    alone.into_iter().chain(together).collect()
}

/// A line of a golden test's frames.
struct Golden {
    raw: String,
    sent: bool,
}

fn golden(feed: &str) -> Vec<Golden> {
    #[derive(serde::Deserialize)]
    struct Line {
        raw: Option<String>,
        k: Option<String>,
    }
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../ssmd-feeds/testdata").join(feed).join("frames.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let line = |line: &str| serde_json::from_str::<Line>(line).expect("a line of a golden test is JSON");
    let lines = text.lines().map(line);
    lines
        .filter_map(|line| Some(Golden { raw: line.raw?, sent: line.k.as_deref() == Some("sent") }))
        .collect()
}

/// Frames of recordings of a target's feeds, a few consecutive ones in each case; `None` if they are not on this
/// machine. They are read from the folder that `SSMD_SHARED_DATA` names, beside this workspace if it names none.
pub fn recorded(target: &Target) -> Option<Vec<Vec<u8>>> {
    let root = std::env::var_os("SSMD_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let mut cases = Vec::new();
    for feed in &target.recorded {
        let entries = std::fs::read_dir(root.join(feed).join("play")).ok()?;
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        for file in files {
            let mut reader = PlayReader::new(BufReader::new(std::fs::File::open(file).ok()?)).ok()?;
            let mut frames = Vec::new();
            while let (true, Ok(Some(played))) = (frames.len() < RECORDED_MAX, reader.next()) {
                frames.push(played.payload);
            }
            let together = frames.chunks(RECORDED_TOGETHER).map(|frames| frames.join(&b'\n'));
            cases.extend(together.filter(|case| case.len() <= target.bytes_max));
        }
    }
    Some(cases)
}

/// Frames that are taken of each recording, and how many of them make a case.
const RECORDED_MAX: usize = 160;
const RECORDED_TOGETHER: usize = 8;

/// Kraken's listings with a pattern before them.
pub(crate) const PAIRS: &[&str] = &[
    "BTC/\n{\"error\":[],\"result\":{\"XXBTZUSD\":{\"altname\":\"XBTUSD\",\"wsname\":\"XBT\\/USD\",\"pair_decimals\":1,\
     \"lot_decimals\":8,\"tick_size\":\"0.1\",\"ordermin\":\"0.00005\",\"costmin\":\"0.5\",\"status\":\"online\"},\
     \"XDGUSD\":{\"altname\":\"XDGUSD\",\"wsname\":\"XDG/USD\"},\"BAD\":17}}",
    "\n{\"error\":[\"EService:Busy\"]}",
    "*\n{\"result\":{}}",
];

/// Pages of Kalshi's markets, likewise.
pub(crate) const KALSHI_MARKETS: &[&str] = &[
    "KX\n{\"cursor\":\"\",\"markets\":[{\"ticker\":\"KXBTCD-26DEC3117-T100000\",\"event_ticker\":\"KXBTCD-26DEC3117\",\
     \"title\":\"Bitcoin above?\",\"status\":\"active\",\"open_time\":\"2026-12-01T00:00:00Z\",\"close_time\":\"2026-12-31T17:00:00Z\",\
     \"volume\":12,\"tick_size\":1},{\"ticker\":7}]}",
];

/// Pages of Polymarket's markets, likewise.
pub(crate) const POLYMARKET_MARKETS: &[&str] = &[
    "1\n{\"markets\":[{\"conditionId\":\"0x5f65177b394277fd294cd75650044e32ba009a95022d88a0c1d565897d72f8f1\",\"slug\":\"a-b\",\
     \"question\":\"?\",\"active\":true,\"closed\":false,\"enableOrderBook\":true,\"acceptingOrders\":true,\
     \"clobTokenIds\":\"[\\\"1\\\",\\\"2\\\"]\",\"outcomes\":\"[\\\"Yes\\\",\\\"No\\\"]\",\"endDate\":\"2026-12-31T00:00:00Z\",\"volumeNum\":1.5},7],\
     \"next_cursor\":\"x\"}",
];

/// Those of Kraken futures.
pub(crate) const INSTRUMENTS: &[&str] = &[
    "PF_\n{\"result\":\"success\",\"instruments\":[{\"symbol\":\"PF_XBTUSD\",\"type\":\"flexible_futures\",\"tickSize\":0.5,\
     \"contractSize\":1,\"tradeable\":true,\"isExpired\":false,\"base\":\"BTC\",\"quote\":\"USD\",\"contractValueTradePrecision\":4},\
     {\"symbol\":\"FI_XBTUSD_240628\",\"type\":\"futures_inverse\",\"tradeable\":true,\"lastTradingTime\":\"2024-06-28T15:00:00.000Z\"},\
     {\"symbol\":7}]}",
    "\n{\"result\":\"error\",\"error\":\"apiLimitExceeded\"}",
    "\n{\"result\":\"error\",\"errors\":[{\"code\":1,\"message\":\"x\"}]}",
];

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
    let (mut bytes, frames) = (Vec::new(), frames("kraken"));
    let seed = format::seed(ORIGIN);
    for (n, (kind, ..)) in (1..).zip(EntryKind::ALL) {
        let payload = frames[n as usize % frames.len()].clone().into();
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
    let payloads: [&[u8]; 8] = [
        b"{\"a\":1}",
        b"{}\n",
        b" [1]\r\n",
        b"{\n}",
        b"",
        b"\xff\x00",
        b"01",
        b"{\"channel\":\"heartbeat\"}",
    ];
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
    for (n, frame) in (12..).zip(frames("kraken").into_iter().take(4)) {
        let payload = frame.into();
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

/// Records of every kind.
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
    let mut out = Vec::new();
    for venue in ssmd_feeds::VENUES {
        let mut decoder = (venue.decoder)();
        for (index, line) in (0..).zip(golden(venue.words.name)) {
            let entry = entry(index + 1, EntryKind::Frame(FrameKind::Data), line.raw.into());
            let frame = entry.frame().map(|frame| Frame { index, ..frame });
            // Some of the frames are no data on purpose.
            let _ = decoder.decode(&frame.expect("it is whole"), &mut out);
        }
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
