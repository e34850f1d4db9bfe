//! `ssmd status`: how what runs in a data folder is doing, or what its files tell where nothing runs.

use std::path::Path;

use ssmd_core::{Error, ErrorKind, FeedName, Timestamp};
use ssmd_storage::{FileStore, environments};

use crate::cli::Running;
use crate::control::{self, ANSWER_WITHIN, ROLES, Request};
use crate::exit::Exit;
use crate::folder::Folder;
use crate::output::{Out, Outcome, Stopped};
use crate::status::{FeedStatus, Status};

/// Prints the status of every process of the folder. The exit code says whether all of them are healthy.
pub(super) async fn run(args: &Running) -> Outcome {
    let mut found = Vec::new();
    for role in ROLES {
        match control::ask_one(&args.data, role, &Request::Status, ANSWER_WITHIN).await {
            Ok(line) => found.push(read(&line)?),
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(error.into()),
        }
    }
    let exit = match found.iter().all(|status| status.healthy) {
        _ if found.is_empty() => Exit::Unavailable,
        true => Exit::Ok,
        false => Exit::Failed,
    };
    if found.is_empty() {
        found.extend(from_files(&args.data).await?);
    }
    if found.is_empty() {
        return Err(Error::new(ErrorKind::Unavailable, "ask for status")
            .detail("nothing runs in this folder")
            .with("folder", args.data.display())
            .hint("start something with `ssmd up`, or name its folder with --data")
            .into());
    }
    let mut out = Out::new();
    for status in &found {
        if args.json {
            out.json(status)?;
        } else {
            print(status, &mut out)?;
        }
    }
    out.flush()?;
    Ok(exit)
}

/// Reads what a process answered.
pub(super) fn read(line: &str) -> Result<Status, Stopped> {
    let read = serde_json::from_str(line);
    Ok(read.map_err(|cause| Error::new(ErrorKind::Corrupt, "read status").because(cause))?)
}

/// What the files of a folder tell while nothing runs there; `None` if nothing was ever recorded.
async fn from_files(data: &Path) -> Result<Option<Status>, Stopped> {
    let Ok(logs) = std::fs::read_dir(data.join("log")) else { return Ok(None) };
    let folder = Folder::create(data)?;
    let names = logs.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<FeedName>().ok());
    let mut feeds: Vec<_> = names.filter_map(|name| FeedStatus::of_log(&folder, &name).ok()).collect();
    if feeds.is_empty() {
        return Ok(None);
    }
    feeds.sort_by(|a, b| a.feed.cmp(&b.feed));
    let current = environments::current(&FileStore::open(data)?).await?;
    let current = current.as_ref();
    Ok(Some(Status {
        role: "none".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        environment: current.map_or_else(String::new, |recorded| recorded.version.environment.to_string()),
        environment_version: current.map(Into::into),
        started: Timestamp::default(),
        feeds,
        problems: vec!["nothing runs in this folder".to_owned()],
        ..Status::default()
    }))
}

fn print(status: &Status, out: &mut Out) -> Result<(), Stopped> {
    let mark = if status.healthy { "✓" } else { "✗" };
    let Status { role, version, environment, store, .. } = status;
    if role == "none" {
        out.line(format_args!("{mark} stopped · {environment}"))?;
    } else {
        let stopping = if status.stopping { " · stopping" } else { "" };
        let uptime = status.uptime();
        out.line(format_args!("{mark} {role} {version} · {environment} · {uptime}{stopping} · {store}"))?;
    }
    if let Some(version) = &status.environment_version {
        let (short, from) = (version.short(), version.valid_from);
        out.line(format_args!("  environment {short} since {from}, by {} ({})", version.who, version.how))?;
    }
    for feed in &status.feeds {
        for line in feed.lines(role) {
            out.line(format_args!("  {}: {line}", feed.feed))?;
        }
        for refused in &feed.refused {
            out.line(format_args!("  {}: refused {refused}", feed.feed))?;
        }
    }
    for problem in &status.problems {
        out.line(format_args!("  ✗ {problem}"))?;
    }
    for line in status.document_refused.iter().flat_map(|why| why.lines()) {
        out.line(format_args!("    {line}"))?;
    }
    Ok(())
}
