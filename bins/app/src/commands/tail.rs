//! `ssmd tail`: records as they are decoded by what runs in a data folder.

use ssmd_core::{Error, ErrorKind};

use crate::cli;
use crate::control::{self, Request};
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

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
        refused(&line, "tail")?;
        out.line(line)?;
        out.flush()?;
    }
    Ok(Exit::Ok)
}

/// The next line of an answer.
pub(super) async fn next(
    lines: &mut tokio::io::Lines<tokio::io::BufReader<tokio::net::UnixStream>>,
) -> Result<Option<String>, Stopped> {
    lines.next_line().await.map_err(|cause| Error::io("read control answer", cause).into())
}

/// Whether a line is a refusal, as an error of `operation`.
pub(super) fn refused(line: &str, operation: &'static str) -> Result<(), Stopped> {
    if !line.starts_with("{\"error\":") {
        return Ok(());
    }
    let why = serde_json::from_str::<serde_json::Value>(line).ok();
    let text = why.as_ref().and_then(|answer| answer["error"].as_str()).unwrap_or(line).to_owned();
    Err(Error::new(ErrorKind::Invalid, operation).detail(text).into())
}
