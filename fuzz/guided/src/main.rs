//! One target under libFuzzer: the one that `SSMD_FUZZ_TARGET` names. With `SSMD_FUZZ_SEEDS=FOLDER` it writes its seeds
//! there and ends, which is how the script makes the first corpus.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use ssmd_fuzz::{CASE_BYTES_MAX, Target, seeds};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: choose(), |case: &[u8]| {
    let target = TARGET.get().expect("it was chosen");
    (target.run)(&case[..case.len().min(CASE_BYTES_MAX)]);
});

fn choose() {
    let name = std::env::var("SSMD_FUZZ_TARGET").expect("SSMD_FUZZ_TARGET names a target");
    let target = ssmd_fuzz::target(&name).expect("SSMD_FUZZ_TARGET names a target that there is");
    if let Some(folder) = std::env::var_os("SSMD_FUZZ_SEEDS") {
        write_seeds(target, Path::new(&folder));
    }
    TARGET.get_or_init(|| target);
}

fn write_seeds(target: &Target, folder: &Path) {
    let recorded = seeds::recorded().unwrap_or_default().into_iter().filter(|_| target.takes_frames);
    for (at, case) in (target.seeds)().into_iter().chain(recorded).enumerate() {
        std::fs::write(folder.join(format!("seed-{at:04}")), case).expect("seeds can be written");
    }
}
