//! `ssmd env promote`: what one environment records, brought into another one that stays itself.

use std::path::Path;

use ssmd_core::environment::{Change, Declared, DeclaredValue, Edit, Resolved, Step, compare};
use ssmd_core::{Error, ErrorKind, Result};

use super::diff::{json, lines};
use crate::cli::Promote;
use crate::environment::{self, Edited, Wish};
use crate::exit::Exit;
use crate::output::{Out, Outcome};

/// What moves of a feed that both have. Everything else stays: addresses, keys, shards, redundancy.
const MOVES: [&str; 5] = ["enabled", "category", "channels", "symbols", "depth"];

/// Shows the plan, and carries it out if told so.
pub(super) fn run(args: &Promote) -> Outcome {
    let (_, from) = environment::resolve(Some(&args.from))?;
    let to = environment::named(Some(&args.to))?;
    let edited = environment::change(&to, args.yes, |target| {
        let edits = plan(&from, target, args.prune)?;
        let (from, to) = (&from.environment.name, &target.environment.name);
        Ok(Wish { edits, said: format!("promoted {from} to {to}") })
    })?;
    let words = ssmd_feeds::vocabulary();
    let changes = compare(&edited.before.declared, &edited.after.declared, &words);
    let stays = compare(&from.declared, &edited.after.declared, &words);
    print(args, &from, &to, &edited, (&changes, &stays))
}

fn print(
    args: &Promote,
    from: &Resolved,
    to: &Path,
    edited: &Edited,
    (changes, stays): (&[Change], &[Change]),
) -> Outcome {
    let mut out = Out::new();
    let (from, name) = (&from.environment.name, &edited.after.environment.name);
    if args.json {
        out.json(&serde_json::json!({
            "from": from,
            "to": name,
            "file": edited.file,
            "changes": changes.iter().map(json).collect::<Vec<_>>(),
            "stays": stays.iter().map(json).collect::<Vec<_>>(),
            "written": edited.written,
            "diff": edited.diff,
        }))?;
        out.flush()?;
        return Ok(Exit::Ok);
    }
    out.line(format_args!("promote {from} to {name} ({})", to.display()))?;
    out.line(if changes.is_empty() { "\nnothing changes" } else { "\nchanges:" })?;
    lines(changes, "  ", &mut out)?;
    if !stays.is_empty() {
        out.line(format_args!("\nstays ({from} → {name}):"))?;
        lines(stays, "  ", &mut out)?;
    }
    if !edited.diff.is_empty() {
        out.line("")?;
        out.bytes(edited.diff.as_bytes())?;
        out.line("")?;
        out.line(if edited.written { edited.said.as_str() } else { "nothing was written: --yes writes it" })?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// The edits of the target's own document.
fn plan(from: &Resolved, target: &Resolved, prune: bool) -> Result<Vec<Edit>> {
    let feeds = ["spec", "feeds"];
    let entries = |resolved: &Resolved| resolved.declared.get(&feeds).map(|feeds| feeds.entries().to_vec());
    let Some(wanted) = entries(from) else {
        return Err(Error::new(ErrorKind::Unsupported, "promote")
            .detail("it has no `spec.feeds`")
            .hint("write `feed: NAME` as `feeds: { NAME: … }`"));
    };
    let had = entries(target).unwrap_or_default();
    let mut edits = Vec::new();
    for (feed, wanted) in &wanted {
        let path = |keys: &[&str]| -> Vec<Step> {
            feeds.iter().chain([&feed.as_str()]).chain(keys).map(|&key| key.into()).collect()
        };
        let Some((_, had)) = had.iter().find(|(found, _)| found == feed) else {
            edits.push(Edit::Set(path(&[]), wanted.to_value()));
            continue;
        };
        for key in MOVES {
            // What is not written here says nothing about there.
            let Some(new) = wanted.get(&[key]).filter(|new| new.place.is_some()) else { continue };
            match had.get(&[key]).filter(|old| old.place.is_some()) {
                Some(old) if is_list(old) && is_list(new) => {
                    list(path(&[key]), old, new, prune, target, &mut edits)?;
                }
                Some(old) if old.to_value() == new.to_value() => {}
                _ => edits.push(Edit::Set(path(&[key]), new.to_value())),
            }
        }
    }
    if prune {
        for (feed, old) in had.iter().filter(|(feed, _)| wanted.iter().all(|(found, _)| found != feed)) {
            own(old, target, feed)?;
            edits.push(Edit::Remove(
                feeds.iter().map(|&key| key.into()).chain([feed.as_str().into()]).collect(),
            ));
        }
    }
    Ok(edits)
}

/// One list, item by item, so that the target's order and comments stay.
fn list(
    path: Vec<Step>,
    old: &Declared,
    new: &Declared,
    prune: bool,
    target: &Resolved,
    edits: &mut Vec<Edit>,
) -> Result<()> {
    let at = |index: usize| [path.clone(), vec![index.into()]].concat();
    let (mut missing, mut sets) = (Vec::new(), Vec::new());
    for item in new.items() {
        match old.items().iter().position(|found| identity(found) == identity(item)) {
            None => missing.push(item.to_value()),
            Some(index) if old.items()[index].to_value() != item.to_value() => {
                sets.push(Edit::Set(at(index), item.to_value()));
            }
            Some(_) => {}
        }
    }
    let kept = |item: &Declared| new.items().iter().any(|found| identity(found) == identity(item));
    let gone: Vec<_> = old.items().iter().enumerate().filter(|(_, item)| prune && !kept(item)).collect();
    if missing.is_empty() && sets.is_empty() && gone.is_empty() {
        return Ok(());
    }
    own(old, target, &path.iter().map(Step::to_string).collect::<Vec<_>>().join("."))?;
    edits.extend(sets);
    if !missing.is_empty() {
        edits.push(Edit::Append(path.clone(), missing));
    }
    // From the last to the first, so that numbers hold.
    edits.extend(gone.into_iter().rev().map(|(index, _)| Edit::Remove(at(index))));
    Ok(())
}

/// Refuses what stands in a document that the target only extends.
fn own(value: &Declared, target: &Resolved, shown: &str) -> Result<()> {
    match value.place {
        Some(place) if place.document > 0 => Err(Error::new(ErrorKind::Unsupported, "promote")
            .detail("this stands in a document that the target extends, and lists are not merged")
            .with("path", shown)
            .with("file", &target.documents[place.document])
            .with("line", place.line)
            .hint("promote to that document, or give the target a list of its own")),
        _ => Ok(()),
    }
}

fn is_list(value: &Declared) -> bool {
    matches!(value.value, DeclaredValue::List(_))
}

/// What makes two items one: a symbol's name, a channel without its option.
fn identity(item: &Declared) -> Option<&str> {
    // A book of 10 and one of 25 levels are one channel, of which a feed has one.
    item.text().map(|text| text.split(':').next().unwrap_or(text)).or_else(|| item.name())
}
