//! `ssmd env diff`: how two environments differ in what they mean.

use std::path::Path;

use ssmd_core::ErrorKind;
use ssmd_core::environment::{Change, Resolved, compare};

use crate::cli::Diff;
use crate::environment;
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};

/// How much of a value is shown, in characters.
const VALUE_CHARS_MAX: usize = 100;

/// Compares two environments. As for `diff`, 1 means that they differ, and 2 that there was nothing to compare.
pub(super) fn run(args: &Diff) -> Outcome {
    let (first, second) = match (read(&args.first), read(&args.second)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(stopped), _) | (_, Err(stopped)) => return not_there(stopped),
    };
    let changes = compare(&first.declared, &second.declared, &ssmd_feeds::vocabulary());
    let mut out = Out::new();
    if args.json {
        out.json(&changes.iter().map(json).collect::<Vec<_>>())?;
    } else {
        lines(&changes, "", &mut out)?;
        if changes.is_empty() {
            let (first, second) = (&first.environment.name, &second.environment.name);
            out.line(format_args!("{first} and {second} mean the same"))?;
        }
    }
    out.flush()?;
    Ok(if changes.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn read(word: &Path) -> Result<Resolved, Stopped> {
    environment::resolve(Some(word)).map(|(_, resolved)| resolved)
}

fn not_there(stopped: Stopped) -> Outcome {
    match stopped {
        Stopped::Failed(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("error: {}", error.report());
            Ok(Exit::Usage)
        }
        stopped => Err(stopped),
    }
}

/// A change for programs.
pub(super) fn json(change: &Change) -> serde_json::Value {
    let kind = match (&change.from, &change.to) {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "changed",
    };
    serde_json::json!({
        "change": kind, "what": change.what, "path": change.path, "from": change.from, "to": change.to,
    })
}

/// Changes for people, one a line.
pub(super) fn lines(changes: &[Change], indent: &str, out: &mut Out) -> Result<(), Stopped> {
    for Change { what, path, from, to } in changes {
        match (from, to) {
            (None, to) => {
                let to = cut(to.as_deref().unwrap_or_default());
                out.line(format_args!("{indent}+ {what:<7}  {path}  {to}"))?;
            }
            (Some(from), None) => out.line(format_args!("{indent}- {what:<7}  {path}  {}", cut(from)))?,
            (Some(from), Some(to)) => {
                out.line(format_args!("{indent}~ {what:<7}  {path}  {} → {}", cut(from), cut(to)))?;
            }
        }
    }
    Ok(())
}

fn cut(value: &str) -> String {
    let mut shown: String = value.chars().take(VALUE_CHARS_MAX).collect();
    if value.chars().nth(VALUE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
