//! The handshake as libechidna can bear it (RFC 6455 §4): its request with our headers, and the answer in one piece.
//!
//! libechidna reads an answer only if it comes in one read, with a `Server` header and capital letters, and forgets
//! what is glued to it. So the answer is read here, and what libechidna is given says the same in its own words.
//! Whether the answer proves that the other side read our key is libechidna's to check.

use bytes::BytesMut;
use ssmd_core::{Error, ErrorKind, Result, Timestamp};
use ssmd_feeds::dial::Refusal;

/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most headers of an answer.
const HEADERS_MAX: usize = 100;
/// The most bytes of a part of a request. libechidna formats each line into 1,024 bytes and reads on behind them.
const LINE_BYTES_MAX: usize = 900;
/// libechidna puts it into every request; venues expect it from browsers alone.
const ORIGIN: &str = "Origin: ";

/// Checks a part of a request before libechidna gets it.
///
/// # Errors
/// `Invalid` if it is too long, or would begin another line.
pub fn check_part(name: &'static str, text: &str) -> Result<()> {
    let invalid = || Error::new(ErrorKind::Invalid, "shake hands").with("part", name);
    if text.len() > LINE_BYTES_MAX {
        return Err(invalid().detail(format!("it has more than {LINE_BYTES_MAX} bytes")));
    }
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(invalid().detail("it has a character that HTTP does not know there")),
    }
}

/// libechidna's request, without its `Origin` and with `headers`, which were checked.
pub fn request<'a>(written: &str, headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let lines = written.split_inclusive("\r\n").filter(|line| !line.starts_with(ORIGIN) && *line != "\r\n");
    let mut request: Vec<u8> = lines.flat_map(str::bytes).collect();
    for (name, value) in headers {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Reads the answer off the front of `received`; `None` if it is not here as a whole. What is left in `received`
/// are frames. The answer is given back as libechidna can read it.
///
/// # Errors
/// What a refusal means (see `ssmd_feeds::dial::Dial::open`); `Unavailable` for what is no answer of a WebSocket.
pub fn take(received: &mut BytesMut, now: Timestamp) -> Result<Option<String>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(received).map_err(|cause| strange("its answer is not HTTP").because(cause))?;
    let httparse::Status::Complete(length) = parsed else {
        return if received.len() <= HEAD_BYTES_MAX {
            Ok(None)
        } else {
            Err(strange("its answer never ends"))
        };
    };
    let header = |name: &str| {
        let found = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let status = answer.code.unwrap_or_default();
    if status != 101 {
        let (retry_after, date) = (header("retry-after"), header("date"));
        return Err(Refusal { status, retry_after, date, body: &received[length..] }.error(now));
    }
    let has = |name, word: &str| {
        header(name).is_some_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    if answer.version != Some(1) || !has("upgrade", "websocket") || !has("connection", "upgrade") {
        return Err(strange("it does not switch to WebSocket"));
    }
    if header("sec-websocket-extensions").is_some_and(|named| !named.is_empty()) {
        return Err(strange("it wants an extension that was not asked for"));
    }
    let accept = header("sec-websocket-accept").filter(|accept| check_part("accept", accept).is_ok());
    let accept = accept.ok_or_else(|| strange("it does not prove that it read our key"))?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nServer: -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let _ = received.split_to(length);
    Ok(Some(answer))
}

/// The other side does not speak WebSocket.
pub fn strange(what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "shake hands").detail(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(0);

    fn answered(text: &str) -> Result<Option<String>> {
        take(&mut BytesMut::from(text), NOW)
    }

    #[test]
    fn an_answer_in_any_pieces_and_letters_becomes_one_that_libechidna_reads() {
        let text = "HTTP/1.1 101 ok\r\nupgrade: WebSocket\r\nCONNECTION: keep-alive, Upgrade\r\n\
                    sec-websocket-accept: abc=\r\n\r\nframes";
        let mut received = BytesMut::new();
        for (at, byte) in text.bytes().enumerate() {
            received.extend_from_slice(&[byte]);
            if at + 1 < text.len() - "frames".len() {
                assert_eq!(take(&mut received, NOW).unwrap(), None);
            }
        }
        let answer = take(&mut received, NOW).unwrap().unwrap();
        assert!(
            answer.contains("\r\nServer: -\r\n") && answer.ends_with("Sec-WebSocket-Accept: abc=\r\n\r\n")
        );
        assert_eq!(&received[..], b"frames");
    }

    #[test]
    fn what_is_no_answer_is_told() {
        let head = "HTTP/1.1 101 ok\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
        for (text, words) in [
            ("\0\0\0".to_owned(), "not HTTP"),
            ("HTTP/1.1 101 ok\r\n\r\n".to_owned(), "does not switch"),
            (format!("{head}\r\n"), "read our key"),
            (format!("{head}sec-websocket-accept: a b\r\n\r\n"), "read our key"),
            (format!("{head}sec-websocket-accept: a\r\nsec-websocket-extensions: x\r\n\r\n"), "an extension"),
            (format!("{head}x: {}", "y".repeat(HEAD_BYTES_MAX)), "never ends"),
        ] {
            let error = answered(&text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains(words), "{error}");
        }
        let error = answered("HTTP/1.1 429 slow\r\nRetry-After: 3\r\n\r\nbusy").unwrap_err();
        assert_eq!((error.context("status"), error.wait().unwrap().as_secs()), (Some("429"), 3));
    }

    #[test]
    fn a_request_has_our_headers_and_no_origin() {
        let written = "GET /x HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nSec-WebSocket-Key: k\r\n\r\n";
        let request = request(written, [("X-Key", &b"secret"[..])].into_iter());
        assert_eq!(
            String::from_utf8(request).unwrap(),
            "GET /x HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\nX-Key: secret\r\n\r\n"
        );
        assert!(check_part("path", "/a?b=c%20d").is_ok());
        for bad in ["/a b", "/a\r\nX: y", "/ä", &"x".repeat(901)] {
            assert_eq!(check_part("path", bad).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
