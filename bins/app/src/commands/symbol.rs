//! `ssmd symbol`: which symbols are recorded, and under which names.

use std::collections::HashMap;

use ssmd_core::environment::{Declared, DeclaredValue, Edit, Resolved, Step, Value};
use ssmd_core::{Error, ErrorKind, Result};

use super::env::origin;
use super::feed::adds;
use crate::cli::{Editing, SymbolAdd, SymbolCommand, Which};
use crate::environment::{self, Wish};
use crate::exit::Exit;
use crate::output::{Out, Outcome};
use crate::status::plural;

const OPERATION: &str = "edit symbols";

/// Runs a command about symbols.
pub(super) fn run(command: &SymbolCommand) -> Outcome {
    match command {
        SymbolCommand::List { feed, which, json } => list(feed.as_deref(), which, *json),
        SymbolCommand::Add(args) => add(args),
        SymbolCommand::Remove { symbols, feed, editing } => remove(feed.as_deref(), symbols, editing),
        SymbolCommand::Map { symbol, internal, feed, editing } => {
            map(feed.as_deref(), symbol, internal, editing)
        }
        SymbolCommand::Validate { which, json } => validate(which, *json),
    }
}

/// Edits an environment and prints what changed.
pub(super) fn edit(editing: &Editing, wish: impl FnOnce(&Resolved) -> Result<Wish>) -> Outcome {
    let path = environment::named(editing.which.config.as_deref())?;
    let edited = environment::change(&path, !editing.dry_run, wish)?;
    environment::print(&edited, editing.json)
}

/// Where a feed's section is: under its name, or the whole `spec` where that names one feed.
pub(super) fn section<'r>(resolved: &'r Resolved, feed: &'r str) -> Option<(Vec<&'r str>, &'r Declared)> {
    let path = ["spec", "feeds", feed];
    if let Some(found) = resolved.declared.get(&path) {
        return Some((path.to_vec(), found));
    }
    let spec = resolved.declared.get(&["spec"])?;
    (spec.get(&["feed"])?.text() == Some(feed)).then(|| (vec!["spec"], spec))
}

/// The feed that is meant: the one that is named, or the only one.
fn only<'r>(resolved: &'r Resolved, feed: Option<&'r str>) -> Result<&'r str> {
    let feeds: Vec<_> = resolved.environment.feeds.iter().map(|feed| feed.name.as_str()).collect();
    match (feed, feeds.as_slice()) {
        (Some(feed), known) if known.contains(&feed) => Ok(feed),
        (None, [only]) => Ok(only),
        (Some(feed), known) => Err(Error::new(ErrorKind::NotFound, "find feed")
            .detail("the environment has no such feed")
            .with("feed", feed)
            .hint(adds(feed, known))),
        (None, known) => Err(Error::new(ErrorKind::Invalid, OPERATION)
            .detail("the environment has several feeds")
            .hint(format!("say which one: --feed {}", known.join(" or --feed ")))),
    }
}

/// A feed's list of symbols, and the path to it.
fn symbols<'r>(resolved: &'r Resolved, feed: &'r str) -> Result<(Vec<Step>, &'r [Declared])> {
    let refuse =
        |detail| Err(Error::new(ErrorKind::Unsupported, OPERATION).detail(detail).with("feed", feed));
    let Some((path, section)) = section(resolved, feed) else { return refuse("this feed has no section") };
    let Some(list) = section.get(&["symbols"]) else { return refuse("this feed lists no symbols") };
    if !matches!(list.value, DeclaredValue::List(_)) {
        return refuse("its symbols are chosen by filters, not listed");
    }
    if let Some(place) = list.place.filter(|place| place.document > 0) {
        return refuse("the list stands in a document that this one extends, and lists are not merged")
            .map_err(|error| {
                error
                    .with("file", &resolved.documents[place.document])
                    .with("line", place.line)
                    .hint("edit that document, or give this one a list of its own")
            });
    }
    Ok((path.into_iter().chain(["symbols"]).map(Step::from).collect(), list.items()))
}

fn add(args: &SymbolAdd) -> Outcome {
    if args.internal.is_some() && args.symbols.len() > 1 {
        return Err(Error::new(ErrorKind::Invalid, OPERATION)
            .detail("one name for several symbols")
            .hint("--internal goes with one symbol")
            .into());
    }
    edit(&args.editing, |resolved| {
        let feed = only(resolved, args.feed.as_deref())?;
        add_to(resolved, feed, &args.symbols, args.internal.as_deref(), args.depth.as_deref())
    })
}

