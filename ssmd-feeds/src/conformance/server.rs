//! WebSocket servers on loopback that a test controls frame by frame.

use std::future::Future;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::MUST;

/// No test waits longer than this for anything.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Awaits something that must happen soon.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: nothing happened in {LIMIT:?}"),
    }
}

/// A WebSocket server on loopback that does what the test tells it, connection by connection.
pub struct Server {
    listener: TcpListener,
    /// Its address: `ws://127.0.0.1:PORT/`.
    pub url: String,
}

/// The server's side of one connection.
pub struct Peer(pub WebSocketStream<TcpStream>);

impl Server {
    /// A server on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect(MUST);
        let url = format!("ws://{}/", listener.local_addr().expect(MUST));
        Self { listener, url }
    }

    /// The next connection, before anything was read from it.
    pub async fn tcp(&self) -> TcpStream {
        soon("connect", self.listener.accept()).await.expect(MUST).0
    }

    /// The next client, however long it takes to come.
    pub async fn accept_whenever(&self) -> Peer {
        loop {
            let tcp = self.listener.accept().await.expect(MUST).0;
            // A client may leave in the middle of the handshake.
            if let Ok(stream) = tokio_tungstenite::accept_async(tcp).await {
                return Peer(stream);
            }
        }
    }

    /// The next connection, shaken hands with.
    pub async fn accept(&self) -> Peer {
        let tcp = self.tcp().await;
        Peer(soon("shake hands", tokio_tungstenite::accept_async(tcp)).await.expect(MUST))
    }
}

impl Peer {
    /// Says something to a client that may have gone.
    ///
    /// # Errors
    /// It has gone.
    pub async fn try_say(&mut self, text: &str) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        self.0.send(Message::text(text)).await
    }

    /// Says something to a client that must be there.
    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect(MUST);
    }

    /// Says much at once.
    pub async fn burst(&mut self, texts: impl Iterator<Item = String>) {
        for text in texts {
            self.0.feed(Message::text(text)).await.expect(MUST);
        }
        self.0.flush().await.expect(MUST);
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
