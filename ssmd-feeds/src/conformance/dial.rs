//! What every [`Dial`] promises, whatever it is made of: one function a promise.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::dial::{Dial, Received, Socket};
use crate::tls::{client_config, client_config_with_pem};
use crate::venue::Handshake;
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ssmd_core::{Clock, ErrorKind, ManualClock, SystemClock, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::MUST;
use super::server::{Server, soon};

/// Makes the dialer under test: one that trusts whom the configuration trusts, and no plain text to other machines.
pub type Make = fn(Arc<rustls::ClientConfig>) -> Arc<dyn Dial>;

fn plain(make: Make) -> Arc<dyn Dial> {
    make(client_config(None).expect(MUST))
}

/// A clock that stands still until it is moved.
fn manual() -> ManualClock {
    ManualClock::new("2026-08-01T12:00:00Z".parse::<Timestamp>().expect(MUST))
}

const MANY: NonZeroUsize = NonZeroUsize::new(1000).expect("it is not zero");

/// A handshake with a header of its own.
pub fn to(url: &str) -> Handshake {
    Handshake { url: url.to_owned(), headers: vec![("X-Test".to_owned(), "1".to_owned())] }
}

fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

async fn receive(socket: &mut Box<dyn Socket>) -> Vec<Received> {
    let mut out = Vec::new();
    soon("receive", socket.receive(MANY, &mut out)).await.expect(MUST);
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
    received.iter().map(|message| std::str::from_utf8(&message.payload).expect(MUST)).collect()
}

/// Reads the client's request and gives the key that answers it.
pub async fn accept_key(tcp: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(soon("request", tcp.read_u8()).await.expect(MUST));
    }
    let request = String::from_utf8(request).expect(MUST);
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    derive_accept_key(key.expect(MUST).as_bytes())
}

/// An answer that takes a handshake, with headers in small letters.
pub fn switching(accept: &str) -> Vec<u8> {
    let text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    text.into_bytes()
}

/// A frame as a server sends it: short, not masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(payload.len()).expect(MUST)];
    assert!(payload.len() < 126);
    bytes.extend_from_slice(payload);
    bytes
}

const TEXT: u8 = 0x81;
const TEXT_BEGIN: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;
const PING: u8 = 0x89;

/// Frames glued to the answer, an answer in small pieces, and headers in small letters.
pub async fn a_handshake_and_frames_may_come_in_one_piece_or_drop_by_drop(make: Make) {
    let dial = plain(make);
    for drip in [false, true] {
        let server = Server::start().await;
        let serving = async {
            let mut tcp = server.tcp().await;
            tcp.set_nodelay(true).expect(MUST);
            let accept = accept_key(&mut tcp).await;
            let mut bytes = switching(&accept);
            bytes.extend(frame(TEXT, b"one"));
            bytes.extend(frame(TEXT, "zwö".as_bytes()));
            if drip {
                // Hundreds of single bytes would rightly be taken for an attack.
                let (head, rest) = bytes.split_at(accept.len());
                for part in head.chunks(7).chain(rest.chunks(3)) {
                    tcp.write_all(part).await.expect(MUST);
                    tokio::task::yield_now().await;
                }
            } else {
                tcp.write_all(&bytes).await.expect(MUST);
            }
            tcp
        };
        let listening = async {
            let mut socket = soon("open", dial.open(&to(&server.url), system())).await.expect(MUST);
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

/// Fragments around a ping of the largest size; the answer to it is the same bytes, masked.
pub async fn fragments_are_joined_around_control_frames_and_pings_are_answered(make: Make) {
    let dial = plain(make);
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
        tcp.write_all(&bytes).await.expect(MUST);
        let mut head = [0; 6];
        soon("pong", tcp.read_exact(&mut head)).await.expect(MUST);
        assert_eq!(head[..2], [0x8A, 0x80 | 125], "a masked pong of 125 bytes");
        let mut pong = [0; 125];
        soon("pong", tcp.read_exact(&mut pong)).await.expect(MUST);
        let unmasked = pong.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask);
        assert!(unmasked.eq(large));
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(receive(&mut socket).await);
        }
        assert_eq!(texts(&got), ["fragmé!", "next"]);
        let whole = socket.whole();
        assert!(whole.is_none_or(|whole| whole == 3), "two messages and a ping in five frames: {whole:?}");
        // The answer leaves while something else is awaited.
        let (_, end) = all(&mut socket).await;
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
    };
    tokio::join!(serving, listening);
}

