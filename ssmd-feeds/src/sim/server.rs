//! The port: plain HTTP for REST, and WebSockets opened over it.
//!
//! Every client gets a task, a deadline until it has a WebSocket, and nothing that could hurt the others.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, UPGRADE};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ssmd_core::{Error, ErrorKind, Result, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::connection::{self, CLOSE_MAX, Shared};
use super::faults::Port;
use super::venue::SimRest;

/// Connections at one time; more are closed as they come.
pub(super) const CONNECTIONS_MAX: usize = 1024;
/// What a client has to send a request's headers.
const HEADERS_MAX: Duration = Duration::from_secs(5);
/// What a client has before it has opened a WebSocket or read its answers.
const HTTP_MAX: Duration = Duration::from_secs(60);
/// The longest request line and headers, in bytes (the smallest that the HTTP library takes).
const HEAD_BYTES_MAX: usize = 8192;
/// What to wait when the system has no more files for connections.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until `closing`, then waits for the connections that are left.
pub(super) async fn serve(
    listener: TcpListener,
    rest: Arc<dyn SimRest>,
    shared: Shared,
    closing: CancellationToken,
) -> Result<()> {
    let mut connections = Tasks::new();
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            Some((_, ended)) = connections.next() => ended?,
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= CONNECTIONS_MAX => {
                    shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                }
                Ok((stream, _)) => {
                    let (rest, shared, closing) = (rest.clone(), shared.clone(), closing.clone());
                    connections.spawn("simulated connection", client(stream, rest, shared, closing));
                }
                Err(cause) => {
                    tracing::warn!(%cause, "cannot accept a connection");
                    shared.clock.sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let clock = shared.clock.clone();
    // The exchange ends when the last connection is gone, or cut: it must not wait for this sender.
    drop(shared);
    connections.stop(CLOSE_MAX * 4, clock).await
}

async fn client(
    stream: TcpStream,
    rest: Arc<dyn SimRest>,
    shared: Shared,
    closing: CancellationToken,
) -> Result<()> {
    // Only delays small frames if it fails.
    let _ = stream.set_nodelay(true);
    let upgrade = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        let response = answer(request, rest.as_ref(), &shared, &upgrade);
        async move { Ok::<_, Infallible>(response) }
    });
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        biased;
        () = closing.cancelled() => return Ok(()),
        // What a stranger did wrong on his connection is nobody's failure here.
        ended = http => if let Err(cause) = ended { tracing::debug!(%cause, "http ended") },
        () = shared.clock.sleep(HTTP_MAX) => return Ok(()),
    }
    let upgrade = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
    match upgrade {
        Some(upgrade) => socket(upgrade, shared).await,
        None => Ok(()),
    }
}

async fn socket(upgrade: OnUpgrade, shared: Shared) -> Result<()> {
    let Ok(upgraded) = upgrade.await else { return Ok(()) };
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| Error::new(ErrorKind::Bug, "open simulated socket").detail("not a TCP stream"))?;
    let (stream, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
    let config = Some(connection::config());
    let socket = WebSocketStream::from_partially_read(stream, early, Role::Server, config).await;
    connection::serve(socket, shared).await;
    Ok(())
}

fn answer(
    mut request: Request<Incoming>,
    rest: &dyn SimRest,
    shared: &Shared,
    upgrade: &Mutex<Option<OnUpgrade>>,
) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::POST, Method::HEAD].contains(request.method()) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD, POST"));
        return response;
    }
    let path = request.uri().path();
    if request.headers().contains_key(UPGRADE) {
        if !rest.has_socket(path) {
            return plain(StatusCode::NOT_FOUND, "no websocket here\n");
        }
        if let Err(words) = rest.admits(request.headers(), path, shared.clock.now()) {
            let body = serde_json::json!({"error": {"code": "authentication_error", "message": words}});
            return plain(StatusCode::UNAUTHORIZED, &body.to_string());
        }
        if Port::takes(&shared.port.refusals) {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "refused, as the script says\n");
        }
        return match create_response_with_body(&request, Full::default) {
            Ok(response) => {
                let waiting = hyper::upgrade::on(&mut request);
                *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting);
                response
            }
            Err(cause) => plain(StatusCode::BAD_REQUEST, &format!("{cause}\n")),
        };
    }
    if let Some(body) = rest.get(path, request.uri().query().unwrap_or_default(), shared.clock.now()) {
        let mut response = Response::new(Full::new(shared.port.spoil(body)));
        let json = hyper::header::HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, json);
        return response;
    }
    if rest.has_socket(path) {
        let mut response = plain(StatusCode::UPGRADE_REQUIRED, "this is a websocket\n");
        response.headers_mut().insert(UPGRADE, hyper::header::HeaderValue::from_static("websocket"));
        response.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("upgrade"));
        return response;
    }
    plain(StatusCode::NOT_FOUND, "not found\n")
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}
