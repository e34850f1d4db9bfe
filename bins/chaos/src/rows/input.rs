//! S02: input that is too large, too deep, in too many pieces, or larger than it looks.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ssmd_core::entry::{Joiner, note};
use ssmd_core::{EntryKind, Error, FrameKind, GapCause, Result, Tasks};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::broken;
use crate::process::Process;
use crate::record::entries;
use crate::rig::{Outcome, Rig, free_port, number};

const MIB: u64 = 1024 * 1024;
/// Beyond what is allowed for, in bytes.
const SLACK: u64 = 16 * MIB;
/// What a recorder may hold: what it holds at rest, and the largest frame as it is read and as it is written.
const RECORDER_CAP: u64 = 48 * MIB + 2 * 64 * MIB;
/// What a reader of archives may hold: a batch of entries ahead and the largest frame.
const READER_CAP: u64 = 48 * MIB + 2 * 64 * MIB;
/// What a reader of play files may hold: the longest line of one, a frame of 64 MiB with every byte escaped.
const PLAYER_CAP: u64 = 48 * MIB + 6 * 64 * MIB;
/// A bomb's bytes once unpacked.
const BOMB_BYTES: u64 = 1024 * MIB;
const FRAME_BYTES: usize = 16 * MIB as usize;
const DEEP: usize = 400_000;
const SERVER_STOPS_WITHIN: Duration = Duration::from_secs(10);

