//! What every [`Dial`] promises, whatever it is made of: one function a promise.
#![allow(unreachable_pub, reason = "tests export nothing")]

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use ssmd_core::{Clock, ErrorKind, SystemClock};
use ssmd_feeds::dial::{Dial, Received, Socket};
use ssmd_feeds::venue::Handshake;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::common::{Server, manual, soon};

type Dialing = Arc<dyn Dial>;

const MANY: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

pub fn to(url: &str) -> Handshake {
    Handshake { url: url.to_owned(), headers: vec![("X-Test".to_owned(), "1".to_owned())] }
}

fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

async fn receive(socket: &mut Box<dyn Socket>) -> Vec<Received> {
    let mut out = Vec::new();
    soon("receive", socket.receive(MANY, &mut out)).await.unwrap();
    assert!(!out.is_empty());
    out
}

/// Everything up to the end, and why it ended.
async fn all(socket: &mut Box<dyn Socket>) -> (Vec<Received>, ssmd_core::Error) {
    let mut out = Vec::new();
    loop {
        if let Err(end) = soon("receive", socket.receive(MANY, &mut out)).await {
            return (out, end);
        }
    }
}

fn texts(received: &[Received]) -> Vec<&str> {
    received.iter().map(|message| std::str::from_utf8(&message.payload).unwrap()).collect()
}

/// Reads the client's request and gives the key that answers it.
async fn accept_key(tcp: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(soon("request", tcp.read_u8()).await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    derive_accept_key(key.unwrap().as_bytes())
}

fn switching(accept: &str) -> Vec<u8> {
    let text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    text.into_bytes()
}

/// A frame as a server sends it: short, not masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(payload.len()).unwrap()];
    assert!(payload.len() < 126);
    bytes.extend_from_slice(payload);
    bytes
}

const TEXT: u8 = 0x81;
const TEXT_BEGIN: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;
const PING: u8 = 0x89;

pub async fn a_handshake_and_frames_may_come_in_one_piece_or_drop_by_drop(dial: Dialing) {
    for drip in [false, true] {
        let server = Server::start().await;
        let serving = async {
            let mut tcp = server.tcp().await;
            tcp.set_nodelay(true).unwrap();
            let accept = accept_key(&mut tcp).await;
            let mut bytes = switching(&accept);
            bytes.extend(frame(TEXT, b"one"));
            bytes.extend(frame(TEXT, "zwö".as_bytes()));
            if drip {
                // Hundreds of single bytes would rightly be taken for an attack.
                let (head, rest) = bytes.split_at(accept.len());
                for part in head.chunks(7).chain(rest.chunks(3)) {
                    tcp.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
            } else {
                tcp.write_all(&bytes).await.unwrap();
            }
            tcp
        };
        let listening = async {
            let mut socket = soon("open", dial.open(&to(&server.url), system())).await.unwrap();
            let mut got = Vec::new();
            while got.len() < 2 {
                got.extend(receive(&mut socket).await);
            }
            assert_eq!(texts(&got), ["one", "zwö"]);
            assert!(got[0].elapsed <= got[1].elapsed && got.iter().all(|message| !message.binary));
            assert!(socket.bytes() >= 10);
        };
        let _ = tokio::join!(serving, listening);
    }
}

pub async fn fragments_are_joined_around_control_frames_and_pings_are_answered(dial: Dialing) {
    let server = Server::start().await;
    let large = [b'p'; 125];
    let serving = async {
        let mut tcp = server.tcp().await;
        let accept = accept_key(&mut tcp).await;
        let mut bytes = switching(&accept);
        // The second fragment ends inside a character.
        for part in [
            frame(TEXT_BEGIN, b"frag"),
            frame(PING, &large),
            frame(MORE, &[b'm', 0xC3]),
            frame(LAST, &[0xA9, b'!']),
            frame(TEXT, b"next"),
        ] {
            bytes.extend(part);
        }
        tcp.write_all(&bytes).await.unwrap();
        let mut head = [0; 6];
        soon("pong", tcp.read_exact(&mut head)).await.unwrap();
        assert_eq!(head[..2], [0x8A, 0x80 | 125], "a masked pong of 125 bytes");
        let mut pong = [0; 125];
        soon("pong", tcp.read_exact(&mut pong)).await.unwrap();
        let unmasked = pong.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask);
        assert!(unmasked.eq(large));
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.unwrap();
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(receive(&mut socket).await);
        }
        assert_eq!(texts(&got), ["fragmé!", "next"]);
        // The answer leaves while something else is awaited.
        let (_, end) = all(&mut socket).await;
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
    };
    tokio::join!(serving, listening);
}

