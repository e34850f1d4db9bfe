//! The guard gives libechidna nothing that it would read wrongly, and loses nothing that was said.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use proptest::prelude::*;
use ssmd_core::ErrorKind;
use ssmd_echidna::guard::{Guard, Run};

/// A frame as a server sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(short as u8),
        length @ 126..=0xFFFF => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// Reads a run as libechidna does, which believes every head: the texts, and how many pings there are.
fn as_libechidna(mut run: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut texts, mut pings) = (Vec::new(), 0);
    while let [first, second, rest @ ..] = run {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk().unwrap())), &rest[2..]),
            127 => (u64::from_be_bytes(*rest.first_chunk().unwrap()) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        let (payload, rest) = rest.split_at(length);
        match first {
            0x81 => texts.push(payload.to_vec()),
            0x89 => {
                assert!(length <= 125, "libechidna copies a ping into 1,024 bytes");
                pings += 1;
            }
            0x8A => {}
            other => panic!("libechidna cannot read a frame that begins with {other:#x}"),
        }
        run = rest;
    }
    assert!(run.is_empty(), "libechidna would wait for half a frame");
    assert!(pings <= 64, "libechidna ends the process when its answers find no room");
    (texts, pings)
}

/// What the guard makes of bytes that come in pieces: messages, pings, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    messages: Vec<(bool, Vec<u8>)>,
    pings: usize,
    goodbye: Option<Option<(u16, String)>>,
    fault: bool,
}

fn hear(bytes: &[u8], pieces: &[usize]) -> Heard {
    let (mut guard, mut heard, mut rest) = (Guard::default(), Heard::default(), bytes);
    let mut pieces = pieces.iter().copied().cycle();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(pieces.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        guard.buffer().extend_from_slice(piece);
        rest = more;
        loop {
            match guard.next_run() {
                Ok(Some(Run::Frames(run))) => {
                    let (texts, pings) = as_libechidna(&run);
                    heard.messages.extend(texts.into_iter().map(|text| (false, text)));
                    heard.pings += pings;
                }
                Ok(Some(Run::Binary(run))) => {
                    let (texts, pings) = as_libechidna(&run);
                    assert_eq!((texts.len(), pings), (1, 0));
                    heard.messages.extend(texts.into_iter().map(|text| (true, text)));
                }
                Ok(Some(Run::Goodbye(said))) => heard.goodbye = Some(said),
                Ok(None) => break,
                Err(fault) => {
                    assert_eq!(fault.kind(), ErrorKind::Corrupt);
                    heard.fault = true;
                }
            }
        }
    }
    heard
}

/// Something that a server may say, and what is to be heard of it.
#[derive(Clone, Debug)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Fragments(bool, Vec<String>, usize),
    Pings(usize),
    Pong,
}

impl Said {
    fn write(&self, bytes: &mut Vec<u8>, heard: &mut Heard) {
        match self {
            Self::Text(text) => {
                bytes.extend(frame(0x81, text.as_bytes()));
                heard.messages.push((false, text.clone().into_bytes()));
            }
            Self::Binary(payload) => {
                bytes.extend(frame(0x82, payload));
                heard.messages.push((true, payload.clone()));
            }
            Self::Fragments(binary, parts, pings) => {
                let whole = parts.concat().into_bytes();
                // Cut anywhere, inside of characters too, with pings between the parts.
                let cuts = whole.chunks((whole.len() / parts.len().max(1)).max(1)).collect::<Vec<_>>();
                for (n, part) in cuts.iter().enumerate() {
                    let opcode = if n > 0 {
                        0
                    } else if *binary {
                        2
                    } else {
                        1
                    };
                    let last = if n + 1 == cuts.len() { 0x80 } else { 0 };
                    bytes.extend(frame(last | opcode, part));
                    if last == 0 {
                        (0..*pings).for_each(|_| bytes.extend(frame(0x89, b"p")));
                        heard.pings += pings;
                    }
                }
                if !cuts.is_empty() {
                    heard.messages.push((*binary, whole));
                }
            }
            Self::Pings(count) => {
                (0..*count).for_each(|_| bytes.extend(frame(0x89, &[b'p'; 125])));
                heard.pings += count;
            }
            Self::Pong => bytes.extend(frame(0x8A, b"")),
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => ".{0,200}".prop_map(Said::Text),
        1 => prop::collection::vec(any::<u8>(), 0..70_000).prop_map(Said::Binary),
        1 => (any::<bool>(), prop::collection::vec(".{0,40}", 1..6), 0..3_usize)
            .prop_map(|(binary, parts, pings)| Said::Fragments(binary, parts, pings)),
        1 => (0..200_usize).prop_map(Said::Pings),
        1 => Just(Said::Pong),
    ]
}

proptest! {
    #[test]
    fn all_that_is_said_is_heard_however_it_is_cut(
        said in prop::collection::vec(said(), 0..12),
        goodbye in prop::option::of((1000..5000_u16, "[a-z ]{0,40}")),
        pieces in prop::collection::vec(1..5_000_usize, 1..6),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Heard::default());
        said.iter().for_each(|said| said.write(&mut bytes, &mut expected));
        if let Some((code, reason)) = &goodbye {
            bytes.extend(frame(0x88, &[&code.to_be_bytes()[..], reason.as_bytes()].concat()));
            // Nothing is heard behind a goodbye.
            bytes.extend(frame(0x81, b"behind"));
        }
        expected.goodbye = goodbye.map(Some);
        prop_assert_eq!(hear(&bytes, &pieces), expected);
    }

    #[test]
    fn whatever_comes_libechidna_gets_only_what_it_can_read(
        bytes in prop::collection::vec(prop_oneof![
            3 => any::<u8>(),
            2 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x80, 0x00, 0x88, 0x89, 0x8A]),
            2 => 0..6_u8,
        ], 0..300),
        pieces in prop::collection::vec(1..40_usize, 1..4),
    ) {
        let whole = hear(&bytes, &[usize::MAX]);
        prop_assert_eq!(hear(&bytes, &pieces), whole);
    }
}

#[test]
fn what_is_forbidden_is_told_behind_what_came_before() {
    let long_ping = [vec![0x89, 126, 0, 126], vec![b'p'; 126]].concat();
    let oversize = [vec![0x81, 127], (64_u64 * 1024 * 1024 + 1).to_be_bytes().to_vec()].concat();
    for bad in [
        frame(0x81, b"\xFF"),
        frame(0xC1, b"compressed"),
        frame(0x83, b"reserved"),
        frame(0x80, b"of nothing"),
        [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        frame(0x09, b"a fragment of a ping"),
        vec![0x81, 0x80, 1, 2, 3, 4],
        frame(0x88, b"1"),
        frame(0x88, b"\x03\xE8\xFF"),
        [frame(0x01, b"\xC3"), frame(0x80, b"(")].concat(),
        long_ping,
        oversize,
    ] {
        let bytes = [frame(0x81, b"before"), bad.clone(), frame(0x81, b"behind")].concat();
        for pieces in [usize::MAX, 1] {
            let heard = hear(&bytes, &[pieces]);
            assert!(heard.fault, "{bad:x?}");
            assert_eq!(heard.messages, [(false, b"before".to_vec())], "{bad:x?}");
        }
    }
}
