//! The arguments of `ssmd books` and `ssmd feed show`.

use std::path::PathBuf;

use clap::Args;
use ssmd_core::Day;

/// `ssmd books`.
#[derive(Debug, Args)]
pub struct Books {
    /// The folder of what runs, unless an archive is named.
    #[arg(long, value_name = "DIR", default_value = "./ssmd-data", env = "SSMD_DATA")]
    pub data: PathBuf,
    /// Only this feed; in an archive it is needed if there are several.
    #[arg(long)]
    pub feed: Option<String>,
    /// Audit this archive instead: file:PATH or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Audit this UTC day of the archive, as in 2026-08-01.
    #[arg(long, alias = "date", value_parser = super::day)]
    pub day: Option<Day>,
    /// Only this symbol.
    #[arg(long)]
    pub symbol: Option<String>,
    /// Print one JSON array.
    #[arg(long)]
    pub json: bool,
}

/// `ssmd feed show`.
#[derive(Debug, Args)]
pub struct FeedShow {
    /// The venue's name.
    pub name: String,
    /// Ask the venue what it lists.
    #[arg(long)]
    pub universe: bool,
    /// Only what matches: names, or patterns in which `*` stands for any text.
    #[arg(long, value_name = "SYMBOL", value_delimiter = ',', requires = "universe")]
    pub symbols: Vec<String>,
    /// List also what cannot be traded.
    #[arg(long, requires = "universe")]
    pub all: bool,
    /// Show what this environment says of the feed, and where; with --universe, ask at the address that it has.
    #[arg(short = 'c', long, visible_alias = "env", value_name = "NAME|FILE", env = "SSMD_ENV")]
    pub config: Option<PathBuf>,
    /// Ask at this address, a simulator's for example.
    #[arg(long, value_name = "URL", requires = "universe")]
    pub rest: Option<String>,
    /// Print one JSON object, or an array of what is listed.
    #[arg(long)]
    pub json: bool,
}
