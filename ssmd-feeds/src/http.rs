//! REST: GET with a rate limit, a deadline, a bounded body, retries, and no secret in any error.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use ssmd_core::{Clock, Error, ErrorKind, Result, Timestamp};
use tokio::sync::Mutex;

use crate::dial::{public_url, retry_after};

/// How to ask one venue.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// What every path is appended to: `https://api.kraken.com`.
    pub base: String,
    /// Allows `http://` to other machines than this one.
    pub allow_plaintext: bool,
    /// The least time between two requests, as the venue's documents ask for.
    pub spacing: Duration,
    /// How long one request may take, from connecting to the last byte.
    pub time_max: Duration,
    /// The most bytes of a body.
    pub body_bytes_max: usize,
    /// How often a request is made in all before its error is returned.
    pub attempts: u32,
    /// Seeds the jitter of retries.
    pub seed: u64,
}

impl HttpOptions {
    /// What suits a venue that asks for nothing special.
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            allow_plaintext: false,
            spacing: Duration::from_secs(1),
            time_max: Duration::from_secs(20),
            body_bytes_max: 64 * 1024 * 1024,
            attempts: 4,
            seed: 0,
        }
    }
}

/// The first bound of the random wait before a retry; it doubles each time.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The bound of the random wait before a retry, and of what a venue may ask for; beyond it the error is returned.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const GET: &str = "get";

/// A REST client for one venue. Cheap to clone; clones share the rate limit.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    base: Url,
    options: HttpOptions,
    clock: Arc<dyn Clock>,
    /// When the next request may be made, and the source of jitter. Requests wait for their turn on it.
    turn: Arc<Mutex<Turn>>,
}

#[derive(Debug)]
struct Turn {
    next: Duration,
    jitter: StdRng,
}

impl Http {
    /// A client that trusts whom `tls` trusts.
    ///
    /// # Errors
    /// `Invalid` if the base is no `https://` address (or `http://` where that is not allowed).
    pub fn new(options: HttpOptions, tls: &Arc<rustls::ClientConfig>, clock: Arc<dyn Clock>) -> Result<Self> {
        let base = base(&options)?;
        let client = Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(tls))
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIME_MAX)
            .user_agent(concat!("ssmd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|cause| Error::new(ErrorKind::Bug, "set up HTTP").because(cause.without_url()))?;
        let turn = Turn { next: Duration::ZERO, jitter: StdRng::seed_from_u64(options.seed) };
        Ok(Self { client, base, options, clock, turn: Arc::new(Mutex::new(turn)) })
    }

    /// The body of `base` + `path_and_query`, asked again while the answer is one that may change.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `Invalid` as the venue answered (context `status`); `Unavailable` or `Timeout` after
    /// the last attempt; `Full` for a body above the bound. No error shows the query.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn get(&self, path_and_query: &str) -> Result<Bytes> {
        let url = self.url(path_and_query)?;
        let mut bound = RETRY_FIRST;
        for attempt in 1.. {
            self.take_turn().await;
            let error = match self.ask(url.clone()).await {
                Ok(body) => return Ok(body),
                Err(error) => error.with("url", public_url(url.as_str())).with("attempt", attempt),
            };
            let again = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout);
            let asked = error.wait().unwrap_or_default();
            if !again || attempt >= self.options.attempts || asked > RETRY_MAX {
                return Err(error);
            }
            tracing::debug!(%error, "asking again");
            let jitter = self.turn.lock().await.jitter.random_range(Duration::ZERO..=bound);
            self.clock.sleep(asked.max(jitter)).await;
            bound = (bound * 2).min(RETRY_MAX);
        }
        Err(Error::new(ErrorKind::Bug, GET).detail("no attempt was made"))
    }

    fn url(&self, path_and_query: &str) -> Result<Url> {
        let invalid = || Error::new(ErrorKind::Invalid, GET).with("path", public_url(path_and_query));
        if !path_and_query.starts_with('/') {
            return Err(invalid().detail("a path begins with a slash"));
        }
        let text = format!("{}{path_and_query}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|cause| invalid().because(cause))
    }

    /// Waits until a request may be made, in the order of asking.
    async fn take_turn(&self) {
        let mut turn = self.turn.lock().await;
        let now = self.clock.elapsed();
        if turn.next > now {
            self.clock.sleep(turn.next - now).await;
        }
        turn.next = self.clock.elapsed() + self.options.spacing;
    }

    async fn ask(&self, url: Url) -> Result<Bytes> {
        let asking = async {
            let response = self.client.get(url).send().await.map_err(failed)?;
            if !response.status().is_success() {
                return Err(refusal(&response, self.clock.now()));
            }
            self.body(response).await
        };
        tokio::select! {
            biased;
            answer = asking => answer,
            () = self.clock.sleep(self.options.time_max) => Err(Error::new(ErrorKind::Timeout, GET)
                .with("seconds", self.options.time_max.as_secs_f64())),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Bytes> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.options.body_bytes_max {
                return Err(Error::new(ErrorKind::Full, GET)
                    .detail("the answer is too long")
                    .with("bytes_max", self.options.body_bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

fn base(options: &HttpOptions) -> Result<Url> {
    let invalid = || Error::new(ErrorKind::Invalid, "read address").with("url", public_url(&options.base));
    let url = Url::parse(&options.base).map_err(|cause| invalid().because(cause))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match url.scheme() {
        _ if url.query().is_some() || !url.username().is_empty() || url.password().is_some() => {
            Err(invalid().detail("it holds a query or a user"))
        }
        "https" => Ok(url),
        "http" if local || options.allow_plaintext => Ok(url),
        "http" => Err(invalid()
            .detail("plain text leaves this machine")
            .hint("use https://, or set allow_plaintext: true")),
        _ => Err(invalid().detail("it begins with neither https:// nor http://")),
    }
}

/// An error of the client, without the URL, whose query may hold secrets.
fn failed(cause: reqwest::Error) -> Error {
    let kind = if cause.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Unavailable };
    Error::new(kind, GET).because(cause.without_url())
}

fn refusal(response: &Response, now: Timestamp) -> Error {
    let status = response.status().as_u16();
    let kind = match status {
        429 | 500..=599 => ErrorKind::Unavailable,
        408 => ErrorKind::Timeout,
        404 | 410 => ErrorKind::NotFound,
        401 | 403 => ErrorKind::Denied,
        300..=399 => ErrorKind::Unsupported,
        _ => ErrorKind::Invalid,
    };
    let error = Error::new(kind, GET).with("status", status);
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    match after.and_then(|text| retry_after(text, now)) {
        Some(after) => error.retry_after(after),
        None => error,
    }
}
