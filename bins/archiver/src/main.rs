//! `ssmd-archiver`: from the local log to the archive.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssmd_app::archiver().into()
}
