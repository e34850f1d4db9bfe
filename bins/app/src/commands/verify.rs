//! `ssmd verify`: the proof.

use ssmd_storage::verify::{self, Report};

use super::archive;
use crate::cli::Verify;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::progress::Progress;
use crate::status::{bytes, grouped, plural};

/// Proves an archive, or says what is wrong with it.
pub(super) async fn run(args: &Verify) -> Outcome {
    let store = archive::store(&args.store)?;
    let feed = match &args.feed {
        Some(name) => Some(name.parse()?),
        None => None,
    };
    let mut line: Option<(Progress, u64)> = None;
    let progress = |now: verify::Progress| {
        let (line, before) = line.get_or_insert_with(|| (Progress::new("verified", now.of), 0));
        line.add(now.done.saturating_sub(*before));
        *before = now.done;
    };
    let report =
        verify::verify(store, feed.as_ref(), |feed| ssmd_feeds::decoder(feed).ok(), progress).await?;
    drop(line);
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
    if report.commits == 0 && report.errors == 0 {
        return out.line("the archive is empty: there is nothing to prove");
    }
    let mark = if report.errors == 0 { "✓" } else { "✗" };
    out.line(format_args!(
        "{mark} {}, {} ({}), {}, {} of {}",
        plural(report.commits, "commit"),
        plural(report.objects, "object"),
        bytes(report.bytes),
        format_args!("{} entries", grouped(report.entries)),
        plural(report.frames, "frame"),
        plural(report.sessions, "session"),
    ))?;
    out.line(format_args!(
        "{} books verified, {} failed; {} known, {} entries lost; {} frames unknown, {} malformed; {} orphans",
        grouped(report.books_verified),
        grouped(report.books_failed),
        plural(report.gaps, "gap"),
        grouped(report.lost),
        grouped(report.unknown),
        grouped(report.malformed),
        report.orphans.len(),
    ))?;
    if report.environments > 0 {
        out.line(
            plural(report.environments, "version")
                + " of the environment, those that commits name among them",
        )?;
    }
    match report.errors {
        0 => out.line("everything that was recorded is there, unchanged"),
        errors => out.line(format_args!("{}", plural(errors, "problem"))),
    }
}