/// What has been tried.
#[derive(Default)]
struct Found {
    crashes: Vec<String>,
    changed: usize,
    peaks: Vec<(&'static str, u64, u64)>,
}

/// S02: all of it.
pub(crate) async fn hostile(rig: &mut Rig) -> Result<Outcome> {
    let mut found = Found::default();
    large_and_deep(rig, &mut found).await?;
    let refused = fragments(rig, &mut found).await?;
    bombs(rig, &mut found).await?;
    found.crashes.iter().for_each(|crash| eprintln!("{crash}"));
    let within = found.peaks.iter().all(|(_, peak, cap)| *peak <= cap + SLACK);
    let peaks =
        found.peaks.iter().map(|(what, peak, cap)| format!("{what} {} of {} MiB", peak / MIB, cap / MIB));
    let value = format!(
        "{} crashes, {} frames changed, {refused} floods refused as gaps; peaks: {}",
        found.crashes.len(),
        found.changed,
        peaks.collect::<Vec<_>>().join(", "),
    );
    let ok = found.crashes.is_empty() && found.changed == 0 && refused > 0 && within;
    Ok(Outcome::Ran { value, ok })
}

/// Frames of 16 MiB and JSON that is nested without end, through socket, log, archive, verification and replay.
async fn large_and_deep(rig: &mut Rig, found: &mut Found) -> Result<()> {
    let (data, store, port) = (rig.path("data"), rig.path("store"), free_port()?);
    let config = rig.environment("environment.yaml", port, &store)?;
    let frames = [
        format!("{{\"channel\":\"book\",\"data\":\"{}\"}}", "x".repeat(FRAME_BYTES - 32)),
        "[".repeat(DEEP),
        "{\"a\":".repeat(DEEP / 4),
        format!("{{\"channel\":\"trade\",\"data\":{}", "[".repeat(DEEP)),
        "after all that".to_owned(),
    ];
    let lines: Vec<_> =
        frames.iter().map(|raw| serde_json::json!({ "t": null, "raw": raw }).to_string()).collect();
    let play = rig.path("large.jsonl");
    std::fs::write(&play, lines.join("\n")).map_err(|cause| Error::io("write play", cause))?;
    let listen = format!("127.0.0.1:{port}");
    let play = play.to_string_lossy();
    let sim = ["sim", "--play", &play, "--speed", "max", "--listen", &listen, "--exit-when-done"];
    let mut sim = rig.start("ssmd", &sim)?;
    let mut up = rig.start("ssmd", &["up", "-c", &config, "--data", &data.to_string_lossy()])?;
    found.watch(rig, "recording", &mut sim, Some(&up), RECORDER_CAP).await?;
    if let Err(error) = up.stop(rig).await {
        found.crashes.push(format!("up: {}", error.report()));
    }
    let mut joiner = Joiner::default();
    let mut got = Vec::new();
    let archived = entries(&store).await?;
    let day = archived.last().map(|entry| entry.day.to_string()).unwrap_or_default();
    for entry in &archived {
        let frame = joiner.push(entry)?.filter(|frame| frame.kind != FrameKind::Sent);
        got.extend(frame.map(|frame| frame.payload));
    }
    found.changed += frames.iter().filter(|frame| !got.iter().any(|got| got == frame.as_bytes())).count();
    let address = format!("file:{}", store.display());
    let selected = ["--store", &address, "--feed", "kraken", "--day", &day];
    for (what, arguments) in [
        ("verify", vec!["verify", "--store", &address]),
        ("replay", [&["replay", "--format", "none"][..], &selected].concat()),
        ("cat", [&["cat"][..], &selected].concat()),
        ("gaps", [&["gaps"][..], &selected].concat()),
    ] {
        let mut process = rig.start("ssmd", &arguments)?;
        found.watch(rig, what, &mut process, None, READER_CAP).await?;
    }
    Ok(())
}

/// Bombs as segments and as play files: whoever reads them must say no.
async fn bombs(rig: &mut Rig, found: &mut Found) -> Result<()> {
    let bomb = rig.path("bomb.jsonl.zst");
    let failed = |cause| Error::io("build bomb", cause);
    let file = std::fs::File::create(&bomb).map_err(failed)?;
    let mut encoder = zstd::Encoder::new(file, 1).map_err(failed)?;
    encoder.write_all(b"{\"t\":null,\"raw\":\"").map_err(failed)?;
    let block = vec![b'0'; MIB as usize];
    for _ in 0..BOMB_BYTES / MIB {
        encoder.write_all(&block).map_err(failed)?;
    }
    encoder.finish().and_then(|file| file.sync_all()).map_err(failed)?;
    let (play, store) = (bomb.to_string_lossy(), rig.path("store"));
    let (address, fresh) =
        (format!("file:{}", store.display()), format!("file:{}", rig.path("fresh").display()));
    for (what, arguments) in [
        ("import of a bomb", vec!["import", "--store", &fresh, "--feed", "kraken", &*play]),
        ("play of a bomb", vec!["sim", "--play", &*play, "--exit-when-done"]),
    ] {
        let mut process = rig.start("ssmd", &arguments)?;
        if what.starts_with("play") {
            rig.pause(Duration::from_secs(2)).await;
            process.signal("TERM")?;
        }
        found.watch(rig, what, &mut process, None, PLAYER_CAP).await?;
    }
    let segment = first_file(&store.join("raw")).ok_or_else(|| broken("place bomb", "no segment"))?;
    std::fs::copy(&bomb, segment).map_err(failed)?;
    let mut process = rig.start("ssmd", &["verify", "--store", &address])?;
    found.watch(rig, "verify of a bomb", &mut process, None, READER_CAP).await?;
    if number(&rig.verify(&store).await?, "errors") == 0 {
        found.crashes.push("verification does not see a bomb".to_owned());
    }
    Ok(())
}

impl Found {
    /// Waits for the end of a program and watches what it, or another one, holds meanwhile. Errors are answers; signals
    /// and panics are not.
    async fn watch(
        &mut self,
        rig: &Rig,
        what: &'static str,
        process: &mut Process,
        other: Option<&Process>,
        cap: u64,
    ) -> Result<()> {
        let mut peak = 0;
        let status = rig
            .until("a program to end", || {
                peak = peak.max(other.unwrap_or(process).memory_peak().unwrap_or(0));
                process.ended()
            })
            .await?;
        if let Some(other) = other {
            // What was sent is still on its way.
            rig.pause(Duration::from_secs(1)).await;
            peak = peak.max(other.memory_peak().unwrap_or(0));
        }
        if !matches!(status.code(), Some(code) if code != 101) {
            self.crashes.push(format!("{what}: {status}"));
        }
        self.peaks.push((what, peak, cap));
        Ok(())
    }
}

/// A venue that floods with fragments. Gives how many gaps of cause `protocol` say so.
async fn fragments(rig: &mut Rig, found: &mut Found) -> Result<usize> {
    let (data, store) = (rig.path("flood"), rig.path("flood-store"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|cause| Error::io("listen", cause))?;
    let port = listener.local_addr().map_err(|cause| Error::io("listen", cause))?.port();
    let config = rig.environment("flood.yaml", port, &store)?;
    let (mut tasks, served) = (Tasks::new(), Arc::new(AtomicU32::new(0)));
    let (stop, count) = (tasks.token(), Arc::clone(&served));
    tasks.spawn("flooding venue", async move {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            let nth = count.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // The other side ends it: that is what is tested.
                _ = flood(stream, nth) => {}
            }
        }
    });
    let connector = rig.connector(&config, &data)?;
    let mut peak = 0;
    rig.until("three floods", || {
        peak = peak.max(connector.memory_peak().unwrap_or(0));
        Ok((served.load(Ordering::SeqCst) > 3).then_some(()))
    })
    .await?;
    let mut connector = connector;
    if let Err(error) = connector.stop(rig).await {
        found.crashes.push(format!("connector: {}", error.report()));
    }
    tasks.stop(SERVER_STOPS_WITHIN, Arc::clone(&rig.clock)).await?;
    found.peaks.push(("flood", peak, RECORDER_CAP));
    rig.archive_rest(&config, &data).await?;
    let archived = entries(&store).await?;
    let gaps = archived.iter().filter(|entry| entry.kind == EntryKind::Close);
    Ok(gaps
        .filter_map(|entry| note::decode::<note::Close>(&entry.payload).ok())
        .filter(|close| close.cause == GapCause::Protocol.word())
        .count())
}

/// One message that never ends: in pieces of nothing, of a mebibyte, or of one byte.
async fn flood(stream: TcpStream, nth: u32) -> std::io::Result<()> {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return Ok(()) };
    let stream = socket.get_mut();
    // A whole frame first, so that there is something before the hole.
    stream.write_all(b"\x81\x02{}").await?;
    stream.write_all(b"\x01\x01{").await?;
    let piece = match nth % 3 {
        0 => [&[0, 127][..], &MIB.to_be_bytes(), &vec![b'x'; MIB as usize]].concat(),
        1 => [0, 1, b'x'].repeat(65536),
        _ => [0, 0].repeat(65536),
    };
    let pieces = [200, 64, 64][nth as usize % 3];
    for _ in 0..pieces {
        stream.write_all(&piece).await?;
    }
    // The message is over, and a frame that is none follows: reserved bits.
    stream.write_all(b"\x80\x00\xf1\x00").await?;
    stream.flush().await
}

fn first_file(folder: &Path) -> Option<PathBuf> {
    let mut listed: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    listed.sort();
    listed.into_iter().find_map(|path| if path.is_dir() { first_file(&path) } else { Some(path) })
}
