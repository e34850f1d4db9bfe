//! Replay and play files: what went in comes out, at its pace.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap too")]

mod common;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use ssmd_core::*;
use ssmd_storage::import::Options;
use ssmd_storage::play::{self, PlayReader, Played};
use ssmd_storage::{Archive, ArchiveFeed, Compression, MemoryStore, Selection, Speed};
use tokio::sync::watch;

async fn feed_of(recording: &Recording, speed: Speed) -> ArchiveFeed {
    let store = Arc::new(MemoryStore::new());
    archive_all(journal_of(&[&recording.entries]).await, store.clone()).await.unwrap();
    let archive = Archive::open(store).await.unwrap();
    ArchiveFeed::new(archive, feed(), Selection::all(), speed, decoder())
}

async fn open(feed: &ArchiveFeed, clock: Arc<dyn Clock>) -> Box<dyn Frames> {
    let (_keep, wanted) = watch::channel(Arc::new(Wanted::default()));
    feed.session().open(SessionId(9), wanted, clock).await.unwrap()
}

const MANY: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

#[tokio::test]
async fn a_recording_comes_back_as_it_was() {
    let mut recording = recording(1, 100);
    recording.open();
    recording.frame("x".repeat(2_500_000));
    let replayed = feed_of(&recording, Speed::Max).await;
    for _ in 0..2 {
        let mut frames = open(&replayed, Arc::new(SystemClock::new())).await;
        let mut all = Vec::new();
        loop {
            let next = within(frames.next(MANY)).await.unwrap();
            if next.is_empty() {
                break;
            }
            all.extend(next);
        }
        assert_eq!(all.len(), 401);
        let whole = recording.entries.iter().filter_map(Entry::frame).take(400);
        assert!(all.iter().take(400).eq(whole.collect::<Vec<_>>().iter()));
        assert_eq!((all[400].payload.len(), all[400].session), (2_500_000, SessionId(2)));
    }
}

#[tokio::test]
async fn frames_keep_their_pace_under_any_clock() {
    let recording = recording(2, 3);
    let feed = feed_of(&recording, Speed::Times(2.0)).await;
    let clock = ManualClock::new(Timestamp::from_nanos(0));
    let mut frames = open(&feed, Arc::new(clock.clone())).await;
    assert_eq!(within(frames.next(MANY)).await.unwrap().len(), 4);
    let wake = async {
        while clock.next_wake().is_none() {
            tokio::task::yield_now().await;
        }
        clock.next_wake().unwrap()
    };
    let early = tokio::select! { biased; _ = frames.next(MANY) => None, wake = within(wake) => Some(wake) };
    assert_eq!(early, Some(Duration::from_millis(500)));
    clock.advance(Duration::from_millis(500));
    assert_eq!(
        within(frames.next(NonZeroUsize::MIN)).await.unwrap().len(),
        1,
        "a dropped wait loses no frame"
    );
    clock.advance(Duration::from_secs(5));
    assert_eq!(within(frames.next(MANY)).await.unwrap().len(), 7);
    assert!(within(frames.next(MANY)).await.unwrap().is_empty());
    for (text, speed) in
        [("max", Some(Speed::Max)), ("10x", Some(Speed::Times(10.0))), ("0", None), ("NaN", None)]
    {
        assert_eq!(text.parse::<Speed>().ok(), speed);
    }
}

async fn import(lines: Vec<u8>) -> Result<(Arc<MemoryStore>, ssmd_storage::Summary)> {
    let store = Arc::new(MemoryStore::new());
    let reader = PlayReader::new(std::io::Cursor::new(lines))?;
    let origin = Origin::from_bytes([3; 16]);
    let options = Options { feed: feed(), origin, compression: Compression::Gzip };
    let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(START)));
    let summary = ssmd_storage::import(store.clone(), vec![reader], options, clock, Metrics::new()).await?;
    Ok((store, summary))
}

