//! `ssmd`: record, archive, verify and replay exchange feeds.

use std::process::ExitCode;

fn main() -> ExitCode {
    ssmd_app::ssmd().into()
}
