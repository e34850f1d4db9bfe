//! `ssmd verify`: the proof.

use std::io::{IsTerminal, Write};

use ssmd_storage::verify::{self, Report};

use super::archive;
use crate::cli::Verify;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::status::{bytes, grouped};

/// Proves an archive, or says what is wrong with it.
pub(super) async fn run(args: &Verify) -> Outcome {
    let store = archive::store(&args.store)?;
    let feed = match &args.feed {
        Some(name) => Some(name.parse()?),
        None => None,
    };
    let show = std::io::stderr().is_terminal();
    let progress = |progress: verify::Progress| {
        if show {
            eprint!("\r{} of {} objects", progress.done, progress.of);
            // A terminal that cannot be flushed shows the progress late.
            let _ = std::io::stderr().flush();
        }
    };
    let report =
        verify::verify(store, feed.as_ref(), |feed| ssmd_feeds::decoder(feed).ok(), progress).await?;
    if show {
        eprint!("\r\x1b[K");
    }
    let mut out = Out::new();
    if args.json {
        out.json(&report)?;
    } else {
        print(&report, &mut out)?;
    }
    out.flush()?;
    Ok(if report.errors == 0 { Exit::Ok } else { Exit::Found })
}

fn print(report: &Report, out: &mut Out) -> Result<(), Stopped> {
    for problem in &report.problems {
        out.line(format_args!("✗ {} ({}): {}", problem.place, problem.code, problem.what))?;
    }
    if report.errors > report.problems.len() as u64 {
        out.line(format_args!("✗ and {} more", grouped(report.errors - report.problems.len() as u64)))?;
    }
    let mark = if report.errors == 0 { "✓" } else { "✗" };
    out.line(format_args!(
        "{mark} {} commits, {} objects ({}), {} entries, {} frames of {} sessions",
        grouped(report.commits),
        grouped(report.objects),
        bytes(report.bytes),
        grouped(report.entries),
        grouped(report.frames),
        grouped(report.sessions),
    ))?;
    out.line(format_args!(
        "{} books verified, {} failed; {} gaps known, {} entries lost; {} frames unknown, {} malformed; {} orphans",
        grouped(report.books_verified),
        grouped(report.books_failed),
        grouped(report.gaps),
        grouped(report.lost),
        grouped(report.unknown),
        grouped(report.malformed),
        report.orphans.len(),
    ))?;
    match report.errors {
        0 => out.line("everything that was recorded is there, unchanged"),
        errors => out.line(format_args!("{} problems", grouped(errors))),
    }
}
