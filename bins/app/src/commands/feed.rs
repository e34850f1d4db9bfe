//! `ssmd feed`: which feeds there are, and which are recorded.

use std::path::Path;

use ssmd_core::environment::{Edit, Resolved, Step, Value, nearest};
use ssmd_core::{Error, ErrorKind};
use ssmd_feeds::VENUES;

use super::env::origin;
use super::symbol::{self, section};
use super::venue;
use crate::cli::{Editing, FeedAdd, FeedCommand, Which};
use crate::environment::{self, Wish};
use crate::exit::Exit;
use crate::output::{Out, Outcome, Stopped};
use crate::status::plural;

const OPERATION: &str = "edit feeds";

/// Runs a command about feeds.
pub(super) async fn run(command: &FeedCommand) -> Outcome {
    match command {
        FeedCommand::List { which, json } => list(which, *json),
        FeedCommand::Show(args) => match &args.config {
            Some(word) if !args.universe => show(&args.name, word, args.json),
            _ => {
                let shown = venue::show(args).await?;
                if !args.json && !args.universe {
                    show_declared(&args.name)?;
                }
                Ok(shown)
            }
        },
        FeedCommand::Add(args) => add(args),
        FeedCommand::Remove { feed, symbols, editing } => remove(feed, symbols, editing),
        FeedCommand::Enable { feed, editing } => enable(feed, true, editing),
        FeedCommand::Disable { feed, editing } => enable(feed, false, editing),
    }
}

