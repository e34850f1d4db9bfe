//! `ssmd-connector`: from a feed to the local log.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssmd_app::connector().into()
}
