//! Every target over its seeds, its corpus and what once broke it, and over mutations of all of them.
//!
//! `SSMD_FUZZ_CASES` says how many mutations each target gets; without it a few thousand, a few seconds in all.
//! `SSMD_FUZZ_TARGETS` names the targets, with commas; `FUZZ_FOUND` is where `scripts/fuzz` keeps what it found, which
//! is then mutated too.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use ssmd_core::{Clock as _, SystemClock};
use ssmd_fuzz::{Target, seeds, targets};

/// Mutations of each target, when nobody says how many.
const CASES: u64 = 3_000;
/// No case may take longer, even on a busy machine and without optimization.
const CASE_TIME_MAX: Duration = Duration::from_secs(10);
/// The corpus that is kept, of all targets together.
const CORPUS_BYTES_MAX: u64 = 200 * 1024;

#[test]
fn no_target_breaks_its_promises() {
    let cases = std::env::var("SSMD_FUZZ_CASES").ok().map_or(CASES, |text| text.parse().unwrap());
    let named = std::env::var("SSMD_FUZZ_TARGETS").ok();
    let named: Option<Vec<_>> = named.as_deref().map(|names| names.split(',').collect());
    if let Some(unknown) = named.iter().flatten().find(|name| ssmd_fuzz::target(name).is_none()) {
        panic!("{unknown} is no target");
    }
    let is_wanted = |target: &&Target| named.as_ref().is_none_or(|names| names.contains(&&*target.name));
    let wanted = targets().iter().filter(is_wanted);
    let broken: Vec<_> = wanted.filter_map(|target| replay(target, cases).err()).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Stops at the first case that breaks the target, and says which one it is, so that it can be kept.
fn replay(target: &Target, cases: u64) -> Result<(), String> {
    let recorded = seeds::recorded(target);
    if recorded.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "there are no recordings");
        println!("{}: there are no recordings, only seeds and corpus are run", target.name);
    }
    let clock = SystemClock::new();
    let mut pool = (target.seeds)();
    pool.extend(corpus(target));
    pool.extend(recorded.into_iter().flatten());
    let mut worst = Duration::ZERO;
    let mut timed = |case: &[u8]| {
        let before = clock.elapsed();
        let ran = std::panic::catch_unwind(|| (target.run)(case));
        worst = worst.max(clock.elapsed().saturating_sub(before));
        ran.map_err(|_| format!("{}: broken by \"{}\"", target.name, case.escape_ascii()))
    };
    pool.iter().try_for_each(|case| timed(case))?;
    timed(b"")?;
    let began = clock.elapsed();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..cases {
        timed(&mutated(&pool, target.bytes_max, &mut random))?;
    }
    let took = (clock.elapsed() - began).as_secs();
    println!("{}: {} cases and {cases} mutations, {took} s, slowest {worst:?}", target.name, pool.len());
    if worst < CASE_TIME_MAX { Ok(()) } else { Err(format!("{}: a case took {worst:?}", target.name)) }
}

/// What is kept in `corpus/TARGET`, and what was found, in the order of names.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(&target.name);
    let found =
        std::env::var_os("FUZZ_FOUND").map(|found| Path::new(&found).join(&target.name).join("corpus"));
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten();
    let files = |folder| entries(folder).map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut files = [files(&kept), found.as_deref().map(files).unwrap_or_default()].concat();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One to eight small changes of a case of the pool, now and then with the end of another one.
fn mutated(pool: &[Vec<u8>], bytes_max: usize, random: &mut StdRng) -> Vec<u8> {
    let any = |random: &mut StdRng| &pool[random.random_range(0..pool.len())];
    let mut case = any(random).clone();
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..=case.len());
        let to = random.random_range(at..=case.len().min(at + 32));
        match random.random_range(0..7) {
            0 if at < case.len() => case[at] ^= 1 << random.random_range(0..8),
            1 if at < case.len() => case[at] = random.random(),
            2 => case.insert(at, *b"\"\\{}[],:.-0\n\x00\xff"[..].get(random.random_range(0..14)).unwrap()),
            3 => drop(case.drain(at..to)),
            4 => {
                let copy = case[at..to].to_vec();
                let times = random.random_range(1..20);
                case.splice(at..at, copy.repeat(times));
            }
            5 => case.truncate(at),
            _ => {
                let other = any(random);
                let from = random.random_range(0..=other.len());
                case.splice(at.., other[from..].iter().copied());
            }
        }
    }
    case.truncate(bytes_max);
    case
}

#[test]
fn the_corpus_is_small_and_each_folder_has_its_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut bytes = 0;
    // An empty corpus has no folder: git keeps none.
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(ssmd_fuzz::target(name).is_some(), "{name} is no target");
        for file in std::fs::read_dir(&path).unwrap() {
            bytes += file.unwrap().metadata().unwrap().len();
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus has {bytes} bytes");
}

#[test]
fn names_of_targets_are_unique() {
    for (at, target) in targets().iter().enumerate() {
        assert!(targets()[at + 1..].iter().all(|other| other.name != target.name), "{}", target.name);
        assert!(!target.about.is_empty());
    }
}
