//! `ssmd check`, which is `ssmd env validate`.

use ssmd_core::Error;
use ssmd_core::environment::{Environment, JournalSpec, StoreSpec};

use crate::cli::Check;
use crate::environment;
use crate::exit::Exit;
use crate::output::{Out, Outcome};

/// Says everything that is wrong with a document, or what it declares.
pub(super) fn run(args: &Check) -> Outcome {
    let path = environment::named(args.file.as_deref().or(args.which.config.as_deref()))?;
    let text = std::fs::read(&path)
        .map_err(|cause| Error::io("read environment", cause).with("file", path.display()))?;
    let name = path.display().to_string();
    let mut out = Out::new();
    let exit = match environment::parse(&path, text).map(|resolved| resolved.environment) {
        Ok(environment) if args.json => {
            out.json(&serde_json::json!({
                "file": name,
                "valid": true,
                "environment": environment.name,
                "feeds": environment.feeds.iter().map(|feed| &feed.name).collect::<Vec<_>>(),
                "problems": [],
                "omitted": 0,
            }))?;
            Exit::Ok
        }
        Ok(environment) => {
            describe(&environment, &mut out)?;
            Exit::Ok
        }
        Err(problems) if args.json => {
            let mut answer = problems.to_json();
            if let Some(fields) = answer.as_object_mut() {
                fields.remove("source");
                fields.insert("file".into(), name.into());
                fields.insert("valid".into(), false.into());
            }
            out.json(&answer)?;
            Exit::Config
        }
        Err(problems) => return Err(problems.into()),
    };
    out.flush()?;
    Ok(exit)
}

fn describe(environment: &Environment, out: &mut Out) -> Result<(), crate::output::Stopped> {
    for feed in &environment.feeds {
        let channels: Vec<_> = feed.channels.iter().map(ToString::to_string).collect();
        out.line(format_args!(
            "✓ feed {}: {} for {} symbol{}",
            feed.name,
            channels.join(", "),
            feed.symbols.len(),
            if feed.symbols.len() == 1 { "" } else { "s" },
        ))?;
    }
    match &environment.journal {
        JournalSpec::Local => out.line("✓ journal: the local log")?,
        JournalSpec::JetStream(nats) => out.line(format_args!(
            "✓ journal: NATS JetStream, {} h on {} server(s)",
            nats.retention_hours, nats.replicas
        ))?,
    }
    let StoreSpec::File(path) = &environment.store;
    out.line(format_args!("✓ store: the folder {path}"))?;
    out.line(format_args!("environment {} is valid", environment.name))
}
