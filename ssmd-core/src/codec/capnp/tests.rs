//! Round trips, streams, and hostile messages.

use proptest::prelude::*;

use super::super::strategies;
use super::*;

fn message(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, &mut bytes).unwrap();
    bytes
}

fn trade() -> Record {
    let line = br#"{"type":"trade","feed":"kraken","received":1,"received_ns":"1000000","session":1,"index":0,"price":0.10,"size":2}"#;
    crate::codec::json::decode(line).unwrap().1
}

/// A message of one segment with these words.
fn framed(words: &[u64]) -> Vec<u8> {
    let mut bytes = 0_u32.to_le_bytes().to_vec();
    bytes.extend((words.len() as u32).to_le_bytes());
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes
}

/// The word and field pointers at which the body of `trade()` lies: its union's pointer is the root's second.
fn body_pointer(bytes: &[u8]) -> usize {
    let root = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    let data_words = (root >> 32) as u16 as usize;
    FRAMING_BYTES + 8 + data_words * 8 + 8
}

proptest! {
    #[test]
    fn records_come_back_whole(record in strategies::record()) {
        let again = decode(&message(&record)).unwrap();
        // Decimals are equal by value, so their digits are compared as text.
        prop_assert_eq!(format!("{again:?}"), format!("{record:?}"));
        prop_assert_eq!(again, record);
    }

    #[test]
    fn several_records_are_messages_end_to_end(records in proptest::collection::vec(strategies::record(), 0..8)) {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| encode(record, &mut bytes).unwrap());
        let again: Vec<_> = Records::new(&bytes).map(|record| record.unwrap()).collect();
        prop_assert_eq!(&again, &records);
        if let Some(cut) = bytes.len().checked_sub(1) {
            let short: Vec<_> = Records::new(&bytes[..cut]).collect();
            prop_assert_eq!(short.len(), records.len());
            prop_assert_eq!(short[records.len() - 1].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        Records::new(&bytes).for_each(drop);
        let words: Vec<_> = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        let _ = decode(&framed(&words));
    }

    #[test]
    fn flipped_bits_never_panic(
        record in strategies::record(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0..8), 1..6),
    ) {
        let mut bytes = message(&record);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
        }
        let _ = decode(&bytes);
    }

    #[test]
    fn a_message_in_parts_is_asked_for_whole(record in strategies::record(), cut in any::<proptest::sample::Index>()) {
        let bytes = message(&record);
        let part = &bytes[..cut.index(bytes.len())];
        let expected = (part.len() >= FRAMING_BYTES).then_some(bytes.len());
        prop_assert_eq!(frame_bytes(part).unwrap(), expected);
        prop_assert_eq!(decode(part).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn unaligned_messages_are_read() {
    let mut bytes = vec![0];
    encode(&trade(), &mut bytes).unwrap();
    assert_eq!(decode(&bytes[1..]).unwrap(), trade());
}

#[test]
fn a_newer_version_is_unsupported_and_says_so() {
    let mut bytes = message(&trade());
    let version = FRAMING_BYTES + 8;
    assert_eq!(bytes[version], 1);
    bytes[version] = 2;
    let error = decode(&bytes).unwrap_err();
    assert_eq!((error.kind(), error.context("field")), (ErrorKind::Unsupported, Some("version")));
    bytes[version] = 0;
    assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn what_is_required_must_not_be_null() {
    let mut bytes = message(&trade());
    let at = body_pointer(&bytes);
    bytes[at..at + 8].fill(0);
    let error = decode(&bytes).unwrap_err();
    assert_eq!((error.kind(), error.context("field")), (ErrorKind::Invalid, Some("price")));
}

#[test]
fn framing_is_bounded_before_anything_is_read() {
    let words = (MESSAGE_BYTES_MAX / WORD_BYTES) as u32;
    for (more_segments, words, fits) in
        [(0, words, true), (0, words + 1, false), (1, 1, false), (u32::MAX, 0, false)]
    {
        let framing = [more_segments.to_le_bytes(), words.to_le_bytes()].concat();
        assert_eq!(frame_bytes(&framing).is_ok(), fits, "{more_segments} {words}");
    }
    assert_eq!(frame_bytes(&[0; 7]).unwrap(), None);
    assert!(decode(&framed(&[])).is_err());
}

#[test]
fn lists_of_nothing_cannot_claim_millions() {
    // A book whose bids claim 2^29 - 1 levels of zero words each: eight bytes that would become gigabytes.
    let snapshot = br#"{"type":"book_snapshot","feed":"kraken","received":1,"received_ns":"1000000","session":1,"index":0,"bids":[],"asks":[]}"#;
    let record = crate::codec::json::decode(snapshot).unwrap().1;
    let mut bytes = message(&record);
    let body = body_pointer(&bytes);
    let offset = (u64::from_le_bytes(bytes[body..body + 8].try_into().unwrap()) as u32 >> 2) as usize;
    let book = body + 8 + offset * 8;
    let book_data = u64::from_le_bytes(bytes[body..body + 8].try_into().unwrap()) >> 32 & 0xffff;
    let bids = book + book_data as usize * 8;
    let pointer = u64::from_le_bytes(bytes[bids..bids + 8].try_into().unwrap());
    assert_eq!(pointer & 3, 1, "a list");
    let tag = bids + 8 + ((pointer as u32 >> 2) as usize) * 8;
    let hostile = 0x1fff_ffff_u64 << 2;
    bytes[tag..tag + 8].copy_from_slice(&hostile.to_le_bytes());
    let error = decode(&bytes).unwrap_err();
    assert!(error.report().contains("Read limit"), "{}", error.report());
}

#[test]
fn a_pointer_to_itself_ends_in_an_error() {
    let mut bytes = message(&trade());
    let at = body_pointer(&bytes);
    // A struct of no data and eight pointers that begins at the pointer itself.
    let looped = (8_u64 << 48) | (0xffff_ffff_u64 & ((-1_i32 as u32 as u64) << 2));
    bytes[at..at + 8].copy_from_slice(&looped.to_le_bytes());
    assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::Invalid);
}