pub async fn everything_sent_before_a_goodbye_is_given_before_the_end(dial: Dialing) {
    let server = Server::start().await;
    let serving = async {
        let mut peer = server.accept().await;
        for n in 0..5000 {
            peer.0.feed(Message::text(format!("m{n}"))).await.unwrap();
        }
        peer.0.feed(Message::binary(vec![0, 159, 146, 150])).await.unwrap();
        let reason = CloseFrame { code: 1001.into(), reason: "restarting".into() };
        peer.0.close(Some(reason)).await.unwrap();
        // The client answers the goodbye.
        while !matches!(soon("goodbye", peer.0.next()).await, None | Some(Ok(Message::Close(_)))) {}
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.unwrap();
        // A command that the leaving server never reads changes nothing.
        socket.send(Bytes::from_static(b"subscribe")).unwrap();
        let (got, end) = all(&mut socket).await;
        assert_eq!(got.len(), 5001);
        assert_eq!(got[4999].payload, "m4999");
        assert!(got[5000].binary && got[5000].payload[..] == [0, 159, 146, 150]);
        assert_eq!(end.kind(), ErrorKind::Closed);
        assert!(end.to_string().contains("1001 restarting"), "{end}");
    };
    tokio::join!(serving, listening);
}

pub async fn our_goodbye_is_answered_and_what_comes_before_the_answer_is_given(dial: Dialing) {
    let server = Server::start().await;
    let serving = async {
        let mut peer = server.accept().await;
        assert_eq!(peer.hear().await.as_deref(), Some("hello"));
        peer.say("late").await;
        peer.goodbye().await;
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.unwrap();
        socket.send(Bytes::from_static(b"hello")).unwrap();
        socket.close();
        let (got, end) = all(&mut socket).await;
        assert_eq!(texts(&got), ["late"]);
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
        assert_eq!(socket.send(Bytes::from_static(b"x")).unwrap_err().kind(), ErrorKind::Closed);
    };
    tokio::join!(serving, listening);
}

pub async fn what_the_protocol_forbids_is_corrupt_and_costs_nothing_before_it(dial: Dialing) {
    let invalid_utf8 = frame(TEXT, &[b'a', 0xFF]);
    let reserved = frame(0x83, b"reserved opcode");
    let mut oversize = vec![0x81, 127];
    oversize.extend((64u64 * 1024 * 1024 + 1).to_be_bytes());
    for bad in [invalid_utf8, reserved, oversize] {
        let server = Server::start().await;
        let serving = async {
            let mut tcp = server.tcp().await;
            let accept = accept_key(&mut tcp).await;
            let mut bytes = switching(&accept);
            bytes.extend(frame(TEXT, b"good"));
            bytes.extend(&bad);
            tcp.write_all(&bytes).await.unwrap();
            tcp
        };
        let listening = async {
            let mut socket = dial.open(&to(&server.url), system()).await.unwrap();
            let (got, end) = all(&mut socket).await;
            assert_eq!(texts(&got), ["good"]);
            assert_eq!(end.kind(), ErrorKind::Corrupt, "{end}");
        };
        let _ = tokio::join!(serving, listening);
    }
}

pub async fn an_end_without_a_goodbye_is_an_end(dial: Dialing) {
    let server = Server::start().await;
    let serving = async {
        let mut peer = server.accept().await;
        peer.say("last").await;
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.unwrap();
        let (got, end) = all(&mut socket).await;
        assert_eq!(texts(&got), ["last"]);
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
    };
    tokio::join!(serving, listening);
}

