//! `ssmd journal`: what can be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const LS: &str = "\
The log in the data folder, or with -c an environment that has
`journal: { nats: … }` the JetStream stream that all its logs are copied to.

Examples:
  ssmd journal ls                       the logs in ./ssmd-data
  ssmd journal ls -c prod --json        the stream of an environment";

const INSPECT: &str = "\
Examples:
  ssmd journal inspect --limit 20                       the newest 20 entries
  ssmd journal inspect --from 1000 --limit 5 --json     five, from number 1000 on
  ssmd journal inspect -c prod --feed kraken --origin 0011…";

/// `ssmd journal`.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// List what a journal holds: logs, numbers, times, bytes, holes.
    #[command(after_help = LS)]
    Ls(JournalLs),
    /// Print entries of a journal: what was heard, what was sent, and what the recorder noted about it.
    #[command(after_help = INSPECT)]
    Inspect(JournalInspect),
}

/// Which journal.
#[derive(Clone, Debug, Args)]
pub struct JournalArgs {
    /// The environment whose journal is meant; without it the logs in the data folder.
    #[arg(short = 'c', long, visible_alias = "env", value_name = "NAME|FILE", env = "SSMD_ENV")]
    pub config: Option<PathBuf>,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "./ssmd-data", env = "SSMD_DATA")]
    pub data: PathBuf,
    /// Read the logs in the data folder, also where the environment has a shared journal.
    #[arg(long)]
    pub local: bool,
    /// Only this feed.
    #[arg(long)]
    pub feed: Option<String>,
}

/// `ssmd journal ls`.
#[derive(Debug, Args)]
pub struct JournalLs {
    /// Which journal.
    #[command(flatten)]
    pub journal: JournalArgs,
    /// Print one JSON array.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd journal inspect`.
#[derive(Debug, Args)]
pub struct JournalInspect {
    /// Which journal.
    #[command(flatten)]
    pub journal: JournalArgs,
    /// Only this log: its id, or the beginning of it.
    #[arg(long, value_name = "ID")]
    pub origin: Option<String>,
    /// From this number on; without it the newest.
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// So many entries of each log.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub limit: u64,
    /// The most bytes of a payload that are shown.
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub bytes: usize,
    /// Print JSON lines.
    #[arg(long)]
    pub json: bool,
}
