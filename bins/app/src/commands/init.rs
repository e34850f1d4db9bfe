//! `ssmd init`: a first environment in this folder.

use std::path::Path;

use ssmd_core::{Error, ErrorKind};

use super::env::{renamed, use_here};
use crate::cli::Init;
use crate::environment::{self, FIRST};
use crate::exit::Exit;
use crate::output::{Out, Outcome};
use crate::templates::template;

/// Writes a template to `env.yaml`, uses it in this folder, and says what to type next.
pub(super) fn run(args: &Init) -> Outcome {
    let template = template(&args.template)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "find template").with("name", &args.template))?;
    let path = Path::new(FIRST);
    let text = renamed(template.text, &args.name)?;
    environment::parse(path, text.clone().into_bytes())?;
    environment::create(path, &text)?;
    let mut out = Out::new();
    out.line(format_args!("wrote {FIRST}: environment {}", args.name))?;
    let flag = match use_here(path) {
        Ok(()) => {
            out.line("every command in this folder uses it, unless it is told another")?;
            ""
        }
        // Where there is no home, as in a container, there is nothing to remember it in.
        Err(error) => {
            out.line(format_args!("name it in every command, since it cannot be remembered: {error}"))?;
            " -c env.yaml"
        }
    };
    out.line("\nnext:")?;
    for (command, what) in [
        ("ssmd feed list", "what can be recorded"),
        ("ssmd symbol add SOL/USD", "record one symbol more"),
        ("ssmd env validate", "check the document"),
        ("ssmd up", "record"),
    ] {
        let flag = if command == "ssmd feed list" { "" } else { flag };
        out.line(format_args!("  {:<38} {what}", format!("{command}{flag}")))?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}
