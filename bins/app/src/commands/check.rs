//! `ssmd check`, which is `ssmd env validate`: everything that is wrong with a document, or what it declares.

use ssmd_core::environment::{Checked, Environment, JournalSpec, Problems, StoreSpec};

use crate::cli::Check;
use crate::environment;
use crate::exit::Exit;
use crate::online;
use crate::output::{Out, Outcome, Stopped};
use crate::status::plural;

/// Says everything that is wrong with a document, or what it declares.
pub(super) async fn run(args: &Check) -> Outcome {
    let path = environment::named(args.file.as_deref().or(args.which.config.as_deref()))?;
    let text = environment::bytes(&path)?;
    let name = path.display().to_string();
    let mut out = Out::new();
    let checked = match environment::parse(&path, text.clone()) {
        Ok(resolved) => resolved.checked(),
        Err(problems) => return wrong(&problems, &name, &[], args.json, &mut out),
    };
    let (asked, findings) = match args.online {
        true => online::ask(&checked.environment).await?,
        false => (Vec::new(), Vec::new()),
    };
    if !findings.is_empty() {
        return wrong(&environment::found(&path, text, findings), &name, &asked, args.json, &mut out);
    }
    let Checked { environment, later } = checked;
    if args.json {
        out.json(&serde_json::json!({
            "file": name,
            "valid": true,
            "environment": environment.name,
            "hash": environment.hash(),
            "feeds": environment.feeds.iter().map(|feed| &feed.name).collect::<Vec<_>>(),
            "later": later.to_json()["problems"],
            "online": asked,
            "problems": [],
            "omitted": 0,
        }))?;
    } else {
        declared(&environment, &mut out)?;
        asked.iter().try_for_each(|line| out.line(format_args!("✓ {line}")))?;
        for problem in &later.problems {
            out.line(format_args!("○ {}", problem.line()))?;
        }
        if later.omitted > 0 {
            out.line(format_args!("○ and {} more that are not built yet", later.omitted))?;
        }
        out.line(format_args!("environment {} is valid", environment.name))?;
        if later.count() > 0 {
            out.line("it does not start before what is marked ○ is built, or left out")?;
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// Each problem whole on standard error, and in a line on standard output.
fn wrong(problems: &Problems, name: &str, asked: &[String], json: bool, out: &mut Out) -> Outcome {
    if json {
        let mut answer = problems.to_json();
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("source");
            fields.insert("file".into(), name.into());
            fields.insert("valid".into(), false.into());
        }
        out.json(&answer)?;
    } else {
        eprintln!("{problems}");
        asked.iter().try_for_each(|line| out.line(format_args!("✓ {line}")))?;
        for problem in &problems.problems {
            out.line(format_args!("✗ {}", problem.line()))?;
        }
        let errors = if problems.count() == 1 { "error" } else { "errors" };
        out.line(format_args!("{name} has {} {errors}; `ssmd explain CODE` says more", problems.count()))?;
    }
    out.flush()?;
    Ok(Exit::Config)
}

fn declared(environment: &Environment, out: &mut Out) -> Result<(), Stopped> {
    let words = ssmd_feeds::vocabulary();
    if environment.enabled().next().is_none() {
        out.line("○ no feed is enabled: nothing starts with it")?;
    }
    for feed in &environment.feeds {
        if !feed.enabled {
            out.line(format_args!("○ feed {} is not enabled", feed.name))?;
            continue;
        }
        let channels: Vec<_> = feed.channels.iter().map(ToString::to_string).collect();
        let shares = feed.shares();
        let filtered = if shares.iter().all(|share| share.filters.is_empty()) { "" } else { ", filtered" };
        let names = || shares.iter().flat_map(|share| share.symbols);
        let patterns = names().filter(|symbol| symbol.contains('*')).count();
        let counts = [(names().count() - patterns, "symbol"), (patterns, "pattern")];
        let counts: Vec<_> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| plural(*n as u64, what)).collect();
        let shared = match shares.len().max(feed.split() as usize) {
            1 => String::new(),
            count => format!(", in {count} shares"),
        };
        let (counts, channels) = (counts.join(" and "), channels.join(", "));
        out.line(format_args!("✓ feed {}: {channels} for {counts}{filtered}{shared}", feed.name))?;
        let venue = words.feeds.iter().find(|venue| venue.name == feed.name.as_str());
        if let Some(venue) = venue.filter(|venue| feed.keys.is_empty() && !venue.keys.is_empty()) {
            let keys = venue.keys.join(" and ");
            out.line(format_args!("○ feed {}: no `keys`; the venue wants {keys}", feed.name))?;
        }
        let details = shares.iter().flat_map(|share| share.details.values());
        let internal = details.filter(|detail| detail.internal.is_some()).count();
        if internal > 0 {
            out.line(format_args!(
                "✓ feed {}: {}, each once",
                feed.name,
                plural(internal as u64, "internal name")
            ))?;
        }
    }
    match &environment.journal {
        JournalSpec::Local => out.line("✓ journal: the local log")?,
        JournalSpec::JetStream(nats) => out.line(format_args!(
            "✓ journal: NATS JetStream, {} h, replicas: {}",
            nats.retention_hours, nats.replicas
        ))?,
    }
    match &environment.storage {
        None => match &environment.store {
            StoreSpec::File(path) => out.line(format_args!("✓ store: the folder {path}"))?,
            StoreSpec::S3(s3) => out.line(format_args!("✓ store: {s3}"))?,
        },
        Some(storage) => {
            for bucket in [&storage.raw, &storage.normalized].into_iter().flatten() {
                let kept = bucket.retention_days.map_or("for ever".to_owned(), |days| format!("{days} days"));
                out.line(format_args!("✓ storage: bucket {}, kept {kept}", bucket.bucket))?;
            }
        }
    }
    if !environment.entitlements.is_empty() {
        let (lines, clients) = (environment.entitlements.len(), environment.clients.len());
        out.line(format_args!("✓ entitlements: {lines}, of {clients} clients that are defined"))?;
    }
    Ok(())
}