pub async fn a_dropped_receive_loses_nothing(dial: Dialing) {
    const MESSAGES: usize = 2000;
    let server = Server::start().await;
    let serving = async {
        let mut peer = server.accept().await;
        for n in 0..MESSAGES {
            peer.say(&n.to_string()).await;
            tokio::task::yield_now().await;
        }
        peer
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.unwrap();
        let (mut got, mut dropped) = (Vec::new(), 0);
        while got.len() < MESSAGES {
            // The second branch wins whenever nothing is ready at the first look.
            tokio::select! {
                biased;
                result = socket.receive(NonZeroUsize::new(3).unwrap(), &mut got) => result.unwrap(),
                () = tokio::task::yield_now() => dropped += 1,
            }
        }
        assert!(dropped > 0);
        assert!(texts(&got).iter().enumerate().all(|(n, text)| *text == n.to_string()));
    };
    let _ = soon("messages", async { tokio::join!(serving, listening) }).await;
}

pub async fn a_server_that_never_answers_is_given_up(dial: Dialing) {
    let server = Server::start().await;
    let clock = manual();
    let opening = async {
        let clock = Arc::new(clock.clone());
        soon("open", dial.open(&to(&server.url), clock)).await.err().expect("nobody answered")
    };
    let serving = async {
        let mut tcp = server.tcp().await;
        accept_key(&mut tcp).await;
        tcp.write_all(b"HTTP/1.1 101 Swit").await.unwrap();
        clock.advance(ssmd_feeds::dial::HANDSHAKE_TIME_MAX);
        tcp
    };
    let (error, _tcp) = tokio::join!(opening, serving);
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

pub async fn a_peer_that_does_not_read_is_noticed(dial: Dialing) {
    let server = Server::start().await;
    let clock = manual();
    let serving = async { server.accept().await };
    let handshake = to(&server.url);
    let opening = dial.open(&handshake, Arc::new(clock.clone()));
    let (_deaf, socket) = tokio::join!(serving, opening);
    let mut socket = socket.unwrap();
    let command = Bytes::from(vec![b'x'; 1024 * 1024]);
    let mut out = Vec::new();
    // The kernel's buffers take some, ours takes some, and then there is no room.
    let mut full = false;
    for _ in 0..100 {
        if let Err(error) = socket.send(command.clone()) {
            assert_eq!(error.kind(), ErrorKind::Full);
            full = true;
            break;
        }
    }
    assert!(full);
    let received = async { socket.receive(MANY, &mut out).await.unwrap_err() };
    let moving = async {
        while clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
        clock.advance(ssmd_feeds::dial::WRITE_TIME_MAX);
    };
    let (error, ()) = soon("timeout", async { tokio::join!(received, moving) }).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

pub async fn a_refusal_tells_its_status_and_when_to_come_back(dial: Dialing) {
    for (status, kind) in [
        ("429 Too Many Requests", ErrorKind::Unavailable),
        ("503 Service Unavailable", ErrorKind::Unavailable),
        ("403 Forbidden", ErrorKind::Denied),
        ("301 Moved", ErrorKind::Unsupported),
    ] {
        let server = Server::start().await;
        let serving = async {
            let mut tcp = server.tcp().await;
            accept_key(&mut tcp).await;
            let text = format!("HTTP/1.1 {status}\r\nretry-after: 17\r\ncontent-length: 4\r\n\r\nbusy");
            tcp.write_all(text.as_bytes()).await.unwrap();
            tcp
        };
        let handshake = to(&server.url);
        let (_tcp, opened) = tokio::join!(serving, dial.open(&handshake, system()));
        let error = opened.err().expect("it was refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.context("status"), status.split(' ').next());
        assert_eq!(error.wait().unwrap().as_secs(), 17);
    }
}

pub async fn plain_text_does_not_leave_this_machine(dial: Dialing) {
    for url in ["ws://192.0.2.1:9/", "http://127.0.0.1/", "wss://user:secret@127.0.0.1/", "nonsense"] {
        let error = dial.open(&to(url), system()).await.err().expect("it is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(!error.report().contains("secret"), "{error:?}");
    }
}
