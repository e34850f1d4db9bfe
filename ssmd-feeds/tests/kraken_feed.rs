//! A Kraken feed as configuration opens it, against a venue on loopback: subscribe, decode, resync; and its universe.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use common::feed::{context, spec};
use common::{Peer, Server, soon};
use serde_json::{Value, json};
use ssmd_core::{Decode, ErrorKind, Output, SessionId, Timestamp};
use ssmd_feeds::kraken::universe::parse_pairs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Hears a request, pings aside, and answers it.
async fn answer(peer: &mut Peer) -> Value {
    loop {
        let request: Value = serde_json::from_str(&peer.hear().await.unwrap()).unwrap();
        if request["method"] == "ping" {
            continue;
        }
        let mut result = request["params"].clone();
        result["symbol"] = result["symbol"][0].clone();
        let answer = json!({"method": request["method"], "result": result, "success": true, "req_id": request["req_id"]});
        peer.say(&answer.to_string()).await;
        return request;
    }
}

/// Decodes what comes until a book must be asked for again.
async fn until_broken(frames: &mut dyn ssmd_core::Frames, decoder: &mut dyn Decode) -> ssmd_core::Symbol {
    let mut out = Vec::new();
    loop {
        for frame in soon("receive", frames.next(NonZeroUsize::MIN)).await.unwrap() {
            decoder.decode(&frame, &mut out).unwrap();
        }
        if let Some(Output::Resync(symbol)) = out.last() {
            return symbol.clone();
        }
    }
}

#[tokio::test]
async fn a_broken_book_is_asked_for_again() {
    let server = Server::start().await;
    let context = context();
    let feed = ssmd_feeds::open(&spec("kraken", Some(server.url.clone()), &["book"], &["BTC/USD"]), &context)
        .unwrap();
    let (_wanted, receiver) = watch::channel(Arc::new(feed.universe().await.unwrap()));
    let session = feed.session();
    let opening = session.open(SessionId(1), receiver, Arc::clone(&context.clock));
    let (frames, mut peer) = tokio::join!(soon("open", opening), server.accept());
    let mut frames = frames.unwrap();
    let venue = async {
        assert_eq!(answer(&mut peer).await["params"]["depth"], 10);
        peer.say(r#"{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":0}]}"#).await;
        peer.say(r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":1.0,"qty":2.0}],"asks":[],"checksum":1}]}"#).await;
        (answer(&mut peer).await["method"].clone(), answer(&mut peer).await["method"].clone())
    };
    let client = async {
        let mut decoder = feed.decoder();
        let symbol = until_broken(frames.as_mut(), decoder.as_mut()).await;
        assert_eq!(decoder.counts().books_verified, 1);
        frames.resync(&symbol).await.unwrap();
        // The second request follows the answer to the first, which must be heard.
        let mut sent = 0;
        while sent < 2 {
            for frame in soon("resync", frames.next(NonZeroUsize::MIN)).await.unwrap() {
                sent += usize::from(frame.payload.starts_with(b"{\"method\":\"unsub"));
                sent += usize::from(
                    frame.kind == ssmd_core::FrameKind::Sent
                        && frame.payload.starts_with(b"{\"method\":\"sub"),
                );
            }
        }
    };
    let (methods, ()) = tokio::join!(venue, client);
    assert_eq!(methods, (json!("unsubscribe"), json!("subscribe")));
}

#[tokio::test]
async fn patterns_ask_rest_and_names_do_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut spec = spec("kraken", None, &["book", "trade", "instrument", "status"], &["*/USD", "ETH/BTC"]);
    spec.rest = Some(format!("http://{}", listener.local_addr().unwrap()));
    let feed = ssmd_feeds::open(&spec, &context()).unwrap();
    let rest = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let length = socket.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET /0/public/AssetPairs HTTP/1.1\r\n"));
        let body = r#"{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","status":"online"},"BAD":1}}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        socket.write_all((head + body).as_bytes()).await.unwrap();
    };
    let (wanted, ()) = tokio::join!(soon("ask", feed.universe()), rest);
    let topics: Vec<_> = wanted.unwrap().0.iter().map(ToString::to_string).collect();
    assert_eq!(topics, ["book BTC/USD", "book ETH/BTC", "instrument", "trade BTC/USD", "trade ETH/BTC"]);
}

#[tokio::test]
async fn what_cannot_work_is_told_before_anything_is_opened() {
    for (channels, symbols) in [
        (&["level3"][..], &["BTC/USD"][..]),
        (&["book:11"], &["BTC/USD"]),
        (&["book"], &[]),
        (&["book"], &[""]),
    ] {
        let error = ssmd_feeds::open(&spec("kraken", None, channels, symbols), &context()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert!(ssmd_feeds::open(&spec("kraken", None, &["instrument"], &[]), &context()).is_ok());
}

#[test]
fn recorded_listings_are_read() {
    let root = std::env::var_os("SSMD_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    for (file, least, symbol) in [
        ("AssetPairs-2021-04-cryptofeed.json", 293, "BTC/USD"),
        ("AssetPairs-excerpt5-bytex-2026-09.json", 5, "DOGE/USD"),
        ("AssetPairs-tokenized-nautilus.json", 1, "AAPLx/USD"),
    ] {
        let path = root.join("kraken/rest").join(file);
        let Ok(body) = std::fs::read(&path) else {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{} is missing", path.display());
            println!("no data at {}: nothing is tested", path.display());
            continue;
        };
        let listing = parse_pairs(&body).unwrap();
        println!("{file}: {} pairs, left out {:?}", listing.listed.len(), listing.bad);
        assert!(listing.listed.len() >= least);
        assert!(listing.bad.iter().all(|(name, _)| name.ends_with(".d")), "only dark pools have no name");
        let all = listing.select(&["*".to_owned()], &Default::default(), Timestamp::from_nanos(0)).unwrap();
        assert!(all.iter().any(|listed| listed.as_str() == symbol));
        assert!(!all.iter().any(|listed| listed.as_str().contains("XBT")));
        let closed = listing
            .listed
            .iter()
            .filter(|pair| pair.instrument.status.as_deref() == Some("cancel_only"))
            .count();
        assert_eq!(all.len(), listing.listed.len() - closed);
    }
}
