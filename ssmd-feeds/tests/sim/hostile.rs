//! What a bad client does stays with it.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{Running, model, soon, subscribe};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_clients_do_not_hurt_good_ones() {
    let sim = Running::start(model(3, Some(500.0))).await;
    let mut good = sim.client().await;
    good.say(&subscribe("book", &["BTC/USD"], json!({}))).await;

    // Garbage instead of HTTP is answered and ended.
    let garbage = sim.http("\u{1}\u{2}\u{3} what\r\n\r\n").await;
    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"), "{garbage}");
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(20_000));
    let mut stream = TcpStream::connect(sim.address).await.unwrap();
    // It may be reset before it has sent all of it.
    let _ = stream.write_all(endless.as_bytes()).await;
    let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    let half = sim
        .http("GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close, upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert!(half.starts_with("HTTP/1.1 400"), "{half}");

    // A header that never ends is ended by its deadline.
    let mut slow = TcpStream::connect(sim.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();

    // Half-open: it subscribes and never reads.
    let mut deaf = sim.client().await;
    deaf.say(&subscribe("book", &["BTC/USD"], json!({ "depth": 1000 }))).await;

    // A frame beyond the limit, and one that is not text.
    for (message, code) in [
        (Message::Text("x".repeat(2 << 20).into()), CloseCode::Size),
        (Message::Binary(vec![1, 2, 3].into()), CloseCode::Unsupported),
    ] {
        let mut bad = sim.client().await;
        // It may be closed before it has sent all of it.
        let _ = bad.0.send(message).await;
        let mut closed = None;
        while let Some(Ok(message)) = soon(bad.0.next()).await {
            if let Message::Close(Some(frame)) = message {
                closed = Some(frame.code);
            }
        }
        assert!(closed.is_none_or(|got| got == code), "{closed:?}");
    }

    for _ in 0..500 {
        good.hear().await.unwrap();
    }
    let ended = soon(slow.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok_and(|bytes| bytes < 1000), "the slow header was not ended");
    good.hear().await.unwrap();
    assert_eq!(sim.stopped().await.cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpaced_model_cuts_a_client_that_takes_nothing() {
    let sim = Running::start(model(3, None)).await;
    let mut good = sim.client().await;
    let mut deaf = sim.client().await;
    deaf.say(&subscribe("book", &["BTC/USD"], json!({ "depth": 1000 }))).await;
    deaf.hear().await.unwrap();
    good.say(&subscribe("book", &["BTC/USD"], json!({}))).await;
    // More than all buffers between the two hold: it comes only when the other is gone.
    for _ in 0..200_000 {
        good.hear().await.unwrap();
    }
    assert_eq!(sim.stopped().await.cut, 1);
}