fn list(which: &Which, json: bool) -> Outcome {
    // Without a word about an environment this is about venues, whichever is used here.
    let resolved = match &which.config {
        Some(word) => Some(environment::resolve(Some(word))?.1),
        None => None,
    };
    let mut out = Out::new();
    match (&resolved, json) {
        (None, true) => out.json(&VENUES.iter().copied().map(venue::describe).collect::<Vec<_>>())?,
        (None, false) => venue::print_all(&mut out)?,
        (Some(resolved), true) => {
            let names = resolved.environment.feeds.iter().map(|feed| feed.name.as_str());
            out.json(&names.map(|feed| declared(resolved, feed)).collect::<Vec<_>>())?;
        }
        (Some(resolved), false) => {
            for spec in &resolved.environment.feeds {
                let feed = declared(resolved, spec.name.as_str());
                let channels: Vec<_> = spec.channels.iter().map(ToString::to_string).collect();
                let off = if feed["enabled"] == false { "  (disabled)" } else { "" };
                out.line(format_args!(
                    "{:<16} {:<12} {}{off}",
                    spec.name.as_str(),
                    plural(spec.symbols.len() as u64, "symbol"),
                    channels.join(", ")
                ))?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// What an environment says about a feed, for programs.
fn declared(resolved: &Resolved, feed: &str) -> serde_json::Value {
    let section = section(resolved, feed).map(|(_, section)| section);
    let settings = section.map(|section| section.settings()).unwrap_or_default();
    let spec = resolved.environment.feeds.iter().find(|spec| spec.name.as_str() == feed);
    let values: Vec<_> = settings
        .into_iter()
        .map(|setting| {
            let from = origin(setting.place, resolved);
            serde_json::json!({ "path": setting.path, "value": setting.value, "from": from })
        })
        .collect();
    serde_json::json!({
        "name": feed,
        "enabled": section.and_then(|section| section.get(&["enabled"])?.text()) != Some("false"),
        "channels": spec.map(|spec| spec.channels.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "symbols": spec.map(|spec| &spec.symbols),
        "values": values,
    })
}

/// What the environment that is used here says of the feed, if there is one and it says anything.
fn show_declared(feed: &str) -> Result<(), Stopped> {
    let Some(path) = environment::find(None)? else { return Ok(()) };
    // What is wrong with it is said by the commands that need it.
    let Ok(resolved) = environment::read(&path) else { return Ok(()) };
    let Some((_, found)) = section(&resolved, feed) else { return Ok(()) };
    let mut out = Out::new();
    out.line(format_args!("  in {}:", path.display()))?;
    for setting in found.settings().into_iter().filter(|setting| setting.place.is_some()) {
        let from = origin(setting.place, &resolved);
        out.line(format_args!("    {:<24} {:<44} {from}", setting.path, setting.value))?;
    }
    out.flush()?;
    Ok(())
}

fn show(feed: &str, word: &Path, json: bool) -> Outcome {
    let (_, resolved) = environment::resolve(Some(word))?;
    let Some((_, found)) = section(&resolved, feed) else { return Err(unknown(&resolved, feed).into()) };
    let mut out = Out::new();
    if json {
        out.json(&declared(&resolved, feed))?;
    } else {
        for setting in found.settings() {
            let from = origin(setting.place, &resolved);
            out.line(format_args!("{:<24} {:<44} {from}", setting.path, setting.value))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// What to do about a feed that an environment does not have.
pub(super) fn adds(feed: &str, known: &[&str]) -> String {
    let is_venue = ssmd_feeds::vocabulary().feeds.iter().any(|venue| venue.name == feed);
    let adds = match is_venue {
        true => format!("`ssmd feed add {feed}` adds it"),
        false => "`ssmd feed list` shows all there are".to_owned(),
    };
    let meant = nearest(feed, known.iter().copied()).filter(|_| !is_venue);
    let meant = meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`? "));
    format!("{meant}it has {}; {adds}", known.join(", "))
}

fn unknown(resolved: &Resolved, feed: &str) -> Error {
    let known: Vec<_> = resolved.environment.feeds.iter().map(|feed| feed.name.as_str()).collect();
    Error::new(ErrorKind::NotFound, "find feed")
        .detail("the environment has no such feed")
        .with("feed", feed)
        .hint(adds(feed, &known))
}

/// The path to a feed under `spec.feeds`, and further.
fn path(feed: &str, more: &[&str]) -> Vec<Step> {
    ["spec", "feeds", feed].iter().chain(more).map(|&key| key.into()).collect()
}

fn add(args: &FeedAdd) -> Outcome {
    let wanted: Vec<_> = args.symbols.iter().chain(&args.more_symbols).cloned().collect();
    symbol::edit(&args.editing, |resolved| {
        let FeedAdd { feed, channels, depth, .. } = args;
        if section(resolved, feed).is_some() {
            let mut wish = match wanted.as_slice() {
                [] => Wish { edits: Vec::new(), said: format!("{feed} is there already") },
                wanted => symbol::add_to(resolved, feed, wanted, None, depth.as_deref())?,
            };
            if !channels.is_empty() {
                let list = channels.iter().map(|channel| channel.as_str().into()).collect();
                wish.edits.push(Edit::Set(path(feed, &["channels"]), Value::List(list)));
                wish.said = format!("{feed} records {}", channels.join(", "));
            }
            return Ok(wish);
        }
        let words = ssmd_feeds::vocabulary();
        // A feed that does not exist is told by the check of the new document, with the names that do.
        let start = words.feed(feed).map(|words| words.starter);
        let or_start = |given: &[String], start: Option<&[&str]>| match given {
            [] => start.unwrap_or(&["*"]).iter().map(|&word| word.to_owned()).collect(),
            given => given.to_vec(),
        };
        let channels = or_start(channels, start.map(|start| start.channels));
        let symbols = or_start(&wanted, start.map(|start| start.symbols));
        let said = format!("{feed} records {} of {}", channels.join(", "), symbols.join(", "));
        let items = symbols.iter().map(|name| symbol::item(name, None, depth.as_deref()));
        let value = Value::Map(vec![
            ("channels".into(), Value::List(channels.iter().map(|name| name.as_str().into()).collect())),
            ("symbols".into(), Value::List(items.collect())),
        ]);
        Ok(Wish { edits: vec![Edit::Set(path(feed, &[]), value)], said })
    })
}

fn remove(feed: &str, symbols: &[String], editing: &Editing) -> Outcome {
    symbol::edit(editing, |resolved| {
        let (_, found) = section(resolved, feed).ok_or_else(|| unknown(resolved, feed))?;
        if !symbols.is_empty() {
            return symbol::remove_from(resolved, feed, symbols);
        }
        if resolved.environment.feeds.len() == 1 {
            return Err(Error::new(ErrorKind::Invalid, OPERATION)
                .detail("no feed would be left")
                .with("feed", feed)
                .hint(format!("`ssmd feed disable {feed}` keeps it, and does not record it")));
        }
        // What is inherited is taken away by saying so.
        let inherited = found.place.is_some_and(|place| place.document > 0);
        let edit = match inherited {
            true => Edit::Set(path(feed, &[]), Value::Word("null".into())),
            false => Edit::Remove(path(feed, &[])),
        };
        Ok(Wish { edits: vec![edit], said: format!("{feed} is recorded no more") })
    })
}

fn enable(feed: &str, on: bool, editing: &Editing) -> Outcome {
    symbol::edit(editing, |resolved| {
        let (path, found) = section(resolved, feed).ok_or_else(|| unknown(resolved, feed))?;
        let is_on = found.get(&["enabled"]).and_then(|value| value.text()) != Some("false");
        let word = if on { "enabled" } else { "disabled" };
        if is_on == on {
            return Ok(Wish { edits: Vec::new(), said: format!("{feed} is {word} already") });
        }
        let path = path.into_iter().chain(["enabled"]).map(Step::from).collect();
        Ok(Wish { edits: vec![Edit::Set(path, on.into())], said: format!("{feed} is {word}") })
    })
}
