//! Cases of [`Decode`].

use bytes::Bytes;

use super::super::support::{Case, ensure, equal, noise};
use super::Harness;
use super::frames::Bench;
use crate::{Decode, DecodeCounts, DecodeError, Frame, FrameKind, Output, Symbol};

/// What a decoder made of frames: outputs and errors, frame by frame.
type Decoded = Vec<Result<Vec<Output>, DecodeError>>;

fn decode(decoder: &mut dyn Decode, frames: &[Frame]) -> Decoded {
    let one = |frame: &Frame| {
        let mut out = Vec::new();
        decoder.decode(frame, &mut out).map(|()| out)
    };
    frames.iter().map(one).collect()
}

/// Bytes that no venue sends, and parts of what this one did send.
fn foreign(frames: &[Frame]) -> Vec<Frame> {
    let Some(last) = frames.last() else { return Vec::new() };
    let payloads = [
        Bytes::new(),
        Bytes::from_static(b"{"),
        Bytes::from_static(b"null"),
        Bytes::from_static(b"\xFF\xFE{}"),
        Bytes::from_static(b"{\"channel\":\"no-such-channel\",\"data\":[{}]}"),
        Bytes::from(b"[".repeat(100_000)),
        Bytes::from(noise(1, 1000)),
    ];
    let cut = frames.iter().take(50).flat_map(|frame| {
        let half = frame.payload.len() / 2;
        [frame.payload.slice(..half), frame.payload.slice(half..)]
    });
    let with = |payload| Frame { payload, kind: FrameKind::Data, ..last.clone() };
    payloads.into_iter().chain(cut).map(with).collect()
}

pub(super) async fn decoding_is_deterministic(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let frames = bench.all(1).await?;
    let first = decode(&mut *bench.feed.decoder(), &frames);
    for _ in 0..3 {
        equal("outputs", &decode(&mut *bench.feed.decoder(), &frames), &first)?;
    }
    Ok(())
}

pub(super) async fn a_new_decoder_starts_from_nothing(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let frames = bench.all(1).await?;
    let mut used = bench.feed.decoder();
    equal("counts of a new decoder", used.counts(), DecodeCounts::default())?;
    let first = decode(&mut *used, &frames);
    // The used one is alive, and neither it nor a half-used one shows in a new one.
    let mut half_used = bench.feed.decoder();
    decode(&mut *half_used, &frames[..frames.len() / 2]);
    let mut new = bench.feed.decoder();
    equal("counts of a new decoder", new.counts(), DecodeCounts::default())?;
    equal("outputs", decode(&mut *new, &frames), first)
}

/// What stands in `out` before a decoder adds to it.
fn before() -> Case<Vec<Output>> {
    Ok(vec![Output::Resync(Symbol::new("was here before")?)])
}

pub(super) async fn decoding_adds_to_what_is_there(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let frames = bench.all(1).await?;
    let alone = decode(&mut *bench.feed.decoder(), &frames);
    let mut decoder = bench.feed.decoder();
    let mut out = before()?;
    let mut must = before()?;
    for (frame, alone) in frames.iter().zip(alone) {
        let answer = decoder.decode(frame, &mut out);
        equal("answer", answer, alone.as_ref().map(drop).map_err(Clone::clone))?;
        must.extend(alone.unwrap_or_default());
    }
    equal("outputs", out, must)
}

pub(super) async fn a_decode_error_leaves_out_as_it_was(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let frames = bench.all(1).await?;
    let mut decoder = bench.feed.decoder();
    decode(&mut *decoder, &frames);
    for frame in frames.iter().chain(&foreign(&frames)) {
        let mut out = before()?;
        if decoder.decode(frame, &mut out).is_err() {
            equal("outputs after an error", out, before()?)?;
        }
    }
    Ok(())
}

/// A frame that is refused as malformed changes nothing in the decoder.
pub(super) async fn foreign_bytes_do_not_disturb_decoding(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let frames = bench.all(1).await?;
    let must = decode(&mut *bench.feed.decoder(), &frames);
    let is_refused = |frame: &Frame| bench.feed.decoder().decode(frame, &mut Vec::new()).is_err();
    let foreign: Vec<_> = foreign(&frames).into_iter().filter(is_refused).collect();
    let mut decoder = bench.feed.decoder();
    for ((frame, must), foreign) in frames.iter().zip(must).zip(foreign.iter().cycle()) {
        let refused = decoder.decode(foreign, &mut Vec::new()).is_err();
        ensure(refused, || format!("a new decoder refuses what this one takes: {:?}", foreign.payload))?;
        let got = decode(&mut *decoder, std::slice::from_ref(frame));
        equal("outputs behind foreign bytes", got, vec![must])?;
    }
    Ok(())
}

pub(super) async fn decoders_count_what_they_do(harness: &mut dyn Harness) -> Case {
    let bench = Bench::open(harness).await?;
    let mut frames = bench.all(1).await?;
    frames.extend(foreign(&frames));
    let mut decoder = bench.feed.decoder();
    let mut must = DecodeCounts::default();
    for frame in &frames {
        let mut out = Vec::new();
        match decoder.decode(frame, &mut out) {
            Ok(()) => {}
            Err(DecodeError::Malformed(_)) => must.malformed += 1,
            Err(DecodeError::Unknown(_)) => must.unknown += 1,
        }
        must.frames += 1;
        must.records += out.iter().filter(|output| matches!(output, Output::Record(_))).count() as u64;
        let DecodeCounts { books_verified, books_failed, .. } = decoder.counts();
        must = DecodeCounts { books_verified, books_failed, ..must };
        equal("counts", decoder.counts(), must)?;
    }
    Ok(())
}
