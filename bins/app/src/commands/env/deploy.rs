//! `ssmd env apply --out`: a file that deploys the environment, for a cluster that follows a repository.

use std::path::Path;

use crate::cli::EnvApply;
use crate::deploy::{self, Form, Repository};
use crate::environment;
use crate::exit::Exit;
use crate::output::{Out, Outcome};

/// The folder of what is deployed, in a repository.
const FOLDER: &str = "deploy";

/// Writes the file where it differs, shows how, and commits it if told so.
pub(super) fn run(args: &EnvApply, form: Form) -> Outcome {
    let path = environment::named(args.file.as_deref())?;
    let declared = environment::load(Some(&path))?;
    let folder = args.deploy.dir.clone().unwrap_or_else(|| Path::new(FOLDER).join(declared.name.as_str()));
    // With the name in it, so that environments may share a folder: charts/ssmd/values-prod.yaml.
    let file = folder.join(format!("{}-{}.yaml", form.word(), declared.name));
    let text = deploy::text(form, &declared, &args.deploy.image)?;
    // Asked before anything is written.
    let repository = if args.deploy.commit { Some(Repository::of(&file)?) } else { None };
    let heading = deploy::heading(form, &declared.name);
    let made = environment::make(&file, &text, &heading, !args.dry_run)?;
    let message = format!("Apply environment {} {:.12} as {}", declared.name, declared.hash(), form.word());
    let commit = repository.map(|repository| repository.commit(&message)).transpose()?;
    let mut out = Out::new();
    if args.running.json {
        out.json(&serde_json::json!({
            "environment": declared.name,
            "sha256": declared.hash(),
            "file": file,
            "changed": !made.diff.is_empty(),
            "written": made.written,
            "commit": commit.flatten(),
            "diff": made.diff,
        }))?;
    } else {
        out.bytes(made.diff.as_bytes())?;
        let file = file.display();
        let said = match (made.diff.is_empty(), made.written) {
            (true, _) => format!("nothing to change: {file} is what {} says", declared.name),
            (false, true) => format!("wrote {file}"),
            (false, false) => "nothing was written: --dry-run".to_owned(),
        };
        out.line(said)?;
        match commit {
            Some(Some(commit)) => out.line(format_args!("committed it: {commit:.12}"))?,
            Some(None) => out.line("nothing to commit")?,
            None => {}
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}
