//! Flags of the commands that talk to what runs in a data folder.

use std::path::PathBuf;

use clap::Args;
use ssmd_core::Timestamp;

use super::moment_of;
use crate::deploy::{Form, IMAGE};

pub(super) const APPLY: &str = "\
What runs reads its document again by itself when it changes. This waits for
that and says what became of it; it is the only way with `up --no-watch`.

Examples:
  ssmd env apply                     the document that it was started with
  ssmd env apply new.yaml --dry-run  what another document would change
  ssmd env apply --yes               also what ends a recording, or breaks one off
  ssmd env apply prod --out manifests --dry-run
                                     what deploy/prod/manifests-prod.yaml would be
  ssmd env apply prod --out values --commit
                                     deploy/prod/values-prod.yaml, and a commit of it

With --out nothing that runs is touched: the file is for a cluster that follows
this repository. Secrets stand in it by name alone.

Exit codes: 0 what is declared runs, 1 it does not, 78 the document is wrong.";

pub(super) const HISTORY: &str = "\
Examples:
  ssmd env history                       every version, and what it changed
  ssmd env history --as-of 2026-08-01    the document that held on that day
  ssmd env history --store file:./store  those that an archive names";

/// What runs in a data folder.
#[derive(Debug, Args)]
pub struct Running {
    /// The folder it was started with.
    #[arg(long, value_name = "DIR", default_value = "./ssmd-data", env = "SSMD_DATA")]
    pub data: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd env apply`.
#[derive(Debug, Args)]
pub struct EnvApply {
    /// A document; without it the one that the process was started with. Another one can only be looked at. With
    /// --out: an environment; without it the one of this folder.
    #[arg(value_name = "NAME|FILE")]
    pub file: Option<PathBuf>,
    /// What runs.
    #[command(flatten)]
    pub running: Running,
    /// Say only what would change.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Do also what is destructive: stop a feed, leave a symbol or a channel, open connections anew.
    #[arg(long)]
    pub yes: bool,
    /// Where else it runs.
    #[command(flatten)]
    pub deploy: Deploy,
}

/// What `ssmd env apply` writes for others to carry out.
#[derive(Debug, Args)]
pub struct Deploy {
    /// Write a file that deploys the environment, show what changed in it, and touch nothing that runs.
    #[arg(long, value_name = "FORM", conflicts_with = "yes")]
    pub out: Option<Form>,
    /// Where to write it; deploy/NAME unless named.
    #[arg(long, value_name = "FOLDER", requires = "out")]
    pub dir: Option<PathBuf>,
    /// The image of the containers.
    #[arg(long, value_name = "IMAGE", requires = "out", default_value = IMAGE, value_parser = image)]
    pub image: String,
    /// Commit the file to its git repository, and nothing else.
    #[arg(long, requires = "out", conflicts_with = "dry_run")]
    pub commit: bool,
}

fn image(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("write REGISTRY/NAME:TAG".to_owned()) }
}

/// Where the versions are of environments that were applied.
#[derive(Debug, Args)]
pub struct Versions {
    /// The data folder of the recorder that applied them.
    #[arg(long, value_name = "DIR", default_value = "./ssmd-data", env = "SSMD_DATA")]
    pub data: PathBuf,
    /// An archive, instead: file:PATH.
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub store: Option<String>,
}

/// `ssmd env history`.
#[derive(Debug, Args)]
pub struct EnvHistory {
    /// Where they are.
    #[command(flatten)]
    pub versions: Versions,
    /// Print the document that held then: at the end of a UTC day, or at a time as in 2026-08-01T12:30:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment_of)]
    pub as_of: Option<Timestamp>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