/// Adds to a feed those symbols that it does not have.
pub(super) fn add_to(
    resolved: &Resolved,
    feed: &str,
    wanted: &[String],
    internal: Option<&str>,
    depth: Option<&str>,
) -> Result<Wish> {
    let (path, had) = symbols(resolved, feed)?;
    let (mut new, mut edits): (Vec<&String>, Vec<Edit>) = (Vec::new(), Vec::new());
    for symbol in wanted {
        match had.iter().position(|item| item.name() == Some(symbol)) {
            // There already: what is said about it may still be new.
            Some(at) => edits.extend(
                attributes(internal, depth)
                    .into_iter()
                    .flat_map(|(key, value)| annotate(&path, at, &had[at], key, value)),
            ),
            None if new.contains(&symbol) => {}
            None => new.push(symbol),
        }
    }
    let count = plural(wanted.len() as u64, "symbol");
    let said = match (new.is_empty(), edits.is_empty()) {
        (true, true) => format!("{feed} has {} already", wanted.join(", ")),
        (true, false) => format!("{feed} records {} as told", wanted.join(", ")),
        (false, _) => format!("{feed} records {} ({count})", wanted.join(", ")),
    };
    if !new.is_empty() {
        edits.push(Edit::Append(path, new.into_iter().map(|symbol| item(symbol, internal, depth)).collect()));
    }
    Ok(Wish { edits, said })
}

/// A symbol as a list has it.
pub(super) fn item(symbol: &str, internal: Option<&str>, depth: Option<&str>) -> Value {
    let more = attributes(internal, depth);
    if more.is_empty() {
        return symbol.into();
    }
    let name = [("name".to_owned(), Value::from(symbol))];
    Value::Map(name.into_iter().chain(more.into_iter().map(|(key, value)| (key.to_owned(), value))).collect())
}

fn attributes(internal: Option<&str>, depth: Option<&str>) -> Vec<(&'static str, Value)> {
    let depth = depth.map(|depth| match depth.bytes().all(|byte| byte.is_ascii_digit()) {
        true => ("depth", Value::Word(depth.to_owned())),
        false => ("depth", Value::from(depth)),
    });
    internal.map(|name| ("internal", Value::from(name))).into_iter().chain(depth).collect()
}

/// Says one thing more about a listed symbol.
fn annotate(path: &[Step], at: usize, item: &Declared, key: &str, value: Value) -> Option<Edit> {
    let here = [path.to_vec(), vec![at.into()]].concat();
    match item.text() {
        Some(name) => {
            Some(Edit::Set(here, Value::Map(vec![("name".to_owned(), name.into()), (key.to_owned(), value)])))
        }
        None if item.get(&[key]).is_some_and(|had| had.to_value() == value) => None,
        None => Some(Edit::Set([here, vec![key.into()]].concat(), value)),
    }
}

fn remove(feed: Option<&str>, unwanted: &[String], editing: &Editing) -> Outcome {
    edit(editing, |resolved| remove_from(resolved, only(resolved, feed)?, unwanted))
}

/// Removes symbols from a feed that keeps others.
pub(super) fn remove_from(resolved: &Resolved, feed: &str, unwanted: &[String]) -> Result<Wish> {
    let (path, had) = symbols(resolved, feed)?;
    let is_unwanted = |item: &Declared| unwanted.iter().any(|symbol| item.name() == Some(symbol));
    let gone: Vec<_> = (0..had.len()).filter(|&at| is_unwanted(&had[at])).collect();
    if gone.len() == had.len() {
        return Err(Error::new(ErrorKind::Invalid, OPERATION)
            .detail("no symbol would be left")
            .with("feed", feed)
            .hint(format!(
                "`ssmd feed remove {feed}` removes the feed, `ssmd feed disable {feed}` keeps it"
            )));
    }
    // From the last to the first, so that numbers hold.
    let edits = gone.into_iter().rev().map(|at| Edit::Remove([path.clone(), vec![at.into()]].concat()));
    let edits: Vec<_> = edits.collect();
    let said = match edits.is_empty() {
        true => format!("{feed} does not list {}", unwanted.join(", ")),
        false => format!("{feed} records {} no more", unwanted.join(", ")),
    };
    Ok(Wish { edits, said })
}

