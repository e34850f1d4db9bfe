//! REST: what is asked again and what is not, and what errors do not show.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::toy::settle;
use common::{Server, manual, soon};
use ssmd_core::{Clock, ErrorKind, ManualClock, Result};
use ssmd_feeds::http::{Http, HttpOptions};
use ssmd_feeds::tls::client_config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Asks for `/a?key=secret` at a server that gives these answers, one connection each. Gives what came of it, the
/// requests as the server saw them, and the clock's time at each.
async fn ask(answers: &[&str], tune: impl FnOnce(&mut HttpOptions)) -> (Result<bytes::Bytes>, Vec<Duration>) {
    let server = Server::start().await;
    let clock = manual();
    let mut options = HttpOptions::new(server.url.replace("ws://", "http://"));
    tune(&mut options);
    let tls = client_config(None).unwrap();
    let http = Http::new(options, &tls, Arc::new(clock.clone())).unwrap();
    let mut times = Vec::new();
    let serving = async {
        for answer in answers {
            let mut tcp = server.tcp().await;
            times.push(clock.elapsed());
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(tcp.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            assert!(request.starts_with("GET /a?key=secret HTTP/1.1\r\n"), "{request}");
            tcp.write_all(answer.as_bytes()).await.unwrap();
            tcp.shutdown().await.unwrap();
        }
    };
    let asking = async {
        tokio::select! {
            biased;
            answer = http.get("/a?key=secret") => answer,
            () = tick(&clock) => unreachable!("the clock does not stop"),
        }
    };
    let (answer, ()) = soon("answers", async { tokio::join!(asking, serving) }).await;
    (answer, times)
}

/// Moves the clock whenever somebody waits for it.
async fn tick(clock: &ManualClock) {
    loop {
        settle().await;
        clock.advance(Duration::from_millis(10));
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn what_may_change_is_asked_again_when_the_venue_says() {
    let busy = answer("429 Too Many Requests", "retry-after: 3\r\n", "");
    let broken = answer("502 Bad Gateway", "", "");
    let good = answer("200 OK", "", "[1]");
    let (got, times) = ask(&[&busy, &broken, &good], |_| ()).await;
    assert_eq!(got.unwrap(), "[1]");
    assert!(times[1] - times[0] >= Duration::from_secs(3), "{times:?}");
    assert!(times[2] - times[1] >= Duration::from_secs(1), "requests keep their distance: {times:?}");
}

#[tokio::test]
async fn what_will_not_change_is_not_asked_again_and_no_secret_is_shown() {
    for (status, kind) in [
        ("401 Unauthorized", ErrorKind::Denied),
        ("404 Not Found", ErrorKind::NotFound),
        ("400 Bad Request", ErrorKind::Invalid),
        ("302 Found", ErrorKind::Unsupported),
    ] {
        let (got, _) = ask(&[&answer(status, "location: http://192.0.2.1/\r\n", "")], |_| ()).await;
        let error = got.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.context("status"), status.split(' ').next());
        assert!(!error.report().contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn attempts_bodies_and_waits_are_bounded() {
    let broken = answer("503 Service Unavailable", "", "");
    let (got, times) = ask(&[&broken, &broken], |options| options.attempts = 2).await;
    assert_eq!((got.unwrap_err().kind(), times.len()), (ErrorKind::Unavailable, 2));

    let long = answer("200 OK", "", &"x".repeat(100));
    let (got, _) = ask(&[&long], |options| options.body_bytes_max = 99).await;
    assert_eq!(got.unwrap_err().kind(), ErrorKind::Full);

    let later = answer("429 Too Many Requests", "retry-after: 3600\r\n", "");
    let (got, _) = ask(&[&later], |_| ()).await;
    let error = got.unwrap_err();
    assert_eq!((error.kind(), error.wait()), (ErrorKind::Unavailable, Some(Duration::from_secs(3600))));
    assert!(!error.report().contains("secret"), "{error:?}");

    // A connection that ends in the middle of its answer.
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    let (got, _) = ask(&[cut], |options| options.attempts = 1).await;
    let error = got.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.report().contains("secret"), "{error:?}");
}

#[test]
fn plain_text_does_not_leave_this_machine() {
    let tls = client_config(None).unwrap();
    let open = |base: &str, allow_plaintext| {
        let options = HttpOptions { allow_plaintext, ..HttpOptions::new(base) };
        Http::new(options, &tls, Arc::new(manual()))
    };
    for base in ["http://127.0.0.1:1", "http://localhost", "http://[::1]:9/x", "https://example.com"] {
        assert!(open(base, false).is_ok(), "{base}");
    }
    for base in [
        "http://example.com",
        "http://127.0.0.1.example.com",
        "ftp://localhost",
        "https://u:p@example.com",
        "?",
    ] {
        let error = open(base, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{base}");
        assert!(!error.report().contains("u:p"), "{error:?}");
    }
    assert!(open("http://example.com", true).is_ok());
}
