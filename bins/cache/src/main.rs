//! `ssmd-cache`: from a journal or a transport to the cache of the latest values.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssmd_app::cache().into()
}