/// A goodbye behind 5,000 texts and a binary message, with its reason.
pub async fn everything_sent_before_a_goodbye_is_given_before_the_end(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let serving = async {
        let mut peer = server.accept().await;
        for n in 0..5000 {
            peer.0.feed(Message::text(format!("m{n}"))).await.expect(MUST);
        }
        peer.0.feed(Message::binary(vec![0, 159, 146, 150])).await.expect(MUST);
        let reason = CloseFrame { code: 1001.into(), reason: "restarting".into() };
        peer.0.close(Some(reason)).await.expect(MUST);
        // The client answers the goodbye.
        while !matches!(soon("goodbye", peer.0.next()).await, None | Some(Ok(Message::Close(_)))) {}
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
        // A command that the leaving server never reads changes nothing.
        socket.send(Bytes::from_static(b"subscribe")).expect(MUST);
        let (got, end) = all(&mut socket).await;
        assert_eq!(got.len(), 5001);
        assert_eq!(got[4999].payload, "m4999");
        assert!(got[5000].binary && got[5000].payload[..] == [0, 159, 146, 150]);
        assert_eq!(end.kind(), ErrorKind::Closed);
        assert!(end.to_string().contains("1001 restarting"), "{end}");
    };
    tokio::join!(serving, listening);
}

/// What was queued leaves first; nothing can be sent after it.
pub async fn our_goodbye_is_answered_and_what_comes_before_the_answer_is_given(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let serving = async {
        let mut peer = server.accept().await;
        assert_eq!(peer.hear().await.as_deref(), Some("hello"));
        peer.say("late").await;
        peer.goodbye().await;
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
        socket.send(Bytes::from_static(b"hello")).expect(MUST);
        socket.close();
        let (got, end) = all(&mut socket).await;
        assert_eq!(texts(&got), ["late"]);
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
        assert_eq!(socket.send(Bytes::from_static(b"x")).expect_err(MUST).kind(), ErrorKind::Closed);
    };
    tokio::join!(serving, listening);
}

/// Invalid UTF-8, a reserved opcode and a frame that says it is too large.
pub async fn what_the_protocol_forbids_is_corrupt_and_costs_nothing_before_it(make: Make) {
    let dial = plain(make);
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
            tcp.write_all(&bytes).await.expect(MUST);
            tcp
        };
        let listening = async {
            let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
            let (got, end) = all(&mut socket).await;
            assert_eq!(texts(&got), ["good"]);
            assert_eq!(end.kind(), ErrorKind::Corrupt, "{end}");
        };
        let _ = tokio::join!(serving, listening);
    }
}

/// The other side vanishes behind a whole message.
pub async fn an_end_without_a_goodbye_is_an_end(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let serving = async {
        let mut peer = server.accept().await;
        peer.say("last").await;
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
        let (got, end) = all(&mut socket).await;
        assert_eq!(texts(&got), ["last"]);
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
    };
    tokio::join!(serving, listening);
}