async fn exported(store: Arc<MemoryStore>) -> Vec<Played> {
    let archive = Archive::open(store).await.unwrap();
    let mut out = Vec::new();
    play::export(archive.entries(&feed(), Selection::all()), false, &mut out).await.unwrap();
    let mut reader = PlayReader::new(std::io::Cursor::new(out)).unwrap();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

#[tokio::test]
async fn play_files_go_in_and_come_out() {
    let played = |t: i64, c, payload: &[u8]| Played {
        at: Some(Timestamp::from_nanos(START + t)),
        connection: Some(c),
        payload: Bytes::copy_from_slice(payload),
    };
    let large = vec![b'y'; 2_000_001];
    let lines = [
        played(0, 7, b"{\"a\":1}"),
        played(10, 8, b""),
        played(86_400_000_000_000, 7, &large),
        played(86_400_000_000_001, 8, b"\xff\n"),
    ];
    let mut text = Vec::new();
    lines.iter().for_each(|line| play::write(line, &mut text).unwrap());
    let (store, summary) = import(text).await.unwrap();
    assert_eq!(summary.objects, 2);
    let back = exported(store.clone()).await;
    let renumbered = lines.map(|line| Played { connection: line.connection.map(|c| c - 6), ..line });
    assert_eq!(back, renumbered);
    let report = ssmd_storage::verify(store, None, |_| None, |_| {}).await.unwrap();
    assert_eq!((report.problems, report.sessions, report.days.len()), (vec![], 2, 2));
}

#[tokio::test]
async fn what_is_no_play_file_is_refused_with_its_line() {
    for (text, line) in
        [("{\"t\":1}", "1"), ("{\"t\":null,\"raw\":\"\"}\n\nx", "3"), ("{\"t\":1.5,\"raw\":\"\"}", "1")]
    {
        let error = import(text.into()).await.unwrap_err();
        assert_eq!((error.kind(), error.context("line")), (ErrorKind::Invalid, Some(line)), "{text}");
    }
    let mut packed = Vec::new();
    for part in ["{\"t\":1,\"raw\":\"a\"}\n", "{\"t\":2,\"raw\":\"b\"}\n"] {
        use std::io::Write as _;
        let mut member = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::default());
        member.write_all(part.as_bytes()).unwrap();
        member.finish().unwrap();
    }
    assert_eq!(exported(import(packed.clone()).await.unwrap().0).await.len(), 2);
    packed.truncate(packed.len() - 9);
    assert_eq!(import(packed).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let frames = [b"{\"t\":1,\"raw\":\"a\"}\n", b"{\"t\":2,\"raw\":\"b\"}\n"]
        .map(|part| zstd::encode_all(&part[..], 3).unwrap());
    assert_eq!(exported(import(frames.concat()).await.unwrap().0).await.len(), 2);
}

/// Every captured play file, byte for byte.
#[tokio::test]
async fn captured_frames_come_back_byte_for_byte() {
    let root = std::env::var_os("SSMD_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let mut files = Vec::new();
    for venue in ["kraken", "kalshi", "kraken-futures", "polymarket"] {
        let Ok(found) = std::fs::read_dir(root.join(venue).join("play")) else { continue };
        files.extend(found.map(|file| file.unwrap().path()));
    }
    if files.is_empty() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no data in {}", root.display());
        println!("no captured data in {}: nothing to check", root.display());
        return;
    }
    let mut frames = 0;
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let mut reader = PlayReader::new(std::io::Cursor::new(bytes.clone())).unwrap();
        let there: Vec<_> =
            std::iter::from_fn(|| reader.next().unwrap()).map(|played| played.payload).collect();
        let (store, _) = import(bytes).await.unwrap();
        let back: Vec<_> = exported(store.clone()).await.into_iter().map(|played| played.payload).collect();
        assert_eq!(back, there, "{}", file.display());
        let report = ssmd_storage::verify(store, None, |_| None, |_| {}).await.unwrap();
        assert_eq!((report.problems, report.frames), (vec![], there.len() as u64), "{}", file.display());
        frames += there.len();
    }
    println!("frames {frames} identical {frames}");
}
