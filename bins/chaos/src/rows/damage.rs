//! R10: an archive whose files are damaged, one after another: verification must name each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rand::RngExt;
use ssmd_core::{Error, Result};

use crate::rig::{Outcome, Rig};
use crate::tape::{Tape, feed};

/// Frames in the archive: a dozen segments.
const FRAMES: usize = 360;

/// What is done to an archive.
struct Damage {
    /// For people.
    what: String,
    /// What the files hold then; `None` is a file that is gone.
    files: Vec<(PathBuf, Option<Vec<u8>>)>,
}

/// R10: so many flips of a bit, a cut at every frame boundary and elsewhere, swaps of neighbours, files that are gone.
pub(crate) async fn archive(rig: &mut Rig) -> Result<Outcome> {
    let (data, store) = (rig.path("data"), rig.path("store"));
    let config = rig.environment("environment.yaml", 1, &store)?;
    let log = data.join("log").join(feed().as_str());
    let mut tape = Tape::begin(&log, rig.clock.clone(), rig.random.random()).await?;
    tape.frames(FRAMES).await?;
    tape.end().await?;
    rig.archive_rest(&config, &data).await?;
    if named(rig, &store).await? != BTreeSet::new() {
        return Ok(Outcome::Ran { value: "the sound archive does not verify".to_owned(), ok: false });
    }
    let (raw, commits) = (files(&store.join("raw"))?, files(&store.join("commits"))?);
    let damages = damages(rig, &raw, &commits)?;
    let (all, mut unnamed) = (damages.len(), Vec::new());
    for damage in damages {
        let before: Vec<_> = damage.files.iter().map(|(path, _)| read(path)).collect::<Result<_>>()?;
        for (path, bytes) in &damage.files {
            write(path, bytes.as_deref())?;
        }
        let found = named(rig, &store).await?;
        let relative =
            |path: &PathBuf| path.strip_prefix(&store).unwrap_or(path).to_string_lossy().into_owned();
        if !damage.files.iter().all(|(path, _)| found.contains(&relative(path))) {
            unnamed.push(damage.what);
        }
        for ((path, _), bytes) in damage.files.iter().zip(before) {
            write(path, Some(&bytes))?;
        }
    }
    for what in &unnamed {
        eprintln!("not named: {what}");
    }
    let flips = rig.rounds;
    let value = format!(
        "{} of {all} named ({flips} flips, the rest cuts, swaps and removals) in {} objects and {} commits",
        all - unnamed.len(),
        raw.len(),
        commits.len()
    );
    Ok(Outcome::Ran { value, ok: unnamed.is_empty() })
}

fn damages(rig: &mut Rig, raw: &[PathBuf], commits: &[PathBuf]) -> Result<Vec<Damage>> {
    let mut damages = Vec::new();
    let all: Vec<_> = raw.iter().chain(commits).collect();
    for _ in 0..rig.rounds {
        let path = all[rig.random.random_range(0..all.len())];
        let mut bytes = read(path)?;
        let at = rig.random.random_range(0..bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        damages.push(one(format!("bit {at} of {}", path.display()), path, Some(bytes)));
    }
    for path in &all {
        let bytes = read(path)?;
        let mut cuts: BTreeSet<usize> = [0, 1, bytes.len() / 2, bytes.len() - 1].into();
        cuts.extend(frame_boundaries(&bytes));
        cuts.retain(|cut| *cut < bytes.len());
        for cut in cuts {
            damages.push(one(format!("{} cut at {cut}", path.display()), path, Some(bytes[..cut].to_vec())));
        }
    }
    // That the last commit is gone shows in orphans alone: nothing that is left speaks of it.
    for path in raw.iter().chain(&commits[..commits.len() - 1]) {
        damages.push(one(format!("{} gone", path.display()), path, None));
    }
    for pair in raw.windows(2).chain(commits.windows(2)) {
        let [a, b] = pair else { continue };
        let files = vec![(a.clone(), Some(read(b)?)), (b.clone(), Some(read(a)?))];
        damages.push(Damage { what: format!("{} and {} swapped", a.display(), b.display()), files });
    }
    Ok(damages)
}

fn one(what: String, path: &Path, bytes: Option<Vec<u8>>) -> Damage {
    Damage { what, files: vec![(path.to_owned(), bytes)] }
}

/// Where the compressed frames of a segment end: a cut there leaves something that unpacks without complaint.
fn frame_boundaries(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while let Ok(length) = zstd::zstd_safe::find_frame_compressed_size(&bytes[at..]) {
        at += length;
        ends.push(at);
        if length == 0 || at >= bytes.len() {
            break;
        }
    }
    ends
}

/// What verification names, by path.
async fn named(rig: &Rig, store: &Path) -> Result<BTreeSet<String>> {
    let report = rig.verify(store).await?;
    let problems = report["problems"].as_array().into_iter().flatten();
    Ok(problems.filter_map(|problem| problem["where"].as_str().map(str::to_owned)).collect())
}

/// Every file below a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let listed = std::fs::read_dir(&folder).map_err(|cause| Error::io("list archive", cause))?;
        for path in listed.flatten().map(|entry| entry.path()) {
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| Error::io("read archive", cause).with("path", path.display()))
}

fn write(path: &Path, bytes: Option<&[u8]>) -> Result<()> {
    let done = match bytes {
        Some(bytes) => std::fs::write(path, bytes),
        None => std::fs::remove_file(path),
    };
    done.map_err(|cause| Error::io("damage archive", cause).with("path", path.display()))
}
