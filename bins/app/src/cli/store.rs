//! Which archive a command reads.

use std::path::PathBuf;

use clap::Args;

/// An archive.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// Where the archive is: file:PATH, or s3://BUCKET/PREFIX?endpoint=URL&region=NAME; else where the environment of
    /// this folder has it, and without one in the data folder.
    #[arg(long, value_name = "URL", env = "SSMD_STORE")]
    pub store: Option<String>,
    /// The data folder of what recorded it.
    #[arg(long, value_name = "DIR", default_value = "./ssmd-data", env = "SSMD_DATA")]
    pub data: PathBuf,
}
