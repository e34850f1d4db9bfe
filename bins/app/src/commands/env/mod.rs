//! `ssmd env`: which environments there are, which one is used, and new ones.

mod as_of;
mod deploy;
mod diff;
mod promote;
mod show;

use std::path::{Path, PathBuf};

use ssmd_core::environment::{Edit, edit};
use ssmd_core::{EnvironmentName, Error, ErrorKind, Result};

pub(super) use show::origin;

use super::{check, declared, explain};
use crate::cli::{Create, EnvCommand};
use crate::environment::{self, FOLDER};
use crate::exit::Exit;
use crate::output::{Out, Outcome};
use crate::templates::template;

/// Runs a command about environments.
pub(super) async fn run(command: &EnvCommand) -> Outcome {
    match command {
        EnvCommand::Validate(args) => check::run(args).await,
        EnvCommand::Schema => explain::schema(),
        EnvCommand::List { json } => list(*json),
        EnvCommand::Use { environment, none } => choose(environment.as_deref(), *none),
        EnvCommand::Create(args) => create(args),
        EnvCommand::Show(args) => match args.as_of {
            Some(day) => as_of::run(args, day).await,
            None => show::run(args),
        },
        EnvCommand::Diff(args) => diff::run(args),
        EnvCommand::Promote(args) => promote::run(args),
        EnvCommand::Apply(args) => match args.deploy.out {
            Some(form) => deploy::run(args, form),
            None => declared::apply(args).await,
        },
        EnvCommand::Status(args) => declared::status(args).await,
        EnvCommand::History(args) => declared::history(args).await,
    }
}

fn list(json: bool) -> Outcome {
    // What cannot be found is said by the commands that need it.
    let found = environment::find(None).ok().flatten();
    let used = found.as_ref().and_then(|path| path.canonicalize().ok());
    let mut out = Out::new();
    let mut rows = Vec::new();
    for listed in environment::listed() {
        let is_used = used.is_some() && listed.path.canonicalize().ok() == used;
        let resolved = environment::read(&listed.path);
        let feeds: Vec<_> = resolved
            .iter()
            .flat_map(|resolved| &resolved.environment.feeds)
            .map(|feed| feed.name.to_string())
            .collect();
        if !json {
            let mark = if is_used { "*" } else { " " };
            let what = match &resolved {
                Ok(_) => feeds.join(", "),
                Err(_) => format!("not valid: ssmd check {}", listed.path.display()),
            };
            let shown: String =
                listed.name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            out.line(format_args!("{mark} {shown:<16} {:<32} {what}", listed.path.display()))?;
        }
        rows.push(serde_json::json!({
            "name": listed.name,
            "file": listed.path,
            "used": is_used,
            "valid": resolved.is_ok(),
            "feeds": feeds,
        }));
    }
    if json {
        out.json(&rows)?;
    } else if rows.is_empty() {
        match found {
            Some(path) => out.line(format_args!("none here; the one in use is {}", path.display()))?,
            None => out.line("no environment here: `ssmd init` makes one")?,
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

fn choose(word: Option<&Path>, none: bool) -> Outcome {
    let mut out = Out::new();
    if none {
        environment::forget()?;
        out.line("no environment is used in this folder any more")?;
    } else {
        let path = environment::named(word)?;
        let resolved = environment::read(&path)?;
        if word.is_some() {
            use_here(&path)?;
        }
        out.line(format_args!("using environment {} ({})", resolved.environment.name, path.display()))?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// Uses a document in the working directory and below.
///
/// # Errors
/// `NotFound` if there is nowhere to remember it; the operating system's.
pub(super) fn use_here(path: &Path) -> Result<()> {
    environment::remember(path)
}

fn create(args: &Create) -> Outcome {
    let name = EnvironmentName::new(&args.name)?;
    let path = PathBuf::from(FOLDER).join(format!("{name}.yaml"));
    if let Some(other) = environment::listed().into_iter().find(|listed| listed.name == args.name) {
        return Err(Error::new(ErrorKind::AlreadyExists, "create environment")
            .with("name", &args.name)
            .with("file", other.path.display())
            .into());
    }
    let text = match (&args.from, &args.extends) {
        (Some(from), _) => {
            let from = environment::named(Some(from))?;
            let text = std::fs::read_to_string(&from)
                .map_err(|cause| Error::io("read environment", cause).with("file", from.display()))?;
            renamed(&text, &args.name)?
        }
        (None, Some(base)) => {
            let text = "# Only what differs from the document that it extends.\napiVersion: ssmd/v1\nkind: Environment\n\
                        extends: base\nmetadata: { name: dev }\n";
            let extends = Edit::Set(vec!["extends".into()], base.as_str().into());
            renamed(&edit(text, &[extends])?, &args.name)?
        }
        (None, None) => {
            let name = args.from_template.as_deref().unwrap_or("minimal");
            let template = template(name)
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "find template").with("name", name))?;
            renamed(template.text, &args.name)?
        }
    };
    environment::parse(&path, text.clone().into_bytes())?;
    environment::create(&path, &text)?;
    let mut out = Out::new();
    out.line(format_args!("wrote {}", path.display()))?;
    out.line("\nnext:")?;
    for (command, what) in
        [("env show", "what it declares"), ("env use", "use it in this folder"), ("up -c", "record it")]
    {
        out.line(format_args!("  {:<38} {what}", format!("ssmd {command} {name}")))?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// A document under another name, otherwise as it was.
///
/// # Errors
/// Those of an edit.
pub(crate) fn renamed(text: &str, name: &str) -> Result<String> {
    edit(text, &[Edit::Set(vec!["metadata".into(), "name".into()], name.into())])
}
