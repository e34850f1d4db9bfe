//! `ssmd tail` and `ssmd status`: talking to what runs in a data folder.

use ssmd_core::{Clock, Error, ErrorKind, SystemClock};

use crate::cli;
use crate::control::{self, ANSWER_WITHIN, ROLES, Request};
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::status::Status;

/// Prints records as they are decoded, until what runs has ended or nobody reads.
pub(super) async fn run(args: &cli::Tail) -> Outcome {
    let request = Request::Tail { filter: args.filter.clone() };
    let mut lines = match control::ask(&args.data, "up", &request).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            control::ask(&args.data, "connector", &request).await?
        }
        asked => asked?,
    };
    let mut out = Out::new();
    while let Some(line) = next(&mut lines).await? {
        refused(&line)?;
        out.line(line)?;
        out.flush()?;
    }
    Ok(Exit::Ok)
}

/// Prints how what runs is doing.
pub(super) async fn status(args: &cli::Running) -> Outcome {
    let mut out = Out::new();
    let mut found = false;
    for role in ROLES {
        let Ok(mut lines) = control::ask(&args.data, role, &Request::Status).await else { continue };
        let clock = SystemClock::new();
        let line = tokio::select! {
            line = next(&mut lines) => line?.unwrap_or_default(),
            () = clock.sleep(ANSWER_WITHIN) => {
                return Err(Error::new(ErrorKind::Timeout, "ask for status").with("role", role).into());
            }
        };
        found = true;
        if args.json {
            out.line(&line)?;
            continue;
        }
        let status: Status = serde_json::from_str(&line)
            .map_err(|cause| Error::new(ErrorKind::Corrupt, "read status").because(cause))?;
        out.line(format_args!(
            "{} {} · {} · {}{} · {}",
            status.role,
            status.version,
            status.environment,
            status.uptime(),
            if status.stopping { " · stopping" } else { "" },
            status.store,
        ))?;
        for feed in &status.feeds {
            for line in feed.lines(&status.role) {
                out.line(format_args!("  {}: {line}", feed.feed))?;
            }
            for refused in &feed.refused {
                out.line(format_args!("  {}: refused {refused}", feed.feed))?;
            }
        }
    }
    out.flush()?;
    if found {
        return Ok(Exit::Ok);
    }
    Err(Error::new(ErrorKind::Unavailable, "ask for status")
        .detail("nothing runs in this folder")
        .with("folder", args.data.display())
        .hint("start something with `ssmd up`, or name its folder with --data")
        .into())
}

/// The next line of an answer.
pub(super) async fn next(
    lines: &mut tokio::io::Lines<tokio::io::BufReader<tokio::net::UnixStream>>,
) -> Result<Option<String>, Stopped> {
    lines.next_line().await.map_err(|cause| Error::io("read control answer", cause).into())
}

/// Whether a line is a refusal, as an error.
pub(super) fn refused(line: &str) -> Result<(), Stopped> {
    if !line.starts_with("{\"error\":") {
        return Ok(());
    }
    let why = serde_json::from_str::<serde_json::Value>(line).ok();
    let text = why.as_ref().and_then(|answer| answer["error"].as_str()).unwrap_or(line).to_owned();
    Err(Error::new(ErrorKind::Invalid, "tail").detail(text).into())
}