/// The other side speaks and is gone with what it did not read, and we find out by writing.
pub async fn what_arrived_before_writing_failed_is_given(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let handshake = to(&server.url);
    let (mut peer, socket) = tokio::join!(server.accept(), dial.open(&handshake, system()));
    let mut socket = socket.expect(MUST);
    peer.say("first").await;
    assert_eq!(texts(&receive(&mut socket).await), ["first"]);
    socket.send(Bytes::from_static(b"never read")).expect(MUST);
    let mut got = Vec::new();
    assert!(socket.receive(MANY, &mut got).now_or_never().is_none());
    soon("arrive", peer.0.get_ref().readable()).await.expect(MUST);
    peer.burst((0..10).map(|n| n.to_string())).await;
    drop(peer);
    // It may be known by now that nothing can be sent.
    let _ = socket.send(Bytes::from_static(b"too late"));
    let (got, _) = all(&mut socket).await;
    assert_eq!(texts(&got), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

/// `receive` is dropped whenever nothing is ready.
pub async fn a_dropped_receive_loses_nothing(make: Make) {
    let dial = plain(make);
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
        let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
        let (mut got, mut dropped) = (Vec::new(), 0);
        while got.len() < MESSAGES {
            // The second branch wins whenever nothing is ready at the first look.
            tokio::select! {
                biased;
                result = socket.receive(NonZeroUsize::new(3).expect(MUST), &mut got) => result.expect(MUST),
                () = tokio::task::yield_now() => dropped += 1,
            }
        }
        assert!(dropped > 0);
        assert!(texts(&got).iter().enumerate().all(|(n, text)| *text == n.to_string()));
    };
    let _ = soon("messages", async { tokio::join!(serving, listening) }).await;
}

/// Half an answer, then nothing.
pub async fn a_server_that_never_answers_is_given_up(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let clock = manual();
    let opening = async {
        let clock = Arc::new(clock.clone());
        soon("open", dial.open(&to(&server.url), clock)).await.err().expect("nobody answered")
    };
    let serving = async {
        let mut tcp = server.tcp().await;
        accept_key(&mut tcp).await;
        tcp.write_all(b"HTTP/1.1 101 Swit").await.expect(MUST);
        clock.advance(crate::dial::HANDSHAKE_TIME_MAX);
        tcp
    };
    let (error, _tcp) = tokio::join!(opening, serving);
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

/// Commands that are never read: `Full` first, then `Timeout`.
pub async fn a_peer_that_does_not_read_is_noticed(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let clock = manual();
    let serving = async { server.accept().await };
    let handshake = to(&server.url);
    let opening = dial.open(&handshake, Arc::new(clock.clone()));
    let (_deaf, socket) = tokio::join!(serving, opening);
    let mut socket = socket.expect(MUST);
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
    let received = async { socket.receive(MANY, &mut out).await.expect_err(MUST) };
    let moving = async {
        while clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
        clock.advance(crate::dial::WRITE_TIME_MAX);
    };
    let (error, ()) = soon("timeout", async { tokio::join!(received, moving) }).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

/// Status, words and `Retry-After` of the answer.
pub async fn a_refusal_tells_its_status_and_when_to_come_back(make: Make) {
    let dial = plain(make);
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
            tcp.write_all(text.as_bytes()).await.expect(MUST);
            tcp
        };
        let handshake = to(&server.url);
        let (_tcp, opened) = tokio::join!(serving, dial.open(&handshake, system()));
        let error = opened.err().expect("it was refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.context("status"), status.split(' ').next());
        assert_eq!(error.wait().expect(MUST).as_secs(), 17);
    }
}

/// Addresses that must not be dialed.
pub async fn plain_text_does_not_leave_this_machine(make: Make) {
    let dial = plain(make);
    for url in ["ws://192.0.2.1:9/", "http://127.0.0.1/", "wss://user:secret@127.0.0.1/", "nonsense"] {
        let error = dial.open(&to(url), system()).await.err().expect("it is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(!error.report().contains("secret"), "{error:?}");
    }
}

/// Large messages, in one frame and in fragments.
pub async fn sixteen_mebibytes_are_one_message(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let large = vec![b'L'; 16 * 1024 * 1024];
    let serving = async {
        let mut peer = server.accept().await;
        peer.0.send(Message::text(String::from_utf8(large.clone()).expect(MUST))).await.expect(MUST);
        let half = large.len() / 2;
        let part = |bytes: &[u8], code, last| {
            Message::Frame(Frame::message(Bytes::copy_from_slice(bytes), OpCode::Data(code), last))
        };
        peer.0.send(part(&large[..half], Data::Binary, false)).await.expect(MUST);
        peer.0.send(part(&large[half..], Data::Continue, true)).await.expect(MUST);
        peer.say("after").await;
        peer.goodbye().await;
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
        let (got, end) = all(&mut socket).await;
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
        assert_eq!(got.len(), 3);
        assert!(got[0].payload[..] == large[..] && !got[0].binary);
        assert!(got[1].payload[..] == large[..] && got[1].binary);
        assert_eq!(got[2].payload, "after");
    };
    tokio::join!(serving, listening);
}

/// Commands of every length that changes how a frame is written arrive as they were sent, in their order.
pub async fn what_is_sent_arrives_whole_and_in_order(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let lengths = [1, 125, 126, 127, 4_095, 65_535, 65_536, 65_537, 200_000, 1];
    let text = |n: usize, length: usize| (n % 10).to_string().repeat(length);
    let serving = async {
        let mut peer = server.accept().await;
        for (n, length) in lengths.into_iter().enumerate() {
            assert!(peer.hear().await == Some(text(n, length)), "command {n} of {length} bytes");
        }
        peer.goodbye().await;
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
        for (n, length) in lengths.into_iter().enumerate() {
            socket.send(text(n, length).into()).expect(MUST);
            socket.ping().expect(MUST);
        }
        assert_eq!(socket.send(Bytes::from_static(b"\xFF")).expect_err(MUST).kind(), ErrorKind::Invalid);
        let (_, end) = all(&mut socket).await;
        assert_eq!(end.kind(), ErrorKind::Closed, "{end}");
    };
    tokio::join!(serving, listening);
}

/// Thousands of pings at once, each answered or superseded, cost no message and no memory.
pub async fn a_flood_of_pings_is_survived(make: Make) {
    let dial = plain(make);
    let server = Server::start().await;
    let serving = async {
        let mut tcp = server.tcp().await;
        let accept = accept_key(&mut tcp).await;
        let mut bytes = switching(&accept);
        for _ in 0..20_000 {
            bytes.extend(frame(PING, &[b'p'; 125]));
        }
        bytes.extend(frame(TEXT, b"still here"));
        let (mut reading, mut writing) = tcp.into_split();
        // What comes back is read, or the flood would rightly stall.
        let sink = async {
            let mut into = vec![0; 64 * 1024];
            while reading.read(&mut into).await.is_ok_and(|read| read > 0) {}
        };
        let flood = async {
            writing.write_all(&bytes).await.expect(MUST);
            std::future::pending::<()>().await;
        };
        tokio::select! { () = sink => {}, () = flood => {} }
    };
    let listening = async {
        let mut socket = dial.open(&to(&server.url), system()).await.expect(MUST);
        assert_eq!(texts(&receive(&mut socket).await), ["still here"]);
    };
    tokio::join!(serving, listening);
}

/// Opening may be dropped at any point, and so may what was opened: the other side sees an end.
pub async fn what_is_dropped_is_closed(make: Make) {
    let dial = plain(make);
    for patience in [0, 1, 2, 3, 5, 8, 13, 100] {
        let server = Server::start().await;
        let serving = async {
            let mut tcp = server.tcp().await;
            let mut seen = Vec::new();
            // An end, whether orderly or not.
            let _ = soon("end", tcp.read_to_end(&mut seen)).await;
        };
        let handshake = to(&server.url);
        let dropping = async {
            let opening = dial.open(&handshake, system());
            let patience = async {
                for _ in 0..patience {
                    system().sleep(std::time::Duration::from_millis(1)).await;
                }
            };
            tokio::select! { biased; opened = opening => drop(opened), () = patience => {} }
            // A connection that was never begun is no end.
            drop(TcpStream::connect(server.url.trim_matches('/').trim_start_matches("ws://")).await);
        };
        tokio::join!(serving, dropping);
    }
}

/// An authority that nobody else knows, and a server certificate of it for `name`.
fn certificate(name: &str) -> (String, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let mut authority = CertificateParams::new(Vec::new()).expect(MUST);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect(MUST)).expect(MUST);
    let key = KeyPair::generate().expect(MUST);
    let server = CertificateParams::new(vec![name.to_owned()]).expect(MUST);
    let server = server.signed_by(&key, &authority).expect(MUST);
    (authority.pem(), vec![server.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect(MUST))
}

/// What comes of dialing `localhost` at a server whose certificate is for `name`.
async fn dial_tls(make: Make, name: &str, trusted: bool) -> ssmd_core::Result<Vec<Received>> {
    let (authority, chain, key) = certificate(name);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server_config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect(MUST)
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect(MUST);
    let server = Server::start().await;
    let url = server.url.replace("ws://127.0.0.1", "wss://localhost");
    let serving = async {
        let tcp = server.tcp().await;
        let Ok(tls) = TlsAcceptor::from(Arc::new(server_config)).accept(tcp).await else { return };
        let Ok(mut peer) = tokio_tungstenite::accept_async(tls).await else { return };
        let _ = peer.send(Message::text("hello")).await;
        let _ = peer.close(None).await;
        while let Some(Ok(_)) = peer.next().await {}
    };
    let config = match trusted {
        true => client_config_with_pem(authority.as_bytes()),
        false => client_config(None),
    };
    let dialing = async {
        let mut socket = make(config.expect(MUST)).open(&to(&url), system()).await?;
        Ok(all(&mut socket).await.0)
    };
    let ((), dialed) = Box::pin(soon("dial", async { tokio::join!(serving, dialing) })).await;
    dialed
}

/// Another authority, and another name under ours, are refused before anything is said.
pub async fn tls_is_spoken_with_whom_we_trust_under_the_name_we_asked_for_and_nobody_else(make: Make) {
    assert_eq!(texts(&dial_tls(make, "localhost", true).await.expect(MUST)), ["hello"]);
    for (name, trusted) in [("localhost", false), ("example.com", true)] {
        let error = dial_tls(make, name, trusted).await.expect_err(MUST);
        assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
        assert_eq!(error.operation(), "prove identity");
    }
}
