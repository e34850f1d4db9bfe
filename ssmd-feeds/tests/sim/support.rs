//! A simulator on a free port, a plain WebSocket client, and the real recordings.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use ssmd_core::{Result, SystemClock, Tasks};
use ssmd_feeds::sim::{PlayReader, Sim, SimOptions, SimSummary, Source, Speed, symbols};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, so that a hang is a failure.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("it did not come in time")
}

pub(crate) fn options(source: Source) -> SimOptions {
    SimOptions {
        venue: "kraken".into(),
        source,
        listen: "127.0.0.1:0".parse().unwrap(),
        anywhere: false,
        log: None,
        exit_when_done: false,
    }
}

pub(crate) fn model(count: usize, rate: Option<f64>) -> SimOptions {
    options(Source::Model { seed: 7, symbols: symbols("kraken", count).unwrap(), rate })
}

pub(crate) fn play(files: Vec<PathBuf>) -> SimOptions {
    options(Source::Play { files, speed: Speed::Max })
}

/// A simulator that runs.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    ended: oneshot::Receiver<Result<SimSummary>>,
    _tasks: Tasks,
}

impl Running {
    pub(crate) async fn start(options: SimOptions) -> Self {
        let sim = Sim::bind(options, Arc::new(SystemClock::new())).await.unwrap();
        let (address, stop) = (sim.address(), CancellationToken::new());
        let (tell, ended) = oneshot::channel();
        let mut tasks = Tasks::new();
        let token = stop.clone();
        tasks.spawn("simulator", async move {
            let _ = tell.send(sim.run(token).await);
            Ok(())
        });
        Self { address, stop, ended, _tasks: tasks }
    }

    pub(crate) async fn ended(self) -> Result<SimSummary> {
        soon(self.ended).await.unwrap()
    }

    pub(crate) async fn stopped(self) -> SimSummary {
        self.stop.cancel();
        self.ended().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let url = format!("ws://{}/v2", self.address);
        let (socket, _) = soon(tokio_tungstenite::client_async(url, stream)).await.unwrap();
        Client(socket)
    }

    /// Sends one HTTP request on a connection of its own; gives the whole answer.
    pub(crate) async fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = self.http(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

/// A plain client.
pub(crate) struct Client(pub(crate) WebSocketStream<TcpStream>);

impl Client {
    pub(crate) async fn say(&mut self, text: &str) {
        soon(self.0.send(Message::Text(text.into()))).await.unwrap();
    }

    /// The next text frame; `None` when the connection has ended.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        loop {
            match soon(self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next text frame that is no heartbeat, as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        loop {
            let value: Value = serde_json::from_str(&self.hear().await.unwrap()).unwrap();
            if value["channel"] != "heartbeat" {
                return value;
            }
        }
    }

    /// Goes without a goodbye, and waits until that was noticed.
    pub(crate) async fn leave(mut self) {
        soon(self.0.get_mut().shutdown()).await.unwrap();
        self.all().await;
    }

    pub(crate) async fn all(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(text) = self.hear().await {
            all.push(text);
        }
        all
    }
}

pub(crate) fn subscribe(channel: &str, symbols: &[&str], more: Value) -> String {
    let mut params = serde_json::json!({ "channel": channel, "symbol": symbols });
    params.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    serde_json::json!({ "method": "subscribe", "params": params, "req_id": 1 }).to_string()
}

/// Kraken's real data; `None`, said aloud, where there is none.
pub(crate) fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let data =
        std::env::var_os("SSMD_SHARED_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let kraken = root.join(data).join("kraken");
    if kraken.is_dir() {
        return Some(kraken);
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no real data in {}", kraken.display());
    println!("no real data in {}: nothing was tested", kraken.display());
    None
}

pub(crate) fn recordings(kraken: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(kraken.join("play")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(crate) fn raws(files: &[PathBuf]) -> Vec<String> {
    files.iter().flat_map(|file| PlayReader::open(file).unwrap()).map(|frame| frame.unwrap().raw).collect()
}

/// The `raw` column of a log of sent frames, for one connection.
pub(crate) fn logged(log: &Path, connection: u64) -> Vec<String> {
    let frames = PlayReader::open(log).unwrap().map(|frame| frame.unwrap());
    frames.filter(|frame| frame.connection == Some(connection)).map(|frame| frame.raw).collect()
}
