//! What the tests of this crate share: servers that they control frame by frame, and time limits.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part, and exports nothing")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use ssmd_core::{ManualClock, Timestamp};
use ssmd_feeds::dial::Dialer;
use ssmd_feeds::tls::client_config;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

pub mod recorded;
pub mod recorder;
pub mod toy;

/// No test waits longer than this for anything.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Awaits something that must happen soon.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: nothing happened in {LIMIT:?}"),
    }
}

/// A dialer with the public roots.
pub fn dialer() -> Arc<Dialer> {
    Arc::new(Dialer::new(client_config(None).unwrap(), false))
}

/// A clock that stands still until it is moved.
pub fn manual() -> ManualClock {
    ManualClock::new("2026-08-01T12:00:00Z".parse::<Timestamp>().unwrap())
}

/// A WebSocket server on loopback that does what the test tells it, connection by connection.
pub struct Server {
    listener: TcpListener,
    pub url: String,
}

/// The server's side of one connection.
pub struct Peer(pub WebSocketStream<TcpStream>);

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// The next connection, before anything was read from it.
    pub async fn tcp(&self) -> TcpStream {
        soon("connect", self.listener.accept()).await.unwrap().0
    }

    /// The next client, however long it takes to come.
    pub async fn accept_whenever(&self) -> Peer {
        loop {
            let tcp = self.listener.accept().await.unwrap().0;
            // A client may leave in the middle of the handshake.
            if let Ok(stream) = tokio_tungstenite::accept_async(tcp).await {
                return Peer(stream);
            }
        }
    }

    pub async fn accept(&self) -> Peer {
        let tcp = self.tcp().await;
        Peer(soon("shake hands", tokio_tungstenite::accept_async(tcp)).await.unwrap())
    }
}

impl Peer {
    /// Says something to a client that may have gone.
    pub async fn try_say(&mut self, text: &str) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.0.send(Message::text(text)).await
    }

    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Says much at once.
    pub async fn burst(&mut self, texts: impl Iterator<Item = String>) {
        for text in texts {
            self.0.feed(Message::text(text)).await.unwrap();
        }
        self.0.flush().await.unwrap();
    }

    /// The next text that the client sent; `None` at its end.
    pub async fn hear(&mut self) -> Option<String> {
        loop {
            match soon("hear", self.0.next()).await? {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Says goodbye, and waits until the client has too.
    pub async fn goodbye(mut self) {
        let _ = self.0.close(None).await;
        while self.hear().await.is_some() {}
    }
}
