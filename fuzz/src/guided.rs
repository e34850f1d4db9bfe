//! One target under libFuzzer: the one that `SSMD_FUZZ_TARGET` names.
//!
//! With `SSMD_FUZZ_SEEDS=FOLDER` it writes its seeds there and ends, which is how `scripts/fuzz` makes the first corpus;
//! without a target it lists all of them with the length of their longest case, and ends.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use ssmd_fuzz::{Target, seeds, targets};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: choose(), |case: &[u8]| {
    let target = TARGET.get().expect("it was chosen");
    (target.run)(case);
});

fn choose() {
    let Ok(name) = std::env::var("SSMD_FUZZ_TARGET") else { list() };
    let target = ssmd_fuzz::target(&name).expect("SSMD_FUZZ_TARGET names a target that there is");
    if let Some(folder) = std::env::var_os("SSMD_FUZZ_SEEDS") {
        write_seeds(target, Path::new(&folder));
    }
    TARGET.get_or_init(|| target);
}

fn list() -> ! {
    for target in targets() {
        println!("{} {}", target.name, target.bytes_max);
    }
    end()
}

fn write_seeds(target: &Target, folder: &Path) -> ! {
    for (at, case) in
        (target.seeds)().into_iter().chain(seeds::recorded(target).unwrap_or_default()).enumerate()
    {
        std::fs::write(folder.join(format!("seed-{at:04}")), case).expect("seeds can be written");
    }
    end()
}

#[allow(clippy::disallowed_methods, reason = "main is libFuzzer's")]
fn end() -> ! {
    std::process::exit(0)
}
