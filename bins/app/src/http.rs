//! `/health`, `/health/ready` and `/metrics` of a daemon, and nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ssmd_core::{Error, ErrorKind, Metrics, Result, Tasks};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections served at a time; a scraper and an orchestrator need two.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send its request's headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// Says whether the daemon does its work, and if not, why.
pub(crate) type Ready = Arc<dyn Fn() -> std::result::Result<(), String> + Send + Sync>;

/// Binds the address, so that a taken port is an error before anything starts.
///
/// # Errors
/// `Conflict` if the port is taken, else the operating system's.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|cause| {
        let taken = cause.kind() == std::io::ErrorKind::AddrInUse;
        let error = if taken {
            Error::new(ErrorKind::Conflict, "listen for health and metrics").detail("the port is taken")
        } else {
            Error::io("listen for health and metrics", cause)
        };
        error.with("address", address).hint("choose an address of this machine with --listen ADDRESS:PORT")
    })
}

/// Serves until `stop`.
///
/// # Errors
/// None today: what fails concerns one client only.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    ready: Ready,
    stop: CancellationToken,
) -> Result<()> {
    let mut connections = Tasks::under(&stop);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(_) = connections.next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (Ok((socket, _)), Ok(permit)) = (accepted, Arc::clone(&room).try_acquire_owned()) else {
            continue;
        };
        let (metrics, ready, stop) = (metrics.clone(), Arc::clone(&ready), connections.token());
        connections.spawn("health client", async move {
            let _permit = permit;
            let answer = service_fn(move |request| {
                let response = respond(&request, &metrics, &ready);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .serve_connection(TokioIo::new(socket), answer);
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "health client");
                    }
                }
            }
            Ok(())
        });
    }
}

fn respond(request: &Request<Incoming>, metrics: &Metrics, ready: &Ready) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") => {
            (StatusCode::OK, JSON, "{\"status\":\"ok\"}\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, "/health/ready") => match ready() {
            Ok(()) => (StatusCode::OK, JSON, "{\"status\":\"ready\"}\n".to_owned()),
            Err(why) => {
                let body = serde_json::json!({ "status": "not ready", "why": why });
                (StatusCode::SERVICE_UNAVAILABLE, JSON, format!("{body}\n"))
            }
        },
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, OPEN_METRICS, metrics.render()),
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, TEXT, "there is /health, /health/ready and /metrics\n".to_owned())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