fn map(feed: Option<&str>, symbol: &str, internal: &str, editing: &Editing) -> Outcome {
    edit(editing, |resolved| {
        let feed = only(resolved, feed)?;
        let (path, had) = symbols(resolved, feed)?;
        let at = had.iter().position(|item| item.name() == Some(symbol)).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, OPERATION)
                .with("feed", feed)
                .with("symbol", symbol)
                .hint(format!("`ssmd symbol add {symbol} --feed {feed} --internal {internal}` adds it"))
        })?;
        let edits = annotate(&path, at, &had[at], "internal", internal.into()).into_iter().collect();
        Ok(Wish { edits, said: format!("{symbol} of {feed} is {internal}") })
    })
}

/// One listed symbol.
struct Row<'r> {
    feed: &'r str,
    item: &'r Declared,
}

impl Row<'_> {
    fn attribute(&self, key: &str) -> Option<&str> {
        self.item.get(&[key])?.text()
    }
}

fn rows<'r>(resolved: &'r Resolved, feed: Option<&str>) -> Vec<Row<'r>> {
    let feeds = resolved.environment.feeds.iter().map(|spec| spec.name.as_str());
    feeds
        .filter(|name| feed.is_none_or(|feed| feed == *name))
        .filter_map(|feed| Some((feed, section(resolved, feed)?.1.get(&["symbols"])?)))
        .flat_map(|(feed, list)| list.items().iter().map(move |item| Row { feed, item }))
        .collect()
}

fn list(feed: Option<&str>, which: &Which, json: bool) -> Outcome {
    let (_, resolved) = environment::resolve(which.config.as_deref())?;
    if feed.is_some() {
        only(&resolved, feed)?;
    }
    let rows = rows(&resolved, feed);
    let mut out = Out::new();
    if json {
        let values = rows.iter().map(|row| {
            let place = row.item.place;
            serde_json::json!({
                "feed": row.feed,
                "symbol": row.item.name(),
                "internal": row.attribute("internal"),
                "depth": row.attribute("depth"),
                "file": place.map(|place| &resolved.documents[place.document]),
                "line": place.map(|place| place.line),
            })
        });
        out.json(&values.collect::<Vec<_>>())?;
    } else {
        for row in &rows {
            let more = [
                row.attribute("internal").map(|name| format!("is {name}")),
                row.attribute("depth").map(|depth| format!("depth {depth}")),
            ];
            let more: Vec<_> = more.into_iter().flatten().collect();
            out.line(format_args!(
                "{:<16} {:<20} {:<24} {}",
                row.feed,
                row.item.name().unwrap_or_default(),
                more.join(", "),
                origin(row.item.place, &resolved)
            ))?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn validate(which: &Which, json: bool) -> Outcome {
    // Whatever the document itself gets wrong, a symbol that stands twice included, is told here already.
    let (_, resolved) = environment::resolve(which.config.as_deref())?;
    let mut out = Out::new();
    let mut faults = Vec::new();
    let mut names: HashMap<(&str, &str), &Row<'_>> = HashMap::new();
    let all = rows(&resolved, None);
    for row in &all {
        let Some(name) = row.attribute("internal") else { continue };
        if let Some(other) = names.insert((row.feed, name), row) {
            faults.push(serde_json::json!({
                "feed": row.feed,
                "internal": name,
                "symbols": [other.item.name(), row.item.name()],
                "places": [origin(other.item.place, &resolved), origin(row.item.place, &resolved)],
            }));
        }
    }
    if json {
        out.json(&serde_json::json!({
            "environment": resolved.environment.name,
            "valid": faults.is_empty(),
            "symbols": all.len(),
            "mapped": all.iter().filter(|row| row.attribute("internal").is_some()).count(),
            "faults": faults,
        }))?;
    } else {
        for feed in &resolved.environment.feeds {
            let of: Vec<_> = all.iter().filter(|row| row.feed == feed.name.as_str()).collect();
            let mapped = of.iter().filter(|row| row.attribute("internal").is_some()).count();
            out.line(format_args!(
                "✓ {}: {}, {mapped} mapped",
                feed.name,
                plural(of.len() as u64, "symbol")
            ))?;
        }
        for fault in &faults {
            out.line(format_args!(
                "✗ {} of {}: two symbols, {} and {}",
                text(&fault["internal"]),
                text(&fault["feed"]),
                text(&fault["places"][0]),
                text(&fault["places"][1]),
            ))?;
        }
    }
    out.flush()?;
    Ok(if faults.is_empty() { Exit::Ok } else { Exit::Config })
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}
