//! Logs: lines for people on standard error, JSON for machines, or a file while a live view has the terminal.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use ssmd_core::{Error, Result};
use tracing_subscriber::EnvFilter;

/// Logs to standard error. `SSMD_LOG` chooses what is shown, as in `SSMD_LOG=debug,ssmd_feeds=trace`; unless it is
/// set, `info` and above, or only warnings with `quiet`, for commands whose output is what they print.
pub(crate) fn start(json: bool, quiet: bool) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(if quiet { "warn" } else { "info" }))
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    // A program that embeds this crate may have set up logging of its own; then that one is used.
    let _ = started;
}

/// Logs to the end of a file, while something else draws on the terminal.
///
/// # Errors
/// The operating system's, if the file cannot be opened.
pub(crate) fn start_in_file(json: bool, path: &Path) -> Result<()> {
    let opened = File::options().create(true).append(true).open(path);
    let file = opened.map_err(|cause| Error::io("open log file", cause).with("path", path.display()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter("info"))
        .with_writer(Mutex::new(file))
        .with_target(false);
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    // As in `start`.
    let _ = started;
    Ok(())
}

fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env("SSMD_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}
